"""The vault's files: staged where nobody looks, replaced, and cleared away when nobody names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from consent.clock import now_utc
from consent.errors import EvidenceError
from consent.home import Home
from ingestion.records import read_sealed
from ingestion.vault import (
    Batch,
    commit_batch,
    discard_uncommitted,
    open_store_writer,
    pack_rows,
    read_batch,
    read_batches,
    read_store,
    replace_store,
    stage_store,
)
from tests.ingestion.sealed_rows import by_subject, open_file, owned, people, rows_of, schemas

SCHEMA = schemas()["spending"]
ROWS = owned(rows_of(SCHEMA, 300), people(90))


def staged(home: Home, number: int, rows: pa.Table = ROWS) -> Batch:
    file = stage_store(home, "vault", "spending", f"batch-{number}", rows)
    assert file is not None
    taken = pack_rows(np.arange(rows.num_rows))
    return Batch(f"batch-{number}", "spending", number, "00" * 32, taken, {"vault": file}, now_utc())


def read(home: Home, subjects: list[str] | None = None) -> pa.Table:
    parts = list(read_store(home, "vault", "spending", subjects=subjects))
    return pa.concat_tables(parts).combine_chunks()


def test_a_batch_exists_once_its_manifest_does(empty_home: Home) -> None:
    """Before that no reader sees it; afterwards all of it, in the order of the batches."""
    one, two = staged(empty_home, 0), staged(empty_home, 1, ROWS.slice(0, 20))
    assert list(read_store(empty_home, "vault", "spending")) == []
    commit_batch(empty_home, one)
    commit_batch(empty_home, two)
    assert read_batches(empty_home, "spending") == [one, two]
    found = read(empty_home)
    for order, rows in ((0, ROWS), (1, ROWS.slice(0, 20))):
        some = found.filter(pc.equal(found["batch_order"], order)).drop_columns(["batch_order"])
        assert some.combine_chunks().equals(by_subject(rows))
    assert list(read_store(empty_home, "quarantine", "spending")) == []


def test_one_person_is_read_from_every_batch(empty_home: Home) -> None:
    """The same rows that reading everybody would give of that person."""
    for number in range(2):
        commit_batch(empty_home, staged(empty_home, number))
    subject = people(90)[7]
    whole = read(empty_home)
    assert read(empty_home, [subject]).equals(
        whole.filter(pc.equal(whole["subject_key"], subject)).combine_chunks()
    )


def test_the_rows_a_batch_took_in_survive(empty_home: Home) -> None:
    """Positions in the file, however many and far apart."""
    for positions in ([], [0], [5, 0, 900_000], range(1_000)):
        batch = replace(staged(empty_home, 0), packed_rows=pack_rows(np.array(positions, np.int64)))
        commit_batch(empty_home, batch)
        assert read_batches(empty_home, "spending")[0].rows_taken.tolist() == sorted(positions)


def test_what_nobody_names_is_discarded(empty_home: Home) -> None:
    """Files of an interrupted job go; those of committed batches stay."""
    kept, left = staged(empty_home, 0), staged(empty_home, 1)
    commit_batch(empty_home, kept)
    discard_uncommitted(empty_home, "spending")
    assert [p.name for p in empty_home.path("vault", "spending").glob("*.parquet*")] == [
        kept.stores["vault"].file
    ]
    assert left.stores["vault"].file != kept.stores["vault"].file
    assert read(empty_home).num_rows == 300


def test_a_store_written_anew_takes_the_old_ones_place(empty_home: Home) -> None:
    """The batch keeps its number and its bindings; the old file is gone, and is not taken for the new one."""
    batch = staged(empty_home, 0)
    commit_batch(empty_home, batch)
    old = empty_home.path("vault", "spending", batch.stores["vault"].file)
    content = old.read_bytes()
    with open_store_writer(empty_home, "vault", "spending", "batch-0", revision=1) as writer:
        writer.write(ROWS.slice(0, 100))
        changed = replace_store(empty_home, batch, "vault", writer.finish())
    assert read_batches(empty_home, "spending") == [changed]
    assert not old.exists()
    found = read(empty_home).drop_columns(["batch_order"])
    assert found.equals(by_subject(ROWS.slice(0, 100)))
    empty_home.path("vault", "spending", changed.stores["vault"].file).write_bytes(content)
    with pytest.raises(EvidenceError):
        read(empty_home)


def test_a_store_of_which_nothing_is_left_is_named_no_more(empty_home: Home) -> None:
    """The batch stays: its file is not loaded again."""
    batch = staged(empty_home, 0)
    commit_batch(empty_home, batch)
    changed = replace_store(empty_home, batch, "vault", None)
    assert changed.stores == {}
    assert read_batches(empty_home, "spending") == [changed]
    assert list(read_batch(empty_home, "vault", changed)) == []
    assert list(empty_home.path("vault", "spending").glob("*.parquet")) == []


def test_rows_that_are_in_memory_are_not_put_aside(empty_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would only take time; rows that come bit by bit are, beyond the limit."""
    made: list[str] = []

    class Noted:
        def __init__(self, dir: Path) -> None:
            made.append(dir.name)
            raise OSError

    monkeypatch.setattr("ingestion.grouping.TemporaryFile", Noted)
    monkeypatch.setattr("ingestion.records.MEMORY_BYTES", 1)
    monkeypatch.setattr("ingestion.vault.MEMORY_BYTES", 1)
    assert staged(empty_home, 0).stores["vault"].rows == 300
    assert made == []
    with open_store_writer(empty_home, "vault", "spending", "batch-1") as writer, pytest.raises(OSError):
        writer.write(ROWS)
    assert made == ["spending"]


def test_a_file_is_bound_to_its_store_and_batch(empty_home: Home) -> None:
    """Put under another batch's name, with that batch's statement rewritten by nobody, it is refused."""
    one, two = staged(empty_home, 0), staged(empty_home, 1)
    for batch in (one, two):
        commit_batch(empty_home, batch)
    path = empty_home.path("vault", "spending", one.stores["vault"].file)
    (sealed,) = read_sealed(empty_home.data_keys, open_file(path, one.stores["vault"]), "spending")
    assert len(sealed.keys) == 90
    path.rename(empty_home.path("vault", "spending", two.stores["vault"].file))
    with pytest.raises(EvidenceError):
        list(read_batch(empty_home, "vault", two))
    moved = replace(two, stores={"vault": replace(one.stores["vault"], file=two.stores["vault"].file)})
    with pytest.raises(EvidenceError, match="does not open"):
        list(read_batch(empty_home, "vault", moved))
