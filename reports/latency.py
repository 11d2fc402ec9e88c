"""How long it takes until a withdrawal has stopped everything, and until an erasure is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from consent.clock import micros
from consent.nouns import ANY, Kind
from consent.tallies import Which, find_entries
from feature_repo.stores.receipts import read_receipts
from reports.quantiles import spread
from reports.query import Definition, Scope
from reports.runs import newest_runs
from reports.table import CellType, Column, Row, count, text

_ENDS = (Kind.WITHDRAWN, Kind.REVOKED)
_Micros = np.ndarray[Any, np.dtype[np.int64]]


def rows(scope: Scope) -> Iterator[Row]:
    """One row per stage."""
    query = scope.query
    which = Which(_ENDS, query.subject_key, query.source, query.purpose, query.since, query.until)
    ends = find_entries(scope.timeline, which)
    effective_at, recorded_at = (ends[name].to_numpy() for name in ("effective_at", "recorded_at"))
    yield _stage("recorded", np.maximum(recorded_at - effective_at, 0), 0)
    yield _stage("ingest_stop", _after_jobs(scope, ends, recorded_at), 0)
    yield ("online_stop", len(ends), 0, None, None, None)
    yield _stage("training_stop", _after_fetches(scope, ends, recorded_at), 0)
    yield _stage("erased", *_erasures(scope))


def _stage(name: str, durations: _Micros, still_open: int) -> Row:
    return (name, len(durations), still_open, *spread(durations)[1:])


def _after_jobs(scope: Scope, ends: pa.Table, recorded_at: _Micros) -> _Micros:
    """How long a job that was under way went on; 0 where there was none."""
    waited = np.zeros(len(recorded_at), np.int64)
    for run in newest_runs(scope.home):
        first, last = np.searchsorted(recorded_at, [micros(run.started_at), micros(run.ended_at)], "right")
        concerned = _is_about(ends, slice(first, last), {run.source})
        late = np.where(concerned, micros(run.ended_at) - recorded_at[first:last], 0)
        waited[first:last] = np.maximum(waited[first:last], late)
    return waited


def _after_fetches(scope: Scope, ends: pa.Table, recorded_at: _Micros) -> _Micros:
    """How long after it was recorded a fetch was still decided without it; 0 where there was none."""
    waited, leaves = np.zeros(len(recorded_at), np.int64), ends["leaf_index"].to_numpy()
    for receipt in read_receipts(scope.home):
        first = int(np.searchsorted(leaves, receipt.ledger_size, "left"))
        last = int(np.searchsorted(recorded_at, micros(receipt.created_at), "right"))
        if first < last:
            concerned = _is_about(ends, slice(first, last), {view.source for view in receipt.views})
            late = np.where(concerned, micros(receipt.created_at) - recorded_at[first:last], 0)
            waited[first:last] = np.maximum(waited[first:last], late)
    return waited


def _is_about(ends: pa.Table, where: slice, sources: set[str]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    some = ends["source"].slice(where.start, where.stop - where.start).to_pylist()
    return np.array([source in sources or source == ANY for source in some], bool)


def _erasures(scope: Scope) -> tuple[_Micros, int]:
    """How long each request that was answered waited, and how many wait."""
    query = scope.query
    asked = Which(
        (Kind.ERASURE_REQUESTED,), query.subject_key, query.source, since=query.since, until=query.until
    )
    requests = find_entries(scope.timeline, asked).to_pylist()
    done: dict[str, list[dict[str, Any]]] = {}
    for row in find_entries(scope.timeline, Which((Kind.ERASED,), query.subject_key)).to_pylist():
        done.setdefault(row["subject_key"], []).append(row)
    waits = [_wait(request, done.get(request["subject_key"], [])) for request in requests]
    answered = [wait for wait in waits if wait is not None]
    return np.array(answered, np.int64), len(waits) - len(answered)


def _wait(request: dict[str, Any], done: list[dict[str, Any]]) -> int | None:
    answers = [
        row["recorded_at"]
        for row in done
        if row["leaf_index"] > request["leaf_index"] and row["source"] in (request["source"], ANY)
    ]
    return None if not answers else int(min(answers)) - int(request["recorded_at"])


REPORT = Definition(
    "latency",
    "Revocation latency",
    "How long each stage took, for withdrawals and revocations recorded in the time that is named."
    " recorded: from the effective time of the statement to its recording (0 where it was recorded ahead)."
    " ingest_stop: from recording to the end of a loading job of that source that was under way at that moment, and"
    " so could still load rows it had judged before; 0 where none was."
    " training_stop: from recording to the decision of a training fetch that did not know of it; 0 where none is."
    " erased: from the recording of a request for erasure to the recording of the erasure.",
    (
        text("stage", "Which stage."),
        count("cases", "entries", "Cases that are measured."),
        count("open", "entries", "Cases that are not done yet, and not measured."),
        Column("p50", CellType.SECONDS, "The smallest duration that half of the cases do not exceed."),
        Column("p95", CellType.SECONDS, "The smallest duration that 95 in a hundred do not exceed."),
        Column("longest", CellType.SECONDS, "The longest one."),
    ),
    rows,
    takes=frozenset({"subject_key", "source", "purpose", "since", "until"}),
    notes=(
        "online_stop has no figures: single online reads are not kept one by one. Each of them asks the ledger, so a"
        " read that begins after the recording is refused.",
        "Durations are by the ledger's clock; percentiles are nearest ranks. A job that was killed left no report.",
        "Requests whose records were blanked after the erasure are not among the cases.",
    ),
)
