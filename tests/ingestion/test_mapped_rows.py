"""A lender's columns, codes, dates and numbers become ours; what cannot is marked, never guessed or dropped."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consent.errors import BadInput
from ingestion.mapped_rows import FileRows, read_mapped
from ingestion.mapping import parse_mapping
from ingestion.source import Source
from ingestion.sources import SOURCES

SPENDING = SOURCES["spending"]
CELLS = {
    "subject_id": '"who"',
    "transaction_id": '"id"',
    "occurred_at": '"at"',
    "amount": '"sum"',
    "currency": '{ value = "CNY" }',
    "direction": '{ value = "debit" }',
    "kind": '{ value = "other" }',
}
ROW = {"who": "甲", "id": "1", "at": "2026-03-01T10:00:00Z", "sum": "1.00", "extra": "x"}

Read = Callable[..., FileRows]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Rows of a CSV file through a mapping of which some cells are changed."""

    def read(*rows: dict[str, str], top: str = "", bottom: str = "", **cells: str) -> FileRows:
        lines = "\n".join(f"{name} = {cell}" for name, cell in (CELLS | cells).items())
        text = f'source = "spending"\n{top}\n[columns]\n{lines}\n{bottom}'
        full = [ROW | row for row in rows]
        path = tmp_path / "f.csv"
        names = list(full[0])
        quoted = [
            [f'"{row[n]}"' if any(c in row[n] for c in ',"') else row[n] for n in names] for row in full
        ]
        path.write_text("\n".join([",".join(names), *map(",".join, quoted)]) + "\n", encoding="utf-8")
        return read_mapped(path, SPENDING, parse_mapping(text, SPENDING))

    return read


def values(file: FileRows, column: str) -> list[Any]:
    """A column, with ``?`` for a cell that could not be understood."""
    rows = file.rows.to_pylist()
    return ["?" if column in (r["malformed"] or "").split(",") else r[column] for r in rows]


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


DATES = [
    ('formats = ["%d.%m.%Y"]', "01.03.2026", at(2026, 3, 1)),
    ('formats = ["%d.%m.%Y"]', "31.02.2026", "?"),
    ('formats = ["%d.%m.%Y"]', "2026-03-01", "?"),
    ('formats = ["%d.%m.%Y", "%Y-%m-%d"]', "2026-03-01", at(2026, 3, 1)),
    ('formats = ["%y%m%d"]', "981231", at(1998, 12, 31)),
    ('formats = ["%y%m%d"]', "681208", at(2068, 12, 8)),
    ('formats = ["%b.%y"]', "Jul.93", at(1993, 7, 1)),
    ('formats = ["unix"]', "1364095883", at(2013, 3, 24, 3, 31, 23)),
    ('formats = ["unix"]', "1364095883.5", "?"),
    ('formats = ["unix_ms"]', "1364095883001", datetime(2013, 3, 24, 3, 31, 23, 1000, UTC)),
    ('formats = ["unix", "iso"]', "2026-03-01T10:00:00+08:00", at(2026, 3, 1, 2)),
    ('formats = ["%Y-%m-%d %H:%M %z"]', "2026-03-01 10:00 +0530", at(2026, 3, 1, 4, 30)),
    ('time_zone = "Asia/Shanghai"', "2026-03-01T10:00:00", at(2026, 3, 1, 2)),
    ('time_zone = "Asia/Shanghai"', "2026-03-01T10:00:00Z", at(2026, 3, 1, 10)),
    (
        'time_zone = "Europe/Prague", formats = ["%d/%m/%Y %H:%M"]',
        "01/07/2026 00:30",
        at(2026, 6, 30, 22, 30),
    ),
    ('formats = ["%m/%d/%Y %I:%M %p"]', "03/01/2026 12:05 AM", at(2026, 3, 1, 0, 5)),
]


@pytest.mark.parametrize(("rule", "text", "expected"), DATES)
def test_dates(rule: str, text: str, expected: Any, read: Read) -> None:
    """Several formats, two-digit years, Unix time, zones; a cell with nothing in it is no bad cell."""
    file = read({"at": ""}, {"at": text}, occurred_at=f'{{ from = "at", {rule} }}')
    assert values(file, "occurred_at") == [None, expected]


NUMBERS = [
    ("", "", "1234.50", "1234.50"),
    ("", "", "1,234.50", "?"),
    ("", "", "12.505", "?"),
    ("", "", "12.500", "12.50"),
    ("", "", "1e3", "?"),
    ('decimal = ","', "", "1234,5", "1234.50"),
    ('decimal = ","', "", "1234.5", "?"),
    ('decimal = ","\nthousands = "."', "", "1.234,50", "1234.50"),
    ('decimal = ","\nthousands = "."', "", "1.23", "?"),
    ('decimal = ","\nthousands = " "', "", "12 345 678,9", "12345678.90"),
    ('thousands = ","', "", "12,34,567.00", "1234567.00"),
    ('thousands = ","', "", "1,2,3", "?"),
    ("", 'scale = "0.01"', "12345", "123.45"),
    ("", 'scale = "0.01"', "12345.5", "?"),
    ("", 'scale = "1000"', "1.5", "1500.00"),
    ("", 'scale = "0.01", absolute = true', "-99", "0.99"),
    ("", "absolute = true", "-7.25", "7.25"),
    ("", 'drop = ["¥", "CNY"]', "¥ 7.25 CNY", "7.25"),
    ("", 'nulls = ["N/A"]', "N/A", None),
    ('nulls = ["-"]', "", "-", None),
    ("", 'default = "0.00"', "", "0.00"),
    ("", "", "9" * 17, "?"),
    ("", "whole_number = true", "66.0", "66.00"),
]


@pytest.mark.parametrize(("layout", "rule", "text", "expected"), NUMBERS)
def test_numbers(layout: str, rule: str, text: str, expected: str | None, read: Read) -> None:
    """Decimal and thousands marks, lakhs, units, signs, currency signs; a mark out of place is no number."""
    cell = f'{{ from = "sum", {rule} }}' if rule else '"sum"'
    file = read({"sum": "1"}, {"sum": text}, top=f"[file]\n{layout}", amount=cell)
    found = values(file, "amount")[1]
    assert found == (Decimal(expected) if expected not in (None, "?") else expected)


CODES = [
    ('{ from = "extra", codes = { P = "purchase" } }', "P", "purchase"),
    ('{ from = "extra", codes = { P = "purchase" } }', "Q", "?"),
    ('{ from = "extra", codes = { P = "purchase" } }', "p", "?"),
    ('{ from = "extra", codes = { P = "purchase" } }', "", None),
    ('{ from = "extra", codes = { P = "purchase" }, otherwise = "other" }', "Q", "other"),
    ('{ from = "extra", codes = { P = "purchase" }, otherwise = "other" }', "", None),
    ('{ from = "extra", codes = { P = "purchase" }, unmapped = "empty" }', "Q", None),
    ('{ from = "extra", codes = { P = "purchase" }, default = "fee" }', "", "fee"),
    ('{ from = "extra", codes = { P = "purchase" }, default = "fee" }', "Q", "?"),
    ('{ from = "extra", codes = { P = "" } }', "P", None),
    ('{ from = "extra", then = "fee" }', "anything", "fee"),
    ('{ from = "extra", then = "fee" }', "", None),
    ('{ first_of = [{ from = "extra", codes = { P = "" } }, { value = "fee" }] }', "P", None),
    ('{ first_of = [{ from = "extra", codes = { P = "cash" } }, { value = "fee" }] }', "", "fee"),
    ('{ first_of = [{ from = "extra", codes = { P = "cash" } }, { value = "fee" }] }', "Q", "?"),
    ("""{ from = "extra", codes = { "O'x" = "fee" } }""", "O'x", "fee"),
]


@pytest.mark.parametrize(("cell", "text", "expected"), CODES)
def test_codes(cell: str, text: str, expected: str | None, read: Read) -> None:
    """A code the mapping does not name is marked, unless the mapping says what it is."""
    first = {"extra": "P"}
    assert values(read(first, {"extra": text}, kind=cell), "kind")[1] == expected


def test_a_code_that_may_not_occur_refuses_the_file(read: Read) -> None:
    """By choice, instead of quarantine; the code itself is not told."""
    cell = '{ from = "extra", codes = { P = "purchase" }, unmapped = "error" }'
    with pytest.raises(BadInput, match="kind: 2 rows hold a code the mapping does not name") as caught:
        read({"extra": "P"}, {"extra": "CANARY"}, {"extra": "CANARY"}, kind=cell)
    assert "CANARY" not in f"{caught.value.message}{caught.value.remedy}"


def test_the_sign_says_the_direction(read: Read) -> None:
    """Debits below zero, credits above; what is no number says nothing."""
    rule = '{ from = "sum", negative = "debit", positive = "credit" }'
    file = read({"sum": "-5"}, {"sum": "5"}, {"sum": "five"}, direction=rule)
    assert values(file, "direction") == ["debit", "credit", "?"]


def test_two_columns_of_money_become_one(read: Read) -> None:
    """Many banks write debits and credits beside each other."""
    file = read(
        {"sum": "5", "extra": ""},
        {"sum": "", "extra": "7.10"},
        amount='{ first_of = ["sum", "extra"] }',
        direction='{ first_of = [{ from = "sum", then = "debit" }, { from = "extra", then = "credit" }] }',
    )
    assert values(file, "amount") == [Decimal("5.00"), Decimal("7.10")]
    assert values(file, "direction") == ["debit", "credit"]


def test_cells_are_joined_only_if_all_are_there(read: Read) -> None:
    """And a prefix stands before what is there, never alone."""
    file = read(
        {"extra": "9"}, {"extra": ""}, merchant='{ join = ["id", "extra"], with = "/", prefix = "m-" }'
    )
    assert values(file, "merchant") == ["m-1/9", None]


def test_rows_are_left_out_by_name_and_counted(read: Read) -> None:
    """Positions stay those of the file, so that it is loaded exactly once whatever the mapping leaves out."""
    file = read({"extra": "a"}, {"extra": "b"}, {}, bottom='[leave_out]\nextra = ["a"]')
    assert (file.in_file, file.left_out) == (3, 1)
    assert file.rows["row_number"].to_pylist() == [1, 2]


def test_a_column_that_is_not_there_is_named(read: Read) -> None:
    """The mapping's own words may be told."""
    with pytest.raises(BadInput, match="column shop is missing, which the mapping reads"):
        read({}, merchant='"shop"')


def test_a_rule_that_understands_no_cell_refuses_the_file(read: Read) -> None:
    """A wrong date format is a wrong mapping, not a file of bad rows."""
    with pytest.raises(BadInput, match="occurred_at: the mapping understands no cell at all"):
        read({}, {}, occurred_at='{ from = "at", formats = ["%d/%m/%Y"] }')


def test_hostile_names_and_values_are_only_text(read: Read) -> None:
    """SQL in a column's name, a code or a cell runs nowhere."""
    hostile = "'); DROP TABLE raw; --"
    name = """x\\"'; DROP TABLE raw"""
    file = read(
        {"extra": hostile},
        merchant='"extra"',
        category=f"""{{ from = "extra", codes = {{ "{hostile}" = "other" }} }}""",
    )
    assert values(file, "merchant") == [hostile]
    assert values(file, "category") == ["other"]
    with pytest.raises(BadInput, match="is missing"):
        read({}, merchant=f'"{name}"')


LOOKUP = (
    '[lookups.owner]\nfile = "o.csv"\non = "extra"\nkey = "no"\ntake = ["person"]\nwhere = { role = "OWNER" }'
)


def test_a_lookup_finds_whose_row_it_is(read: Read, tmp_path: Path) -> None:
    """A row with no entry is nobody's: it stays, and the gate refuses it."""
    (tmp_path / "o.csv").write_text("no,person,role\n7,甲,OWNER\n7,乙,OTHER\n,丙,OWNER\n")
    file = read({"extra": "7"}, {"extra": "8"}, {"extra": ""}, top=LOOKUP, subject_id='"owner.person"')
    assert values(file, "subject_id") == ["甲", None, None]


def test_a_lookup_with_two_answers_is_refused(read: Read, tmp_path: Path) -> None:
    """Two owners of one account: whose row would it be?"""
    (tmp_path / "o.csv").write_text("no,person,role\n7,甲,OWNER\n7,乙,OWNER\n")
    with pytest.raises(BadInput, match=r"1 keys of lookups\.owner are there more than once") as caught:
        read({"extra": "7"}, top=LOOKUP, subject_id='"owner.person"')
    assert "甲" not in caught.value.message


def test_a_lookup_that_is_not_there_is_named(read: Read) -> None:
    """With its file's name."""
    with pytest.raises(BadInput, match=r"o\.csv: there is no such file"):
        read({"extra": "7"}, top=LOOKUP, subject_id='"owner.person"')


RUNS = """
source = "employment"
[runs]
person = "id"
month = "month"
month_format = "%b.%y"
state = "state"
[leave_out]
state = ["school"]
[columns]
subject_id = "id"
record_id = { join = ["state", "run.first_day"], with = " since " }
reported_at = "run.month_end"
employer_type = { from = "state", codes = { work = "other" } }
started_on = "run.first_day"
ended_on = "run.last_day"
"""


def mapped(path: Path, text: str, source: Source) -> FileRows:
    return read_mapped(path, source, parse_mapping(text, source))


def test_months_become_spells(tmp_path: Path) -> None:
    """Each month reports what was known at its end; a gap ends a spell; one that lasts to the file's end goes on."""
    path = tmp_path / "m.csv"
    months = [
        ("1", "Nov.93", "work"),
        ("1", "Dec.93", "work"),
        ("1", "Jan.94", "school"),
        ("1", "Feb.94", "work"),
    ]
    months += [("2", "Nov.93", "work"), ("2", "Jan.94", "work"), ("2", "???", "work")]
    path.write_text("id,month,state\n" + "\n".join(",".join(m) for m in months) + "\n")
    file = mapped(path, RUNS, SOURCES["employment"])
    rows = file.rows.to_pylist()
    assert [r["row_number"] for r in rows] == [0, 1, 3, 4, 5, 6]
    assert [(r["started_on"], r["ended_on"]) for r in rows] == [
        (date(1993, 11, 1), None),
        (date(1993, 11, 1), date(1993, 12, 31)),
        (date(1994, 2, 1), None),
        (date(1993, 11, 1), date(1993, 11, 30)),
        (date(1994, 1, 1), date(1994, 1, 31)),
        (None, None),
    ]
    assert rows[0]["reported_at"] == at(1993, 11, 30)
    assert rows[1]["record_id"] == "work since 1993-11-01"


def test_parquet_types_become_text_without_loss(tmp_path: Path) -> None:
    """Zoned times keep their instant, floats lose no cent, codes may be numbers."""
    table = pa.table(
        {
            "who": pa.array([7, 8], pa.int64()),
            "id": pa.array(["a", "b"]).dictionary_encode(),
            "at": pa.array([at(2026, 3, 1, 10)] * 2, pa.timestamp("ns", "Asia/Shanghai")),
            "sum": pa.array([0.1 + 0.2, float("nan")]),
            "extra": pa.array([1, 2], pa.int8()),
        }
    )
    path = tmp_path / "f.parquet"
    pq.write_table(table, path)
    cells = CELLS | {"kind": '{ from = "extra", codes = { 1 = "fee", 2 = "other" } }'}
    text = 'source = "spending"\n[columns]\n' + "\n".join(f"{k} = {v}" for k, v in cells.items())
    file = mapped(path, text, SPENDING)
    assert values(file, "subject_id") == ["7", "8"]
    assert values(file, "occurred_at") == [at(2026, 3, 1, 10)] * 2
    assert values(file, "amount") == [Decimal("0.30"), "?"]
    assert values(file, "kind") == ["fee", "other"]


def test_preambles_missing_headers_and_other_delimiters(tmp_path: Path) -> None:
    """Bank exports begin with lines that are no table."""
    text = 'source = "app_usage"\n[file]\nformat = "csv"\ndelimiter = "|"\nskip_lines = 2\n'
    text += (
        'header = ["who", "at", "app"]\n[columns]\nsubject_id = "who"\noccurred_at = "at"\npackage = "app"\n'
    )
    path = tmp_path / "export.txt"
    path.write_text("Export of\n2026|x\n甲|2026-01-01|com.a\n乙|2026-01-02|com.b\n")
    file = mapped(path, text, SOURCES["app_usage"])
    assert values(file, "subject_id") == ["甲", "乙"]
    assert values(file, "event") == ["open", "open"]
