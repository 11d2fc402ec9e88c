"""The witness: cosigns what continues, refuses what does not, keeps forks, and forgets nothing in between."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from consent.errors import AssentError, BadInput, ConfigError, Conflict, EvidenceError, Gap, Unavailable
from consent.evidence.cosignatures import WitnessVerifier
from consent.evidence.file_drop import process_drop
from consent.evidence.handover import sign_handover
from consent.evidence.notes import Checkpoint, Signer, format_checkpoint, parse_note, sign_note
from consent.evidence.proofs import AddCheckpoint, format_add_checkpoint
from consent.evidence.prove import prove_growth
from consent.evidence.trust import Trust
from consent.evidence.witness import Witness
from consent.files import exclusive
from tests.consent.log_samples import KEYS, LOG, NEXT, OTHER, START, STRANGER, MemoryLog

TREE = MemoryLog(30)
FORK = MemoryLog(30, rewritten=4)
NOON = START + timedelta(hours=4)
STRANGER_NEXT = Signer("other/log", OTHER.private_key)


def request(new: int, old: int = 0, log: MemoryLog = TREE) -> bytes:
    """The honest request from one size to another."""
    view = MemoryLog(new, rewritten=4) if log is FORK else MemoryLog(new)
    return prove_growth(view, view.note(old) if old else None)


@pytest.fixture
def witness(tmp_path: Path) -> Witness:
    made = Witness.create(tmp_path / "state", "witness.example/w1")
    made.trust(LOG.verifier.format_vkey())
    return made


@pytest.fixture
def holding(witness: Witness) -> Witness:
    """A witness that holds 10 entries."""
    witness.cosign(request(10), NOON)
    return witness


def trust_in(witness: Witness) -> Trust:
    return Trust(KEYS, (WitnessVerifier.parse_vkey(witness.vkey),), 1)


class TestItsState:
    """A key of its own that others cannot read, and a memory that survives the process."""

    def test_modes(self, witness: Witness, tmp_path: Path) -> None:
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "state/witness.key").stat().st_mode) == 0o600
        assert (tmp_path / "state/witness.vkey").read_text() == witness.vkey + "\n"

    def test_an_empty_directory_will_do(self, tmp_path: Path) -> None:
        """A directory made for it, perhaps a mount, is taken as it is and closed to others."""
        (tmp_path / "made").mkdir(mode=0o755)
        Witness.create(tmp_path / "made", "w")
        assert stat.S_IMODE((tmp_path / "made").stat().st_mode) == 0o700

    def test_opens_again(self, holding: Witness, tmp_path: Path) -> None:
        again = Witness.open(tmp_path / "state")
        assert again.vkey == holding.vkey
        with pytest.raises(Conflict, match="holds 10 entries"):
            again.cosign(request(12), NOON)
        again.cosign(request(12, 10), NOON)

    def test_a_key_is_never_overwritten(self, witness: Witness, tmp_path: Path) -> None:
        with pytest.raises(Conflict, match="is here"):
            Witness.create(tmp_path / "state", "witness.example/w2")

    @pytest.mark.parametrize("name", ["", "a b", "a+b"])
    def test_unusable_name(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(BadInput):
            Witness.create(tmp_path / "state", name)
        assert not (tmp_path / "state").exists()

    def test_nothing_here(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match=r"witness\.key of the witness cannot be read"):
            Witness.open(tmp_path / "nowhere")

    def test_readable_key(self, witness: Witness, tmp_path: Path) -> None:
        (tmp_path / "state/witness.key").chmod(0o640)
        with pytest.raises(ConfigError, match="other users"):
            Witness.open(tmp_path / "state")

    @pytest.mark.parametrize("content", [b"short", bytes(32)])
    def test_another_key(self, witness: Witness, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "state/witness.key").write_bytes(content)
        with pytest.raises(EvidenceError, match=r"damaged|do not belong together"):
            Witness.open(tmp_path / "state")

    @pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', '{"a": {"vkey": "b"}}'])
    def test_damaged_memory(self, witness: Witness, tmp_path: Path, content: str) -> None:
        (tmp_path / "state/logs.json").write_text(content)
        with pytest.raises((EvidenceError, Gap)):
            witness.cosign(request(10), NOON)

    def test_lost_memory_trusts_nobody(self, holding: Witness, tmp_path: Path) -> None:
        """Without its memory the witness cosigns nothing, rather than a fork."""
        (tmp_path / "state/logs.json").unlink()
        with pytest.raises(Unavailable, match=r"logs\.json"):
            holding.cosign(request(10, log=FORK), NOON)

    def test_forged_memory(self, holding: Witness, tmp_path: Path) -> None:
        """What it holds is signed by itself, so nobody can set it back or to another tree."""
        file = tmp_path / "state/logs.json"
        logs = json.loads(file.read_text())
        logs[LOG.name]["cosigned"] = TREE.note(5).decode()
        file.write_text(json.dumps(logs))
        with pytest.raises(EvidenceError, match="expected cosignatures by 1"):
            holding.cosign(request(12, 5), NOON)

    def test_written_before_it_is_released(
        self, witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """C2SP tlog-witness: "The witness MUST persist the new checkpoint before responding"."""
        synced: list[int] = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), fsync(fd)))
        note = witness.cosign(request(10), NOON)
        assert synced == [(tmp_path / "state" / name).stat().st_ino for name in ("logs.json", "")]
        assert json.loads((tmp_path / "state/logs.json").read_text())[LOG.name]["cosigned"] == note.decode()

    def test_one_at_a_time(self, witness: Witness, tmp_path: Path) -> None:
        """Checking and remembering are one step: a second process is told to come back."""
        with (
            exclusive(tmp_path / "state/lock", "this witness"),
            pytest.raises(Unavailable, match="another process"),
        ):
            witness.cosign(request(10), NOON)


class TestCosigning:
    """C2SP tlog-witness, "add-checkpoint": what is signed."""

    def test_first_sight(self, witness: Witness) -> None:
        note = witness.cosign(request(10), NOON)
        pinned = trust_in(witness).verified(note)
        assert pinned.checkpoint == TREE.at(10)
        assert [c.cosigned_at for c in pinned.cosignatures] == [NOON]
        assert note.startswith(TREE.note(10))

    def test_every_growth(self, tmp_path: Path) -> None:
        """From every size to every later size of a small log."""
        for old in range(1, 9):
            for new in range(old, 10):
                state = tmp_path / f"{old}-{new}"
                witness = Witness.create(state, "w")
                witness.trust(LOG.verifier.format_vkey())
                witness.cosign(request(old), NOON)
                assert trust_in(witness).verified(
                    witness.cosign(request(new, old), NOON)
                ).checkpoint == TREE.at(new)

    def test_the_same_size_again(self, holding: Witness) -> None:
        """A log that did not grow still gets a fresh time."""
        later = NOON + timedelta(days=1)
        note = holding.cosign(request(10, 10), later)
        assert trust_in(holding).verified(note).cosignatures[0].cosigned_at == later

    def test_the_empty_log(self, witness: Witness) -> None:
        empty = MemoryLog(0)
        witness.cosign(format_add_checkpoint(AddCheckpoint(0, (), empty.note(0))), NOON)
        witness.cosign(request(10), NOON)

    def test_several_logs(self, holding: Witness) -> None:
        """Each log has its own memory."""
        other = MemoryLog(3, signer=STRANGER)
        holding.trust(STRANGER.verifier.format_vkey())
        holding.cosign(prove_growth(other, None), NOON)
        holding.cosign(request(12, 10), NOON)

    def test_trusting_twice_keeps_the_memory(self, holding: Witness) -> None:
        holding.trust(LOG.verifier.format_vkey())
        with pytest.raises(Conflict, match="holds 10"):
            holding.cosign(request(12), NOON)


def forged_root(size: int, old: int, proof: tuple[bytes, ...]) -> bytes:
    note = sign_note(format_checkpoint(LOG.name, size, bytes(32)), LOG)
    return format_add_checkpoint(AddCheckpoint(old, proof, note))


def with_note(asked: bytes, note: bytes) -> bytes:
    return asked.partition(b"\n\n")[0] + b"\n\n" + note


#: By what is wrong: the request to a witness that holds 10 entries, the refusal, and its text.
REFUSED: dict[str, tuple[bytes, type[AssentError], str]] = {
    "unknown log (404)": (prove_growth(MemoryLog(3, signer=STRANGER), None), Gap, "does not watch"),
    "wrong key (403)": (
        with_note(request(12, 10), MemoryLog(12).note(12, OTHER)),
        EvidenceError,
        "signature by",
    ),
    "signature changed (403)": (
        with_note(request(12, 10), TREE.note(12).replace(b"\n12\n", b"\n11\n")),
        EvidenceError,
        "does not match",
    ),
    "backwards (400)": (
        format_add_checkpoint(AddCheckpoint(10, (), TREE.note(8))),
        EvidenceError,
        "from 10 back to 8",
    ),
    "from nothing (409)": (request(12), Conflict, "holds 10 entries of the log, the request starts from 0"),
    "stale old size (409)": (
        request(12, 9),
        Conflict,
        "holds 10 entries of the log, the request starts from 9",
    ),
    "old size ahead (409)": (
        request(14, 11),
        Conflict,
        "holds 10 entries of the log, the request starts from 11",
    ),
    "old checkpoint (409)": (request(9, 8), Conflict, "starts from 8"),
    "no proof (422)": (
        format_add_checkpoint(AddCheckpoint(10, (), TREE.note(12))),
        EvidenceError,
        "hashes, got 0",
    ),
    "rewritten below (422)": (request(12, 10, FORK), EvidenceError, "root of old_size 10"),
    "root of nothing (422)": (forged_root(12, 10, ()), EvidenceError, "hashes, got 0"),
    "proof for an equal size (422)": (
        format_add_checkpoint(AddCheckpoint(10, (bytes(32),), TREE.note(10))),
        EvidenceError,
        "a proof of 0 hashes, got 1",
    ),
    "fork at the same size (422)": (
        request(10, 10, FORK),
        EvidenceError,
        "fork: the log signed two trees of 10",
    ),
    "fork, asked from nothing (422)": (request(10, 0, FORK), EvidenceError, "fork: the log signed two trees"),
    "malformed": (b"old 10\n", EvidenceError, "blank line"),
    "trailing garbage": (request(12, 10) + b"garbage\n", EvidenceError, "signature line 2"),
    "an extension line": (
        with_note(request(12, 10), sign_note(parse_note(TREE.note(12))[0] + "more\n", LOG)),
        EvidenceError,
        "expected 3 lines",
    ),
}


class TestRefusals:
    """What does not continue the log it holds is not cosigned, and changes nothing."""

    @pytest.mark.parametrize("wrong", REFUSED)
    def test_refused(self, holding: Witness, tmp_path: Path, wrong: str) -> None:
        asked, kind, message = REFUSED[wrong]
        before = (tmp_path / "state/logs.json").read_bytes()
        with pytest.raises(kind, match=message) as caught:
            holding.cosign(asked, NOON)
        assert caught.value.remedy
        assert (tmp_path / "state/logs.json").read_bytes() == before
        holding.cosign(request(12, 10), NOON)

    def test_a_proof_from_nothing(self, witness: Witness) -> None:
        """ "If the proof is not empty when the old size is zero": refused."""
        asked = format_add_checkpoint(AddCheckpoint(0, (bytes(32),), TREE.note(10)))
        with pytest.raises(EvidenceError, match="no proof from the empty tree"):
            witness.cosign(asked, NOON)

    def test_size_zero_with_another_root(self, witness: Witness) -> None:
        """ "A checkpoint of size zero MUST have the root hash of the empty tree"."""
        with pytest.raises(EvidenceError, match="empty tree"):
            witness.cosign(forged_root(0, 0, ()), NOON)

    def test_every_flipped_bit(self, holding: Witness) -> None:
        """Not one bit of a request can change."""
        asked = request(12, 10)
        for at in range(len(asked)):
            flipped = bytearray(asked)
            flipped[at] ^= 1 << at % 8
            with pytest.raises((EvidenceError, Conflict, Gap)):
                holding.cosign(bytes(flipped), NOON)

    def test_clock_set_back(self, holding: Witness) -> None:
        """A witness' time is worth nothing if it may go back."""
        with pytest.raises(Conflict, match="clock is behind"):
            holding.cosign(request(12, 10), NOON - timedelta(minutes=6))
        holding.cosign(request(12, 10), NOON - timedelta(minutes=4))

    def test_fork_is_kept_as_evidence(self, holding: Witness, tmp_path: Path) -> None:
        """Two notes, both by the log's key, of one size and different roots: proof for anybody with the key."""
        with pytest.raises(EvidenceError):
            holding.cosign(request(10, 10, FORK), NOON)
        notes = [file.read_bytes() for file in sorted((tmp_path / "state").glob("fork-10-*.txt"))]
        assert len(notes) == 2
        roots = {KEYS.verified(note)[0] for note in notes}
        assert roots == {TREE.at(10), FORK.at(10)}

    def test_no_evidence_without_the_logs_signature(self, holding: Witness, tmp_path: Path) -> None:
        """Nobody can plant a fork: an unsigned one is refused before it is looked at."""
        with pytest.raises(EvidenceError):
            holding.cosign(with_note(request(10, 10), FORK.note(10, OTHER)), NOON)
        assert not list((tmp_path / "state").glob("fork-*"))


class TestKeyHandover:
    """A log's key is replaced only by a note that the key trusted so far has signed."""

    NOTE = sign_handover(TREE.at(12), LOG, NEXT)

    def test_followed(self, holding: Witness, tmp_path: Path) -> None:
        holding.follow(self.NOTE)
        once = (tmp_path / "state/logs.json").read_bytes()
        holding.follow(self.NOTE)
        assert (tmp_path / "state/logs.json").read_bytes() == once
        holding.cosign(with_note(request(14, 10), TREE.note(14, NEXT)), NOON)

    def test_not_before_it_is_followed(self, holding: Witness) -> None:
        with pytest.raises(EvidenceError, match="signature by"):
            holding.cosign(with_note(request(14, 10), TREE.note(14, NEXT)), NOON)

    def test_the_old_key_is_no_longer_good(self, holding: Witness) -> None:
        holding.follow(self.NOTE)
        with pytest.raises(EvidenceError, match="not good at this size"):
            holding.cosign(request(14, 10), NOON)

    def test_a_key_is_not_replaced_by_naming_another(self, holding: Witness) -> None:
        with pytest.raises(Conflict, match="another key"):
            holding.trust(OTHER.verifier.format_vkey())

    @pytest.mark.parametrize(
        ("note", "kind"),
        [
            (sign_handover(TREE.at(12), OTHER, NEXT), EvidenceError),
            (sign_handover(FORK.at(10), LOG, NEXT), EvidenceError),  # contradicts what was cosigned
            (sign_handover(TREE.at(8), LOG, NEXT), EvidenceError),  # the old key signed beyond
            (sign_handover(Checkpoint("other/log", 1, bytes(32)), STRANGER, STRANGER_NEXT), Gap),
            (TREE.note(12), EvidenceError),
        ],
    )
    def test_not_followed(
        self, holding: Witness, tmp_path: Path, note: bytes, kind: type[AssentError]
    ) -> None:
        before = (tmp_path / "state/logs.json").read_bytes()
        with pytest.raises(kind):
            holding.follow(note)
        assert (tmp_path / "state/logs.json").read_bytes() == before

    def test_a_second_successor(self, holding: Witness) -> None:
        holding.follow(self.NOTE)
        with pytest.raises(EvidenceError, match="handed over 2 times"):
            holding.follow(sign_handover(TREE.at(12), LOG, OTHER))


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


def names(drop: Path) -> list[str]:
    return sorted(path.name for path in drop.iterdir())


class TestFileDrop:
    """Requests by file: each gets its answer beside it, once."""

    def run(self, witness: Witness, drop: Path, at: datetime = NOON) -> dict[str, str]:
        return dict(process_drop(witness, drop, lambda: at))

    def test_cosigned(self, witness: Witness, drop: Path) -> None:
        (drop / "a.add-checkpoint").write_bytes(request(10))
        assert self.run(witness, drop) == {"a.add-checkpoint": ""}
        assert names(drop) == ["a.add-checkpoint", "a.cosigned"]
        assert trust_in(witness).verified((drop / "a.cosigned").read_bytes()).checkpoint == TREE.at(10)

    def test_done_again(self, witness: Witness, drop: Path) -> None:
        """A second run finds nothing to do and leaves every byte as it was."""
        (drop / "a.add-checkpoint").write_bytes(request(10))
        self.run(witness, drop)
        before = (drop / "a.cosigned").read_bytes()
        assert self.run(witness, drop, NOON + timedelta(days=1)) == {}
        assert (drop / "a.cosigned").read_bytes() == before

    def test_several_days_at_once(self, witness: Witness, drop: Path) -> None:
        """Requests that build on each other are answered in the order of the trees, whatever their names."""
        for name, asked in (("c", request(10)), ("b", request(12, 10)), ("a", request(20, 12))):
            (drop / f"{name}.add-checkpoint").write_bytes(asked)
        assert self.run(witness, drop) == {f"{name}.add-checkpoint": "" for name in "abc"}

    def test_lost_answer(self, holding: Witness, drop: Path) -> None:
        """Killed after it remembered and before it answered: the next run gives the same answer."""
        asked = request(12, 10)
        released = holding.cosign(asked, NOON)
        (drop / "a.add-checkpoint").write_bytes(asked)
        assert self.run(holding, drop, NOON + timedelta(days=1)) == {"a.add-checkpoint": ""}
        assert (drop / "a.cosigned").read_bytes() == released

    def test_no_answer_was_lost(self, holding: Witness) -> None:
        """Only the very checkpoint that was cosigned last has an answer to give again."""
        strangers = prove_growth(MemoryLog(3, signer=STRANGER), None)
        for asked in (request(12, 10), request(10, log=FORK), strangers):
            assert holding.cosigned_before(asked) is None
        holding.trust(STRANGER.verifier.format_vkey())
        assert holding.cosigned_before(strangers) is None

    def test_refused_with_the_reason(self, holding: Witness, drop: Path) -> None:
        (drop / "a.add-checkpoint").write_bytes(request(12, 9))
        assert "holds 10 entries" in self.run(holding, drop)["a.add-checkpoint"]
        assert names(drop) == ["a.add-checkpoint", "a.refused"]
        assert (drop / "a.refused").read_text().startswith("CONFLICT: this witness holds 10 entries")

    def test_refused_is_tried_anew(self, witness: Witness, drop: Path) -> None:
        """What came too early is cosigned once what it builds on has come."""
        (drop / "a.add-checkpoint").write_bytes(request(12, 10))
        assert self.run(witness, drop)["a.add-checkpoint"]
        (drop / "b.add-checkpoint").write_bytes(request(10))
        self.run(witness, drop)
        self.run(witness, drop)
        assert names(drop) == ["a.add-checkpoint", "a.cosigned", "b.add-checkpoint", "b.cosigned"]

    @pytest.mark.parametrize("content", [b"garbage", b"old 1\n\n" + b"x" * 3_000_000])
    def test_garbage(self, holding: Witness, drop: Path, content: bytes) -> None:
        (drop / "a.add-checkpoint").write_bytes(content)
        (drop / "b.add-checkpoint").write_bytes(request(12, 10))
        answers = self.run(holding, drop)
        assert answers["a.add-checkpoint"]
        assert not answers["b.add-checkpoint"]

    def test_what_is_passed_over(self, witness: Witness, drop: Path, tmp_path: Path) -> None:
        """Links, directories, other files, and a file that is only beginning to arrive."""
        (tmp_path / "outside").write_bytes(request(10))
        (drop / "link.add-checkpoint").symlink_to(tmp_path / "outside")
        (drop / "directory.add-checkpoint").mkdir()
        (drop / "arriving.add-checkpoint").touch()
        (drop / "other.txt").write_bytes(request(10))
        assert self.run(witness, drop) == {}

    def test_answers_follow_no_link(self, witness: Witness, drop: Path, tmp_path: Path) -> None:
        """Whoever writes to the drop cannot make the witness write elsewhere."""
        target = tmp_path / "state/witness.key"
        key = target.read_bytes()
        (drop / "a.add-checkpoint").write_bytes(request(12, 10))
        for name in ("a.refused", "a.refused.partial"):
            (drop / name).symlink_to(target)
        assert self.run(witness, drop)["a.add-checkpoint"]
        assert target.read_bytes() == key
        assert not (drop / "a.refused").is_symlink()

    def test_locked(self, witness: Witness, drop: Path, tmp_path: Path) -> None:
        """Another run in progress is no reason to refuse anything."""
        (drop / "a.add-checkpoint").write_bytes(request(10))
        with exclusive(tmp_path / "state/lock", "this witness"), pytest.raises(Unavailable):
            self.run(witness, drop)
        assert names(drop) == ["a.add-checkpoint"]

    def test_an_answer_is_whole(self, witness: Witness, drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Power lost at any moment leaves no half answer: the whole of it is on disk before it has its name."""
        (drop / "a.add-checkpoint").write_bytes(request(10))
        synced: dict[int, tuple[int, bool]] = {}

        def fsync(descriptor: int) -> None:
            file = os.fstat(descriptor)
            synced[file.st_ino] = (file.st_size, (drop / "a.cosigned").exists())

        monkeypatch.setattr(os, "fsync", fsync)
        self.run(witness, drop)
        answer = (drop / "a.cosigned").stat()
        assert synced[answer.st_ino] == (answer.st_size, False)

    def test_no_drop(self, witness: Witness, tmp_path: Path) -> None:
        with pytest.raises(Unavailable, match="the drop cannot be read"):
            self.run(witness, tmp_path / "nowhere")


_KILLED = """
import os, sys
from pathlib import Path
from consent import files
from consent.evidence import witness
from tests.consent.test_witness import NOON, request
real, steps = os.fsync, [0]
def counting(descriptor):
    steps[0] += 1
    if steps[0] == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
    real(descriptor)
os.fsync = counting
witness.Witness.open(Path(sys.argv[1])).cosign(request(12, 10), NOON)
"""


@pytest.mark.parametrize("step", [1, 2])
def test_killed_at_any_step(holding: Witness, tmp_path: Path, step: int) -> None:
    """Killed at each sync: it holds the old size or the new one, and never cosigns a fork of either."""
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(tmp_path / "state"), str(step)],
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert killed.returncode == -9
    again = Witness.open(tmp_path / "state")
    with pytest.raises((EvidenceError, Conflict)):
        again.cosign(request(12, 10, FORK), NOON)
    note = again.cosigned_before(request(12, 10)) or again.cosign(request(12, 10), NOON)
    assert trust_in(again).verified(note).checkpoint == TREE.at(12)
