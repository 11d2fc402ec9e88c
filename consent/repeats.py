"""Answers to requests that may be sent again: the same request gets the same answer, and nothing happens twice.

A request that bears an idempotency key is noted before it is carried out, and its answer before it is given. What is
kept is a keyed hash of key and content, and an answer, which names no person; after a day all of it is gone.

Source: IETF draft-ietf-httpapi-idempotency-key-header (the Idempotency-Key HTTP header field).
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from consent.clock import micros, now_utc
from consent.database import open_or_make, run, transaction
from consent.errors import BadInput, Conflict
from consent.sealing import token

_WHAT = "the answers to earlier requests"
#: How long a key is remembered.
KEPT = timedelta(hours=24)
#: A request that has had no answer for so long was killed; the next one carries it out.
LEASE = timedelta(seconds=60)

_metadata = sa.MetaData()
_table = sa.Table(
    "request",
    _metadata,
    sa.Column("lookup", sa.LargeBinary, primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
    sa.Column("began_at", sa.BigInteger, nullable=False),
    sa.Column("answer", sa.Text),
)


class Repeats:
    """The requests of one home. Any number of processes may use them."""

    def __init__(self, path: Path, key: bytes, *, clock: Callable[[], datetime] = now_utc) -> None:
        """The requests at `path`; the file is made at its first use.

        Args:
            key: 32 bytes from the keyring.
        """
        self._key = key
        self._clock = clock
        self._engine = open_or_make(path, _metadata, _WHAT)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    def once(self, caller: str, key: str, content: str, carry_out: Callable[[], str]) -> str:
        """The answer to a request: the earlier one, or what `carry_out` returns now.

        Args:
            caller: whose key it is; another caller's key is another one.
            content: of the request, one text for all ways to write it.
            carry_out: has to be safe to repeat, because a process can be killed before its answer is noted. If it
                raises, the key is free again.

        Raises:
            BadInput: the key was used for another request.
            Conflict: the same request is being carried out at this moment.
        """
        lookup = token(self._key, b"key", caller.encode(), key.encode())
        earlier = self._begin(lookup, token(self._key, b"content", content.encode()))
        if earlier is not None:
            return earlier
        try:
            answer = carry_out()
        except BaseException:
            self._run("DELETE FROM request WHERE lookup = ?", lookup)
            raise
        self._run("UPDATE request SET answer = ? WHERE lookup = ?", answer, lookup)
        return answer

    def _begin(self, lookup: bytes, content: bytes) -> str | None:
        """The earlier answer; None: it is noted that this request is carried out now."""
        now = micros(self._clock())
        kept, lease = (at // timedelta(microseconds=1) for at in (KEPT, LEASE))
        with transaction(self._engine, _WHAT, write=True) as connection:
            run(connection, "DELETE FROM request WHERE began_at < ?", (now - kept,))
            found = run(
                connection, "SELECT content, began_at, answer FROM request WHERE lookup = ?", (lookup,)
            )
            if found:
                known, began_at, answer = found[0]
                if not hmac.compare_digest(bytes(known), content):
                    raise _reused()
                if answer is not None:
                    return str(answer)
                if now - began_at < lease:
                    raise _under_way()
                run(connection, "UPDATE request SET began_at = ? WHERE lookup = ?", (now, lookup))
                return None
            run(
                connection,
                "INSERT INTO request (lookup, content, began_at) VALUES (?, ?, ?)",
                (lookup, content, now),
            )
        return None

    def _run(self, sql: str, *values: object) -> None:
        with transaction(self._engine, _WHAT, write=True) as connection:
            run(connection, sql, values)


def _reused() -> BadInput:
    return BadInput(
        "this idempotency key was used for another request",
        remedy="Use a new key for a new request; repeat a request with all of its content.",
        code="KEY_REUSED",
    )


def _under_way() -> Conflict:
    return Conflict(
        "the same request is being carried out at this moment",
        remedy="Wait for its answer, or send it again a little later.",
        code="UNDER_WAY",
    )
