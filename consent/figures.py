"""Figures over everybody: coverage in time, what ends soon, how fast withdrawals are recorded, what is open.

They are counted in the timeline's book, not in the ledger's tables, so that they cost little however long the ledger
is. Of people nothing but their number comes out, but for the keys and positions that a list of entries is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from consent.clock import instant, micros
from consent.fold import KEY
from consent.nouns import Kind
from consent.timeline import Timeline


def _ask(timeline: Timeline, sql: str, **parameters: object) -> list[Any]:
    """Rows; of the timeline's knowledge the question is given what it names."""
    known = {name: value for name, value in timeline.knowledge.items() if f"${name}" in sql}
    return timeline.cursor().execute(sql, known | parameters).fetchall()


def coverage(timeline: Timeline, source: str, purpose: str, instants: Sequence[datetime]) -> list[int]:
    """How many people's consent could be used at each instant, on the timeline's knowledge."""
    at = [micros(each) for each in instants]
    each = ", ".join(f"count(*) FILTER (from_at <= {a} AND until_at > {a})" for a in at)
    spans = timeline.fold(source, purpose)
    (counts,) = _ask(timeline, f"SELECT {each} FROM {spans.name} WHERE reason IS NULL")  # noqa: S608
    return [int(count) for count in counts]


def ending(timeline: Timeline, source: str, purpose: str, now: datetime, until: datetime) -> int:
    """How many people's consent can be used now and will have ended by a later instant."""
    spans = timeline.fold(source, purpose)
    sql = f"""SELECT count(*) FROM {spans.name}
        WHERE reason IS NULL AND from_at <= $now AND until_at > $now AND until_at <= $until"""  # noqa: S608
    return int(_ask(timeline, sql, now=micros(now), until=micros(until))[0][0])


def people(timeline: Timeline) -> int:
    """Of how many people something is on record."""
    sql = "SELECT count(DISTINCT subject) FROM event WHERE leaf_index < $size AND recorded_at <= $known_at"
    return int(_ask(timeline, sql)[0][0])


@dataclass(frozen=True)
class Delay:
    """How long it took from a person's word to the ledger: median, 95 of 100, longest.

    Attributes:
        number: withdrawals and revocations counted.
    """

    number: int
    median: timedelta
    most: timedelta
    longest: timedelta


def delay(timeline: Timeline, since: datetime) -> Delay:
    """From the effective time of withdrawals and revocations to their entry in the ledger, for those recorded since.

    One that takes effect later than it was recorded took no time. Imported ones count as well: a person does not care
    by which way their word was late.
    """
    sql = """SELECT count(*), coalesce(quantile_cont(late, 0.5), 0), coalesce(quantile_cont(late, 0.95), 0),
            coalesce(max(late), 0)
        FROM (SELECT greatest(recorded_at - effective_at, 0) AS late FROM event WHERE kind IN ('withdrawn', 'revoked')
            AND leaf_index < $size AND recorded_at <= $known_at AND recorded_at >= $since)"""
    number, *spans = _ask(timeline, sql, since=micros(since))[0]
    return Delay(int(number), *(timedelta(microseconds=int(span)) for span in spans))


def per_week(timeline: Timeline, kind: Kind, weeks: int, until: datetime) -> list[int]:
    """How many entries of a kind were recorded in each of the last weeks, oldest first."""
    size, end = 7 * 86_400_000_000, micros(until)
    sql = f"""SELECT ($until - recorded_at) // {size}, count(*) FROM event
        WHERE kind = $kind AND leaf_index < $size AND recorded_at <= $known_at
            AND recorded_at <= $until AND recorded_at > $since
        GROUP BY ALL"""  # noqa: S608
    rows = _ask(timeline, sql, kind=kind.value, until=end, since=end - weeks * size)
    found = {int(ago): int(number) for ago, number in rows}
    return [found.get(ago, 0) for ago in reversed(range(weeks))]


@dataclass(frozen=True)
class OpenRequest:
    """An erasure that was asked for and is not done.

    Attributes:
        leaf_index: of the request.
        source: one, or ``*``.
    """

    leaf_index: int
    subject_key: str
    source: str
    recorded_at: datetime


#: As `consent.decide.requests` says it for one person.
_OPEN = """FROM event q
    LEFT JOIN event e ON e.kind = 'erased' AND e.subject = q.subject AND e.leaf_index > q.leaf_index
        AND e.source IN ('*', q.source) AND e.leaf_index < $size AND e.recorded_at <= $known_at
    WHERE q.kind = 'erasure_requested' AND q.leaf_index < $size AND q.recorded_at <= $known_at
        AND q.leaf_index > $after AND e.leaf_index IS NULL"""


def open_requests(timeline: Timeline, *, after: int = -1, limit: int = 50) -> list[OpenRequest]:
    """Erasures that were asked for and are not done, oldest first.

    Args:
        after: only requests with a larger position, to turn the page.
    """
    sql = f"""SELECT q.leaf_index, {KEY.format("q.subject")}, q.source::VARCHAR, q.recorded_at {_OPEN}
        ORDER BY q.leaf_index LIMIT $limit"""
    rows = _ask(timeline, sql, after=after, limit=limit)
    return [OpenRequest(int(at), key, source, instant(when)) for at, key, source, when in rows]


def count_open_requests(timeline: Timeline) -> tuple[int, datetime | None]:
    """How many erasures are open, and since when the oldest one is."""
    number, oldest = _ask(timeline, f"SELECT count(*), min(q.recorded_at) {_OPEN}", after=-1)[0]
    return int(number), None if oldest is None else instant(oldest)


def held_people(timeline: Timeline, *, after: str = "", limit: int = 50) -> list[str]:
    """Keys of people of whom a hold was ever placed, in order; `consent.decide.holds` says which are in force."""
    sql = f"""SELECT DISTINCT {KEY.format("subject")} AS key FROM event
        WHERE kind = 'hold_placed' AND leaf_index < $size AND recorded_at <= $known_at AND key > $after
        ORDER BY key LIMIT $limit"""  # noqa: S608
    return [key for (key,) in _ask(timeline, sql, after=after, limit=limit)]


@dataclass(frozen=True)
class EntryQuery:
    """Which entries of the ledger are wanted; what is None does not matter. Blanked entries match nothing."""

    kind: str | None = None
    source: str | None = None
    purpose: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def find_entries(timeline: Timeline, query: EntryQuery, *, before: int, limit: int) -> list[int]:
    """Positions of the newest such entries below a position, newest first."""
    wanted = {name: getattr(query, name) for name in ("kind", "source", "purpose")}
    clauses = ["leaf_index < $before", *(f"{name} = ${name}" for name, value in wanted.items() if value)]
    parameters: dict[str, object] = {k: v for k, v in wanted.items() if v} | {
        "before": before,
        "limit": limit,
    }
    for name, clause, at in (("since", ">=", query.since), ("until", "<", query.until)):
        if at is not None:
            clauses.append(f"recorded_at {clause} ${name}")
            parameters[name] = micros(at)
    sql = f"""SELECT leaf_index FROM event
        WHERE {" AND ".join(clauses)} AND leaf_index < $size AND recorded_at <= $known_at
        ORDER BY leaf_index DESC LIMIT $limit"""  # noqa: S608
    return [int(at) for (at,) in _ask(timeline, sql, **parameters)]
