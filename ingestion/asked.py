"""Days of which training sets have asked for a person's features, sealed under that person's own keys."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import pyarrow as pa

from consent.home import Home
from ingestion.manifest import read_manifest, write_manifest
from ingestion.records import Place, RecordFile, RecordWriter, open_record_file, read_records

#: One row per (subject_key, day); day: whole days since 1970-01-01 UTC.
ASKED = pa.schema([pa.field("subject_key", pa.string()), pa.field("day", pa.int64())])
_MANIFEST, _USE = "asked.json", "asked-days"


def asked_days(home: Home, source: str, table: str, *, subjects: Sequence[str] | None = None) -> pa.Table:
    """What was asked for so far, less the people whose keys were destroyed.

    Args:
        subjects: only these; then only the parts of the file that may hold them are read. None: everybody.

    Raises:
        EvidenceError: the file is not as it was written.
    """
    manifest = home.path("tables", table, _MANIFEST)
    if not manifest.exists():
        return ASKED.empty_table()
    about = RecordFile.from_document(read_manifest(manifest, home.keyring.secret(_USE)))
    file = open_record_file(manifest.parent, about, whole=subjects is None)
    tables = read_records(home.data_keys, file, _place(source, table), subjects=subjects)
    found = [t.select(ASKED.names) for t in tables]
    return pa.concat_tables(found) if found else ASKED.empty_table()


def count_asked(home: Home, table: str) -> int:
    """How many people's days are kept, sealed for ever or not."""
    manifest = home.path("tables", table, _MANIFEST)
    if not manifest.exists():
        return 0
    return RecordFile.from_document(read_manifest(manifest, home.keyring.secret(_USE))).subjects


def keep_asked_days(home: Home, source: str, table: str, days: pa.Table) -> None:
    """Write down what was asked for, in place of what was written before."""
    folder = home.path("tables", table)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"asked-{secrets.token_hex(6)}.parquet"
    with RecordWriter(home.data_keys, path, _place(source, table)) as writer:
        writer.write(days)
        about = writer.finish()
    if about is None:
        (folder / _MANIFEST).unlink(missing_ok=True)
    else:
        write_manifest(folder / _MANIFEST, about.to_document(), home.keyring.secret(_USE))
    for old in folder.glob("asked-*.parquet"):
        if about is None or old != path:
            old.unlink()


def _place(source: str, table: str) -> Place:
    return "asked", source, table
