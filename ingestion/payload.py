"""Each subject's rows as bytes, and back: what lies inside the seal of a record.

A column is taken apart into streams: for every cell one byte that says whether there is a value and, where values
differ in size, how long it is; then the values one after another. Of a subject's part of all streams, the texts are
compressed together or, where there are many, column by column, and everything else before them: so they are smaller
than as one.
Arrow's own format keeps positions instead of lengths, which do not compress, and describes every record anew: sealed
records were half as large again, and took three times as long to read.

=================  =============================================================================
fixed width        1 present, 0 null; the values, a null as zeros
text, bytes, list  0 null, 1 + length up to 253, 255 longer; the longer lengths, 32 bits each; the bytes, or the
                   list's items as a column of their own
=================  =============================================================================

A record begins with three numbers of 16 bits: its size before compression, that of what is not text, and that of the
same compressed. Where one of them does not fit, the first is 65,535, and they follow in 32 bits. Then come the zstd
frames, the first and that of the first text without their magic number, which is the same for all; a frame of nothing
is left out.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
import zstandard

from consent.errors import BadInput, ConfigError, EvidenceError

Ints = np.ndarray[Any, np.dtype[np.int64]]
Codes = np.ndarray[Any, np.dtype[np.uint8]]
_Compress = Callable[[bytes], bytes]
_LONG = 255
_LONGEST_IN_CODE = _LONG - 2
#: Bytes of rows put together at a time, as far as a record is not larger.
_AT_A_TIME = 2 * 1024 * 1024
#: Texts of so many bytes are compressed column by column: each is more like itself than like the others.
_MANY_BYTES = 4096
_LEVEL = 3
_MAGIC = b"\x28\xb5\x2f\xfd"
_HEAD, _WIDE_HEAD = struct.Struct("<3H"), struct.Struct("<H3I")
_WIDE = 0xFFFF
_LENGTH = np.dtype("<u4")


# ------------------------------------------------------------------------------------------- records


class _Streams(NamedTuple):
    """What rows are taken apart into, each stream cut into the subjects' parts."""

    cells: list[pa.Array]
    texts: list[pa.Array]


def to_records(payload: pa.Table, counts: Sequence[int]) -> list[bytes]:
    """One record per subject: all its rows.

    Args:
        payload: the rows, subject by subject.
        counts: how many of them each subject has.

    Raises:
        ConfigError: a column is of a type that is not supported.
        BadInput: a column holds more than 2 GiB.
    """
    bounds = _ends(np.array(counts))
    streams = _Streams([], [])
    for column in payload.columns:
        _take_apart(_whole(column), bounds, streams)
    compress = _compressor()
    cells = _joined(streams.cells, len(counts))
    texts = zip(*(text.to_pylist() for text in streams.texts), strict=True)
    found = texts if streams.texts else [()] * len(counts)
    return [_record(cell, parts, compress) for cell, parts in zip(cells, found, strict=True)]


def _record(cells: bytes, texts: Sequence[bytes], compress: _Compress) -> bytes:
    text = b"".join(texts)
    first = compress(cells) if cells else b""
    apart = [part for part in texts if part] if len(text) >= _MANY_BYTES else [text] if text else []
    second = _MAGIC.join([compress(part) for part in apart])
    return _head(len(cells) + len(text), len(cells), len(first)) + first + second


def _joined(streams: Sequence[pa.Array], records: int) -> list[bytes]:
    """Each subject's part of all streams, one after another."""
    if not streams:
        return [b""] * records
    joined: list[bytes] = pc.binary_join_element_wise(*streams, pa.scalar(b"", pa.large_binary())).to_pylist()
    return joined


def _compressor() -> _Compress:
    """Arrow would make its own anew for every call."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        _LEVEL, format=zstandard.FORMAT_ZSTD1_MAGICLESS, write_content_size=False
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress


def _head(*numbers: int) -> bytes:
    return _HEAD.pack(*numbers) if max(numbers) < _WIDE else _WIDE_HEAD.pack(_WIDE, *numbers)


def from_records(
    records: Sequence[bytes], counts: Sequence[int], schema: pa.Schema
) -> Iterator[tuple[int, list[pa.Array]]]:
    """Inverse of `to_records`: of so many records, one after another, the rows' columns.

    Raises:
        EvidenceError: a record does not hold what it says.
    """
    try:
        heads = _read_heads(records)
        for some in _bunches(heads[:, 0].tolist()):
            cursor = _open(records[some], heads[some])
            columns = [_put_together(field.type, np.array(counts[some]), cursor) for field in schema]
            cursor.require_end()
            yield some.stop - some.start, columns
    except (ValueError, OverflowError, OSError, struct.error):
        raise _not_what_it_says() from None


def _read_heads(records: Sequence[bytes]) -> Ints:
    """Each record's three numbers, and where its first frame begins."""
    short = np.frombuffer(b"".join([record[: _HEAD.size] for record in records]), "<u2")
    heads = np.full((len(records), 4), _HEAD.size)
    heads[:, :3] = short.reshape(-1, 3)
    for i in np.flatnonzero(heads[:, 0] == _WIDE).tolist():
        heads[i] = *_WIDE_HEAD.unpack_from(records[i])[1:], _WIDE_HEAD.size
    if (heads[:, 1] > heads[:, 0]).any():
        raise _not_what_it_says()
    return heads


def _bunches(sizes: Sequence[int]) -> Iterator[slice]:
    """Records that are put together at a time; one at least."""
    lo, held = 0, 0
    for hi, size in enumerate(sizes):
        if hi > lo and held + size > _AT_A_TIME:
            yield slice(lo, hi)
            lo, held = hi, 0
        held += size
    if lo < len(sizes):
        yield slice(lo, len(sizes))


def _open(records: Sequence[bytes], heads: Ints) -> _Cursor:
    totals, cells, firsts, begins = heads.T
    frames = [b""] * (2 * len(records))
    cuts = list(zip(records, begins.tolist(), (begins + firsts).tolist(), strict=True))
    frames[0::2] = [record[begin:cut] for record, begin, cut in cuts]
    frames[1::2] = [record[cut:] for record, _, cut in cuts]
    # One call for all of them: it costs as much as reading a record.
    content = _MAGIC.join([b"", *filter(None, frames)])
    total = int(totals.sum())
    plain = pa.Codec("zstd").decompress(content, decompressed_size=total) if total else pa.py_buffer(b"")
    ends = np.cumsum(totals)
    begins = ends - totals
    return _Cursor(plain, (begins, begins + cells), (begins + cells, ends))


class _Cursor:
    """Reads all subjects' records, stream after stream: what is not text, and the texts.

    Args:
        begins, ends: where either is in each subject's record.
    """

    def __init__(self, plain: pa.Buffer, begins: tuple[Ints, Ints], ends: tuple[Ints, Ints]) -> None:
        self._plain = plain
        self._at = list(begins)
        self._ends = ends

    def take(self, sizes: Ints, *, text: bool = False) -> pa.Buffer:
        """The next stream, of which each subject has so many bytes."""
        begins, ends = self._at[text], self._at[text] + sizes
        if (sizes < 0).any() or (ends > self._ends[text]).any():
            raise _not_what_it_says()
        self._at[text] = ends
        # Each subject's bytes and those before the next one's, in turn; the former are taken.
        bounds = np.column_stack([begins, ends]).ravel()
        pieces = pa.Array.from_buffers(
            pa.large_binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), self._plain]
        )
        taken = pieces.take(pa.array(np.arange(0, len(bounds), 2))).buffers()[2].slice(0, int(sizes.sum()))
        # Not in Arrow's memory: what it keeps for each stream is rounded up to huge pages that must be cleared.
        return pa.py_buffer(taken.to_pybytes())

    def require_end(self) -> None:
        """Raise unless everything has been read."""
        if any((at != end).any() for at, end in zip(self._at, self._ends, strict=True)):
            raise _not_what_it_says()


def _not_what_it_says() -> EvidenceError:
    return EvidenceError(
        "a sealed record does not hold what it says", remedy="Restore the file of the vault from a copy."
    )


def _parts(content: pa.Buffer, bounds: Ints) -> pa.Array:
    """Bytes, cut at these bounds."""
    return pa.Array.from_buffers(pa.large_binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), content])


def _ends(counts: np.ndarray[Any, Any]) -> Ints:
    """Where each of so many begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


# ------------------------------------------------------------------------------------------- one column


def _is_fixed(kind: pa.DataType) -> bool:
    return pt.is_primitive(kind) or pt.is_decimal(kind) or pt.is_fixed_size_binary(kind)


def _is_sized(kind: pa.DataType) -> bool:
    return pt.is_string(kind) or pt.is_binary(kind) or pt.is_list(kind)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    try:
        return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    except pa.ArrowInvalid:
        raise BadInput(
            "a column holds more than 2 GiB of a few people", remedy="Load the file in parts."
        ) from None


def _take_apart(column: pa.Array, bounds: Ints, streams: _Streams) -> None:
    """Add a column's streams."""
    if pt.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if _is_fixed(column.type):
        _take_fixed_apart(column, bounds, streams)
    elif _is_sized(column.type):
        _take_sized_apart(column, bounds, streams)
    else:
        raise ConfigError(
            f"a column of type {column.type} cannot be sealed",
            remedy="Use numbers, instants, text, bytes, or lists of them.",
        )


def _take_fixed_apart(column: pa.Array, bounds: Ints, streams: _Streams) -> None:
    valid, width = _valid(column), column.type.bit_width // 8
    values = _buffer(column.buffers()[1], np.uint8)[column.offset * width :][: len(column) * width]
    if column.null_count:
        values = values.reshape(len(column), width) * valid[:, None]  # what lay there may be anybody's
    streams.cells.append(_parts(pa.py_buffer(valid), bounds))
    streams.cells.append(_parts(pa.py_buffer(values), bounds * width))


def _take_sized_apart(column: pa.Array, bounds: Ints, streams: _Streams) -> None:
    valid, offsets = _valid(column), _offsets(column)
    lengths = np.diff(offsets)
    if column.null_count and lengths[valid == 0].any():  # a null cell need not be empty
        column = column.take(pa.array(np.arange(len(column))))
        offsets = _offsets(column)
        lengths = np.diff(offsets)
    longer = lengths > _LONGEST_IN_CODE
    codes = np.where(longer, _LONG, (lengths + 1) * valid).astype(np.uint8)
    streams.cells.append(_parts(pa.py_buffer(codes), bounds))
    if longer.any():
        long_lengths = pa.py_buffer(lengths[longer].astype(_LENGTH))
        streams.cells.append(_parts(long_lengths, _ends(longer)[bounds] * _LENGTH.itemsize))
    inner = offsets[bounds].astype(np.int64)
    if pt.is_list(column.type):
        first, last = int(inner[0]), int(inner[-1])
        _take_apart(column.values.slice(first, last - first), inner - first, streams)
    else:
        streams.texts.append(_parts(column.buffers()[2] or pa.py_buffer(b""), inner))


def _put_together(kind: pa.DataType, counts: Ints, cursor: _Cursor) -> pa.Array:
    """A column, of which each subject has so many cells."""
    codes = np.frombuffer(cursor.take(counts), np.uint8)
    valid = None if codes.all() else pa.py_buffer(np.packbits(codes != 0, bitorder="little"))
    if pt.is_boolean(kind):
        values = np.frombuffer(cursor.take(counts), np.uint8)
        packed = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(kind, len(codes), [valid, packed])
    if _is_fixed(kind):
        content = cursor.take(counts * (kind.bit_width // 8))
        return pa.Array.from_buffers(kind, len(codes), [valid, content])
    ends = _ends(counts)
    offsets = _read_offsets(codes, ends, cursor)
    sizes = np.diff(offsets[ends]).astype(np.int64)
    outer = [valid, pa.py_buffer(offsets)]
    if pt.is_list(kind):
        items = _put_together(kind.value_type, sizes, cursor)
        return pa.Array.from_buffers(kind, len(codes), outer, children=[items])
    return pa.Array.from_buffers(kind, len(codes), [*outer, cursor.take(sizes, text=True)])


def _read_offsets(codes: Codes, ends: Ints, cursor: _Cursor) -> np.ndarray[Any, np.dtype[np.int32]]:
    offsets = np.zeros(len(codes) + 1, np.int32)
    offsets[1:] = codes
    offsets[1:] -= codes > 0
    longer = codes == _LONG
    if longer.any():
        offsets[1:][longer] = np.frombuffer(
            cursor.take(np.diff(_ends(longer)[ends]) * _LENGTH.itemsize), _LENGTH
        )
    return np.cumsum(offsets, out=offsets)


def _valid(column: pa.Array) -> Codes:
    if not column.null_count:
        return np.ones(len(column), np.uint8)
    return column.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)


def _offsets(column: pa.Array) -> np.ndarray[Any, np.dtype[np.int32]]:
    return _buffer(column.buffers()[1], np.int32)[column.offset :][: len(column) + 1]


def _buffer(buffer: pa.Buffer | None, kind: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(buffer, kind) if buffer else np.zeros(0 if kind is np.uint8 else 1, kind)
