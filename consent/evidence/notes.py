"""Signed notes and checkpoints: the few lines of text by which the log commits to its whole content.

A note is text, a blank line and one signature line per key; a checkpoint is a note text of three lines
(origin, tree size, root). Pure text and keys: no file, no clock. Each ``parse_*`` accepts exactly what its
``format_*`` writes, and `verify_note` only what `sign_note` writes, with further signature lines or without.

Only Ed25519 log signatures (key type 0x01) are made and verified. Signatures by other keys and of other
types, such as witness cosignatures (0x04), may stand in a note and are left alone.

Source: C2SP signed-note v1.0.0 and tlog-checkpoint v1.0.0; RFC 8032 (Ed25519); RFC 4648 section 4 (base64).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.errors import BadInput
from consent.evidence import vkeys
from consent.evidence.strict_text import (
    HASH_BYTES,
    decode_base64,
    decode_text,
    encode_base64,
    malformed,
    parse_decimal,
)

MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100
#: Sizes are stored as signed 64-bit integers.
MAX_TREE_SIZE = 2**63 - 1

#: Control characters other than newline, and lone surrogates, which UTF-8 cannot write.
_NOT_TEXT = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
_SIGNATURE_LINE = re.compile(rf"— (?P<name>{vkeys.KEY_NAME}) (?P<signature>[^ ]+)")


# ------------------------------------------------------------------------------------------- checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """What a log says about itself at one moment.

    Attributes:
        origin: the log's unique name, not empty.
        tree_size: number of leaves, from 0 to 2**63 - 1.
        root: 32 bytes, the Merkle Tree Hash of these leaves.
    """

    origin: str
    tree_size: int
    root: bytes


def format_checkpoint(origin: str, tree_size: int, root: bytes) -> str:
    """The three lines of a checkpoint, each ended by a newline.

    Raises:
        BadInput: `parse_checkpoint` would not read the result.

    Source: C2SP tlog-checkpoint, "Note text".
    """
    if fault := _checkpoint_fault(Checkpoint(origin, tree_size, root)):
        raise BadInput(f"cannot write a checkpoint: {fault}")
    return f"{origin}\n{tree_size}\n{encode_base64(root)}\n"


def parse_checkpoint(text: str) -> Checkpoint:
    """Strict inverse of `format_checkpoint`.

    Extension lines are refused: this log writes none, and "they are not auditable by log monitors".

    Args:
        text: note text as `verify_note` returns it.

    Raises:
        EvidenceError: the text is not exactly what `format_checkpoint` writes.

    Source: C2SP tlog-checkpoint, "Note text".
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise malformed("checkpoint: expected 3 lines, each ended by a newline, and nothing else")
    origin, size, root, _ = lines
    tree_size = parse_decimal(size)
    if tree_size is None:
        raise malformed("checkpoint: the tree size is not a decimal number without leading zeros")
    decoded = decode_base64(root)
    if decoded is None:
        raise malformed("checkpoint: the root is not canonical base64")
    checkpoint = Checkpoint(origin, tree_size, decoded)
    if fault := _checkpoint_fault(checkpoint):
        raise malformed(f"checkpoint: {fault}")
    return checkpoint


def _checkpoint_fault(checkpoint: Checkpoint) -> str:
    """Why the values cannot stand in a checkpoint; empty if they can."""
    if not checkpoint.origin:
        return "the origin is empty"
    if "\n" in checkpoint.origin or _NOT_TEXT.search(checkpoint.origin):
        return "the origin holds a control character"
    if not 0 <= checkpoint.tree_size <= MAX_TREE_SIZE:
        return f"expected a tree size from 0 to {MAX_TREE_SIZE}, got {checkpoint.tree_size}"
    if len(checkpoint.root) != HASH_BYTES:
        return f"expected a root of {HASH_BYTES} bytes, got {len(checkpoint.root)}"
    return ""


# -------------------------------------------------------------------------------------------------- keys


@dataclass(frozen=True)
class Verifier:
    """A public key and the name it signs under.

    Attributes:
        name: key name; not empty, without spaces, plus signs and control characters. Logs use their origin.
        public_key: 32 bytes, Ed25519.

    Raises:
        BadInput: the name or the length of the key cannot be used.
    """

    name: str
    public_key: bytes

    def __post_init__(self) -> None:
        vkeys.require_key(self.name, self.public_key)

    @cached_property
    def key_id(self) -> bytes:
        """4 bytes that tell apart keys of one name."""
        return vkeys.key_id(self.name, vkeys.LOG_KEY, self.public_key)

    @classmethod
    def parse_vkey(cls, vkey: str) -> Verifier:
        """Strict inverse of `format_vkey`.

        Raises:
            EvidenceError: not exactly ``name+hexid+base64``, another key type, or an ID that does not match.

        Source: C2SP signed-note, "Verifier keys".
        """
        return cls(*vkeys.parse_vkey(vkey, vkeys.LOG_KEY))

    def format_vkey(self) -> str:
        """The key as one line of text to hand out: ``name+hexid+base64(0x01 || public key)``."""
        return vkeys.format_vkey(self.name, vkeys.LOG_KEY, self.public_key)

    def verify_signature(self, message: bytes, signature: bytes) -> None:
        """Return if this key signed the message.

        Raises:
            EvidenceError: it did not.
        """
        vkeys.verify_ed25519(self.public_key, message, signature, f"{self.name}+{self.key_id.hex()}")


@dataclass(frozen=True)
class Signer:
    """A private key and the name it signs under; the key never shows in a repr.

    Raises:
        BadInput: the name cannot be used (see `Verifier`).
    """

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        _ = self.verifier  # holds the rules for names

    @cached_property
    def verifier(self) -> Verifier:
        """The public half, calculated once: the ledger signs on a hot path."""
        return Verifier(self.name, self.private_key.public_key().public_bytes_raw())


# ------------------------------------------------------------------------------------------------- notes


def sign_note(text: str, signer: Signer, *others: Signer) -> bytes:
    """The text with one signature line per signer, as UTF-8.

    Raises:
        BadInput: the text does not end with a newline, holds control characters, or is too long.

    Source: C2SP signed-note, "Format" and "Ed25519 signatures".
    """
    if fault := _text_fault(text):
        raise BadInput(f"cannot sign a note: {fault}")
    lines = [
        format_signature_line(each.name, each.verifier.key_id, each.private_key.sign(text.encode()))
        for each in (signer, *others)
    ]
    note = f"{text}\n{''.join(lines)}".encode()
    if len(note) > MAX_NOTE_BYTES:
        raise BadInput(f"cannot sign a note: expected at most {MAX_NOTE_BYTES} bytes, got {len(note)}")
    return note


def verify_note(note: bytes, verifiers: Sequence[Verifier]) -> str:
    """The text of a note that the log's own key signed.

    Signatures by unknown keys are left alone; each signature by a known key must be right.

    Args:
        note: text, blank line, signature lines.
        verifiers: the log's own key first, then any other known keys.

    Raises:
        EvidenceError: the note is malformed, a known key's signature does not match, or the log's own key
            has not signed; a note that only unknown or other known keys signed is never accepted.

    Source: C2SP signed-note, "Signatures".
    """
    text, signatures = parse_note(note)
    for verifier in verifiers:
        signature = signatures.get((verifier.name, verifier.key_id))
        if signature is not None:
            verifier.verify_signature(text.encode(), signature)
    if not verifiers:
        raise malformed("note: expected the log's own key to verify with, got none")
    log = verifiers[0]
    if (log.name, log.key_id) not in signatures:
        raise malformed(
            f"note: expected a signature by {log.name}+{log.key_id.hex()},"
            f" got {len(signatures)} by other keys only"
        )
    return text


def parse_note(note: bytes) -> tuple[str, dict[tuple[str, bytes], bytes]]:
    """Text, and signature by (key name, key ID); nothing is verified.

    Two signatures by one key are refused: honest Ed25519 gives the same bytes twice, so a second line is
    either useless or an attempt to have two readers check different ones.

    Raises:
        EvidenceError: the note is malformed.
    """
    decoded = decode_text(note, "note", MAX_NOTE_BYTES)
    if fault := _text_fault(decoded):
        raise malformed(f"note: {fault}")
    text, blank_line, block = decoded.rpartition("\n\n")
    lines = block.split("\n")[:-1]
    if not blank_line or not lines:
        raise malformed("note: expected a text, a blank line and signature lines")
    if len(lines) > MAX_SIGNATURES:
        raise malformed(f"note: expected at most {MAX_SIGNATURES} signatures, got {len(lines)}")
    signatures: dict[tuple[str, bytes], bytes] = {}
    for number, line in enumerate(lines, start=1):
        name, key_id, signature = _parse_signature_line(line, number)
        if (name, key_id) in signatures:
            raise malformed(f"note: signature line {number} is by the same key as an earlier one")
        signatures[name, key_id] = signature
    return text + "\n", signatures


def format_signature_line(name: str, key_id: bytes, signature: bytes) -> str:
    """One line ``— <key name> base64(key ID || signature)``, with its newline."""
    return f"— {name} {encode_base64(key_id + signature)}\n"


def _parse_signature_line(line: str, number: int) -> tuple[str, bytes, bytes]:
    """Key name, key ID and signature of one line ``— <key name> base64(key ID || signature)``."""
    parts = _SIGNATURE_LINE.fullmatch(line)
    if not parts:
        raise malformed(f"note: signature line {number} is not an em dash, a key name and a signature")
    decoded = decode_base64(parts["signature"])
    if decoded is None or len(decoded) <= vkeys.KEY_ID_BYTES:
        raise malformed(f"note: signature line {number} does not hold canonical base64 of a signature")
    return parts["name"], decoded[: vkeys.KEY_ID_BYTES], decoded[vkeys.KEY_ID_BYTES :]


def _text_fault(text: str) -> str:
    """Why the text cannot stand in a note; empty if it can."""
    if not text.endswith("\n"):
        return "it does not end with a newline"
    if found := _NOT_TEXT.search(text):
        return f"line {text.count(chr(10), 0, found.start()) + 1} holds a control character"
    return ""
