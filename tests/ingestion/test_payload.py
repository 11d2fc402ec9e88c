"""Each subject's rows as bytes, and back."""

from __future__ import annotations

import random
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.errors import BadInput, ConfigError, EvidenceError
from ingestion import payload
from ingestion.payload import from_records, to_records
from tests.ingestion.sealed_rows import rows_of, schemas

OTHERS = pa.schema(
    {
        "double": pa.float64(),
        "single": pa.float32(),
        "flag": pa.bool_(),
        "small": pa.int8(),
        "bytes": pa.binary(),
        "hash": pa.binary(5),
        "lists": pa.list_(pa.list_(pa.string())),
        "flags": pa.list_(pa.bool_()),
        "amounts": pa.list_(pa.decimal128(18, 2)),
    }
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "double": st.floats(allow_nan=False),
    "single": st.floats(width=32, allow_nan=False),
    "flag": st.booleans(),
    "small": st.integers(-128, 127),
    "bytes": st.binary(max_size=300),
    "hash": st.binary(min_size=5, max_size=5),
    "lists": st.lists(st.none() | st.lists(st.none() | st.text(max_size=5), max_size=3), max_size=3),
    "flags": st.lists(st.none() | st.booleans(), max_size=9),
    "amounts": st.lists(st.none() | st.integers(-(10**6), 10**6).map(lambda i: Decimal(i) / 4), max_size=3),
}


def back(records: list[bytes], counts: list[int], schema: pa.Schema) -> pa.Table:
    batches, done = [], 0
    for number, columns in from_records(records, counts, schema):
        batches.append(pa.RecordBatch.from_arrays(columns, schema=schema))
        done += number
    assert done == len(records)
    table = pa.Table.from_batches(batches, schema=schema)
    table.validate(full=True)
    return table


def plain(record: bytes) -> bytes:
    """What is compressed in it: all but its head of three numbers."""
    total, cells, first = struct.unpack_from("<3H", record)
    frames = [record[6 : 6 + first], record[6 + first :]]
    content = b"".join(b"\x28\xb5\x2f\xfd" + frame for frame in frames if frame)
    found = pa.Codec("zstd").decompress(content, decompressed_size=total).to_pybytes()
    assert cells <= len(found)
    return found


def split(rows: int, dice: random.Random) -> list[int]:
    counts = []
    while rows:
        counts.append(dice.randint(1, min(rows, 9)))
        rows -= counts[-1]
    return counts


@pytest.mark.parametrize("name", schemas())
def test_rows_of_every_source_survive(name: str) -> None:
    """Every type of every source and of its quarantine, with nulls, Chinese text and the extremes."""
    schema = schemas()[name]
    rows = rows_of(schema, 500)
    counts = split(500, random.Random(2))
    assert back(to_records(rows, counts), counts, schema).equals(rows)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_rows_survive(data: st.DataObject) -> None:
    """Law: whatever the types, the nulls, the sizes and how many rows each subject has."""
    names = data.draw(st.lists(st.sampled_from(OTHERS.names), unique=True, min_size=1))
    schema = pa.schema([OTHERS.field(name) for name in names])
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    number = sum(counts)
    cells = [data.draw(st.lists(st.none() | VALUES[n], min_size=number, max_size=number)) for n in names]
    rows = pa.table([pa.array(c, f.type) for c, f in zip(cells, schema, strict=True)], schema=schema)
    assert back(to_records(rows, counts), counts, schema).equals(rows)


def test_a_record_holds_its_subjects_rows_and_nobody_elses() -> None:
    """It is the same bytes whoever else is sealed with it, wherever in memory the rows are."""
    rows = rows_of(schemas()["spending quarantine"], 300)
    counts = split(300, random.Random(3))
    together, start = to_records(rows, counts), 0
    for record, count in zip(together, counts, strict=True):
        assert to_records(rows.slice(start, count), [count]) == [record]
        start += count


@pytest.mark.parametrize("length", [0, 1, 252, 253, 254, 255, 256, 65_535, 65_536, 200_000])
def test_values_of_any_length_survive(length: int) -> None:
    """Around each step of how a length is written, among short ones, as text and as a list."""
    rows = pa.table(
        {
            "text": ["x", "y" * length, None, "", "z" * length],
            "list": pa.array([[1], list(range(length)), None, [], [2] * length], pa.list_(pa.int32())),
        }
    )
    for counts in ([5], [1, 1, 1, 1, 1], [2, 3]):
        assert back(to_records(rows, counts), counts, rows.schema).equals(rows)


def test_a_null_hides_nothing() -> None:
    """What lies in memory where a null is may be somebody else's: it is not in the record."""
    secret = b"GB29NWBK60161331926819"
    offsets, valid = np.array([0, 22, 23], np.int32), pa.py_buffer(b"\x02")
    text = pa.Array.from_buffers(pa.string(), 2, [valid, pa.py_buffer(offsets), pa.py_buffer(secret + b"x")])
    fixed = pa.Array.from_buffers(pa.binary(22), 2, [valid, pa.py_buffer(secret + b"y" * 22)])
    lists = pa.Array.from_buffers(
        pa.list_(pa.string()),
        2,
        [valid, pa.py_buffer(np.array([0, 1, 1], np.int32))],
        children=[pa.array([secret.decode()])],
    )
    rows = pa.table({"text": text, "fixed": fixed, "lists": lists})
    (record,) = to_records(rows, [2])
    assert secret not in plain(record)
    expected = [{"text": None, "fixed": None, "lists": None}, {"text": "x", "fixed": b"y" * 22, "lists": []}]
    assert back([record], [2], rows.schema).to_pylist() == expected


def test_rows_come_back_in_bunches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded number of bytes at a time, one record at least, and the same rows."""
    schema = schemas()["spending quarantine"]
    rows = rows_of(schema, 400)
    counts = split(400, random.Random(4))
    records = to_records(rows, counts)
    sizes = [int.from_bytes(record[:2], "little") for record in records]
    for limit in (1, 2_000, 50_000):
        monkeypatch.setattr(payload, "_AT_A_TIME", limit)
        done = 0
        for number, columns in from_records(records, counts, schema):
            assert number == 1 or sum(sizes[done : done + number]) <= limit
            assert len(columns[0]) == sum(counts[done : done + number])
            done += number
        assert done == len(records)
        assert back(records, counts, schema).equals(rows)


def test_rows_without_columns_are_nothing() -> None:
    """Only the subject was in the file: a record of nothing."""
    records = to_records(pa.table({}), [])
    assert records == []
    assert list(from_records([], [], pa.schema([]))) == []


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["x"]).dictionary_encode(),
        pa.array([{"a": 1}]),
        pa.array(["x"], pa.large_string()),
        pa.array([None]),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([["x"]], pa.list_(pa.large_string())),
    ],
    ids=lambda column: str(column.type),
)
def test_other_types_are_refused(column: pa.Array) -> None:
    """By name, before anything is sealed; no value is quoted."""
    with pytest.raises(ConfigError, match="cannot be sealed") as caught:
        to_records(pa.table({"c": column}), [1])
    assert "'x'" not in str(caught.value)


def test_more_than_two_gib_of_a_few_people_are_refused() -> None:
    """Not cut short in silence."""
    half = pa.py_buffer(np.zeros(1_200_000_000, np.uint8))  # never touched, so never really there
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(np.array([0, len(half)], np.int32)), half]
    )
    with pytest.raises(BadInput, match="2 GiB"):
        to_records(pa.table({"c": pa.chunked_array([text, text])}), [2])


@pytest.mark.parametrize("length", [10, 4_000, 4_096, 5_000, 70_000])
def test_long_texts_survive_among_short_and_empty_ones(length: int) -> None:
    """Below and above where each column is compressed by itself, and where the head needs more room."""
    rows = pa.table(
        {
            "a": ["x" * length, "y", None],
            "b": ["", None, "z" * length],
            "n": [1, None, 3],
            "c": [None, "", "q"],
        }
    )
    for counts in ([3], [1, 1, 1], [2, 1]):
        records = to_records(rows, counts)
        assert back(records, counts, rows.schema).equals(rows)
        wide = [int.from_bytes(record[:2], "little") == 0xFFFF for record in records]
        assert any(wide) == (length >= 0xFFFF)


@pytest.mark.parametrize("at", range(6))
def test_a_record_that_says_otherwise_is_refused(at: int) -> None:
    """Each byte of its head changed, its end cut off or added to, other rows: an error, and nothing read amiss."""
    rows = rows_of(schemas()["spending quarantine"], 40)
    record = to_records(rows, [40])[0]
    for changed in (record[:at] + bytes([record[at] ^ 5]) + record[at + 1 :], record[:at], record[: -at - 1]):
        with pytest.raises(EvidenceError, match="does not hold what it says"):
            back([changed], [40], rows.schema)
    for counts in ([39], [41], [1]):
        with pytest.raises(EvidenceError, match="does not hold what it says"):
            back([record], counts, rows.schema)
