"""Verifies an exported log offline: every entry, every hash tile, the signed root, and what was held before.

Reads entry by entry, in memory of a few hundred hashes. Whatever is wrong is named by its position: the tile and
the number of the entry.

Source: C2SP tlog-tiles v0.1.0; RFC 9162 section 2.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from consent.clock import CLOCK_SKEW, format_instant, micros
from consent.encoding import ENTRY_BYTES
from consent.errors import EvidenceError
from consent.evidence.merkle import TILE, leaf_hash
from consent.evidence.strict_text import HASH_BYTES
from consent.evidence.tiles import CHECKPOINT_FILE, ENTRIES, OpenTiles, parse_bundle, split_tile, tile_path
from consent.evidence.trust import Pinned, Trust

_DAMAGED = "The directory was damaged or changed. Fetch it again; keep this copy if it happens again."
_REWRITTEN = (
    "The log was rewritten after the earlier checkpoint was made. Keep the directory and the checkpoint."
)


def _wrong(message: str, remedy: str = _DAMAGED) -> EvidenceError:
    return EvidenceError(message, remedy=remedy)


def verify_tiles(
    directory: Path,
    trust: Trust,
    held: Sequence[Pinned] = (),
    known: Sequence[Pinned] = (),
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Pinned:
    """Recompute everything in the directory from its entries; return what pins it.

    Args:
        directory: as `export_tiles` writes it.
        trust: the log's keys, the witnesses and how many of them must have cosigned.
        held: earlier verified checkpoints of the log that must be its beginning, and were cosigned, if at all,
            after everything in them was recorded.
        known: further verified checkpoints; they are compared as far as the directory reaches.
        on_progress: called with the number of entries verified so far, and of all.

    Raises:
        EvidenceError: names the first bad position.
    """
    pinned = trust.verified(_read(directory / CHECKPOINT_FILE, CHECKPOINT_FILE))
    size = pinned.checkpoint.tree_size
    largest = max((pin.checkpoint.tree_size for pin in held), default=0)
    if largest > size:
        raise _wrong(
            f"the directory ends at {size} entries, but a checkpoint held pins {largest}",
            "The directory is old, or the log was cut. Ask for a new export.",
        )
    handed_over = [Pinned(handover.at, handover.new_key) for handover in trust.log.handovers]
    reached = [pin for pin in (*held, *known, *handed_over) if pin.checkpoint.tree_size <= size]
    replay = _Replay(directory, [*reached, pinned])
    for lo in range(0, size, TILE):
        replay.bundle(lo // TILE, min(TILE, size - lo))
        on_progress(replay.open_tiles.tree_size, size)
    replay.finish()
    return pinned


class _Replay:
    """Rebuilds the tree bundle by bundle, and compares it with the tiles and with each checkpoint at its size."""

    def __init__(self, directory: Path, pins: Sequence[Pinned]) -> None:
        self.open_tiles = OpenTiles()
        self._directory = directory
        self._pins = sorted(pins, key=lambda pinned: pinned.checkpoint.tree_size)
        self._last_us = 0
        self._compare()

    def bundle(self, number: int, width: int) -> None:
        """Take the next entries in order."""
        first = number * TILE
        entries = self._tile(ENTRIES, number, width)
        leaves = [self._leaf(first + at, entry) for at, entry in enumerate(entries)]
        self._compare_tile(0, number, leaves)
        done = 0
        for upto in [*self._stops(first, first + width), width]:
            for level, tile_number, hashes in self.open_tiles.grow(leaves[done:upto]):
                if level:
                    self._compare_tile(level, tile_number, hashes)
            done = upto
            self._compare(_recorded_us(entries[upto - 1]))

    def finish(self) -> None:
        """Compare the tiles that are not full; the checkpoints were compared on the way."""
        for level, number, hashes in self.open_tiles.ragged():
            if level:
                self._compare_tile(level, number, hashes)

    def _stops(self, lo: int, hi: int) -> list[int]:
        """How far into these entries the sizes lie that a checkpoint pins."""
        sizes = {pinned.checkpoint.tree_size for pinned in self._pins}
        return sorted(size - lo for size in sizes if lo < size < hi)

    def _leaf(self, leaf_index: int, entry: bytes) -> bytes:
        if len(entry) != ENTRY_BYTES or entry[0] != 1:
            raise _wrong(f"entry {leaf_index}: expected {ENTRY_BYTES} bytes of version 1")
        if _recorded_us(entry) < self._last_us:
            raise _wrong(f"entry {leaf_index} says it was recorded before entry {leaf_index - 1}", _REWRITTEN)
        self._last_us = _recorded_us(entry)
        return leaf_hash(entry)

    def _compare(self, recorded_us: int = 0) -> None:
        """Hold the tree so far, whose last entry says when it was recorded, against the checkpoints of its size."""
        while self._pins and self._pins[0].checkpoint.tree_size == self.open_tiles.tree_size:
            pinned = self._pins.pop(0)
            size = pinned.checkpoint.tree_size
            if pinned.checkpoint.root != self.open_tiles.root():
                raise _wrong(
                    f"the first {size} entries are not those that a signed checkpoint pins", _REWRITTEN
                )
            for cosigner in pinned.cosignatures:
                if recorded_us > micros(cosigner.cosigned_at + CLOCK_SKEW):
                    raise _wrong(
                        f"entry {size - 1} says it was recorded after {cosigner.name} had cosigned it"
                        f" at {format_instant(cosigner.cosigned_at)}",
                        "The log's clock or the witness' is wrong, or entries are post-dated.",
                    )

    def _compare_tile(self, level: int, number: int, hashes: list[bytes]) -> None:
        stored = self._tile(level, number, len(hashes))
        below = "entry" if level == 0 else f"tile of level {level - 1} number"
        for at, calculated in enumerate(hashes):
            if stored[at] != calculated:
                name = tile_path(level, number, len(hashes))
                raise _wrong(f"{name}: hash {at} is not that of {below} {number * TILE + at}")

    def _tile(self, level: int | str, number: int, width: int) -> list[bytes]:
        """The first ``width`` hashes or entries of a tile; a full one may stand in for a partial one.

        Source: C2SP tlog-tiles, "Partial Tiles".
        """
        name = tile_path(level, number, width)
        if not (self._directory / name).exists() and (self._directory / tile_path(level, number)).exists():
            name, found = tile_path(level, number), TILE
        else:
            found = width
        content = _read(self._directory / name, name)
        nodes = parse_bundle(content, name) if level == ENTRIES else split_tile(content)
        if len(nodes) != found or (level != ENTRIES and len(content) != HASH_BYTES * found):
            raise _wrong(f"{name}: expected exactly {found} {ENTRIES if level == ENTRIES else 'hashes'}")
        return nodes[:width]


def _recorded_us(entry: bytes) -> int:
    """When an entry says it was recorded, in microseconds since 1970."""
    return int.from_bytes(entry[1:9], "big")


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise _wrong(f"{name} is missing") from None
