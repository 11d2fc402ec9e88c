"""The catalogue page: every source's columns and features, written from their definitions.

``make docs`` writes it to ``docs/sources.md``; a test keeps the two equal.
"""

from __future__ import annotations

import pyarrow as pa

from consent.catalog import PROHIBITED
from consent.catalog import SOURCES as CONSENT_SOURCES
from ingestion.source import INSTANT, MONEY, Source
from ingestion.sources import SOURCES

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
        "| feature | type | unit | window | definition, and why | null |",
        "|---|---|---|---|---|---|",
        *(
            f"| `{f.name}` | {f.dtype} | {f.unit} | {f.window} | {_cell(f.doc)} | {_cell(f.null_means)} |"
            for f in source.features
        ),
    ]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
