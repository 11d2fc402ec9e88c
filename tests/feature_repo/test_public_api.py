"""Every public name of Feast's `FeatureStore` and of its jobs is decided about; a new one fails until it is.

The stores below it are in `test_public_stores.py`, commands and servers in `test_public_faces.py`.
"""

from __future__ import annotations

import datetime as dt
import sys
import types
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import FeatureService, FeatureStore
from feast.data_source import PushMode
from feast.feature_logging import LoggingConfig
from feast.infra.offline_stores import offline_store as feasts
from feast.infra.offline_stores.file_source import FileLoggingDestination, SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.saved_dataset import SavedDataset

from feature_repo.stores.offline import ConsentRetrievalJob
from tests.feature_repo.decisions import (
    PURPOSE,
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
from tests.feature_repo.lender import Lender, values

VECTOR = [0.5, 0.5]


def storage(here: Here) -> Any:
    return SavedDatasetFileStorage(path=str(here.place / "set.parquet"))


def logged(here: Here) -> FeatureService:
    destination = FileLoggingDestination(path=str(here.place / "log"))
    return FeatureService(
        name="logged_v1", features=[here.view], logging_config=LoggingConfig(destination=destination)
    )


def kept(here: Here) -> str:
    """A saved dataset in the registry, as an earlier configuration may have left one there."""
    dataset = SavedDataset(name="kept", features=REFS, join_keys=["subject_key"], storage=storage(here))
    dataset.min_event_timestamp = dataset.max_event_timestamp = here.lender.now.replace(tzinfo=None)
    here.store.registry.apply_saved_dataset(dataset, here.store.project)
    return "kept"


def search(here: Here) -> Any:
    class Embeds:
        """An embedding provider, as Feast's setter takes one."""

        async def aembed(self, texts: list[str]) -> list[list[float]]:
            return [VECTOR for _ in texts]

    here.store.embedding_provider = Embeds()
    return here.store.openai_search("spending_v1", "who spends most?")


FEATURE_STORE: dict[str, Decision] = {
    **carries_no_values(
        "definitions, no values",
        *("delete_feature_service", "delete_feature_view", "delete_project", "disable_feature_view"),
        *("enable_feature_view", "get_data_source", "get_entity", "get_feature_service", "get_feature_view"),
        *("get_label_view", "get_on_demand_feature_view", "get_permission", "get_project"),
        *("get_stream_feature_view", "list_all_feature_views", "list_batch_feature_views"),
        *("list_data_sources", "list_entities", "list_feature_services", "list_feature_view_versions"),
        *("list_feature_views", "list_label_views", "list_on_demand_feature_views", "list_permissions"),
        *("list_projects", "list_saved_datasets", "list_stream_feature_views", "list_validation_references"),
        *("refresh_registry", "registry", "serve_registry", "set_feature_view_state"),
    ),
    **carries_no_values(
        "the configuration", "config", "repo_path", "project", "set_current_project", "reset_current_project"
    ),
    **carries_no_values("opens and closes connections", "initialize", "close"),
    "apply": Gated("test_refused.py::test_views_that_consent_cannot_be_decided_on"),
    "create_dataset_from_retrieval": Refused(
        lambda here: here.store.create_dataset_from_retrieval("set", here.entities, REFS, storage(here))
    ),
    "create_saved_dataset": Refused(
        lambda here: here.store.create_saved_dataset(here.job(), "set", storage(here))
    ),
    "embedding_provider": NoValues("makes vectors of what the caller asks, for a search that is refused"),
    "get_feature_server_endpoint": NoValues("an address, of a server that local configurations have not"),
    "get_historical_features": Gated(
        "test_historical.py::test_every_row_comes_back_in_order_with_its_own_columns_and_duplicates"
    ),
    "get_online_features": Gated("test_online.py::test_a_withdrawal_shows_at_the_very_next_read"),
    "get_online_features_async": Gated("test_async.py::test_async_reads_are_gated_like_the_others"),
    "get_saved_dataset": Refused(lambda here: here.store.get_saved_dataset(kept(here))),
    "get_validation_reference": NoValues(
        "a profile of a saved dataset, of which there are none; Feast makes them with Great Expectations below 1.0,"
        " which cannot be installed beside ours"
    ),
    "materialize": Gated("test_online.py::test_plain_materialize_and_materialize_incremental_are_gated"),
    "materialize_incremental": Gated(
        "test_increments.py::test_a_second_purpose_misses_nothing_that_the_first_has_passed"
    ),
    "mlflow": NoValues("names and counts; keeping entity rows there is refused in the configuration"),
    "openai_search": Refused(search),
    "openlineage_emitter": NoValues("names of views and jobs"),
    "plan": NoValues("compares definitions"),
    "precompute_feature_service": NoValues(
        "finds nobody to compute for: people cannot be listed from the online store; what it would write is refused"
    ),
    "provider": NoValues("leads to the stores, see test_public_stores.py"),
    "push": Gated("test_online.py::test_rows_that_no_purpose_may_use_are_dropped_on_the_way_in"),
    "push_async": Gated("test_async.py::test_async_writes_are_gated_like_the_others"),
    "retrieve_dataset_data": Refused(lambda here: here.store.retrieve_dataset_data(kept(here))),
    "retrieve_online_documents": Refused(lambda here: here.store.retrieve_online_documents(VECTOR, 1, REFS)),
    "retrieve_online_documents_v2": Refused(
        lambda here: here.store.retrieve_online_documents_v2(REFS, 1, VECTOR)
    ),
    "serve": Gated("test_served.py::test_online_features_over_http"),
    "serve_offline": Gated("test_flight.py::test_a_remote_fetch_is_gated_where_the_keys_are"),
    "serve_transformations": NoValues("computes what its caller sends"),
    "serve_ui": NoValues(
        "reads through push, get_online_features, get_historical_features and pull_all_from_table_or_query; cannot"
        " start here, for want of gRPC"
    ),
    "teardown": NoValues("deletes"),
    "update_online_store": Refused(
        lambda here: here.store.update_online_store("spending_v1", here.rows, {"spend_7d": "list_append"})
    ),
    "validate_logged_features": Refused(
        lambda here: here.store.validate_logged_features(
            logged(here), here.lender.now - dt.timedelta(1), here.lender.now, None
        )
    ),
    "write_logged_features": Refused(
        lambda here: here.store.write_logged_features(pa.table({"spend_7d": [1.5]}), logged(here))
    ),
    "write_to_offline_store": Refused(
        lambda here: here.store.write_to_offline_store("spending_v1", here.rows)
    ),
    "write_to_online_store": Gated(
        "test_online.py::test_rows_that_no_purpose_may_use_are_dropped_on_the_way_in"
    ),
    "write_to_online_store_async": Gated("test_async.py::test_async_writes_are_gated_like_the_others"),
}

EXECUTES = Gated("test_public_api.py::test_every_form_of_a_result_is_a_new_execution")
RETRIEVAL_JOB: dict[str, Decision] = {
    "to_df": EXECUTES,
    "to_arrow": EXECUTES,
    "to_feast_df": EXECUTES,
    "to_tensor": EXECUTES,
    "to_ray_dataset": EXECUTES,
    "persist": Refused(lambda here: here.job().persist(storage(here))),
    "to_remote_storage": Refused(lambda here: here.job().to_remote_storage()),
    "to_sql": Refused(lambda here: here.job().to_sql()),
    "supports_remote_storage_export": NoValues("says no"),
    "full_feature_names": NoValues("how columns are called"),
    "metadata": NoValues("names of features and keys, first and last instant of the caller's own rows"),
    "on_demand_feature_views": NoValues("definitions"),
}
#: What ours have besides.
OUR_JOB: dict[str, Decision] = {
    "receipt": NoValues("counts and versions"),
    "to_arrow_batches": EXECUTES,
    "as_in": NoValues("another job, gated in the same way"),
    "at_versions": NoValues("another job, gated in the same way"),
    "explain": NoValues("counts by month and reason"),
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Here:
    place = tmp_path_factory.mktemp("public")
    return Here(Lender(place / "home"), place)


def test_every_public_name_of_the_feature_store_is_decided(here: Here) -> None:
    """A method that a future Feast adds is not in the table; one that it drops is there for nothing."""
    assert public_names(here.store) == set(FEATURE_STORE)


def test_every_public_name_of_a_job_is_decided(here: Here) -> None:
    """Of Feast's job, and of ours, which may not have other ways out."""
    assert public_names(RetrievalJob) == set(RETRIEVAL_JOB)
    assert public_names(here.job()) == set(RETRIEVAL_JOB) | set(OUR_JOB)


@pytest.mark.parametrize("name", in_words(FEATURE_STORE, Gated) + in_words(RETRIEVAL_JOB, Gated))
def test_what_is_gated_has_a_test_that_shows_it(name: str) -> None:
    """The table names the test, and the test is there."""
    decision = (FEATURE_STORE | RETRIEVAL_JOB)[name]
    assert isinstance(decision, Gated)
    assert there_is_a_test(decision.shown_by)


@pytest.mark.parametrize("name", in_words(FEATURE_STORE, Refused) + in_words(RETRIEVAL_JOB, Refused))
@pytest.mark.filterwarnings("ignore")
def test_what_is_refused_is_refused(here: Here, name: str) -> None:
    """Called for real it raises our own refusal, with what to do instead, and leaves no file."""
    before = set(here.place.rglob("*.parquet"))
    require_refused((FEATURE_STORE | RETRIEVAL_JOB)[name], here)
    assert set(here.place.rglob("*.parquet")) == before
    assert not (here.place / "log").exists()


def test_every_form_of_a_result_is_a_new_execution(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever form the values are wanted in, consent is decided anew: after a withdrawal each of them is null."""
    seen: list[Any] = []
    torch = types.SimpleNamespace(
        cuda=types.SimpleNamespace(is_available=lambda: False), tensor=lambda cells, device: cells
    )
    ray_data = types.ModuleType("ray.data")
    ray_data.from_arrow = seen.append  # type: ignore[attr-defined]
    monkeypatch.setattr(feasts, "get_torch", lambda: torch)
    ray = types.ModuleType("ray")
    ray.data = ray_data  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.data", ray_data)
    key = here.lender.agrees(PURPOSE)
    here.lender.publish("spending", [(key, -1, {"spend_7d": 1.5})])
    job = here.store.get_historical_features(entity_df=here.lender.entities((key, 0)), features=REFS)
    forms = {
        "to_df": lambda: values(job.to_df(), "spend_7d"),
        "to_arrow": lambda: job.to_arrow()["spend_7d"].to_pylist(),
        "to_feast_df": lambda: job.to_feast_df().data["spend_7d"].to_pylist(),
        "to_tensor": lambda: job.to_tensor(default_value=0.0)["spend_7d"],
        "to_ray_dataset": lambda: (job.to_ray_dataset(), seen.pop()["spend_7d"].to_pylist())[1],
        "to_arrow_batches": lambda: [c for b in job.to_arrow_batches() for c in b["spend_7d"].to_pylist()],
    }
    assert set(forms) == set(in_words(RETRIEVAL_JOB | OUR_JOB, Gated))
    assert {name: take() for name, take in forms.items()} == {name: [1.5] for name in forms}
    here.lender.withdraw(key)
    assert {cell for take in forms.values() for cell in take()} == {None, 0.0}


def test_nobody_is_found_to_precompute_for(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    """Feast says that the store cannot be scanned, and writes nothing."""
    here.store.push("spending_v1_push", here.rows, to=PushMode.ONLINE)
    assert here.store.precompute_feature_service("scorecard_v1") == 0
    assert "scanning not supported" in caplog.text


def test_mlflow_is_off_unless_somebody_turns_it_on(here: Here) -> None:
    """Then nothing about a fetch is logged anywhere."""
    assert here.store.mlflow is None


def test_a_job_knows_names_and_instants_of_the_callers_own_rows_alone(here: Here) -> None:
    """What Feast records about a fetch holds no value of the store's."""
    metadata = here.job().metadata
    assert (metadata.features, metadata.keys) == (REFS, ["subject_key"])
    assert metadata.min_event_timestamp == metadata.max_event_timestamp == here.lender.now
    assert not here.job().supports_remote_storage_export()
    assert isinstance(here.job(), ConsentRetrievalJob)


def test_the_feature_store_is_feasts_own(here: Here) -> None:
    """The table is about what modelers use: plain Feast, not a subclass of ours."""
    assert type(here.store) is FeatureStore
    assert Path(here.store.repo_path).name == PURPOSE


def test_the_page_for_modelers_names_every_call_that_is_gated_or_refused() -> None:
    """docs/feast.md says of each what becomes of it."""
    page = (Path(__file__).parents[2] / "docs" / "feast.md").read_text("utf-8")
    decided = FEATURE_STORE | RETRIEVAL_JOB
    forms = {"to_feast_df", "to_tensor", "to_ray_dataset"}  # of a result
    served = {"apply", "serve", "serve_offline"}  # by what they refuse, and as commands
    for name in {*in_words(decided, Gated), *in_words(decided, Refused)} - forms - served:
        assert f"`{name}`" in page, name
