"""What cannot be asked is refused with a remedy; an empty home has empty reports; broken evidence is told."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.errors import AssentError, BadInput, EvidenceError, Gap, Unavailable
from consent.home import Home
from reports.catalog import REPORTS, make_report
from reports.query import Query
from tests.reports.story import Story, open_on

KEY = "ab" * 16
NOW = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.create(tmp_path_factory.mktemp("bare") / "home")


@pytest.fixture
def copied(story: Story, tmp_path: Path) -> Home:
    """A copy of the story's home, to be damaged."""
    for root in (story.home.root, story.home.keys):
        shutil.copytree(root, tmp_path / root.name)
    return open_on(tmp_path / "home", story.clock)


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("nonsense", {}),
        ("", {}),
        ("coverage; DROP TABLE event", {}),
        ("coverage", {"subject_key": KEY}),
        ("coverage", {"source": "contacts"}),
        ("coverage", {"source": "'; DROP TABLE event; --"}),
        ("coverage", {"purpose": "*"}),
        ("coverage", {"since": NOW, "until": NOW}),
        ("coverage", {"since": NOW, "until": NOW - timedelta(days=1)}),
        ("coverage", {"limit": 0}),
        ("coverage", {"limit": -1}),
        ("coverage", {"skip": -1}),
        ("coverage", {"limit": 10**30}),
        ("subject-timeline", {}),
        ("subject-timeline", {"subject_key": ""}),
        ("subject-timeline", {"subject_key": KEY.upper()}),
        ("subject-timeline", {"subject_key": KEY + "'"}),
        ("subject-timeline", {"subject_key": "' OR 1=1 --"}),
        ("subject-timeline", {"subject_key": "{{7*7}}"}),
        ("integrity", {"source": "spending"}),
    ],
)
def test_what_cannot_be_asked_is_refused(bare: Home, name: str, asked: dict[str, Any]) -> None:
    """Before anything is read or written down, and without repeating what was said."""
    before = bare.accesses.size()
    with pytest.raises(BadInput) as error:
        make_report(bare, name, Query(**asked))
    assert error.value.remedy
    assert "DROP" not in error.value.message
    assert bare.accesses.size() == before


@pytest.mark.parametrize("name", REPORTS)
def test_an_empty_home(bare: Home, name: str) -> None:
    """Zeros and empty tables, or a clear word on what is missing; never an error nobody foresaw."""
    asked = {"subject_key": KEY} if "subject_key" in REPORTS[name].needs else {}
    if name == "processing-record":
        with pytest.raises(Gap, match="who answers for the data"):
            list(make_report(bare, name, Query(**asked)).rows)
        return
    report = make_report(bare, name, Query(**asked))
    rows = list(report.rows)
    assert all(len(row) == len(report.columns) for row in rows)
    counts = {
        cell for row in rows for c, cell in zip(report.columns, row, strict=True) if c.type.value == "count"
    }
    if name not in ("integrity", "access-log", "decision-explainer"):
        assert counts <= {0}


@pytest.mark.parametrize("name", REPORTS)
def test_far_instants_are_no_trouble(story: Story, name: str) -> None:
    """The years 1900 and 2200 are instants like any other."""
    far = {
        "since": datetime(2200, 1, 1, tzinfo=UTC),
        "until": datetime(2201, 1, 1, tzinfo=UTC),
        "as_of": datetime(1900, 1, 1, tzinfo=UTC),
        "known_at": datetime(1900, 1, 1, tzinfo=UTC),
    }
    takes = REPORTS[name].takes
    about = {"subject_key": story.people["anna"]} if "subject_key" in REPORTS[name].needs else {}
    if name == "expiring":
        far.pop("until")
    report = make_report(story.home, name, Query(**about, **{k: v for k, v in far.items() if k in takes}))
    assert all(len(row) == len(report.columns) for row in report.rows)


def test_every_cell_is_of_its_columns_type(story: Story) -> None:
    """Counts are whole numbers, shares lie between 0 and 1, instants are aware."""
    for name, definition in REPORTS.items():
        about = {"subject_key": story.people["anna"]} if "subject_key" in definition.needs else {}
        for row in make_report(story.home, name, Query(**about)).rows:
            for column, cell in zip(definition.columns, row, strict=True):
                if cell is not None:
                    assert CHECKS[column.type.value](cell), (name, column.name)


CHECKS = {
    "text": lambda c: isinstance(c, str),
    "subject": lambda c: isinstance(c, str) and len(c) == 32,
    "count": lambda c: type(c) is int and c >= 0,
    "share": lambda c: isinstance(c, float) and 0 <= c <= 1,
    "number": lambda c: isinstance(c, float),
    "seconds": lambda c: isinstance(c, float) and c >= 0,
    "days": lambda c: type(c) is int,
    "instant": lambda c: isinstance(c, datetime) and c.tzinfo is not None,
    "flag": lambda c: isinstance(c, bool),
}


def test_names_are_for_programs_and_people() -> None:
    """Fourteen reports; each column has one name and says what it means."""
    assert len(REPORTS) == 14
    for name, definition in REPORTS.items():
        assert name == definition.name
        assert definition.title
        assert definition.says.endswith(".")
        assert definition.needs <= definition.takes
        names = [column.name for column in definition.columns]
        assert len(names) == len(set(names))
        assert all(column.says.endswith(".") for column in definition.columns)
        assert all(note.endswith(".") for note in definition.notes)


def broken_checks(home: Home) -> dict[str, str]:
    report = make_report(home, "integrity", Query())
    rows = list(report.rows)
    told = {str(row[0]): str(row[4]) for row in rows if row[1] == "BROKEN"}
    assert set(report.broken) == set(told)
    assert len(rows) == 9  # the others are made all the same
    return told


def test_a_changed_ledger_is_named_at_its_entry(copied: Home) -> None:
    """With the position of the first entry that does not fit; everything else is verified all the same."""
    with sqlite3.connect(copied.path("ledger.db")) as connection:
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("UPDATE event SET purpose = 'fraud_detection' WHERE leaf_index = 3")
    told = broken_checks(copied)
    assert list(told) == ["ledger replayed"]
    assert "entry 3" in told["ledger replayed"]


@pytest.mark.parametrize(
    ("folder", "check"),
    [
        ("certificates", "certificates"),
        ("receipts", "receipts of training sets"),
        ("models", "registered models"),
    ],
)
def test_a_changed_document_is_named(copied: Home, folder: str, check: str) -> None:
    """A certificate, a receipt, a model: one letter is enough."""
    path = next(p for p in copied.path(folder).iterdir() if p.suffix != ".members")
    path.write_bytes(path.read_bytes().replace(b"model", b"m0del", 1))
    assert list(broken_checks(copied)) == [check]


@pytest.mark.parametrize("name", ["latency", "violations", "impact-inputs"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"run_id": 1}', b"\xff\xfe"])
def test_a_damaged_job_report_stops_those_that_count_it(copied: Home, name: str, content: bytes) -> None:
    """Rather than counting without it."""
    next(copied.path("runs").glob("*.json")).write_bytes(content)
    with pytest.raises(EvidenceError):
        list(make_report(copied, name, Query()).rows)


def test_without_its_access_log_no_report_is_made(copied: Home) -> None:
    """What cannot be written down is not handed out."""
    copied.accesses.close()
    for path in copied.root.glob("access.db*"):
        path.unlink()
    copied.__dict__.pop("accesses")
    with pytest.raises((Unavailable, AssentError)):
        make_report(copied, "coverage", Query())


def test_an_answered_request_whose_entry_is_blank_stays_in_the_register(copied: Home, story: Story) -> None:
    """Its certificate tells of it."""
    from consent.nouns import ANY, Event, Kind

    key, now = story.people["chen"], copied.ledger.now()
    event = Event("f" * 32, Kind.ERASED, key, ANY, ANY, now, basis="evidence ends", indicated_by="controller")
    copied.ledger.erase(event, blank=True)
    assert copied.ledger.history(key) == [] or all(
        r.event.kind is Kind.ERASED for r in copied.ledger.history(key)
    )
    rows = [row for row in make_report(copied, "requests", Query()).rows if row[4] == key]
    assert [(row[1], row[6]) for row in rows] == [("erasure", "done")]


def test_said_is_json(story: Story) -> None:
    """What was asked comes back as text, without the person."""
    report = make_report(
        story.home, "decision-explainer", Query(subject_key=story.people["anna"], as_of=NOW, skip=1)
    )
    assert json.loads(json.dumps(report.asked)) == {
        "subject_key": "one person",
        "as_of": "2026-11-23T00:00:00Z",
        "skip": "1",
    }
