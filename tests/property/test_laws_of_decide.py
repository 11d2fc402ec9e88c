"""Laws of the point form, each with the clause of DESIGN section 4 it rests on."""

from datetime import datetime, timedelta
from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from consent.clock import CLOCK_SKEW
from consent.decide import decide
from consent.nouns import ANY, Decision, Event, Facts, Kind, Reason, Recorded
from tests.property.consent_histories import (
    PEOPLE,
    SOURCES,
    TICKS,
    Town,
    at,
    instants,
    law,
    ledger_of,
    pairs,
    purposes,
    statements,
    ticks,
)

SUBJECT, OTHER = PEOPLE[:2]
source_names = st.sampled_from(SOURCES)
said_once = st.tuples(ticks, statements([SUBJECT, OTHER]))
withdrawals = st.tuples(ticks, statements([SUBJECT, OTHER], st.just(Kind.WITHDRAWN)))
histories = st.lists(said_once, max_size=10)
questions = st.lists(instants, min_size=4, max_size=4)


def facts_of(said: list[tuple[int, Event]]) -> Facts:
    return Town(ledger_of(said), PEOPLE[:2]).facts(SUBJECT)


def without(facts: Facts, keep: object) -> Facts:
    assert callable(keep)
    mine = tuple(r for r in facts.events if keep(r))
    return Facts(mine, {k: tuple(r for r in v if keep(r)) for k, v in facts.co_subjects.items()})


def unlinked(facts: Facts) -> Facts:
    return without(facts, lambda r: r.event.kind is not Kind.LINKED)


def ask(facts: Facts, source: str, purpose: str, as_of: datetime, **more: datetime | None) -> Decision:
    return decide(facts, source, purpose, as_of=as_of, **({"data_at": None} | more))


@given(histories, withdrawals, source_names, purposes, questions, st.none() | instants)
@law(120)
def test_a_withdrawal_never_turns_a_no_into_a_yes(
    said: list[tuple[int, Event]],
    more: tuple[int, Event],
    source: str,
    purpose: str,
    as_of: list[datetime],
    data_at: datetime | None,
) -> None:
    """DESIGN 4.1: "deny on any error ... the restrictive event winning ties"."""
    before, after = facts_of(said), facts_of([*said, more])
    for instant in as_of:
        if ask(after, source, purpose, instant, data_at=data_at).allowed:
            assert ask(before, source, purpose, instant, data_at=data_at).allowed


@given(histories, source_names, purposes, st.lists(ticks, min_size=4, max_size=4), ticks)
@law(120)
def test_after_a_withdrawal_the_answer_is_no_until_a_new_grant_is_recorded(
    said: list[tuple[int, Event]], source: str, purpose: str, later: list[int], behind: int
) -> None:
    """DESIGN 4.2, 4.3: "Terminal grants never revive; a new given is a new grant. Withdrawn acts from now on".

    Also where a grant had not begun yet, and where the clock of whoever withdrew was up to five minutes behind.
    """
    recorded = at(TICKS)
    effective = recorded - min(timedelta(seconds=30 * behind), CLOCK_SKEW)
    event = Event("f" * 32, Kind.WITHDRAWN, SUBJECT, source, purpose, effective)
    mine = facts_of(said).events
    facts = Facts((*mine, Recorded(len(said), recorded, event)))
    for tick in later:
        assert not ask(facts, source, purpose, recorded + tick * (at(1) - at(0))).allowed


@given(pairs, source_names, purposes, questions)
@law(120)
def test_other_purposes_and_sources_never_matter(
    town: Town, source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.1: "one grant must cover every dimension (no union across grants)".

    They show in the reasons PURPOSE and SOURCE alone, which say that there is nothing about this pair.
    """
    facts = town.facts(SUBJECT)

    def is_about(r: Recorded) -> bool:
        return r.event.source in (source, ANY) and r.event.purpose in (purpose, ANY)

    for instant in as_of:
        full = ask(facts, source, purpose, instant)
        alone = ask(without(facts, is_about), source, purpose, instant)
        blind = {Reason.PURPOSE: Reason.NO_GRANT, Reason.SOURCE: Reason.NO_GRANT}
        assert (alone.allowed, alone.grant_id, alone.party) == (full.allowed, full.grant_id, full.party)
        assert alone.reason == blind.get(full.reason, full.reason)  # type: ignore[arg-type]


@given(histories, st.randoms(use_true_random=False), source_names, purposes, questions)
@law(120)
def test_the_order_of_arrival_does_not_matter_except_at_ties(
    said: list[tuple[int, Event]],
    random: Random,
    source: str,
    purpose: str,
    as_of: list[datetime],
) -> None:
    """DESIGN 4.1: "events folded by (effective time, recorded time, position), the restrictive event winning ties".

    For statements that all took effect before they arrived: a grant that was on record and had not begun when a
    withdrawal was made is another matter, see the law above.
    """
    late = 2 * TICKS
    said = [(late, event) for _, event in said]
    times = [e.effective_at for _, e in said if e.kind is Kind.GIVEN]
    assume(len(set(times)) == len(times))
    shuffled = random.sample(said, len(said))
    one, other = facts_of(said), facts_of(shuffled)
    for instant in as_of:
        first, second = ask(one, source, purpose, instant), ask(other, source, purpose, instant)
        assert first.allowed == second.allowed
        assert first.expires_at == second.expires_at


@given(pairs, source_names, purposes, questions, ticks)
@law(120)
def test_known_at_in_the_past_ignores_later_entries(
    town: Town, source: str, purpose: str, as_of: list[datetime], known: int
) -> None:
    """DESIGN 4.6: "was that read lawful on what we knew then"."""
    facts = town.facts(SUBJECT)
    then = without(facts, lambda r: r.recorded_at <= at(known))
    for instant in as_of:
        assert ask(facts, source, purpose, instant, known_at=at(known)) == ask(then, source, purpose, instant)


@given(pairs, source_names, purposes, questions, instants)
@law(120)
def test_every_dimension_of_the_grant_is_kept(
    town: Town, source: str, purpose: str, as_of: list[datetime], data_at: datetime
) -> None:
    """DESIGN 4.1, 4.2: "one grant must cover every dimension. Only given inside [valid_from, expires_at)"."""
    facts = town.facts(SUBJECT)
    for instant in as_of:
        decision = ask(facts, source, purpose, instant, data_at=data_at)
        if not decision.allowed:
            continue
        (event,) = [r.event for r in facts.events if r.event.grant and _id_of(r) == decision.grant_id]
        assert event.grant is not None
        assert (event.subject_key, event.source, event.purpose) == (SUBJECT, source, purpose)
        assert event.effective_at <= instant < event.grant.expires_at
        assert data_at >= event.grant.data_from
        assert event.grant.data_life is None or instant - data_at < event.grant.data_life
        assert decision.imported == (event.origin == "imported")


def _id_of(r: Recorded) -> str | None:
    return r.event.grant and r.event.grant.grant_id


@given(pairs, source_names, purposes, questions)
@law(120)
def test_data_about_two_people_needs_both(
    town: Town, source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.10: "the intersection with the co-subject's; either one's withdrawal stops it"."""
    facts = town.facts(SUBJECT)
    linked = any(r.event.kind is Kind.LINKED and r.event.source == source for r in facts.events)
    for instant in as_of:
        mine = ask(unlinked(facts), source, purpose, instant)
        theirs = ask(unlinked(town.facts(OTHER)), source, purpose, instant)
        both = ask(facts, source, purpose, instant)
        assert both.allowed == (mine.allowed and (theirs.allowed or not linked))
        assert mine.allowed or both.reason == mine.reason
        assert both.party == ("co_subject" if mine.allowed and not both.allowed else "subject")


@given(pairs, source_names, purposes, instants)
@law(120)
def test_a_denial_has_one_reason_and_a_yes_has_a_grant(
    town: Town, source: str, purpose: str, as_of: datetime
) -> None:
    """DESIGN 1: "allowed + grant_id, or a denial with exactly one reason code"."""
    decision = ask(town.facts(SUBJECT), source, purpose, as_of)
    assert decision.allowed == (decision.reason is None)
    assert not decision.allowed or decision.grant_id is not None
