"""Whoever's consent can be used can end it: the ledger takes the statement."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.admission import _require_effect
from consent.clock import micros
from consent.decide import stand
from consent.encoding import as_statement, to_row
from consent.nouns import ANY, Event, Kind
from tests.property.consent_histories import (
    PEOPLE,
    PURPOSES,
    SOURCES,
    TICKS,
    Town,
    at,
    law,
    pairs,
    statements_of,
)

ENDING = (Kind.WITHDRAWN, Kind.REVOKED, Kind.SUPERSEDED, Kind.PAUSED, Kind.INVALIDATED)
SAYS_NO = {
    Kind.WITHDRAWN: "WITHDRAWN",
    Kind.REVOKED: "REVOKED",
    Kind.SUPERSEDED: "SUPERSEDED",
    Kind.PAUSED: "PAUSED",
    Kind.INVALIDATED: "INVALIDATED",
}


@pytest.mark.parametrize("kind", ENDING)
@law(250)
@given(town=pairs, wide=st.booleans(), late=st.integers(0, 3))
def test_what_is_usable_now_can_be_ended_now(kind: Kind, town: Town, wide: bool, late: int) -> None:
    """Law: if `stand` says yes at this moment, a statement dated now is taken, and the answer is no after it."""
    mine = statements_of(town.of(PEOPLE[0]))
    now = at(TICKS + late)
    for source in SOURCES:
        for purpose in PURPOSES:
            if stand(mine, source, purpose, micros(now)).reason is not None:
                continue
            event = Event(
                event_id="f" * 32,
                kind=kind,
                subject_key=PEOPLE[0],
                source=ANY if wide else source,
                purpose=ANY if wide else purpose,
                effective_at=now,
                basis="a court order",
                indicated_by="guardian" if kind is Kind.REVOKED else "subject",
            )
            said = as_statement(len(town.entries), to_row(event, micros(now)))
            _require_effect(event, mine, said)
            after = stand([*mine, said], source, purpose, micros(now))
            assert after.reason == SAYS_NO[kind]
