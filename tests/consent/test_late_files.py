"""A person who was erased is not brought back by what was said before; only a new yes or no does that."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.clock import format_instant, now_utc
from consent.errors import BadInput
from consent.exchange.records import ImportReport, import_records
from consent.exchange.statements import record_statement
from consent.home import Home
from consent.nouns import Kind

NOW = now_utc()
YES = {
    "event": "given",
    "subject_id": "C-1",
    "source": "spending",
    "purpose": "credit_scoring",
    "notice_id": "n",
    "notice_version": "1",
    "notice_language": "zh-CN",
    "notice_hash": "ab" * 32,
    "jurisdiction": "CN",
    "method": "toggle",
    "expires_at": format_instant(NOW + timedelta(days=100)),
    "data_from": "2025-01-01",
}
ERASED_AT = NOW - timedelta(days=3)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """C-1 agreed, and was erased three days ago; C-2 is somebody else."""
    home = Home.create(tmp_path / "home")
    for subject in ("C-1", "C-2"):
        record_statement(home, YES | {"subject_id": subject})
    (key,) = home.directory.find(["C-1"])
    assert key is not None
    home.directory.erase(key, ERASED_AT, "e" * 32)
    return home


def load(home: Home, folder: Path, *statements: dict[str, Any]) -> ImportReport:
    path = folder / "late.jsonl"
    path.write_text("".join(json.dumps(s) + "\n" for s in statements))
    return import_records(home, path)


def said(days: float, **more: Any) -> dict[str, Any]:
    return YES | {"effective_at": format_instant(NOW + timedelta(days=days))} | more


@pytest.mark.parametrize(
    "statement",
    [
        said(-10),
        said(-3),
        dict(YES),
        said(-10, event_id="theirs"),
        {"event": "refused", "subject_id": "C-1", "source": "spending", "purpose": "credit_scoring"},
        {"event": "linked", "subject_id": "C-2", "co_subject_id": "C-1", "source": "spending"},
        {"event": "withdrawn", "subject_id": "C-1", "source": "*", "purpose": "*"},
    ],
    ids=[
        "before",
        "same instant",
        "without a time",
        "with an id",
        "refusal",
        "as a co-subject",
        "withdrawal",
    ],
)
def test_a_late_file_does_not_bring_an_erased_person_back(
    home: Home, tmp_path: Path, statement: dict[str, Any]
) -> None:
    """It is refused with the reason, and the directory knows nobody of that number afterwards."""
    size = home.ledger.size()
    report = load(home, tmp_path, statement)
    assert [r.reason for r in report.rejected] == ["ERASED"]
    assert home.ledger.size() == size
    assert home.directory.find(["C-1"]) == [None]


def test_a_yes_said_after_the_erasure_is_a_new_beginning(home: Home, tmp_path: Path) -> None:
    """Under a new pseudonym; an old statement in the same file is refused all the same."""
    report = load(home, tmp_path, said(-10, purpose="fraud_detection"), said(-1))
    assert (report.recorded, [(r.line, r.reason) for r in report.rejected]) == (1, [(1, "ERASED")])
    (key,) = home.directory.find(["C-1"])
    assert key is not None
    assert [r.event.purpose for r in home.ledger.history(key)] == ["credit_scoring"]
    again = load(home, tmp_path, said(-10, purpose="model_training"))
    assert [r.reason for r in again.rejected] == ["ERASED"]


def test_a_person_may_come_back_at_the_counter(home: Home) -> None:
    """What is recorded here and now is later than the erasure; what is said to have been earlier is not."""
    with pytest.raises(BadInput) as caught:
        record_statement(home, said(-4))
    assert caught.value.code == "ERASED"
    with pytest.raises(BadInput):
        record_statement(home, {"event": "withdrawn", "subject_id": "C-1", "source": "*", "purpose": "*"})
    entry = record_statement(home, YES)
    assert entry.event.kind is Kind.GIVEN


def test_a_number_in_another_spelling_is_the_same_person(home: Home, tmp_path: Path) -> None:
    """Full-width letters and spaces do not get around the tombstone."""
    assert [r.reason for r in load(home, tmp_path, said(-10, subject_id=" Ｃ-1 ")).rejected] == ["ERASED"]
