"""Key services: where the key that wraps an epoch key lives, if not in the keyring.

The settings' table ``[key_service]`` chooses one. It holds no secret: credentials come from where the service's own
client finds them. An epoch's file repeats the table, so that it can be opened after the settings have changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from consent.errors import ConfigError, EvidenceError


class KeyService(Protocol):
    """What Assent asks of a key service. Every call raises `Unavailable` where the service cannot be reached."""

    def create(self, name: str, epoch: int) -> str:
        """A new key, or version of a key, for one epoch. Asked twice for one epoch it may return the same.

        Returns:
            What names it in the other calls.
        """
        ...

    def wrap(self, version: str, key: bytes, aad: bytes) -> bytes:
        """Encrypt a key of 32 bytes, bound to `aad`."""
        ...

    def unwrap(self, version: str, blob: bytes, aad: bytes) -> bytes:
        """Inverse of `wrap`.

        Raises:
            EvidenceError: the blob was changed, or is bound to something else.
            Unavailable: the service cannot be reached, refuses, or has destroyed the key.
        """
        ...

    def destroy(self, version: str) -> datetime | None:
        """Make the key unusable, now, and have it deleted. Doing it twice changes nothing.

        Returns:
            When it can no longer be brought back; None: it is gone already.
        """
        ...


@dataclass(frozen=True)
class ServiceSettings:
    """Which key service, and how to reach it. Holds no secret.

    Attributes:
        kind: one of `KINDS`.
        options: as the kind understands them.
    """

    kind: str
    options: tuple[tuple[str, str | int], ...]

    def to_dict(self) -> dict[str, str | int]:
        """The table as the settings hold it."""
        return {"kind": self.kind, **dict(self.options)}


#: An https address; http only on this machine, as an agent or a test listens there: what is sent is a key.
_ADDRESS = re.compile(
    r"(?:https://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])"
    r"|http://(?:localhost|127\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|\[::1\]))(?::[0-9]{1,5})?/?"
)
_REGION = re.compile(r"[a-z]{2,8}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}")
_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")
_MOUNT = re.compile(rf"{_KEY.pattern}(?:/{_KEY.pattern})*")
#: AWS waits no shorter and no longer. Source: KMS API, ScheduleKeyDeletion, PendingWindowInDays.
_WINDOW = range(7, 31)

#: Option -> what it must look like; required unless named in `_OPTIONAL`.
_OPTIONS: dict[str, dict[str, re.Pattern[str] | range]] = {
    "aws-kms": {"region": _REGION, "deletion_window_days": _WINDOW, "endpoint": _ADDRESS},
    "vault-transit": {"address": _ADDRESS, "key": _KEY, "mount": _MOUNT},
}
_OPTIONAL = {"deletion_window_days", "endpoint", "mount"}
KINDS = tuple(_OPTIONS)


def parse_key_service(table: object) -> ServiceSettings:
    """The settings' table ``[key_service]``.

    Raises:
        ConfigError: it is of no kind known, or an option is missing, unknown or cannot be used. The message quotes
            neither a value nor an unknown option: somebody may have put a secret there.
    """
    options = dict(table) if isinstance(table, Mapping) else {}
    kind = options.pop("kind", None)
    known = _OPTIONS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ConfigError("key_service is of no kind known", remedy=f"Use one of: {', '.join(KINDS)}.")
    expected = [name for name in known if name in options or name not in _OPTIONAL]
    wrong = [name for name in expected if not _fits(options.get(name), known[name])]
    if options.keys() - known.keys():
        wrong.append("an option it does not know")
    if wrong:
        raise ConfigError(
            f"key_service {kind} is missing or cannot use: {', '.join(wrong)}",
            remedy=f"It takes: {', '.join(known)}. An address begins with https://. See docs/keys.md.",
        )
    return ServiceSettings(str(kind), tuple(sorted(options.items())))


def _fits(value: object, form: re.Pattern[str] | range) -> bool:
    if isinstance(form, range):
        return type(value) is int and value in form
    return isinstance(value, str) and form.fullmatch(value) is not None


def open_key_service(settings: ServiceSettings) -> KeyService:
    """The client of a key service; its library is loaded here. Nothing is asked of the service yet.

    Raises:
        ConfigError: the library is not installed.
        Unavailable: there are no credentials.
    """
    options: dict[str, Any] = dict(settings.options)
    if settings.kind == "aws-kms":
        from consent.aws_kms import AwsKms

        return AwsKms(**options)
    from consent.vault_transit import VaultTransit

    return VaultTransit(**options)


def damaged() -> EvidenceError:
    """What every service says of a wrapped key that does not open."""
    return EvidenceError(
        "a wrapped epoch key does not open: it was changed, or belongs to another epoch or home",
        remedy="Restore the keyring.",
    )
