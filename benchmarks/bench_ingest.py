"""Loading beside plain DuckDB: what checks, consent, seals and features cost, at three sizes.

python benchmarks/bench_ingest.py [--rows 10000000] [--parts suite gate ingest features]

Every part runs at a tenth, three tenths and all of the rows, each in a process of its own, so that its CPU seconds
and its peak memory are its own; the peer runs in the same process on the same data. The last line is one JSON object
of the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hand_written_sql import CHECKS, COUNT_BROKEN, FEATURES, PLAIN_JOIN, WINDOW_FEATURES

from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import Event, Grant, Kind, Notice
from consent.timeline import Book, Timeline, fetch_arrow, private_duckdb
from ingestion import run
from ingestion.sources import SOURCES
from validation.gate import check

START = datetime(2026, 1, 1, tzinfo=UTC)
_NOTICE = Notice("consent-form", "3", "zh-CN", "ab" * 32)
#: Transactions of one person.
EACH = 100
#: People whose features are computed at a time.
PEOPLE_AT_A_TIME = 10_000
BARS = {"suite": 4.0, "gate": 1.3, "ingest": 4.0, "features": 1.3, "peak_mb": 8_000.0}

_ROWS = """
SELECT {who} , 'T' || lpad(i::VARCHAR, 9, '0') AS transaction_id,
    TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_seconds((hash(i * 3) % (180 * 86400))::BIGINT) AS occurred_at,
    CASE WHEN hash(i * 5) % 1000 = 0 THEN 0 ELSE (hash(i * 7) % 50000 + 1) / 100 END::DECIMAL(18, 2) AS amount,
    'CNY' AS currency,
    CASE WHEN hash(i * 11) % 20 = 0 THEN 'credit' ELSE 'debit' END AS direction,
    CASE WHEN hash(i * 11) % 20 = 0 THEN ['salary', 'loan_disbursal', 'transfer'][(hash(i * 13) % 3 + 1)::INTEGER]
        ELSE ['purchase', 'transfer', 'cash', 'loan_repayment', 'nsf_fee'][(hash(i * 13) % 5 + 1)::INTEGER] END
        AS kind,
    ['groceries', 'rent', 'dining', 'travel', 'gambling', 'cash'][(hash(i * 17) % 6 + 1)::INTEGER] AS category,
    '商户 ' || (hash(i * 19) % 2000)::VARCHAR AS merchant,
    'lender ' || (hash(i * 23) % 50)::VARCHAR AS counterparty,
    ((hash(i * 29) % 1000000)::BIGINT / 100)::DECIMAL(18, 2) AS balance_after
FROM range({rows}) t(i)
"""


def transactions(rows: int, who: str) -> pa.Table:
    """Random transactions over 180 days; one in a thousand has no amount."""
    made = duckdb.connect()
    made.execute("SET TimeZone = 'UTC'")
    return fetch_arrow(made, _ROWS.format(rows=rows, who=who.format(people=max(1, rows // EACH))))


def pseudonymous(rows: int) -> pa.Table:
    """Transactions under keys, as they come out of the gate."""
    return transactions(rows, "md5((hash(i) % {people})::VARCHAR) AS subject_key").append_column(
        "row_number", pa.array(np.arange(rows))
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, all threads, and the result."""
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def suite(rows: int) -> dict[str, Any]:
    """Eighteen checks with split and reasons, beside SQL that only counts."""
    from validation import evaluation, gate, suites

    table = pseudonymous(rows)
    for column in ("malformed", "raw"):
        table = table.append_column(column, pa.nulls(rows, pa.string()))
    everything = suites.suite_for
    gate.suite_for = lambda *a, **k: _only(everything(*a, **k), evaluation.rule_name)  # type: ignore[attr-defined]

    def ours(some: pa.Table) -> Any:
        return check(some, "spending", currency="CNY", now=now_utc())

    ours(table.slice(0, 100))
    peer = private_duckdb()
    peer.register("batch", table)
    counting, counts = timed(lambda: fetch_arrow(peer, COUNT_BROKEN).to_pylist()[0])
    checking, verdict = timed(lambda: ours(table))
    if verdict.by_rule != {rule: count for rule, count in counts.items() if count}:
        raise SystemExit("the suite and the hand-written SQL do not count the same")
    return {"ours": checking, "peer": counting, "quarantined": verdict.quarantined, "checks": len(CHECKS)}


def _only(full: Any, rule_name: Callable[[Any], str]) -> Any:
    full.expectations = [rule for rule in full.expectations if rule_name(rule) in CHECKS]
    if len(full.expectations) != len(CHECKS):
        raise SystemExit("the suite has not all of the checks that the peer has")
    return full


def gate(rows: int) -> dict[str, Any]:
    """Consent for every event, ten for each interval, beside a join that only knows who is there."""
    people = rows // 10
    made = duckdb.connect()
    asked = fetch_arrow(
        made,
        f"SELECT md5((hash(i) % {people})::VARCHAR) AS subject_key, now() - to_days((hash(i * 7) % 365)::INTEGER)"
        f" AS data_at FROM range({rows}) t(i)",
    )
    book = Book()
    book.add([_given(people)])
    timeline, now = Timeline(book), now_utc()

    def judge(some: pa.Table) -> pa.ChunkedArray:
        return timeline.judge(
            some["subject_key"], "spending", "credit_scoring", data_at=some["data_at"], as_of=now
        )

    def load(some: pa.Table) -> pa.ChunkedArray:
        return timeline.judge_loading(some["subject_key"], "spending", data_at=some["data_at"], now=now)

    load(asked.slice(0, 10))
    peer = private_duckdb()
    peer.register("usable_arrow", timeline.usable_of("spending", "credit_scoring").select(["subject_key"]))
    peer.execute("CREATE TABLE usable AS FROM usable_arrow")
    peer.register("asked", asked.append_column("position", pa.array(np.arange(rows, dtype=np.uint32))))
    join, joined = _best(lambda: fetch_arrow(peer, PLAIN_JOIN))
    ours, reasons = _best(lambda: judge(asked))
    loading, loadable = _best(lambda: load(asked))
    return {
        "ours": ours,
        "peer": join,
        "loading_ratio": loading / join,
        "allowed": reasons.null_count,
        "loadable": loadable.null_count,
        "joined": joined.num_rows,
    }


def _best(work: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    figures = [timed(work) for _ in range(rounds)]
    return min(figures, key=lambda figure: figure[0])


def _given(people: int) -> pa.Table:
    """One grant for each person, as the ledger hands its entries to the gate."""
    from consent.timeline import _COLUMNS

    made = duckdb.connect()
    columns = {
        "leaf_index": "i",
        "kind": "'given'",
        "subject_key": f"md5((i % {people})::VARCHAR)",
        "source": "'spending'",
        "purpose": "'credit_scoring'",
        "effective_at": "1700000000000000",
        "recorded_at": "1700000000000000",
        "grant_id": "md5(('g' || i))",
        "expires_at": "4000000000000000",
        "data_from": "1600000000000000",
        "origin": "'api'",
    }
    picked = ", ".join(f"{columns.get(name, 'NULL')} AS {name}" for name in _COLUMNS)
    rows = fetch_arrow(
        made,
        f"SELECT {picked} FROM range({people}) t(i)",
    )
    return rows.cast(pa.schema(list(_COLUMNS.items())))


def ingest(rows: int) -> dict[str, Any]:
    """One file read, gated, validated and sealed, beside DuckDB copying it."""
    with tempfile.TemporaryDirectory(prefix="assent-bench-", dir=Path.cwd()) as name:
        directory = Path(name)
        raw = directory / "raw.parquet"
        people = max(1, rows // EACH)
        table = transactions(rows, "'C' || lpad((hash(i) % {people})::VARCHAR, 8, '0') AS subject_id")
        pq.write_table(table, raw, compression="zstd")
        pq.write_table(table.slice(0, 100), directory / "warm.parquet")
        del table
        pa.default_memory_pool().release_unused()
        home = Home.create(directory / "home")
        _consent(home, people)
        run.ingest(home, "spending", [directory / "warm.parquet"])
        before = _peak_mb()
        copy, _ = timed(
            lambda: duckdb.sql(f"COPY (FROM '{raw}') TO '{directory}/copy.parquet' (COMPRESSION zstd)")
        )
        stages = _stages()
        started = time.perf_counter()
        ours, report = timed(lambda: run.ingest(home, "spending", [raw]))
        seconds = time.perf_counter() - started
        return {
            "ours": ours,
            "peer": copy,
            "seconds": seconds,
            "totals": report.report()["totals"],
            "peak_before_mb": before,
            "stages": {stage: cpu / ours for stage, cpu in stages.items()},
        }


def _stages() -> Counter[str]:
    """From here on the CPU seconds of each stage of a job are added up."""
    spent: Counter[str] = Counter()
    for stage, name in (
        ("read", "read_file"),
        ("hash", "file_token"),
        ("gate", "admit"),
        ("validate", "validate"),
        ("seal and write", "stage_store"),
    ):
        setattr(run, name, _watched(getattr(run, name), stage, spent))
    return spent


def _watched(work: Callable[..., Any], stage: str, spent: Counter[str]) -> Callable[..., Any]:
    def watched(*args: Any, **kwargs: Any) -> Any:
        seconds, result = timed(lambda: work(*args, **kwargs))
        spent[stage] += seconds  # type: ignore[assignment]
        return result

    return watched


def _consent(home: Home, people: int) -> None:
    """Nine people in ten agree."""
    keys = home.directory.find_or_create([f"C{i:08d}" for i in range(people) if i % 10])
    now = now_utc()
    expires_at, data_from = now + timedelta(days=300), START - timedelta(days=365)
    for first in range(0, len(keys), 20_000):
        home.ledger.append(
            [
                Event(
                    new_event_id(),
                    Kind.GIVEN,
                    key,
                    "spending",
                    "model_training",
                    START,
                    Grant(new_event_id(), _NOTICE, "CN", "toggle", expires_at, data_from),
                    origin="imported",
                    evidence_hash="cd" * 32,
                )
                for key in keys[first : first + 20_000]
            ]
        )


def features(rows: int) -> dict[str, Any]:
    """Fifteen window features on every day of activity, beside hand-written SQL with the same values.

    Both go by so many people at a time, as publishing does, so that memory does not grow with their number.
    """
    source = SOURCES["spending"]
    events = pseudonymous(rows).append_column("batch_order", pa.array(np.zeros(rows, np.int64)))
    connection = private_duckdb()
    connection.register("event_arrow", events)
    connection.execute("CREATE TABLE event AS FROM event_arrow LIMIT 0")
    connection.execute("CREATE TABLE spine (subject_key VARCHAR, day BIGINT)")
    event, spine = (
        ibis.table(
            ibis.Schema.from_pyarrow(fetch_arrow(connection, f"FROM {name} LIMIT 0").schema), name=name
        )
        for name in ("event", "spine")
    )
    maths = str(ibis.to_sql(source.compute(event, spine), dialect="duckdb"))
    names = ", ".join(["subject_key", "day", *FEATURES])
    spent: Counter[str] = Counter()
    people = max(1, rows // EACH)
    pieces = -(-people // PEOPLE_AT_A_TIME)
    for piece in range(pieces):
        connection.execute(
            "DELETE FROM event; DELETE FROM spine;"
            f" INSERT INTO event FROM event_arrow WHERE hash(subject_key) % {pieces} = {piece};"
            " INSERT INTO spine SELECT DISTINCT subject_key, epoch_us(occurred_at) // 86400000000 FROM event"
        )
        rounds = 3 if pieces == 1 else 1
        for name, query in (
            ("peer", WINDOW_FEATURES),
            ("ours", f"SELECT {names} FROM ({maths})"),
            ("all", maths),
        ):
            spent[name] += _best(lambda: _materialized(connection, name, query), rounds)[0]  # noqa: B023
        spent["feature_rows"] += _same_rows(connection)
    return {**spent, "of": len(source.features), "pieces": pieces}


def _same_rows(connection: duckdb.DuckDBPyConnection) -> int:
    """How many rows there are, if the two gave the same ones."""
    count = connection.execute("SELECT 0, count(*) FROM spine").fetchone()
    different = connection.execute(_different()).fetchone()
    if different != count or count is None:
        raise SystemExit(f"the two do not give the same values: {different}, {count}")
    return int(count[1])


def _materialized(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    connection.execute(f'CREATE OR REPLACE TABLE "{name}" AS {query}')


def _different() -> str:
    same = " AND ".join(
        f"(o.{name} IS NOT DISTINCT FROM t.{name} OR abs(o.{name} - t.{name}) <= 1e-9 * abs(t.{name}))"
        for name in FEATURES
    )
    return (
        f"SELECT count(*) FILTER (NOT coalesce({same}, false)), count(*)"
        " FROM ours o JOIN peer t ON o.subject_key = t.subject_key AND o.day = t.day"
    )


PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "suite": suite,
    "gate": gate,
    "ingest": ingest,
    "features": features,
}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(part: str, rows: int) -> dict[str, Any]:
    """One part at one size, in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", part, "--rows", str(rows)],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{part} at {rows} rows: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(part: str, rows: int, found: dict[str, Any]) -> None:
    """A line of figures."""
    ratio = found["ours"] / found["peer"]
    verdict = "ok" if ratio <= BARS[part] else "NOT REACHED"
    others = {
        name: (round(value, 2) if isinstance(value, float) else value)
        for name, value in found.items()
        if name not in ("ours", "peer", "peak_mb", "stages")
    }
    print(
        f"{part:9} {rows:>11,} rows  {found['ours']:8.2f} CPU s beside {found['peer']:7.2f}  ratio {ratio:5.2f}"
        f"  bar {BARS[part]}  {verdict:11}  {rows / found['ours']:>11,.0f} rows per CPU s"
        f"  peak {found['peak_mb']:,.0f} MB ({'ok' if found['peak_mb'] <= BARS['peak_mb'] else 'NOT REACHED'})"
        f"  {others}",
        flush=True,
    )
    for stage, share in found.get("stages", {}).items():
        print(f"          {stage:15} {share:6.1%} of the CPU", flush=True)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--parts", nargs="*", choices=sorted(PARTS), default=list(PARTS))
    parser.add_argument("--one", choices=sorted(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        found = PARTS[options.one](options.rows)
        print(json.dumps({**found, "peak_mb": _peak_mb()}))
        return
    ratios: dict[str, float] = {}
    for part in options.parts:
        costs = {}
        for rows in (options.rows // 10, options.rows * 3 // 10, options.rows):
            found = measured(part, rows)
            told(part, rows, found)
            costs[rows] = found["ours"] / rows
            ratios[f"{part}_{rows // 1_000_000}m" if rows >= 1_000_000 else f"{part}_{rows}"] = round(
                found["ours"] / found["peer"], 2
            )
        growth = costs[options.rows] / costs[options.rows // 10]
        print(
            f"{part:9} CPU per row at the full size over that at a tenth: {growth:.2f} (1 is linear)",
            flush=True,
        )
        ratios[f"{part}_growth"] = round(growth, 2)
        ratios[f"{part}_peak_mb"] = round(found["peak_mb"])
    print(json.dumps(ratios))


if __name__ == "__main__":
    main()
