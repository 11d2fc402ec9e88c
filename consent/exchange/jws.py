"""Texts that somebody else signed: compact JWS under RS256, checked with public keys from a file. Nothing else.

The algorithm is fixed here and never taken from the text. Keys named in a text (``jwk``, ``jku``, ``x5c``) are not
looked at.

Source: RFC 7515 (JWS), RFC 7517 (JWK), RFC 7797 (unencoded payloads), RFC 8725 section 3.1 (fix the algorithm).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import RSAAlgorithm
from jwt.utils import base64url_decode

from consent.errors import BadInput, ConfigError

ALGORITHM = "RS256"
MIN_KEY_BITS = 2048
MAX_KEY_FILE_BYTES = 1 << 20
_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_KEY_REMEDY = "Hand in the signer's public RSA key: a JWK, a JWK set, or PEM (BEGIN PUBLIC KEY)."


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """Whose signatures are accepted: (``kid`` or None, key) pairs."""

    pairs: tuple[tuple[str | None, RSAPublicKey], ...]

    def named(self, kid: str | None) -> list[RSAPublicKey]:
        """The keys a text that names `kid` may be signed with; a key without a name may be any."""
        return [key for name, key in self.pairs if kid is None or name in (None, kid)]


def read_public_keys(path: Path) -> PublicKeys:
    """The keys in a file: a JWK, a JWK set or PEM.

    Raises:
        ConfigError: the file is missing, or holds something else, a private key for instance.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError:
        raise ConfigError("the key file cannot be read", remedy="Check its name and your rights.") from None
    return parse_public_keys(data)


def parse_public_keys(data: bytes) -> PublicKeys:
    """See `read_public_keys`."""
    if len(data) > MAX_KEY_FILE_BYTES:
        raise ConfigError("the key file is too long", remedy=_KEY_REMEDY)
    if data.lstrip().startswith(b"-----BEGIN"):
        return PublicKeys(((None, _from_pem(data)),))
    try:
        document = strict_json(data)
    except (ValueError, RecursionError):
        raise ConfigError("the key file is neither JSON nor PEM", remedy=_KEY_REMEDY) from None
    keys = document.get("keys", [document]) if isinstance(document, dict) else None
    if not isinstance(keys, list) or not keys:
        raise ConfigError("the key file holds no key", remedy=_KEY_REMEDY)
    return PublicKeys(tuple(_from_jwk(key) for key in keys))


def _from_pem(data: bytes) -> RSAPublicKey:
    if b"PRIVATE" in data:
        raise ConfigError("the key file holds a private key", remedy=_KEY_REMEDY)
    try:
        return _strong(load_pem_public_key(data))
    except ValueError:
        raise ConfigError("the key file holds no public key that can be read", remedy=_KEY_REMEDY) from None


def _from_jwk(key: object) -> tuple[str | None, RSAPublicKey]:
    if not isinstance(key, dict) or key.get("kty") != "RSA":
        raise ConfigError("a key in the file is no RSA key", remedy=_KEY_REMEDY)
    if "d" in key:
        raise ConfigError("the key file holds a private key", remedy=_KEY_REMEDY)
    if key.get("alg", ALGORITHM) != ALGORITHM or key.get("use", "sig") != "sig":
        raise ConfigError(f"a key in the file is not for {ALGORITHM} signatures", remedy=_KEY_REMEDY)
    kid = key.get("kid")
    if kid is not None and not isinstance(kid, str):
        raise ConfigError("a key in the file has a kid that is no text", remedy=_KEY_REMEDY)
    try:
        return kid, _strong(RSAAlgorithm.from_jwk(key))
    except (jwt.InvalidKeyError, ValueError, TypeError, KeyError):
        raise ConfigError("a key in the file cannot be read", remedy=_KEY_REMEDY) from None


def _strong(key: object) -> RSAPublicKey:
    if not isinstance(key, RSAPublicKey):
        raise ConfigError("a key in the file is no public RSA key", remedy=_KEY_REMEDY)
    if key.key_size < MIN_KEY_BITS:
        raise ConfigError(f"a key in the file is shorter than {MIN_KEY_BITS} bits", remedy=_KEY_REMEDY)
    return key


def verify_jws(text: str, keys: PublicKeys) -> bytes:
    """The payload of a compact JWS, once its signature has been checked.

    A header with ``"b64": false`` and a payload all the same is taken as signed over the payload as it stands there
    (RFC 7797 section 5.2, the same bytes as RFC 7515) or over the payload decoded: the Account Aggregators' own
    example has such a header, and signers differ. Either way it is this payload that was signed.

    Raises:
        BadInput: NOT_SIGNED, ALGORITHM, UNKNOWN_KEY or BAD_SIGNATURE.
    """
    match = _COMPACT.fullmatch(text)
    if match is None:
        raise _refused("NOT_SIGNED", "the signed text is no compact JWS", "Export it as it was received.")
    header, payload, signature = match.groups()
    said = _header(header)
    candidates = keys.named(said.get("kid"))
    if not candidates:
        raise _refused("UNKNOWN_KEY", "it names a key that is not in the key file", "Add the signer's key.")
    if said.get("b64", True) is True:
        attempts: list[tuple[str, bytes | None]] = [(text, None)]
    else:
        detached = f"{header}..{signature}"
        attempts = [(detached, payload.encode()), (detached, _decoded(payload))]
    for key in candidates:
        for token, content in attempts:
            if _is_signed(token, key, content):
                return _decoded(payload)
    raise _refused(
        "BAD_SIGNATURE",
        "the signature does not match",
        "Take the text as it was received, and the right key.",
    )


def _header(segment: str) -> dict[str, Any]:
    try:
        header = strict_json(_decoded(segment))
    except (ValueError, RecursionError):
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("kid", ""), str):
        raise _refused("NOT_SIGNED", "the JWS header cannot be read", "Export it as it was received.")
    if header.get("alg") != ALGORITHM:
        raise _refused(
            "ALGORITHM", f"it is not signed with {ALGORITHM}", "Ask the signer for a text signed so."
        )
    if "crit" in header and header["crit"] != ["b64"]:
        raise _refused("ALGORITHM", "its header has critical parts nobody knows here", "Ask the signer.")
    return header


def _decoded(segment: str) -> bytes:
    try:
        return base64url_decode(segment)
    except ValueError:
        raise _refused(
            "NOT_SIGNED", "the signed text is no base64url", "Export it as it was received."
        ) from None


def _is_signed(token: str, key: RSAPublicKey, content: bytes | None) -> bool:
    try:
        jwt.PyJWS([ALGORITHM]).decode_complete(token, key, [ALGORITHM], detached_payload=content)
    except jwt.InvalidTokenError:
        return False
    return True


def _refused(code: str, message: str, remedy: str) -> BadInput:
    return BadInput(message, remedy=remedy, code=code)


def strict_json(data: bytes) -> Any:
    """JSON in UTF-8 that can be read in one way only: no member twice, no NaN.

    Raises:
        ValueError: it is something else.
        RecursionError: it is nested too deep.
    """
    return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_refuse_constant)


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("a member stands twice")
    return members


def _refuse_constant(_: str) -> None:
    raise ValueError("no JSON number")
