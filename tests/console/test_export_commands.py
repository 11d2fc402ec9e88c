"""``assent consent receipt`` and ``export``: documents that conform, nothing personal in them, gaps with a remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from consent.exchange.consent_record import read_record
from consent.exchange.controller import EXAMPLE
from consent.exchange.statements import record_statements
from consent.home import CONFIG_FILE, Home
from console.cli import run

CUSTOMER = "客户-CANARY-0001"
TERMS = {
    "notice_id": "n",
    "notice_version": "3",
    "notice_language": "zh-CN",
    "notice_hash": "ab" * 32,
    "jurisdiction": "CN",
    "method": "toggle",
    "expires_at": "2099-01-01",
    "data_from": "2020-01-01",
}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a controller and three people; one consented twice, one only refused, one withdrew."""
    home = Home.create(tmp_path_factory.mktemp("exports") / "home")
    with (home.root / CONFIG_FILE).open("a") as file:
        file.write(EXAMPLE + "\n")
    about = {"source": "spending", "purpose": "credit_scoring"}
    given = {"event": "given", **about, **TERMS}
    record_statements(
        home,
        [
            {**given, "subject_id": CUSTOMER},
            {**given, "subject_id": CUSTOMER, "purpose": "model_training"},
            {"event": "refused", "subject_id": "C-2", **about},
            {**given, "subject_id": "C-3"},
        ],
    )
    record_statements(home, [{"event": "withdrawn", "subject_id": "C-3", **about}])
    return home.root


@pytest.fixture
def call(made: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line on the home: (exit code, stdout, stderr)."""

    def _call(*arguments: str, home: Path = made) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["consent", *arguments, "--home", str(home)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _call


def test_a_receipt_on_the_screen(call: Call) -> None:
    """A JSON document about this one consent, without the customer number."""
    code, out, _ = call("receipt", CUSTOMER, "--source", "spending", "--purpose", "credit_scoring")
    assert code == 0
    document = json.loads(out)
    assert document["@type"] == "dpv:ConsentReceipt"
    assert read_record(document).purpose == "credit_scoring"
    assert "CANARY" not in out


def test_a_receipt_in_a_file(call: Call, tmp_path: Path) -> None:
    """Whole or not at all, for its owner only; each receipt has an id of its own."""
    ids = []
    for name in ("1.jsonld", "2.jsonld"):
        path = tmp_path / name
        code, out, _ = call(
            "receipt",
            "C-3",
            "--out",
            str(path),
            "--json",
        )
        assert code == 0
        assert path.stat().st_mode & 0o777 == 0o600
        document = json.loads(path.read_text())
        assert json.loads(out)["receipt_id"] == document["dct:identifier"]
        assert read_record(document).states[-1][0] == ("dpv:ConsentWithdrawn",)
        ids.append(document["dct:identifier"])
    assert len(set(ids)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.jsonld", "2.jsonld"]


def test_a_receipt_by_grant(call: Call) -> None:
    """The grant's id names it alone."""
    _, out, _ = call("receipt", CUSTOMER, "--purpose", "model_training")
    grant_id = read_record(json.loads(out)).grant.grant_id
    code, again, _ = call("receipt", CUSTOMER, "--grant", grant_id)
    assert code == 0
    assert read_record(json.loads(again)).grant.grant_id == grant_id


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((CUSTOMER,), 6),
        ((CUSTOMER, "--source", "employment"), 6),
        ((CUSTOMER, "--grant", "0" * 32), 6),
        (("C-2",), 6),
        (("C-CANARY-nobody",), 6),
    ],
)
def test_no_receipt(call: Call, arguments: tuple[str, ...], code: int) -> None:
    """Several to choose from, none, refused, unknown: told apart, without the customer number."""
    ended, out, err = call("receipt", *arguments)
    assert (ended, out) == (code, "")
    assert "CANARY" not in err
    assert len(err.splitlines()) == 2


def test_all_records(call: Call, tmp_path: Path) -> None:
    """One record per grant and line, to the screen or a file; a refusal has none."""
    path = tmp_path / "records.jsonl"
    code, out, _ = call("export", "--out", str(path), "--json")
    assert code == 0
    assert json.loads(out) == {"records": 3, "file": "records.jsonl"}
    code, screen, _ = call("export")
    assert code == 0
    for text in (path.read_text(), screen):
        records = [read_record(json.loads(line)) for line in text.splitlines()]
        assert [r.purpose for r in records] == ["credit_scoring", "model_training", "credit_scoring"]
        assert records[0].subject_key == records[1].subject_key != records[2].subject_key
        assert "CANARY" not in text


def test_nobody_answers_for_the_data(call: Call, tmp_path: Path) -> None:
    """Without [controller] there is no record, but the lines to add."""
    bare = Home.create(tmp_path / "home").root
    for command in (("export",), ("receipt", CUSTOMER)):
        code, out, err = call(*command, home=bare)
        assert (code, out) == (2, "")
        assert EXAMPLE in err


def test_a_place_that_cannot_be_written(call: Call, tmp_path: Path) -> None:
    """Is said so; nothing half is left."""
    code, _, err = call("export", "--out", str(tmp_path / "none" / "records.jsonl"))
    assert code == 4
    assert "records.jsonl" in err
