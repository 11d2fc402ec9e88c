"""Rows that failed validation: how many, for which rules, and another try once the mapping or the suite is mended.

They lie sealed under their people's own keys. Nothing here shows a value; a row that is mended is loaded like any
other, through consent and validation as they are now, and leaves the quarantine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consent.accesses import AccessKind
from consent.callers import current_caller
from consent.catalog import require_source
from consent.clock import format_instant, now_utc
from consent.errors import BadInput
from consent.files import exclusive
from consent.home import Home
from ingestion.judging import Admitted, admit
from ingestion.mapped_rows import map_rows
from ingestion.mapping import SUBJECT, Mapping
from ingestion.rehearsal import masked
from ingestion.reports import FileReport, RunReport
from ingestion.runs import keep_run, new_run_id
from ingestion.source import Source
from ingestion.sources import source as find_source
from ingestion.vault import (
    Batch,
    commit_batch,
    discard_uncommitted,
    next_revision,
    open_store_writer,
    pack_rows,
    read_batch,
    read_batches,
    replace_store,
    stage_store,
)
from validation.gate import Verdict, check
from validation.suites import snapshot_hash

#: In a batch's facts: the batch from whose quarantine its rows came.
_FROM = "replayed_from"


@dataclass(frozen=True)
class Held:
    """What one batch holds in quarantine, in counts.

    Attributes:
        mapped: the rows keep the lender's own cells, so that a mapping can be tried on them.
    """

    source: str
    batch_id: str
    loaded_at: str
    rows: int
    people: int
    by_rule: dict[str, int]
    mapped: bool

    def to_document(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def list_held(home: Home, source_name: str) -> list[Held]:
    """Every batch of a source with rows in quarantine.

    Raises:
        EvidenceError: a sealed file is not as it was written.
    """
    source = find_source(require_source(source_name))
    batches = read_batches(home, source.name)
    return [_held(batch, rows) for batch in batches if (rows := _rows(home, batch, batches)).num_rows]


def show_held(
    home: Home, source_name: str, *, batch_id: str | None = None, limit: int = 20
) -> list[dict[str, str | None]]:
    """Rows in quarantine with their rules; every value about a person is masked, for everybody.

    Args:
        batch_id: of one batch, or its beginning; None: of all.
        limit: so many rows at most.

    Raises:
        BadInput: there is no such batch.
    """
    source = find_source(require_source(source_name))
    about = {"quarantine": source.name, "batch": batch_id or "*"}
    home.accesses.record(AccessKind.LOOKED, caller=current_caller(), about=about)
    batches = read_batches(home, source.name)
    shown: list[dict[str, str | None]] = []
    for batch in _named(batches, batch_id):
        rows = _rows(home, batch, batches).slice(0, limit - len(shown))
        values = masked(rows, source, home.settings.currency) if rows.num_rows else []
        places = zip(rows["row_number"].to_pylist(), rows["rules"].to_pylist(), values, strict=True)
        shown += [
            {"batch": batch.batch_id[:12], "row": str(row), "rules": ", ".join(rules), **cells}
            for row, rules, cells in places
        ]
    return shown


def replay(
    home: Home,
    source_name: str,
    *,
    mapping: Mapping | None = None,
    batch_id: str | None = None,
    clock: Callable[[], datetime] = now_utc,
) -> RunReport:
    """Put the rows in quarantine through consent and validation again, as they are now.

    Rows that are fit are loaded, once, and leave the quarantine; the others stay, under the rules they break now.
    Rows that consent no longer lets in stay as they are. Repeated or killed, it ends in the same state.

    Args:
        mapping: read the lender's own cells anew with it; batches without such cells are left alone. None: take the
            rows as they were read.
        batch_id: of one batch, or its beginning; None: of all.

    Raises:
        BadInput: there is no such batch, or the mapping reads columns that were not kept.
        Conflict: another job is running.
    """
    source = find_source(require_source(source_name))
    started = clock()
    with exclusive(home.path("job.lock"), "an ingestion, publish or erasure job"):
        discard_uncommitted(home, source.name)
        names = [b.batch_id for b in _named(read_batches(home, source.name), batch_id)]
        reports = [r for name in names if (r := _replay(home, source, name, mapping, started)) is not None]
        report = RunReport(
            new_run_id(started),
            source.name,
            format_instant(started),
            round((clock() - started).total_seconds(), 3),
            home.ledger.size(),
            tuple(reports),
        )
        keep_run(home, "ingest", report.report())
    return report


def _named(batches: list[Batch], batch_id: str | None) -> Iterator[Batch]:
    chosen = [b for b in batches if b.batch_id.startswith(batch_id or "")]
    if batch_id and not chosen:
        raise BadInput("there is no such batch", remedy="See `assent quarantine list`.")
    yield from (b for b in chosen if "quarantine" in b.stores)


def _rows(home: Home, batch: Batch, batches: list[Batch]) -> pa.Table:
    """The rows a batch holds in quarantine, less those a later batch has taken from there."""
    parts = list(read_batch(home, "quarantine", batch))
    if not parts:
        return pa.table({"row_number": pa.array([], pa.int64())})
    rows = pa.concat_tables(parts).drop_columns(["batch_order"])
    taken = [b.rows_taken for b in batches if b.facts.get(_FROM) == batch.batch_id]
    if not taken:
        return rows
    gone = pc.is_in(rows["row_number"], value_set=pa.array(np.concatenate(taken)))
    return rows.filter(pc.invert(gone))


def _held(batch: Batch, rows: pa.Table) -> Held:
    return Held(
        batch.source,
        batch.batch_id,
        format_instant(batch.committed_at),
        rows.num_rows,
        len(rows["subject_key"].unique()),
        dict(sorted(Counter(pc.list_flatten(rows["rules"]).to_pylist()).items())),
        "mapping_hash" in batch.facts,
    )


# ------------------------------------------------------------------------------------------- another try


def _replay(
    home: Home, source: Source, batch_id: str, mapping: Mapping | None, now: datetime
) -> FileReport | None:
    batches = read_batches(home, source.name)
    batch = next(b for b in batches if b.batch_id == batch_id)
    rows = _rows(home, batch, batches)
    if not rows.num_rows or (mapping and "mapping_hash" not in batch.facts):
        _keep_only(home, batch, rows)
        return None
    tried = rows.drop_columns(["rules"])
    admitted = admit(home, source, _mapped(tried, source, mapping) if mapping else tried)
    verdict = check(admitted.rows, source.name, currency=home.settings.currency, now=now, reject_above=1.0)
    if verdict.good.num_rows:
        _load(home, batch, verdict, mapping, now)
    _keep_only(home, batch, _left(rows, admitted.rows, verdict))
    return _report(batch, rows.num_rows, admitted, verdict)


def _mapped(rows: pa.Table, source: Source, mapping: Mapping) -> pa.Table:
    """The lender's cells read anew, under the people they belong to."""
    cells = [json.loads(raw) for raw in rows["raw"].to_pylist()]
    wanted = mapping.kept_columns()
    missing = sorted({name for row in cells for name in wanted if name not in row})
    if missing:
        raise BadInput(
            f"the mapping reads {', '.join(missing)}, which was not kept of these rows",
            remedy="Use the columns of the mapping they came in with, or offer the file again.",
        )
    columns = {name: pa.array([row[name] for row in cells], pa.string()) for name in wanted}
    prepared = pa.table({**columns, "row_number": rows["row_number"]})
    anonymous = replace(mapping, cells={n: c for n, c in mapping.cells.items() if n != SUBJECT})
    order = pc.sort_indices(rows["row_number"])
    found = map_rows(prepared, source, anonymous).drop_columns([SUBJECT])
    keys = rows["subject_key"].take(order)
    place = found.schema.get_field_index("raw")
    return found.set_column(place, "raw", rows["raw"].take(order)).add_column(0, "subject_key", keys)


def _load(home: Home, batch: Batch, verdict: Verdict, mapping: Mapping | None, now: datetime) -> None:
    """The rows that are fit, as a batch of its own; the commit is what takes them out of the quarantine."""
    batches = read_batches(home, batch.source)
    attempt = sum(b.file_token == batch.file_token for b in batches)
    name = f"{batch.file_token[:24]}-{attempt:04d}"
    loaded = verdict.good.drop_columns(["malformed", "raw"])
    file = stage_store(home, "vault", batch.source, name, loaded)
    assert file is not None
    facts = {
        "suite_hash": verdict.suite_hash,
        "suite_snapshot": snapshot_hash(batch.source),
        "ledger_size": home.ledger.size(),
        _FROM: batch.batch_id,
    }
    taken = pack_rows(verdict.good["row_number"].to_numpy())
    commit_batch(
        home,
        Batch(
            name,
            batch.source,
            len(batches),
            batch.file_token,
            taken,
            {"vault": file},
            now,
            facts | ({"mapping_hash": mapping.sha256} if mapping else {}),
        ),
    )


def _left(rows: pa.Table, tried: pa.Table, verdict: Verdict) -> pa.Table:
    """What stays: rows that consent did not let in as they were, the others under the rules they break now."""
    untried = pc.invert(pc.is_in(rows["row_number"], value_set=tried["row_number"].combine_chunks()))
    return pa.concat_tables([rows.filter(untried), verdict.bad.select(rows.column_names).cast(rows.schema)])


def _keep_only(home: Home, batch: Batch, rows: pa.Table) -> None:
    """Write a batch's quarantine anew, unless it holds just these rows."""
    parts = list(read_batch(home, "quarantine", batch))
    before = pa.concat_tables(parts).drop_columns(["batch_order"]) if parts else rows
    if _by_place(before).equals(_by_place(rows)):
        return
    revision = next_revision(batch.stores["quarantine"].file)
    with open_store_writer(home, "quarantine", batch.source, batch.batch_id, revision=revision) as writer:
        if rows.num_rows:
            writer.write(rows)
        replace_store(home, batch, "quarantine", writer.finish())


def _by_place(rows: pa.Table) -> pa.Table:
    return rows.sort_by("row_number").combine_chunks() if rows.num_rows else rows.slice(0, 0).select([])


def _report(batch: Batch, rows: int, admitted: Admitted, verdict: Verdict) -> FileReport:
    loaded = verdict.good.num_rows
    return FileReport(
        file=f"quarantine of {batch.batch_id[:12]}",
        outcome="loaded" if loaded else "nothing loaded",
        rows=rows,
        already_ingested=0,
        read=rows,
        loaded=loaded,
        quarantined=verdict.quarantined,
        rejected=0,
        refused=admitted.refused,
        quarantined_by_rule=verdict.by_rule,
        warnings_by_rule=verdict.warnings,
        failed_table_checks=verdict.table_failures,
        suite_hash=verdict.suite_hash,
        table_warnings=verdict.table_warnings,
    )
