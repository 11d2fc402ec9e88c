"""HashiCorp Vault's transit engine, or OpenBao's, as a key service: one key per home, one version of it per epoch.

Destroying a version destroys all older ones with it: Vault only trims from the oldest. So each home has a key of its
own, whatever the settings say, and two homes with the same settings cannot take each other's epochs along.

Token, namespace and certificates come from Vault's usual places: VAULT_TOKEN or ~/.vault-token, VAULT_NAMESPACE,
VAULT_CACERT. No message quotes what Vault said: only what it means.

Source: Vault API, transit secrets engine.
"""

from __future__ import annotations

import base64
import os
import re
from typing import Any, NamedTuple

from consent.errors import ConfigError, EvidenceError, Unavailable
from consent.key_service import damaged

_KEY_TYPE = "aes256-gcm96"
#: What a key must not be. The first two can be set later, and never unset; such a key can still be destroyed.
_LOOSE = ("exportable", "allow_plaintext_backup", "imported_key", "derived")
_VERSION = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,127}):([1-9][0-9]{0,8})")
_CIPHERTEXT = re.compile(rb"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/]{16,512}={0,2}")
_TOKEN_FORM = re.compile(r"[!-~]+")
_CONNECT_SECONDS, _READ_SECONDS = 3, 7

_TOKEN = ("Vault refused the token", "Renew the token, and give it the policy in docs/keys.md.")
_NO_TOKEN = ("there is no Vault token", "Set VAULT_TOKEN, or log in with Vault's own command.")
_MISSING = (
    "Vault does not know the key",
    "Check key_service in the settings: mount, key and address; and VAULT_NAMESPACE.",
)
_SEALED = ("Vault is sealed", "Have Vault unsealed.")
_DESTROYED = (
    "the epoch's key is no longer in Vault",
    "If an erasure destroyed it, this is an old copy of the key table; else restore Vault.",
)
_REFUSED = ("Vault refused the call", "Look into Vault's log.")
_UNREACHABLE = ("Vault cannot be reached", "Check the address, the network and VAULT_CACERT.")
_STRANGE = ("what answered is not Vault", "Check key_service in the settings, and any proxy.")
#: hvac's exception -> what it means, what to do.
_MEANINGS = {
    "BadGateway": _UNREACHABLE,
    "Forbidden": _TOKEN,
    "InvalidPath": _MISSING,
    "RateLimitExceeded": ("Vault is busy", "Try again in a minute."),
    "Unauthorized": _TOKEN,
    "VaultDown": _SEALED,
    "VaultNotInitialized": _SEALED,
}


class _Version(NamedTuple):
    """One version of a home's key; as text ``name:3``.

    Attributes:
        key: the key's name in Vault, after the settings' one.
        number: from 1.
    """

    key: str
    number: int


class _Facts(NamedTuple):
    """What Vault says about a key; 0 where nothing was set."""

    latest_version: int
    min_available_version: int
    min_decryption_version: int
    min_encryption_version: int


class VaultTransit:
    """A client of one transit engine.

    Args:
        address: of Vault, as "https://vault.lender.example:8200".
        key: first part of the names of the homes' keys in Vault.
        mount: where the transit engine is mounted.

    Raises:
        ConfigError: hvac is not installed.
        Unavailable: there is no token.
    """

    def __init__(self, address: str, key: str, mount: str = "transit") -> None:
        self._key = key
        self._mount = mount
        self._client = _open(address)

    def create(self, name: str, epoch: int) -> str:
        """A version of the home's key that no epoch has; a run that broke off leaves one that is never used.

        Raises:
            ConfigError: the key is of another type, or copies of it may lie elsewhere: destroying it would be no use.
        """
        found = self._read(name)
        if found is None:
            self._ask("create_key", name, key_type=_KEY_TYPE)
        else:
            _require_fit(found)
            self._ask("rotate_key", name)
        return f"{name}:{self._facts(name).latest_version}"

    def wrap(self, version: str, key: bytes, aad: bytes) -> bytes:
        """See `consent.key_service.KeyService`."""
        of = _parse_version(version)
        answer = self._ask(
            "encrypt_data",
            of.key,
            plaintext=base64.b64encode(key).decode(),
            associated_data=base64.b64encode(aad).decode(),
            key_version=of.number,
        )
        blob = str(_field(answer, "data", "ciphertext")).encode()
        _require_version(blob, of)
        return blob

    def unwrap(self, version: str, blob: bytes, aad: bytes) -> bytes:
        """See `consent.key_service.KeyService`."""
        of = _parse_version(version)
        _require_version(blob, of)
        answer = self._ask(
            "decrypt_data",
            of.key,
            expected="InvalidRequest",
            ciphertext=blob.decode(),
            associated_data=base64.b64encode(aad).decode(),
        )
        if answer is None:
            raise self._why_refused(of)
        return _decoded(_field(answer, "data", "plaintext"))

    def destroy(self, version: str) -> None:
        """Trim the key: this version and all older ones are gone at once. Each step may be done again."""
        of = _parse_version(version)
        facts = self._facts(of.key)
        if facts.min_available_version > of.number:
            return
        if facts.latest_version < of.number:
            raise _unavailable(_DESTROYED)
        if facts.latest_version == of.number:  # Vault keeps the newest whatever happens: make it another one
            self._ask("rotate_key", of.key)
        kept = of.number + 1
        # In this order, and apart: encryption may not lag behind decryption, nor either behind the trim.
        if facts.min_encryption_version < kept:
            self._ask("update_key_configuration", of.key, min_encryption_version=kept)
        if facts.min_decryption_version < kept:
            self._ask("update_key_configuration", of.key, min_decryption_version=kept)
        self._ask("trim_key", of.key, min_version=kept)

    def _why_refused(self, of: _Version) -> EvidenceError | Unavailable:
        """Vault answers 400 alike for a bad ciphertext, a version that is gone and a key that is missing."""
        facts = self._facts(of.key)
        if facts.min_decryption_version <= of.number <= facts.latest_version:
            return damaged()
        return _unavailable(_DESTROYED)

    def _facts(self, key: str) -> _Facts:
        found = self._read(key)
        if found is None:
            raise _unavailable(_MISSING)
        return _Facts(*(_number(_field(found, name)) for name in _Facts._fields))

    def _read(self, key: str) -> Any:
        """What Vault says about a key; None where it has none of that name."""
        answer = self._ask("read_key", key, expected="InvalidPath")
        return None if answer is None else _field(answer, "data")

    def _ask(self, action: str, key: str, *, expected: str = "", **parameters: Any) -> Any:
        """What Vault answers; None where it refuses as expected."""
        import requests
        from hvac.exceptions import VaultError

        call = getattr(self._client.secrets.transit, action)
        try:
            return call(name=f"{self._key}-{key}", mount_point=self._mount, **parameters)
        except VaultError as error:
            kind = type(error).__name__
            if kind == expected:
                return None
            raise _unavailable(_MEANINGS.get(kind, _REFUSED)) from None
        except (requests.RequestException, OSError):  # OSError: VAULT_CACERT names no file
            raise _unavailable(_UNREACHABLE) from None
        except (AttributeError, LookupError, TypeError, ValueError):  # hvac takes any JSON for Vault's
            raise _unavailable(_STRANGE) from None


def _open(address: str) -> Any:
    try:
        import hvac
    except ImportError:
        raise ConfigError("hvac is not installed", remedy="Run pip install 'assent[vault]'.") from None
    try:
        client = hvac.Client(
            url=address.rstrip("/"),
            verify=os.environ.get("VAULT_CACERT") or None,
            namespace=os.environ.get("VAULT_NAMESPACE") or None,
            timeout=(_CONNECT_SECONDS, _READ_SECONDS),
        )
    except (OSError, ValueError):  # ~/.vault-token is there and cannot be read
        raise _unavailable(_NO_TOKEN) from None
    if not client.token:
        raise _unavailable(_NO_TOKEN)
    if not _TOKEN_FORM.fullmatch(client.token):  # else the library that sends it would quote it
        raise _unavailable(_TOKEN)
    return client


def _require_fit(found: Any) -> None:
    if _field(found, "type") != _KEY_TYPE or any(found.get(name) for name in _LOOSE):
        raise ConfigError(
            "the key in Vault is of another type, derived, imported, exportable or open to plaintext backup",
            remedy="Name another key in key_service, and let Assent make it.",
        )


def _parse_version(version: str) -> _Version:
    parts = _VERSION.fullmatch(version)
    if parts is None:
        raise damaged()
    return _Version(parts[1], int(parts[2]))


def _require_version(blob: bytes, of: _Version) -> None:
    """A ciphertext names the version that made it; another one's is another epoch's."""
    parts = _CIPHERTEXT.fullmatch(blob)
    if parts is None or int(parts[1]) != of.number:
        raise damaged()


def _field(answer: Any, *names: str) -> Any:
    for name in names:
        if not isinstance(answer, dict) or name not in answer:
            raise _unavailable(_STRANGE)
        answer = answer[name]
    return answer


def _number(value: object) -> int:
    if type(value) is not int:
        raise _unavailable(_STRANGE)
    return value


def _decoded(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        raise _unavailable(_STRANGE) from None


def _unavailable(meaning: tuple[str, str]) -> Unavailable:
    return Unavailable(meaning[0], remedy=meaning[1])
