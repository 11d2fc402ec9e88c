"""Laws of the point form, each with the clause of DESIGN section 4 it rests on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.clock import CLOCK_SKEW, micros
from consent.decide import decide
from consent.nouns import ANY, Decision, Event, Facts, Kind, Reason, Recorded, Statement
from tests.consent import consent_samples
from tests.property.consent_histories import (
    ENDS,
    HOLDS,
    LIFTS,
    PEOPLE,
    RESTRICTS,
    SOURCES,
    TICK,
    TICKS,
    WHOLE,
    Town,
    at,
    instants,
    kinds_but,
    law,
    ledger_of,
    often_scoring,
    often_spending,
    pairs,
    statements,
    ticks,
)
from tests.reference import consent_twin as twin

Said = list[tuple[int, Event]]

SUBJECT, OTHER = PEOPLE[:2]
#: When the last entries of a history are recorded.
LAST = at(TICKS)
HOLDS_AND_ERASURES = (Kind.HOLD_PLACED, Kind.ERASURE_REQUESTED, Kind.ERASED)

#: What is asked about: mostly what the histories are about.
sources, purposes = often_spending, often_scoring
questions = st.lists(instants, min_size=4, max_size=4)
#: Instants from `LAST` on.
afterwards = st.lists(ticks.map(lambda tick: LAST + tick * TICK), min_size=4, max_size=4)
clocks_behind = st.integers(0, 10).map(lambda n: n * CLOCK_SKEW / 10)


def one_of(*kinds: Kind) -> st.SearchStrategy[tuple[int, Event]]:
    return st.tuples(ticks, statements([SUBJECT, OTHER], st.sampled_from(kinds)))


def histories(*without: Kind) -> st.SearchStrategy[Said]:
    return st.lists(
        st.tuples(ticks, statements([SUBJECT, OTHER], kinds_but(*without))), min_size=3, max_size=12
    )


def all_but(*without: Kind) -> tuple[Kind, ...]:
    return tuple(kind for kind in RESTRICTS if kind not in without)


def town_of(said: Said) -> Town:
    return Town(ledger_of(said), PEOPLE[:2])


def facts_of(said: Said) -> Facts:
    return town_of(said).facts(SUBJECT)


def only(facts: Facts, keep: Callable[[Statement], bool]) -> Facts:
    mine = tuple(s for s in facts.statements if keep(s))
    return Facts(mine, {k: tuple(s for s in v if keep(s)) for k, v in facts.co_subjects.items()})


def unlinked(facts: Facts) -> Facts:
    return only(facts, lambda s: s.kind != Kind.LINKED)


def ask(facts: Facts, source: str, purpose: str, as_of: datetime, **more: Any) -> Decision:
    return decide(facts, source, purpose, as_of=as_of, **({"data_at": None} | more))


def plain(decision: Decision) -> tuple[object, ...]:
    """All but the grant's name, which depends on its place in the ledger."""
    return decision.allowed, decision.reason, decision.party, decision.imported, decision.expires_at


def now(event: Event, behind: timedelta = timedelta()) -> tuple[int, Event]:
    """As the last entry of the ledger, taking effect as it arrives, on a clock that may be behind."""
    return TICKS, replace(event, effective_at=LAST - (behind if event.origin == "recorded" else timedelta()))


def no_to(kind: Kind, source: str, purpose: str) -> Event:
    """What the kind says against this source and purpose."""
    hold = HOLDS[0] if kind is Kind.HOLD_PLACED else None
    return consent_samples.event(kind, SUBJECT, source, ANY if kind in WHOLE else purpose, hold_id=hold)


# ------------------------------------------------------------------------------------------ what says no


@given(histories(), one_of(*RESTRICTS), clocks_behind, sources, purposes, questions, st.none() | instants)
@law(200)
def test_what_restricts_never_turns_a_no_into_a_yes(
    said: Said,
    more: tuple[int, Event],
    behind: timedelta,
    source: str,
    purpose: str,
    as_of: list[datetime],
    data_at: datetime | None,
) -> None:
    """DESIGN 4.1: "deny on any error ... the restrictive event winning ties"."""
    before, after = facts_of(said), facts_of([*said, now(more[1], behind)])
    for instant in as_of:
        if ask(after, source, purpose, instant, data_at=data_at).allowed:
            assert ask(before, source, purpose, instant, data_at=data_at).allowed


@given(
    histories(),
    one_of(*all_but(Kind.ERASED)),
    sources,
    purposes,
    questions,
    st.none() | instants,
)
@law(200)
def test_what_restricts_and_arrives_late_gives_way_to_another_grant_at_most(
    said: Said,
    more: tuple[int, Event],
    source: str,
    purpose: str,
    as_of: list[datetime],
    data_at: datetime | None,
) -> None:
    """DESIGN 4.2: "Terminal grants never revive".

    Where it keeps a grant from beginning, a grant given since then may go on in its place; as if the first had
    never been there. (A late erasure also fulfils the request for it.)
    """
    town = town_of([*said, (more[0], replace(more[1], actor="late"))])
    (added,) = [r for r in town.entries if r.event.actor == "late"]
    for instant in as_of:
        if ask(town.facts(SUBJECT), source, purpose, instant, data_at=data_at).allowed:
            others = tuple(r for r in town.entries if r is not added and not _ended_unbegun(r, added))
            before = Town(others, PEOPLE[:2]).facts(SUBJECT)
            assert ask(before, source, purpose, instant, data_at=data_at).allowed


def _ended_unbegun(r: Recorded, end: Recorded) -> bool:
    said, by = r.event, end.event
    return (
        by.kind in ENDS
        and said.kind is Kind.GIVEN
        and said.subject_key == by.subject_key
        and by.source in (said.source, ANY)
        and by.purpose in (said.purpose, ANY)
        and twin.starts(end) <= said.effective_at
        and twin.was_on_record_by(end, r)
    )


@pytest.mark.parametrize("kind", RESTRICTS)
@given(histories(*LIFTS), sources, purposes, afterwards, clocks_behind)
@law(60)
def test_after_what_restricts_the_answer_is_no_until_a_new_grant_is_recorded(
    kind: Kind, said: Said, source: str, purpose: str, later: list[datetime], behind: timedelta
) -> None:
    """DESIGN 4.2, 4.3: "Terminal grants never revive; a new given is a new grant. Withdrawn acts from now on".

    Also where a grant had not begun yet (a pause carries over to it), and where the clock of whoever said no was
    up to five minutes behind. Until something lifts a pause or a hold.
    """
    facts = facts_of([*said, now(no_to(kind, source, purpose), behind)])
    for instant in later:
        assert not ask(facts, source, purpose, instant).allowed


@given(
    histories(),
    one_of(*all_but(Kind.REFUSED, Kind.ERASED, Kind.INVALIDATED)),
    sources,
    purposes,
    questions,
)
@law(200)
def test_what_was_lawful_before_a_withdrawal_stays_so(
    said: Said, more: tuple[int, Event], source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.3: "Withdrawn acts from now on": before its effective time no answer changes."""
    before, after = facts_of(said), facts_of([*said, more])
    tick, event = more
    for instant in as_of:
        if instant < min(event.effective_at, at(tick)):
            first, second = (ask(facts, source, purpose, instant) for facts in (before, after))
            assert plain(first) == plain(second)


@given(histories(), clocks_behind, sources, purposes, questions)
@law(120)
def test_an_invalidation_acts_on_all_times_and_only_once_known(
    said: Said, behind: timedelta, source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.3: "invalidated acts on prior and future use" (W3C DPV scope notes); 4.6: "what we knew then"."""
    before = facts_of(said)
    after = facts_of([*said, now(no_to(Kind.INVALIDATED, source, purpose), behind)])
    known_at = LAST - TICK / 2
    for instant in as_of:
        assert not ask(after, source, purpose, instant).allowed
        then = ask(after, source, purpose, instant, known_at=known_at)
        assert then == ask(before, source, purpose, instant, known_at=known_at)


@given(histories(Kind.LINKED), st.integers(0, 9), sources, purposes, questions)
@law(120)
def test_an_invalidation_of_one_grant_leaves_the_others(
    said: Said, which: int, source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.3: what is invalidated is that grant, wherever it would have been the yes; and nothing else."""
    town = town_of(said)
    names = [r.event.grant.grant_id for r in town.entries if r.event.grant] or ["none"]
    named = replace(no_to(Kind.INVALIDATED, source, purpose), grant_id=names[which % len(names)])
    entries = (*town.entries, Recorded(len(said), LAST, named))
    before, after = town.facts(SUBJECT), Town(entries, PEOPLE[:2]).facts(SUBJECT)
    for instant in as_of:
        first, second = (ask(facts, source, purpose, instant) for facts in (before, after))
        assert not (second.allowed and second.grant_id == named.grant_id)
        if first.grant_id != named.grant_id:
            assert first == second


# ----------------------------------------------------------------------------------- what lifts a restriction


@given(histories(), one_of(*LIFTS), sources, purposes, questions, st.none() | instants)
@law(200)
def test_what_lifts_a_restriction_lifts_that_alone(
    said: Said,
    more: tuple[int, Event],
    source: str,
    purpose: str,
    as_of: list[datetime],
    data_at: datetime | None,
) -> None:
    """DESIGN 4.2: "Terminal grants never revive". Nor does a resumption or a release turn a yes into a no."""
    before, after = facts_of(said), facts_of([*said, more])
    lifted = Reason.PAUSED if more[1].kind is Kind.RESUMED else Reason.RESTRICTED
    for instant in as_of:
        first, second = (ask(facts, source, purpose, instant, data_at=data_at) for facts in (before, after))
        assert second.allowed or not first.allowed
        if first.reason is not lifted:
            assert plain(first) == plain(second)


@given(histories(), st.sampled_from((*SOURCES, ANY)), sources, purposes, afterwards)
@law(120)
def test_a_hold_denies_while_it_lasts_and_leaves_no_trace(
    said: Said, held: str, source: str, purpose: str, later: list[datetime]
) -> None:
    """DESIGN 4.8: "Hold beats deletion, never denial": it never permits anything, neither placed nor released.

    Nor does its release touch a hold of another name.
    """
    placed, released = (
        consent_samples.event(kind, SUBJECT, held, ANY, at=LAST + tick * TICK, hold_id="another case")
        for kind, tick in ((Kind.HOLD_PLACED, 0), (Kind.HOLD_RELEASED, 4))
    )
    before, after = facts_of(said), facts_of([*said, (TICKS, placed), (TICKS + 4, released)])
    for instant in later:
        first, second = (ask(facts, source, purpose, instant) for facts in (before, after))
        if instant >= released.effective_at or held not in (source, ANY):
            assert first == second
        else:
            assert second.reason in (Reason.RESTRICTED, Reason.ERASED)


# ----------------------------------------------------------------------------------------------- a new grant


@pytest.mark.parametrize("end", ENDS)
@given(histories(Kind.LINKED, *HOLDS_AND_ERASURES), sources, purposes, instants)
@law(60)
def test_a_new_grant_may_follow_any_end(
    end: Kind, said: Said, source: str, purpose: str, as_of: datetime
) -> None:
    """DESIGN 4.2: "a new given is a new grant", also after the source was erased; inside its own time."""
    again = consent_samples.given(SUBJECT, source, purpose, at=at(TICKS + 1), until=at(TICKS + 9))
    ended = ledger_of([*said, now(no_to(end, source, purpose))])
    town = Town((*ended, Recorded(len(ended), at(TICKS + 1), again)), PEOPLE[:2])
    decision = ask(town.facts(SUBJECT), source, purpose, as_of)
    if as_of >= at(TICKS + 9):
        assert decision.reason is Reason.EXPIRED
    elif as_of >= at(TICKS + 1):
        assert (decision.allowed, decision.grant_id) == (True, again.grant and again.grant.grant_id)
    elif as_of >= LAST:
        assert not decision.allowed


@given(ticks, st.integers(1, 12), sources, purposes, st.booleans(), instants)
@law(60)
def test_a_grant_ends_by_the_clock(
    effective: int, length: int, source: str, purpose: str, imported: bool, as_of: datetime
) -> None:
    """DESIGN 4.2: "Only given inside [valid_from, expires_at)": no entry is needed for either end."""
    begin, end = at(effective), at(effective + length)
    origin: Any = "imported" if imported else "recorded"
    said = consent_samples.given(SUBJECT, source, purpose, at=begin, until=end, origin=origin)
    decision = ask(facts_of([(0, said)]), source, purpose, as_of)
    expected = Reason.NOT_YET if as_of < begin else Reason.EXPIRED if as_of >= end else None
    assert (decision.reason, decision.expires_at) == (expected, None if as_of < begin else end)


# --------------------------------------------------------------------------------------------------- erasure


@given(histories(), one_of(Kind.ERASED), sources, purposes, questions)
@law(120)
def test_who_is_erased_as_a_whole_stays_erased(
    said: Said, more: tuple[int, Event], source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.8: "An erased subject leaves a tombstone so that a late file cannot bring them back"."""
    tick, event = more
    event = replace(event, subject_key=SUBJECT, source=ANY)
    facts = facts_of([*said, (tick, event)])
    for instant in as_of:
        if instant >= min(event.effective_at, at(tick)):
            assert ask(facts, source, purpose, instant).reason is Reason.ERASED


@given(histories(), one_of(Kind.ERASED), sources, purposes, questions)
@law(120)
def test_the_erasure_of_one_source_leaves_the_others(
    said: Said, more: tuple[int, Event], source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.8: the outcome of an erasure is "per item"."""
    (erased,) = [name for name in SOURCES if name != source]
    tick, event = more
    before, after = facts_of(said), facts_of([*said, (tick, replace(event, source=erased))])
    for instant in as_of:
        first, second = (ask(facts, source, purpose, instant) for facts in (before, after))
        assert plain(first) == plain(second)


# ---------------------------------------------------------------------------------------------- what matters


@given(pairs, sources, purposes, questions)
@law(120)
def test_other_purposes_and_sources_never_matter(
    town: Town, source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.1: "one grant must cover every dimension (no union across grants)".

    They show in the reasons PURPOSE and SOURCE alone, which say that there is nothing about this pair.
    """
    facts = town.facts(SUBJECT)
    alone = only(facts, lambda s: s.source in (source, ANY) and s.purpose in (purpose, ANY))
    blind = {Reason.PURPOSE: Reason.NO_GRANT, Reason.SOURCE: Reason.NO_GRANT}
    for instant in as_of:
        first, second = ask(alone, source, purpose, instant), ask(facts, source, purpose, instant)
        assert (first.allowed, first.grant_id, first.party) == (second.allowed, second.grant_id, second.party)
        assert first.reason == blind.get(second.reason, second.reason)  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(st.just(2 * TICKS), statements([SUBJECT, OTHER], kinds_but(*HOLDS_AND_ERASURES[1:]))),
        max_size=10,
        unique_by=lambda said: (said[1].subject_key, said[1].effective_at),
    ),
    st.randoms(use_true_random=False),
    sources,
    purposes,
    questions,
)
@law(120)
def test_the_order_of_arrival_does_not_matter_except_at_ties(
    said: Said, random: Random, source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.1: "events folded by (effective time, recorded time, position), the restrictive event winning ties".

    For statements that all took effect before they arrived: a grant that was on record and had not begun when a
    withdrawal was made is another matter, see the law above. And an erasure fulfils the requests before it only.
    """
    town = town_of(said)
    shuffled = random.sample(town.entries, len(said))
    entries = tuple(replace(r, leaf_index=i) for i, r in enumerate(shuffled))
    for instant in as_of:
        first, second = (
            ask(ledger.facts(SUBJECT), source, purpose, instant)
            for ledger in (town, Town(entries, town.people))
        )
        assert first == second


@given(pairs, sources, purposes, questions, ticks)
@law(120)
def test_known_at_in_the_past_ignores_later_entries(
    town: Town, source: str, purpose: str, as_of: list[datetime], known: int
) -> None:
    """DESIGN 4.6: "was that read lawful on what we knew then"."""
    facts = town.facts(SUBJECT)
    then = only(facts, lambda s: s.recorded_at <= micros(at(known)))
    for instant in as_of:
        assert ask(facts, source, purpose, instant, known_at=at(known)) == ask(then, source, purpose, instant)


@given(pairs, sources, purposes, questions, instants, st.booleans())
@law(200)
def test_every_dimension_of_the_grant_is_kept(
    town: Town, source: str, purpose: str, as_of: list[datetime], data_at: datetime, derived: bool
) -> None:
    """DESIGN 4.1, 4.2: "one grant must cover every dimension. Only given inside [valid_from, expires_at)".

    A feature may be dated after the data range: it was computed from the records inside.
    """
    for instant in as_of:
        decision = ask(town.facts(SUBJECT), source, purpose, instant, data_at=data_at, derived=derived)
        if not decision.allowed:
            continue
        (event,) = [r.event for r in town.of(SUBJECT) if _id_of(r) == decision.grant_id]
        assert event.grant is not None
        assert (event.source, event.purpose) == (source, purpose)
        assert event.effective_at <= instant < event.grant.expires_at
        assert data_at >= event.grant.data_from
        assert event.grant.data_until is None or derived or data_at < event.grant.data_until
        assert event.grant.data_life is None or instant - data_at < event.grant.data_life
        assert decision.imported == (event.origin == "imported")


def _id_of(r: Recorded) -> str | None:
    return r.event.grant and r.event.grant.grant_id


@given(histories(), st.booleans(), sources, purposes, questions)
@law(250)
def test_data_about_two_people_needs_both(
    said: Said, linked: bool, source: str, purpose: str, as_of: list[datetime]
) -> None:
    """DESIGN 4.10: "the intersection with the co-subject's; either one's withdrawal stops it"."""
    link = consent_samples.event(Kind.LINKED, SUBJECT, source, ANY, at=at(TICKS), co_subject=OTHER)
    town = town_of([*([(-2, link)] if linked else []), *said])
    facts = town.facts(SUBJECT)
    linked = any(s.kind == Kind.LINKED and s.source == source for s in facts.statements)
    for instant in as_of:
        mine, theirs, both = (
            ask(about, source, purpose, instant)
            for about in (unlinked(facts), unlinked(town.facts(OTHER)), facts)
        )
        assert both.allowed == (mine.allowed and (theirs.allowed or not linked))
        assert both.reason == (theirs.reason if mine.allowed and linked else mine.reason)
        assert both.party == ("co_subject" if mine.allowed and not both.allowed else "subject")


@given(pairs, sources, purposes, instants, st.none() | instants)
@law(120)
def test_a_denial_has_one_reason_and_a_yes_has_a_grant(
    town: Town, source: str, purpose: str, as_of: datetime, data_at: datetime | None
) -> None:
    """DESIGN 1: "allowed + grant_id, or a denial with exactly one reason code"."""
    decision = ask(town.facts(SUBJECT), source, purpose, as_of, data_at=data_at)
    assert decision.allowed == (decision.reason is None)
    assert not decision.allowed or decision.grant_id is not None
