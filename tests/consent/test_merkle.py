"""The Merkle tree: against public vectors, against the RFC's own recursion, and against damage."""

import base64
import hashlib
import json
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.errors import BadInput, EvidenceError
from consent.evidence.merkle import (
    EMPTY_ROOT,
    TILE,
    Frontier,
    TreeReader,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from tests.reference import merkle_twin as twin

CHECKOUT = Path(__file__).resolve().parents[2]
VECTORS = Path(os.environ.get("ASSENT_DATA", CHECKOUT.parent / "shared" / "data")) / "rfc6962"
ABSENT = f"the public vectors are not at {VECTORS}; ASSENT_DATA names another shared/data folder"


class MemoryTree:
    """The in-memory store: holds leaf hashes and full tiles, and holds the rules to what they may read."""

    def __init__(self, leaf_hashes: Sequence[bytes] = ()) -> None:
        self.leaf_hashes: list[bytes] = []
        self.stored: dict[tuple[int, int], bytes] = {}
        self.frontier = Frontier()
        self.reader = TreeReader(leaves=self._leaves, tiles=self._tiles)
        self.append(leaf_hashes)

    def append(self, leaf_hashes: Sequence[bytes]) -> None:
        for level, tile_index, tile_hash in self.frontier.extend(leaf_hashes):
            assert (level, tile_index) not in self.stored, "a tile is given once"
            self.stored[level, tile_index] = tile_hash
        self.leaf_hashes += leaf_hashes

    def _leaves(self, lo: int, hi: int) -> list[bytes]:
        assert 0 <= lo < hi <= len(self.leaf_hashes)
        assert lo // TILE == (hi - 1) // TILE, "a read stays inside one tile"
        return self.leaf_hashes[lo:hi]

    def _tiles(self, level: int, lo: int, hi: int) -> list[bytes]:
        assert level >= 1
        assert 0 <= lo < hi
        assert lo // TILE == (hi - 1) // TILE, "a read stays below one tile of the next level"
        return [self.stored[level, tile_index] for tile_index in range(lo, hi)]


def hashes(count: int) -> list[bytes]:
    return [hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(count)]


def rejected(verify: Callable[..., None], *claim: object) -> bool:
    try:
        verify(*claim)
    except EvidenceError:
        return True
    return False


def damaged(proof: list[bytes], chance: random.Random) -> Iterator[tuple[str, list[bytes]]]:
    """The proof with each kind of damage, by name."""
    for at, node in enumerate(proof):
        flipped = bytearray(node)
        flipped[chance.randrange(32)] ^= 1 << chance.randrange(8)
        yield "bit flip", [*proof[:at], bytes(flipped), *proof[at + 1 :]]
        yield "short hash", [*proof[:at], node[:-1], *proof[at + 1 :]]
        yield "doubled hash", [*proof[:at], node, *proof[at:]]
    if proof:
        yield "truncated", proof[:-1]
        yield "first missing", proof[1:]
        yield "empty", []
    if proof[::-1] != proof:
        yield "reversed", proof[::-1]
    yield "trailing hash", [*proof, chance.randbytes(32)]
    yield "leading hash", [chance.randbytes(32), *proof]
    yield "trailing garbage", [*proof, b"garbage"]


# ------------------------------------------------------------------------------------------ public vectors


def vector_files() -> list[object]:
    found = sorted(str(file.relative_to(VECTORS)) for file in VECTORS.rglob("*.json"))
    return list(found) or [pytest.param("", marks=pytest.mark.skip(reason=ABSENT))]


class TestPublicVectors:
    """Every vector of transparency-dev/merkle gives the result stated in it (`wantErr`)."""

    @pytest.mark.parametrize("name", vector_files())
    def test_gives_the_stated_result(self, name: str) -> None:
        vector = json.loads((VECTORS / name).read_text())
        proof = [base64.b64decode(node) for node in vector["proof"] or []]
        if name.startswith("inclusion"):
            leaf, root_hash = (base64.b64decode(vector[key]) for key in ("leafHash", "root"))
            failed = rejected(verify_inclusion, leaf, vector["leafIdx"], vector["treeSize"], proof, root_hash)
        else:
            old, new = (base64.b64decode(vector[key]) for key in ("root1", "root2"))
            failed = rejected(verify_consistency, vector["size1"], old, vector["size2"], new, proof)
        assert failed == vector["wantErr"], vector["desc"]

    @pytest.mark.skipif(not VECTORS.is_dir(), reason=ABSENT)
    def test_none_is_missing(self) -> None:
        """98 inclusion and 98 consistency vectors were run, so a thinned-out folder cannot pass."""
        assert Counter(Path(str(name)).parts[0] for name in vector_files()) == {
            "inclusion": 98,
            "consistency": 98,
        }


class TestKnownHashes:
    """Leaves, nodes and roots are RFC 9162's, byte for byte."""

    ENTRIES = (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )

    def test_empty_tree(self) -> None:
        """RFC 9162 2.1.1: "The hash of an empty list is the hash of an empty string"."""
        assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        assert root(MemoryTree().reader, 0) == EMPTY_ROOT

    def test_eight_leaves(self) -> None:
        """The eight entries that RFC 6962 implementations test with give the root they all publish."""
        tree = MemoryTree([leaf_hash(bytes.fromhex(entry)) for entry in self.ENTRIES])
        expected = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
        assert root(tree.reader, 8).hex() == expected

    def test_leaf_and_node_differ(self) -> None:
        """RFC 9162 2.1.1: the domain separation "is required to give second preimage resistance"."""
        left, right = hashes(2)
        assert leaf_hash(left + right) != node_hash(left, right)


# ------------------------------------------------------------------------------- exhaustive, up to 64 leaves

SMALL = hashes(64)
SMALL_ROOTS = [twin.mth(SMALL[:size]) for size in range(65)]
SMALL_TREE = MemoryTree(SMALL).reader


class TestEverySmallTree:
    """For all trees of up to 64 leaves, every answer equals the RFC's recursion and every damage is seen."""

    def test_root(self) -> None:
        """RFC 9162 2.1.1: the Merkle Tree Hash is MTH(D_n)."""
        assert [root(SMALL_TREE, size) for size in range(65)] == SMALL_ROOTS

    def test_inclusion(self) -> None:
        """RFC 9162 2.1.3.1: the proof is PATH(m, D_n); 2.1.3.2: it, and only it, verifies."""
        chance = random.Random(1)
        for size in range(1, 65):
            for index in range(size):
                proof = inclusion_proof(SMALL_TREE, index, size)
                assert proof == twin.path(index, SMALL[:size])
                verify_inclusion(SMALL[index], index, size, proof, SMALL_ROOTS[size])
                for damage, wrong in damaged(proof, chance):
                    claim = (SMALL[index], index, size, wrong, SMALL_ROOTS[size])
                    assert rejected(verify_inclusion, *claim), f"{damage}: {index} of {size}"

    def test_inclusion_elsewhere(self) -> None:
        """A proof shows one leaf at one index of one tree: no other index, leaf or root goes with it."""
        for size in range(1, 65):
            for index in range(size):
                proof, leaf = twin.path(index, SMALL[:size]), SMALL[index]
                others = {-1, 0, index - 1, index + 1, index ^ 1, size - 1 - index, size - 1, size} - {index}
                for other in others:
                    assert rejected(verify_inclusion, leaf, other, size, proof, SMALL_ROOTS[size])
                other_leaf = SMALL[(index + 1) % 64]
                assert rejected(verify_inclusion, other_leaf, index, size, proof, SMALL_ROOTS[size])
                assert rejected(verify_inclusion, leaf, index, size, proof, SMALL_ROOTS[size - 1])
                assert rejected(verify_inclusion, SMALL_ROOTS[size], index, size, proof, leaf) or size == 1

    def test_consistency(self) -> None:
        """RFC 9162 2.1.4.1: the proof is PROOF(m, D_n); 2.1.4.2: it, and only it, verifies."""
        chance = random.Random(2)
        for new in range(1, 65):
            for old in range(1, new + 1):
                proof = consistency_proof(SMALL_TREE, old, new)
                assert proof == twin.proof(old, SMALL[:new])
                verify_consistency(old, SMALL_ROOTS[old], new, SMALL_ROOTS[new], proof)
                for damage, wrong in damaged(proof, chance):
                    claim = (old, SMALL_ROOTS[old], new, SMALL_ROOTS[new], wrong)
                    assert rejected(verify_consistency, *claim), f"{damage}: {old} to {new}"

    def test_consistency_elsewhere(self) -> None:
        """A proof joins two roots: swapped, exchanged for another, or with another old size they part."""
        for new in range(2, 65):
            for old in range(1, new):
                proof, before, after = twin.proof(old, SMALL[:new]), SMALL_ROOTS[old], SMALL_ROOTS[new]
                assert rejected(verify_consistency, old, after, new, before, proof)
                assert rejected(verify_consistency, new, after, old, before, proof)
                assert rejected(verify_consistency, old, SMALL_ROOTS[old - 1], new, after, proof)
                assert rejected(verify_consistency, old, before, new, SMALL_ROOTS[new - 1], proof)
                others = {-1, 0, 1, old - 1, old + 1, old ^ 1, new - old, new - 1, new, new + 1} - {old}
                for other in others:
                    assert rejected(verify_consistency, other, before, new, after, proof)


# ------------------------------------------------------------------------------------- appending and tiles

LARGE = hashes(70_003)
LARGE_TREE = MemoryTree(LARGE)
#: At, before and after the edges of tiles of both levels.
EDGES = (1, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 65_792, 70_003)


def cut(total: int, largest: int, seed: int) -> Iterator[tuple[int, int]]:
    """Ranges that cover ``total`` leaves in batches of random size."""
    chance, lo = random.Random(seed), 0
    while lo < total:
        hi = min(total, lo + chance.randint(1, largest))
        yield lo, hi
        lo = hi


class TestAppending:
    """Whatever the batches, the tiles stored are exactly the full ones and the root is the RFC's."""

    @pytest.mark.parametrize(
        ("total", "largest"), [(600, 1), (1_500, 300), (66_000, 5_000), (70_003, 40_000), (65_536, 65_536)]
    )
    def test_random_batches(self, total: int, largest: int) -> None:
        tree = MemoryTree()
        for lo, hi in cut(total, largest, seed=total):
            tree.append(LARGE[lo:hi])
            if hi <= 2_000:
                assert root(tree.reader, hi) == twin.mth(LARGE[:hi])
        assert tree.stored == twin.tiles(LARGE[:total])
        assert root(tree.reader, total) == twin.mth(LARGE[:total])

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers(0, 700), max_size=5))
    def test_any_batches(self, batch_sizes: list[int]) -> None:
        tree, lo = MemoryTree(), 0
        for batch_size in batch_sizes:
            tree.append(LARGE[lo : lo + batch_size])
            lo += batch_size
        assert tree.stored == twin.tiles(LARGE[:lo])
        assert root(tree.reader, lo) == twin.mth(LARGE[:lo])

    def test_one_leaf_may_fill_tiles_of_three_levels(self) -> None:
        """The last leaf below 256**3 reads 255 stored hashes per level and fills one tile of each."""

        def node(level: int, index: int) -> bytes:
            return hashlib.sha256(b"%d/%d" % (level, index)).digest()

        reads: list[tuple[int, int, int]] = []

        def tiles(level: int, lo: int, hi: int) -> list[bytes]:
            reads.append((level, lo, hi))
            return [node(level, index) for index in range(lo, hi)]

        reader = TreeReader(leaves=lambda lo, hi: tiles(0, lo, hi), tiles=tiles)
        rows = Frontier.read(reader, 256**3 - 1).extend([LARGE[0]])
        expected, last = [], LARGE[0]
        for level, count in enumerate((256**3, 256**2, 256)):
            last = twin.mth([node(level, index) for index in range(count - 256, count - 1)] + [last])
            expected.append((level + 1, count // 256 - 1, last))
        assert rows == expected
        read = Counter({level: sum(hi - lo for at, lo, hi in reads if at == level) for level in range(3)})
        assert read == {0: 255, 1: 255, 2: 255}

    @pytest.mark.parametrize("size", [*range(65), 255, 256, 257, 65_535, 65_536, 65_537, 70_003])
    def test_the_edge_of_a_stored_tree(self, size: int) -> None:
        """Read back from the store, the edge has the tree's root and grows like the one that built it."""
        edge = Frontier.read(LARGE_TREE.reader, size)
        assert edge.tree_size == size
        assert edge.root() == root(LARGE_TREE.reader, size)
        for tile in edge.extend(LARGE[size : size + 600]):
            assert LARGE_TREE.stored.get(tile[:2], tile.tile_hash) == tile.tile_hash
        assert edge.root() == root(LARGE_TREE.reader, edge.tree_size)

    def test_every_leaf_moves_the_root(self) -> None:
        """After each leaf the edge has the root of the RFC's recursion."""
        edge = Frontier()
        for size, leaf in enumerate(SMALL, start=1):
            assert edge.extend([leaf]) == []
            assert edge.root() == SMALL_ROOTS[size]

    def test_a_copy_grows_on_its_own(self) -> None:
        """What is tried on a copy and given up leaves the edge as it was."""
        edge = Frontier()
        edge.extend(SMALL[:7])
        edge.copy().extend(SMALL[7:])
        assert (edge.tree_size, edge.root()) == (7, SMALL_ROOTS[7])

    def test_root_reads_little(self) -> None:
        """The root of 4.3 billion leaves takes one read of at most 255 hashes per level."""
        reads: list[tuple[int, int]] = []

        def tiles(level: int, lo: int, hi: int) -> list[bytes]:
            reads.append((level, hi - lo))
            return [LARGE[0]] * (hi - lo)

        root(TreeReader(leaves=lambda lo, hi: tiles(0, lo, hi), tiles=tiles), 2**32 - 1)
        assert reads == [(3, 255), (2, 255), (1, 255), (0, 255)]


class TestProofsFromTiles:
    """Proofs of large trees, built from stored tiles, are the RFC's; also for an earlier size of the tree."""

    @pytest.mark.parametrize("size", EDGES)
    def test_inclusion(self, size: int) -> None:
        leaves = LARGE[:size]
        expected_root = twin.mth(leaves)
        assert root(LARGE_TREE.reader, size) == expected_root
        for index in {0, size // 2, size - 1, *(edge for edge in EDGES if edge < size)}:
            proof = inclusion_proof(LARGE_TREE.reader, index, size)
            verify_inclusion(LARGE[index], index, size, proof, expected_root)
        last = size - 1
        assert inclusion_proof(LARGE_TREE.reader, last, size) == twin.path(last, leaves)

    def test_consistency(self) -> None:
        roots = {size: root(LARGE_TREE.reader, size) for size in EDGES}
        for old in EDGES:
            for new in (size for size in EDGES if size >= old):
                proof = consistency_proof(LARGE_TREE.reader, old, new)
                verify_consistency(old, roots[old], new, roots[new], proof)
        for old, new in ((257, 65_537), (65_535, 65_792), (65_537, 70_003)):
            assert consistency_proof(LARGE_TREE.reader, old, new) == twin.proof(old, LARGE[:new])


# --------------------------------------------------------------------------------------- refusals and errors


class TestRefusals:
    """What cannot be right is refused, and the message holds both sides."""

    def test_message_holds_both_hashes(self) -> None:
        """A mismatch names the expected and the calculated root, so two parties can compare."""
        proof, wrong = inclusion_proof(SMALL_TREE, 5, 9), SMALL_ROOTS[8]
        with pytest.raises(EvidenceError) as caught:
            verify_inclusion(SMALL[5], 5, 9, proof, wrong)
        assert f"expected {wrong.hex()}, calculated {SMALL_ROOTS[9].hex()}" in caught.value.message
        assert caught.value.remedy

    def test_message_holds_both_counts(self) -> None:
        with pytest.raises(EvidenceError, match="expected a proof of 4 hashes, got 3"):
            verify_inclusion(SMALL[5], 5, 9, inclusion_proof(SMALL_TREE, 5, 9)[:-1], SMALL_ROOTS[9])

    def test_nothing_is_consistent_with_the_empty_tree(self) -> None:
        """Policy of the public vectors: a check from size 0 is useless, so it never passes."""
        for new_size in (0, 1, 8):
            assert rejected(verify_consistency, 0, EMPTY_ROOT, new_size, SMALL_ROOTS[new_size], [])

    @pytest.mark.parametrize("wrong", [0, 1, 2])
    def test_every_hash_has_32_bytes(self, wrong: int) -> None:
        """Leaf, roots and proof hashes are measured before anything is calculated from them."""
        leaf, sibling, above = (SMALL[at][:31] if at == wrong else SMALL[at] for at in range(3))
        with pytest.raises(EvidenceError, match="expected hashes of 32 bytes, got one of 31"):
            verify_inclusion(leaf, 0, 2, [sibling], above)
        with pytest.raises(EvidenceError, match="expected hashes of 32 bytes, got one of 31"):
            verify_consistency(1, leaf, 2, above, [sibling])

    @pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (9, 8), (0, 0), (0, -1), (-2, -1)])
    def test_index_outside_the_tree(self, index: int, size: int) -> None:
        """RFC 9162 2.1.3.2: "If leaf_index is greater than or equal to tree_size, then fail"."""
        with pytest.raises(EvidenceError, match=f"below tree_size {size}, got {index}"):
            verify_inclusion(SMALL[0], index, size, [], SMALL[0])

    @pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 8), (-1, 8), (9, 8), (1, 0), (1, -1), (-2, -1)])
    def test_sizes_out_of_order(self, old: int, new: int) -> None:
        with pytest.raises(EvidenceError, match=f"from 1 to new_size {new}, got {old}"):
            verify_consistency(old, SMALL[0], new, SMALL[0], [])

    def test_hash_lengths_cannot_be_shifted(self) -> None:
        """A byte moved from one sibling to the other would leave the hashed bytes, and so the root, alike."""
        left, right = SMALL[:2]
        assert node_hash(left + right[:1], right[1:]) == SMALL_ROOTS[2]
        assert rejected(verify_inclusion, left + right[:1], 0, 2, [right[1:]], SMALL_ROOTS[2])
        assert rejected(verify_consistency, 1, left + right[:1], 2, SMALL_ROOTS[2], [right[1:]])

    @pytest.mark.parametrize(
        "ask",
        [
            lambda: root(SMALL_TREE, -1),
            lambda: inclusion_proof(SMALL_TREE, -1, 8),
            lambda: inclusion_proof(SMALL_TREE, 8, 8),
            lambda: inclusion_proof(SMALL_TREE, 0, 0),
            lambda: consistency_proof(SMALL_TREE, 0, 8),
            lambda: consistency_proof(SMALL_TREE, -1, 8),
            lambda: consistency_proof(SMALL_TREE, 9, 8),
        ],
    )
    def test_questions_out_of_range(self, ask: Callable[[], object]) -> None:
        """Asking for what the tree does not have is the caller's mistake, not bad evidence."""
        with pytest.raises(BadInput):
            ask()

    def test_lost_rows_are_evidence(self) -> None:
        """A store that returns fewer hashes than it must hold has lost some: the rest gives no root."""
        thinned = TreeReader(leaves=lambda lo, hi: SMALL[lo : hi - 1], tiles=lambda level, lo, hi: [])
        with pytest.raises(
            EvidenceError, match="level 0 of the tree: expected 8 hashes from number 0, got 7"
        ):
            root(thinned, 8)
        with pytest.raises(
            EvidenceError, match="level 1 of the tree: expected 1 hashes from number 0, got 0"
        ):
            root(thinned, 300)
