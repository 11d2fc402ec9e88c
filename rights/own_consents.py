"""What the ledger holds of one person: every entry, a receipt of every consent, and a proof for each entry.

Two things are left out, and said to be: who the other person of a link is, because the package is about one person;
and the ground of a legal hold, as in receipts. The records of such entries cannot be handed over, since a proof holds
for a record as it stands; in their place is what the log has hashed, 41 bytes that say nothing, so that the proof can
be checked all the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from consent.clock import format_instant, instant
from consent.encoding import to_statement
from consent.evidence.prove import prove_entry
from consent.exchange.consent_record import Document, about_same, consent_receipt
from consent.exchange.controller import Controller
from consent.home import Home
from consent.ledger import Snapshot
from consent.nouns import Facts, Grant, Kind, Recorded

#: In place of a co-subject's pseudonym.
ANOTHER_PERSON = "another person"
_HOLDS = (Kind.HOLD_PLACED, Kind.HOLD_RELEASED)
#: Entries whose record names somebody else, or the ground of a hold.
WITHHELD = (Kind.LINKED, *_HOLDS)


@dataclass(frozen=True)
class Proof:
    """What shows that one entry is in the log.

    Attributes:
        tlog_proof: of its place, against the checkpoint.
        record: what the entry says, and its nonce; None where it is withheld.
        entry: the 41 bytes that the log has hashed.
    """

    tlog_proof: bytes
    record: bytes | None
    entry: bytes


@dataclass(frozen=True)
class OwnConsents:
    """A person's part of the ledger at one moment.

    Attributes:
        entries: of the person, in ledger order.
        facts: what decides in them, and in those of the co-subjects.
        as_of: the moment; never before the ledger's last entry.
        checkpoint: a signed note over the whole ledger; None while nothing is recorded of anybody.
        proofs: by position.
    """

    entries: tuple[Recorded, ...]
    facts: Facts
    as_of: datetime
    checkpoint: bytes | None
    proofs: dict[int, Proof]


def read_consents(home: Home, subject_key: str, now: datetime) -> OwnConsents:
    """What the ledger holds of somebody, as one signed state of it.

    Raises:
        EvidenceError: the ledger is not as it was signed.
    """
    co_subjects = home.ledger.facts(subject_key).co_subjects
    with home.ledger.snapshot() as log:
        entries = [r for r in home.ledger.history(subject_key) if r.leaf_index < log.tree_size]
        checkpoint = log.checkpoint
        proofs = {} if checkpoint is None else {r.leaf_index: _prove(log, r, checkpoint) for r in entries}
    as_of = max(now, instant(home.ledger.head().recorded_at))
    facts = Facts(tuple(to_statement(r) for r in entries), co_subjects)
    return OwnConsents(tuple(entries), facts, as_of, checkpoint, proofs)


def _prove(log: Snapshot, entry: Recorded, checkpoint: bytes) -> Proof:
    at = entry.leaf_index
    tlog_proof, record = prove_entry(log, at, checkpoint)
    (logged,) = log.entries(at, at + 1)
    return Proof(tlog_proof, None if entry.event.kind in WITHHELD else record, logged)


def receipts(consents: OwnConsents, controller: Controller, origin: str) -> list[tuple[Recorded, Document]]:
    """A receipt of every consent that was ever given. Made for the same moment it bears the same id."""
    return [
        (
            entry,
            consent_receipt(
                entry,
                about_same(consents.entries, entry),
                controller,
                as_of=consents.as_of,
                receipt_id=str(uuid.uuid5(uuid.NAMESPACE_OID, _receipt_name(origin, entry, consents.as_of))),
                origin=origin,
            ),
        )
        for entry in consents.entries
        if entry.event.grant is not None
    ]


def _receipt_name(origin: str, entry: Recorded, as_of: datetime) -> str:
    return f"{origin} {entry.event.event_id} {format_instant(as_of)}"


def history_document(entries: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Every entry as it stands in the ledger, less what is withheld."""
    return [_entry(r) for r in entries]


def _entry(r: Recorded) -> dict[str, Any]:
    event = r.event
    said = {
        "entry": r.leaf_index,
        "event": event.kind.value,
        "source": event.source,
        "purpose": event.purpose,
        "effective_at": format_instant(event.effective_at),
        "recorded_at": format_instant(r.recorded_at),
        "indicated_by": event.indicated_by,
        "origin": event.origin,
        "actor": event.actor,
        "channel": event.channel,
        "basis": event.basis,
        "evidence_sha256": event.evidence_hash,
        "event_id": event.event_id,
        "about_grant": event.grant_id,
        "terms": None if event.grant is None else terms_document(event.grant),
    }
    return {name: value for name, value in said.items() if value is not None} | _instead(event.kind)


def _instead(kind: Kind) -> dict[str, Any]:
    """What is said in place of what is withheld."""
    if kind is Kind.LINKED:
        return {"co_subject": ANOTHER_PERSON}
    return {"basis": "not disclosed"} if kind in _HOLDS else {}


def terms_document(grant: Grant) -> dict[str, Any]:
    """What was agreed to; what has no limit is left out."""
    terms = {
        "grant_id": grant.grant_id,
        "replaces": grant.replaces,
        "method": grant.method,
        "jurisdiction": grant.jurisdiction,
        "expires_at": format_instant(grant.expires_at),
        "data_from": format_instant(grant.data_from),
        "data_until": None if grant.data_until is None else format_instant(grant.data_until),
        "data_life_days": None if grant.data_life is None else grant.data_life.days,
        "retention_days": None if grant.retention is None else grant.retention.days,
        "notice": {
            "id": grant.notice.notice_id,
            "version": grant.notice.version,
            "language": grant.notice.language,
            "sha256": grant.notice.sha256,
        },
    }
    return {name: value for name, value in terms.items() if value is not None}
