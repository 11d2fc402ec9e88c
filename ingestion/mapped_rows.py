"""Reads a lender's file through a mapping: other columns, codes, dates and numbers become a source's.

A cell that cannot be understood becomes null and its row is marked ``malformed``; the validation suite then
quarantines it. No row is dropped: what the mapping leaves out is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from consent.errors import BadInput
from consent.timeline import fetch_arrow, private_duckdb
from ingestion.cells import kind_of, literal, parsed_schema, quoted
from ingestion.mapped_sql import Sql, cell_sql, runs_sql, strict_codes_sql
from ingestion.mapping import SUBJECT, Layout, Lookup, Mapping, parse_mapping
from ingestion.raw_rows import read_raw, refuse
from ingestion.source import Column, Source


@dataclass(frozen=True)
class FileRows:
    """One file as it was read.

    Attributes:
        rows: as `read_columns` gives them, ``row_number`` by position in the file; without those left out.
        in_file: rows of the file.
        left_out: rows that the mapping leaves out.
        cells: what our columns were made of, as text, one row per row of `rows`; personal. None without a mapping.
    """

    rows: pa.Table
    in_file: int
    left_out: int = 0
    cells: pa.Table | None = None


def read_mapping(path: Path, source: Source) -> Mapping:
    """A mapping file.

    Raises:
        BadInput: it cannot be read or understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        raise BadInput(
            f"{path.name}: the mapping file cannot be read", remedy="Give a TOML file in UTF-8."
        ) from None
    return parse_mapping(text, source)


def read_mapped(path: Path, source: Source, mapping: Mapping, *, first: int | None = None) -> FileRows:
    """One file through a mapping.

    Args:
        first: look at so many rows only; None: at all.

    Raises:
        BadInput: the file cannot be used, or holds a code that the mapping says may not occur; no value is named.
    """
    raw = read_raw(path, _chooser(mapping.columns(), "the mapping reads"), mapping.layout)
    connection = private_duckdb()
    try:
        table = _as_text(path, raw.slice(0, first))
        table = table.append_column("row_number", pa.array(range(table.num_rows), pa.int64()))
        connection.register("raw", table)
        made = _prepare(connection, path, mapping)
        kept = f"SELECT * FROM made WHERE NOT ({_left_out(mapping)}) ORDER BY row_number"  # noqa: S608
        prepared = made.query("made", kept).to_arrow_table()
    finally:
        connection.close()
    rows = map_rows(prepared, source, mapping)
    _require_no_strict_fault(path, prepared, mapping)
    _require_some_understood(path, rows, source.columns, mapping)
    left_out = table.num_rows - prepared.num_rows
    return FileRows(rows, raw.num_rows, left_out, prepared.select(mapping.kept_columns()))


def map_rows(prepared: pa.Table, source: Source, mapping: Mapping) -> pa.Table:
    """Our columns, of the lender's.

    Args:
        prepared: ``row_number``, and all columns the mapping's cells are made of, as text.
    """
    values, faults = [], []
    types = {SUBJECT: pa.string()} | {c.name: c.type for c in source.columns}
    for name, type_ in types.items():
        made = _sql_of(name, type_, source, mapping)
        values.append(f"CASE WHEN NOT {made.fault} THEN {made.value} END AS {quoted(name)}")
        faults.append(f"CASE WHEN {made.fault} THEN {literal(name)} END")
    connection = private_duckdb()
    connection.register("prepared", prepared)
    rows = fetch_arrow(
        connection,
        f"SELECT {', '.join(values)}, row_number, nullif(concat_ws(',', {', '.join(faults)}), '') AS malformed,"  # noqa: S608
        " CAST(NULL AS VARCHAR) AS raw FROM prepared ORDER BY row_number",
    )
    connection.close()
    return rows.cast(parsed_schema(source.columns))


def _sql_of(name: str, type_: pa.DataType, source: Source, mapping: Mapping) -> Sql:
    if name in mapping.cells:
        return cell_sql(mapping.cells[name], type_, mapping.layout)
    default = next((c.default for c in source.columns if c.name == name), None)
    return Sql(literal(default) if default else "NULL", "false", "true")


def _chooser(wanted: Sequence[str], reads: str) -> Any:
    """Takes the wanted columns of a file, each of which must be there once."""

    def choose(path: Path, present: list[str]) -> list[str]:
        missing = [name for name in wanted if name not in present]
        if missing:
            refuse(
                path,
                f"column {', '.join(missing)} is missing, which {reads}",
                "Mend the mapping, or the file.",
            )
        twice = [name for name in wanted if present.count(name) > 1]
        if twice:
            refuse(path, f"column {', '.join(twice)} is there twice", "Remove or rename one of them.")
        return list(wanted)

    return choose


def _as_text(path: Path, raw: pa.Table) -> pa.Table:
    """Every column as the text that the mapping's rules are about."""
    forms = []
    for field in raw.schema:
        name, kind = quoted(field.name), kind_of(field.type)
        if kind == "other":
            refuse(path, f"column {field.name} holds {field.type}", "Send text, numbers or dates.")
        if kind == "timestamp":
            zone = "Z" if field.type.tz else ""
            form = f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%f{zone}')"
        elif kind == "floating":
            exact = f"CAST(TRY_CAST({name} AS DECIMAL(28, 6)) AS VARCHAR)"
            form = rf"coalesce(regexp_replace({exact}, '[.]?0+$', ''), CAST({name} AS VARCHAR))"
        else:
            form = f"CAST({name} AS VARCHAR)"
        forms.append(f"{form} AS {name}")
    connection = private_duckdb()
    connection.register("raw", raw)
    text = fetch_arrow(connection, f"SELECT {', '.join(forms)} FROM raw")  # noqa: S608
    connection.close()
    return text


def _prepare(connection: Any, path: Path, mapping: Mapping) -> Any:
    """The file's rows with what lookups and runs add."""
    for lookup in mapping.lookups:
        connection.register(lookup.name, _read_lookup(path, lookup))
    taken = "".join(
        f", {quoted(lookup.name)}.{quoted(name)} AS {quoted(f'{lookup.name}.{name}')}"
        for lookup in mapping.lookups
        for name in lookup.take
    )
    joins = "".join(
        f" LEFT JOIN {quoted(lookup.name)}"
        f" ON trim(raw.{quoted(lookup.on)}) = {quoted(lookup.name)}.{quoted(lookup.key)}"
        for lookup in mapping.lookups
    )
    joined = f"(SELECT raw.*{taken} FROM raw{joins})"  # noqa: S608
    return connection.sql(runs_sql(mapping.runs, joined) if mapping.runs else f"SELECT * FROM {joined}")  # noqa: S608


def _left_out(mapping: Mapping) -> str:
    tests = (
        f"coalesce(trim({quoted(name)}) IN ({', '.join(literal(value) for value in values)}), false)"
        for name, values in mapping.leave_out
    )
    return " OR ".join(tests) or "false"


def _read_lookup(beside: Path, lookup: Lookup) -> pa.Table:
    """The rows of the other file that count, one per key."""
    path = beside.with_name(lookup.file)
    wanted = list(dict.fromkeys([lookup.key, *lookup.take, *(column for column, _ in lookup.where)]))
    layout = Layout(lookup.format, encoding=lookup.encoding, delimiter=lookup.delimiter)
    rows = _as_text(path, read_raw(path, _chooser(wanted, f"lookups.{lookup.name} reads"), layout))
    connection = private_duckdb()
    connection.register("other", rows)
    tests = [f"trim({quoted(column)}) = {literal(value)}" for column, value in lookup.where]
    tests.append(f"{quoted(lookup.key)} IS NOT NULL")
    names = ", ".join(f"trim({quoted(name)}) AS {quoted(name)}" for name in wanted)
    found = fetch_arrow(connection, f"SELECT DISTINCT {names} FROM other WHERE {' AND '.join(tests)}")  # noqa: S608
    connection.close()
    repeated = found.num_rows - len(found[lookup.key].unique())
    if repeated:
        refuse(
            path,
            f"{repeated} keys of lookups.{lookup.name} are there more than once, with other values",
            "Name in `where` which of them counts.",
        )
    return found


def _require_no_strict_fault(path: Path, prepared: pa.Table, mapping: Mapping) -> None:
    """Codes that may not occur at all refuse the file."""
    tests = {
        name: test
        for name, c in mapping.cells.items()
        if (test := strict_codes_sql(c, mapping.layout)) != "false"
    }
    if not tests:
        return
    connection = private_duckdb()
    connection.register("prepared", prepared)
    counts = ", ".join(f"count(*) FILTER ({test}) AS {quoted(name)}" for name, test in tests.items())
    (found,) = fetch_arrow(connection, f"SELECT {counts} FROM prepared").to_pylist()  # noqa: S608
    connection.close()
    for name, count in found.items():
        if count:
            refuse(
                path, f"{name}: {count} rows hold a code the mapping does not name", "Add it to the codes."
            )


def _require_some_understood(path: Path, rows: pa.Table, columns: Iterable[Column], mapping: Mapping) -> None:
    """A column in which every cell is a fault is a wrong rule, not a file of wrong cells."""
    faults = [set((text or "").split(",")) for text in rows["malformed"].unique().to_pylist()]
    for name in [SUBJECT, *(c.name for c in columns if c.name in mapping.cells)]:
        if faults and all(name in row for row in faults):
            refuse(
                path,
                f"{name}: the mapping understands no cell at all",
                f"Check columns.{name} of the mapping.",
            )
