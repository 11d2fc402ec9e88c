"""Visitors without a browser: a client for each role, on an application of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

import httpx2
from fastapi import FastAPI
from fastapi.testclient import TestClient

from consent.clock import now_utc
from consent.exchange.statements import record_statements
from consent.home import Home
from consent.tokens import Role
from console.web.app import create_app, shared_by
from tests.consent.consent_samples import Clock

URL = "http://127.0.0.1:8740"
#: Nobody has agreed to anything but this one.
NUMBER = "C-0042"
_TERMS = {
    "notice_id": "spending",
    "notice_version": "3",
    "notice_language": "zh-CN",
    "notice_hash": "ab" * 32,
    "jurisdiction": "CN",
    "method": "toggle, default off",
    "expires_at": "2099-01-01",
    "data_from": "2020-01-01",
}


def agree(home: Home, number: str = NUMBER, *, purpose: str = "credit_scoring") -> str:
    """Somebody who agrees to spending; the subject key."""
    fields = {"event": "given", "subject_id": number, "source": "spending", "purpose": purpose, **_TERMS}
    (recorded,) = record_statements(home, [fields])
    return recorded.event.subject_key


@dataclass
class Console:
    """An application on a clock, and clients of it."""

    app: FastAPI
    home: Home
    clock: Clock

    def visitor(self, **headers: str) -> TestClient:
        """A client that nobody has signed in with."""
        return TestClient(
            self.app, base_url=URL, follow_redirects=False, raise_server_exceptions=False, headers=headers
        )

    def officer(self) -> TestClient:
        """Signed in by the link."""
        client = self.visitor()
        link = shared_by(self.app).links.make()
        assert client.post("/sign-in/link", data={"secret": link}).status_code == 303
        return client

    def token(self, role: Role, name: str) -> str:
        """A fresh token."""
        return self.home.tokens.create(name, role, now_utc() + timedelta(days=1))

    def with_role(self, role: Role, name: str = "") -> TestClient:
        """Signed in with a fresh token."""
        client = self.visitor()
        secret = self.token(role, name or f"{role.value}-{len(self.home.tokens.all())}")
        assert client.post("/sign-in", data={"token": secret}).status_code == 303
        return client


def console(home: Home, clock: Clock | None = None) -> Console:
    """The console of a home."""
    ticking = clock or Clock()
    return Console(create_app(home, URL, clock=ticking), home, ticking)


def csrf_of(client: TestClient) -> str:
    """What the forms of this client's session carry."""
    found = re.search(r'name="csrf" value="([^"]+)"', client.get("/").text)
    assert found
    return found[1]


def send(client: TestClient, path: str, **fields: str) -> httpx2.Response:
    """Send a form as its page would."""
    answer: httpx2.Response = client.post(path, data={"csrf": csrf_of(client), **fields})
    return answer


def find(client: TestClient, number: str = NUMBER) -> str:
    """Look somebody up; the address of the person's page."""
    answer = send(client, "/person", number=number)
    assert answer.status_code == 303, answer.text
    return str(answer.headers["location"])
