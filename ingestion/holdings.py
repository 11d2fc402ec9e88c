"""What a home holds about people, store by store, and taking it away.

Two kinds of store: sealed records (vault, quarantine, days asked for) are shut for ever when the person's data key is
destroyed; rows of feature tables are taken out by writing the files that hold them anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from consent.home import Home
from consent.nouns import ANY
from ingestion.records import open_record_file
from ingestion.tables import Removed, discard_unnamed, read_definition, read_table, read_versions, remove_rows
from ingestion.vault import STORES, Store, read_batches


@dataclass(frozen=True)
class Holding:
    """What one store holds of one person.

    Attributes:
        store: ``vault``, ``quarantine`` or ``tables``.
        place: the batch, or the table and data version.
        at: when it was loaded or published, ISO 8601.
    """

    store: str
    source: str
    place: str
    rows: int
    at: str


def sources_of(home: Home, source: str) -> list[str]:
    """The sources meant: one, or with ``*`` every one of which the home holds something."""
    if source != ANY:
        return [source]
    folders = [p.name for store in STORES for p in home.path(store).glob("*") if p.is_dir()]
    return sorted({*folders, *(about for _, about in _tables(home))})


def tables_of(home: Home, source: str) -> list[str]:
    """The feature tables, of every definition version, computed from a source."""
    return [table for table, about in _tables(home) if source in (about, ANY)]


def _tables(home: Home) -> list[tuple[str, str]]:
    folders = sorted(p.name for p in home.path("tables").glob("*") if p.is_dir())
    return [(table, str(read_definition(home, table).get("source", ""))) for table in folders]


def survey(home: Home, source: str, subjects: Sequence[str]) -> dict[str, list[Holding]]:
    """What vault, quarantine and tables hold of these people. Reads the parts of the files that may hold them.

    Raises:
        EvidenceError: a file was changed.
        Unavailable: one is missing.
    """
    found: dict[str, list[Holding]] = {subject: [] for subject in subjects}
    wanted = sorted(subjects)
    for name in sources_of(home, source):
        for store in STORES:
            for subject, holding in _records(home, store, name, wanted):
                found[subject].append(holding)
        for table in tables_of(home, name):
            for subject, holding in _rows(home, table, name, wanted):
                found[subject].append(holding)
    return found


def _records(home: Home, store: Store, source: str, subjects: Sequence[str]) -> Iterator[tuple[str, Holding]]:
    alive = set(home.data_keys.versions(source, subjects))
    wanted = pa.array([s for s in subjects if s in alive], pa.string())
    for batch in read_batches(home, source):
        if store not in batch.stores or not len(wanted):
            continue
        file = open_record_file(home.path(store, source), batch.stores[store], whole=False)
        at = batch.committed_at.isoformat()
        for group in file.groups_of(wanted.to_pylist()):
            records = file.read([group])
            records = records.filter(pc.is_in(records["subject_key"], value_set=wanted))
            known = home.data_keys.versions(source, records["subject_key"].to_pylist())
            for subject, version, rows in zip(
                *(records[c].to_pylist() for c in records.column_names[:3]), strict=True
            ):
                if known[subject].opens(version) is not None:
                    yield subject, Holding(store, source, batch.batch_id, rows, at)


def _rows(home: Home, table: str, source: str, subjects: Sequence[str]) -> Iterator[tuple[str, Holding]]:
    for version in read_versions(home, table):
        rows = read_table(home, version, columns=[], subjects=subjects)
        at = version.published_at.isoformat()
        for count in pc.value_counts(rows["subject_key"]).to_pylist():
            place = f"{table}/{version.number}"
            yield count["values"], Holding("tables", source, place, count["counts"], at)


def remove_from_tables(home: Home, source: str, subjects: Sequence[str]) -> Removed:
    """Take people's rows out of every data version of every table of a source. Doing it twice changes nothing."""
    people, among = pa.array(sorted(subjects), pa.string()), sorted(subjects)

    def gone(rows: pa.Table) -> pa.ChunkedArray:
        return pc.is_in(rows["subject_key"], value_set=people)

    total = Removed(0, 0, 0)
    for table in tables_of(home, source):
        for version in read_versions(home, table):
            done = remove_rows(home, version, gone, among=among)
            total = Removed(*(a + b for a, b in zip(total, done, strict=True)))
        discard_unnamed(home, table)
    return total
