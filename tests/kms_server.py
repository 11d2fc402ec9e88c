"""AWS KMS for the tests: moto's, behind a socket of its own, held to what the KMS API documents where moto is lax."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.awsrequest import AWSPreparedRequest
from botocore.compat import HTTPHeaders
from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.botocore_stubber import BotocoreStubber

REGION = "ap-south-1"
_ADDRESS = f"https://kms.{REGION}.amazonaws.com/"
#: Refused for a key that is disabled or whose deletion is scheduled. Source: KMS guide, Key states of KMS keys.
_NEEDS_USABLE_KEY = {"Encrypt", "Decrypt", "ScheduleKeyDeletion", "CreateAlias", "UpdateAlias"}
#: Source: KMS API, Decrypt, CiphertextBlob.
_MAX_BLOB_BYTES = 6144

Answer = tuple[int, str]


def error(code: str, status: int = 400) -> Answer:
    """An answer that refuses, with a text that must never be quoted."""
    return status, json.dumps({"__type": code, "message": "quoted by KMS: AKIASECRET"})


class KmsServer:
    """A KMS that can be stopped and started, and told what to answer.

    Attributes:
        script: answers to give before any of its own.
        actions: what was asked of it.
    """

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.actions: list[str] = []
        self._server = self._listen(0)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        """End it; its keys are still there when it is started again."""
        self._server.shutdown()
        self._server.server_close()

    def start(self) -> None:
        """Listen again, at the same address."""
        self._server = self._listen(self._server.server_port)

    def reset(self) -> None:
        """An account without keys."""
        get_backend("kms").reset()
        self.script.clear()
        self.actions.clear()

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of the account, by id."""
        keys: dict[str, Any] = get_backend("kms")[DEFAULT_ACCOUNT_ID][REGION].keys
        return keys

    def answer(self, headers: HTTPHeaders, body: bytes) -> Answer:
        """What KMS says to one request."""
        action, asked = headers["X-Amz-Target"].rpartition(".")[2], json.loads(body)
        self.actions.append(action)
        if self.script:
            return self.script.pop(0)
        return self._strict(action, asked) or self._moto(action, asked, headers, body)

    def _strict(self, action: str, asked: dict[str, Any]) -> Answer | None:
        if action == "Decrypt" and not 0 < len(base64.b64decode(asked["CiphertextBlob"])) <= _MAX_BLOB_BYTES:
            return error("ValidationException")
        key = self.keys.get(asked.get("TargetKeyId", asked.get("KeyId", "")))
        if key is None or action not in _NEEDS_USABLE_KEY or key.key_state == "Enabled":
            return None
        if key.key_state == "Disabled":
            return None if action == "ScheduleKeyDeletion" else error("DisabledException")
        return error("KMSInvalidStateException")

    def _moto(self, action: str, asked: dict[str, Any], headers: HTTPHeaders, body: bytes) -> Answer:
        request = AWSPreparedRequest("POST", _ADDRESS, headers, body, stream_output=False)
        answered = BotocoreStubber().process_request(request)
        assert answered is not None
        status, _, text = answered
        if (
            action == "Decrypt"
            and status == 400
            and "AccessDenied" in str(text)
            and asked["KeyId"] in self.keys
        ):
            return error("IncorrectKeyException")  # moto says AccessDeniedException, the KMS API this
        return status, text if isinstance(text, str) else text.decode()

    def _listen(self, port: int) -> ThreadingHTTPServer:
        kms = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = HTTPHeaders()
                for name, value in self.headers.items():
                    headers[name] = value
                status, text = kms.answer(headers, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(status)
                self.send_header("Content-Type", "application/x-amz-json-1.1")
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server


@contextmanager
def kms_server() -> Iterator[KmsServer]:
    """A KMS that ends with the context."""
    server = KmsServer()
    try:
        yield server
    finally:
        server.stop()
