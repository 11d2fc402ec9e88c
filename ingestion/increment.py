"""What a new data version may keep of the one before it, so that only what was touched is computed anew.

Kept are the rows of people of whom nothing has changed: no new record, no other terms of consent, no record that has
grown too old meanwhile, no day that was asked for and is not there. Of these people only the days from the last one
of the version before are computed. Whatever cannot be told is computed: records that were taken out of a batch, rows
that were taken out of the version, a version of another build.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from consent.clock import format_instant, parse_instant
from consent.home import Home
from consent.timeline import Timeline
from ingestion.tables import Version, scan_table, sorted_keys
from ingestion.vault import Batch, subjects_of

DAY_US = 86_400_000_000


class Term(NamedTuple):
    """What of a person may be used for one purpose; where `data_life` is not null, it depends on the day."""

    subject_key: str
    purpose: str
    data_from: datetime | None
    data_until: datetime | None
    data_life: Any


@dataclass(frozen=True)
class Standing:
    """What a publish stands on.

    Attributes:
        batches: all of the source.
        terms: who may be used.
        last_day: up to which it is computed, days since 1970-01-01 UTC.
    """

    home: Home
    batches: Sequence[Batch]
    timeline: Timeline
    terms: frozenset[Term]
    last_day: int


@dataclass(frozen=True)
class Basis:
    """The version that rows are kept of.

    Attributes:
        last_day: up to which it was computed.
        timeline, decided_at: what consent said then.
        touched: people of whom everything is computed anew.
        aging: people whose records may have grown too old since.
    """

    version: Version
    last_day: int
    timeline: Timeline
    decided_at: datetime
    touched: pa.Array
    aging: pa.Array


def lineage(
    batches: Sequence[Batch], timeline: Timeline, decided_at: datetime, last_day: int
) -> dict[str, Any]:
    """What a version was computed from, for its manifest; `find_basis` reads it."""
    return {
        "batches": {b.batch_id: _hash(b) for b in batches},
        "ledger_size": timeline.ledger_size,
        "decided_at": format_instant(decided_at),
        "last_day": last_day,
    }


def _hash(batch: Batch) -> str:
    return batch.stores["vault"].sha256 if "vault" in batch.stores else ""


def find_basis(
    before: Version, now: Standing, terms_of: Callable[[Timeline, datetime], Collection[Term]]
) -> Basis | None:
    """The version before, if rows of it can be kept.

    Args:
        terms_of: who could be used on what a timeline says, at an instant.
    """
    told = before.lineage
    if before.removed_rows or not {"last_day", "decided_at"} <= told.keys():
        return None
    batches = {b.batch_id: _hash(b) for b in now.batches}
    if now.last_day < told["last_day"] or any(batches.get(b) != h for b, h in told["batches"].items()):
        return None
    timeline, decided_at = now.timeline.of_size(told["ledger_size"]), parse_instant(told["decided_at"])
    touched = {term.subject_key for term in now.terms ^ set(terms_of(timeline, decided_at))}
    for batch in now.batches:
        if batch.batch_id not in told["batches"]:
            touched |= subjects_of(now.home, "vault", batch)
    aging = {term.subject_key for term in now.terms if term.data_life is not None}
    return Basis(before, told["last_day"], timeline, decided_at, _array(touched), _array(aging))


class Kept(NamedTuple):
    """Rows that stay, and of whom."""

    rows: pa.Table
    subjects: pa.Array


def keep(
    home: Home, basis: Basis, subjects: pa.Array, wanted_days: pa.Table, *, last_day: int
) -> Kept | None:
    """The rows of the version before that stay, of those people of whom nothing has changed; None if none do.

    Args:
        wanted_days: subject_key, day.
    """
    untouched = subjects.filter(pc.invert(pc.is_in(subjects, value_set=basis.touched)))
    pieces = scan_table(home, basis.version, subjects=sorted_keys(untouched.to_pylist()))
    rows = [_of(piece, untouched) for piece in pieces]
    if not any(len(piece) for piece in rows):
        return None
    table = pa.concat_tables(rows)
    people = table["subject_key"].unique()
    # The last day of a version has a row for everybody; of those before it, the days of activity and those asked for.
    before = basis.last_day if basis.last_day < last_day else last_day + 1
    table = table.filter(pc.less(_day(table), before))
    lacking = _lacking(table, wanted_days, before)
    there = pc.and_(
        pc.is_in(untouched, value_set=people),
        pc.invert(pc.is_in(untouched, value_set=lacking)),
    )
    kept = untouched.filter(there)
    return Kept(_of(table, kept), kept)


def _lacking(rows: pa.Table, wanted_days: pa.Table, before: int) -> pa.Array:
    """People of whom a day before that was asked for and is not there."""
    wanted = wanted_days.filter(pc.less(wanted_days["day"], before))
    there = pa.table({"subject_key": rows["subject_key"], "day": _day(rows)})
    lacking = wanted.join(there, keys=["subject_key", "day"], join_type="left anti")
    return lacking["subject_key"].combine_chunks()


def _day(rows: pa.Table) -> pa.ChunkedArray:
    """The last day that each row has seen; its instant is the midnight after."""
    return pc.subtract(pc.divide(rows["event_timestamp"].cast(pa.int64()), DAY_US), 1)


def _of(rows: pa.Table, subjects: pa.Array) -> pa.Table:
    keys = rows["subject_key"].cast(pa.string())
    return rows.set_column(0, "subject_key", keys).filter(pc.is_in(keys, value_set=subjects))


def _array(subjects: Collection[str]) -> pa.Array:
    return pa.array(sorted(subjects), pa.string())
