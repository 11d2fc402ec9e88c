"""Small signed documents: what a batch or a table version consists of. Renaming one into place is the commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from consent.errors import EvidenceError, Unavailable
from consent.files import write_atomically
from consent.sealing import require_token, token


def write_manifest(path: Path, document: dict[str, Any], key: bytes) -> None:
    """Write a document with a MAC over its content and its name."""
    body = canonical_json(document)
    mac = token(key, path.name.encode(), body).hex()
    write_atomically(path, canonical_json({"document": document, "mac": mac}))


def read_manifest(path: Path, key: bytes) -> dict[str, Any]:
    """Inverse of `write_manifest`.

    Raises:
        EvidenceError: the document was changed, renamed, or comes from another home.
        Unavailable: it cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError:
        raise Unavailable("a manifest cannot be read", remedy="Restore the home from a copy.") from None
    try:
        signed = json.loads(raw)
        document, mac = signed["document"], bytes.fromhex(signed["mac"])
    except (ValueError, KeyError, TypeError):
        raise EvidenceError("a manifest is damaged", remedy="Restore the home from a copy.") from None
    require_token(token(key, path.name.encode(), canonical_json(document)), mac, "a manifest")
    assert isinstance(document, dict)
    return document


def canonical_json(document: dict[str, Any]) -> bytes:
    """Sorted, compact, ASCII."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
