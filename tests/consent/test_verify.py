"""Offline verification: files and a public key are enough, every damage is refused, nothing is passed over."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from consent.errors import AssentError, BadInput, EvidenceError
from consent.evidence.cosignatures import WitnessSigner, cosign
from consent.evidence.handover import LogKeys, sign_handover
from consent.evidence.notes import Verifier, parse_note
from consent.evidence.prove import prove_entry, prove_growth
from consent.evidence.tiles import export_tiles
from consent.evidence.trust import Trust
from consent.evidence.verify import FileKind, Verified, read_keys, verify_files
from tests.consent.log_samples import (
    LOG,
    NEXT,
    OTHER,
    START,
    STRANGER,
    THIRD,
    TRUST,
    W1,
    W2,
    W3,
    MemoryLog,
)

TREE = MemoryLog(300)
FORK = MemoryLog(300, rewritten=20)
NOON = START + timedelta(hours=4)
COSIGNED = cosign(cosign(TREE.note(300), W1, NOON), W2, NOON)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything an auditor may be given of an honest log of 300 entries."""
    place = tmp_path_factory.mktemp("evidence")
    proof, record = prove_entry(TREE, 41, COSIGNED)
    contents = {
        "new.checkpoint": COSIGNED,
        "old.checkpoint": TREE.note(100),
        "entry-41.tlog-proof": proof,
        "entry-41.record.json": record,
        "growth": prove_growth(TREE, TREE.note(100)),
    }
    for name, content in contents.items():
        (place / name).write_bytes(content)
    export_tiles(place / "tiles", TREE.entries, COSIGNED)
    return place


@pytest.fixture
def given(evidence: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(evidence, tmp_path / "given"))


def verify(
    place: Path, names: Sequence[str], trust: Trust = TRUST, held: Sequence[str] = ()
) -> list[Verified]:
    return verify_files([place / name for name in names], trust, [place / name for name in held])


PROOF = ("entry-41.tlog-proof", "entry-41.record.json")


class TestWhatHolds:
    """Each kind of file is told by its content and shows what it shows."""

    def test_all_at_once(self, evidence: Path) -> None:
        names = ("new.checkpoint", *PROOF, "growth", "tiles")
        found = verify(evidence, names, held=["old.checkpoint"])
        assert [each.kind for each in found] == [
            FileKind.CHECKPOINT,
            FileKind.PROOF,
            FileKind.CONSISTENCY,
            FileKind.TILES,
        ]
        assert {each.pinned.checkpoint for each in found if each.pinned} == {TREE.at(300)}
        assert [each.shows for each in found][1:3] == [
            "the record is entry 41",
            "the first 100 entries are unchanged",
        ]

    def test_names_do_not_matter(self, given: Path) -> None:
        """Files that were renamed on the way are told apart all the same."""
        for number, name in enumerate((*PROOF, "growth", "old.checkpoint")):
            (given / name).rename(given / f"{number}.bin")
        found = verify(given, [f"{number}.bin" for number in range(4)])
        assert [each.kind for each in found] == [FileKind.PROOF, FileKind.CONSISTENCY, FileKind.CHECKPOINT]

    def test_growth_in_steps(self, given: Path) -> None:
        """A row of consistency files leads from what was held to the newest, in any order."""
        view = MemoryLog(200)
        (given / "step").write_bytes(prove_growth(view, view.note(100)))
        (given / "growth").write_bytes(prove_growth(TREE, TREE.note(200)))
        verify(given, ["growth", "step"], held=["old.checkpoint"])

    def test_several_proofs(self, given: Path) -> None:
        """Proofs and records of several entries are paired by their names."""
        proof, record = prove_entry(TREE, 7, COSIGNED)
        (given / "entry-7.tlog-proof").write_bytes(proof)
        (given / "entry-7.record.json").write_bytes(record)
        found = verify(given, ["entry-7.record.json", *PROOF, "entry-7.tlog-proof"])
        assert [each.shows for each in found] == ["the record is entry 41", "the record is entry 7"]

    def test_no_home_no_database(self, evidence: Path) -> None:
        """Verifying loads neither the ledger nor a database library: it runs from a bare copy of the room."""
        code = (
            "import sys; from pathlib import Path; from consent.evidence.verify import verify_files, read_keys;"
            "from consent.evidence.trust import Trust; from consent.evidence.notes import Verifier;"
            "verify_files([Path(p) for p in sys.argv[2:]], Trust(read_keys(Verifier.parse_vkey(sys.argv[1]), [])));"
            "print(sorted({'sqlalchemy', 'duckdb', 'consent.ledger', 'consent.home', 'consent.keyring'}"
            " & set(sys.modules)))"
        )
        vkey = LOG.verifier.format_vkey()
        done = subprocess.run(
            [sys.executable, "-c", code, vkey, *(str(evidence / name) for name in (*PROOF, "tiles"))],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "[]\n"


class TestWitnesses:
    """A quorum of known witnesses is asked of everything but what the auditor held himself."""

    BY_TWO = Trust(TRUST.log, (W1.verifier, W2.verifier, W3.verifier), 2)

    def test_reached(self, evidence: Path) -> None:
        found = verify(evidence, ["new.checkpoint", *PROOF, "tiles"], self.BY_TWO)
        for each in found:
            assert each.pinned
            assert [c.name for c in each.pinned.cosignatures] == [W1.name, W2.name]

    @pytest.mark.parametrize("names", [("new.checkpoint",), PROOF, ("tiles",), ("old.checkpoint",)])
    def test_not_reached(self, evidence: Path, names: tuple[str, ...]) -> None:
        """Quorum not reached."""
        by_three = Trust(TRUST.log, self.BY_TWO.witnesses, 3)
        with pytest.raises(EvidenceError, match=r"by 3 of the known witnesses, got [02]"):
            verify(evidence, names, by_three)

    def test_of_the_newer_one_only(self, evidence: Path) -> None:
        """The consistency file's checkpoint, written before the witnesses saw it, is not enough."""
        with pytest.raises(EvidenceError, match="growth: expected cosignatures by 2"):
            verify(evidence, ["growth"], self.BY_TWO, held=["old.checkpoint"])

    def test_held_ones_need_none(self, given: Path) -> None:
        verify(given, ["tiles"], self.BY_TWO, held=["old.checkpoint"])

    def test_unknown_witness(self, evidence: Path) -> None:
        """A witness nobody named counts for nothing."""
        with pytest.raises(EvidenceError, match="by 1 of the known witnesses, got 0"):
            verify(evidence, ["new.checkpoint"], Trust(TRUST.log, (W3.verifier,), 1))

    def test_same_name_other_key(self, evidence: Path) -> None:
        impostor = WitnessSigner(W1.name, OTHER.private_key)
        with pytest.raises(EvidenceError, match="got 0"):
            verify(evidence, ["new.checkpoint"], Trust(TRUST.log, (impostor.verifier,), 1))

    @pytest.mark.parametrize("quorum", [-1, 4])
    def test_impossible_quorum(self, quorum: int) -> None:
        with pytest.raises(BadInput, match="cannot be had of 3 witnesses"):
            Trust(TRUST.log, self.BY_TWO.witnesses, quorum)


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda place: (place / name).write_bytes(content) and None


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda place: (place / name).write_bytes(change((place / name).read_bytes())) and None


def tiles_of(log: MemoryLog, size: int) -> Callable[[Path], None]:
    """A whole export of another log or size in the place of the right one."""

    def damage(place: Path) -> None:
        shutil.rmtree(place / "tiles")
        export_tiles(place / "tiles", log.entries, log.note(size))

    return damage


def _later(note: bytes) -> bytes:
    """The note with the last bit of the first cosignature's time flipped."""
    _, signatures = parse_note(note)
    signature = signatures[W1.name, W1.verifier.key_id]
    line = base64.b64encode(W1.verifier.key_id + signature)
    later = signature[:7] + bytes([signature[7] ^ 1]) + signature[8:]
    return note.replace(line, base64.b64encode(W1.verifier.key_id + later))


ALL = ("new.checkpoint", *PROOF, "growth", "tiles")
#: By the name of the damage: what is done to the files, and what the refusal says.
DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "swapped roots": (write("new.checkpoint", FORK.note(300)), "fork: two signed checkpoints of 300 entries"),
    "swapped root of the old checkpoint": (write("old.checkpoint", FORK.note(100)), "root of old_size 100"),
    "truncated checkpoint": (
        edit("new.checkpoint", lambda c: c[:-1]),
        "new.checkpoint: note: it does not end",
    ),
    "truncated proof": (edit(PROOF[0], lambda c: c[:200]), r"entry-41\.tlog-proof: "),
    "truncated record": (edit(PROOF[1], lambda c: c[:-3]), "record: it is not JSON"),
    "truncated growth": (edit("growth", lambda c: c[:100]), "growth: "),
    "trailing garbage": (edit("new.checkpoint", lambda c: c + b"garbage\n"), "signature line 4"),
    "wrong origin": (write("new.checkpoint", MemoryLog(300, signer=STRANGER).note(300)), "another log"),
    "wrong key": (write("new.checkpoint", TREE.note(300, OTHER)), "expected a signature by"),
    "old checkpoint": (
        edit(PROOF[0], lambda c: c.partition(b"\n\n")[0] + b"\n\n" + TREE.note(40)),
        "leaf_index",
    ),
    "proof for another index": (
        edit(PROOF[0], lambda c: c.replace(b"index 41", b"index 42")),
        "root of tree_size",
    ),
    "record of another entry": (write(PROOF[1], prove_entry(TREE, 42, COSIGNED)[1]), "root of tree_size"),
    "flipped bit in a tile": (
        edit("tiles/tile/entries/000", lambda c: c[:99] + bytes([c[99] ^ 1]) + c[100:]),
        r"tiles: tile/0/000: hash 2 is not that of entry 2",
    ),
    "tiles of another history": (tiles_of(FORK, 300), "the first 100 entries are not those"),
    "tiles of an earlier state": (tiles_of(TREE, 90), "ends at 90 entries, but a checkpoint held pins 100"),
    "cosignature with altered time": (
        edit("new.checkpoint", _later),
        "does not match",
    ),
    "an empty file": (write("new.checkpoint", b""), "note: it does not end with a newline"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_files(given: Path, damage: str) -> None:
    """Among many right files, one wrong one is refused, and the message names it."""
    trust = Trust(TRUST.log, (W1.verifier,))
    verify(given, ALL, trust, held=["old.checkpoint"])
    do, message = DAMAGED[damage]
    do(given)
    with pytest.raises(EvidenceError, match=message) as caught:
        verify(given, ALL, trust, held=["old.checkpoint"])
    assert caught.value.remedy


class TestNothingIsPassedOver:
    """What was given and cannot be used, or was not compared, is said and not skipped."""

    def refused(self, place: Path, names: Sequence[str], message: str, held: Sequence[str] = ()) -> None:
        with pytest.raises(BadInput, match=message) as caught:
            verify(place, names, held=held)
        assert caught.value.remedy

    def test_proof_without_record(self, evidence: Path) -> None:
        self.refused(evidence, PROOF[:1], "the proof's record was not given")

    def test_record_without_proof(self, evidence: Path) -> None:
        self.refused(evidence, PROOF[1:], "a record proves nothing without its proof")

    def test_one_record_too_many(self, given: Path) -> None:
        shutil.copy(given / PROOF[1], given / "entry-42.record.json")
        self.refused(given, [*PROOF, "entry-42.record.json"], "entry-42.record.json: a record proves nothing")

    def test_growth_from_nothing(self, evidence: Path) -> None:
        self.refused(evidence, ["growth"], "starts from 100 entries, of which no checkpoint was given")

    def test_held_and_not_compared(self, evidence: Path) -> None:
        """A checkpoint of another size says nothing about the one held, whatever its signature."""
        self.refused(
            evidence, ["new.checkpoint", *PROOF], "100 entries, was compared with nothing", ["old.checkpoint"]
        )

    def test_missing_file(self, evidence: Path) -> None:
        self.refused(evidence, ["nowhere"], "nowhere cannot be read")

    def test_fork_of_two_checkpoints(self, given: Path) -> None:
        """Two notes are proof enough against the log, for anybody with its key."""
        (given / "fork.checkpoint").write_bytes(FORK.note(300))
        with pytest.raises(EvidenceError, match="fork: two signed checkpoints of 300 entries"):
            verify(given, ["new.checkpoint", "fork.checkpoint"])

    def test_fork_of_two_held_ones(self, given: Path) -> None:
        (given / "fork.checkpoint").write_bytes(FORK.note(300))
        with pytest.raises(EvidenceError, match="fork"):
            verify(given, ["tiles"], held=["new.checkpoint", "fork.checkpoint"])

    def test_the_same_size_is_compared(self, evidence: Path) -> None:
        """A checkpoint or proof of the size held is held against it, and that is enough."""
        verify(evidence, ["new.checkpoint"], held=["new.checkpoint"])
        verify(evidence, PROOF, held=["new.checkpoint"])

    def test_fork_against_a_held_one(self, given: Path) -> None:
        (given / "old.checkpoint").write_bytes(FORK.note(300))
        with pytest.raises(EvidenceError, match="fork"):
            verify(given, ["new.checkpoint"], held=["old.checkpoint"])


class TestKeyRotation:
    """An auditor who holds the first key verifies what later keys signed, by their handovers."""

    @pytest.fixture
    def rotated(self, given: Path) -> Path:
        view = MemoryLog(300, signer=THIRD)
        proof, record = prove_entry(view, 41, view.note(300))
        contents = {
            "new.checkpoint": TREE.note(300, THIRD),
            "middle.checkpoint": TREE.note(180, NEXT),
            PROOF[0]: proof,
            PROOF[1]: record,
            "growth": prove_growth(view, TREE.note(100)),
            "1.handover": sign_handover(TREE.at(150), LOG, NEXT),
            "2.handover": sign_handover(TREE.at(200), NEXT, THIRD),
        }
        for name, content in contents.items():
            (given / name).write_bytes(content)
        (given / "tiles/checkpoint").write_bytes(TREE.note(300, THIRD))
        return given

    def keys(self, place: Path, held: Verifier = LOG.verifier) -> Trust:
        return Trust(read_keys(held, [place / "2.handover", place / "1.handover"]))

    def test_all_at_once(self, rotated: Path) -> None:
        names = (*ALL, "middle.checkpoint")
        found = verify(rotated, names, self.keys(rotated), held=["old.checkpoint"])
        assert {each.pinned.key for each in found if each.pinned} == {NEXT.verifier, THIRD.verifier}

    def test_handovers_among_the_files(self, rotated: Path) -> None:
        """A handover need not be named apart: given among the files it leads on as well."""
        paths = [rotated / name for name in ("1.handover", "new.checkpoint", "2.handover")]
        trust = Trust(read_keys(LOG.verifier, [], paths))
        found = verify_files(paths, trust)
        assert [each.kind for each in found] == [FileKind.HANDOVER, FileKind.CHECKPOINT, FileKind.HANDOVER]
        assert found[0].shows == f"from 150 entries on the key is {NEXT.verifier.format_vkey()}"

    def test_link_missing(self, rotated: Path) -> None:
        with pytest.raises(EvidenceError, match="lead from no key"):
            read_keys(LOG.verifier, [rotated / "2.handover"])
        with pytest.raises(EvidenceError, match="expected a signature by"):
            verify(rotated, ["new.checkpoint"], Trust(read_keys(LOG.verifier, [rotated / "1.handover"])))

    @pytest.mark.parametrize(
        ("size", "signer"), [(151, LOG), (149, NEXT), (201, NEXT), (199, THIRD), (250, LOG)]
    )
    def test_key_used_out_of_its_time(self, rotated: Path, size: int, signer: object) -> None:
        """A stolen old key cannot sign later states, nor a new key earlier ones."""
        (rotated / "new.checkpoint").write_bytes(TREE.note(size, signer))  # type: ignore[arg-type]
        with pytest.raises(EvidenceError, match="not good at this size"):
            verify(rotated, ["new.checkpoint"], self.keys(rotated))

    def test_handover_of_another_history(self, rotated: Path) -> None:
        """The tree a handover pins is held against the entries, and against checkpoints of its size."""
        (rotated / "1.handover").write_bytes(sign_handover(FORK.at(150), LOG, NEXT))
        with pytest.raises(EvidenceError, match="the first 150 entries are not those"):
            verify(rotated, ["tiles"], self.keys(rotated))
        (rotated / "new.checkpoint").write_bytes(TREE.note(150))
        with pytest.raises(EvidenceError, match="two different trees of 150"):
            verify(rotated, ["new.checkpoint"], self.keys(rotated))

    def test_handover_not_on_the_chain(self, rotated: Path) -> None:
        with pytest.raises(EvidenceError, match="not one that leads on"):
            verify(rotated, ["1.handover"])

    def test_every_flipped_bit_of_a_handover(self, rotated: Path) -> None:
        whole = (rotated / "1.handover").read_bytes()
        for at in range(0, len(whole)):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << at % 8
            (rotated / "1.handover").write_bytes(bytes(flipped))
            with pytest.raises(AssentError):
                self.keys(rotated)


def test_chain_is_the_one_of_the_files(evidence: Path) -> None:
    """Without handovers the chain is the key alone."""
    assert read_keys(LOG.verifier, []) == LogKeys(LOG.verifier)
