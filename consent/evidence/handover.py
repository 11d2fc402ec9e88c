"""Key handovers: how the log's signing key is replaced without breaking what was proved with the old one.

A handover is a signed note of five lines, signed by the old key and by the new one::

    assent/key-handover/v1
    <origin>
    <tree size>
    <base64 root of that size>
    <verifier key of the new key>

The old key is good for checkpoints up to that size, the new one from that size on. Whoever holds the first key
follows the handovers to the key of any checkpoint; whoever steals an old key cannot sign the log's later states.

Pure text and keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consent.errors import BadInput, EvidenceError
from consent.evidence.merkle import EMPTY_ROOT
from consent.evidence.notes import (
    Checkpoint,
    Signer,
    Verifier,
    format_checkpoint,
    parse_checkpoint,
    parse_note,
    sign_note,
    verify_note,
)
from consent.evidence.strict_text import malformed

HEADER = "assent/key-handover/v1"


@dataclass(frozen=True)
class Handover:
    """From which size on which key signs.

    Attributes:
        at: origin, size and root of the tree at which the key changes hands.
        new_key: the key that is good from then on; its name is the origin.
    """

    at: Checkpoint
    new_key: Verifier


def format_handover(handover: Handover) -> str:
    """The five lines, each ended by a newline.

    Raises:
        BadInput: `parse_handover` would not read the result.
    """
    at = handover.at
    if fault := _fault(handover):
        raise BadInput(f"cannot write a key handover: {fault}")
    return (
        f"{HEADER}\n{format_checkpoint(at.origin, at.tree_size, at.root)}{handover.new_key.format_vkey()}\n"
    )


def parse_handover(text: str) -> Handover:
    """Strict inverse of `format_handover`.

    Raises:
        EvidenceError: the text is not exactly what `format_handover` writes.
    """
    lines = text.split("\n")
    if len(lines) != 6 or lines[0] != HEADER or lines[5]:
        raise malformed(f"key handover: expected 5 lines, the first of them {HEADER}")
    handover = Handover(parse_checkpoint("\n".join(lines[1:4]) + "\n"), Verifier.parse_vkey(lines[4]))
    if fault := _fault(handover):
        raise malformed(f"key handover: {fault}")
    return handover


def sign_handover(at: Checkpoint, old: Signer, new: Signer) -> bytes:
    """The handover note with both signatures.

    Raises:
        BadInput: the keys are the same, or not both the log's by name.
    """
    if old.verifier == new.verifier or old.name != at.origin:
        raise BadInput("a key handover needs two different keys, both under the log's name")
    return sign_note(format_handover(Handover(at, new.verifier)), old, new)


def verify_handover(note: bytes, old: Verifier) -> Handover:
    """What the note hands over, if both the old key and the new one signed it.

    Raises:
        EvidenceError: a signature is missing or wrong, or it is of another log.
    """
    handover = parse_handover(verify_note(note, [old]))
    if handover.at.origin != old.name:
        raise malformed("key handover: it is of another log than the key")
    if handover.new_key == old:
        raise malformed("key handover: it hands the key over to itself")
    verify_note(note, [handover.new_key])
    return handover


def _fault(handover: Handover) -> str:
    """Why the values cannot stand in a handover; empty if they can."""
    if handover.new_key.name != handover.at.origin:
        return "the new key is not under the log's name"
    if handover.at.tree_size == 0 and handover.at.root != EMPTY_ROOT:
        return "the root is not that of the empty tree"
    return ""


# --------------------------------------------------------------------------------------- a chain of keys


@dataclass(frozen=True)
class LogKeys:
    """The key somebody holds, and the handovers that lead on from it.

    Attributes:
        held: the key that was handed out with care.
        handovers: verified, in order; make them with `LogKeys.follow`.
    """

    held: Verifier
    handovers: tuple[Handover, ...] = ()

    @classmethod
    def follow(cls, held: Verifier, notes: Sequence[bytes]) -> LogKeys:
        """Put handover notes, given in any order, into the chain that starts at the key held.

        Raises:
            EvidenceError: a note is wrong, leads from no key of the chain, one key was handed over twice, or
                a later handover is of a smaller tree.
        """
        keys, left = cls(held), list(dict.fromkeys(notes))
        while left:
            next_notes = [note for note in left if _hands_over(note, keys.newest)]
            if len(next_notes) != 1:
                raise _broken_chain(keys, len(next_notes), len(left))
            keys = keys.and_then(next_notes[0])
            left.remove(next_notes[0])
        return keys

    def and_then(self, note: bytes) -> LogKeys:
        """The chain with one more handover.

        Raises:
            EvidenceError: the newest key does not hand over with this note.
        """
        handover = verify_handover(note, self.newest)
        if handover.new_key in self.keys:
            raise malformed("key handover: it leads back to an earlier key")
        if self.handovers and handover.at.tree_size < self.handovers[-1].at.tree_size:
            raise malformed("key handover: it is of a smaller tree than the one before")
        longer = LogKeys(self.held, (*self.handovers, handover))
        longer.require_root(handover.at)
        return longer

    @property
    def keys(self) -> tuple[Verifier, ...]:
        """Every key of the chain, oldest first."""
        return (self.held, *(handover.new_key for handover in self.handovers))

    @property
    def newest(self) -> Verifier:
        """The key that signs now."""
        return self.keys[-1]

    def good_at(self, tree_size: int) -> list[Verifier]:
        """The keys that may sign a tree of this size; at the size of a handover these are two."""
        sizes = [handover.at.tree_size for handover in self.handovers]
        until = [*sizes, tree_size]
        since = [0, *sizes]
        return [key for key, lo, hi in zip(self.keys, since, until, strict=True) if lo <= tree_size <= hi]

    def verified(self, note: bytes) -> tuple[Checkpoint, Verifier]:
        """The checkpoint in a note, and the key of the chain that signed it.

        Raises:
            EvidenceError: no key that is good at its size signed it, it is of another log, or a handover
                pins another root.
        """
        text, signatures = parse_note(note)
        checkpoint = parse_checkpoint(text)
        if checkpoint.origin != self.held.name:
            raise malformed("checkpoint: it is of another log than the key")
        signed = {key for key in self.keys if (key.name, key.key_id) in signatures}
        good = [key for key in self.good_at(checkpoint.tree_size) if key in signed]
        if signed and not good:
            raise malformed(
                f"checkpoint {checkpoint.tree_size}: it is signed by a key that is not good at this size"
            )
        for key in good or [self.held]:
            verify_note(note, [key])
        self.require_root(checkpoint)
        return checkpoint, good[-1]

    def require_root(self, checkpoint: Checkpoint) -> None:
        """Raise if a handover of the same size pins another root.

        Raises:
            EvidenceError: the log has two histories.
        """
        for handover in self.handovers:
            if handover.at.tree_size == checkpoint.tree_size and handover.at.root != checkpoint.root:
                raise EvidenceError(
                    f"a key handover and a checkpoint sign two different trees of {checkpoint.tree_size} entries",
                    remedy="The log has two histories. Keep both files: they prove it.",
                )


def _hands_over(note: bytes, old: Verifier) -> bool:
    """Whether a note carries the old key's signature and names another key."""
    text, signatures = parse_note(note)
    return (old.name, old.key_id) in signatures and parse_handover(text).new_key != old


def _broken_chain(keys: LogKeys, found: int, left: int) -> EvidenceError:
    newest = f"{keys.newest.name}+{keys.newest.key_id.hex()}"
    if found:
        return EvidenceError(
            f"key {newest} was handed over {found} times",
            remedy="The log has two successors. Keep the files: they prove it.",
        )
    return malformed(f"{left} key handovers lead from no key of the chain that ends at {newest}")
