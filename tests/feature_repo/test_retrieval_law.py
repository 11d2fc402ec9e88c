"""Law: whatever people agreed to and took back, a fetch gives what the slow twin gives, row by row."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consent.clock import now_utc
from consent.errors import IllegalTransition
from consent.nouns import ANY, Event, Kind
from tests.feature_repo.lender import DAY, Lender, values
from tests.reference import retrieval_twin as twin

SOURCES = {"spending": "spend_7d", "employment": "monthly_salary_now"}
PURPOSES = ("credit_scoring", "model_training")
PEOPLE = range(3)

# A coarse grid, so that boundaries are met often: an entity row on the day consent began, expired or was
# withdrawn, a value as old as the data range or data life allow. Half a day off `now`, which moves.
past = st.integers(-12, -1).map(lambda n: n * 10 - 0.5)
anytime = st.integers(-12, 3).map(lambda n: n * 10 - 0.5)

grants = st.fixed_dictionaries(
    {
        "kind": st.just(Kind.GIVEN),
        "who": st.sampled_from(PEOPLE),
        "source": st.sampled_from(list(SOURCES)),
        "purpose": st.sampled_from(PURPOSES),
        "start": anytime,
        "length": st.integers(1, 20).map(lambda n: n * 10),
        "data_from": anytime,
        "data_life": st.none() | st.integers(1, 10).map(lambda n: n * 10 * DAY),
    }
)
refusals = st.fixed_dictionaries(
    {
        "kind": st.just(Kind.REFUSED),
        "who": st.sampled_from(PEOPLE),
        "source": st.sampled_from(list(SOURCES)),
        "purpose": st.sampled_from(PURPOSES),
        "at": anytime,
    }
)
withdrawals = st.fixed_dictionaries(
    {
        "kind": st.just(Kind.WITHDRAWN),
        "who": st.sampled_from(PEOPLE),
        "source": st.sampled_from([*SOURCES, ANY]),
        "purpose": st.sampled_from([*PURPOSES, ANY]),
        "at": past,
    }
)
links = st.fixed_dictionaries(
    {
        "kind": st.just(Kind.LINKED),
        "who": st.just(0),
        "source": st.sampled_from(list(SOURCES)),
        "other": st.just(1),
    }
)
histories = st.lists(grants | grants | grants | refusals | withdrawals | links, min_size=1, max_size=12)
tables = st.fixed_dictionaries(
    {
        source: st.lists(st.tuples(st.sampled_from(PEOPLE), anytime), unique=True, min_size=1, max_size=12)
        for source in SOURCES
    }
)
wanted = st.lists(
    st.tuples(st.none() | st.sampled_from(PEOPLE) | st.sampled_from(PEOPLE), st.none() | anytime | anytime),
    min_size=1,
    max_size=15,
)


def happen(lender: Lender, people: list[str], history: list[dict[str, Any]]) -> None:
    """In order; a withdrawal for which there is nothing to withdraw does not happen."""
    pending: list[Event] = []
    for step in history:
        event = _event(lender, people, step)
        if step["kind"] is not Kind.WITHDRAWN:
            pending.append(event)
            continue
        lender.record(*pending)
        pending = []
        with contextlib.suppress(IllegalTransition):
            lender.record(event)
    lender.record(*pending)


def _event(lender: Lender, people: list[str], step: dict[str, Any]) -> Event:
    key = people[step["who"]]
    if step["kind"] is Kind.GIVEN:
        return lender.grant(
            key,
            step["source"],
            step["purpose"],
            start=step["start"],
            end=step["start"] + step["length"],
            data_from=step["data_from"],
            data_life=step["data_life"],
        )
    if step["kind"] is Kind.LINKED:
        return lender.event(Kind.LINKED, key, step["source"], co_subject_key=people[step["other"]])
    return lender.event(step["kind"], key, step["source"], step["purpose"], at=step["at"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories, table=tables, rows=wanted, purpose=st.sampled_from(PURPOSES))
def test_a_fetch_gives_what_looking_at_every_row_gives(
    lender: Lender, history: list[Any], table: dict[str, Any], rows: list[Any], purpose: str
) -> None:
    people = [lender.person() for _ in PEOPLE]
    happen(lender, people, history)
    for source, feature in SOURCES.items():
        lender.publish(
            source, [(people[who], at, {feature: float(i)}) for i, (who, at) in enumerate(table[source])]
        )
    entity_rows = [(None if who is None else people[who], at) for who, at in rows]
    store = lender.stores[purpose]
    job = store.get_historical_features(
        entity_df=lender.entities(*entity_rows),
        features=[f"{source}_v1:{feature}" for source, feature in SOURCES.items()],
    )
    result, now = job.to_df(), now_utc()
    outcomes = {view.source: view for view in job.receipt.views}
    facts = {key: lender.home.ledger.facts(key) for key in people}
    for source, feature in SOURCES.items():
        expected = twin.retrieve(
            facts,
            [(people[who], lender.at(at), float(i)) for i, (who, at) in enumerate(table[source])],
            [(key, None if at is None else lender.at(at)) for key, at in entity_rows],
            source=source,
            purpose=purpose,
            ttl=ttl_of(store, source),
            now=now,
        )
        assert values(result, feature) == [value for value, _ in expected]
        counts = Counter(outcome for _, outcome in expected)
        seen = outcomes[source]
        assert (seen.given, seen.no_data) == (counts.pop(twin.GIVEN, 0), counts.pop(twin.NO_DATA, 0))
        assert seen.masked == counts


def ttl_of(store: Any, source: str) -> timedelta:
    ttl = store.get_feature_view(f"{source}_v1").ttl
    assert isinstance(ttl, timedelta)
    return ttl
