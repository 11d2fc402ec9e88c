"""Every kind of bad file gets a clear error that names the file, the column and the remedy, and no value."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consent.errors import BadInput
from ingestion.readers import read_columns
from ingestion.sources import SOURCES
from tests.ingestion.conftest import transaction

SPENDING = SOURCES["spending"]
#: A value that must never show in a message.
CANARY = "CANARY-13800138000"


def read(path: Path, source: str = "spending", **options: Any) -> pa.Table:
    options = {"subject_column": "subject_id"} | options
    return read_columns(path, source, SOURCES[source].columns, **options)


def csv_bytes(rows: list[dict[str, Any]], encoding: str = "utf-8") -> bytes:
    header = list(rows[0])
    lines = [",".join(header), *(",".join(str(r[c]) for c in header) for r in rows)]
    return ("\n".join(lines) + "\n").encode(encoding)


def rows(count: int = 3, **values: Any) -> list[dict[str, Any]]:
    return [transaction(CANARY, i, **values) for i in range(count)]


def without(name: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != name} for row in rows()]


def parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def good_parquet(**columns: Any) -> pa.Table:
    table = pa.Table.from_pylist(rows())
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    return table


BAD: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "empty file": ("f.csv", lambda: b"", "the file is empty"),
    "header only": ("f.csv", lambda: csv_bytes(rows()).split(b"\n")[0] + b"\n", "no rows"),
    "empty jsonl lines": ("f.jsonl", lambda: b"\n\n", "no subject column|no rows"),
    "truncated parquet": ("f.parquet", lambda: parquet_bytes(good_parquet())[:-40], "no readable Parquet"),
    "parquet cut in the middle": (
        "f.parquet",
        lambda: parquet_bytes(good_parquet())[:200],
        "no readable Parquet",
    ),
    "text named parquet": ("f.parquet", lambda: csv_bytes(rows()), "no readable Parquet"),
    "parquet named csv": ("f.csv", lambda: parquet_bytes(good_parquet()), "not utf-8|no subject column"),
    "missing column": ("f.csv", lambda: csv_bytes(without("amount")), "column amount is missing"),
    "missing column in jsonl": (
        "f.jsonl",
        lambda: "\n".join(map(json.dumps, without("occurred_at"))).encode(),
        "column occurred_at is missing",
    ),
    "missing column in parquet": (
        "f.parquet",
        lambda: parquet_bytes(good_parquet().drop_columns(["currency"])),
        "column currency is missing",
    ),
    "no subject column": (
        "f.csv",
        lambda: csv_bytes(without("subject_id")),
        "no subject column 'subject_id'",
    ),
    "no header row": ("f.csv", lambda: csv_bytes(rows()).split(b"\n", 1)[1], "no subject column"),
    "column twice": ("f.csv", lambda: b"subject_id,subject_id\n1,2\n", "missing|twice"),
    "wrong type everywhere": (
        "f.csv",
        lambda: csv_bytes(rows(amount=CANARY)),
        "column amount: no cell is an amount",
    ),
    "dates in another order": (
        "f.csv",
        lambda: csv_bytes(rows(occurred_at="03/01/2026")),
        "column occurred_at: no cell is a date-time",
    ),
    "unix seconds": (
        "f.parquet",
        lambda: parquet_bytes(good_parquet(occurred_at=pa.array([1, 2, 3], pa.int64()))),
        "column occurred_at holds int64",
    ),
    "binary subject": (
        "f.parquet",
        lambda: parquet_bytes(good_parquet(subject_id=pa.array([b"a", b"b", b"c"], pa.binary()))),
        "column subject_id holds binary",
    ),
    "float subject": (
        "f.parquet",
        lambda: parquet_bytes(good_parquet(subject_id=pa.array([1.0, 2.0, 3.0]))),
        "column subject_id holds double",
    ),
    "nested column": (
        "f.parquet",
        lambda: parquet_bytes(good_parquet(amount=pa.array([[1], [2], [3]]))),
        "column amount holds list",
    ),
    "gb18030 without saying so": (
        "f.csv",
        lambda: csv_bytes(rows(merchant="鲜生"), "gb18030"),
        "not utf-8, or a row is damaged",
    ),
    "utf-16": ("f.csv", lambda: csv_bytes(rows(), "utf-16"), "not utf-8"),
    "gb18030 jsonl": (
        "f.jsonl",
        lambda: json.dumps(rows(merchant="鲜生")[0], ensure_ascii=False).encode("gb18030"),
        "not utf-8",
    ),
    "ragged row": (
        "f.csv",
        lambda: csv_bytes(rows()) + f"{CANARY},1,2\n".encode(),
        "another number of fields",
    ),
    "line that is no json": (
        "f.jsonl",
        lambda: b'{"subject_id": "CANARY-13800138000',
        "line 1 is not a JSON",
    ),
    "json array": ("f.jsonl", lambda: json.dumps(rows()).encode(), "line 1 is not a JSON object"),
    "nested json": (
        "f.jsonl",
        lambda: json.dumps(rows()[0] | {"amount": {"v": CANARY}}).encode(),
        "line 1: a field is neither",
    ),
    "deeply nested json": ("f.jsonl", lambda: b"[" * 100_000, "line 1 is not a JSON"),
    "half a character": (
        "f.jsonl",
        lambda: json.dumps(rows()[0] | {"merchant": "\ud800"}).encode(),
        "half a character",
    ),
    "unknown suffix": ("f.xlsx", lambda: b"PK", "format is not known"),
    "damaged gzip": (
        "f.csv.gz",
        lambda: gzip.compress(csv_bytes(rows()))[:60],
        "not utf-8, or a row is damaged",
    ),
    "nul bytes": ("f.csv", lambda: b"\0" * 100, "no subject column|not utf-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_clearly(name: str, tmp_path: Path) -> None:
    """A clear error naming file and column, with a remedy, and never a value."""
    file, content, message = BAD[name]
    path = tmp_path / file
    path.write_bytes(content())
    with pytest.raises(BadInput, match=message) as caught:
        read(path)
    assert caught.value.message.startswith(file)
    assert caught.value.remedy
    assert "CANARY" not in f"{caught.value.message} {caught.value.remedy}"
    assert caught.value.__cause__ is None


def test_missing_file_unknown_encoding_and_odd_subject_columns(tmp_path: Path) -> None:
    """What the caller names wrongly is told, too."""
    with pytest.raises(BadInput, match="no such file"):
        read(tmp_path / "none.csv")
    path = tmp_path / "f.csv"
    path.write_bytes(csv_bytes(rows()))
    with pytest.raises(BadInput, match="encoding has a name nobody knows"):
        read(path, encoding="martian")
    with pytest.raises(BadInput, match="is a column of spending"):
        read(path, subject_column="merchant")
    with pytest.raises(BadInput, match="no subject column"):
        read(path, subject_column='x"; DROP TABLE raw; --')


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "csv.gz", "jsonl.gz"])
def test_every_encoding_and_format_gives_the_same_table(encoding: str, suffix: str, tmp_path: Path) -> None:
    """Chinese text, with or without a byte-order mark, in any encoding that is named."""
    chosen = rows(merchant="盒马鲜生（𠮷）")
    if suffix.startswith("csv"):
        content = csv_bytes(chosen, encoding)
    else:
        content = "\n".join(json.dumps(r, ensure_ascii=False) for r in chosen).encode(encoding)
    path = tmp_path / f"f.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    table = read(path, encoding=encoding.removesuffix("-sig"))
    assert table["merchant"].to_pylist() == ["盒马鲜生（𠮷）"] * 3
    assert table["subject_id"].to_pylist() == [CANARY] * 3
    assert table["occurred_at"].to_pylist() == [datetime(2026, 3, 1, 10, tzinfo=UTC)] * 3
    assert table["amount"].to_pylist() == [Decimal("12.50")] * 3
    assert table["malformed"].null_count == 3


CELLS = [
    ("amount", "12.505", None),
    ("amount", "1e3", None),
    ("amount", "NaN", None),
    ("amount", "12345678901234567", None),
    ("amount", "+7", Decimal("7.00")),
    ("amount", "９", None),
    ("occurred_at", "infinity", None),
    ("occurred_at", "2026-02-30", None),
    ("occurred_at", "2026-02-28T25:00:00", None),
    ("occurred_at", "2026-02-28", datetime(2026, 2, 28, tzinfo=UTC)),
    ("occurred_at", "2026-02-28 08:00", datetime(2026, 2, 28, 8, tzinfo=UTC)),
    ("occurred_at", "2026-02-28T08:00:00+08:00", datetime(2026, 2, 28, tzinfo=UTC)),
    ("occurred_at", "2026-02-28T08:00:00.000001Z", datetime(2026, 2, 28, 8, 0, 0, 1, tzinfo=UTC)),
    ("occurred_at", "=NOW()", None),
]


@pytest.mark.parametrize(("column", "text", "expected"), CELLS)
def test_one_odd_cell_marks_its_row_only(column: str, text: str, expected: Any, tmp_path: Path) -> None:
    """A cell that cannot be parsed becomes null, and its row is marked; the other rows are right."""
    chosen = rows()
    chosen[1][column] = text
    path = tmp_path / "f.csv"
    path.write_bytes(csv_bytes(chosen))
    table = read(path)
    assert table[column].to_pylist()[1] == expected
    assert table["malformed"].to_pylist() == [None, None if expected is not None else column, None]
    assert table["raw"].to_pylist()[1] == (None if expected is not None else f"{column}={text}")


def test_parquet_types_are_taken_as_they_are_meant(tmp_path: Path) -> None:
    """Nanoseconds, dictionaries, integers, floats and zoned times all end in the source's types."""
    instants = pa.array([datetime(2026, 3, 1, 10)] * 3, pa.timestamp("ns"))
    table = good_parquet(
        occurred_at=instants,
        amount=pa.array([1.5, 2.25, 3.333]),
        subject_id=pa.array([7, 8, 9]),
        kind=pa.array(["purchase"] * 3).dictionary_encode(),
    )
    path = tmp_path / "f.parquet"
    pq.write_table(table, path)
    got = read(path)
    assert got["occurred_at"].to_pylist() == [datetime(2026, 3, 1, 10, tzinfo=UTC)] * 3
    assert got["amount"].to_pylist() == [Decimal("1.50"), Decimal("2.25"), None]
    assert got["malformed"].to_pylist() == [None, None, "amount"]
    assert got["subject_id"].to_pylist() == ["7", "8", "9"]


def test_columns_nobody_asked_for_are_not_read(tmp_path: Path) -> None:
    """Data minimisation: a column outside the source never enters."""
    path = tmp_path / "f.csv"
    path.write_bytes(csv_bytes([row | {"passport": CANARY} for row in rows()]))
    assert "passport" not in read(path).column_names


def test_optional_columns_and_defaults(tmp_path: Path) -> None:
    """What an optional column leaves out is null, or the source's default."""
    path = tmp_path / "f.csv"
    path.write_bytes(b"subject_id,occurred_at,package\n1,2026-01-01,com.a\n")
    table = read(path, "app_usage")
    assert table["event"].to_pylist() == ["open"]
    assert table["device_id"].to_pylist() == [None]
    assert table.schema.field("duration_s").type == pa.int64()


def test_dates_of_employment(tmp_path: Path) -> None:
    """Dates are dates, an open end is null."""
    path = tmp_path / "f.jsonl"
    record = {
        "subject_id": "1",
        "record_id": "r",
        "reported_at": "2026-01-01",
        "employer_type": "private",
        "started_on": "2020-02-29",
        "ended_on": None,
        "monthly_salary": 8000,
    }
    path.write_text(json.dumps(record))
    row = read(path, "employment").to_pylist()[0]
    assert (row["started_on"], row["ended_on"], row["monthly_salary"]) == (
        date(2020, 2, 29),
        None,
        Decimal("8000.00"),
    )
