"""Looks for many values at once in every byte that was left on a disk, however it is written or packed.

A value is looked for as text in four encodings, as JSON and URLs escape it, in hex and in base64; a number also as
the bytes that computers keep numbers in. Every file is read as it is; what is packed in it is unpacked and read
again: gzip, zlib and zstd wherever they begin, base64 and hex, the cells, statistics and footers of Parquet files,
the cells of SQLite databases with their write-ahead logs. Free pages and logs are in the files' own bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import sqlite3
import struct
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: Shorter spellings turn up by chance.
_SHORTEST = 6
_ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030")
#: How often something unpacked is looked into again.
_DEEPEST = 4
_MOST_UNPACKED = 64 * 1024 * 1024


def spellings(value: str) -> list[bytes]:
    """A text as bytes, in every way a scan should know it."""
    found = [json.dumps(value)[1:-1].encode(), json.dumps(value)[1:-1].upper().replace("\\U", "\\u").encode()]
    found += [value.encode("unicode_escape"), quote(value, safe="").encode()]
    for encoding in _ENCODINGS:
        found += _packed(value.encode(encoding))
    return _long_enough(found)


def spellings_of_bytes(value: bytes) -> list[bytes]:
    """Bytes as they are, in hex and in base64."""
    return _long_enough(_packed(value))


def spellings_of_number(value: Decimal) -> list[bytes]:
    """A number as text, and as binary numbers hold it: double, whole cents, decimal of 16 bytes."""
    plain = f"{value:.2f}"
    cents = int(value * 100)
    found = [plain.encode(), plain.encode("utf-16-le"), repr(float(value)).encode()]
    found += [struct.pack(order + "d", float(value)) for order in "<>"]
    for size in (8, 16):
        found += [cents.to_bytes(size, order, signed=True) for order in ("little", "big")]  # type: ignore[arg-type]
    return _long_enough(found)


def _packed(plain: bytes) -> list[bytes]:
    found = [plain, plain.hex().encode(), plain.hex().upper().encode()]
    for offset in range(3):
        padded = b"\0" * offset + plain + b"\0\0"
        # The characters that depend on nothing that stands before or after.
        first, last = (0, 2, 3)[offset], (offset + len(plain)) * 8 // 6
        found += [encode(padded)[first:last] for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    return found


def _long_enough(found: Iterable[bytes]) -> list[bytes]:
    return [spelling for spelling in dict.fromkeys(found) if len(spelling) >= _SHORTEST]


@dataclass(frozen=True, order=True)
class Hit:
    """A value that was found.

    Attributes:
        value: its name.
        place: the file, and what of it.
    """

    value: str
    place: str


class Scanner:
    """Looks for named values, each in all its spellings.

    Of each spelling six telling bytes are looked for everywhere at once, three in a table and then all six; only
    where they stand the whole is compared.
    """

    def __init__(self, values: Mapping[str, Iterable[bytes]]) -> None:
        self._with: dict[bytes, list[tuple[int, bytes, str]]] = {}
        for name, found in values.items():
            for spelling in found:
                at = _telling(spelling)
                self._with.setdefault(spelling[at : at + _SHORTEST], []).append((at, spelling, name))
        self._six = np.array(sorted(int.from_bytes(six, "big") for six in self._with), np.int64)
        self._three = np.zeros(1 << 24, bool)
        self._three[self._six >> 24] = True

    def scan(self, *places: Path) -> list[Hit]:
        """What of the values is in these files, or in the files and names under these directories."""
        return sorted(set(self._all(places)))

    def scan_text(self, *texts: str, place: str = "text") -> list[Hit]:
        """What of the values is in some output."""
        return sorted({Hit(v, p) for text in texts for v, p in self._content(text.encode(), place, 0)})

    def _all(self, places: Iterable[Path]) -> Iterator[Hit]:
        for path in _files(places):
            named = (v for v, _ in self._content(str(path).encode("utf-8", "surrogateescape"), "", 0))
            yield from (Hit(value, f"{path} (its name)") for value in named)
            if path.is_file() and not path.is_symlink():
                yield from (Hit(value, place) for value, place in self._file(path))

    def _file(self, path: Path) -> Iterator[tuple[str, str]]:
        content = path.read_bytes()
        yield from self._content(content, str(path), 0)
        if content[:16] == b"SQLite format 3\0":
            for table, cells in _sqlite_cells(path):
                yield from self._content(cells, f"{path}, cells of {table}", 1)

    def _content(self, content: bytes, place: str, depth: int) -> Iterator[tuple[str, str]]:
        yield from ((name, place) for name in self._find(content))
        if depth < _DEEPEST:
            for how, inner in _unpack(content):
                yield from self._content(inner, f"{place}, {how}", depth + 1)

    def _find(self, content: bytes) -> set[str]:
        if len(content) < _SHORTEST:
            return set()
        raw = np.frombuffer(content, np.uint8).astype(np.int32)
        three = raw[:-2] << 16 | raw[1:-1] << 8 | raw[2:]
        at = np.flatnonzero(self._three[three[: len(three) - 3]])
        six = three[at].astype(np.int64) << 24 | three[at + 3]
        return {
            name
            for i in at[np.isin(six, self._six)].tolist()
            for before, spelling, name in self._with[content[i : i + _SHORTEST]]
            if i >= before and content.startswith(spelling, i - before)
        }


def _telling(spelling: bytes) -> int:
    """Where in a spelling there are six bytes that do not stand everywhere, as zeros do."""
    if len(set(spelling[:_SHORTEST])) > _SHORTEST // 2:
        return 0
    starts = range(len(spelling) - _SHORTEST + 1)
    return max(starts, key=lambda i: len(set(spelling[i : i + _SHORTEST])))


def _files(places: Iterable[Path]) -> Iterator[Path]:
    for place in places:
        yield place
        yield from sorted(place.rglob("*"))


# ------------------------------------------------------------------------------------------- unpacking

_ZLIB = re.compile(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08")
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd")
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-f]{2}){16,}|(?:[0-9A-F]{2}){16,}")


def _unpack(content: bytes) -> Iterator[tuple[str, bytes]]:
    """What is packed in some bytes, and how; all that is packed in one way at once."""
    if content[:4] == b"PAR1":
        yield from _parquet(content)
    view = memoryview(content)
    inflated = [_inflate(view[found.start() :]) for found in _ZLIB.finditer(content)]
    expanded = [_zstd(view[found.start() :]) for found in _ZSTD.finditer(content)]
    decoded = [_from_base64(found[0]) for found in _BASE64.finditer(content)]
    hexed = [binascii.unhexlify(found[0]) for found in _HEX.finditer(content)]
    for how, parts in (("deflated", inflated), ("zstd", expanded), ("base64", decoded), ("hex", hexed)):
        if any(parts):
            yield how, b"\0".join(parts)


def _inflate(content: memoryview) -> bytes:
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(content, _MOST_UNPACKED)
    except zlib.error:
        return b""


def _zstd(content: memoryview) -> bytes:
    parts = []
    try:
        with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
            while part := stream.read(1 << 16):
                parts.append(part)
    except (pa.ArrowException, OSError):
        pass  # no zstd after all, or something else follows: what came out before counts
    return b"".join(parts)


def _from_base64(text: bytes) -> bytes:
    text = text.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
    text = text[: len(text) // 4 * 4] if len(text) % 4 == 1 else text
    return binascii.a2b_base64(text + b"=" * (-len(text) % 4))


def _parquet(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Columns page by page unpacked, what the footer says of them, and the footer's own notes."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        table = file.read()
    except (pa.ArrowException, OSError):
        return  # encrypted, or only looks like it
    for name, column in zip(table.column_names, table.columns, strict=True):
        yield f"column {name}", b"\0".join(_buffers(column))
    about = file.metadata
    groups = [about.row_group(i) for i in range(about.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    said = [s for chunk in chunks if (s := chunk.statistics) is not None and s.has_min_max]
    yield "statistics", b"\0".join(_as_bytes(v) for s in said for v in (s.min, s.max))
    yield "notes", b"\0".join(part for pair in (about.metadata or {}).items() for part in pair)


def _buffers(column: pa.ChunkedArray) -> Iterator[bytes]:
    for chunk in column.chunks:
        if pa.types.is_dictionary(chunk.type):
            chunk = chunk.dictionary_decode()
        yield from (buffer.to_pybytes() for buffer in chunk.buffers() if buffer is not None)


def _sqlite_cells(path: Path) -> Iterator[tuple[str, bytes]]:
    """Every cell of every table, one after another, with what is still in the write-ahead log."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal", "-journal"):
            if (beside := path.with_name(path.name + suffix)).exists():
                shutil.copyfile(beside, Path(folder, "copy" + suffix))
        with closing(sqlite3.connect(Path(folder, "copy"))) as connection:
            connection.text_factory = bytes
            named = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in named:
                table = name.decode()
                rows = connection.execute('SELECT * FROM "' + table.replace('"', '""') + '"')
                yield table, b"\0".join(_as_bytes(cell) for row in rows for cell in row)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, float):
        return struct.pack("<d", value) + repr(value).encode()
    return b"" if value is None else str(value).encode()
