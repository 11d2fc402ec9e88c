"""Reads a file that is written as a source's columns are.

A column that holds another type altogether is refused with a clear error. A single cell that cannot be parsed becomes
null and its row is marked ``malformed``; the validation suite then quarantines it. No error here ever quotes a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.types as pt

from consent.timeline import private_duckdb
from ingestion.cells import EXPECTED, PATTERNS, SQL_TYPES, kind_of, parsed_schema, quoted
from ingestion.mapping import Layout
from ingestion.raw_rows import read_raw, refuse
from ingestion.source import INSTANT, MONEY, Column


@dataclass(frozen=True)
class _Expected:
    what: str
    columns: tuple[Column, ...]
    subject_column: str


def read_columns(
    path: Path, what: str, columns: Sequence[Column], *, subject_column: str, encoding: str = "utf-8"
) -> pa.Table:
    """One file as a table of the columns asked for; columns nobody asked for are not read.

    Args:
        what: what kind of file it should be, for errors ("spending").
        columns: the columns and their types.
        subject_column: the file's column with the customer number.
        encoding: of CSV and JSONL text.

    Returns:
        One row per row of the file, in its order: ``subject_id`` (string), the columns in their types,
        ``row_number`` (int64, 0-based), ``malformed`` (string: names of columns whose cell could not be parsed,
        comma-separated, else null) and ``raw`` (string: those cells as they stood, else null; personal).

    Raises:
        BadInput: the file cannot be used; names the file, the column and the remedy, never a value.
    """
    expected = _Expected(what, tuple(columns), subject_column)
    raw = read_raw(path, lambda file, present: _wanted(file, present, expected), Layout(encoding=encoding))
    return _parse(path, raw, expected)


def _wanted(path: Path, present: list[str], expected: _Expected) -> list[str]:
    """The columns to read, once it is clear that all required ones are there, once each."""
    if expected.subject_column not in present:
        refuse(
            path,
            f"there is no subject column {expected.subject_column!r}",
            "Name the column that holds the customer number with --subject-column.",
        )
    if expected.subject_column in {c.name for c in expected.columns}:
        refuse(
            path,
            f"{expected.subject_column!r} is a column of {expected.what}",
            "Name another subject column.",
        )
    missing = [c.name for c in expected.columns if c.required and c.name not in present]
    if missing:
        refuse(
            path,
            f"column {', '.join(missing)} is missing",
            f"A {expected.what} file needs: {', '.join(c.name for c in expected.columns if c.required)}.",
        )
    wanted = [expected.subject_column] + [c.name for c in expected.columns if c.name in present]
    twice = [name for name in wanted if present.count(name) > 1]
    if twice:
        refuse(path, f"column {', '.join(twice)} is there twice", "Remove or rename one of them.")
    return wanted


def _parse(path: Path, raw: pa.Table, expected: _Expected) -> pa.Table:
    """Turn every cell into its column's type, or into null and a mark."""
    present = [c for c in expected.columns if c.name in raw.column_names]
    values, faults = [f"{_subject_sql(path, raw, expected.subject_column)} AS subject_id"], []
    for column in expected.columns:
        if column not in present:
            default = f"'{column.default}'" if column.default else "NULL"
            values.append(f'CAST({default} AS {SQL_TYPES[column.type]}) AS "{column.name}"')
            continue
        value, fault = _cell_sql(path, column, raw.schema.field(column.name).type)
        values.append(f'{value} AS "{column.name}"')
        faults.append((column.name, fault))
    names = ", ".join(f"CASE WHEN {fault} THEN '{name}' END" for name, fault in faults)
    cells = ", ".join(
        f"CASE WHEN {fault} THEN '{name}=' || CAST(\"{name}\" AS VARCHAR) END" for name, fault in faults
    )
    connection = private_duckdb()
    connection.register(
        "raw", _plain(raw).append_column("row_number", pa.array(range(raw.num_rows), pa.int64()))
    )
    parsed = connection.sql(
        f"SELECT {', '.join(values)}, row_number, nullif(concat_ws(',', {names}), '') AS malformed,"  # noqa: S608
        f" nullif(concat_ws(chr(31), {cells}), '') AS raw FROM raw ORDER BY row_number"
    ).to_arrow_table()
    connection.close()
    table = parsed.cast(parsed_schema(expected.columns))
    for column in present:
        _require_some_parsed(path, column, raw, table)
    return table


def _plain(raw: pa.Table) -> pa.Table:
    """Dictionaries decoded, so that one set of rules fits."""
    for i, field in enumerate(raw.schema):
        if pt.is_dictionary(field.type):
            raw = raw.set_column(i, field.name, raw.column(i).cast(field.type.value_type))
    return raw


def _subject_sql(path: Path, raw: pa.Table, subject_column: str) -> str:
    kind = kind_of(raw.schema.field(subject_column).type)
    if kind not in ("text", "integer"):
        refuse(
            path,
            f"column {subject_column} holds {raw.schema.field(subject_column).type}, expected text or whole numbers",
            "Store customer numbers as text.",
        )
    return f"nullif(trim(CAST({quoted(subject_column)} AS VARCHAR)), '')"


_ACCEPTED: dict[pa.DataType, tuple[str, ...]] = {
    pa.string(): ("text", "integer"),
    INSTANT: ("text", "timestamp", "date"),
    pa.date32(): ("text", "timestamp", "date"),
    MONEY: ("text", "integer", "decimal", "floating"),
    pa.int64(): ("text", "integer", "floating"),
}


def _cell_sql(path: Path, column: Column, type_: pa.DataType) -> tuple[str, str]:
    """(the value or null, whether there was something that could not be parsed)."""
    kind = kind_of(type_)
    if kind not in _ACCEPTED[column.type]:
        refuse(
            path,
            f"column {column.name} holds {type_}, expected {EXPECTED[column.type]}",
            "Send it in that form.",
        )
    cell, target = f'"{column.name}"', SQL_TYPES[column.type]
    if kind == "text":
        cell = f"nullif(trim(CAST({cell} AS VARCHAR)), '')"
        if column.type == pa.string():
            return cell, "false"
        pattern = PATTERNS[column.type]
        value = f"CASE WHEN regexp_full_match({cell}, '{pattern}') THEN TRY_CAST({cell} AS {target}) END"
    elif kind == "floating":
        digits = 2 if column.type == MONEY else 0
        value = (
            f"CASE WHEN abs({cell} - round({cell}, {digits})) < 1e-6 THEN TRY_CAST({cell} AS {target}) END"
        )
    else:
        value = f"TRY_CAST({cell} AS {target})"
    return value, f"({cell} IS NOT NULL AND ({value}) IS NULL)"


def _require_some_parsed(path: Path, column: Column, raw: pa.Table, parsed: pa.Table) -> None:
    """A column in which no cell at all can be parsed is a wrong column, not a few wrong cells."""
    there = raw.num_rows - raw[column.name].null_count
    if there and parsed[column.name].null_count == parsed.num_rows and column.type != pa.string():
        refuse(path, f"column {column.name}: no cell is {EXPECTED[column.type]}", "Send it in that form.")
