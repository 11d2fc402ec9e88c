"""The audit: replay every entry and compare with everything that was stored and signed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from consent import merkle
from consent.encoding import RECORD_COLUMNS, commitment, entry
from consent.errors import EvidenceError
from consent.notes import Verifier, parse_checkpoint, verify_note
from consent.schema import SELECT


@dataclass(frozen=True)
class Finding:
    """Something the audit found wrong. ``leaf_index`` is None where no single entry is to blame."""

    what: str
    leaf_index: int | None = None


@dataclass(frozen=True)
class AuditReport:
    """What a full replay of the ledger found.

    Attributes:
        entries: entries replayed.
        checkpoints: signed checkpoints compared with the replayed tree.
        root: root of the replayed tree; of an empty one where entries are missing.
        findings: empty when everything fits; else the first finding comes first in ledger order.
    """

    entries: int
    checkpoints: int
    root: bytes
    findings: tuple[Finding, ...]


def replay(connection: sa.Connection, verifier: Verifier, on_progress: Callable[[int], None]) -> AuditReport:
    """Replay the whole ledger.

    Args:
        verifier: of the key that signs the ledger's checkpoints.
        on_progress: called with the number of entries replayed so far.
    """
    rebuilt = _Replay(verifier, connection)
    result = connection.exec_driver_sql(SELECT + " ORDER BY leaf_index")
    while rows := result.fetchmany(10_000):
        for row in rows:
            rebuilt.feed(row)
        on_progress(rebuilt.size)
    return rebuilt.report()


def require_evidence(report: AuditReport) -> None:
    """Raise unless the audit found nothing.

    Raises:
        EvidenceError: names the first bad position.
    """
    if report.findings:
        first = report.findings[0]
        where = "" if first.leaf_index is None else f" at entry {first.leaf_index}"
        raise EvidenceError(
            f"the ledger does not verify{where}: {first.what} ({len(report.findings)} findings)",
            remedy="Keep the file as it is; compare it with a checkpoint and a copy held elsewhere.",
        )


class _Replay:
    """Rebuilds the tree entry by entry and compares it with everything that was stored."""

    def __init__(self, verifier: Verifier, connection: sa.Connection) -> None:
        self.size = 0
        self._verifier = verifier
        self._stack: list[tuple[int, bytes]] = []  # (height, root) of the perfect subtrees so far
        self._last_recorded = 0
        self._findings: list[Finding] = []
        self._checkpoints = {
            row[0]: (_blob(row[1]), _blob(row[2]))
            for row in connection.exec_driver_sql("SELECT tree_size, root, note FROM checkpoint")
        }
        self._compared = 0
        self._signed_size = 0
        self._tiles = {
            (row[0], row[1]): _blob(row[2])
            for row in connection.exec_driver_sql("SELECT level, tile_index, hash FROM merkle_tile")
        }
        self._torn = False  # entries are missing, so the tree above them cannot be rebuilt

    def feed(self, row: sa.Row[Any]) -> None:
        """Take the next row of the ledger in order."""
        if row.leaf_index != self.size:
            self._find(f"expected entry {self.size}, got {row.leaf_index}: entries are missing", self.size)
            self.size, self._torn = row.leaf_index, True
        leaf_index, *values, nonce, committed = tuple(row)
        record = dict(zip(RECORD_COLUMNS, values, strict=True))
        try:
            sound = commitment(record, _blob(nonce)) == committed
            leaf = merkle.leaf_hash(entry(record["recorded_at"], _blob(committed)))
        except (TypeError, ValueError, AttributeError, OverflowError):  # no text, or no instant
            sound, leaf = False, merkle.EMPTY_ROOT
        if not sound:
            self._find("the entry's content does not match its commitment", leaf_index)
        elif record["recorded_at"] < self._last_recorded:
            self._find("recorded_at goes back", leaf_index)
        else:
            self._last_recorded = record["recorded_at"]
        self._push(leaf)
        self._compare_checkpoint()

    def _push(self, node: bytes) -> None:
        if self._torn:
            self.size += 1
            return
        height, index = 0, self.size
        while index & 1:
            _, left = self._stack.pop()
            node, height, index = merkle.node_hash(left, node), height + 1, index >> 1
            if height % 8 == 0:
                self._compare_tile(height // 8, index, node)
        self._stack.append((height, node))
        self.size += 1

    def _compare_tile(self, level: int, index: int, node: bytes) -> None:
        stored = self._tiles.pop((level, index), None)
        if stored != node:
            self._find(
                f"stored tile {level}/{index} does not match the entries below it", (index << 8 * level)
            )

    def _root(self) -> bytes:
        if not self._stack or self._torn:
            return merkle.EMPTY_ROOT
        root = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            root = merkle.node_hash(left, root)
        return root

    def _compare_checkpoint(self) -> None:
        stored = self._checkpoints.pop(self.size, None)
        if stored is None or self._torn:
            return
        self._compared += 1
        self._signed_size = self.size
        root, note = stored
        try:
            signed = parse_checkpoint(verify_note(note, [self._verifier]))
        except EvidenceError as error:
            self._find(f"checkpoint {self.size}: {error.message}", self.size - 1)
            return
        if (signed.tree_size, signed.root, signed.origin) != (self.size, self._root(), self._verifier.name):
            self._find(f"checkpoint {self.size} signs another tree than the entries give", self.size - 1)
        if signed.root != root:
            self._find(f"checkpoint {self.size}: stored root and signed root differ", self.size - 1)

    def _find(self, what: str, leaf_index: int | None) -> None:
        self._findings.append(Finding(what, leaf_index))

    def report(self) -> AuditReport:
        """What was found; call it after the last row."""
        beyond = sorted(size for size in self._checkpoints if size > self.size)
        if beyond:
            self._find(
                f"the log signed {beyond[-1]} entries but holds {self.size}: entries are missing", self.size
            )
        if self._tiles and not self._torn:
            self._find(f"{len(self._tiles)} stored tiles cover entries that do not exist", None)
        if not beyond and not self._torn and self._signed_size < self.size:
            self._find("no checkpoint signs the entries from here on", self._signed_size)
        return AuditReport(self.size, self._compared, self._root(), tuple(self._findings))


def _blob(value: object) -> bytes:
    """The bytes; none where somebody stored another type, so that comparing fails instead of reading."""
    return value if isinstance(value, bytes) else b""
