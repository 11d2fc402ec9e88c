"""One file of a feature table: what is not the file the manifest names, wherever it was touched, is not read."""

from __future__ import annotations

import dataclasses
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
import pytest

from consent.errors import AssentError, ConfigError, EvidenceError, Unavailable
from consent.home import Home
from ingestion import table_files
from ingestion.source import INSTANT
from ingestion.table_files import TableFile, key_use, scan_file, schema_of, write_file

TABLE = "spending_v1"
START = datetime(2026, 1, 1, tzinfo=UTC)
PEOPLE, EACH, PIECE = 20, 4, 40
#: Two columns with the same values, so that their pages are of one size.
CELL = 918273645.25


@dataclass(frozen=True)
class Written:
    """A file of two pieces and what was written into it."""

    home: Home
    file: TableFile
    path: Path
    content: bytes
    rows: pa.Table

    def read(self, file: TableFile | None = None) -> pa.Table:
        return pa.concat_tables(scan_file(self.home, TABLE, file or self.file))


def rows_of(people: int, each: int) -> pa.Table:
    """So many rows of each person, in order; the second half has the features of the first."""
    count = people * each
    cells = pa.array([CELL + i % PIECE for i in range(count)])
    return pa.table(
        {
            "subject_key": pa.array([f"{i // each:032x}" for i in range(count)]),
            "event_timestamp": pa.array([START + timedelta(hours=i) for i in range(count)], INSTANT),
            "one": cells,
            "other": cells,
        }
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Written:
    home = Home.create(tmp_path_factory.mktemp("files") / "home")
    home.path("tables", TABLE).mkdir(parents=True)
    rows = rows_of(PEOPLE, EACH)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "ROWS_PER_PIECE", PIECE)
        file = write_file(home, TABLE, 1, rows)
    path = home.path("tables", TABLE, file.file)
    return Written(home, file, path, path.read_bytes(), rows)


@pytest.fixture
def written(made: Written) -> Written:
    """The same file, as it was."""
    made.path.write_bytes(made.content)
    return made


def require_changed(written: Written, content: bytes) -> None:
    """With this content the file is refused, in words that hold no cell and no key."""
    written.path.write_bytes(content)
    with pytest.raises(EvidenceError, match=r"was changed|does not open") as caught:
        written.read()
    told = "".join(traceback.format_exception(caught.value))
    assert str(int(CELL)) not in told
    assert "0" * 30 not in told


def test_a_file_reads_as_it_was_written_piece_by_piece(written: Written) -> None:
    pieces = list(scan_file(written.home, TABLE, written.file))
    assert [piece.num_rows for piece in pieces] == [PIECE, PIECE]
    whole = pa.concat_tables(pieces)
    assert whole.set_column(0, "subject_key", whole["subject_key"].cast(pa.string())).equals(written.rows)
    assert schema_of(written.home, TABLE, written.file).equals(written.rows.schema)
    assert (written.file.rows, written.file.subjects) == (PEOPLE * EACH, PEOPLE)


def test_only_the_pieces_that_may_hold_a_person_are_read(written: Written) -> None:
    last = pa.array([f"{PEOPLE - 1:032x}"])
    pieces = list(scan_file(written.home, TABLE, written.file, columns=["other"], subjects=last))
    assert [piece.num_rows for piece in pieces] == [PIECE]
    assert pieces[0].column_names == ["subject_key", "event_timestamp", "other"]
    nobody = pa.array([f"{PEOPLE:032x}"])
    assert list(scan_file(written.home, TABLE, written.file, subjects=nobody)) == []
    assert written.file.may_hold(last)
    assert not written.file.may_hold(nobody)
    assert not written.file.may_hold(pa.array([], pa.string()))


def test_a_flipped_bit_anywhere_is_found(written: Written) -> None:
    """Magic, page headers, pages, the footer, its length, and what describes its key: every thirteenth byte, and
    each of the first and the last."""
    size = len(written.content)
    for place in sorted({*range(0, size, 13), *range(40), *range(size - 120, size)}):
        changed = bytearray(written.content)
        changed[place] ^= 1 << place % 8
        require_changed(written, bytes(changed))


@pytest.mark.parametrize("left", [0, 1, 3, 4, 8, 11, 12, 100, -1, -4, -8, -200])
def test_a_truncated_file_is_found(written: Written, left: int) -> None:
    require_changed(written, written.content[:left])


def test_bytes_that_were_added_are_found(written: Written) -> None:
    require_changed(written, written.content + b"\0")
    require_changed(written, b"\0" + written.content)


def chunks(written: Written) -> dict[tuple[int, int], tuple[int, int]]:
    """(piece, column) -> where its pages lie and how long they are."""
    key = written.home.data_keys.find(key_use(TABLE), [written.file.key_id])[written.file.key_id].key
    properties = table_files._factory(key, TABLE).file_decryption_properties(
        pe.KmsConnectionConfig(), pe.DecryptionConfiguration()
    )
    metadata = pq.ParquetFile(written.path, decryption_properties=properties).metadata
    found = {}
    for piece in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(piece).column(column)
            found[piece, column] = chunk.dictionary_page_offset, chunk.total_compressed_size
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [((0, 2), (0, 3)), ((0, 2), (1, 2)), ((1, 3), (0, 2))],
    ids=["to another column", "to another piece", "to both"],
)
def test_pages_that_were_moved_are_found(
    written: Written, one: tuple[int, int], other: tuple[int, int]
) -> None:
    """They hold the same values and are of one size: it is their place alone that is wrong."""
    place = chunks(written)
    (at, size), (there, as_large) = place[one], place[other]
    assert size == as_large
    moved = bytearray(written.content)
    moved[at : at + size], moved[there : there + size] = (
        written.content[there : there + size],
        written.content[at : at + size],
    )
    require_changed(written, bytes(moved))


def test_pages_of_another_file_are_found(written: Written) -> None:
    """A later file of the same table with the same rows, page for page of one size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "ROWS_PER_PIECE", PIECE)
        later = write_file(written.home, TABLE, 2, written.rows)
    content = written.home.path("tables", TABLE, later.file).read_bytes()
    assert len(content) == len(written.content)
    at, size = chunks(written)[0, 2]
    require_changed(written, written.content[:at] + content[at : at + size] + written.content[at + size :])
    require_changed(written, content)


def test_another_file_under_its_name_is_found(written: Written, tmp_path: Path) -> None:
    pq.write_table(written.rows, tmp_path / "plain.parquet")
    require_changed(written, (tmp_path / "plain.parquet").read_bytes())
    require_changed(written, b"PARE" + bytes(len(written.content) - 8) + b"PARE")
    require_changed(written, b"PAR1" * (len(written.content) // 4))


def test_a_manifest_entry_of_another_key_or_table_opens_nothing(written: Written) -> None:
    """Both are bound into the seal of the file's own key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "ROWS_PER_PIECE", PIECE)
        other = write_file(written.home, TABLE, 3, written.rows)
    with pytest.raises(EvidenceError):
        written.read(dataclasses.replace(written.file, key_id=other.key_id))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "key_use", lambda table: f"table/{TABLE}")
        elsewhere = written.home.path("tables", "spending_v2", written.file.file)
        elsewhere.parent.mkdir(exist_ok=True)
        elsewhere.write_bytes(written.content)
        with pytest.raises(EvidenceError):
            list(scan_file(written.home, "spending_v2", written.file))


def test_what_is_gone_is_unavailable(written: Written) -> None:
    with pytest.raises(Unavailable, match="key of a file"):
        written.read(dataclasses.replace(written.file, key_id="f" * 32))
    written.path.unlink()
    with pytest.raises(Unavailable, match="is missing"):
        written.read()
    written.path.symlink_to(written.path)
    try:
        with pytest.raises(Unavailable, match="cannot be read"):
            written.read()
    finally:
        written.path.unlink()


def test_a_column_that_is_not_there_is_named(written: Written) -> None:
    with pytest.raises(ConfigError, match="no column third"):
        list(scan_file(written.home, TABLE, written.file, columns=["one", "third"]))


def key_column(keys: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.set_column(0, "subject_key", keys)


def instants(values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.set_column(1, "event_timestamp", values)


ONE, TWO = "1" * 32, "2" * 32


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (key_column(pa.array([TWO, ONE])), "out of order"),
        (key_column(pa.array([ONE, None])), "out of order"),
        (lambda rows: pa.concat_tables([rows, rows.slice(1)]), "same ones"),
        (
            lambda rows: key_column(pa.array([ONE, ONE]))(rows).take(pa.array([1, 0])),
            "out of order",
        ),
        (instants(pa.array([None, START], INSTANT)), "without a person or an instant"),
        (instants(pa.array([START, START], pa.timestamp("ns", "UTC"))), "microseconds"),
        (instants(pa.array([START, START], pa.timestamp("us"))), "in UTC"),
        (instants(pa.array([START, START], pa.timestamp("us", "Asia/Shanghai"))), "in UTC"),
        (key_column(pa.array([1, 2])), "as text"),
        (lambda rows: rows.select(["event_timestamp", "subject_key", "one"]), "do not begin"),
        (lambda rows: rows.select(["subject_key"]), "do not begin"),
    ],
    ids=[
        "people out of order",
        "nobody's row",
        "twice the same row",
        "instants out of order",
        "no instant",
        "nanoseconds",
        "no time zone",
        "another time zone",
        "numbers for people",
        "columns in another order",
        "no instants at all",
    ],
)
def test_rows_that_readers_could_not_trust_are_not_written(
    written: Written, change: Callable[[pa.Table], pa.Table], told: str
) -> None:
    """A later row of the same instant (a created timestamp elsewhere) has to be chosen before publishing."""
    at = pa.array([START, START + timedelta(hours=1)], INSTANT)
    rows = pa.table({"subject_key": [ONE, TWO], "event_timestamp": at, "one": [1.0, 2.0]})
    before = set(written.path.parent.iterdir())
    with pytest.raises(AssentError, match=told) as caught:
        write_file(written.home, TABLE, 9, change(rows))
    assert isinstance(caught.value, EvidenceError)
    assert ONE not in "".join(traceback.format_exception(caught.value))
    assert set(written.path.parent.iterdir()) == before
