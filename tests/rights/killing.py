"""Kills a job before each of its durable steps in turn, every time on a fresh copy of the same home.

A durable step is a sync, a rename, a deletion, the commit of a database, emptying its write-ahead log, or advancing
the ledger's anchor. One process imports everything once and forks a child for each kill, and another for what is to
be looked at afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

#: All kill points when it is set, as in the nightly tests.
KILLS = "ASSENT_KILLS"
_NEVER = 1 << 30


@dataclass(frozen=True)
class Kills:
    """What was found after a job that nobody interrupted, and after each kill, by the step before which it came."""

    whole: dict[str, Any]
    killed: list[tuple[str, dict[str, Any]]]


@dataclass(frozen=True)
class Story:
    """What is killed.

    Attributes:
        module: has ``job(place)`` and ``afterwards(place)``.
        place: holds ``home`` and ``home.keys``, which are restored before each run.
        every: at every so many steps it is killed, at the first of each kind, and at the last but one; at each step
            where `KILLS` is set.
    """

    module: str
    place: Path
    every: int


def kill_at_steps(*stories: Story) -> list[Kills]:
    """Run each story to its end once, then kill it at its steps."""
    told = [(s.module, str(s.place), 1 if KILLS in os.environ else s.every) for s in stories]
    done = subprocess.run(
        [sys.executable, "-m", __name__, json.dumps(told)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, list[tuple[str, Any]]] = {s.module: [] for s in stories}
    for line in done.stdout.splitlines():
        name, step, what = json.loads(line)
        found[name].append((step, what))
    assert all(step for each in found.values() for step, _ in each[1:]), "a kill came too late"
    return [Kills(each[0][1], each[1:]) for each in found.values()]


def on_each_step(call: Callable[[str], None]) -> None:
    """Have something called before each durable step of this process, with the step's name."""

    def stepped(function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            call(name(*args))
            return function(*args, **kwargs)

        return step

    os.fsync = stepped(os.fsync, lambda file: f"sync {_named(file)}")
    os.pwrite = stepped(os.pwrite, lambda file, *_: f"write {_named(file)}")
    for verb in ("replace", "unlink"):
        setattr(Path, verb, stepped(getattr(Path, verb), lambda path, *_, verb=verb: f"{verb} {path.name}"))

    class Connection(sqlite3.Connection):
        written = 0

        def commit(self) -> None:
            self._about_to_commit()
            super().commit()

        def __exit__(self, *error: Any) -> Any:
            self._about_to_commit()
            return super().__exit__(*error)

        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            if "wal_checkpoint" in sql:
                call(f"checkpoint {self._name()}")
            return super().execute(sql, *values)

        def _about_to_commit(self) -> None:
            if self.total_changes > self.written:
                self.written = self.total_changes
                call(f"commit {self._name()}")

        def _name(self) -> str:
            return Path(super().execute("PRAGMA database_list").fetchone()[2]).name

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        return connects(*args, **{"factory": Connection, **kwargs})

    connects = sqlite3.connect
    sqlite3.connect = sqlite3.dbapi2.connect = connect  # type: ignore[attr-defined]


def _named(file: int) -> str:
    return Path(f"/proc/self/fd/{file}").readlink().name


# ------------------------------------------------------------------------------------------- the other process


_HOMES = ("home", "home.keys")


def _tell(stories: Sequence[tuple[str, str, int]]) -> None:
    modules = [import_module(name) for name, _, _ in stories]
    for module, (_, named, every) in zip(modules, stories, strict=True):
        place = Path(named)
        for part in _HOMES:
            shutil.copytree(place / part, place / "first" / part)
        steps = _tell_once(module, place, _NEVER)
        for point in sorted({*range(1, len(steps) + 1, every), *_first_of_each_kind(steps), len(steps) - 1}):
            _tell_once(module, place, point)


def _first_of_each_kind(steps: Sequence[str]) -> list[int]:
    kinds = [step.split()[0] for step in steps]
    return [kinds.index(kind) + 1 for kind in set(kinds)]


def _tell_once(module: Any, place: Path, point: int) -> list[str]:
    """Kill the job at one step; returns the steps that it comes to when it is not killed."""
    for part in _HOMES:
        shutil.rmtree(place / part)
        shutil.copytree(place / "first" / part, place / part)
    last: list[str] = []

    def step(what: str) -> None:
        last.append(what)
        if len(last) == point:
            (place / "step").write_bytes(what.encode())
            os.kill(os.getpid(), 9)

    def job() -> None:
        on_each_step(step)
        module.job(place)
        (place / "steps").write_bytes(json.dumps(last).encode())

    def afterwards() -> None:
        (place / "found").write_bytes(json.dumps(module.afterwards(place), default=str).encode())

    (place / "step").write_bytes(b"")
    _in_child(job)
    _in_child(afterwards)
    killed_at = (place / "step").read_text() or None
    print(json.dumps([module.__name__, killed_at, json.loads((place / "found").read_text())]), flush=True)
    steps: list[str] = json.loads((place / "steps").read_text())
    return steps


def _in_child(work: Callable[[], Any]) -> None:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -9):
        sys.exit(f"a child ended with {code}")


if __name__ == "__main__":
    _tell(json.loads(sys.argv[1]))
