"""``assent export``: what it says and does not say, its exit codes, and that others can check what it wrote."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from console import cli
from tests.rights.borrowers import ANNA, CHEN, DORA, FINN, NOBODY, Borrowers

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    borrowers: Borrowers, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Call:
    """Run a command line on the home, in an empty directory: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def _call(*arguments: str, home: bool = True) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.run([*arguments, *(("--home", str(borrowers.home.root)) if home else ())])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return _call


def test_it_says_where_and_how_much(call: Call, tmp_path: Path) -> None:
    """Counts, and nothing about anybody."""
    code, out, err = call("export", ANNA, "--out", "p.zip")
    assert (code, err) == (0, "")
    assert out.startswith("written: p.zip (")
    assert "9 spending" in out
    assert "plain text" in out
    assert zipfile.is_zipfile(tmp_path / "p.zip")
    for told in (ANNA, "盒马鲜生", "Acme", "8000.00"):
        assert told not in out


def test_in_json(call: Call, borrowers: Borrowers) -> None:
    """The manifest's summary, for a program."""
    code, out, _ = call("export", DORA, "--out", "p.zip", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["file"] == "p.zip"
    assert told["records"] == {"spending": 12, "employment": 1}
    assert told["quarantine"] == {"spending": 8}  # texts that a program may act on
    assert re.fullmatch("[0-9a-f]{64}", told["manifest_sha256"])
    assert {f["file"] for f in told["files"]} >= {"index.html", "records/spending.csv", "manifest.json"}
    assert "<b>" not in out
    assert borrowers.key(DORA) not in out


def test_without_a_name_it_is_named_by_date_and_pseudonym(
    call: Call, tmp_path: Path, borrowers: Borrowers
) -> None:
    """Never by the customer number; a second one the same day is a conflict, unless it may be overwritten."""
    assert call("export", ANNA)[0] == 0
    (made,) = tmp_path.iterdir()
    assert re.fullmatch(rf"access-package-\d{{4}}-\d\d-\d\d-{borrowers.key(ANNA)[:8]}\.zip", made.name)
    code, _, err = call("export", ANNA)
    assert code == 4
    assert "--overwrite" in err
    assert call("export", ANNA, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((NOBODY,), 6, "nothing is on record about this person"),
        ((FINN,), 3, "was erased; certificate "),
        ((FINN, "--out", "p.zip"), 3, "was erased; certificate "),
        ((ANNA, "--out", "none/p.zip"), 6, "does not exist"),
        ((ANNA, "--out", "p.tar"), 6, "is a .zip"),
    ],
)
def test_refused(call: Call, arguments: tuple[str, ...], code: int, says: str, tmp_path: Path) -> None:
    """Each with its exit code, a remedy, and without the customer number."""
    ended, out, err = call("export", *arguments)
    assert (ended, out) == (code, "")
    assert says in err
    assert len(err.splitlines()) == 2
    assert arguments[0] not in err
    assert not list(tmp_path.iterdir())


def test_a_hold_and_a_pending_erasure_do_not_prevent_access(call: Call) -> None:
    """What they restrict is the lender."""
    code, out, _ = call("export", CHEN, "--out", "p.zip")
    assert code == 0
    assert "2 spending" in out


def test_what_it_wrote_can_be_checked_with_the_commands_on_its_page(call: Call, tmp_path: Path) -> None:
    """`assent log verify`, in the unpacked folder, with the key in it."""
    call("export", ANNA, "--out", "p.zip")
    with zipfile.ZipFile(tmp_path / "p.zip") as package:
        package.extractall(tmp_path / "p")
    page = (tmp_path / "p" / "index.html").read_text()
    commands = re.findall(r"^(assent log verify [^<\n]*)", page, re.M)
    assert len(commands) == 2
    for command in commands:
        words = command.split()[1:]
        there = [
            str(p) for w in words for p in (sorted((tmp_path / "p").glob(w)) if "/" in w or "." in w else [w])
        ]
        code, out, err = call(*there, home=False)
        assert code == 0, err
        assert out.endswith("everything holds\n")


def test_help_has_examples(call: Call) -> None:
    """And says what the package is not: locked."""
    _, out, _ = call("export", "--help", home=False)
    assert "assent export C-1042" in out
    assert "plain text" in out
