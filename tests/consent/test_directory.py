"""From customer numbers to pseudonyms."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from consent.directory import Directory, Tombstone, is_subject_id, normalise_subject_id
from consent.errors import BadInput, EvidenceError, Unavailable

PEPPER = bytes(range(32))


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.create(tmp_path / "directory.db", PEPPER)


def test_a_person_keeps_their_key(directory: Directory, tmp_path: Path) -> None:
    """Found again later, in any order, after reopening, and under one key when named twice at once."""
    first = directory.find_or_create(["C-1", "C-2", "C-1"])
    assert first[0] == first[2] != first[1]
    assert all(len(key) == 32 and int(key, 16) >= 0 for key in first)
    directory.close()
    again = Directory.open(tmp_path / "directory.db", PEPPER)
    assert again.find(["C-2", "C-1"]) == [first[1], first[0]]
    assert again.find_or_create(["C-2", "C-3", "C-1"])[::2] == [first[1], first[0]]


def test_unknown_people_stay_unknown(directory: Directory) -> None:
    """Asking makes nobody known; what is no customer number is nobody."""
    assert directory.find(["C-1", "", "   ", "x" * 201, "a\nb", "\ud800"]) == [None] * 6
    assert directory.find(["C-1"]) == [None]
    assert directory.find([]) == directory.find_or_create([]) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("13800138000", "１３８００１３８０００"),
        ("C-1", "  C-1\t"),
        ("C-1", "　C-1　"),
        ("张 三", "张　三"),
        ("Zoë", "Zoe\u0308"),
        ("ﬁne", "fine"),
        ("客户甲", "客户甲 "),
    ],
)
def test_one_spelling_per_person(directory: Directory, one: str, other: str) -> None:
    """Full-width digits, composed letters and surrounding space are ways to write the same number."""
    assert directory.find_or_create([one]) == directory.find_or_create([other])


@pytest.mark.parametrize(
    ("one", "other"),
    [("007", "7"), ("C-1", "c-1"), ("C-1", "C 1"), ("C-1", "C-10"), ("客户甲", "客户乙"), ("1.0", "1")],
)
def test_what_only_looks_alike_is_another_person(directory: Directory, one: str, other: str) -> None:
    """Leading zeros, case and inner signs tell people apart."""
    assert directory.find_or_create([one]) != directory.find_or_create([other])


@pytest.mark.parametrize(
    "bad", ["", " ", "\u3000", "x" * 201, "tab\there", "nul\0", "\u202e1", "\ud800", "ﬁ" * 101]
)
def test_what_is_no_customer_number_is_refused(directory: Directory, bad: str) -> None:
    """Nobody gets a key for it, nor does anybody beside it in the list; the message does not repeat it."""
    assert not is_subject_id(bad)
    with pytest.raises(BadInput) as caught:
        directory.find_or_create(["C-1", bad])
    assert bad.strip() == "" or bad not in str(caught.value) + caught.value.remedy
    assert directory.find(["C-1"]) == [None]


def test_the_longest_number_is_accepted() -> None:
    """Two hundred signs, of any script."""
    assert normalise_subject_id("汉" * 200) == "汉" * 200
    assert normalise_subject_id(normalise_subject_id("　Ａ１ ")) == "A1"


def test_forty_thousand_people_at_once(directory: Directory) -> None:
    """More than SQLite takes in one statement; every one with a key of their own."""
    people = [f"client {i}" for i in range(40_000)]
    keys = directory.find_or_create(people)
    assert len(set(keys)) == 40_000
    assert directory.find(people[::-1]) == keys[::-1]


def test_the_file_names_nobody(directory: Directory, tmp_path: Path) -> None:
    """No customer number stands in any of the database's files, in no common encoding, and no bare hash either."""
    from hashlib import md5, sha1, sha256

    numbers = ["13800138000", "客户甲", "client-4711"]
    directory.find_or_create(numbers)
    content = b"".join(p.read_bytes() for p in tmp_path.glob("directory.db*"))
    assert content
    for number in numbers:
        for encoded in (number.encode(), number.encode("utf-16-le"), number.encode("gb18030")):
            assert encoded not in content
            for unkeyed in (md5, sha1, sha256):
                assert unkeyed(encoded).digest()[:16] not in content


def test_another_pepper_finds_nobody(directory: Directory, tmp_path: Path) -> None:
    """Without the key the file cannot be asked about anybody."""
    directory.find_or_create(["C-1"])
    assert Directory.open(tmp_path / "directory.db", bytes(32)).find(["C-1"]) == [None]


def test_a_missing_or_broken_directory_finds_nobody(tmp_path: Path) -> None:
    """An error, not an empty answer."""
    with pytest.raises(Unavailable):
        Directory.open(tmp_path / "directory.db", PEPPER)
    (tmp_path / "directory.db").write_bytes(b"no database, just some bytes that are long enough" * 9)
    with pytest.raises(EvidenceError):
        Directory.open(tmp_path / "directory.db", PEPPER).find(["C-1"])


def test_an_erased_person_leaves_a_tombstone(tmp_path: Path) -> None:
    """The number leads nowhere; the tombstone says when and which erasure, in any spelling; others are unharmed."""
    directory = Directory.create(tmp_path / "d.db", bytes(32))
    key, other = directory.find_or_create(["Ｃ-1", "C-2"])
    at = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)
    assert directory.holds([key])
    for _ in range(2):
        directory.erase(key, at, "e" * 32)
        assert directory.find(["C-1", "C-2"]) == [None, other]
        assert directory.tombstones([" C-1", "C-2", ""]) == {" C-1": Tombstone(at, "e" * 32)}
    assert not directory.holds([key])
    assert directory.holds([key, other])


def test_who_comes_back_after_an_erasure_is_somebody_new(tmp_path: Path) -> None:
    """A new random key; a second erasure leaves the newer tombstone."""
    directory = Directory.create(tmp_path / "d.db", bytes(32))
    (first,) = directory.find_or_create(["C-1"])
    directory.erase(first, datetime(2026, 1, 1, tzinfo=UTC), "1" * 32)
    (second,) = directory.find_or_create(["C-1"])
    assert second != first
    directory.erase(second, datetime(2026, 2, 1, tzinfo=UTC), "2" * 32)
    assert directory.tombstones(["C-1"])["C-1"].erasure_id == "2" * 32


def test_nothing_of_a_deleted_row_stays_in_the_file(tmp_path: Path) -> None:
    """Neither in free pages nor in the write-ahead log."""
    directory = Directory.create(tmp_path / "d.db", bytes(32))
    keys = directory.find_or_create([f"C-{i}" for i in range(500)])
    for key in keys[:400]:
        directory.erase(key, datetime(2026, 1, 1, tzinfo=UTC), "1" * 32)
    directory.forget()
    content = b"".join(p.read_bytes() for p in tmp_path.glob("d.db*"))
    assert [k for k in keys if k.encode() in content] == keys[400:]
