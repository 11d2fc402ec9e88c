"""The consent API as `assent serve` has it: under one address, behind the console's guards, with tokens alone."""

from __future__ import annotations

from typing import Any

import pytest

from consent.home import Home
from consent.tokens import Role
from console.api.app import MOUNTED_AT
from tests.console.api.conftest import YES
from tests.console.web.visitors import Console, agree, console, csrf_of


@pytest.fixture
def opened(empty_home: Home) -> Console:
    agree(empty_home, "C-1042")
    return console(empty_home)


def call(opened: Console, path: str, body: Any, **headers: str) -> Any:
    secret = opened.token(Role.RECORDER, f"app-{len(opened.home.tokens.all())}")
    client = opened.visitor(Authorization=f"Bearer {secret}", **headers)
    return client.post(f"{MOUNTED_AT}{path}", json=body)


def test_it_is_there_with_the_console_s_headers(opened: Console) -> None:
    """Answers are not kept by anybody on the way."""
    answer = call(opened, "/withdrawals", {"subject_id": "C-1042"})
    assert (answer.status_code, answer.json()["recorded"]["event"]) == (200, "withdrawn")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = call(opened, "/consents", YES)
    assert again.status_code == 201


def test_its_page_says_where_it_is(opened: Console) -> None:
    page = opened.visitor().get(f"{MOUNTED_AT}/openapi.json").json()
    assert page["servers"] == [{"url": MOUNTED_AT}]
    assert set(page["paths"]) == {"/consents", "/withdrawals", "/state", "/receipts"}


def test_a_session_is_nothing_to_it(opened: Console) -> None:
    """So a page of another site, which has the browser's cookies, can do nothing with it."""
    officer = opened.officer()
    size = opened.home.ledger.size()
    headers = {"X-CSRF-Token": csrf_of(officer)}
    answer = officer.post(f"{MOUNTED_AT}/withdrawals", json={"subject_id": "C-1042"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHENTICATED")
    assert opened.home.ledger.size() == size


def test_another_name_of_the_server_is_refused(opened: Console) -> None:
    assert call(opened, "/state", {"subject_id": "C-1042"}, Host="evil.example").status_code == 421


@pytest.mark.parametrize("path", ["/", "/consents/", "/nothing", "/../sign-in"])
def test_its_errors_are_problems(opened: Console, path: str) -> None:
    """Not pages: who asks is a program."""
    answer = call(opened, path, {})
    assert answer.status_code in (404, 405)
    if not path.startswith("/.."):
        assert answer.headers["content-type"] == "application/problem+json"
