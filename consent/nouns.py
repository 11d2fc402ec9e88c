"""The words of consent: grants, events, facts, decisions. Frozen values, no I/O.

Source: ISO/IEC TS 27560:2023 (consent record fields), W3C DPV 2.3 (statuses).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple

#: In place of a source or purpose: every one.
ANY = "*"

Origin = Literal["recorded", "imported"]
#: Who expressed it (ISO/IEC TS 27560 ``entity_id``, DPV ``isIndicatedBy``).
Indicator = Literal["subject", "guardian", "controller", "authority"]


class Kind(StrEnum):
    """What an entry of the ledger says. Where DPV has a status for it, the name is DPV's.

    Expiry is no entry: it follows from the clock.
    """

    GIVEN = "given"
    REFUSED = "refused"
    PAUSED = "paused"
    RESUMED = "resumed"
    WITHDRAWN = "withdrawn"
    REVOKED = "revoked"
    SUPERSEDED = "superseded"
    INVALIDATED = "invalidated"
    LINKED = "linked"
    HOLD_PLACED = "hold_placed"
    HOLD_RELEASED = "hold_released"
    ERASURE_REQUESTED = "erasure_requested"
    ERASED = "erased"


class Reason(StrEnum):
    """Why the answer is no. Exactly one per denial."""

    NO_GRANT = "NO_GRANT"
    NOT_YET = "NOT_YET"
    EXPIRED = "EXPIRED"
    PAUSED = "PAUSED"
    WITHDRAWN = "WITHDRAWN"
    REVOKED = "REVOKED"
    INVALIDATED = "INVALIDATED"
    SUPERSEDED = "SUPERSEDED"
    PURPOSE = "PURPOSE"
    SOURCE = "SOURCE"
    DATA_RANGE = "DATA_RANGE"
    DATA_LIFE = "DATA_LIFE"
    PROHIBITED = "PROHIBITED"
    RESTRICTED = "RESTRICTED"
    ERASED = "ERASED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Notice:
    """The text the person saw.

    Attributes:
        version: of the text, as the lender counts them.
        language: BCP 47 tag.
        sha256: lower-case hex digest of the exact text.
    """

    notice_id: str
    version: str
    language: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Grant:
    """One immutable agreement to one source for one purpose. A change is a new grant.

    Attributes:
        jurisdiction: ISO 3166 code of the law it was given under.
        method: how it was expressed ("toggle, default off").
        expires_at: ends collection and use.
        data_from: the data may reach back to here.
        data_until: the data may reach up to here, exclusive; None: no limit but the grant's own end.
        data_life: how long after its own date a record may be used; None: as long as the grant.
        retention: how long data may be stored after it was loaded; None: as long as consent is in force.
        replaces: the grant this one renews or takes over from (DPV: RenewedConsentGiven).
    """

    grant_id: str
    notice: Notice
    jurisdiction: str
    method: str
    expires_at: datetime
    data_from: datetime
    data_life: timedelta | None = None
    retention: timedelta | None = None
    replaces: str | None = None
    data_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One statement to be appended to the ledger.

    Attributes:
        event_id: 32 hex digits; the idempotency key.
        source, purpose: one of each. ``*``, for every one, only in what restricts or lifts a restriction; a link,
            a hold and an erasure are for every purpose.
        effective_at: when it takes effect; for a grant the start of its validity.
        grant: the terms, for GIVEN only.
        grant_id: the one grant that is invalidated, for INVALIDATED only; None: all of the source and purpose.
        co_subject_key: the other person in the same data, for LINKED only.
        hold_id: the lender's name of a hold, for HOLD_PLACED and HOLD_RELEASED only.
        basis: the legal ground: of a revocation, an invalidation, a hold or an erasure. No person's name.
        indicated_by: who expressed it; a withdrawal is the subject's own, a revocation is somebody else's.
        origin: ``imported`` when a lender's system of record vouches for an earlier effective time.
        actor: who recorded it (a role or a system, not a person's name).
        evidence_hash: SHA-256 (hex) of the evidence kept elsewhere.
        blanks: for ERASED: which entries it blanks, as ``consent.blanking`` writes it.
    """

    event_id: str
    kind: Kind
    subject_key: str
    source: str
    purpose: str
    effective_at: datetime
    grant: Grant | None = None
    co_subject_key: str | None = None
    origin: Origin = "recorded"
    actor: str = "operator"
    channel: str = "cli"
    evidence_hash: str | None = None
    grant_id: str | None = None
    hold_id: str | None = None
    basis: str | None = None
    indicated_by: Indicator = "subject"
    blanks: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the ledger. ``leaf_index`` is 0-based."""

    leaf_index: int
    recorded_at: datetime
    event: Event


class Statement(NamedTuple):
    """What decides in one entry of the ledger; times and durations in microseconds, as the ledger stores them.

    The fields are those of `Recorded`, `Event` and `Grant`. Many are read at every decision, hence the plain form.
    """

    leaf_index: int
    kind: str
    source: str
    purpose: str
    effective_at: int
    recorded_at: int
    grant_id: str | None
    expires_at: int | None
    data_from: int | None
    data_until: int | None
    data_life: int | None
    co_subject_key: str | None
    hold_id: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is on record about one subject and, one step away, about the co-subjects of their data.

    Attributes:
        statements: of the subject, in ledger order; blanked entries left out.
        co_subjects: subject_key of each linked co-subject -> that person's statements, in ledger order.
    """

    statements: tuple[Statement, ...] = ()
    co_subjects: Mapping[str, tuple[Statement, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed with the grant it rests on, or denied with exactly one reason.

    Attributes:
        party: whose consent decided: the subject's own or a co-subject's.
        imported: the answer rests on a grant brought in from another system of record.
        expires_at: end of the grant it rests on.
    """

    allowed: bool
    reason: Reason | None = None
    grant_id: str | None = None
    party: Literal["subject", "co_subject"] = "subject"
    imported: bool = False
    expires_at: datetime | None = None
