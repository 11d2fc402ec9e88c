"""Which row of a feature table an entity row sees, and whether it may: on keys and instants alone.

A published table lies sorted by person and instant, and is read piece by piece. So the point-in-time join is the
merge that ends an ASOF join, without the hashing and sorting of all rows that goes before it in an engine: per piece
a binary search for each entity row of the piece's people. Only the rows found are kept.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from operator import methodcaller
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from consent.clock import MICROSECOND
from consent.timeline import Timeline
from feature_repo.stores.source import EVENT_TIMESTAMP, SUBJECT_KEY

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
_NOWHERE = -1
_AS_TEXT = methodcaller("as_py")


@dataclass(frozen=True)
class Asked:
    """The entity rows that name a person and an instant, person by person.

    Attributes:
        people: subject keys, each once, in order.
        rows: positions among all entity rows, those of the first person first.
        starts: where in `rows` each person's begin; one more, the end.
        at: the instant of each of `rows`, microseconds.
    """

    people: pa.StringArray
    rows: Integers
    starts: Integers
    at: Integers

    @cached_property
    def person(self) -> Integers:
        """Whose each of `rows` is, as a place in `people`."""
        return np.repeat(np.arange(len(self.people)), np.diff(self.starts))


def group_by_person(keys: pa.StringArray, at: pa.TimestampArray) -> Asked:
    """The entity rows by person; those without a key or an instant are left out.

    Args:
        at: microseconds.
    """
    encoded = keys.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    rows = np.flatnonzero(pc.and_(pc.is_valid(keys), pc.is_valid(at)).to_numpy(zero_copy_only=False))
    person = rank[encoded.indices.take(pa.array(rows)).to_numpy()]
    by_person = np.argsort(person, kind="stable")
    rows = rows[by_person]
    return Asked(
        people=encoded.dictionary.take(pa.array(order)),
        rows=rows,
        starts=np.concatenate(([0], np.cumsum(np.bincount(person, minlength=len(order))))),
        at=at.view(pa.int64()).take(pa.array(rows)).to_numpy(),
    )


@dataclass(frozen=True)
class Found:
    """What was found for `Asked.rows`.

    Attributes:
        table: event_timestamp and features of the rows found.
        places: of each of `Asked.rows`, where in `table`; -1: nothing.
    """

    table: pa.Table
    places: Integers

    @property
    def value_at(self) -> pa.ChunkedArray:
        """Event time of each value found; null where there is none."""
        return self.table[EVENT_TIMESTAMP].take(positions(self.places))


def rows_as_of(
    asked: Asked, pieces: Iterable[pa.Table], *, columns: pa.Table, ttl: timedelta | None
) -> Found:
    """The latest feature row at or before each entity row, and no older than `ttl`.

    Args:
        pieces: as `ingestion.tables.scan_table` gives them: those in which the people's rows could be.
        columns: no rows, in the pieces' schema.
    """
    life = ttl // MICROSECOND if ttl else None
    places = np.full(len(asked.rows), _NOWHERE)
    kept, number = [columns.drop_columns([SUBJECT_KEY])], 0
    for piece in pieces:
        slots, rows = _match(asked, piece, life)
        # Of a person in two pieces the later one has the later rows.
        places[slots] = np.arange(number, number + len(slots))
        number += len(slots)
        if len(slots):
            kept.append(piece.drop_columns([SUBJECT_KEY]).take(pa.array(rows)))
    return Found(pa.concat_tables(kept).combine_chunks(), places)


def _match(asked: Asked, piece: pa.Table, life: int | None) -> tuple[Integers, Integers]:
    """Entity rows of the piece's people that see a row of it, as places in `asked.rows`, and that row."""
    key = _combined(piece[SUBJECT_KEY])
    code = key.indices.to_numpy()
    begins = np.flatnonzero(np.concatenate(([True], code[1:] != code[:-1])))
    ends = np.concatenate((begins[1:], [len(code)]))
    names = key.dictionary.take(pa.array(code[begins]))
    low = bisect_left(asked.people, names[0].as_py(), key=_AS_TEXT)
    high = bisect_right(asked.people, names[-1].as_py(), key=_AS_TEXT)
    run = pc.index_in(asked.people[low:high], value_set=names).fill_null(_NOWHERE).to_numpy()
    here = np.flatnonzero(run != _NOWHERE)
    first = asked.starts[low + here]
    each = asked.starts[low + here + 1] - first
    slots = np.arange(each.sum()) + np.repeat(first - np.cumsum(each) + each, each)
    begin, end = (np.repeat(side[run[here]], each) for side in (begins, ends))
    at = _combined(piece[EVENT_TIMESTAMP]).view(pa.int64()).to_numpy()
    wanted = asked.at[slots]
    rows = _last_not_after(at, begin, end, wanted)
    seen = rows >= begin
    if life is not None:
        seen &= at[rows] >= wanted - life
    return slots[seen], rows[seen]


def _last_not_after(at: Integers, begin: Integers, end: Integers, wanted: Integers) -> Integers:
    """In each range ``[begin, end)`` of rising instants the last that is not after the one wanted; else begin - 1."""
    low, high = begin, end
    for _ in range(int(np.max(end - begin, initial=0)).bit_length()):
        middle = (low + high) // 2
        later = (low < high) & (at[np.minimum(middle, len(at) - 1)] <= wanted)
        low, high = np.where(later, middle + 1, low), np.where(later, high, middle)
    return low - 1


def latest_rows(rows: pa.Table) -> pa.Table:
    """Each person's last row, of rows sorted by person and instant."""
    code = _combined(rows[SUBJECT_KEY].dictionary_encode()).indices.to_numpy()
    last = np.append(code[1:] != code[:-1], True)[: len(code)]
    return rows.filter(pa.array(last))


def reasons_for(
    timeline: Timeline,
    source: str,
    purpose: str,
    asked: Asked,
    at_now: pa.ChunkedArray,
    value_at: pa.ChunkedArray,
    *,
    now: datetime,
) -> pa.Array:
    """Why each of `asked.rows` may not see its value; null where it may.

    Consent must be in force now and at the entity row's instant, both times for data as old as the value. Both
    limits on the data's age only ever exclude the older values, so judging the latest one alone is the same as
    leaving out what is not allowed before looking for the latest.

    Args:
        at_now: why each of `asked.people` may not be read of now, whatever the data's age; null where they may.
        value_at: event time of the value found; null where there is none, which asks about the consent alone.
    """
    reasons = _combined(at_now).take(pa.array(asked.person))
    keys, at = asked.people.take(pa.array(asked.person)), pa.array(asked.at).cast(pa.timestamp("us", "UTC"))
    found = _combined(pc.is_valid(value_at))
    for has_value in (True, False):
        undecided = pc.and_(pc.is_null(reasons), found if has_value else pc.invert(found))
        rows = pa.table({"key": keys, "at": at, "value_at": value_at}).filter(undecided)
        data_at = rows["value_at"] if has_value else None
        then = timeline.judge(rows["key"], source, purpose, data_at=data_at, as_of=rows["at"], derived=True)
        if has_value:
            today = timeline.judge(rows["key"], source, purpose, data_at=data_at, as_of=now, derived=True)
            then = pc.coalesce(today, then)
        reasons = pc.replace_with_mask(reasons, undecided, _combined(then.cast(pa.string())))
    return reasons


def positions(places: Integers) -> pa.Array:
    """For `take`: null where there is nothing."""
    return pa.array(places, mask=places == _NOWHERE)


def _combined(column: pa.ChunkedArray) -> Any:
    """One array."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
