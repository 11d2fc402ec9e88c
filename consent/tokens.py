"""Bearer tokens: what a program, or the officer's first link, signs in with.

A token is 256 random bits and is told once. The home keeps a keyed hash of it, sealed together with its role and its
end: whoever only has the file can neither use a token, nor add one, nor make it stronger.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from consent.clock import format_instant, instant, micros, now_utc
from consent.database import open_or_make, run, transaction
from consent.errors import BadInput, Conflict
from consent.sealing import require_token, token

_WHAT = "the tokens' database"
_PREFIX = "assent_"
_SECRET = re.compile(_PREFIX + r"[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: A token that is good for longer is no better than a password nobody changes.
LONGEST_LIFE = timedelta(days=366)


class Role(StrEnum):
    """What a caller may do; what each may reach is written where they come in."""

    OFFICER = "officer"
    RECORDER = "recorder"
    MODELER = "modeler"
    AUDITOR = "auditor"


@dataclass(frozen=True)
class Token:
    """What is known of a token; never the secret.

    Attributes:
        name: of the program or person it was made for, given once and never again.
        revoked_at: None while nobody has revoked it.
    """

    name: str
    role: Role
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None = None

    def is_good(self, at: datetime) -> bool:
        """Whether it may be used at an instant."""
        return self.revoked_at is None and at < self.expires_at


_COLUMNS = ("lookup", "name", "role", "created_at", "expires_at", "revoked_at", "seal")
_metadata = sa.MetaData()
_table = sa.Table(
    "token",
    _metadata,
    sa.Column("lookup", sa.LargeBinary, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("seal", sa.LargeBinary, nullable=False),
)


class Tokens:
    """The tokens of one home. Any number of processes may use them; a revocation counts from the next `find`."""

    def __init__(self, path: Path, key: bytes, *, clock: Callable[[], datetime] = now_utc) -> None:
        """The tokens at `path`; the file is made at its first use.

        Args:
            key: 32 bytes from the keyring.
        """
        self._key = key
        self._clock = clock
        self._engine = open_or_make(path, _metadata, _WHAT)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def create(self, name: str, role: Role, expires_at: datetime) -> str:
        """A new token.

        Returns:
            The secret. It is not kept, so it cannot be shown again.

        Raises:
            BadInput: the name or the end is not sound.
            Conflict: there is, or was, a token of this name.
        """
        now = self._clock()
        _require_sound(name, now, expires_at)
        secret = _PREFIX + secrets.token_urlsafe(32)
        made = Token(name, Role(role), now, expires_at)
        with transaction(self._engine, _WHAT, write=True) as connection:
            if run(connection, "SELECT 1 FROM token WHERE name = ?", (name,)):
                raise Conflict(
                    "there is, or was, a token of this name",
                    remedy="Choose another name; the access log tells callers apart by it.",
                )
            values = self._row(self._lookup(secret), made)
            run(connection, f"INSERT INTO token ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)  # noqa: S608
        return secret

    def find(self, secret: str) -> Token | None:
        """The token of this secret; None if there is none, or none any more: these are not told apart.

        Raises:
            EvidenceError: the token's row was changed.
        """
        if _SECRET.fullmatch(secret) is None:
            return None
        lookup = self._lookup(secret)
        with transaction(self._engine, _WHAT) as connection:
            rows = run(connection, f"SELECT {', '.join(_COLUMNS)} FROM token WHERE lookup = ?", (lookup,))  # noqa: S608
        if not rows or not hmac.compare_digest(bytes(rows[0][0]), lookup):
            return None
        found = self._read(rows[0])
        return found if found.is_good(self._clock()) else None

    def find_bearer(self, header: str | None) -> Token | None:
        """The token of an ``Authorization`` header, as `find`. Source: RFC 6750 section 2.1."""
        scheme, _, secret = (header or "").partition(" ")
        return self.find(secret.strip()) if scheme.lower() == "bearer" else None

    def all(self) -> list[Token]:
        """Every token there is or was, by name."""
        with transaction(self._engine, _WHAT) as connection:
            rows = run(connection, f"SELECT {', '.join(_COLUMNS)} FROM token ORDER BY name")  # noqa: S608
        return [self._read(row) for row in rows]

    def revoke(self, name: str) -> Token:
        """End a token now. Doing it twice changes nothing.

        Raises:
            BadInput: there is no token of this name.
        """
        with transaction(self._engine, _WHAT, write=True) as connection:
            rows = run(connection, f"SELECT {', '.join(_COLUMNS)} FROM token WHERE name = ?", (name,))  # noqa: S608
            if not rows:
                raise BadInput("there is no token of this name", remedy="See `assent token list`.")
            found = self._read(rows[0])
            if found.revoked_at is not None:
                return found
            ended = Token(found.name, found.role, found.created_at, found.expires_at, self._clock())
            row = self._row(bytes(rows[0][0]), ended)
            run(connection, "UPDATE token SET revoked_at = ?, seal = ? WHERE name = ?", (*row[-2:], name))
        return ended

    def _lookup(self, secret: str) -> bytes:
        return token(self._key, b"lookup", secret.encode())

    def _row(self, lookup: bytes, of: Token) -> tuple[Any, ...]:
        times = (micros(of.created_at), micros(of.expires_at))
        revoked = None if of.revoked_at is None else micros(of.revoked_at)
        plain = (lookup, of.name, of.role.value, *times, revoked)
        return (*plain, self._seal(plain))

    def _seal(self, plain: tuple[Any, ...]) -> bytes:
        lookup, *told = plain
        return token(self._key, b"row", bytes(lookup), *(str(value).encode() for value in told))

    def _read(self, row: tuple[Any, ...]) -> Token:
        require_token(self._seal(tuple(row[:-1])), bytes(row[-1]), "a token")
        _, name, role, created, expires, revoked, _ = row
        ended = None if revoked is None else instant(revoked)
        return Token(name, Role(role), instant(created), instant(expires), ended)


def _require_sound(name: str, now: datetime, expires_at: datetime) -> None:
    if _NAME.fullmatch(name) is None:
        raise BadInput(
            "a token's name is 1 to 64 lower-case letters, digits, dots, dashes and underscores",
            remedy="Name the program it is for, like loan-app-2026.",
        )
    if not now < expires_at <= now + LONGEST_LIFE:
        raise BadInput(
            f"a token ends within {LONGEST_LIFE.days} days, and not in the past",
            remedy=f"Name an end after {format_instant(now)[:10]}.",
        )
