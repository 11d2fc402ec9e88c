"""What the log hands out: a proof for one entry, and the request that shows a witness that the log only grew.

Source: RFC 9162 sections 2.1.3 and 2.1.4; C2SP tlog-proof and tlog-witness for the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from consent.errors import EvidenceError, Gap
from consent.evidence import merkle
from consent.evidence.disclosure import Disclosure, format_disclosure
from consent.evidence.notes import Checkpoint, parse_checkpoint, parse_note
from consent.evidence.proofs import AddCheckpoint, TlogProof, format_add_checkpoint, format_tlog_proof


class LogView(Protocol):
    """The log as of one moment, as the ledger shows it."""

    @property
    def tree_size(self) -> int:
        """Number of entries."""

    @property
    def tree(self) -> merkle.TreeReader:
        """The stored tree."""

    @property
    def checkpoint(self) -> bytes | None:
        """The newest signed note; None while the log is empty."""

    def entries(self, lo: int, hi: int) -> Iterable[bytes]:
        """The 41-byte entries ``[lo, hi)`` in order."""

    def disclose(self, leaf_index: int) -> tuple[dict[str, Any], bytes]:
        """The record and nonce of one entry."""


def prove_entry(log: LogView, leaf_index: int, note: bytes) -> tuple[bytes, bytes]:
    """The contents of ``entry-N.tlog-proof`` and ``entry-N.record.json``.

    Args:
        log: what is on record.
        leaf_index: which entry.
        note: a checkpoint that this log signed, to prove against: the newest, or one that witnesses cosigned.

    Raises:
        BadInput: there is no such entry, or the checkpoint does not cover it.
        Denied: the record was erased.
        EvidenceError: the checkpoint, or the record, is not what the tree was built from.
    """
    tree = require_own(log, note)
    record, nonce = log.disclose(leaf_index)
    hashes = merkle.inclusion_proof(log.tree, leaf_index, tree.tree_size)
    disclosure = Disclosure(record, nonce)
    entry_hash = merkle.leaf_hash(disclosure.entry())
    merkle.verify_inclusion(entry_hash, leaf_index, tree.tree_size, hashes, tree.root)
    proof = TlogProof(leaf_index, tuple(hashes), note)
    return format_tlog_proof(proof), format_disclosure(disclosure)


def prove_growth(log: LogView, held: bytes | None) -> bytes:
    """The content of an ``*.add-checkpoint`` file from a checkpoint somebody holds to the newest.

    Args:
        log: what is on record.
        held: a checkpoint that this log signed and a witness cosigned last; None for a witness that has none yet.

    Raises:
        Gap: the log is empty.
        EvidenceError: the checkpoint held is not of what is on record.
    """
    note = newest_checkpoint(log)
    new_size = require_own(log, note).tree_size
    old_size = 0 if held is None else require_own(log, held).tree_size
    proof = merkle.consistency_proof(log.tree, old_size, new_size) if old_size else []
    return format_add_checkpoint(AddCheckpoint(old_size, tuple(proof), note))


def newest_checkpoint(log: LogView) -> bytes:
    """The newest signed note.

    Raises:
        Gap: the log is empty, so that nothing is signed.
    """
    if log.checkpoint is None:
        raise Gap(
            "the ledger is empty, so there is nothing to prove", remedy="Record or import consent first."
        )
    return log.checkpoint


def require_own(log: LogView, note: bytes) -> Checkpoint:
    """The checkpoint in a note, if its tree is what is on record; its signature is for the caller to check.

    Raises:
        EvidenceError: the log was cut or rewritten since, or it is of another log.
    """
    checkpoint = parse_checkpoint(parse_note(note)[0])
    if checkpoint.tree_size > log.tree_size:
        raise EvidenceError(
            f"the checkpoint pins {checkpoint.tree_size} entries, the ledger holds {log.tree_size}",
            remedy="Entries were removed, or an old copy was restored.",
        )
    if merkle.root(log.tree, checkpoint.tree_size) != checkpoint.root:
        raise EvidenceError(
            f"the first {checkpoint.tree_size} entries are not those the checkpoint pins",
            remedy="The ledger was rewritten after the checkpoint was made. Keep both files.",
        )
    return checkpoint
