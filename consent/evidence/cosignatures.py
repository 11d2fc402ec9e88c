"""Cosignatures: what a witness adds to a checkpoint, and how to check it.

"A v1 cosignature is a statement that, as of the specified time, the consistent tree head with the largest size the
cosigner has observed for the log identified by the origin line has the specified root hash." The line stands in the
note beside the log's own: ``key ID (4 bytes) || time (8 bytes, big endian, seconds) || Ed25519 signature (64)``.

Pure text and keys: the instant is an argument, and no witness state is kept here (see `consent.evidence.witness`).

Source: C2SP tlog-cosignature v1.0, "Format" and "Ed25519 signed message".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.clock import EPOCH
from consent.errors import BadInput, EvidenceError
from consent.evidence import vkeys
from consent.evidence.notes import Verifier, format_signature_line, parse_checkpoint, parse_note, verify_note
from consent.evidence.strict_text import malformed

_TIME_BYTES = 8
_SIGNATURE_BYTES = 64
_SECOND = timedelta(seconds=1)


class Cosignature(NamedTuple):
    """Who cosigned a checkpoint, and when by the witness' own clock."""

    name: str
    cosigned_at: datetime


@dataclass(frozen=True)
class WitnessVerifier:
    """A witness' public key and the name it cosigns under.

    Attributes:
        name: key name; not empty, without spaces, plus signs and control characters.
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
        """4 bytes, over the type byte 0x04: no log key has the same."""
        return vkeys.key_id(self.name, vkeys.WITNESS_KEY, self.public_key)

    @classmethod
    def parse_vkey(cls, vkey: str) -> WitnessVerifier:
        """Strict inverse of `format_vkey`.

        Raises:
            EvidenceError: it is no verifier key of a witness; a log's key is refused.
        """
        return cls(*vkeys.parse_vkey(vkey, vkeys.WITNESS_KEY))

    def format_vkey(self) -> str:
        """The key as one line of text to hand out: ``name+hexid+base64(0x04 || public key)``."""
        return vkeys.format_vkey(self.name, vkeys.WITNESS_KEY, self.public_key)

    def verify_cosignature(self, text: str, timestamped: bytes) -> Cosignature:
        """The cosignature, if it is this witness' over this checkpoint text.

        Args:
            text: the note text.
            timestamped: what follows the key ID: 8 bytes of time, 64 bytes of signature.

        Raises:
            EvidenceError: it is not, or its time is no time.
        """
        who = f"witness {self.name}+{self.key_id.hex()}"
        if len(timestamped) != _TIME_BYTES + _SIGNATURE_BYTES:
            raise malformed(
                f"cosignature by {who}: expected {_TIME_BYTES + _SIGNATURE_BYTES} bytes, got {len(timestamped)}"
            )
        seconds = int.from_bytes(timestamped[:_TIME_BYTES], "big")
        vkeys.verify_ed25519(self.public_key, _message(text, seconds), timestamped[_TIME_BYTES:], who)
        try:
            return Cosignature(self.name, EPOCH + timedelta(seconds=_positive(seconds)))
        except (OverflowError, ValueError):
            raise malformed(f"cosignature by {who}: {seconds} seconds is no time") from None


@dataclass(frozen=True)
class WitnessSigner:
    """A witness' private key and its name; the key never shows in a repr.

    Raises:
        BadInput: the name cannot be used.
    """

    name: str
    private_key: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        _ = self.verifier  # holds the rules for names

    @cached_property
    def verifier(self) -> WitnessVerifier:
        """The public half."""
        return WitnessVerifier(self.name, self.private_key.public_key().public_bytes_raw())


def cosign(note: bytes, witness: WitnessSigner, at: datetime) -> bytes:
    """The note with this witness' cosignature added, or in the place of an earlier one of the same witness.

    Nothing is checked but the form: whether the log signed, and whether the tree only grew, is for the caller.

    Args:
        note: a checkpoint note.
        witness: who cosigns.
        at: aware instant; whole seconds count.

    Raises:
        EvidenceError: the note is no checkpoint.
        BadInput: the instant is not after 1970.
    """
    text, signatures = parse_note(note)
    parse_checkpoint(text)
    seconds = (at - EPOCH) // _SECOND
    if seconds <= 0:
        raise BadInput("a cosignature needs a time after 1970", remedy="Set the machine's clock right.")
    signature = witness.private_key.sign(_message(text, seconds))
    identity = (witness.name, witness.verifier.key_id)
    signatures[identity] = seconds.to_bytes(_TIME_BYTES, "big") + signature
    return _format_note(text, signatures)


def verify_cosignatures(
    note: bytes, log: Verifier, witnesses: Sequence[WitnessVerifier]
) -> list[Cosignature]:
    """Who of these witnesses cosigned a note that the log signed; cosignatures by others are left alone.

    Raises:
        EvidenceError: the log has not signed, or a known witness' line is wrong.
        BadInput: two of the witnesses share one key, so that one cosignature would count twice.

    Source: C2SP tlog-cosignature: "the same public key can't be used across multiple cosigners".
    """
    if len({witness.public_key for witness in witnesses}) != len(witnesses):
        raise BadInput("two witnesses have the same key", remedy="Name each witness once.")
    text = verify_note(note, [log])
    _, signatures = parse_note(note)
    return [
        witness.verify_cosignature(text, signatures[witness.name, witness.key_id])
        for witness in witnesses
        if (witness.name, witness.key_id) in signatures
    ]


def require_quorum(cosignatures: Sequence[Cosignature], quorum: int) -> None:
    """Raise unless enough witnesses cosigned.

    Raises:
        EvidenceError: fewer did.
    """
    if len(cosignatures) < quorum:
        raise EvidenceError(
            f"expected cosignatures by {quorum} of the known witnesses, got {len(cosignatures)}",
            remedy="Ask for a checkpoint that the witnesses have cosigned.",
        )


def cosigned_by(note: bytes, log: Verifier, witness: WitnessVerifier) -> bytes:
    """The note with the log's line and this witness' alone; others may bring theirs in another copy, or a newer one.

    Raises:
        EvidenceError: the log has not signed, or the witness has not.
    """
    text, signatures = parse_note(note)
    own = (log.name, log.key_id)
    return merge_cosignatures(_format_note(text, {own: signatures[own]}), note, log, [witness])


def merge_cosignatures(
    note: bytes, cosigned: bytes, log: Verifier, witnesses: Sequence[WitnessVerifier]
) -> bytes:
    """The note with the cosignatures of these witnesses that a copy of it brings back; a newer line wins.

    Every other line of the copy is left behind.

    Raises:
        EvidenceError: the copy is of another checkpoint, carries none of their cosignatures, or a wrong one.
    """
    text, kept = parse_note(note)
    other_text, brought = parse_note(cosigned)
    if text != other_text:
        raise malformed("the cosigned note is of another checkpoint than the one on record")
    if not verify_cosignatures(cosigned, log, witnesses):
        raise malformed("the note carries no cosignature by a known witness")
    for witness in witnesses:
        identity = (witness.name, witness.key_id)
        if identity in brought:
            kept[identity] = max(brought[identity], kept.get(identity, b""))
    return _format_note(text, kept)


def _format_note(text: str, signatures: Mapping[tuple[str, bytes], bytes]) -> bytes:
    lines = [format_signature_line(name, key_id, found) for (name, key_id), found in signatures.items()]
    note = f"{text}\n{''.join(lines)}".encode()
    parse_note(note)  # one signature too many would make a note that nobody reads
    return note


def _message(text: str, seconds: int) -> bytes:
    """What is signed. Source: C2SP tlog-cosignature, "Ed25519 signed message"."""
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _positive(seconds: int) -> int:
    if seconds == 0:
        raise ValueError
    return seconds
