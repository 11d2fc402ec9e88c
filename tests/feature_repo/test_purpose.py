"""One configuration, one purpose; a feature service says its own, and only in the registry."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureService, FeatureStore, RepoConfig
from feast.data_source import PushMode

from consent.errors import ConfigError, Denied, Gap
from consent.home import Home
from feature_repo.stores import setup
from tests.feature_repo.lender import Lender, values

PURPOSE = "credit_scoring"


def config(lender: Lender, **changes: dict[str, Any]) -> dict[str, Any]:
    """What the yaml of credit scoring says, with changes to its sections; a None takes a field away."""
    home = str(lender.home.root)
    sections: dict[str, Any] = {
        "registry": {
            "registry_store_type": "feature_repo.stores.registry.SignedRegistryStore",
            "path": f"{home}/feast/registry.pb",
            "home": home,
        },
        "offline_store": {
            "type": "feature_repo.stores.offline.ConsentOfflineStore",
            "purpose": PURPOSE,
            "home": home,
        },
        "online_store": {
            "type": "feature_repo.stores.online.ConsentOnlineStore",
            "purpose": PURPOSE,
            "home": home,
        },
    }
    for section, fields in changes.items():
        sections[section] = {
            k: v for k, v in {**sections.get(section, {}), **fields}.items() if v is not None
        }
    return {"project": "assent", "provider": "feature_repo.stores.provider.ConsentProvider", **sections}


@pytest.mark.parametrize("store", ["offline_store", "online_store"])
@pytest.mark.parametrize("purpose", [None, "", "marketing", "${ASSENT_PURPOSE}"])
def test_a_store_without_a_purpose_is_a_gap(lender: Lender, store: str, purpose: str | None) -> None:
    with pytest.raises(Gap, match="purpose"):
        FeatureStore(config=RepoConfig(**config(lender, **{store: {"purpose": purpose}})))


@pytest.mark.parametrize("home", [None, ".assent", "${ASSENT_HOME}"])
def test_a_store_without_an_absolute_home_is_refused(lender: Lender, home: str | None) -> None:
    with pytest.raises(ConfigError, match="absolute"):
        FeatureStore(config=RepoConfig(**config(lender, online_store={"home": home})))
    with pytest.raises(ConfigError, match="absolute"):
        _ = FeatureStore(config=RepoConfig(**config(lender, registry={"home": home}))).registry


@pytest.mark.parametrize(
    "changes",
    [
        {"offline_store": {"purpose": "model_training"}},
        {"online_store": {"type": "sqlite", "purpose": None, "home": None}},
        {"offline_store": {"type": "dask", "purpose": None, "home": None}},
        {"registry": {"registry_store_type": None}},
        {"registry": {"registry_type": "sql"}},
        {"batch_engine": {"type": "k8s"}},
        {"mlflow": {"enabled": True, "auto_log_entity_df": True}},
    ],
    ids=[
        *("two purposes", "plain online store", "plain offline store", "plain registry", "unsigned registry"),
        *("an engine with stores of its own", "entity rows kept in MLflow"),
    ],
)
def test_the_provider_works_with_nothing_but_the_consent_stores(lender: Lender, changes: Any) -> None:
    """One plain part beside a consent store would be a way around it."""
    with pytest.raises(ConfigError):
        _ = FeatureStore(config=RepoConfig(**config(lender, **changes))).provider


def test_the_stores_refuse_another_provider_and_each_other(lender: Lender) -> None:
    """Also where the provider is Feast's own and asks nothing: no value leaves for a plain online file."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -1, {"spend_7d": 1.5})])
    features = ["spending_v1:spend_7d"]
    plain_online = {"type": "sqlite", "path": str(lender.home.root / "plain.db")}
    for online in (config(lender)["online_store"], plain_online):
        said = {**config(lender), "provider": "local", "online_store": online}
        store = FeatureStore(config=RepoConfig(**said))
        with pytest.raises(ConfigError):
            store.get_historical_features(entity_df=lender.entities((key, 0)), features=features)
        with pytest.raises(ConfigError):
            store.materialize(lender.at(-2), lender.at(0), feature_views=["spending_v1"])
        if online is not plain_online:
            with pytest.raises(ConfigError):
                store.get_online_features(features=features, entity_rows=[{"subject_key": key}])
            with pytest.raises(ConfigError):
                store.provider.online_store.online_write_batch(
                    store.config, store.get_feature_view("spending_v1"), [], None
                )


def test_a_configuration_that_lies_in_no_file_works_too(lender: Lender) -> None:
    """One made in a program has no place of its own; everything else about it is asked all the same."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -1, {"spend_7d": 1.5})])
    store = FeatureStore(config=RepoConfig(**config(lender)))
    job = store.get_historical_features(
        entity_df=lender.entities((key, 0), (lender.person(), 0)), features=["spending_v1:spend_7d"]
    )
    assert values(job.to_df(), "spend_7d") == [1.5, None]


def test_a_service_of_another_purpose_is_denied_online(lender: Lender) -> None:
    store = lender.stores["fraud_detection"]
    rows = [{"subject_key": lender.agrees(PURPOSE)}]
    with pytest.raises(Denied) as caught:
        store.get_online_features(features=store.get_feature_service("scorecard_v1"), entity_rows=rows)
    assert caught.value.code == "PURPOSE"


def test_a_forged_tag_changes_nothing(lender: Lender) -> None:
    key = lender.agrees("fraud_detection")
    store = lender.stores[PURPOSE]
    forged = store.get_feature_service("fraud_screen_v1")
    forged.tags = {"purpose": PURPOSE}
    with pytest.raises(Denied):
        store.get_online_features(features=forged, entity_rows=[{"subject_key": key}])
    other = store.get_feature_service("scorecard_v1")
    other.tags = {"purpose": "fraud_detection"}
    lender.publish("spending", [(key, -1, {"spend_7d": 1.0})])
    view = store.get_feature_view("spending_v1")
    push = lender.entities((key, -1)).assign(**{f.name: 1.0 for f in view.features})
    store.push("spending_v1_push", push, to=PushMode.ONLINE)
    answer = store.get_online_features(features=other, entity_rows=[{"subject_key": key}]).to_dict()
    assert answer["spend_7d"] == [None]
    for source in ("employment", "app_usage"):
        lender.publish(source, [])
    job = store.get_historical_features(entity_df=lender.entities((key, 0)), features=other)
    assert values(job.to_df(), "spend_7d") == [None]
    assert job.receipt.purpose == PURPOSE


def test_a_forged_list_of_features_changes_nothing(lender: Lender) -> None:
    store = lender.stores[PURPOSE]
    view = store.get_feature_view("spending_v1")
    forged = FeatureService(name="scorecard_v1", features=[view[["spend_7d"]]], tags={"purpose": PURPOSE})
    answer = store.get_online_features(features=forged, entity_rows=[{"subject_key": "a" * 32}]).to_dict()
    registered = store.get_feature_service("scorecard_v1").feature_view_projections
    assert set(answer) == {"subject_key"} | {f.name for p in registered for f in p.features}


def test_a_service_without_a_purpose_is_a_gap(lender: Lender) -> None:
    store = lender.stores[PURPOSE]
    store.apply([FeatureService(name="untagged_v1", features=[store.get_feature_view("spending_v1")])])
    with pytest.raises(Gap, match="untagged_v1"):
        store.get_online_features(
            features=store.get_feature_service("untagged_v1"), entity_rows=[{"subject_key": "a" * 32}]
        )
    with pytest.raises(Gap, match="untagged_v1"):
        setup.online_features(lender.home, "untagged_v1", ["a" * 32])


def test_a_service_nobody_registered_is_named_with_those_that_are(lender: Lender) -> None:
    with pytest.raises(ConfigError, match="scorecard_v9") as caught:
        setup.training_set(lender.home, lender.entities(("a" * 32, 0)), "scorecard_v9")
    assert "scorecard_training_v1" in caught.value.remedy


def test_each_services_purpose_governs_its_training_set(lender: Lender) -> None:
    trained, scored = lender.agrees("model_training"), lender.agrees(PURPOSE)
    for source in ("spending", "employment", "app_usage"):
        lender.publish(source, [(key, -1, {"spend_7d": 1.0}) for key in (trained, scored)])
    rows = lender.entities((trained, 0), (scored, 0))
    assert values(setup.training_set(lender.home, rows, "scorecard_training_v1")[0], "spend_7d") == [
        1.0,
        None,
    ]
    assert values(setup.training_set(lender.home, rows, "scorecard_v1")[0], "spend_7d") == [None, 1.0]


def test_a_copied_home_does_not_read_the_other_homes_ledger(tmp_path: Path) -> None:
    """Its configurations still name the old home: refused, until `apply` writes them anew."""
    Lender(tmp_path / "home")
    shutil.copytree(tmp_path / "home", tmp_path / "copy")
    shutil.copytree(tmp_path / "home.keys", tmp_path / "copy.keys")
    copy = Home.open(tmp_path / "copy")
    with pytest.raises(ConfigError, match="names another home"):
        setup.online_features(copy, "scorecard_v1", [None])
    setup.apply(copy)
    assert setup.online_features(copy, "scorecard_v1", [None])["spend_30d"] == [None]
    assert setup.open_store(copy, "credit_scoring").config.online_store.home == str(copy.root)
