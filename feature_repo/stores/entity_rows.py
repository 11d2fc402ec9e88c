"""The rows that features are wanted for, as Arrow: what the caller gave, a subject and an instant for each."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
from pandas.api.types import is_datetime64_any_dtype

from consent.errors import BadInput, ConfigError
from feature_repo.stores.point_in_time import Asked, group_by_person
from feature_repo.stores.source import EVENT_TIMESTAMP
from ingestion.source import INSTANT

_ROWS_PER_READ = 65_536


class Chunk:
    """Some entity rows.

    Attributes:
        table: the caller's columns and rows, in their order.
        at: the instant of each row, rounded down to microseconds; null where there is none.
    """

    def __init__(self, table: pa.Table, at: pa.Array) -> None:
        self.table = table
        self.at = at
        self._asked: dict[str, Asked] = {}

    def by_person(self, column: str) -> Asked:
        """The rows by the person that a column names; what is no string names nobody."""
        if column not in self._asked:
            self._asked[column] = group_by_person(_subject_keys(self.table[column]), self.at)
        return self._asked[column]

    def fingerprint(self, columns: Collection[str]) -> bytes:
        """A hash of whom these columns name, and of the instants."""
        rows = RowsHash(columns)
        rows.add(self)
        return rows.digest()


class RowsHash:
    """A hash of whom some columns of entity rows name, and of the instants, however the rows are cut into chunks."""

    def __init__(self, columns: Collection[str]) -> None:
        self._at = hashlib.blake2b()
        self._columns = {column: (hashlib.blake2b(), hashlib.blake2b()) for column in sorted(columns)}

    def add(self, chunk: Chunk) -> None:
        """Take the rows that follow."""
        self._at.update(chunk.at.view(pa.int64()).fill_null(-1).to_numpy())
        for column, (lengths, content) in self._columns.items():
            keys = _subject_keys(chunk.table[column])
            lengths.update(pc.binary_length(keys).fill_null(-1).to_numpy())
            _, offsets, data = keys.fill_null("").buffers()
            if len(keys) and data is not None:
                ends = np.frombuffer(offsets, np.int32)[keys.offset : keys.offset + len(keys) + 1]
                content.update(memoryview(data)[ends[0] : ends[-1]])

    def digest(self) -> bytes:
        """32 bytes."""
        whole = hashlib.blake2b(self._at.digest(), digest_size=32)
        for column, hashes in self._columns.items():
            whole.update(hashlib.blake2b(column.encode()).digest())
            for each in hashes:
                whole.update(each.digest())
        return whole.digest()


@dataclass(frozen=True)
class EntityRows:
    """Entity rows; there may be more than fit into memory.

    Attributes:
        content: the rows themselves, or files with them.
        timestamp_column: the one that holds the instants.
        at: the instant of each row; None where they are still in the files.
    """

    content: pa.Table | pads.Dataset
    timestamp_column: str
    at: pa.Array | None = None

    @property
    def column_names(self) -> list[str]:
        """The caller's columns."""
        names: list[str] = self.content.schema.names
        return names

    @cached_property
    def rows(self) -> int:
        """Their number.

        Raises:
            BadInput: the files cannot be read.
        """
        if isinstance(self.content, pa.Table):
            return int(self.content.num_rows)
        try:
            return int(self.content.count_rows())
        except (pa.ArrowException, OSError):
            raise _unreadable() from None

    @property
    def between(self) -> tuple[Any, Any]:
        """The first and the last instant; None where there is none, or they are still in the files."""
        if self.at is None:
            return None, None
        extremes = pc.min_max(self.at)
        return extremes["min"].as_py(), extremes["max"].as_py()

    def chunks(self, most: int) -> Iterator[Chunk]:
        """At most so many rows at a time, in order; one empty chunk if there are none.

        Raises:
            BadInput: the files cannot be read.
        """
        if self.at is None:
            for table in _batches(self.content, most):
                yield Chunk(table, _instants(table[self.timestamp_column].to_pandas()))
            return
        for low in range(0, max(self.rows, 1), most):
            yield Chunk(self.content.slice(low, most), self.at.slice(low, most))


def read_entity_rows(entity_df: object, needed: Collection[str]) -> EntityRows:
    """Take over a data frame, an Arrow table, or an Arrow dataset of files; later changes to a frame do not matter.

    Args:
        needed: columns that must be there.

    Raises:
        ConfigError: it is none of these.
        BadInput: a column is missing, or holds values of several types.
    """
    if not isinstance(entity_df, pd.DataFrame | pa.Table | pads.Dataset):
        raise ConfigError(
            "entity rows must be a pandas data frame, an Arrow table or dataset, or SQL: a range of time names"
            " nobody",
            remedy="Name the people and the instants, in the columns subject_key and event_timestamp.",
        )
    names = list(entity_df.columns if isinstance(entity_df, pd.DataFrame) else entity_df.schema.names)
    if len(set(names)) < len(names):
        raise BadInput("two columns of the entity rows have the same name", remedy="Rename one.")
    timestamp_column = _timestamp_column(names, _of_instants(entity_df))
    missing = sorted(set(needed) - set(names))
    if missing:
        raise BadInput(f"the entity rows lack the column {', '.join(missing)}", remedy="Add it.")
    if isinstance(entity_df, pd.DataFrame):
        table = pa.table({str(name): _to_arrow(str(name), entity_df[name]) for name in names})
        return EntityRows(table, timestamp_column, _instants(entity_df[timestamp_column]))
    if isinstance(entity_df, pa.Table):
        return EntityRows(entity_df, timestamp_column, _instants(entity_df[timestamp_column].to_pandas()))
    return EntityRows(entity_df, timestamp_column)


def _of_instants(entity_df: pd.DataFrame | pa.Table | pads.Dataset) -> list[str]:
    """The columns that hold instants by their type."""
    if isinstance(entity_df, pd.DataFrame):
        return [str(name) for name in entity_df.columns if is_datetime64_any_dtype(entity_df[name])]
    return [field.name for field in entity_df.schema if pa.types.is_timestamp(field.type)]


def _timestamp_column(names: Sequence[str], of_instants: Sequence[str]) -> str:
    """``event_timestamp``, or else the only column of instants: Feast's rule, without its remark on stdout."""
    if EVENT_TIMESTAMP in names:
        return EVENT_TIMESTAMP
    if len(of_instants) != 1:
        raise BadInput(
            f"the entity rows lack the column {EVENT_TIMESTAMP}", remedy="Add the instant each row is about."
        )
    return of_instants[0]


def _to_arrow(name: str, column: pd.Series) -> pa.ChunkedArray:
    try:
        return pa.chunked_array(pa.array(column, from_pandas=True))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError):
        # Their own messages quote the value.
        raise BadInput(
            f"column {name} of the entity rows holds values of several types", remedy="Give it one type."
        ) from None


def _instants(column: pd.Series) -> pa.Array:
    """What is no instant becomes null, and so a row of which nothing may be seen; without an offset it is UTC."""
    parsed = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    try:
        floored = parsed.dt.floor("us").dt.as_unit("us")
    except (pd.errors.OutOfBoundsDatetime, OverflowError):  # it quotes the value
        raise BadInput("an instant of the entity rows is too far off", remedy="Mend it.") from None
    return pa.array(floored, INSTANT, from_pandas=True)


def _subject_keys(column: pa.ChunkedArray) -> pa.StringArray:
    """A column as strings; null where, and if, it holds none."""
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        return pa.nulls(len(column), pa.string())
    strings = column.cast(pa.string())
    return strings.chunk(0) if strings.num_chunks == 1 else strings.combine_chunks()


def _batches(dataset: pads.Dataset, most: int) -> Iterator[pa.Table]:
    """The rows of files, so many at a time, in the order of files and rows."""
    waiting, number, given = [dataset.schema.empty_table()], 0, False
    # Left to itself Arrow reads ahead as fast as it can, all of it.
    options: dict[str, Any] = {"use_threads": False, "batch_readahead": 1, "fragment_readahead": 1}
    if isinstance(getattr(dataset, "format", None), pads.ParquetFileFormat):
        unbuffered = pads.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)
        options["fragment_scan_options"] = unbuffered
    reader = dataset.scanner(batch_size=min(most, _ROWS_PER_READ), **options).to_reader()
    while (batch := _next(reader)) is not None:
        waiting.append(pa.Table.from_batches([batch]))
        number += batch.num_rows
        while number >= most:
            table = pa.concat_tables(waiting)
            yield table.slice(0, most)
            waiting, number, given = [table.slice(most)], number - most, True
    if number or not given:
        yield pa.concat_tables(waiting)


def _next(reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None
    except (pa.ArrowException, OSError):  # its text quotes what it could not read
        raise _unreadable() from None


def _unreadable() -> BadInput:
    return BadInput(
        "the files of the entity rows cannot be read",
        remedy="Give Parquet files, and leave them alone while they are read.",
    )
