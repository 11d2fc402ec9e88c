"""The real boundary: both servers started by one command each, and a client of plain Feast that has no keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from ssl import create_default_context
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.flight as flight
import pytest
from fastapi.routing import APIRoute, APIWebSocketRoute
from feast.feature_server import get_app

from consent.accesses import AccessKind, AccessQuery
from consent.clock import now_utc
from consent.home import Home
from consent.tls import own_certificate
from consent.tokens import Role
from console.cli import run
from feature_repo.stores.boundary import FETCH, HEALTH, MOST_WAITING, PATHS
from feature_repo.stores.receipts import read_receipt
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d"]
_PATIENCE_SECONDS = 120


@dataclass(frozen=True)
class Served:
    """A lender with both servers running, and a directory that was handed to modelers."""

    lender: Lender
    client: Path
    offline: int
    online: int
    tokens: dict[Role, str]


def started(home: Home, command: str, log: Path) -> tuple[subprocess.Popen[str], int]:
    """A server in a process of its own, and its port."""
    arguments = [command, "--purpose", PURPOSE, "--port", "0", "--json", "--home", str(home.root)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from console.cli import main; main()", *arguments],
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
    )
    assert process.stdout
    said = ""
    while not said.rstrip().endswith("}"):
        line = process.stdout.readline()
        assert line, log.read_text()
        said += line
    return process, int(json.loads(said)["address"].rpartition(":")[2])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    place = tmp_path_factory.mktemp("boundary")
    lender = Lender(place / "home")
    home, until = lender.home, now_utc() + timedelta(days=1)
    own_certificate(home.keys / "tls", [])  # not twice at the same moment
    tokens = {role: home.tokens.create(f"the-{role}", role, until) for role in Role}
    servers = [started(home, f"serve-{kind}", place / f"{kind}.log") for kind in ("offline", "online")]
    ports = [port for _, port in servers]
    out = place / "for-modelers"
    more = ["--offline-port", str(ports[0]), "--online-port", str(ports[1]), "--home", str(home.root)]
    assert run(["client-config", "--purpose", PURPOSE, "--host", "localhost", "--out", str(out), *more]) == 0
    yield Served(lender, out, ports[0], ports[1], tokens)
    for process, _ in servers:
        process.terminate()
        process.wait(30)


# ------------------------------------------------------------------------------------------- a client without keys

_CLIENT = """
import json, sys
forbidden = tuple(json.loads(sys.argv[1]))
def watch(event, arguments):
    if event == "open" and str(arguments[0]).startswith(forbidden):
        raise SystemExit("the client opened a file of the home")
sys.addaudithook(watch)
import pandas as pd
from feast import FeatureStore
store = FeatureStore(repo_path=sys.argv[2])
rows = pd.read_json(sys.argv[3], convert_dates=["event_timestamp"])
rows["event_timestamp"] = pd.to_datetime(rows["event_timestamp"], utc=True)
job = store.get_historical_features(entity_df=rows, features=["spending_v1:spend_7d", "spending_v1:spend_30d"])
table = job.to_arrow()
online = store.get_online_features(
    features=["spending_v1:spend_7d"], entity_rows=[{"subject_key": key} for key in rows["subject_key"]]
).to_dict()
print(json.dumps({
    "offline": table["spend_7d"].to_pylist(),
    "receipt": table.schema.metadata[b"assent.receipt"].decode(),
    "online": online["spend_7d"],
}))
"""


def client(served: Served, place: Path, *keys: str, token: str | None = None) -> dict[str, Any]:
    """What plain Feast gets in a process that opens no file of the home, with the ten lines of a modeler."""
    frame = served.lender.entities(*((key, 0) for key in keys))
    frame.to_json(place / "rows.json", date_format="iso", date_unit="us")
    home = served.lender.home
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ASSENT_")}
    environment["ASSENT_TOKEN"] = token or served.tokens[Role.MODELER]
    places = (served.client, place / "rows.json")
    done = subprocess.run(
        [sys.executable, "-c", _CLIENT, json.dumps([str(home.root), str(home.keys)]), *map(str, places)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    if done.returncode:
        return {"error": done.stderr}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_client_without_keys_gets_what_consent_allows_and_its_receipt(
    served: Served, tmp_path: Path
) -> None:
    """Offline and online; what is withdrawn is gone at the next call; the receipt names the token's owner."""
    lender = served.lender
    yes, no = lender.agrees(PURPOSE), lender.agrees("model_training")
    lender.publish("spending", [(key, -1, {"spend_7d": 1.5}) for key in (yes, no)])
    lender.stores[PURPOSE].materialize(lender.at(-9), lender.at(0), feature_views=["spending_v1"])
    found = client(served, tmp_path, yes, no)
    assert (found.get("offline"), found.get("online")) == ([1.5, None], [1.5, None]), found
    receipt = read_receipt(lender.home, found["receipt"])
    assert (receipt.caller, receipt.subjects) == ("token:the-modeler", 1)
    entry = lender.home.accesses.entries(AccessQuery(kind=AccessKind.TRAINING_SET), limit=1)[0]
    assert (entry.caller, entry.about) == ("token:the-modeler", {"receipt": found["receipt"]})
    lender.withdraw(yes)
    found = client(served, tmp_path, yes, no)
    assert (found["offline"], found["online"]) == ([None, None], [None, None])


def test_what_is_handed_to_modelers_holds_no_key(served: Served) -> None:
    """Neither the private half of the certificate nor a key of the keyring; and the token is not in it."""
    keys = [path.read_bytes() for path in served.lender.home.keys.rglob("*") if path.is_file()]
    secrets = [key for key in keys if b"CERTIFICATE" not in key and b"assent/" not in key]
    assert len(secrets) >= 3
    for path in served.client.iterdir():
        content = path.read_bytes()
        assert not any(secret in content for secret in secrets)
        assert b"PRIVATE KEY" not in content
        assert not any(token.encode() in content for token in served.tokens.values())


# ------------------------------------------------------------------------------------------- Flight


def connection(served: Served, token: str | None, *, trust: bool = True) -> tuple[Any, Any]:
    options = {"tls_root_certs": (served.client / "server.pem").read_bytes()} if trust else {}
    header = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
    return (
        flight.FlightClient(f"grpc+tls://localhost:{served.offline}", **options),
        flight.FlightCallOptions(timeout=20, headers=header),
    )


def command(api: str = FETCH, **more: Any) -> Any:
    wanted = {
        "api": api,
        "feature_view_names": ["spending_v1"],
        "name_aliases": [None],
        "feature_refs": REFS,
        "project": "assent",
        "full_feature_names": False,
        **more,
    }
    return flight.FlightDescriptor.for_command(json.dumps(wanted))


def sent(
    served: Served, token: str | None, descriptor: Any, *, trust: bool = True, rows: pa.Table | None = None
) -> Any:
    """A fetch, as Feast's client makes it."""
    there, options = connection(served, token, trust=trust)
    rows = rows or pa.table({"subject_key": ["a" * 32], "event_timestamp": pa.array([now_utc()])})
    writer, _ = there.do_put(descriptor, rows.schema, options)
    writer.write_table(rows)
    writer.close()
    info = there.get_flight_info(descriptor, options)
    return there.do_get(info.endpoints[0].ticket, options).read_all()


NO_TOKENS = ["", "nonsense", "assent_" + "A" * 43, "\x7f", "x" * 5_000]


@pytest.mark.parametrize("token", [None, *NO_TOKENS])
def test_nobody_fetches_without_a_token(served: Served, token: str | None) -> None:
    """Unauthenticated, whatever stands where a token should; and nothing is left behind."""
    with pytest.raises(flight.FlightError):
        sent(served, token, command())


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.MODELER])
def test_only_modelers_fetch(served: Served, role: Role) -> None:
    """A token of another role is known, and refused."""
    with pytest.raises(flight.FlightUnauthorizedError, match=role):
        sent(served, served.tokens[role], command())


def test_a_revoked_token_is_refused_at_the_next_call(served: Served) -> None:
    """In the process that served it a moment ago."""
    secret = served.lender.home.tokens.create("for-a-day", Role.MODELER, now_utc() + timedelta(days=1))
    served.lender.publish("spending", [])
    assert sent(served, secret, command()).num_rows == 1
    served.lender.home.tokens.revoke("for-a-day")
    with pytest.raises(flight.FlightUnauthenticatedError):
        sent(served, secret, command())


def test_a_server_that_is_not_trusted_gets_no_token(served: Served) -> None:
    """Without the certificate there is no connection; and none without TLS."""
    with pytest.raises(flight.FlightError):
        sent(served, served.tokens[Role.MODELER], command(), trust=False)
    plain = flight.FlightClient(f"grpc+tcp://localhost:{served.offline}")
    with pytest.raises(flight.FlightError):
        list(plain.list_flights(options=flight.FlightCallOptions(timeout=5)))


@pytest.mark.parametrize(
    "api",
    [
        "pull_all_from_table_or_query",
        "pull_latest_from_table_or_query",
        "offline_write_batch",
        "persist",
        "write_logged_features",
        "validate_data_source",
        "get_table_column_names_and_types_from_data_source",
        "nonsense",
    ],
)
def test_nothing_but_fetches_is_served(served: Served, api: str) -> None:
    """Scans leave no receipt, and a client's data source would open files of the server."""
    source = {"data_source_name": "spending_v1", "data_source_proto": "{}"}
    with pytest.raises(flight.FlightError, match="only historical fetches"):
        sent(served, served.tokens[Role.MODELER], command(api, **source))


def test_entity_rows_by_sql_read_nothing_of_the_server(served: Served) -> None:
    """The query would run where the keys are."""
    key = served.lender.home.keys / "root.key"
    query = f"SELECT content AS subject_key, now() AS event_timestamp FROM read_blob('{key}')"
    there, options = connection(served, served.tokens[Role.MODELER])
    rows = pa.table({"key": pa.array([], pa.string())})
    descriptor = command(entity_df_sql=query)
    writer, _ = there.do_put(descriptor, rows.schema, options)
    writer.close()
    info = there.get_flight_info(descriptor, options)
    with pytest.raises(flight.FlightError, match="no directory is configured"):
        there.do_get(info.endpoints[0].ticket, options).read_all()


@pytest.mark.parametrize(
    "content", [b"", b"nonsense", b"[]", b"{}", b'{"api": 1}', b"\xff\xfe", b'{"api": null}']
)
def test_what_is_no_call_is_refused(served: Served, content: bytes) -> None:
    """And the server goes on."""
    with pytest.raises(flight.FlightError):
        sent(served, served.tokens[Role.MODELER], flight.FlightDescriptor.for_command(content))
    assert sent(served, served.tokens[Role.MODELER], command()).num_rows == 1


@pytest.mark.parametrize(
    "ticket", [b"", b"1", b"nonsense", b"(2, b'{}', ())", b"__import__('os')", b"\xff", b"((((" * 99]
)
def test_a_ticket_of_nobodys_is_refused(served: Served, ticket: bytes) -> None:
    """Without a broken stream or a look at other fetches."""
    there, options = connection(served, served.tokens[Role.MODELER])
    with pytest.raises(flight.FlightError):
        there.do_get(flight.Ticket(ticket), options).read_all()


def test_nobody_lists_what_others_fetch(served: Served) -> None:
    """Nor is there any action."""
    there, options = connection(served, served.tokens[Role.MODELER])
    with pytest.raises(flight.FlightError):
        list(there.list_flights(options=options))
    assert list(there.list_actions(options)) == []
    with pytest.raises(flight.FlightError):
        list(there.do_action(flight.Action("persist", b""), options))


def test_fetches_that_nobody_collects_do_not_pile_up(served: Served) -> None:
    """The oldest has to be sent again."""
    there, options = connection(served, served.tokens[Role.MODELER])
    rows = pa.table({"subject_key": ["a" * 32], "event_timestamp": pa.array([now_utc()])})
    sent_now = [command(number=number) for number in range(MOST_WAITING + 3)]
    for descriptor in sent_now:
        writer, _ = there.do_put(descriptor, rows.schema, options)
        writer.write_table(rows)
        writer.close()
    with pytest.raises(flight.FlightError):
        there.get_flight_info(sent_now[0], options)
    there.get_flight_info(sent_now[-1], options)


# ------------------------------------------------------------------------------------------- HTTP


def asked(
    served: Served, method: str, path: str, *, token: str | None, body: bytes | None = None, **headers: str
) -> tuple[int, Any]:
    """Status and answer."""
    request = urllib.request.Request(f"https://localhost:{served.online}{path}", body, method=method)
    request.add_header("Content-Type", "application/json")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    for name, value in headers.items():
        request.add_header(name, value)
    trust = create_default_context(cafile=str(served.client / "server.pem"))
    try:
        with urllib.request.urlopen(request, timeout=30, context=trust) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def every_route() -> list[tuple[str, str]]:
    """What Feast's server has, as of the version that is installed."""
    from unittest.mock import MagicMock

    app = get_app(MagicMock())
    routes = [(m, r.path) for r in app.routes if isinstance(r, APIRoute) for m in r.methods]
    assert any(isinstance(r, APIWebSocketRoute) for r in app.routes)
    return sorted(
        {*routes, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/static/x"), ("GET", "/metrics")}
    )


def test_every_route_by_every_role(served: Served) -> None:
    """Only what the table lets through gets to Feast; that is never an answer without a token."""
    routes = every_route()
    assert {*PATHS, HEALTH} <= set(routes)
    for method, path in routes:
        path = path.replace("{vector_store_id}", "x")
        body = b"{}" if method == "POST" else None
        if (method, path) == HEALTH:
            assert asked(served, method, path, token=None)[0] == 200
            continue
        assert asked(served, method, path, token=None, body=body)[0] == 401, path
        for role, token in served.tokens.items():
            status, _ = asked(served, method, path, token=token, body=body)
            if role in PATHS.get((method, path), ()):
                assert status not in (401, 403), (path, role)  # Feast's own answer to an empty body
            else:
                assert status == 403, (path, role)


@pytest.mark.parametrize("token", NO_TOKENS)
def test_nobody_reads_online_without_a_token(served: Served, token: str) -> None:
    """401 and how to ask."""
    body = json.dumps({"entities": {"subject_key": ["a" * 32]}, "features": REFS}).encode()
    if token != "\x7f":
        assert asked(served, "POST", "/get-online-features", token=token, body=body)[0] == 401
    for path in ("/get-online-features/", "//get-online-features", "/GET-ONLINE-FEATURES", "/health/../push"):
        assert asked(served, "POST", path, token=served.tokens[Role.OFFICER], body=body)[0] in (403, 404), (
            path
        )


def test_a_recorder_pushes_and_a_modeler_reads(served: Served) -> None:
    """What no purpose may use is dropped on the way in."""
    lender = served.lender
    yes, no = lender.agrees(PURPOSE), lender.person()
    view = lender.stores[PURPOSE].get_feature_view("spending_v1")
    frame: pd.DataFrame = lender.entities((yes, -1), (no, -1)).assign(**{f.name: 2.5 for f in view.features})
    frame["event_timestamp"] = frame["event_timestamp"].map(str)
    body = json.dumps({"push_source_name": "spending_v1_push", "df": frame.to_dict("list"), "to": "online"})
    assert asked(served, "POST", "/push", token=served.tokens[Role.MODELER], body=body.encode())[0] == 403
    assert asked(served, "POST", "/push", token=served.tokens[Role.RECORDER], body=body.encode())[0] == 200
    wanted = json.dumps({"entities": {"subject_key": [yes, no]}, "features": REFS}).encode()
    status, answer = asked(
        served, "POST", "/get-online-features", token=served.tokens[Role.MODELER], body=wanted
    )
    place = answer["metadata"]["feature_names"].index("spend_7d")
    assert (status, answer["results"][place]["values"]) == (200, [2.5, None])


def test_what_goes_wrong_is_told_without_the_values(served: Served) -> None:
    """In no server's log is a cell that was sent, or another's; where it went wrong is."""
    lender = served.lender
    view = lender.stores[PURPOSE].get_feature_view("spending_v1")
    frame = lender.entities((lender.agrees(PURPOSE), -1)).assign(**{f.name: 2.5 for f in view.features})
    frame["event_timestamp"] = frame["event_timestamp"].map(str)
    good = frame.to_dict("list")
    for change in ({"txn_count_30d": ["CANARY-1"]}, {"event_timestamp": ["CANARY-2"]}):
        for path, name in (("/push", "push_source_name"), ("/write-to-online-store", "feature_view_name")):
            view_name = "spending_v1_push" if path == "/push" else "spending_v1"
            body = json.dumps({name: view_name, "df": good | change, "to": "online"}).encode()
            assert asked(served, "POST", path, token=served.tokens[Role.RECORDER], body=body)[0] == 500
    for cells in ({"event_timestamp": ["CANARY-3"]}, {"other": [{"CANARY-4": 1}]}, {"key": ["CANARY-5"]}):
        rows = pa.table({"subject_key": ["CANARY-6"], "event_timestamp": pa.array([now_utc()])} | cells)
        descriptor = command(feature_refs=["spending_v1:no_such"], number=str(cells))
        with pytest.raises(flight.FlightError):
            sent(served, served.tokens[Role.MODELER], descriptor, rows=rows)
    logs = [(served.client.parent / f"{kind}.log").read_text() for kind in ("offline", "online")]
    assert [line for log in logs for line in log.splitlines() if "CANARY" in line] == []
    assert "unforeseen ValueError; its text is withheld" in logs[1]


# ------------------------------------------------------------------------------------------- starting


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("serve-offline", "--purpose", "horoscopes"), 2, "no purpose"),
        (("serve-online", "--purpose", PURPOSE, "--tls-cert", "c.pem"), 2, "comes with its key"),
        (
            ("serve-online", "--purpose", PURPOSE, "--tls-cert", "none", "--tls-key", "none"),
            2,
            "cannot be used",
        ),
        (("serve-online", "--purpose", PURPOSE, "--host", "256.1.1.1", "--port", "0"), 4, "cannot listen"),
        (("serve-offline", "--purpose", PURPOSE, "--host", "256.1.1.1", "--port", "0"), 4, "cannot listen"),
        (("client-config", "--purpose", PURPOSE, "--out", "/proc/nowhere"), 6, "cannot be written"),
        (("client-config", "--purpose", PURPOSE, "--out", "x", "--tls-cert", "none"), 6, "cannot be written"),
    ],
)
def test_what_cannot_be_served_is_told(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    told: str,
) -> None:
    """Before anything listens."""
    monkeypatch.chdir(tmp_path)
    assert run([*arguments, "--home", str(served.lender.home.root)]) == code
    assert told in capsys.readouterr().err


def test_feasts_back_door_is_shut(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment variable that lets Feast's own components pass is not in the servers' environment."""
    from feature_repo.stores.boundary import http_app

    monkeypatch.setenv("INTRA_COMMUNICATION_BASE64", "open-sesame")
    http_app(served.lender.home, PURPOSE)
    assert "INTRA_COMMUNICATION_BASE64" not in os.environ
