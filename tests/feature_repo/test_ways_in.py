"""Which store methods each public Feast call ends in. A new way past the gates must make one of these fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import wraps
from typing import Any

import pytest
from feast import FeatureStore
from feast.data_source import PushMode
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.infra.online_stores.online_store import OnlineStore

from feature_repo.stores.offline import ConsentOfflineStore
from feature_repo.stores.online import ConsentOnlineStore
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d"]


def names(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_") and callable(getattr(kind, name))}


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names of the store methods called, from now on."""
    seen: set[str] = set()

    def spied(label: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            seen.add(label)
            return method(*args, **kwargs)

        return call

    for ours, base in ((ConsentOfflineStore, OfflineStore), (ConsentOnlineStore, OnlineStore)):
        for name in names(base):
            method = spied(name, getattr(ours, name))
            is_static = isinstance(ours.__dict__.get(name, base.__dict__.get(name)), staticmethod)
            monkeypatch.setattr(ours, name, staticmethod(method) if is_static else method)
    return seen


CALLS: dict[str, tuple[Callable[[FeatureStore, Lender, str], Any], set[str]]] = {
    "get_historical_features": (
        lambda store, lender, key: store.get_historical_features(
            entity_df=lender.entities((key, 0)), features=REFS
        ).to_df(),
        {"get_historical_features"},
    ),
    "materialize": (
        lambda store, lender, key: store.materialize(
            lender.at(-2), lender.at(0), feature_views=["spending_v1"]
        ),
        {"pull_latest_from_table_or_query", "online_write_batch"},
    ),
    "materialize_incremental": (
        lambda store, lender, key: store.materialize_incremental(lender.at(0), feature_views=["spending_v1"]),
        {"pull_latest_from_table_or_query", "online_write_batch"},
    ),
    "get_online_features": (
        lambda store, lender, key: store.get_online_features(
            features=REFS, entity_rows=[{"subject_key": key}]
        ),
        {"get_online_features", "online_read"},
    ),
    "get_online_features_async": (
        lambda store, lender, key: asyncio.run(
            store.get_online_features_async(features=REFS, entity_rows=[{"subject_key": key}])
        ),
        {"get_online_features_async", "online_read_async", "online_read"},
    ),
    "push_async": (
        lambda store, lender, key: asyncio.run(
            store.push_async("spending_v1_push", rows(store, lender, key))
        ),
        {"online_write_batch_async", "online_write_batch"},
    ),
    "write_to_online_store_async": (
        lambda store, lender, key: asyncio.run(
            store.write_to_online_store_async("spending_v1", rows(store, lender, key))
        ),
        {"online_write_batch_async", "online_write_batch"},
    ),
    "push": (
        lambda store, lender, key: store.push(
            "spending_v1_push", rows(store, lender, key), to=PushMode.ONLINE
        ),
        {"online_write_batch"},
    ),
    "write_to_online_store": (
        lambda store, lender, key: store.write_to_online_store("spending_v1", rows(store, lender, key)),
        {"online_write_batch"},
    ),
    "apply": (
        lambda store, lender, key: store.apply([store.get_feature_service("scorecard_v1")]),
        {"update"},
    ),
}


def rows(store: FeatureStore, lender: Lender, key: str) -> Any:
    features = store.get_feature_view("spending_v1").features
    return lender.entities((key, -1)).assign(**{f.name: 1.0 for f in features})


@pytest.mark.parametrize("call", CALLS)
def test_each_public_call_ends_in_these_store_methods(lender: Lender, reached: set[str], call: str) -> None:
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -1, {"spend_7d": 1.0})])
    run, expected = CALLS[call]
    run(lender.stores[PURPOSE], lender, key)
    assert reached == expected


def test_monitoring_falls_back_to_the_gated_pull(lender: Lender) -> None:
    store = lender.stores[PURPOSE]
    offline, source = store.provider.offline_store, store.get_feature_view("spending_v1").batch_source
    with pytest.raises(NotImplementedError):
        offline.compute_monitoring_metrics(store.config, source, [], "event_timestamp")
    yes, no = lender.agrees(PURPOSE), lender.agrees("model_training")
    lender.publish("spending", [(key, -1, {"spend_7d": 1.0}) for key in (yes, no)])
    pulled = offline.pull_all_from_table_or_query(
        store.config, source, ["subject_key"], ["spend_7d"], "event_timestamp"
    ).to_df()
    assert pulled["subject_key"].tolist() == [yes]
    one_day = offline.pull_all_from_table_or_query(
        store.config,
        source,
        [],
        ["spend_7d"],
        "event_timestamp",
        None,
        lender.at(-0.5).replace(tzinfo=None),
        lender.at(0),
    )
    assert one_day.to_df().empty
