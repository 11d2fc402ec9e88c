"""Which rows may come in: consent first, then the suite. Reads the ledger, writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consent.home import Home
from consent.nouns import Reason
from ingestion.entities import pseudonymise
from ingestion.source import Source
from ingestion.vault import Batch
from validation.gate import Verdict, check


@dataclass(frozen=True)
class Admitted:
    """The rows that consent lets in, under pseudonyms; the others only as counts by reason.

    Attributes:
        undated: of those refused, the rows without a date that can be read: no consent can be held against them.
    """

    rows: pa.Table
    refused: dict[str, int]
    undated: int = 0


def admit(home: Home, source: Source, rows: pa.Table) -> Admitted:
    """Ask consent for every row.

    Args:
        rows: with ``subject_id``, or with ``subject_key`` if they came in before.
    """
    if "subject_id" in rows.column_names:
        unknown = pc.is_null(rows["subject_id"])
        subject_key = pseudonymise(home, rows["subject_id"])
        rows = rows.drop_columns(["subject_id"]).add_column(0, "subject_key", subject_key)
    else:
        unknown = pc.is_null(rows["subject_key"])
    reasons = home.gate.timeline().judge_loading(
        rows["subject_key"], source.name, data_at=rows[source.event_time], now=home.ledger.now()
    )
    reasons = pc.if_else(unknown, Reason.UNKNOWN.value, reasons)
    counts = {c["values"]: c["counts"] for c in pc.value_counts(reasons).to_pylist() if c["values"]}
    undated = pc.and_(pc.is_null(rows[source.event_time]), pc.is_valid(reasons))
    return Admitted(
        rows.filter(pc.is_null(reasons)),
        dict(sorted(counts.items())),
        int(pc.sum(undated, min_count=0).as_py()),
    )


def validate(home: Home, source: Source, rows: pa.Table, now: datetime) -> Verdict:
    """The source's suite, with the home's settings."""
    settings = home.settings
    return check(rows, source.name, currency=settings.currency, now=now, reject_above=settings.reject_above)


def without(rows: pa.Table, earlier: Sequence[Batch]) -> pa.Table:
    """The rows that no earlier batch of the same file took in."""
    taken = [batch.rows_taken for batch in earlier]
    if not taken:
        return rows
    return rows.filter(pc.invert(pc.is_in(rows["row_number"], value_set=pa.array(np.concatenate(taken)))))
