"""Data keys: random, in buckets of 1,024 sealed under an epoch key, so that one of them can be destroyed everywhere.

A key belongs to an owner (a subject, or a published file) and a use (a source, ...), and has a version. A bucket is
sealed with one call. To destroy keys they are left out, all buckets are sealed under a new epoch key, and the old
epoch key is destroyed: no copy of the key table made before opens any more. Keys derived from one master, or wrapped
one by one under a key that stays, would come back from a backup.

A version that was destroyed leaves a row without a bucket: what is sealed under it is meant to stay shut, which is
not the same as a key that was never there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from consent.database import checkpoint, open_sqlite, run, select_in, transaction
from consent.epochs import Epochs
from consent.errors import EvidenceError, Unavailable
from consent.sealing import KEY_BYTES, bind, seal, unseal

BUCKET_SLOTS = 1024
_WHAT = "the key table"
_OWNER_BYTES = 16
_VERSION_BYTES = 4
_NAME_BYTES = _OWNER_BYTES + _VERSION_BYTES
_SLOT_BYTES = _NAME_BYTES + KEY_BYTES
#: From so many keys of one bucket on, all its slots are looked at; below, each is searched for.
_MANY = 8
#: From so many owners on, those between the first and the last are looked at, if they are not many more.
_MANY_OWNERS = 256

metadata = sa.MetaData()
slot_table = sa.Table(
    "slot",
    metadata,
    sa.Column("use", sa.Text, primary_key=True),
    sa.Column("owner", sa.LargeBinary, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("bucket", sa.Integer),
    sqlite_with_rowid=False,
)
bucket_table = sa.Table(
    "bucket",
    metadata,
    sa.Column("bucket", sa.Integer, primary_key=True),
    sa.Column("use", sa.Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
)
sa.Index("bucket_room", bucket_table.c.use, bucket_table.c.slots)


class DataKey(NamedTuple):
    """The newest key of an owner."""

    version: int
    key: bytes


class Versions(NamedTuple):
    """All keys of one owner for one use.

    Attributes:
        alive: version -> key.
        newest: the highest version there ever was; 0 for an owner who never had a key.
    """

    newest: int
    alive: dict[int, bytes]

    def opens(self, version: int) -> bytes | None:
        """The key of a version; None where it was destroyed.

        Raises:
            EvidenceError: there never was such a version.
        """
        if not 0 < version <= self.newest:
            raise _never_held()
        return self.alive.get(version)


@dataclass(frozen=True)
class Rotation:
    """What sealing all buckets anew did.

    Attributes:
        epoch: the epoch everything is sealed under now.
        buckets, size: how many were sealed, and their bytes.
        destroyed: data keys left out.
    """

    epoch: int
    buckets: int
    size: int
    destroyed: int


class DataKeys:
    """The key table. Keys are handed out for the batch in hand and never cached."""

    def __init__(self, path: Path, epochs: Epochs) -> None:
        self._epochs = epochs
        self._engine = open_sqlite(path)

    @classmethod
    def create(cls, path: Path, epochs: Epochs) -> DataKeys:
        """A new, empty key table."""
        path.touch(mode=0o600)
        keys = cls(path, epochs)
        with transaction(keys._engine, _WHAT, write=True) as connection:
            metadata.create_all(connection)
        return keys

    @classmethod
    def open(cls, path: Path, epochs: Epochs) -> DataKeys:
        """The key table at `path`.

        Raises:
            Unavailable: there is none.
        """
        if not path.exists():
            raise Unavailable("the key table is missing", remedy="Restore it, or check --home.")
        return cls(path, epochs)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    # ------------------------------------------------------------------ finding and making

    def find(self, use: str, owners: Sequence[str]) -> dict[str, DataKey]:
        """Each owner's newest key; whose key was destroyed, or never made, is not there.

        Args:
            owners: 32 hex digits each.

        Raises:
            Unavailable: the epoch key, or the key service that wraps it, cannot be had.
            EvidenceError: a bucket was changed.
        """
        newest: dict[bytes, tuple[int, int | None]] = {}
        buckets: dict[int, set[bytes]] = {}
        with transaction(self._engine, _WHAT) as connection:
            for owner, version, bucket in _slots(connection, use, owners):
                held = newest.get(owner)
                if held is None or version > held[0]:
                    newest[owner] = version, bucket
            for owner, (version, bucket) in newest.items():
                if bucket is not None:
                    buckets.setdefault(bucket, set()).add(_name(owner, version))
            slots = self._read_slots(connection, use, buckets)
            return {slot[:_OWNER_BYTES].hex(): DataKey(_version(slot), key) for slot, key in slots}

    def versions(self, use: str, owners: Sequence[str]) -> dict[str, Versions]:
        """All keys of each owner, and how many there have been; whoever never had one is not there.

        Raises:
            Unavailable, EvidenceError: as `find`.
        """
        with transaction(self._engine, _WHAT) as connection:
            return self._versions(connection, use, owners)

    def open_each(self, use: str, slots: Sequence[tuple[str, int]]) -> list[bytes | None]:
        """The key of each (owner, version); None where it was destroyed. As `versions`, for very many.

        Raises:
            EvidenceError: there never was such a version, or a bucket was changed.
            Unavailable: as `find`.
        """
        if any(version < 1 for _, version in slots):
            raise _never_held()
        found: dict[bytes, bytes | None] = {}
        buckets: dict[int, set[bytes]] = {}
        with transaction(self._engine, _WHAT) as connection:
            for owner, version, bucket in _slots(connection, use, [owner for owner, _ in slots]):
                if bucket is None:
                    found[_name(owner, version)] = None
                else:
                    buckets.setdefault(bucket, set()).add(_name(owner, version))
            found.update(self._read_slots(connection, use, buckets))
        try:
            return [found[_name(bytes.fromhex(owner), version)] for owner, version in slots]
        except KeyError:
            raise _never_held() from None

    def find_or_create(self, use: str, owners: Sequence[str]) -> dict[str, DataKey]:
        """A key for each of the owners, made where there is none.

        Raises:
            Unavailable, EvidenceError: as `find`.
        """
        found = self.find(use, owners)  # most often all are there, and nobody has to wait for the lock
        if all(owner in found for owner in owners):
            return found
        with transaction(self._engine, _WHAT, write=True) as connection:
            known = self._versions(connection, use, owners)
            found = _newest(known)
            lacking = [owner for owner in dict.fromkeys(owners) if owner not in found]
            return found | self._add(connection, use, lacking, known)

    def renew(self, use: str, owners: Sequence[str]) -> dict[str, DataKey]:
        """A further version for each owner; the versions before it stay until they are destroyed."""
        with transaction(self._engine, _WHAT, write=True) as connection:
            known = self._versions(connection, use, owners)
            return self._add(connection, use, list(dict.fromkeys(owners)), known)

    def count(self, use: str, owners: Sequence[str]) -> int:
        """How many keys these owners have."""
        with transaction(self._engine, _WHAT) as connection:
            return sum(bucket is not None for _, _, bucket in _slots(connection, use, owners))

    def uses(self) -> list[str]:
        """What keys there are for."""
        with transaction(self._engine, _WHAT) as connection:
            return [use for (use,) in run(connection, "SELECT DISTINCT use FROM bucket ORDER BY use")]

    def owners(self, use: str, *, at_least: int = 1) -> list[str]:
        """Who has a key for a use, or several, in order."""
        with transaction(self._engine, _WHAT) as connection:
            rows = run(
                connection,
                "SELECT owner FROM slot WHERE use = ? AND bucket IS NOT NULL"
                " GROUP BY owner HAVING count(*) >= ? ORDER BY owner",
                (use, at_least),
            )
        return [owner.hex() for (owner,) in rows]

    def _versions(self, connection: sa.Connection, use: str, owners: Sequence[str]) -> dict[str, Versions]:
        known: dict[str, Versions] = {}
        buckets: dict[int, set[bytes]] = {}
        for owner, version, bucket in _slots(connection, use, owners):
            name = owner.hex()
            newest, alive = known.get(name) or (0, {})
            if version > newest:
                known[name] = Versions(version, alive)
            if bucket is not None:
                buckets.setdefault(bucket, set()).add(_name(owner, version))
        for slot, key in self._read_slots(connection, use, buckets):
            known[slot[:_OWNER_BYTES].hex()].alive[_version(slot)] = key
        return known

    def _read_slots(
        self, connection: sa.Connection, use: str, buckets: Mapping[int, Collection[bytes]]
    ) -> Iterator[tuple[bytes, bytes]]:
        """The keys of these slots of these buckets."""
        epochs = _Epochs(self._epochs)
        for bucket, names in buckets.items():
            found = _pick(self._read_bucket(connection, use, bucket, epochs), names)
            if len(found) != len(names):
                raise EvidenceError(
                    "a key is not in the bucket where it should be", remedy="Restore the key table."
                )
            yield from found

    def _read_bucket(self, connection: sa.Connection, use: str, bucket: int, epochs: _Epochs) -> bytes:
        rows = run(connection, "SELECT epoch, sealed FROM bucket WHERE bucket = ?", (bucket,))
        if not rows:
            raise EvidenceError("a bucket of the key table is missing", remedy="Restore the key table.")
        epoch, sealed = rows[0]
        return unseal(epochs.read(epoch), bytes(sealed), _bound(use, bucket, epoch))

    def _add(
        self, connection: sa.Connection, use: str, owners: Sequence[str], known: Mapping[str, Versions]
    ) -> dict[str, DataKey]:
        fresh = os.urandom(KEY_BYTES * len(owners))
        made = {
            o: DataKey(known[o].newest + 1 if o in known else 1, fresh[i * KEY_BYTES : (i + 1) * KEY_BYTES])
            for i, o in enumerate(sorted(owners))
        }
        slots = [(_name(bytes.fromhex(o), k.version), k.key) for o, k in made.items()]
        epochs, done = _Epochs(self._epochs), 0
        while done < len(slots):
            bucket, plain = self._bucket_with_room(connection, use, epochs)
            added = slots[done : done + BUCKET_SLOTS - len(plain) // _SLOT_BYTES]
            done += len(added)
            _write_bucket(connection, use, bucket, plain + b"".join(n + k for n, k in added), epochs)
            run(
                connection,
                "INSERT INTO slot (use, owner, version, bucket) VALUES (?, ?, ?, ?)",
                [(use, name[:_OWNER_BYTES], _version(name), bucket) for name, _ in added],
            )
        return made

    def _bucket_with_room(self, connection: sa.Connection, use: str, epochs: _Epochs) -> tuple[int, bytes]:
        rows = run(
            connection,
            "SELECT bucket FROM bucket WHERE use = ? AND slots < ? ORDER BY bucket LIMIT 1",
            (use, BUCKET_SLOTS),
        )
        if rows:
            return rows[0][0], self._read_bucket(connection, use, rows[0][0], epochs)
        ((last,),) = run(connection, "SELECT coalesce(max(bucket), 0) FROM bucket")
        return int(last) + 1, b""

    # ------------------------------------------------------------------ destroying

    def rotate(
        self,
        epoch: int,
        *,
        destroy: Mapping[str, Collection[str]] | None = None,
        outdated: Mapping[str, Collection[str]] | None = None,
        on_progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Rotation:
        """Seal every bucket under a new epoch and leave keys out; `forget` then makes it final.

        All or nothing; run again with the same arguments it ends in the same state.

        Args:
            epoch: the epoch to seal under, made if it is not there.
            destroy: use -> owners whose keys are left out, all versions.
            outdated: use -> owners of whom only the newest version stays.

        Raises:
            Unavailable: the key service or the key table cannot be used; nothing was changed.
        """
        with transaction(self._engine, _WHAT, write=True) as connection:
            # Not before: nobody else may seal under it what is about to be left out.
            self._epochs.ensure(epoch)
            gone = _gone(connection, destroy or {}, outdated or {})
            opened, size = _Epochs(self._epochs), 0
            buckets = run(connection, "SELECT bucket, use FROM bucket ORDER BY bucket")
            for i, (bucket, use) in enumerate(buckets):
                plain = _without(self._read_bucket(connection, use, bucket, opened), gone.get(bucket))
                size += _write_bucket(connection, use, bucket, plain, opened, epoch)
                on_progress(i + 1, len(buckets))
            for use, owners in (destroy or {}).items():
                _mark(connection, use, owners)
            for use, owners in (outdated or {}).items():
                _mark(connection, use, owners, but_newest=True)
        return Rotation(epoch, len(buckets), size, sum(map(len, gone.values())))

    def forget(self) -> None:
        """Leave nothing of what was overwritten in the file's free pages and write-ahead log."""
        checkpoint(self._engine, _WHAT)

    def epochs_in_use(self) -> list[int]:
        """The epochs that buckets are sealed under."""
        with transaction(self._engine, _WHAT) as connection:
            return [epoch for (epoch,) in run(connection, "SELECT DISTINCT epoch FROM bucket ORDER BY epoch")]


class _Epochs:
    """Epoch keys for one operation, so that a key service is asked once for each."""

    def __init__(self, epochs: Epochs) -> None:
        self._epochs = epochs
        self._read: dict[int, bytes] = {}

    def read(self, epoch: int) -> bytes:
        if epoch not in self._read:
            self._read[epoch] = self._epochs.read(epoch)
        return self._read[epoch]

    @property
    def current(self) -> int:
        return self._epochs.current


def is_owner(name: str) -> bool:
    """Whether it is 32 lower-case hex digits, as all owners' names are."""
    return len(name) == 2 * _OWNER_BYTES and not name.strip("0123456789abcdef")


def _never_held() -> EvidenceError:
    return EvidenceError(
        "a record is sealed under a key that the key table has never held",
        remedy="The key table is an older copy, or the record was changed; restore the newer one.",
    )


def _slots(
    connection: sa.Connection, use: str, owners: Collection[str]
) -> list[tuple[bytes, int, int | None]]:
    of_use = "SELECT owner, version, bucket FROM slot WHERE use = ? AND owner"
    # In order, as the table is: asked at random a large table would be read page by page, over and over.
    names = sorted(map(bytes.fromhex, owners))
    if len(names) >= _MANY_OWNERS:  # perhaps most of those between are asked for: then one walk is quicker
        most = 2 * len(names)
        between = (use, names[0], names[-1], most + 1)
        rows = run(connection, f"{of_use} BETWEEN ? AND ? LIMIT ?", between)
        if len(rows) <= most:
            asked = set(names)
            return [row for row in rows if row[0] in asked]
    return list(select_in(connection, of_use, names, before=(use,)))


def _newest(known: Mapping[str, Versions]) -> dict[str, DataKey]:
    return {o: DataKey(v.newest, v.alive[v.newest]) for o, v in known.items() if v.newest in v.alive}


def _name(owner: bytes, version: int) -> bytes:
    return owner + version.to_bytes(_VERSION_BYTES, "big")


def _version(name: bytes) -> int:
    return int.from_bytes(name[_OWNER_BYTES:], "big")


def _pick(plain: bytes, names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
    """The keys of these slots, as far as they are in the bucket."""
    if len(names) >= _MANY:
        starts = range(0, len(plain), _SLOT_BYTES)
        return [
            (name, plain[i + _NAME_BYTES : i + _SLOT_BYTES])
            for i in starts
            if (name := plain[i : i + _NAME_BYTES]) in names
        ]
    found = ((name, _position(plain, name)) for name in names)
    return [(name, plain[i + _NAME_BYTES : i + _SLOT_BYTES]) for name, i in found if i >= 0]


def _position(plain: bytes, name: bytes) -> int:
    """Where a slot begins; -1 if it is not there. A key may hold the same bytes by chance, at another offset."""
    i = plain.find(name)
    while i % _SLOT_BYTES and i >= 0:
        i = plain.find(name, i + 1)
    return i


def _without(plain: bytes, names: Collection[bytes] | None) -> bytes:
    if not names:
        return plain
    starts = range(0, len(plain), _SLOT_BYTES)
    return b"".join(plain[i : i + _SLOT_BYTES] for i in starts if plain[i : i + _NAME_BYTES] not in names)


def _write_bucket(
    connection: sa.Connection, use: str, bucket: int, plain: bytes, epochs: _Epochs, epoch: int | None = None
) -> int:
    """Seal a bucket under an epoch, the current one unless it is named. Returns the sealed bytes' number."""
    under = epochs.current if epoch is None else epoch
    sealed = seal(epochs.read(under), plain, _bound(use, bucket, under))
    run(
        connection,
        "INSERT INTO bucket (bucket, use, epoch, slots, sealed) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (bucket) DO UPDATE SET epoch = excluded.epoch, slots = excluded.slots,"
        " sealed = excluded.sealed",
        (bucket, use, under, len(plain) // _SLOT_BYTES, sealed),
    )
    return len(sealed)


def _gone(
    connection: sa.Connection, destroy: Mapping[str, Collection[str]], outdated: Mapping[str, Collection[str]]
) -> dict[int, set[bytes]]:
    """Bucket -> slots to leave out."""
    gone: dict[int, set[bytes]] = {}
    for uses, keep_newest in ((destroy, False), (outdated, True)):
        for use, owners in uses.items():
            slots = _slots(connection, use, owners)
            newest: dict[bytes, int] = {}
            for owner, version, _ in slots:
                newest[owner] = max(version, newest.get(owner, 0))
            for owner, version, bucket in slots:
                if bucket is not None and not (keep_newest and version == newest[owner]):
                    gone.setdefault(bucket, set()).add(_name(owner, version))
    return gone


def _mark(connection: sa.Connection, use: str, owners: Collection[str], *, but_newest: bool = False) -> None:
    """Note that versions are destroyed."""
    newest = (
        " AND version < (SELECT max(version) FROM slot s WHERE s.use = slot.use AND s.owner = slot.owner)"
    )
    sql = f"UPDATE slot SET bucket = NULL WHERE use = ? AND owner = ?{newest if but_newest else ''}"  # noqa: S608
    run(connection, sql, [(use, bytes.fromhex(owner)) for owner in owners])


def _bound(use: str, bucket: int, epoch: int) -> bytes:
    return bind(b"assent-bucket/2", use.encode(), str(bucket).encode(), str(epoch).encode())
