"""The ledger between processes: at the same time, and killed."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from consent.ledger import Ledger
from consent.notes import Signer
from tests.consent.consent_samples import given

KILLS = 20


class Nursery:
    """The process that forks the writers; see `ledger_writer`."""

    def __init__(self, ledger: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.consent.ledger_writer", str(ledger)],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.acknowledged: dict[str, int] = {}

    def close(self) -> None:
        self._in.close()
        assert self._process.wait(60) == 0

    @property
    def _in(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin

    def start(self, batches: int) -> int:
        self._in.write(f"start {batches}\n")
        self._in.flush()
        return int(self._read_until("pid"))

    def wait_for(self, writers: int) -> None:
        self._in.write(f"wait {writers}\n")
        self._in.flush()
        for _ in range(writers):
            self._read_until("dead")

    def wait_for_an_ack(self) -> None:
        self._read_until("ack")

    def _read_until(self, word: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            first, *rest = line.split()
            if first == "ack":
                start = int(rest[0])
                self.acknowledged |= {event_id: start + i for i, event_id in enumerate(rest[1:])}
            if first == word:
                return rest[0]
        raise AssertionError("the writers' process ended")


@pytest.fixture
def path(tmp_path: Path, signer: Signer) -> Path:
    Ledger.create(tmp_path / "ledger.db", signer).close()
    return tmp_path / "ledger.db"


@pytest.fixture
def nursery(path: Path) -> Iterator[Nursery]:
    nursery = Nursery(path)
    yield nursery
    nursery.close()


def require_all_there(path: Path, signer: Signer, acknowledged: dict[str, int]) -> int:
    """Everything acknowledged stands where it was acknowledged, the order is dense and the audit clean."""
    ledger = Ledger.open(path, signer)
    report = ledger.audit()
    assert report.findings == ()
    rows = [row for chunk in ledger.rows(("event_id", "leaf_index", "recorded_at")) for row in chunk]
    assert [index for _, index, _ in rows] == list(range(report.entries))
    assert [at for *_, at in rows] == sorted(at for *_, at in rows)
    assert acknowledged.items() <= {event_id: index for event_id, index, _ in rows}.items()
    ledger.close()
    return report.entries


def test_eight_processes_write_one_order(path: Path, signer: Signer, nursery: Nursery) -> None:
    """Eight writers at once: nobody is turned away, and the order is dense and verified."""
    for _ in range(8):
        nursery.start(5)
    nursery.wait_for(8)
    assert require_all_there(path, signer, nursery.acknowledged) == len(nursery.acknowledged)


def test_a_writer_killed_at_any_moment_loses_nothing_it_acknowledged(
    path: Path, signer: Signer, nursery: Nursery
) -> None:
    """SIGKILL at random moments: what came back from `append` is on record, and the audit passes."""
    chance = random.Random()
    for _ in range(KILLS):
        pid = nursery.start(100_000)
        nursery.wait_for_an_ack()
        time.sleep(chance.random() * 0.03)
        os.kill(pid, signal.SIGKILL)
        nursery.wait_for(1)
    entries = require_all_there(path, signer, nursery.acknowledged)
    assert entries >= len(nursery.acknowledged) >= KILLS
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    ledger = Ledger.open(path, signer)
    assert ledger.append([given(origin="imported")])[0].leaf_index == entries
