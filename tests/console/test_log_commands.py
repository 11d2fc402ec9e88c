"""``assent log``: proofs out, cosignatures back, everything verified elsewhere without a home."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from consent.home import Home
from console.cli import app, run
from tests.console.test_cli import TERMS

DOCS = Path(__file__).parents[2] / "docs" / "auditing.md"
CUSTOMER = "客户-CANARY-0002"


class Said(NamedTuple):
    """What a command line answered."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, object]:
        return dict(json.loads(self.out))


class Place:
    """A lender's home and an auditor's directory, side by side; `call` runs a command in the auditor's."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = Home.create(root / "lender" / "home")
        self.capsys = capsys

    def call(self, *arguments: str) -> Said:
        self.capsys.readouterr()
        code = run(list(arguments))
        captured = self.capsys.readouterr()
        return Said(code, captured.out, captured.err)

    def lender(self, *arguments: str) -> Said:
        return self.call(*arguments, "--home", str(self.home.root))

    def record(self, count: int) -> None:
        for number in range(count):
            said = self.lender(
                *(
                    "consent",
                    "record",
                    f"{CUSTOMER}-{number}-{self.home.ledger.size()}",
                    "--source",
                    "spending",
                ),
                *("--purpose", "credit_scoring", *TERMS),
            )
            assert said.code == 0, said.err


@pytest.fixture
def place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    (tmp_path / "auditor").mkdir()
    monkeypatch.chdir(tmp_path / "auditor")
    monkeypatch.delenv("ASSENT_HOME", raising=False)
    made = Place(tmp_path, capsys)
    made.record(3)
    Path("log.vkey").write_text(made.home.ledger.verifier.format_vkey() + "\n")
    yield made
    made.home.ledger.close()


def test_one_record(place: Place) -> None:
    """A receipt is written, verified with the public key alone, and breaks when the record is changed."""
    said = place.lender("log", "prove", "1", "--out", "receipts")
    assert said.code == 0, said.err
    files = ["receipts/entry-1.tlog-proof", "receipts/entry-1.record.json"]
    assert all(Path(name).stat().st_mode & 0o077 == 0 for name in files)
    said = place.call("log", "verify", *files, "--key", "log.vkey")
    assert (said.code, said.out.splitlines()[-1]) == (0, "everything holds"), said.err
    assert "the record is entry 1" in said.out
    record = Path(files[1])
    record.write_text(record.read_text().replace("spending", "app_usage"))
    said = place.call("log", "verify", *files, "--key", "log.vkey")
    assert said.code == 5
    assert "entry-1.tlog-proof" in said.err
    assert CUSTOMER not in said.out + said.err


def test_growth_and_export(place: Place) -> None:
    """Yesterday's checkpoint is the beginning of today's log: by a consistency file, and by the whole export."""
    assert place.lender("log", "checkpoint", "--out", "old.checkpoint").code == 0
    place.record(2)
    assert place.lender("log", "prove", "--since", "old.checkpoint", "--out", "growth").code == 0
    assert place.lender("log", "export", "tiles").code == 0
    assert place.lender("log", "export", "tiles", "--json").json() == {"entries": 5, "directory": "tiles"}
    said = place.call(
        "log", "verify", "growth", "tiles", "--held", "old.checkpoint", "--key", "log.vkey", "--json"
    )
    assert said.code == 0, said.err
    verified = said.json()["verified"]
    assert isinstance(verified, list)
    assert [(each["kind"], each["entries"]) for each in verified] == [("consistency proof", 5), ("tiles", 5)]
    bundle = Path("tiles/tile/entries/000.p/5")
    bundle.write_bytes(bundle.read_bytes()[:-1] + b"\0")
    said = place.call("log", "verify", "tiles", "--key", "log.vkey", "--json")
    assert said.code == 5
    assert json.loads(said.err)["error"]["code"] == "EVIDENCE"
    assert "entry 4" in json.loads(said.err)["error"]["message"]


def test_a_witness_by_file_drop(place: Place) -> None:
    """Init, trust, request, run, bring back, prove with the witness' word; a second day; a refusal."""
    witness = place.call("log", "witness", "init", "auditor.example/w1", "--json").json()["witness_key"]
    Path("auditor.vkey").write_text(f"{witness}\n")
    assert place.call("log", "witness", "trust", "log.vkey").code == 0
    assert place.lender("log", "prove", "--first", "--out", "drop/1.add-checkpoint").code == 0
    assert place.call("log", "witness", "run", "drop").code == 0
    kept = place.lender("log", "cosigned", "drop/1.cosigned", "--witness", "auditor.vkey", "--json")
    assert (kept.code, kept.json()) == (0, {"entries": 3}), kept.err
    place.record(1)
    assert place.lender("log", "prove", "2", "--cosigned", "--out", "r").code == 0
    with_witness = ("--key", "log.vkey", "--witness", "auditor.vkey")
    said = place.call("log", "verify", "r/entry-2.tlog-proof", "r/entry-2.record.json", *with_witness)
    assert said.code == 0, said.err
    assert "cosigned by auditor.example/w1 at " in said.out
    assert place.lender("log", "prove", "2", "--out", "r").code == 0
    said = place.call("log", "verify", "r/entry-2.tlog-proof", "r/entry-2.record.json", *with_witness)
    assert said.code == 5
    assert "by 1 of the known witnesses, got 0" in said.err
    place.lender("log", "prove", "--since", "drop/1.cosigned", "--out", "drop/2.add-checkpoint")
    place.lender("log", "prove", "--first", "--out", "drop/3.add-checkpoint")
    Path("drop/3.add-checkpoint").write_bytes(Path("drop/3.add-checkpoint").read_bytes() + b"garbage\n")
    said = place.call("log", "witness", "run", "drop")
    assert said.code == 5
    assert said.out.splitlines()[-1] == "1 cosigned, 1 refused"


def test_what_is_refused(place: Place) -> None:
    """Usage, missing entries, foreign files: each with its exit code."""
    Path("garbage").write_text("garbage")
    refused = {
        ("log", "prove"): 2,
        ("log", "prove", "1", "--first"): 2,
        ("log", "prove", "--first", "--cosigned"): 2,
        ("log", "prove", "99"): 6,
        ("log", "prove", "--first"): 6,  # the answer needs a name
        ("log", "prove", "1", "--cosigned"): 2,
        ("log", "prove", "--since", "garbage", "--out", "x"): 5,
        ("log", "prove", "--since", "nowhere", "--out", "x"): 6,
        ("log", "cosigned", "garbage"): 2,
        ("log", "cosigned", "garbage", "--witness", "log.vkey"): 5,
    }
    for arguments, code in refused.items():
        assert place.lender(*arguments).code == code, arguments
    assert place.call("log", "verify", "garbage", "--key", "log.vkey").code == 5
    assert place.call("log", "verify", "nowhere", "--key", "log.vkey").code == 6
    assert place.call("log", "verify", "garbage", "--key", "nowhere").code == 6
    assert place.call("log", "verify", "garbage", "--key", "no+key").code == 5
    assert place.call("log", "verify", "garbage", "--key", "log.vkey", "--quorum", "1").code == 6
    assert place.call("log", "witness", "run", "drop").code == 4
    assert place.call("log", "witness", "trust").code == 2


def commands() -> list[str]:
    return re.findall(r"^ *\$ (assent .*)$", DOCS.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("line", commands())
def test_commands_in_the_auditors_page_parse(line: str) -> None:
    """Every command in docs/auditing.md is one that `assent` understands, options and all."""
    command = typer.main.get_command(app)
    words = shlex.split(line)[1:]
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("assent", words)


def test_the_auditors_page_shows_enough() -> None:
    assert len(commands()) >= 15
