"""A withdrawal over HTTP, once answered, is denied at the next online, offline and ingest read of every process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx2
import pandas as pd
import pytest
from feast import FeatureStore

from consent.clock import now_utc
from consent.home import Home
from consent.tokens import Role
from ingestion.run import FileReport, ingest
from tests.console.api.conftest import YES
from tests.feature_repo.lender import Lender
from tests.reports.story import spending_file

PURPOSE, FEATURES = "credit_scoring", ["spending_v1:spend_7d"]
SERVER = """
import socket, sys
from pathlib import Path
import uvicorn
from consent.home import Home
from console.api.app import create_api

listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
app = create_api(Home.open(Path(sys.argv[1])))
uvicorn.Server(uvicorn.Config(app, log_level="info")).run(sockets=[listening])
"""


@contextmanager
def served(home: Home, log: Path) -> Iterator[httpx2.Client]:
    """The consent API in a process of its own, asked with a recorder's token."""
    secret = home.tokens.create("loan-app", Role.RECORDER, now_utc() + timedelta(days=1))
    with log.open("w") as err:
        command = [sys.executable, "-c", SERVER, str(home.root)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err, text=True)
        try:
            assert server.stdout is not None
            address = f"http://127.0.0.1:{int(server.stdout.readline())}"
            headers = {"Authorization": f"Bearer {secret}"}
            with httpx2.Client(base_url=address, headers=headers, trust_env=False, timeout=60) as client:
                yield client
        finally:
            server.terminate()
            out, _ = server.communicate(timeout=30)
            err.write(out)


def online(store: FeatureStore, key: str) -> float | None:
    rows = [{"subject_key": key}]
    value: float | None = store.get_online_features(features=FEATURES, entity_rows=rows).to_dict()[
        "spend_7d"
    ][0]
    return value


def offline(store: FeatureStore, key: str) -> float | None:
    entities = pd.DataFrame({"subject_key": [key], "event_timestamp": [now_utc()]})
    job = store.get_historical_features(entity_df=entities, features=FEATURES)
    value: float | None = job.to_arrow()["spend_7d"].to_pylist()[0]
    return value


def loaded(home: Home, place: Path, number: str, name: str) -> FileReport:
    path = spending_file(place / name, [(number, now_utc() - timedelta(days=2))])
    return ingest(home, "spending", [path]).files[0]


@pytest.mark.filterwarnings("ignore")
def test_once_it_is_answered_nothing_is_read_or_loaded_anywhere(tmp_path: Path) -> None:
    """This process has read and loaded before, so whatever it could remember, it does; then the answer comes."""
    lender, number = Lender(tmp_path / "home"), "C-42"
    home, store = lender.home, lender.stores[PURPOSE]
    log = tmp_path / "server.log"
    with served(home, log) as api:
        key_of = {"Idempotency-Key": '"give-1"'}
        given = api.post("/consents", json={**YES, "subject_id": number}, headers=key_of)
        assert given.status_code == 201, given.text
        (key,) = home.directory.find([number])
        assert key is not None
        lender.publish("spending", [(key, -1, {"spend_7d": 5.0})])
        cells = {f.name: 5.0 for f in store.get_feature_view("spending_v1").features}
        store.push("spending_v1_push", lender.entities((key, -1)).assign(**cells))
        assert (online(store, key), offline(store, key)) == (5.0, 5.0)
        assert loaded(home, tmp_path, number, "before.csv").loaded == 1

        answer = api.post("/withdrawals", json={"subject_id": number})
        assert answer.status_code == 200
        assert (online(store, key), offline(store, key)) == (None, None)
        assert loaded(home, tmp_path, number, "after.csv").refused == {"WITHDRAWN": 1}

        again = api.post("/consents", json={**YES, "subject_id": number}, headers=key_of)
        assert again.json() == given.json()  # what was sent again gives nothing back
        assert online(store, key) is None
    said = log.read_text()
    assert '"POST /withdrawals HTTP/1.1" 200' in said
    assert number not in said
