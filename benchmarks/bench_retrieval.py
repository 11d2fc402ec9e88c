"""Historical fetches beside a hand-written ASOF join and Feast's own stores, on the same rows in the same run.

python benchmarks/bench_retrieval.py [--rows 2000000] [--large 10000000] [--entities 200000] [--rounds 3]

Rows are those of three feature tables together, a hundred of a person in each (and a thousand in the third case).
Nine people in ten have agreed, some of them withdrew, some agreed late. CPU is the process's own, of all threads.

- ours: the plain Feast call, ``store.get_historical_features(...).to_arrow()``: entity rows from a pandas frame,
  files decrypted and decompressed, consent decided, receipt written. The ledger has been read before, as by any
  earlier call; `first_fetch` is one in a new process, which reads it.
- plain: the same frame in a DuckDB ASOF join written by hand, over the same rows in plain Parquet (zstd as ours),
  reading and decompressing included; no consent, no encryption, no receipt. It ends in an Arrow table too.
- Feast's duckdb and dask stores: the same frame, the same plain Parquet, each in a process of its own with a time
  limit. Both come with Assent's own requirements.
- online reads: see `bench_online.py`.

Where consent lets a value through, it must be the plain join's. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

#: Path of the repository, for the child processes.
ROOT = Path(__file__).resolve().parents[1]
START = datetime(2025, 11, 1, tzinfo=UTC)
DAYS = 300
PURPOSE = "model_training"
FEATURES = 5
AT_A_TIME = 20_000
BARS = {
    "fetch_2m": 1.4,
    "fetch_10m": 1.4,
    "fetch_x1000": 1.4,
    "feast_duckdb_over_ours": 4.0,
    "feast_dask_over_ours": 20.0,
    "x1000_over_x100": 1.25,
    "peak_over_128mb": 1.0,
    "peak_over_1024mb": 1.0,
    "receipt_share": 0.05,
}
LIMITS_MB = (128, 1024)
AT_LEAST = {"feast_duckdb_over_ours", "feast_dask_over_ours"}


@dataclass(frozen=True)
class Case:
    """One size: a home, the same rows in plain Parquet, and entity rows.

    Attributes:
        rows: feature rows of the three tables together.
        each: of them, of one person in one table.
    """

    place: Path
    rows: int
    each: int
    entities: int

    @property
    def people(self) -> int:
        """How many people the rows are about."""
        return max(10, self.rows // 3 // self.each)


# ------------------------------------------------------------------------------------------- making it


def make(case: Case) -> None:
    """A home with consents and published tables, plain copies of the tables, and the entity rows."""
    from consent.home import Home
    from feature_repo.stores import setup
    from ingestion.sources import SOURCES

    case.place.mkdir()
    home = Home.create(case.place / "home")
    setup.apply(home)
    keys = _agree(home, case.people)
    for number, source in enumerate(SOURCES.values()):
        _publish(home, source, keys, case, number)
    dice = np.random.default_rng(11)
    at = np.datetime64(START.replace(tzinfo=None), "us") + _seconds(
        dice.integers(100 * 86_400, DAYS * 86_400, case.entities)
    )
    columns = {
        "subject_key": pa.array(keys).take(pa.array(dice.integers(0, len(keys), case.entities))),
        "event_timestamp": pa.array(at).cast(pa.timestamp("us", tz="UTC")),
        "application": pa.array(np.arange(case.entities)),
    }
    pq.write_table(pa.table(columns), case.place / "entities.parquet")


def _agree(home: Any, people: int) -> list[str]:
    """Nine in ten agree to every source, one in twenty of them only lately; one in twenty withdraws."""
    from consent.catalog import SOURCES
    from consent.clock import now_utc
    from consent.nouns import ANY, Event, Grant, Kind, Notice

    notice, now = Notice("n", "1", "en", "ab" * 32), now_utc()
    imported: dict[str, Any] = {"origin": "imported", "evidence_hash": "cd" * 32}
    keys: list[str] = []
    for lo in range(0, people, AT_A_TIME):
        some = home.directory.find_or_create([f"C{i:08d}" for i in range(lo, min(lo + AT_A_TIME, people))])
        events = []
        for i, key in enumerate(some):
            if i % 10 == 0:
                continue
            begun = START + timedelta(days=200 if i % 20 == 7 else -100)
            for source in SOURCES:
                terms = Grant(
                    secrets.token_hex(8),
                    notice,
                    "CN",
                    "toggle",
                    now + timedelta(days=300),
                    START - timedelta(days=400),
                )
                events.append(
                    Event(secrets.token_hex(16), Kind.GIVEN, key, source, PURPOSE, begun, terms, **imported)
                )
            if i % 20 == 3:
                events.append(
                    Event(
                        secrets.token_hex(16),
                        Kind.WITHDRAWN,
                        key,
                        ANY,
                        ANY,
                        now - timedelta(hours=1),
                        **imported,
                    )
                )
        home.ledger.append(events)
        keys += some
    return sorted(keys)


def _publish(home: Any, source: Any, keys: list[str], case: Case, number: int) -> None:
    from ingestion.tables import publish_table

    features = source.features[:FEATURES]
    plain = case.place / f"{source.definition}.parquet"
    writer: pq.ParquetWriter | None = None

    def parts() -> Iterator[pa.Table]:
        nonlocal writer
        for lo in range(0, len(keys), AT_A_TIME):
            rows = _rows(keys[lo : lo + AT_A_TIME], case.each, features, seed=number * 1000 + lo)
            writer = writer or pq.ParquetWriter(plain, rows.schema, compression="zstd")
            writer.write_table(rows, row_group_size=122_880)
            yield rows

    publish_table(
        home,
        source.definition,
        parts(),
        definition={"source": source.name, "features": {f.name: f.dtype for f in features}},
        input_hash=f"{number:064d}",
        lineage={},
        now=START,
    )
    assert writer is not None
    writer.close()


def _rows(keys: list[str], each: int, features: Any, *, seed: int) -> pa.Table:
    """So many rows of each person at random instants, in order."""
    dice = np.random.default_rng(seed)
    count = len(keys) * each
    seconds = dice.integers(0, DAYS * 86_400 // each, count) + np.tile(
        np.arange(each) * (DAYS * 86_400 // each), len(keys)
    )
    columns: dict[str, Any] = {
        "subject_key": pa.array(keys).take(pa.array(np.repeat(np.arange(len(keys)), each))),
        "event_timestamp": pa.array(np.datetime64(START.replace(tzinfo=None), "us") + _seconds(seconds)).cast(
            pa.timestamp("us", tz="UTC")
        ),
    }
    for feature in features:
        amounts = np.round(dice.lognormal(5, 1, count), 2)
        columns[feature.name] = pa.array(amounts.astype(np.int64) if feature.dtype == "int64" else amounts)
    return pa.table(columns)


def _seconds(numbers: Any) -> Any:
    return numbers * np.timedelta64(1_000_000, "us")


# ------------------------------------------------------------------------------------------- the contestants


def _wanted() -> dict[str, tuple[list[str], timedelta]]:
    """View -> its features and time to live, the same for everybody."""
    from feature_repo import definitions
    from ingestion.sources import SOURCES

    return {
        s.definition: (
            [f.name for f in s.features[:FEATURES]],
            definitions.TTL.get(s.name, definitions.DEFAULT_TTL),
        )
        for s in SOURCES.values()
    }


def _references() -> list[str]:
    return [f"{view}:{name}" for view, (names, _) in _wanted().items() for name in names]


def _frame(place: Path) -> pd.DataFrame:
    return pq.read_table(place / "entities.parquet").to_pandas()


def open_ours(place: Path) -> Any:
    """The home's plain Feast store."""
    from consent.home import Home
    from feature_repo.stores import setup

    return setup.open_store(Home.open(place / "home"), PURPOSE)


def fetch(store: Any, frame: pd.DataFrame) -> tuple[pa.Table, Any]:
    """The plain Feast call, and its job."""
    job = store.get_historical_features(entity_df=frame, features=_references())
    return job.to_arrow(), job


def plain_asof(place: Path, frame: pd.DataFrame) -> pa.Table:
    """A point-in-time join written by hand: the latest row at or before each instant, not too old."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute("SET enable_progress_bar = false")
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("entity", frame)
    joins, columns = [], []
    for i, (view, (names, ttl)) in enumerate(_wanted().items()):
        joins.append(
            f"ASOF LEFT JOIN '{place}/{view}.parquet' f{i} ON e.subject_key = f{i}.subject_key"
            f" AND e.event_timestamp >= f{i}.event_timestamp"
        )
        fresh = f"f{i}.event_timestamp >= e.event_timestamp - to_days({ttl.days})"
        columns += [f"CASE WHEN {fresh} THEN f{i}.{name} END AS {name}" for name in names]
    return connection.sql(
        f"SELECT e.*, {', '.join(columns)} FROM entity e {' '.join(joins)}"
    ).to_arrow_table()


def open_feast(place: Path, kind: str) -> Any:
    """A plain Feast repository on the plain Parquet files, with Feast's own offline store."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64, Int64, String

    from ingestion.sources import SOURCES

    subject = Entity(name="subject", join_keys=["subject_key"], value_type=ValueType.STRING)
    types = {"int64": Int64, "float64": Float64}
    views = [
        FeatureView(
            name=source.definition,
            entities=[subject],
            ttl=_wanted()[source.definition][1],
            schema=[
                Field(name="subject_key", dtype=String),
                *(Field(name=f.name, dtype=types[f.dtype]) for f in source.features[:FEATURES]),
            ],
            source=FileSource(
                path=str(place / f"{source.definition}.parquet"), timestamp_field="event_timestamp"
            ),
        )
        for source in SOURCES.values()
    ]
    config = RepoConfig(
        project="peer",
        registry=str(place / f"{kind}.registry.db"),
        provider="local",
        offline_store={"type": kind},
        online_store={"type": "sqlite", "path": str(place / f"{kind}.online.db")},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    store.apply([subject, *views])
    return store


# ------------------------------------------------------------------------------------------- in the children


def _cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def side_by_side(place: Path, rounds: int) -> None:
    """Child: the plain call and the ASOF join in turn; the best of the rounds, and the parts of the receipt."""
    frame = _frame(place)
    store = open_ours(place)
    plain_asof(place, frame.head(100))
    first, (table, job) = _cpu(lambda: fetch(store, frame))
    spent = _time_receipts()
    ours: list[float] = []
    plain: list[float] = []
    shares: list[float] = []
    for _ in range(rounds):
        seconds, result = _cpu(lambda: plain_asof(place, frame))
        plain.append(seconds)
        spent[0] = 0.0
        seconds, (table, job) = _cpu(lambda: fetch(store, frame))
        ours.append(seconds)
        shares.append(spent[0] / seconds)
    _require_same(table, result, job.receipt)
    given = sum(view.given for view in job.receipt.views) / (3 * table.num_rows)
    _say(
        ours=min(ours),
        plain=min(plain),
        first=first,
        receipt_share=min(shares),
        given=given,
        subjects=job.receipt.subjects,
    )


def _time_receipts() -> list[float]:
    """CPU seconds spent on receipts from now on, in a list of one."""
    from feature_repo.stores import historical

    spent = [0.0]

    def timed(part: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            seconds, result = _cpu(lambda: part(*arguments))
            spent[0] += seconds
            return result

        return run

    historical.RowsHash.add = timed(historical.RowsHash.add)
    historical.Execution.leave_receipt = timed(historical.Execution.leave_receipt)
    return spent


def _require_same(ours: pa.Table, plain: pa.Table, receipt: Any) -> None:
    """Where consent lets a value through, it is the plain join's; and as many come through as the receipt says."""
    plain = plain.sort_by("application")  # DuckDB gives them in an order of its own
    for (view, (names, _)), outcome in zip(_wanted().items(), receipt.views, strict=True):
        assert view == outcome.view
        assert outcome.given == len(ours) - ours[names[0]].null_count
        for name in names:
            there = pc.is_valid(ours[name])
            assert (
                ours[name].filter(there).combine_chunks().equals(plain[name].filter(there).combine_chunks())
            ), name


def feast_peer(place: Path, kind: str) -> None:
    """Child: Feast's own store, once, after a small call that loads what it needs."""
    store, frame = open_feast(place, kind), _frame(place)
    fetch(store, frame.head(10))
    seconds, (table, _) = _cpu(lambda: fetch(store, frame))
    _say(cpu=seconds, rows=table.num_rows, peak_mb=_peak())


def peak(place: Path, limit_mb: int) -> None:
    """Child: the fetch in batches; the memory of the process, and of it the program, the ledger and the frame."""
    store, frame = open_ours(place), _frame(place)
    store.config.offline_store.memory_limit_mb = limit_mb
    fetch(store, frame.head(10))
    before = _now()
    job = store.get_historical_features(entity_df=frame, features=_references())
    seconds, rows = _cpu(lambda: sum(batch.num_rows for batch in job.to_arrow_batches()))
    _say(cpu=seconds, rows=rows, before_mb=before, peak_mb=_peak())


def plain_peak(place: Path) -> None:
    """Child: the ASOF join written by hand; the memory of the process."""
    frame = _frame(place)
    plain_asof(place, frame.head(10))
    before = _now()
    plain_asof(place, frame)
    _say(before_mb=before, peak_mb=_peak())


def _now() -> float:
    """Memory of the process at this moment, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak() -> float:
    """The most that this program had at a time, MB; getrusage also counts what the parent had when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _say(**found: Any) -> None:
    print(json.dumps(found))


# ------------------------------------------------------------------------------------------- the run


class Killed(Exception):
    """A child did not end within its time."""


def run(call: str, *, seconds: float | None = None) -> dict[str, Any]:
    """One of the functions above in a process of its own.

    Raises:
        Killed: it took longer; with the CPU seconds it had used.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script = f"from pathlib import Path; from benchmarks import bench_retrieval as bench; bench.{call}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        raise Killed(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.stderr) from None
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class Bench:
    """What this run has found."""

    def __init__(self, place: Path, options: argparse.Namespace) -> None:
        self.place = place
        self.options = options
        self.ratios: dict[str, float | str] = {}

    def case(self, name: str, rows: int, each: int) -> Path:
        """Make one size."""
        case = Case(self.place / name, rows, each, self.options.entities)
        seconds, _ = _cpu(lambda: make(case))
        size = sum(p.stat().st_size for p in case.place.glob("*_v1.parquet")) / 1e6
        print(
            f"\n{name}: {rows:,} rows of {case.people:,} people, {each} each in three tables ({size:.0f} MB plain);"
            f" {case.entities:,} entity rows; made in {seconds:.0f} s CPU",
            flush=True,
        )
        return case.place

    def say(self, name: str, value: float, detail: str) -> None:
        """A figure with its bar and what it was made of."""
        self.ratios[name] = round(value, 3)
        good = value >= BARS[name] if name in AT_LEAST else value <= BARS[name]
        bar = f"{'>=' if name in AT_LEAST else '<='} {BARS[name]:g}"
        print(f"{name:<24} {value:8.2f}  {bar:<8} {'ok' if good else 'NOT REACHED':<12} {detail}", flush=True)

    def note(self, name: str, value: float, detail: str) -> None:
        """A figure without a bar."""
        self.ratios[name] = round(value, 3)
        print(f"{name:<24} {value:8.2f}  {'':<21} {detail}", flush=True)

    def online(self) -> None:
        """The figures of `bench_online`."""
        sys.path.insert(0, str(ROOT))
        from benchmarks.bench_online import BAR, measure

        def say(name: str, ratio: float, detail: str) -> None:
            BARS[name] = BAR
            self.say(name, ratio, detail)

        measure(self.options.people, self.options.requests, say)

    def compare(self, name: str, place: Path) -> dict[str, Any]:
        """Ours beside the join written by hand."""
        found = run(f"side_by_side(Path({str(place)!r}), {self.options.rounds})")
        self.say(
            name,
            found["ours"] / found["plain"],
            f"{found['ours']:.2f} s beside {found['plain']:.2f} s CPU; {found['given']:.0%} of the cells given,"
            f" {found['subjects']:,} people in the receipt",
        )
        self.note(
            f"first_{name}",
            found["first"] / found["plain"],
            f"{found['first']:.2f} s: the first in a process, reads the ledger",
        )
        return found

    def feast(self, place: Path, kind: str, ours: float) -> None:
        """Feast's own store beside ours."""
        name = f"feast_{kind}_over_ours"
        if importlib.util.find_spec({"duckdb": "ibis"}.get(kind, kind)) is None:
            self.ratios[name] = "not installed"
            print(f"{name:<24} not installed: what Feast's {kind} store needs", flush=True)
            return
        try:
            found = run(f"feast_peer(Path({str(place)!r}), {kind!r})", seconds=self.options.seconds)
        except Killed as killed:
            self.say(
                name,
                killed.args[0] / ours,
                f"at least: killed after {self.options.seconds} s, {killed.args[0]:.0f} s CPU",
            )
            return
        lost = self.options.entities - found["rows"]
        detail = f"{found['cpu']:.1f} s CPU beside {ours:.2f} s; peak {found['peak_mb']:.0f} MB"
        self.say(name, found["cpu"] / ours, detail + (f"; {lost:,} entity rows lost" if lost else ""))

    def memory(self, place: Path) -> None:
        """Peak memory of a streamed fetch."""
        for limit in LIMITS_MB:
            self._memory(place, limit)

    def _memory(self, place: Path, limit: int) -> None:
        found = run(f"peak(Path({str(place)!r}), {limit})")
        plain = run(f"plain_peak(Path({str(place)!r}))")
        self.say(
            f"peak_over_{limit}mb",
            (found["peak_mb"] - found["before_mb"]) / limit,
            f"{found['peak_mb']:.0f} MB, the whole process, {found['before_mb']:.0f} MB of it before"
            f" the fetch; {found['cpu']:.2f} s CPU; the plain join {plain['peak_mb']:.0f} MB,"
            f" {plain['before_mb']:.0f} MB before it",
        )


def main() -> None:
    """Make the cases one by one, compare, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--entities", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=900, help="how long one of Feast's stores may take")
    parser.add_argument("--people", type=int, default=5000, help="in the online stores")
    parser.add_argument("--requests", type=int, default=1000, help="online, about one person each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assent-bench-", dir=Path.cwd()) as name:
        bench = Bench(Path(name), options)
        small = bench.case("2m", options.rows, 100)
        found = bench.compare("fetch_2m", small)
        bench.say("receipt_share", found["receipt_share"], "of the fetch: the list of people and the receipt")
        for kind in ("duckdb", "dask"):
            bench.feast(small, kind, found["ours"])
        long = bench.compare("fetch_x1000", bench.case("x1000", options.rows, 1000))
        bench.say("x1000_over_x100", long["ours"] / found["ours"], "as many rows, of a tenth of the people")
        large = bench.case("10m", options.large, 100)
        bench.compare("fetch_10m", large)
        bench.memory(large)
        print("\nonline: 100 features of three views, of 1 and of 100 people", flush=True)
        bench.online()
        print(json.dumps(bench.ratios))


if __name__ == "__main__":
    main()
