"""What has no consent story is refused, with the reason and the way to do it instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import BatchFeatureView, Entity, FeatureStore, FeatureView, Field, FileSource
from feast.aggregation import Aggregation
from feast.batch_feature_view import batch_feature_view
from feast.data_source import PushMode, PushSource
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.labeling.label_view import LabelView
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, String
from feast.value_type import ValueType

from consent.errors import AssentError, BadInput, ConfigError, Denied, Gap, Unavailable
from consent.home import Home, keys_beside
from feature_repo.stores.source import ConsentSource
from ingestion.tables import read_current
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d"]


def refuses(call: Callable[[], Any], kind: type[AssentError] = Denied) -> AssentError:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.remedy
    return caught.value


@pytest.fixture
def store(lender: Lender) -> FeatureStore:
    lender.publish("spending", [(lender.agrees(PURPOSE), -1, {"spend_7d": 1.0})])
    return lender.stores[PURPOSE]


def test_saved_datasets_and_exports(lender: Lender, store: FeatureStore, tmp_path: Path) -> None:
    storage = SavedDatasetFileStorage(path=str(tmp_path / "set.parquet"))
    job = store.get_historical_features(entity_df=lender.entities(("a" * 32, 0)), features=REFS)
    refuses(lambda: store.create_saved_dataset(from_=job, name="set", storage=storage))
    refuses(lambda: job.persist(storage))
    refuses(job.to_remote_storage)
    assert not job.supports_remote_storage_export()
    assert list(tmp_path.iterdir()) == []


def test_writing_to_a_feature_table_by_hand(lender: Lender, store: FeatureStore) -> None:
    view = store.get_feature_view("spending_v1")
    rows = lender.entities((lender.agrees(PURPOSE), -1)).assign(**{f.name: 1.0 for f in view.features})
    before = read_current(lender.home, "spending_v1")
    refuses(lambda: store.write_to_offline_store("spending_v1", rows))
    refuses(lambda: store.push("spending_v1_push", rows, to=PushMode.OFFLINE))
    error = refuses(lambda: store.push("spending_v1_push", rows, to=PushMode.ONLINE_AND_OFFLINE))
    assert "assent publish" in error.remedy
    assert read_current(lender.home, "spending_v1") == before


def test_feature_logging(store: FeatureStore) -> None:
    offline = store.provider.offline_store
    refuses(lambda: offline.write_logged_features(store.config, None, None, None, store.registry))


def test_vector_search_and_precomputed_vectors(store: FeatureStore) -> None:
    refuses(lambda: store.retrieve_online_documents_v2(features=REFS, query=[0.0], top_k=1))
    online, view = store.provider.online_store, store.get_feature_view("spending_v1")
    refuses(lambda: online.retrieve_online_documents(store.config, view, REFS, [0.0], 1))
    refuses(lambda: online.write_precomputed_vector(store.config, "scorecard_v1", "assent", None, b""))
    refuses(lambda: online.read_precomputed_vectors(store.config, "scorecard_v1", "assent", []))


def test_a_service_with_precomputed_vectors_gives_nothing(store: FeatureStore) -> None:
    service = store.get_feature_service("scorecard_v1")
    service.name, service.precompute_online = "precomputed_v1", True
    store.apply([service])
    refuses(
        lambda: store.get_online_features(
            features=store.get_feature_service("precomputed_v1"), entity_rows=[{"subject_key": "a" * 32}]
        )
    )


# -------------------------------------------------------------------------------------------- definitions

SUBJECT = Entity(name="subject", join_keys=["subject_key"], value_type=ValueType.STRING)
SCHEMA = [Field(name="subject_key", dtype=String), Field(name="spend_7d", dtype=Float64)]
TABLE = ConsentSource(source="spending", table="spending_v1", name="another_table")


def view(name: str = "bad_view", **changes: Any) -> FeatureView:
    return FeatureView(**{"name": name, "entities": [SUBJECT], "schema": SCHEMA, "source": TABLE, **changes})


@on_demand_feature_view(
    sources=[view("input_view")],
    schema=[Field(name="doubled", dtype=Float64)],
    mode="python",
    entities=[SUBJECT],
    write_to_online_store=True,
)
def doubled(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"doubled": [2 * value for value in inputs["spend_7d"]]}


@batch_feature_view(
    name="bad_view", source=TABLE, schema=SCHEMA, entities=[SUBJECT], mode="python", online=True
)
def everybodys_mean(rows: Any) -> Any:
    return rows.assign(spend_7d=rows["spend_7d"].mean())


DEVICE = Entity(name="device", join_keys=["device_id"], value_type=ValueType.STRING)
PLAIN = FileSource(path="/tmp/plain.parquet", timestamp_field="event_timestamp")
BAD = {
    "a plain source": (Denied, view(source=PLAIN)),
    "a plain source behind a push source": (Denied, view(source=PushSource(name="p", batch_source=PLAIN))),
    "no source": (Gap, view(source=None)),
    "no subject": (Gap, view(entities=None, schema=SCHEMA[1:])),
    "another subject": (
        Gap,
        view(
            entities=[Entity(name="phone", join_keys=["phone"], value_type=ValueType.STRING)],
            schema=[Field(name="phone", dtype=String), SCHEMA[1]],
        ),
    ),
    "a composite entity": (
        Gap,
        view(entities=[SUBJECT, DEVICE], schema=[*SCHEMA, Field(name="device_id", dtype=String)]),
    ),
    "computed on the way online": (Denied, everybodys_mean),
    "aggregated on the way online": (
        Denied,
        BatchFeatureView(
            name="bad_view",
            mode="python",
            entities=[SUBJECT],
            schema=SCHEMA,
            source=TABLE,
            aggregations=[Aggregation(column="spend_7d", function="sum")],
        ),
    ),
    "derived from other views": (Denied, view(source=[view("first")], sink_source=TABLE)),
    "an on-demand view written online": (Denied, doubled),
    "a label view": (
        Denied,
        LabelView(name="labels", entities=[SUBJECT], schema=SCHEMA, source=TABLE, labeler_field="spend_7d"),
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_views_that_consent_cannot_be_decided_on(tmp_path: Path, what: str) -> None:
    kind, bad = BAD[what]
    store = Lender(tmp_path / "home").stores[PURPOSE]
    refuses(lambda: store.apply([SUBJECT, bad]), kind)
    assert "bad_view" not in {
        v.name for v in FeatureStore(repo_path=str(store.repo_path)).list_all_feature_views()
    }


@pytest.mark.parametrize(
    "what",
    [
        *("a plain source", "no source", "no subject", "derived from other views", "a composite entity"),
        *("computed on the way online", "aggregated on the way online"),
    ],
)
def test_they_are_refused_at_every_read_too(store: FeatureStore, lender: Lender, what: str) -> None:
    kind, bad = BAD[what]
    config, offline, online = store.config, store.provider.offline_store, store.provider.online_store
    rows = lender.entities(("a" * 32, 0))
    refuses(
        lambda: offline.get_historical_features(
            config, [bad], ["bad_view:spend_7d"], rows, store.registry, "assent"
        ),
        kind,
    )
    refuses(lambda: online.online_read(config, bad, [], ["spend_7d"]), kind)
    refuses(lambda: online.online_write_batch(config, bad, [], None), kind)


def test_an_on_demand_view_that_got_into_the_registry_writes_and_reads_nothing_online(
    lender: Lender, tmp_path: Path
) -> None:
    """`apply` refuses it; whoever goes past that is refused where the values would go."""
    other = Lender(tmp_path / "home")
    store, key = other.stores[PURPOSE], other.agrees(PURPOSE)
    other.publish("spending", [(key, -1, {"spend_7d": 1.0})])
    store.apply([TABLE, view("input_view")])
    doubled.infer_features()
    store.registry.apply_feature_view(doubled, store.project)
    rows = other.entities((key, -1)).assign(spend_7d=1.0)
    refuses(lambda: store.write_to_online_store("doubled", rows))
    refuses(lambda: store.materialize(other.at(-2), other.at(0), feature_views=["doubled"]))
    refuses(lambda: store.materialize_incremental(other.at(0), feature_views=["doubled"]))
    asked = {"features": ["doubled:doubled"], "entity_rows": [{"subject_key": key}]}
    refuses(lambda: store.get_online_features(**asked))
    job = store.get_historical_features(entity_df=other.entities((key, 0)), features=["doubled:doubled"])
    assert job.to_df()["doubled"].tolist() == [2.0]


def test_pulls_from_plain_sources(store: FeatureStore) -> None:
    offline = store.provider.offline_store
    refuses(
        lambda: offline.pull_all_from_table_or_query(
            store.config, PLAIN, ["subject_key"], ["spend_7d"], "event_timestamp"
        )
    )
    refuses(
        lambda: offline.pull_all_from_table_or_query(store.config, None, [], ["spend_7d"], "event_timestamp"),
        Gap,
    )
    refuses(
        lambda: offline.pull_all_from_table_or_query(store.config, TABLE, [], ["spend_7d"], "created"), Gap
    )


@pytest.mark.parametrize(
    ("source", "table", "kind"),
    [
        ("contacts", "contacts_v1", Denied),
        ("horoscope", "horoscope_v1", ConfigError),
        ("employment", "spending_v1", ConfigError),
        ("spending", "spending", ConfigError),
        ("spending", "../spending_v1", ConfigError),
    ],
)
def test_sources_that_the_catalog_does_not_know(source: str, table: str, kind: type[AssentError]) -> None:
    refuses(lambda: ConsentSource(source=source, table=table), kind)


def test_the_keys_of_a_table_cannot_be_mapped() -> None:
    mapping = {"event_timestamp": "spend_7d"}
    refuses(lambda: ConsentSource(source="spending", table="spending_v1", field_mapping=mapping), ConfigError)


def test_columns_and_tables_that_are_not_there(lender: Lender, store: FeatureStore) -> None:
    offline = store.provider.offline_store
    rows = lender.entities(("a" * 32, 0))

    def fetch(bad: FeatureView) -> Any:
        return offline.get_historical_features(
            store.config, [bad], ["bad_view:salary"], rows, store.registry, "assent"
        ).to_df()

    schema = [SCHEMA[0], Field(name="salary", dtype=Float64)]
    error = refuses(lambda: fetch(view(schema=schema)), ConfigError)
    assert "spending_v1 has no column salary" in error.message
    unpublished = ConsentSource(source="spending", table="spending_v9")
    refuses(lambda: fetch(view(schema=schema, source=unpublished)), Gap)


def test_no_values_when_the_decision_cannot_be_made(lender: Lender, tmp_path: Path) -> None:
    other = Lender(tmp_path / "home")
    key = other.agrees(PURPOSE)
    other.publish("spending", [(key, -1, {"spend_7d": 1.0})])
    job = other.stores[PURPOSE].get_historical_features(entity_df=other.entities((key, 0)), features=REFS)
    keys = keys_beside(other.home.root)
    keys.rename(keys.with_name("elsewhere"))
    refuses(job.to_df, Unavailable)
    assert job.receipt is None
    assert Home.open(other.home.root, keys=keys.with_name("elsewhere")).ledger.size() > 0


def test_half_a_character_in_an_entity_row_is_refused_without_quoting_it(lender: Lender) -> None:
    """A lone surrogate cannot be encoded; Python's own error would carry the whole cell."""
    rows = pd.DataFrame({"subject_key": ["CANARY-\ud800"], "event_timestamp": [lender.now]})
    store = lender.stores["credit_scoring"]
    with pytest.raises(BadInput) as caught:
        store.get_historical_features(entity_df=rows, features=["spending_v1:spend_30d"]).to_df()
    assert "CANARY" not in str(caught.value)
    assert caught.value.__cause__ is None
