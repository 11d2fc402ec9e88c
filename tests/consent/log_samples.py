"""A log in memory, its witnesses and their keys: what the tests of proofs, tiles and witnesses share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.clock import micros
from consent.errors import BadInput
from consent.evidence import merkle
from consent.evidence.cosignatures import WitnessSigner
from consent.evidence.disclosure import Disclosure
from consent.evidence.handover import LogKeys
from consent.evidence.notes import Checkpoint, Signer, format_checkpoint, sign_note
from consent.evidence.trust import Trust

ORIGIN = "assent/test"
START = datetime(2026, 3, 1, 8, tzinfo=UTC)


def private_key(seed: int) -> Ed25519PrivateKey:
    """A key that is no secret."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"key %d" % seed).digest())


LOG, NEXT, THIRD, OTHER = (Signer(ORIGIN, private_key(seed)) for seed in range(4))
STRANGER = Signer("other/log", private_key(0))
W1, W2, W3 = (WitnessSigner(f"witness.example/w{seed}", private_key(10 + seed)) for seed in (1, 2, 3))
KEYS = LogKeys(LOG.verifier)
TRUST = Trust(KEYS)


class MemoryLog:
    """A log of so many records, one a second, as `consent.evidence.prove` sees the ledger.

    Args:
        size: number of entries.
        rewritten: from this entry on it is another history.
    """

    def __init__(self, size: int, *, signer: Signer = LOG, rewritten: int | None = None) -> None:
        self.tree_size = size
        self.signer = signer
        self.disclosures = [
            _disclosure(index, rewritten is not None and index >= rewritten) for index in range(size)
        ]
        self.all_entries = [disclosure.entry() for disclosure in self.disclosures]
        self._leaves = [merkle.leaf_hash(entry) for entry in self.all_entries]
        tiles = merkle.Frontier().extend(self._leaves)
        stored = {(tile.level, tile.tile_index): tile.tile_hash for tile in tiles}
        self.tree = merkle.TreeReader(
            leaves=lambda lo, hi: self._leaves[lo:hi],
            tiles=lambda level, lo, hi: [stored[level, index] for index in range(lo, hi)],
        )

    @property
    def checkpoint(self) -> bytes | None:
        """The newest note."""
        return self.note(self.tree_size) if self.tree_size else None

    def at(self, size: int) -> Checkpoint:
        """What is signed of the first entries."""
        return Checkpoint(self.signer.name, size, merkle.root(self.tree, size))

    def note(self, size: int, signer: Signer | None = None) -> bytes:
        """The signed checkpoint of the first entries."""
        at = self.at(size)
        return sign_note(format_checkpoint(at.origin, at.tree_size, at.root), signer or self.signer)

    def entries(self, lo: int, hi: int) -> Iterator[bytes]:
        """The entries as they are hashed."""
        yield from self.all_entries[lo:hi]

    def disclose(self, leaf_index: int) -> tuple[dict[str, Any], bytes]:
        """One record with its nonce."""
        if not 0 <= leaf_index < self.tree_size:
            raise BadInput("there is no such entry")
        disclosure = self.disclosures[leaf_index]
        return dict(disclosure.record), disclosure.nonce


def recorded_at(index: int) -> datetime:
    """When entry ``index`` of a `MemoryLog` was recorded."""
    return START + timedelta(seconds=index)


def _disclosure(index: int, rewritten: bool) -> Disclosure:
    """A record with every kind of text that JSON writers disagree about."""
    record: dict[str, str | int] = {
        "actor": '前台 "A" \\ <&> \u2028 \x7f \t é 😀',
        "effective_at": micros(recorded_at(index)) - 5,
        "event_id": f"{index:032x}",
        "kind": "withdrawn" if rewritten else "given",
        "recorded_at": micros(recorded_at(index)),
        "subject_key": hashlib.sha256(b"%d" % index).hexdigest()[:32],
    }
    return Disclosure(record, hashlib.sha256(b"nonce %d" % index).digest()[:16])
