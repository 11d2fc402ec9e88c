"""The subject directory: customer number -> random pseudonym, and nothing else.

A row holds a keyed hash of the customer number and the subject key, so that the file alone names nobody.
Deleting a row is the first level of erasure.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy as sa

from consent.database import open_sqlite, select_in, transaction
from consent.errors import BadInput, Unavailable
from consent.sealing import token

#: Longest customer number accepted.
MAX_SUBJECT_ID = 200

metadata = sa.MetaData()
subject_table = sa.Table(
    "subject",
    metadata,
    sa.Column("lookup", sa.LargeBinary, primary_key=True),
    sa.Column("subject_key", sa.Text, nullable=False, unique=True),
)


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
        with transaction(directory._engine, "the subject directory", write=True) as connection:
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
        lookups = [self._lookup(s) if is_subject_id(s) else b"" for s in subject_ids]
        with transaction(self._engine, "the subject directory") as connection:
            return self._find(connection, lookups)

    def find_or_create(self, subject_ids: Sequence[str]) -> list[str]:
        """Like `find`, but people met for the first time get a random key."""
        lookups = [self._lookup(s) for s in subject_ids]
        with transaction(self._engine, "the subject directory", write=True) as connection:
            found = dict(zip(lookups, self._find(connection, lookups), strict=True))
            fresh = {lookup: secrets.token_hex(16) for lookup, key in found.items() if key is None}
            if fresh:
                connection.exec_driver_sql(
                    "INSERT INTO subject (lookup, subject_key) VALUES (?, ?)", list(fresh.items())
                )
        return [found[lookup] or fresh[lookup] for lookup in lookups]

    def _lookup(self, subject_id: str) -> bytes:
        return token(self._pepper, normalise_subject_id(subject_id).encode())[:16]

    def _find(self, connection: sa.Connection, lookups: Sequence[bytes]) -> list[str | None]:
        rows = select_in(connection, "SELECT lookup, subject_key FROM subject WHERE lookup", lookups)
        known: dict[bytes, str] = {bytes(lookup): subject_key for lookup, subject_key in rows}
        return [known.get(lookup) for lookup in lookups]


def is_subject_id(subject_id: str) -> bool:
    """Whether `normalise_subject_id` would accept it."""
    plain = unicodedata.normalize("NFKC", subject_id).strip()
    return 0 < len(plain) <= MAX_SUBJECT_ID and plain.isprintable()


def normalise_subject_id(subject_id: str) -> str:
    """One spelling per customer number: NFKC, no surrounding space. Case and leading zeros are kept.

    Raises:
        BadInput: empty, too long, or holding control characters (the number itself is not repeated).
    """
    if not is_subject_id(subject_id):
        raise BadInput(
            "a customer number is empty, longer than 200 characters, or holds control characters",
            remedy="Mend the customer number.",
        )
    return unicodedata.normalize("NFKC", subject_id).strip()
