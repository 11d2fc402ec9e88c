"""Versioned references (``view@v2``): each version is gated by the consent source that it was defined with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from feast import Entity, FeatureView, Field
from feast.types import Float64, Int64, String
from feast.value_type import ValueType

from feature_repo.stores import setup
from tests.feature_repo.lender import Lender, values

PURPOSE = "credit_scoring"
SUBJECT = Entity(name="subject", join_keys=["subject_key"], value_type=ValueType.STRING)


def weekly(source: str, **features: Any) -> FeatureView:
    from feature_repo.stores.source import ConsentSource

    return FeatureView(
        name="weekly",
        entities=[SUBJECT],
        schema=[
            Field(name="subject_key", dtype=String),
            *(Field(name=n, dtype=t) for n, t in features.items()),
        ],
        source=ConsentSource(source=source, table=f"{source}_v1", name=f"weekly_{source}"),
    )


class Versions:
    """A view that was first of spending and is of employment now, and two people who agreed to one of them each."""

    def __init__(self, lender: Lender) -> None:
        self.lender, self.store = lender, lender.stores[PURPOSE]
        self.spends, self.works = (lender.agrees(PURPOSE, sources=[s]) for s in ("spending", "employment"))
        for source in ("spending", "employment"):
            cells = {"spend_7d": 1.5, "tenure_days": 9}
            lender.publish(source, [(key, -1, cells) for key in (self.spends, self.works)])
        for view in (weekly("spending", spend_7d=Float64), weekly("employment", tenure_days=Int64)):
            self.store.apply([view])
            self.store.materialize(lender.at(-2), lender.at(0), feature_views=["weekly"])

    @property
    def people(self) -> tuple[str, str]:
        return self.spends, self.works

    def online(self, ref: str) -> list[Any]:
        rows = [{"subject_key": key} for key in self.people]
        answer = self.store.get_online_features(features=[ref], entity_rows=rows, full_feature_names=True)
        return list(answer.to_dict()[ref.replace(":", "__")])

    def historical(self, *refs: str) -> list[list[Any]]:
        rows = self.lender.entities(*((key, 0) for key in self.people))
        job = self.store.get_historical_features(entity_df=rows, features=list(refs), full_feature_names=True)
        result = job.to_df()
        return [values(result, ref.replace(":", "__")) for ref in refs]


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    return Versions(Lender(tmp_path_factory.mktemp("versions") / "home"))


OLD, NEW, NOW = "weekly@v0:spend_7d", "weekly@v1:tenure_days", "weekly:tenure_days"


def test_a_version_is_gated_by_its_own_source_online(versions: Versions) -> None:
    """Who agreed to spending has the old version's value, who agreed to employment the new one's."""
    assert versions.online(OLD) == [1.5, None]
    assert versions.online(NEW) == versions.online(NOW) == [None, 9]


def test_a_version_is_gated_by_its_own_source_in_historical_fetches(versions: Versions) -> None:
    """Also when both are asked for at once, in columns of their own."""
    assert versions.historical(OLD, NEW) == [[1.5, None], [None, 9]]
    assert versions.historical(NOW) == [[None, 9]]


def test_an_old_version_is_materialised_by_its_own_source(versions: Versions) -> None:
    """`materialize(version=...)` brings online who agreed to what that version is made of."""
    lender = versions.lender
    late, other = (lender.agrees(PURPOSE, sources=[source]) for source in ("spending", "employment"))
    lender.publish("spending", [(key, -1, {"spend_7d": 2.5}) for key in (late, other)])
    versions.store.materialize(lender.at(-2), lender.at(0), feature_views=["weekly"], version="v0")
    rows = [{"subject_key": key} for key in (late, other)]
    answer = versions.store.get_online_features(features=[OLD], entity_rows=rows).to_dict()
    assert answer["spend_7d"] == [2.5, None]


def test_a_version_that_never_was_has_no_values(versions: Versions) -> None:
    """Neither way; Feast says that there is none."""
    for read in (versions.online, versions.historical):
        with pytest.raises(Exception, match="does not exist"):
            read("weekly@v7:spend_7d")


def test_deletion_reaches_every_version(versions: Versions) -> None:
    """A person's values go from the tables of all versions, and the package for themselves shows them all first."""
    home, key = versions.lender.home, versions.spends
    shown = {each.view: each.values for each in setup.online_values_for_own_access_package(home, key)}
    assert shown == {"weekly": {"spend_7d": 1.5}}
    assert setup.count_online(home, [key]) == {key: 1}
    assert setup.count_online(home, [key], source="spending") == {key: 1}
    assert setup.count_online(home, [key], source="app_usage") == {}
    assert setup.remove_online(home, [key]) == 1
    assert setup.count_online(home, [key]) == {}
    assert versions.online(OLD) == [None, None]
    assert setup.count_online(home, [versions.works]) == {versions.works: 1}


def test_a_version_declared_but_never_used_is_in_nobodys_way(tmp_path: Path) -> None:
    """It has no table; what walks through all versions passes it by."""
    lender = Lender(tmp_path / "home")
    store, key = lender.stores[PURPOSE], lender.agrees(PURPOSE)
    store.apply([weekly("spending", spend_7d=Float64)])
    store.apply([weekly("spending", spend_7d=Float64, spend_30d=Float64)], no_promote=True)
    lender.publish("spending", [(key, -1, {"spend_7d": 1.5})])
    store.materialize(lender.at(-2), lender.at(0), feature_views=["weekly"])
    (shown,) = setup.online_values_for_own_access_package(lender.home, key)
    assert (shown.view, shown.values) == ("weekly", {"spend_7d": 1.5})
    assert setup.remove_online(lender.home, [key]) == 1
