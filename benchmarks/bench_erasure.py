"""Erasing 1 and 1,000 of a million people from a whole home: keys, vault, feature tables, online store, ledger.

python benchmarks/bench_erasure.py [--people 1000000]

The home is made for it: one sealed record of spending and 15 feature values a person, in two data versions. There is
no peer that does the same; the row-by-row way to forget keys (every other key wrapped anew, one by one) runs beside.
Times are CPU seconds; bytes are those of files that are new or have changed their size.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import Event, Grant, Kind, Notice
from feature_repo.stores import setup
from ingestion.source import INSTANT
from ingestion.sources import SOURCES
from ingestion.tables import publish_table
from ingestion.vault import Batch, commit_batch, pack_rows, stage_store
from rights.erase import Wanted, erase

AT_A_TIME = 20_000
NOTICE = Notice("n", "1", "en", "ab" * 32)
START = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Build the home, erase, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=1_000_000)
    people = parser.parse_args().people
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as place:
        home = Home.create(Path(place) / "home")
        keys = timed("people and their consent", lambda: agree(home, people))
        timed("sealed records", lambda: load(home, keys))
        timed("two data versions", lambda: [publish(home, keys, number) for number in (1, 2)])
        setup.apply(home)
        size = sum(p.stat().st_size for p in home.root.rglob("*") if p.is_file())
        print(f"home: {size / 1e6:.0f} MB, {people} people\n")
        ratios: dict[str, Any] = {"people": people, "home_mb": round(size / 1e6)}
        for number in (1, 1_000):
            gone, keys = keys[:number], keys[number:]
            cpu, wall, before = time.process_time(), time.perf_counter(), files(home)
            erase(home, [Wanted(key) for key in gone])
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            written = sum(size for name, size in files(home).items() if before.get(name) != size)
            took = f"{cpu:6.2f} s CPU, {wall:6.2f} s, {written / 1e6:7.1f} MB in files new or changed"
            print(f"erase {number:>5} of {people}: {took}")
            ratios |= {f"erase_{number}_cpu_s": round(cpu, 2), f"erase_{number}_mb": round(written / 1e6, 1)}
        ours, theirs = destroy_keys(home, keys[:1]), wrap_each(people)
        print(
            f"keys alone: {ours:.2f} s CPU beside {theirs:.2f} s wrapping each key anew ({ours / theirs:.2f}x)"
        )
        ratios |= {"keys_cpu_s": round(ours, 2), "keys_vs_row_by_row": round(ours / theirs, 3)}
        print(json.dumps(ratios))


def timed(what: str, job: Callable[[], Any]) -> Any:
    """Do one part of the preparation and say how long it took."""
    start = time.process_time()
    done = job()
    print(f"  made {what}: {time.process_time() - start:.1f} s CPU", flush=True)
    return done


def files(home: Home) -> dict[str, int]:
    """Every file with its size; files are written anew under new names, but for databases."""
    return {str(p): p.stat().st_size for p in home.root.rglob("*") if p.is_file()}


def agree(home: Home, people: int) -> list[str]:
    """Everybody agrees to spending data for credit scoring."""
    keys: list[str] = []
    now = now_utc()
    for lo in range(0, people, AT_A_TIME):
        some = home.directory.find_or_create([f"C{i:08d}" for i in range(lo, min(lo + AT_A_TIME, people))])
        home.ledger.append([_grant(key, now) for key in some])
        keys += some
    return sorted(keys)


def _grant(key: str, now: datetime) -> Event:
    terms = Grant(
        new_event_id(), NOTICE, "CN", "toggle", now + timedelta(days=300), START - timedelta(days=365)
    )
    return Event(new_event_id(), Kind.GIVEN, key, "spending", "credit_scoring", now, terms)


def load(home: Home, keys: list[str]) -> None:
    """One batch with one record a person."""
    source, rows = SOURCES["spending"], len(keys)
    columns: dict[str, pa.Array] = {"subject_key": pa.array(keys)}
    for field in source.schema:
        columns[field.name] = _some(field.type, rows)
    columns["row_number"] = pa.array(np.arange(rows))
    about = stage_store(home, "vault", source.name, "bench-0000", pa.table(columns))
    assert about is not None
    batch = Batch(
        "bench-0000", source.name, 0, "0" * 64, pack_rows(np.arange(rows)), {"vault": about}, now_utc()
    )
    commit_batch(home, batch)


def _some(type_: pa.DataType, rows: int) -> pa.Array:
    dice = np.random.default_rng(1)
    if pa.types.is_string(type_):
        return pa.array([f"text {i:06d}" for i in dice.integers(0, 100_000, rows)])
    if pa.types.is_decimal(type_):
        return pa.array(np.round(dice.random(rows) * 1e4, 2)).cast(type_)
    return pa.array(dice.integers(0, 100_000, rows)).cast(pa.int64()).cast(type_, safe=False)


def publish(home: Home, keys: list[str], number: int) -> None:
    """One row of features a person."""
    source, dice = SOURCES["spending"], np.random.default_rng(number)
    types = {"int64": pa.int64(), "float64": pa.float64()}
    at = pa.array([START + timedelta(days=number)] * len(keys), INSTANT)
    features = {
        f.name: pa.array(dice.random(len(keys)) * 1e4).cast(types[f.dtype], safe=False)
        for f in source.features[:15]
    }
    publish_table(
        home,
        source.definition,
        [pa.table({"subject_key": pa.array(keys), "event_timestamp": at, **features})],
        definition={"source": source.name, "features": {f.name: f.dtype for f in source.features[:15]}},
        input_hash=f"{number:064d}",
        lineage={},
        now=START,
    )


def destroy_keys(home: Home, gone: list[str]) -> float:
    """CPU seconds of leaving one person's keys out and sealing all others anew."""
    epoch, start = home.epochs.current + 1, time.process_time()
    home.data_keys.rotate(epoch, destroy={"spending": gone})
    home.data_keys.forget()
    for old in home.epochs.numbers()[:-1]:
        home.epochs.destroy(old)
    return time.process_time() - start


def wrap_each(people: int) -> float:
    """CPU seconds of wrapping as many keys one by one (RFC 3394), measured on 100,000 and scaled."""
    some, wrapping = min(people, 100_000), bytes(32)
    keys = [bytes(31) + bytes([i % 256]) for i in range(some)]
    start = time.process_time()
    for key in keys:
        aes_key_wrap(wrapping, key)
    return (time.process_time() - start) * people / some


if __name__ == "__main__":
    main()
