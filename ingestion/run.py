"""One ingestion job: read, pseudonymise, gate, validate, seal. Each file becomes at most one batch, exactly once.

All files are sealed and staged first; only when every one of them could be read are the batches committed, one
rename each. A job that is killed leaves staged files that the next job deletes; run again, it ends in the state
an uninterrupted job would have reached.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consent.catalog import require_source
from consent.clock import format_instant, now_utc
from consent.errors import BadInput
from consent.files import exclusive, remove_partials, write_atomically
from consent.home import Home
from consent.nouns import Reason
from consent.sealing import token
from ingestion.entities import pseudonymise
from ingestion.manifest import canonical_json
from ingestion.readers import read_columns
from ingestion.source import Source
from ingestion.sources import source as find_source
from ingestion.vault import Batch, commit_batch, discard_uncommitted, pack_rows, read_batches, stage_store
from validation.gate import Verdict, check

#: Called with (what is being done, files done, files in all).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class FileReport:
    """What became of one file. Counts and names of rules only.

    ``read = loaded + sum(refused) + quarantined + rejected`` always holds; rows that an earlier run of the same
    file took in are ``already_ingested`` and not read again.
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


@dataclass(frozen=True)
class RunReport:
    """What one job did, kept in the home's ``runs`` directory."""

    run_id: str
    source: str
    started_at: str
    seconds: float
    ledger_size: int
    files: tuple[FileReport, ...]

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


def ingest(
    home: Home,
    source_name: str,
    files: Sequence[Path],
    *,
    subject_column: str = "subject_id",
    encoding: str = "utf-8",
    clock: Callable[[], datetime] = now_utc,
    on_progress: Progress = lambda *_: None,
) -> RunReport:
    """Load what people consented to from files of one source.

    Args:
        files: Parquet, CSV or JSONL files of the source.
        subject_column: the column that holds the customer number.
        encoding: of CSV and JSONL text.

    Returns:
        The run report; a file over the quarantine threshold is in it as ``rejected``, with nothing loaded.

    Raises:
        BadInput: a file cannot be used; nothing of the job was loaded.
        Conflict: another job is running.
    """
    source = find_source(require_source(source_name))
    started = clock()
    with exclusive(home.path("job.lock"), "an ingestion or publish job"):
        for store in ("vault", "quarantine", "runs"):
            remove_partials(home.path(store))
        discard_uncommitted(home, source.name)
        job = _Job(home, source, subject_column, encoding, started)
        for i, path in enumerate(_require_distinct(home, files)):
            job.stage(path, partial(_report_progress, on_progress, i, len(files)))
        job.commit()
        on_progress("done", len(files), len(files))
        report = RunReport(
            f"{format_instant(started)[:19].replace(':', '')}-{secrets.token_hex(3)}",
            source.name,
            format_instant(started),
            round((clock() - started).total_seconds(), 3),
            home.ledger.size(),
            tuple(job.reports),
        )
        write_atomically(home.path("runs", f"{report.run_id}.json"), canonical_json(report.report()))
    return report


def _report_progress(on_progress: Progress, done: int, in_all: int, what: str) -> None:
    on_progress(what, done, in_all)


def _require_distinct(home: Home, files: Sequence[Path]) -> list[Path]:
    seen: dict[str, Path] = {}
    for path in files:
        content = _file_token(home, path)
        if content in seen:
            raise BadInput(
                f"{path.name} has the same content as {seen[content].name}",
                remedy="Name each file once; nothing was loaded.",
            )
        seen[content] = path
    return list(files)


def _file_token(home: Home, path: Path) -> str:
    """Keyed hash of the content: an unkeyed one would confirm a guess of a small file."""
    try:
        content = path.read_bytes()
    except OSError:
        raise BadInput(f"{path.name}: the file cannot be read", remedy="Check the path.") from None
    return token(home.keyring.secret("file"), content).hex()


class _Job:
    def __init__(self, home: Home, source: Source, subject_column: str, encoding: str, now: datetime) -> None:
        self._home = home
        self._source = source
        self._subject_column = subject_column
        self._encoding = encoding
        self._now = now
        self._earlier = read_batches(home, source.name)
        self._staged: list[Batch] = []
        self.reports: list[FileReport] = []

    def stage(self, path: Path, progress: Callable[[str], None]) -> None:
        """Take one file as far as sealed files that nobody reads yet."""
        content = _file_token(self._home, path)
        earlier = [b for b in self._earlier if b.file_token == content]
        progress(f"reading {path.name}")
        rows = read_columns(
            path,
            self._source.name,
            self._source.columns,
            subject_column=self._subject_column,
            encoding=self._encoding,
        )
        if _file_token(self._home, path) != content:
            raise BadInput(
                f"{path.name}: the file changed while it was read", remedy="Wait until it is complete."
            )
        fresh = _without(rows, earlier)
        progress(f"checking consent for {path.name}")
        admitted, refused = self._admit(fresh)
        progress(f"validating {path.name}")
        verdict = check(
            admitted,
            self._source.name,
            currency=self._home.settings.currency,
            now=self._now,
            reject_above=self._home.settings.reject_above,
        )
        progress(f"sealing {path.name}")
        if verdict.good.num_rows or (verdict.outcome != "reject" and verdict.bad.num_rows):
            self._staged.append(self._seal(content, len(earlier), verdict))
        self.reports.append(
            _file_report(path, rows.num_rows, fresh.num_rows, admitted.num_rows, refused, verdict)
        )

    def commit(self) -> None:
        """Make every staged batch exist."""
        for batch in self._staged:
            commit_batch(self._home, batch)

    def _admit(self, rows: pa.Table) -> tuple[pa.Table, dict[str, int]]:
        """The rows that consent lets in, under pseudonyms; the others only as counts by reason."""
        subject_key = pseudonymise(self._home, rows["subject_id"])
        reasons = self._home.gate.timeline().judge_loading(
            subject_key, self._source.name, data_at=rows[self._source.event_time], now=self._home.ledger.now()
        )
        reasons = pc.if_else(pc.is_null(rows["subject_id"]), Reason.UNKNOWN.value, reasons)
        counts = {c["values"]: c["counts"] for c in pc.value_counts(reasons).to_pylist() if c["values"]}
        named = rows.drop_columns(["subject_id"]).add_column(0, "subject_key", subject_key)
        return named.filter(pc.is_null(reasons)), dict(sorted(counts.items()))

    def _seal(self, content: str, attempt: int, verdict: Verdict) -> Batch:
        batch_id = f"{content[:24]}-{attempt:04d}"
        loaded = verdict.good.drop_columns(["malformed", "raw"])
        staged = {
            "vault": stage_store(self._home, "vault", self._source.name, batch_id, loaded),
            "quarantine": stage_store(self._home, "quarantine", self._source.name, batch_id, verdict.bad),
        }
        return Batch(
            batch_id,
            self._source.name,
            len(self._earlier) + len(self._staged),
            content,
            pack_rows(np.concatenate([t["row_number"].to_numpy() for t in (verdict.good, verdict.bad)])),
            {store: file for store, file in staged.items() if file},
            self._now,
            {"suite_hash": verdict.suite_hash, "ledger_size": self._home.ledger.size()},
        )


def _without(rows: pa.Table, earlier: Sequence[Batch]) -> pa.Table:
    """The rows that no earlier batch of the same file took in."""
    if not earlier:
        return rows
    taken = np.zeros(rows.num_rows, dtype=bool)
    for batch in earlier:
        taken[batch.rows_taken] = True
    return rows.filter(pa.array(~taken))


def _file_report(
    path: Path, rows: int, fresh: int, admitted: int, refused: dict[str, int], verdict: Verdict
) -> FileReport:
    rejected = verdict.outcome == "reject"
    loaded = verdict.good.num_rows
    outcome = (
        "rejected"
        if rejected
        else "loaded"
        if loaded
        else "nothing new"
        if fresh < rows
        else "nothing loaded"
    )
    return FileReport(
        file=path.name,
        outcome=outcome,
        rows=rows,
        already_ingested=rows - fresh,
        read=fresh,
        loaded=loaded,
        quarantined=0 if rejected else verdict.quarantined,
        rejected=admitted if rejected else 0,
        refused=refused,
        quarantined_by_rule=verdict.by_rule,
        warnings_by_rule=verdict.warnings,
        failed_table_checks=verdict.table_failures,
        suite_hash=verdict.suite_hash,
    )
