"""What a manifest would say of a changed file of sealed records, were its key known: then only the seals are left."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from consent.files import file_hash
from ingestion.records import RecordFile, _group_hash


def restate(path: Path, about: RecordFile) -> RecordFile:
    """The statement made anew, so that hash, size, counts and index agree with the file as it is."""
    file = pq.ParquetFile(path)
    groups = [file.read_row_group(number) for number in range(file.metadata.num_row_groups)]
    index = b"".join(bytes.fromhex(g["subject_key"][-1].as_py()) + _group_hash(g) for g in groups)
    return replace(
        about,
        sha256=file_hash(path),
        size=path.stat().st_size,
        subjects=file.metadata.num_rows,
        rows=sum(sum(group["rows"].to_pylist()) for group in groups),
        groups=base64.b64encode(index).decode(),
    )
