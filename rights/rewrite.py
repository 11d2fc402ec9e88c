"""A store of one batch written anew: without some people, and with others' remaining rows under a new key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from consent.home import Home
from ingestion.grouping import group
from ingestion.records import (
    OpenFile,
    Place,
    Sealed,
    open_record_file,
    read_sealed,
    seal_records,
    unseal_records,
)
from ingestion.vault import Batch, Store, next_revision, open_store_writer, replace_store


@dataclass(frozen=True)
class Renewal:
    """What becomes of whose records.

    Attributes:
        whole: people whose records go.
        renewed: subject key -> version of the new key, of people some of whose rows go.
        stays: which of some rows stay.
    """

    whole: frozenset[str]
    renewed: dict[str, int]
    stays: Callable[[pa.Table], pa.ChunkedArray]


def rewrite_store(home: Home, batch: Batch, store: Store, renewal: Renewal) -> tuple[Batch, int]:
    """Write a store's file anew, if it holds anything that goes. Doing it twice changes nothing.

    Returns:
        The batch as it is now, and how many records nobody could open any more; they are left out as well.
    """
    if store not in batch.stores:
        return batch, 0
    file = open_record_file(home.path(store, batch.source), batch.stores[store], whole=True)
    touched, shut = _looks_touched(home, file, batch, renewal)
    if not touched and not shut:
        return batch, 0
    place: Place = (store, batch.source, batch.batch_id)
    schema = file.about.arrow_schema()
    revision = next_revision(batch.stores[store].file)
    with open_store_writer(home, store, batch.source, batch.batch_id, revision=revision) as writer:
        for records in _kept(home, read_sealed(home.data_keys, file, batch.source), place, schema, renewal):
            writer.write_sealed(records)
        return replace_store(home, batch, store, writer.finish(schema)), shut


def _looks_touched(home: Home, file: OpenFile, batch: Batch, renewal: Renewal) -> tuple[bool, int]:
    """Whether it holds a record of somebody meant, and how many nobody can open."""
    touched, shut = False, 0
    for sealed in read_sealed(home.data_keys, file, batch.source):
        shut += sealed.shut
        touched = touched or any(_fates(sealed, renewal))
    return touched, shut


def _fates(sealed: Sealed, renewal: Renewal) -> list[str]:
    """What becomes of each record: empty: it stays as it is; ``goes``; ``again``: it is sealed anew."""
    names, versions = (sealed.records[c].to_pylist() for c in ("subject_key", "key_version"))
    return [
        "goes" if name in renewal.whole else "again" if version < renewal.renewed.get(name, 0) else ""
        for name, version in zip(names, versions, strict=True)
    ]


def _kept(
    home: Home, parts: Iterator[Sealed], place: Place, schema: pa.Schema, renewal: Renewal
) -> Iterator[pa.Table]:
    """The records that stay, subjects in order."""
    for sealed in parts:
        fates = _fates(sealed, renewal)
        kept = sealed.records.filter(pa.array([not fate for fate in fates]))
        some = Sealed(
            sealed.records.filter(pa.array([fate == "again" for fate in fates])),
            [key for key, fate in zip(sealed.keys, fates, strict=True) if fate == "again"],
            0,
        )
        yield pa.concat_tables([kept, *_again(home, some, place, schema, renewal)]).sort_by("subject_key")


def _again(
    home: Home, sealed: Sealed, place: Place, schema: pa.Schema, renewal: Renewal
) -> Iterator[pa.Table]:
    """The rows that stay of people some of whose rows go, under their new keys."""
    if not sealed.keys:
        return
    rows = unseal_records(sealed, place, schema)
    rows = rows.filter(renewal.stays(rows))
    if rows.num_rows:
        found = group(rows)
        subjects, counts, payload = found.rows(0, len(found.subjects))
        keys = home.data_keys.find(place[1], subjects)
        yield from seal_records(subjects, counts, payload, keys, place)
