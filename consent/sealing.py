"""Seals: authenticated encryption of one record, keyed tokens, and keys derived for one use.

AES-256-GCM with random 96-bit nonces; everything a ciphertext is bound to goes into its associated data, each
part with its length before it.

Source: NIST SP 800-38D (GCM), RFC 5869 (HKDF), RFC 2104 (HMAC).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from consent.errors import EvidenceError

KEY_BYTES = 32
NONCE_BYTES = 12


def new_key() -> bytes:
    """32 random bytes."""
    return os.urandom(KEY_BYTES)


def derive_key(secret: bytes, use: str) -> bytes:
    """A key for one use only, from a secret. Never for a person's data: such a key cannot be destroyed alone."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=use.encode()).derive(secret)


def token(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA-256 over length-prefixed parts. 32 bytes."""
    return hmac.digest(key, bind(*parts), "sha256")


def digest(*parts: bytes) -> str:
    """SHA-256 over length-prefixed parts, hex. Only for content that is not personal."""
    return hashlib.sha256(bind(*parts)).hexdigest()


def require_token(expected: bytes, actual: bytes, what: str) -> None:
    """Raise unless the two tokens are equal.

    Raises:
        EvidenceError: they differ.
    """
    if not hmac.compare_digest(expected, actual):
        raise EvidenceError(
            f"{what} was changed or belongs to another home", remedy="Restore it from a copy."
        )


def bind(*parts: bytes) -> bytes:
    """Associated data: each part with its length before it, so that no two lists of parts look alike."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def seal(key: bytes, plaintext: bytes, bound: bytes) -> bytes:
    """Nonce, ciphertext and tag."""
    return seal_many([key], [plaintext], [bound])[0]


def seal_many(keys: Sequence[bytes], plaintexts: Sequence[bytes], bound: Sequence[bytes]) -> list[bytes]:
    """`seal` for many records; the nonces are drawn at once, in the process that uses them."""
    nonces = os.urandom(NONCE_BYTES * len(keys))
    sealed = []
    for i, (key, plaintext, aad) in enumerate(zip(keys, plaintexts, bound, strict=True)):
        nonce = nonces[NONCE_BYTES * i : NONCE_BYTES * (i + 1)]
        sealed.append(nonce + _cipher(key).encrypt(nonce, plaintext, aad))
    return sealed


def seal_apart(
    keys: Sequence[bytes], plaintexts: Sequence[bytes], bound: Sequence[bytes]
) -> tuple[list[bytes], list[bytes]]:
    """Nonces, and ciphertexts with their tags, for many records that are kept together.

    The first nonce is random, the others count on from it: no two of one call are the same, two calls are as far
    apart as if each nonce had been drawn, and side by side they take hardly any room.
    """
    first = int.from_bytes(os.urandom(NONCE_BYTES), "big")
    every = 1 << 8 * NONCE_BYTES
    nonces = [((first + i) % every).to_bytes(NONCE_BYTES, "big") for i in range(len(keys))]
    return nonces, [
        _cipher(key).encrypt(nonce, plaintext, aad)
        for key, nonce, plaintext, aad in zip(keys, nonces, plaintexts, bound, strict=True)
    ]


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Inverse of `seal`.

    Raises:
        EvidenceError: the record was changed, moved, or sealed under another key.
    """
    return unseal_apart([key], [sealed[:NONCE_BYTES]], [sealed[NONCE_BYTES:]], [bound])[0]


def unseal_apart(
    keys: Sequence[bytes], nonces: Sequence[bytes], sealed: Sequence[bytes], bound: Sequence[bytes]
) -> list[bytes]:
    """Inverse of `seal_apart`.

    Raises:
        EvidenceError: as `unseal`.
    """
    try:
        return [
            _cipher(key).decrypt(nonce, ciphertext, aad)
            for key, nonce, ciphertext, aad in zip(keys, nonces, sealed, bound, strict=True)
        ]
    except (InvalidTag, ValueError):
        raise EvidenceError(
            "a sealed record does not open: it was changed, moved, or sealed under another key",
            remedy="Restore the file from a copy; if the key was destroyed, the record is meant to stay shut.",
        ) from None


def _cipher(key: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise EvidenceError("a key has the wrong length", remedy="Restore the keyring from a copy.")
    return AESGCM(key)
