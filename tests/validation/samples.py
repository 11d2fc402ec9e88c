"""Good rows of each source, and tables made of changed copies of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from validation.gate import Verdict, check
from validation.suites import columns_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

Row = Mapping[str, Any]

GOOD: dict[str, Row] = {
    "spending": {
        "transaction_id": "t-0",
        "occurred_at": datetime(2026, 2, 1, 9, 30, tzinfo=UTC),
        "amount": Decimal("12.50"),
        "currency": "EUR",
        "direction": "debit",
        "kind": "purchase",
        "category": "groceries",
        "merchant": "Corner shop",
        "counterparty": None,
        "balance_after": Decimal("-3.10"),
    },
    "employment": {
        "record_id": "r-0",
        "reported_at": datetime(2025, 6, 1, tzinfo=UTC),
        "employer": "Acme",
        "employer_type": "private",
        "job_title": "clerk",
        "monthly_salary": Decimal("2100.00"),
        "currency": "EUR",
        "started_on": date(2020, 5, 1),
        "ended_on": None,
    },
    "app_usage": {
        "occurred_at": datetime(2026, 2, 1, 22, 5, tzinfo=UTC),
        "package": "com.example.bank",
        "event": "foreground",
        "category": "finance",
        "device_id": "d-1",
        "duration_s": 61,
    },
}

SOURCES = tuple(GOOD)

#: The column that, with the subject and for employment the instant, must be unique.
IDENTITY = {"spending": "transaction_id", "employment": "record_id"}


def table_of(source: str, changes: Iterable[Row]) -> pa.Table:
    """One good row per item, each with an identity and a row number of its own, then changed."""
    rows = []
    for position, changed in enumerate(changes):
        own = {"subject_key": f"{position:032x}", "row_number": position, "malformed": None, "raw": None}
        if source in IDENTITY:
            own[IDENTITY[source]] = f"id-{position}"
        rows.append({**GOOD[source], **own, **changed})
    return pa.Table.from_pylist(rows, schema=columns_of(source))


def judged(table: pa.Table, source: str, *, reject_above: float = 1.0) -> Verdict:
    return check(table, source, currency="EUR", now=NOW, reject_above=reject_above)
