"""The Merkle tree behind the consent log: its root, its proofs, and how to check them.

Pure rules: no file, no clock, no database. Whoever stores the tree hands in a `TreeReader`; stored are the
entries (the leaf hashes follow from them) and one root per *full* tile of 256, 65,536, ... leaves. Everything
else is calculated when asked for, so appending stays cheap and nothing stored is ever rewritten.

Terms as in RFC 9162: ``tree_size`` is a count of leaves, ``leaf_index`` is 0-based, MTH is the Merkle Tree
Hash. Ranges are half open, ``[lo, hi)``. Every hash is 32 bytes.

Source: RFC 9162 section 2.1 (the tree and hashes of RFC 6962 section 2.1) with SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from consent.errors import BadInput, EvidenceError

HASH_BYTES = 32
TILE_HEIGHT = 8
#: Leaves per tile, and tiles per tile of the next level.
TILE = 1 << TILE_HEIGHT
#: "The hash of an empty list is the hash of an empty string." Source: RFC 9162 section 2.1.1.
EMPTY_ROOT = hashlib.sha256(b"").digest()

_DISTRUST = "Do not rely on this proof. Fetch it again and compare it with a checkpoint held outside the log."
_RECORDS_LOST = "Stop appending, run the audit, and compare with a checkpoint held outside the log."


class Tile(NamedTuple):
    """The root of one full tile: leaves ``[tile_index * 256**level, (tile_index + 1) * 256**level)``."""

    level: int
    tile_index: int
    tile_hash: bytes


@dataclass(frozen=True)
class TreeReader:
    """How the rules see a stored tree.

    Attributes:
        leaves: ``leaves(lo, hi)``, the leaf hashes ``[lo, hi)`` in order; never more than one tile of 256.
        tiles: ``tiles(level, lo, hi)``, in order the roots of the full tiles number ``[lo, hi)``, each of
            ``256**level`` leaves, ``level >= 1``; never more than the 256 below one tile of the next level.
    """

    leaves: Callable[[int, int], Sequence[bytes]]
    tiles: Callable[[int, int, int], Sequence[bytes]]

    def nodes(self, level: int, lo: int, hi: int) -> list[bytes]:
        """Leaf hashes at level 0, tile roots above.

        Raises:
            EvidenceError: the store returned another number than asked for, so something was removed.
        """
        if lo == hi:
            return []
        found = self.tiles(level, lo, hi) if level else self.leaves(lo, hi)
        if len(found) != hi - lo:
            raise EvidenceError(
                f"level {level} of the tree: expected {hi - lo} hashes from number {lo}, got {len(found)}",
                remedy=_RECORDS_LOST,
            )
        return list(found)


def leaf_hash(entry: bytes) -> bytes:
    """Hash of one entry. Source: RFC 9162 section 2.1.1, ``HASH(0x00 || d[0])``."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node. Source: RFC 9162 section 2.1.1, ``HASH(0x01 || left || right)``."""
    return hashlib.sha256(b"\x01" + left + right).digest()


# ---------------------------------------------------------------------------------------------- building


def root(reader: TreeReader, tree_size: int) -> bytes:
    """MTH of the first ``tree_size`` leaves; reads fewer than 256 hashes per level.

    Args:
        reader: the stored tree; it may hold more than ``tree_size`` leaves.
        tree_size: number of leaves, 0 or more.

    Raises:
        BadInput: ``tree_size`` is negative.
        EvidenceError: the store lacks hashes.

    Source: RFC 9162 section 2.1.1.
    """
    if tree_size < 0:
        raise BadInput(f"tree_size must not be negative, got {tree_size}")
    return _subtree_root(reader, 0, tree_size) if tree_size else EMPTY_ROOT


def inclusion_proof(reader: TreeReader, leaf_index: int, tree_size: int) -> list[bytes]:
    """The siblings on the way from one leaf to the root, lowest first; at most ceil(log2(tree_size)).

    Raises:
        BadInput: ``leaf_index`` is not a leaf of the tree.
        EvidenceError: the store lacks hashes.

    Source: RFC 9162 section 2.1.3.1, ``PATH(m, D_n)``.
    """
    if not 0 <= leaf_index < tree_size:
        raise BadInput(f"leaf_index must be from 0 to below tree_size {tree_size}, got {leaf_index}")
    lo, hi, siblings = 0, tree_size, []
    while hi - lo > 1:
        middle = lo + _left_size(hi - lo)
        if leaf_index < middle:
            siblings.append((middle, hi))
            hi = middle
        else:
            siblings.append((lo, middle))
            lo = middle
    return [_subtree_root(reader, *sibling) for sibling in reversed(siblings)]


def consistency_proof(reader: TreeReader, old_size: int, new_size: int) -> list[bytes]:
    """The nodes that show the first ``old_size`` leaves unchanged in the tree of ``new_size``.

    Empty when the sizes are equal: two equal roots need no proof.

    Raises:
        BadInput: not ``0 < old_size <= new_size``; nothing can be shown about an empty tree.
        EvidenceError: the store lacks hashes.

    Source: RFC 9162 section 2.1.4.1, ``PROOF(m, D_n)``.
    """
    if not 0 < old_size <= new_size:
        raise BadInput(f"old_size must be from 1 to new_size {new_size}, got {old_size}")
    lo, hi, nodes = 0, new_size, []
    while hi != old_size:
        middle = lo + _left_size(hi - lo)
        if old_size <= middle:
            nodes.append((middle, hi))
            hi = middle
        else:
            nodes.append((lo, middle))
            lo = middle
    if lo:  # else the subtree reached is the whole old tree, whose root the verifier holds
        nodes.append((lo, hi))
    return [_subtree_root(reader, *node) for node in reversed(nodes)]


class Frontier:
    """The right edge of a tree that grows: as many hashes as ``tree_size`` has one bits, and nothing below them.

    Attributes:
        tree_size: number of leaves so far.
    """

    def __init__(self, tree_size: int = 0, subtrees: Sequence[bytes] = ()) -> None:
        """An edge as `copy` and `read` make it; without arguments that of the empty tree."""
        self.tree_size = tree_size
        self._subtrees = list(subtrees)

    @classmethod
    def read(cls, reader: TreeReader, tree_size: int) -> Frontier:
        """The edge of a stored tree.

        Raises:
            EvidenceError: the store lacks hashes.
        """
        subtrees, lo = [], 0
        for height in reversed(range(tree_size.bit_length())):
            if tree_size >> height & 1:
                subtrees.append(_subtree_root(reader, lo, lo + (1 << height)))
                lo += 1 << height
        return cls(tree_size, subtrees)

    def copy(self) -> Frontier:
        """The same edge, to grow on its own."""
        return Frontier(self.tree_size, self._subtrees)

    def extend(self, leaf_hashes: Iterable[bytes]) -> list[Tile]:
        """Take the leaves that follow.

        Returns:
            The tiles that become full, one row each for the caller to store; lower tiles before those above them.
        """
        tiles: list[Tile] = []
        subtrees, sha256 = self._subtrees, hashlib.sha256
        for node in leaf_hashes:
            number, height = self.tree_size, 0
            while number & 1:
                node = sha256(b"\x01" + subtrees.pop() + node).digest()
                number, height = number >> 1, height + 1
                if not height % TILE_HEIGHT:
                    tiles.append(Tile(height // TILE_HEIGHT, number, node))
            subtrees.append(node)
            self.tree_size += 1
        return tiles

    def root(self) -> bytes:
        """MTH of all leaves so far. Source: RFC 9162 section 2.1.1."""
        if not self._subtrees:
            return EMPTY_ROOT
        *rest, node = self._subtrees
        for left in reversed(rest):
            node = node_hash(left, node)
        return node


def _left_size(size: int) -> int:
    """The largest power of two smaller than ``size`` (> 1): where RFC 9162 splits a tree."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtree_root(reader: TreeReader, lo: int, hi: int) -> bytes:
    """MTH of leaves ``[lo, hi)``, a subtree of the RFC's split.

    Such a subtree starts at a multiple of a power of two not smaller than itself, so it is a row of full
    tiles of one level, followed by a ragged rest that is a subtree of the same kind.
    """
    level = ((hi - lo).bit_length() - 1) // TILE_HEIGHT
    tile_leaves = TILE**level
    ragged = hi // tile_leaves * tile_leaves
    nodes = reader.nodes(level, lo // tile_leaves, ragged // tile_leaves)
    if ragged < hi:
        nodes.append(_subtree_root(reader, ragged, hi))
    return fold(nodes)


def fold(nodes: list[bytes]) -> bytes:
    """MTH over the hashes of equal subtrees, of which only the last may be smaller."""
    while len(nodes) > 1:
        pairs = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes) - 1, 2)]
        nodes = pairs + nodes[len(nodes) & ~1 :]
    return nodes[0]


# --------------------------------------------------------------------------------------------- verifying


def verify_inclusion(
    entry_hash: bytes, leaf_index: int, tree_size: int, proof: Sequence[bytes], root_hash: bytes
) -> None:
    """Return if the proof leads from the leaf to the root.

    Args:
        entry_hash: `leaf_hash` of the entry.
        leaf_index: position that is claimed for it.
        tree_size: size of the tree that ``root_hash`` belongs to.
        proof: siblings, lowest first.
        root_hash: the root, from a signed checkpoint.

    Raises:
        EvidenceError: it does not, or the index, a length or the number of hashes cannot be right.

    Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= leaf_index < tree_size:
        raise _evidence(f"expected a leaf_index from 0 to below tree_size {tree_size}, got {leaf_index}")
    _require_hash_lengths(entry_hash, root_hash, *proof)
    sides = _sides(leaf_index, tree_size - 1)
    _require_count(proof, len(sides))
    calculated = entry_hash
    for sibling, is_left in zip(proof, sides, strict=True):
        calculated = node_hash(sibling, calculated) if is_left else node_hash(calculated, sibling)
    _require_root(f"of tree_size {tree_size}", root_hash, calculated)


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the old tree is a prefix of the new one.

    An ``old_size`` of 0 is refused whatever the rest: every tree extends the empty one, so a pass would prove
    nothing and could be mistaken for evidence (the public test vectors take the same side).
    With equal sizes nothing is calculated: the proof must be empty and the roots the same bytes.

    Raises:
        EvidenceError: it is not, or a size, a length or the number of hashes cannot be right.

    Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 < old_size <= new_size:
        raise _evidence(f"expected an old_size from 1 to new_size {new_size}, got {old_size}")
    if old_size == new_size:
        _require_count(proof, 0)
        _require_root(f"of tree_size {new_size}", old_root, new_root)
        return
    _require_hash_lengths(old_root, new_root, *proof)
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    sides = _sides(fn, sn)
    # A complete old tree is itself the first node of the path; the proof leaves out what the verifier holds.
    held = [old_root] if old_size & (old_size - 1) == 0 else []
    _require_count(proof, len(sides) + 1 - len(held))
    first, *path = [*held, *proof]
    old_calculated, new_calculated = first, first
    for node, is_left in zip(path, sides, strict=True):
        if is_left:
            old_calculated = node_hash(node, old_calculated)
        new_calculated = node_hash(node, new_calculated) if is_left else node_hash(new_calculated, node)
    _require_root(f"of old_size {old_size}", old_root, old_calculated)
    _require_root(f"of new_size {new_size}", new_root, new_calculated)


def _sides(fn: int, sn: int) -> list[bool]:
    """For each hash of a path from node ``fn`` of ``0..sn`` upwards: does it stand on the left?

    The RFC shifts ``fn`` and ``sn`` while it consumes the path, and fails if ``sn`` reaches 0 too early or
    not at all. The shifts do not depend on the hashes, so here they come first and tell the right length.

    Source: RFC 9162 section 2.1.3.2 step 4, the same as section 2.1.4.2 step 6.
    """
    sides = []
    while sn:
        is_left = fn & 1 == 1 or fn == sn
        sides.append(is_left)
        while is_left and fn and not fn & 1:
            fn, sn = fn >> 1, sn >> 1
        fn, sn = fn >> 1, sn >> 1
    return sides


def _evidence(message: str) -> EvidenceError:
    return EvidenceError(message, remedy=_DISTRUST)


def _require_hash_lengths(*hashes: bytes) -> None:
    for found in hashes:
        if len(found) != HASH_BYTES:
            raise _evidence(f"expected hashes of {HASH_BYTES} bytes, got one of {len(found)}")


def _require_count(proof: Sequence[bytes], expected: int) -> None:
    if len(proof) != expected:
        raise _evidence(f"expected a proof of {expected} hashes, got {len(proof)}")


def _require_root(which: str, expected: bytes, calculated: bytes) -> None:
    if expected != calculated:
        raise _evidence(f"root {which}: expected {expected.hex()}, calculated {calculated.hex()}")
