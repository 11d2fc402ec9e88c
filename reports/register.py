"""What is on record about requests, holds and erasures, put together for several reports."""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from consent.decide import decide
from consent.errors import Unavailable
from consent.evidence.certificate import verify_certificate
from consent.home import Home
from consent.nouns import Facts, Kind, Recorded
from consent.tallies import Which, find_entries
from feature_repo.stores.receipts import Receipt
from reports.query import Scope

#: Entries in memory at a time.
_AT_A_TIME = 500


def entries_of(scope: Scope, kind: Kind) -> Iterator[Recorded]:
    """The entries of a kind that are asked about, in ledger order."""
    query, skip = scope.query, 0
    which = Which((kind,), query.subject_key, query.source, None, query.since, query.until)
    while True:
        found = find_entries(scope.timeline, which, limit=_AT_A_TIME, skip=skip)
        yield from scope.home.ledger.entries(found["leaf_index"].to_pylist())
        if found.num_rows < _AT_A_TIME:
            return
        skip += found.num_rows


def allowed_at_fetch(facts: Facts, receipt: Receipt, source: str) -> bool:
    """Whether a source of a person could be used at a training fetch, on the entries the fetch knew."""
    size = receipt.ledger_size
    known = Facts(
        tuple(s for s in facts.statements if s.leaf_index < size),
        {key: tuple(s for s in said if s.leaf_index < size) for key, said in facts.co_subjects.items()},
    )
    return decide(known, source, receipt.purpose, data_at=None, as_of=receipt.created_at).allowed


def read_certificates(home: Home) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """Each certificate of the home with its kind and document, by name, its signature verified.

    Raises:
        EvidenceError: one was changed.
    """
    keys = home.log_keys().keys
    for path in sorted(home.path("certificates").glob("*.certificate")):
        try:
            content = path.read_bytes()
        except OSError:
            raise Unavailable("a certificate cannot be read", remedy="Restore it from a copy.") from None
        yield path, *verify_certificate(content, keys)


def a_month_after(at: datetime) -> datetime:
    """The same day of the next month, or its last day. Source: GDPR Art. 12(3), Regulation 1182/71 Art. 3."""
    year, month = at.year + at.month // 12, at.month % 12 + 1
    return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))
