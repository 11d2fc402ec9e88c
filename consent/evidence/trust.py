"""What an auditor holds: the log's key with its handovers, the witnesses believed, and how many must have cosigned.

Pure rules over notes. Everything that is verified offline goes through `Trust.verified`.

Source: C2SP tlog-proof, "Verifying a tlog proof", steps 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from consent.errors import BadInput, EvidenceError
from consent.evidence.cosignatures import Cosignature, WitnessVerifier, require_quorum, verify_cosignatures
from consent.evidence.handover import LogKeys
from consent.evidence.merkle import EMPTY_ROOT
from consent.evidence.notes import Checkpoint, Verifier
from consent.evidence.strict_text import malformed


@dataclass(frozen=True)
class Pinned:
    """A checkpoint that was verified.

    Attributes:
        checkpoint: origin, size and root.
        key: the log's key that signed it.
        cosignatures: of the known witnesses.
    """

    checkpoint: Checkpoint
    key: Verifier
    cosignatures: tuple[Cosignature, ...] = ()


@dataclass(frozen=True)
class Trust:
    """The keys somebody trusts.

    Attributes:
        log: the log's key and its handovers.
        witnesses: witnesses that are known, each by its own key.
        quorum: how many of them must have cosigned.

    Raises:
        BadInput: the quorum can never be reached.
    """

    log: LogKeys
    witnesses: tuple[WitnessVerifier, ...] = ()
    quorum: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.quorum <= len(self.witnesses):
            raise BadInput(
                f"a quorum of {self.quorum} cannot be had of {len(self.witnesses)} witnesses",
                remedy="Name more witnesses, or ask for fewer cosignatures.",
            )

    def verified(self, note: bytes) -> Pinned:
        """The checkpoint in a note, signed by the log and cosigned by enough witnesses.

        Raises:
            EvidenceError: it is not, or a line of a known witness is wrong.
        """
        checkpoint, key = self.log.verified(note)
        if checkpoint.tree_size == 0 and checkpoint.root != EMPTY_ROOT:
            raise malformed("checkpoint 0: the root is not that of the empty tree")
        cosignatures = verify_cosignatures(note, key, self.witnesses)
        require_quorum(cosignatures, self.quorum)
        return Pinned(checkpoint, key, tuple(cosignatures))

    def without_quorum(self) -> Trust:
        """The same keys, for checkpoints that the auditor held from the start."""
        return Trust(self.log, self.witnesses)


def require_one_history(pins: list[Pinned]) -> None:
    """Raise if two signed checkpoints of one size have different roots.

    Raises:
        EvidenceError: the log has two histories.
    """
    roots: dict[int, bytes] = {}
    for pinned in pins:
        size, root = pinned.checkpoint.tree_size, pinned.checkpoint.root
        if roots.setdefault(size, root) != root:
            raise EvidenceError(
                f"fork: two signed checkpoints of {size} entries have different roots,"
                f" {roots[size].hex()} and {root.hex()}",
                remedy="The log has two histories. Keep both notes: together they prove it to anybody.",
            )
