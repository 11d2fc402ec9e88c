"""Epoch keys: each wraps the data keys of one home for a while, and is then destroyed.

An epoch key is 32 random bytes. It lies in the keyring, as it is (the default) or wrapped by a key service of the
lender's; in both cases there is one file per epoch, and destroying what that file needs makes every copy of the key
table that was sealed under the epoch unreadable. An epoch key, and a key service's key, must never be in a backup.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from consent.clock import now_utc
from consent.errors import ConfigError, Conflict, EvidenceError, Unavailable
from consent.files import short_name, sync, write_atomically
from consent.key_service import ServiceSettings, open_key_service, parse_key_service
from consent.sealing import KEY_BYTES, bind, new_key

_FORMAT = 1


@dataclass(frozen=True)
class Destroyed:
    """An epoch key that is gone, or will be.

    Attributes:
        epoch: its number.
        effective_at: from when on nobody can bring it back; later than now where a key service waits.
        service: ``local`` or the kind of key service.
    """

    epoch: int
    effective_at: datetime
    service: str


class Epochs:
    """The epoch keys of one home, in its keyring. A key is read for one operation and never cached.

    Args:
        keyring: the keyring's directory.
        origin: name of the home's log; several homes may share a keyring.
        service: wraps the epochs that are made from now on; None: they lie in the keyring as they are.
    """

    def __init__(
        self,
        keyring: Path,
        origin: str,
        service: ServiceSettings | None = None,
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._keyring = keyring
        self._origin = origin
        self._service = service
        self._clock = clock

    def numbers(self) -> list[int]:
        """The epochs that exist, oldest first."""
        name = re.compile(rf"epoch-{short_name(self._origin)}-([0-9]{{6,}})\.(?:key|json)")
        found = (name.fullmatch(path.name) for path in self._keyring.glob("epoch-*"))
        return sorted({int(parts[1]) for parts in found if parts})

    @property
    def current(self) -> int:
        """The epoch that wraps from now on.

        Raises:
            Unavailable: there is none.
        """
        numbers = self.numbers()
        if not numbers:
            raise Unavailable("the keyring has no epoch key of this home", remedy="Restore the keyring.")
        return numbers[-1]

    def ensure(self, epoch: int) -> None:
        """Make an epoch key, unless it is there already.

        Raises:
            Unavailable: the key service cannot be reached, or does not give back what it was given.
        """
        if epoch in self.numbers():
            return
        key = new_key()
        if self._service is None:
            write_atomically(self._path(epoch, ".key"), key)
        else:
            write_atomically(self._path(epoch, ".json"), _format(self._wrap(self._service, epoch, key)))

    def read(self, epoch: int) -> bytes:
        """The key itself, 32 bytes.

        Raises:
            Unavailable: it was destroyed, or the key service cannot be reached.
            EvidenceError: its file was changed, or is another epoch's.
        """
        raw = self._path(epoch, ".key")
        if raw.exists():
            return _require_key(_read(raw))
        document = self._document(epoch)
        service = open_key_service(parse_key_service(document["service"]))
        wrapped = bytes.fromhex(document["wrapped"])
        return _require_key(service.unwrap(document["version"], wrapped, self._bound(epoch)))

    def destroy(self, epoch: int) -> Destroyed:
        """Destroy an epoch key. Nothing sealed under it opens any more, in no copy.

        Its file goes last: where this breaks off, the epoch is still among the `numbers`, and is destroyed again.

        Raises:
            Conflict: it is the current one.
            Unavailable: the key service cannot be reached, try again; or the key is gone already.
            EvidenceError: its file was changed, or is another epoch's, so nobody knows which key to destroy.
        """
        if epoch >= self.current:
            raise Conflict("the current epoch key is in use", remedy="Rotate first.")
        raw, wrapped = self._path(epoch, ".key"), self._path(epoch, ".json")
        # Both are there only where a copy was restored over the keyring; then both go.
        if raw.exists() and not wrapped.exists():
            _overwrite_and_remove(raw, new_key())
            return Destroyed(epoch, self._clock(), "local")
        document = self._document(epoch)
        service = open_key_service(parse_key_service(document["service"]))
        effective_at = service.destroy(document["version"])
        if raw.exists():
            _overwrite_and_remove(raw, new_key())
        # What stays readable to the last is which key to destroy; the wrapped key is what must not come back.
        blank = secrets.token_hex(len(document["wrapped"]) // 2)
        _overwrite_and_remove(wrapped, _format(document | {"wrapped": blank}))
        return Destroyed(epoch, effective_at or self._clock(), document["service"]["kind"])

    def service_of(self, epoch: int) -> str:
        """``local``, or the kind of key service that wraps an epoch key."""
        if self._path(epoch, ".key").exists():
            return "local"
        kind: str = self._document(epoch)["service"]["kind"]
        return kind

    def _wrap(self, settings: ServiceSettings, epoch: int, key: bytes) -> dict[str, Any]:
        service = open_key_service(settings)
        version = service.create(f"assent-{short_name(self._origin)}", epoch)
        wrapped = service.wrap(version, key, self._bound(epoch))
        # Whoever may wrap need not be allowed to unwrap: found out now, before anything is sealed under the key.
        if service.unwrap(version, wrapped, self._bound(epoch)) != key:
            raise Unavailable("the key service gives back another key", remedy="Use another key service.")
        return {
            "format": _FORMAT,
            "origin": self._origin,
            "epoch": epoch,
            "service": settings.to_dict(),
            "version": version,
            "wrapped": wrapped.hex(),
        }

    def _document(self, epoch: int) -> dict[str, Any]:
        path = self._path(epoch, ".json")
        if not path.exists():
            raise Unavailable(
                f"epoch key {epoch} is gone",
                remedy="If an erasure destroyed it, this is an old copy of the key table; else restore the keyring.",
            )
        document = _parse(_read(path), epoch)
        if (document["origin"], document["epoch"]) != (self._origin, epoch):
            raise EvidenceError(
                f"the file of epoch key {epoch} belongs to another epoch or home",
                remedy="Restore the keyring.",
            )
        return document

    def _path(self, epoch: int, suffix: str) -> Path:
        return self._keyring / f"epoch-{short_name(self._origin)}-{epoch:06d}{suffix}"

    def _bound(self, epoch: int) -> bytes:
        return bind(b"assent-epoch/1", self._origin.encode(), str(epoch).encode())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise Unavailable("an epoch key cannot be read", remedy="Restore the keyring.") from None


def _require_key(key: bytes) -> bytes:
    if len(key) != KEY_BYTES:
        raise EvidenceError("an epoch key is damaged", remedy="Restore the keyring.")
    return key


def _format(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True).encode()


def _parse(content: bytes, epoch: int) -> dict[str, Any]:
    """Inverse of `_format`. That the wrapped key is the right one, its service says."""
    try:
        document = json.loads(content)
        if document["format"] != _FORMAT or not isinstance(document["version"], str):
            raise ValueError
        bytes.fromhex(document["wrapped"])
        parse_key_service(document["service"])
        return {
            name: document[name] for name in ("format", "origin", "epoch", "service", "version", "wrapped")
        }
    except (ConfigError, ValueError, KeyError, TypeError, RecursionError):
        raise EvidenceError(f"epoch key {epoch} is damaged", remedy="Restore the keyring.") from None


def _overwrite_and_remove(path: Path, content: bytes) -> None:
    """As far as a file can be destroyed: an SSD, or a file system that copies on write, may keep the old blocks."""
    try:
        with path.open("r+b") as file:
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        sync(path.parent)
    except OSError:
        raise Unavailable(
            "the file of an epoch key cannot be removed",
            remedy="Make the keyring writable, and try again.",
        ) from None
