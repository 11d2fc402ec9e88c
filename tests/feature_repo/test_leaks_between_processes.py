"""One process withdraws, another reads: no value after the withdrawal was acknowledged.

The writer notes when each statement was begun and when the ledger acknowledged it; the reader notes when each read
was begun and when it ended, on the same clock. Afterwards the two are laid side by side: a value is lawful if consent
may have been in force at some moment of the read, and a null if it may not have been.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from consent.clock import now_utc
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d"]
PEOPLE = 4
#: Statements that the writer makes; a long run makes more.
STATEMENTS = max(200, int(os.environ.get("ASSENT_CASES", "20000")) // 100)

WRITER = """
import json, random, sys, time
from datetime import timedelta
from pathlib import Path
from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import Event, Grant, Kind, Notice

home, dice = Home.open(Path(sys.argv[1])), random.Random(7)
people, given = sys.argv[3:], dict.fromkeys(sys.argv[3:], False)
notice = Notice("onboarding", "3", "en-IN", "0" * 64)
for number in range(int(sys.argv[2])):
    key, now = dice.choice(people), now_utc()
    kind = Kind.WITHDRAWN if given[key] else Kind.GIVEN
    terms = Grant(f"g{number}", notice, "IN", "toggle", now + timedelta(9), now - timedelta(99))
    grant = terms if kind is Kind.GIVEN else None
    event = Event(new_event_id(), kind, key, "spending", "credit_scoring", now, grant=grant)
    begun = time.monotonic_ns()
    home.ledger.append([event])
    print(json.dumps([key, kind is Kind.GIVEN, begun, time.monotonic_ns()]), flush=True)
    given[key] = not given[key]
    time.sleep(dice.choice([0, 0, 0.01, 0.05]))
"""


@dataclass(frozen=True)
class Read:
    """One person's answer in one read."""

    key: str
    given: bool
    begun: int
    ended: int


def may_have_been(state: bool, statements: list[tuple[bool, int, int]], begun: int, ended: int) -> bool:
    """Whether consent may have been in this state at some moment of a read.

    Args:
        statements: one person's, in order: given or withdrawn, begun, acknowledged. Before them there was none.
    """
    since, was = 0, False
    for given, about_to, acknowledged in [*statements, (not state, 2**63, 2**63)]:
        if was == state and since <= ended and acknowledged >= begun:
            return True
        since, was = about_to, given
    return False


@pytest.mark.filterwarnings("ignore")
def test_no_value_after_a_withdrawal_was_acknowledged_in_another_process(tmp_path: Path) -> None:
    """Whatever the two processes do at the same time, online and in historical fetches."""
    lender = Lender(tmp_path / "home")
    store = lender.stores[PURPOSE]
    people = [lender.agrees("model_training") for _ in range(PEOPLE)]
    lender.publish("spending", [(key, -1, {"spend_7d": float(i)}) for i, key in enumerate(people)])
    cells = {f.name: 1.0 for f in store.get_feature_view("spending_v1").features}
    store.push("spending_v1_push", lender.entities(*((key, -1) for key in people)).assign(**cells))
    command = [sys.executable, "-c", WRITER, str(lender.home.root), str(STATEMENTS), *people]
    log = tmp_path / "said.jsonl"
    with log.open("w") as out:
        writer = subprocess.Popen(command, stdout=out)
        reads = [read for answers in _reads(lender, people, writer) for read in answers]
    assert writer.wait() == 0
    said: dict[str, list[tuple[bool, int, int]]] = defaultdict(list)
    for line in log.read_text().splitlines():
        key, given, begun, acknowledged = json.loads(line)
        said[key].append((given, begun, acknowledged))
    for read in reads:
        assert may_have_been(read.given, said[read.key], read.begun, read.ended), read
    assert sum(not given for statements in said.values() for given, _, _ in statements) >= STATEMENTS // 3
    assert min(sum(read.given for read in reads), sum(not read.given for read in reads)) > STATEMENTS // 4


def _reads(lender: Lender, people: list[str], writer: subprocess.Popen[bytes]) -> Iterator[list[Read]]:
    """Read until the writer has ended: mostly online, now and then in a historical fetch."""
    store = lender.stores[PURPOSE]
    request: dict[str, Any] = {"features": REFS, "entity_rows": [{"subject_key": key} for key in people]}
    for number in itertools.count():
        begun = time.monotonic_ns()
        if number % 8:
            values = store.get_online_features(**request).to_dict()["spend_7d"]
        else:
            rows = pd.DataFrame({"subject_key": people, "event_timestamp": now_utc()})
            job = store.get_historical_features(entity_df=rows, features=REFS)
            values = job.to_arrow()["spend_7d"].to_pylist()
        ended = time.monotonic_ns()
        pairs = zip(people, values, strict=True)
        yield [Read(key, value is not None, begun, ended) for key, value in pairs]
        if writer.poll() is not None:
            return
