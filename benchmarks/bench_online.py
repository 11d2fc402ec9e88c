"""Online reads beside plain Feast on the same store: 100 features of 1 and of 100 people, SQLite and Redis.

python benchmarks/bench_online.py [--people 5000] [--requests 1000]

Three views of three sources, 34, 33 and 33 numbers each. Both sides are the plain Feast call,
``store.get_online_features(...).to_dict()``, in one process, in turns, about the same people, and give the same
values; ours asks the ledger about each person in each request, decides for each view, and opens what is sealed.
Plain Feast has an own SQLite file, or an own database of the same Redis. Figures are milliseconds on the clock, p50
and p99 over the requests. `bench_retrieval.py` runs this as well; alone, its last line is one JSON object too.
"""

from __future__ import annotations

import argparse
import gc
import json
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Float64, String

from consent.catalog import SOURCES
from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import Event, Grant, Kind, Notice
from feature_repo.stores import setup
from feature_repo.stores.source import ConsentSource

ROOT = Path(__file__).resolve().parents[1]
PURPOSE = "credit_scoring"
FEATURES = dict(zip(("spending", "employment", "app_usage"), (34, 33, 33), strict=True))
#: Ratio to plain Feast on the same store.
BAR = 1.3
WRITTEN_AT_ONCE = 2000


class Sides:
    """The two stores, filled with the same values of the same people."""

    def __init__(self, place: Path, kind: str, people: int, redis: Any | None) -> None:
        place.mkdir()
        connection = None if redis is None else redis.connection
        home = _home(place / "home", connection)
        setup.apply(home)
        self.keys = _agree(home, people)
        self.ours = setup.open_store(home, PURPOSE)
        self.ours.apply([_view(name, ConsentSource(source=name, table=f"{name}_v9")) for name in FEATURES])
        self.plain = _plain(place, kind, connection)
        for store in (self.ours, self.plain):
            for name, frame in self._frames():
                for low in range(0, people, WRITTEN_AT_ONCE):
                    store.write_to_online_store(name, frame[low : low + WRITTEN_AT_ONCE])
        self.references = [
            f"{_name(source)}:{_feature(source, i)}" for source, n in FEATURES.items() for i in range(n)
        ]

    def _frames(self) -> Iterator[tuple[str, pd.DataFrame]]:
        dice = np.random.default_rng(5)
        for source, count in FEATURES.items():
            cells = np.round(dice.lognormal(5, 1, (len(self.keys), count)), 2)
            columns = {_feature(source, i): cells[:, i] for i in range(count)}
            at = pd.Timestamp(now_utc() - timedelta(days=1))
            yield _name(source), pd.DataFrame({"subject_key": self.keys, "event_timestamp": at, **columns})

    def ask(self, store: FeatureStore, people: list[str]) -> dict[str, list[Any]]:
        """One request."""
        rows = [{"subject_key": key} for key in people]
        return dict(store.get_online_features(features=self.references, entity_rows=rows).to_dict())

    def compare(self, people: int, requests: int) -> dict[str, float]:
        """p50 and p99 of both in milliseconds."""
        dice = np.random.default_rng(7)
        spent: dict[str, list[float]] = {"ours": [], "plain": []}
        gc.collect()
        for number in range(-20, requests):
            some = [self.keys[i] for i in dice.choice(len(self.keys), people, replace=False)]
            answers = {}
            for side in ("ours", "plain") if number % 2 else ("plain", "ours"):
                begun = time.perf_counter()
                answers[side] = self.ask(getattr(self, side), some)
                if number >= 0:
                    spent[side].append(1000 * (time.perf_counter() - begun))
            assert answers["ours"] == answers["plain"]
            assert answers["ours"][_feature("spending", 0)][0] is not None
        return {
            f"{side}_{name}": float(np.percentile(times, q))
            for side, times in spent.items()
            for name, q in (("p50", 50), ("p99", 99))
        }


def _name(source: str) -> str:
    return f"{source}_wide"


def _feature(source: str, number: int) -> str:
    return f"{source}_{number}"


def _subject() -> Entity:
    return Entity(name="subject", join_keys=["subject_key"], value_type=ValueType.STRING)


def _view(source: str, table: Any) -> FeatureView:
    fields = [Field(name=_feature(source, i), dtype=Float64) for i in range(FEATURES[source])]
    return FeatureView(
        name=_name(source),
        entities=[_subject()],
        ttl=timedelta(days=100),
        schema=[Field(name="subject_key", dtype=String), *fields],
        source=table,
    )


def _home(root: Path, connection: str | None) -> Home:
    Home.create(root)
    if connection is not None:
        with (root / "assent.toml").open("a") as settings:
            settings.write(f'\n[online]\nstore = "redis"\nconnection = "{connection},db=0"\n')
    return Home.open(root)


def _agree(home: Home, people: int) -> list[str]:
    now, notice = now_utc(), Notice("n", "1", "en", "ab" * 32)
    keys: list[str] = home.directory.find_or_create([f"C{i:08d}" for i in range(people)])
    events = []
    for key in keys:
        for source in SOURCES:
            terms = Grant(
                secrets.token_hex(8), notice, "CN", "toggle", now + timedelta(300), now - timedelta(days=300)
            )
            events.append(Event(new_event_id(), Kind.GIVEN, key, source, PURPOSE, now, terms))
    home.ledger.append(events)
    return keys


def _plain(place: Path, kind: str, connection: str | None) -> FeatureStore:
    online = {"type": "sqlite", "path": str(place / "plain.db")}
    if kind == "redis":
        online = {"type": "redis", "connection_string": f"{connection},db=1"}
    config = RepoConfig(
        project="plain",
        registry=str(place / "registry.db"),
        provider="local",
        offline_store={"type": "duckdb"},
        online_store=online,
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    source = FileSource(path=str(place / "nothing.parquet"), timestamp_field="event_timestamp")
    store.apply([_subject(), *(_view(name, source) for name in FEATURES)])
    return store


@contextmanager
def _server(kind: str, place: Path) -> Iterator[Any]:
    if kind == "sqlite":
        with nullcontext() as none:
            yield none
        return
    from tests.redis_server import running

    directory = place / "server"
    directory.mkdir()
    with running(directory) as server:
        yield server


def measure(people: int, requests: int, say: Callable[..., None]) -> None:
    """Both stores and both sizes.

    Args:
        say: takes a figure's name, the ratio, the bar and what it was made of.
    """
    with tempfile.TemporaryDirectory(prefix="assent-bench-") as name:
        for kind in ("sqlite", "redis"):
            with _server(kind, Path(name)) as server:
                sides = Sides(Path(name) / kind, kind, people, server)
                for size in (1, 100):
                    found = sides.compare(size, requests if size == 1 else max(100, requests // 4))
                    for q in ("p50", "p99"):
                        ours, plain = found[f"ours_{q}"], found[f"plain_{q}"]
                        say(
                            f"online_{kind}_x{size}_{q}", ours / plain, f"{ours:.2f} ms beside {plain:.2f} ms"
                        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--requests", type=int, default=1000)
    options = parser.parse_args()
    ratios = {}

    def say(name: str, ratio: float, detail: str) -> None:
        ratios[name] = round(ratio, 3)
        print(
            f"{name:<24} {ratio:8.2f}  <= {BAR:<5g} {'ok' if ratio <= BAR else 'NOT REACHED':<12} {detail}",
            flush=True,
        )

    measure(options.people, options.requests, say)
    print(json.dumps(ratios))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
