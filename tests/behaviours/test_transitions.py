"""Which statements the ledger takes from which state, and what it says of those it refuses.

DESIGN 4.2: "Illegal transitions are rejected with the state they met".
"""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from consent.admission import ALREADY
from consent.errors import IllegalTransition
from consent.evidence.notes import Signer
from consent.ledger import Ledger
from consent.nouns import ANY, Event, Kind, Reason
from tests.behaviours.shops import Shop, ask
from tests.consent.consent_samples import ANNA, BELA, DAY, NOW, Clock, event, fresh_id, given, withdrawn

LONG_AGO, LATELY, LATER = NOW - 10 * DAY, NOW - 5 * DAY, NOW + 7 * DAY
MINUTE = timedelta(minutes=1)


def kind(of: Kind, **more: object) -> Callable[..., Event]:
    return lambda source="spending", **other: event(of, source=source, **{**more, **other})


refused, paused, resumed, superseded = map(kind, (Kind.REFUSED, Kind.PAUSED, Kind.RESUMED, Kind.SUPERSEDED))
revoked = kind(Kind.REVOKED, basis="minor", indicated_by="guardian")
invalidated = kind(Kind.INVALIDATED, basis="notice was wrong")
linked = kind(Kind.LINKED, purpose=ANY, co_subject=BELA)
held = kind(Kind.HOLD_PLACED, purpose=ANY, hold_id="case 7", basis="court order")
released = kind(Kind.HOLD_RELEASED, purpose=ANY, hold_id="case 7")
requested = kind(Kind.ERASURE_REQUESTED, purpose=ANY)
erased = kind(Kind.ERASED, purpose=ANY)
imported = {"origin": "imported"}
#: At one and the same instant what restricts counts for more than what lifts it.
PAUSED = [given(at=LONG_AGO, **imported), paused(at=LATELY)]
HELD = held(at=LATELY)

#: One of every kind, such as a person may say first.
ONE_OF_EACH = {
    Kind.GIVEN: given,
    Kind.REFUSED: refused,
    Kind.PAUSED: paused,
    Kind.RESUMED: resumed,
    Kind.WITHDRAWN: withdrawn,
    Kind.REVOKED: revoked,
    Kind.SUPERSEDED: superseded,
    Kind.INVALIDATED: invalidated,
    Kind.LINKED: linked,
    Kind.HOLD_PLACED: held,
    Kind.HOLD_RELEASED: released,
    Kind.ERASURE_REQUESTED: requested,
    Kind.ERASED: erased,
}

Said = tuple[list[Event], Event]

ADMITTED: dict[str, Said] = {
    "a first yes": ([], given()),
    "a yes beside another": ([given()], given()),
    "a yes that renews": ([given(grant_id="G1")], given(replaces="G1")),
    "a yes that renews what another system knows": ([], given(replaces="elsewhere", at=LATELY, **imported)),
    "a yes after a no": ([refused()], given()),
    "a yes after the end": ([given(), withdrawn()], given()),
    "a yes while an erasure of something else is due": ([requested("employment")], given()),
    "a yes after an erasure of the source": ([given(), requested(), erased()], given()),
    "a yes while held": ([held()], given()),
    "a grant's name, used for another purpose": (
        [given(grant_id="G1")],
        given(purpose="model_training", grant_id="G1"),
    ),
    "a grant's name, used for another source": (
        [given(source="employment", grant_id="G1")],
        given(grant_id="G1"),
    ),
    "a no to nothing": ([], refused()),
    "a no to what was given": ([given()], refused()),
    "a no again": ([refused()], refused()),
    "a pause": ([given()], paused()),
    "a pause of everything": ([given()], paused(ANY, purpose=ANY)),
    "a pause of what begins later": ([given(at=LATER)], paused()),
    "a pause that arrives after the end": (
        [given(at=LONG_AGO, until=LATELY, **imported)],
        paused(at=LONG_AGO + DAY),
    ),
    "a pause after a resumption": ([*PAUSED, resumed(at=NOW - MINUTE)], paused()),
    "a pause of the part that is not paused": (
        [given(), given(purpose="model_training"), paused()],
        paused(purpose=ANY),
    ),
    "a resumption": (PAUSED, resumed()),
    "a resumption of everything": (PAUSED, resumed(ANY, purpose=ANY)),
    "a withdrawal": ([given()], withdrawn()),
    "a withdrawal while paused": ([given(), paused()], withdrawn()),
    "a withdrawal after the end": ([given(at=LONG_AGO, until=LATELY, **imported)], withdrawn()),
    "a withdrawal of what begins later": ([given(at=LATER)], withdrawn()),
    "a withdrawal during a hold": ([given(), held()], withdrawn()),
    "a withdrawal during a hold of everything": ([given(), held(ANY)], withdrawn(source=ANY, purpose=ANY)),
    "a withdrawal while an erasure is due": ([given(), requested()], withdrawn()),
    "a withdrawal of one grant of several": (
        [given(), given(purpose="model_training"), withdrawn()],
        withdrawn(purpose=ANY),
    ),
    "a withdrawal of joint data": ([given(), linked()], withdrawn()),
    "an earlier withdrawal that arrives late": (
        [given(at=LONG_AGO, **imported), withdrawn(at=LATELY)],
        withdrawn(at=LATELY - DAY, **imported),
    ),
    "a revocation": ([given()], revoked()),
    "a revocation while paused": ([given(), paused()], revoked()),
    "a revocation during a hold": ([given(), held()], revoked()),
    "a supersession": ([given(grant_id="G1"), given(replaces="G1")], superseded()),
    "an invalidation": ([given()], invalidated()),
    "an invalidation while paused": ([given(), paused()], invalidated()),
    "an invalidation of what has ended": (
        [given(at=LONG_AGO, **imported), withdrawn(at=LATELY)],
        invalidated(),
    ),
    "an invalidation of one grant": ([given(grant_id="G1")], invalidated(grant_id="G1")),
    "an invalidation of the one of two that is not in force": (
        [given(at=LONG_AGO, grant_id="G1", **imported), given(at=LATELY, grant_id="G2", **imported)],
        invalidated(grant_id="G1"),
    ),
    "a link": ([], linked()),
    "a hold of somebody of whom nothing is on record": ([], held()),
    "a second hold by another name": ([held()], held(hold_id="case 8")),
    "a hold of what has ended": ([given(), withdrawn()], held()),
    "a release": ([HELD], released()),
    "a release of everything": ([held(ANY, at=LATELY)], released(ANY)),
    "a request for erasure": ([], requested()),
    "a request for erasure while held": ([held()], requested()),
    "a request for more than before": ([requested()], requested(ANY)),
    "a request for something else": ([requested()], requested("employment")),
    "a request after the first was fulfilled": ([requested(), erased()], requested()),
    "an erasure that nobody asked for": ([given()], erased()),
    "an erasure of everything": ([given(), requested()], erased(ANY)),
    "an erasure after the release": ([HELD, released()], erased()),
    "an erasure while something else is held": ([held("employment")], erased()),
    "an erasure of everything after one of a source": ([erased()], erased(ANY)),
    "a new person by another key": ([erased(ANY)], given(BELA)),
}

#: What is refused, and the state it meets.
REFUSED: dict[str, tuple[list[Event], Event, str]] = {
    "a grant that is in force": ([given(grant_id="G1")], given(grant_id="G1"), "GIVEN"),
    "a grant that was withdrawn": ([given(grant_id="G1"), withdrawn()], given(grant_id="G1"), "WITHDRAWN"),
    "a grant that was invalidated": (
        [given(grant_id="G1"), invalidated()],
        given(grant_id="G1"),
        "INVALIDATED",
    ),
    "a renewal of nothing": ([], given(replaces="elsewhere"), "NO_GRANT"),
    "a renewal of a grant for another purpose": (
        [given(purpose="model_training", grant_id="G1")],
        given(replaces="G1"),
        "PURPOSE",
    ),
    "a renewal of a grant of another source": (
        [given(source="employment", grant_id="G1")],
        given(replaces="G1"),
        "SOURCE",
    ),
    "a renewal of somebody else's grant": ([given(BELA, grant_id="G1")], given(replaces="G1"), "NO_GRANT"),
    "a yes while its erasure is due": ([given(), requested()], given(), "RESTRICTED"),
    "a yes while the erasure of everything is due": ([requested(ANY)], given(), "RESTRICTED"),
    "a pause of nothing": ([], paused(), "NO_GRANT"),
    "a pause of what was refused": ([refused()], paused(), "NO_GRANT"),
    "a pause of what has ended": ([given(), withdrawn()], paused(), "WITHDRAWN"),
    "a pause of what has run out": ([given(at=LONG_AGO, until=LATELY, **imported)], paused(), "EXPIRED"),
    "a resumption of nothing": ([], resumed(), "NO_GRANT"),
    "a resumption of what was withdrawn": ([given(), paused(), withdrawn()], resumed(), "WITHDRAWN"),
    "a resumption of what was revoked": ([given(), paused(), revoked()], resumed(), "REVOKED"),
    "a withdrawal of nothing": ([], withdrawn(), "NO_GRANT"),
    "a withdrawal of everything, of nothing": ([], withdrawn(source=ANY, purpose=ANY), "NO_GRANT"),
    "a withdrawal of what was refused": ([refused()], withdrawn(), "NO_GRANT"),
    "a withdrawal of all that was refused": ([refused()], withdrawn(purpose=ANY), "NO_GRANT"),
    "a withdrawal for another purpose": ([given(purpose="model_training")], withdrawn(), "NO_GRANT"),
    "a withdrawal of another source": ([given(source="employment")], withdrawn(purpose=ANY), "NO_GRANT"),
    "a withdrawal by another person": ([given(BELA)], withdrawn(source=ANY, purpose=ANY), "NO_GRANT"),
    "a withdrawal of what was given and refused": ([given(), refused()], withdrawn(), "NO_GRANT"),
    "a withdrawal after a revocation": ([given(), revoked()], withdrawn(), "REVOKED"),
    "a withdrawal after a supersession": ([given(), superseded()], withdrawn(), "SUPERSEDED"),
    "a withdrawal after an invalidation": ([given(), invalidated()], withdrawn(), "INVALIDATED"),
    "a withdrawal after the erasure": ([given(), erased()], withdrawn(), "ERASED"),
    "a revocation of nothing": ([], revoked(), "NO_GRANT"),
    "a revocation after a withdrawal": ([given(), withdrawn()], revoked(), "WITHDRAWN"),
    "a supersession of nothing": ([], superseded(), "NO_GRANT"),
    "a supersession after a withdrawal": ([given(), withdrawn()], superseded(), "WITHDRAWN"),
    "an invalidation of nothing": ([], invalidated(), "NO_GRANT"),
    "an invalidation of what never was in force": ([given(), withdrawn()], invalidated(), "WITHDRAWN"),
    "an invalidation of a grant nobody knows": (
        [given(grant_id="G1")],
        invalidated(grant_id="G2"),
        "NO_GRANT",
    ),
    "an end of what has ended in two ways": (
        [given(), withdrawn(), given(purpose="model_training"), revoked(purpose="model_training")],
        superseded(purpose=ANY),
        "REVOKED, WITHDRAWN",
    ),
    "a hold by a name in use": ([held()], held(), "HELD"),
    "a hold by a name in use elsewhere": ([held("employment")], held(), "HELD"),
    "a hold by a name that was used": ([HELD, released()], held(), "RELEASED"),
    "a release of a hold nobody knows": ([held()], released(hold_id="case 8"), "NOT_HELD"),
    "an erasure while held": ([given(), held()], erased(), "HELD"),
    "an erasure while everything is held": ([held(ANY)], erased(), "HELD"),
    "an erasure of everything while something is held": ([held("employment")], erased(ANY), "HELD"),
    "an erasure while one of two holds stands": (
        [HELD, held(hold_id="case 8"), released()],
        erased(),
        "HELD",
    ),
    **{
        f"{of.value} after an erasure of everything": ([given(), erased(ANY)], say(), "ERASED")
        for of, say in ONE_OF_EACH.items()
    },
    "an erasure of everything, again": ([erased(ANY)], erased(ANY), "ERASED"),
}

#: What was said before: the state is the one it would make.
SAID_AGAIN: dict[str, tuple[list[Event], Event, str]] = {
    "a pause": ([given(), paused()], paused(), "PAUSED"),
    "a pause of everything": ([given(), paused()], paused(ANY, purpose=ANY), "PAUSED"),
    "a resumption": ([*PAUSED, resumed()], resumed(), "GIVEN"),
    "a resumption without a pause": ([given()], resumed(), "GIVEN"),
    "a withdrawal": ([given(), withdrawn()], withdrawn(), "WITHDRAWN"),
    "a withdrawal of everything": ([given(), withdrawn()], withdrawn(source=ANY, purpose=ANY), "WITHDRAWN"),
    "a withdrawal after one of everything": (
        [given(), withdrawn(source=ANY, purpose=ANY)],
        withdrawn(),
        "WITHDRAWN",
    ),
    "a withdrawal of what begins later": ([given(at=LATER), withdrawn()], withdrawn(), "WITHDRAWN"),
    "a withdrawal of joint data": ([given(), linked(), withdrawn()], withdrawn(), "WITHDRAWN"),
    "a revocation": ([given(), revoked()], revoked(), "REVOKED"),
    "a supersession": ([given(), superseded()], superseded(), "SUPERSEDED"),
    "an invalidation": ([given(), invalidated()], invalidated(), "INVALIDATED"),
    "an invalidation of one grant": (
        [given(grant_id="G1"), invalidated(grant_id="G1")],
        invalidated(grant_id="G1"),
        "INVALIDATED",
    ),
    "a release": ([HELD, released()], released(), "RELEASED"),
    "a request for erasure": ([requested()], requested(), "RESTRICTED"),
    "a request for less than before": ([requested(ANY)], requested(), "RESTRICTED"),
}

_people = itertools.count()


def among_others(history: Sequence[Event], said: Event) -> tuple[list[Event], Event]:
    """The same story about people of whom the shared ledger knows nothing."""
    number = next(_people)

    def key(subject: str) -> str:
        return hashlib.sha256(f"{number} {subject}".encode()).hexdigest()[:32]

    told = [replace(e, subject_key=key(e.subject_key), event_id=fresh_id()) for e in (*history, said)]
    return told[:-1], told[-1]


@pytest.fixture(scope="module")
def shared(shared_shop: Shop, signer: Signer) -> Ledger:
    """One ledger for the whole table."""
    return shared_shop.create(signer, Clock())


class TestTable:
    @pytest.mark.parametrize("case", ADMITTED)
    def test_it_is_admitted(self, shared: Ledger, case: str) -> None:
        """It fits the state it meets, and is on record from then on."""
        history, said = among_others(*ADMITTED[case])
        shared.append(history)
        (recorded,) = shared.append([said])
        assert shared.history(said.subject_key)[-1] == recorded

    @pytest.mark.parametrize("case", REFUSED)
    def test_it_is_refused_with_the_state_it_met(self, shared: Ledger, case: str) -> None:
        """It would change nothing, or contradict what is on record; nothing of it is recorded."""
        *story, state = REFUSED[case]
        self._is_refused(shared, *among_others(*story), state, IllegalTransition.code)

    @pytest.mark.parametrize("case", SAID_AGAIN)
    def test_it_was_said_before(self, shared: Ledger, case: str) -> None:
        """A second time is told apart from a contradiction: its code is ALREADY."""
        *story, state = SAID_AGAIN[case]
        self._is_refused(shared, *among_others(*story), state, ALREADY)

    @staticmethod
    def _is_refused(ledger: Ledger, history: list[Event], said: Event, state: str, code: str) -> None:
        ledger.append(history)
        before = ledger.size()
        with pytest.raises(IllegalTransition, match=f": the state is {state}$") as caught:
            ledger.append([said])
        assert caught.value.code == code
        assert said.subject_key not in str(caught.value) + caught.value.remedy
        assert ledger.size() == before

    def test_the_table_speaks_of_every_kind(self) -> None:
        """Each kind is admitted somewhere, and refused somewhere."""
        assert {said.kind for _, said in ADMITTED.values()} == set(Kind)
        assert {said.kind for _, said, _ in REFUSED.values()} == set(Kind)

    def test_a_release_of_a_hold_of_another_source_meets_a_hold(self, shared: Ledger) -> None:
        """The hold stands, only not where the release looks for it."""
        story = among_others([held("employment")], released())
        self._is_refused(shared, *story, "HELD", IllegalTransition.code)

    def test_a_release_at_the_instant_of_the_hold_lifts_it_or_is_refused(self, shared: Ledger) -> None:
        """Whoever had a release recorded may rely on it."""
        history, said = among_others([given(), held()], released())
        try:
            shared.append([*history, said])
        except IllegalTransition:
            return
        assert ask(shared, said.subject_key).allowed

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_a_batch_with_one_bad_event_records_nothing_of_it(self, shared: Ledger, place: int) -> None:
        """Wherever it stands; and the good ones can be sent again without it."""
        good, bad = among_others([given(), given(BELA)], withdrawn(purpose="model_training"))
        before = shared.size()
        with pytest.raises(IllegalTransition):
            shared.append([*good[:place], bad, *good[place:]])
        assert shared.size() == before
        assert [r.leaf_index for r in shared.append(good)] == [before, before + 1]

    def test_a_batch_is_judged_in_its_order(self, shared: Ledger) -> None:
        """Each event meets the state that those before it have made."""
        history, said = among_others([*PAUSED, resumed()], withdrawn())
        assert len(shared.append([*history, said])) == 4
        history, said = among_others([withdrawn()], given())
        with pytest.raises(IllegalTransition):
            shared.append([*history, said])


class TestOverTime:
    def test_a_wide_withdrawal_needs_one_grant_to_meet(self, ledger: Ledger) -> None:
        """Of several grants one in force is enough, and all of them end."""
        ledger.append([given(), given(purpose="model_training"), withdrawn()])
        ledger.append([withdrawn(source="spending", purpose=ANY)])
        for purpose in ("credit_scoring", "model_training"):
            decision = ledger.decide(ANNA, "spending", purpose, as_of=NOW)
            assert decision.reason is Reason.WITHDRAWN

    def test_a_withdrawn_grant_can_be_followed_by_a_new_one(self, ledger: Ledger, clock: Clock) -> None:
        """A new given is a new grant, and can be withdrawn in its turn."""
        ledger.append([given(), withdrawn()])
        ledger.append([given(at=clock.step(60))])
        assert ask(ledger, as_of=clock.now).allowed
        ledger.append([withdrawn(at=clock.step(60))])
        assert ask(ledger, as_of=clock.now).reason is Reason.WITHDRAWN

    def test_a_terminal_grant_never_revives(self, ledger: Ledger, clock: Clock) -> None:
        """DESIGN 4.2: the same grant given again is refused with its state, on record and inside one batch."""
        agreed = given(grant_id="G1")
        ledger.append([agreed, withdrawn(), given(purpose="model_training", grant_id="G1")])
        again = given(at=clock.step(60), grant_id="G1")
        with pytest.raises(IllegalTransition, match="WITHDRAWN"):
            ledger.append([again])
        with pytest.raises(IllegalTransition, match="once"):
            ledger.append([given(BELA, grant_id="G2"), given(BELA, grant_id="G2")])

    def test_a_grant_that_has_not_begun_can_be_withdrawn_for_good(self, ledger: Ledger, clock: Clock) -> None:
        """What is withdrawn before it begins never begins, and cannot be withdrawn twice."""
        ledger.append([given(at=NOW + 7 * DAY)])
        ledger.append([withdrawn(at=clock.step(DAY.total_seconds()))])
        assert ask(ledger, as_of=NOW + 8 * DAY).reason is Reason.WITHDRAWN
        with pytest.raises(IllegalTransition, match="WITHDRAWN"):
            ledger.append([withdrawn(at=clock.now)])

    def test_a_renewal_that_has_not_begun_can_be_withdrawn_after_the_first_grant_was(
        self, ledger: Ledger, clock: Clock
    ) -> None:
        """Withdrawn now, given from next week on: that is something to withdraw."""
        ledger.append([given(), withdrawn()])
        clock.step(3600)
        ledger.append([given(at=NOW + 7 * DAY)])
        ledger.append([withdrawn(at=clock.step(3600))])
        assert ask(ledger, as_of=NOW + 8 * DAY).reason is Reason.WITHDRAWN

    def test_a_late_withdrawal_is_taken_when_the_grant_was_in_force_then(
        self, ledger: Ledger, clock: Clock
    ) -> None:
        """DESIGN 4.3: an earlier withdrawal that arrives late counts from its effective time."""
        clock.step(10 * DAY.total_seconds())
        ledger.append([given(at=NOW, origin="imported"), withdrawn(at=NOW + 9 * DAY)])
        ledger.append([withdrawn(at=NOW + 5 * DAY, origin="imported")])
        assert ask(ledger, as_of=NOW + 6 * DAY).reason is Reason.WITHDRAWN
        assert ask(ledger, as_of=NOW + 4 * DAY).allowed

    def test_consent_to_joint_data_can_be_withdrawn_whatever_the_other_said(self, ledger: Ledger) -> None:
        """A link takes nobody's right to withdraw: it is the subject's own grant that counts."""
        ledger.append([given(), event(Kind.LINKED, purpose=ANY, co_subject=BELA)])
        ledger.append([withdrawn()])
        with pytest.raises(IllegalTransition, match="WITHDRAWN"):
            ledger.append([withdrawn()])

    def test_an_expired_grant_can_still_be_withdrawn(self, ledger: Ledger, clock: Clock) -> None:
        """The person's no is worth recording, also after the end."""
        ledger.append([given(until=NOW + DAY)])
        clock.step(2 * DAY.total_seconds())
        ledger.append([withdrawn(at=clock.now)])
        assert ask(ledger, as_of=clock.now).reason is Reason.WITHDRAWN

    def test_a_withdrawal_dated_before_any_grant_is_refused_not_swallowed(self, ledger: Ledger) -> None:
        """A mistyped year must not lose a withdrawal: it would change nothing, so it is told."""
        ledger.append([given()])
        early = replace(withdrawn(), effective_at=NOW - timedelta(days=2000))
        with pytest.raises(IllegalTransition, match="dated before any of it was given"):
            ledger.append([early])
