"""`assent report`: text, CSV and JSON; files that are whole; exit codes; no customer number anywhere."""

from __future__ import annotations

import csv
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from consent.accesses import AccessKind
from consent.home import Home
from console.cli import run
from reports.catalog import REPORTS

CUSTOMER = "客户-CANARY-7777"
Call = Callable[..., tuple[int, str, str]]
TERMS = {
    "notice_id": "=cmd|' /C calc'!A0",
    "notice_version": "3",
    "notice_language": "zh-CN",
    "notice_hash": "ab" * 32,
    "jurisdiction": "CN",
    "method": "toggle",
    "expires_at": "2099-01-01",
    "data_from": "2020-01-01",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One person, who agreed to two things and withdrew one."""
    from consent.exchange.statements import record_statements

    home = Home.create(tmp_path_factory.mktemp("reports") / "home")
    about = {"subject_id": CUSTOMER, "source": "spending"}
    given = [{"event": "given", **about, "purpose": p, **TERMS} for p in ("credit_scoring", "model_training")]
    record_statements(home, given)
    record_statements(home, [{"event": "withdrawn", **about, "purpose": "model_training"}])
    return home.root


@pytest.fixture
def call(made: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def _call(*arguments: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["report", *map(str, arguments), "--home", str(made)])
        captured = capsys.readouterr()
        assert CUSTOMER not in captured.out + captured.err
        return code, captured.out, captured.err

    return _call


def test_the_list_has_them_all(call: Call) -> None:
    code, out, _ = call("list")
    assert code == 0
    assert all(name in out for name in REPORTS)
    listed = json.loads(call("list", "--json")[1])["reports"]
    assert [r["name"] for r in listed] == list(REPORTS)


def test_coverage_as_text_csv_and_json(call: Call, tmp_path: Path) -> None:
    """The three say the same."""
    asked = ("coverage", "--source", "spending", "--purpose", "model_training")
    code, out, _ = call(*asked)
    assert code == 0
    assert "Coverage: source spending" in out
    (row,) = json.loads(call(*asked, "--json")[1])["rows"]
    assert (row["people"], row["given"], row["withdrawn"]) == (1, 0, 1)
    (line,) = csv.DictReader(call(*asked, "--format", "csv")[1].splitlines())
    assert {k: v for k, v in line.items() if k != "at"} == {
        k: "" if v is None else str(v) for k, v in row.items() if k != "at"
    }
    path = tmp_path / "c.csv"
    assert call(*asked, "--format", "csv", "--bom", "--out", path)[0] == 0
    assert path.read_bytes().startswith(b"\xef\xbb\xbfsource,")
    assert path.stat().st_mode & 0o077 == 0


def test_a_person_is_named_by_customer_number_and_told_by_pseudonym(call: Call, made: Path) -> None:
    """Which is neither shown nor left anywhere in the home."""
    code, out, _ = call("decision-explainer", "--subject", CUSTOMER, "--source", "spending")
    assert code == 0
    assert "WITHDRAWN" in out
    rows = json.loads(call("subject-timeline", "--subject", CUSTOMER, "--json")[1])["rows"]
    assert [r["event"] for r in rows] == ["given", "given", "withdrawn"]
    for path in made.rglob("*"):
        if path.is_file():
            assert CUSTOMER.encode() not in path.read_bytes(), path


def test_a_notice_that_looks_like_a_formula_is_none(call: Call) -> None:
    """In CSV; JSON has it as it is."""
    line = next(csv.DictReader(call("expiring", "--to", "2099-06-01", "--format", "csv")[1].splitlines()))
    assert line["notice"] == "'" + TERMS["notice_id"]
    (row,) = json.loads(call("expiring", "--to", "2099-06-01", "--json")[1])["rows"]
    assert row["notice"] == TERMS["notice_id"]


def test_text_says_that_there_is_more(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page as long as one reads, and how to get the rest."""
    from console import report_commands

    monkeypatch.setattr(report_commands, "SHOWN", 2)
    _, out, _ = call("coverage")
    assert "the first 2 rows" in out
    assert "There are more" in out
    _, out, _ = call("coverage", "--limit", "3", "--skip", "9")
    assert "3 rows; made" in out
    assert "There are more" not in out


def test_a_file_is_not_overwritten_unasked(call: Call, tmp_path: Path) -> None:
    """Nor left in part; the access log has no entry for what could not be asked."""
    path = tmp_path / "a.json"
    asked = ("coverage", "--format", "json", "--out", path)
    assert call(*asked)[0] == 0
    before = path.read_bytes()
    assert call(*asked)[0] == 4
    assert path.read_bytes() == before
    assert call(*asked, "--overwrite")[0] == 0
    assert call("coverage", "--format", "json", "--out", tmp_path / "no" / "a.json")[0] == 6
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nonsense",), 6),
        ((), 2),
        (("coverage", "--source", "contacts"), 6),
        (("coverage", "--subject", CUSTOMER), 6),
        (("subject-timeline",), 6),
        (("subject-timeline", "--subject", "C-UNKNOWN"), 6),
        (("subject-timeline", "--subject", "x" * 100_000), 6),
        (("subject-timeline", "--subject", "a\nb"), 6),
        (("coverage", "--from", "yesterday"), 6),
        (("coverage", "--from", "2026-02-30"), 6),
        (("coverage", "--from", "2026-03-01", "--to", "2026-02-01"), 6),
        (("coverage", "--limit", "0"), 2),
        (("coverage", "--skip", "-1"), 2),
        (("coverage", "--format", "xlsx"), 2),
        (("coverage", "--bom"), 2),
        (("coverage", "--out", "x.txt"), 2),
        (("processing-record",), 2),
        (("coverage", "--nonsense", "1"), 2),
    ],
)
def test_what_cannot_be_asked_has_its_exit_code(call: Call, arguments: tuple[str, ...], code: int) -> None:
    """And says what to do."""
    found, out, err = call(*arguments)
    assert found == code
    assert out == ""
    assert err


def test_broken_evidence_is_told_and_ends_with_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All checks are shown; the exit code says that one failed."""
    home = Home.create(tmp_path / "home")
    home.directory.find_or_create(["C-1"])
    home.accesses.record(AccessKind.LOOKED, caller="x")
    home.accesses.close()
    with sqlite3.connect(home.path("access.db")) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE event SET caller = 'y'")
    assert run(["report", "integrity", "--json", "--home", str(home.root)]) == 5
    captured = capsys.readouterr()
    rows = json.loads(captured.out)["rows"]
    assert {r["check"] for r in rows if r["outcome"] == "BROKEN"} == {"access log replayed"}
    assert len(rows) == 9
    assert "EVIDENCE" in captured.err
