"""Rows by subject, in memory and beyond it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.errors import EvidenceError
from ingestion.grouping import Grouped, Grouping, group
from tests.ingestion.sealed_rows import by_subject, guises, on_disk, owned, people, rows_of, schemas

SCHEMA = schemas()["spending quarantine"]
ROWS = owned(rows_of(SCHEMA, 3_000), people(700))


def gathered(parts: list[Grouped]) -> pa.Table:
    """All parts' rows, with their subject; subjects must be in order from one part to the next."""
    tables, seen = [], [""]
    for part in parts:
        subjects, counts, payload = part.rows(0, len(part.subjects))
        assert subjects == sorted(set(subjects))
        assert subjects[0] > seen[-1]
        seen += subjects
        owners = pa.array(subjects).take(pa.array(np.repeat(np.arange(len(subjects)), counts)))
        tables.append(payload.append_column("subject_key", owners))
    return pa.concat_tables(tables).combine_chunks()


@pytest.fixture
def grouping(tmp_path: Path) -> Iterator[Grouping]:
    """Holds so little that nearly everything is put aside."""
    made = Grouping(tmp_path / "file", 20_000)
    yield made
    made.close()


def test_rows_are_grouped_and_keep_their_order() -> None:
    """Subjects in order, each one's rows as they came."""
    found = group(ROWS)
    assert found.subjects.to_pylist() == sorted(set(ROWS["subject_key"].to_pylist()))
    assert gathered([found]).equals(by_subject(ROWS))


def test_some_subjects_can_be_taken() -> None:
    """From one to another, with how many rows each has."""
    found, whole = group(ROWS), by_subject(ROWS)
    subjects, counts, payload = found.rows(250, 300)
    expected = whole.filter(pa.compute.is_in(whole["subject_key"], value_set=pa.array(subjects)))
    assert subjects == found.subjects.to_pylist()[250:300]
    assert counts == [expected["subject_key"].to_pylist().count(s) for s in subjects]
    assert payload.combine_chunks().equals(expected.drop_columns(["subject_key"]))


@given(
    st.lists(st.integers(0, 150), max_size=6),
    st.sampled_from([1, 2_000, 20_000, 10**9]),
    st.booleans(),
    st.sampled_from([5, 30, 10**6]),
)
@settings(max_examples=40, deadline=None)
def test_rows_may_come_in_any_chunks(
    cuts: list[int], memory_bytes: int, chunked: bool, rows_in_batch: int
) -> None:
    """Law: however the rows are cut up, and however few are held, the same rows come back by subject."""
    rows = ROWS.slice(0, 150)
    bounds = [0, *sorted(cuts), 150]
    pieces = [rows.slice(a, b - a) for a, b in pairwise(bounds)]
    grouping = Grouping(Path("/tmp/never-made"), memory_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingestion.grouping._ROWS_IN_BATCH", rows_in_batch)  # below it rows are copied together
        for piece in [pa.concat_tables(pieces)] if chunked else pieces:
            grouping.add(piece)
        assert gathered(list(grouping.parts())).equals(by_subject(rows))
    grouping.close()


@pytest.mark.parametrize("memory_bytes", [20_000, 10**9])
def test_one_subject_may_have_all_rows(tmp_path: Path, memory_bytes: int) -> None:
    """In many large batches, of which most parts have nothing."""
    rows = ROWS.set_column(ROWS.num_columns - 1, "subject_key", pa.array(["ab" * 16] * ROWS.num_rows))
    chunked = pa.concat_tables([rows.slice(i, 500) for i in range(0, 3_000, 500)])
    grouping = Grouping(tmp_path / "file", memory_bytes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ingestion.grouping._ROWS_IN_BATCH", 10)
        grouping.add(chunked)
        assert gathered(list(grouping.parts())).equals(by_subject(rows))
    grouping.close()


@pytest.mark.parametrize("memory_bytes", [1, 10**9])
def test_rows_of_nothing_but_their_subject_are_counted(tmp_path: Path, memory_bytes: int) -> None:
    """A file with no other column still says whom it was about."""
    grouping = Grouping(tmp_path / "file", memory_bytes)
    for _ in range(2):
        grouping.add(pa.table({"subject_key": people(3)}))
    counted = [
        (s, n)
        for part in grouping.parts()
        for s, n in zip(*part.rows(0, len(part.subjects))[:2], strict=True)
    ]
    assert counted == [(subject, 2) for subject in sorted(people(3))]
    grouping.close()


def test_nothing_comes_of_nothing(grouping: Grouping) -> None:
    """No rows, no parts."""
    assert list(grouping.parts()) == []
    grouping.add(ROWS.slice(0, 0))
    assert list(grouping.parts()) == []


def test_no_more_rows_are_held_than_said(grouping: Grouping) -> None:
    """Hardly more, whether they come a few at a time or all at once; the rest is put aside."""
    for rows in (ROWS, *(ROWS.slice(i, 10) for i in range(0, 500, 10))):
        grouping.add(rows)
        assert sum(table.nbytes for table in grouping._held) <= 25_000
    assert len(list(grouping.parts())) > 200


def test_a_column_never_grows_beyond_what_arrow_can_hold() -> None:
    """However much memory is allowed, rows are put aside before a column of text could reach 2 GiB."""
    assert Grouping(Path("f"), 1 << 50)._limit < 2**31


def test_rows_in_memory_need_no_file(tmp_path: Path) -> None:
    """Below the limit nothing is written anywhere."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    grouping = Grouping(tmp_path / "nowhere" / "file", 10**9)
    grouping.add(ROWS)
    assert gathered(list(grouping.parts())).equals(by_subject(ROWS))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


PLANTED = [f"planted-{i}-IBAN-GB29NWBK6016133192{i}" for i in range(4)]


def planted_rows() -> pa.Table:
    rows = ROWS.slice(0, 1_000)
    at = rows.column_names.index("merchant")
    return rows.set_column(at, "merchant", pa.array(PLANTED * 250))


def test_nothing_is_readable_on_disk_while_rows_are_put_aside(grouping: Grouping, tmp_path: Path) -> None:
    """Neither in a file of the directory nor in one without a name, in no guise; nor is anybody named."""
    rows = planted_rows()
    subjects = rows["subject_key"].unique().to_pylist()
    (tmp_path / "control").write_text(PLANTED[0].encode().hex())
    assert any(guise in on_disk(tmp_path) for guise in guises(PLANTED[0].encode()))
    (tmp_path / "control").unlink()
    for i in range(0, 1_000, 200):
        grouping.add(rows.slice(i, 200))
        content = on_disk(tmp_path)
        for planted in PLANTED:
            assert not any(guise in content for guise in guises(planted.encode()))
    assert not any(s.encode() in content or bytes.fromhex(s) in content for s in subjects[:100])
    assert len(content) > rows.nbytes / 2
    assert list(tmp_path.iterdir()) == []
    assert gathered(list(grouping.parts())).equals(by_subject(rows))


def test_the_file_ends_with_the_grouping(grouping: Grouping, tmp_path: Path) -> None:
    """Closed, nothing is left of it, not even without a name."""
    before = len(on_disk(tmp_path))  # other tests of this process may have left files without a name
    grouping.add(ROWS)
    assert len(on_disk(tmp_path)) > before + 100_000
    grouping.close()
    assert len(on_disk(tmp_path)) <= before


def test_a_killed_job_leaves_nothing(tmp_path: Path) -> None:
    """Not even the sealed rows: the file never had a name."""
    script = """
import sys
from pathlib import Path
from ingestion.grouping import Grouping
from tests.ingestion.test_grouping import planted_rows
grouping = Grouping(Path(sys.argv[1]) / "file", 20_000)
grouping.add(planted_rows())
print(grouping._aside is not None, flush=True)
sys.stdin.read()
"""
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
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["flipped", "swapped"])
def test_rows_that_were_changed_on_disk_are_refused(grouping: Grouping, damage: str) -> None:
    """Whoever can write to the file cannot slip in, change or move rows."""
    grouping.add(ROWS)
    aside = grouping._aside
    assert aside is not None
    if damage == "flipped":
        aside._file.seek(aside._blocks[7][0][0] + 40)
        byte = aside._file.read(1)
        aside._file.seek(-1, os.SEEK_CUR)
        aside._file.write(bytes([byte[0] ^ 1]))
    else:
        aside._blocks[7], aside._blocks[8] = aside._blocks[8], aside._blocks[7]
    with pytest.raises(EvidenceError):
        list(grouping.parts())


def test_a_second_process_cannot_read_what_is_put_aside(tmp_path: Path) -> None:
    """Every file has a key of its own."""
    one, two = (Grouping(tmp_path / name, 1) for name in ("one", "two"))
    for grouping in (one, two):
        grouping.add(ROWS.slice(0, 2))
    assert one._aside is not None
    assert two._aside is not None
    one._aside._file, two._aside._file = two._aside._file, one._aside._file
    with pytest.raises(EvidenceError):
        list(one.parts())
    for grouping in (one, two):
        grouping.close()
