"""The subjects' data keys in their sealed buckets."""

import sqlite3
from pathlib import Path

import pytest

from consent.datakeys import BUCKET_SLOTS, DataKeys
from consent.errors import EvidenceError, Unavailable
from consent.keyring import Keyring

PEOPLE = [f"{i:032x}" for i in range(2_500)]


class KeyTable:
    """A key table with its keyring and its file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "keys.db"
        self.ring_path = folder / "ring"
        self.keys = DataKeys.create(self.path, Keyring.create(self.ring_path))

    def sql(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.path)
        with connection:
            rows = list(connection.execute(statement, values))
        connection.close()
        return rows

    def content(self) -> bytes:
        return b"".join(p.read_bytes() for p in self.path.parent.glob("keys.db*"))


@pytest.fixture
def table(tmp_path: Path) -> KeyTable:
    return KeyTable(tmp_path)


def test_everybody_has_a_key_per_source(table: KeyTable) -> None:
    """Random, found again, different for each subject and source, over several buckets and batches."""
    made = table.keys.find_or_create("spending", PEOPLE[:1500])
    made |= table.keys.find_or_create("spending", PEOPLE)
    other = table.keys.find_or_create("employment", PEOPLE[:10])
    assert len(set(made.values()) | set(other.values())) == len(PEOPLE) + 10
    assert {len(key) for key in made.values()} == {32}
    reopened = DataKeys.open(table.path, Keyring.open(table.ring_path))
    assert reopened.find("spending", PEOPLE[::-1]) == made
    assert reopened.find("employment", PEOPLE) == other
    slots = [
        row[0] for row in table.sql("SELECT slots FROM bucket WHERE source = 'spending' ORDER BY bucket")
    ]
    assert slots == [BUCKET_SLOTS, BUCKET_SLOTS, len(PEOPLE) - 2 * BUCKET_SLOTS]


def test_who_has_no_key_is_simply_not_there(table: KeyTable) -> None:
    """Asking makes no key, and naming somebody twice makes one."""
    assert table.keys.find("spending", PEOPLE[:2]) == {}
    made = table.keys.find_or_create("spending", [PEOPLE[0], PEOPLE[0]])
    assert list(made) == [PEOPLE[0]]
    assert table.keys.find("spending", PEOPLE[:2]) == made
    assert table.keys.find("spending", []) == table.keys.find_or_create("spending", []) == {}


def test_no_key_stands_in_the_file(table: KeyTable) -> None:
    """Neither in the database nor in its log, raw or as hex."""
    made = table.keys.find_or_create("spending", PEOPLE[:100])
    content = table.content()
    for key in made.values():
        assert key not in content
        assert key.hex().encode() not in content


@pytest.mark.parametrize("byte", [0, 11, 12, 500, -17, -1])
def test_a_tampered_bucket_does_not_open(table: KeyTable, byte: int) -> None:
    """Nonce, content and tag; no key is handed out and none is added."""
    table.keys.find_or_create("spending", PEOPLE[:50])
    ((sealed,),) = table.sql("SELECT sealed FROM bucket")
    assert isinstance(sealed, bytes)
    changed = bytearray(sealed)
    changed[byte] ^= 1
    table.sql("UPDATE bucket SET sealed = ?", bytes(changed))
    for attempt in (table.keys.find, table.keys.find_or_create):
        with pytest.raises(EvidenceError) as caught:
            attempt("spending", PEOPLE[49:51])
        assert PEOPLE[49] not in repr(caught.value)


def test_swapped_buckets_do_not_open(table: KeyTable) -> None:
    """A bucket is bound to its number and its source."""
    table.keys.find_or_create("spending", PEOPLE[:1100])
    table.keys.find_or_create("employment", PEOPLE[:10])
    (one, two, three) = [row[0] for row in table.sql("SELECT sealed FROM bucket ORDER BY bucket")]
    for first, second, source in ((two, one, "spending"), (three, two, "employment")):
        table.sql("UPDATE bucket SET sealed = ? WHERE bucket = 1", first)
        table.sql("UPDATE bucket SET sealed = ? WHERE bucket = 3", second)
        with pytest.raises(EvidenceError):
            table.keys.find(source, PEOPLE[:1])


def test_a_slot_that_points_to_another_sources_bucket_gives_no_key(table: KeyTable) -> None:
    """The key of one source is never handed out for another."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    table.keys.find_or_create("employment", PEOPLE[:3])
    table.sql("UPDATE slot SET bucket = 2 WHERE source = 'spending'")
    with pytest.raises(EvidenceError):
        table.keys.find("spending", PEOPLE[:3])


def test_a_missing_bucket_is_broken_evidence(table: KeyTable) -> None:
    """A slot without its bucket is not the same as nobody."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    table.sql("DELETE FROM bucket")
    with pytest.raises(EvidenceError):
        table.keys.find("spending", PEOPLE[:1])


def test_another_epochs_key_opens_nothing(table: KeyTable) -> None:
    """The epoch that a bucket names is the only one that opens it."""
    made = table.keys.find_or_create("spending", PEOPLE[:3])
    (table.ring_path / "epoch-000002.key").write_bytes(bytes(32))
    assert table.keys.find("spending", PEOPLE[:3]) == made
    table.sql("UPDATE bucket SET epoch = 2")
    with pytest.raises(EvidenceError):
        table.keys.find("spending", PEOPLE[:1])


def test_a_destroyed_epoch_takes_its_keys_along(table: KeyTable) -> None:
    """As from a restored backup: without its epoch key a bucket is unavailable, for reading and for adding."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    (table.ring_path / "epoch-000002.key").write_bytes(bytes(32))
    (table.ring_path / "epoch-000001.key").unlink()
    for attempt in (table.keys.find, table.keys.find_or_create):
        with pytest.raises(Unavailable, match="epoch"):
            attempt("spending", PEOPLE[:5])


def test_new_keys_are_sealed_under_the_newest_epoch(table: KeyTable) -> None:
    """Adding to a bucket seals it anew."""
    made = table.keys.find_or_create("spending", PEOPLE[:3])
    (table.ring_path / "epoch-000002.key").write_bytes(bytes(range(32)))
    made |= table.keys.find_or_create("spending", PEOPLE[:5])
    assert table.sql("SELECT epoch, slots FROM bucket") == [(2, 5)]
    (table.ring_path / "epoch-000001.key").unlink()
    assert table.keys.find("spending", PEOPLE[:5]) == made


def test_another_keyring_opens_nothing(table: KeyTable, tmp_path: Path) -> None:
    """A stolen key table is no use without its keyring."""
    table.keys.find_or_create("spending", PEOPLE[:3])
    stranger = DataKeys.open(table.path, Keyring.create(tmp_path / "stranger"))
    with pytest.raises(EvidenceError):
        stranger.find("spending", PEOPLE[:3])


def test_a_missing_key_table_is_unavailable(tmp_path: Path) -> None:
    """It is not made anew by mistake."""
    with pytest.raises(Unavailable):
        DataKeys.open(tmp_path / "keys.db", Keyring.create(tmp_path / "ring"))
