"""The console's figures over everybody are what the rules say of each person, counted."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from consent import figures
from consent.clock import instant, micros
from consent.decide import decide, requests
from consent.nouns import Facts, Kind, Statement
from tests.property.consent_histories import PEOPLE, PURPOSES, SOURCES, Town, instants, law, towns


def known(facts: Facts, known_at: datetime | None) -> list[Statement]:
    return [s for s in facts.statements if known_at is None or s.recorded_at <= micros(known_at)]


@given(town=towns(), known_at=st.none() | instants, as_of=st.lists(instants, min_size=3, max_size=3))
@law(5)
def test_coverage_counts_who_may_be_used(
    town: Town, known_at: datetime | None, as_of: list[datetime]
) -> None:
    """At each instant as many people as `decide` says yes to."""
    timeline = town.timeline(known_at)
    for source in SOURCES:
        for purpose in PURPOSES:
            expected = [
                sum(
                    decide(town.facts(p), source, purpose, data_at=None, as_of=at, known_at=known_at).allowed
                    for p in PEOPLE
                )
                for at in as_of
            ]
            assert figures.coverage(timeline, source, purpose, as_of) == expected


@given(town=towns(), known_at=st.none() | instants)
@law(5)
def test_open_requests_are_those_that_nothing_fulfilled(town: Town, known_at: datetime | None) -> None:
    """Person for person what `consent.decide.requests` says, oldest first, a page at a time."""
    timeline = town.timeline(known_at)
    expected = sorted(
        (s.leaf_index, person, s.source, instant(s.recorded_at))
        for person in PEOPLE
        for s in requests(known(town.facts(person), known_at))
    )
    found, after = [], -1
    while page := figures.open_requests(timeline, after=after, limit=3):
        found += [(r.leaf_index, r.subject_key, r.source, r.recorded_at) for r in page]
        after = page[-1].leaf_index
    assert found == expected
    number, oldest = figures.count_open_requests(timeline)
    assert number == len(expected)
    assert oldest == min((each[3] for each in expected), default=None)


@given(town=towns(), known_at=st.none() | instants, now=instants)
@law(5)
def test_the_rest_is_counted_as_it_says(town: Town, known_at: datetime | None, now: datetime) -> None:
    """People, holds, delays, weeks and the pages of entries, against plain loops."""
    timeline = town.timeline(known_at)
    said = {p: known(town.facts(p), known_at) for p in PEOPLE}
    every = sorted((s for each in said.values() for s in each), key=lambda s: s.leaf_index)
    assert figures.people(timeline) == sum(bool(each) for each in said.values())
    held, key = [], ""
    while page := figures.held_people(timeline, after=key, limit=2):
        held += page
        key = page[-1]
    assert held == sorted(p for p, each in said.items() if any(s.kind == Kind.HOLD_PLACED for s in each))
    ends = [s for s in every if s.kind in (Kind.WITHDRAWN, Kind.REVOKED) and s.recorded_at >= micros(now)]
    late = sorted(max(s.recorded_at - s.effective_at, 0) for s in ends)
    counted = figures.delay(timeline, now)
    assert counted.number == len(late)
    assert counted.longest == timedelta(microseconds=late[-1] if late else 0)
    assert sum(figures.per_week(timeline, Kind.GIVEN, 4, now)) == sum(
        s.kind == Kind.GIVEN and s.recorded_at <= micros(now) for s in every
    )
    wanted = [s.leaf_index for s in reversed(every) if s.kind == Kind.GIVEN and s.source == "spending"]
    query = figures.EntryQuery(kind="given", source="spending")
    assert figures.find_entries(timeline, query, before=2**62, limit=10**6) == wanted
    if len(wanted) > 2:
        assert figures.find_entries(timeline, query, before=wanted[0], limit=2) == wanted[1:3]
    since = [s.leaf_index for s in reversed(every) if s.recorded_at >= micros(now)]
    assert figures.find_entries(timeline, figures.EntryQuery(since=now), before=2**62, limit=10**6) == since


@given(town=towns(), as_of=instants, days=st.integers(0, 3))
@law(5)
def test_ending_is_who_may_be_used_now_and_not_then(town: Town, as_of: datetime, days: int) -> None:
    """At least everybody who may be used now and will not be at the later instant, whatever happens in between."""
    timeline, until = town.timeline(None), as_of + timedelta(days=days)
    for purpose in PURPOSES:
        over = 0
        for person in PEOPLE:
            facts = town.facts(person)
            now = decide(facts, "spending", purpose, data_at=None, as_of=as_of)
            then = decide(facts, "spending", purpose, data_at=None, as_of=until)
            over += now.allowed and not then.allowed
        counted = figures.ending(timeline, "spending", purpose, as_of, until)
        assert over <= counted <= figures.coverage(timeline, "spending", purpose, [as_of])[0]
