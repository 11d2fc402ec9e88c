"""The subjects' data keys in their sealed buckets."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.datakeys import BUCKET_SLOTS, DataKeys, Versions, _pick, _position
from consent.epochs import Epochs
from consent.errors import EvidenceError, Unavailable
from consent.keyring import Keyring

ORIGIN = "assent/test"
PEOPLE = [f"{i:032x}" for i in range(2_500)]
SLOT, NAME = 52, 20


class KeyTable:
    """A key table with its epochs, its keyring and its file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.db"
        self.ring = Keyring.create(folder / "ring").path
        self.epochs = Epochs(self.ring, ORIGIN)
        self.epochs.ensure(1)
        self.keys = DataKeys.create(self.path, self.epochs)

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.path)
        with connection:
            rows = list(connection.execute(statement, values))
        connection.close()
        return rows

    def content(self) -> bytes:
        """The file and its write-ahead log."""
        return b"".join(p.read_bytes() for p in self.path.parent.glob("keys.db*"))

    def copy(self, folder: Path) -> DataKeys:
        """As a backup of the home would have it, opened with the same keyring."""
        folder.mkdir()
        for path in self.path.parent.glob("keys.db*"):
            shutil.copy(path, folder)
        return DataKeys.open(folder / "keys.db", self.epochs)

    def state(self) -> tuple[object, ...]:
        """Everything that is known: which versions there are, their keys, and the epochs they are under."""
        uses = sorted({use for (use,) in self.sql("SELECT use FROM slot")}, key=str)
        return (
            {str(use): self.keys.versions(str(use), PEOPLE) for use in uses},
            self.sql("SELECT bucket, use, epoch, slots FROM bucket ORDER BY bucket"),
            self.sql("SELECT use, owner, version, bucket FROM slot ORDER BY 1, 2, 3"),
        )


@pytest.fixture
def table(tmp_path: Path) -> KeyTable:
    return KeyTable(tmp_path)


# ------------------------------------------------------------------------------------------- finding and making


def test_everybody_has_a_key_per_use(table: KeyTable) -> None:
    """Random, found again, different for each subject and use, over several buckets and batches."""
    made = table.keys.find_or_create("spending", PEOPLE[:1500])
    made |= table.keys.find_or_create("spending", PEOPLE)
    other = table.keys.find_or_create("employment", PEOPLE[:10])
    assert len({k.key for k in made.values()} | {k.key for k in other.values()}) == len(PEOPLE) + 10
    assert {(k.version, len(k.key)) for k in made.values()} == {(1, 32)}
    reopened = DataKeys.open(table.path, Epochs(table.ring, ORIGIN))
    assert reopened.find("spending", PEOPLE[::-1]) == made
    assert reopened.find("employment", PEOPLE) == other
    slots = [row[0] for row in table.sql("SELECT slots FROM bucket WHERE use = 'spending' ORDER BY bucket")]
    assert slots == [BUCKET_SLOTS, BUCKET_SLOTS, len(PEOPLE) - 2 * BUCKET_SLOTS]


def test_who_has_no_key_is_simply_not_there(table: KeyTable) -> None:
    """Asking makes no key, and naming somebody twice makes one."""
    assert table.keys.find("spending", PEOPLE[:2]) == {}
    assert table.keys.versions("spending", PEOPLE[:2]) == {}
    made = table.keys.find_or_create("spending", [PEOPLE[0], PEOPLE[0]])
    assert list(made) == [PEOPLE[0]]
    assert table.keys.find("spending", PEOPLE[:2]) == made
    assert table.keys.find("spending", []) == table.keys.find_or_create("spending", []) == {}
    assert table.keys.open_each("spending", []) == []
    assert table.keys.count("spending", PEOPLE) == 1


def test_who_has_keys_for_what_is_known_without_opening_any(table: KeyTable) -> None:
    """Uses, owners in order, those with several versions; whose keys are destroyed is no owner any more."""
    table.keys.find_or_create("spending", PEOPLE[2::-1])
    table.keys.find_or_create("employment", PEOPLE[:1])
    table.keys.renew("spending", PEOPLE[1:2])
    assert table.keys.uses() == ["employment", "spending"]
    assert table.keys.owners("spending") == PEOPLE[:3]
    assert table.keys.owners("spending", at_least=2) == PEOPLE[1:2]
    table.keys.rotate(2, destroy={"spending": PEOPLE[:1]})
    assert table.keys.owners("spending") == PEOPLE[1:3]
    assert table.keys.count("spending", PEOPLE) == 3


@pytest.mark.parametrize("number", [1, 7, 8, 9, 255, 256, 257, 1500, 2500])
def test_few_and_many_find_the_same(table: KeyTable, number: int) -> None:
    """However many are asked for, in whatever order, neighbours or scattered, and whoever else has keys."""
    made = table.keys.find_or_create("spending", PEOPLE)
    table.keys.find_or_create("employment", PEOPLE[::3])
    for asked in (PEOPLE[:number], PEOPLE[:: max(1, 2500 // number)][:number], PEOPLE[-number:][::-1]):
        expected = {owner: made[owner] for owner in asked}
        assert table.keys.find("spending", asked) == expected
        assert table.keys.open_each("spending", [(owner, 1) for owner in asked]) == [
            made[owner].key for owner in asked
        ]
    strangers = [f"{i:032x}" for i in range(10**9, 10**9 + number)]
    assert table.keys.find("spending", strangers + PEOPLE[:1]) == {PEOPLE[0]: made[PEOPLE[0]]}


def test_two_processes_that_add_keys_at_once_agree(table: KeyTable) -> None:
    """Each person gets one key, whoever asks first."""
    script = (
        "import sys; from pathlib import Path\n"
        "from consent.datakeys import DataKeys; from consent.epochs import Epochs\n"
        "keys = DataKeys.open(Path(sys.argv[1]), Epochs(Path(sys.argv[2]), 'assent/test'))\n"
        "people = [f'{i:032x}' for i in range(1200)]\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for at in range(0, 1200, 12): keys.find_or_create('spending', people[at:at + 12])"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(table.path), str(table.ring)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
            text=True,
        )
        for _ in range(2)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        process.communicate()
    assert [process.returncode for process in running] == [0, 0]
    found = table.keys.find("spending", PEOPLE)
    assert sorted(found) == PEOPLE[:1200]
    assert len({k.key for k in found.values()}) == 1200
    assert table.sql("SELECT sum(slots), count(*) FROM bucket") == [(1200, 2)]
    assert table.sql("SELECT count(*), max(version) FROM slot") == [(1200, 1)]


# ------------------------------------------------------------------------------------------- what is on disk


def test_no_key_stands_in_the_file(table: KeyTable) -> None:
    """Neither in the database nor in its log, raw or as hex."""
    made = table.keys.find_or_create("spending", PEOPLE[:100])
    made = {**made, **table.keys.renew("spending", PEOPLE[:50])}
    content = table.content()
    for key in made.values():
        assert key.key not in content
        assert key.key.hex().encode() not in content


@pytest.mark.parametrize("byte", [0, 11, 12, 500, -17, -1])
def test_a_tampered_bucket_does_not_open(table: KeyTable, byte: int) -> None:
    """Nonce, content and tag; no key is handed out, none is added, and nothing is sealed anew."""
    table.keys.find_or_create("spending", PEOPLE[:50])
    ((sealed,),) = table.sql("SELECT sealed FROM bucket")
    assert isinstance(sealed, bytes)
    changed = bytearray(sealed)
    changed[byte] ^= 1
    table.sql("UPDATE bucket SET sealed = ?", bytes(changed))
    for attempt in (table.keys.find, table.keys.find_or_create, table.keys.renew, table.keys.versions):
        with pytest.raises(EvidenceError) as caught:
            attempt("spending", PEOPLE[49:51])
        assert PEOPLE[49] not in repr(caught.value)
    with pytest.raises(EvidenceError):
        table.keys.open_each("spending", [(PEOPLE[49], 1)])
    with pytest.raises(EvidenceError):
        table.keys.rotate(2)
    assert table.keys.epochs_in_use() == [1]


@pytest.mark.parametrize(("one", "two"), [(1, 2), (1, 3), (2, 3)])
def test_swapped_buckets_do_not_open(table: KeyTable, one: int, two: int) -> None:
    """A bucket is bound to its number and its use: neither read, nor sealed anew where it does not belong."""
    table.keys.find_or_create("spending", PEOPLE[:1100])
    table.keys.find_or_create("employment", PEOPLE[:10])
    sealed = [content for (content,) in table.sql("SELECT sealed FROM bucket ORDER BY bucket")]
    for bucket, content in ((one, sealed[two - 1]), (two, sealed[one - 1])):
        table.sql("UPDATE bucket SET sealed = ? WHERE bucket = ?", content, bucket)
    with pytest.raises(EvidenceError):
        table.keys.find("spending", PEOPLE[:1100])
    with pytest.raises(EvidenceError, match="does not open"):
        table.keys.rotate(2)


def test_a_slot_that_points_to_another_uses_bucket_gives_no_key(table: KeyTable) -> None:
    """The key of one use is never handed out for another."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    table.keys.find_or_create("employment", PEOPLE[:3])
    table.sql("UPDATE slot SET bucket = 2 WHERE use = 'spending'")
    with pytest.raises(EvidenceError):
        table.keys.find("spending", PEOPLE[:3])


@pytest.mark.parametrize("others", [0, 20])
def test_a_slot_that_points_to_another_bucket_does_not_make_its_owner_look_erased(
    table: KeyTable, others: int
) -> None:
    """A key that is not where it should be is broken evidence, not a destroyed key; among few and many."""
    table.keys.find_or_create("spending", PEOPLE[:1100])
    table.sql("UPDATE slot SET bucket = 2 WHERE owner = ?", bytes.fromhex(PEOPLE[7]))
    asked = PEOPLE[7 : 8 + others]
    for attempt in (table.keys.find, table.keys.find_or_create, table.keys.versions):
        with pytest.raises(EvidenceError):
            attempt("spending", asked)
    with pytest.raises(EvidenceError):
        table.keys.open_each("spending", [(owner, 1) for owner in asked])


def test_a_missing_bucket_is_broken_evidence(table: KeyTable) -> None:
    """A slot without its bucket is not the same as nobody."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    table.sql("DELETE FROM bucket")
    with pytest.raises(EvidenceError):
        table.keys.find("spending", PEOPLE[:1])


def test_another_epochs_key_opens_nothing(table: KeyTable) -> None:
    """The epoch that a bucket names is the only one that opens it."""
    made = table.keys.find_or_create("spending", PEOPLE[:3])
    table.epochs.ensure(2)
    assert table.keys.find("spending", PEOPLE[:3]) == made
    table.sql("UPDATE bucket SET epoch = 2")
    with pytest.raises(EvidenceError):
        table.keys.find("spending", PEOPLE[:1])


def test_the_epochs_number_is_bound_too(table: KeyTable) -> None:
    """The right key under another number opens nothing."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    (one,) = table.ring.glob("epoch-*-000001.key")
    one.rename(one.with_name(one.name.replace("000001", "000002")))
    table.sql("UPDATE bucket SET epoch = 2")
    with pytest.raises(EvidenceError):
        table.keys.find("spending", PEOPLE[:1])


def test_a_destroyed_epoch_takes_its_keys_along(table: KeyTable) -> None:
    """As from a restored backup: without its epoch key a bucket is unavailable, for reading and for adding."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    table.epochs.ensure(2)
    table.epochs.destroy(1)
    for attempt in (table.keys.find, table.keys.find_or_create):
        with pytest.raises(Unavailable, match="epoch"):
            attempt("spending", PEOPLE[:5])


def test_new_keys_are_sealed_under_the_newest_epoch(table: KeyTable) -> None:
    """Adding to a bucket seals it anew."""
    made = table.keys.find_or_create("spending", PEOPLE[:3])
    table.epochs.ensure(2)
    made |= table.keys.find_or_create("spending", PEOPLE[:5])
    assert table.sql("SELECT epoch, slots FROM bucket") == [(2, 5)]
    table.epochs.destroy(1)
    assert table.keys.find("spending", PEOPLE[:5]) == made


def test_another_keyring_opens_nothing(table: KeyTable, tmp_path: Path) -> None:
    """A stolen key table is no use without its keyring, nor with another home's epochs."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    for epochs in (
        Epochs(Keyring.create(tmp_path / "stranger").path, ORIGIN),
        Epochs(table.ring, "assent/other"),
    ):
        epochs.ensure(1)
        with pytest.raises(EvidenceError):
            DataKeys.open(table.path, epochs).find("spending", PEOPLE[:3])


def test_a_missing_key_table_is_unavailable(tmp_path: Path) -> None:
    """It is not made anew by mistake."""
    with pytest.raises(Unavailable):
        DataKeys.open(tmp_path / "keys.db", Epochs(Keyring.create(tmp_path / "ring").path, ORIGIN))
    assert not (tmp_path / "keys.db").exists()


# ------------------------------------------------------------------------------------------- versions


def test_a_renewed_key_stands_beside_the_old_one(table: KeyTable) -> None:
    """The newest is used from then on; those before it open what they sealed."""
    first = table.keys.find_or_create("spending", PEOPLE[:12])
    second = table.keys.renew("spending", [PEOPLE[0], PEOPLE[0], *PEOPLE[5:9], PEOPLE[20]])
    assert {owner: key.version for owner, key in second.items()} == {
        PEOPLE[0]: 2,
        **dict.fromkeys(PEOPLE[5:9], 2),
        PEOPLE[20]: 1,
    }
    assert table.keys.find("spending", PEOPLE) == first | second
    assert table.keys.find_or_create("spending", PEOPLE[:12]) == first | {
        o: second[o] for o in PEOPLE[:12] if o in second
    }
    versions = table.keys.versions("spending", PEOPLE[:1])[PEOPLE[0]]
    assert versions == Versions(2, {1: first[PEOPLE[0]].key, 2: second[PEOPLE[0]].key})
    assert (versions.opens(1), versions.opens(2)) == (first[PEOPLE[0]].key, second[PEOPLE[0]].key)
    assert table.keys.open_each("spending", [(PEOPLE[0], 2), (PEOPLE[1], 1), (PEOPLE[0], 1)]) == [
        second[PEOPLE[0]].key,
        first[PEOPLE[1]].key,
        first[PEOPLE[0]].key,
    ]
    assert table.keys.count("spending", PEOPLE[:1]) == 2


@pytest.mark.parametrize("version", [-1, 0, 3, 2**31 - 1])
def test_a_version_that_never_was_is_broken_evidence(table: KeyTable, version: int) -> None:
    """Not the same as a destroyed one: the key table is an older copy, or the record was changed."""
    table.keys.find_or_create("spending", PEOPLE[:1])
    table.keys.renew("spending", PEOPLE[:1])
    with pytest.raises(EvidenceError, match="never held"):
        table.keys.versions("spending", PEOPLE[:1])[PEOPLE[0]].opens(version)
    with pytest.raises(EvidenceError, match="never held"):
        table.keys.open_each("spending", [(PEOPLE[0], 1), (PEOPLE[0], version)])
    with pytest.raises(EvidenceError, match="never held"):
        table.keys.open_each("spending", [(PEOPLE[1], 1)])


def test_an_older_copy_of_the_key_table_is_broken_evidence(table: KeyTable, tmp_path: Path) -> None:
    """It lacks people and versions that came later; nobody of them looks erased."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    older = table.copy(tmp_path / "older")
    table.keys.find_or_create("spending", PEOPLE[:5])
    table.keys.renew("spending", PEOPLE[:1])
    assert PEOPLE[4] not in older.versions("spending", PEOPLE[:5])
    with pytest.raises(EvidenceError, match="never held"):
        older.versions("spending", PEOPLE[:1])[PEOPLE[0]].opens(2)
    for slot in ((PEOPLE[4], 1), (PEOPLE[0], 2)):
        with pytest.raises(EvidenceError, match="never held"):
            older.open_each("spending", [slot])
    assert table.keys.open_each("spending", [(PEOPLE[4], 1), (PEOPLE[0], 2)]) != [None, None]


# ------------------------------------------------------------------------------------------- destroying


def test_rotating_leaves_keys_out_and_seals_the_others_under_the_new_epoch(table: KeyTable) -> None:
    """All versions of whoever is named, for the uses named; everybody else's stay as they are."""
    made = table.keys.find_or_create("spending", PEOPLE[:1100])
    other = table.keys.find_or_create("employment", PEOPLE[:10])
    renewed = table.keys.renew("spending", PEOPLE[:2])
    gone = [PEOPLE[0], *PEOPLE[5:30], PEOPLE[1050], PEOPLE[2000]]
    rotation = table.keys.rotate(2, destroy={"spending": gone})
    assert (rotation.epoch, rotation.buckets, rotation.destroyed) == (2, 3, 28)
    assert rotation.size == table.sql("SELECT sum(length(sealed)) FROM bucket")[0][0]
    assert table.keys.epochs_in_use() == [2] == [table.epochs.current]
    expected = {o: k for o, k in (made | renewed).items() if o not in gone}
    assert table.keys.find("spending", PEOPLE) == expected
    assert table.keys.find("employment", PEOPLE) == other
    assert table.keys.versions("spending", [PEOPLE[0]]) == {PEOPLE[0]: Versions(2, {})}
    assert table.keys.versions("spending", [PEOPLE[0]])[PEOPLE[0]].opens(1) is None
    assert table.keys.open_each("spending", [(PEOPLE[0], 2), (PEOPLE[1], 2), (PEOPLE[0], 1)]) == [
        None,
        renewed[PEOPLE[1]].key,
        None,
    ]
    assert table.keys.versions("spending", PEOPLE[2000:2001]) == {}
    assert table.keys.count("spending", gone) == 0
    assert table.sql("SELECT sum(slots) FROM bucket") == [(1100 + 10 + 2 - 28,)]


def test_a_destroyed_key_is_in_no_bucket_any_more(table: KeyTable) -> None:
    """It is not only marked: were the mark taken back, there would be nothing to find."""
    table.keys.find_or_create("spending", PEOPLE[:30])
    table.keys.renew("spending", PEOPLE[5:6])
    table.keys.rotate(2, destroy={"spending": PEOPLE[:3]}, outdated={"spending": PEOPLE[5:6]})
    table.sql("UPDATE slot SET bucket = 1")
    for slot in ((PEOPLE[0], 1), (PEOPLE[2], 1), (PEOPLE[5], 1)):
        with pytest.raises(EvidenceError):
            table.keys.open_each("spending", [slot])
    assert table.keys.open_each("spending", [(PEOPLE[3], 1)]) != [None]


def test_nobody_adds_a_key_between_the_new_epoch_and_the_rotation(table: KeyTable) -> None:
    """The key table is locked before the epoch is made: else a key could be sealed under it and then left behind."""
    locked = []

    class Watched(Epochs):
        def ensure(self, epoch: int) -> None:
            other = sqlite3.connect(table.path, timeout=0, isolation_level=None)
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
            other.close()
            locked.append(epoch)
            super().ensure(epoch)

    made = table.keys.find_or_create("spending", PEOPLE[:3])
    watched = DataKeys.open(table.path, Watched(table.ring, ORIGIN))
    watched.rotate(2)
    assert locked == [2]
    assert table.keys.find("spending", PEOPLE) == made


def test_whoever_comes_back_gets_a_key_that_never_was(table: KeyTable) -> None:
    """After an erasure a new version begins; the destroyed ones stay destroyed."""
    first = table.keys.find_or_create("spending", PEOPLE[:2])
    table.keys.rotate(2, destroy={"spending": PEOPLE[:1]})
    again = table.keys.find_or_create("spending", PEOPLE[:2])
    assert again[PEOPLE[1]] == first[PEOPLE[1]]
    assert again[PEOPLE[0]].version == 2
    assert again[PEOPLE[0]].key != first[PEOPLE[0]].key
    assert table.keys.open_each("spending", [(PEOPLE[0], 1), (PEOPLE[0], 2)]) == [None, again[PEOPLE[0]].key]


def test_outdated_versions_go_and_the_newest_stays(table: KeyTable) -> None:
    """Of those named; others keep all of theirs."""
    table.keys.find_or_create("spending", PEOPLE[:4])
    table.keys.renew("spending", PEOPLE[:3])
    newest = table.keys.renew("spending", PEOPLE[:1])
    before = table.keys.versions("spending", PEOPLE[:4])
    rotation = table.keys.rotate(2, outdated={"spending": [PEOPLE[0], PEOPLE[1], PEOPLE[3], PEOPLE[9]]})
    assert rotation.destroyed == 3
    after = table.keys.versions("spending", PEOPLE)
    assert after[PEOPLE[0]] == Versions(3, {3: newest[PEOPLE[0]].key})
    assert after[PEOPLE[1]] == Versions(2, {2: before[PEOPLE[1]].alive[2]})
    assert {o: after[o] for o in PEOPLE[2:4]} == {o: before[o] for o in PEOPLE[2:4]}


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_rotation_that_is_killed_changed_nothing_and_can_be_run_again(table: KeyTable, at: int) -> None:
    """All or nothing, after whichever bucket; then it ends as if it had not been interrupted."""
    table.keys.find_or_create("spending", PEOPLE)
    table.keys.renew("spending", PEOPLE[:2])
    before = table.state()
    destroy, outdated = {"spending": PEOPLE[5:1100]}, {"spending": PEOPLE[:2]}

    def dies(done: int, _of: int) -> None:
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table.keys.rotate(2, destroy=destroy, outdated=outdated, on_progress=dies)
    assert table.state() == before
    reopened = DataKeys.open(table.path, Epochs(table.ring, ORIGIN))
    assert reopened.epochs_in_use() == [1]
    assert reopened.rotate(2, destroy=destroy, outdated=outdated).destroyed == 1097
    assert sorted(reopened.find("spending", PEOPLE)) == sorted([*PEOPLE[:5], *PEOPLE[1100:]])


def test_progress_counts_the_buckets(table: KeyTable) -> None:
    """One after another, up to all."""
    table.keys.find_or_create("spending", PEOPLE)
    seen: list[tuple[int, int]] = []
    table.keys.rotate(2, on_progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_rotation_run_again_ends_in_the_same_state(table: KeyTable) -> None:
    """The same arguments once more: nothing further goes, and nothing comes back."""
    table.keys.find_or_create("spending", PEOPLE[:1200])
    table.keys.renew("spending", PEOPLE[:3])
    destroy, outdated = {"spending": PEOPLE[7:9]}, {"spending": PEOPLE[:3]}
    assert table.keys.rotate(2, destroy=destroy, outdated=outdated).destroyed == 5
    once = table.state()
    assert table.keys.rotate(2, destroy=destroy, outdated=outdated).destroyed == 0
    assert table.state() == once


def test_no_copy_from_before_opens_once_the_old_epoch_is_destroyed(table: KeyTable, tmp_path: Path) -> None:
    """The file and its write-ahead log, from before the rotation: nobody's key, not only the erased person's."""
    made = table.keys.find_or_create("spending", PEOPLE)
    made |= table.keys.renew("spending", PEOPLE[:5])
    assert Path(f"{table.path}-wal").stat().st_size > 0
    backup = table.copy(tmp_path / "backup")
    table.keys.rotate(2, destroy={"spending": PEOPLE[3:5]})
    assert (
        backup.find("spending", PEOPLE) == made
    )  # the old epoch is there still: this is what destroying it ends
    table.keys.forget()
    table.epochs.destroy(1)
    for attempt in (backup.find, backup.versions, backup.renew, backup.find_or_create):
        for asked in (PEOPLE[:1], PEOPLE[4:5], PEOPLE):
            with pytest.raises(Unavailable, match="epoch"):
                attempt("spending", asked)
    with pytest.raises(Unavailable):
        backup.rotate(3)
    assert table.keys.find("spending", PEOPLE) == {o: k for o, k in made.items() if o not in PEOPLE[3:5]}


def test_forgetting_leaves_no_trace_of_the_old_buckets(table: KeyTable) -> None:
    """No part of a bucket as it was sealed before stands in the file or its write-ahead log."""
    table.keys.find_or_create("spending", PEOPLE)
    table.keys.forget()
    sealed = [row[0] for row in table.sql("SELECT sealed FROM bucket")]
    pieces = [piece for blob in sealed for piece in _pieces(blob)]
    assert all(piece in table.content() for piece in pieces)
    table.keys.rotate(2, destroy={"spending": PEOPLE[10:2400]})
    assert any(piece in table.content() for piece in pieces)
    table.keys.forget()
    content = table.content()
    assert not [piece for piece in pieces if piece in content]
    assert Path(f"{table.path}-wal").stat().st_size == 0
    assert len(table.keys.find("spending", PEOPLE)) == 110


def _pieces(blob: object) -> list[bytes]:
    assert isinstance(blob, bytes)
    return [blob[i : i + 24] for i in range(0, len(blob) - 24, 1024)]


def test_forgetting_waits_for_nobody_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who still reads the old state keeps it from being forgotten: that is said, and can be tried again."""
    monkeypatch.setattr("consent.database.LOCK_WAIT_S", 0.05)
    table = KeyTable(tmp_path)
    table.keys.find_or_create("spending", PEOPLE[:3])
    reader = sqlite3.connect(table.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM bucket").fetchall()
    table.keys.rotate(2, destroy={"spending": PEOPLE[:1]})
    with pytest.raises(Unavailable, match="busy"):
        table.keys.forget()
    reader.close()
    table.keys.forget()


# ------------------------------------------------------------------------------------------- slots in a bucket


@st.composite
def _buckets(draw: st.DrawFn) -> tuple[bytes, dict[bytes, bytes], list[bytes]]:
    """A bucket whose keys are made of other slots' names, at whatever offset; its slots; names to look for."""
    letters = st.sampled_from([b"\x00", b"\x01"])
    name = st.lists(letters, min_size=NAME, max_size=NAME).map(b"".join)
    names = draw(st.lists(name, min_size=1, max_size=30, unique=True))
    slots = {}
    for own in names:
        shift = draw(st.integers(0, 32 - NAME))
        filling = draw(st.binary(min_size=32, max_size=32))
        slots[own] = filling[:shift] + draw(st.sampled_from(names)) + filling[shift + NAME :]
    plain = b"".join(own + key for own, key in slots.items())
    asked = draw(st.lists(st.sampled_from(names) | name, max_size=30, unique=True))
    return plain, slots, asked


@given(_buckets())
@settings(max_examples=300, deadline=None)
def test_a_key_that_holds_another_slots_name_is_not_taken_for_it(
    bucket: tuple[bytes, dict[bytes, bytes], list[bytes]],
) -> None:
    """Law: however many are looked for, each is found where its slot begins, or not at all."""
    plain, slots, asked = bucket
    expected = {name: slots[name] for name in asked if name in slots}
    assert dict(_pick(plain, set(asked))) == expected
    for name in asked:
        assert dict(_pick(plain, {name})) == ({name: slots[name]} if name in slots else {})
        at = _position(plain, name)
        assert at == (list(slots).index(name) * SLOT if name in slots else -1)


def test_a_slot_is_found_though_its_name_stands_in_keys_before_it() -> None:
    """The first place that holds the bytes is not the slot; nor need there be one."""
    name, other = os.urandom(NAME), os.urandom(NAME)
    decoy = other + name + bytes(12)
    plain = decoy + name + hashlib.sha256(name).digest()
    assert plain.find(name) == NAME
    assert _pick(plain, {name}) == [(name, hashlib.sha256(name).digest())]
    assert _pick(decoy, {name}) == []
