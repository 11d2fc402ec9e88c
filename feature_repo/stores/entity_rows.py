"""The rows that features are wanted for, as Arrow: what the caller gave, a subject and an instant for each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
from pandas.api.types import is_datetime64_any_dtype

from consent.errors import BadInput, ConfigError
from feature_repo.stores.source import EVENT_TIMESTAMP
from ingestion.source import INSTANT


@dataclass(frozen=True)
class EntityRows:
    """Entity rows.

    Attributes:
        table: the caller's columns and rows, in their order.
        timestamp_column: the one that holds the instants.
        at: the instant of each row, rounded down to microseconds; null where there is none.
        subject_keys: column name -> its values as strings, null where a value is no string.
    """

    table: pa.Table
    timestamp_column: str
    at: pa.ChunkedArray
    subject_keys: dict[str, pa.ChunkedArray]


def read_entity_rows(entity_df: object, key_columns: Collection[str]) -> EntityRows:
    """Take over a data frame; later changes to it do not matter.

    Raises:
        ConfigError: it is not a data frame.
        BadInput: a column is missing, or holds values of several types.
    """
    if not isinstance(entity_df, pd.DataFrame):
        raise ConfigError(
            "entity rows must be a pandas data frame, or SQL: a range of time names nobody",
            remedy="Name the people and the instants, in the columns subject_key and event_timestamp.",
        )
    if not entity_df.columns.is_unique:
        raise BadInput("two columns of the entity rows have the same name", remedy="Rename one.")
    timestamp_column = _timestamp_column(entity_df)
    missing = sorted(set(key_columns) - set(entity_df.columns))
    if missing:
        raise BadInput(f"the entity rows lack the column {', '.join(missing)}", remedy="Add it.")
    return EntityRows(
        table=pa.table({str(name): _to_arrow(str(name), entity_df[name]) for name in entity_df.columns}),
        timestamp_column=timestamp_column,
        at=_instants(entity_df[timestamp_column]),
        subject_keys={name: _subject_keys(entity_df[name]) for name in key_columns},
    )


def _timestamp_column(entity_df: pd.DataFrame) -> str:
    """``event_timestamp``, or else the only column of instants: Feast's rule, without its remark on stdout."""
    if EVENT_TIMESTAMP in entity_df.columns:
        return EVENT_TIMESTAMP
    instants = [name for name in entity_df.columns if is_datetime64_any_dtype(entity_df[name])]
    if len(instants) != 1:
        raise BadInput(
            f"the entity rows lack the column {EVENT_TIMESTAMP}", remedy="Add the instant each row is about."
        )
    return str(instants[0])


def _to_arrow(name: str, column: pd.Series) -> pa.ChunkedArray:
    try:
        return pa.chunked_array(pa.array(column, from_pandas=True))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError):
        # Their own messages quote the value.
        raise BadInput(
            f"column {name} of the entity rows holds values of several types", remedy="Give it one type."
        ) from None


def _instants(column: pd.Series) -> pa.ChunkedArray:
    """What is no instant becomes null, and so a row of which nothing may be seen."""
    parsed = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    floored = parsed.dt.floor("us").dt.as_unit("us")
    return pa.chunked_array([pa.array(floored, INSTANT, from_pandas=True)])


def _subject_keys(column: pd.Series) -> pa.ChunkedArray:
    return pa.chunked_array(
        [pa.array([value if isinstance(value, str) else None for value in column], pa.string())]
    )
