"""The ledger between processes: at the same time, killed, and with its server killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from consent.evidence.notes import Signer
from consent.ledger import Ledger
from tests.behaviours.ledger_writer import statement
from tests.behaviours.shops import PostgresShop, Shop
from tests.consent.consent_samples import given

#: Writers killed on each backend; a long run asks for more.
KILLS = int(os.environ.get("ASSENT_KILLS", "20"))


class Nursery:
    """The process that forks the writers; see `ledger_writer`.

    Attributes:
        acknowledged: the events that came back, and where they are.
        tried: the batches that were sent.
        failures: what writers ended with.
    """

    def __init__(self, shop: Shop) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.behaviours.ledger_writer", str(shop.database), str(shop.anchor)],
            cwd=Path(__file__).resolve().parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.acknowledged: dict[str, int] = {}
        self.tried: list[list[str]] = []
        self.failures: list[str] = []

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
        """Return when a batch came back; or when a writer has ended for a reason of its own."""
        self._read_until("ack", "failed")

    def _read_until(self, *words: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            first, *rest = line.split()
            if first == "ack":
                start = int(rest[0])
                self.acknowledged |= {event_id: start + i for i, event_id in enumerate(rest[1:])}
            elif first == "try":
                self.tried.append(rest)
            elif first == "failed":
                self.failures.append(line)
            if first in words:
                return rest[0]
        raise AssertionError("the writers' process ended")


@pytest.fixture
def nursery(shop: Shop, signer: Signer) -> Iterator[Nursery]:
    """Writers of a new ledger."""
    shop.create(signer).close()
    nursery = Nursery(shop)
    yield nursery
    nursery.close()


def require_all_there(shop: Shop, signer: Signer, nursery: Nursery) -> Ledger:
    """Every acknowledged event stands where it was acknowledged, a batch is there whole or not at all, nothing is
    there twice, the order is dense, and the audit clean; and what is sent again changes none of it.
    """
    assert nursery.failures == []
    ledger = shop.open(signer)
    report = ledger.audit()
    assert report.findings == ()
    rows = [row for chunk in ledger.rows(("event_id", "leaf_index", "recorded_at")) for row in chunk]
    assert [index for _, index, _ in rows] == list(range(report.entries))
    assert [at for *_, at in rows] == sorted(at for *_, at in rows)
    found = {event_id: index for event_id, index, _ in rows}
    assert len(found) == report.entries
    assert nursery.acknowledged.items() <= found.items()
    assert found.keys() <= {event_id for batch in nursery.tried for event_id in batch}
    for batch in nursery.tried:
        places = [found[event_id] for event_id in batch if event_id in found]
        assert places in ([], list(range(places[0], places[0] + len(batch))) if places else [])
    sent_again = ledger.append([statement(event_id) for event_id in nursery.acknowledged])
    assert [r.leaf_index for r in sent_again] == list(nursery.acknowledged.values())
    for batch in nursery.tried:
        ledger.append([statement(event_id) for event_id in batch])
    assert ledger.size() == len({event_id for batch in nursery.tried for event_id in batch})
    assert ledger.audit().findings == ()
    return ledger


def test_eight_processes_write_one_order(shop: Shop, signer: Signer, nursery: Nursery) -> None:
    """Eight writers at once: nobody is turned away, and the order is dense and verified."""
    for _ in range(8):
        nursery.start(5)
    nursery.wait_for(8)
    assert require_all_there(shop, signer, nursery).size() == len(nursery.acknowledged)


def test_opening_while_others_write_is_no_broken_evidence(
    shop: Shop, signer: Signer, nursery: Nursery
) -> None:
    """The anchor may be ahead of what somebody who opens the ledger has just read; nothing is lost."""
    writers = [nursery.start(100_000) for _ in range(2)]
    nursery.wait_for_an_ack()
    try:
        for _ in range(150):
            ledger = shop.open(signer)
            ledger.size()
            ledger.decide("0" * 32, "spending", "credit_scoring")
            ledger.close()
    finally:
        for pid in writers:
            os.kill(pid, signal.SIGKILL)
        nursery.wait_for(2)
    require_all_there(shop, signer, nursery)


def test_writers_killed_at_any_moment_lose_nothing_they_acknowledged(
    shop: Shop, signer: Signer, nursery: Nursery
) -> None:
    """SIGKILL at random moments, two writers at a time: what came back from `append` is on record, whole."""
    chance = random.Random()
    for _ in range(0, KILLS, 2):
        pids = [nursery.start(100_000) for _ in range(2)]
        nursery.wait_for_an_ack()
        for pid in pids:
            time.sleep(chance.random() * 0.03)
            os.kill(pid, signal.SIGKILL)
        nursery.wait_for(2)
    ledger = require_all_there(shop, signer, nursery)
    assert len(nursery.acknowledged) >= KILLS / 2
    size = ledger.size()
    assert ledger.append([given(origin="imported")])[0].leaf_index == size
    if shop.backend == "sqlite":
        assert shop.plainly("PRAGMA integrity_check") == [("ok",)]


def test_a_server_killed_under_its_writers_loses_nothing(
    shop: Shop, signer: Signer, nursery: Nursery
) -> None:
    """Stopped at once and started again while four write: they send again what did not come back."""
    if not isinstance(shop, PostgresShop):
        pytest.skip("a file has no server")
    for _ in range(4):
        nursery.start(25)
    for _ in range(8):
        nursery.wait_for_an_ack()
    shop.server.stop()
    shop.server.start()
    nursery.wait_for(4)
    assert len(nursery.tried) == 100
    assert require_all_there(shop, signer, nursery).size() == len(nursery.acknowledged)
