"""The vault: sealed history of consented records, and the quarantine sealed in the same way.

A batch is what one file brought in one run. Each of its subjects has one sealed record per store, holding every
field of that person's rows: AES-256-GCM under the subject's data key for the source, over zstd-compressed Arrow
IPC. Outside the seal there are only the subject key, the number of rows, and counts.

The batch's manifest is written last; without it the batch does not exist. It names, by position, the rows of the
file that the batch took in, which is how a file is loaded exactly once however often it is offered.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from consent.clock import format_instant
from consent.errors import EvidenceError, Unavailable
from consent.files import file_hash, move_into_place, partial_path
from consent.home import Home
from consent.sealing import bind, digest, seal_many, unseal
from ingestion.manifest import read_manifest, write_manifest

Store = Literal["vault", "quarantine"]
_MANIFEST_USE = "vault-manifest"
_ROW_GROUP = 256
_SEALED = pa.schema(
    [pa.field("subject_key", pa.string()), pa.field("rows", pa.int32()), pa.field("sealed", pa.binary())]
)


@dataclass(frozen=True)
class Batch:
    """What one file brought in one run. Holds no personal value.

    Attributes:
        order: position among all batches of the source; later batches know more.
        file_token: keyed hash of the file's content.
        rows_taken: positions in the file that were loaded or quarantined.
        stores: store -> {"file", "sha256", "subjects", "rows", "schema"}.
        facts: counts and hashes for the lineage.
    """

    batch_id: str
    source: str
    order: int
    file_token: str
    rows_taken: np.ndarray[Any, np.dtype[np.int64]]
    stores: dict[str, dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)


def read_batches(home: Home, source: str) -> list[Batch]:
    """All committed batches of a source, oldest first.

    Raises:
        EvidenceError: a manifest was changed, or one is missing from the sequence.
    """
    key = home.keyring.secret(_MANIFEST_USE)
    paths = sorted(home.path("vault", source).glob("*.json"))
    batches = [_from_document(read_manifest(path, key)) for path in paths]
    if [b.order for b in batches] != list(range(len(batches))):
        raise EvidenceError(f"a batch of {source} is missing from the vault", remedy="Restore the vault.")
    return batches


def stage_store(
    home: Home, store: Store, source: str, batch_id: str, rows: pa.Table
) -> dict[str, Any] | None:
    """Seal the rows and write them where no reader looks yet.

    Args:
        rows: any columns besides ``subject_key`` (never null); one sealed record per subject is made of them.

    Returns:
        What the manifest says of the store; None where there are no rows.
    """
    if rows.num_rows == 0:
        return None
    path = home.path(store, source, f"{batch_id}.parquet")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    subjects, counts, payload = _by_subject(rows)
    schema = payload.schema.remove_metadata()
    bound = _binder(store, source, batch_id, schema)
    keys = home.data_keys.find_or_create(source, subjects)
    partial = partial_path(path)
    with pq.ParquetWriter(
        partial, _SEALED, compression="none", use_dictionary=False, write_statistics=["subject_key"]
    ) as writer:
        for sealed in _sealed_groups(subjects, counts, payload, keys, bound):
            writer.write_table(sealed)
    move_into_place(partial, path)
    return {
        "file": path.name,
        "sha256": file_hash(path),
        "subjects": len(subjects),
        "rows": rows.num_rows,
        "schema": base64.b64encode(schema.serialize()).decode(),
    }


def commit_batch(home: Home, batch: Batch, *, now: datetime) -> None:
    """Make a staged batch exist."""
    document = {
        "batch_id": batch.batch_id,
        "source": batch.source,
        "order": batch.order,
        "file_token": batch.file_token,
        "rows_taken": _pack(batch.rows_taken),
        "stores": batch.stores,
        "facts": batch.facts,
        "committed_at": format_instant(now),
    }
    path = home.path("vault", batch.source, f"{batch.order:08d}.json")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_manifest(path, document, home.keyring.secret(_MANIFEST_USE))


def discard_uncommitted(home: Home, source: str) -> None:
    """Delete sealed files that no manifest names: what an interrupted job left."""
    named = {s["file"] for batch in read_batches(home, source) for s in batch.stores.values()}
    for store in ("vault", "quarantine"):
        for path in home.path(store, source).glob("*.parquet*"):
            if path.name not in named:
                path.unlink()


def read_store(
    home: Home, store: Store, source: str, *, subjects: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Unseal the records of a store, batch by batch, oldest first.

    Args:
        subjects: only these subject keys; None for all whose data key exists.

    Yields:
        The rows as they were sealed, with ``subject_key`` and ``batch_order`` (int64).

    Raises:
        EvidenceError: a file was changed, cut, moved or swapped, or a record does not open.
    """
    for batch in read_batches(home, source):
        if store in batch.stores:
            yield _read_batch(home, store, batch, subjects)


def _read_batch(home: Home, store: Store, batch: Batch, subjects: Sequence[str] | None) -> pa.Table:
    about = batch.stores[store]
    path = home.path(store, batch.source, about["file"])
    sealed = _read_sealed(path, about, subjects)
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(about["schema"])))
    bound = _binder(store, batch.source, batch.batch_id, schema)
    subject_keys = sealed["subject_key"].to_pylist()
    keys = home.data_keys.find(batch.source, subject_keys)
    tables = []
    for subject_key, rows, record in zip(
        subject_keys, sealed["rows"].to_pylist(), sealed["sealed"], strict=True
    ):
        if subject_key in keys:  # else its key was destroyed: the person was erased
            plain = unseal(keys[subject_key], record.as_py(), bound(subject_key))
            tables.append(_parse_payload(plain, schema, rows))
    names = [s for s in subject_keys if s in keys]
    return _assemble(tables, names, schema, batch.order)


def _read_sealed(path: Path, about: dict[str, Any], subjects: Sequence[str] | None) -> pa.Table:
    if not path.exists():
        raise Unavailable("a file of the vault is missing", remedy="Restore the vault from a copy.")
    if file_hash(path) != about["sha256"]:
        raise EvidenceError(
            "a file of the vault is not the one its manifest names", remedy="Restore the vault."
        )
    filters = None if subjects is None else [("subject_key", "in", list(subjects))]
    return pq.read_table(path, filters=filters, schema=_SEALED) if subjects != [] else _SEALED.empty_table()


def _by_subject(rows: pa.Table) -> tuple[list[str], list[int], pa.Table]:
    """Subjects in order, how many rows each has, and the other columns in that order of rows."""
    codes = rows["subject_key"].combine_chunks().dictionary_encode()
    rank = pc.rank(codes.dictionary, sort_keys="ascending", tiebreaker="first").to_numpy() - 1
    position = rank[codes.indices.to_numpy()]
    order = np.argsort(position, kind="stable")
    counts = np.bincount(position, minlength=len(codes.dictionary)).tolist()
    payload = rows.drop_columns(["subject_key"]).take(pa.array(order)).combine_chunks()
    return pc.take(codes.dictionary, pa.array(np.argsort(rank))).to_pylist(), counts, payload


def _sealed_groups(
    subjects: list[str], counts: list[int], payload: pa.Table, keys: dict[str, bytes], bound: Any
) -> Iterator[pa.Table]:
    batch = payload.to_batches()[0]
    codec = pa.Codec("zstd", compression_level=1)
    start = 0
    for lo in range(0, len(subjects), _ROW_GROUP):
        group, sizes = subjects[lo : lo + _ROW_GROUP], counts[lo : lo + _ROW_GROUP]
        plain = []
        for size in sizes:
            message = batch.slice(start, size).serialize()
            plain.append(message.size.to_bytes(8, "big") + codec.compress(message, asbytes=True))
            start += size
        sealed = seal_many([keys[s] for s in group], plain, [bound(s) for s in group])
        yield pa.table([group, sizes, sealed], schema=_SEALED)


def _binder(store: Store, source: str, batch_id: str, schema: pa.Schema) -> Any:
    shape = digest(schema.serialize().to_pybytes()).encode()

    def bound(subject_key: str) -> bytes:
        return bind(
            b"assent-record/1",
            store.encode(),
            source.encode(),
            batch_id.encode(),
            shape,
            subject_key.encode(),
        )

    return bound


def _parse_payload(plain: bytes, schema: pa.Schema, rows: int) -> pa.RecordBatch:
    codec = pa.Codec("zstd")
    size = int.from_bytes(plain[:8], "big")
    message = codec.decompress(plain[8:], decompressed_size=size)
    batch = pa.ipc.read_record_batch(message, schema)
    if batch.num_rows != rows:
        raise EvidenceError("a sealed record has another number of rows than stated", remedy="Restore it.")
    return batch


def _assemble(batches: list[pa.RecordBatch], names: list[str], schema: pa.Schema, order: int) -> pa.Table:
    table = pa.Table.from_batches(batches, schema=schema)
    sizes = np.array([b.num_rows for b in batches], dtype=np.int64)
    subject_key = pa.array(names, pa.string()).take(pa.array(np.repeat(np.arange(len(names)), sizes)))
    return table.append_column("subject_key", subject_key).append_column(
        "batch_order", pa.repeat(pa.scalar(order, pa.int64()), table.num_rows)
    )


def _pack(positions: np.ndarray[Any, np.dtype[np.int64]]) -> str:
    bits = np.zeros(int(positions.max()) + 1 if positions.size else 0, dtype=np.uint8)
    bits[positions] = 1
    return base64.b64encode(zlib.compress(np.packbits(bits).tobytes())).decode()


def _unpack(packed: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    bits = np.unpackbits(np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype=np.uint8))
    return np.flatnonzero(bits)


def _from_document(document: dict[str, Any]) -> Batch:
    return Batch(
        document["batch_id"],
        document["source"],
        document["order"],
        document["file_token"],
        _unpack(document["rows_taken"]),
        document["stores"],
        document["facts"],
    )
