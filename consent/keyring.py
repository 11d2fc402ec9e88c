"""The local keyring: the few keys everything else hangs on, in a directory beside the home, never inside it.

Holds the log's signing key, one root secret for derived keys, and the epoch keys (`consent.epochs`) that wrap the
subjects' data keys.
"""

from __future__ import annotations

import os
import secrets
import stat
from functools import cached_property
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.errors import ConfigError, Conflict, EvidenceError, Unavailable
from consent.evidence.notes import Signer, Verifier
from consent.files import short_name, sync
from consent.sealing import KEY_BYTES, derive_key, new_key

_LOG_KEY = "log.key"
_NEXT_LOG_KEY = "log-next.key"
_FIRST_LOG_KEY = "log-first-{}.pub"
_ANCHOR = "anchor-{}"
_ROOT = "root.key"


class Keyring:
    """Keys in files of mode 0600 in a directory of mode 0700.

    Open with `Keyring.open`; make one with `Keyring.create`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """Its directory."""
        return self._path

    @classmethod
    def create(cls, path: Path) -> Keyring:
        """A new keyring.

        Raises:
            Conflict: there is one already; keys are never overwritten.
        """
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise Conflict(
                "a keyring exists here", remedy="Name another place with --keys, or keep using it."
            )
        # A keyring is whole or not there; a directory made for it, perhaps a mount, is filled as it is.
        place = path if path.exists() else path.with_name(f"{path.name}.partial-{secrets.token_hex(4)}")
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.chmod(0o700)
        for name in (_LOG_KEY, _ROOT):
            _write_secret(place / name, new_key())
        if place != path:
            place.rename(path)
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> Keyring:
        """The keyring at `path`.

        Raises:
            Unavailable: there is none.
            ConfigError: others on this machine could read it.
        """
        if not path.is_dir():
            raise Unavailable("the keyring cannot be found", remedy="Mount it, or name it in ASSENT_KEYS.")
        for file in (path, *path.iterdir()):
            if stat.S_IMODE(file.stat().st_mode) & 0o077:
                raise ConfigError(
                    "the keyring can be read by other users of this machine",
                    remedy="Run chmod -R go-rwx on the keyring directory.",
                )
        return cls(path)

    def log_signer(self, origin: str) -> Signer:
        """The key that signs the ledger's checkpoints, under the log's name."""
        return Signer(origin, Ed25519PrivateKey.from_private_bytes(self._read(_LOG_KEY)))

    def first_log_key(self, origin: str) -> Verifier:
        """The public half of the oldest key of the log: what auditors were given."""
        first = _FIRST_LOG_KEY.format(short_name(origin))
        if (self._path / first).exists():
            return Verifier(origin, self._read(first))
        return self.log_signer(origin).verifier

    def next_log_signer(self, origin: str) -> Signer:
        """The key that will sign after `adopt_next_log_key`; the same one until then."""
        if not (self._path / _NEXT_LOG_KEY).exists():
            first = self._path / _FIRST_LOG_KEY.format(short_name(origin))
            if not first.exists():
                _write_secret(first, self.log_signer(origin).verifier.public_key)
            _write_secret(self._path / _NEXT_LOG_KEY, new_key())
        return Signer(origin, Ed25519PrivateKey.from_private_bytes(self._read(_NEXT_LOG_KEY)))

    def adopt_next_log_key(self) -> None:
        """From now on the next key is the key; the old one is gone, so nobody can steal it any more."""
        (self._path / _NEXT_LOG_KEY).replace(self._path / _LOG_KEY)
        sync(self._path)

    def derived_signer(self, origin: str) -> Signer:
        """A signing key of a log's own, which follows from the keyring's root."""
        return Signer(origin, Ed25519PrivateKey.from_private_bytes(self.secret(f"log {origin}")))

    def anchor(self, origin: str) -> Path:
        """Where the anchor of a log lies: beside the keys, out of reach of the ledger's backups."""
        return self._path / _ANCHOR.format(short_name(origin))

    def secret(self, use: str) -> bytes:
        """A 32-byte key derived for one use ("directory", "tables", ...)."""
        return derive_key(self._root, use)

    @cached_property
    def _root(self) -> bytes:
        return self._read(_ROOT)

    def _read(self, name: str) -> bytes:
        try:
            key = (self._path / name).read_bytes()
        except OSError:
            raise Unavailable(f"the key {name} cannot be read", remedy="Restore the keyring.") from None
        if len(key) != KEY_BYTES:
            raise EvidenceError(f"the key {name} is damaged", remedy="Restore the keyring.")
        return key


def _write_secret(path: Path, key: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
