"""The definitions follow the sources, and every service says what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from feast import Entity, FeatureStore, FeatureView, Field, ValueType
from feast.repo_operations import get_repo_files
from feast.types import Float64, Int64, String
from google.protobuf.json_format import MessageToDict

import feature_repo
from consent.catalog import PURPOSES
from consent.errors import ConfigError, Unavailable
from consent.home import Home
from feature_repo.stores import setup
from feature_repo.stores.source import ConsentSource, require_consent_view
from ingestion.sources import SOURCES
from tests.feature_repo.lender import Lender

REPO = Path(feature_repo.__file__).parent
PURPOSE = "credit_scoring"


def registered(home: Home) -> dict[Any, Any]:
    """Every view and service, without the times at which they were written."""
    store = setup.open_store(home, PURPOSE)
    objects = [*store.list_all_feature_views(), *store.list_feature_services(), *store.list_data_sources()]
    found: dict[Any, Any] = {
        (type(thing).__name__, thing.name): _undated(MessageToDict(thing.to_proto())) for thing in objects
    }
    found["versions"] = {
        view.name: len(store.list_feature_view_versions(view.name)) for view in store.list_all_feature_views()
    }
    return found


def _undated(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _undated(v) for name, v in value.items() if not name.endswith("Timestamp")}
    return [_undated(v) for v in value] if isinstance(value, list) else value


def test_there_is_one_view_per_published_definition_with_its_features(lender: Lender) -> None:
    views = {view.name: view for view in lender.stores[PURPOSE].list_feature_views()}
    assert set(views) == {source.definition for source in SOURCES.values()}
    types = {"int64": Int64, "float64": Float64}
    for source in SOURCES.values():
        view = views[source.definition]
        assert {f.name: f.dtype for f in view.features} == {f.name: types[f.dtype] for f in source.features}
        assert require_consent_view(view).source == source.name
        assert view.ttl
        assert all(field.description and field.tags["unit"] for field in view.features)


def test_every_service_is_for_a_purpose_of_the_catalog(lender: Lender) -> None:
    home = lender.home
    purposes = {
        name: setup.service_purpose(home, name)
        for name in ("scorecard_v1", "scorecard_training_v1", "affordability_v1", "fraud_screen_v1")
    }
    assert set(purposes.values()) <= set(PURPOSES)
    assert purposes["scorecard_training_v1"] == "model_training"


def test_the_scorecard_is_trained_on_what_it_reads(lender: Lender) -> None:
    store = lender.stores[PURPOSE]
    served, trained = (
        {
            (p.name, f.name)
            for p in store.get_feature_service(name).feature_view_projections
            for f in p.features
        }
        for name in ("scorecard_v1", "scorecard_training_v1")
    )
    assert served == trained


def test_applying_again_changes_nothing(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    setup.apply(home)
    before = registered(home)
    setup.apply(home)
    assert registered(home) == before


def test_a_source_survives_the_registry(lender: Lender) -> None:
    source = ConsentSource(
        source="spending",
        table="spending_v2",
        name="renamed",
        field_mapping={"spend_7d": "weekly"},
        description="d",
        tags={"a": "b"},
        owner="o",
    )
    copy = ConsentSource.from_proto(source.to_proto())
    assert copy == source
    assert hash(copy) == hash(source)
    assert copy != ConsentSource(source="spending", table="spending_v1", name="renamed")
    assert copy != "renamed"


def test_feature_names_may_differ_from_column_names(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -1, {"spend_7d": 1.5})])
    subject = Entity(name="subject", join_keys=["subject_key"], value_type=ValueType.STRING)
    table = ConsentSource(
        source="spending", table="spending_v1", name="weekly_table", field_mapping={"spend_7d": "weekly"}
    )
    schema = [Field(name="subject_key", dtype=String), Field(name="weekly", dtype=Float64)]
    store = lender.stores[PURPOSE]
    store.apply([FeatureView(name="weekly", entities=[subject], schema=schema, source=table)])
    store.materialize(lender.at(-2), lender.at(0), feature_views=["weekly"])
    request = {"features": ["weekly:weekly"], "entity_rows": [{"subject_key": key}]}
    assert store.get_online_features(**request).to_dict()["weekly"] == [1.5]
    job = store.get_historical_features(entity_df=lender.entities((key, 0)), features=["weekly:weekly"])
    assert job.to_df()["weekly"].tolist() == [1.5]
    store.delete_feature_view("weekly")


def test_a_view_without_a_schema_takes_the_columns_of_its_definition(lender: Lender) -> None:
    subject = Entity(name="subject", join_keys=["subject_key"], value_type=ValueType.STRING)
    table = ConsentSource(source="employment", table="employment_v1", name="inferred_table")
    store = lender.stores[PURPOSE]
    store.apply([FeatureView(name="inferred", entities=[subject], source=table)])
    inferred, declared = (store.get_feature_view(name) for name in ("inferred", "employment_v1"))
    assert {f.name: f.dtype for f in inferred.features} == {f.name: f.dtype for f in declared.features}
    store.delete_feature_view("inferred")
    unknown = ConsentSource(source="employment", table="employment_v9", name="unknown_table")
    with pytest.raises(ConfigError, match="employment_v9"):
        store.apply([FeatureView(name="unknown", entities=[subject], source=unknown)])


# ---------------------------------------------------------------------------------------- configurations


def test_feast_scans_the_definitions_and_nothing_else() -> None:
    assert [path.name for path in get_repo_files(REPO)] == ["definitions.py"]


def test_a_configuration_works_from_any_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.create(tmp_path / 'a "home"', keys=tmp_path / "elsewhere" / "keys")
    paths = setup.write_configurations(home)
    assert set(paths) == set(PURPOSES)
    setup.apply(home)
    monkeypatch.chdir(tmp_path)
    store = FeatureStore(repo_path=str(paths[PURPOSE].parent.relative_to(tmp_path)))
    assert store.get_feature_service("scorecard_v1").tags == {"purpose": PURPOSE}
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths.values())


def test_a_home_without_configurations_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="configuration"):
        setup.open_store(Home.create(tmp_path / "home"), PURPOSE)


def test_feast_apply_on_the_command_line(tmp_path: Path) -> None:
    home = Home.create(tmp_path / "home")
    environment = {**os.environ, "ASSENT_HOME": str(home.root), "ASSENT_PURPOSE": PURPOSE}
    feast = Path(sys.executable).with_name("feast")
    done = subprocess.run(
        [feast, "-c", str(REPO), "apply"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "spending_v1" in done.stdout
    by_feast = registered_by(home)
    assert {("FeatureService", "scorecard_v1"), ("FeatureView", "employment_v1")} <= by_feast
    setup.apply(home)
    assert registered_by(home) == by_feast


def registered_by(home: Home) -> set[tuple[str, str]]:
    setup.write_configurations(home)
    return {key for key in registered(home) if isinstance(key, tuple)}


def test_importing_the_room_does_not_import_feast() -> None:
    code = "import sys, feature_repo; sys.exit('feast' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
