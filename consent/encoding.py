"""How an event becomes the 41 bytes that the Merkle log hashes, and a row of the ledger's table.

The hashed entry holds no personal data: ``0x01 || recorded_at (8 bytes, big endian, microseconds) || commitment``,
where the commitment is SHA-256 over a domain prefix, a random 16-byte nonce and the canonical JSON of the record.
The row's columns *are* the committed content: the JSON is rebuilt from them at every verification.

Source: RFC 8785 (JSON Canonicalization Scheme); the record holds strings and integers only, for which orjson with
sorted keys gives the same bytes (a test compares it with the rfc8785 library).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

import orjson

from consent.clock import MICROSECOND, instant, micros
from consent.errors import EvidenceError
from consent.nouns import Event, Grant, Kind, Notice, Recorded, Statement

_DOMAIN = b"assent-consent-event/v1\n"
NONCE_BYTES = 16
ENTRY_BYTES = 41

#: Columns of the ledger that are part of the committed record, in table order.
RECORD_COLUMNS = (
    "event_id",
    "kind",
    "subject_key",
    "source",
    "purpose",
    "effective_at",
    "recorded_at",
    "grant_id",
    "expires_at",
    "data_from",
    "data_life",
    "retention",
    "notice_id",
    "notice_version",
    "notice_language",
    "notice_hash",
    "jurisdiction",
    "method",
    "channel",
    "replaces",
    "co_subject_key",
    "origin",
    "actor",
    "evidence_hash",
    "data_until",
    "hold_id",
    "basis",
    "indicated_by",
    "blanks",
)


#: Of these, the times and durations, in microseconds.
TIME_COLUMNS = (
    "effective_at",
    "recorded_at",
    "expires_at",
    "data_from",
    "data_until",
    "data_life",
    "retention",
)


def _instant(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


def _span(duration: timedelta | None) -> int | None:
    return None if duration is None else duration // MICROSECOND


def to_row(event: Event, recorded_at_us: int) -> dict[str, Any]:
    """The event as ledger columns, in their order: times and durations in microseconds, everything else text."""
    grant = event.grant or _NO_TERMS
    notice = grant.notice
    return {
        "event_id": event.event_id,
        "kind": event.kind.value,
        "subject_key": event.subject_key,
        "source": event.source,
        "purpose": event.purpose,
        "effective_at": micros(event.effective_at),
        "recorded_at": recorded_at_us,
        "grant_id": event.grant_id if event.grant is None else grant.grant_id,
        "expires_at": _instant(grant.expires_at),
        "data_from": _instant(grant.data_from),
        "data_life": _span(grant.data_life),
        "retention": _span(grant.retention),
        "notice_id": notice.notice_id,
        "notice_version": notice.version,
        "notice_language": notice.language,
        "notice_hash": notice.sha256,
        "jurisdiction": grant.jurisdiction,
        "method": grant.method,
        "channel": event.channel,
        "replaces": grant.replaces,
        "co_subject_key": event.co_subject_key,
        "origin": event.origin,
        "actor": event.actor,
        "evidence_hash": event.evidence_hash,
        "data_until": _instant(grant.data_until),
        "hold_id": event.hold_id,
        "basis": event.basis,
        "indicated_by": None if event.indicated_by == "subject" else event.indicated_by,
        "blanks": event.blanks,
    }


#: In place of the terms, for events that have none.
_NO_TERMS: Any = SimpleNamespace(
    **{f.name: None for f in fields(Grant)}
    | {"notice": SimpleNamespace(**{f.name: None for f in fields(Notice)})}
)


def from_row(row: Mapping[str, Any], leaf_index: int) -> Recorded:
    """Inverse of `to_row`.

    Raises:
        EvidenceError: `to_row` never wrote this.
    """
    try:
        return _recorded(row, leaf_index)
    except (ValueError, TypeError, OverflowError):
        raise EvidenceError(
            f"entry {leaf_index} of the ledger holds what no event can say", remedy="Run `assent log audit`."
        ) from None


def _recorded(row: Mapping[str, Any], leaf_index: int) -> Recorded:
    kind = Kind(row["kind"])
    return Recorded(
        leaf_index,
        instant(row["recorded_at"]),
        Event(
            event_id=row["event_id"],
            kind=kind,
            subject_key=row["subject_key"],
            source=row["source"],
            purpose=row["purpose"],
            effective_at=instant(row["effective_at"]),
            grant=_grant(row) if kind is Kind.GIVEN else None,
            co_subject_key=row["co_subject_key"],
            origin=row["origin"],
            actor=row["actor"],
            channel=row["channel"],
            evidence_hash=row["evidence_hash"],
            grant_id=None if kind is Kind.GIVEN else row["grant_id"],
            hold_id=row["hold_id"],
            basis=row["basis"],
            indicated_by=row["indicated_by"] or "subject",
            blanks=row["blanks"],
        ),
    )


def to_statement(recorded: Recorded) -> Statement:
    """What decides in an entry."""
    return as_statement(recorded.leaf_index, to_row(recorded.event, micros(recorded.recorded_at)))


_deciding = itemgetter(*Statement._fields[1:])


def as_statement(leaf_index: int, row: Mapping[str, Any]) -> Statement:
    """What decides in a row that `to_row` has made."""
    return Statement(leaf_index, *_deciding(row))


def _grant(row: Mapping[str, Any]) -> Grant:
    return Grant(
        grant_id=row["grant_id"],
        notice=Notice(row["notice_id"], row["notice_version"], row["notice_language"], row["notice_hash"]),
        jurisdiction=row["jurisdiction"],
        method=row["method"],
        expires_at=instant(row["expires_at"]),
        data_from=instant(row["data_from"]),
        data_until=None if row["data_until"] is None else instant(row["data_until"]),
        data_life=_duration(row["data_life"]),
        retention=_duration(row["retention"]),
        replaces=row["replaces"],
    )


def _duration(us: int | None) -> timedelta | None:
    return None if us is None else timedelta(microseconds=us)


def canonical_json(record: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes of a flat record of strings and integers; absent values are left out."""
    present = {name: value for name, value in record.items() if value is not None}
    return orjson.dumps(present, option=orjson.OPT_SORT_KEYS)


def commitment(record: Mapping[str, Any], nonce: bytes) -> bytes:
    """SHA-256 that binds the record without revealing it. 32 bytes."""
    return hashlib.sha256(_DOMAIN + nonce + canonical_json(record)).digest()


#: The record's fields in the order of their names, as canonical JSON has them.
SORTED_COLUMNS = tuple(sorted(RECORD_COLUMNS))
_in_order = itemgetter(*SORTED_COLUMNS)


def commit_row(row: Mapping[str, Any], nonce: bytes) -> bytes:
    """`commitment` of a row that `to_row` has made: the fields need no sorting."""
    return commit_values(_in_order(row), nonce)


def commit_values(values: Sequence[Any], nonce: bytes) -> bytes:
    """`commitment` of the values of `SORTED_COLUMNS`."""
    present = {n: v for n, v in zip(SORTED_COLUMNS, values, strict=True) if v is not None}
    return hashlib.sha256(_DOMAIN + nonce + orjson.dumps(present)).digest()


def entry(recorded_at_us: int, committed: bytes) -> bytes:
    """The 41 bytes that the log hashes."""
    return b"\x01" + recorded_at_us.to_bytes(8, "big") + committed
