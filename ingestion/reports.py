"""What a job did: counts and names of rules only, never a cell."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ingestion.judging import Admitted
from ingestion.mapped_rows import FileRows
from validation.gate import Verdict


@dataclass(frozen=True)
class FileReport:
    """What became of one file. Counts and names of rules only.

    ``read = loaded + sum(refused) + quarantined + rejected`` always holds, and so does ``rows = read +
    already_ingested + left_out``: rows that an earlier run of the same file took in are not read again, and a
    mapping may leave rows out. ``undated`` rows are among those refused.
    """

    file: str
    outcome: str
    rows: int
    already_ingested: int
    read: int
    loaded: int
    quarantined: int
    rejected: int
    refused: dict[str, int] = field(default_factory=dict)
    quarantined_by_rule: dict[str, int] = field(default_factory=dict)
    warnings_by_rule: dict[str, int] = field(default_factory=dict)
    failed_table_checks: tuple[str, ...] = ()
    suite_hash: str = ""
    left_out: int = 0
    table_warnings: tuple[str, ...] = ()
    undated: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class RunReport:
    """What one job did, kept in the home's ``runs`` directory. ``stages``: seconds by stage."""

    run_id: str
    source: str
    started_at: str
    seconds: float
    ledger_size: int
    files: tuple[FileReport, ...]
    stages: dict[str, float] = field(default_factory=dict)

    def total(self, count: str) -> int:
        """Sum of one count over the files; `refused` sums its reasons."""
        return sum(sum(f.refused.values()) if count == "refused" else getattr(f, count) for f in self.files)

    @property
    def rejected_files(self) -> list[str]:
        """Files whose batch was rejected whole."""
        return [f.file for f in self.files if f.outcome == "rejected"]

    def report(self) -> dict[str, Any]:
        """JSON-able."""
        totals = {c: self.total(c) for c in ("read", "loaded", "refused", "quarantined", "rejected")}
        return {**asdict(self), "totals": totals}


def file_report(path: Path, file: FileRows, fresh: int, admitted: Admitted, verdict: Verdict) -> FileReport:
    """What became of a file, of which `fresh` rows were new."""
    rejected = verdict.outcome == "reject"
    return FileReport(
        file=path.name,
        outcome=_outcome(verdict, new=fresh == file.rows.num_rows),
        rows=file.rows.num_rows + file.left_out,
        already_ingested=file.rows.num_rows - fresh,
        read=fresh,
        loaded=verdict.good.num_rows,
        quarantined=0 if rejected else verdict.quarantined,
        rejected=admitted.rows.num_rows if rejected else 0,
        refused=admitted.refused,
        quarantined_by_rule=verdict.by_rule,
        warnings_by_rule=verdict.warnings,
        failed_table_checks=verdict.table_failures,
        suite_hash=verdict.suite_hash,
        left_out=file.left_out,
        table_warnings=verdict.table_warnings,
        undated=admitted.undated,
        bytes=path.stat().st_size,
    )


def _outcome(verdict: Verdict, *, new: bool) -> str:
    if verdict.outcome == "reject":
        return "rejected"
    if verdict.good.num_rows:
        return "loaded"
    return "nothing loaded" if new else "nothing new"
