"""What the officer's reports define, once more: slow, plain, person by person, on the twin of the consent rules."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from consent.nouns import Recorded
from tests.reference.consent_twin import ever_answered, known, one_person, verdict

Entries = tuple[Recorded, ...]
MICROSECOND = timedelta(microseconds=1)


def by_person(entries: Sequence[Recorded]) -> dict[str, Entries]:
    people: dict[str, list[Recorded]] = {}
    for r in entries:
        people.setdefault(r.event.subject_key, []).append(r)
    return {key: tuple(said) for key, said in people.items()}


def others(people: Mapping[str, Entries], said: Entries) -> dict[str, Entries]:
    linked = {r.event.co_subject_key for r in said if r.event.co_subject_key}
    return {key: people.get(key, ()) for key in linked}


def coverage(
    entries: Sequence[Recorded], source: str, purpose: str, at: datetime, known_at: datetime | None
) -> Counter[str]:
    """State -> people, of those who had said yes or no to anything by then."""
    people, states = by_person(entries), Counter[str]()
    for said in people.values():
        heard = known(said, known_at)
        answers = [r for r in heard if r.event.kind in ("given", "refused") and r.event.effective_at <= at]
        if not answers:
            continue
        about = [r for r in heard if r.event.source in (source, "*") and r.event.purpose in (purpose, "*")]
        if not ever_answered(about, source):
            states["NOT_ASKED"] += 1
            continue
        reason = verdict(
            said, others(people, said), source, purpose, data_at=None, as_of=at, known_at=known_at
        )
        states[reason or "GIVEN"] += 1
    return states


def expiring(
    entries: Sequence[Recorded], source: str, purpose: str, as_of: datetime, until: datetime
) -> set[tuple[str, datetime, str]]:
    """(person, end, grant) of what is in force, runs out by then, and is followed by nothing."""
    people, found = by_person(entries), set()
    for key, said in people.items():

        def state(at: datetime, key: str = key, said: Entries = said) -> str | None:
            no = verdict(said, others(people, said), source, purpose, data_at=None, as_of=at)
            own = one_person(known(said, None), source, purpose, at)
            return None if no or isinstance(own, str) else own.grant_id

        grants = {r.event.grant.grant_id: r.event.grant for r in said if r.event.grant}
        grant = grants.get(state(as_of) or "")
        if grant is None or not as_of < grant.expires_at <= until:
            continue
        if state(grant.expires_at - MICROSECOND) == grant.grant_id and state(grant.expires_at) is None:
            found.add((key, grant.expires_at, grant.grant_id))
    return found


def nearest_rank(seconds: Sequence[float], share: int) -> float | None:
    """The smallest value that so many in a hundred do not exceed, found by trying each."""
    for value in sorted(seconds):
        if sum(other <= value for other in seconds) * 100 >= share * len(seconds):
            return value
    return None


def percentiles(seconds: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    assert not any(math.isnan(s) for s in seconds)
    return nearest_rank(seconds, 50), nearest_rank(seconds, 95), max(seconds, default=None)
