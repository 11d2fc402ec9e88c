"""The officer's reports on a large ledger: seconds of each, on a fresh process and once it is warm.

python benchmarks/bench_reports.py [--people 250000] [--events 1000000]

A plain figure stands beside: one pass over the ledger's rows in SQLite. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import secrets
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from consent.catalog import PURPOSES, SOURCES
from consent.clock import now_utc
from consent.home import CONFIG_FILE, Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Grant, Kind, Notice
from feature_repo.stores.members import write_members
from feature_repo.stores.receipts import Receipt, ViewOutcome, write_receipt
from reports.catalog import REPORTS, make_report
from reports.query import Query

_NOTICE = Notice("consent-form", "3", "zh-CN", "ab" * 32)
_PAIRS = [(source, purpose) for source in SOURCES for purpose in PURPOSES]
_AT_A_TIME = 100_000
_PAGE = 25
CONTROLLER = """
[controller]
name = "Bench Ltd"
address = "1 Example Road"
contact = "privacy@lender.example"
url = "https://lender.example"
withdraw_at = "https://lender.example/consent"
storage_locations = ["CN"]
"""


def statements(people: int, events: int) -> Iterator[Event]:
    """Each person agrees to several things over the last year; one in ten withdraws, a few ask for erasure."""
    dice, now = random.Random(7), now_utc()
    each = max(1, events // people - 1)
    for number in range(people):
        key = secrets.token_hex(16)
        at = now - timedelta(days=dice.uniform(1, 365))
        for source, purpose in _PAIRS[:each]:
            ends = at + timedelta(days=dice.choice([200, 400, 700]))
            grant = Grant(secrets.token_hex(16), _NOTICE, "CN", "toggle", ends, at - timedelta(days=365))
            yield _imported(Kind.GIVEN, key, source, purpose, at, grant=grant)
        if number % 10 == 0:
            later = at + (now - at) * dice.random()
            yield _imported(Kind.WITHDRAWN, key, _PAIRS[0][0], ANY, later)
        if number % 10_000 == 1:
            yield _imported(Kind.ERASURE_REQUESTED, key, ANY, ANY, at)
        if number % 10_000 == 2:
            yield _imported(Kind.HOLD_PLACED, key, ANY, ANY, at, hold_id=secrets.token_hex(8), basis="order")


def _imported(kind: Kind, key: str, source: str, purpose: str, at: Any, **more: Any) -> Event:
    return Event(
        new_event_id(),
        kind,
        key,
        source,
        purpose,
        at,
        origin="imported",
        evidence_hash="e" * 64,
        **more,
    )


def prepare(place: Path, people: int, events: int) -> tuple[Home, str]:
    home = Home.create(place / "home")
    with home.path(CONFIG_FILE).open("a") as settings:
        settings.write(CONTROLLER)
    home, batch, someone, members = Home.open(home.root), [], "", []
    for event in statements(people, events):
        batch.append(event)
        if event.kind is Kind.WITHDRAWN:
            someone = event.subject_key
        if event.purpose == "model_training":
            members.append(event.subject_key)
        if len(batch) == _AT_A_TIME:
            home.ledger.append(batch)
            batch.clear()
    home.ledger.append(batch)
    fetch(home, members[: people // 2])
    return home, someone


def fetch(home: Home, members: list[str]) -> None:
    """A training set of half of the people, as a fetch leaves it behind."""
    draft = Receipt(
        receipt_id="",
        created_at=home.ledger.now(),
        caller="bench",
        purpose="model_training",
        full_feature_names=False,
        features=("spending_v1:spend_30d",),
        tables=(),
        ledger_size=home.ledger.size(),
        checkpoint=None,
        entity_rows=len(members),
        entities_hash="e" * 64,
        subjects=len(members),
        members_hash=write_members(home, members),
        views=(ViewOutcome("app_usage_v1", "app_usage", len(members), 0, {}),),
    )
    write_receipt(home, draft)


def timed(work: Callable[[], int]) -> tuple[float, float, int]:
    wall, cpu = time.perf_counter(), time.process_time()
    rows = work()
    return time.perf_counter() - wall, time.process_time() - cpu, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=250_000)
    parser.add_argument("--events", type=int, default=1_000_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home, someone = prepare(Path(place), given.people, given.events)
        figures = run(home, someone)
    figures["max_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(figures))


def run(home: Home, someone: str) -> dict[str, Any]:
    fresh = Home.open(home.root)
    size = fresh.ledger.size()
    with sqlite3.connect(home.path("ledger.db")) as db:
        scan = "SELECT kind, sum(length(commitment)) FROM event GROUP BY kind"
        wall, cpu, _ = timed(lambda: len(db.execute(scan).fetchall()))
    figures: dict[str, Any] = {"entries": size, "one pass in SQLite": [round(wall, 2), round(cpu, 2)]}
    print(f"{size:,} entries; one pass in SQLite {wall:.2f} s, {cpu:.2f} CPU-s")
    wall, cpu, _ = timed(lambda: fresh.gate.timeline().ledger_size)
    figures["gate read"] = [round(wall, 2), round(cpu, 2)]
    print(f"the gate reads the ledger once a process: {wall:.2f} s, {cpu:.2f} CPU-s")
    print(f"{'report':<22}{'first page':>12}{'again':>10}{'CPU again':>11}{'rows':>8}")
    for name, definition in REPORTS.items():
        about = {"subject_key": someone} if "subject_key" in definition.needs else {}
        query = Query(**about, limit=_PAGE)
        first, again = (timed(lambda n=name, q=query: page(fresh, n, q)) for _ in range(2))
        figures[name] = [round(first[0], 3), round(again[0], 3), round(again[1], 3)]
        print(f"{name:<22}{first[0]:>11.3f}s{again[0]:>9.3f}s{again[1]:>10.3f}s{again[2]:>8}", flush=True)
    return figures


def page(home: Home, name: str, query: Query) -> int:
    return sum(1 for _ in make_report(home, name, query).rows)


if __name__ == "__main__":
    main()
