"""``feast serve_offline``: modelers on ``type: remote``, without keys, get what the server's purpose allows."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.flight as flight
import pytest
from feast import FeatureStore, RepoConfig
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.offline_server import OfflineServer, _init_auth_manager

from tests.feature_repo.lender import Lender, values

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d"]


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Lender:
    return Lender(tmp_path_factory.mktemp("flight") / "home")


@pytest.fixture(scope="module")
def remote(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """Plain Feast beside a server on loopback: it knows no home, no purpose and no key."""
    served = lender.stores[PURPOSE]
    _init_auth_manager(served)
    server = OfflineServer(served, location="grpc+tcp://127.0.0.1:0", host="127.0.0.1")
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield FeatureStore(
        config=RepoConfig(
            project="assent",
            provider="local",
            registry=str(lender.home.path("feast", "registry.pb")),
            online_store={"type": "sqlite", "path": str(tmp_path_factory.mktemp("client") / "none.db")},
            offline_store={"type": "remote", "host": "127.0.0.1", "port": server.port},
        )
    )
    server.shutdown()
    thread.join(10)


def test_a_remote_fetch_is_gated_where_the_keys_are(lender: Lender, remote: FeatureStore) -> None:
    """By the server's purpose, at every execution; its receipts lie on the server."""
    yes, no, other = lender.agrees(PURPOSE), lender.person(), lender.agrees("model_training")
    lender.publish("spending", [(key, -1, {"spend_7d": 1.5}) for key in (yes, no, other)])
    job = remote.get_historical_features(
        entity_df=lender.entities((yes, 0), (no, 0), (other, 0)), features=REFS
    )
    receipts = len(list(lender.home.path("receipts").glob("*.json")))
    assert values(job.to_df(), "spend_7d") == [1.5, None, None]
    assert len(list(lender.home.path("receipts").glob("*.json"))) == receipts + 1
    lender.withdraw(yes)
    assert values(job.to_df(), "spend_7d") == [None, None, None]


def test_a_remote_pull_is_gated(lender: Lender, remote: FeatureStore) -> None:
    """Both kinds: the rows of who agreed to the server's purpose, and of nobody else."""
    yes, no = lender.agrees(PURPOSE), lender.agrees("model_training")
    lender.publish("spending", [(key, -1, {"spend_7d": 1.5}) for key in (yes, no)])
    source = remote.get_feature_view("spending_v1").batch_source
    between = {"start_date": lender.at(-2), "end_date": lender.at(0)}
    columns: dict[str, Any] = {
        "join_key_columns": ["subject_key"],
        "feature_name_columns": ["spend_7d"],
        "timestamp_field": "event_timestamp",
        "created_timestamp_column": "",
    }
    offline = remote.provider.offline_store
    for pull in (offline.pull_all_from_table_or_query, offline.pull_latest_from_table_or_query):
        found = pull(config=remote.config, data_source=source, **columns, **between).to_df()
        assert found["subject_key"].tolist() == [yes]


def test_a_remote_query_reads_nothing_on_the_server(lender: Lender, remote: FeatureStore) -> None:
    """Entity rows by SQL run where the keys are; with no directory configured they are refused there."""
    key = lender.home.keys / "root.key"
    query = f"SELECT content AS subject_key, now() AS event_timestamp FROM read_blob('{key}')"
    with pytest.raises(flight.FlightError, match="no directory is configured"):
        remote.get_historical_features(entity_df=query, features=REFS).to_df()


def test_what_is_refused_is_refused_over_the_wire(
    lender: Lender, remote: FeatureStore, tmp_path: Path
) -> None:
    """Saving a dataset and writing to a feature table end on the server in the same refusals."""
    yes = lender.agrees(PURPOSE)
    lender.publish("spending", [(yes, -1, {"spend_7d": 1.5})])
    job = remote.get_historical_features(entity_df=lender.entities((yes, 0)), features=REFS)
    storage = SavedDatasetFileStorage(path=str(tmp_path / "set.parquet"))
    with pytest.raises(Exception):  # noqa: B017  # Feast wants the storage in the registry, and it is not
        job.persist(storage)
    rows = lender.entities((yes, -1)).assign(
        **{f.name: 1.0 for f in remote.get_feature_view("spending_v1").features}
    )
    with pytest.raises(flight.FlightError, match="published from consented records only"):
        remote.write_to_offline_store("spending_v1", rows)
    assert list(tmp_path.iterdir()) == []
