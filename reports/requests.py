"""What people asked for, by when it is due, and what became of it."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from consent.accesses import AccessKind, AccessQuery
from consent.clock import parse_instant
from consent.evidence.certificate import ERASURE
from consent.knowledge import holds_on
from consent.nouns import ANY, Kind, Recorded
from reports.access_log import newest_first
from reports.query import Definition, Scope
from reports.register import a_month_after, entries_of, read_certificates
from reports.table import SUBJECT, CellType, Column, Row, instant, text


@dataclass(frozen=True)
class Asked:
    """One request."""

    reference: str
    kind: str
    received_at: datetime
    subject_key: str | None
    source: str
    done_at: datetime | None
    certificate: str | None
    held_by: tuple[str, ...] = ()

    def row(self, as_of: datetime) -> Row:
        """As the table has it, at a moment."""
        due_at = a_month_after(self.received_at)
        until = self.done_at or as_of
        return (
            self.reference,
            self.kind,
            self.received_at,
            due_at,
            self.subject_key,
            self.source,
            self._status(due_at, as_of),
            self.done_at,
            (until - self.received_at) // timedelta(days=1),
            until > due_at,
            ", ".join(self.held_by) or None,
            self.certificate,
        )

    def _status(self, due_at: datetime, as_of: datetime) -> str:
        if self.done_at is not None:
            return "done"
        if self.held_by:
            return "on hold"
        return "overdue" if as_of > due_at else "open"


def rows(scope: Scope) -> Iterator[Row]:
    """One row per request, in the order in which they were received."""
    parts = (_erasures(scope), _of_blanked(scope), _packages(scope))
    for asked in heapq.merge(*parts, key=lambda asked: asked.received_at):
        yield asked.row(scope.now)


def _erasures(scope: Scope) -> Iterator[Asked]:
    for entry in entries_of(scope, Kind.ERASURE_REQUESTED):
        key, source = entry.event.subject_key, entry.event.source
        done = find_answer(scope.home.ledger.history(key), entry)
        held = () if done else tuple(holds_on(scope.home.ledger.facts(key), source))
        yield Asked(
            f"entry {entry.leaf_index}",
            "erasure",
            entry.recorded_at,
            key,
            source,
            None if done is None else done.recorded_at,
            None if done is None else done.event.event_id,
            held,
        )


def find_answer(history: list[Recorded], request: Recorded) -> Recorded | None:
    """The first erasure on record that did what was asked for."""
    return next(
        (
            r
            for r in history
            if r.event.kind is Kind.ERASED
            and r.leaf_index > request.leaf_index
            and r.event.source in (request.event.source, ANY)
        ),
        None,
    )


def _of_blanked(scope: Scope) -> Iterator[Asked]:
    """Requests whose own entry the erasure has blanked: their certificates tell of them."""
    certified = [d for _, kind, d in read_certificates(scope.home) if kind == ERASURE]
    there = {r.leaf_index for r in scope.home.ledger.entries([d["ledger"]["request"] for d in certified])}
    gone = [d for d in certified if d["ledger"]["request"] not in there]
    asked = [
        Asked(
            f"entry {d['ledger']['request']}",
            "erasure",
            parse_instant(d["requested_at"]),
            d["subject_key"],
            d["source"],
            parse_instant(d["erased_at"]),
            d["erasure_id"],
        )
        for d in gone
    ]
    yield from sorted((a for a in asked if _is_wanted(scope, a)), key=lambda a: a.received_at)


def _is_wanted(scope: Scope, asked: Asked) -> bool:
    query = scope.query
    return (
        scope.covers(asked.received_at)
        and query.subject_key in (None, asked.subject_key)
        and (query.source is None or asked.source in (query.source, ANY))
    )


def _packages(scope: Scope) -> Iterator[Asked]:
    """Access packages are made at once; a package of one source there is not."""
    query = scope.query
    if query.source is not None:
        return
    exported = AccessQuery(AccessKind.EXPORTED, None, None, query.subject_key, query.since, query.until)
    for entry in reversed(list(newest_first(scope.home, exported))):
        yield Asked(f"access {entry.leaf_index}", "access", entry.at, query.subject_key, ANY, entry.at, None)


REPORT = Definition(
    "requests",
    "Requests register",
    "Requests for erasure and for access, in the order in which they were received (clock: the ledger's recording;"
    " of access packages the access log's). Due is the same day of the next month, or its last day (GDPR Art. 12(3))."
    " A request is done when the erasure is on record, or the package was made.",
    (
        text("reference", "The entry of the ledger, or of the access log."),
        text("kind", "erasure or access."),
        instant("received_at", "When it was recorded."),
        instant("due_at", "By when it has to be answered."),
        SUBJECT,
        text("source", "Of which data; * for everything."),
        text("status", "done, open, overdue, or on hold."),
        instant("done_at", "When it was done."),
        Column("days", CellType.DAYS, "Whole days it took, or has taken so far."),
        Column("late", CellType.FLAG, "Whether it was, or is, later than due."),
        text("held_by", "Names of the holds that it waits for, as the ledger has them."),
        text("certificate", "The erasure certificate's name."),
    ),
    rows,
    takes=frozenset({"subject_key", "source", "since", "until"}),
    notes=(
        "Whom an access package was about is found with their own key only, and shown only where one is named.",
        "Extensions of the time (Art. 12(3), second sentence) are not recorded here.",
        "Withdrawals are no requests: they take effect with their recording. See the report latency.",
    ),
)
