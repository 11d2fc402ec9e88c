"""Proof files: that an entry is in the log, and that one state of the log is the beginning of a later one.

* ``*.tlog-proof``: one entry's place, its siblings up to the root, and the signed checkpoint. Self-contained.
* ``*.add-checkpoint``: what a witness is sent: an old size, the proof that the tree only grew, the new checkpoint.
  With the old checkpoint beside it, it is a consistency proof for anybody.

Pure text. Each ``parse_*`` accepts exactly what its ``format_*`` writes.

Source: C2SP tlog-proof (draft of 2026-07), "Format" and "Verifying a tlog proof"; C2SP tlog-witness v1.0.0,
"add-checkpoint".
"""

from __future__ import annotations

from dataclasses import dataclass

from consent.errors import BadInput
from consent.evidence.merkle import leaf_hash, verify_consistency, verify_inclusion
from consent.evidence.notes import MAX_NOTE_BYTES, MAX_TREE_SIZE, parse_note
from consent.evidence.strict_text import (
    HASH_BYTES,
    MAX_PROOF_HASHES,
    decode_base64,
    decode_text,
    encode_base64,
    format_hashes,
    malformed,
    parse_decimal,
    parse_hashes,
)
from consent.evidence.trust import Pinned, Trust

TLOG_PROOF_HEADER = "c2sp.org/tlog-proof@v1"
_MAX_BYTES = MAX_NOTE_BYTES + 10_000


@dataclass(frozen=True)
class TlogProof:
    """That one entry is in the tree of a checkpoint.

    Attributes:
        leaf_index: 0-based place of the entry.
        hashes: siblings, lowest first.
        checkpoint: the signed note.
        extra: opaque and not authenticated; this log writes none.
    """

    leaf_index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes = b""


@dataclass(frozen=True)
class AddCheckpoint:
    """That a tree of ``old_size`` leaves is the beginning of the checkpoint's tree.

    Attributes:
        old_size: 0 where nothing is held yet; the proof is empty then.
        proof: the nodes of RFC 9162's consistency proof.
        checkpoint: the signed note of the newer tree.
    """

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: bytes


def format_tlog_proof(proof: TlogProof) -> bytes:
    """The file's content.

    Raises:
        BadInput: the index, or the number or length of the hashes, cannot be right.
    """
    _require_writable(proof.leaf_index, proof.hashes)
    extra = f"extra {encode_base64(proof.extra)}\n" if proof.extra else ""
    head = f"{TLOG_PROOF_HEADER}\n{extra}index {proof.leaf_index}\n{format_hashes(proof.hashes)}\n"
    return head.encode() + proof.checkpoint


def parse_tlog_proof(content: bytes) -> TlogProof:
    """Strict inverse of `format_tlog_proof`; nothing is verified.

    Raises:
        EvidenceError: the content is not exactly what `format_tlog_proof` writes.
    """
    lines, checkpoint = _split(content, "proof")
    if lines.pop(0) != TLOG_PROOF_HEADER:
        raise malformed(f"proof: expected the first line {TLOG_PROOF_HEADER}")
    extra = _parse_extra(lines.pop(0)) if lines and lines[0].startswith("extra ") else b""
    leaf_index = _parse_number(lines.pop(0) if lines else "", "index", "proof")
    return TlogProof(leaf_index, parse_hashes(lines, "proof"), checkpoint, extra)


def verify_tlog_proof(proof: TlogProof, entry: bytes, trust: Trust) -> Pinned:
    """Check that the entry is where the proof says, in a tree that the log signed; return what pins it.

    Args:
        proof: as parsed.
        entry: the 41 bytes, rebuilt from what was disclosed.
        trust: the log's keys, the witnesses and how many of them must have cosigned.

    Raises:
        EvidenceError: it is not, the log has not signed, or too few witnesses have cosigned.
    """
    pinned = trust.verified(proof.checkpoint)
    tree = pinned.checkpoint
    verify_inclusion(leaf_hash(entry), proof.leaf_index, tree.tree_size, proof.hashes, tree.root)
    return pinned


def format_add_checkpoint(request: AddCheckpoint) -> bytes:
    """The file's content.

    Raises:
        BadInput: the size, or the number or length of the hashes, cannot be right.
    """
    _require_writable(request.old_size, request.proof)
    return f"old {request.old_size}\n{format_hashes(request.proof)}\n".encode() + request.checkpoint


def parse_add_checkpoint(content: bytes) -> AddCheckpoint:
    """Strict inverse of `format_add_checkpoint`; nothing is verified.

    Raises:
        EvidenceError: the content is not exactly what `format_add_checkpoint` writes.
    """
    lines, checkpoint = _split(content, "consistency file")
    old_size = _parse_number(lines.pop(0), "old", "consistency file")
    return AddCheckpoint(old_size, parse_hashes(lines, "consistency file"), checkpoint)


def verify_add_checkpoint(request: AddCheckpoint, old: Pinned, trust: Trust) -> Pinned:
    """Check that the old checkpoint's tree is the beginning of the new one's; return what pins the new one.

    Raises:
        EvidenceError: it is not, the file starts from another size, or the new note is not as trust asks.
    """
    pinned = trust.verified(request.checkpoint)
    before, after = old.checkpoint, pinned.checkpoint
    if request.old_size != before.tree_size:
        raise malformed(f"consistency file: expected old size {before.tree_size}, got {request.old_size}")
    verify_consistency(before.tree_size, before.root, after.tree_size, after.root, request.proof)
    return pinned


def _split(content: bytes, what: str) -> tuple[list[str], bytes]:
    """The lines before the first empty line, and the note after it."""
    decode_text(content, what, _MAX_BYTES)
    head, blank_line, checkpoint = content.partition(b"\n\n")
    if not blank_line:
        raise malformed(f"{what}: expected lines, a blank line and a checkpoint")
    parse_note(checkpoint)
    return head.decode().split("\n"), checkpoint


def _parse_number(line: str, word: str, what: str) -> int:
    number = parse_decimal(line.removeprefix(f"{word} ")) if line.startswith(f"{word} ") else None
    if number is None or number > MAX_TREE_SIZE:
        raise malformed(f"{what}: expected a line with {word} and a number without leading zeros")
    return number


def _parse_extra(line: str) -> bytes:
    extra = decode_base64(line.removeprefix("extra "))
    if not extra:
        raise malformed("proof: the extra line is not canonical base64")
    return extra


def _require_writable(number: int, hashes: tuple[bytes, ...]) -> None:
    too_many = not 0 <= number <= MAX_TREE_SIZE or len(hashes) > MAX_PROOF_HASHES
    if too_many or any(len(found) != HASH_BYTES for found in hashes):
        raise BadInput(f"cannot write a proof of {len(hashes)} hashes for number {number}")
