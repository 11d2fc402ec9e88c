"""Rows by subject, of which there may be more than fit into memory.

Subject keys are random, so their first byte divides any number of subjects evenly. Rows beyond the limit go into a
temporary file, part by part, encrypted under a key that only this process has; the file has no name from the first
moment on, and ends with the process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consent.sealing import bind, new_key, seal, unseal

Ints = np.ndarray[Any, np.dtype[np.int64]]
Positions = np.ndarray[Any, np.dtype[np.uint32]]
_HALF = np.uint64(32)
#: Rows in batches of about so many, or more, are taken from where they are.
_ROWS_IN_BATCH = 65_536
#: By the first two hex digits of the subject key.
_PARTS = 256
_PARTS_AT_A_TIME = 16
_KEY = pa.binary(32)
#: A column of text must stay below 2 GiB.
_MOST_BYTES = 1024 * 1024 * 1024


@dataclass(frozen=True)
class Grouped:
    """Some subjects, all their rows, and where each row is.

    Attributes:
        subjects: in order.
        ends: how many rows there are up to each subject, with a 0 before.
        order: positions among the rows, subject by subject.
        payload: the other columns, in the order they came.
    """

    subjects: pa.Array
    ends: Ints
    order: Positions
    payload: list[pa.RecordBatch]

    def rows(self, lo: int, hi: int) -> tuple[list[str], list[int], pa.Table]:
        """Some subjects, how many rows each has, and these rows, subject by subject."""
        return (
            self.subjects[lo:hi].to_pylist(),
            np.diff(self.ends[lo : hi + 1]).tolist(),
            _gather(self.payload, self.order[self.ends[lo] : self.ends[hi]]),
        )


def group(rows: pa.Table) -> Grouped:
    """Rows with a ``subject_key``, by subject."""
    codes = _as_bytes(rows["subject_key"]).dictionary_encode().unify_dictionaries()
    subjects = codes.chunk(0).dictionary.cast(pa.binary()).cast(pa.string())
    sorted_codes = pc.sort_indices(subjects)
    rank = np.empty(len(subjects), np.uint64)
    rank[sorted_codes.to_numpy()] = np.arange(len(subjects), dtype=np.uint64)
    # Rank and row in one number: sorting these is much faster than sorting ranks with their rows.
    packed = rank[np.concatenate([chunk.indices.to_numpy() for chunk in codes.chunks])]
    packed <<= _HALF
    packed |= np.arange(len(packed), dtype=np.uint64)
    packed.sort()
    return Grouped(
        subjects.take(sorted_codes),
        np.searchsorted(packed, np.arange(len(subjects) + 1, dtype=np.uint64) << _HALF),
        packed.astype(np.uint32),
        _batches(rows.drop_columns(["subject_key"])),
    )


def _batches(rows: pa.Table) -> list[pa.RecordBatch]:
    """The rows in a few large batches; copied only where they are in many small ones."""
    batches = rows.to_batches()
    few = len(batches) <= 1 + rows.num_rows // _ROWS_IN_BATCH
    return batches if few else rows.combine_chunks().to_batches()


def _gather(batches: Sequence[pa.RecordBatch], positions: Positions) -> pa.Table:
    """The rows at these positions, in this order. Arrow itself would first copy all batches into one."""
    if len(batches) == 1:
        return pa.Table.from_batches([batches[0].take(pa.array(positions))])
    packed = positions.astype(np.uint64) << _HALF
    packed |= np.arange(len(positions), dtype=np.uint64)
    packed.sort()
    ascending, begins = (packed >> _HALF).astype(np.int64), np.cumsum([0, *map(len, batches)])
    bounds = np.searchsorted(ascending, begins).tolist()
    found = [
        batch.take(pa.array(ascending[lo:hi] - begin))
        for batch, begin, (lo, hi) in zip(batches, begins.tolist(), pairwise(bounds), strict=False)
        if hi > lo
    ]
    back = np.empty(len(positions), np.uint32)
    back[packed.astype(np.uint32)] = np.arange(len(positions), dtype=np.uint32)
    return pa.Table.from_batches(found).combine_chunks().take(pa.array(back))


def _as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Subject keys as 32 bytes each: to tell them apart is twice as fast as for text."""
    return pa.chunked_array([_key_bytes(chunk) for chunk in column.chunks], _KEY)


def _key_bytes(keys: pa.Array) -> pa.FixedSizeBinaryArray:
    if not pa.types.is_string(keys.type) or keys.null_count or not len(keys):
        return keys.cast(_KEY)
    offsets = np.frombuffer(keys.buffers()[1], np.int32)[keys.offset :][: len(keys) + 1]
    if (np.diff(offsets) != _KEY.byte_width).any():
        return keys.cast(_KEY)  # says what is wrong
    return pa.Array.from_buffers(_KEY, len(keys), [None, keys.buffers()[2].slice(int(offsets[0]))])


class Grouping:
    """Takes rows in any order and any number, and gives them back by subject.

    Args:
        place: path of a file that is about to be written; rows are put aside on the same device.
        memory_bytes: rows held at a time, in bytes of Arrow.
    """

    def __init__(self, place: Path, memory_bytes: int) -> None:
        self._place = place
        self._limit = min(memory_bytes, _MOST_BYTES)
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._aside: _Aside | None = None

    def add(self, rows: pa.Table) -> None:
        """Take rows; the same columns every time."""
        step = max(1, rows.num_rows * self._limit // max(1, rows.nbytes))
        at = rows.column_names.index("subject_key")
        rows = rows.set_column(at, "subject_key", _as_bytes(rows["subject_key"]))
        for lo in range(0, rows.num_rows, step):
            some = rows.slice(lo, step)
            if self._held and self._held_bytes + some.nbytes > self._limit:
                self._put_aside()
            self._held.append(some)
            self._held_bytes += some.nbytes

    def parts(self) -> Iterator[Grouped]:
        """All rows, each subject's together, subjects in order from one part to the next."""
        if self._aside is None:
            if self._held:
                yield group(pa.concat_tables(self._held))
            return
        self._put_aside()
        for rows in self._aside.take():
            yield group(rows)

    def close(self) -> None:
        """Nothing is left of what was put aside."""
        if self._aside is not None:
            self._aside.close()

    def _put_aside(self) -> None:
        self._aside = self._aside or _Aside(self._place)
        self._aside.put(pa.concat_tables(self._held))
        self._held, self._held_bytes = [], 0


class _Aside:
    """Rows in a temporary file without a name, encrypted."""

    def __init__(self, place: Path) -> None:
        self._file = TemporaryFile(dir=place.parent)  # noqa: SIM115 - closed by `close`
        self._key = new_key()
        self._blocks: list[list[tuple[int, int]]] = [[] for _ in range(_PARTS)]

    def put(self, rows: pa.Table) -> None:
        """Divide the rows by the first byte of their subject key, and append each part's."""
        part = np.concatenate([_first_byte(chunk) for chunk in rows["subject_key"].chunks])
        order = np.argsort(part, kind="stable").astype(np.uint32)
        ends = np.concatenate([[0], np.cumsum(np.bincount(part, minlength=_PARTS))])
        batches = _batches(rows)
        for first in range(0, _PARTS, _PARTS_AT_A_TIME):
            bounds = ends[first : first + _PARTS_AT_A_TIME + 1]
            if bounds[0] == bounds[-1]:
                continue
            some = _gather(batches, order[bounds[0] : bounds[-1]])
            for number, (lo, hi) in enumerate(pairwise((bounds - bounds[0]).tolist()), start=first):
                if hi > lo:
                    self._append(number, some.slice(lo, hi - lo))

    def _append(self, part: int, rows: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        position = self._file.seek(0, os.SEEK_END)
        sealed = seal(self._key, sink.getvalue().to_pybytes(), _bound(part, position))
        self._file.write(sealed)
        self._blocks[part].append((position, len(sealed)))

    def take(self) -> Iterator[pa.Table]:
        """Each part's rows, in the order of the parts."""
        for part, blocks in enumerate(self._blocks):
            if blocks:
                yield pa.concat_tables([self._read(part, *block) for block in blocks])

    def _read(self, part: int, position: int, size: int) -> pa.Table:
        self._file.seek(position)
        plain = unseal(self._key, self._file.read(size), _bound(part, position))
        return pa.ipc.open_stream(plain).read_all()

    def close(self) -> None:
        """The file ends with it."""
        self._file.close()


def _first_byte(keys: pa.FixedSizeBinaryArray) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The number that the first two hex digits stand for."""
    digits = np.frombuffer(keys.buffers()[1], np.uint8).reshape(-1, 32)[keys.offset :, :2][: len(keys)]
    value = (digits & 15) + 9 * (digits >> 6)
    return (value[:, 0] << 4 | value[:, 1]).astype(np.uint8)


def _bound(part: int, position: int) -> bytes:
    return bind(b"assent-aside/1", str(part).encode(), str(position).encode())
