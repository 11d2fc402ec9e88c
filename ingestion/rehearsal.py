"""What would happen to the first rows of a file, without any of it happening."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from consent.catalog import require_source
from consent.clock import now_utc
from consent.home import Home
from ingestion.judging import admit, validate, without
from ingestion.reading import Reading, file_token, read_file, require_distinct
from ingestion.reports import FileReport, file_report
from ingestion.source import Source
from ingestion.sources import source as find_source
from ingestion.vault import read_batches
from validation.suites import codes_of

#: Stands for a value about a person; there is one, but it is nobody's business here.
MASK = "•••"


@dataclass(frozen=True)
class Rehearsal:
    """One file.

    Attributes:
        in_file: rows of the file, of which `report` counts only the first ones.
        sample: the first rows as they would be loaded; masked where a value is about a person.
    """

    report: FileReport
    in_file: int
    sample: list[dict[str, str | None]]

    def to_document(self) -> dict[str, Any]:
        """JSON-able."""
        return {**asdict(self.report), "in_file": self.in_file, "sample": self.sample}


def rehearse(
    home: Home,
    source_name: str,
    files: Sequence[Path],
    *,
    reading: Reading,
    first: int = 1000,
    shown: int = 5,
    now: datetime | None = None,
) -> list[Rehearsal]:
    """Read, map, gate and validate the first rows of each file; nothing is kept.

    Args:
        first: so many rows.
        shown: rows of the sample.

    Raises:
        BadInput: a file cannot be used.
    """
    source = find_source(require_source(source_name))
    moment = now or now_utc()
    return [
        _rehearse(home, source, path, reading, (first, shown, moment))
        for path in require_distinct(home, list(files))
    ]


def _rehearse(
    home: Home, source: Source, path: Path, reading: Reading, extent: tuple[int, int, datetime]
) -> Rehearsal:
    first, shown, moment = extent
    content = file_token(home, path)
    file = read_file(path, source, reading, first=first)
    fresh = without(file.rows, [b for b in read_batches(home, source.name) if b.file_token == content])
    admitted = admit(home, source, fresh)
    verdict = validate(home, source, admitted.rows, moment)
    report = file_report(path, file, fresh.num_rows, admitted, verdict)
    return Rehearsal(report, file.in_file, masked(file.rows.slice(0, shown), source, home.settings.currency))


def masked(rows: pa.Table, source: Source, currency: str) -> list[dict[str, str | None]]:
    """Rows as texts: a code that the source's own suite names is shown, any other value only as being there.

    A cell that could not be understood is ``unreadable``.
    """
    codes = codes_of(source.name, currency=currency)
    shown: list[dict[str, str | None]] = []
    for row in rows.to_pylist():
        unreadable = set((row["malformed"] or "").split(","))
        shown.append(
            {
                column.name: "unreadable"
                if column.name in unreadable
                else None
                if row[column.name] is None
                else str(row[column.name])
                if row[column.name] in codes.get(column.name, ())
                else MASK
                for column in source.columns
            }
        )
    return shown
