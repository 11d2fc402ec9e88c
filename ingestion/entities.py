"""Entity frames from files: whom a training set is about, at which instants, with whatever labels come along."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from consent.errors import BadInput
from consent.home import Home
from ingestion.readers import read_columns
from ingestion.source import INSTANT, Column

#: Stands for a person nobody has recorded consent of; no grant can ever name it.
NOBODY = "0" * 32
_EVENT_TIMESTAMP = Column("event_timestamp", INSTANT, "The instant the row is about.")


def read_entities(home: Home, path: Path, *, subject_column: str = "subject_id") -> pa.Table:
    """A CSV or Parquet file as an entity frame.

    Args:
        path: a file with `subject_column` (customer numbers) or ``subject_key``, and ``event_timestamp``.

    Returns:
        ``subject_key`` (`NOBODY` where the customer number is not known), ``event_timestamp`` and every other
        column as it stands; one row per row of the file, in its order.

    Raises:
        BadInput: the file cannot be used; no value is quoted.
    """
    others = _read_as_it_stands(path)
    names = others.column_names
    if len(set(names)) < len(names) or (
        subject_column != "subject_key" and {subject_column, "subject_key"} <= set(names)
    ):
        raise BadInput(
            f"{path.name}: a column is there twice, or both customer numbers and subject keys are",
            remedy="Keep one of them.",
        )
    pseudonymous = subject_column not in others.column_names and "subject_key" in others.column_names
    column = "subject_key" if pseudonymous else subject_column
    parsed = read_columns(path, "entities", (_EVENT_TIMESTAMP,), subject_column=column)
    faulty = parsed["event_timestamp"].null_count
    if faulty:
        raise BadInput(
            f"{path.name}: event_timestamp is missing or unreadable in {faulty} of {parsed.num_rows} rows",
            remedy="Write date-times like 2026-11-23T08:00:00+08:00.",
        )
    keys = parsed["subject_id"] if pseudonymous else pseudonymise(home, parsed["subject_id"])
    entities = pa.table(
        {"subject_key": pc.fill_null(keys, NOBODY), "event_timestamp": parsed["event_timestamp"]}
    )
    for name in others.column_names:
        if name not in (column, "event_timestamp"):
            entities = entities.append_column(name, others[name])
    return entities


def pseudonymise(home: Home, subject_id: pa.ChunkedArray) -> pa.ChunkedArray:
    """Subject keys for customer numbers; null for people of whom no consent was ever recorded."""
    encoded = subject_id.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    known = pa.array(home.directory.find(encoded.dictionary.to_pylist()), pa.string())
    return pa.chunked_array([known.take(encoded.indices)])


def _read_as_it_stands(path: Path) -> pa.Table:
    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path)
        if path.suffix.lower() == ".csv":
            return _numbers_where_exact(path)
    except (pa.ArrowException, OSError, UnicodeError):
        raise BadInput(
            f"{path.name}: the file cannot be read", remedy="Give a CSV (UTF-8) or Parquet file."
        ) from None
    raise BadInput(f"{path.name}: the format is not known", remedy="Give a CSV or Parquet file.")


def _numbers_where_exact(path: Path) -> pa.Table:
    """A CSV file, with numbers as numbers; a column stays text if a number would lose something: a leading zero."""
    options = pacsv.ParseOptions(newlines_in_values=True)
    table = pacsv.read_csv(path, parse_options=options)
    as_text = pacsv.ConvertOptions(column_types=dict.fromkeys(table.column_names, pa.string()))
    if len(set(table.column_names)) < len(table.column_names):
        return table
    text = pacsv.read_csv(path, parse_options=options, convert_options=as_text)
    for i, field in enumerate(table.schema):
        if pa.types.is_integer(field.type):
            spelled = pc.if_else(pc.is_valid(table[i]), text[i], None)
            if not pc.all(pc.equal(table[i].cast(pa.string()), spelled)).as_py():
                table = table.set_column(i, field.name, text[i])
    return table
