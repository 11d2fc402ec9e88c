"""The tlog-tiles export: the published layout, resumable, and checked offline to the first bad position."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from consent.errors import BadInput, Conflict, EvidenceError
from consent.evidence.cosignatures import cosign
from consent.evidence.handover import LogKeys, sign_handover
from consent.evidence.merkle import Frontier, leaf_hash
from consent.evidence.notes import format_checkpoint, sign_note
from consent.evidence.tiles import ENTRIES, export_tiles, format_bundle, parse_bundle, tile_path
from consent.evidence.tiles_check import verify_tiles
from consent.evidence.trust import Pinned, Trust
from tests.consent.log_samples import (
    LOG,
    NEXT,
    STRANGER,
    TRUST,
    W1,
    MemoryLog,
    recorded_at,
)
from tests.reference import merkle_twin

BIG = MemoryLog(70_000)
MID = MemoryLog(700)


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def export(directory: Path, log: MemoryLog = MID, size: int | None = None) -> Path:
    export_tiles(directory, log.entries, log.note(log.tree_size if size is None else size))
    return directory


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tmp_path_factory.mktemp("tiles") / "big", BIG)


@pytest.fixture
def mid(tmp_path: Path) -> Path:
    return export(tmp_path / "mid")


class TestLayout:
    """C2SP tlog-tiles, "Merkle Tree", "Partial Tiles" and "Log entries"."""

    def test_paths(self) -> None:
        """ "index 1234067 will be encoded as x001/x234/067"."""
        assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
        assert tile_path(1, 0, 17) == "tile/1/000.p/17"
        assert tile_path(ENTRIES, 273, 112) == "tile/entries/273.p/112"
        assert tile_path(0, 1000) == "tile/0/x001/000"

    def test_a_tree_of_70000(self, big: Path) -> None:
        """ "273 full level 0 tiles, one partial level 0 tile of width 112, one full level 1 tile, one partial
        level 1 tile of width 17, and one partial level 2 tile of width 1".
        """
        found = files(big)
        expected = {tile_path(level, number) for level in (0, ENTRIES) for number in range(273)}
        expected |= {"tile/0/273.p/112", "tile/entries/273.p/112", "checkpoint"}
        expected |= {"tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"}
        assert set(found) == expected
        assert found["checkpoint"] == BIG.note(70_000)

    def test_hashes(self, big: Path) -> None:
        """Each hash of a tile is the MTH of its range, by the RFC's own recursion."""
        leaves = BIG._leaves
        assert (big / "tile/0/005").read_bytes() == b"".join(leaves[1280:1536])
        row = [merkle_twin.mth(leaves[at : at + 256]) for at in range(0, 256 * 256, 256)]
        assert (big / "tile/1/000").read_bytes() == b"".join(row)
        assert (big / "tile/2/000.p/1").read_bytes() == merkle_twin.mth(leaves[:65_536])

    def test_bundles(self, big: Path) -> None:
        """ "sequences of big-endian uint16 length-prefixed log entries"."""
        content = (big / "tile/entries/273.p/112").read_bytes()
        assert content[:2] == b"\x00\x29"
        assert parse_bundle(content, "") == BIG.all_entries[273 * 256 :]
        assert format_bundle(parse_bundle(content, "")) == content

    @pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 512, 513])
    def test_edges(self, tmp_path: Path, size: int) -> None:
        """Trees that end at the edges of tiles have no empty tile, and verify."""
        export(tmp_path, MID, size)
        assert all(files(tmp_path).values())
        assert verify_tiles(tmp_path, TRUST).checkpoint == MID.at(size)


class TestResuming:
    """An export may be repeated, continued and killed; a full tile is never written again."""

    def test_in_steps(self, tmp_path: Path, big: Path) -> None:
        """Whatever the steps, the files for the last size are those of one export."""
        chance = random.Random(3)
        sizes = sorted({*chance.sample(range(1, 70_000), 6), 256, 65_536, 70_000})
        for size in sizes:
            export(tmp_path, BIG, size)
        found = files(tmp_path)
        assert all(found[name] == content for name, content in files(big).items())
        verify_tiles(tmp_path, TRUST, [Pinned(BIG.at(size), LOG.verifier) for size in sizes])

    def test_nothing_is_written_twice(self, mid: Path) -> None:
        before = {path: path.stat().st_mtime_ns for path in (mid / "tile").rglob("*") if path.is_file()}
        export(mid)
        export(mid)
        assert {path: path.stat().st_mtime_ns for path in before} == before

    @pytest.mark.parametrize(
        ("earlier", "start"), [(700, 512), (512, 512), (65_600, 65_536), (66_000, 65_792)]
    )
    def test_only_the_new_is_read(self, tmp_path: Path, earlier: int, start: int) -> None:
        """Continuing reads from the last full bundle on, not from the beginning."""
        asked: list[int] = []

        def entries(lo: int, hi: int) -> Iterable[bytes]:
            asked.append(lo)
            return BIG.entries(lo, hi)

        export(tmp_path, BIG, earlier)
        export_tiles(tmp_path, entries, BIG.note(66_100))
        assert asked[0] == start

    @pytest.mark.parametrize("stop", [0, 1, 2])
    def test_killed_and_done_again(self, tmp_path: Path, mid: Path, stop: int) -> None:
        """Until the checkpoint is written, last of all, the directory says nothing it does not hold."""

        def entries(lo: int, hi: int) -> Iterable[bytes]:
            if lo == stop * 256:
                raise KeyboardInterrupt
            return MID.entries(lo, hi)

        broken = tmp_path / "broken"
        with pytest.raises(KeyboardInterrupt):
            export_tiles(broken, entries, MID.note(700))
        assert not (broken / "checkpoint").exists()
        assert files(export(broken)) == files(mid)

    def test_partial_tiles_may_be_gone(self, mid: Path) -> None:
        """Without the partial tiles of the last export the next one starts anew and ends the same."""
        shutil.rmtree(mid / "tile/1")
        export(mid)
        assert verify_tiles(mid, TRUST).checkpoint == MID.at(700)

    def test_cosigned_later(self, mid: Path) -> None:
        """The same size with a witness' line replaces the note."""
        note = cosign(MID.note(700), W1, recorded_at(800))
        export_tiles(mid, MID.entries, note)
        assert (mid / "checkpoint").read_bytes() == note

    def test_leftovers_of_a_killed_export_go(self, mid: Path) -> None:
        (mid / "tile/0/002.partial").write_bytes(b"half")
        export(mid)
        assert not list(mid.rglob("*.partial"))

    def test_tiles_are_on_disk_before_the_checkpoint(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Power lost at any moment leaves no checkpoint whose tiles are not there."""
        seen: list[tuple[int, bool]] = []
        count = lambda: len(list(tmp_path.rglob("tile/**/*")))  # noqa: E731
        monkeypatch.setattr("os.sync", lambda: seen.append((count(), (tmp_path / "checkpoint").exists())))
        export(tmp_path)
        assert seen == [(count(), False)]

    def test_readable_by_others(self, mid: Path) -> None:
        """It is made to be handed out: a web server may read every file of it."""
        assert all(path.stat().st_mode & 0o044 == 0o044 for path in mid.rglob("*") if path.is_file())

    def test_progress(self, tmp_path: Path) -> None:
        seen: list[int] = []
        export_tiles(tmp_path, MID.entries, MID.note(700), seen.append)
        assert seen == [256, 512, 700]


class TestRefusals:
    """What does not fit is not written over."""

    def test_another_log(self, mid: Path) -> None:
        with pytest.raises(Conflict, match="another log"):
            export(mid, MemoryLog(800, signer=STRANGER))

    def test_a_smaller_state(self, mid: Path) -> None:
        with pytest.raises(Conflict, match="later state"):
            export(mid, MID, 600)

    @pytest.mark.parametrize("rewritten", [3, 300, 699])
    def test_another_history(self, mid: Path, rewritten: int) -> None:
        """A rewritten log does not get its checkpoint into a directory that holds the old one."""
        with pytest.raises(EvidenceError):
            export(mid, MemoryLog(1_000, rewritten=rewritten))
        assert (mid / "checkpoint").read_bytes() == MID.note(700)

    @pytest.mark.parametrize("there", [0, 1, 512, 600, 699])
    def test_entries_missing(self, tmp_path: Path, there: int) -> None:
        """Where the log ends too early, nothing of the bundle that is not whole is written."""
        with pytest.raises(EvidenceError, match="do not give the root that is signed for 700"):
            export_tiles(tmp_path, MemoryLog(there).entries, MID.note(700))
        assert set(files(tmp_path)) == {
            tile_path(level, number) for level in (0, ENTRIES) for number in range(there // 256)
        }

    def test_entries_missing_in_between(self, tmp_path: Path) -> None:
        def entries(lo: int, hi: int) -> Iterable[bytes]:
            return MID.entries(lo, hi - (lo == 256))

        with pytest.raises(EvidenceError, match="do not give the root"):
            export_tiles(tmp_path, entries, MID.note(700))
        assert set(files(tmp_path)) == {"tile/0/000", "tile/entries/000"}

    def test_not_writable(self, tmp_path: Path) -> None:
        (tmp_path / "tile").write_text("in the way")
        with pytest.raises(BadInput, match="tile/entries/000 cannot be written"):
            export(tmp_path)


def flip(name: str, at: int) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        content = bytearray((directory / name).read_bytes())
        content[at] ^= 1
        (directory / name).write_bytes(bytes(content))

    return damage


def change(name: str, edit: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda directory: (directory / name).write_bytes(edit((directory / name).read_bytes())) and None


def rebuilt(log: MemoryLog, note: bytes) -> Callable[[Path], None]:
    """Another history, complete and in order, under this checkpoint."""

    def damage(directory: Path) -> None:
        shutil.rmtree(directory)
        export(directory, log)
        (directory / "checkpoint").write_bytes(note)

    return damage


BUNDLE = 43 * 256  # bytes of a full bundle: 256 entries of 41 bytes, each after its length

#: By the name of the damage: what is done to the directory, and what the refusal says.
DAMAGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "entry changed": (flip("tile/entries/001", 43 * 5 + 20), "tile/0/001: hash 5 is not that of entry 261"),
    "last entry changed": (
        flip("tile/entries/002.p/188", 43 * 187 + 40),
        "hash 187 is not that of entry 699",
    ),
    "version byte changed": (
        flip("tile/entries/001", 43 * 5 + 2),
        "entry 261: expected 41 bytes of version 1",
    ),
    "time changed": (flip("tile/entries/001", 43 * 5 + 4), "entry 26[12]"),
    "time set back": (
        change("tile/entries/001", lambda c: c[: 43 * 5 + 3] + bytes(8) + c[43 * 5 + 11 :]),
        "entry 261 says it was recorded before entry 260",
    ),
    "length changed": (flip("tile/entries/001", 43 * 5 + 1), "entry 261|cut off"),
    "bundle truncated": (change("tile/entries/001", lambda c: c[:-43]), "expected exactly 256 entries"),
    "bundle cut off": (change("tile/entries/001", lambda c: c[:-1]), "cut off within its entry number 255"),
    "bundle with one byte more": (change("tile/entries/001", lambda c: c + b"\0"), "cut off"),
    "bundle with one entry more": (
        change("tile/entries/002.p/188", lambda c: c + c[:43]),
        "exactly 188 entries",
    ),
    "entries swapped": (
        change("tile/entries/001", lambda c: c[43:86] + c[:43] + c[86:]),
        "entry 257 says it was recorded before",
    ),
    "bundle missing": (lambda d: (d / "tile/entries/001").unlink(), "tile/entries/001 is missing"),
    "leaf hash changed": (flip("tile/0/001", 32 * 7), "tile/0/001: hash 7 is not that of entry 263"),
    "leaf tile truncated": (change("tile/0/002.p/188", lambda c: c[:-32]), "exactly 188 hashes"),
    "leaf tile with a byte more": (change("tile/0/002.p/188", lambda c: c + b"\0"), "exactly 188 hashes"),
    "inner hash changed": (
        flip("tile/1/000.p/2", 32),
        "tile/1/000.p/2: hash 1 is not that of tile of level 0",
    ),
    "inner tile missing": (lambda d: (d / "tile/1/000.p/2").unlink(), "tile/1/000.p/2 is missing"),
    "checkpoint missing": (lambda d: (d / "checkpoint").unlink(), "checkpoint is missing"),
    "swapped root": (
        change("checkpoint", lambda c: MemoryLog(700, rewritten=3).note(700)),
        "the first 700 entries are not those",
    ),
    "wrong origin": (
        change("checkpoint", lambda c: MemoryLog(700, signer=STRANGER).note(700)),
        "another log",
    ),
    "wrong key": (change("checkpoint", lambda c: MID.note(700, NEXT)), "expected a signature by"),
    "old checkpoint": (change("checkpoint", lambda c: MID.note(300)), "directory ends at 300 entries"),
    "rewritten and signed anew": (
        rebuilt(MemoryLog(700, rewritten=420), MemoryLog(700, rewritten=420).note(700)),
        "the first 500 entries are not those",
    ),
}
HELD = [Pinned(MID.at(500), LOG.verifier)]


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_directory(mid: Path, damage: str) -> None:
    """Offline, with the directory, the key and a checkpoint held, each damage is found and its place named."""
    verify_tiles(mid, TRUST, HELD)
    do, message = DAMAGED[damage]
    do(mid)
    with pytest.raises(EvidenceError, match=message):
        verify_tiles(mid, TRUST, HELD)


class TestHeldCheckpoints:
    """A self-consistent directory proves little; what was held from earlier proves the rest."""

    def test_every_size(self, mid: Path) -> None:
        pins = [Pinned(MID.at(size), LOG.verifier) for size in range(701)]
        assert verify_tiles(mid, TRUST, pins).checkpoint == MID.at(700)

    def test_the_empty_beginning_hides_nothing(self, mid: Path) -> None:
        """A checkpoint of no entries, which fits everything, does not keep the next from being compared."""
        pins = [Pinned(MID.at(0), LOG.verifier), Pinned(MemoryLog(500, rewritten=1).at(500), LOG.verifier)]
        with pytest.raises(EvidenceError, match="the first 500 entries"):
            verify_tiles(mid, TRUST, pins)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("tile/1/000", "tile/1/000: hash 3 is not that of tile of level 0 number 3"),
            ("tile/1/001.p/17", "tile/1/001.p/17: hash 3 is not that of tile of level 0 number 259"),
            ("tile/2/000.p/1", "tile/2/000.p/1: hash 0 is not that of tile of level 1 number 0"),
        ],
    )
    def test_inner_tiles(self, big: Path, tmp_path: Path, name: str, message: str) -> None:
        """The tiles that only proofs are made of are compared as well, full ones and others."""
        verify_tiles(big, TRUST)
        shutil.copytree(big, tmp_path / "big")
        flip(name, 96 if "000.p" not in name else 0)(tmp_path / "big")
        with pytest.raises(EvidenceError, match=re.escape(message)):
            verify_tiles(tmp_path / "big", TRUST)

    def test_progress(self, mid: Path) -> None:
        seen: list[tuple[int, int]] = []
        verify_tiles(mid, TRUST, on_progress=lambda *done: seen.append(done))
        assert seen == [(256, 700), (512, 700), (700, 700)]

    @pytest.mark.parametrize("longer", [b"", b"\0"])
    def test_entries_of_another_kind(self, tmp_path: Path, longer: bytes) -> None:
        """A log whose entries are longer than 41 bytes, signed and all, could hide something in them."""
        odd = MemoryLog(3)
        odd.all_entries[1] += longer
        edge = Frontier()
        edge.extend(leaf_hash(entry) for entry in odd.all_entries)
        note = sign_note(format_checkpoint(LOG.name, 3, edge.root()), LOG)
        export_tiles(tmp_path, odd.entries, note)
        if not longer:
            verify_tiles(tmp_path, TRUST)
            return
        with pytest.raises(EvidenceError, match="entry 1: expected 41 bytes"):
            verify_tiles(tmp_path, TRUST)

    @pytest.mark.parametrize("size", [4, 256, 257, 512, 700])
    def test_rewritten_below(self, tmp_path: Path, size: int) -> None:
        """A log rewritten below a held checkpoint passes by itself and fails against it."""
        forged = MemoryLog(700, rewritten=size - 1)
        export(tmp_path, forged)
        verify_tiles(tmp_path, TRUST)
        with pytest.raises(EvidenceError, match=f"the first {size} entries are not those"):
            verify_tiles(tmp_path, TRUST, [Pinned(MID.at(size), LOG.verifier)])

    def test_known_beyond_the_directory(self, mid: Path) -> None:
        """Checkpoints beyond the directory do not count against it unless they were held."""
        later = [Pinned(MemoryLog(800).at(800), LOG.verifier)]
        verify_tiles(mid, TRUST, known=later)
        with pytest.raises(EvidenceError, match="a checkpoint held pins 800"):
            verify_tiles(mid, TRUST, later)

    def test_handover_pins(self, mid: Path) -> None:
        """The root in a key handover is held against the entries like any other."""
        forged = sign_handover(MemoryLog(500, rewritten=3).at(500), LOG, NEXT)
        (mid / "checkpoint").write_bytes(MID.note(700, NEXT))
        with pytest.raises(EvidenceError, match="the first 500 entries"):
            verify_tiles(mid, Trust(LogKeys.follow(LOG.verifier, [forged])))
        true = sign_handover(MID.at(500), LOG, NEXT)
        verify_tiles(mid, Trust(LogKeys.follow(LOG.verifier, [true])))

    def test_recorded_after_it_was_cosigned(self, mid: Path) -> None:
        """An entry cannot be younger than the witness' word about it; five minutes of clock are granted."""
        for early, fits in ((timedelta(minutes=4), True), (timedelta(minutes=6), False)):
            note = cosign(MID.note(500), W1, recorded_at(499) - early)
            pins = [Trust(TRUST.log, (W1.verifier,)).verified(note)]
            if fits:
                verify_tiles(mid, TRUST, pins)
            else:
                with pytest.raises(EvidenceError, match=f"entry 499 says it was recorded after {W1.name}"):
                    verify_tiles(mid, TRUST, pins)

    def test_full_tile_for_a_partial_one(self, tmp_path: Path) -> None:
        """C2SP tlog-tiles: a partial tile may be gone once the full one is there."""
        export(tmp_path, MID, 200)
        export(tmp_path, MID, 700)
        (tmp_path / "checkpoint").write_bytes(MID.note(200))
        flip("tile/0/000.p/200", 0)(tmp_path)
        with pytest.raises(EvidenceError, match="hash 0 is not that of entry 0"):
            verify_tiles(tmp_path, TRUST)  # a partial tile that is there is not passed over
        shutil.rmtree(tmp_path / "tile/0/000.p")
        shutil.rmtree(tmp_path / "tile/entries/000.p")
        assert verify_tiles(tmp_path, TRUST).checkpoint == MID.at(200)
        change("tile/0/000", lambda content: content[:-1])(tmp_path)
        with pytest.raises(EvidenceError, match="tile/0/000: expected exactly 256 hashes"):
            verify_tiles(tmp_path, TRUST)

    def test_empty_log(self, tmp_path: Path) -> None:
        empty = MemoryLog(0)
        tmp_path = export(tmp_path / "new", empty)
        assert verify_tiles(tmp_path, TRUST).checkpoint.tree_size == 0
        forged = sign_note(f"{LOG.name}\n0\n{'A' * 43}=\n", LOG)
        (tmp_path / "checkpoint").write_bytes(forged)
        with pytest.raises(EvidenceError, match="not that of the empty tree"):
            verify_tiles(tmp_path, TRUST)
