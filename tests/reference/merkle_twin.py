"""Slow, obviously right twin of `consent.evidence.merkle`: RFC 9162's recursive definitions, word for word, on lists.

Shares no code with the module it checks. All functions take the list of *leaf hashes*.
"""

import hashlib
from collections.abc import Sequence


def _split(n: int) -> int:
    """ "let k be the largest power of two smaller than n (i.e., k < n <= 2k)" """
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(leaves: Sequence[bytes]) -> bytes:
    """Merkle Tree Hash, section 2.1.1."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = _split(len(leaves))
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Inclusion proof PATH(m, D_n), section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Consistency proof PROOF(m, D_n), section 2.1.4.1."""
    return _subproof(m, leaves, True)


def _subproof(m: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = _split(len(leaves))
    if m <= k:
        return [*_subproof(m, leaves[:k], whole), mth(leaves[k:])]
    return [*_subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def tiles(leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """The root of every full tile of 256**level leaves, level >= 1, by (level, tile_index)."""
    found, level = {}, 1
    while (width := 256**level) <= len(leaves):
        for tile_index in range(len(leaves) // width):
            found[level, tile_index] = mth(leaves[tile_index * width : (tile_index + 1) * width])
        level += 1
    return found
