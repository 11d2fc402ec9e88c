"""Every command, route and remote call of Feast's is decided about: through which call it reaches values, if any."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click
import pytest
from feast import FeatureStore
from feast.cli.cli import cli
from feast.feature_server import get_app
from feast.offline_server import OfflineServer
from pyarrow.flight import FlightServerBase

from tests.feature_repo.decisions import (
    PURPOSE,
    Calls,
    Decision,
    Gated,
    carries_no_values,
    in_words,
    public_names,
    there_is_a_test,
)
from tests.feature_repo.lender import Lender
from tests.feature_repo.test_public_api import FEATURE_STORE
from tests.feature_repo.test_public_stores import OFFLINE_STORE

COMMANDS: dict[str, Decision] = {
    **carries_no_values(
        "definitions, no values",
        *("apply", "plan", "delete", "dbt import", "dbt list", "registry create-schema", "registry-dump"),
        *("data-sources describe", "data-sources list", "entities describe", "entities list"),
        *("feature-services describe", "feature-services list", "feature-views describe"),
        *("feature-views disable", "feature-views enable", "feature-views list"),
        *("feature-views list-versions", "feature-views set-state", "features describe", "features list"),
        *("label-views describe", "label-views list", "on-demand-feature-views describe"),
        *("on-demand-feature-views list", "permissions check", "permissions describe", "permissions list"),
        *("permissions list-roles", "projects current_project", "projects delete", "projects describe"),
        *("projects list", "saved-datasets list", "serve_registry", "stream-feature-views describe"),
        *("stream-feature-views list", "validation-references list", "serve_lineage"),
    ),
    **carries_no_values("files of examples", "init", "demo-notebooks"),
    **carries_no_values("settings", "configuration", "endpoint", "version"),
    **carries_no_values("computes what its caller sends", "serve_transformations"),
    **carries_no_values("deletes", "teardown"),
    **carries_no_values(
        "datasets that MLflow holds, which is not installed; entity rows do not get there",
        *("mlflow list-sources", "mlflow preview-dataset", "mlflow sync-dataset", "mlflow validate-source"),
    ),
    **carries_no_values("the feature server's routes over gRPC, which is not installed", "listen"),
    **carries_no_values("the feature server's routes for agents, which is not installed", "mcp"),
    "get-historical-features": Calls(("get_historical_features",)),
    "get-online-features": Calls(("get_online_features",)),
    "materialize": Calls(("materialize",)),
    "materialize-incremental": Calls(("materialize_incremental",)),
    "monitor run": Gated("test_served.py::test_what_is_refused_is_refused_on_the_command_line"),
    "saved-datasets describe": Calls(("get_saved_dataset",)),
    "serve": Calls(("serve",)),
    "serve_offline": Calls(("serve_offline",)),
    "ui": Calls(("serve_ui",)),
    "validate": Calls(("get_validation_reference", "validate_logged_features")),
    "validation-references describe": Calls(("get_validation_reference",)),
}

SEARCH = Gated("test_served.py::test_what_is_refused_is_refused_over_http")
ROUTES: dict[str, Decision] = {
    **carries_no_values(
        "the pages of the server itself",
        "/openapi.json",
        "/docs",
        "/docs/oauth2-redirect",
        "/redoc",
        "/static",
    ),
    **carries_no_values("always the same text", "/chat", "/ws/chat"),
    **carries_no_values("definitions", "/health", "/v1/vector_stores", "/v1/vector_stores/{vector_store_id}"),
    "/get-online-features": Calls(("get_online_features", "get_online_features_async")),
    "/push": Calls(("push", "push_async")),
    "/write-to-online-store": Calls(("write_to_online_store",)),
    "/materialize": Calls(("materialize",)),
    "/materialize-incremental": Calls(("materialize_incremental",)),
    "/v1/vector_stores/{vector_store_id}/search": Calls(("openai_search",)),
    "/search": SEARCH,
    "/retrieve-online-documents": SEARCH,
}

#: Of the Arrow Flight server, which calls the offline store and not `FeatureStore`.
FLIGHT: dict[str, Decision] = {
    **carries_no_values("Arrow Flight itself", *public_names(FlightServerBase)),
    **carries_no_values(
        "definitions",
        *("get_feature_view_by_name", "list_feature_views_by_name", "validate_data_source"),
        "get_table_column_names_and_types_from_data_source",
    ),
    **carries_no_values(
        "who may call, and by which name", "arrow_flight_auth_middleware", "descriptor_to_key"
    ),
    "get_historical_features": Calls(("get_historical_features",)),
    "pull_all_from_table_or_query": Calls(("pull_all_from_table_or_query",)),
    "pull_latest_from_table_or_query": Calls(("pull_latest_from_table_or_query",)),
    "offline_write_batch": Calls(("offline_write_batch",)),
    "write_logged_features": Calls(("write_logged_features",)),
    "persist": Gated("test_flight.py::test_what_is_refused_is_refused_over_the_wire"),
}


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, Any]]:
    """Every command with its function, by the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)
        else:
            yield " ".join((*path, name)), command.callback


def routes(store: FeatureStore) -> dict[str, Any]:
    """Every route of the feature server with its function."""
    return {route.path: getattr(route, "endpoint", None) for route in get_app(store).routes}


def source(function: Any) -> str:
    return inspect.getsource(inspect.unwrap(function))


def test_every_command_is_decided() -> None:
    """A command that a future Feast adds is not in the table."""
    assert {name for name, _ in commands(cli)} == set(COMMANDS)


def test_every_route_of_the_feature_server_is_decided(lender: Lender) -> None:
    """A route that a future Feast adds is not in the table."""
    assert set(routes(lender.stores[PURPOSE])) == set(ROUTES)


def test_every_call_of_the_offline_server_is_decided() -> None:
    """A call that a future Feast adds is not in the table."""
    assert public_names(OfflineServer) == set(FLIGHT)


def test_faces_reach_values_by_names_that_are_decided(lender: Lender) -> None:
    """What a face is said to call it does call, and that name has a decision of its own."""
    found = dict(commands(cli)) | routes(lender.stores[PURPOSE])
    found |= {name: getattr(OfflineServer, name) for name in FLIGHT}
    for table, decided in ((COMMANDS | ROUTES, FEATURE_STORE), (FLIGHT, OFFLINE_STORE)):
        for face in in_words(table, Calls):
            decision = table[face]
            assert isinstance(decision, Calls)
            for name in decision.names:
                assert re.search(rf"\.{name}\b", source(found[face])), face
                assert name in decided


@pytest.mark.parametrize("face", in_words(COMMANDS | ROUTES | FLIGHT, Gated))
def test_what_is_gated_has_a_test_that_shows_it(face: str) -> None:
    """The table names the test, and the test is there."""
    decision = (COMMANDS | ROUTES | FLIGHT)[face]
    assert isinstance(decision, Gated)
    assert there_is_a_test(decision.shown_by)
