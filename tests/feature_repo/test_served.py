"""``feast serve`` and ``feast`` commands: real servers and commands of Feast's, on loopback, over our stores."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from feast import FeatureStore, RepoConfig
from feast.cli.cli import cli
from feast.data_source import PushMode
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.saved_dataset import SavedDataset

from consent.errors import Denied
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
SPEND = "spending_v1:spend_7d"
_PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Lender:
    return Lender(tmp_path_factory.mktemp("served") / "home")


def rows(lender: Lender, *keys: str, day: float = -1, value: float = 1.5) -> Any:
    view = lender.stores[PURPOSE].get_feature_view("spending_v1")
    return lender.entities(*((key, day) for key in keys)).assign(**{f.name: value for f in view.features})


def configuration(lender: Lender, purpose: str = PURPOSE) -> str:
    return str(lender.home.path("feast", purpose))


# ------------------------------------------------------------------------------------------- over HTTP


class Server:
    """One ``feast serve`` in a process of its own."""

    def __init__(self, address: str) -> None:
        self.address = address

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and answer."""
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def read(self, *keys: str, **what: Any) -> list[Any]:
        """The values of spend_7d."""
        body = {"entities": {"subject_key": list(keys)}, **(what or {"features": [SPEND]})}
        status, answer = self.post("/get-online-features", body)
        assert status == 200, answer
        place = answer["metadata"]["feature_names"].index("spend_7d")
        return list(answer["results"][place]["values"])

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(self.address + "/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@pytest.fixture(scope="module")
def server(lender: Lender, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    command = [str(Path(sys.executable).with_name("feast")), "-c", configuration(lender), "serve"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)], stdout=out, stderr=out
        )
    found = Server(f"http://127.0.0.1:{port}")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not found.is_up():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)
    yield found
    process.terminate()
    process.wait(30)


def test_online_features_over_http(lender: Lender, server: Server) -> None:
    """By reference and by service; a withdrawal recorded here counts at the server's very next answer."""
    yes, no = lender.agrees(PURPOSE), lender.agrees("model_training")
    lender.stores[PURPOSE].push("spending_v1_push", rows(lender, yes, no), to=PushMode.ONLINE)
    assert server.read(yes, no) == [1.5, None]
    assert server.read(yes, no, feature_service="scorecard_v1") == [1.5, None]
    assert server.read(yes, no, features=["spending_v1@v0:spend_7d"]) == [1.5, None]
    lender.withdraw(yes)
    assert server.read(yes, no) == [None, None]


def test_a_service_of_another_purpose_is_denied_over_http(lender: Lender, server: Server) -> None:
    """The server's configuration has one purpose; a service of another gets the reason and no value."""
    body = {"entities": {"subject_key": [lender.person()]}, "feature_service": "fraud_screen_v1"}
    status, answer = server.post("/get-online-features", body)
    assert status >= 400
    assert "fraud_detection" in str(answer)
    assert "results" not in str(answer)


def test_writes_over_http_are_gated(lender: Lender, server: Server) -> None:
    """What no purpose may use is dropped on the way in, by /push and by /write-to-online-store."""
    yes, no = lender.agrees(PURPOSE), lender.person()
    frame = rows(lender, yes, no)
    frame["event_timestamp"] = frame["event_timestamp"].map(str)
    body = {"push_source_name": "spending_v1_push", "df": frame.to_dict("list"), "to": "online"}
    assert server.post("/push", body)[0] == 200
    body = {"feature_view_name": "spending_v1", "df": frame.to_dict("list")}
    assert server.post("/write-to-online-store", body)[0] == 200
    online, store = lender.stores[PURPOSE].provider.online_store, lender.stores[PURPOSE]
    views = [store.get_feature_view("spending_v1")]
    assert set(online.count_subjects(store.config, views, [yes, no])) == {yes}
    assert server.read(yes, no) == [1.5, None]


def test_materialising_over_http_is_gated(lender: Lender, server: Server) -> None:
    """Both kinds bring online what the server's purpose may use."""
    yes, no = lender.agrees(PURPOSE), lender.agrees("model_training")
    lender.publish("spending", [(key, -3, {"spend_7d": 2.5}) for key in (yes, no)])
    between = {"start_ts": lender.at(-9).isoformat(), "end_ts": lender.at(0).isoformat()}
    body = {**between, "feature_views": ["spending_v1"]}
    assert server.post("/materialize", body)[0] == 200
    assert server.read(yes, no) == [2.5, None]
    late = lender.agrees(PURPOSE)
    lender.publish("spending", [(late, -3, {"spend_7d": 3.5})])
    assert server.post("/materialize-incremental", body)[0] == 200
    assert server.read(late) == [3.5]


def test_a_remote_online_store_is_gated_at_the_server(lender: Lender, server: Server, tmp_path: Path) -> None:
    """Plain Feast on ``type: remote``, without home, purpose or key, reads, writes and materialises through it."""
    remote = FeatureStore(
        config=RepoConfig(
            project="assent",
            provider="local",
            registry=str(lender.home.path("feast", "registry.pb")),
            offline_store={"type": "dask"},
            online_store={"type": "remote", "path": server.address},
        )
    )
    yes, no = lender.agrees(PURPOSE), lender.agrees("model_training")
    remote.push("spending_v1_push", rows(lender, yes, no), to=PushMode.ONLINE)
    request = {"features": [SPEND], "entity_rows": [{"subject_key": key} for key in (yes, no)]}
    assert remote.get_online_features(**request).to_dict()["spend_7d"] == [1.5, None]
    lender.publish("spending", [(key, -0.5, {"spend_7d": 2.5}) for key in (yes, no)])
    remote.materialize(lender.at(-9), lender.at(0), feature_views=["spending_v1"])
    assert remote.get_online_features(**request).to_dict()["spend_7d"] == [2.5, None]
    lender.withdraw(yes)
    assert remote.get_online_features(**request).to_dict()["spend_7d"] == [None, None]


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/search", {"features": [SPEND], "query": [0.5], "top_k": 1, "api_version": 2}, "vector search"),
        ("/retrieve-online-documents", {"features": [SPEND], "query": [0.5], "top_k": 1}, "vector search"),
        ("/push", {"push_source_name": "spending_v1_push", "to": "offline"}, "consented records only"),
    ],
)
def test_what_is_refused_is_refused_over_http(
    lender: Lender, server: Server, path: str, body: dict[str, Any], reason: str
) -> None:
    """With an error status and the reason."""
    frame = rows(lender, lender.agrees(PURPOSE))
    frame["event_timestamp"] = frame["event_timestamp"].map(str)
    status, answer = server.post(path, {**body, "df": frame.to_dict("list")})
    assert status >= 400
    assert reason in str(answer)


# ------------------------------------------------------------------------------------------- commands


def printed(result: Result, opening: str) -> Any:
    """The JSON that a command printed, after what Feast says before."""
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout[result.stdout.index(opening) :])


def feast(lender: Lender, *arguments: str, purpose: str = PURPOSE) -> Result:
    """A command of Feast's, in this process."""
    here = Path.cwd()
    try:
        return CliRunner().invoke(cli, ["-c", configuration(lender, purpose), *arguments])
    finally:
        os.chdir(here)


def test_reading_on_the_command_line_is_gated(lender: Lender) -> None:
    """`feast get-online-features` and `feast get-historical-features`."""
    yes, no = lender.agrees(PURPOSE), lender.agrees("model_training")
    lender.stores[PURPOSE].push("spending_v1_push", rows(lender, yes, no), to=PushMode.ONLINE)
    lender.publish("spending", [(key, -1, {"spend_7d": 2.5}) for key in (yes, no)])
    people = [f"--entities=subject_key={key}" for key in (yes, no)]
    found = printed(feast(lender, "get-online-features", *people, "--features", SPEND), "{\n")
    assert found["spend_7d"] == [1.5, None]
    wanted = [{"subject_key": key, "event_timestamp": lender.now.isoformat()} for key in (yes, no)]
    found = printed(feast(lender, "get-historical-features", "-d", json.dumps(wanted), "-f", SPEND), "[\n")
    assert [row["spend_7d"] for row in found] == [2.5, None]


def test_materialising_on_the_command_line_is_gated(lender: Lender) -> None:
    """`feast materialize` and `feast materialize-incremental`, each under its own purpose."""
    scored, screened = lender.agrees(PURPOSE), lender.agrees("fraud_detection")
    lender.publish("spending", [(key, -3, {"spend_7d": 2.5}) for key in (scored, screened)])
    start, end = (lender.at(day).replace(tzinfo=None).isoformat() for day in (-9, 0))
    assert feast(lender, "materialize", "-v", "spending_v1", start, end).exit_code == 0
    done = feast(lender, "materialize-incremental", "-v", "spending_v1", end, purpose="fraud_detection")
    assert done.exit_code == 0, done.exception
    for purpose, expected in ((PURPOSE, [2.5, None]), ("fraud_detection", [None, 2.5])):
        request = {
            "features": [SPEND],
            "entity_rows": [{"subject_key": key} for key in (scored, screened)],
        }
        assert lender.stores[purpose].get_online_features(**request).to_dict()["spend_7d"] == expected


def test_what_is_refused_is_refused_on_the_command_line(lender: Lender, tmp_path: Path) -> None:
    """Statistics that would be kept, and saved datasets."""
    lender.publish("spending", [(lender.agrees(PURPOSE), -1, {"spend_7d": 1.5})])
    store = lender.stores[PURPOSE]
    storage = SavedDatasetFileStorage(path=str(tmp_path / "set.parquet"))
    dataset = SavedDataset(name="kept", features=[SPEND], join_keys=["subject_key"], storage=storage)
    store.registry.apply_saved_dataset(dataset, store.project)
    for command in (
        ["monitor", "run"],
        ["monitor", "run", "--set-baseline"],
        ["saved-datasets", "describe", "kept"],
    ):
        result = feast(lender, *command)
        assert result.exit_code != 0
        assert isinstance(result.exception, Denied), result.exception
        assert result.exception.remedy


def test_a_command_in_a_process_of_its_own_is_gated_too(lender: Lender) -> None:
    """The console script as it is installed, from another directory."""
    yes, no = lender.agrees(PURPOSE), lender.person()
    lender.stores[PURPOSE].push("spending_v1_push", rows(lender, yes, no), to=PushMode.ONLINE)
    command = [str(Path(sys.executable).with_name("feast")), "-c", configuration(lender)]
    people = [f"--entities=subject_key={key}" for key in (yes, no)]
    done = subprocess.run(
        [*command, "get-online-features", *people, "--features", SPEND],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout[done.stdout.index("{") :])["spend_7d"] == [1.5, None]
