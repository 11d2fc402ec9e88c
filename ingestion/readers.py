"""Reads a lender's file into a source's columns: Parquet, CSV or JSONL, plain or gzipped.

Structure is judged here and refused whole with a clear error: what cannot be opened, misses a column, or holds
another type altogether. A single cell that cannot be parsed becomes null and its row is marked ``malformed``; the
validation suite then quarantines it. No error here ever quotes a cell, nor a header, which in a file without a
header row would be somebody's data.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pyarrow.types as pt

from consent.errors import BadInput
from consent.timeline import private_duckdb
from ingestion.source import INSTANT, MONEY, Column


@dataclass(frozen=True)
class _Expected:
    what: str
    columns: tuple[Column, ...]
    subject_column: str


_FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_DATE = r"\d{4}-\d{2}-\d{2}"
_PATTERNS = {
    INSTANT: rf"{_DATE}([T ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d{{1,6}})?)?(Z|[+-]\d{{2}}:\d{{2}})?)?",
    pa.date32(): _DATE,
    MONEY: r"[+-]?\d{1,16}(\.\d{1,2})?",
    pa.int64(): r"[+-]?\d{1,18}",
}
_SQL_TYPES = {
    INSTANT: "TIMESTAMPTZ",
    pa.date32(): "DATE",
    MONEY: "DECIMAL(18, 2)",
    pa.int64(): "BIGINT",
    pa.string(): "VARCHAR",
}
_EXPECTED = {
    INSTANT: "a date-time like 2026-11-23T08:00:00+08:00",
    pa.date32(): "a date like 2026-11-23",
    MONEY: "an amount like 1234.50",
    pa.int64(): "a whole number",
    pa.string(): "text",
}


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
    raw = _read_raw(path, expected, encoding)
    if raw.num_rows == 0:
        _refuse(path, "the file has no rows", "Leave it out, or send it again if it should have some.")
    return _parse(path, raw, expected)


def _refuse(path: Path, what: str, remedy: str) -> NoReturn:
    raise BadInput(f"{path.name}: {what}", remedy=remedy) from None


def _read_raw(path: Path, expected: _Expected, encoding: str) -> pa.Table:
    """The wanted columns as the file has them; text for CSV and JSONL."""
    if not path.is_file():
        _refuse(path, "there is no such file", "Check the path.")
    if path.stat().st_size == 0:
        _refuse(path, "the file is empty", "Leave it out, or send it again if it should have rows.")
    suffixes = [s.lower() for s in path.suffixes]
    plain = suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else suffixes[-1] if suffixes else ""
    match _FORMATS.get(plain):
        case "parquet":
            return _read_parquet(path, expected)
        case "csv":
            return _read_csv(path, expected, encoding)
        case "jsonl":
            return _read_jsonl(path, expected, encoding)
    _refuse(
        path,
        "the format is not known",
        f"Use a file ending in {', '.join(_FORMATS)}, or one of them with .gz.",
    )


def _wanted(path: Path, present: list[str], expected: _Expected) -> list[str]:
    """The columns to read, once it is clear that all required ones are there, once each."""
    if expected.subject_column not in present:
        _refuse(
            path,
            f"there is no subject column {expected.subject_column!r}",
            "Name the column that holds the customer number with --subject-column.",
        )
    if expected.subject_column in {c.name for c in expected.columns}:
        _refuse(
            path,
            f"{expected.subject_column!r} is a column of {expected.what}",
            "Name another subject column.",
        )
    missing = [c.name for c in expected.columns if c.required and c.name not in present]
    if missing:
        _refuse(
            path,
            f"column {', '.join(missing)} is missing",
            f"A {expected.what} file needs: {', '.join(c.name for c in expected.columns if c.required)}.",
        )
    wanted = [expected.subject_column] + [c.name for c in expected.columns if c.name in present]
    twice = [name for name in wanted if present.count(name) > 1]
    if twice:
        _refuse(path, f"column {', '.join(twice)} is there twice", "Remove or rename one of them.")
    return wanted


def _read_parquet(path: Path, expected: _Expected) -> pa.Table:
    try:
        file = pq.ParquetFile(path)
        wanted = _wanted(path, file.schema_arrow.names, expected)
        return file.read(columns=wanted)
    except (pa.ArrowException, OSError):
        _refuse(path, "this is no readable Parquet file; it may be cut short", "Send the file again.")


def _text_error(path: Path, encoding: str) -> NoReturn:
    _refuse(
        path,
        f"the text is not {encoding}, or a row is damaged",
        "Name the encoding with --encoding (for Chinese text often gb18030), or send the file again.",
    )


def _open_text(path: Path, encoding: str) -> io.TextIOWrapper:
    name = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
    try:
        return io.TextIOWrapper(pa.input_stream(path, compression="detect"), encoding=name, newline="")
    except LookupError:
        _refuse(
            path,
            "the encoding has a name nobody knows",
            "Use one that Python knows: utf-8, gb18030, gbk, ...",
        )


def _read_csv(path: Path, expected: _Expected, encoding: str) -> pa.Table:
    try:
        with _open_text(path, encoding) as text:
            header = next(csv.reader(text), [])
    except (UnicodeError, csv.Error, OSError):
        _text_error(path, encoding)
    wanted = _wanted(path, header, expected)
    ragged: list[int] = []

    def note_ragged(_row: Any) -> str:
        ragged.append(1)
        return "skip"

    try:
        table = pacsv.read_csv(
            pa.input_stream(path, compression="detect"),
            read_options=pacsv.ReadOptions(encoding=encoding),
            parse_options=pacsv.ParseOptions(newlines_in_values=True, invalid_row_handler=note_ragged),
            convert_options=pacsv.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowException, UnicodeError, OSError):
        _text_error(path, encoding)
    if ragged:
        _refuse(
            path,
            f"{len(ragged)} rows have another number of fields than the header",
            "Quote fields that hold a comma, or send the file again.",
        )
    return table


def _read_jsonl(path: Path, expected: _Expected, encoding: str) -> pa.Table:
    try:
        with _open_text(path, encoding) as text:
            records = list(_parse_lines(path, text))
    except (UnicodeError, OSError):
        _text_error(path, encoding)
    present = list(dict.fromkeys(name for record in records for name in record))
    wanted = _wanted(path, present, expected)
    return pa.table({name: pa.array([r.get(name) for r in records], pa.string()) for name in wanted})


def _parse_lines(path: Path, text: io.TextIOWrapper) -> Iterator[dict[str, str | None]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line, parse_int=str, parse_float=str, parse_constant=str)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            _refuse(path, f"line {number} is not a JSON object", "Write one object per line.")
        for name, value in record.items():
            if isinstance(value, bool | list | dict):
                _refuse(
                    path, f"line {number}: a field is neither text nor a number", "Flatten nested fields."
                )
            if isinstance(value, str) and not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError:
                    _refuse(path, f"line {number}: a field holds half a character", "Send the file again.")
            record[name] = None if value == "" else value
        yield record


def _parse(path: Path, raw: pa.Table, expected: _Expected) -> pa.Table:
    """Turn every cell into its column's type, or into null and a mark."""
    present = [c for c in expected.columns if c.name in raw.column_names]
    values, faults = [f"{_subject_sql(path, raw, expected.subject_column)} AS subject_id"], []
    for column in expected.columns:
        if column not in present:
            default = f"'{column.default}'" if column.default else "NULL"
            values.append(f'CAST({default} AS {_SQL_TYPES[column.type]}) AS "{column.name}"')
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
    table = parsed.cast(_parsed_schema(expected))
    for column in present:
        _require_some_parsed(path, column, raw, table)
    return table


def _parsed_schema(expected: _Expected) -> pa.Schema:
    text = pa.string()
    fields = [("subject_id", text), *((c.name, c.type) for c in expected.columns)]
    return pa.schema([*fields, ("row_number", pa.int64()), ("malformed", text), ("raw", text)])


def _plain(raw: pa.Table) -> pa.Table:
    """Dictionaries decoded, so that one set of rules fits."""
    for i, field in enumerate(raw.schema):
        if pt.is_dictionary(field.type):
            raw = raw.set_column(i, field.name, raw.column(i).cast(field.type.value_type))
    return raw


def _subject_sql(path: Path, raw: pa.Table, subject_column: str) -> str:
    kind = _kind(raw.schema.field(subject_column).type)
    if kind not in ("text", "integer"):
        _refuse(
            path,
            f"column {subject_column} holds {raw.schema.field(subject_column).type}, expected text or whole numbers",
            "Store customer numbers as text.",
        )
    return f"nullif(trim(CAST({_quoted(subject_column)} AS VARCHAR)), '')"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


_ACCEPTED: dict[pa.DataType, tuple[str, ...]] = {
    pa.string(): ("text", "integer"),
    INSTANT: ("text", "timestamp", "date"),
    pa.date32(): ("text", "timestamp", "date"),
    MONEY: ("text", "integer", "decimal", "floating"),
    pa.int64(): ("text", "integer", "floating"),
}


def _kind(type_: pa.DataType) -> str:
    if pt.is_dictionary(type_):
        return _kind(type_.value_type)
    if pt.is_null(type_) or pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_):
        return "text"
    for kind in ("integer", "floating", "decimal", "timestamp", "date"):
        if getattr(pt, f"is_{kind}")(type_):
            return kind
    return "other"


def _cell_sql(path: Path, column: Column, type_: pa.DataType) -> tuple[str, str]:
    """(the value or null, whether there was something that could not be parsed)."""
    kind = _kind(type_)
    if kind not in _ACCEPTED[column.type]:
        _refuse(
            path,
            f"column {column.name} holds {type_}, expected {_EXPECTED[column.type]}",
            "Send it in that form.",
        )
    cell, target = f'"{column.name}"', _SQL_TYPES[column.type]
    if kind == "text":
        cell = f"nullif(trim(CAST({cell} AS VARCHAR)), '')"
        if column.type == pa.string():
            return cell, "false"
        pattern = _PATTERNS[column.type]
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
        _refuse(path, f"column {column.name}: no cell is {_EXPECTED[column.type]}", "Send it in that form.")
