"""Files of sealed records: one record per subject, holding every field of that person's rows.

A record is AES-256-GCM under the subject's data key, over the rows as `ingestion.payload` writes them. Outside the
seal there are only the subject key, the key's version and the number of rows, and the seal is bound to all three.
Subjects are in order, 256 to a row group, so that one person is found without reading the rest. What a file consists
of is stated outside it, under a MAC (`RecordFile`): a seal shows that a record was changed, but not that it is
missing.

Memory is bounded in both directions: the writer holds rows up to a limit (`ingestion.grouping`), the reader some
thousand subjects.
"""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from consent.datakeys import DataKey, DataKeys
from consent.errors import EvidenceError, Unavailable
from consent.files import file_hash, move_into_place, partial_path
from consent.sealing import NONCE_BYTES, bind, digest, seal_apart, unseal_apart
from ingestion.grouping import Grouped, Grouping
from ingestion.payload import from_records, to_records

#: (store, source, batch): what a record is bound to beside its subject. The source is the use of the data keys.
Place = tuple[str, str, str]

_ROW_GROUP = 256
#: Row groups read at a time, and rows: fewer groups where people have many rows.
_GROUPS_AT_A_TIME = 32
_ROWS_AT_A_TIME = 1_000_000
#: Rows taken together for sealing, of whole row groups, as far as there are so few.
_ROWS_TAKEN = 200_000
#: Rows the writer holds before it puts them aside.
MEMORY_BYTES = 256 * 1024 * 1024
_KEY_BYTES, _HASH_BYTES, _TAG_BYTES = 16, 32, 16
_SEALED = pa.schema(
    [
        pa.field("subject_key", pa.string()),
        pa.field("key_version", pa.int32()),
        pa.field("rows", pa.int32()),
        pa.field("nonce", pa.binary(NONCE_BYTES)),
        pa.field("sealed", pa.binary()),
    ]
)


@dataclass(frozen=True)
class RecordFile:
    """What a file of sealed records consists of; stands in a manifest with a MAC.

    Attributes:
        sha256: of the file as it was written.
        schema: of the rows, as Arrow IPC in base64.
        groups: for each row group its last subject key and the hash of its index, 48 bytes, in base64.
    """

    file: str
    sha256: str
    size: int
    subjects: int
    rows: int
    schema: str
    groups: str

    def to_document(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> RecordFile:
        """Inverse of `to_document`."""
        return cls(**document)

    def arrow_schema(self) -> pa.Schema:
        """Of the rows, without ``subject_key``."""
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(self.schema)))

    def index(self) -> list[tuple[str, bytes]]:
        """Last subject key and hash of each row group."""
        packed, step = base64.b64decode(self.groups), _KEY_BYTES + _HASH_BYTES
        parts = (packed[i : i + step] for i in range(0, len(packed), step))
        return [(part[:_KEY_BYTES].hex(), part[_KEY_BYTES:]) for part in parts]


# ------------------------------------------------------------------------------------------- writing


class RecordWriter:
    """Seals rows that come in any order and any number. Use it as a context; nothing is left if it does not finish.

    Args:
        path: where the file will be.
        place: what the records are bound to.
        memory_bytes: rows held at a time, in bytes of Arrow; about three times as much is needed to seal them.
    """

    def __init__(self, keys: DataKeys, path: Path, place: Place, *, memory_bytes: int | None = None) -> None:
        self._keys = keys
        self._path = path
        self._place = place
        self._rows = Grouping(path, memory_bytes or MEMORY_BYTES)
        self._schema: pa.Schema | None = None
        self._writer: pq.ParquetWriter | None = None
        self._ready: list[pa.Table] = []
        self._groups: list[bytes] = []
        self._count = Counter[str]()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._rows.close()
        if self._writer is not None:
            self._writer.close()
            partial_path(self._path).unlink(missing_ok=True)

    def write(self, rows: pa.Table) -> None:
        """Take rows: ``subject_key`` (never null) and the same other columns every time."""
        if rows.num_rows == 0:
            return
        self._schema = self._schema or rows.schema
        self._rows.add(rows.cast(self._schema))

    def write_sealed(self, records: pa.Table) -> None:
        """Take records as they are, in the subjects' order and after all before; not to be mixed with `write`."""
        self._ready.append(records)
        if sum(map(len, self._ready)) >= _ROW_GROUP:
            ready = pa.concat_tables(self._ready).combine_chunks()
            whole = len(ready) // _ROW_GROUP * _ROW_GROUP
            for lo in range(0, whole, _ROW_GROUP):
                self._write_group(ready.slice(lo, _ROW_GROUP))
            self._ready = [ready.slice(whole)]

    def finish(self, schema: pa.Schema | None = None) -> RecordFile | None:
        """Seal what was taken and put the file in its place; None where there were no rows.

        Args:
            schema: of the rows, where sealed records were taken.
        """
        for part in self._rows.parts():
            self._seal(part)
        if self._ready:
            self._write_group(pa.concat_tables(self._ready))
        if self._writer is None:
            return None
        self._writer.close()
        self._writer = None
        move_into_place(partial_path(self._path), self._path)
        of_rows = schema or _payload_schema(self._schema)
        return RecordFile(
            self._path.name,
            file_hash(self._path),
            self._path.stat().st_size,
            self._count["subjects"],
            self._count["rows"],
            base64.b64encode(of_rows.serialize()).decode(),
            base64.b64encode(b"".join(self._groups)).decode(),
        )

    def _seal(self, part: Grouped) -> None:
        rows_in_group = int(part.ends[-1]) * _ROW_GROUP // len(part.subjects)
        step = max(1, _ROWS_TAKEN // rows_in_group) * _ROW_GROUP
        for lo in range(0, len(part.subjects), step):
            subjects, counts, payload = part.rows(lo, min(lo + step, len(part.subjects)))
            keys = self._keys.find_or_create(self._place[1], subjects)
            for records in seal_records(subjects, counts, payload, keys, self._place):
                self.write_sealed(records)

    def _write_group(self, group: pa.Table) -> None:
        if group.num_rows == 0:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                partial_path(self._path),
                _SEALED,
                compression={name: "none" if name == "sealed" else "zstd" for name in _SEALED.names},
                use_dictionary=False,
                column_encoding={"nonce": "BYTE_STREAM_SPLIT", "sealed": "DELTA_LENGTH_BYTE_ARRAY"},
                write_statistics=["subject_key"],
            )
            partial_path(self._path).chmod(0o600)
        self._writer.write_table(group)
        self._groups.append(bytes.fromhex(group["subject_key"][-1].as_py()) + _group_hash(group))
        self._count.update(subjects=group.num_rows, rows=pc.sum(group["rows"]).as_py())


def seal_records(
    subjects: Sequence[str],
    counts: Sequence[int],
    payload: pa.Table,
    keys: Mapping[str, DataKey],
    place: Place,
) -> Iterator[pa.Table]:
    """Sealed records, 256 at a time.

    Args:
        subjects: in order.
        counts: how many rows of `payload` each of them has.
        payload: the rows, subject by subject.

    Raises:
        ConfigError, BadInput: as `to_records`.
    """
    schema, start = _payload_schema(payload.schema), 0
    for lo in range(0, len(subjects), _ROW_GROUP):
        group, sizes = subjects[lo : lo + _ROW_GROUP], counts[lo : lo + _ROW_GROUP]
        owned = [keys[s] for s in group]
        versions = [k.version for k in owned]
        nonces, sealed = seal_apart(
            [k.key for k in owned],
            to_records(payload.slice(start, sum(sizes)), sizes),
            _bound(place, schema, group, versions, sizes),
        )
        start += sum(sizes)
        yield pa.table([group, versions, sizes, nonces, sealed], schema=_SEALED)


def _payload_schema(schema: pa.Schema | None) -> pa.Schema:
    assert schema is not None
    return pa.schema([f for f in schema if f.name != "subject_key"])


def _bound(
    place: Place, schema: pa.Schema, names: Sequence[str], versions: Sequence[int], rows: Sequence[int]
) -> list[bytes]:
    """What each record is bound to."""
    shape = digest(schema.serialize().to_pybytes()).encode()
    before = bind(b"assent-record/3", b"AES-256-GCM", *(part.encode() for part in place), shape)
    records = np.empty(len(names), [("key", f"S{2 * _KEY_BYTES}"), ("version", ">u4"), ("rows", ">u4")])
    records["key"], records["version"], records["rows"] = names, versions, rows
    step, content = records.itemsize, records.tobytes()
    before += step.to_bytes(4, "big")
    return [before + content[i : i + step] for i in range(0, len(content), step)]


def _group_hash(group: pa.Table) -> bytes:
    """Over each record's subject, key version, rows, nonce and tag: a record is none other, and none is missing."""
    names, versions, rows, nonces, sealed = (column.combine_chunks() for column in group.columns)
    parts = (
        b" ".join(names.cast(pa.binary()).to_pylist()),
        *(numbers.to_numpy().tobytes() for numbers in (versions, rows, pc.binary_length(sealed))),
        b"".join(nonces.to_pylist()),
        b"".join(pc.binary_slice(sealed, -_TAG_BYTES).to_pylist()),
    )
    return hashlib.sha256(bind(*parts)).digest()


# ------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True)
class OpenFile:
    """A file of sealed records, and what it must consist of."""

    about: RecordFile
    parquet: pq.ParquetFile
    index: list[tuple[str, bytes]]

    def groups_of(self, subjects: Sequence[str] | None) -> list[int]:
        """The row groups that can hold these subjects, in order."""
        if subjects is None:
            return list(range(len(self.index)))
        lasts = [last for last, _ in self.index]
        return sorted({g for g in (bisect_left(lasts, s) for s in subjects) if g < len(lasts)})

    def read(self, groups: Sequence[int]) -> pa.Table:
        """The records of some row groups.

        Raises:
            EvidenceError: one of them is not as stated.
        """
        try:
            tables = [self.parquet.read_row_group(g, use_threads=False) for g in groups]
        except (pa.ArrowException, OSError):
            raise _not_as_stated() from None
        if any(
            table.schema != _SEALED
            or any(column.null_count for column in table.columns)
            or _group_hash(table) != self.index[g][1]
            for g, table in zip(groups, tables, strict=True)
        ):
            raise _not_as_stated()
        return pa.concat_tables(tables)


def open_record_file(directory: Path, about: RecordFile, *, whole: bool) -> OpenFile:
    """The file that a manifest names.

    Args:
        whole: whether all of it will be read: then each of its bytes is compared with what was written. Else only
            the records that are read are compared with the index.

    Raises:
        Unavailable: it is not there.
        EvidenceError: it is another.
    """
    path = directory / about.file
    if not path.exists():
        raise Unavailable("a file of the vault is missing", remedy="Restore the vault from a copy.")
    if path.stat().st_size != about.size or (whole and file_hash(path) != about.sha256):
        raise _not_as_stated()
    try:
        parquet = pq.ParquetFile(path)
    except (pa.ArrowException, OSError, UnicodeError):
        raise _not_as_stated() from None
    index = about.index()
    if parquet.metadata.num_row_groups != len(index):
        raise _not_as_stated()
    return OpenFile(about, parquet, index)


def read_records(
    keys: DataKeys, file: OpenFile, place: Place, *, subjects: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Unseal records, of some thousand subjects at a time.

    Args:
        subjects: only these; None for everybody. Who has been erased is left out either way.

    Yields:
        The rows as they were sealed, with ``subject_key``.

    Raises:
        EvidenceError: the file is not as stated, or a record does not open.
    """
    schema = file.about.arrow_schema()
    for sealed in read_sealed(keys, file, place[1], subjects=subjects):
        yield unseal_records(sealed, place, schema)


@dataclass(frozen=True)
class Sealed:
    """Some records of a file.

    Attributes:
        records: those whose key exists, as they lie in the file.
        keys: the key of each of them.
        shut: how many others there were, whose key was destroyed.
    """

    records: pa.Table
    keys: list[bytes]
    shut: int


def read_sealed(
    keys: DataKeys, file: OpenFile, use: str, *, subjects: Sequence[str] | None = None
) -> Iterator[Sealed]:
    """Records as they are, some thousand at a time.

    Raises:
        EvidenceError: the file is not as stated, or names a key that never was.
    """
    groups = file.groups_of(subjects)
    wanted = None if subjects is None else pa.array(subjects, pa.string())
    rows_in_group = file.about.rows // max(1, len(file.index)) + 1
    step = min(_GROUPS_AT_A_TIME, _ROWS_AT_A_TIME // rows_in_group + 1)
    for lo in range(0, len(groups), step):
        records = file.read(groups[lo : lo + step])
        if wanted is not None:
            records = records.filter(pc.is_in(records["subject_key"], value_set=wanted))
        names, versions = (records[name].to_pylist() for name in ("subject_key", "key_version"))
        opened = keys.open_each(use, list(zip(names, versions, strict=True)))
        found = [key for key in opened if key is not None]
        if len(found) < len(opened):
            records = records.filter(pa.array([key is not None for key in opened]))
        yield Sealed(records, found, len(opened) - len(found))


def unseal_records(sealed: Sealed, place: Place, schema: pa.Schema) -> pa.Table:
    """The rows of records, with ``subject_key``.

    Raises:
        EvidenceError: one does not open.
    """
    names, versions, counts, nonces, records = (column.to_pylist() for column in sealed.records.columns)
    plain = unseal_apart(sealed.keys, nonces, records, _bound(place, schema, names, versions, counts))
    with_subject = schema.append(pa.field("subject_key", pa.string()))
    batches, done = [], 0
    for number, columns in from_records(plain, counts, schema):
        owners = _repeat(names[done : done + number], counts[done : done + number])
        batches.append(pa.RecordBatch.from_arrays([*columns, owners], schema=with_subject))
        done += number
    return pa.Table.from_batches(batches, schema=with_subject)


def _repeat(subjects: Sequence[str], counts: Sequence[int]) -> pa.Array:
    """Each subject key, so many times."""
    content = np.frombuffer("".join(subjects).encode(), f"S{2 * _KEY_BYTES}").repeat(counts)
    offsets = np.arange(len(content) + 1, dtype=np.int32) * (2 * _KEY_BYTES)
    return pa.Array.from_buffers(
        pa.string(), len(content), [None, pa.py_buffer(offsets), pa.py_buffer(content)]
    )


def _not_as_stated() -> EvidenceError:
    return EvidenceError(
        "a file of the vault is not the one its manifest names", remedy="Restore the vault from a copy."
    )
