"""Files of sealed records: what comes back, what never lies on a disk, and what is refused."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.datakeys import DataKey, DataKeys
from consent.errors import EvidenceError, Unavailable
from consent.files import file_hash
from consent.sealing import seal_apart, seal_many
from ingestion.records import (
    Place,
    RecordFile,
    RecordWriter,
    Sealed,
    read_records,
    read_sealed,
    seal_records,
    unseal_records,
)
from tests.ingestion.restating import restate
from tests.ingestion.sealed_rows import (
    PLACE,
    by_subject,
    guises,
    new_key_table,
    on_disk,
    open_file,
    owned,
    people,
    read_file,
    rows_of,
    schemas,
    write_file,
)

SCHEMA = pa.schema({"amount": pa.decimal128(18, 2), "merchant": pa.string(), "row_number": pa.int64()})
PEOPLE = people(600)
ROWS = owned(rows_of(SCHEMA, 1_800), PEOPLE)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> DataKeys:
    """One key table for tests that only add to it."""
    return new_key_table(tmp_path_factory.mktemp("shared"))


# ------------------------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("name", schemas())
def test_rows_of_every_source_survive(name: str, shared: DataKeys, tmp_path: Path) -> None:
    """Every column of every source and of its quarantine comes back in its type, nulls and Chinese text included."""
    rows = owned(rows_of(schemas()[name], 700), people(150))
    about = write_file(shared, tmp_path / "f.parquet", rows)
    assert (about.rows, about.subjects) == (700, 150)
    assert read_file(shared, tmp_path / "f.parquet", about).equals(by_subject(rows))


@pytest.mark.parametrize(
    ("rows", "subjects"), [(1, 1), (2, 1), (255, 255), (256, 256), (257, 257), (600, 513)]
)
def test_few_and_many_subjects_survive(rows: int, subjects: int, shared: DataKeys, tmp_path: Path) -> None:
    """One row, one subject with several, and around the size of a row group."""
    table = owned(rows_of(SCHEMA, rows), PEOPLE[:subjects])
    about = write_file(shared, tmp_path / "f.parquet", table)
    assert read_file(shared, tmp_path / "f.parquet", about).equals(by_subject(table))


def test_rows_of_nothing_but_their_subject_survive(shared: DataKeys, tmp_path: Path) -> None:
    """How many there are is all there is to know."""
    rows = ROWS.select(["subject_key"])
    about = write_file(shared, tmp_path / "f.parquet", rows)
    assert read_file(shared, tmp_path / "f.parquet", about).equals(by_subject(rows))


def test_no_rows_make_no_file(shared: DataKeys, tmp_path: Path) -> None:
    """Neither without a table nor with an empty one, of whatever columns."""
    for tables in ([], [ROWS.slice(0, 0)], [pa.table({}), pa.table({"x": pa.array([], pa.null())})]):
        with RecordWriter(shared, tmp_path / "f.parquet", PLACE) as writer:
            for table in tables:
                writer.write(table)
            assert writer.finish() is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("memory_bytes", [1, 40_000, None])
def test_a_writer_that_spills_writes_the_same(
    memory_bytes: int | None, shared: DataKeys, tmp_path: Path
) -> None:
    """The same rows, in row groups of 256 subjects, whatever fitted into memory."""
    rows = owned(rows_of(SCHEMA, 900), PEOPLE)
    with RecordWriter(shared, tmp_path / "f.parquet", PLACE, memory_bytes=memory_bytes) as writer:
        for i in range(0, 900, 300):
            writer.write(rows.slice(i, 300))
        about = writer.finish()
    assert about is not None
    assert read_file(shared, tmp_path / "f.parquet", about).equals(by_subject(rows))
    file = pq.ParquetFile(tmp_path / "f.parquet")
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert sizes == [256, 256, 600 - 512]
    assert [last for last, _ in about.index()] == [sorted(PEOPLE)[i] for i in (255, 511, 599)]


@given(st.lists(st.integers(0, 120), max_size=5), st.sampled_from([1, 10_000, None]))
@settings(max_examples=15, deadline=None)
def test_rows_may_come_in_any_chunks(
    shared: DataKeys, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], memory_bytes: int | None
) -> None:
    """Law: however the rows are cut up when they are written, the same rows come back."""
    path, rows = tmp_path_factory.mktemp("law") / "f.parquet", ROWS.slice(0, 120)
    with RecordWriter(shared, path, PLACE, memory_bytes=memory_bytes) as writer:
        for a, b in pairwise([0, *sorted(cuts), 120]):
            writer.write(rows.slice(a, b - a))
        about = writer.finish()
    assert about is not None
    assert read_file(shared, path, about).equals(by_subject(rows))


def test_what_is_stated_survives_a_manifest(shared: DataKeys, tmp_path: Path) -> None:
    """The statement is plain JSON, and the same afterwards."""
    about = write_file(shared, tmp_path / "f.parquet", ROWS)
    again = RecordFile.from_document(about.to_document())
    assert again == about
    assert again.arrow_schema() == SCHEMA
    assert read_file(shared, tmp_path / "f.parquet", again).num_rows == 1_800


def test_records_can_be_moved_to_another_file_as_they_are(shared: DataKeys, tmp_path: Path) -> None:
    """Sealed, in portions of any size; the same rows come back, in whole row groups."""
    about = write_file(shared, tmp_path / "f.parquet", ROWS)
    with RecordWriter(shared, tmp_path / "g.parquet", PLACE) as writer:
        (sealed,) = read_sealed(shared, open_file(tmp_path / "f.parquet", about), PLACE[1])
        for i in range(0, 600, 7):
            writer.write_sealed(sealed.records.slice(i, 7))
        moved = writer.finish(about.arrow_schema())
    assert moved is not None
    assert moved.groups == about.groups
    assert read_file(shared, tmp_path / "g.parquet", moved).equals(by_subject(ROWS))


# ------------------------------------------------------------------------------------------- one person


def test_some_people_are_read_alone(shared: DataKeys, tmp_path: Path) -> None:
    """One, several, people who are not there, and nobody."""
    about = write_file(shared, tmp_path / "f.parquet", ROWS)
    whole = by_subject(ROWS)
    strangers = ["0" * 32, "f" * 32, people(1, seed=99)[0]]
    for asked in ([PEOPLE[3]], [PEOPLE[9], PEOPLE[2], PEOPLE[500]], [*strangers, PEOPLE[0]], strangers, []):
        found = read_file(shared, tmp_path / "f.parquet", about, subjects=asked)
        assert found.equals(
            whole.filter(pc.is_in(whole["subject_key"], value_set=pa.array(asked, pa.string())))
        )


def test_one_person_is_found_without_reading_the_rest(shared: DataKeys, tmp_path: Path) -> None:
    """Only the row group that can hold somebody is read: the others may be rubbish, and nobody else is opened."""
    path = tmp_path / "f.parquet"
    about = write_file(shared, path, ROWS)
    for subject, group in ((sorted(PEOPLE)[0], 0), (sorted(PEOPLE)[256], 1), (sorted(PEOPLE)[599], 2)):
        content, metadata = bytearray(path.read_bytes()), pq.ParquetFile(path).metadata
        for other in {0, 1, 2} - {group}:
            chunks = [metadata.row_group(other).column(c) for c in range(4)]
            for chunk in chunks:
                begin = chunk.data_page_offset
                content[begin : begin + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
        (tmp_path / subject).mkdir()
        (tmp_path / subject / "f.parquet").write_bytes(content)
        damaged = open_file(tmp_path / subject / "f.parquet", about, whole=False)
        assert damaged.groups_of([subject]) == [group]
        (found,) = read_records(shared, damaged, PLACE, subjects=[subject])
        assert found.num_rows == ROWS["subject_key"].to_pylist().count(subject)
        with pytest.raises(EvidenceError):
            list(read_records(shared, damaged, PLACE))


def test_many_people_are_read_some_at_a_time(
    shared: DataKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer row groups at a time where people have many rows."""
    about = write_file(shared, tmp_path / "f.parquet", ROWS)
    file = open_file(tmp_path / "f.parquet", about)
    assert [t.num_rows for t in read_records(shared, file, PLACE)] == [1_800]
    monkeypatch.setattr("ingestion.records._ROWS_AT_A_TIME", 500)
    parts = list(read_records(shared, file, PLACE))
    assert len(parts) == 3
    assert pa.concat_tables(parts).combine_chunks().equals(by_subject(ROWS))


# ------------------------------------------------------------------------------------------- what is on disk

PLANTED = [f"planted-{i}-IBAN-GB29NWBK6016133192{i}" for i in range(5)]


def planted_rows() -> pa.Table:
    at = ROWS.column_names.index("merchant")
    return ROWS.set_column(at, "merchant", pa.array(PLANTED * 360))


def test_nothing_personal_is_readable_on_disk_while_a_file_is_written(tmp_path: Path) -> None:
    """At no step, in no guise, in no file with or without a name; nor afterwards."""
    keys, rows = new_key_table(tmp_path), planted_rows()

    def look() -> None:
        content = on_disk(tmp_path)
        for planted in PLANTED:
            assert not any(guise in content for guise in guises(planted.encode()))

    with RecordWriter(keys, tmp_path / "f.parquet", PLACE, memory_bytes=40_000) as writer:
        for i in range(0, 1_800, 600):
            writer.write(rows.slice(i, 600))
            look()
        assert len(on_disk(tmp_path)) > 100_000
        about = writer.finish()
        look()
    assert about is not None
    assert read_file(keys, tmp_path / "f.parquet", about).equals(by_subject(rows))
    look()


def test_a_writer_that_fails_leaves_nothing(shared: DataKeys, tmp_path: Path) -> None:
    """Neither the file nor a part of it, with or without a name, whether it fails early or late."""

    class Failure(Exception):
        pass

    empty = len(on_disk(tmp_path))
    (sealed,) = _sealed(shared, tmp_path, ROWS)
    failed = []

    def fails(*, late: bool) -> None:
        with RecordWriter(shared, tmp_path / "f.parquet", PLACE, memory_bytes=1) as writer:
            failed.append(writer)  # which keeps it from being cleared away by chance
            writer.write(ROWS.slice(0, 50))
            assert len(on_disk(tmp_path)) > empty + 5_000
            if late:
                writer.write_sealed(sealed.records)
                assert (tmp_path / "f.parquet.partial").exists()
            raise Failure

    for late in (False, True):
        with pytest.raises(Failure):
            fails(late=late)
        assert list(tmp_path.iterdir()) == []
        assert len(on_disk(tmp_path)) == empty


def _sealed(keys: DataKeys, folder: Path, rows: pa.Table) -> list[Sealed]:
    about = write_file(keys, folder / "other.parquet", rows)
    found = list(read_sealed(keys, open_file(folder / "other.parquet", about), PLACE[1]))
    (folder / "other.parquet").unlink()
    return found


def test_a_killed_writer_leaves_nothing_readable(tmp_path: Path) -> None:
    """At most a file without its end, of sealed records, under a name that no reader looks at."""
    script = """
import sys
from pathlib import Path
from ingestion.records import RecordWriter
from tests.ingestion.sealed_rows import PLACE, new_key_table
from tests.ingestion.test_records import planted_rows
place = Path(sys.argv[1])
writer = RecordWriter(new_key_table(place / "keys"), place / "vault" / "f.parquet", PLACE, memory_bytes=40_000)
writer.write(planted_rows())
parts = writer._rows.parts()
for _ in range(200):
    writer._seal(next(parts))
print((place / "vault" / "f.parquet.partial").exists(), flush=True)
sys.stdin.read()
"""
    (tmp_path / "vault").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [p.name for p in (tmp_path / "vault").iterdir()] == ["f.parquet.partial"]
    content = on_disk(tmp_path)
    assert not any(guise in content for planted in PLANTED for guise in guises(planted.encode()))
    with pytest.raises(pa.ArrowException):
        pq.ParquetFile(tmp_path / "vault" / "f.parquet.partial")


# ------------------------------------------------------------------------------------------- what is refused


class Shelf:
    """Two batches of a store, one of the other store, one of another source, of the same people."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = new_key_table(folder / "keys")
        self.place = PLACE
        self.path = folder / "f.parquet"
        self.about = write_file(self.keys, self.path, ROWS)
        self.records = pq.read_table(self.path)

    def other(self, place: Place, rows: pa.Table = ROWS) -> pa.Table:
        """The same people's records in another place."""
        path = self.folder / "other.parquet"
        write_file(self.keys, path, rows, place)
        return pq.read_table(path)

    def rewrite(self, groups: list[pa.Table]) -> None:
        """The file with other records."""
        with pq.ParquetWriter(
            self.path, groups[0].schema, compression="none", use_dictionary=False
        ) as writer:
            for group in groups:
                writer.write_table(group, row_group_size=1 << 20)

    def put(self, column: str, values: list[Any]) -> None:
        """The file with another column, in the same row groups."""
        at = self.records.column_names.index(column)
        field = self.records.schema.field(column)
        changed = self.records.set_column(at, field, pa.array(values, field.type))
        self.rewrite([changed.slice(i, 256) for i in range(0, len(changed), 256)])

    def take(self, other: pa.Table, number: int) -> None:
        """One record from elsewhere in the place of this file's."""
        sealed = self.records["sealed"].to_pylist()
        sealed[number] = other["sealed"][number].as_py()
        self.put("sealed", sealed)

    def read(self, about: RecordFile | None = None) -> pa.Table:
        return read_file(self.keys, self.path, about or self.about, self.place)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def shelf(template: Shelf, tmp_path: Path) -> Shelf:
    """A copy of its own of the file; the keys are everybody's."""
    made = object.__new__(Shelf)
    made.__dict__.update(template.__dict__)
    made.folder = tmp_path
    made.path = Path(shutil.copy(template.path, tmp_path))
    return made


def swapped_subjects(shelf: Shelf) -> None:
    sealed = shelf.records["sealed"].to_pylist()
    sealed[3], sealed[4] = sealed[4], sealed[3]
    shelf.put("sealed", sealed)


def another_batch(shelf: Shelf) -> None:
    shelf.take(shelf.other(("vault", "spending", "batch-0002")), 5)


def another_store(shelf: Shelf) -> None:
    shelf.take(shelf.other(("quarantine", "spending", "batch-0001")), 5)


def another_source(shelf: Shelf) -> None:
    shelf.take(shelf.other(("vault", "employment", "batch-0001")), 5)


def other_columns(shelf: Shelf) -> None:
    names = ["amount", "dealer", "row_number", "subject_key"]
    shelf.take(shelf.other(PLACE, ROWS.rename_columns(names)), 5)


def other_type(shelf: Shelf) -> None:
    at = ROWS.column_names.index("amount")
    amounts = ROWS["amount"].cast(pa.decimal128(20, 2))
    shelf.take(shelf.other(PLACE, ROWS.set_column(at, "amount", amounts)), 5)


def cut_by_a_byte(shelf: Shelf) -> None:
    sealed = shelf.records["sealed"].to_pylist()
    sealed[300] = sealed[300][:-1]
    shelf.put("sealed", sealed)


def cut_to_its_nonce(shelf: Shelf) -> None:
    sealed = shelf.records["sealed"].to_pylist()
    sealed[300] = sealed[300][:12]
    shelf.put("sealed", sealed)


def emptied(shelf: Shelf) -> None:
    sealed = shelf.records["sealed"].to_pylist()
    sealed[300] = b""
    shelf.put("sealed", sealed)


def flipped(shelf: Shelf) -> None:
    sealed = shelf.records["sealed"].to_pylist()
    sealed[599] = sealed[599][:-1] + bytes([sealed[599][-1] ^ 1])
    shelf.put("sealed", sealed)


def swapped_nonces(shelf: Shelf) -> None:
    nonces = shelf.records["nonce"].to_pylist()
    nonces[3], nonces[4] = nonces[4], nonces[3]
    shelf.put("nonce", nonces)


def one_row_less(shelf: Shelf) -> None:
    rows = shelf.records["rows"].to_pylist()
    many = next(i for i, number in enumerate(rows) if number > 1)
    rows[many] -= 1
    shelf.put("rows", rows)


def one_row_more(shelf: Shelf) -> None:
    rows = shelf.records["rows"].to_pylist()
    rows[0] += 1
    shelf.put("rows", rows)


def rows_moved(shelf: Shelf) -> None:
    """So that the sum is right."""
    rows = shelf.records["rows"].to_pylist()
    many = next(i for i, number in enumerate(rows) if number > 1)
    rows[many] -= 1
    rows[many + 1] += 1
    shelf.put("rows", rows)


def another_name(shelf: Shelf) -> None:
    """A record given to somebody who has a key as well."""
    names = shelf.records["subject_key"].to_pylist()
    names[3] = names[4]
    shelf.put("subject_key", names)


def a_stranger(shelf: Shelf) -> None:
    names = shelf.records["subject_key"].to_pylist()
    names[0] = "0" * 32
    shelf.put("subject_key", names)


def a_version_that_never_was(shelf: Shelf) -> None:
    versions = shelf.records["key_version"].to_pylist()
    versions[9] = 2
    shelf.put("key_version", versions)


def no_version(shelf: Shelf) -> None:
    versions = shelf.records["key_version"].to_pylist()
    versions[9] = 0
    shelf.put("key_version", versions)


DAMAGES: list[Callable[[Shelf], None]] = [
    swapped_subjects,
    another_batch,
    another_store,
    another_source,
    other_columns,
    other_type,
    cut_by_a_byte,
    cut_to_its_nonce,
    swapped_nonces,
    emptied,
    flipped,
    one_row_less,
    one_row_more,
    rows_moved,
    another_name,
    a_stranger,
    a_version_that_never_was,
    no_version,
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("stated_anew", [False, True], ids=["as stated", "stated anew"])
def test_a_changed_record_is_refused(
    shelf: Shelf, damage: Callable[[Shelf], None], stated_anew: bool
) -> None:
    """By the manifest's index; and were that made anew, as nobody can who has no key, then by the seal itself."""
    assert shelf.read().num_rows == 1_800
    damage(shelf)
    with pytest.raises(EvidenceError):
        shelf.read(restate(shelf.path, shelf.about) if stated_anew else None)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_the_index_refuses_even_where_the_whole_file_is_not_looked_at(
    shelf: Shelf, damage: Callable[[Shelf], None]
) -> None:
    """With size and hash of the changed file stated, the index alone refuses it, without any key."""
    damage(shelf)
    anew = restate(shelf.path, shelf.about)
    half = replace(anew, groups=shelf.about.groups)
    file = open_file(shelf.path, half)
    with pytest.raises(EvidenceError, match="manifest"):
        file.read([0, 1, 2])


def _columns(shelf: Shelf, change: Callable[[pa.Table], pa.Table]) -> None:
    changed = change(shelf.records)
    shelf.rewrite([changed.slice(i, 256) for i in range(0, len(changed), 256)])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.append_column("more", t["rows"]),
        lambda t: t.drop_columns(["rows"]),
        lambda t: t.select(["key_version", "subject_key", "rows", "nonce", "sealed"]),
        lambda t: t.set_column(1, "key_version", t["key_version"].cast(pa.int64())),
        lambda t: t.set_column(3, "sealed", pa.array([None, *t["sealed"].to_pylist()[1:]], pa.binary())),
        lambda t: t.set_column(0, "subject_key", pa.array([None, *t["subject_key"].to_pylist()[1:]])),
        lambda t: t.set_column(
            0, "subject_key", pa.array([b"\xff" * 32, *t["subject_key"].cast(pa.binary()).to_pylist()[1:]])
        ),
    ],
    ids=["one more", "one less", "another order", "another type", "no record", "nobody", "no text"],
)
def test_a_file_of_other_columns_is_refused(shelf: Shelf, change: Callable[[pa.Table], pa.Table]) -> None:
    """Columns, their order and types, and that every cell is there; whatever hash and size are stated."""
    _columns(shelf, change)
    about = replace(
        shelf.about,
        sha256=file_hash(shelf.path),
        size=shelf.path.stat().st_size,
    )
    with pytest.raises(EvidenceError):
        shelf.read(about)


@pytest.mark.parametrize(
    "groups",
    [[0, 1], [1, 2], [0, 2], [0, 1, 1, 2], [0, 1, 2, 2], [1, 0, 2], [2, 1, 0], [0, 0, 0], []],
    ids=str,
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_row_group_that_is_missing_repeated_or_moved_is_refused(
    shelf: Shelf, groups: list[int], whole: bool
) -> None:
    """By hash and size; and with these stated anew by the index, which only the manifest's key can make."""
    parts = [shelf.records.slice(i, 256) for i in (0, 256, 512)]
    shelf.rewrite([parts[g] for g in groups] or [shelf.records.slice(0, 0)])
    anew = replace(shelf.about, sha256=file_hash(shelf.path), size=shelf.path.stat().st_size)
    for about in (shelf.about, anew):
        with pytest.raises(EvidenceError):
            list(read_records(shelf.keys, open_file(shelf.path, about, whole=whole), PLACE))


def test_a_missing_record_is_seen_by_the_index_only(shelf: Shelf) -> None:
    """A seal cannot show that a record is missing: without the manifest's MAC the rest would simply be read."""
    shelf.rewrite([shelf.records.slice(0, 256), shelf.records.slice(257, 255), shelf.records.slice(512)])
    with pytest.raises(EvidenceError):
        shelf.read()
    lacking = shelf.records["subject_key"][256].as_py()
    found = shelf.read(restate(shelf.path, shelf.about))
    assert set(PEOPLE) - set(found["subject_key"].to_pylist()) == {lacking}


@pytest.mark.parametrize("left", [0, 3, 100, -9, -1])
def test_a_file_that_is_cut_short_is_refused(shelf: Shelf, left: int) -> None:
    """Whether all of it or one person is wanted."""
    shelf.path.write_bytes(shelf.path.read_bytes()[:left])
    for subjects in (None, PEOPLE[:1]):
        for about in (shelf.about, replace(shelf.about, size=shelf.path.stat().st_size)):
            with pytest.raises(EvidenceError):
                read_file(shelf.keys, shelf.path, about, subjects=subjects)


def test_a_missing_file_is_unavailable(shelf: Shelf) -> None:
    """Not the same as a file of nobody."""
    shelf.path.unlink()
    with pytest.raises(Unavailable):
        shelf.read()


def test_any_changed_byte_of_a_file_is_refused_or_does_not_matter(shelf: Shelf) -> None:
    """Law: read whole, every change is refused; for one person it is refused, or that person's rows are right."""
    dice, content = random.Random(5), shelf.path.read_bytes()
    subject = sorted(PEOPLE)[300]
    expected = read_file(shelf.keys, shelf.path, shelf.about, subjects=[subject])
    refused = 0
    for position in [
        *range(4),
        *dice.sample(range(len(content)), 60),
        *range(len(content) - 60, len(content)),
    ]:
        changed = bytearray(content)
        changed[position] ^= 1 << dice.randrange(8)
        shelf.path.write_bytes(changed)
        with pytest.raises(EvidenceError):
            shelf.read()
        try:
            assert read_file(shelf.keys, shelf.path, shelf.about, subjects=[subject]).equals(expected)
        except EvidenceError:
            refused += 1
    assert refused > 10


def test_a_column_name_that_is_no_text_is_refused(shelf: Shelf) -> None:
    """Where only one person is read the footer is not compared; what cannot be understood in it is evidence."""
    content = shelf.path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    name = content.index(b"subject_key", footer)
    shelf.path.write_bytes(content[:name] + b"\xff" + content[name + 1 :])
    with pytest.raises(EvidenceError):
        read_file(shelf.keys, shelf.path, shelf.about, subjects=PEOPLE[:1])


def test_every_byte_of_a_record_counts(shelf: Shelf) -> None:
    """Each of them changed in turn, the record does not open."""
    (sealed,) = read_sealed(shelf.keys, open_file(shelf.path, shelf.about), PLACE[1])
    schema = shelf.about.arrow_schema()
    one = Sealed(sealed.records.slice(8, 1), sealed.keys[8:9], 0)
    assert unseal_records(one, PLACE, schema).num_rows == one.records["rows"][0].as_py()
    record = one.records["sealed"][0].as_py()
    for position in range(len(record)):
        changed = bytearray(record)
        changed[position] ^= 1 << (position % 8)
        tampered = one.records.set_column(3, "sealed", pa.array([bytes(changed)], pa.binary()))
        with pytest.raises(EvidenceError, match="does not open"):
            unseal_records(replace(one, records=tampered), PLACE, schema)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_part_of_the_place_is_bound(shelf: Shelf, part: int) -> None:
    """Store, source and batch: another of any is refused, and so is where one ends and the next begins."""
    (sealed,) = read_sealed(shelf.keys, open_file(shelf.path, shelf.about), PLACE[1])
    changed = list(PLACE)
    changed[part] += "x"
    shifted = [PLACE[0], PLACE[1] + PLACE[2][0], PLACE[2][1:]]
    for place in (changed, shifted):
        with pytest.raises(EvidenceError, match="does not open"):
            unseal_records(sealed, (place[0], place[1], place[2]), shelf.about.arrow_schema())


@pytest.mark.parametrize("column", ["subject_key", "key_version"])
def test_a_record_is_bound_to_what_stands_beside_it_whatever_its_key(column: str) -> None:
    """Even under a key that two people, or two versions, had in common it would open for neither but its own."""
    subjects, key = sorted(PEOPLE[:2]), bytes(range(32))
    payload = pa.table({"n": pa.array([1, 2], pa.int64())})
    (group,) = seal_records(subjects, [1, 1], payload, dict.fromkeys(subjects, DataKey(1, key)), PLACE)
    assert unseal_records(Sealed(group, [key, key], 0), PLACE, payload.schema)["n"].to_pylist() == [1, 2]
    at = group.column_names.index(column)
    changed = [2, 2] if column == "key_version" else subjects[::-1]
    moved = group.set_column(
        at, group.schema.field(column), pa.array(changed, group.schema.field(column).type)
    )
    with pytest.raises(EvidenceError, match="does not open"):
        unseal_records(Sealed(moved, [key, key], 0), PLACE, payload.schema)


def test_the_same_records_in_a_file_of_another_size_are_refused(shelf: Shelf) -> None:
    """For one person too, whose record would be as stated: the file is another."""
    shelf.rewrite([shelf.records.slice(i, 256) for i in (0, 256, 512)])
    assert shelf.path.stat().st_size != shelf.about.size
    with pytest.raises(EvidenceError):
        read_file(shelf.keys, shelf.path, shelf.about, subjects=PEOPLE[:1])


# ------------------------------------------------------------------------------------------- keys that were renewed


@pytest.fixture
def own(tmp_path: Path) -> Shelf:
    """With keys of its own, which may be renewed and destroyed."""
    return Shelf(tmp_path)


def test_the_newest_key_seals_and_older_ones_still_open(own: Shelf) -> None:
    """After a renewal both files are read; each record says under which version it is."""
    own.keys.renew("spending", PEOPLE[:5])
    path = own.folder / "later.parquet"
    about = write_file(own.keys, path, ROWS, ("vault", "spending", "batch-0002"))
    versions = dict(
        zip(*(pq.read_table(path)[c].to_pylist() for c in ("subject_key", "key_version")), strict=True)
    )
    assert {s for s, version in versions.items() if version == 2} == set(PEOPLE[:5])
    assert read_file(own.keys, path, about, ("vault", "spending", "batch-0002")).equals(by_subject(ROWS))
    assert own.read().equals(by_subject(ROWS))


@pytest.mark.parametrize("claimed", [1, 2])
def test_a_record_from_before_a_renewal_does_not_come_back(own: Shelf, claimed: int) -> None:
    """Put into the newer file it is refused; stated anew it does not open, once the outdated key is destroyed."""
    subject = sorted(PEOPLE)[5]
    mine = pc.equal(ROWS["subject_key"], subject)
    own.keys.renew("spending", [subject])
    newer = owned(rows_of(SCHEMA, 1_800, seed=2), PEOPLE)
    before = own.records
    own.about = write_file(own.keys, own.path, newer)
    own.records = pq.read_table(own.path)
    for column, value in (
        ("sealed", before["sealed"][5].as_py()),
        ("rows", before["rows"][5].as_py()),
        ("key_version", claimed),
    ):
        values = own.records[column].to_pylist()
        values[5] = value
        own.put(column, values)
        own.records = pq.read_table(own.path)
    with pytest.raises(EvidenceError):
        own.read()
    own.keys.rotate(2, outdated={"spending": [subject]})
    with pytest.raises(EvidenceError):
        own.read()
    stated = restate(own.path, own.about)
    if claimed == 2:
        with pytest.raises(EvidenceError, match="does not open"):
            own.read(stated)
    else:
        found = own.read(stated)
        assert subject not in found["subject_key"].to_pylist()
        assert found.num_rows == newer.filter(pc.not_equal(newer["subject_key"], subject)).num_rows
    assert pc.sum(mine).as_py() > 0


def test_whose_key_was_destroyed_is_left_out(own: Shelf) -> None:
    """Everybody else is read; how many records stay shut is known; asked for alone, nothing is found."""
    gone = PEOPLE[10:40]
    own.keys.rotate(2, destroy={"spending": gone})
    whole = by_subject(ROWS)
    kept = whole.filter(pc.invert(pc.is_in(whole["subject_key"], value_set=pa.array(gone))))
    assert own.read().equals(kept)
    (sealed,) = read_sealed(own.keys, open_file(own.path, own.about), PLACE[1])
    assert (sealed.shut, len(sealed.keys), sealed.records.num_rows) == (30, 570, 570)
    assert read_file(own.keys, own.path, own.about, subjects=gone[:2]).num_rows == 0


def test_an_older_copy_of_the_key_table_is_refused(own: Shelf) -> None:
    """Who came after the copy was made does not look erased."""
    for path in (own.folder / "keys").glob("keys.db*"):
        shutil.copy(path, own.folder / path.name)
    older = DataKeys.open(own.folder / "keys.db", own.keys._epochs)
    path = own.folder / "later.parquet"
    about = write_file(own.keys, path, owned(rows_of(SCHEMA, 20), people(3, seed=7)))
    assert read_file(own.keys, path, about).num_rows == 20
    with pytest.raises(EvidenceError, match="never held"):
        read_file(older, path, about)
    with pytest.raises(EvidenceError, match="never held"):
        read_file(older, path, about, subjects=people(3, seed=7)[:1])


def test_a_copy_of_keys_and_file_from_before_an_erasure_opens_nothing(own: Shelf) -> None:
    """Rotation and the old epoch's end reach every copy of the key table."""
    for path in (own.folder / "keys").glob("keys.db*"):
        shutil.copy(path, own.folder / path.name)
    older = DataKeys.open(own.folder / "keys.db", own.keys._epochs)
    own.keys.rotate(2, destroy={"spending": PEOPLE[:1]})
    own.keys._epochs.destroy(1)
    with pytest.raises(Unavailable, match="epoch"):
        read_file(older, own.path, own.about)
    assert own.read().num_rows < 1_800


# ------------------------------------------------------------------------------------------- nonces


def test_no_nonce_is_used_twice_under_a_key(tmp_path: Path) -> None:
    """200,000 seals under a hundred people's keys, and every bucket of 200 rotations: each (key, nonce) once."""
    keys = new_key_table(tmp_path)
    subjects = sorted(PEOPLE[:100])
    owned_keys = keys.find_or_create("spending", subjects)
    payload = pa.table({"n": pa.array(range(100), pa.int64())})
    seen: set[tuple[bytes, bytes]] = set()
    for _ in range(100):
        for group in seal_records(subjects, [1] * 100, payload, owned_keys, PLACE):
            names, nonces = group["subject_key"].to_pylist(), group["nonce"].to_pylist()
            seen.update((owned_keys[s].key, nonce) for s, nonce in zip(names, nonces, strict=True))
    each = [owned_keys[s].key for s in subjects]
    for _ in range(950):
        nonces, _sealed = seal_apart(each, [b"x"] * 100, [b""] * 100)
        seen.update(zip(each, nonces, strict=True))
    for _ in range(950):
        sealed = seal_many(each, [b"x"] * 100, [b""] * 100)
        seen.update((key, record[:12]) for key, record in zip(each, sealed, strict=True))
    assert len(seen) == len({nonce for _, nonce in seen}) == 200_000
    buckets = set()
    for _ in range(200):
        keys.rotate(1)
        buckets.update(_bucket_nonces(tmp_path / "keys.db"))
    assert len(buckets) == 200


def _bucket_nonces(path: Path) -> list[bytes]:
    connection = sqlite3.connect(path)
    nonces = [bytes(sealed)[:12] for (sealed,) in connection.execute("SELECT sealed FROM bucket")]
    connection.close()
    return nonces


def test_a_forked_child_never_repeats_its_parents_nonces() -> None:
    """They are drawn in the process that uses them, and none is kept ready from before."""
    key = bytes(32)

    def nonces() -> list[bytes]:
        return [sealed[:12] for sealed in seal_many([key] * 2_000, [b"x"] * 2_000, [b""] * 2_000)]

    before = nonces()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(nonces()))
        os._exit(0)
    after = nonces()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    childs = [told[i : i + 12] for i in range(0, len(told), 12)]
    assert len({*before, *after, *childs}) == 6_000
