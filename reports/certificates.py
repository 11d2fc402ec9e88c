"""What erasures and sweeps destroyed, what they kept and why, from their signed certificates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consent.clock import parse_instant
from consent.evidence.certificate import ERASURE, SWEEP
from consent.nouns import ANY
from reports.query import Definition, Scope
from reports.register import read_certificates
from reports.table import SUBJECT, CellType, Column, Row, count, instant, text

#: What an item of a certificate says besides its counts.
_TOLD = frozenset({"store", "outcome", "how", "basis", "until", "deadline", "source"})


def rows(scope: Scope) -> Iterator[Row]:
    """One row per certificate and item, oldest first."""
    found = [
        (parse_instant(document.get("erased_at") or document["swept_at"]), path.stem, kind, document)
        for path, kind, document in read_certificates(scope.home)
        if kind in (ERASURE, SWEEP)
    ]
    for at, name, kind, document in sorted(found, key=lambda each: each[:2]):
        if scope.covers(at) and _is_about(scope, document):
            head = (name, at, "erasure" if kind == ERASURE else "sweep")
            items = document.get("items") or [_swept(document)]
            yield from ((*head, *_row(document, item)) for item in items)


def _is_about(scope: Scope, document: dict[str, Any]) -> bool:
    query = scope.query
    return query.subject_key in (None, document.get("subject_key")) and (
        query.source is None or document.get("source") in (query.source, ANY)
    )


def _swept(document: dict[str, Any]) -> dict[str, Any]:
    """A sweep's counts as one item."""
    counts = {name: value for name, value in document.items() if isinstance(value, int)}
    rows_ = sum(about.get("rows", 0) for about in document.get("records", {}).values())
    return {"store": "what may not be kept any longer", "outcome": "ERASED", "records": rows_, **counts}


def _row(document: dict[str, Any], item: dict[str, Any]) -> Row:
    counts = ", ".join(f"{value} {name}" for name, value in item.items() if name not in _TOLD)
    until = item.get("deadline") or (item.get("until") if str(item.get("until", ""))[:1].isdigit() else None)
    ledger = document.get("ledger", {})
    used = document.get("training_sets", {})
    return (
        document.get("subject_key"),
        item.get("source") or document.get("source"),
        document.get("basis"),
        item["store"],
        item["outcome"],
        counts or None,
        item.get("how") or item.get("basis"),
        None if until is None else parse_instant(until),
        ledger.get("erasure"),
        len(used.get("receipts", ())),
        ", ".join(used.get("models", ())) or None,
        True,
    )


REPORT = Definition(
    "erasure-certificates",
    "Erasure certificates",
    "What each erasure and each sweep destroyed and kept, item by item, as its signed certificate says, oldest first"
    " (clock: the end of the destruction). Every signature is verified while the report is made; one that does not"
    " fit stops it.",
    (
        text("certificate", "Its name; `assent certificate show` has all of it."),
        instant("at", "When the destruction was done."),
        text("kind", "erasure, or sweep of what may not be kept any longer."),
        SUBJECT,
        text("source", "Of which data; * for everything."),
        text("basis", "The ground."),
        text("store", "What was held."),
        text("outcome", "ERASED, RETAINED, RESTRICTED or PENDING_BACKUP."),
        text("counts", "How much."),
        text("why", "How it was destroyed, or why it is kept."),
        instant("until", "Until when it is kept, or by when it is gone for good."),
        count("entry", "entries", "The entry of the ledger that records the erasure."),
        count("training_sets", "training sets", "That held a value of the person."),
        text("models", "Models trained on these."),
        Column("verified", CellType.FLAG, "The log's key signed it."),
    ),
    rows,
    takes=frozenset({"subject_key", "source", "since", "until"}),
    notes=("`assent log verify` checks a certificate on any machine, with the log's public key alone.",),
)
