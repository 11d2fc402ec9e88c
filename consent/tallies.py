"""Counts and lists over a whole timeline: who stands where, what ends soon, which entries are of a kind.

One query each over the packed entries, so that no more leaves the engine than is shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import pyarrow as pa

from consent import fold
from consent.clock import instant, micros
from consent.knowledge import GIVEN
from consent.nouns import ANY, Kind
from consent.timeline import Timeline, fetch_arrow

#: In place of a reason: the person has said yes or no to something, and nothing to this.
NOT_ASKED = "NOT_ASKED"

_KNOWN = "leaf_index < $size AND recorded_at <= $known_at"


def count_states(
    timeline: Timeline, source: str, purpose: str, instants: Sequence[datetime]
) -> list[Counter[str]]:
    """How many people stand where at each of some instants.

    Counted is who had said yes or no to anything by then.

    Returns:
        For each instant: GIVEN, NOT_ASKED, or the reason for the no -> people. Nobody is counted twice.
    """
    spans = timeline.fold(source, purpose)
    rows = fetch_arrow(
        timeline.cursor(),
        f"""WITH asked AS (SELECT unnest($instants::BIGINT[]) AS moment),
        person AS (
            SELECT subject, min(effective_at) AS since_at FROM event
            WHERE kind IN ('given', 'refused') AND {_KNOWN} GROUP BY subject)
        SELECT moment, coalesce(s.reason::VARCHAR, '{GIVEN}') AS state, count(*) AS people
        FROM {spans.name} s JOIN asked ON s.from_at <= moment AND s.until_at > moment
        JOIN person p ON p.subject = s.subject_key::UUID AND p.since_at <= moment GROUP BY ALL
        UNION ALL SELECT moment, '*', count(*) FROM asked JOIN person ON since_at <= moment GROUP BY moment""",  # noqa: S608
        timeline.knowledge | {"instants": [micros(at) for at in instants]},
    )
    found: dict[int, Counter[str]] = {micros(at): Counter() for at in instants}
    for row in rows.to_pylist():
        found[row["moment"]][row["state"]] = row["people"]
    for states in found.values():
        states[NOT_ASKED] = 2 * states[ANY] - sum(states.values())
        del states[ANY]
    return [found[micros(at)] for at in instants]


class Ending(NamedTuple):
    """Consent that is in force and ends."""

    subject_key: str
    leaf_index: int
    ends_at: datetime


def ending(
    timeline: Timeline,
    pairs: Collection[tuple[str, str]],
    during: tuple[datetime, datetime],
    *,
    limit: int | None,
    skip: int,
) -> list[Ending]:
    """Grants in force at one moment that run out by another, with nothing on record that takes over.

    Args:
        pairs: of source and purpose.
        during: the moment they are in force at, and the last one at which they end.

    Returns:
        In the order in which they end.
    """
    spans = {pair: timeline.fold(*pair) for pair in pairs}
    if not spans:
        return []
    parts = " UNION ALL ".join(_ENDING.format(spans=table.name) for table in spans.values())
    rows = timeline.cursor().execute(
        f"{parts} ORDER BY ends_at, leaf_index LIMIT $limit OFFSET $skip",
        {
            "as_of": micros(during[0]),
            "until": micros(during[1]),
            "limit": 2**62 if limit is None else limit,
            "skip": skip,
        },
    )
    return [Ending(key, leaf, instant(at)) for key, leaf, at in rows.fetchall()]


_ENDING = """
SELECT s.subject_key, s.grant_index AS leaf_index, s.until_at AS ends_at
FROM {spans} s JOIN event e ON e.leaf_index = s.grant_index AND e.expires_at = s.until_at
WHERE s.reason IS NULL AND s.until_at > $as_of AND s.until_at <= $until
 AND EXISTS (SELECT 1 FROM {spans} n WHERE n.subject_key = s.subject_key AND n.grant_index = s.grant_index
             AND n.reason IS NULL AND n.from_at <= $as_of AND n.until_at > $as_of)
 AND NOT EXISTS (SELECT 1 FROM {spans} n WHERE n.subject_key = s.subject_key AND n.from_at = s.until_at
                 AND n.reason IS NULL)"""


@dataclass(frozen=True)
class Which:
    """Which entries are wanted; what is None does not matter.

    Attributes:
        source, purpose: entries about it, or about every one.
        since, until: of recording, half open.
    """

    kinds: tuple[Kind, ...]
    subject_key: str | None = None
    source: str | None = None
    purpose: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def find_entries(timeline: Timeline, which: Which, *, limit: int | None = None, skip: int = 0) -> pa.Table:
    """The entries of some kinds whose content no erasure took, in ledger order.

    Returns:
        leaf_index, kind, subject_key, source, purpose, effective_at, recorded_at (microseconds).
    """
    wanted: list[tuple[str, str, object]] = [
        ("kind IN (SELECT unnest($kinds::VARCHAR[])::kind_t)", "kinds", [k.value for k in which.kinds])
    ]
    if which.subject_key is not None:
        wanted.append(("subject = $subject::UUID", "subject", which.subject_key))
    for name in ("source", "purpose"):
        if (value := getattr(which, name)) is not None:
            wanted.append((f"{name}::VARCHAR IN ('*', ${name})", name, value))
    for clause, name in (("recorded_at >= $since", "since"), ("recorded_at < $until", "until")):
        if (at := getattr(which, name)) is not None:
            wanted.append((clause, name, micros(at)))
    return fetch_arrow(
        timeline.cursor(),
        f"""SELECT leaf_index, kind::VARCHAR AS kind, {fold.KEY.format("subject")} AS subject_key,
            source::VARCHAR AS source, purpose::VARCHAR AS purpose, effective_at, recorded_at
        FROM event WHERE {_KNOWN} AND {" AND ".join(clause for clause, _, _ in wanted)}
        ORDER BY leaf_index LIMIT $limit OFFSET $skip""",  # noqa: S608
        timeline.knowledge
        | {name: value for _, name, value in wanted}
        | {"limit": 2**62 if limit is None else limit, "skip": skip},
    )


def people_not_given(timeline: Timeline, source: str, purpose: str, *, as_of: datetime) -> pa.Table:
    """Everybody who has said something about a source and purpose, and whose consent to it cannot be used.

    Returns:
        subject_key and reason, in order of the keys.
    """
    spans = timeline.fold(source, purpose)
    return fetch_arrow(
        timeline.cursor(),
        f"""SELECT subject_key, reason::VARCHAR AS reason FROM {spans.name}
        WHERE reason IS NOT NULL AND from_at <= $as_of AND until_at > $as_of ORDER BY subject_key""",  # noqa: S608
        {"as_of": micros(as_of)},
    )
