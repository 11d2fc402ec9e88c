"""Reports as CSV for a spreadsheet and as JSON for a program, row by row.

An instant is ISO 8601 in UTC with a Z, a flag ``true`` or ``false``, a number reads back as the same one. In CSV an
empty cell is no value, lines end with CR LF, and text that a spreadsheet would take for a formula gets an apostrophe
in front; JSON has it as it is.

Source: RFC 4180 (CSV), RFC 8259 (JSON); OWASP, "CSV Injection".
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from consent.clock import format_instant
from reports.table import Cell, Column, Report
from rights.rows import spreadsheet_text

#: Takes a piece of the text.
Write = Callable[[str], object]
#: In front of a file, so that Excel takes it for UTF-8.
BOM = codecs.BOM_UTF8.decode()


def plain(cell: Cell) -> str | int | float | bool | None:
    """A cell as JSON has it."""
    return format_instant(cell) if isinstance(cell, datetime) else cell


def cell_text(cell: Cell) -> str:
    """A cell as text."""
    value = plain(cell)
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_csv(report: Report, write: Write, *, bom: bool = False) -> int:
    """Write the header and every row; how many rows there were.

    Args:
        bom: begin with a byte order mark, for Excel.
    """
    writer = csv.writer(_Sink(write), lineterminator="\r\n")
    if bom:
        write(BOM)
    writer.writerow([column.name for column in report.columns])
    written = 0
    for row in report.rows:
        writer.writerow([spreadsheet_text(c) if isinstance(c, str) else cell_text(c) for c in row])
        written += 1
    return written


class _Sink:
    """What `csv` writes to."""

    def __init__(self, write: Write) -> None:
        self.write = write


def write_json(report: Report, write: Write) -> int:
    """Write one document, a row a line; how many rows there were."""
    head = json.dumps(_head(report), ensure_ascii=False, indent=1)
    write(head.removesuffix("\n}") + ',\n "rows": [')
    written = 0
    for row in report.rows:
        line = json.dumps(_named(report.columns, row), ensure_ascii=False, allow_nan=False)
        write(("," if written else "") + f"\n  {line}")
        written += 1
    write("\n ]\n}\n")
    return written


def _head(report: Report) -> dict[str, Any]:
    return {
        "report": report.name,
        "title": report.title,
        "says": report.says,
        "asked": report.asked,
        "made_at": format_instant(report.made_at),
        "ledger_size": report.ledger_size,
        "columns": [
            {"name": c.name, "type": c.type.value, "unit": c.unit, "says": c.says} for c in report.columns
        ],
        "notes": list(report.notes),
    }


def _named(columns: Iterable[Column], row: Iterable[Cell]) -> dict[str, Any]:
    return {column.name: plain(cell) for column, cell in zip(columns, row, strict=True)}
