"""Incremental materialisation: Feast remembers how far a view has got; consent does not go by that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from feast.data_source import PushMode

from tests.feature_repo.lender import Lender

PURPOSE, OTHER = "credit_scoring", "fraud_detection"
VIEW = ["spending_v1"]


@pytest.fixture
def lender(tmp_path: Path) -> Lender:
    """Of its own, because Feast's memory is in the registry."""
    return Lender(tmp_path / "home")


def increment(lender: Lender, purpose: str, day: float = 0) -> None:
    lender.stores[purpose].materialize_incremental(lender.at(day), feature_views=VIEW)


def read(lender: Lender, purpose: str, *keys: str) -> list[Any]:
    rows = [{"subject_key": key} for key in keys]
    answer = lender.stores[purpose].get_online_features(features=["spending_v1:spend_7d"], entity_rows=rows)
    return list(answer.to_dict()["spend_7d"])


def test_a_second_purpose_misses_nothing_that_the_first_has_passed(lender: Lender) -> None:
    """One view, two purposes, one memory: each purpose's people are online after its own increment."""
    scored, screened = lender.agrees(PURPOSE), lender.agrees(OTHER)
    lender.publish("spending", [(key, -10, {"spend_7d": 1.0}) for key in (scored, screened)])
    increment(lender, PURPOSE)
    assert read(lender, OTHER, screened) == [None]
    increment(lender, OTHER)
    assert read(lender, OTHER, scored, screened) == [None, 1.0]
    assert read(lender, PURPOSE, scored, screened) == [1.0, None]


def test_who_agreed_after_the_last_increment_is_brought_by_the_next(lender: Lender) -> None:
    """Their row is older than Feast's mark; the consent is what is new."""
    key = lender.person()
    lender.publish("spending", [(key, -10, {"spend_7d": 1.0})])
    increment(lender, PURPOSE, -1)
    lender.record(lender.grant(key, "spending", PURPOSE))
    increment(lender, PURPOSE)
    assert read(lender, PURPOSE, key) == [1.0]


def test_who_withdrew_is_not_brought_back(lender: Lender) -> None:
    """The whole ttl is looked at again, and everybody in it asked about again."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -10, {"spend_7d": 1.0})])
    increment(lender, PURPOSE, -1)
    lender.withdraw(key)
    online, store = lender.stores[PURPOSE].provider.online_store, lender.stores[PURPOSE]
    views = [store.get_feature_view("spending_v1")]
    online.remove_subjects(store.config, views, [key])
    increment(lender, PURPOSE)
    assert online.count_subjects(store.config, views, [key]) == {}
    assert read(lender, PURPOSE, key) == [None]


def test_what_was_pushed_is_not_undone_by_an_older_published_row(lender: Lender) -> None:
    """Reaching back must not bring back: the newer value stays, for a few people and for many."""
    pushed = [lender.agrees(PURPOSE) for _ in range(3)]
    others = [lender.agrees(PURPOSE) for _ in range(2)]
    lender.publish("spending", [(key, -10, {"spend_7d": 1.0}) for key in pushed + others])
    increment(lender, PURPOSE, -5)
    store = lender.stores[PURPOSE]
    cells = dict.fromkeys([f.name for f in store.get_feature_view("spending_v1").features], 2.0)
    rows = lender.entities(*((key, -1) for key in pushed)).assign(**cells)
    store.push("spending_v1_push", rows, to=PushMode.ONLINE)
    increment(lender, PURPOSE)
    assert read(lender, PURPOSE, *pushed, *others) == [2.0] * 3 + [1.0] * 2


def test_a_corrected_row_of_the_same_time_takes_the_place_of_the_old(lender: Lender) -> None:
    """Only what is newer stays; a new data version of the same day is what counts."""
    key = lender.agrees(PURPOSE)
    for value in (1.0, 2.0):
        lender.publish("spending", [(key, -10, {"spend_7d": value})])
        increment(lender, PURPOSE, -5 + value)
        assert read(lender, PURPOSE, key) == [value]


def test_a_range_that_somebody_names_is_the_range(lender: Lender) -> None:
    """Only an increment reaches back: a materialisation from a day on brings nothing from before it."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -10, {"spend_7d": 1.0})])
    store = lender.stores[PURPOSE]
    store.materialize(lender.at(-8), lender.at(-5), feature_views=VIEW)
    store.materialize(lender.at(-4), lender.at(0), feature_views=VIEW)
    assert read(lender, PURPOSE, key) == [None]
