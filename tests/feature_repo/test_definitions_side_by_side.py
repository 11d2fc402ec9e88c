"""Two definitions of one source, published and served side by side; the older one on its way out."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.clock import now_utc
from consent.errors import ConfigError
from consent.home import Home
from feature_repo import definitions as defined
from feature_repo.stores import setup
from feature_repo.stores.historical import DeprecatedDefinition
from ingestion.publish import publish
from ingestion.run import ingest
from ingestion.source import Feature
from ingestion.sources import SOURCES, definition_of, definitions
from ingestion.tables import read_current, read_table
from tests.ingestion.conftest import grant_event, transaction, write_csv

PURPOSE = "credit_scoring"


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """spending_v2 doubles what spending_v1 counted, and keeps v1 for another quarter."""
    first = replace(SOURCES["spending"], deprecated="use spending_v2; published until 2027-03-31")
    twice = Feature("spend_7d_twice", "float64", "currency units", "7 days", "Twice the spending.")
    second = replace(
        SOURCES["spending"],
        definition="spending_v2",
        features=(*SOURCES["spending"].features, twice),
        compute=lambda events, spine: _with_twice(first.compute(events, spine)),
        earlier=(first,),
    )
    monkeypatch.setitem(SOURCES, "spending", second)
    importlib.reload(defined)
    yield
    monkeypatch.undo()
    importlib.reload(defined)


def _with_twice(rows: Any) -> Any:
    return rows.mutate(spend_7d_twice=rows.spend_7d * 2)


@pytest.mark.usefixtures("both")
def test_both_are_published_and_served_and_the_older_one_says_so(tmp_path: Path) -> None:
    """Each under its own table and view, offline and online, with one warning for the older."""
    home, now = Home.create(tmp_path / "home"), now_utc()
    setup.apply(home)
    (key,) = home.directory.find_or_create(["甲"])
    home.ledger.append([grant_event(key, "spending", PURPOSE)])
    at = now - timedelta(days=3)
    ingest(
        home, "spending", [write_csv(tmp_path / "f.csv", [transaction("甲", 1, occurred_at=at.isoformat())])]
    )
    published = publish(home)
    assert [p.version.table for p in published] == ["spending_v2", "spending_v1"]
    assert [p.fresh for p in publish(home)] == [False, False]
    assert "spend_7d_twice" not in read_table(home, read_current(home, "spending_v1")).column_names
    setup.materialise(home, start=now - timedelta(days=90), end=now_utc())
    store = setup.open_store(home, PURPOSE)
    refs = ["spending_v1:spend_7d", "spending_v2:spend_7d", "spending_v2:spend_7d_twice"]
    online = store.get_online_features(
        features=refs, entity_rows=[{"subject_key": key}], full_feature_names=True
    )
    assert online.to_dict() == {
        "subject_key": [key],
        "spending_v1__spend_7d": [12.5],
        "spending_v2__spend_7d": [12.5],
        "spending_v2__spend_7d_twice": [25.0],
    }
    import pandas as pd

    rows = pd.DataFrame({"subject_key": [key], "event_timestamp": [pd.Timestamp(now_utc())]})
    with pytest.warns(DeprecatedDefinition, match="spending_v1 is deprecated: use spending_v2") as told:
        job: Any = store.get_historical_features(entity_df=rows, features=refs, full_feature_names=True)
    assert len([w for w in told if w.category is DeprecatedDefinition]) == 1
    assert job.to_df()["spending_v2__spend_7d_twice"].tolist() == [25.0]
    assert {t.table for t in job.receipt.tables} == {"spending_v1", "spending_v2"}


@pytest.mark.usefixtures("both")
def test_a_definition_is_found_by_its_name() -> None:
    assert [d.definition for d in definitions() if d.name == "spending"] == ["spending_v2", "spending_v1"]
    assert definition_of("spending_v1") is SOURCES["spending"].earlier[0]
    assert definition_of("spending_v3") is None


@pytest.mark.parametrize("wrong", ["the same name", "another source", "one within one"])
def test_definitions_that_do_not_fit_together_are_refused(
    monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    spending = SOURCES["spending"]
    v0 = replace(spending, definition="spending_v0")
    earlier = {
        "the same name": spending,
        "another source": SOURCES["employment"],
        "one within one": replace(v0, earlier=(replace(spending, definition="spending_v9"),)),
    }[wrong]
    monkeypatch.setitem(SOURCES, "spending", replace(spending, earlier=(earlier,)))
    with pytest.raises(ConfigError):
        definitions()
