"""The Feast registry with a MAC: it holds code (pickled functions) and policy (purposes, consent sources).

The file is the registry's protobuf message, followed by the MAC as one more field of that message, which other
readers of protobuf skip. It cannot tell an older registry of the same home from the current one.

Source: RFC 2104 (HMAC); Protocol Buffers encoding, "Message structure" (unknown fields).
"""

from __future__ import annotations

import fcntl
import uuid
from pathlib import Path
from typing import Any

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto

from consent.clock import now_utc
from consent.errors import EvidenceError
from consent.files import write_atomically
from consent.sealing import require_token, token
from feature_repo.stores.config import open_home, require_absolute

_MAC_BYTES = 32
#: Field 16000, length-delimited, 32 bytes: no field of Feast's message has that number.
_MAC_FIELD = b"\x82\xe8\x07" + bytes([_MAC_BYTES])
_DOMAIN = b"assent-feast-registry/1"


class SignedRegistryStore(FileRegistryStore):
    """Reads only what a holder of the home's keys wrote.

    Wants ``home`` (and ``keys``, where they do not lie beside it) in the registry's section of the yaml.
    """

    def __init__(self, registry_config: Any, repo_path: Path) -> None:
        super().__init__(registry_config, repo_path)
        home = require_absolute(getattr(registry_config, "home", None))
        keyring = open_home(home, getattr(registry_config, "keys", None)).keyring
        self._key = keyring.secret("registry")

    def get_registry_proto(self) -> Any:
        """The registry, once its MAC is verified; nothing in it has been unpickled by then.

        Raises:
            EvidenceError: it was changed, is not signed, or belongs to another home.
            FileNotFoundError: there is none yet; Feast then makes an empty one.
        """
        raw = self._filepath.read_bytes()
        body, field, mac = raw[: -_MAC_BYTES - 4], raw[-_MAC_BYTES - 4 : -_MAC_BYTES], raw[-_MAC_BYTES:]
        if field != _MAC_FIELD:
            raise EvidenceError("the Feast registry is not signed", remedy="Remove it and run `assent init`.")
        require_token(self._mac(body), mac, "the Feast registry")
        registry = RegistryProto()
        registry.ParseFromString(body)
        return registry

    def update_registry_proto(self, registry_proto: Any) -> None:
        """Sign and replace the registry in one step."""
        # Feast's caches of lists are keyed by the version: without a new one they would hide the change.
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(now_utc())
        body = registry_proto.SerializeToString()
        self._filepath.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._filepath.with_name(self._filepath.name + ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            write_atomically(self._filepath, body + _MAC_FIELD + self._mac(body))

    def _mac(self, body: bytes) -> bytes:
        return token(self._key, _DOMAIN, body)
