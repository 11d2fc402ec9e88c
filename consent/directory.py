"""The subject directory: customer number -> random pseudonym, and nothing else.

A row holds a keyed hash of the customer number and the subject key, so that the file alone names nobody. Erasing a
person deletes the row; a tombstone, the keyed hash alone, stays, so that a late file cannot bring them back.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from consent.clock import instant, micros
from consent.database import checkpoint, open_sqlite, select_in, transaction
from consent.errors import BadInput, Unavailable
from consent.sealing import token

_WHAT = "the subject directory"
#: Longest customer number accepted.
MAX_SUBJECT_ID = 200

metadata = sa.MetaData()
subject_table = sa.Table(
    "subject",
    metadata,
    sa.Column("lookup", sa.LargeBinary, primary_key=True),
    sa.Column("subject_key", sa.Text, nullable=False, unique=True),
)
tombstone_table = sa.Table(
    "tombstone",
    metadata,
    sa.Column("lookup", sa.LargeBinary, primary_key=True),
    sa.Column("erased_at", sa.BigInteger, nullable=False),
    sa.Column("erasure_id", sa.Text, nullable=False),
)


@dataclass(frozen=True)
class Tombstone:
    """What is left of somebody who was erased.

    Attributes:
        erasure_id: names the certificate.
    """

    erased_at: datetime
    erasure_id: str


class Directory:
    """Finds and makes subject keys. `pepper` is the 32-byte key of the hash."""

    def __init__(self, path: Path, pepper: bytes) -> None:
        self._pepper = pepper
        self._engine = open_sqlite(path)

    @classmethod
    def create(cls, path: Path, pepper: bytes) -> Directory:
        """A new, empty directory."""
        path.touch(mode=0o600)
        directory = cls(path, pepper)
        with transaction(directory._engine, _WHAT, write=True) as connection:
            metadata.create_all(connection)
        return directory

    @classmethod
    def open(cls, path: Path, pepper: bytes) -> Directory:
        """The directory at `path`.

        Raises:
            Unavailable: there is none.
        """
        if not path.exists():
            raise Unavailable("the subject directory is missing", remedy="Restore it, or check --home.")
        return cls(path, pepper)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def find(self, subject_ids: Sequence[str]) -> list[str | None]:
        """The subject key of each customer number.

        Returns:
            None for a person nobody has recorded consent of, and for what is no customer number at all.
        """
        spelled = map(_spelled, subject_ids)
        lookups = [self._lookup_of(s) if _is_sound(s) else b"" for s in spelled]
        with transaction(self._engine, _WHAT) as connection:
            return self._find(connection, lookups)

    def require(self, subject_id: str) -> str:
        """The subject key of a customer number, which is not repeated.

        Raises:
            BadInput: nothing is on record about this person.
        """
        (key,) = self.find([subject_id])
        if key is None:
            raise BadInput(
                "nothing is on record about this person",
                remedy="Check the customer number.",
                code="UNKNOWN_SUBJECT",
            )
        return key

    def find_or_create(self, subject_ids: Sequence[str]) -> list[str]:
        """Like `find`, but people met for the first time get a random key."""
        lookups = [self._lookup(s) for s in subject_ids]
        with transaction(self._engine, _WHAT, write=True) as connection:
            found = dict(zip(lookups, self._find(connection, lookups), strict=True))
            fresh = {lookup: secrets.token_hex(16) for lookup, key in found.items() if key is None}
            if fresh:
                connection.exec_driver_sql(
                    "INSERT INTO subject (lookup, subject_key) VALUES (?, ?)", list(fresh.items())
                )
        return [found[lookup] or fresh[lookup] for lookup in lookups]

    def tombstones(self, subject_ids: Sequence[str]) -> dict[str, Tombstone]:
        """Those of these people who were erased, by customer number, and the last time they were."""
        lookups = {self._lookup(s): s for s in subject_ids if is_subject_id(s)}
        select = "SELECT lookup, erased_at, erasure_id FROM tombstone WHERE lookup"
        with transaction(self._engine, _WHAT) as connection:
            rows = list(select_in(connection, select, lookups))
        return {lookups[bytes(lookup)]: Tombstone(instant(at), name) for lookup, at, name in rows}

    def holds(self, subject_keys: Sequence[str]) -> bool:
        """Whether any of these subject keys is in the directory."""
        select = "SELECT 1 FROM subject WHERE subject_key"
        with transaction(self._engine, _WHAT) as connection:
            return any(True for _ in select_in(connection, select, subject_keys))

    def erase(self, subject_key: str, erased_at: datetime, erasure_id: str) -> None:
        """Put a tombstone in a person's place. Doing it twice changes nothing."""
        with transaction(self._engine, _WHAT, write=True) as connection:
            connection.exec_driver_sql(
                "INSERT OR REPLACE INTO tombstone (lookup, erased_at, erasure_id)"
                " SELECT lookup, ?, ? FROM subject WHERE subject_key = ?",
                (micros(erased_at), erasure_id, subject_key),
            )
            connection.exec_driver_sql("DELETE FROM subject WHERE subject_key = ?", (subject_key,))

    def forget(self) -> None:
        """Leave nothing of deleted rows in the file's free pages and write-ahead log."""
        checkpoint(self._engine, _WHAT)

    def _lookup(self, subject_id: str) -> bytes:
        return self._lookup_of(normalise_subject_id(subject_id))

    def _lookup_of(self, spelled: str) -> bytes:
        return token(self._pepper, spelled.encode())[:16]

    def _find(self, connection: sa.Connection, lookups: Sequence[bytes]) -> list[str | None]:
        rows = select_in(connection, "SELECT lookup, subject_key FROM subject WHERE lookup", lookups)
        known: dict[bytes, str] = {bytes(lookup): subject_key for lookup, subject_key in rows}
        return [known.get(lookup) for lookup in lookups]


def is_subject_id(subject_id: str) -> bool:
    """Whether `normalise_subject_id` would accept it."""
    return _is_sound(_spelled(subject_id))


def normalise_subject_id(subject_id: str) -> str:
    """One spelling per customer number: NFKC, no surrounding space. Case and leading zeros are kept.

    Raises:
        BadInput: empty, too long, or holding control characters (the number itself is not repeated).
    """
    spelled = _spelled(subject_id)
    if not _is_sound(spelled):
        raise BadInput(
            "a customer number is empty, longer than 200 characters, or holds control characters",
            remedy="Mend the customer number.",
        )
    return spelled


def _spelled(subject_id: str) -> str:
    plain = subject_id if subject_id.isascii() else unicodedata.normalize("NFKC", subject_id)
    return plain.strip()


def _is_sound(spelled: str) -> bool:
    return 0 < len(spelled) <= MAX_SUBJECT_ID and spelled.isprintable()
