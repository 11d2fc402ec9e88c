"""May this be used? The one place where the rules of consent are written. Pure: no clock, no file, no database.

The rules, in order:

1. A prohibited source is never open; an unknown source or purpose is a no.
2. Only what was known at ``known_at`` counts.
3. Of the statements for this source and purpose that have taken effect at ``as_of``, the last one decides, by
   (effective time, restrictive last, position in the ledger): at equal times the restrictive statement wins.
   A withdrawal or refusal counts from its effective time, at the latest from when it was recorded.
4. A withdrawal or refusal also ends the grants that were on record by then and had not begun: they never begin.
5. Only a grant is a yes, inside ``[effective_at, expires_at)``.
6. The record's own date lies in the grant's data range and within its data life.
7. Data about two people needs both: each linked co-subject is asked the same question.

``consent.timeline`` says the same for whole tables; a property test holds the two, and a slow twin, together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from consent.catalog import PROHIBITED, PURPOSES, SOURCES
from consent.clock import CLOCK_SKEW
from consent.nouns import ANY, Decision, Event, Facts, Grant, Kind, Reason, Recorded

_STATEMENTS = (Kind.GIVEN, Kind.REFUSED, Kind.WITHDRAWN)


def decide(
    facts: Facts,
    source: str,
    purpose: str,
    *,
    data_at: datetime | None,
    as_of: datetime,
    known_at: datetime | None = None,
) -> Decision:
    """Decide whether data of one subject may be used.

    Args:
        facts: everything on record about the subject.
        source: what data.
        purpose: what for.
        data_at: the record's own date; None asks about the consent alone, whatever the data.
        as_of: the instant the question is about.
        known_at: the state of knowledge it is answered with; None: everything on record (which, after the clock
            was set back, may bear a later time than now and must count all the same).

    Returns:
        A decision; it never raises for a denial.
    """
    if source in PROHIBITED:
        return Decision(False, Reason.PROHIBITED)
    if source not in SOURCES or purpose not in PURPOSES:
        return Decision(False, Reason.UNKNOWN)
    own = _standing(facts.events, source, purpose, as_of, known_at)
    if own.event is None:
        return Decision(False, own.reason, imported=own.imported)
    if own.reason is not None:
        return _denied(own.reason, own.event)
    parties = [own]
    for co_subject_key in sorted(_linked(facts.events, source, known_at)):
        theirs = _standing(facts.co_subjects.get(co_subject_key, ()), source, purpose, as_of, known_at)
        if theirs.reason is not None:
            return Decision(False, theirs.reason, party="co_subject", imported=theirs.imported)
        parties.append(theirs)
    reason = _outside_data([p.event.grant for p in parties if p.event and p.event.grant], data_at, as_of)
    return _denied(reason, own.event) if reason else _allowed(own.event)


def _linked(events: Iterable[Recorded], source: str, known_at: datetime | None) -> set[str]:
    """Co-subjects of this source's data. A link counts from the moment it is known, for all times."""
    return {
        r.event.co_subject_key
        for r in events
        if r.event.kind is Kind.LINKED
        and r.event.source == source
        and r.event.co_subject_key
        and _known(r, known_at)
    }


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where one party stands at an instant: no reason means their grant is in force."""

    reason: Reason | None
    event: Event | None = None
    imported: bool = False


def _standing(
    events: Sequence[Recorded], source: str, purpose: str, as_of: datetime, known_at: datetime | None
) -> _Standing:
    known = [r for r in events if r.event.kind in _STATEMENTS and _known(r, known_at)]
    about = [r for r in known if _covers(r.event, source, purpose)]
    if not any(r.event.kind is not Kind.WITHDRAWN for r in about):
        return _Standing(_nearest_miss(known, source, purpose))
    effective = [r for r in about if counts_from(r) <= as_of and not _never_begins(r, about)]
    if not effective:
        return _Standing(Reason.NOT_YET)
    last = max(effective, key=order).event
    if last.grant is None:
        return _Standing(_REFUSING[last.kind], imported=last.origin == "imported")
    expired = Reason.EXPIRED if as_of >= last.grant.expires_at else None
    return _Standing(expired, last, imported=last.origin == "imported")


_REFUSING = {Kind.WITHDRAWN: Reason.WITHDRAWN, Kind.REFUSED: Reason.NO_GRANT}


def order(r: Recorded) -> tuple[datetime, bool, int]:
    """The order in which statements are folded; the restrictive one is last among equals."""
    return counts_from(r), r.event.kind is not Kind.GIVEN, r.leaf_index


def counts_from(r: Recorded) -> datetime:
    """When a statement takes effect. A no is in force once it is on record, whatever the sender's clock said."""
    return r.event.effective_at if r.event.kind is Kind.GIVEN else min(r.event.effective_at, r.recorded_at)


def _never_begins(r: Recorded, about: Iterable[Recorded]) -> bool:
    """Whether this is a grant that a no ended before it began.

    The no stands behind it in the ledger, and the grant was on record when the no took effect. For a no recorded
    here clocks may disagree by `CLOCK_SKEW`: else, after a clock was set back, the grant would return. One
    system of record has one clock.
    """
    return r.event.kind is Kind.GIVEN and any(
        no.event.kind is not Kind.GIVEN
        and no.leaf_index > r.leaf_index
        and counts_from(no) <= r.event.effective_at
        and r.recorded_at <= counts_from(no) + (CLOCK_SKEW if no.event.origin == "recorded" else timedelta(0))
        for no in about
    )


def _known(r: Recorded, known_at: datetime | None) -> bool:
    return known_at is None or r.recorded_at <= known_at


def _covers(event: Event, source: str, purpose: str) -> bool:
    return event.source in (source, ANY) and event.purpose in (purpose, ANY)


def _nearest_miss(known: Sequence[Recorded], source: str, purpose: str) -> Reason:
    """No statement for this pair: is there one for another purpose, or another source?"""
    given = [r.event for r in known if r.event.kind is Kind.GIVEN]
    if any(e.source == source for e in given):
        return Reason.PURPOSE
    if any(e.purpose == purpose for e in given):
        return Reason.SOURCE
    return Reason.NO_GRANT


def _outside_data(grants: Sequence[Grant], data_at: datetime | None, as_of: datetime) -> Reason | None:
    """Every party's data range first, then every party's data life."""
    if data_at is None:
        return None
    if any(data_at < grant.data_from for grant in grants):
        return Reason.DATA_RANGE
    if any(grant.data_life is not None and as_of - data_at >= grant.data_life for grant in grants):
        return Reason.DATA_LIFE
    return None


def _denied(reason: Reason, event: Event) -> Decision:
    return replace(_allowed(event), allowed=False, reason=reason)


def _allowed(event: Event) -> Decision:
    assert event.grant is not None
    return Decision(
        True,
        grant_id=event.grant.grant_id,
        imported=event.origin == "imported",
        expires_at=event.grant.expires_at,
    )
