"""A home with a few consenting people, and files a lender might send."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Grant, Kind, Notice

NOTICE = Notice("notice", "1", "zh-CN", "ab" * 32)
DATA_FROM = datetime(2025, 1, 1, tzinfo=UTC)


def grant_event(subject_key: str, source: str, purpose: str, **terms: Any) -> Event:
    """A grant in force from now on, reaching back to 2025."""
    now = now_utc()
    grant = {
        "grant_id": new_event_id(),
        "notice": NOTICE,
        "jurisdiction": "CN",
        "method": "toggle",
        "expires_at": now + timedelta(days=100),
        "data_from": DATA_FROM,
    } | terms
    return Event(new_event_id(), Kind.GIVEN, subject_key, source, purpose, now, Grant(**grant))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def consent(home: Home) -> Callable[..., str]:
    """Grant a source for a purpose; returns the subject key."""

    def give(subject_id: str, source: str = "spending", purpose: str = "credit_scoring", **terms: Any) -> str:
        key = home.directory.find_or_create([subject_id])[0]
        home.ledger.append([grant_event(key, source, purpose, **terms)])
        return key

    return give


@pytest.fixture
def withdraw(home: Home) -> Callable[..., None]:
    """Withdraw everything of a person, or of one source."""

    def take(subject_id: str, source: str = ANY) -> None:
        key = home.directory.find([subject_id])[0]
        assert key is not None
        home.ledger.append([Event(new_event_id(), Kind.WITHDRAWN, key, source, ANY, now_utc())])

    return take


def transaction(subject_id: str, number: int, **values: Any) -> dict[str, Any]:
    """One good row of a spending file."""
    return {
        "subject_id": subject_id,
        "transaction_id": f"t{number}",
        "occurred_at": "2026-03-01T10:00:00Z",
        "amount": "12.50",
        "currency": "CNY",
        "direction": "debit",
        "kind": "purchase",
        "category": "groceries",
        "merchant": "盒马鲜生",
    } | values


def write_csv(path: Path, rows: list[dict[str, Any]], encoding: str = "utf-8") -> Path:
    header = list(rows[0])
    lines = [",".join(header), *(",".join(str(r[c]) for c in header) for r in rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode(encoding))
    return path
