"""A person's own records, unsealed: what a lender's files brought, and what is in quarantine, with the rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from consent.home import Home
from ingestion.source import INSTANT
from ingestion.sources import SOURCES
from ingestion.vault import Batch, Store, read_batch, read_batches

#: Rows that a page shows.
NEWEST = 100
_LOADED_AT = "loaded_at"
#: Ours, and the same in every row: whose it is, and the batch's number, which the loading time tells.
_NOT_TOLD = ("subject_key", "batch_order")


@dataclass
class Records:
    """One source's records in one store.

    Attributes:
        columns: when it was loaded, what the lender's file said, its row in that file; for quarantine also the rules
            it breaks and cells that could not be read.
    """

    home: Home
    store: Store
    source: str
    subject_key: str
    columns: list[str] = field(init=False)

    def __post_init__(self) -> None:
        known = [name for batch in self._batches() for name in batch.stores[self.store].arrow_schema().names]
        own = SOURCES[self.source].schema.names if self.source in SOURCES else []
        rest = [name for name in dict.fromkeys(known) if name not in own]
        self.columns = [_LOADED_AT, *(name for name in own if name in known), *rest]

    @property
    def event_time(self) -> str:
        """The column that dates a record."""
        return SOURCES[self.source].event_time if self.source in SOURCES else _LOADED_AT

    def tables(self) -> Iterator[pa.Table]:
        """The records, batch by batch, in the order in which they were loaded.

        Raises:
            EvidenceError: a file is not as it was written.
        """
        for batch in self._batches():
            for rows in read_batch(self.home, self.store, batch, subjects=[self.subject_key]):
                if rows.num_rows:
                    yield self._told(batch, rows)

    def _batches(self) -> list[Batch]:
        return [b for b in read_batches(self.home, self.source) if self.store in b.stores]

    def _told(self, batch: Batch, rows: pa.Table) -> pa.Table:
        loaded_at = pa.repeat(pa.scalar(batch.committed_at, INSTANT), rows.num_rows)
        rows = rows.drop_columns(_NOT_TOLD).append_column(_LOADED_AT, pa.chunked_array([loaded_at]))
        lacking = [name for name in self.columns if name not in rows.column_names]
        for name in lacking:  # a column that the source did not have yet
            rows = rows.append_column(name, pa.nulls(rows.num_rows))
        return rows.select(self.columns)


@dataclass
class Seen:
    """What a page says of records, gathered while they go by.

    Attributes:
        loads: when, how many rows.
        newest: the last rows by their own date, the last one first.
    """

    event_time: str
    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None
    loads: list[tuple[datetime, int]] = field(default_factory=list)
    newest: pa.Table | None = None

    def watch(self, tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
        """The same tables."""
        for table in tables:
            self._see(table)
            yield table

    def _see(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        self.loads.append((table[_LOADED_AT][0].as_py(), table.num_rows))
        extremes = pc.min_max(table[self.event_time]).as_py()
        dates = [at for at in (self.first, self.last, *extremes.values()) if at is not None]
        self.first, self.last = min(dates, default=None), max(dates, default=None)
        self.newest = self._newest_of(table)

    def _newest_of(self, table: pa.Table) -> pa.Table:
        order = pc.sort_indices(table, sort_keys=[(self.event_time, "descending")])
        mine = table.take(order.slice(0, NEWEST))
        if self.newest is None:
            return mine
        both = pa.concat_tables([self.newest, mine], promote_options="default")
        return both.take(pc.sort_indices(both, sort_keys=[(self.event_time, "descending")]).slice(0, NEWEST))
