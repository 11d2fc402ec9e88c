"""What must hold of one event by itself, whatever is on record."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consent.errors import BadInput
from consent.evidence.notes import Signer
from consent.ledger import Ledger
from consent.nouns import ANY, Event, Kind
from tests.behaviours.shops import Shop, ask
from tests.consent.consent_samples import (
    ANNA,
    BELA,
    CHEN,
    DAY,
    EVIDENCE,
    NOW,
    Clock,
    event,
    fresh_id,
    given,
    withdrawn,
)

MOMENT = timedelta(microseconds=1)
SKEW = timedelta(minutes=5)
WHOLE = {"purpose": ANY}
HOLD = {"purpose": ANY, "hold_id": "case 7", "basis": "court order"}
RESTRICTIVE = {
    Kind.PAUSED: {},
    Kind.WITHDRAWN: {},
    Kind.REVOKED: {"basis": "minor", "indicated_by": "guardian"},
    Kind.SUPERSEDED: {},
    Kind.INVALIDATED: {"basis": "notice"},
    Kind.HOLD_PLACED: HOLD,
    Kind.ERASURE_REQUESTED: WHOLE,
    Kind.ERASED: WHOLE,
}
TEXTS = ("event_id", "subject_key", "source", "purpose", "channel", "actor")

#: Every rule of `consent.admission.require_sound`: what breaks it, and the words that say so.
RULES: dict[str, tuple[Callable[[], Event], str]] = {
    **{f"{name} is empty": (lambda name=name: replace(given(), **{name: ""}), name) for name in TEXTS},
    **{
        f"{name} is too long": (lambda name=name: replace(given(), **{name: "x" * 301}), name)
        for name in TEXTS
    },
    "a line break": (lambda: replace(given(), channel="line\nbreak"), "channel is empty, too long or not"),
    "a null character": (lambda: replace(given(), channel="a\0b"), "channel is empty, too long or not"),
    "half a character": (lambda: replace(given(), channel="\ud800"), "channel is empty, too long or not"),
    "a text of the terms": (lambda: given(replaces="\t"), "replaces is empty, too long or not"),
    "the name of a hold": (
        lambda: event(Kind.HOLD_PLACED, purpose=ANY, hold_id="", basis="law"),
        "hold_id is empty, too long or not",
    ),
    "an end beyond all ends": (lambda: given(until=NOW.replace(year=9999)), "expires_at is beyond"),
    "a life beyond all ends": (lambda: given(data_life=timedelta(days=999_999_999)), "data_life is beyond"),
    "a beginning before all beginnings": (
        lambda: given(data_from=datetime(1, 1, 1, tzinfo=UTC)),
        "data_from is beyond",
    ),
    "a raw number as the subject": (lambda: given("600519"), "not 32 hex digits"),
    "a subject key in capitals": (lambda: given(ANNA.upper()), "not 32 hex digits"),
    "an event id with more behind it": (lambda: given(event_id=fresh_id() + "0"), "not 32 hex digits"),
    "an event id with a line's end": (lambda: given(event_id="a" * 32 + "\n"), "event_id|not 32 hex digits"),
    "a raw number as the co-subject": (
        lambda: event(Kind.LINKED, purpose=ANY, co_subject="600519"),
        "not 32 hex digits",
    ),
    "a grant without terms": (lambda: event(Kind.GIVEN), "terms belong to a grant alone"),
    "terms without a grant": (lambda: replace(given(), kind=Kind.REFUSED), "terms belong to a grant alone"),
    "a co-subject without a link": (lambda: replace(given(), co_subject_key=BELA), "co-subject belongs"),
    "a link to nobody": (lambda: event(Kind.LINKED, purpose=ANY), "co-subject belongs to a link"),
    "a link to oneself": (lambda: event(Kind.LINKED, purpose=ANY, co_subject=ANNA), "their own co-subject"),
    "a hold without a name": (
        lambda: event(Kind.HOLD_PLACED, purpose=ANY, basis="law"),
        "a hold has a name",
    ),
    "a release without a name": (lambda: event(Kind.HOLD_RELEASED, purpose=ANY), "a hold has a name"),
    "a hold's name without a hold": (lambda: event(Kind.REFUSED, hold_id="case 7"), "only a hold"),
    "a grant named by a withdrawal": (
        lambda: replace(withdrawn(), grant_id="G1"),
        "only an invalidation names",
    ),
    "a grant named twice": (lambda: replace(given(), grant_id="G1"), "only an invalidation names one grant"),
    "blanks of a withdrawal": (lambda: replace(withdrawn(), blanks="0:"), "only an erasure blanks"),
    "a grant for every source": (lambda: given(source=ANY), "not be for every source"),
    "a refusal for every source": (lambda: event(Kind.REFUSED, source=ANY), "not be for every source"),
    "a link for every source": (
        lambda: event(Kind.LINKED, source=ANY, purpose=ANY, co_subject=BELA),
        "not be for every source",
    ),
    "a grant for every purpose": (lambda: given(purpose=ANY), "not be for every purpose"),
    "a refusal for every purpose": (lambda: event(Kind.REFUSED, purpose=ANY), "not be for every purpose"),
    "a link for one purpose": (lambda: event(Kind.LINKED, co_subject=BELA), "this is for every purpose"),
    "a hold for one purpose": (
        lambda: event(Kind.HOLD_PLACED, hold_id="case 7", basis="law"),
        "this is for every purpose",
    ),
    "a release for one purpose": (lambda: event(Kind.HOLD_RELEASED, hold_id="case 7"), "for every purpose"),
    "a request for one purpose": (lambda: event(Kind.ERASURE_REQUESTED), "this is for every purpose"),
    "an erasure for one purpose": (lambda: event(Kind.ERASED), "this is for every purpose"),
    "a revocation on no ground": (
        lambda: event(Kind.REVOKED, indicated_by="guardian"),
        "needs its legal ground",
    ),
    "an invalidation on no ground": (lambda: event(Kind.INVALIDATED), "needs its legal ground"),
    "a hold on no ground": (
        lambda: event(Kind.HOLD_PLACED, purpose=ANY, hold_id="case 7"),
        "needs its legal ground",
    ),
    "somebody else's withdrawal": (
        lambda: replace(withdrawn(), indicated_by="guardian"),
        "only the subject withdraws",
    ),
    "the subject's own revocation": (
        lambda: event(Kind.REVOKED, basis="minor"),
        "a revocation is somebody else's",
    ),
    "an import without evidence": (
        lambda: replace(given(origin="imported"), evidence_hash=None),
        "names its evidence",
    ),
    **{
        f"{kind.value} from later on": (
            lambda kind=kind, more=more: event(kind, at=NOW + SKEW + MOMENT, **more),
            "takes effect now or in the past",
        )
        for kind, more in RESTRICTIVE.items()
    },
    "a grant that ends as it begins": (lambda: given(until=NOW), "the grant ends before it begins"),
    "a data range that ends as it begins": (
        lambda: given(data_from=NOW - DAY, data_until=NOW - DAY),
        "the data range ends before it begins",
    ),
    **{
        f"{kind.value} from earlier on": (
            lambda kind=kind, more=more: event(kind, at=NOW - SKEW - MOMENT, **more),
            "before it was recorded",
        )
        for kind, more in (
            (Kind.RESUMED, {}),
            (Kind.HOLD_RELEASED, {"purpose": ANY, "hold_id": "case 7"}),
        )
    },
    "a grant from earlier on": (lambda: given(at=NOW - SKEW - MOMENT), "before it was recorded"),
}

#: On the right side of each boundary.
SOUND: dict[str, Callable[[], Event]] = {
    "the longest text": lambda: replace(given(), channel="同" * 300),
    "the latest end": lambda: given(until=NOW.replace(year=2255, month=1)),
    "the shortest grant": lambda: given(until=NOW + MOMENT),
    "the shortest data range": lambda: given(data_from=NOW - MOMENT, data_until=NOW),
    "a grant as early as clocks may disagree": lambda: given(at=NOW - SKEW),
    "a hold as late as clocks may disagree": lambda: event(
        Kind.HOLD_PLACED, at=NOW + SKEW, purpose=ANY, hold_id=fresh_id(), basis="law"
    ),
    "a grant from later on": lambda: given(at=NOW + 30 * DAY),
    "a refusal from later on": lambda: event(Kind.REFUSED, at=NOW + 30 * DAY),
    "a link from later on": lambda: event(Kind.LINKED, CHEN, at=NOW + DAY, purpose=ANY, co_subject=BELA),
    "a grant of long ago, imported": lambda: given(at=NOW - 900 * DAY, origin="imported"),
    "a refusal of long ago": lambda: event(Kind.REFUSED, at=NOW - 900 * DAY),
}


@pytest.fixture(scope="module")
def shared(shared_shop: Shop, signer: Signer) -> Ledger:
    """One ledger, with consent on record, for all rules."""
    ledger = shared_shop.create(signer, Clock())
    ledger.append([given(BELA)])
    return ledger


@pytest.mark.parametrize("rule", RULES)
def test_what_cannot_be_meant_is_refused(shared: Ledger, rule: str) -> None:
    """An event that contradicts itself is refused before anything is written, without quoting it."""
    broken, message = RULES[rule]
    before = shared.size()
    with pytest.raises(BadInput, match=message) as caught:
        shared.append([broken()])
    assert shared.size() == before
    said = str(caught.value) + caught.value.remedy
    assert not any(value in said for value in (ANNA, BELA, EVIDENCE, "600519"))


@pytest.mark.parametrize("case", SOUND)
def test_what_is_just_inside_a_rule_is_taken(shared: Ledger, case: str) -> None:
    """The rules end where they say."""
    assert shared.append([SOUND[case]()])[0].leaf_index == shared.size() - 1


@pytest.mark.parametrize("name", ["event_id", "subject_key"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param("a\0" * 16, id="a null character"),
        pytest.param("\ud800" * 32, id="half a character"),
    ],
)
def test_a_key_that_no_database_can_look_up_is_bad_input(shared: Ledger, name: str, value: str) -> None:
    """It is looked up before anything else; the database's own complaint must not come through."""
    with pytest.raises(BadInput):
        shared.append([replace(given(), **{name: value})])


def test_a_back_dated_grant_is_refused_and_an_imported_one_taken(ledger: Ledger) -> None:
    """DESIGN 4.9: no earlier than it was recorded, less a small skew; an import says so in every answer."""
    with pytest.raises(BadInput, match="before it was recorded"):
        ledger.append([given(at=NOW - timedelta(minutes=5, microseconds=1))])
    ledger.append([given(BELA, at=NOW - timedelta(minutes=5))])
    ledger.append([given(at=NOW - DAY, origin="imported")])
    assert ask(ledger, as_of=NOW - timedelta(hours=1)).imported
    assert not ask(ledger, BELA).imported


def test_an_erasure_is_blanked_by_erase_alone(shared: Ledger) -> None:
    """What an erasure says it blanks is what was blanked: nobody appends such words, or the audit never passes."""
    said: dict[str, Any] = {"purpose": ANY, "blanks": "1:" + "0" * 64}
    with pytest.raises(BadInput):
        shared.append([event(Kind.ERASED, CHEN, **said)])
