"""The head of the ledger: its size, last instant and root, sealed with every append.

Signed checkpoints are for others and come at intervals; the head is for the ledger itself and is never behind. Its
seal is made with a key that follows from the log's own, so whoever can write to the database alone can neither add an
entry nor take one away without its being noticed at the next read.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from consent.database import run
from consent.errors import EvidenceError
from consent.evidence.merkle import EMPTY_ROOT
from consent.evidence.notes import Signer
from consent.sealing import derive_key

#: The head, and the number of the last entry: one statement, so that both are of one moment.
QUERY = "SELECT tree_size, recorded_at, root, seal, (SELECT max(leaf_index) FROM event) FROM head"
_TOO_LARGE = 2**62
_REMEDY = "Entries were added or removed behind our back. Run `assent log audit`; restore the newest copy."


class Head(NamedTuple):
    """What is sealed.

    Attributes:
        tree_size: number of entries.
        recorded_at: instant of the last one, in microseconds; 0 while there is none.
        root: MTH of all of them.
        seal: HMAC-SHA-256 over the rest.
    """

    tree_size: int
    recorded_at: int
    root: bytes
    seal: bytes


class HeadKey:
    """Seals heads, and checks them."""

    def __init__(self, signer: Signer, what: str = "the ledger") -> None:
        self._what = what
        self._key = derive_key(signer.private_key.private_bytes_raw(), f"ledger-head {signer.name}")
        self._checked: Head | None = None

    def sealed(self, tree_size: int, recorded_at: int, root: bytes) -> Head:
        """The head of a tree, with its seal."""
        self._checked = Head(tree_size, recorded_at, root, self._seal(tree_size, recorded_at, root))
        return self._checked

    def require(self, row: Sequence[Any] | None) -> Head:
        """The head that `QUERY` found, if its seal is right and it is about the entries there are.

        Raises:
            EvidenceError: it is not.
        """
        if row is None or [type(value) for value in row[:4]] != [int, int, bytes, bytes]:
            raise EvidenceError(f"the head of {self._what} is gone or damaged", remedy=_REMEDY)
        head = Head(*row[:4])
        if head != self._checked:
            if not 0 <= head.tree_size < _TOO_LARGE or not hmac.compare_digest(
                self._seal(*head[:3]), head.seal
            ):
                raise EvidenceError(f"the head of {self._what} does not fit its seal", remedy=_REMEDY)
            self._checked = head
        entries = 0 if row[4] is None else row[4] + 1
        if entries != head.tree_size:
            raise EvidenceError(
                f"the head of {self._what} seals {head.tree_size} entries,"
                f" the last one there is number {entries - 1}",
                remedy=_REMEDY,
            )
        return head

    def _seal(self, tree_size: int, recorded_at: int, root: bytes) -> bytes:
        sizes = tree_size.to_bytes(8, "big") + recorded_at.to_bytes(8, "big", signed=True)
        return hmac.digest(self._key, b"assent-head/1" + sizes + root, "sha256")


def read_head(connection: sa.Connection) -> tuple[Any, ...] | None:
    """The stored head and the number of the last entry, not yet checked."""
    rows = run(connection, QUERY)
    return rows[0] if rows else None


def write_head(connection: sa.Connection, head: Head) -> None:
    """Put a new head in the place of the one before."""
    run(connection, "UPDATE head SET tree_size = ?, recorded_at = ?, root = ?, seal = ?", tuple(head))


def create_head(
    connection: sa.Connection,
    key: HeadKey,
    tree_size: int = 0,
    recorded_at: int = 0,
    root: bytes = EMPTY_ROOT,
) -> None:
    """The first head of a ledger."""
    run(
        connection,
        "INSERT INTO head (one, tree_size, recorded_at, root, seal) VALUES (1, ?, ?, ?, ?)",
        tuple(key.sealed(tree_size, recorded_at, root)),
    )
