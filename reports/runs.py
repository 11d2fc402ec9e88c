"""The reports of ingestion jobs, as they lie in the home: counts only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from consent.clock import parse_instant
from consent.errors import EvidenceError
from consent.home import Home
from ingestion.runs import Kind
from ingestion.runs import newest_runs as kept_runs


@dataclass(frozen=True)
class Run:
    """One job.

    Attributes:
        files: what became of each file, as `ingestion.run.FileReport` has it.
        totals: read, loaded, refused, quarantined, rejected.
    """

    run_id: str
    source: str
    started_at: datetime
    ended_at: datetime
    ledger_size: int
    files: list[dict[str, Any]]
    totals: dict[str, int]

    def refused(self) -> dict[str, int]:
        """Reason -> rows that were not let in."""
        reasons: dict[str, int] = {}
        for file in self.files:
            for reason, rows in file["refused"].items():
                reasons[reason] = reasons.get(reason, 0) + rows
        return dict(sorted(reasons.items()))


def newest_runs(home: Home) -> Iterator[Run]:
    """Every job that ended, the newest first, one in memory at a time.

    Raises:
        EvidenceError: a report is not one that a job writes.
    """
    jobs: tuple[Kind, ...] = ("ingest",)
    for run in kept_runs(home, jobs):
        try:
            yield _run(run.document)
        except (ValueError, KeyError, TypeError):
            raise EvidenceError(
                "the report of an ingestion job cannot be read", remedy="Restore the home's runs directory."
            ) from None


def _run(document: dict[str, Any]) -> Run:
    started = parse_instant(document["started_at"])
    return Run(
        document["run_id"],
        document["source"],
        started,
        started + timedelta(seconds=document["seconds"]),
        document["ledger_size"],
        document["files"],
        document["totals"],
    )
