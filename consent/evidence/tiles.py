"""The log as a directory of static files, which anybody may be given: it holds no record, only commitments.

=============================  ===============================================================================
checkpoint                     the signed note of the whole
tile/<L>/<N>[.p/<W>]           256 hashes of level L, or W of them where the tree ends
tile/entries/<N>[.p/<W>]       the 256 entries below tile/0/<N>, each after its length (2 bytes, big endian)
=============================  ===============================================================================

An export can be repeated and resumed: a tile that is there is never written again, and the checkpoint is written
last, so what it covers is complete. `consent.evidence.tiles_check` verifies such a directory.

Source: C2SP tlog-tiles v0.1.0, "Merkle Tree", "Partial Tiles" and "Log entries".
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from consent.errors import BadInput, Conflict, EvidenceError
from consent.evidence.merkle import EMPTY_ROOT, TILE, fold, leaf_hash
from consent.evidence.notes import Checkpoint, parse_checkpoint, parse_note
from consent.evidence.strict_text import HASH_BYTES, malformed
from consent.files import partial_path, remove_partials, write_atomically

CHECKPOINT_FILE = "checkpoint"
ENTRIES = "entries"
_LENGTH_BYTES = 2

#: ``entries(lo, hi)``: the entries ``[lo, hi)`` in order.
EntryReader = Callable[[int, int], Iterable[bytes]]


def tile_path(level: int | str, tile_index: int, width: int = TILE) -> str:
    """Where a tile lies: index 1234067 is ``x001/x234/067``, and a partial one ends in ``.p/<width>``.

    Args:
        level: 0 or more, or `ENTRIES`.
        tile_index: number within the level.
        width: hashes or entries in it, from 1 to 256.
    """
    digits = f"{tile_index % 1000:03}"
    while tile_index := tile_index // 1000:
        digits = f"x{tile_index % 1000:03}/{digits}"
    return f"tile/{level}/{digits}" + ("" if width == TILE else f".p/{width}")


def format_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries, each after its length."""
    return b"".join(len(entry).to_bytes(_LENGTH_BYTES, "big") + entry for entry in entries)


def parse_bundle(content: bytes, what: str) -> list[bytes]:
    """Strict inverse of `format_bundle`.

    Raises:
        EvidenceError: the content ends within an entry.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(content):
        start = at + _LENGTH_BYTES
        at = start + int.from_bytes(content[start - _LENGTH_BYTES : start], "big")
        if at > len(content):
            raise malformed(f"{what} is cut off within its entry number {len(entries)}")
        entries.append(content[start:at])
    return entries


def split_tile(content: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [content[at : at + HASH_BYTES] for at in range(0, len(content), HASH_BYTES)]


class OpenTiles:
    """At each level of a growing tree the tile that is not full yet, with its at most 255 hashes."""

    def __init__(self, tree_size: int = 0, edge: Iterable[list[bytes]] = ()) -> None:
        """Start at a tree of ``tree_size`` leaves whose tiles that are not full hold ``edge``, lowest first."""
        self.tree_size = tree_size
        self._edge = list(edge)

    def grow(self, leaf_hashes: list[bytes]) -> Iterator[tuple[int, int, list[bytes]]]:
        """Append leaves up to the end of the current tile at most; yield (level, number, hashes) of full tiles."""
        self.tree_size += len(leaf_hashes)
        nodes, level, number = leaf_hashes, 0, self.tree_size // TILE - 1
        while nodes:
            if level == len(self._edge):
                self._edge.append([])
            self._edge[level] += nodes
            if len(self._edge[level]) < TILE:
                return
            full, self._edge[level] = self._edge[level], []
            yield level, number, full
            nodes, level, number = [fold(full)], level + 1, (number + 1) // TILE - 1

    def ragged(self) -> Iterator[tuple[int, int, list[bytes]]]:
        """(level, number, hashes) of every tile that is begun and not full."""
        for level, hashes in enumerate(self._edge):
            if hashes:
                yield level, self.tree_size // TILE ** (level + 1), hashes

    def root(self) -> bytes:
        """The Merkle Tree Hash of all leaves so far. Source: RFC 9162 section 2.1.1."""
        rest: list[bytes] = []
        for hashes in self._edge:
            nodes = hashes + rest
            rest = [fold(nodes)] if nodes else []
        return rest[0] if rest else EMPTY_ROOT


def export_tiles(
    directory: Path,
    entries: EntryReader,
    note: bytes,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Checkpoint:
    """Write the log up to a checkpoint into a directory, or what is missing of it there.

    Args:
        directory: made if it is not there.
        entries: reads the log's entries; it may hold more than the checkpoint covers.
        note: the signed checkpoint.
        on_progress: called with the number of entries written so far.

    Returns:
        The checkpoint that the directory now has.

    Raises:
        EvidenceError: the entries do not give the checkpoint's root, or a tile is there with other content;
            the directory's checkpoint is left as it was.
        Conflict: the directory is of another log, or of a later state of this one.
    """
    checkpoint = parse_checkpoint(parse_note(note)[0])
    directory.mkdir(parents=True, exist_ok=True)
    remove_partials(directory)
    earlier = _earlier(directory, checkpoint)
    tiles = _resume(directory, earlier.tree_size if earlier else 0)
    for lo in range(tiles.tree_size, checkpoint.tree_size, TILE):
        hi = min(lo + TILE, checkpoint.tree_size)
        bundle = list(entries(lo, hi))
        if len(bundle) != hi - lo:
            break  # entries are missing, so the root will not be right
        _write_bundle(directory, tiles, bundle, earlier)
        on_progress(tiles.tree_size)
    _require_root(tiles, checkpoint)
    for level, number, hashes in tiles.ragged():
        _put(directory, tile_path(level, number, len(hashes)), b"".join(hashes))
    os.sync()  # once for thousands of small files; only then may the checkpoint speak for them
    write_atomically(directory / CHECKPOINT_FILE, note)
    (directory / CHECKPOINT_FILE).chmod(0o644)  # like the tiles: nothing here is secret, and others serve it
    return checkpoint


def _write_bundle(directory: Path, tiles: OpenTiles, bundle: list[bytes], earlier: Checkpoint | None) -> None:
    """Write the next entries and the tiles they fill; on the way, what was exported earlier must come by."""
    lo = tiles.tree_size
    _put(directory, tile_path(ENTRIES, lo // TILE, len(bundle)), format_bundle(bundle))
    leaves = [leaf_hash(entry) for entry in bundle]
    upto = min(max(earlier.tree_size - lo, 0), len(leaves)) if earlier else 0
    for part in (leaves[:upto], leaves[upto:]):
        for level, number, hashes in tiles.grow(part):
            _put(directory, tile_path(level, number), b"".join(hashes))
        if earlier and tiles.tree_size == earlier.tree_size:
            _require_root(tiles, earlier)


def _require_root(tiles: OpenTiles, checkpoint: Checkpoint) -> None:
    if (tiles.tree_size, tiles.root()) != (checkpoint.tree_size, checkpoint.root):
        raise EvidenceError(
            f"the entries do not give the root that is signed for {checkpoint.tree_size} of them",
            remedy="Keep the directory, and export into an empty one; if that fails too, run `assent log audit`.",
        )


def _earlier(directory: Path, checkpoint: Checkpoint) -> Checkpoint | None:
    """The checkpoint of an earlier export; what it covers is complete."""
    if not (directory / CHECKPOINT_FILE).exists():
        return None
    earlier = parse_checkpoint(parse_note((directory / CHECKPOINT_FILE).read_bytes())[0])
    if earlier.origin != checkpoint.origin or earlier.tree_size > checkpoint.tree_size:
        raise Conflict(
            "the directory holds another log, or a later state of this one",
            remedy="Export into an empty directory, and ask why the log is smaller than it was.",
        )
    return earlier


def _resume(directory: Path, exported: int) -> OpenTiles:
    """The edge of an earlier export, cut back to its last full bundle; the empty tree if a tile of it is gone."""
    size = exported // TILE * TILE
    edge: list[list[bytes]] = [[]]
    while size // TILE ** len(edge):
        level = len(edge)
        width = size // TILE**level % TILE
        path = directory / tile_path(level, size // TILE ** (level + 1), width)
        if width and not path.exists():
            return OpenTiles()  # what is there is compared on the way
        edge.append(split_tile(path.read_bytes()) if width else [])
    return OpenTiles(size, edge)


def _put(directory: Path, name: str, content: bytes) -> None:
    """Write a tile unless it is there."""
    path = directory / name
    if path.exists():
        if path.read_bytes() != content:
            raise EvidenceError(
                f"{name} is there with other content",
                remedy="The directory was damaged, or is of another log. Keep it, and export into an empty one.",
            )
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial_path(path).write_bytes(content)
        partial_path(path).replace(path)
    except OSError:
        raise BadInput(f"{name} cannot be written", remedy="Check the directory and the disk.") from None
