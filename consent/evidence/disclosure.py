"""The disclosure of one record: what somebody needs, beside a proof, to see what the proof is about.

The log hashes commitments only. ``entry-N.record.json`` holds the record and the nonce that open one of them. It
holds personal data under a pseudonym: it goes to the person, or to whoever may see their record, and to no one else.

Pure text. Source: consent/encoding.py for the commitment; RFC 8259 (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from consent.encoding import NONCE_BYTES, commitment, entry
from consent.errors import BadInput, EvidenceError
from consent.evidence.strict_text import decode_text, malformed

MAX_DISCLOSURE_BYTES = 100_000
_RECORDED_AT = "recorded_at"


@dataclass(frozen=True)
class Disclosure:
    """A record and its nonce; neither shows in a repr.

    Attributes:
        record: strings and whole numbers by name; times in microseconds since 1970; absent values left out.
        nonce: 16 random bytes.
    """

    record: Mapping[str, str | int] = field(repr=False)
    nonce: bytes = field(repr=False)

    def entry(self) -> bytes:
        """The 41 bytes that the log hashed, rebuilt."""
        return entry(int(self.record[_RECORDED_AT]), commitment(self.record, self.nonce))


def format_disclosure(disclosure: Disclosure) -> bytes:
    """The file's content: indented JSON with sorted names, UTF-8.

    Raises:
        BadInput: `parse_disclosure` would not read the result.
    """
    if fault := _fault(disclosure.record, disclosure.nonce):
        raise BadInput(f"cannot disclose a record: {fault}")
    return _write(disclosure)


def parse_disclosure(content: bytes) -> Disclosure:
    """Strict inverse of `format_disclosure`. Messages name positions and columns, never values.

    Raises:
        EvidenceError: the content is not exactly what `format_disclosure` writes.
    """
    text = decode_text(content, "record", MAX_DISCLOSURE_BYTES)
    try:
        document = json.loads(text, parse_float=_refuse, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise malformed("record: it is not JSON of strings and whole numbers") from None
    if not isinstance(document, dict) or set(document) != {"nonce", "record"}:
        raise malformed("record: expected the two names nonce and record, and nothing else")
    disclosure = Disclosure(document["record"], _parse_nonce(document["nonce"]))
    if fault := _fault(disclosure.record, disclosure.nonce):
        raise malformed(f"record: {fault}")
    if _write(disclosure) != content:
        raise EvidenceError(
            "record: it was written anew since the log handed it out",
            remedy="Use the file as it came; editors and mail programs may change spaces and line ends.",
        )
    return disclosure


def _write(disclosure: Disclosure) -> bytes:
    document = {"nonce": disclosure.nonce.hex(), "record": dict(disclosure.record)}
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _parse_nonce(text: object) -> bytes:
    try:
        return bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""


def _fault(record: Any, nonce: bytes) -> str:
    """Why the values cannot stand in a disclosure; empty if they can."""
    if len(nonce) != NONCE_BYTES:
        return f"expected a nonce of {NONCE_BYTES} bytes in hexadecimal"
    if not isinstance(record, dict):
        return "the record is no table of names and values"
    if not all(_is_writable(value) for value in (*record, *record.values())):
        return "a value is neither text nor a whole number of 64 bits"
    if type(record.get(_RECORDED_AT)) is not int or not 0 <= record[_RECORDED_AT] < 2**63:
        return f"{_RECORDED_AT} is no time"
    return ""


def _is_writable(value: object) -> bool:
    if isinstance(value, str):
        return not any("\ud800" <= sign <= "\udfff" for sign in value)
    return type(value) is int and -(2**63) <= value < 2**63


def _refuse(_number: str) -> None:
    raise ValueError
