"""Verifier keys: a name, a key type and an Ed25519 public key as one line of text to hand out.

The log signs with keys of type 0x01, witnesses cosign with keys of type 0x04. The type stands in the key ID, so a
signature of one type can never be taken for one of the other.

Source: C2SP signed-note v1.0.0, "Verifier keys" and "Signatures"; C2SP tlog-cosignature v1, "Format".
"""

from __future__ import annotations

import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from consent.errors import BadInput
from consent.evidence.strict_text import decode_base64, encode_base64, malformed

LOG_KEY = b"\x01"
WITNESS_KEY = b"\x04"
KEY_BYTES = 32
KEY_ID_BYTES = 4

#: Not empty, no spaces, plus signs, control characters or lone surrogates.
KEY_NAME = r"[^\s+\x00-\x1f\ud800-\udfff]+"
_NAME = re.compile(KEY_NAME)
_VKEY = re.compile(rf"(?P<name>{KEY_NAME})\+(?P<id>[0-9a-f]{{8}})\+(?P<key>.+)")


def require_key(name: str, public_key: bytes) -> None:
    """Raise unless the name and the length of the key can be used.

    Raises:
        BadInput: they cannot.

    Source: C2SP signed-note, "Format": key names "MUST NOT contain any Unicode spaces or plus".
    """
    if not _NAME.fullmatch(name):
        raise BadInput("a key name must not be empty or hold spaces, plus signs or control characters")
    if len(public_key) != KEY_BYTES:
        raise BadInput(f"expected a public key of {KEY_BYTES} bytes, got {len(public_key)}")


def key_id(name: str, key_type: bytes, public_key: bytes) -> bytes:
    """4 bytes, ``SHA-256(key name || 0x0A || key type || public key)[:4]``. Source: C2SP signed-note."""
    return hashlib.sha256(name.encode() + b"\n" + key_type + public_key).digest()[:KEY_ID_BYTES]


def format_vkey(name: str, key_type: bytes, public_key: bytes) -> str:
    """``name+hexid+base64(key type || public key)``."""
    identity = key_id(name, key_type, public_key).hex()
    return f"{name}+{identity}+{encode_base64(key_type + public_key)}"


def parse_vkey(vkey: str, key_type: bytes) -> tuple[str, bytes]:
    """Strict inverse of `format_vkey`: name and public key.

    Raises:
        EvidenceError: not exactly ``name+hexid+base64``, another key type, or an ID that does not match.
    """
    parts = _VKEY.fullmatch(vkey)
    decoded = decode_base64(parts["key"]) if parts else None
    if not parts or not decoded:
        raise malformed("verifier key: expected a name, 8 hex digits and base64, joined by plus signs")
    if decoded[:1] != key_type or len(decoded) != 1 + KEY_BYTES:
        raise malformed(
            f"verifier key: expected key type {key_type.hex()} with {KEY_BYTES} bytes,"
            f" got {decoded[:1].hex()} with {len(decoded) - 1}"
        )
    name, public_key = parts["name"], decoded[1:]
    calculated = key_id(name, key_type, public_key).hex()
    if calculated != parts["id"]:
        raise malformed(f"verifier key: expected key ID {parts['id']}, calculated {calculated}")
    return name, public_key


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes, who: str) -> None:
    """Return if the key signed the message.

    Raises:
        EvidenceError: it did not; ``who`` names the key.

    Source: RFC 8032.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except InvalidSignature:
        raise malformed(f"the signature by {who} does not match") from None
