"""The bars of the timeline say what the rule says, at every instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given

from consent.catalog import PURPOSES, SOURCES
from consent.decide import decide
from consent.nouns import Facts, Kind
from rights.spans import lanes, spans
from tests.consent.consent_samples import NOW
from tests.property.consent_histories import PEOPLE, TICK, TICKS, Town, at, instants, law, pairs

AS_OF = at(2 * TICKS + 1)


@law(150)
@given(pairs, instants)
def test_each_instant_lies_in_one_span_with_its_decision(town: Town, asked: datetime) -> None:
    """Spans follow on one another without a gap up to now, and two neighbours differ."""
    facts = town.facts(PEOPLE[0])
    for source in ("spending", "employment"):
        found = spans(facts, source, "credit_scoring", AS_OF)
        if not found:
            continue
        assert found[-1].end == AS_OF
        for before, after in pairwise(found):
            assert before.end == after.start
            assert (before.reason, before.other_party) != (after.reason, after.other_party)
        around = [s for s in found if s.start <= asked < s.end]
        decision = decide(facts, source, "credit_scoring", data_at=None, as_of=asked)
        if around:
            assert [(s.reason, s.other_party) for s in around] == [
                (decision.reason, decision.party == "co_subject")
            ]
        else:
            assert not decision.allowed


@law(100)
@given(pairs)
def test_a_lane_for_each_pair_that_was_asked_about(town: Town) -> None:
    """In the catalog's order, each with the decision of now."""
    facts = town.facts(PEOPLE[0])
    asked = {(s.source, s.purpose) for s in facts.statements if s.kind in (Kind.GIVEN, Kind.REFUSED)}
    found = lanes(facts, AS_OF)
    assert [(x.source, x.purpose) for x in found] == [
        (s, p) for s in SOURCES for p in PURPOSES if (s, p) in asked
    ]
    for lane in found:
        assert lane.now == decide(facts, lane.source, lane.purpose, data_at=None, as_of=AS_OF)


def test_nothing_said() -> None:
    """No lane, no span."""
    assert lanes(Facts(), NOW) == []
    assert spans(Facts(), "spending", "credit_scoring", NOW + timedelta(days=1) + TICK) == ()
