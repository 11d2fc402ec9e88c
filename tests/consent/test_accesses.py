"""The access log: what is written down stays, in order, and a person is in it only for who has their key."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consent.accesses import USE, AccessKind, AccessLog, AccessQuery
from consent.callers import calling_as, current_caller
from consent.errors import AssentError, BadInput, Conflict, EvidenceError, Unavailable
from consent.evidence.notes import parse_checkpoint, verify_note
from consent.home import Home
from consent.rotation import rotate_epoch

A, B = "ab" * 16, "cd" * 16


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in whose access log are five entries."""
    place = tmp_path_factory.mktemp("accesses")
    log = Home.create(place / "home").accesses
    log.record(AccessKind.SIGNED_IN, caller="officer:李娜")
    log.record(AccessKind.LOOKED, caller="officer:李娜", subject_key=A, about={"page": "person"})
    log.record(AccessKind.LOOKED, caller="auditor:max", subject_key=B, about={"page": "person"})
    log.record(
        AccessKind.TRAINING_SET, caller="local:ann", purpose="model_training", about={"receipt": "f" * 64}
    )
    log.record(AccessKind.EXPORTED, caller="officer:李娜", subject_key=A)
    log.close()
    return place


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Home:
    """A copy of it."""
    for name in ("home", "home.keys"):
        shutil.copytree(made / name, tmp_path / name)
    return Home.open(tmp_path / "home")


def numbers(log: AccessLog, query: AccessQuery | None = None, *, limit: int = 100) -> list[int]:
    return [entry.leaf_index for entry in log.entries(query, limit=limit)]


# ------------------------------------------------------------------------------------------- writing and reading


def test_what_was_written_is_there_newest_first(home: Home) -> None:
    """With all that was said, but without a name for the person."""
    export, training, *_ = home.accesses.entries()
    assert (export.kind, export.caller, export.personal) == (AccessKind.EXPORTED, "officer:李娜", True)
    assert (training.purpose, training.about, training.personal) == (
        "model_training",
        {"receipt": "f" * 64},
        False,
    )
    assert numbers(home.accesses) == [4, 3, 2, 1, 0]
    assert home.accesses.size() == home.accesses.count() == 5


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (AccessQuery(kind=AccessKind.LOOKED), [2, 1]),
        (AccessQuery(caller="officer:李娜"), [4, 1, 0]),
        (AccessQuery(purpose="model_training"), [3]),
        (AccessQuery(subject_key=A), [4, 1]),
        (AccessQuery(subject_key=A, kind=AccessKind.LOOKED), [1]),
        (AccessQuery(subject_key="ee" * 16), []),
        (AccessQuery(before=2), [1, 0]),
        (AccessQuery(since=datetime(2000, 1, 1, tzinfo=UTC)), [4, 3, 2, 1, 0]),
        (AccessQuery(until=datetime(2000, 1, 1, tzinfo=UTC)), []),
        (AccessQuery(caller="' OR 1=1 --"), []),
    ],
)
def test_entries_are_found_by_what_they_say(home: Home, query: AccessQuery, found: list[int]) -> None:
    """Each question on its own and together."""
    assert numbers(home.accesses, query) == found
    assert home.accesses.count(query) == len(found)
    assert numbers(home.accesses, query, limit=1) == found[:1]


def test_nothing_in_the_file_names_a_person(home: Home) -> None:
    """Neither the subject key nor an unkeyed hash of it."""
    home.accesses.close()
    for path in home.root.glob("access.db*"):
        content = path.read_bytes()
        assert A.encode() not in content
        assert bytes.fromhex(A) not in content


def test_when_a_persons_key_is_gone_the_entries_are_whole_and_name_nobody(home: Home) -> None:
    """Also in a copy of the log that was made before."""
    rotate_epoch(home, destroy={USE: {A}})
    assert numbers(home.accesses, AccessQuery(subject_key=A)) == []
    assert numbers(home.accesses, AccessQuery(subject_key=B)) == [2]
    assert home.accesses.audit() == 5


def test_the_clock_does_not_go_back(home: Home) -> None:
    """An entry is never dated before the one before it."""
    before = home.accesses.entries(limit=1)[0].at
    home.accesses._clock = lambda: before - timedelta(days=3)
    home.accesses.record(AccessKind.ACTED, caller="x")
    assert home.accesses.entries(limit=1)[0].at == before
    assert home.accesses.audit() == 6


# ------------------------------------------------------------------------------------------- several at once


def _write(root: Path, count: int) -> None:
    log = Home.open(root).accesses
    for _ in range(count):
        log.record(AccessKind.ACTED, caller="another process", subject_key=A)


def test_several_processes_write_one_order(home: Home) -> None:
    """No number is missing, and everybody sees what the others wrote."""
    assert home.accesses.size() == 5
    workers = [
        multiprocessing.get_context("spawn").Process(target=_write, args=(home.root, 10)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for _ in range(10):
        home.accesses.record(AccessKind.ACTED, caller="this process")
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert home.accesses.audit() == 35
    assert len(numbers(home.accesses, AccessQuery(caller="another process"))) == 20


def test_a_tree_of_several_tiles_goes_on_in_another_process(home: Home) -> None:
    """The stored tiles lead to the same root as the entries."""
    for _ in range(600):
        home.accesses.record(AccessKind.ACTED, caller="x")
    again = Home.open(home.root).accesses
    again.record(AccessKind.ACTED, caller="y")
    assert again.audit() == home.accesses.audit() == 606


def test_a_process_forked_while_another_thread_writes_can_write(home: Home) -> None:
    """The lock that it was born with is nobody's to open."""
    assert home.accesses.size() == 5
    with home.accesses._mutex:
        child = os.fork()
        if not child:
            signal.alarm(20)
            home.accesses.record(AccessKind.ACTED, caller="a child")
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert home.accesses.entries(limit=1)[0].caller == "a child"


# ------------------------------------------------------------------------------------------- evidence


def test_a_checkpoint_pins_what_is_there(home: Home) -> None:
    """Signed under the log's own name, and good as long as nothing before it changes."""
    note = home.accesses.checkpoint()
    pinned = parse_checkpoint(verify_note(note, [home.accesses.verifier]))
    assert (pinned.origin, pinned.tree_size) == (f"{home.settings.origin}/access", 5)
    home.accesses.record(AccessKind.ACTED, caller="x")
    assert home.accesses.audit(note) == 6


def test_the_ledgers_checkpoint_is_none_of_the_access_log(home: Home) -> None:
    """They have different keys and names."""
    other = Home.create(home.root.with_name("other")).accesses.checkpoint()
    for note in (other, b"", b"nonsense", home.accesses.checkpoint()[:-20]):
        with pytest.raises(AssentError):
            home.accesses.audit(note)


TAMPERING = {
    "a caller": "UPDATE event SET caller = 'nobody' WHERE leaf_index = 1",
    "a purpose": "UPDATE event SET purpose = '' WHERE leaf_index = 3",
    "a person": "UPDATE event SET person = '' WHERE leaf_index = 1",
    "a subject": "UPDATE event SET about = '{}' WHERE leaf_index = 1",
    "an instant": "UPDATE event SET recorded_at = recorded_at + 1 WHERE leaf_index = 1",
    "a row taken out": "DELETE FROM event WHERE leaf_index = 1",
    "the last taken out": "DELETE FROM event WHERE leaf_index = 4",
    "two in the other order": "UPDATE event SET leaf_index = 3 - leaf_index + 100 WHERE leaf_index IN (1, 2);"
    "UPDATE event SET leaf_index = leaf_index - 100 WHERE leaf_index > 99",
    "one more": "INSERT INTO event SELECT 5, recorded_at, commitment, nonce, kind, caller, purpose, person, about"
    " FROM event WHERE leaf_index = 4",
    "the head": "UPDATE head SET tree_size = 3",
    "no head": "DELETE FROM head",
    "a number for text": "UPDATE event SET caller = x'00ff' WHERE leaf_index = 1",
}


@pytest.mark.parametrize("name", TAMPERING)
def test_what_is_changed_behind_our_back_is_found(home: Home, name: str) -> None:
    """By the audit, whatever the triggers say, which the owner of the file can drop."""
    home.accesses.close()
    with sqlite3.connect(home.root / "access.db") as connection:
        for (trigger,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.executescript(TAMPERING[name])
    connection.close()
    with pytest.raises(EvidenceError):
        Home.open(home.root).accesses.audit()


@pytest.mark.parametrize("verb", ["UPDATE event SET caller = ''", "DELETE FROM event", "DELETE FROM head"])
def test_accidents_are_stopped_by_the_database(home: Home, verb: str) -> None:
    """Nobody changes a line by mistake."""
    with sqlite3.connect(home.root / "access.db") as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(verb)
    connection.close()


def test_yesterdays_copy_is_refused(home: Home, tmp_path: Path) -> None:
    """The anchor beside the keys knows that there was more."""
    copy = tmp_path / "yesterday.db"
    home.accesses.size()
    home.accesses.close()
    shutil.copy(home.root / "access.db", copy)
    home.accesses.record(AccessKind.ACTED, caller="x")
    home.accesses.close()
    for path in home.root.glob("access.db*"):
        path.unlink()
    shutil.copy(copy, home.root / "access.db")
    log = Home.open(home.root).accesses
    for attempt in (log.size, log.entries, lambda: log.record(AccessKind.ACTED, caller="x")):
        with pytest.raises(EvidenceError, match="has held 6"):
            attempt()


BROKEN: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "no database": lambda path: path.write_bytes(b"nonsense" * 1_000),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_without_the_log_nothing_is_written_down_and_it_says_so(home: Home, name: str) -> None:
    """It is not made anew: who takes it away does not get an empty one."""
    home.accesses.close()
    for path in home.root.glob("access.db-*"):
        path.unlink()
    BROKEN[name](home.root / "access.db")
    with pytest.raises((Unavailable, EvidenceError)):
        Home.open(home.root).accesses.record(AccessKind.ACTED, caller="x")


def test_a_home_of_an_earlier_build_gets_one(home: Home) -> None:
    """With neither the log nor its anchor."""
    home.accesses.close()
    for path in home.root.glob("access.db*"):
        path.unlink()
    home.keyring.anchor(f"{home.settings.origin}/access").unlink()
    assert Home.open(home.root).accesses.record(AccessKind.ACTED, caller="x") == 0


def test_nobody_makes_a_second_one(home: Home) -> None:
    """In the place of the one that is there."""
    log = home.accesses
    with pytest.raises(Conflict):
        AccessLog.create(home.root / "access.db", log._signer, log._anchor_path, home.data_keys)


# ------------------------------------------------------------------------------------------- who asks


def test_the_caller_is_whom_the_way_in_names() -> None:
    """Within it, and the process's user outside."""
    outside = current_caller()
    assert outside.startswith("local:")
    with calling_as("modeler:王芳"):
        assert current_caller() == "modeler:王芳"
        with calling_as("officer:x"):
            assert current_caller() == "officer:x"
        assert current_caller() == "modeler:王芳"
    assert current_caller() == outside


@pytest.mark.parametrize("name", ["", "a\nb", "\x1b[2J", "x" * 201])
def test_what_is_no_name_is_refused(name: str) -> None:
    """A line of the log is one line."""
    with pytest.raises(BadInput), calling_as(name):
        pass


def test_what_the_log_holds_is_text_that_reads_back(home: Home) -> None:
    """Any script, quotes, braces."""
    odd = {"report": "\"}]';--", "名称": "报告 🙂"}
    home.accesses.record(AccessKind.REPORTED, caller="审计:ü", about=odd)
    assert home.accesses.entries(limit=1)[0].about == odd
    assert json.dumps(odd, ensure_ascii=False, sort_keys=True)
