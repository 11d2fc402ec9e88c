"""Counts over everybody are the counts one gets person by person with the slow twin."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from consent.clock import instant, micros
from consent.nouns import ANY, Kind
from consent.tallies import Which, count_states, ending, find_entries, people_not_given
from reports.quantiles import spread
from tests.property.consent_histories import PURPOSES, SOURCES, Town, instants, law, towns
from tests.reference import reports_twin as twin
from tests.reference.consent_twin import verdict

PAIRS = [(s, p) for s in SOURCES for p in PURPOSES]


@given(town=towns(), at=st.lists(instants, min_size=1, max_size=4), known_at=st.none() | instants)
@law(5)
def test_coverage(town: Town, at: list[datetime], known_at: datetime | None) -> None:
    """Everybody who was asked anything is in exactly one state, the twin's, at every instant."""
    timeline = town.timeline(known_at)
    for source, purpose in PAIRS:
        counted = count_states(timeline, source, purpose, at)
        for moment, states in zip(at, counted, strict=True):
            expected = twin.coverage(town.entries, source, purpose, moment, known_at)
            assert +states == +expected


@given(town=towns(), span=st.lists(instants, min_size=2, max_size=2, unique=True))
@law(5)
def test_expiring(town: Town, span: list[datetime]) -> None:
    """Each grant in force that runs out, once, in the order of its end, however the page is cut."""
    as_of, until = sorted(span)
    timeline = town.timeline()
    grants = {r.leaf_index: r.event.grant.grant_id for r in town.entries if r.event.grant}
    for pair in PAIRS:
        found = ending(timeline, [pair], (as_of, until), limit=None, skip=0)
        assert {(e.subject_key, e.ends_at, grants[e.leaf_index]) for e in found} == twin.expiring(
            town.entries, *pair, as_of, until
        )
    whole = ending(timeline, PAIRS, (as_of, until), limit=None, skip=0)
    assert [e.ends_at for e in whole] == sorted(e.ends_at for e in whole)
    pages = [ending(timeline, PAIRS, (as_of, until), limit=2, skip=n) for n in range(0, len(whole), 2)]
    assert [each for page in pages for each in page] == whole


@given(town=towns(), as_of=instants)
@law(4)
def test_who_may_not_be_used(town: Town, as_of: datetime) -> None:
    """With the reason that the twin gives."""
    timeline = town.timeline()
    people = twin.by_person(town.entries)
    for source, purpose in PAIRS:
        found = people_not_given(timeline, source, purpose, as_of=as_of).to_pylist()
        for row in found:
            said = people[row["subject_key"]]
            assert row["reason"] == verdict(
                said, twin.others(people, said), source, purpose, data_at=None, as_of=as_of
            )


@given(
    town=towns(),
    kinds=st.sets(st.sampled_from(Kind), min_size=1),
    source=st.none() | st.sampled_from(SOURCES),
    purpose=st.none() | st.sampled_from(PURPOSES),
    span=st.lists(instants, min_size=2, max_size=2),
    page=st.tuples(st.none() | st.integers(1, 20), st.integers(0, 20)),
)
@law(12)
def test_entries_of_a_kind(
    town: Town,
    kinds: set[Kind],
    source: str | None,
    purpose: str | None,
    span: list[datetime],
    page: tuple[int | None, int],
) -> None:
    """In ledger order, each once, narrowed and paged as asked."""
    since, until = sorted(span)
    which = Which(tuple(kinds), None, source, purpose, since, until)
    expected = [
        r.leaf_index
        for r in town.entries
        if r.event.kind in kinds
        and (source is None or r.event.source in (source, ANY))
        and (purpose is None or r.event.purpose in (purpose, ANY))
        and since <= r.recorded_at < until
    ]
    limit, skip = page
    end = None if limit is None else skip + limit
    found = find_entries(town.timeline(), which, limit=limit, skip=skip)
    assert found["leaf_index"].to_pylist() == expected[skip:end]
    known = {r.leaf_index: r for r in town.entries}
    for row in found.to_pylist():
        entry = known[row["leaf_index"]]
        assert (row["subject_key"], row["kind"]) == (entry.event.subject_key, entry.event.kind)
        assert instant(row["recorded_at"]) == entry.recorded_at
        assert row["effective_at"] == micros(entry.event.effective_at)


@given(st.lists(st.integers(0, 50), max_size=60))
@law(300)
def test_percentiles_are_nearest_ranks(values: list[int]) -> None:
    """Never a value between two that were measured."""
    spread_ = spread(np.array(values, np.int64) * 1_000_000)
    assert spread_ == (len(values), *twin.percentiles([float(v) for v in values]))
