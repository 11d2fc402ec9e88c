"""Each subject's rows as bytes, and back: what lies inside the seal of a record.

A column is taken apart into streams: for every cell one byte that says whether there is a value and, where values
differ in size, how long it is; then the values one after another. A subject's part of all streams, one after another,
is compressed with zstd. Arrow's own format keeps positions instead of lengths, which do not compress, and describes
every record anew: sealed records were half as large again, and took three times as long to read.

=================  =============================================================================
fixed width        1 present, 0 null; the values, a null as zeros
text, bytes, list  0 null, 1 + length up to 253, 255 longer; the longer lengths, 32 bits each; the bytes, or the
                   list's items as a column of their own
=================  =============================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from consent.errors import BadInput, ConfigError

Ints = np.ndarray[Any, np.dtype[np.int64]]
Codes = np.ndarray[Any, np.dtype[np.uint8]]
_LONG = 255
_LONGEST_IN_CODE = _LONG - 2
#: Bytes of rows put together at a time: so much stays in the processor's cache.
_AT_A_TIME = 2 * 1024 * 1024
_SIZE_BYTES = 4


def to_records(payload: pa.Table, counts: Sequence[int]) -> list[bytes]:
    """One record per subject: its size before compression, and all its rows.

    Args:
        payload: the rows, subject by subject.
        counts: how many of them each subject has.

    Raises:
        ConfigError: a column is of a type that is not supported.
        BadInput: a column holds more than 2 GiB.
    """
    bounds = _ends(np.array(counts))
    streams = [s for column in payload.columns for s in _take_apart(_whole(column), bounds)]
    nothing = pa.scalar(b"", pa.large_binary())
    joined = pc.binary_join_element_wise(*streams, nothing).to_pylist() if streams else [b""] * len(counts)
    codec = pa.Codec("zstd", compression_level=1)
    return [len(p).to_bytes(_SIZE_BYTES, "little") + codec.compress(p, asbytes=True) for p in joined]


def from_records(
    records: Sequence[bytes], counts: Sequence[int], schema: pa.Schema
) -> Iterator[tuple[int, list[pa.Array]]]:
    """Inverse of `to_records`: of so many records, one after another, the rows' columns."""
    sizes = [int.from_bytes(record[:_SIZE_BYTES], "little") for record in records]
    for some in _bunches(sizes):
        yield some.stop - some.start, _rows(records[some], sizes[some], counts[some], schema)


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


def _rows(
    records: Sequence[bytes], sizes: Sequence[int], counts: Sequence[int], schema: pa.Schema
) -> list[pa.Array]:
    # One call for all of them: zstd reads frame after frame, and a call costs as much as reading a record.
    frames = b"".join([record[_SIZE_BYTES:] for record in records])
    plain = pa.Codec("zstd").decompress(frames, decompressed_size=sum(sizes), asbytes=True)
    cursor = _Cursor(plain, _ends(np.array(sizes))[:-1])
    return [_put_together(field.type, np.array(counts), cursor) for field in schema]


class _Cursor:
    """Reads all subjects' records, stream after stream."""

    def __init__(self, plain: bytes, begins: Ints) -> None:
        self._plain = plain
        self._at = begins

    def take(self, sizes: Ints) -> pa.Buffer:
        """The next stream, of which each subject has so many bytes."""
        begins, self._at = self._at, self._at + sizes
        plain = self._plain
        # Not by Arrow: what it allocates for each stream is rounded up to huge pages, which have to be cleared.
        return pa.py_buffer(
            b"".join([plain[a:b] for a, b in zip(begins.tolist(), self._at.tolist(), strict=True)])
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


def _take_apart(column: pa.Array, bounds: Ints) -> Iterator[pa.Array]:
    """A column's streams, each cut into the subjects' parts."""
    if pt.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if _is_fixed(column.type):
        return _fixed_apart(column, bounds)
    if _is_sized(column.type):
        return _sized_apart(column, bounds)
    raise ConfigError(
        f"a column of type {column.type} cannot be sealed",
        remedy="Use numbers, instants, text, bytes, or lists of them.",
    )


def _fixed_apart(column: pa.Array, bounds: Ints) -> Iterator[pa.Array]:
    valid, width = _valid(column), column.type.bit_width // 8
    values = _buffer(column.buffers()[1], np.uint8)[column.offset * width :][: len(column) * width]
    if column.null_count:
        values = values.reshape(len(column), width) * valid[:, None]  # what lay there may be anybody's
    yield _parts(pa.py_buffer(valid), bounds)
    yield _parts(pa.py_buffer(values), bounds * width)


def _sized_apart(column: pa.Array, bounds: Ints) -> Iterator[pa.Array]:
    valid, offsets = _valid(column), _offsets(column)
    lengths = np.diff(offsets)
    if column.null_count and lengths[valid == 0].any():  # a null cell need not be empty
        column = column.take(pa.array(np.arange(len(column))))
        offsets = _offsets(column)
        lengths = np.diff(offsets)
    longer = lengths > _LONGEST_IN_CODE
    codes = np.where(longer, _LONG, (lengths + 1) * valid).astype(np.uint8)
    yield _parts(pa.py_buffer(codes), bounds)
    if longer.any():
        yield _parts(pa.py_buffer(lengths[longer].astype("<u4")), _ends(longer)[bounds] * 4)
    inner = offsets[bounds].astype(np.int64)
    if pt.is_list(column.type):
        first, last = int(inner[0]), int(inner[-1])
        yield from _take_apart(column.values.slice(first, last - first), inner - first)
    else:
        yield _parts(column.buffers()[2] or pa.py_buffer(b""), inner)


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
    return pa.Array.from_buffers(kind, len(codes), [*outer, cursor.take(sizes)])


def _read_offsets(codes: Codes, ends: Ints, cursor: _Cursor) -> np.ndarray[Any, np.dtype[np.int32]]:
    offsets = np.zeros(len(codes) + 1, np.int32)
    offsets[1:] = codes
    offsets[1:] -= codes > 0
    longer = codes == _LONG
    if longer.any():
        offsets[1:][longer] = np.frombuffer(cursor.take(np.diff(_ends(longer)[ends]) * 4), "<u4")
    return np.cumsum(offsets, out=offsets)


def _valid(column: pa.Array) -> Codes:
    if not column.null_count:
        return np.ones(len(column), np.uint8)
    return column.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8)


def _offsets(column: pa.Array) -> np.ndarray[Any, np.dtype[np.int32]]:
    return _buffer(column.buffers()[1], np.int32)[column.offset :][: len(column) + 1]


def _buffer(buffer: pa.Buffer | None, kind: Any) -> np.ndarray[Any, Any]:
    return np.frombuffer(buffer, kind) if buffer else np.zeros(0 if kind is np.uint8 else 1, kind)
