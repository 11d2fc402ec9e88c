"""The catalogue page: every source's columns and features, written from their definitions.

``make docs`` writes it to ``docs/sources.md``; a test keeps the two equal.
"""

from __future__ import annotations

import pyarrow as pa

from consent.catalog import PROHIBITED
from consent.catalog import SOURCES as CONSENT_SOURCES
from ingestion.source import INSTANT, MONEY, Feature, Source
from ingestion.sources import SOURCES
from ingestion.sources.regulation import FOR_ALL

_TYPES = {
    pa.string(): "text",
    INSTANT: "date-time, ISO 8601; without an offset it is UTC",
    pa.date32(): "date, ISO 8601",
    MONEY: "amount, at most two decimals",
    pa.int64(): "whole number",
}


def catalogue() -> str:
    """The page, as Markdown."""
    parts = [
        "# Sources and features",
        "",
        "Written from the definitions by `make docs`; do not edit.",
        "",
        "A file is Parquet, CSV with a header, or JSONL, plain or `.gz`. Besides the columns below it has one"
        " with the customer number: `subject_id`, or what `--subject-column` names. Other columns are not read."
        " Amounts of one home are in one currency, set at `assent init`.",
        "",
        f"Never accepted, consent or not: {', '.join(sorted(PROHIBITED))}.",
        "",
        "What law and fairness ask, whatever the feature; no legal advice:",
        "",
        *(f"- {note}" for note in FOR_ALL),
    ]
    for name in sorted(SOURCES):
        parts += ["", *_section(SOURCES[name])]
    return "\n".join(parts) + "\n"


def _section(source: Source) -> list[str]:
    return [
        f"## {source.name}",
        "",
        f"{source.doc} W3C DPV: `{CONSENT_SOURCES[source.name]}`.",
        "",
        f"A row is dated by `{source.event_time}`: consent's data range is held against it, and no feature sees a row"
        f" before it. Two rows of a person are the same event if they agree in: {', '.join(source.identity)}.",
        "",
        "| column | needed | type | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{c.name}` | {'yes' if c.required else 'no'} | {_TYPES[c.type]} | {_cell(c.doc)}"
            f"{f' Left out: `{c.default}`.' if c.default else ''} |"
            for c in source.columns
        ),
        "",
        f"### Features of `{source.definition}`",
        "",
        "| feature | type | unit | window | definition | null | why a risk team wants it | mind |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(feature) for feature in source.features),
    ]


def _row(feature: Feature) -> str:
    told = (feature.unit, feature.window, feature.doc, feature.null_means, feature.why, feature.regulation)
    return f"| `{feature.name}` | {feature.dtype} | {' | '.join(_cell(text) for text in told)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
