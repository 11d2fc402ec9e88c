"""What a cell of each type looks like as text, and in SQL."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.types as pt

from ingestion.source import INSTANT, MONEY, Column

DATE = r"\d{4}-\d{2}-\d{2}"
PATTERNS = {
    INSTANT: rf"{DATE}([T ]\d{{2}}:\d{{2}}(:\d{{2}}(\.\d{{1,6}})?)?(Z|[+-]\d{{2}}:\d{{2}})?)?",
    pa.date32(): DATE,
    MONEY: r"[+-]?\d{1,16}(\.\d{1,2})?",
    pa.int64(): r"[+-]?\d{1,18}",
}
SQL_TYPES = {
    INSTANT: "TIMESTAMPTZ",
    pa.date32(): "DATE",
    MONEY: "DECIMAL(18, 2)",
    pa.int64(): "BIGINT",
    pa.string(): "VARCHAR",
}
EXPECTED = {
    INSTANT: "a date-time like 2026-11-23T08:00:00+08:00",
    pa.date32(): "a date like 2026-11-23",
    MONEY: "an amount like 1234.50",
    pa.int64(): "a whole number",
    pa.string(): "text",
}


def parsed_schema(columns: Iterable[Column]) -> pa.Schema:
    """Of rows that a reader has parsed: the customer number, the columns, where the row was, what was unreadable."""
    text = pa.string()
    fields = [("subject_id", text), *((c.name, c.type) for c in columns)]
    return pa.schema([*fields, ("row_number", pa.int64()), ("malformed", text), ("raw", text)])


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def kind_of(type_: pa.DataType) -> str:
    """A rough kind: text, integer, floating, decimal, timestamp, date or other."""
    if pt.is_dictionary(type_):
        return kind_of(type_.value_type)
    if pt.is_null(type_) or pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_):
        return "text"
    for kind in ("integer", "floating", "decimal", "timestamp", "date"):
        if getattr(pt, f"is_{kind}")(type_):
            return kind
    return "other"
