"""CSV that no spreadsheet runs, JSON that any program reads; both say what the report says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from reports.formats import BOM, write_csv, write_json
from reports.handbook import handbook
from reports.table import CellType, Column, Report, Row, count, instant, text

AT = datetime(2026, 11, 23, 8, 0, 0, 1, tzinfo=timezone(timedelta(hours=8)))
COLUMNS = (
    text("name", "A text."),
    count("n", "people", "A number."),
    Column("share", CellType.SHARE, "A share."),
    Column("ok", CellType.FLAG, "A flag."),
    instant("at", "A moment."),
)
HOSTILE = (
    "=1+1",
    "+31 6",
    "-2",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "'quoted",
    'a,b;"c"',
    "多行\r\n文字",
    "<script>",
    "\x07",
    "{{7*7}}",
)


def report(rows: Iterable[Row]) -> Report:
    return Report("r", "R", "It says.", {"source": "x"}, AT, 7, COLUMNS, iter(rows), ("A note.",))


def written(rows: Iterable[Row], *, bom: bool = False) -> str:
    out = io.StringIO(newline="")
    write_csv(report(rows), out.write, bom=bom)
    return out.getvalue()


@pytest.mark.parametrize("value", HOSTILE)
def test_a_csv_cell_is_no_formula_and_comes_back(value: str) -> None:
    """Nothing begins a formula; taking one apostrophe away gives the cell as it was."""
    (_, row) = csv.reader(io.StringIO(written([(value, 1, 0.5, True, AT)]), newline=""))
    assert row[0][:1] not in "=+-@\t\r\n＝＋－＠"
    assert row[0].removeprefix("'") == value.removeprefix("'") or row[0] == "'" + value


def test_csv_is_rfc_4180_and_exact() -> None:
    """A header, CR LF, numbers that read back as the same, instants in UTC, empty for nothing."""
    text_ = written([("a", 12, 1 / 3, False, AT), (None, None, None, None, None)])
    assert text_.endswith("\r\n")
    head, first, empty = csv.reader(io.StringIO(text_, newline=""))
    assert head == [c.name for c in COLUMNS]
    assert first == ["a", "12", repr(1 / 3), "false", "2026-11-23T00:00:00.000001Z"]
    assert empty == [""] * 5


def test_a_mark_for_excel_where_it_is_asked_for() -> None:
    """UTF-8 with three bytes in front; without being asked, without them."""
    assert written([], bom=True).encode().startswith(b"\xef\xbb\xbfname,")
    assert not written([]).startswith(BOM)


@pytest.mark.parametrize(
    "rows", [[], [("甲", 1, 0.25, True, AT)], [(v, 1, 0.1, None, None) for v in HOSTILE]]
)
def test_json_is_one_document(rows: list[Row]) -> None:
    """With what it says, its columns and units, and each row by name, texts as they are."""
    out = io.StringIO()
    assert write_json(report(rows), out.write) == len(rows)
    document = json.loads(out.getvalue())
    assert [r["name"] for r in document["rows"]] == [row[0] for row in rows]
    assert document["columns"][1] == {"name": "n", "type": "count", "unit": "people", "says": "A number."}
    assert (document["report"], document["ledger_size"], document["notes"]) == ("r", 7, ["A note."])
    assert document["made_at"] == "2026-11-23T00:00:00.000001Z"
    assert list(document) == [
        *("report", "title", "says", "asked", "made_at", "ledger_size", "columns", "notes", "rows")
    ]


def test_rows_are_written_as_they_are_made() -> None:
    """A report larger than memory is no trouble: what is made has been written before the next one is made."""
    pieces: list[str] = []

    def rows() -> Iterable[Row]:
        for n in range(3):
            assert sum(f"row{m}" in piece for piece in pieces for m in range(n)) == n
            yield (f"row{n}", n, 0.0, True, AT)

    write_csv(report(rows()), pieces.append)
    pieces.clear()
    write_json(report(rows()), pieces.append)


def test_the_page_about_reports_is_written_from_the_definitions() -> None:
    """docs/reports.md is what `make docs` writes."""
    page = Path(__file__).parents[2] / "docs" / "reports.md"
    assert page.read_text(encoding="utf-8") == handbook(), "run make docs"


def test_instants_are_utc() -> None:
    assert AT.astimezone(UTC).hour == 0
