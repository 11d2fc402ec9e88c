"""Certificates, signed with the log's key: what an erasure destroyed, kept and why; what an access package holds.

A certificate is a signed note. Its text has a header, the log's origin, and one JSON object, indented, with sorted
names, so that a person can read it and a machine can check it::

    assent/erasure-certificate/v1
    <origin>
    {
     "erasure_id": ...

Pure text and keys.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from consent.errors import BadInput
from consent.evidence.notes import Signer, Verifier, parse_note, sign_note, verify_note
from consent.evidence.strict_text import malformed

ERASURE = "assent/erasure-certificate/v1"
SWEEP = "assent/sweep-certificate/v1"
#: Over the manifest of a package that somebody was sent with everything held about them.
ACCESS = "assent/access-package/v1"
HEADERS = (ERASURE, SWEEP, ACCESS)


def sign_certificate(header: str, document: dict[str, Any], signer: Signer) -> bytes:
    """A certificate over a JSON document.

    Raises:
        BadInput: the document cannot be written.
    """
    if header not in HEADERS:
        raise BadInput("there is no such kind of certificate", remedy=f"Use one of: {', '.join(HEADERS)}.")
    return sign_note(f"{header}\n{signer.name}\n{_format(document)}\n", signer)


def verify_certificate(note: bytes, keys: Sequence[Verifier]) -> tuple[str, dict[str, Any]]:
    """The kind and the document of a certificate, if one of the log's keys signed it.

    Raises:
        EvidenceError: no key signed it, or it is not written as `sign_certificate` writes.
    """
    signatures = parse_note(note)[1]
    signed = [key for key in keys if (key.name, key.key_id) in signatures]
    text = verify_note(note, signed or keys)
    header, _, rest = text.partition("\n")
    origin, _, body = rest.partition("\n")
    if header not in HEADERS or origin not in {key.name for key in keys}:
        raise malformed("certificate: it is of no kind known, or of another log than the key")
    try:
        document = json.loads(body)
    except ValueError:
        raise malformed("certificate: it holds no JSON") from None
    if not isinstance(document, dict) or body != _format(document) + "\n":
        raise malformed("certificate: the JSON is not written as certificates are")
    return header, document


def _format(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
