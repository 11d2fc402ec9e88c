"""The real boundary: Feast's two feature servers, which hold the keys, behind TLS and tokens.

Modelers run plain Feast with ``type: remote`` and have neither home nor keys. What reaches Feast's code is what the
tables below let through; everything else is refused, also what a later Feast may add. Who calls is in every receipt.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.flight as flight
from feast import FeatureStore, offline_server
from feast.offline_server import OfflineServer

from consent.callers import calling_as
from consent.errors import AssentError, Unavailable, told_without_text
from consent.home import Home
from consent.tls import Certificate
from consent.tokens import Role, Token
from feature_repo.stores import setup

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Which role may call which path of Feast's HTTP server; no other path is passed on.
PATHS: dict[tuple[str, str], frozenset[Role]] = {
    ("POST", "/get-online-features"): frozenset({Role.MODELER}),
    ("POST", "/push"): frozenset({Role.RECORDER}),
    ("POST", "/write-to-online-store"): frozenset({Role.RECORDER}),
    ("POST", "/materialize"): frozenset({Role.RECORDER}),
    ("POST", "/materialize-incremental"): frozenset({Role.RECORDER}),
}
#: Answers without a token, and says nothing but that the server is up.
HEALTH = ("GET", "/health")
#: The only call of Feast's Flight server that is passed on. Scans leave no receipt, so they are made where the keys
#: are; a client's own data source would make the server open files and import code of the client's choice.
FETCH = "get_historical_features"
#: Fetches that were sent and not collected, at most; an older one has to be sent again.
MOST_WAITING = 64
#: Feast lets whoever knows its value pass without a token.
_BACK_DOOR = "INTRA_COMMUNICATION_BASE64"
_NO_TOKEN = "a valid token is needed"  # noqa: S105


@dataclass(frozen=True)
class Listening:
    """Where a server listens.

    Attributes:
        port: 0: any that is free.
        on_ready: called with the port.
    """

    host: str
    port: int
    certificate: Certificate
    on_ready: Callable[[int], None]


def _say_unforeseen(error: Exception) -> None:
    sys.stderr.write(f"assent: {told_without_text(error)}\n")


# ------------------------------------------------------------------------------------------- Flight


class _Doorman(flight.ServerMiddlewareFactory):
    """Lets nobody in without a token."""

    def __init__(self, home: Home) -> None:
        super().__init__()
        self._home = home

    def start_call(self, info: Any, headers: Mapping[str, list[str]]) -> _Known:
        given = [
            value for name, values in headers.items() if name.lower() == "authorization" for value in values
        ]
        try:
            found = self._home.tokens.find_bearer(given[0] if len(given) == 1 else None)
        except AssentError as error:
            raise flight.FlightUnavailableError(error.message) from None
        if found is None:
            raise flight.FlightUnauthenticatedError(_NO_TOKEN)
        if found.role is not Role.MODELER:
            raise flight.FlightUnauthorizedError(f"the role {found.role} may not fetch training sets")
        return _Known(found)


class _Known(flight.ServerMiddleware):
    """Who calls."""

    def __init__(self, token: Token) -> None:
        super().__init__()
        self.caller = f"token:{token.name}"


class ConsentFlightServer(OfflineServer):
    """Feast's offline server: historical fetches, for one purpose, by who has a modeler's token."""

    def __init__(self, home: Home, store: FeatureStore, location: str, **options: Any) -> None:
        self._home = home
        super().__init__(store, location, **options)

    def arrow_flight_auth_middleware(self, auth_type: Any) -> dict[str, flight.ServerMiddlewareFactory]:
        """Ours, whatever Feast's configuration says."""
        return {"auth": _Doorman(self._home)}

    def do_get(self, context: Any, ticket: Any) -> Any:
        """Hand out a fetch that was sent before."""
        with _known(context), _told():
            try:
                known = ast.literal_eval(ticket.ticket.decode()) in self.flights
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                known = False
            if not known:
                raise _gone()
            return super().do_get(context, ticket)

    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Where a fetch that was sent is collected."""
        with _known(context), _told():
            if self.descriptor_to_key(descriptor) not in self.flights:
                raise _gone()
            return super().get_flight_info(context, descriptor)

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> Any:
        """Take the entity rows of a fetch."""
        _require_fetch(descriptor)
        while len(self.flights) >= MOST_WAITING:
            self.flights.pop(next(iter(self.flights)), None)
        with _known(context), _told():
            return super().do_put(context, descriptor, reader, writer)

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> Any:
        """Take the entity rows of a fetch, and hand it out."""
        _require_fetch(descriptor)
        with _known(context), _told():
            return super().do_exchange(context, descriptor, reader, writer)

    def list_flights(self, context: Any, criteria: bytes) -> NoReturn:
        """Refused: what others are fetching is nobody's business."""
        raise flight.FlightUnauthorizedError("fetches are not listed")

    def do_action(self, context: Any, action: Any) -> NoReturn:
        """Refused: there is none."""
        raise flight.FlightUnauthorizedError("there are no actions")

    def list_actions(self, context: Any) -> list[Any]:
        """None."""
        return []


@contextmanager
def _known(context: Any) -> Iterator[None]:
    known = context.get_middleware("auth")
    if not isinstance(known, _Known):
        raise flight.FlightUnauthenticatedError(_NO_TOKEN)
    with calling_as(known.caller):
        yield


@contextmanager
def _told() -> Iterator[None]:
    """Errors without a stack of ours, and without the text of those that may quote a value."""
    try:
        yield
    except flight.FlightError:
        raise
    except AssentError as error:
        raise flight.FlightServerError(f"{error.message}. {error.remedy}") from None
    except Exception as error:
        _say_unforeseen(error)
        raise flight.FlightServerError(f"unforeseen {type(error).__name__}; its text is withheld") from None


def _gone() -> flight.FlightServerError:
    return flight.FlightServerError("there is no such fetch; send it again")


def _require_fetch(descriptor: Any) -> None:
    try:
        api = json.loads(descriptor.command)["api"]
    except (ValueError, TypeError, KeyError):
        raise flight.FlightServerError("this is no call of Feast's") from None
    if api != FETCH:
        raise flight.FlightUnauthorizedError(
            f"{str(api)[:60]} is not served: only historical fetches are; materialise and push over HTTP"
        )


def serve_offline(home: Home, purpose: str, listening: Listening) -> None:
    """Serve historical features for one purpose until the process is told to stop.

    Raises:
        Unavailable: the port cannot be had.
    """
    os.environ.pop(_BACK_DOOR, None)
    _silence(offline_server)
    store, cert = setup.open_store(home, purpose), listening.certificate
    pair = (cert.cert.read_bytes(), cert.key.read_bytes())
    location = f"grpc+tls://{listening.host}:{listening.port}"
    try:
        server = ConsentFlightServer(home, store, location, host=listening.host, tls_certificates=[pair])
    except (OSError, pa.ArrowException):
        raise _no_port() from None
    listening.on_ready(server.port)
    server.serve()


def _silence(module: Any) -> None:
    """Feast's servers log and print each error with its text, which may quote a value. `_told` and `_Door` do not."""
    module.logger.disabled = True
    module.traceback = SimpleNamespace(print_exc=lambda: None, format_exc=lambda: "")


def _no_port() -> Unavailable:
    return Unavailable("the server cannot listen there", remedy="Name another --host or --port.")


# ------------------------------------------------------------------------------------------- HTTP


def http_app(home: Home, purpose: str) -> App:
    """Feast's online feature server for one purpose, behind the table of paths."""
    from feast.feature_server import get_app

    os.environ.pop(_BACK_DOOR, None)
    return _Door(home, get_app(setup.open_store(home, purpose)))


class _Door:
    """Passes on what the table lets through, in the caller's name."""

    def __init__(self, home: Home, app: App) -> None:
        self._home = home
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        asked = (scope["method"], scope["path"])
        if asked == HEALTH:
            return await self._app(scope, receive, send)
        try:
            token = self._home.tokens.find_bearer(_authorization(scope))
        except AssentError as error:
            return await _answer(send, 503, error.message)
        if token is None:
            return await _answer(send, 401, _NO_TOKEN)
        if token.role not in PATHS.get(asked, ()):
            return await _answer(send, 403, f"the role {token.role} may not do this here")
        with calling_as(f"token:{token.name}"):
            try:
                await self._app(scope, receive, send)
            except AssentError:
                pass  # Feast has answered with its message, and raises it once more for the log
            except Exception as error:
                _say_unforeseen(error)


def _authorization(scope: Scope) -> str | None:
    found = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
    return found[0].decode("latin-1") if len(found) == 1 else None


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"title": "refused", "status": status, "detail": detail}).encode()
    headers = [(b"content-type", b"application/problem+json")]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve_online(home: Home, purpose: str, listening: Listening) -> None:
    """Serve online features for one purpose until the process is told to stop.

    Raises:
        Unavailable: the port cannot be had.
    """
    import socket

    import uvicorn
    from feast import feature_server

    config = uvicorn.Config(
        http_app(home, purpose),
        ssl_certfile=str(listening.certificate.cert),
        ssl_keyfile=str(listening.certificate.key),
        log_level="warning",
        access_log=False,
        server_header=False,
    )
    _silence(feature_server)  # now, because the configuration has enabled every logger anew
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    try:
        bound = socket.create_server((listening.host, listening.port), family=family)
    except OSError:
        raise _no_port() from None
    with bound:
        listening.on_ready(bound.getsockname()[1])
        uvicorn.Server(config).run(sockets=[bound])


# ------------------------------------------------------------------------------------------- clients

_CLIENT = """\
# Plain Feast, without keys: features are read through the servers of {purpose}.
# The token is read from the environment: export ASSENT_TOKEN=...
# Where this directory is moved to another place, `cert` says where the certificate lies.
project: assent
provider: local
registry: registry.pb
entity_key_serialization_version: 3
offline_store:
  type: remote
  scheme: https
  host: {host}
  port: {offline_port}
  cert: {cert}
online_store:
  type: remote
  path: https://{host}:{online_port}
  cert: {cert}
auth:
  type: oidc
  token_env_var: ASSENT_TOKEN
"""


def write_client(
    home: Home, purpose: str, out: Path, *, host: str, ports: tuple[int, int], cert: Path
) -> None:
    """Write what a modeler needs: a configuration, the definitions, and the certificate to trust.

    Args:
        out: a directory; what an earlier call wrote there is written anew.
        ports: of the offline and of the online server.
    """
    out.mkdir(parents=True, exist_ok=True)
    trusted = out.absolute() / "server.pem"
    text = _CLIENT.format(
        purpose=purpose,
        host=host,
        offline_port=ports[0],
        online_port=ports[1],
        cert=json.dumps(str(trusted), ensure_ascii=False),
    )
    out.joinpath("feature_store.yaml").write_text(text, encoding="utf-8")
    trusted.write_bytes(cert.read_bytes())
    out.joinpath("registry.pb").write_bytes(home.path("feast", "registry.pb").read_bytes())
