"""How many people agreed to what: by source and purpose, now, at a past moment, or over a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from consent.knowledge import GIVEN
from consent.nouns import Reason
from consent.tallies import NOT_ASKED, count_states
from reports.query import Definition, Scope
from reports.table import CellType, Column, Row, count, instant, text

#: So many days are shown one by one; of a longer time, the first of each month.
DAILY_UP_TO = timedelta(days=62)
_STATES = (
    (Reason.NO_GRANT.value, "refused", "Said no."),
    (Reason.WITHDRAWN.value, "withdrawn", "Withdrew."),
    (Reason.REVOKED.value, "revoked", "Somebody else ended it."),
    (Reason.EXPIRED.value, "expired", "It ran out."),
    (Reason.SUPERSEDED.value, "superseded", "Have to agree to a new notice."),
    (Reason.INVALIDATED.value, "invalidated", "It was never valid."),
    (Reason.PAUSED.value, "paused", "Paused it."),
    (Reason.NOT_YET.value, "not_yet", "Agreed to what begins later."),
    (Reason.RESTRICTED.value, "restricted", "Under a legal hold, or an erasure is due."),
    (Reason.ERASED.value, "erased", "Erased."),
)


def moments(scope: Scope) -> list[datetime]:
    """The instants that are counted at, oldest first."""
    query = scope.query
    if query.since is None:
        return [scope.as_of]
    last = min(query.until or scope.as_of, scope.now)
    daily = last - query.since <= DAILY_UP_TO
    at, found = query.since.astimezone(UTC), []
    while at < last:
        found.append(at)
        at = _next_day(at) if daily else _next_day(at.replace(day=1) + timedelta(days=31)).replace(day=1)
    return found


def _next_day(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def rows(scope: Scope) -> Iterator[Row]:
    """One row per source, purpose and instant."""
    instants = moments(scope)
    for source in scope.sources if instants else ():
        for purpose in scope.purposes:
            counted = count_states(scope.timeline, source, purpose, instants)
            for at, states in zip(instants, counted, strict=True):
                yield (source, purpose, at, *_figures(states))


def _figures(states: Counter[str]) -> Row:
    people = sum(states.values())
    given, other = states[GIVEN], states.keys() - {GIVEN, NOT_ASKED} - {state for state, _, _ in _STATES}
    shares = (None, None) if not people else (given / people, states[Reason.NO_GRANT] / people)
    named = tuple(states[state] for state, _, _ in _STATES)
    return (people, given, *shares, *named, sum(states[state] for state in other), states[NOT_ASKED])


REPORT = Definition(
    "coverage",
    "Coverage",
    "How many people stand where, for each source and purpose, at an instant. Counted are people who had said yes or"
    " no to anything by then (effective time); each is in exactly one state, the one the consent rules give for that"
    " instant. Without from: at as_of. With from and to: at from, and then at 00:00 UTC of each day, or of the"
    " first of each month where that is more than 62 days; never later than now.",
    (
        text("source", "Which data."),
        text("purpose", "For what."),
        instant("at", "The instant that is counted at."),
        count("people", "people", "Had said yes or no to anything: the sum of the states."),
        count("given", "people", "Consent is in force and may be used."),
        Column("given_share", CellType.SHARE, "Of people."),
        Column("refused_share", CellType.SHARE, "Of people: who said no."),
        *(count(name, "people", says) for _, name, says in _STATES),
        count("other", "people", "Another reason: because of a person whose data it is as well."),
        count("not_asked", "people", "Said neither yes nor no to this."),
    ),
    rows,
    takes=frozenset({"source", "purpose", "since", "until", "as_of", "known_at"}),
    notes=(
        "People whose consent records were blanked after an erasure are not counted any more.",
        "Where data is about two people, a person counts as given only while both agree.",
        "The ledger is read as known_at says; left out: past instants are told on what is known today.",
    ),
)
