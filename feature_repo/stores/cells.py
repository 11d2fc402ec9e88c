"""How a feature value lies in the online store: keyed by a token, sealed, and bound to where and when it belongs.

A cell is the event time (8 bytes, microseconds since 1970 UTC, big endian), the version of the subject's data key (4
bytes) and the value, sealed under that key: a value dies with its owner's key, in every copy of the store. The event
time is needed before the seal is opened and is bound into it. Values are padded to 16 bytes, so that a cell's length
does not tell a null from a number, or a small one from a large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from consent.datakeys import DataKey, Versions
from consent.errors import EvidenceError
from consent.home import Home
from consent.sealing import bind, seal_many, token, unseal

_TIME_BYTES = 8
_VERSION_BYTES = 4
_HEAD_BYTES = _TIME_BYTES + _VERSION_BYTES
_LENGTH_BYTES = 4
_BLOCK = 16
_DOMAIN = b"assent-online/2"


@dataclass(frozen=True)
class Cells:
    """Seals and opens the cells of one view.

    Attributes:
        view: name of the feature view.
    """

    project: str
    view: str
    token_key: bytes

    @classmethod
    def of_view(cls, home: Home, project: str, view: str) -> Cells:
        """With the home's key for tokens."""
        return cls(project, view, home.keyring.secret("online"))

    def token(self, subject_key: str) -> bytes:
        """What stands for the subject in this view, and in no other. 32 bytes."""
        return token(self.token_key, _DOMAIN, self.project.encode(), self.view.encode(), subject_key.encode())

    def seal(self, owner: bytes, key: DataKey, values: Mapping[str, Any], event_us: int) -> dict[str, Any]:
        """Feature -> cell, for the values of one subject at one time.

        Args:
            owner: the subject's token.
            key: the subject's data key for the view's source.
        """
        head = event_us.to_bytes(_TIME_BYTES, "big", signed=True) + key.version.to_bytes(
            _VERSION_BYTES, "big"
        )
        sealed = seal_many(
            [key.key] * len(values),
            [_pad(value.SerializeToString()) for value in values.values()],
            [self._bound(owner, feature, head) for feature in values],
        )
        return {
            feature: ValueProto(bytes_val=head + cell) for feature, cell in zip(values, sealed, strict=True)
        }

    def open(
        self, owner: bytes, versions: Versions, cells: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]] | None:
        """Event time of the oldest cell in microseconds, and feature -> value; None where the key was destroyed.

        Raises:
            EvidenceError: a cell was changed or moved.
        """
        times, values = [], {}
        for feature, cell in cells.items():
            head, sealed = cell.bytes_val[:_HEAD_BYTES], cell.bytes_val[_HEAD_BYTES:]
            key = versions.opens(int.from_bytes(head[_TIME_BYTES:], "big"))
            if key is None:
                return None
            opened = ValueProto()
            opened.ParseFromString(_unpad(unseal(key, sealed, self._bound(owner, feature, head))))
            times.append(int.from_bytes(head[:_TIME_BYTES], "big", signed=True))
            values[feature] = opened
        return min(times), values

    def _bound(self, owner: bytes, feature: str, head: bytes) -> bytes:
        return bind(_DOMAIN, self.project.encode(), self.view.encode(), feature.encode(), owner, head)


def _pad(value: bytes) -> bytes:
    body = len(value).to_bytes(_LENGTH_BYTES, "big") + value
    return body + bytes(-len(body) % _BLOCK)


def _unpad(padded: bytes) -> bytes:
    end = _LENGTH_BYTES + int.from_bytes(padded[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES <= end <= len(padded):
        raise EvidenceError("a sealed value has a wrong length", remedy="Materialise the view again.")
    return padded[_LENGTH_BYTES:end]
