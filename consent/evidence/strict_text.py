"""Strict text: base64, decimals and lines as every file of evidence writes them, and the one way to refuse.

A value has exactly one spelling. What is spelled otherwise is refused, so that two readers of one file can never
read two things.

Source: RFC 4648 section 4 (base64); C2SP tlog-checkpoint, tlog-proof and tlog-witness ("no leading zeroes").
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

from consent.errors import EvidenceError

HASH_BYTES = 32
#: A tree of 2**63 - 1 leaves has no longer proof. Source: C2SP tlog-witness, "add-checkpoint".
MAX_PROOF_HASHES = 63

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_DISTRUST = (
    "Do not rely on this file. Fetch it again from the log, and the key from whoever you trust for it."
)


def malformed(message: str) -> EvidenceError:
    """The refusal of a file that is not as its format says, or not what it claims to be."""
    return EvidenceError(message, remedy=_DISTRUST)


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding."""
    return base64.b64encode(data).decode()


def decode_base64(text: str) -> bytes | None:
    """The bytes, if ``text`` is the one canonical encoding of them."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return data if encode_base64(data) == text else None


def parse_decimal(text: str) -> int | None:
    """The number, if ``text`` is its ASCII decimal without sign and leading zeros; at most 19 digits."""
    return int(text) if _DECIMAL.fullmatch(text) else None


def decode_text(content: bytes, what: str, max_bytes: int) -> str:
    """A whole file as UTF-8.

    Raises:
        EvidenceError: it is longer than ``max_bytes`` or not UTF-8.
    """
    if len(content) > max_bytes:
        raise malformed(f"{what}: expected at most {max_bytes} bytes, got {len(content)}")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise malformed(f"{what}: not UTF-8 at byte {error.start}") from None


def format_hashes(hashes: Iterable[bytes]) -> str:
    """One base64 hash per line."""
    return "".join(f"{encode_base64(found)}\n" for found in hashes)


def parse_hashes(lines: list[str], what: str) -> tuple[bytes, ...]:
    """Inverse of `format_hashes`, of lines without their newlines.

    Raises:
        EvidenceError: a line is not the base64 of 32 bytes, or there are more than a proof can have.
    """
    if len(lines) > MAX_PROOF_HASHES:
        raise malformed(f"{what}: expected at most {MAX_PROOF_HASHES} hashes, got {len(lines)}")
    decoded = [decode_base64(line) for line in lines]
    for number, found in enumerate(decoded, start=1):
        if found is None or len(found) != HASH_BYTES:
            raise malformed(f"{what}: hash {number} is not canonical base64 of {HASH_BYTES} bytes")
    return tuple(found for found in decoded if found is not None)
