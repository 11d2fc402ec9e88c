"""The Feast registry with a MAC: it holds code (pickled functions) and policy (purposes, consent sources).

The file is the registry's protobuf message, followed by the MAC as one more field of that message, which other
readers of protobuf skip. The newest MAC is noted beside the keys, out of reach of the home's backups: an older
registry of the same home, with the policy of then, is refused like a foreign one.

Source: RFC 2104 (HMAC); Protocol Buffers encoding, "Message structure" (unknown fields).
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feast.infra.registry.file import FileRegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto

from consent.clock import now_utc
from consent.errors import EvidenceError
from consent.files import short_name, write_atomically
from consent.sealing import require_token, token
from feature_repo.stores.config import open_home, require_absolute

_MAC_BYTES = 32
#: Field 16000, length-delimited, 32 bytes: no field of Feast's message has that number.
_MAC_FIELD = b"\x82\xe8\x07" + bytes([_MAC_BYTES])
_DOMAIN = b"assent-feast-registry/1"
_REMEDY = (
    "Bring back the newest copy; or remove it, run `assent init` and register anew what was added to it."
)


class SignedRegistryStore(FileRegistryStore):
    """Reads only what a holder of the home's keys wrote.

    Wants ``home`` (and ``keys``, where they do not lie beside it) in the registry's section of the yaml.
    """

    def __init__(self, registry_config: Any, repo_path: Path) -> None:
        super().__init__(registry_config, repo_path)
        root = require_absolute(getattr(registry_config, "home", None))
        home = open_home(root, getattr(registry_config, "keys", None))
        self._key = home.keyring.secret("registry")
        # A copied home is another place and the same home; two registries of one home are two.
        named = f"{home.settings.origin} {os.path.relpath(self._filepath, home.root)}"
        self._newest = home.keyring.path / f"registry-{short_name(named)}"

    def get_registry_proto(self) -> Any:
        """The registry, once its MAC is verified; nothing in it has been unpickled by then.

        Raises:
            EvidenceError: it was changed, is not signed, is an older copy, or belongs to another home.
            FileNotFoundError: there is none yet; Feast then makes an empty one.
        """
        if not self._filepath.exists():  # before the lock, which would lie in a directory that is not there
            raise FileNotFoundError("there is no Feast registry yet")
        with self._locked(fcntl.LOCK_SH):
            raw = self._filepath.read_bytes()
            newest = self._read_newest()
        body, field, mac = raw[: -_MAC_BYTES - 4], raw[-_MAC_BYTES - 4 : -_MAC_BYTES], raw[-_MAC_BYTES:]
        if field != _MAC_FIELD:
            raise EvidenceError("the Feast registry is not signed", remedy="Remove it and run `assent init`.")
        require_token(self._mac(body), mac, "the Feast registry")
        if mac not in newest:
            raise EvidenceError(
                "the Feast registry is not the one that was written last: it is an older copy", remedy=_REMEDY
            )
        registry = RegistryProto()
        registry.ParseFromString(body)
        return registry

    def update_registry_proto(self, registry_proto: Any) -> None:
        """Sign and replace the registry in one step."""
        # Feast's caches of lists are keyed by the version: without a new one they would hide the change.
        registry_proto.version_id = str(uuid.uuid4())
        registry_proto.last_updated.FromDatetime(now_utc())
        body = registry_proto.SerializeToString()
        mac = self._mac(body)
        self._filepath.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locked(fcntl.LOCK_EX):
            before = self._read_newest()
            there = self._filepath.read_bytes()[-_MAC_BYTES:] if self._filepath.exists() else b""
            # Either, should this be interrupted.
            self._write_newest(there if there in before else before[0], mac)
            write_atomically(self._filepath, body + _MAC_FIELD + mac)
            self._write_newest(mac, mac)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        with self._filepath.with_name(self._filepath.name + ".lock").open("a") as lock:
            fcntl.flock(lock, how)
            yield

    def _read_newest(self) -> tuple[bytes, bytes]:
        """The MACs of which the registry has one: two, where writing it was interrupted."""
        try:
            noted = self._newest.read_bytes()
        except FileNotFoundError:
            noted = bytes(2 * _MAC_BYTES)  # no registry has this MAC
        return noted[:_MAC_BYTES], noted[_MAC_BYTES:]

    def _write_newest(self, before: bytes, mac: bytes) -> None:
        """In place: a file that comes and goes would be in the way of whoever looks through the keyring."""
        descriptor = os.open(self._newest, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, before + mac, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _mac(self, body: bytes) -> bytes:
        return token(self._key, _DOMAIN, body)
