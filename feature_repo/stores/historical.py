"""One execution of a historical fetch: read the ledger, find each row's value, decide, mask, leave a receipt.

Entity rows are taken so many at a time as the configured memory allows. There is one receipt for all of them, and it
is on disk before the first value is handed out. A fetch that is wanted whole holds its values back until then. One
that is streamed goes over keys and instants first, which says who is in it and how many values there are; then over
the values, and decides again for every batch, on what the ledger says by then. A value comes out if it was allowed
both times: what somebody takes back while the batches are read stays out of the later ones, and what becomes allowed
meanwhile is not in the receipt, so it stays out too. The receipt may count more than was handed out, never less.

A training set is reproduced from its receipt in the same way: the data versions of then, decided twice, on what the
ledger says now and on what it said then.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consent.callers import current_caller
from consent.errors import BadInput, ConfigError, EvidenceError
from consent.home import Home
from consent.nouns import Reason
from consent.timeline import Timeline
from feature_repo.stores.config import ConsentStoreConfig
from feature_repo.stores.entity_rows import Chunk, EntityRows, RowsHash
from feature_repo.stores.lineage import tell
from feature_repo.stores.members import write_members
from feature_repo.stores.point_in_time import (
    Asked,
    Booleans,
    Found,
    Integers,
    positions,
    reasons_for,
    rows_as_of,
)
from feature_repo.stores.receipts import Receipt, TableUsed, ViewOutcome, write_receipt
from feature_repo.stores.source import DEPRECATED, SUBJECT_KEY, require_consent_view
from ingestion.tables import Version, empty_table, read_current, read_version, scan_table

#: Bytes that an entity row takes while it is worked on: by itself, for each view, and for each column; measured.
_ROW_BYTES, _VIEW_BYTES, _COLUMN_BYTES = 250, 80, 24
#: What reading a piece of a table and asking the ledger take, whatever the number of rows.
_FIXED_BYTES = 72 * 2**20
_FEWEST_ROWS = 10_000


class DeprecatedDefinition(FutureWarning):
    """The definition of a view is on its way out."""


@dataclass(frozen=True)
class ViewPlan:
    """What is wanted of one feature view.

    Attributes:
        entity: column of the entity rows that holds the subject key.
        columns: output column -> table column.
    """

    name: str
    source: str
    table: str
    entity: str
    columns: dict[str, str]
    ttl: timedelta | None


def plan_view(view: Any, feature_refs: list[str], *, full: bool) -> ViewPlan:
    """What of a view the references ask for.

    Raises:
        Gap, Denied: the view is not one that consent can be decided on.
    """
    source = require_consent_view(view)
    if view.tags.get(DEPRECATED):
        warnings.warn(
            f"{view.name} is deprecated: {view.tags[DEPRECATED]}", DeprecatedDefinition, stacklevel=2
        )
    name = view.projection.name_to_use()
    mapped = {feature: column for column, feature in source.field_mapping.items()}
    refs = (ref.rpartition(":") for ref in feature_refs)
    wanted = dict.fromkeys(feature for view_name, _, feature in refs if view_name == name)
    return ViewPlan(
        name=name,
        source=source.source,
        table=source.table,
        entity=view.projection.join_key_map.get(SUBJECT_KEY, SUBJECT_KEY),
        columns={f"{name}__{f}" if full else f: mapped.get(f, f) for f in wanted},
        ttl=view.ttl,
    )


def require_new_names(entities: EntityRows, views: list[ViewPlan]) -> None:
    """Raise unless every column of the result has a name of its own.

    Raises:
        ConfigError: it has not.
    """
    names = [*entities.column_names, *(name for view in views for name in view.columns)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(
            f"two columns of the result would be called {', '.join(repeated)}",
            remedy="Use full_feature_names=True, or rename the column of the entity rows.",
        )


@dataclass(frozen=True)
class Wanted:
    """What a fetch is for.

    Attributes:
        memory_limit_mb: for the work on entity rows, see `rows_at_a_time`.
        reproduced: the receipt whose values are wanted again.
        data_versions: table -> data version to read instead of the newest.
    """

    store: ConsentStoreConfig
    views: list[ViewPlan]
    entities: EntityRows
    feature_refs: tuple[str, ...]
    memory_limit_mb: int
    full_feature_names: bool = False
    reproduced: Receipt | None = None
    data_versions: Mapping[str, int] = field(default_factory=dict)

    def at_versions(self, numbers: Mapping[str, int]) -> Wanted:
        """The same from other data versions than the newest.

        Raises:
            BadInput: a table is not among those that are read.
        """
        unknown = sorted(set(numbers) - {view.table for view in self.views})
        if unknown:
            raise BadInput(
                f"nothing is read from {', '.join(unknown)}",
                remedy=f"This fetch reads: {', '.join(sorted({view.table for view in self.views}))}.",
            )
        return replace(self, data_versions={**self.data_versions, **numbers})

    def as_in(self, receipt: Receipt) -> Wanted:
        """The same once more as a receipt tells of it.

        Raises:
            BadInput: it tells of something else.
        """
        asked = (self.store.purpose, self.feature_refs, self.full_feature_names)
        if asked != (receipt.purpose, receipt.features, receipt.full_feature_names):
            raise BadInput(
                "the receipt is of another fetch",
                remedy="Ask for its purpose, features and full_feature_names, in its order.",
            )
        return replace(self, reproduced=receipt)

    @property
    def entity_columns(self) -> set[str]:
        """Columns of the entity rows that name people."""
        return {view.entity for view in self.views}

    @property
    def rows_at_a_time(self) -> int:
        """Entity rows that fit into the memory limit, with all that is worked out about them."""
        columns = len(self.entities.column_names) + sum(len(view.columns) for view in self.views)
        each = _ROW_BYTES + _VIEW_BYTES * len(self.views) + _COLUMN_BYTES * columns
        return max(_FEWEST_ROWS, (self.memory_limit_mb * 2**20 - _FIXED_BYTES) // each)

    def chunks(self) -> Iterator[Chunk]:
        """The entity rows, so many at a time."""
        return self.entities.chunks(self.rows_at_a_time)


def fetch(wanted: Wanted) -> tuple[pa.Table, Receipt]:
    """The entity rows with their features, decided now, and the receipt, which is on disk by then.

    Raises:
        Unavailable: the ledger, a table or the receipt's place cannot be used; then there are no values.
        EvidenceError: the ledger or a table was changed.
        BadInput: the files of the entity rows cannot be read.
    """
    execution = Execution(wanted)
    tables = [execution.answer(chunk) for chunk in wanted.chunks()]
    return pa.concat_tables(tables), execution.leave_receipt()


def stream(wanted: Wanted) -> tuple[Iterator[pa.Table], Receipt]:
    """As `fetch`, in batches, which are worked out one by one as they are taken.

    Raises:
        Unavailable, EvidenceError, BadInput: as `fetch`. A later batch also raises Unavailable if an erasure has
            taken a file of a table out meanwhile, and BadInput if the entity rows are not those of the beginning.
    """
    if wanted.entities.rows <= wanted.rows_at_a_time:
        table, receipt = fetch(wanted)
        return iter([table]), receipt
    execution = Execution(wanted)
    decided = [execution.decide(chunk) for chunk in wanted.chunks()]
    receipt = execution.leave_receipt()
    return execution.answer_again(decided), receipt


class Execution:
    """One execution: the tables as they were when it began, and the counts for its receipt.

    Args:
        at: a receipt; the execution then stands where the one of this receipt stood: its tables, its ledger entries,
            its instant.
    """

    def __init__(self, wanted: Wanted, *, at: Receipt | None = None) -> None:
        self._wanted = wanted
        self._home = wanted.store.open_home()
        self._versions = _versions(self._home, wanted, at or wanted.reproduced)
        timeline, self._checkpoint = _read_ledger(self._home)
        self._timeline = timeline if at is None else timeline.of_size(at.ledger_size)
        # The clock after the ledger: a withdrawal on record is then never in the future.
        self._now = self._home.ledger.now() if at is None else at.created_at
        self._rows = 0
        self._outcomes = [ViewOutcome(view.name, view.source, 0, 0, {}) for view in wanted.views]
        self._people: pa.StringArray = pa.array([], pa.string())
        self._rows_hash = RowsHash(wanted.entity_columns)

    def look(self, chunk: Chunk) -> list[Seen]:
        """What consent says to some entity rows, without reading a feature; counted nowhere."""
        return self._look(chunk, values=False)

    def answer(self, chunk: Chunk) -> pa.Table:
        """Some entity rows with their features; counted for the receipt."""
        seen = self._look(chunk)
        self._count(chunk, seen)
        return _joined(chunk, [each.features(each.given) for each in seen])

    def decide(self, chunk: Chunk) -> _Decided:
        """Which features may be given, without reading any; counted for the receipt."""
        seen = self._look(chunk, values=False)
        self._count(chunk, seen)
        return _Decided(self._fingerprint(chunk), [np.packbits(each.given) for each in seen])

    def answer_again(self, decided: list[_Decided]) -> Iterator[pa.Table]:
        """The rows of the chunks that were decided, with the features that may be given now as they might then."""
        for chunk, then in zip_longest(self._wanted.chunks(), decided):
            if chunk is None or then is None or self._fingerprint(chunk) != then.fingerprint:
                raise BadInput(
                    "the entity rows have changed since the fetch began",
                    remedy="Leave their files alone meanwhile.",
                )
            self._timeline, self._now = self._home.gate.timeline(), self._home.ledger.now()
            before = then.unpacked(chunk.table.num_rows)
            seen = self._look(chunk)
            yield _joined(
                chunk, [each.features(each.given & b) for each, b in zip(seen, before, strict=True)]
            )

    def leave_receipt(self) -> Receipt:
        """Write down the people and the receipt.

        Raises:
            Unavailable: they cannot be written.
            BadInput: the entity rows are not those of the receipt that is to be reproduced.
        """
        reproduced, rows_hash = self._wanted.reproduced, self._rows_hash.digest().hex()
        if reproduced is not None and rows_hash != reproduced.entities_hash:
            raise BadInput(
                "these are not the entity rows of that receipt",
                remedy="Give the same people and instants in the same order.",
            )
        versions = [self._versions[table] for table in sorted(self._versions)]
        members_hash = write_members(self._home, self._people.to_pylist())
        draft = Receipt(
            receipt_id="",
            created_at=self._now,
            caller=current_caller(),
            purpose=self._wanted.store.purpose,
            full_feature_names=self._wanted.full_feature_names,
            features=self._wanted.feature_refs,
            tables=tuple(TableUsed(v.table, v.number, v.definition_hash) for v in versions),
            ledger_size=self._timeline.ledger_size,
            checkpoint=self._checkpoint,
            entity_rows=self._rows,
            entities_hash=rows_hash,
            subjects=len(self._people),
            members_hash=members_hash,
            views=tuple(self._outcomes),
            reproduces=None if reproduced is None else reproduced.receipt_id,
        )
        receipt = write_receipt(self._home, draft)
        tell(self._home, receipt)
        return receipt

    def _look(self, chunk: Chunk, *, values: bool = True) -> list[Seen]:
        """What the views hold for some entity rows, and what consent says to it."""
        return [
            self._look_into(view, chunk, list(dict.fromkeys(view.columns.values())) if values else [])
            for view in self._wanted.views
        ]

    def _look_into(self, view: ViewPlan, chunk: Chunk, columns: list[str]) -> Seen:
        asked, version = chunk.by_person(view.entity), self._versions[view.table]
        about = (view.source, self._wanted.store.purpose)
        people = pa.chunked_array([asked.people])
        at_now = self._timeline.judge(people, *about, data_at=None, as_of=self._now, derived=True)
        willing = people.filter(pc.is_null(at_now)).combine_chunks()
        pieces = scan_table(self._home, version, columns=columns, subjects=willing)
        shape = empty_table(self._home, version, columns)
        found = rows_as_of(asked, pieces, columns=shape, ttl=view.ttl)
        reasons = reasons_for(self._timeline, *about, asked, at_now, found.value_at, now=self._now)
        if self._wanted.reproduced is not None:
            reasons = pc.coalesce(reasons, self._reasons_then(self._wanted.reproduced, about, asked, found))
        return Seen(view, chunk.table.num_rows, asked, found, reasons)

    def _reasons_then(self, receipt: Receipt, about: tuple[str, str], asked: Asked, found: Found) -> pa.Array:
        """Why the rows might not see their values when the receipt was written."""
        timeline, then = self._timeline.of_size(receipt.ledger_size), receipt.created_at
        people = pa.chunked_array([asked.people])
        at_then = timeline.judge(people, *about, data_at=None, as_of=then, derived=True)
        return reasons_for(timeline, *about, asked, at_then, found.value_at, now=then)

    def _count(self, chunk: Chunk, seen: list[Seen]) -> None:
        self._rows += chunk.table.num_rows
        self._rows_hash.add(chunk)
        self._outcomes = [_sum(o, each.outcome) for o, each in zip(self._outcomes, seen, strict=True)]
        self._people = pa.concat_arrays([self._people, *(each.people for each in seen)]).unique()

    def _fingerprint(self, chunk: Chunk) -> bytes:
        return chunk.fingerprint(self._wanted.entity_columns)


@dataclass(frozen=True)
class _Decided:
    """What was decided on a chunk: for each view whose features may be given, a bit for each row."""

    fingerprint: bytes
    given: list[Any]

    def unpacked(self, rows: int) -> list[Booleans]:
        return [np.unpackbits(bits, count=rows).astype(np.bool_) for bits in self.given]


@dataclass(frozen=True)
class Seen:
    """One view's rows for a chunk.

    Attributes:
        rows: of the chunk.
        reasons: why each of the rows asked about may not see its value; null where it may.
    """

    view: ViewPlan
    rows: int
    asked: Asked
    found: Found
    reasons: pa.Array

    @cached_property
    def given(self) -> Booleans:
        """Which entity rows may see a value, and have one."""
        given = np.zeros(self.rows, np.bool_)
        allowed = pc.is_null(self.reasons).to_numpy(zero_copy_only=False)
        given[self.asked.rows] = allowed & (self.found.places >= 0)
        return given

    def features(self, given: Booleans) -> pa.Table:
        """The features of the entity rows, null where they are not given."""
        places: Integers = np.full(self.rows, -1)
        places[self.asked.rows] = self.found.places
        rows = positions(np.where(given, places, -1))
        return pa.table({name: self.found.table[c].take(rows) for name, c in self.view.columns.items()})

    @property
    def people(self) -> pa.StringArray:
        """Of whom a value is given."""
        used = np.zeros(len(self.asked.people), np.bool_)
        used[self.asked.person[self.given[self.asked.rows]]] = True
        return self.asked.people.filter(pa.array(used))

    @property
    def outcome(self) -> ViewOutcome:
        """What became of the entity rows."""
        counted = pc.value_counts(self.reasons.drop_null()).to_pylist()
        masked = {str(entry["values"]): int(entry["counts"]) for entry in counted}
        nobody = self.rows - len(self.asked.rows)
        if nobody:
            masked[Reason.UNKNOWN.value] = masked.get(Reason.UNKNOWN.value, 0) + nobody
        given = int(self.given.sum())
        no_data = self.rows - given - sum(masked.values())
        return ViewOutcome(self.view.name, self.view.source, given, no_data, masked)


def _versions(home: Home, wanted: Wanted, receipt: Receipt | None) -> dict[str, Version]:
    """The data versions to read: those of a receipt; else those asked for, or the newest.

    Raises:
        Gap, Unavailable: one is not there.
        EvidenceError: its definition is not the one of the receipt.
    """
    tables = [view.table for view in wanted.views]
    if receipt is None:
        pinned = wanted.data_versions
        return {
            table: read_version(home, table, pinned[table]) if table in pinned else read_current(home, table)
            for table in tables
        }
    used = {u.table: u for u in receipt.tables}
    versions = {table: read_version(home, table, used[table].version) for table in tables}
    for table, version in versions.items():
        if version.definition_hash != used[table].definition_hash:
            raise EvidenceError(
                f"data version {version.number} of {table} is not the one the receipt names",
                remedy="Restore the tables from a copy.",
            )
    return versions


def _read_ledger(home: Home) -> tuple[Timeline, str | None]:
    """What consent says, and a signed checkpoint over at least that."""
    timeline, note = home.gate.timeline(), home.ledger.checkpoint()
    signed = home.ledger.require_checkpoint(note) if note else 0
    if signed < timeline.ledger_size:
        raise EvidenceError(
            f"the log signed {signed} entries but holds {timeline.ledger_size}",
            remedy="Run `assent log audit`.",
        )
    return timeline, note.decode() if note else None


def _joined(chunk: Chunk, features: list[pa.Table]) -> pa.Table:
    columns = [(name, table[name]) for table in (chunk.table, *features) for name in table.column_names]
    return pa.table([column for _, column in columns], names=[name for name, _ in columns])


def _sum(one: ViewOutcome, other: ViewOutcome) -> ViewOutcome:
    reasons = [*one.masked, *(reason for reason in other.masked if reason not in one.masked)]
    masked = {reason: one.masked.get(reason, 0) + other.masked.get(reason, 0) for reason in reasons}
    return ViewOutcome(one.view, one.source, one.given + other.given, one.no_data + other.no_data, masked)
