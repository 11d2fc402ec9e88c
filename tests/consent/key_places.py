"""Where epoch keys are kept in the tests, and what the tests of the key services share."""

from __future__ import annotations

import base64
import json
import os
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from consent.epochs import Epochs
from consent.errors import AssentError
from consent.files import short_name
from consent.key_service import ServiceSettings, open_key_service
from tests.consent.consent_samples import Clock

if TYPE_CHECKING:
    from tests.vault_server import VaultServer

ORIGIN, OTHER = "assent/test", "assent/other"
NAME = f"assent-{short_name(ORIGIN)}"
DOCS = (Path(__file__).parents[2] / "docs" / "keys.md").read_text(encoding="utf-8")
KEY, AAD = bytes(range(32)), b"bound to"
AWS_SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


class Place:
    """Where epoch keys are kept, for one test.

    Attributes:
        settings: of the key service; None: none.
        ring: the keyring.
    """

    def __init__(self, ring: Path, settings: ServiceSettings | None, server: Any = None) -> None:
        self.ring = ring
        self.settings = settings
        self.server = server

    @property
    def kind(self) -> str:
        return self.settings.kind if self.settings else "local"

    def epochs(self, origin: str = ORIGIN) -> Epochs:
        return Epochs(self.ring, origin, self.settings, clock=Clock())

    def file(self, epoch: int, origin: str = ORIGIN) -> Path:
        suffix = "json" if self.settings else "key"
        return self.ring / f"epoch-{short_name(origin)}-{epoch:06d}.{suffix}"

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.ring.iterdir()}

    def edit(self, epoch: int, /, **changes: object) -> None:
        document = json.loads(self.file(epoch).read_bytes())
        self.file(epoch).write_text(json.dumps(document | changes))

    def service(self) -> Any:
        assert self.settings is not None
        return open_key_service(self.settings)

    @contextmanager
    def down(self) -> Iterator[None]:
        self.server.stop()
        try:
            yield
        finally:
            self.server.start()


def facts(bao: VaultServer, name: str = NAME) -> dict[str, Any]:
    data: dict[str, Any] = bao.root.secrets.transit.read_key(name=f"lender-{name}")["data"]
    return data


def make(place: Place, *numbers: int) -> None:
    for epoch in numbers:
        place.epochs().ensure(epoch)


def restore(place: Place, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (place.ring / name).write_bytes(content)


def forget(bao: VaultServer) -> None:
    name = f"lender-{NAME}"
    bao.root.secrets.transit.update_key_configuration(name=name, deletion_allowed=True)
    bao.root.secrets.transit.delete_key(name=name)


def spellings(key: bytes) -> list[bytes]:
    return [key, key.hex().encode(), base64.b64encode(key), base64.urlsafe_b64encode(key), repr(key).encode()]


def credentials() -> list[bytes]:
    return [AWS_SECRET.encode(), os.environ.get("VAULT_TOKEN", AWS_SECRET).encode()]


def refusal(attempt: Callable[[int], object], epoch: int) -> str:
    """All that a person or a log could see of a refusal."""
    with pytest.raises(AssentError) as caught:
        attempt(epoch)
    error_ = caught.value
    return "".join([*traceback.format_exception(error_), str(error_), repr(error_), error_.remedy])


@contextmanager
def silent_server() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@contextmanager
def scripted_server(status: int, body: str) -> Iterator[int]:
    """Says one thing to whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
