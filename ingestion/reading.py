"""How a job reads its files: as they are, or through a mapping."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from consent.errors import BadInput
from consent.home import Home
from consent.sealing import token
from ingestion.mapped_rows import FileRows, read_mapped
from ingestion.mapping import Mapping
from ingestion.readers import read_columns
from ingestion.source import Source


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        subject_column: the column that holds the customer number.
        encoding: of CSV and JSONL text.
        mapping: says both, and more, in their place.
    """

    subject_column: str = "subject_id"
    encoding: str = "utf-8"
    mapping: Mapping | None = None


def read_file(path: Path, source: Source, reading: Reading, *, first: int | None = None) -> FileRows:
    """One file of a source.

    Args:
        first: look at so many rows only; None: at all.

    Raises:
        BadInput: the file cannot be used.
    """
    if reading.mapping:
        return read_mapped(path, source, reading.mapping, first=first)
    rows = read_columns(
        path,
        source.name,
        source.columns,
        subject_column=reading.subject_column,
        encoding=reading.encoding,
    )
    return FileRows(rows.slice(0, first), rows.num_rows)


def with_cells(bad: pa.Table, file: FileRows) -> pa.Table:
    """Rows for the quarantine; if a mapping read them, ``raw`` holds the lender's own cells, as JSON.

    So a mended mapping can be tried on them, see `ingestion.quarantine`.
    """
    if file.cells is None or not bad.num_rows:
        return bad
    where = pc.index_in(bad["row_number"], value_set=file.rows["row_number"].combine_chunks())
    texts = [json.dumps(cells, ensure_ascii=False) for cells in file.cells.take(where).to_pylist()]
    place = bad.schema.get_field_index("raw")
    return bad.set_column(place, "raw", pa.array(texts, pa.string()))


def file_token(home: Home, path: Path) -> str:
    """Keyed hash of the content: an unkeyed one would confirm a guess of a small file.

    Raises:
        BadInput: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise BadInput(f"{path.name}: the file cannot be read", remedy="Check the path.") from None
    return token(home.keyring.secret("file"), content).hex()


def require_distinct(home: Home, files: list[Path]) -> list[Path]:
    """The files, if no two have the same content.

    Raises:
        BadInput: two have.
    """
    seen: dict[str, Path] = {}
    for path in files:
        content = file_token(home, path)
        if content in seen:
            raise BadInput(
                f"{path.name} has the same content as {seen[content].name}",
                remedy="Name each file once; nothing was loaded.",
            )
        seen[content] = path
    return files
