"""Verifies files offline: no home, no keyring, no database; only the files and what the auditor trusts.

Each file is told by its content, not its name, and every checkpoint met anywhere is held against all others:

1. key handovers lead from the key that is held to the keys that signed;
2. each checkpoint is signed by a key that is good at its size, and cosigned by enough witnesses;
3. no two of them have one size and different roots;
4. a proof leads from its record to its checkpoint;
5. a consistency file leads from a checkpoint that is at hand to its newer one;
6. a directory of tiles gives, entry by entry, its own root and that of every checkpoint held;
7. every checkpoint held was compared with something: what was not compared is not passed over.

Source: C2SP tlog-proof, "Verifying a tlog proof"; RFC 9162 sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from consent.errors import BadInput, EvidenceError
from consent.evidence.certificate import HEADERS as CERTIFICATES
from consent.evidence.certificate import verify_certificate
from consent.evidence.disclosure import parse_disclosure
from consent.evidence.handover import HEADER, LogKeys, parse_handover
from consent.evidence.notes import MAX_NOTE_BYTES, Verifier, parse_note
from consent.evidence.proofs import (
    TLOG_PROOF_HEADER,
    parse_add_checkpoint,
    parse_tlog_proof,
    verify_add_checkpoint,
    verify_tlog_proof,
)
from consent.evidence.strict_text import malformed
from consent.evidence.tiles_check import verify_tiles
from consent.evidence.trust import Pinned, Trust, require_one_history

_T = TypeVar("_T")
_R = TypeVar("_R")

_MAX_BYTES = 2 * MAX_NOTE_BYTES


class FileKind(StrEnum):
    """What a file is, told by how it begins."""

    CHECKPOINT = "checkpoint"
    PROOF = "inclusion proof"
    RECORD = "record"
    CONSISTENCY = "consistency proof"
    HANDOVER = "key handover"
    CERTIFICATE = "certificate"
    TILES = "tiles"


_BEGINNINGS = {
    f"{TLOG_PROOF_HEADER}\n".encode(): FileKind.PROOF,
    b"old ": FileKind.CONSISTENCY,
    b"{": FileKind.RECORD,
    f"{HEADER}\n".encode(): FileKind.HANDOVER,
    **{f"{header}\n".encode(): FileKind.CERTIFICATE for header in CERTIFICATES},
}


@dataclass(frozen=True)
class Verified:
    """One file that holds, and what it shows.

    Attributes:
        name: the file's name.
        kind: what it is.
        shows: one sentence for people.
        pinned: the checkpoint it hangs on; None for a key handover and a certificate.
    """

    name: str
    kind: FileKind
    shows: str
    pinned: Pinned | None = None


@dataclass(frozen=True)
class _File:
    path: Path
    kind: FileKind
    content: bytes = field(repr=False, default=b"")


def read_keys(held: Verifier, handovers: Sequence[Path], files: Sequence[Path] = ()) -> LogKeys:
    """The key held and the handovers that lead on from it, in any order; those among the files count too.

    Raises:
        BadInput: a file cannot be read.
        EvidenceError: they are no chain.
    """
    among = [file.path for file in map(_open, files) if file.kind is FileKind.HANDOVER]
    return LogKeys.follow(held, [_read(path) for path in (*handovers, *among)])


def verify_files(
    paths: Sequence[Path],
    trust: Trust,
    held: Sequence[Path] = (),
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> list[Verified]:
    """Verify files together; see the list at the top of this file.

    Args:
        paths: checkpoints, proofs with their records, consistency files, key handovers, certificates, directories of
            tiles.
        trust: the log's keys, the witnesses and how many of them must have cosigned.
        held: checkpoints that the auditor kept from earlier; these need no cosignatures.
        on_progress: called with the number of entries verified so far in a directory, and of all.

    Returns:
        One line per file, in the order given; a record and its proof are one.

    Raises:
        EvidenceError: something does not hold; the message names the file or the position.
        BadInput: a file cannot be read or used, or lacks its counterpart.
    """
    return _Verification(trust, [_open(path) for path in paths], held, on_progress).run()


class _Verification:
    """One call of `verify_files`: collects every checkpoint met, and which of those held were compared."""

    def __init__(
        self,
        trust: Trust,
        files: Sequence[_File],
        held: Sequence[Path],
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._trust = trust
        self._files = files
        self._on_progress = on_progress
        self._held = [_named(path, trust.without_quorum().verified, _read(path)) for path in held]
        handed_over = [Pinned(handover.at, handover.new_key) for handover in trust.log.handovers]
        self._pins = [*self._held, *handed_over]
        self._compared = {pinned.checkpoint.tree_size for pinned in handed_over}
        require_one_history(self._pins)

    def run(self) -> list[Verified]:
        """Verify every file: checkpoints before what starts from them, directories after all checkpoints are met."""
        self._require_records()
        verified: dict[int, Verified] = {}
        for at in sorted(range(len(self._files)), key=lambda at: _turn(self._files[at])):
            file = self._files[at]
            if file.kind != FileKind.RECORD:
                verified[at] = _named(file.path, self._verify, file)
        self._require_compared()
        return [verified[at] for at in sorted(verified)]

    def _verify(self, file: _File) -> Verified:
        match file.kind:
            case FileKind.PROOF:
                return self._proof(file)
            case FileKind.CONSISTENCY:
                return self._consistency(file)
            case FileKind.HANDOVER:
                return self._handover(file)
            case FileKind.TILES:
                return self._tiles(file)
            case FileKind.CERTIFICATE:
                return self._certificate(file)
            case _:
                pinned = self._pin(self._trust.verified(file.content))
                return Verified(file.path.name, file.kind, "signed by the log", pinned)

    def _proof(self, file: _File) -> Verified:
        proof, disclosure = parse_tlog_proof(file.content), parse_disclosure(self._record_of(file).content)
        pinned = self._pin(verify_tlog_proof(proof, disclosure.entry(), self._trust))
        return Verified(file.path.name, file.kind, f"the record is entry {proof.leaf_index}", pinned)

    def _consistency(self, file: _File) -> Verified:
        request = parse_add_checkpoint(file.content)
        old = next((p for p in self._pins if p.checkpoint.tree_size == request.old_size), None)
        if old is None:
            raise BadInput(
                f"the consistency file starts from {request.old_size} entries, of which no checkpoint was given",
                remedy="Give the checkpoint of that size too, as a file or with --held.",
            )
        pinned = self._pin(verify_add_checkpoint(request, old, self._trust))
        self._compared.add(request.old_size)
        shows = f"the first {request.old_size} entries are unchanged"
        return Verified(file.path.name, file.kind, shows, pinned)

    def _handover(self, file: _File) -> Verified:
        handover = parse_handover(parse_note(file.content)[0])
        if handover not in self._trust.log.handovers:
            raise malformed("key handover: it is not one that leads on from the key you hold")
        shows = f"from {handover.at.tree_size} entries on the key is {handover.new_key.format_vkey()}"
        return Verified(file.path.name, file.kind, shows)

    def _certificate(self, file: _File) -> Verified:
        _, document = verify_certificate(file.content, self._trust.log.keys)
        return Verified(file.path.name, file.kind, f"the lender signed {document.get('summary', 'it')}")

    def _tiles(self, file: _File) -> Verified:
        pinned = verify_tiles(file.path, self._trust, self._held, self._pins, self._on_progress)
        self._compared |= {held.checkpoint.tree_size for held in self._held}
        shows = "every entry and every hash fits the signed root"
        return Verified(file.path.name, file.kind, shows, self._pin(pinned))

    def _pin(self, pinned: Pinned) -> Pinned:
        self._pins.append(pinned)
        self._compared.add(pinned.checkpoint.tree_size)
        require_one_history(self._pins)
        return pinned

    def _record_of(self, proof: _File) -> _File:
        """The record with the proof's name; or the only one, if there is one proof."""
        records = [file for file in self._files if file.kind is FileKind.RECORD]
        proofs = [file for file in self._files if file.kind is FileKind.PROOF]
        same_name = [file for file in records if _stem(file.path) == _stem(proof.path)]
        found = same_name if len(same_name) == 1 else records if len(proofs) == 1 else []
        if len(found) != 1:
            raise BadInput(
                "the proof's record was not given",
                remedy="Give entry-N.record.json beside entry-N.tlog-proof.",
            )
        return found[0]

    def _require_records(self) -> None:
        """Every record belongs to a proof: one that was not verified must not look as if it were."""
        used = {self._record_of(file).path for file in self._files if file.kind is FileKind.PROOF}
        for file in self._files:
            if file.kind is FileKind.RECORD and file.path not in used:
                raise BadInput(
                    f"{file.path.name}: a record proves nothing without its proof",
                    remedy="Give entry-N.tlog-proof beside entry-N.record.json.",
                )

    def _require_compared(self) -> None:
        for pinned in self._held:
            size = pinned.checkpoint.tree_size
            if size not in self._compared:
                raise BadInput(
                    f"the checkpoint held, of {size} entries, was compared with nothing",
                    remedy="Give a consistency file that starts from it, or an export of the log.",
                )


def _named(path: Path, verify: Callable[[_T], _R], given: _T) -> _R:
    """Call a rule; what it refuses is told with the file's name."""
    try:
        return verify(given)
    except (EvidenceError, BadInput) as error:
        raise type(error)(f"{path.name}: {error.message}", remedy=error.remedy) from None


def _open(path: Path) -> _File:
    if path.is_dir():
        return _File(path, FileKind.TILES)
    content = _read(path)
    kinds = [kind for beginning, kind in _BEGINNINGS.items() if content.startswith(beginning)]
    return _File(path, kinds[0] if kinds else FileKind.CHECKPOINT, content)


def _turn(file: _File) -> tuple[int, int]:
    """When a file is verified: those that others start from come first."""
    if file.kind is FileKind.CONSISTENCY:
        return 1, _named(file.path, parse_add_checkpoint, file.content).old_size
    return {FileKind.CHECKPOINT: 0, FileKind.TILES: 3}.get(file.kind, 2), 0


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError:
        raise BadInput(f"{path.name} cannot be read", remedy="Check the path.") from None
