"""What was stopped, and what was not: attempts without consent, tainted reads, refused callers."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from consent.accesses import AccessKind, AccessQuery
from consent.clock import micros
from consent.knowledge import Review, Verdict, review_read
from consent.nouns import Kind
from consent.tallies import Which, find_entries
from feature_repo.stores.members import lists_with
from feature_repo.stores.receipts import Receipt, read_receipts
from reports.access_log import newest_first
from reports.query import Definition, Scope
from reports.register import allowed_at_fetch
from reports.runs import newest_runs
from reports.table import SUBJECT, Row, count, instant, text

#: What can end consent with effect on a read that was made before it was recorded.
_LATE = (
    Kind.REFUSED,
    Kind.PAUSED,
    Kind.WITHDRAWN,
    Kind.REVOKED,
    Kind.SUPERSEDED,
    Kind.INVALIDATED,
    Kind.LINKED,
    Kind.HOLD_PLACED,
    Kind.ERASURE_REQUESTED,
)
#: These count for all times, whatever their effective time.
_FOR_ALL_TIMES = pa.array([Kind.INVALIDATED.value, Kind.LINKED.value])

_OUTCOMES = {Verdict.LATE: "clean up", Verdict.TAINTED: "undo the use", Verdict.UNLAWFUL: "breach"}


@dataclass(frozen=True)
class Finding:
    """One row, by name."""

    at: datetime
    finding: str
    outcome: str
    source: str | None
    purpose: str | None
    reason: str | None
    rows: int
    subject_key: str | None
    reference: str

    def row(self) -> Row:
        """As the table has it."""
        return (
            self.at,
            self.finding,
            self.outcome,
            self.source,
            self.purpose,
            self.reason,
            self.rows,
            self.subject_key,
            self.reference,
        )


def rows(scope: Scope) -> Iterator[Row]:
    """One row per finding, the newest first."""
    personal = [_learnt_later(scope), _refused_callers(scope)]
    whole = [] if scope.query.subject_key else [_stopped_at_loading(scope), _masked(scope)]
    for found in heapq.merge(*personal, *whole, key=lambda finding: finding.at, reverse=True):
        yield found.row()


def _stopped_at_loading(scope: Scope) -> Iterator[Finding]:
    """A load is for no purpose yet; where one purpose is asked about, nothing is told of it."""
    for run in newest_runs(scope.home) if scope.query.purpose is None else ():
        if scope.covers(run.started_at) and run.source in scope.sources:
            for reason, refused in run.refused().items():
                yield Finding(
                    *(
                        run.started_at,
                        "REFUSED_AT_LOADING",
                        "stopped",
                        run.source,
                        None,
                        reason,
                        refused,
                        None,
                    ),
                    f"run {run.run_id}",
                )


def _masked(scope: Scope) -> Iterator[Finding]:
    for receipt in _receipts(scope):
        for view in receipt.views:
            for reason, masked in sorted(view.masked.items()) if view.source in scope.sources else ():
                yield Finding(
                    *(receipt.created_at, "MASKED_IN_TRAINING_SET", "stopped", view.source, receipt.purpose),
                    *(reason, masked, None, f"receipt {receipt.receipt_id}"),
                )


def _receipts(scope: Scope) -> list[Receipt]:
    return [
        r
        for r in reversed(read_receipts(scope.home))
        if scope.covers(r.created_at) and r.purpose in scope.purposes
    ]


def _learnt_later(scope: Scope) -> Iterator[Finding]:
    """Reads that what was recorded since says were not covered."""
    receipts = _receipts(scope)
    said = find_entries(scope.timeline, Which(_LATE, scope.query.subject_key)) if receipts else None
    for number, receipt in enumerate(receipts):
        scope.on_progress("judging training fetches again", number, len(receipts))
        people = [] if said is None else _touched_since(said, receipt)
        named = lists_with(scope.home, people, [receipt.members_hash])
        for key in sorted(key for key, lists in named.items() if lists):
            yield from _judged(scope, receipt, key)


def _touched_since(said: pa.Table, receipt: Receipt) -> list[str]:
    """Of whom something was recorded later that can reach back to a fetch."""
    reaches = pc.or_(
        pc.is_in(said["kind"], value_set=_FOR_ALL_TIMES),
        pc.less_equal(said["effective_at"], micros(receipt.created_at)),
    )
    later = pc.and_(pc.greater_equal(said["leaf_index"], receipt.ledger_size), reaches)
    return sorted(pc.unique(said.filter(later)["subject_key"]).to_pylist())


def _judged(scope: Scope, receipt: Receipt, key: str) -> Iterator[Finding]:
    facts = scope.home.ledger.facts(key)
    for source in sorted({view.source for view in receipt.views} & set(scope.sources)):
        review = review_read(facts, source, receipt.purpose, read_at=receipt.created_at)
        if review.verdict is not Verdict.LAWFUL and allowed_at_fetch(facts, receipt, source):
            yield _finding(receipt, key, source, review)


def _finding(receipt: Receipt, key: str, source: str, review: Review) -> Finding:
    outcome = _OUTCOMES[review.verdict]
    said = None if review.today.reason is None else review.today.reason.value
    return Finding(
        *(receipt.created_at, f"READ_{review.verdict.value}", outcome, source, receipt.purpose, said, 1, key),
        f"receipt {receipt.receipt_id}",
    )


def _refused_callers(scope: Scope) -> Iterator[Finding]:
    query = scope.query
    asked = AccessQuery(AccessKind.REFUSED, None, query.purpose, query.subject_key, query.since, query.until)
    for entry in newest_first(scope.home, asked) if query.source is None else ():
        yield Finding(
            *(
                entry.at,
                "CALLER_REFUSED",
                "stopped",
                None,
                entry.purpose or None,
                entry.about.get("reason"),
                1,
            ),
            *(query.subject_key, f"access {entry.leaf_index}"),
        )


REPORT = Definition(
    "violations",
    "Violations and gaps",
    "What was stopped, and what was not, in the time that is named, the newest first."
    " REFUSED_AT_LOADING: rows offered by a file that consent did not let in (counted by job, clock: its start)."
    " MASKED_IN_TRAINING_SET: values asked for by a training fetch that were withheld (clock: the decision)."
    " CALLER_REFUSED: somebody was refused who asked for data, or asked without a purpose (clock: the access log)."
    " READ_LATE: a training fetch read a person on what was known then, and what was recorded since says that consent"
    " had ended before: no fault, to be cleaned up. READ_TAINTED: the consent was invalidated since, for all times:"
    " the use has to be undone. READ_UNLAWFUL: it was decided without what was on record by then: a breach.",
    (
        instant("at", "When it happened."),
        text("finding", "What it is; see above."),
        text("outcome", "stopped, clean up, undo the use, or breach."),
        text("source", "Which data."),
        text("purpose", "For what."),
        text("reason", "Why it was not covered, as one of the codes of docs/reasons.md."),
        count("rows", "rows", "Rows or values; of a read, the one person."),
        SUBJECT,
        text("reference", "The job, receipt or entry of the access log it is from."),
    ),
    rows,
    takes=frozenset({"subject_key", "source", "purpose", "since", "until"}),
    notes=(
        "Training fetches are judged again; single online reads are not kept one by one, and were each decided at"
        " their moment.",
        "People who were erased are not found in the lists of training sets any more.",
        "Where a person is named, what is only counted over everybody is left out.",
    ),
)
