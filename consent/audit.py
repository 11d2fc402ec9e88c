"""The audit: replay every entry and compare with everything that was stored and signed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from consent.blanking import format_blanks
from consent.checkpoints import read_keys
from consent.clock import CLOCK_SKEW, MICROSECOND, micros
from consent.database import run, stream
from consent.encoding import RECORD_COLUMNS, SORTED_COLUMNS, commit_values
from consent.errors import EvidenceError
from consent.evidence import merkle
from consent.evidence.cosignatures import WitnessVerifier
from consent.evidence.handover import LogKeys
from consent.evidence.notes import Checkpoint, Verifier
from consent.evidence.trust import Pinned, Trust
from consent.head import HeadKey, read_head
from consent.schema import BLANKED_COLUMNS, EVENT_COLUMNS, SELECT

_in_order = itemgetter(*(1 + RECORD_COLUMNS.index(name) for name in SORTED_COLUMNS))
_KIND, _RECORDED_AT = 1 + RECORD_COLUMNS.index("kind"), 1 + RECORD_COLUMNS.index("recorded_at")
_BLANKS = 1 + RECORD_COLUMNS.index("blanks")
_NOWHERE = 2**62
#: Few enough rows to stay in the processor's cache until they are hashed: a fifth cheaper than 10,000.
_AT_A_TIME = 300
#: What an erasure empties.
_contents = itemgetter(*(EVENT_COLUMNS.index(name) for name in BLANKED_COLUMNS))


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
        blanked: entries whose content a logged erasure took.
        cosigned: checkpoints cosigned by the witnesses that were named.
    """

    entries: int
    checkpoints: int
    root: bytes
    findings: tuple[Finding, ...]
    blanked: int = 0
    cosigned: int = 0


def replay(
    connection: sa.Connection,
    held: Verifier,
    head_key: HeadKey,
    anchored: Checkpoint | None,
    witnesses: Sequence[WitnessVerifier],
    on_progress: Callable[[int], None],
) -> AuditReport:
    """Replay the whole ledger.

    Args:
        held: the oldest key that signs the ledger's checkpoints.
        head_key: seals the head.
        anchored: what the anchor said before the reading began; None: there is no anchor.
        witnesses: whose cosignatures bound the times of recording.
        on_progress: called with the number of entries replayed so far.
    """
    rebuilt = _Replay(connection, _read_keys(connection, held), witnesses, anchored)
    for rows in stream(connection, "the consent ledger", SELECT + " ORDER BY leaf_index", rows=_AT_A_TIME):
        rebuilt.feed(rows)
        on_progress(rebuilt.size)
    rebuilt.compare_head(read_head(connection), head_key)
    return rebuilt.report()


def _read_keys(connection: sa.Connection, held: Verifier) -> LogKeys | EvidenceError:
    try:
        return read_keys(connection, held)
    except EvidenceError as error:
        return error


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

    def __init__(
        self,
        connection: sa.Connection,
        keys: LogKeys | EvidenceError,
        witnesses: Sequence[WitnessVerifier],
        anchored: Checkpoint | None,
    ) -> None:
        self.size = 0
        self._frontier = merkle.Frontier()
        self._last_recorded = 0
        self._findings: list[tuple[int, Finding]] = []
        self._pins = _Pins(keys, connection, witnesses, anchored)
        if isinstance(keys, EvidenceError):
            self._find(f"a key handover is wrong: {keys.message}", None)
        self._tiles = {
            (row[0], row[1]): _blob(row[2])
            for row in run(connection, "SELECT level, tile_index, hash FROM merkle_tile")
        }
        self._erased_by = dict(run(connection, "SELECT leaf_index, erased_by FROM blanked"))
        self._blanked: set[int] = set()
        self._erasures: dict[int, str] = {}
        self._torn = False  # entries are missing, so the tree above them cannot be rebuilt

    def feed(self, rows: Sequence[Any]) -> None:
        """Take the rows of the ledger that follow."""
        leaves: list[bytes] = []
        for row in rows:
            if row[0] != self.size:
                self._find(f"expected entry {self.size}, got {row[0]}: entries are missing", self.size)
                self._grow(leaves)
                self.size, self._torn, leaves = row[0], True, []
            leaves.append(self._leaf(row))
            self.size += 1
            if self.size in self._pins.sizes:
                self._grow(leaves)
                leaves = []
                self._compare_checkpoint()
        self._grow(leaves)

    def _leaf(self, row: Any) -> bytes:
        """The hash of one entry, its content compared with its commitment."""
        recorded_at, nonce, committed = row[_RECORDED_AT], row[-2], row[-1]
        try:
            if row[_KIND] is None:
                self._take_blank(row)
            else:
                if commit_values(_in_order(row), nonce) != committed:
                    self._find("the entry's content does not match its commitment", row[0])
            if recorded_at < self._last_recorded:
                self._find("recorded_at goes back", row[0])
            else:
                self._last_recorded = recorded_at
            if row[_BLANKS] is not None:
                self._erasures[row[0]] = row[_BLANKS]
            # merkle.leaf_hash(entry(...)), written out: the calls would cost 4% of an audit
            return sha256(b"\x00\x01" + recorded_at.to_bytes(8, "big") + committed).digest()
        except (TypeError, ValueError, AttributeError, OverflowError):  # no text, no bytes, or no instant
            self._find("the entry holds what no event can say", row[0])
            return merkle.EMPTY_ROOT

    def _take_blank(self, row: Any) -> None:
        if any(value is not None for value in _contents(row)) or row[0] not in self._erased_by:
            self._find("the entry is empty, and no erasure says so", row[0])
        self._blanked.add(row[0])

    def _grow(self, leaves: list[bytes]) -> None:
        if self._torn:
            return
        for tile in self._frontier.extend(leaves):
            if self._tiles.pop((tile.level, tile.tile_index), None) != tile.tile_hash:
                height = merkle.TILE_HEIGHT * tile.level
                first, leaves_below = tile.tile_index << height, 1 << height
                self._find(
                    f"stored tile {tile.level}/{tile.tile_index} does not match the entries below it",
                    first,
                    until=first + leaves_below - 1,
                )

    def _root(self) -> bytes:
        return merkle.EMPTY_ROOT if self._torn else self._frontier.root()

    def _compare_checkpoint(self) -> None:
        if not self._torn:
            for what in self._pins.compare(self.size, self._root(), self._last_recorded):
                self._find(what, self.size - 1)

    def _find(self, what: str, leaf_index: int | None, *, until: int | None = None) -> None:
        """Note a finding; one about a range of entries stands behind those about its single entries."""
        last = until if until is not None else leaf_index
        self._findings.append((_NOWHERE if last is None else max(last, 0), Finding(what, leaf_index)))

    def compare_head(self, row: Sequence[Any] | None, key: HeadKey) -> None:
        """Compare the stored head with the entries; call it after the last row."""
        try:
            sealed = key.require(row)
        except EvidenceError as error:
            known = row is not None and type(row[0]) is int and row[0] >= 0
            self._find(
                error.message, min(row[0], self.size) if known and row and row[0] != self.size else None
            )
            return
        if not self._torn and (sealed.root, sealed.recorded_at) != (self._root(), self._last_recorded):
            self._find("the head seals other entries than there are", None)

    def report(self) -> AuditReport:
        """What was found; call it after the last row."""
        beyond = max((size for size in self._pins.sizes if size > self.size), default=None)
        if beyond is not None:
            self._find(
                f"the log has held {beyond} entries but holds {self.size}: entries are missing", self.size
            )
        if self._tiles and not self._torn:
            self._find(f"{len(self._tiles)} stored tiles cover entries that do not exist", None)
        if self._pins.sizeless:
            self._find(f"{len(self._pins.sizeless)} checkpoints are of no size that a log can have", None)
        self._compare_blanks()
        if self._pins.compared == 0 and self.size and not self._torn and beyond is None:
            self._find("no checkpoint signs any of the entries", 0)
        return AuditReport(
            self.size,
            self._pins.compared,
            self._root(),
            tuple(finding for _, finding in sorted(self._findings, key=itemgetter(0))),
            len(self._blanked),
            self._pins.cosigned,
        )

    def _compare_blanks(self) -> None:
        """Each blank stands in the name of an erasure that is on record, later, and says how many and which."""
        named: dict[int, list[int]] = defaultdict(list)
        for leaf_index, erased_by in self._erased_by.items():
            named[erased_by].append(leaf_index)
            if leaf_index not in self._blanked:
                self._find("an erasure names the entry, but it is not empty", leaf_index)
        for erased_by, leaves in named.items():
            said = self._erasures.pop(erased_by, None)
            if said != format_blanks(leaves) or erased_by <= max(leaves):
                where = min(leaves) if said is None else erased_by
                self._find(f"entry {erased_by} is no erasure that names what is blanked", where)
        for leaf_index, said in self._erasures.items():
            if said != format_blanks([]):
                self._find("the erasure names entries that are not blanked", leaf_index)


class _Pins:
    """The checkpoints, signed and cosigned, that the replayed tree is compared with."""

    def __init__(
        self,
        keys: LogKeys | EvidenceError,
        connection: sa.Connection,
        witnesses: Sequence[WitnessVerifier],
        anchored: Checkpoint | None,
    ) -> None:
        self._trust = keys if isinstance(keys, EvidenceError) else Trust(keys, tuple(witnesses))
        self._anchored = anchored
        signed = run(connection, "SELECT tree_size, root, note FROM checkpoint")
        self._signed = {size: (_blob(root), _blob(note)) for size, root, note in signed if _is_size(size)}
        cosigned = run(connection, "SELECT tree_size, note FROM cosigned")
        self.sizeless = [row[0] for row in (*signed, *cosigned) if not _is_size(row[0])]
        self._cosigned: dict[int, list[bytes]] = defaultdict(list)
        for size, note in cosigned:
            if _is_size(size):
                self._cosigned[size].append(_blob(note))
        self.sizes = {*self._signed, *self._cosigned}
        if anchored is not None and anchored.tree_size:
            self.sizes.add(anchored.tree_size)
        self.compared = 0
        self.cosigned = 0
        #: No entry from here on can have been recorded before a witness saw the log without it.
        self._not_before = 0

    def compare(self, size: int, root: bytes, last_recorded: int) -> Iterator[str]:
        """What is wrong with the checkpoints of this size, given the replayed tree."""
        anchored = self._anchored
        if anchored is not None and size == anchored.tree_size and root != anchored.root:
            yield "the anchor pins other entries than there are"
        if size in self._signed:
            self.compared += 1
            stored, note = self._signed[size]
            yield from self._compare_note(note, size, root)
            if stored != root:
                yield f"checkpoint {size}: the stored root is not that of the entries"
        if last_recorded < self._not_before:
            yield "recorded_at is before a time at which a witness saw the log without the entry"
        if size in self._cosigned:
            for note in self._cosigned[size]:
                yield from self._compare_note(note, size, root)
            yield from self._compare_times(size, last_recorded)

    def _verified(self, note: bytes) -> Pinned:
        if isinstance(self._trust, EvidenceError):
            raise self._trust
        return self._trust.verified(note)

    def _compare_note(self, note: bytes, size: int, root: bytes) -> Iterator[str]:
        try:
            pinned = self._verified(note).checkpoint
        except EvidenceError as error:
            yield f"checkpoint {size}: {error.message}"
            return
        if (pinned.tree_size, pinned.root) != (size, root):
            yield f"checkpoint {size} signs another tree than the entries give"

    def _compare_times(self, size: int, last_recorded: int) -> Iterator[str]:
        try:
            seen = [c for note in self._cosigned[size] for c in self._verified(note).cosignatures]
            times = [micros(c.cosigned_at) for c in seen]
        except EvidenceError:  # told by _compare_note
            return
        if not times:
            return
        self.cosigned += 1
        if last_recorded > min(times) + CLOCK_SKEW // MICROSECOND:
            yield "recorded_at is after a time at which a witness saw the entry"
        self._not_before = max(times) - CLOCK_SKEW // MICROSECOND


def _is_size(value: object) -> bool:
    return type(value) is int and value > 0


def _blob(value: object) -> bytes:
    """The bytes; none where somebody stored another type, so that comparing fails instead of reading."""
    return value if isinstance(value, bytes) else b""
