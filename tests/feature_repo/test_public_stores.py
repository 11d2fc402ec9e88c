"""Every public name of Feast's offline store, online store, provider and registry store is decided about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast.data_source import PushMode
from feast.infra.offline_stores.offline_store import OfflineStore
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.passthrough_provider import PassthroughProvider
from feast.infra.provider import Provider
from feast.infra.registry.base_registry import BaseRegistry
from feast.infra.registry.file import FileRegistryStore
from feast.infra.registry.registry_store import RegistryStore

from feature_repo.stores import setup
from feature_repo.stores.offline import ConsentOfflineStore
from feature_repo.stores.online import ConsentOnlineStore
from feature_repo.stores.provider import ConsentProvider
from feature_repo.stores.registry import SignedRegistryStore
from tests.feature_repo.decisions import (
    REFS,
    Decision,
    Gated,
    Here,
    NoValues,
    Refused,
    carries_no_values,
    in_words,
    public_names,
    require_refused,
    there_is_a_test,
)
from tests.feature_repo.lender import Lender

HISTORICAL = Gated(
    "test_historical.py::test_every_row_comes_back_in_order_with_its_own_columns_and_duplicates"
)
PULLED = Gated("test_ways_in.py::test_monitoring_falls_back_to_the_gated_pull")
READ = Gated("test_online.py::test_a_withdrawal_shows_at_the_very_next_read")
READ_ASYNC = Gated("test_async.py::test_async_reads_are_gated_like_the_others")
WRITTEN = Gated("test_online.py::test_rows_that_no_purpose_may_use_are_dropped_on_the_way_in")
WRITTEN_ASYNC = Gated("test_async.py::test_async_writes_are_gated_like_the_others")
MATERIALISED = Gated("test_online.py::test_plain_materialize_and_materialize_incremental_are_gated")


def offline(name: str, *arguments: Any) -> Refused:
    return Refused(lambda here: getattr(here.offline, name)(here.config, *arguments))


def online(name: str, *arguments: Any) -> Refused:
    return Refused(lambda here: getattr(here.online, name)(here.config, *arguments))


def provider(name: str, *arguments: Any) -> Refused:
    return Refused(lambda here: getattr(here.provider, name)(*arguments))


OFFLINE_STORE: dict[str, Decision] = {
    "get_historical_features": HISTORICAL,
    "pull_latest_from_table_or_query": MATERIALISED,
    "pull_all_from_table_or_query": PULLED,
    "offline_write_batch": Refused(
        lambda here: here.offline.offline_write_batch(here.config, here.view, here.rows, None)
    ),
    "write_logged_features": offline("write_logged_features", None, None, None, None),
    "ensure_monitoring_tables": offline("ensure_monitoring_tables"),
    "save_monitoring_metrics": offline("save_monitoring_metrics", "feature", []),
    "query_monitoring_metrics": offline("query_monitoring_metrics", "assent", "feature"),
    "clear_monitoring_baseline": offline("clear_monitoring_baseline", "assent"),
    **carries_no_values(
        "not implemented, on purpose: Feast then computes from pull_all_from_table_or_query",
        *("compute_monitoring_metrics", "get_monitoring_max_timestamp"),
    ),
    **carries_no_values(
        "says that tables have no time of creation",
        *("ensure_filter_by_created_timestamp_supported", "supports_filter_by_created_timestamp"),
    ),
    **carries_no_values(
        "names and types of columns",
        *("get_table_column_names_and_types_from_data_source", "validate_data_source"),
    ),
    "MONITORING_VALID_GRANULARITIES": NoValues("a constant"),
}

ONLINE_STORE: dict[str, Decision] = {
    "get_online_features": READ,
    "get_online_features_async": READ_ASYNC,
    "online_read": READ,
    "online_read_async": READ_ASYNC,
    "online_write_batch": WRITTEN,
    "online_write_batch_async": WRITTEN_ASYNC,
    "retrieve_online_documents": Refused(
        lambda here: here.online.retrieve_online_documents(here.config, here.view, REFS, [0.5], 1)
    ),
    "retrieve_online_documents_v2": Refused(
        lambda here: here.online.retrieve_online_documents_v2(here.config, here.view, REFS, [0.5], 1)
    ),
    "write_precomputed_vector": online("write_precomputed_vector", "scorecard_v1", "assent", None, b""),
    "read_precomputed_vectors": online("read_precomputed_vectors", "scorecard_v1", "assent", []),
    "read_precomputed_vectors_async": online("read_precomputed_vectors_async", "scorecard_v1", "assent", []),
    **carries_no_values("makes and drops tables", "update", "plan", "teardown"),
    **carries_no_values("opens and closes connections", "initialize", "close"),
    "async_supported": NoValues("says what is there"),
}
#: What ours has besides, and Feast never calls but for the last.
OUR_ONLINE_STORE: dict[str, Decision] = {
    "remove_subjects": NoValues("deletes"),
    "count_subjects": NoValues("counts"),
    "on_write": NoValues("told how many were written, by tokens that stand for nobody"),
    "read_for_own_access_package": NoValues(
        "values, ungated, for the person they are about; a test holds that only their access package asks"
    ),
    "update_online_store_async": online("update_online_store_async"),
}

PROVIDER: dict[str, Decision] = {
    "get_historical_features": HISTORICAL,
    "get_online_features": READ,
    "get_online_features_async": READ_ASYNC,
    "online_read": READ,
    "online_read_async": READ_ASYNC,
    "online_write_batch": WRITTEN,
    "online_write_batch_async": WRITTEN_ASYNC,
    "ingest_df": WRITTEN,
    "ingest_df_async": WRITTEN_ASYNC,
    "materialize_single_feature_view": MATERIALISED,
    "ingest_df_to_offline_store": Refused(
        lambda here: here.provider.ingest_df_to_offline_store(here.view, table(here))
    ),
    "retrieve_online_documents": Refused(
        lambda here: here.provider.retrieve_online_documents(here.config, here.view, REFS, [0.5], 1)
    ),
    "retrieve_online_documents_v2": Refused(
        lambda here: here.provider.retrieve_online_documents_v2(here.config, here.view, REFS, [0.5], 1)
    ),
    "retrieve_saved_dataset": provider("retrieve_saved_dataset", None, None),
    "write_feature_service_logs": provider("write_feature_service_logs", None, None, None, None),
    "retrieve_feature_service_logs": provider("retrieve_feature_service_logs", None, None, None, None, None),
    "update_infra": Gated("test_refused.py::test_views_that_consent_cannot_be_decided_on"),
    **carries_no_values("compares and drops tables", "plan_infra", "teardown_infra"),
    **carries_no_values(
        "names and types of columns",
        *("get_table_column_names_and_types_from_data_source", "validate_data_source"),
    ),
    **carries_no_values("opens and closes connections", "initialize", "close"),
    **carries_no_values("says what is there", "async_supported", "get_feature_server_endpoint"),
}
#: What Feast's own provider has besides, which ours is built on.
PASSTHROUGH: dict[str, Decision] = {
    **carries_no_values("leads to the stores above", "offline_store", "online_store", "batch_engine"),
    "offline_write_batch": Refused(
        lambda here: here.provider.offline_write_batch(here.config, here.view, table(here), None)
    ),
    "repo_config": NoValues("the configuration"),
}

REGISTRY_STORE = carries_no_values(
    "definitions, no values", "get_registry_proto", "update_registry_proto", "teardown"
)
#: What Feast's registry in a file has besides.
IN_A_FILE = carries_no_values("names of projects", "get_project_metadata", "set_project_metadata")
#: Feast's registry: what it can be asked for, and told, is definitions all over.
DEFINITIONS = ("apply_", "delete_", "get_", "list_", "update_")
OTHER_OF_REGISTRY = {
    *("commit", "deserialize_registry_values", "is_cache_valid", "proto", "refresh", "to_dict"),
    "serve_features_while_materializing",
}
DEFINED = {
    *("any_feature_view", "data_source", "data_sources", "entities", "entity", "feature_service"),
    *("feature_services", "feature_view", "feature_views", "feature_view_by_version", "infra"),
    *("feature_view_versions", "label_view", "label_views", "materialization", "all_feature_views"),
    *("on_demand_feature_view", "on_demand_feature_views", "object_relationships", "permission"),
    *("permissions", "project", "projects", "project_metadata", "registry_lineage", "saved_dataset"),
    *("saved_datasets", "stream_feature_view", "stream_feature_views", "user_metadata"),
    *("validation_reference", "validation_references"),
}

TABLES: dict[str, dict[str, Decision]] = {
    "offline store": OFFLINE_STORE,
    "online store": ONLINE_STORE | OUR_ONLINE_STORE,
    "provider": PROVIDER | PASSTHROUGH,
    "registry store": REGISTRY_STORE,
}


def table(here: Here) -> Any:
    return pa.Table.from_pandas(here.rows)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    place = tmp_path_factory.mktemp("public")
    return Here(Lender(place / "home"), place)


@pytest.mark.parametrize(
    ("feasts", "ours", "decided", "besides"),
    [
        (OfflineStore, ConsentOfflineStore, OFFLINE_STORE, {}),
        (OnlineStore, ConsentOnlineStore(), ONLINE_STORE, OUR_ONLINE_STORE),
        (RegistryStore, SignedRegistryStore, REGISTRY_STORE, IN_A_FILE),
        (FileRegistryStore, SignedRegistryStore, REGISTRY_STORE | IN_A_FILE, {}),
    ],
    ids=["offline store", "online store", "registry store", "registry in a file"],
)
def test_every_public_name_of_a_store_is_decided(
    feasts: type, ours: object, decided: dict[str, Decision], besides: dict[str, Decision]
) -> None:
    """Feast's base has these names and no others; ours have them and what the table says."""
    assert public_names(feasts) == set(decided)
    assert public_names(ours) == set(decided) | set(besides)


def test_every_public_name_of_the_provider_is_decided(here: Here) -> None:
    """Of the base, of Feast's own provider, and of ours."""
    assert public_names(Provider) == set(PROVIDER)
    assert public_names(PassthroughProvider) | {"repo_config"} == set(PROVIDER | PASSTHROUGH)
    assert public_names(here.provider) == set(PROVIDER | PASSTHROUGH)
    assert isinstance(here.provider, ConsentProvider)


def test_every_public_name_of_the_registry_is_about_definitions() -> None:
    """A registry that one day held values would have a name that is not here."""
    known = {f"{verb}{what}" for verb in DEFINITIONS for what in DEFINED}
    assert public_names(BaseRegistry) - known == OTHER_OF_REGISTRY


EACH = [(store, name) for store, decided in TABLES.items() for name in decided]


@pytest.mark.parametrize(("store", "name"), [e for e in EACH if e[1] in in_words(TABLES[e[0]], Gated)])
def test_what_is_gated_has_a_test_that_shows_it(store: str, name: str) -> None:
    """The table names the test, and the test is there."""
    decision = TABLES[store][name]
    assert isinstance(decision, Gated)
    assert there_is_a_test(decision.shown_by)


@pytest.mark.parametrize(("store", "name"), [e for e in EACH if e[1] in in_words(TABLES[e[0]], Refused)])
def test_what_is_refused_is_refused(here: Here, store: str, name: str) -> None:
    """Called for real it raises our own refusal, with what to do instead."""
    require_refused(TABLES[store][name], here)


@pytest.mark.parametrize("name", ["compute_monitoring_metrics", "get_monitoring_max_timestamp"])
def test_what_is_left_to_the_gated_pull_is_not_implemented(here: Here, name: str) -> None:
    """Feast goes on to pull_all_from_table_or_query on this error, and on no other."""
    wanted = {"compute_monitoring_metrics": [[], "event_timestamp"], "get_monitoring_max_timestamp": ["at"]}
    with pytest.raises(NotImplementedError):
        getattr(here.offline, name)(here.config, here.view.batch_source, *wanted[name])


def test_the_registry_holds_no_value_and_nobody(here: Here) -> None:
    """After everything that Feast writes there: views, services, intervals of materialisation."""
    here.store.push("spending_v1_push", here.rows.assign(spend_7d=123456.789), to=PushMode.ONLINE)
    setup.materialise(here.lender.home, start=here.lender.at(-2), end=here.lender.at(0))
    here.job().to_df()
    raw = here.lender.home.path("feast", "registry.pb").read_bytes()
    assert b"spend_7d" in raw
    assert here.key.encode() not in raw
    assert b"123456" not in raw


def test_only_the_access_package_reads_ungated() -> None:
    """The one public method that hands out values without asking is called from one place."""
    root = Path(__file__).parent.parent.parent
    callers = {
        str(path.relative_to(root))
        for room in ("consent", "ingestion", "validation", "feature_repo", "rights", "reports", "console")
        for path in (root / room).rglob("*.py")
        if "for_own_access_package" in path.read_text("utf-8")
    }
    assert callers == {
        "feature_repo/stores/online.py",
        "feature_repo/stores/setup.py",
        "rights/view.py",
    }
