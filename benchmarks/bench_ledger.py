"""The consent ledger beside plain tables and plain joins, in the same run.

python benchmarks/bench_ledger.py [--events 1000000] [--large 10000000] [--rounds 3]

Each figure is a ratio to a peer that does the same without proof or consent, measured in turn with it; CPU is the
process's own (for PostgreSQL with the server's), the best of the rounds. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from consent.catalog import PURPOSES, SOURCES
from consent.clock import micros, now_utc
from consent.database import transaction
from consent.encoding import commit_row, entry, to_row
from consent.evidence.merkle import leaf_hash
from consent.evidence.notes import Signer
from consent.ledger import Ledger, new_event_id
from consent.nouns import Event, Grant, Kind, Notice
from consent.schema import EVENT_COLUMNS, event_table
from consent.timeline import Book, Timeline, private_duckdb, read_events

#: Path of the repository, for the server's binaries and the child processes.
ROOT = Path(__file__).resolve().parents[1]
BARS = {
    "durable_append": 1.35,
    "bulk_cpu": 2.2,
    "group_commit": 10,
    "postgres_copy_cpu": 1.6,
    "audit_us": 8,
    "decide_p50_us": 50,
    "decide_p99_us": 1000,
    "gate": 1.3,
    "intervals_gb": 2.0,
}
_NOTICE = Notice("consent-form", "3", "zh-CN", "ab" * 32)
_PAIRS = [(source, purpose) for source in SOURCES for purpose in PURPOSES]


def cpu() -> float:
    """CPU seconds of this process, all threads."""
    return time.process_time()


def grants(number: int, each: int = 1) -> list[Event]:
    """Grants effective now, so many for each person, as a lender's export has them: person by person."""
    now = now_utc()
    expires_at, data_from = now + timedelta(days=365), now - timedelta(days=365)
    made, subject = [], ""
    for i in range(number):
        if i % each == 0:
            subject = secrets.token_hex(16)
        source, purpose = _PAIRS[i % each]
        grant = Grant(secrets.token_hex(16), _NOTICE, "CN", "toggle, default off", expires_at, data_from)
        made.append(Event(new_event_id(), Kind.GIVEN, subject, source, purpose, now, grant))
    return made


@dataclass
class Bench:
    """Where this run's files are, and what it has found."""

    place: Path
    rounds: int
    ratios: dict[str, float]

    def ledger(self, name: str) -> Ledger:
        """A new ledger with its anchor, on SQLite."""
        signer = Signer("assent/bench", Ed25519PrivateKey.generate())
        return Ledger.create(self.place / f"{name}.db", signer, anchor=self.place / f"{name}.anchor")

    def say(self, name: str, value: float, detail: str) -> None:
        """A figure with its bar and what it was made of."""
        self.ratios[name] = round(value, 3)
        good = value >= BARS[name] if name == "group_commit" else value <= BARS[name]
        verdict = "ok" if good else "NOT REACHED"
        print(f"{name:<18} {value:8.2f}  bar {BARS[name]:<6} {verdict:<12} {detail}", flush=True)

    def note(self, name: str, value: float, detail: str) -> None:
        """A figure without a bar."""
        self.ratios[name] = round(value, 3)
        print(f"{name:<18} {value:8.2f}  {'':<22} {detail}", flush=True)


def plain_table(path: Path) -> sqlite3.Connection:
    """The same columns and indexes in SQLite, as durable, without proof and guards."""
    db = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        db.execute(f"PRAGMA {pragma}")
    db.execute(str(CreateTable(event_table).compile(dialect=sqlite.dialect())))
    for index in event_table.indexes:
        db.execute(str(CreateIndex(index).compile(dialect=sqlite.dialect())))
    return db


#: What the gate is measured against: is the person known at all?
_SEMI_JOIN = "SELECT row_number() OVER () AS position FROM asked SEMI JOIN known USING (subject_key)"
_INSERT = f"INSERT INTO event ({', '.join(EVENT_COLUMNS)}) VALUES ({', '.join('?' * len(EVENT_COLUMNS))})"


def plain_rows(events: list[Event], start: int) -> list[tuple[Any, ...]]:
    at = micros(now_utc())
    return [(start + i, *to_row(event, at).values(), b"", b"") for i, event in enumerate(events)]


def insert_plain(db: sqlite3.Connection, events: list[Event], start: int) -> None:
    rows = plain_rows(events, start)
    db.execute("BEGIN IMMEDIATE")
    db.executemany(_INSERT, rows)
    db.execute("COMMIT")


def durable_append(bench: Bench, number: int = 400) -> None:
    """One event a transaction: wall clock, the two in turn."""
    ledger, plain = bench.ledger("single"), plain_table(bench.place / "single-plain.db")
    ours, theirs = [], []
    for i, event in enumerate(grants(number)):
        start = time.perf_counter()
        ledger.append([event])
        middle = time.perf_counter()
        insert_plain(plain, [event], i)
        ours.append(middle - start)
        theirs.append(time.perf_counter() - middle)
    mine, other = statistics.median(ours), statistics.median(theirs)
    bench.say(
        "durable_append", mine / other, f"{mine * 1e6:.0f} us beside {other * 1e6:.0f} us, median of {number}"
    )
    bench.ratios["single_append_us"] = round(mine * 1e6, 1)


def _sync_us(place: Path) -> float:
    """Median microseconds of appending a page to a file and making it durable."""
    took = []
    with (place / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - start) * 1e6)
    return statistics.median(took)


def bulk(bench: Bench, number: int, batch: int = 20_000) -> Ledger:
    """Many events a transaction: CPU, batch by batch in turn; the best round of each."""
    ledger, plain = bench.ledger("bulk"), plain_table(bench.place / "bulk-plain.db")
    ours, theirs, done = [], [], 0
    while done < number:
        events = grants(batch, 5)
        gc.collect()
        start = cpu()
        ledger.append(events)
        middle = cpu()
        insert_plain(plain, events, done)
        ours.append(middle - start)
        theirs.append(cpu() - middle)
        done += batch
    mine, other = statistics.median(ours) / batch * 1e6, statistics.median(theirs) / batch * 1e6
    detail = f"{mine:.1f} us beside {other:.1f} us an event, median of {len(ours)} batches"
    bench.say("bulk_cpu", mine / other, detail)
    stored = _median_cpu(lambda events: _store(ledger, events), batch, 5)
    bench.note(
        "bulk_store_cpu", stored / other, f"{stored:.1f} us: the same without admission, as prototyped"
    )
    plain.close()
    return ledger


def _store(ledger: Ledger, events: list[Event]) -> None:
    """Encode, hash and store events, without asking whether they may join: the ledger's cost as a data structure."""
    writer = ledger._writer
    with writer._page() as page:
        at, rows, leaves = micros(page.recorded_at), [], []
        for i, event in enumerate(events):
            row, nonce = to_row(event, at), secrets.token_bytes(16)
            committed = commit_row(row, nonce)
            rows.append((page.size + i, *row.values(), nonce, committed))
            leaves.append(leaf_hash(entry(at, committed)))
        writer._store(page, SimpleNamespace(rows=rows, leaf_hashes=leaves))


def _median_cpu(job: Callable[[list[Event]], object], batch: int, rounds: int) -> float:
    """CPU microseconds an event."""
    spent = []
    for _ in range(rounds):
        events = grants(batch, 5)
        gc.collect()
        start = cpu()
        job(events)
        spent.append(cpu() - start)
    return statistics.median(spent) / batch * 1e6


def group_commit(bench: Bench, callers: int = 64, each: int = 60) -> None:
    """Many callers at once, against one transaction after the other, and against a transaction for each caller."""

    def rate(append: Callable[[list[Event]], object], threads: int, each: int) -> float:
        work = [grants(each) for _ in range(threads)]
        jobs = [threading.Thread(target=lambda mine=mine: [append([e]) for e in mine]) for mine in work]
        start = time.perf_counter()
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
        return threads * each / (time.perf_counter() - start)

    alone, together, crowd = [], [], []
    lock = threading.Lock()
    ledger = bench.ledger("group")

    def one_by_one(events: list[Event]) -> None:
        with lock:
            ledger.append(events)

    for _ in range(bench.rounds):
        alone.append(rate(ledger.append, 1, 300))
        together.append(rate(ledger.append, callers, each))
        crowd.append(rate(one_by_one, callers, 5))
    mine, other, own = map(statistics.median, (together, alone, crowd))
    detail = (
        f"{mine:.0f}/s of {callers} callers beside {other:.0f}/s one after the other"
        f" ({own:.0f}/s if each of {callers} has a transaction of its own)"
    )
    bench.say("group_commit", mine / own, detail)
    bench.ratios["group_commit_to_single_caller"] = round(mine / other, 2)


def audit(bench: Bench, ledger: Ledger) -> None:
    """Replay everything."""
    best, entries = float("inf"), 0
    for _ in range(bench.rounds):
        start = cpu()
        report = ledger.audit()
        best, entries = min(best, cpu() - start), report.entries
        assert not report.findings
    bench.say("audit_us", best / entries * 1e6, f"CPU an event, {entries} events")


def decide(bench: Bench, ledger: Ledger, questions: int = 20_000) -> None:
    """One question about one person."""
    keys = [row[0] for chunk in ledger.rows(("subject_key",), 0, questions) for row in chunk]
    for key in keys[:1000]:
        ledger.decide(key, "spending", "credit_scoring")
    took = []
    for key in keys:
        start = time.perf_counter()
        ledger.decide(key, "spending", "credit_scoring")
        took.append((time.perf_counter() - start) * 1e6)
    centiles = statistics.quantiles(took, n=100)
    bench.say("decide_p50_us", centiles[49], f"{ledger.size()} events, {len(keys)} questions")
    bench.say("decide_p99_us", centiles[98], "")


def postgres(bench: Bench, number: int = 100_000, batch: int = 20_000) -> None:
    """PostgreSQL, many events a transaction: CPU of client and server, beside COPY into a table without an index."""
    sys.path.insert(0, str(ROOT))
    from tests.postgres import postgres_server

    with postgres_server() as url:
        signer = Signer("assent/bench", Ed25519PrivateKey.generate())
        ledger = Ledger.create(url, signer, anchor=bench.place / "pg.anchor")
        engine = ledger._engine
        with transaction(engine, "bench", write=True) as connection:
            for name in ("plain", "plain_indexed"):
                columns = str(CreateTable(event_table).compile(engine)).replace("event", name, 1)
                connection.exec_driver_sql(
                    columns.replace("UNIQUE (event_id)", "CHECK (true)").replace(
                        "PRIMARY KEY (leaf_index)", "CHECK (true)"
                    )
                    if name == "plain"
                    else columns
                )
            connection.exec_driver_sql("CREATE INDEX ON plain_indexed (subject_key, leaf_index)")
        spent: dict[str, list[float]] = {"ours": [], "store": [], "plain": [], "plain_indexed": []}
        for start in range(0, number, batch):
            events, more = grants(batch, 5), grants(batch, 5)
            jobs: dict[str, Callable[[], object]] = {
                "ours": lambda events=events: ledger.append(events),
                "store": lambda more=more: _store(ledger, more),
                "plain": lambda events=events, start=start: _copy(engine, "plain", events, start),
                "plain_indexed": lambda events=events, start=start: _copy(
                    engine, "plain_indexed", events, start
                ),
            }
            for name, job in jobs.items():
                spent[name].append(_spent(url, job))
        mine, store, bare, index = (statistics.median(x) / batch * 1e6 for x in spent.values())
        bench.say(
            "postgres_copy_cpu", mine / bare, f"{mine:.1f} us beside {bare:.1f} us an event without an index"
        )
        bench.note(
            "postgres_store_cpu", store / bare, f"{store:.1f} us: the same without admission, as prototyped"
        )
        bench.note("postgres_store_to_indexed", store / index, f"beside {index:.1f} us with the same indexes")
        ledger.close()


def _copy(engine: sa.Engine, table: str, events: list[Event], start: int) -> None:
    import consent.queries as queries

    with transaction(engine, "bench", write=True) as connection:
        columns = ", ".join(EVENT_COLUMNS)
        queries._copy(
            connection, f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)", plain_rows(events, start)
        )


def _spent(url: str, job: Callable[[], object]) -> float:
    """CPU of this process and of every process of the server."""
    gc.collect()
    before = cpu() + _server_cpu(url)
    job()
    return cpu() + _server_cpu(url) - before


def _server_cpu(url: str) -> float:
    data = Path(url.split("host=")[1]).parent / "data" / "postmaster.pid"
    master = data.read_text().split()[0]
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == master or stat.parent.name == master:
            ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return ticks / os.sysconf("SC_CLK_TCK")


def gate(bench: Bench, rows: int, subjects: int) -> None:
    """Deciding on many records beside a semi-join that only asks whether the person is known."""
    events = _events(subjects * 12 // 10, subjects)
    book = Book()
    book.add(events)
    timeline = Timeline(book)
    asked = _records(rows, subjects)
    now = now_utc()
    timeline.judge(asked["subject_key"].slice(0, 10), "spending", "credit_scoring", data_at=None, as_of=now)
    plain = private_duckdb()
    known = timeline.usable_of("spending", "credit_scoring").select(["subject_key"])
    plain.execute("CREATE TABLE known (subject_key VARCHAR)")
    plain.register("usable", known)
    plain.execute("INSERT INTO known SELECT DISTINCT subject_key FROM usable")
    plain.register("asked", asked)
    ours, theirs = [], []
    for _ in range(bench.rounds):
        start = cpu()
        reasons = timeline.judge(
            asked["subject_key"], "spending", "credit_scoring", data_at=asked["data_at"], as_of=now
        )
        middle = cpu()
        kept = plain.sql(_SEMI_JOIN).to_arrow_table()
        ours.append(middle - start)
        theirs.append(cpu() - middle)
    share = reasons.null_count / rows
    known_share = kept.num_rows / rows
    detail = f"{rows} rows, {share:.0%} allowed, {known_share:.0%} known"
    bench.say("gate", min(ours) / min(theirs), f"{min(ours):.2f} s beside {min(theirs):.2f} s, {detail}")


def _records(rows: int, subjects: int) -> pa.Table:
    """Records of random people with dates in the last year."""
    made = duckdb.connect()
    return made.sql(
        f"""SELECT md5((hash(i) % {subjects})::VARCHAR) AS subject_key,
            now()::TIMESTAMPTZ - to_days((hash(i * 7) % 365)::INTEGER) AS data_at FROM range({rows}) t(i)"""
    ).to_arrow_table()


def _events(number: int, subjects: int) -> Iterator[pa.RecordBatch]:
    """Random grants and withdrawals for spending and credit scoring, as the ledger gives them."""
    year = timedelta(days=365) // timedelta(microseconds=1)
    now = micros(now_utc())
    made = duckdb.connect()
    table = made.sql(
        f"""SELECT i AS leaf_index, CASE WHEN i < {subjects} THEN 'given' ELSE 'withdrawn' END AS kind,
            md5((CASE WHEN i < {subjects} THEN i ELSE hash(i) % {subjects} END)::VARCHAR) AS subject_key,
            'spending' AS source, 'credit_scoring' AS purpose,
            {now - year} + i AS effective_at, {now - year} + i AS recorded_at,
            CASE WHEN i < {subjects} THEN md5('g' || i) END AS grant_id,
            CASE WHEN i < {subjects} THEN {now + year} END AS expires_at,
            CASE WHEN i < {subjects} THEN {now - year} END AS data_from, NULL::BIGINT AS data_until,
            NULL::BIGINT AS data_life, NULL::VARCHAR AS co_subject_key, NULL::VARCHAR AS hold_id, 'recorded' AS origin
        FROM range({number}) t(i)"""
    ).to_arrow_table()
    yield from table.to_batches(max_chunksize=100_000)


def intervals(bench: Bench, number: int) -> None:
    """A ledger file of so many entries to usable intervals, in a process of its own: its peak memory."""
    path = bench.place / "large.db"
    _write_large(path, number)
    script = f"from benchmarks.bench_ledger import fold_large; fold_large({str(path)!r}, {number})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)
    bench.say(
        "intervals_gb",
        found["peak_gb"],
        f"peak memory, {number} events, {found['intervals']} intervals, {found['cpu_s']:.0f} s CPU",
    )
    path.unlink()


def fold_large(path: str, number: int) -> None:
    """The child: read a ledger's entries and fold every source and purpose."""
    ledger = Ledger.open(Path(path), Signer("assent/bench", Ed25519PrivateKey.generate()))
    book = Book()
    book.add(read_events(ledger, 0, number))
    timeline, found = Timeline(book), 0
    for source, purpose in _PAIRS:
        found += timeline.usable_of(source, purpose).num_rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"peak_gb": peak, "intervals": found, "cpu_s": cpu()}))


def _write_large(path: Path, number: int) -> None:
    """A ledger's table with so many entries: grants, and for a fifth of them what ends or pauses them."""
    signer = Signer("assent/bench", Ed25519PrivateKey.generate())
    ledger = Ledger.create(path, signer)
    ledger.close()
    db = sqlite3.connect(path, isolation_level=None)
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {name}")
    db.execute("DROP INDEX event_subject")
    db.execute("PRAGMA synchronous = OFF")
    dice = np.random.default_rng(5)
    now, year = micros(now_utc()), 365 * 86_400_000_000
    columns = (
        "leaf_index, event_id, kind, subject_key, source, purpose, effective_at, recorded_at, grant_id,"
        " expires_at, data_from, origin, commitment"
    )
    insert = f"INSERT INTO event ({columns}) VALUES ({', '.join('?' * 13)})"
    for start in range(0, number, 200_000):
        size = min(200_000, number - start)
        people = dice.integers(0, number // 5, size)
        about = dice.integers(0, len(_PAIRS), size)
        kinds = dice.choice(["given", "withdrawn", "paused"], size, p=[0.8, 0.15, 0.05])
        at = (
            np.sort(dice.integers(now - year, now, size))
            if start == 0
            else dice.integers(now - year, now, size)
        )
        db.execute("BEGIN")
        db.executemany(insert, _large_rows(start, people, about, kinds, at, year))
        db.execute("COMMIT")
    db.close()


def _large_rows(
    start: int, people: Any, about: Any, kinds: Any, at: Any, year: int
) -> Iterator[tuple[Any, ...]]:
    for i, (person, pair, kind, when) in enumerate(
        zip(people.tolist(), about.tolist(), kinds.tolist(), at.tolist(), strict=True), start=start
    ):
        given = kind == "given"
        yield (
            i,
            f"{i:032x}",
            kind,
            f"{person * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}",
            *_PAIRS[pair],
            when,
            when,
            f"{i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128:032x}" if given else None,
            when + year if given else None,
            when - year if given else None,
            "recorded",
            b"",
        )


@contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="assent-bench-", dir=Path.cwd()) as name:
        yield Path(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with _place() as place:
        bench = Bench(place, arguments.rounds, {})
        durable_append(bench)
        group_commit(bench)
        ledger = bulk(bench, arguments.events)
        audit(bench, ledger)
        decide(bench, ledger)
        ledger.close()
        postgres(bench)
        gate(bench, arguments.large, arguments.large // 10)
        intervals(bench, arguments.large)
        print(json.dumps(bench.ratios))


if __name__ == "__main__":
    main()
