"""May this be used? The one place where the rules of consent are written. Pure: no clock, no file, no database.

The rules, in order; the first that says no gives the reason:

1. A prohibited source is never open; an unknown source or purpose is a no.
2. Only what was known at ``known_at`` counts.
3. Whoever is erased as a whole stays erased. A hold, or an erasure that was asked for and is not done, restricts:
   no use, whatever was agreed to, until the hold is released.
4. Of the statements that begin or end consent to this source and purpose (given; refused, withdrawn, revoked,
   superseded, erased) and have taken effect at ``as_of``, the last one decides, by (effective time, restrictive
   last, position in the ledger). What restricts counts from its effective time, at the latest from when it was
   recorded.
5. What ends consent *bears on* a grant that stands before it in that order, or that was on record by then and had
   not begun: such a grant never begins.
6. Only a grant is a yes: inside ``[effective_at, expires_at)``; not where it was invalidated, which counts for all
   times, before and after; and not while the last pause or resumption that bears on it is a pause. Nothing revives
   what has ended; a new grant is a new grant.
7. The record's own date lies in the grant's data range and within its data life.
8. Data about two people needs both: each linked co-subject is asked the same question.

``consent.timeline`` says the same for whole tables; a property test holds the two, and a slow twin, together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from consent.catalog import PROHIBITED, PURPOSES, SOURCES
from consent.clock import CLOCK_SKEW, MICROSECOND, instant, micros
from consent.nouns import ANY, Decision, Facts, Kind, Reason, Statement

CLOCK_SKEW_US = CLOCK_SKEW // MICROSECOND

#: What ends consent, and the reason for the no that follows.
ENDS = {
    Kind.REFUSED.value: Reason.NO_GRANT,
    Kind.WITHDRAWN.value: Reason.WITHDRAWN,
    Kind.REVOKED.value: Reason.REVOKED,
    Kind.SUPERSEDED.value: Reason.SUPERSEDED,
    Kind.ERASED.value: Reason.ERASED,
}
#: What allows something, and so never counts from before its own effective time.
PERMISSIVE = frozenset({Kind.GIVEN.value, Kind.RESUMED.value, Kind.HOLD_RELEASED.value})
_PAUSES = frozenset({Kind.PAUSED.value, Kind.RESUMED.value})
_GIVEN, _LINKED, _INVALIDATED = Kind.GIVEN.value, Kind.LINKED.value, Kind.INVALIDATED.value
#: Said about one source and one purpose, these make the pair one that is spoken about.
_OPENING = frozenset({Kind.GIVEN.value, Kind.REFUSED.value, Kind.ERASED.value})
_RESTRICTIONS = frozenset(
    {Kind.HOLD_PLACED.value, Kind.HOLD_RELEASED.value, Kind.ERASURE_REQUESTED.value, Kind.ERASED.value}
)


def decide(
    facts: Facts,
    source: str,
    purpose: str,
    *,
    data_at: datetime | None,
    as_of: datetime,
    known_at: datetime | None = None,
    derived: bool = False,
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
        derived: `data_at` is the date of a feature, computed from records up to then: records from beyond the upper
            end of the data range were never loaded, so that end says nothing about the feature.

    Returns:
        A decision; it never raises for a denial.
    """
    if source in PROHIBITED:
        return Decision(False, Reason.PROHIBITED)
    if source not in SOURCES or purpose not in PURPOSES:
        return Decision(False, Reason.UNKNOWN)
    at, known = micros(as_of), None if known_at is None else micros(known_at)
    mine = _known(facts.statements, known)
    own = stand(mine, source, purpose, at)
    if own.reason is not None:
        return _decision(own, own.reason)
    parties = [own]
    for co_subject_key in sorted(_linked(mine, source)):
        theirs = stand(_known(facts.co_subjects.get(co_subject_key, ()), known), source, purpose, at)
        if theirs.reason is not None:
            return Decision(False, theirs.reason, party="co_subject", imported=theirs.imported)
        parties.append(theirs)
    data = None if data_at is None else micros(data_at)
    grants = [p.grant for p in parties if p.grant]
    return _decision(own, _outside_data(grants, data, at, derived=derived))


def _known(statements: Sequence[Statement], known: int | None) -> Sequence[Statement]:
    return statements if known is None else [s for s in statements if s.recorded_at <= known]


def _linked(statements: Sequence[Statement], source: str) -> set[str]:
    """Co-subjects of this source's data. A link counts from the moment it is known, for all times."""
    return {
        s.co_subject_key
        for s in statements
        if s.kind == _LINKED and s.source == source and s.co_subject_key is not None
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one party stands at an instant.

    Attributes:
        reason: why their consent cannot be used; None: `grant` is in force.
        imported: what decided was brought in from another system of record.
    """

    reason: Reason | None
    grant: Statement | None = None
    imported: bool = False


def stand(said: Sequence[Statement], source: str, purpose: str, at: int) -> Standing:
    """Where one person's own consent stands.

    Args:
        said: all that is known of the person, in ledger order.
        at: the instant in microseconds.
    """
    restricted = restriction(said, source, at)
    if restricted is not None:
        return Standing(restricted)
    about = [s for s in said if _covers(s, source, purpose)]
    if not any(s.kind in _OPENING and s.source != ANY for s in about):
        return Standing(_nearest_miss(said, source, purpose))
    decisive = [s for s in about if s.kind == _GIVEN or s.kind in ENDS]
    ends = [s for s in decisive if s.kind != _GIVEN]
    begun = [s for s in decisive if counts_from(s) <= at and not _never_begins(s, ends)]
    if not begun:
        return Standing(Reason.NOT_YET)
    last = max(begun, key=order)
    imported = last.origin == "imported"
    if last.kind != _GIVEN:
        return Standing(ENDS[last.kind], imported=imported)
    return Standing(_in_the_way(last, about, at), last, imported)


def _in_the_way(grant: Statement, about: Sequence[Statement], at: int) -> Reason | None:
    """Why a grant that nothing ended cannot be used at an instant."""
    if any(s.kind == _INVALIDATED and invalidates(s, grant) for s in about):
        return Reason.INVALIDATED
    if grant.expires_at is None or at >= grant.expires_at:
        return Reason.EXPIRED
    pauses = [s for s in about if s.kind in _PAUSES and counts_from(s) <= at and bears_on(s, grant)]
    if pauses and max(pauses, key=order).kind == Kind.PAUSED:
        return Reason.PAUSED
    return None


def restriction(said: Sequence[Statement], source: str, at: int) -> Reason | None:
    """ERASED for somebody who is erased as a whole; RESTRICTED under a hold or before an erasure that is due."""
    begun = [
        s for s in said if s.kind in _RESTRICTIONS and s.source in (source, ANY) and counts_from(s) <= at
    ]
    if not begun:
        return None
    if any(s.kind == Kind.ERASED and s.source == ANY for s in begun):
        return Reason.ERASED
    return Reason.RESTRICTED if holds(begun) or requests(begun) else None


def holds(said: Sequence[Statement]) -> list[Statement]:
    """The holds that nothing released."""
    return [s for s in said if s.kind == Kind.HOLD_PLACED and not any(_releases(r, s) for r in said)]


def requests(said: Sequence[Statement]) -> list[Statement]:
    """The requests for erasure that nothing fulfilled."""
    return [
        s for s in said if s.kind == Kind.ERASURE_REQUESTED and not any(_fulfils(done, s) for done in said)
    ]


def _releases(release: Statement, hold: Statement) -> bool:
    return (
        release.kind == Kind.HOLD_RELEASED
        and release.hold_id == hold.hold_id
        and order(release) > order(hold)
    )


def _fulfils(done: Statement, request: Statement) -> bool:
    """An erasure answers the requests on record before it that ask for no more than it did."""
    return (
        done.kind == Kind.ERASED
        and done.leaf_index > request.leaf_index
        and done.source in (request.source, ANY)
    )


def order(s: Statement) -> tuple[int, bool, int]:
    """The order in which statements are folded; the restrictive one is last among equals."""
    return counts_from(s), s.kind not in PERMISSIVE, s.leaf_index


def counts_from(s: Statement) -> int:
    """When a statement takes effect. A no is in force once it is on record, whatever the sender's clock said."""
    return s.effective_at if s.kind in PERMISSIVE else min(s.effective_at, s.recorded_at)


def bears_on(s: Statement, grant: Statement) -> bool:
    """Whether a statement is about this grant: the grant comes before it, or was on record by then.

    For a statement recorded here clocks may disagree by `CLOCK_SKEW`: else, after a clock was set back, the grant
    would return. One system of record has one clock.
    """
    return order(s) > order(grant) or _on_record_by(s, grant)


def _on_record_by(s: Statement, grant: Statement) -> bool:
    skew = CLOCK_SKEW_US if s.origin == "recorded" else 0
    return s.leaf_index > grant.leaf_index and grant.recorded_at <= counts_from(s) + skew


def _never_begins(s: Statement, ends: Sequence[Statement]) -> bool:
    """Whether this is a grant that was on record when consent ended, and had not begun."""
    return s.kind == _GIVEN and any(counts_from(no) <= s.effective_at and _on_record_by(no, s) for no in ends)


def invalidates(s: Statement, grant: Statement) -> bool:
    """An invalidation names the one grant it is about, or bears on all of the source and purpose."""
    return bears_on(s, grant) if s.grant_id is None else s.grant_id == grant.grant_id


def _covers(s: Statement, source: str, purpose: str) -> bool:
    return s.source in (source, ANY) and s.purpose in (purpose, ANY)


def _nearest_miss(said: Sequence[Statement], source: str, purpose: str) -> Reason:
    """No statement for this pair: is there one for another purpose, or another source?"""
    given = [s for s in said if s.kind == _GIVEN]
    if any(s.source == source for s in given):
        return Reason.PURPOSE
    if any(s.purpose == purpose for s in given):
        return Reason.SOURCE
    return Reason.NO_GRANT


def _outside_data(grants: Sequence[Statement], data: int | None, at: int, *, derived: bool) -> Reason | None:
    """Every party's data range first, then every party's data life."""
    if data is None:
        return None
    for grant in grants:
        if grant.data_from is None or data < grant.data_from:
            return Reason.DATA_RANGE
        if not derived and grant.data_until is not None and data >= grant.data_until:
            return Reason.DATA_RANGE
    if any(grant.data_life is not None and at - data >= grant.data_life for grant in grants):
        return Reason.DATA_LIFE
    return None


def _decision(standing: Standing, reason: Reason | None) -> Decision:
    grant = standing.grant
    return Decision(
        reason is None,
        reason,
        grant_id=grant.grant_id if grant else None,
        imported=standing.imported,
        expires_at=instant(grant.expires_at) if grant and grant.expires_at is not None else None,
    )
