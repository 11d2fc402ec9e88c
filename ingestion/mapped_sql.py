"""A mapping's cells as SQL over the lender's columns, all of which are text. Pure.

Each cell becomes two expressions: its value, or null; and whether there was something that could not be understood.
"""

from __future__ import annotations

import re
from functools import reduce
from typing import NamedTuple

import pyarrow as pa

from ingestion.cells import DATE, PATTERNS, SQL_TYPES, literal, quoted
from ingestion.mapping import Cell, Layout, Runs
from ingestion.source import INSTANT, MONEY

#: Wide enough that no product with a factor overflows.
_NUMBER, _FACTOR = "DECIMAL(21, 5)", "DECIMAL(13, 6)"
_MOST_DIGITS = r"\d{1,16}(\.\d{1,5})?"
#: A whole number, or one with at most two decimals but for zeros.
_EXACT = {MONEY: r"[+-]?\d{1,16}(\.\d{1,2}0*)?", pa.int64(): r"[+-]?\d{1,18}(\.0+)?"}


class Sql(NamedTuple):
    """A value; whether it could not be understood; whether there is anything at all, if only to say it is nothing.

    The last two are never null.
    """

    value: str
    fault: str
    there: str


def cell_sql(cell: Cell, type_: pa.DataType, layout: Layout) -> Sql:
    """One of our cells, in its column's type."""
    text = _text(cell, layout)
    if type_ == pa.string():
        return text
    value = (
        _number(text.value, cell, type_, layout)
        if type_ in _EXACT
        else _date(text.value, cell, type_, layout)
    )
    return Sql(value, f"({text.fault} OR ({text.value} IS NOT NULL AND {value} IS NULL))", text.there)


def strict_codes_sql(cell: Cell, layout: Layout) -> str:
    """Whether the row holds a code that the mapping does not name and, so it says, may not occur."""
    own = [_coded(cell, _column(cell, layout)).fault] if cell.column and cell.unmapped == "error" else []
    return " OR ".join([*own, *(strict_codes_sql(part, layout) for part in cell.parts)]) or "false"


def _text(cell: Cell, layout: Layout) -> Sql:
    if cell.value:
        made = Sql(literal(cell.value), "false", "true")
    elif cell.column:
        made = _coded(cell, _column(cell, layout))
    else:
        parts = [_text(part, layout) for part in cell.parts]
        made = _first(parts) if cell.first else _joined(parts, cell.between)
    value = f"{literal(cell.prefix)} || {made.value}" if cell.prefix else made.value
    if cell.default is not None:
        value = f"CASE WHEN NOT {made.fault} THEN coalesce({value}, {literal(cell.default)}) END"
    return Sql(f"({value})", made.fault, made.there)


def _column(cell: Cell, layout: Layout) -> str:
    """The lender's cell, trimmed, without what is to be dropped; null for what means nothing."""
    text = reduce(lambda made, drop: f"replace({made}, {literal(drop)}, '')", cell.drop, quoted(cell.column))
    text = f"trim({text})"
    if cell.whole_number:
        text = rf"regexp_replace({text}, '^([+-]?\d+)[.]0+$', '\1')"
    nothing = ", ".join(literal(null) for null in ("", *layout.nulls, *cell.nulls))
    return f"(CASE WHEN {text} NOT IN ({nothing}) THEN {text} END)"


def _coded(cell: Cell, text: str) -> Sql:
    there = f"({text} IS NOT NULL)"
    if cell.then is not None:
        return Sql(f"CASE WHEN {there} THEN {literal(cell.then)} END", "false", there)
    if cell.signs is not None:
        number = f"TRY_CAST({text} AS {_NUMBER})"
        below, above = map(literal, cell.signs)
        value = f"CASE WHEN {number} < 0 THEN {below} WHEN {number} >= 0 THEN {above} END"
        return Sql(value, f"({there} AND {number} IS NULL)", there)
    return _translated(cell, text) if cell.codes else Sql(text, "false", there)


def _translated(cell: Cell, text: str) -> Sql:
    known = f"coalesce({text} IN ({', '.join(literal(theirs) for theirs, _ in cell.codes)}), false)"
    there = f"({text} IS NOT NULL)"
    cases = " ".join(f"WHEN {literal(theirs)} THEN {literal(ours)}" for theirs, ours in cell.codes)
    rest = "NULL" if cell.otherwise is None else f"CASE WHEN {there} THEN {literal(cell.otherwise)} END"
    value = f"nullif(CASE {text} {cases} ELSE {rest} END, '')"
    if cell.otherwise is not None:
        return Sql(value, "false", there)
    fault = "false" if cell.unmapped == "empty" else f"({there} AND NOT {known})"
    return Sql(value, fault, known)


def _joined(parts: list[Sql], between: str) -> Sql:
    value = f" || {literal(between)} || ".join(part.value for part in parts)
    fault, there = (" OR ".join(part.fault for part in parts), " AND ".join(part.there for part in parts))
    return Sql(value, f"({fault})", f"({there})")


def _first(parts: list[Sql]) -> Sql:
    """The first part that is there, though it say nothing; one that cannot be understood ends the search."""
    value, fault, there = "NULL", "false", "false"
    for part in reversed(parts):
        value = f"CASE WHEN {part.fault} THEN NULL WHEN {part.there} THEN {part.value} ELSE {value} END"
        fault = f"({part.fault} OR (NOT {part.there} AND {fault}))"
        there = f"({part.there} OR {there})"
    return Sql(value, fault, there)


def _number(text: str, cell: Cell, type_: pa.DataType, layout: Layout) -> str:
    plain = _plain_number(text, layout)
    if cell.scale is None:
        cast = f"TRY_CAST({plain} AS {SQL_TYPES[type_]})"
        value = f"CASE WHEN regexp_full_match({plain}, '{_EXACT[type_]}') THEN {cast} END"
    else:
        product = f"TRY_CAST({plain} AS {_NUMBER}) * CAST('{cell.scale}' AS {_FACTOR})"
        exact = f"AND {product} = round({product}, 2)" if type_ == MONEY else ""
        value = (
            f"CASE WHEN regexp_full_match({plain}, '[+-]?{_MOST_DIGITS}') {exact}"
            f" THEN TRY_CAST({product} AS {SQL_TYPES[type_]}) END"
        )
    return f"abs({value})" if cell.absolute else f"({value})"


def _plain_number(text: str, layout: Layout) -> str:
    """With a point, and no mark between thousands; null where such a mark is out of place."""
    mark, point = re.escape(layout.thousands), re.escape(layout.decimal)
    if layout.thousands:
        # Groups of two are how India writes lakhs.
        whole = rf"[+-]?(\d+|\d{{1,3}}({mark}\d{{2,3}})*{mark}\d{{3}})({point}\d+)?"
        text = (
            f"(CASE WHEN regexp_full_match({text}, {literal(whole)})"
            f" THEN replace({text}, {literal(layout.thousands)}, '') ELSE '' END)"
        )
    elif layout.decimal != ".":
        text = f"(CASE WHEN {text} NOT LIKE '%.%' THEN {text} ELSE '' END)"
    return text if layout.decimal == "." else f"replace({text}, {literal(layout.decimal)}, '.')"


def _date(text: str, cell: Cell, type_: pa.DataType, layout: Layout) -> str:
    zone = literal(cell.time_zone or layout.time_zone)
    read = _instant if type_ == INSTANT else _day
    return "coalesce(" + ", ".join(read(text, form, zone) for form in cell.formats or ("iso",)) + ")"


def _instant(text: str, form: str, zone: str) -> str:
    if form == "iso":
        pattern = PATTERNS[INSTANT]
        named = rf"({text} LIKE '%Z' OR regexp_matches({text}, '[+-]\d{{2}}:\d{{2}}$'))"
        there = f"TRY_CAST({text} AS TIMESTAMPTZ)"
        here = f"timezone({zone}, TRY_CAST({text} AS TIMESTAMP))"
        read = f"CASE WHEN {named} THEN {there} ELSE {here} END"
        return f"CASE WHEN regexp_full_match({text}, '{pattern}') THEN {read} END"
    if form in ("unix", "unix_ms"):
        digits, factor = (11, 1_000_000) if form == "unix" else (14, 1_000)
        whole = (
            f"TRY_CAST(CASE WHEN regexp_full_match({text}, '-?\\d{{1,{digits}}}') THEN {text} END AS BIGINT)"
        )
        return f"make_timestamptz({whole} * {factor})"
    parsed = f"try_strptime({text}, {literal(form)})"
    return parsed if "%z" in form else f"timezone({zone}, {parsed})"


def _day(text: str, form: str, zone: str) -> str:
    if form == "iso":
        return f"CASE WHEN regexp_full_match({text}, '{DATE}') THEN TRY_CAST({text} AS DATE) END"
    if form in ("unix", "unix_ms") or "%z" in form:
        return f"CAST(timezone({zone}, {_instant(text, form, zone)}) AS DATE)"
    return f"CAST(try_strptime({text}, {literal(form)}) AS DATE)"


def runs_sql(runs: Runs, table: str) -> str:
    """A table with ``run.first_day``, ``run.last_day`` and ``run.month_end`` beside its columns; see `Runs`."""
    person, state = quoted(runs.person), quoted(runs.state)
    day = (
        f"CAST(date_trunc('month', try_strptime({quoted(runs.month)}, {literal(runs.month_format)})) AS DATE)"
    )
    return f"""
        WITH dated AS (SELECT *, {day} AS "run.day",
            date_diff('month', DATE '1970-01-01', {day}) AS "run.month" FROM {table}),
        placed AS (SELECT *, max("run.month") OVER () AS "run.end", "run.month"
            - dense_rank() OVER (PARTITION BY {person}, {state} ORDER BY "run.month") AS "run.number" FROM dated),
        spanned AS (SELECT *, max("run.month") OVER spell AS "run.last", min("run.day") OVER spell AS "run.first"
            FROM placed WINDOW spell AS (PARTITION BY {person}, {state}, "run.number"))
        SELECT * EXCLUDE ("run.day", "run.month", "run.end", "run.number", "run.last", "run.first"),
            CAST("run.first" AS VARCHAR) AS "run.first_day",
            CASE WHEN "run.month" = "run.last" AND "run.last" < "run.end"
                THEN CAST(last_day("run.day") AS VARCHAR) END AS "run.last_day",
            CAST(last_day("run.day") AS VARCHAR) AS "run.month_end"
        FROM spanned"""  # noqa: S608
