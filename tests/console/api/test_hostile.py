"""Hostile requests get 4xx with a remedy and leave nothing; none gets 500."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from starlette.testclient import TestClient

from consent.home import Home
from console.api.door import MOST_BYTES
from tests.console.api.conftest import YES, Client

TEXTS = (
    "'; DROP TABLE event; --",
    '" OR ""="',
    "1 UNION SELECT * FROM subject",
    "{{7*7}}",
    "${jndi:ldap://x/y}",
    "{% import os %}",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%2e%2e%2f",
    "a\r\nSet-Cookie: x=1",
    "a\x00b",
    "\u202egnp",
    "x" * 10_000,
    "",
    "*",
    "contacts",
)
FIELDS = ("subject_id", "source", "purpose", "jurisdiction", "method", "expires_at", "data_from", "replaces")


def sizes(home: Home) -> tuple[int, int, int]:
    """Entries of both logs, and people who are known."""
    with sqlite3.connect(home.path("directory.db")) as directory:
        (people,) = directory.execute("SELECT count(*) FROM subject").fetchone()
    return home.ledger.size(), home.accesses.size(), people


def refused(answer: Any, *statuses: int) -> None:
    assert answer.status_code in (statuses or range(400, 500)), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told["status"] == answer.status_code
    assert told["type"] == f"urn:x-assent:problem:{told['code']}"
    assert told["remedy"]
    assert told["detail"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("field", ["source", "purpose", "expires_at", "data_from", "jurisdiction"])
def test_no_text_passes_for_what_it_is_not(
    api: TestClient, home: Home, person: str, field: str, text: str
) -> None:
    """In a field that has a form; nothing of the text comes back, and nobody is made known by it."""
    before = sizes(home)
    answer = api.post("/consents", json={**YES, "subject_id": person, field: text})
    refused(answer, 403, 422)
    assert sizes(home) == before
    if len(text) > 3 and text != "contacts":
        assert text not in answer.text


@pytest.mark.parametrize(
    "terms",
    [
        {"expires_at": "2020-01-01"},
        {"expires_at": "2300-01-01"},
        {"data_from": "2026-01-01", "data_until": "2025-01-01"},
        {"data_life_days": 0},
        {"data_life_days": 36_501},
        {"method": "a\nb"},
        {"method": "x" * 301},
        {"notice": {**YES["notice"], "sha256": "zz"}},
        {"notice": {**YES["notice"], "language": "zh_CN!"}},
    ],
)
def test_terms_that_no_ledger_takes_leave_nobody_known(
    api: TestClient, home: Home, person: str, terms: dict[str, Any]
) -> None:
    """What the ledger would refuse is refused before the customer number gets a pseudonym."""
    before = sizes(home)
    refused(api.post("/consents", json={**YES, "subject_id": person, **terms}), 422)
    assert sizes(home) == before


@pytest.mark.parametrize("text", TEXTS)
def test_a_customer_number_may_be_any_printable_text(api: TestClient, home: Home, text: str) -> None:
    """It is hashed, never run; what cannot be a number is refused everywhere alike."""
    good = 0 < len(text) <= 200 and text.isprintable()
    given = api.post("/consents", json={**YES, "subject_id": text})
    if not good:
        refused(given, 422)
        refused(api.post("/withdrawals", json={"subject_id": text}), 404, 422)
        return
    assert given.status_code == 201
    answer = api.post("/withdrawals", json={"subject_id": text})
    assert (answer.status_code, answer.json()["recorded"]["event"]) == (200, "withdrawn")
    assert home.ledger.audit().findings == ()


@pytest.mark.parametrize("content", [None, 1, -1, 1.5, True, [], {}, ["C-1"], {"a": 1}, 10**400])
@pytest.mark.parametrize("field", FIELDS)
def test_another_kind_of_value_is_refused(api: TestClient, home: Home, field: str, content: Any) -> None:
    before = sizes(home)
    answer = api.post("/consents", json={**YES, field: content})
    if content is None and field == "replaces":
        assert answer.status_code == 201
        return
    refused(answer, 400, 422)
    assert sizes(home) == before


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "null": b"null",
    "a text": b'"x"',
    "NaN": b'{"subject_id": NaN}',
    "twice": b'{"subject_id": "a", "subject_id": "b"}',
    "a byte order mark": b'\xef\xbb\xbf{"subject_id": "a"}',
    "another encoding": json.dumps(YES, ensure_ascii=False).encode("utf-16"),
    "gb18030": json.dumps(YES, ensure_ascii=False).encode("gb18030"),
    "broken UTF-8": b'{"subject_id": "\xff\xfe"}',
    "half a character": b'{"subject_id": "\\ud800"}',
    "deep": b'{"subject_id":' + b"[" * 7_000 + b"]" * 7_000 + b"}",
    "long number": b'{"subject_id": ' + b"9" * 10_000 + b"}",
    "a form": b"subject_id=C-1&source=spending",
    "XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "null bytes": b"\x00" * 100,
}


@pytest.mark.parametrize("path", ["/consents", "/withdrawals", "/state", "/receipts"])
@pytest.mark.parametrize("name", BODIES)
def test_what_is_no_body_is_refused(api: TestClient, home: Home, path: str, name: str) -> None:
    before = sizes(home)
    answer = api.post(path, content=BODIES[name], headers={"Content-Type": "application/json"})
    refused(answer, 400, 415, 422)
    assert sizes(home) == before


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_another_media_type_is_refused(api: TestClient, home: Home, media: str) -> None:
    """A page of another site can send no JSON without asking first."""
    before = sizes(home)
    answer = api.post("/withdrawals", content=b'{"subject_id": "C-1"}', headers={"Content-Type": media})
    refused(answer, 400, 415, 422)
    assert sizes(home) == before


@pytest.mark.parametrize(
    "length", [None, "0", "-1", "abc", "1e3", "99999999999999999999", str(MOST_BYTES + 1), "²"]
)
def test_a_body_that_is_too_large_is_refused(api: TestClient, home: Home, length: str | None) -> None:
    """Whatever its length is said to be, and also in pieces."""
    before = sizes(home)
    content = json.dumps({**YES, "method": "x" * MOST_BYTES}).encode()

    def pieces() -> Any:
        for at in range(0, len(content), 1_000):
            yield content[at : at + 1_000]

    headers: dict[str, Any] = {"Content-Type": "application/json"}
    if length is not None:
        headers["Content-Length"] = length.encode("latin-1")
    refused(api.post("/consents", content=pieces(), headers=headers), 400, 413)
    assert sizes(home) == before


@pytest.mark.parametrize(
    "key", ["", " ", '"', '""', '"a', "a b", "ä", "x" * 101, '"a\\"b"', "a,b", '"a"; x=1']
)
def test_what_is_no_key_is_refused(api: TestClient, home: Home, key: str) -> None:
    before = sizes(home)
    headers = {b"Idempotency-Key": key.encode("utf-8")}
    refused(api.post("/consents", json=YES, headers=headers), 422, 400)  # type: ignore[arg-type]
    assert sizes(home) == before


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/consents/",
        "/consents/C-1042",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//consents",
        "/consents;x=1",
        "/docs",
        "/redoc",
        "/consents%00",
    ],
)
def test_another_path_is_none(api: TestClient, path: str) -> None:
    refused(api.post(path, json=YES), 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "NONSENSE"])
def test_another_method_is_none(api: TestClient, method: str) -> None:
    answer = api.request(method, "/consents")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "asked",
    [
        {"as_of": "yesterday"},
        {"as_of": "2026-13-01"},
        {"known_at": "x" * 50},
        {"as_of": "0001-01-01T00:00:00+23:59"},
        {"as_of": "9999-12-31T23:59:59-23:59"},
        {"purpose": "*"},
        {"source": "*"},
        {"source": "contacts"},
    ],
)
def test_what_cannot_be_asked_is_refused(api: TestClient, asked: dict[str, str]) -> None:
    refused(api.post("/state", json={"subject_id": "C-1", **asked}), 422)


def test_far_instants_are_instants(api: TestClient) -> None:
    for at in ("0001-01-01", "9999-12-31T23:59:59Z"):
        assert api.post("/state", json={"subject_id": "C-1", "as_of": at, "known_at": at}).status_code == 200


def test_a_receipt_of_nothing(api: TestClient, person: str) -> None:
    refused(api.post("/receipts", json={"subject_id": person}), 404)
    api.post("/consents", json={**YES, "subject_id": person})
    refused(api.post("/receipts", json={"subject_id": person, "grant_id": "x"}), 404)
    refused(api.post("/receipts", json={"subject_id": person, "source": "employment"}), 404)


def test_without_a_controller_there_is_no_receipt(
    clients: Client, home: Home, person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is not set up for it: 503, and what to add to the settings."""
    from dataclasses import replace

    monkeypatch.setattr(home, "settings", replace(home.settings, controller=None))
    answer = clients().post("/receipts", json={"subject_id": person})
    refused(answer, 503)
    assert "[controller]" in answer.json()["remedy"]


def test_an_error_nobody_foresaw_says_nothing(
    clients: Client,
    home: Home,
    person: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not the text, which could quote a cell; the place goes to whoever runs the server."""

    def boom(*_: object) -> None:
        raise RuntimeError(person)

    monkeypatch.setattr(type(home.directory), "find", boom)
    answer = clients().post("/state", json={"subject_id": person})
    assert (answer.status_code, answer.json()["code"]) == (500, "UNFORESEEN")
    seen = capfd.readouterr()
    assert person not in answer.text + seen.out + seen.err
    assert "RuntimeError" in seen.err


def test_a_ledger_that_is_away_is_503(
    clients: Client, home: Home, person: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was decided, so nothing is allowed; try again."""
    from consent.errors import Unavailable

    def away(*_: object, **__: object) -> None:
        raise Unavailable("the consent ledger cannot be used", remedy="Try again.")

    monkeypatch.setattr(type(home.ledger), "append", away)
    answer = clients().post("/consents", json={**YES, "subject_id": person})
    refused(answer, 503)
    assert answer.headers["retry-after"] == "1"
