"""``assent erase``, ``sweep`` and ``certificate``: exit codes, JSON, files of numbers, nobody's number on screen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.clock import now_utc
from consent.files import exclusive
from consent.home import Home
from consent.nouns import Kind
from console.cli import run
from feature_repo.stores import setup
from rights.erase import Wanted
from rights.erase import erase as run_erase
from rights.journal import read_journals
from tests.console.test_cli import TERMS
from tests.rights.small_home import SmallHome

Call = Callable[..., tuple[int, str, str]]
A, B, C = "CANARY-客户-1", "CANARY-客户-2", "CANARY-客户-3"
QUESTION = ("--source", "spending", "--purpose", "credit_scoring")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which three people agreed to spending, without Feast."""
    place = tmp_path_factory.mktemp("rights")
    root = str(Home.create(place / "home").root)
    assert [
        run(["consent", "record", number, *QUESTION, *TERMS, "--home", root]) for number in (A, B, C)
    ] == [0] * 3
    return place


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Home:
    """A copy of it."""
    for name in ("home", "home.keys"):
        shutil.copytree(made / name, tmp_path / name)
    return Home.open(tmp_path / "home")


@pytest.fixture
def call(home: Home, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command on the home: (exit code, stdout, stderr)."""

    def one(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([*map(str, arguments), "--home", str(home.root)])
        captured = capsys.readouterr()
        assert "CANARY" not in captured.out + captured.err, "a customer number is on screen"
        return code, captured.out, captured.err

    return one


def erased(call: Call, *numbers: str) -> list[bool]:
    """Whom nothing is on record about any more."""
    return [call("consent", "show", number)[0] == 6 for number in numbers]


def error(err: str) -> dict[str, str]:
    document = json.loads(err)
    assert set(document) == {"error"}
    found: dict[str, str] = document["error"]
    assert all(found[name] for name in ("code", "message", "remedy"))
    return found


# ------------------------------------------------------------------------------------------- erase


def test_a_person_is_erased_with_a_certificate(call: Call) -> None:
    """0; the text names the certificate's file and what became of each store."""
    code, out, err = call("erase", A)
    assert (code, err) == (0, "")
    first, table = out.split("\n", 1)
    assert Path(first.removeprefix("certificate ")).is_file()
    assert {"ERASED", "RETAINED", "PENDING_BACKUP", "directory", "tombstone"} <= set(table.split())
    assert erased(call, A, B) == [True, False]


def test_the_json_of_an_erasure(call: Call) -> None:
    """One document: per erasure the certificate's path and all that it says; nobody is named but by pseudonym."""
    code, out, err = call("erase", A, B, "--json", "--basis", "letter of 3 November")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert set(document) == {"erasures"}
    for each in document["erasures"]:
        assert each["held_by"] == []
        assert Path(each["certificate"]).stem == each["erasure_id"]
        assert (each["source"], each["basis"]) == ("*", "letter of 3 November")
        assert {item["outcome"] for item in each["items"]} == {"ERASED", "RETAINED", "PENDING_BACKUP"}
        assert {"epoch", "epochs_destroyed", "erased_at", "ledger", "training_sets"} <= set(each)
    assert len(document["erasures"]) == 2


def test_erasing_somebody_again_is_denied_and_changes_nothing(call: Call, home: Home) -> None:
    """3 with the name of the certificate that tells of it."""
    (outcome,) = json.loads(call("erase", A, "--json")[1])["erasures"]
    size = home.ledger.size()
    code, out, err = call("erase", A, "--json")
    assert (code, out) == (3, "")
    assert error(err)["code"] == "ERASED"
    assert outcome["erasure_id"] in error(err)["remedy"]
    assert call("erase", B, A)[0] == 3
    assert erased(call, B) == [False]
    assert home.ledger.size() == size


def test_one_source_can_be_erased_again_and_again(call: Call) -> None:
    """0 each time; the person stays on record, and there is a certificate each."""
    seen = {
        json.loads(call("erase", A, "--source", "spending", "--json")[1])["erasures"][0]["certificate"]
        for _ in "ab"
    }
    assert len(seen) == 2
    assert erased(call, A) == [False]
    assert "ERASED" in call("consent", "decide", A, *QUESTION)[2]


def test_consent_records_are_kept_or_blanked(call: Call, home: Home) -> None:
    """As evidence under the pseudonym, unless `--blank-records` says otherwise."""
    (key,), (other,) = (home.directory.find([n]) for n in (A, B))
    assert key
    assert other
    assert call("erase", A, "--blank-records")[0] == 0
    assert call("erase", B)[0] == 0
    kinds = [{r.event.kind for r in home.ledger.history(k)} for k in (key, other)]
    assert kinds == [{Kind.ERASED}, {Kind.GIVEN, Kind.ERASURE_REQUESTED, Kind.ERASED}]
    assert call("log", "audit")[0] == 0


def test_a_hold_stops_one_and_not_the_others(call: Call) -> None:
    """3, told in JSON too: the one is held by name, the others are erased; the release carries the held one out."""
    assert call("hold", "place", A, "--name", "17", "--basis", "order 4 O 231/26")[0] == 0
    code, out, err = call("erase", A, B, C, "--json")
    assert code == 3
    assert error(err)["code"] == "HELD"
    held, *done = json.loads(out)["erasures"]
    assert (held["certificate"], len(held["held_by"])) == (None, 1)
    assert held["items"][0]["outcome"] == "RESTRICTED"
    assert [each["held_by"] for each in done] == [[], []]
    assert erased(call, A, B, C) == [False, True, True]
    assert "RESTRICTED" in call("consent", "decide", A, *QUESTION)[2]
    code, out, err = call("hold", "release", A, "--name", "17", "--json")
    assert (code, err) == (0, "")
    (released,) = json.loads(out)["erasures"]
    assert Path(released["certificate"]).is_file()
    assert erased(call, A) == [True]


def test_a_hold_is_told_in_text_as_well(call: Call) -> None:
    """3 again the second time: asking again neither erases nor asks anew."""
    assert call("hold", "place", A, "--name", "17", "--basis", "order")[0] == 0
    first, second = call("erase", A), call("erase", A)
    assert first == second
    assert first[0] == 3
    assert "1 of 1 erasures wait" in first[2]
    assert "hold release" in first[2]


def test_one_unknown_number_and_nobody_is_erased(call: Call, home: Home) -> None:
    """6 with how many of how many; no request is recorded either."""
    size = home.ledger.size()
    code, out, err = call("erase", A, "CANARY-nobody", B, "CANARY-\udcff", "--json")
    assert (code, out) == (6, "")
    assert error(err)["code"] == "UNKNOWN_SUBJECT"
    assert "2 of 4 people" in error(err)["message"]
    assert erased(call, A, B) == [False, False]
    assert home.ledger.size() == size


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ((), 6, "nobody is named"),
        ((A, "--source", "horoscope"), 2, "no source"),
        ((A, "--source", "contacts"), 3, "prohibited"),
        ((A, "--no-such-option"), 2, "No such option"),
        (("",), 6, "nothing is on record"),
        (("x" * 1_000_000,), 6, "nothing is on record"),
    ],
)
def test_what_cannot_be_erased_is_told(
    call: Call, home: Home, arguments: tuple[str, ...], code: int, told: str
) -> None:
    """Stable exit codes, a remedy, and nothing is recorded."""
    size = home.ledger.size()
    got, out, err = call("erase", *arguments)
    assert (got, out) == (code, "")
    assert told in err
    assert len(err) < 1_000
    assert home.ledger.size() == size


@pytest.mark.parametrize("command", ["erase", "sweep"])
def test_while_another_job_is_running_nothing_is_erased(call: Call, home: Home, command: str) -> None:
    """4, and afterwards it works."""
    arguments = (A,) if command == "erase" else ()
    with exclusive(home.path("job.lock"), "a test"):
        code, _, err = call(command, *arguments)
        assert code == 4
        assert "Wait for it to end" in err
    assert erased(call, A) == [False]
    assert call(command, *arguments)[0] == 0


# ------------------------------------------------------------------------------------------- files of numbers

LINES = f"\ufeff{A}\r\n\r\n  {B} \n{B}\n"


@pytest.mark.parametrize(
    "content", [LINES, LINES.replace("\r\n", "\n"), LINES.rstrip()], ids=["windows", "unix", "cut"]
)
def test_a_file_of_numbers(call: Call, tmp_path: Path, content: str) -> None:
    """A byte order mark, blank lines, spaces and somebody named twice are no matter; arguments count as well."""
    path = tmp_path / "numbers.txt"
    path.write_bytes(content.encode())
    code, out, _ = call("erase", "--from", path, A, "--json")
    assert code == 0
    assert len(json.loads(out)["erasures"]) == 2
    assert erased(call, A, B, C) == [True, True, False]


BAD: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "directory": lambda path: path.mkdir(),
    "empty": lambda path: path.touch(),
    "blank": lambda path: path.write_text("\ufeff \n\r\n"),
    "utf-16": lambda path: path.write_bytes(f"{A}\n".encode("utf-16")),
    "gb18030": lambda path: path.write_bytes(f"{A}\n".encode("gb18030")),
    "binary": lambda path: path.write_bytes(bytes(range(256))),
    "one long line": lambda path: path.write_text("CANARY" * 170_000),
    "somebody unknown": lambda path: path.write_text(f"{A}\nCANARY-nobody\n"),
    "a header": lambda path: path.write_text(f"subject_id\n{A}\n"),
    "csv": lambda path: path.write_text(f"{A},2026-11-03\n"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_used_erases_nobody(call: Call, home: Home, tmp_path: Path, name: str) -> None:
    """6 and a remedy; no line of it is repeated, nothing is recorded."""
    path, size = tmp_path / "numbers.txt", home.ledger.size()
    BAD[name](path)
    code, out, err = call("erase", "--from", path, "--json")
    assert (code, out) == (6, "")
    assert error(err)["code"] in ("BAD_INPUT", "UNKNOWN_SUBJECT")
    assert len(err) < 500
    assert erased(call, A) == [False]
    assert home.ledger.size() == size


# ------------------------------------------------------------------------------------------- run again


class Stop(BaseException):
    """Ends a job as a kill does."""


@pytest.mark.parametrize("at", ["deleting online values and feature rows", "recording it", "done"])
def test_the_same_command_ends_what_was_interrupted(call: Call, home: Home, at: str) -> None:
    """Also where the person has left the directory already, and no certificate was written yet."""
    (key,) = home.directory.find([A])
    assert key

    def stop(doing: str, _done: int, _of: int) -> None:
        if doing == at:
            raise Stop

    with pytest.raises(Stop):
        run_erase(home, [Wanted(key)], on_progress=stop)
    expected = 3 if at == "done" else 0  # by then it is erased, and its certificate says so
    code, out, err = call("erase", A, A, "--json")
    assert code == expected, err
    if at != "done":
        (outcome,) = json.loads(out)["erasures"]
        assert outcome["subject_key"] == key
    assert len(list(home.path("certificates").iterdir())) == 1
    assert read_journals(home) == []
    assert erased(call, A) == [True]


def test_an_interrupted_erasure_is_ended_together_with_the_next(call: Call, home: Home) -> None:
    """Named again beside somebody else, it is not asked for a second time."""
    (key,) = home.directory.find([A])
    assert key

    def stop(doing: str, _done: int, _of: int) -> None:
        if doing == "recording it":
            raise Stop

    with pytest.raises(Stop):
        run_erase(home, [Wanted(key)], on_progress=stop)
    document = json.loads(call("erase", B, A, "--json")[1])
    assert len(document["erasures"]) == 2
    assert erased(call, A, B) == [True, True]


# ------------------------------------------------------------------------------------------- sweep and certificates


def test_the_json_of_a_sweep(call: Call) -> None:
    """Counts, paths of certificates; with --dry-run nothing is done, and a second sweep does nothing."""
    assert call("consent", "request-erasure", A)[0] == 0
    code, out, err = call("sweep", "--dry-run", "--json")
    assert (code, err) == (0, "")
    names = {"erasures", "records", "feature_rows", "online_values", "consent_records_blanked"}
    assert set(json.loads(out)) == names | {"shut_records_removed", "certificate"}
    assert erased(call, A) == [False]
    swept = json.loads(call("sweep", "--json")[1])
    assert [Path(p).is_file() for p in swept["erasures"]] == [True]
    assert erased(call, A) == [True]
    assert json.loads(call("sweep", "--json")[1])["erasures"] == []
    assert "nothing was destroyed" in call("sweep")[1]


def test_online_values_are_served_after_a_sweep_that_took_some_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The person has a new key, and what was sealed under the old one is written again."""
    life = {"data_life": timedelta(days=2.5)}
    small = SmallHome(tmp_path / "home", sources=["spending"], terms={"C-1": life})
    keys = list(small.people.values())
    before = setup.online_features(small.home, "scorecard_v1", keys)["spend_30d"]
    assert run(["sweep", "--json", "--home", str(small.home.root)]) == 0
    assert json.loads(capsys.readouterr().out)["records"]["spending"]["people_in_part"] == 1
    assert small.home.data_keys.find("spending", keys)[keys[1]].version == 2
    assert setup.online_features(small.home, "scorecard_v1", keys)["spend_30d"] == before
    assert None not in before


def test_certificates_are_listed_and_shown(call: Call) -> None:
    """By name or how it begins; the same content as the erasure said, verified."""
    (outcome,) = json.loads(call("erase", A, "--json")[1])["erasures"]
    assert call("erase", B)[0] == 0
    listed = json.loads(call("certificate", "list", "--json")[1])["certificates"]
    assert len(listed) == 2
    assert listed[0]["name"] == outcome["erasure_id"]
    assert outcome["erasure_id"] in call("certificate", "list")[1]
    shown = json.loads(call("certificate", "show", outcome["erasure_id"], "--json")[1])
    assert shown == {name: value for name, value in outcome.items() if name not in ("certificate", "held_by")}
    assert (
        "the erasure of everything about one person" in call("certificate", "show", outcome["erasure_id"])[1]
    )


@pytest.mark.parametrize(("name", "told"), [("", "several certificates"), ("x", "no such certificate")])
def test_a_certificate_that_cannot_be_told_is_not_shown(call: Call, name: str, told: str) -> None:
    """6."""
    assert call("erase", A)[0] == 0
    assert call("erase", B)[0] == 0
    code, out, err = call("certificate", "show", name)
    assert (code, out) == (6, "")
    assert told in err


def test_a_certificate_that_was_changed_is_broken_evidence(call: Call, home: Home) -> None:
    """5, in the list too."""
    assert call("erase", A)[0] == 0
    (path,) = home.path("certificates").iterdir()
    path.write_bytes(path.read_bytes().replace(b"ERASED", b"KEPT  ", 1))
    assert call("certificate", "show", path.stem)[0] == 5
    assert call("certificate", "list")[0] == 5


# ------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize(
    "command", [("erase",), ("sweep",), ("certificate", "list"), ("certificate", "show"), ("hold", "release")]
)
def test_help_shows_an_example(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A line that begins with the command itself."""
    assert run([*command, "--help"]) == 0
    assert f"assent {' '.join(command)} " in capsys.readouterr().out.replace("\n", " \n")


def test_a_person_comes_back_after_the_erasure_and_is_somebody_new(call: Call, home: Home) -> None:
    """A new consent is a new beginning under a new pseudonym, and can be erased as well."""
    (before,) = home.directory.find([A])
    assert call("erase", A)[0] == 0
    assert call("consent", "withdraw", A)[0] == 6
    assert call("consent", "record", A, *QUESTION, *TERMS)[0] == 0
    (after,) = home.directory.find([A])
    assert after not in (None, before)
    assert call("consent", "decide", A, *QUESTION)[0] == 0
    assert call("erase", A)[0] == 0
    assert home.directory.tombstones([A])[A].erased_at <= now_utc()
    assert call("erase", A)[0] == 3
