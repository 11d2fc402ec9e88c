"""A home with the consent API in front of it, and a token of each role."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from consent.clock import now_utc
from consent.home import CONFIG_FILE, Home
from consent.tokens import Role
from console.api.app import create_api
from console.api.bodies import EXAMPLE_NO, EXAMPLE_YES
from tests.rights.borrowers import CONTROLLER

CUSTOMER = "客户-CANARY-0042"
YES: dict[str, Any] = {**EXAMPLE_YES, "subject_id": CUSTOMER}
NO: dict[str, Any] = {**EXAMPLE_NO, "subject_id": CUSTOMER}
Client = Callable[..., TestClient]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home.create(tmp_path_factory.mktemp("api") / "home")
    with made.path(CONFIG_FILE).open("a", encoding="utf-8") as settings:
        settings.write(CONTROLLER)
    return Home.open(made.root)


@pytest.fixture(scope="module")
def secrets(home: Home) -> dict[str, str]:
    """Role -> a token's secret."""
    until = now_utc() + timedelta(days=1)
    return {role.value: home.tokens.create(f"a-{role.value}", role, until) for role in Role}


@pytest.fixture(scope="module")
def clients(home: Home, secrets: dict[str, str]) -> Client:
    """A client for each role; what nobody foresaw is answered, not raised."""
    app = create_api(home)

    def _client(role: str | None = "recorder") -> TestClient:
        headers = {} if role is None else {"Authorization": f"Bearer {secrets[role]}"}
        return TestClient(app, headers=headers, raise_server_exceptions=False)

    return _client


@pytest.fixture
def api(clients: Client) -> TestClient:
    """The lender's app."""
    return clients()


@pytest.fixture
def person() -> str:
    """A customer number that nobody else has."""
    from secrets import token_hex

    return f"{CUSTOMER}-{token_hex(6)}"
