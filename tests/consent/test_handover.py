"""Key handovers: both keys sign, each key is good for its own sizes, and a chain has no branches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import pytest

from consent.errors import BadInput, EvidenceError
from consent.evidence.handover import (
    HEADER,
    Handover,
    LogKeys,
    format_handover,
    parse_handover,
    sign_handover,
    verify_handover,
)
from consent.evidence.merkle import EMPTY_ROOT
from consent.evidence.notes import Checkpoint, Signer, format_checkpoint, parse_note, sign_note
from consent.evidence.trust import Trust
from tests.consent.log_samples import KEYS, LOG, NEXT, ORIGIN, OTHER, STRANGER, THIRD, MemoryLog

TREE = MemoryLog(12)
FIRST = sign_handover(TREE.at(5), LOG, NEXT)
SECOND = sign_handover(TREE.at(9), NEXT, THIRD)
CHAIN = LogKeys.follow(LOG.verifier, [FIRST, SECOND])


def signed(at: Checkpoint, new: Signer, *signers: Signer) -> bytes:
    return sign_note(format_handover(Handover(at, new.verifier)), *signers)


class TestFormat:
    """Five lines, and exactly those."""

    def test_lines(self) -> None:
        text, signatures = parse_note(FIRST)
        assert text.split("\n")[:3] == [HEADER, ORIGIN, "5"]
        assert text.split("\n")[4] == NEXT.verifier.format_vkey()
        assert set(signatures) == {(ORIGIN, LOG.verifier.key_id), (ORIGIN, NEXT.verifier.key_id)}

    def test_inverse(self) -> None:
        text, _ = parse_note(FIRST)
        assert format_handover(parse_handover(text)) == text
        for damaged in (
            text + "more\n",
            text[:-1],
            text.replace("v1", "v2"),
            text.replace("\n5\n", "\n05\n"),
        ):
            with pytest.raises(EvidenceError):
                parse_handover(damaged)

    def test_a_key_of_another_log(self) -> None:
        with pytest.raises(BadInput, match="not under the log's name"):
            format_handover(Handover(TREE.at(5), STRANGER.verifier))
        text = parse_note(FIRST)[0].replace(NEXT.verifier.format_vkey(), STRANGER.verifier.format_vkey())
        with pytest.raises(EvidenceError, match="not under the log's name"):
            parse_handover(text)

    def test_the_empty_tree_has_one_root(self) -> None:
        parse_handover(format_handover(Handover(Checkpoint(ORIGIN, 0, EMPTY_ROOT), NEXT.verifier)))
        with pytest.raises(BadInput, match="empty tree"):
            format_handover(Handover(Checkpoint(ORIGIN, 0, bytes(32)), NEXT.verifier))

    def test_of_another_log(self) -> None:
        with pytest.raises(BadInput, match="under the log's name"):
            sign_handover(Checkpoint("other/log", 1, bytes(32)), LOG, STRANGER)

    def test_to_itself(self) -> None:
        with pytest.raises(BadInput, match="two different keys"):
            sign_handover(TREE.at(5), LOG, LOG)
        with pytest.raises(EvidenceError, match="to itself"):
            verify_handover(signed(TREE.at(5), LOG, LOG), LOG.verifier)
        with pytest.raises(EvidenceError):
            KEYS.and_then(signed(TREE.at(5), LOG, LOG))


class TestWhichKeyIsGood:
    """A key is good up to the size at which it was handed over, the next one from that size on."""

    @pytest.mark.parametrize(
        ("size", "good"),
        [
            (0, [LOG]),
            (4, [LOG]),
            (5, [LOG, NEXT]),
            (6, [NEXT]),
            (9, [NEXT, THIRD]),
            (10, [THIRD]),
            (10**9, [THIRD]),
        ],
    )
    def test_by_size(self, size: int, good: list[Signer]) -> None:
        assert CHAIN.good_at(size) == [signer.verifier for signer in good]

    @pytest.mark.parametrize("size", range(1, 13))
    @pytest.mark.parametrize("signer", [LOG, NEXT, THIRD, OTHER])
    def test_checkpoints(self, size: int, signer: Signer) -> None:
        """A checkpoint passes if and only if the key that signed it was good at its size."""
        note = TREE.note(size, signer)
        if signer.verifier in CHAIN.good_at(size):
            assert CHAIN.verified(note) == (TREE.at(size), signer.verifier)
        else:
            with pytest.raises(EvidenceError):
                CHAIN.verified(note)

    def test_without_the_handovers(self) -> None:
        """The key alone does not open what its successor signed."""
        with pytest.raises(EvidenceError, match="expected a signature by"):
            KEYS.verified(TREE.note(10, THIRD))

    def test_from_the_middle(self) -> None:
        """Whoever holds the second key needs the second handover only."""
        assert LogKeys.follow(NEXT.verifier, [SECOND]).newest == THIRD.verifier

    def test_any_order_and_twice(self) -> None:
        for order in permutations([FIRST, SECOND, FIRST]):
            assert LogKeys.follow(LOG.verifier, order) == CHAIN

    def test_another_root_at_the_same_size(self) -> None:
        """The handover pins the tree, so an old key cannot sign another one of that size."""
        fork = MemoryLog(12, rewritten=3)
        for signer in (LOG, NEXT):
            with pytest.raises(EvidenceError, match="two different trees of 5 entries"):
                Trust(CHAIN).verified(fork.note(5, signer))


#: By the name of the damage: the notes that do not follow from the key held.
BROKEN: dict[str, tuple[Callable[[], list[bytes]], str]] = {
    "old key has not signed": (lambda: [signed(TREE.at(5), NEXT, NEXT)], "lead from no key"),
    "new key has not signed": (lambda: [signed(TREE.at(5), NEXT, LOG)], "expected a signature by"),
    "signed by a stranger": (lambda: [signed(TREE.at(5), NEXT, OTHER, NEXT)], "lead from no key"),
    "of another log": (
        lambda: [signed(Checkpoint("other/log", 5, bytes(32)), STRANGER, LOG, STRANGER)],
        "another log than the key",
    ),
    "link missing": (lambda: [SECOND], "1 key handovers lead from no key"),
    "handed over twice": (
        lambda: [FIRST, sign_handover(TREE.at(6), LOG, OTHER)],
        "was handed over 2 times",
    ),
    "back to an earlier key": (lambda: [FIRST, sign_handover(TREE.at(9), NEXT, LOG)], "2 times|back to"),
    "smaller tree than before": (lambda: [FIRST, sign_handover(TREE.at(4), NEXT, THIRD)], "smaller tree"),
    "other root at one size": (
        lambda: [FIRST, sign_handover(MemoryLog(5, rewritten=2).at(5), NEXT, THIRD)],
        "two different trees",
    ),
    "a checkpoint": (lambda: [TREE.note(5)], "expected 5 lines"),
    "swapped root": (lambda: [FIRST.replace(b"\n5\n", b"\n6\n")], "does not match"),
    "trailing garbage": (lambda: [FIRST + b"garbage\n"], "signature line 3"),
    "truncated": (lambda: [FIRST[:-20] + b"\n"], "signature line 2"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_broken_chain(damage: str) -> None:
    notes, message = BROKEN[damage]
    with pytest.raises(EvidenceError, match=message):
        LogKeys.follow(LOG.verifier, notes())


def test_every_flipped_bit() -> None:
    """Not one bit of a handover can change."""
    for at in range(len(FIRST)):
        for bit in range(8):
            flipped = bytearray(FIRST)
            flipped[at] ^= 1 << bit
            with pytest.raises(EvidenceError):
                LogKeys.follow(LOG.verifier, [bytes(flipped)])


def test_another_log() -> None:
    """The same key under another name is another log's."""
    note = sign_note(format_checkpoint("other/log", 1, bytes(32)), STRANGER)
    with pytest.raises(EvidenceError, match="another log"):
        KEYS.verified(note)
