"""Legal holds: who is held, since when, on what ground, and what waits for the release."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from consent.decide import order, requests
from consent.encoding import to_statement
from consent.nouns import ANY, Kind, Recorded
from reports.query import Definition, Scope
from reports.register import entries_of
from reports.table import SUBJECT, CellType, Column, Row, count, instant, text


def rows(scope: Scope) -> Iterator[Row]:
    """One row per hold, in the order in which they were placed."""
    for placed in entries_of(scope, Kind.HOLD_PLACED):
        key = placed.event.subject_key
        released = find_release(scope.home.ledger.history(key), placed)
        waiting = 0 if released else _waiting(scope, placed)
        ended = scope.now if released is None else released.recorded_at
        yield (
            placed.event.hold_id,
            key,
            placed.event.source,
            placed.recorded_at,
            placed.event.effective_at,
            placed.event.basis,
            placed.event.indicated_by,
            placed.event.actor,
            "in force" if released is None else "released",
            None if released is None else released.recorded_at,
            None if released is None else released.event.actor,
            (ended - placed.recorded_at) // timedelta(days=1),
            waiting,
            placed.leaf_index,
        )


def find_release(history: list[Recorded], placed: Recorded) -> Recorded | None:
    """The release that ended it."""
    return next(
        (
            r
            for r in history
            if r.event.kind is Kind.HOLD_RELEASED
            and r.event.hold_id == placed.event.hold_id
            and order(to_statement(r)) > order(to_statement(placed))
        ),
        None,
    )


def _waiting(scope: Scope, placed: Recorded) -> int:
    """Requests for erasure that the hold is in the way of."""
    said = scope.home.ledger.facts(placed.event.subject_key).statements
    held = placed.event.source
    return sum(ANY in (held, r.source) or held == r.source for r in requests(said))


REPORT = Definition(
    "holds",
    "Legal-hold register",
    "Every hold that is on record, in the order of placing (clock: the ledger's recording). While one is in force"
    " nothing about the person and source is used, and nothing erased; the consent rules see to it at every read.",
    (
        text("hold_id", "The hold, as the ledger has it: a keyed hash of your own name for it."),
        SUBJECT,
        text("source", "Which data; * for everything."),
        instant("placed_at", "When it was recorded."),
        instant("effective_at", "From when it holds."),
        text("basis", "The legal ground."),
        text("indicated_by", "Who asked for it."),
        text("placed_by", "Who recorded it: a role or a system."),
        text("status", "in force or released."),
        instant("released_at", "When the release was recorded."),
        text("released_by", "Who recorded the release."),
        Column("days", CellType.DAYS, "Whole days it lasted, or has lasted so far."),
        count("erasures_waiting", "requests", "Requests for erasure that wait for its release."),
        count("entry", "entries", "Its place in the ledger."),
    ),
    rows,
    takes=frozenset({"subject_key", "source", "since", "until"}),
    notes=(
        "Attempts to use the data of people under hold are in the report violations, with the reason RESTRICTED.",
        "Holds on people whose consent records were blanked are not shown.",
    ),
)
