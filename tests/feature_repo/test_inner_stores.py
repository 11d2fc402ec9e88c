"""One behaviour suite over the stores that the online store wraps: SQLite, and a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from consent.clock import now_utc
from consent.errors import ConfigError, Unavailable
from consent.home import CONFIG_FILE, Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Kind
from feature_repo.stores import setup
from rights.erase import Wanted, erase
from tests.feature_repo.lender import Lender
from tests.redis_server import Server, running

PURPOSE = "credit_scoring"
SPEND = "spending_v1:spend_7d"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("redis")) as server:
        yield server


class _Lender(Lender):
    """A lender whose online features lie in a store of choice."""

    def __init__(self, root: Path, settings: str) -> None:
        super().__init__(root)
        config = self.home.path(CONFIG_FILE)
        config.write_text(config.read_text() + settings)
        self.home = Home.open(root)
        setup.apply(self.home)


def on_redis(server: Server) -> str:
    return f'[online]\nstore = "redis"\nconnection = "{server.connection}"\n'


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def lender(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis: Server) -> Lender:
    settings = on_redis(redis) if request.param == "redis" else ""
    return _Lender(tmp_path_factory.mktemp(request.param) / "home", settings)


def read(lender: Lender, *keys: str, purpose: str = PURPOSE) -> list[Any]:
    rows = [{"subject_key": key} for key in keys]
    response = lender.stores[purpose].get_online_features(features=[SPEND], entity_rows=rows)
    return list(response.to_dict()["spend_7d"])


def online(lender: Lender, *people: tuple[str, float]) -> None:
    lender.publish("spending", [(key, -1, {"spend_7d": value}) for key, value in people])
    setup.materialise(lender.home, start=lender.at(-400), end=now_utc())


def test_values_come_back_for_who_agreed_and_for_nobody_else(lender: Lender) -> None:
    """Written for some purpose, read for this one; unknown people are null."""
    yes, other = lender.agrees(PURPOSE), lender.agrees("fraud_detection")
    online(lender, (yes, 5.0), (other, 7.0))
    assert read(lender, yes, other, "f" * 32) == [5.0, None, None]
    assert read(lender, yes, other, purpose="fraud_detection") == [None, 7.0]


def test_a_withdrawal_counts_at_the_very_next_read(lender: Lender) -> None:
    """Though the value still lies in the store."""
    key = lender.agrees(PURPOSE)
    online(lender, (key, 5.0))
    assert read(lender, key) == [5.0]
    lender.withdraw(key)
    assert read(lender, key) == [None]
    assert setup.count_online(lender.home, [key])[key] > 0


def test_a_later_value_takes_the_place_of_an_earlier_one(lender: Lender) -> None:
    """And not the other way round."""
    key = lender.agrees(PURPOSE)
    online(lender, (key, 5.0))
    rows = pd.DataFrame(
        {
            "subject_key": [key],
            "event_timestamp": pd.Series([lender.at(-0.5)]),
            **{
                f.name: [6.0 if f.name == "spend_7d" else None]
                for f in lender.stores[PURPOSE].get_feature_view("spending_v1").features
            },
        }
    )
    lender.stores[PURPOSE].write_to_online_store("spending_v1", rows)
    assert read(lender, key) == [6.0]


def test_values_are_counted_and_deleted_by_subject(lender: Lender) -> None:
    """Only theirs, and those of nobody twice."""
    one, two = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    online(lender, (one, 5.0), (two, 6.0))
    counted = setup.count_online(lender.home, [one, two, "e" * 32])
    assert counted == {one: 1, two: 1}
    assert setup.remove_online(lender.home, [one]) == 1
    assert setup.remove_online(lender.home, [one]) == 0
    assert setup.count_online(lender.home, [one, two]) == {two: 1}
    assert read(lender, one, two) == [None, 6.0]


def test_an_erasure_leaves_nothing_online(lender: Lender) -> None:
    """And a copy of the values made before stays shut: their key is gone."""
    key, other = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    online(lender, (key, 5.0), (other, 6.0))
    (outcome,) = erase(lender.home, [Wanted(key)])
    stores = {item["store"] for item in outcome.document["items"] if item["outcome"] == "ERASED"}
    assert "online" in stores
    assert setup.count_online(lender.home, [key, other]) == {other: 1}
    assert read(lender, key, other) == [None, 6.0]


def test_what_nobody_may_use_any_more_is_removed(lender: Lender) -> None:
    """Values of people who have withdrawn everything."""
    key = lender.agrees(PURPOSE)
    online(lender, (key, 5.0))
    lender.record(Event(new_event_id(), Kind.WITHDRAWN, key, ANY, ANY, now_utc()))
    setup.remove_unusable(lender.home)
    assert setup.count_online(lender.home, [key]) == {}


def test_redis_shows_no_value_and_no_subject(tmp_path: Path, redis: Server) -> None:
    """Keys are tokens, values are sealed; nothing of either is in what Redis writes to its disk."""
    lender = _Lender(tmp_path / "home", on_redis(redis))
    key = lender.agrees(PURPOSE)
    online(lender, (key, 123456.75))
    kept = b"".join(p.read_bytes() for p in redis.directory.rglob("*") if p.is_file())
    kept += b"".join(redis.client.keys())
    assert len(kept) > 1000
    assert key.encode() not in kept
    assert bytes.fromhex(key) not in kept
    assert b"spend_7d" not in kept


def test_a_redis_that_is_gone_refuses_and_gives_the_same_after_it_is_back(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stopped in the middle: reads, writes, deletions and erasures are refused, not answered wrongly."""
    with running(tmp_path_factory.mktemp("other")) as server:
        lender = _Lender(tmp_path / "home", on_redis(server))
        key, gone = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
        online(lender, (key, 5.0), (gone, 6.0))
        server.stop()
        attempts = [
            lambda: read(lender, key),
            lambda: online(lender, (key, 7.0)),
            lambda: setup.remove_online(lender.home, [gone]),
            lambda: erase(lender.home, [Wanted(gone)]),
        ]
        for attempt in attempts:
            with pytest.raises(Unavailable):
                attempt()
        server.start()
        assert read(lender, key, gone)[0] in (5.0, 7.0)
        assert read(lender, gone) == [None], "the request for erasure is on record"
        (outcome,) = erase(lender.home, [Wanted(gone)])
        assert outcome.certificate is not None
        assert setup.count_online(lender.home, [gone]) == {}


@pytest.mark.parametrize(
    "table",
    [
        'store = "redis"',
        'store = "redis"\nconnection = ""',
        'store = "redis"\nconnection = 6379',
        'store = "memcached"\nconnection = "h:1"',
        'store = "sqlite"\nconnection = "h:1"',
        'store = "redis"\nconnection = "h:1,password=secret"',
        'store = "redis"\nconnection = "h:1"\nport = 1',
    ],
)
def test_settings_that_cannot_work_are_refused(tmp_path: Path, table: str) -> None:
    """With a remedy, and without repeating a password."""
    home = Home.create(tmp_path / "home")
    config = home.path(CONFIG_FILE)
    config.write_text(config.read_text() + f"[online]\n{table}\n")
    with pytest.raises(ConfigError) as caught:
        Home.open(home.root)
    assert caught.value.remedy
    assert "secret" not in str(caught.value)
