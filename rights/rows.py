"""Rows as CSV for a spreadsheet, and as JSON lines for a program.

Exact in both: an amount is written with all its decimals, an instant in UTC with a Z, a float so that it reads back
as the same one. In CSV a cell of text that a spreadsheet would take for a formula gets an apostrophe in front, and so
does one that begins with an apostrophe: to have a cell as it was, take one leading apostrophe away. An empty cell is
null or an empty text; JSON lines tell them apart, and never have a sign too many.

Source: RFC 4180 (CSV); OWASP, "CSV Injection" (the signs that begin a formula, full-width ones too).
"""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from rights.package import Stream

#: Rows that are text at the same time.
_AT_A_TIME = 10_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def write_csv(stream: Stream, columns: Sequence[str], tables: Iterable[pa.Table]) -> None:
    """Write rows as CSV with a header, UTF-8 with a byte order mark, lines ended by CR LF."""
    stream.write(codecs.BOM_UTF8 + _csv_lines([tuple(columns)]))
    for rows in chunks(tables):
        texts = [_cells(column) for column in rows.columns]
        stream.write(_csv_lines(zip(*texts, strict=True)), rows=rows.num_rows)


def write_jsonl(stream: Stream, columns: Sequence[str], tables: Iterable[pa.Table]) -> None:
    """Write rows as one JSON object a line, UTF-8."""
    for rows in chunks(tables):
        values = zip(*(plain_values(column) for column in rows.columns), strict=True)
        lines = [_line(dict(zip(columns, row, strict=True))) for row in values]
        stream.write("".join(lines).encode(), rows=rows.num_rows)


def chunks(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows, so many at a time."""
    for table in tables:
        for lo in range(0, table.num_rows, _AT_A_TIME):
            yield table.slice(lo, _AT_A_TIME)


def plain_values(column: pa.ChunkedArray) -> list[Any]:
    """A column's values as JSON has them: amounts, dates and instants are text, in their one spelling."""
    if pt.is_timestamp(column.type):
        column = pc.replace_substring(column.cast(pa.string()), " ", "T")
        column = pc.replace_substring(column, ".000000Z", "Z")  # as `consent.clock.format_instant` writes it
    elif pt.is_decimal(column.type) or pt.is_date(column.type):
        column = column.cast(pa.string())
    # By way of NumPy it is ten times as fast, where that has a place for null.
    fast = pt.is_string(column.type) or (not column.null_count and pt.is_primitive(column.type))
    values: list[Any] = column.to_numpy().tolist() if fast else column.to_pylist()
    return values


def spreadsheet_text(text: str) -> str:
    """The text, with an apostrophe in front where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def _cells(column: pa.ChunkedArray) -> list[Any]:
    """Numbers, amounts and instants cannot be formulas, a negative amount is a number: only text is looked at."""
    values = plain_values(column)
    if pt.is_string(column.type):
        return [None if text is None else spreadsheet_text(text) for text in values]
    if pt.is_list(column.type):
        return [None if items is None else spreadsheet_text("; ".join(items)) for items in values]
    return values


def _csv_lines(rows: Iterable[Sequence[Any]]) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()


_encoded = json.JSONEncoder(ensure_ascii=False).encode


def _line(row: dict[str, Any]) -> str:
    return _encoded(row) + "\n"
