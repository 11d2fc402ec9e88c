"""The command line: exit codes, JSON, errors with a remedy, help with examples, nothing personal on screen."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from consent import errors
from consent.home import Home
from console import show
from console.cli import app, run
from tests.ingestion.test_readers import BAD

CUSTOMER = "客户-CANARY-0001"
TERMS = [
    *("--notice", "n", "--notice-version", "3", "--notice-language", "zh-CN", "--notice-hash", "ab" * 32),
    *(
        "--jurisdiction",
        "CN",
        "--method",
        "toggle",
        "--expires-at",
        "2099-01-01",
        "--data-from",
        "2020-01-01",
    ),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home made without Feast, which takes seconds; `init` itself is tested in the journeys."""
    return Home.create(tmp_path_factory.mktemp("cli") / "home").root


@pytest.fixture
def call(made: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line on the home: (exit code, stdout, stderr)."""

    def _call(*arguments: str, home: Path = made) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run([*arguments, "--home", str(home)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _call


def record(call: Callable[..., Any], *extra: str, subject: str = CUSTOMER) -> tuple[int, str, str]:
    return call(
        "consent", "record", subject, "--source", "spending", "--purpose", "credit_scoring", *TERMS, *extra
    )


def test_a_consents_life(call: Callable[..., tuple[int, str, str]]) -> None:
    """Record, decide, show, withdraw, decide again: 0 for yes, 3 for no with its reason; no customer number."""
    seen = []
    seen.append(record(call))
    assert seen[-1][0] == 0
    question = ("consent", "decide", CUSTOMER, "--source", "spending", "--purpose", "credit_scoring")
    seen.append(call(*question))
    assert (seen[-1][0], seen[-1][1].split(":")[0]) == (0, "ALLOWED")
    seen.append(call(*question, "--data-at", "2019-12-31"))
    assert seen[-1][0] == 3
    assert "DATA_RANGE" in seen[-1][2]
    seen.append(call("consent", "withdraw", CUSTOMER, "--source", "spending"))
    assert seen[-1][0] == 0
    seen.append(call(*question))
    assert seen[-1][0] == 3
    assert "WITHDRAWN" in seen[-1][2]
    seen.append(call("consent", "withdraw", CUSTOMER))
    assert seen[-1][0] == 4
    assert "the state is WITHDRAWN" in seen[-1][2]
    seen.append(call("consent", "show", CUSTOMER))
    assert seen[-1][0] == 0
    assert "withdrawn" in seen[-1][1]
    assert not any("CANARY" in out + err for _, out, err in seen)


def test_grants_are_never_bundled(call: Callable[..., tuple[int, str, str]]) -> None:
    """One grant per source and purpose, all recorded or none."""
    code, out, _ = record(
        call, "--purpose", "model_training", "--source", "employment", "--json", subject="b"
    )
    assert code == 0
    entries = json.loads(out)["recorded"]
    assert len({e["grant_id"] for e in entries}) == 4
    code, _, _ = record(call, "--purpose", "horoscopes", subject="c")
    assert code == 6
    assert call("consent", "show", "c")[0] == 6


def test_decisions_are_bitemporal(call: Callable[..., tuple[int, str, str]]) -> None:
    """`--as-of` and `--known-at` ask about another moment, and another state of knowledge."""
    record(call, subject="d")
    question = ("consent", "decide", "d", "--source", "spending", "--purpose", "credit_scoring")
    assert call(*question, "--as-of", "2098-12-31")[0] == 0
    assert "EXPIRED" in call(*question, "--as-of", "2099-01-01")[2]
    assert "NOT_YET" in call(*question, "--as-of", "2021-01-01")[2]
    assert "NO_GRANT" in call(*question, "--as-of", "2098-12-31", "--known-at", "2021-01-01")[2]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["consent", "decide", "nobody", "--source", "spending", "--purpose", "credit_scoring"], 3),
        (["consent", "decide", "nobody", "--source", "contacts", "--purpose", "credit_scoring"], 3),
        (["consent", "decide", "x", "--source", "spending", "--purpose", "p", "--as-of", "soon"], 6),
        (["consent", "show", "nobody"], 6),
        (["consent", "show", ""], 6),
        (["consent", "withdraw", "nobody"], 6),
        (["consent", "import", "none.jsonl"], 6),
        (["ingest", "spending", "none.csv"], 6),
        (["ingest", "contacts", "none.csv"], 3),
        (["ingest", "horoscopes", "none.csv"], 2),
        (["publish", "horoscopes"], 2),
        (["training-set", "none.csv", "--service", "s", "--out", "x.xlsx"], 6),
        (["log", "checkpoint", "--out", "/nowhere/at/all"], 6),
        (["log", "nonsense"], 2),
        (["ingest"], 2),
        (["consent", "show", "nobody", "CANARY"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int, call: Callable[..., tuple[int, str, str]]) -> None:
    """Stable exit codes; what went wrong is told on stderr with a remedy, never on stdout."""
    record(call, subject="somebody")
    got, out, err = call(*arguments)
    assert got == code, err
    assert out == ""
    assert err.startswith("assent: ")
    assert "Traceback" not in err
    assert "CANARY" not in err


def test_every_error_has_a_code_of_the_table() -> None:
    """Each kind of error has an exit code of its own kind; none falls through to 1."""
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.AssentError)]
    for kind in kinds:
        if kind is not errors.AssentError:
            assert show.exit_code(kind("x")) in (2, 3, 4, 5, 6, 7)


def test_no_home_and_no_keys(
    call: Callable[..., tuple[int, str, str]], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing home or keyring refuses: unavailable, nothing decided."""
    question = ("consent", "decide", "x", "--source", "spending", "--purpose", "credit_scoring")
    assert call(*question, home=tmp_path / "none")[0] == 4
    monkeypatch.setenv("ASSENT_KEYS", str(tmp_path / "none"))
    code, _, err = call(*question)
    assert (code, "keyring cannot be found" in err) == (4, True)


def test_tampering_ends_with_code_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The audit names the first bad position and ends with 5, also in JSON."""
    import sqlite3

    home = Home.create(tmp_path / "home")
    for subject in ("a", "b", "c"):
        run(
            [
                "consent",
                "record",
                subject,
                "--source",
                "spending",
                "--purpose",
                "credit_scoring",
                *TERMS,
                "--home",
                str(home.root),
            ]
        )
    assert run(["log", "audit", "--home", str(home.root)]) == 0
    with sqlite3.connect(home.path("ledger.db")) as connection:
        connection.execute("DROP TRIGGER event_blank_only")
        connection.execute("UPDATE event SET expires_at = expires_at + 1 WHERE leaf_index = 1")
    capsys.readouterr()
    assert run(["log", "audit", "--json", "--home", str(home.root)]) == 5
    captured = capsys.readouterr()
    assert json.loads(captured.out)["findings"][0]["leaf_index"] == 1
    assert "at entry 1" in json.loads(captured.err)["error"]["message"]


def test_a_checkpoint_can_be_kept_elsewhere(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """The note that is written verifies with the key that is shown."""
    from consent.evidence.notes import Verifier, parse_checkpoint, verify_note

    record(call, subject="e")
    code, out, _ = call("log", "checkpoint", "--json", "--out", str(tmp_path / "c.checkpoint"))
    assert code == 0
    verifier = Verifier.parse_vkey(json.loads(out)["verifier_key"])
    note = (tmp_path / "c.checkpoint").read_bytes()
    assert parse_checkpoint(verify_note(note, [verifier])).tree_size > 0
    code, out, _ = call("log", "audit", "--checkpoint", str(tmp_path / "c.checkpoint"))
    assert code == 0
    assert "are those that the checkpoint pins" in out
    (tmp_path / "c.checkpoint").write_bytes(note.replace(b"\n", b"\n\n", 1))
    assert call("log", "audit", "--checkpoint", str(tmp_path / "c.checkpoint"))[0] == 5


def test_import_reports_broken_lines_and_keeps_good_ones(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """Line numbers and reasons, exit code 6, and the good lines are recorded; again: nothing twice."""
    path = tmp_path / "consents.jsonl"
    good = {"event": "refused", "subject_id": "f", "source": "spending", "purpose": "credit_scoring"}
    path.write_text("\n".join([json.dumps(good), "{broken", json.dumps(good | {"source": "contacts"})]))
    code, out, err = call("consent", "import", str(path))
    assert code == 6
    assert "3 statements read: 1 recorded, 0 already on record, 2 rejected" in out
    assert "line 2: BAD_LINE" in out
    assert "line 3: PROHIBITED" in out
    assert "2 of 3 lines" in err
    report = json.loads(call("consent", "import", str(path), "--json")[1])
    assert (report["recorded"], report["already_recorded"]) == (0, 1)


def test_a_repeated_withdrawal_is_no_broken_line(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """A nightly file that says again what is withdrawn is fine; a decision says that it rests on an import."""
    record(call, subject="g")
    path = tmp_path / "w.jsonl"
    gone = {"event": "withdrawn", "subject_id": "g", "source": "spending", "purpose": "*"}
    for day in ("x", "y"):
        path.write_text(json.dumps(gone | {"event_id": day}))
        assert call("consent", "import", str(path))[0] == 0
    answer = call("consent", "decide", "g", "--source", "spending", "--purpose", "credit_scoring", "--json")
    assert json.loads(answer[1])["imported"] is True


def test_an_unforeseen_error_withholds_its_text(
    monkeypatch: pytest.MonkeyPatch, call: Callable[..., tuple[int, str, str]]
) -> None:
    """Libraries quote cell values in messages: only the kind and the place are shown."""

    def explode(*_: object) -> None:
        raise ValueError("could not convert CANARY to float")

    monkeypatch.setattr("consent.home.Home.open", explode)
    code, out, err = call("log", "audit")
    assert code == 1
    assert "CANARY" not in out + err
    assert "unforeseen ValueError" in err
    assert "test_cli.py" in err


@pytest.mark.parametrize("name", BAD)
def test_bad_files_end_with_code_6_and_leave_nothing(
    name: str, call: Callable[..., tuple[int, str, str]], made: Path, tmp_path: Path
) -> None:
    """A clear error that names the file, exit code 6, and nothing half-written in the home."""
    file, content, _ = BAD[name]
    (tmp_path / file).write_bytes(content())
    before = {p for p in made.rglob("*") if p.suffix not in (".db-wal", ".db-shm")}
    code, out, err = call("ingest", "spending", str(tmp_path / file))
    assert (code, out) == (6, "")
    assert err.startswith(f"assent: {file}: ")
    assert "CANARY" not in err
    after = {p for p in made.rglob("*") if p.suffix not in (".db-wal", ".db-shm")}
    assert after - before <= {made / "job.lock"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if hasattr(command, "commands"):
        return [found for name, sub in command.commands.items() for found in leaves(sub, (*path, name))]
    return [(path, command)]


LEAVES = leaves(typer.main.get_command(app))


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=[" ".join(p) for p, _ in LEAVES])
def test_help_has_an_example_and_every_option_is_explained(path: tuple[str, ...], command: Any) -> None:
    """Every command's help ends with an example that begins with the command itself; every option says what it is."""
    text = " ".join((command.help or "").split())
    assert f"assent {' '.join(path)}" in text
    assert all(getattr(p, "help", None) for p in command.params if p.name != "help"), path
    options = {o for p in command.params for o in p.opts}
    assert "--json" in options or path == ("demo",)
    # What an auditor or a witness runs on another machine works without a home.
    assert ("--home" in options) != (path[:2] in {("log", "verify"), ("log", "witness")})


def test_help_and_consent_commands_do_not_load_the_heavy_rooms(made: Path) -> None:
    """Feast, pandas and Great Expectations take seconds: `--help` and the consent commands do without."""
    script = (
        "import sys; from console.cli import run;"
        f"run(['consent', 'show', 'x', '--home', {str(made)!r}]);"
        "print([m for m in ('feast', 'great_expectations', 'pandas', 'ibis') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    assert done.stdout.strip() == "[]"
