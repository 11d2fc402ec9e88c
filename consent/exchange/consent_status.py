"""One grant's life as the statuses of W3C DPV. Pure.

A status of DPV is valid for processing or it is not; for what DPV has no word for, the nearest valid term stands
beside one of our own (``assent:``).

=====================  ==============================================  =======================
entry of the ledger    DPV                                             our own
=====================  ==============================================  =======================
given                  ConsentGiven; RenewedConsentGiven if it
                       replaces a grant
given, a later one     ConsentExpired: its contextual validity ended   ReplacedByGrant
refused                ConsentRefused
withdrawn              ConsentWithdrawn
revoked                ConsentRevoked
invalidated            ConsentInvalidated
(the clock)            ConsentExpired
superseded             ConsentExpired: its contextual validity ended   ConsentSuperseded
paused                 ConsentStatusInvalidForProcessing               ConsentPaused
resumed                what stood before                               ConsentResumed
hold_placed            ConsentStatusInvalidForProcessing               ConsentRestricted
erasure_requested      ConsentStatusInvalidForProcessing               ConsentRestricted
hold_released          what stood before                               RestrictionLifted
erased                 ConsentStatusInvalidForProcessing               ConsentErased
=====================  ==============================================  =======================

A link to a co-subject is no status of this consent, and says something about somebody else: it is left out.

Source: W3C DPV 2.3, consent statuses; ISO/IEC TS 27560:2023 event_state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from consent.clock import instant, micros
from consent.decide import bears_on, counts_from, invalidates, order
from consent.encoding import to_statement
from consent.nouns import ANY, Grant, Indicator, Kind, Recorded, Statement

GIVEN, RENEWED, EXPIRED = "dpv:ConsentGiven", "dpv:RenewedConsentGiven", "dpv:ConsentExpired"
INVALID = "dpv:ConsentStatusInvalidForProcessing"
_RESTRICTED = (INVALID, "assent:ConsentRestricted")
_PAUSED = (INVALID, "assent:ConsentPaused")
_TAKEN_OVER = (EXPIRED, "assent:ReplacedByGrant")

#: What ends this grant for good, and the status that follows.
_ENDS = {
    Kind.REFUSED: ("dpv:ConsentRefused",),
    Kind.WITHDRAWN: ("dpv:ConsentWithdrawn",),
    Kind.REVOKED: ("dpv:ConsentRevoked",),
    Kind.INVALIDATED: ("dpv:ConsentInvalidated",),
    Kind.SUPERSEDED: (EXPIRED, "assent:ConsentSuperseded"),
    Kind.ERASED: (INVALID, "assent:ConsentErased"),
    Kind.GIVEN: _TAKEN_OVER,
}
_LIFTS = {Kind.RESUMED: "assent:ConsentResumed", Kind.HOLD_RELEASED: "assent:RestrictionLifted"}
_RESTRICTIONS = (Kind.HOLD_PLACED, Kind.HOLD_RELEASED, Kind.ERASURE_REQUESTED)
#: What still says something about a grant that has ended.
_AFTER_THE_END = (Kind.INVALIDATED, Kind.ERASED, *_RESTRICTIONS)


@dataclass(frozen=True, slots=True)
class Status:
    """One status: the terms, since when, said by whom, and the entry that says it; None: the clock does.

    Attributes:
        until: end of the status; None where nothing ends it, or an event does.
        lasting: nothing can end it.
    """

    terms: tuple[str, ...]
    at: datetime
    by: Indicator
    entry: Recorded | None
    until: datetime | None = None
    lasting: bool = False


def statuses(grant_entry: Recorded, history: Sequence[Recorded], as_of: datetime) -> list[Status]:
    """The statuses of a grant up to an instant, oldest first; the last one stands.

    Args:
        grant_entry: the grant, an entry of kind GIVEN.
        history: all entries of the subject about its source and purpose, in ledger order.
    """
    grant = grant_entry.event.grant
    assert grant is not None
    return list(_Fold(grant_entry, grant).run(_bearing(grant_entry, history, as_of), as_of))


def _bearing(
    grant_entry: Recorded, history: Sequence[Recorded], as_of: datetime
) -> list[tuple[Statement, Recorded]]:
    """What bears on the grant and counts by then, in the order in which statements are folded."""
    grant = to_statement(grant_entry)
    pairs = [(to_statement(r), r) for r in history if r.leaf_index != grant_entry.leaf_index]
    bearing = [(s, r) for s, r in pairs if _about(s, grant) and _counts(s, as_of) and _bears(s, grant)]
    return sorted(bearing, key=lambda pair: order(pair[0]))


def _about(s: Statement, grant: Statement) -> bool:
    return s.source in (grant.source, ANY) and s.purpose in (grant.purpose, ANY)


def _counts(s: Statement, as_of: datetime) -> bool:
    """An invalidation counts for all times, before and after."""
    return s.kind == Kind.INVALIDATED or counts_from(s) <= micros(as_of)


def _bears(s: Statement, grant: Statement) -> bool:
    if s.kind in _RESTRICTIONS:  # a hold may be older than the grant and still restrict it
        return True
    if s.kind == Kind.ERASED and s.source == ANY:  # whoever is erased as a whole stays erased
        return True
    if s.kind == Kind.INVALIDATED:
        return invalidates(s, grant)
    if s.kind == Kind.GIVEN:
        return order(s) > order(grant)
    return s.kind != Kind.LINKED and bears_on(s, grant)


def _precedes(s: Statement, grant: tuple[int, bool, int]) -> bool:
    return s.kind in _RESTRICTIONS and order(s) < grant


class _Fold:
    """Follows one grant from entry to entry."""

    def __init__(self, entry: Recorded, grant: Grant) -> None:
        self._entry, self._grant = entry, grant
        self._base: tuple[str, ...] = (RENEWED if grant.replaces else GIVEN,)
        self._ended = self._paused = self._erasure_due = False
        self._holds: set[str | None] = set()

    def run(self, bearing: Sequence[tuple[Statement, Recorded]], as_of: datetime) -> Iterator[Status]:
        event, mine = self._entry.event, order(to_statement(self._entry))
        given_at = min(event.effective_at, self._entry.recorded_at)
        given = Status(self._base, given_at, event.indicated_by, self._entry, self._grant.expires_at)
        before = [self._status(r) for s, r in bearing if _precedes(s, mine)]
        yield given
        if self._holds or self._erasure_due:
            yield replace(before[-1], terms=_RESTRICTED, at=given_at)
        for s, r in bearing:
            if not _precedes(s, mine):
                yield from self._expiry(instant(counts_from(s)))
                yield from self._step(s, r)
        yield from self._expiry(as_of)

    def _expiry(self, at: datetime) -> Iterator[Status]:
        """The end that the clock brings, unless something ended the grant before."""
        if not self._ended and at >= self._grant.expires_at:
            self._ended, self._base = True, (EXPIRED,)
            yield Status(self._base, self._grant.expires_at, "controller", None, lasting=True)

    def _step(self, s: Statement, r: Recorded) -> Iterator[Status]:
        if not self._ended or r.event.kind in _AFTER_THE_END:
            yield replace(self._status(r), at=instant(counts_from(s)))

    def _status(self, r: Recorded) -> Status:
        event = r.event
        status = Status((), event.effective_at, event.indicated_by, r)
        if event.kind in _ENDS:
            self._ended, self._base = True, _ENDS[event.kind]
            self._erasure_due = self._erasure_due and event.kind is not Kind.ERASED
            return replace(status, terms=self._base, lasting=True)
        self._note(r)
        lifted = (_LIFTS[event.kind],) if event.kind in _LIFTS else ()
        free = not (self._holds or self._erasure_due)
        until = self._grant.expires_at if free and not self._ended else None
        return replace(status, terms=(*self._now(), *lifted), until=until, lasting=free and self._ended)

    def _note(self, r: Recorded) -> None:
        kind = r.event.kind
        if kind in (Kind.PAUSED, Kind.RESUMED):
            self._paused = kind is Kind.PAUSED
        elif kind is Kind.HOLD_PLACED:
            self._holds.add(r.event.hold_id)
        elif kind is Kind.HOLD_RELEASED:
            self._holds.discard(r.event.hold_id)
        else:
            self._erasure_due = True

    def _now(self) -> tuple[str, ...]:
        """What stands: a restriction, else an end, else a pause, else the consent itself."""
        if self._holds or self._erasure_due:
            return _RESTRICTED
        return _PAUSED if self._paused and not self._ended else self._base
