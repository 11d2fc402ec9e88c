"""One ingestion job: read, pseudonymise, gate, validate, seal. Each file becomes at most one batch, exactly once.

All files are sealed and staged first; only when every one of them could be read are the batches committed, one
rename each. A job that is killed leaves staged files that the next job deletes; run again, it ends in the state
an uninterrupted job would have reached.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from consent.catalog import require_source
from consent.clock import format_instant, now_utc
from consent.errors import BadInput
from consent.files import exclusive, remove_partials
from consent.home import Home
from ingestion.judging import admit, validate, without
from ingestion.mapped_rows import FileRows
from ingestion.reading import Reading, file_token, read_file, require_distinct, with_cells
from ingestion.reports import FileReport, RunReport, file_report
from ingestion.runs import Stopwatch, keep_run, new_run_id
from ingestion.source import Source
from ingestion.sources import source as find_source
from ingestion.vault import Batch, commit_batch, discard_uncommitted, pack_rows, read_batches, stage_store
from validation.gate import Verdict
from validation.suites import snapshot_hash

#: Called with (what is being done, files done, files in all).
Progress = Callable[[str, int, int], None]


def ingest(
    home: Home,
    source_name: str,
    files: Sequence[Path],
    *,
    reading: Reading | None = None,
    clock: Callable[[], datetime] = now_utc,
    on_progress: Progress = lambda *_: None,
) -> RunReport:
    """Load what people consented to from files of one source.

    Args:
        files: Parquet, CSV or JSONL files of the source.
        reading: how; None: UTF-8, columns named as ours, the customer number in ``subject_id``.

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
        job = _Job(home, source, reading or Reading(), started)
        for i, path in enumerate(require_distinct(home, list(files))):
            job.stage(path, partial(_report_progress, on_progress, i, len(files)))
        job.watch.enter("commit")
        job.commit()
        job.watch.enter(None)
        on_progress("done", len(files), len(files))
        report = RunReport(
            new_run_id(started),
            source.name,
            format_instant(started),
            round((clock() - started).total_seconds(), 3),
            home.ledger.size(),
            tuple(job.reports),
            job.watch.seconds(),
        )
        keep_run(home, "ingest", report.report())
    return report


def _report_progress(on_progress: Progress, done: int, in_all: int, what: str) -> None:
    on_progress(what, done, in_all)


class _Job:
    def __init__(self, home: Home, source: Source, reading: Reading, now: datetime) -> None:
        self._home = home
        self._source = source
        self._reading = reading
        self._now = now
        self._earlier = read_batches(home, source.name)
        self._staged: list[Batch] = []
        self.reports: list[FileReport] = []
        self.watch = Stopwatch()

    def stage(self, path: Path, progress: Callable[[str], None]) -> None:
        """Take one file as far as sealed files that nobody reads yet."""
        self.watch.enter("read")
        content = file_token(self._home, path)
        earlier = [b for b in self._earlier if b.file_token == content]
        progress(f"reading {path.name}")
        file = read_file(path, self._source, self._reading)
        if file_token(self._home, path) != content:
            raise BadInput(
                f"{path.name}: the file changed while it was read", remedy="Wait until it is complete."
            )
        fresh = without(file.rows, earlier)
        progress(f"checking consent for {path.name}")
        self.watch.enter("gate")
        admitted = admit(self._home, self._source, fresh)
        progress(f"validating {path.name}")
        self.watch.enter("validate")
        verdict = validate(self._home, self._source, admitted.rows, self._now)
        progress(f"sealing {path.name}")
        self.watch.enter("seal")
        if verdict.good.num_rows or (verdict.outcome != "reject" and verdict.bad.num_rows):
            self._staged.append(self._seal(content, len(earlier), file, verdict))
        self.reports.append(file_report(path, file, fresh.num_rows, admitted, verdict))
        self.watch.enter(None)

    def commit(self) -> None:
        """Make every staged batch exist."""
        for batch in self._staged:
            commit_batch(self._home, batch)

    def _seal(self, content: str, attempt: int, file: FileRows, verdict: Verdict) -> Batch:
        batch_id = f"{content[:24]}-{attempt:04d}"
        loaded = verdict.good.drop_columns(["malformed", "raw"])
        staged = {
            "vault": stage_store(self._home, "vault", self._source.name, batch_id, loaded),
            "quarantine": stage_store(
                self._home, "quarantine", self._source.name, batch_id, with_cells(verdict.bad, file)
            ),
        }
        mapping = self._reading.mapping
        return Batch(
            batch_id,
            self._source.name,
            len(self._earlier) + len(self._staged),
            content,
            pack_rows(np.concatenate([t["row_number"].to_numpy() for t in (verdict.good, verdict.bad)])),
            {store: file for store, file in staged.items() if file},
            self._now,
            {
                "suite_hash": verdict.suite_hash,
                "suite_snapshot": snapshot_hash(self._source.name),
                "ledger_size": self._home.ledger.size(),
            }
            | ({"mapping_hash": mapping.sha256} if mapping else {}),
        )
