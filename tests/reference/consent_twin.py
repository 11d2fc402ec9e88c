"""What DESIGN section 4 says about consent, once more: slow, plain and written without looking at the rules.

Works on the entries of the ledger as they were said, with dates. Every question is answered by walking through
everything that one person said, again and again.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from consent.nouns import Grant, Recorded

SOURCES = ("app_usage", "employment", "spending")
PURPOSES = ("credit_scoring", "model_training", "fraud_detection", "loan_servicing")
PROHIBITED = (
    *("contacts", "call_logs", "media", "files", "location", "social_graph", "social_network", "health"),
)
CLOCKS_DISAGREE_BY = timedelta(minutes=5)
#: What permits, or lifts what restricts. It never counts before its own time.
PERMISSIVE = ("given", "resumed", "hold_released")
#: What ends consent, and what the person is told then.
ENDS = {
    "refused": "NO_GRANT",
    "withdrawn": "WITHDRAWN",
    "revoked": "REVOKED",
    "superseded": "SUPERSEDED",
    "erased": "ERASED",
}


def verdict(
    events: tuple[Recorded, ...],
    co_subjects: Mapping[str, tuple[Recorded, ...]],
    source: str,
    purpose: str,
    *,
    data_at: datetime | None,
    as_of: datetime,
    known_at: datetime | None = None,
    derived: bool = False,
) -> str | None:
    """None for yes, otherwise the reason."""
    if source in PROHIBITED:
        return "PROHIBITED"
    if source not in SOURCES or purpose not in PURPOSES:
        return "UNKNOWN"
    own = known(events, known_at)
    links = [r for r in own if r.event.kind == "linked" and r.event.source == source]
    others = sorted({str(r.event.co_subject_key) for r in links})
    grants = []
    for said in [own] + [known(co_subjects.get(key, ()), known_at) for key in others]:
        state = one_person(said, source, purpose, as_of)
        if isinstance(state, str):
            return state
        grants.append(state)
    return None if data_at is None else the_data(grants, data_at, as_of, derived=derived)


def known(events: tuple[Recorded, ...], known_at: datetime | None) -> list[Recorded]:
    """What one person said, as far as it was known, in the order in which it counts."""
    said = [r for r in events if known_at is None or r.recorded_at <= known_at]
    return sorted(said, key=place)


def one_person(said: list[Recorded], source: str, purpose: str, as_of: datetime) -> Grant | str:
    """The terms of the grant that is in force for one person, or why there is none."""
    restricted = restriction([r for r in said if r.event.source in (source, "*") and starts(r) <= as_of])
    if restricted:
        return restricted
    about = [r for r in said if r.event.source in (source, "*") and r.event.purpose in (purpose, "*")]
    if not ever_answered(about, source):
        return nothing_said(said, source, purpose)
    deciding = [r for r in about if r.event.kind == "given" or r.event.kind in ENDS]
    begun = [r for r in deciding if starts(r) <= as_of and not never_begins(r, deciding)]
    if not begun:
        return "NOT_YET"
    last = begun[-1]
    if last.event.kind in ENDS:
        return ENDS[last.event.kind]
    return in_the_way(last, about, as_of) or terms(last)


def restriction(begun: list[Recorded]) -> str | None:
    """Why this source of a person may not be used whatever they agreed to, or None."""
    erased = [r for r in begun if r.event.kind == "erased"]
    if any(r.event.source == "*" for r in erased):
        return "ERASED"
    for hold in begun:
        releases = [
            r for r in begun if r.event.kind == "hold_released" and r.event.hold_id == hold.event.hold_id
        ]
        if hold.event.kind == "hold_placed" and not any(place(r) > place(hold) for r in releases):
            return "RESTRICTED"
    for request in begun:
        done = [
            r for r in erased if r.leaf_index > request.leaf_index and r.event.source == request.event.source
        ]
        if request.event.kind == "erasure_requested" and not done:
            return "RESTRICTED"
    return None


def ever_answered(about: list[Recorded], source: str) -> bool:
    """Was a yes or a no ever given to exactly this, or this very source erased?"""
    return any(
        r.event.kind in ("given", "refused") or (r.event.kind == "erased" and r.event.source == source)
        for r in about
    )


def nothing_said(said: list[Recorded], source: str, purpose: str) -> str:
    given = [r.event for r in said if r.event.kind == "given"]
    if source in [event.source for event in given]:
        return "PURPOSE"
    if purpose in [event.purpose for event in given]:
        return "SOURCE"
    return "NO_GRANT"


def never_begins(r: Recorded, deciding: list[Recorded]) -> bool:
    """Is this a grant that an end met before it began?"""
    ends = [end for end in deciding if end.event.kind in ENDS]
    return r.event.kind == "given" and any(
        starts(end) <= starts(r) and was_on_record_by(end, r) for end in ends
    )


def in_the_way(grant: Recorded, about: list[Recorded], as_of: datetime) -> str | None:
    """Why a grant that has begun and has not been ended is no yes all the same, or None."""
    touching = [r for r in about if bears_on(r, grant)]
    for r in about:
        named = r.event.grant_id == terms(grant).grant_id
        for_all = r.event.grant_id is None and r in touching
        if r.event.kind == "invalidated" and (named or for_all):
            return "INVALIDATED"
    if as_of >= terms(grant).expires_at:
        return "EXPIRED"
    pauses = [r for r in touching if r.event.kind in ("paused", "resumed") and starts(r) <= as_of]
    return "PAUSED" if pauses and pauses[-1].event.kind == "paused" else None


def the_data(grants: list[Grant], data_at: datetime, as_of: datetime, *, derived: bool) -> str | None:
    """Why data of this date may not be used under these grants, or None."""
    for grant in grants:
        too_late = grant.data_until is not None and data_at >= grant.data_until
        if data_at < grant.data_from or (too_late and not derived):
            return "DATA_RANGE"
    for grant in grants:
        if grant.data_life is not None and as_of - data_at >= grant.data_life:
            return "DATA_LIFE"
    return None


def terms(given: Recorded) -> Grant:
    assert given.event.grant is not None
    return given.event.grant


def starts(r: Recorded) -> datetime:
    """From when it counts: what restricts never waits for a time later than its recording."""
    if r.event.kind in PERMISSIVE:
        return r.event.effective_at
    return min(r.event.effective_at, r.recorded_at)


def place(r: Recorded) -> tuple[datetime, str, int]:
    """By time; at the same time what restricts after what permits; then as they stand in the ledger."""
    return starts(r), "permits" if r.event.kind in PERMISSIVE else "restricts", r.leaf_index


def was_on_record_by(r: Recorded, grant: Recorded) -> bool:
    """Did this statement find the grant on record when it took effect, as far as clocks agree?"""
    slack = CLOCKS_DISAGREE_BY if r.event.origin == "recorded" else timedelta()
    return grant.leaf_index < r.leaf_index and grant.recorded_at <= starts(r) + slack


def bears_on(r: Recorded, grant: Recorded) -> bool:
    return place(r) > place(grant) or was_on_record_by(r, grant)
