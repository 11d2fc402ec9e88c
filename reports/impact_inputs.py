"""Figures for an impact assessment: what is collected, how much of it is used, and what people say to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from consent.catalog import PROHIBITED
from consent.knowledge import GIVEN
from consent.nouns import Kind, Reason
from consent.tallies import NOT_ASKED, Which, count_states, find_entries
from feature_repo.stores.models import read_models
from feature_repo.stores.receipts import read_receipts
from reports.query import Definition, Scope
from reports.runs import newest_runs
from reports.table import CellType, Column, Row, text

#: measure, value, unit, from where
_Figure = tuple[str, float | int, str, str]
_ENDED = (Reason.WITHDRAWN, Reason.REVOKED)


def rows(scope: Scope) -> Iterator[Row]:
    """One row per source and figure."""
    jobs = _jobs(scope)
    for source in scope.sources:
        parts = (
            _necessity(scope, source),
            _choice(scope, source),
            _volume(scope, source, jobs[source]),
            _use(scope, source),
        )
        for topic, figures in zip(("necessity", "choice", "volume", "use"), parts, strict=True):
            for measure, value, unit, origin in figures:
                yield (source, topic, measure, float(value), unit, origin)


def _jobs(scope: Scope) -> dict[str, Counter[str]]:
    counted: dict[str, Counter[str]] = {source: Counter() for source in scope.sources}
    for run in newest_runs(scope.home):
        if run.source in counted and scope.covers(run.started_at):
            counted[run.source] += Counter(run.totals)
    return counted


def _necessity(scope: Scope, source: str) -> Iterator[_Figure]:
    from feature_repo.stores.setup import read_services  # Feast takes seconds to load
    from ingestion.sources import SOURCES as DEFINED

    defined = DEFINED[source]
    used = {
        f for s in read_services(scope.home) for f in s.features if f.startswith(f"{defined.definition}:")
    }
    yield ("fields collected", len(defined.columns), "fields", "the source's definition")
    yield ("features computed", len(defined.features), "features", "the source's definition")
    yield ("features that a service uses", len(used), "features", "the feature registry")
    yield ("prohibited sources, refused whatever is agreed to", len(PROHIBITED), "sources", "the catalog")


def _choice(scope: Scope, source: str) -> Iterator[_Figure]:
    for purpose in scope.purposes:
        (states,) = count_states(scope.timeline, source, purpose, [scope.as_of])
        asked = sum(states.values()) - states[NOT_ASKED]
        ended = sum(states[reason] for reason in _ENDED)
        yield (f"asked for {purpose}", asked, "people", "the ledger")
        if asked:
            yield (f"agree to {purpose}", states[GIVEN] / asked, "share", "the ledger")
            yield (f"refused {purpose}", states[Reason.NO_GRANT] / asked, "share", "the ledger")
            yield (f"ended {purpose}", ended / asked, "share", "the ledger")


def _volume(scope: Scope, source: str, totals: Counter[str]) -> Iterator[_Figure]:
    offered = totals["read"]
    yield ("rows offered", offered, "rows", "reports of loading jobs")
    if offered:
        for name, of in (
            ("loaded", "loaded"),
            ("refused for want of consent", "refused"),
            ("quarantined",) * 2,
        ):
            yield (f"rows {name}", totals[of] / offered, "share", "reports of loading jobs")
    links = find_entries(scope.timeline, Which((Kind.LINKED,), None, source))
    yield ("links to another person's data", links.num_rows, "entries", "the ledger")


def _use(scope: Scope, source: str) -> Iterator[_Figure]:
    receipts = [
        r
        for r in read_receipts(scope.home)
        if scope.covers(r.created_at)
        and r.purpose in scope.purposes
        and any(v.source == source for v in r.views)
    ]
    ids = {r.receipt_id for r in receipts}
    models = [m for m in read_models(scope.home) if ids & set(m.receipts)]
    given: Any = sum(v.given for r in receipts for v in r.views if v.source == source)
    yield ("training sets", len(receipts), "training sets", "receipts")
    yield ("rows handed out for training", given, "rows", "receipts")
    yield ("models", len(models), "models", "registered models")


REPORT = Definition(
    "impact-inputs",
    "Impact assessment inputs",
    "Figures for an impact assessment (GDPR Art. 35(7), PIPL Art. 55), by source. necessity: what is collected"
    " against what a service uses. choice: how people stand at as_of, of those who were asked (said yes or no to"
    " this source and purpose). volume and use: loading jobs and training fetches in the time named, by their start.",
    (
        text("source", "Which data."),
        text("topic", "necessity, choice, volume or use."),
        text("measure", "What is measured."),
        Column("value", CellType.NUMBER, "The figure, in its unit."),
        text("unit", "Of the figure; share: from 0 to 1."),
        text("origin", "Where it is from."),
    ),
    rows,
    takes=frozenset({"source", "purpose", "since", "until", "as_of"}),
    notes=(
        "Risks, their weight, and the outcome of the assessment are for the lender to write.",
        "Whether refusing makes a difference to an applicant depends on the lender's scoring, which is not part of"
        " this system.",
    ),
)
