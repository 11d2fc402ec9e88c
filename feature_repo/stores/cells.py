"""How a person's values of one view lie in the online store: keyed by a token, sealed as one, and bound.

A cell is the event time (8 bytes, microseconds since 1970 UTC, big endian), the version of the subject's data key (4
bytes) and the values, sealed under that key: they die with their owner's key, in every copy of the store. The event
time is needed before the seal is opened and is bound into it. One seal for all, because they come and go together:
Feast writes whole rows, and a request asks for most of them. Each value counts as full 16 bytes of what is sealed, so
that a cell's length does not tell a null from a number, or a small one from a large.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from feast.protos.feast.types.Value_pb2 import Map
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from consent.datakeys import DataKey, Versions
from consent.errors import EvidenceError
from consent.home import Home
from consent.sealing import bind, seal, token, unseal

_TIME_BYTES = 8
_VERSION_BYTES = 4
_HEAD_BYTES = _TIME_BYTES + _VERSION_BYTES
_LENGTH_BYTES = 4
_BLOCK = 16
#: More than what names and lengths around a value take.
_ENTRY_BYTES = 16
_DOMAIN = b"assent-online/3"
#: What Feast's stores take for the one feature of a view.
ROW = "row"


@dataclass(frozen=True)
class Cells:
    """Seals and opens the cells of one view, one for each person.

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
        """`ROW` -> the cell, for the values of one subject at one time.

        Args:
            owner: the subject's token.
            key: the subject's data key for the view's source.
        """
        head = event_us.to_bytes(_TIME_BYTES, "big", signed=True) + key.version.to_bytes(
            _VERSION_BYTES, "big"
        )
        return {ROW: ValueProto(bytes_val=head + seal(key.key, _packed(values), self._bound(owner, head)))}

    def open(
        self, owner: bytes, versions: Versions, cells: Mapping[str, Any]
    ) -> tuple[int, dict[str, Any]] | None:
        """Event time in microseconds, and feature -> value; None without a cell, or where its key was destroyed.

        Raises:
            EvidenceError: the cell was changed or moved.
        """
        cell = cells[ROW].bytes_val if ROW in cells else b""
        head, sealed = cell[:_HEAD_BYTES], cell[_HEAD_BYTES:]
        key = versions.opens(int.from_bytes(head[_TIME_BYTES:], "big")) if cell else None
        if key is None:
            return None
        values = _unpacked(unseal(key, sealed, self._bound(owner, head)))
        return int.from_bytes(head[:_TIME_BYTES], "big", signed=True), values

    def _bound(self, owner: bytes, head: bytes) -> bytes:
        return bind(_DOMAIN, self.project.encode(), self.view.encode(), owner, head)


def _packed(values: Mapping[str, Any]) -> bytes:
    """Length, the values as Feast's own map of them, and zeros."""
    packed = ValueProto(map_val=Map(val=values)).SerializeToString()
    full = sum(
        _ENTRY_BYTES + len(name.encode()) + _blocks(value.ByteSize()) for name, value in values.items()
    )
    return (len(packed).to_bytes(_LENGTH_BYTES, "big") + packed).ljust(
        _LENGTH_BYTES + _ENTRY_BYTES + full, b"\0"
    )


def _blocks(size: int) -> int:
    """Bytes that stand for a value of this size: full blocks, with room for its length."""
    return -(-(size + _LENGTH_BYTES) // _BLOCK) * _BLOCK


def _unpacked(padded: bytes) -> dict[str, Any]:
    end = _LENGTH_BYTES + int.from_bytes(padded[:_LENGTH_BYTES], "big")
    if not _LENGTH_BYTES <= end <= len(padded):
        raise EvidenceError("sealed values have a wrong length", remedy="Materialise the view again.")
    opened = ValueProto()
    opened.ParseFromString(padded[_LENGTH_BYTES:end])
    return dict(opened.map_val.val)
