"""The settings' table ``[console]``: how the officer's console is reached, and who may sign in. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from consent.errors import ConfigError
from consent.tokens import Role

_URL = re.compile(r"(https?)://([A-Za-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
_ENVIRONMENT = re.compile(r"[A-Z][A-Z0-9_]*")
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class OpenId:
    """The OpenID Connect provider that staff sign in with; the settings' table ``[console.openid]``.

    Attributes:
        issuer: its address, as its documents name it.
        client_secret_env: environment variable that holds the client's secret; the secret itself stays out.
        claim: of the ID token: what tells the role.
        roles: value of the claim -> role. Who has none of them may not come in.
    """

    issuer: str
    client_id: str
    client_secret_env: str
    claim: str
    roles: Mapping[str, Role]


@dataclass(frozen=True)
class ConsoleSettings:
    """How the console is reached.

    Attributes:
        public_url: what browsers call it by, where that is not the address it listens at: behind a proxy.
        timezone: IANA name of the zone in which times are shown and asked for.
        idle_minutes: a session ends when it was not used for so long.
        session_hours: a session ends after so long in any case.
    """

    public_url: str | None = None
    timezone: str = "UTC"
    idle_minutes: int = 30
    session_hours: int = 10
    openid: OpenId | None = None


_SPANS = {"idle_minutes": 24 * 60, "session_hours": 24}


def parse_console(table: object) -> ConsoleSettings:
    """The settings in a table of ``assent.toml``.

    Raises:
        ConfigError: they cannot be understood.
    """
    known = {*ConsoleSettings.__dataclass_fields__}
    if not isinstance(table, dict) or set(table) - known:
        raise ConfigError(
            "console has settings nobody knows", remedy=f"It may hold: {', '.join(sorted(known))}."
        )
    for name, most in _SPANS.items():
        value = table.get(name, 1)
        if type(value) is not int or not 1 <= value <= most:
            raise ConfigError(f"{name} of console is no whole number from 1 to {most}", remedy="Mend it.")
    _require_zone(table.get("timezone", "UTC"))
    if "public_url" in table:
        _require_address(table["public_url"], "public_url")
    openid = {"openid": _parse_openid(table["openid"])} if "openid" in table else {}
    return ConsoleSettings(**{**table, **openid})


def _require_zone(name: object) -> None:
    try:
        ZoneInfo(name if isinstance(name, str) else "")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            "timezone of console is no IANA time zone", remedy="Write it like Asia/Shanghai."
        ) from None


def _require_address(url: object, name: str) -> None:
    found = _URL.fullmatch(url) if isinstance(url, str) else None
    if found is None or (found[1] == "http" and found[2] not in _LOCAL):
        raise ConfigError(
            f"{name} of console is no https address without a path",
            remedy="Write it like https://consent.lender.example; http only for this machine.",
        )


def _parse_openid(table: Any) -> OpenId:
    wanted = set(OpenId.__dataclass_fields__)
    if not isinstance(table, dict) or set(table) != wanted:
        raise ConfigError(
            "openid of console lacks a setting, or has one nobody knows",
            remedy=f"It holds: {', '.join(sorted(wanted))}.",
        )
    _require_address(re.sub(r"(?<=[^/:])/[\w./-]*$", "", str(table["issuer"])), "issuer")
    texts = all(isinstance(table[name], str) and table[name] for name in wanted - {"roles"})
    if not texts or _ENVIRONMENT.fullmatch(table["client_secret_env"]) is None:
        raise ConfigError(
            "a setting of openid is no text, or client_secret_env names no environment variable",
            remedy='Write client_secret_env = "ASSENT_OPENID_SECRET", and export that.',
        )
    return OpenId(**{**table, "roles": _parse_roles(table["roles"])})


def _parse_roles(roles: object) -> dict[str, Role]:
    known = {role.value for role in Role}
    if not isinstance(roles, dict) or not roles or not all(role in known for role in roles.values()):
        raise ConfigError(
            "roles of openid maps no values to roles",
            remedy=f"Map each to one of: {', '.join(sorted(known))}.",
        )
    return {value: Role(role) for value, role in roles.items()}
