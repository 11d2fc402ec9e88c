"""What a mapping file says: how a lender's columns become a source's. Strict, and pure.

A mapping file is TOML: ``source``, and the tables ``[file]``, ``[lookups.NAME]``, ``[runs]``, ``[leave_out]`` and
``[columns]``. ``docs/mapping-files.md`` explains each key. What is not understood is refused, never passed over.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, NoReturn
from zoneinfo import ZoneInfo

import pyarrow as pa

from consent.errors import BadInput
from ingestion.source import INSTANT, MONEY, Source

SUBJECT = "subject_id"
FILE_FORMATS = ("csv", "jsonl", "parquet")
#: Formats with a name of their own; every other is one of `strptime`.
NAMED_FORMATS = ("iso", "unix", "unix_ms")
_SPECIFIERS = frozenset("YymdHMSfbBjpIzaA%")
_ORIGINS = ("from", "join", "first_of", "value")
_OF_ONE_COLUMN = {"nulls", "drop", "whole_number", "codes", "otherwise", "unmapped", "then", "signs"}
_OF_THE_WHOLE = ("formats", "time_zone", "scale", "absolute")
_DATES, _NUMBERS = (INSTANT, pa.date32()), (MONEY, pa.int64())
Unmapped = Literal["quarantine", "error", "empty"]


@dataclass(frozen=True)
class Layout:
    """How the file is written; the table ``[file]``.

    Attributes:
        format: csv, jsonl or parquet; empty: as the file's name says.
        header: names of the columns of a file without a header row; empty: its first row names them.
        skip_lines: lines before the header.
        decimal, thousands: marks in numbers; no thousands mark if empty.
        nulls: what stands for "not known", besides nothing at all.
        time_zone: of date-times without an offset.
    """

    format: str = ""
    encoding: str = "utf-8"
    delimiter: str = ","
    header: tuple[str, ...] = ()
    skip_lines: int = 0
    decimal: str = "."
    thousands: str = ""
    nulls: tuple[str, ...] = ()
    time_zone: str = "UTC"


@dataclass(frozen=True)
class Lookup:
    """Another file of the lender, beside the one that is read, and what is taken from it.

    Attributes:
        on: column of the file that is read.
        key: column of the other file that must equal it; unique once `where` holds.
        take: columns of the other file; known as ``NAME.column``.
        where: column -> the only value that counts.
    """

    name: str
    file: str
    on: str
    key: str
    take: tuple[str, ...]
    where: tuple[tuple[str, str], ...] = ()
    format: str = ""
    encoding: str = "utf-8"
    delimiter: str = ","


@dataclass(frozen=True)
class Runs:
    """Rows of one month each, told apart into runs of consecutive months in one state.

    Known as ``run.first_day``; ``run.last_day``, on the run's last row and unless that is the file's last month;
    ``run.month_end``, the last day of the row's own month.
    """

    person: str
    month: str
    month_format: str
    state: str


@dataclass(frozen=True)
class Cell:
    """One cell of ours, made of the lender's.

    Attributes:
        column, parts, value: where it comes from; one of them.
        first: of the parts, the first with a value counts; else all are joined with `between`.
        drop: texts taken out.
        whole_number: ``123.0`` is ``123``.
        codes: the lender's code -> ours; ours may be empty: known to mean nothing.
        then: what it is wherever there is a value at all.
        signs: what it is where the number is below zero, and where not.
        scale: factor on a number; `absolute`: without its sign.
        formats: of dates, tried in order.
        default: where there is no value.
    """

    column: str = ""
    parts: tuple[Cell, ...] = ()
    value: str = ""
    first: bool = False
    between: str = ""
    nulls: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    whole_number: bool = False
    codes: tuple[tuple[str, str], ...] = ()
    otherwise: str | None = None
    unmapped: Unmapped = "quarantine"
    then: str | None = None
    signs: tuple[str, str] | None = None
    scale: Decimal | None = None
    absolute: bool = False
    formats: tuple[str, ...] = ()
    time_zone: str | None = None
    prefix: str = ""
    default: str | None = None

    def columns(self) -> Iterator[str]:
        """The lender's columns it is made of."""
        if self.column:
            yield self.column
        for part in self.parts:
            yield from part.columns()


@dataclass(frozen=True)
class Mapping:
    """A whole mapping file.

    Attributes:
        cells: our column, `SUBJECT` among them -> what it is made of.
        leave_out: column -> values; rows that hold one are no rows of the source.
        sha256: of the file, for the lineage.
    """

    source: str
    layout: Layout
    lookups: tuple[Lookup, ...]
    runs: Runs | None
    leave_out: tuple[tuple[str, tuple[str, ...]], ...]
    cells: dict[str, Cell]
    sha256: str

    def columns(self) -> list[str]:
        """The columns the file must have."""
        made = {f"{lookup.name}.{name}" for lookup in self.lookups for name in lookup.take}
        made |= {"run.first_day", "run.last_day", "run.month_end"} if self.runs else set()
        named = [name for cell in self.cells.values() for name in cell.columns() if name not in made]
        named += [name for name, _ in self.leave_out] + [lookup.on for lookup in self.lookups]
        if self.runs:
            named += [self.runs.person, self.runs.month, self.runs.state]
        return list(dict.fromkeys(named))

    def kept_columns(self) -> list[str]:
        """The columns, made ones included, that our columns but the subject's are made of."""
        named = (n for ours, cell in self.cells.items() if ours != SUBJECT for n in cell.columns())
        return list(dict.fromkeys(named))


def parse_mapping(text: str, source: Source) -> Mapping:
    """The mapping for a source.

    Raises:
        BadInput: a key or value cannot be understood, or a column of the source is missing; names the key.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        _refuse(f"it is not valid TOML ({error})", "Mend the syntax there.")
    _require_keys(raw, "the mapping", {"source", "file", "lookups", "runs", "leave_out", "columns"})
    if raw.get("source") != source.name:
        _refuse(f"it is not for {source.name}", f'Write source = "{source.name}", or use another mapping.')
    mapping = Mapping(
        source.name,
        _layout(_table(raw, "file")),
        tuple(_lookup(name, about) for name, about in _table(raw, "lookups").items()),
        _runs(raw["runs"]) if "runs" in raw else None,
        tuple(
            (name, _texts(values, f"leave_out.{name}")) for name, values in _table(raw, "leave_out").items()
        ),
        {name: _cell(cell, f"columns.{name}") for name, cell in _table(raw, "columns").items()},
        hashlib.sha256(text.encode()).hexdigest(),
    )
    _require_columns(mapping, source)
    return mapping


def _refuse(what: str, remedy: str) -> NoReturn:
    raise BadInput(f"the mapping file cannot be used: {what}", remedy=remedy) from None


def _require_keys(table: object, where: str, known: Collection[str]) -> dict[str, Any]:
    if not isinstance(table, dict):
        _refuse(f"{where} is no table", "Write it as a TOML table.")
    unknown = sorted(set(table) - set(known))
    if unknown:
        _refuse(f"{where} has a key nobody knows: {unknown[0]}", f"It may hold: {', '.join(sorted(known))}.")
    return table


def _table(raw: dict[str, Any], name: str) -> dict[str, Any]:
    table = raw.get(name, {})
    if not isinstance(table, dict):
        _refuse(f"{name} is no table", "Write it as a TOML table.")
    return table


def _text(value: object, where: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value or empty):
        _refuse(f"{where} is no text", "Write it in quotation marks.")
    return value


def _texts(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        _refuse(f"{where} is no list of texts", 'Write it like ["a", "b"].')
    return tuple(_text(item, where, empty=True) for item in value)


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        _refuse(f"{where} is neither true nor false", "Write true or false.")
    return value


def _layout(raw: dict[str, Any]) -> Layout:
    _require_keys(raw, "file", {f.name for f in fields(Layout)})
    read: dict[str, Any] = {}
    for name, value in raw.items():
        where = f"file.{name}"
        if name in ("header", "nulls"):
            read[name] = _texts(value, where)
        elif name == "skip_lines":
            if type(value) is not int or not 0 <= value <= 1000:
                _refuse(f"{where} is no number of lines", "Write a whole number from 0 to 1000.")
            read[name] = value
        else:
            read[name] = _text(value, where)
    layout = Layout(**read)
    for name in ("delimiter", "decimal", "thousands"):
        if len(getattr(layout, name)) > 1 or getattr(layout, name).isalnum():
            _refuse(f"file.{name} is not one mark", "Write one character, such as ; or a comma.")
    _require_format_of_file(layout.format, "file.format")
    if layout.decimal == layout.thousands:
        _refuse("file.decimal and file.thousands are the same", "Name two marks.")
    _time_zone(layout.time_zone, "file.time_zone")
    return layout


def _require_format_of_file(name: str, where: str) -> None:
    if name not in ("", *FILE_FORMATS):
        _refuse(f"{where} is no format that is known", f"Write one of: {', '.join(FILE_FORMATS)}.")


def _time_zone(name: object, where: str) -> str:
    try:
        ZoneInfo(_text(name, where))
    except (OSError, ValueError, KeyError):
        _refuse(f"{where} is no time zone that is known", "Write a name like Asia/Shanghai or UTC.")
    return str(name)


def _lookup(name: str, raw: object) -> Lookup:
    where = f"lookups.{name}"
    table = _require_keys(raw, where, {f.name for f in fields(Lookup)} - {"name"})
    if name == "run" or re.fullmatch("[a-z][a-z0-9_]*", name) is None:
        _refuse(f"{where} is no name for a lookup", "Write small letters, digits and _; not run.")
    missing = [key for key in ("file", "on", "key", "take") if key not in table]
    if missing:
        _refuse(f"{where} lacks {', '.join(missing)}", "Add it.")
    if re.fullmatch(r"[^/\\]+", _text(table["file"], f"{where}.file")) is None or table["file"] in (
        ".",
        "..",
    ):
        _refuse(f"{where}.file is no plain file name", "Put the file beside the one that is read.")
    only = _require_keys(table.get("where", {}), f"{where}.where", table.get("where", {}))
    plain = {key: _text(v, f"{where}.{key}") for key, v in table.items() if key not in ("take", "where")}
    _require_format_of_file(plain.get("format", ""), f"{where}.format")
    return Lookup(
        name=name,
        take=_texts(table["take"], f"{where}.take"),
        where=tuple((column, _text(value, f"{where}.where.{column}")) for column, value in only.items()),
        **plain,
    )


def _runs(raw: object) -> Runs:
    names = {f.name for f in fields(Runs)}
    table = _require_keys(raw, "runs", names)
    if missing := sorted(names - set(table)):
        _refuse(f"runs lacks {', '.join(missing)}", "Add it.")
    runs = Runs(**{name: _text(value, f"runs.{name}") for name, value in table.items()})
    _require_format(runs.month_format, "runs.month_format")
    return runs


# --------------------------------------------------------------------------------------------- cells


def _cell(raw: object, where: str) -> Cell:
    if isinstance(raw, str):
        return Cell(column=_text(raw, where))
    known = {f.name for f in fields(Cell)} - {"column", "parts", "first", "between", "signs"}
    table = _require_keys(raw, where, {*known, *_ORIGINS, "with", "negative", "positive"})
    origins = [name for name in _ORIGINS if name in table]
    if len(origins) != 1:
        _refuse(f"{where} does not come from one thing", f"Write one of: {', '.join(_ORIGINS)}.")
    read = _origin(table, origins[0], where)
    for name in sorted(set(table) - {*_ORIGINS, "with", "positive"}):
        read |= _modifier(table, name, where)
    if "positive" in table and "negative" not in table:
        _refuse(f"{where} has positive without negative", "Write both.")
    if origins[0] != "from" and (stray := sorted(set(read) & _OF_ONE_COLUMN)):
        _refuse(
            f"{where} changes what does not come from one column", f"Move {stray[0]} to the cell with `from`."
        )
    return Cell(**read)


def _origin(table: dict[str, Any], origin: str, where: str) -> dict[str, Any]:
    if origin in ("from", "value"):
        return {"column" if origin == "from" else "value": _text(table[origin], f"{where}.{origin}")}
    parts = table[origin]
    if not isinstance(parts, list) or not parts:
        _refuse(f"{where}.{origin} is no list", "List columns, or cells of their own.")
    cells = tuple(_cell(part, f"{where}.{origin}[{i}]") for i, part in enumerate(parts))
    between = _text(table.get("with", ""), f"{where}.with", empty=True)
    return {"parts": cells, "first": origin == "first_of", "between": between}


def _modifier(table: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value, here = table[name], f"{where}.{name}"
    match name:
        case "nulls" | "drop":
            return {name: _texts(value, here)}
        case "formats":
            formats = _texts(value, here)
            for one in formats:
                _require_format(one, here)
            return {name: formats}
        case "whole_number" | "absolute":
            return {name: _flag(value, here)}
        case "codes":
            codes = _require_keys(value, here, value if isinstance(value, dict) else ())
            return {
                name: tuple((key, _text(ours, f"{here}.{key}", empty=True)) for key, ours in codes.items())
            }
        case "unmapped":
            if value not in ("quarantine", "error", "empty"):
                _refuse(f"{here} is not a choice", 'Write "quarantine", "error" or "empty".')
            return {name: value}
        case "negative":
            if "positive" not in table:
                _refuse(f"{where} has negative without positive", "Write both.")
            return {"signs": (_text(value, here), _text(table["positive"], f"{where}.positive"))}
        case "scale":
            return {name: _scale(value, here)}
        case "time_zone":
            return {name: _time_zone(value, here)}
    return {name: _text(value, here)}


def _scale(value: object, where: str) -> Decimal:
    try:
        scale = Decimal(_text(value, where))
    except InvalidOperation:
        scale = Decimal(0)
    if not Decimal("0.000001") <= scale <= 1_000_000 or scale != round(scale, 6):
        _refuse(f"{where} is no factor", 'Write a number in quotation marks, such as "0.01".')
    return scale


def _require_format(text: str, where: str) -> None:
    """A format that leaves nothing open: known specifiers, and at least a year."""
    if text in NAMED_FORMATS:
        return
    found = re.findall("%(.?)", text)
    if not found or any(letter not in _SPECIFIERS or not letter for letter in found):
        _refuse(
            f"{where} has a date format nobody knows",
            f"Write {', '.join(NAMED_FORMATS)}, or one like %d/%m/%Y %H:%M with %{', %'.join(sorted(_SPECIFIERS))}.",
        )
    if not {"Y", "y"} & set(found):
        _refuse(f"{where} has a date format without a year", "Add %Y or %y.")


def _require_columns(mapping: Mapping, source: Source) -> None:
    """Every column we need is mapped, no other is, and each cell can become what its column holds."""
    types = {SUBJECT: pa.string()} | {c.name: c.type for c in source.columns}
    needed = [SUBJECT, *(c.name for c in source.columns if c.required)]
    if missing := [name for name in needed if name not in mapping.cells]:
        _refuse(f"columns lacks {', '.join(missing)}", f"A {source.name} row needs: {', '.join(needed)}.")
    if unknown := [name for name in mapping.cells if name not in types]:
        _refuse(
            f"columns has {unknown[0]}, which is no column of {source.name}",
            f"It may hold: {', '.join(types)}.",
        )
    for name, cell in mapping.cells.items():
        _require_fitting(name, cell, types[name], mapping)


def _require_fitting(name: str, cell: Cell, type_: pa.DataType, mapping: Mapping) -> None:
    made = {lookup.name: lookup.take for lookup in mapping.lookups}
    if mapping.runs:
        made["run"] = ("first_day", "last_day", "month_end")
    if (cell.formats or cell.time_zone) and type_ not in _DATES:
        _refuse(f"columns.{name} has a date format and holds no date", "Leave it out.")
    if (cell.scale is not None or cell.absolute) and type_ not in _NUMBERS:
        _refuse(f"columns.{name} has scale or absolute and holds no number", "Leave them out.")
    for one in _with_parts(cell):
        if one is not cell and any(getattr(one, key) for key in _OF_THE_WHOLE):
            _refuse(
                f"columns.{name} has a part with {' or '.join(_OF_THE_WHOLE)}", "Move it to the whole cell."
            )
        if one.otherwise is not None and not one.codes:
            _refuse(f"columns.{name} has otherwise without codes", "Add codes, or use default.")
        room, _, column = one.column.partition(".")
        if room in made and column not in made[room]:
            _refuse(f"columns.{name} takes what {room} does not give", f"It gives: {', '.join(made[room])}.")


def _with_parts(cell: Cell) -> Iterator[Cell]:
    yield cell
    for part in cell.parts:
        yield from _with_parts(part)
