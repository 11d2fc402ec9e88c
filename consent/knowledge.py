"""Questions that involve two times: what was true when, and what was known when.

A read is judged twice. On what was known when it was made: that decides about fault. On what is known today about
that moment: that decides about cleaning up. Later consent never makes an earlier read lawful.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from consent.catalog import PURPOSES, SOURCES
from consent.clock import instant
from consent.decide import decide, holds, requests
from consent.fold import FOREVER
from consent.nouns import ANY, Decision, Facts, Reason
from consent.timeline import Timeline


class Verdict(StrEnum):
    """What is to be said of a read that was made.

    LAWFUL: consent covered it then, and nothing learnt since says otherwise.
    LATE: it covered it on what was known then; a statement that arrived later says it had ended: no fault, clean up.
    TAINTED: it covered it then, and has been invalidated since, for all times: the use has to be undone.
    UNLAWFUL: it did not cover it on what was known then, whatever was agreed to later.
    """

    LAWFUL = "LAWFUL"
    LATE = "LATE"
    TAINTED = "TAINTED"
    UNLAWFUL = "UNLAWFUL"


@dataclass(frozen=True)
class Review:
    """One read, judged with two states of knowledge.

    Attributes:
        then: on what was known at the instant of the read.
        today: about the same instant, on everything that is on record.
    """

    verdict: Verdict
    then: Decision
    today: Decision


def review_read(
    facts: Facts, source: str, purpose: str, *, read_at: datetime, data_at: datetime | None = None
) -> Review:
    """Was a read that was made at an instant lawful, and is it still to be relied on?"""
    then = decide(facts, source, purpose, data_at=data_at, as_of=read_at, known_at=read_at)
    today = decide(facts, source, purpose, data_at=data_at, as_of=read_at)
    return Review(_verdict(then.reason, today.reason), then, today)


def _verdict(then: str | None, today: str | None) -> Verdict:
    if then is not None:
        return Verdict.UNLAWFUL
    if today is None:
        return Verdict.LAWFUL
    return Verdict.TAINTED if today == Reason.INVALIDATED else Verdict.LATE


def review_reads(timeline: Timeline, reads: pa.Table) -> pa.Table:
    """`review_read` for many reads.

    Args:
        timeline: on everything that is on record.
        reads: one row per read: subject_key, source, purpose, read_at; data_at where it is known. Timestamps.

    Returns:
        The same rows in the same order with the columns verdict, then and today (reasons; null: allowed).
    """
    read_at, parts = reads["read_at"], []
    numbered = reads.append_column("place", pa.array(range(reads.num_rows)))
    for asked_at in pc.unique(read_at):
        at_once = numbered.filter(pc.equal(read_at, asked_at))
        known = timeline.known(asked_at.as_py())
        then, today = (_reasons(t, at_once, asked_at.as_py()) for t in (known, timeline))
        verdicts = [_verdict(a, b) for a, b in zip(then.to_pylist(), today.to_pylist(), strict=True)]
        parts.append(
            at_once.append_column("verdict", pa.array([v.value for v in verdicts]))
            .append_column("then", then)
            .append_column("today", today)
        )
    return pa.concat_tables(parts).sort_by("place").drop_columns(["place"]) if parts else numbered


def _reasons(timeline: Timeline, reads: pa.Table, asked_at: datetime) -> pa.Array:
    """Why each read was not covered; each row has a source and purpose of its own."""
    reasons = pa.nulls(reads.num_rows, pa.string())
    for about in (
        reads.select(["source", "purpose"]).group_by(["source", "purpose"]).aggregate([]).to_pylist()
    ):
        here = pc.and_(
            pc.equal(reads["source"], about["source"]), pc.equal(reads["purpose"], about["purpose"])
        ).combine_chunks()
        rows = reads.filter(here)
        dates = rows["data_at"] if "data_at" in rows.column_names else None
        found = timeline.judge(
            rows["subject_key"], about["source"], about["purpose"], data_at=dates, as_of=asked_at
        )
        reasons = pc.replace_with_mask(reasons, here, found.combine_chunks())
    return reasons


def eligible(timeline: Timeline, source: str, purpose: str, *, as_of: datetime) -> pa.Array:
    """Whose consent could be used at an instant, on the knowledge of the timeline: subject keys, in order."""
    return timeline.usable_of(source, purpose, as_of=as_of)["subject_key"].combine_chunks()


NOTHING = "NOTHING"
GIVEN = "GIVEN"


@dataclass(frozen=True)
class Change:
    """A span of time about which the answer is another one than it was.

    Attributes:
        from_at, until_at: half open; None: without a beginning, without an end.
        was, now: GIVEN, a reason, or NOTHING where nobody had said anything about the source and purpose.
    """

    subject_key: str
    source: str
    purpose: str
    from_at: datetime | None
    until_at: datetime | None
    was: str
    now: str


@dataclass(frozen=True)
class Changes:
    """What was learnt between two moments.

    Attributes:
        entries: kind -> entries recorded after the one and up to the other.
        spans: where an answer differs; ordered by person, source, purpose and time.
    """

    entries: dict[str, int]
    spans: tuple[Change, ...]


def changes(timeline: Timeline, *, known_from: datetime, known_until: datetime) -> Changes:
    """What the ledger learnt after one moment and up to another, and which answers that changed."""
    before, after = timeline.known(known_from), timeline.known(known_until)
    recorded = timeline.recorded_between(known_from, known_until)
    spans = [
        change
        for source in sorted(SOURCES)
        for purpose in sorted(PURPOSES)
        for change in _differences(before, after, source, purpose, recorded["subject_key"])
    ]
    spans.sort(key=lambda c: (c.subject_key, c.source, c.purpose))
    return Changes(dict(sorted(Counter(recorded["kind"].to_pylist()).items())), tuple(spans))


def _differences(
    before: Timeline, after: Timeline, source: str, purpose: str, touched: pa.ChunkedArray
) -> list[Change]:
    was, now = (t.spans_of(source, purpose, touched) for t in (before, after))
    found: list[Change] = []
    for subject in sorted(was.keys() | now.keys()):
        for from_at, until_at, old, new in _compared(was.get(subject, _NONE), now.get(subject, _NONE)):
            found.append(Change(subject, source, purpose, _moment(from_at), _moment(until_at), old, new))
    return found


_Spans = list[tuple[int, int, str]]
_NONE: _Spans = [(-FOREVER, FOREVER, NOTHING)]


def _compared(was: _Spans, now: _Spans) -> list[tuple[int, int, str, str]]:
    """Where two lists of spans, each without a hole, say different things; neighbours alike are joined."""
    different: list[tuple[int, int, str, str]] = []
    for edge, end in _pieces(was, now):
        old, new = _at(was, edge), _at(now, edge)
        if old == new or (old == NOTHING and new != GIVEN):  # still a no
            continue
        if different and different[-1][1:] == (edge, old, new):
            edge = different.pop()[0]
        different.append((edge, end, old, new))
    return different


def _pieces(was: _Spans, now: _Spans) -> list[tuple[int, int]]:
    edges = sorted({edge for span in (*was, *now) for edge in span[:2]})
    return list(itertools.pairwise(edges))


def _at(spans: _Spans, moment: int) -> str:
    return next(state for from_at, until_at, state in spans if from_at <= moment < until_at)


def _moment(at: int) -> datetime | None:
    return None if abs(at) >= FOREVER else instant(at)


def holds_on(facts: Facts, source: str) -> list[str]:
    """Names of the holds that are in the way of an erasure of a source, or with ``*`` of the person."""
    return sorted(
        str(h.hold_id) for h in holds(facts.statements) if ANY in (h.source, source) or h.source == source
    )


def pending_erasures(facts: Facts) -> list[str]:
    """Sources of which an erasure was asked for and is due, ``*`` for the person; without those that a hold stops."""
    due = {request.source for request in requests(facts.statements)}
    return sorted(source for source in due if not holds_on(facts, source))
