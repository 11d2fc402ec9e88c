"""The whole line beside plain DuckDB: what consent, checks and seals cost.

python benchmarks/bench_line.py [--rows 500000] [--subjects 5000]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import Event, Grant, Kind, Notice
from feature_repo.stores import setup
from ingestion.publish import publish
from ingestion.run import ingest

START = datetime(2026, 1, 1, tzinfo=UTC)


def make_rows(rows: int, subjects: int) -> pa.Table:
    """Random transactions over 180 days; nine people in ten will have consented."""
    dice = np.random.default_rng(3)
    seconds = dice.integers(0, 180 * 86_400, rows)
    kinds = np.array(["purchase", "transfer", "cash", "fee"])
    categories = np.array(["groceries", "rent", "dining", "travel", "gambling"])
    return pa.table(
        {
            "subject_id": pa.array([f"C{i:07d}" for i in dice.integers(0, subjects, rows)]),
            "transaction_id": pa.array([f"T{i:09d}" for i in range(rows)]),
            "occurred_at": pa.array(
                np.datetime64("2026-01-01", "us") + seconds * np.timedelta64(1_000_000, "us")
            ).cast(pa.timestamp("us", tz="UTC")),
            "amount": pa.array(np.round(dice.lognormal(4, 1, rows) + 0.01, 2)).cast(pa.decimal128(18, 2)),
            "currency": pa.array(["CNY"] * rows),
            "direction": pa.array(["debit"] * rows),
            "kind": pa.array(kinds[dice.integers(0, 4, rows)]),
            "category": pa.array(categories[dice.integers(0, 5, rows)]),
            "merchant": pa.array([f"商户 {i}" for i in dice.integers(0, 2000, rows)]),
        }
    )


def give_consent(home: Home, subjects: int) -> None:
    """Nine people in ten agree to spending data for training."""
    keys = home.directory.find_or_create([f"C{i:07d}" for i in range(subjects) if i % 10])
    now, notice = now_utc(), Notice("n", "1", "en", "ab" * 32)
    home.ledger.append(
        [
            Event(
                new_event_id(),
                Kind.GIVEN,
                key,
                "spending",
                "model_training",
                START,
                Grant(
                    new_event_id(),
                    notice,
                    "CN",
                    "toggle",
                    now + timedelta(days=300),
                    START - timedelta(days=365),
                ),
                origin="imported",
                evidence_hash="cd" * 32,
            )
            for key in keys
        ]
    )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process, and the result."""
    before = time.process_time()
    result = work()
    return time.process_time() - before, result


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500_000)
    parser.add_argument("--subjects", type=int, default=5_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        raw = directory / "raw.parquet"
        pq.write_table(make_rows(options.rows, options.subjects), raw, compression="zstd")
        home = Home.create(directory / "home")
        setup.apply(home)
        warm = directory / "warm.parquet"
        pq.write_table(make_rows(100, options.subjects), warm)
        ingest(home, "spending", [warm])  # loads the libraries
        figures = {"consent_append": timed(lambda: give_consent(home, options.subjects))[0]}
        figures["copy_duckdb"], _ = timed(
            lambda: duckdb.sql(f"COPY (FROM '{raw}') TO '{directory}/copy.parquet' (COMPRESSION zstd)")
        )
        figures["ingest"], report = timed(lambda: ingest(home, "spending", [raw]))
        figures["publish"], published = timed(lambda: publish(home, as_of=START + timedelta(days=180)))
        version = published[0].version
        entities = entity_rows(home, options.subjects)
        plain = directory / "plain.parquet"
        write_plain(home, version, plain)
        figures["asof_duckdb"], _ = timed(lambda: plain_asof(plain, entities))
        figures["fetch"], (frame, receipt) = timed(lambda: setup.training_set(home, entities, "bench"))
    totals = report.report()["totals"]
    print(
        f"rows {totals}; feature rows {version.rows}; entity rows {len(frame)}, given {receipt.views[0].given}"
    )
    for stage, seconds in figures.items():
        print(f"{stage:15} {seconds:8.2f} CPU s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MB; ingest {options.rows / figures['ingest']:,.0f} rows per CPU s")
    ratios = {
        "ingest_over_duckdb_copy": round(figures["ingest"] / figures["copy_duckdb"], 2),
        "fetch_over_duckdb_asof": round(figures["fetch"] / figures["asof_duckdb"], 2),
    }
    print(json.dumps(ratios))


def entity_rows(home: Home, subjects: int) -> pa.Table:
    """Two hundred thousand entity rows, at most."""
    from feast import FeatureService

    store = setup.open_store(home, "model_training")
    view = store.get_feature_view("spending_v1")
    store.apply([FeatureService(name="bench", features=[view], tags={"purpose": "model_training"})])
    keys = [k for k in home.directory.find([f"C{i:07d}" for i in range(subjects)]) if k]
    dice = np.random.default_rng(5)
    chosen = dice.integers(0, len(keys), 200_000)
    at = np.datetime64("2026-03-01", "us") + dice.integers(0, 100 * 86_400, 200_000) * np.timedelta64(
        1_000_000, "us"
    )
    return pa.table(
        {
            "subject_key": pa.array(keys).take(pa.array(chosen)),
            "event_timestamp": pa.array(at).cast(pa.timestamp("us", tz="UTC")),
        }
    )


def write_plain(home: Home, version: Any, path: Path) -> None:
    """The same feature rows without encryption, for the peer."""
    from ingestion.tables import read_table

    pq.write_table(read_table(home, version), path, compression="zstd")


def plain_asof(path: Path, entities: pa.Table) -> Any:
    """A hand-written point-in-time join without consent, ending in pandas as Feast's does."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("entity", entities)
    return connection.sql(
        f"SELECT e.*, f.* EXCLUDE (subject_key, event_timestamp) FROM entity e ASOF LEFT JOIN '{path}' f"
        " ON e.subject_key = f.subject_key AND e.event_timestamp >= f.event_timestamp"
    ).df()


if __name__ == "__main__":
    main()
