"""The vault: sealed history of consented records, and the quarantine sealed in the same way.

A batch is what one file brought in one run; each of its subjects has one sealed record per store, see
`ingestion.records`.
The batch's manifest is written last; without it the batch does not exist. It names, by position, the rows of the
file that the batch took in, which is how a file is loaded exactly once however often it is offered.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from consent.clock import format_instant, parse_instant
from consent.errors import EvidenceError
from consent.home import Home
from ingestion.manifest import read_manifest, write_manifest
from ingestion.records import MEMORY_BYTES, RecordFile, RecordWriter, open_record_file, read_records

Store = Literal["vault", "quarantine"]
STORES: tuple[Store, ...] = ("vault", "quarantine")
_MANIFEST_USE = "vault-manifest"


@dataclass(frozen=True)
class Batch:
    """What one file brought in one run. Holds no personal value.

    Attributes:
        order: position among all batches of the source; later batches know more.
        file_token: keyed hash of the file's content.
        packed_rows: positions in the file that were loaded or quarantined, packed; see `rows_taken`.
        stores: store -> its file of sealed records.
        facts: counts and hashes for the lineage.
        committed_at: when it was loaded.
    """

    batch_id: str
    source: str
    order: int
    file_token: str
    packed_rows: str
    stores: dict[str, RecordFile]
    committed_at: datetime
    facts: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def rows_taken(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Positions in the file that were loaded or quarantined."""
        packed = zlib.decompress(base64.b64decode(self.packed_rows))
        return np.flatnonzero(np.unpackbits(np.frombuffer(packed, dtype=np.uint8)))


def pack_rows(positions: np.ndarray[Any, np.dtype[np.int64]]) -> str:
    """Row positions, as a batch's manifest holds them."""
    bits = np.zeros(int(positions.max()) + 1 if positions.size else 0, dtype=np.uint8)
    bits[positions] = 1
    return base64.b64encode(zlib.compress(np.packbits(bits).tobytes())).decode()


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


def open_store_writer(
    home: Home,
    store: Store,
    source: str,
    batch_id: str,
    *,
    revision: int = 0,
    memory_bytes: int | None = None,
) -> RecordWriter:
    """A writer of one store of a batch, to a place where no reader looks yet.

    Args:
        revision: how often the batch's records were written anew.
        memory_bytes: rows held at a time; see `RecordWriter`.
    """
    suffix = f".{revision}" if revision else ""
    path = home.path(store, source, f"{batch_id}{suffix}.parquet")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return RecordWriter(home.data_keys, path, (store, source, batch_id), memory_bytes=memory_bytes)


def stage_store(home: Home, store: Store, source: str, batch_id: str, rows: pa.Table) -> RecordFile | None:
    """Seal the rows and write them where no reader looks yet.

    Args:
        rows: any columns besides ``subject_key`` (never null); one sealed record per subject is made of them.

    Returns:
        What the manifest says of the store; None where there are no rows.
    """
    held = max(MEMORY_BYTES, rows.nbytes)  # the rows are in memory: to put them aside would only take time
    with open_store_writer(home, store, source, batch_id, memory_bytes=held) as writer:
        writer.write(rows)
        return writer.finish()


def commit_batch(home: Home, batch: Batch) -> None:
    """Make a staged batch exist, or take the place of the one of its order."""
    document = {
        "batch_id": batch.batch_id,
        "source": batch.source,
        "order": batch.order,
        "file_token": batch.file_token,
        "rows_taken": batch.packed_rows,
        "stores": {store: file.to_document() for store, file in batch.stores.items()},
        "facts": batch.facts,
        "committed_at": format_instant(batch.committed_at),
    }
    path = home.path("vault", batch.source, f"{batch.order:08d}.json")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_manifest(path, document, home.keyring.secret(_MANIFEST_USE))


def replace_store(home: Home, batch: Batch, store: Store, file: RecordFile | None) -> Batch:
    """Let a newly written file take the place of a store's; the old one is deleted."""
    others = {name: about for name, about in batch.stores.items() if name != store}
    changed = replace(batch, stores=others | ({store: file} if file else {}))
    commit_batch(home, changed)
    home.path(store, batch.source, batch.stores[store].file).unlink(missing_ok=True)
    return changed


def next_revision(file: str) -> int:
    """The revision of a store's file that takes the place of this one, by its name."""
    middle = file.removesuffix(".parquet").rpartition(".")[2]
    return (int(middle) if middle.isdigit() and "." in file.removesuffix(".parquet") else 0) + 1


def discard_uncommitted(home: Home, source: str) -> None:
    """Delete sealed files that no manifest names: what an interrupted job left."""
    named = {file.file for batch in read_batches(home, source) for file in batch.stores.values()}
    for store in STORES:
        for path in home.path(store, source).glob("*.parquet*"):
            if path.name not in named:
                path.unlink()


def read_store(
    home: Home, store: Store, source: str, *, subjects: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """Unseal the records of a store, a bounded number of subjects at a time, oldest batch first.

    Args:
        subjects: only these subject keys; None for all whose data key exists. Only the parts of the files that hold
            them are read.

    Yields:
        The rows as they were sealed, with ``subject_key`` and ``batch_order`` (int64); subjects in order within a
        batch.

    Raises:
        EvidenceError: a file was changed, cut, moved or swapped, or a record does not open.
    """
    for batch in read_batches(home, source):
        yield from read_batch(home, store, batch, subjects=subjects)


def read_batch(
    home: Home, store: Store, batch: Batch, *, subjects: Sequence[str] | None = None
) -> Iterator[pa.Table]:
    """`read_store`, for one batch."""
    if store not in batch.stores:
        return
    order = pa.scalar(batch.order, pa.int64())
    for rows in read_records(
        home.data_keys,
        open_record_file(home.path(store, batch.source), batch.stores[store], whole=subjects is None),
        (store, batch.source, batch.batch_id),
        subjects=subjects,
    ):
        yield rows.append_column("batch_order", pa.repeat(order, rows.num_rows))


def subjects_of(home: Home, store: Store, batch: Batch) -> set[str]:
    """Whose records a batch holds, opened or not.

    Raises:
        EvidenceError, Unavailable: as `read_store`.
    """
    if store not in batch.stores:
        return set()
    file = open_record_file(home.path(store, batch.source), batch.stores[store], whole=False)
    return {key for group in file.groups_of(None) for key in file.read([group])["subject_key"].to_pylist()}


def _from_document(document: dict[str, Any]) -> Batch:
    return Batch(
        document["batch_id"],
        document["source"],
        document["order"],
        document["file_token"],
        document["rows_taken"],
        {store: RecordFile.from_document(about) for store, about in document["stores"].items()},
        parse_instant(document["committed_at"]),
        document["facts"],
    )
