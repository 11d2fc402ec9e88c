"""One random data key per subject and source, in buckets of 1,024 sealed under an epoch key.

A bucket is sealed with one call, so a key can be dropped from every copy at once: leave it out, seal the buckets
under a new epoch, destroy the old epoch key. Keys derived from one master, or wrapped one by one under a key
that stays, would come back from a backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from consent.database import open_sqlite, select_in, transaction
from consent.errors import EvidenceError, Unavailable
from consent.keyring import Keyring
from consent.sealing import KEY_BYTES, bind, new_key

BUCKET_SLOTS = 1024
_SUBJECT_BYTES = 16
_SLOT_BYTES = _SUBJECT_BYTES + KEY_BYTES

metadata = sa.MetaData()
slot_table = sa.Table(
    "slot",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("subject_key", sa.Text, primary_key=True),
    sa.Column("bucket", sa.Integer, nullable=False),
)
bucket_table = sa.Table(
    "bucket",
    metadata,
    sa.Column("bucket", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)


class DataKeys:
    """The key table. Keys are handed out for the batch in hand and never cached."""

    def __init__(self, path: Path, keyring: Keyring) -> None:
        self._keyring = keyring
        self._engine = open_sqlite(path)

    @classmethod
    def create(cls, path: Path, keyring: Keyring) -> DataKeys:
        """A new, empty key table."""
        path.touch(mode=0o600)
        keys = cls(path, keyring)
        with transaction(keys._engine, "the key table", write=True) as connection:
            metadata.create_all(connection)
        return keys

    @classmethod
    def open(cls, path: Path, keyring: Keyring) -> DataKeys:
        """The key table at `path`.

        Raises:
            Unavailable: there is none.
        """
        if not path.exists():
            raise Unavailable("the key table is missing", remedy="Restore it, or check --home.")
        return cls(path, keyring)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def find(self, source: str, subject_keys: Sequence[str]) -> dict[str, bytes]:
        """The data keys that exist; a subject whose key was destroyed is simply not there."""
        with transaction(self._engine, "the key table") as connection:
            return self._open(connection, source, subject_keys)

    def find_or_create(self, source: str, subject_keys: Sequence[str]) -> dict[str, bytes]:
        """A data key for each of the subjects, made where there was none."""
        with transaction(self._engine, "the key table", write=True) as connection:
            keys = self._open(connection, source, subject_keys)
            fresh = {s: new_key() for s in dict.fromkeys(subject_keys) if s not in keys}
            self._add(connection, source, fresh)
        return keys | fresh

    def _open(self, connection: sa.Connection, source: str, subject_keys: Sequence[str]) -> dict[str, bytes]:
        buckets: dict[int, set[str]] = {}
        slots_of = "SELECT subject_key, bucket FROM slot WHERE source = ? AND subject_key"
        for subject_key, bucket in select_in(connection, slots_of, subject_keys, before=(source,)):
            buckets.setdefault(bucket, set()).add(subject_key)
        keys: dict[str, bytes] = {}
        for bucket, subjects in buckets.items():
            slots = self._read_bucket(connection, source, bucket)
            keys.update((s, slots[s]) for s in subjects if s in slots)
        return keys

    def _read_bucket(self, connection: sa.Connection, source: str, bucket: int) -> dict[str, bytes]:
        row = connection.exec_driver_sql(
            "SELECT epoch, sealed FROM bucket WHERE bucket = ?", (bucket,)
        ).first()
        if row is None:
            raise EvidenceError("a bucket of the key table is missing", remedy="Restore the key table.")
        plain = self._keyring.unwrap(bytes(row.sealed), epoch=row.epoch, aad=_bound(source, bucket))
        return {
            plain[i : i + _SUBJECT_BYTES].hex(): plain[i + _SUBJECT_BYTES : i + _SLOT_BYTES]
            for i in range(0, len(plain), _SLOT_BYTES)
        }

    def _add(self, connection: sa.Connection, source: str, fresh: dict[str, bytes]) -> None:
        remaining = list(fresh.items())
        while remaining:
            row = connection.exec_driver_sql(
                "SELECT bucket FROM bucket WHERE source = ? AND slots < ? ORDER BY bucket LIMIT 1",
                (source, BUCKET_SLOTS),
            ).first()
            if row is None:
                bucket = 1 + int(
                    connection.exec_driver_sql("SELECT coalesce(max(bucket), 0) FROM bucket").scalar_one()
                )
                slots: dict[str, bytes] = {}
            else:
                bucket, slots = int(row.bucket), self._read_bucket(connection, source, row.bucket)
            room = BUCKET_SLOTS - len(slots)
            added, remaining = remaining[:room], remaining[room:]
            self._write_bucket(connection, source, bucket, slots | dict(added))
            connection.exec_driver_sql(
                "INSERT INTO slot (source, subject_key, bucket) VALUES (?, ?, ?)",
                [(source, subject_key, bucket) for subject_key, _ in added],
            )

    def _write_bucket(
        self, connection: sa.Connection, source: str, bucket: int, slots: dict[str, bytes]
    ) -> None:
        plain = b"".join(bytes.fromhex(subject_key) + key for subject_key, key in slots.items())
        epoch = self._keyring.epoch
        sealed = self._keyring.wrap(plain, epoch=epoch, aad=_bound(source, bucket))
        connection.exec_driver_sql(
            "INSERT OR REPLACE INTO bucket (bucket, source, epoch, slots, sealed) VALUES (?, ?, ?, ?, ?)",
            (bucket, source, epoch, len(slots), sealed),
        )


def _bound(source: str, bucket: int) -> bytes:
    return bind(b"assent-bucket/1", source.encode(), str(bucket).encode())
