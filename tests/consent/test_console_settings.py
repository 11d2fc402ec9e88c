"""The settings of the console: what can be written, and what is refused with a remedy."""

from __future__ import annotations

from typing import Any

import pytest

from consent.console_settings import ConsoleSettings, parse_console
from consent.errors import ConfigError
from consent.home import CONFIG_FILE, Home
from consent.tokens import Role

OPENID: dict[str, Any] = {
    "issuer": "https://login.lender.example/realms/staff",
    "client_id": "assent",
    "client_secret_env": "ASSENT_OPENID_SECRET",
    "claim": "groups",
    "roles": {"privacy-office": "officer"},
}


def test_nothing_is_needed() -> None:
    """Every setting has a default."""
    assert parse_console({}) == ConsoleSettings()


def test_everything_can_be_said() -> None:
    """And is read as it was written."""
    said = {"public_url": "https://c.example:8443", "timezone": "Asia/Shanghai", "idle_minutes": 5}
    found = parse_console({**said, "session_hours": 8, "openid": OPENID})
    assert (found.public_url, found.timezone, found.idle_minutes) == tuple(said.values())
    assert found.openid
    assert found.openid.roles == {"privacy-office": Role.OFFICER}


@pytest.mark.parametrize(
    "table",
    [
        [],
        "x",
        {"colour": "red"},
        {"public_url": "http://c.example"},
        {"public_url": "https://c.example/path"},
        {"public_url": "https://c.example/"},
        {"public_url": "https://u:p@c.example"},
        {"public_url": "javascript:alert(1)"},
        {"public_url": 1},
        {"timezone": "Mars/Olympus"},
        {"timezone": "../../etc/passwd"},
        {"timezone": ""},
        {"timezone": 8},
        {"idle_minutes": 0},
        {"idle_minutes": True},
        {"idle_minutes": 1.5},
        {"session_hours": 25},
        {"openid": {}},
        {"openid": OPENID | {"client_secret": "s"}},
        {"openid": OPENID | {"issuer": "http://login.example"}},
        {"openid": OPENID | {"client_secret_env": "the secret itself"}},
        {"openid": OPENID | {"claim": ""}},
        {"openid": OPENID | {"roles": {}}},
        {"openid": OPENID | {"roles": {"a": "king"}}},
        {"openid": OPENID | {"roles": ["officer"]}},
    ],
)
def test_what_cannot_work_is_refused(table: object) -> None:
    """With a remedy, and without repeating a value, which may be a secret."""
    with pytest.raises(ConfigError) as refused:
        parse_console(table)
    assert refused.value.remedy
    assert "the secret itself" not in str(refused.value)


def test_a_home_reads_them(empty_home: Home) -> None:
    """From the table [console] of assent.toml."""
    path = empty_home.root / CONFIG_FILE
    path.write_text(path.read_text() + '\n[console]\ntimezone = "Asia/Shanghai"\n')
    assert Home.open(empty_home.root).settings.console.timezone == "Asia/Shanghai"
