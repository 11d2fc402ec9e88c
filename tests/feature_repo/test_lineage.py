"""MLflow tags and OpenLineage events, where the settings name them and not otherwise."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from consent.errors import ConfigError
from consent.home import CONFIG_FILE, Home
from consent.lineage_settings import Lineage, parse_lineage
from feature_repo.stores.config import open_home
from feature_repo.stores.lineage import CONSENT_FACET, PURPOSES_TAG, RECEIPTS_TAG, NotTold
from feature_repo.stores.receipts import Receipt
from tests.feature_repo.lender import Lender

PURPOSE = "model_training"


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Lender:
    lender = Lender(tmp_path_factory.mktemp("lineage") / "home")
    lender.key = lender.agrees(PURPOSE)  # type: ignore[attr-defined]
    lender.publish("spending", [(lender.key, -9, {"spend_7d": 1.5})])  # type: ignore[attr-defined]
    return lender


def fetched(lender: Lender, lineage: dict[str, Any]) -> Receipt:
    """A fetch in a home whose settings say so; the stores of a process open it once."""
    home = open_home(str(lender.home.root), str(lender.home.keys))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home, "settings", replace(home.settings, lineage=parse_lineage(lineage)))
        rows = lender.entities((lender.key, 0), (None, 0))  # type: ignore[attr-defined]
        job: Any = lender.stores[PURPOSE].get_historical_features(
            entity_df=rows, features=["spending_v1:spend_7d"]
        )
        assert job.to_df()["spend_7d"].tolist()[0] == 1.5
    receipt: Receipt = job.receipt
    return receipt


def require_event(event: dict[str, Any], lender: Lender, receipt: Receipt) -> None:
    """The event of OpenLineage's specification, with what consent said, and nobody in it."""
    namespace = f"assent://{lender.home.settings.origin}"
    assert event["eventType"] == "COMPLETE"
    assert event["job"] == {"namespace": namespace, "name": f"training-set.{PURPOSE}"} | {
        k: v for k, v in event["job"].items() if k == "facets"
    }
    (used,) = event["inputs"]
    assert (used["namespace"], used["name"]) == (namespace, "spending_v1")
    assert used["facets"]["version"]["datasetVersion"] == str(receipt.tables[0].version)
    assert [o["name"] for o in event["outputs"]] == [f"training-set/{receipt.receipt_id}"]
    facet = event["run"]["facets"][CONSENT_FACET]
    assert facet["receipt"] == receipt.receipt_id
    assert (facet["purpose"], facet["entity_rows"], facet["subjects"]) == (PURPOSE, 2, 1)
    assert facet["views"][0]["masked"] == {"UNKNOWN": 1}
    assert facet["checkpoint"] == receipt.checkpoint
    assert lender.key not in json.dumps(event)  # type: ignore[attr-defined]


def test_an_event_is_a_line_of_a_file(lender: Lender, tmp_path: Path) -> None:
    """Each fetch adds one."""
    path = tmp_path / "lineage.jsonl"
    receipts = [fetched(lender, {"openlineage": str(path)}) for _ in range(2)]
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    assert len(events) == 2
    for event, receipt in zip(events, receipts, strict=True):
        require_event(event, lender, receipt)
    assert len({event["run"]["runId"] for event in events}) == 2


@pytest.fixture
def collector() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that takes events."""
    taken: list[dict[str, Any]] = []

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            taken.append(json.loads(body))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Taking)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    thread.join(5)


def test_an_event_is_sent_to_an_address(lender: Lender, collector: tuple[str, list[dict[str, Any]]]) -> None:
    """As OpenLineage's client does it."""
    address, taken = collector
    receipt = fetched(lender, {"openlineage": address})
    (event,) = taken
    require_event(event, lender, receipt)


@pytest.mark.parametrize("place", ["http://127.0.0.1:1", "/proc/nowhere/lineage.jsonl"])
def test_who_cannot_be_told_is_warned_about_and_changes_nothing(lender: Lender, place: str) -> None:
    """The receipt is the evidence; the values come."""
    with pytest.warns(NotTold, match="OpenLineage was not told of receipt"):
        receipt = fetched(lender, {"openlineage": place})
    assert lender.home.path("receipts", f"{receipt.receipt_id}.json").exists()


def test_the_active_mlflow_run_gets_tags(lender: Lender, tmp_path: Path) -> None:
    """All receipts of the run, each purpose once; without a run nothing is done."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    try:
        fetched(lender, {"mlflow": True})
        with mlflow.start_run() as run:
            receipts = [fetched(lender, {"mlflow": True}).receipt_id for _ in range(2)]
        tags = mlflow.get_run(run.info.run_id).data.tags
    finally:
        mlflow.set_tracking_uri(None)
    assert tags[RECEIPTS_TAG].split(",") == receipts
    assert tags[PURPOSES_TAG] == PURPOSE


def test_nothing_is_told_unless_it_is_asked_for(lender: Lender, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither library is even imported by a fetch."""
    import sys

    for name in [m for m in sys.modules if m.partition(".")[0] in ("mlflow", "openlineage")]:
        monkeypatch.delitem(sys.modules, name)
    fetched(lender, {})
    assert not {"mlflow", "openlineage"} & set(sys.modules)


@pytest.mark.parametrize(
    "table",
    [
        [],
        {"x": 1},
        {"mlflow": "yes"},
        {"mlflow": 1},
        {"openlineage": ""},
        {"openlineage": 7},
        {"openlineage": "relative/file"},
        {"openlineage": "ftp://host/x"},
        {"openlineage": "https://user:password@host/"},
        {"openlineage": "https://"},
        {"openlineage": "http://[::1"},
    ],
)
def test_settings_that_say_something_else_are_refused(table: Any) -> None:
    """With what they may say."""
    with pytest.raises(ConfigError):
        parse_lineage(table)


def test_the_table_is_read_from_the_home(lender: Lender) -> None:
    """Like every other setting."""
    path = lender.home.path(CONFIG_FILE)
    before = path.read_text("utf-8")
    assert Home.open(lender.home.root).settings.lineage == Lineage()
    path.write_text(before + "[lineage]\nmlflow = true\n", "utf-8")
    assert Home.open(lender.home.root).settings.lineage == Lineage(mlflow=True)
    path.write_text(before, "utf-8")


def test_settings_that_say_it_right() -> None:
    assert parse_lineage({}) == Lineage()
    both = parse_lineage({"openlineage": "https://lineage.example/api", "mlflow": True})
    assert both == replace(Lineage(), openlineage="https://lineage.example/api", mlflow=True)
