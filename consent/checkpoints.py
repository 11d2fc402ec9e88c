"""The signed checkpoints of a ledger: made, kept, compared, and handed from one key to the next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from consent.clock import MICROSECOND
from consent.database import run
from consent.errors import Conflict, EvidenceError
from consent.evidence import merkle
from consent.evidence.handover import LogKeys
from consent.evidence.notes import Signer, Verifier, format_checkpoint, sign_note
from consent.queries import open_tree, read_handovers

#: A checkpoint is signed at the latest after so long, and after so many entries.
SIGN_AFTER_US = timedelta(seconds=60) // MICROSECOND
SIGN_AFTER_ENTRIES = 10_000


def read_newest(connection: sa.Connection) -> tuple[int, int, bytes] | None:
    """Size, time of signing and note of the newest checkpoint; None while there is none."""
    newest = "SELECT tree_size, created_at, note FROM checkpoint ORDER BY tree_size DESC LIMIT 1"
    for tree_size, created_at, note in run(connection, newest):
        return tree_size, created_at, bytes(note)
    return None


def is_due(newest: tuple[int, int], tree_size: int, now_us: int) -> bool:
    """Whether a checkpoint is to be signed, given size and time of the newest one."""
    size, created_us = newest
    return size == 0 or tree_size - size >= SIGN_AFTER_ENTRIES or now_us - created_us >= SIGN_AFTER_US


def sign_checkpoint(
    connection: sa.Connection, signer: Signer, tree_size: int, root: bytes, created_us: int
) -> bytes:
    """A signed note over the first so many entries, stored in the same transaction."""
    note = sign_note(format_checkpoint(signer.name, tree_size, root), signer)
    insert = "INSERT INTO checkpoint (tree_size, root, note, created_at) VALUES (?, ?, ?, ?)"
    run(connection, insert, (tree_size, root, note, created_us))
    return note


def read_keys(connection: sa.Connection, held: Verifier) -> LogKeys:
    """The keys this log has signed with, from the oldest on.

    Raises:
        EvidenceError: a stored handover is wrong.
    """
    return LogKeys.follow(held, read_handovers(connection))


def require_current(keys: LogKeys, signer: Signer) -> None:
    """Raise unless the signer holds the newest key.

    Raises:
        Conflict: the key was handed over to another.
    """
    if keys.newest != signer.verifier:
        raise Conflict(
            "the log's key was handed over to one that is not in the keyring",
            remedy="Run `assent log rotate-key` again to end what was begun, or mount the newest keyring.",
        )


def merge_notes(notes: Sequence[bytes]) -> bytes:
    """One note with the signature lines of several over the same text."""
    text = notes[0].rpartition(b"\n\n")[0]
    lines = (line for note in notes for line in note.rpartition(b"\n\n")[2].splitlines(keepends=True))
    return text + b"\n\n" + b"".join(dict.fromkeys(lines))


def require_pinned(connection: sa.Connection, size: int, keys: LogKeys, note: bytes) -> int:
    """Return the number of entries a checkpoint pins, if they are still what the ledger holds.

    Args:
        size: number of entries.
        keys: those this log has signed with.

    Raises:
        EvidenceError: it is not signed by a key of this log, or the ledger was cut or rewritten since.
    """
    pinned, _ = keys.verified(note)
    if pinned.tree_size > size:
        raise EvidenceError(
            f"the checkpoint pins {pinned.tree_size} entries, the ledger holds {size}",
            remedy="Entries were removed, an old copy was restored, or it is of another ledger.",
        )
    if merkle.root(open_tree(connection), pinned.tree_size) != pinned.root:
        raise EvidenceError(
            f"the first {pinned.tree_size} entries are not those the checkpoint pins",
            remedy="The ledger was rewritten after the checkpoint was made. Keep both files.",
        )
    return pinned.tree_size
