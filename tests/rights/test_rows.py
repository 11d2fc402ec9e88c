"""Rows as text: exact, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.clock import format_instant
from ingestion.source import INSTANT, MONEY
from rights.own_records import NEWEST, Seen
from rights.package import Stream
from rights.rows import plain_values, spreadsheet_text, write_csv, write_jsonl
from tests.property.consent_histories import law

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
#: Texts that begin with what makes formulas of them, more often than by chance.
dangerous = st.builds(lambda sign, rest: sign + rest, st.sampled_from(list("=+-@\t\r\n＝＋－＠'")), texts)
instants = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
rows = st.lists(
    st.tuples(
        st.none() | texts | dangerous,
        st.none() | instants,
        st.none() | st.decimals(-(10**15), 10**15, places=2),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.none() | st.dates(date(1900, 1, 1), date(2200, 1, 1)),
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.lists(texts | dangerous, max_size=3),
    ),
    max_size=5,
)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("at", INSTANT),
        ("money", MONEY),
        ("number", pa.int64()),
        ("day", pa.date32()),
        ("figure", pa.float64()),
        ("rules", pa.list_(pa.string())),
    ]
)


def table_of(values: list[tuple[Any, ...]]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in values], schema=SCHEMA)


def written(write: Any, table: pa.Table) -> tuple[bytes, Stream]:
    target = io.BytesIO()
    stream = Stream(target)
    write(stream, SCHEMA.names, [table])
    return target.getvalue(), stream


@law(100)
@given(rows)
def test_json_lines_are_exact(values: list[tuple[Any, ...]]) -> None:
    """Every value reads back as it was, in its type; null is null."""
    content, stream = written(write_jsonl, table_of(values))
    lines = [json.loads(line) for line in content.decode().split("\n")[:-1]]
    back = [
        (
            row["text"],
            None if row["at"] is None else datetime.fromisoformat(row["at"]),
            None if row["money"] is None else Decimal(row["money"]),
            row["number"],
            None if row["day"] is None else date.fromisoformat(row["day"]),
            row["figure"],
            row["rules"],
        )
        for row in lines
    ]
    assert back == values
    assert (stream.rows, stream.size) == (len(values), len(content))


@law(100)
@given(rows)
def test_csv_is_exact_but_for_one_apostrophe(values: list[tuple[Any, ...]]) -> None:
    """No cell begins a formula; one leading apostrophe taken away gives the text back."""
    table = table_of(values)
    content, _ = written(write_csv, table)
    head, *read = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
    assert head == SCHEMA.names
    numbers = {"money", "number", "figure"}
    for row, value in zip(read, table.to_pylist(), strict=True):
        cells = dict(zip(SCHEMA.names, row, strict=True))
        assert not any(
            cells[name].startswith(tuple("=+-@\t\r\n＝＋－＠"))
            for name in SCHEMA.names
            if name not in numbers
        )
        assert undone(cells["text"]) == (value["text"] or "")
        assert cells["money"] == ("" if value["money"] is None else f"{value['money']:.2f}")
        assert cells["figure"] == ("" if value["figure"] is None else repr(value["figure"]))


@law(100)
@given(texts | dangerous)
def test_an_apostrophe_too_many_is_taken_away_again(text: str) -> None:
    """There is one way back, also for a text that had an apostrophe of its own."""
    assert undone(spreadsheet_text(text)) == text


def undone(cell: str) -> str:
    return cell[1:] if cell.startswith("'") else cell


@law(100)
@given(st.lists(st.none() | instants, max_size=8))
def test_instants_are_spelled_as_everywhere(values: list[datetime | None]) -> None:
    """As `format_instant` spells them."""
    column = pa.chunked_array([pa.array(values, INSTANT)])
    assert plain_values(column) == [None if at is None else format_instant(at) for at in values]


@pytest.mark.parametrize("rows_each", [1, 7, 250])
def test_the_newest_are_the_newest_of_all_batches(rows_each: int) -> None:
    """However the records are cut; the last one first, and no more than a page shows."""
    days = [(i * 37) % 1000 for i in range(1000)]
    tables = [
        pa.table(
            {
                "loaded_at": pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * len(part), INSTANT),
                "at": pa.array([datetime.fromtimestamp(86_400 * d, UTC) for d in part], INSTANT),
            }
        )
        for part in (days[lo : lo + rows_each] for lo in range(0, 1000, rows_each))
    ]
    seen = Seen("at")
    assert sum(t.num_rows for t in seen.watch(iter(tables))) == seen.rows == 1000
    assert seen.newest is not None
    expected = [datetime.fromtimestamp(86_400 * d, UTC) for d in sorted(days, reverse=True)[:NEWEST]]
    assert seen.newest["at"].to_pylist() == expected
    assert (seen.first, seen.last) == (datetime(1970, 1, 1, tzinfo=UTC), expected[0])
