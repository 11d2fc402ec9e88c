"""How a feature value lies in the online store: keyed by a token, sealed, and bound to where and when it belongs.

A cell is the event time (8 bytes, microseconds since 1970 UTC, big endian) and the sealed value. The event time is
needed before the seal is opened and is bound into it. Values are padded to 16 bytes, so that a cell's length does
not tell a null from a number, or a small one from a large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from consent.errors import EvidenceError
from consent.home import Home
from consent.sealing import bind, seal_many, token, unseal

_TIME_BYTES = 8
_LENGTH_BYTES = 4
_BLOCK = 16
_DOMAIN = b"assent-online/1"


@dataclass(frozen=True)
class Cells:
    """Seals and opens the cells of one view.

    Attributes:
        view: name of the feature view.
    """

    project: str
    view: str
    token_key: bytes
    value_key: bytes

    @classmethod
    def of_view(cls, home: Home, project: str, view: str) -> Cells:
        """With the home's keys for the online store."""
        return cls(project, view, home.keyring.secret("online"), home.keyring.secret("online-values"))

    def token(self, subject_key: str) -> bytes:
        """What stands for the subject in this view, and in no other. 32 bytes."""
        return token(self.token_key, _DOMAIN, self.project.encode(), self.view.encode(), subject_key.encode())

    def seal(self, owner: bytes, values: Mapping[str, Any], event_us: int) -> dict[str, Any]:
        """Feature -> cell, for the values of one subject (`owner` is its token) at one time."""
        time = event_us.to_bytes(_TIME_BYTES, "big", signed=True)
        sealed = seal_many(
            [self.value_key] * len(values),
            [_pad(value.SerializeToString()) for value in values.values()],
            [self._bound(owner, feature, time) for feature in values],
        )
        return {
            feature: ValueProto(bytes_val=time + cell) for feature, cell in zip(values, sealed, strict=True)
        }

    def open(self, owner: bytes, cells: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Event time of the oldest cell in microseconds, and feature -> value.

        Raises:
            EvidenceError: a cell was changed or moved.
        """
        times, values = [], {}
        for feature, cell in cells.items():
            time, sealed = cell.bytes_val[:_TIME_BYTES], cell.bytes_val[_TIME_BYTES:]
            opened = ValueProto()
            opened.ParseFromString(_unpad(unseal(self.value_key, sealed, self._bound(owner, feature, time))))
            times.append(int.from_bytes(time, "big", signed=True))
            values[feature] = opened
        return min(times), values

    def _bound(self, owner: bytes, feature: str, time: bytes) -> bytes:
        return bind(_DOMAIN, self.project.encode(), self.view.encode(), feature.encode(), owner, time)


def _pad(value: bytes) -> bytes:
    body = len(value).to_bytes(_LENGTH_BYTES, "big") + value
    return body + bytes(-len(body) % _BLOCK)


def _unpad(padded: bytes) -> bytes:
    end = _LENGTH_BYTES + int.from_bytes(padded[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES <= end <= len(padded):
        raise EvidenceError("a sealed value has a wrong length", remedy="Materialise the view again.")
    return padded[_LENGTH_BYTES:end]
