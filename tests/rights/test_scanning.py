"""The scan is able to fail: whatever is planted, however it is written or packed, is found where it stands."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
import sqlite3
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.rights.scanning import Hit, Scanner, spellings, spellings_of_bytes, spellings_of_number

VALUE, NUMBER, KEY = "客户-00001-CANARY", Decimal("73819.46"), bytes(range(100, 132))
NOISE = bytes(range(255, -1, -1)) * 40


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    others = {f"other {i}": spellings(f"客户-{i:05d}-NOBODY") for i in range(2, 400)}
    wanted = {"value": spellings(VALUE), "number": spellings_of_number(NUMBER)}
    return Scanner({**others, **wanted, "key": spellings_of_bytes(KEY)})


def names(hits: list[Hit]) -> set[str]:
    return {hit.value for hit in hits}


TEXTS: dict[str, Callable[[str], bytes]] = {
    "utf-8": lambda v: v.encode(),
    "utf-16 le": lambda v: v.encode("utf-16-le"),
    "utf-16 be": lambda v: v.encode("utf-16-be"),
    "gb18030": lambda v: v.encode("gb18030"),
    "json": lambda v: json.dumps({"a": v}).encode(),
    "url": lambda v: quote(v).encode(),
    "python": lambda v: v.encode("unicode_escape"),
    "hex": lambda v: v.encode().hex().encode(),
    "hex upper": lambda v: v.encode("gb18030").hex().upper().encode(),
    "base64 0": lambda v: base64.b64encode(v.encode() + b"yy"),
    "base64 1": lambda v: base64.b64encode(b"x" + v.encode() + b"y"),
    "base64 2": lambda v: base64.b64encode(b"xx" + v.encode("utf-16-le")),
    "base64 url": lambda v: base64.urlsafe_b64encode(b"x\xff\xfe" + v.encode() + b"\xff"),
    "gzip": lambda v: gzip.compress(v.encode()),
    "zlib": lambda v: zlib.compress(v.encode("utf-16-be"), 9),
    "zstd": lambda v: pa.Codec("zstd").compress(v.encode() * 3, asbytes=True),
    "zlib in base64": lambda v: base64.b64encode(zlib.compress(v.encode())),
    "gzip in hex": lambda v: gzip.compress(v.encode()).hex().encode(),
    "hex in zstd": lambda v: pa.Codec("zstd").compress(v.encode().hex().encode(), asbytes=True),
}


@pytest.mark.parametrize("how", TEXTS)
def test_a_text_is_found_in_every_spelling(scanner: Scanner, tmp_path: Path, how: str) -> None:
    """In the middle of other bytes, at any offset, and in no other file."""
    (tmp_path / "clean").write_bytes(NOISE)
    (tmp_path / "planted").write_bytes(NOISE + b"\0" + TEXTS[how](VALUE) + b"\0" + NOISE)
    hits = scanner.scan(tmp_path)
    assert names(hits) == {"value"}
    assert all(hit.place.startswith(str(tmp_path / "planted")) for hit in hits)


NUMBERS: dict[str, Callable[[Decimal], bytes]] = {
    "text": lambda n: f"amount={n};".encode(),
    "double": lambda n: struct.pack("<d", float(n)),
    "double be": lambda n: struct.pack(">d", float(n)),
    "cents": lambda n: int(n * 100).to_bytes(8, "little"),
    "decimal": lambda n: int(n * 100).to_bytes(16, "big"),
    "compressed": lambda n: zlib.compress(struct.pack("<d", float(n))),
}


@pytest.mark.parametrize("how", NUMBERS)
def test_a_number_is_found_in_every_spelling(scanner: Scanner, tmp_path: Path, how: str) -> None:
    """Features are numbers, and kept as such."""
    (tmp_path / "planted").write_bytes(NOISE + NUMBERS[how](NUMBER) + NOISE)
    assert names(scanner.scan(tmp_path)) == {"number"}


@pytest.mark.parametrize("how", [bytes, lambda k: k.hex().encode(), base64.b64encode])
def test_a_key_is_found(scanner: Scanner, tmp_path: Path, how: Callable[[bytes], bytes]) -> None:
    """Raw, in hex and in base64."""
    (tmp_path / "planted").write_bytes(b"x" + how(KEY) + b"yz")
    assert names(scanner.scan(tmp_path)) == {"key"}


@pytest.mark.parametrize("codec", ["none", "zstd", "snappy", "gzip"])
def test_a_parquet_file_is_read_cell_by_cell(scanner: Scanner, tmp_path: Path, codec: str) -> None:
    """Text, bytes, numbers, lists and dictionaries, whatever the pages are packed with."""
    columns = {
        "text": pa.array([VALUE, None]),
        "dictionary": pa.array([VALUE, VALUE]).dictionary_encode(),
        "list": pa.array([[VALUE], []]),
        "bytes": pa.array([VALUE.encode("gb18030"), b""]),
    }
    for name, column in columns.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({name: column}), path, compression=codec, write_statistics=False)
        assert names(scanner.scan(path)) == {"value"}, name
    for column in (pa.array([float(NUMBER)]), pa.array([NUMBER], pa.decimal128(18, 2))):
        pq.write_table(pa.table({"n": column}), path, compression=codec, write_statistics=False)
        assert names(scanner.scan(path)) == {"number"}


def test_statistics_and_notes_of_a_parquet_file_are_read(scanner: Scanner, tmp_path: Path) -> None:
    """What a footer says of a column is as good as the column."""
    path = tmp_path / "f.parquet"
    pq.write_table(pa.table({"n": [NUMBER]}), path, compression="zstd")
    assert any("statistics" in hit.place for hit in scanner.scan(path))
    noted = pa.table({"n": [1]}).replace_schema_metadata({"note": VALUE})
    pq.write_table(noted, path)
    assert names(scanner.scan(path)) == {"value"}


@pytest.mark.parametrize("kind", [VALUE, VALUE.encode(), float(NUMBER), zlib.compress(VALUE.encode())])
def test_a_database_is_read_cell_by_cell(scanner: Scanner, tmp_path: Path, kind: object) -> None:
    """Also a cell that only the write-ahead log holds, and the database is as it was."""
    path, copied = tmp_path / "made.db", tmp_path / "copied" / "found.db"
    copied.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute('CREATE TABLE "odd ""name" (a, b)')
        connection.execute('INSERT INTO "odd ""name" VALUES (1, ?)', (kind,))
        connection.commit()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", f"{copied}{suffix}")
    before = {p.name: p.read_bytes() for p in copied.parent.iterdir()}
    hits = scanner.scan(copied.parent)
    assert names(hits) == {"number" if isinstance(kind, float) else "value"}
    assert any("cells of" in hit.place for hit in hits)
    assert {p.name: p.read_bytes() for p in copied.parent.iterdir()} == before


def test_a_deleted_row_is_found_in_free_pages_and_log(scanner: Scanner, tmp_path: Path) -> None:
    """What a database has let go of is still in its file."""
    path = tmp_path / "f.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(VALUE * 200,)] * 20)
        connection.commit()
        connection.execute("DELETE FROM t")
        connection.commit()
    hits = scanner.scan(path)
    assert names(hits) == {"value"}
    assert not any("cells of" in hit.place for hit in hits)


def test_names_of_files_and_folders_count(scanner: Scanner, tmp_path: Path) -> None:
    """A customer number in a name is one on the disk."""
    (tmp_path / VALUE).mkdir()
    assert names(scanner.scan(tmp_path)) == {"value"}


def test_output_counts(scanner: Scanner) -> None:
    """What a command says is scanned like a file."""
    assert names(scanner.scan_text("fine", f"error: {VALUE}")) == {"value"}
    assert scanner.scan_text("fine") == []


def test_a_value_cut_short_is_not_the_value(scanner: Scanner, tmp_path: Path) -> None:
    """The scan compares whole values: it cries no wolf."""
    (tmp_path / "near").write_bytes(b"".join(TEXTS[how](VALUE[:-1] + "0") for how in TEXTS))
    assert scanner.scan(tmp_path) == []
