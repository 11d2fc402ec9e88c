"""Every reason for a no, and every way from one state to another, with dates that a person can follow.

Anna's consent is about her spending, for credit scoring. Each line of a history is the day it was recorded and
what was said; it takes effect that day unless it says otherwise.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consent.decide import decide
from consent.nouns import ANY, Decision, Event, Facts, Kind, Reason
from tests.consent import consent_samples
from tests.consent.consent_samples import BELA, CHEN, DAY, facts

JAN, FEB, MAR, APR, MAY, JUN, JUL = (datetime(2026, month, 1, tzinfo=UTC) for month in range(1, 8))
NEXT_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)

RESTRICTS = tuple(
    kind for kind in Kind if kind not in (Kind.GIVEN, Kind.RESUMED, Kind.HOLD_RELEASED, Kind.LINKED)
)
#: Said for every purpose.
WHOLE = (Kind.HOLD_PLACED, Kind.HOLD_RELEASED, Kind.ERASURE_REQUESTED, Kind.ERASED)


def given(at: datetime = JAN, **more: Any) -> tuple[datetime, Event]:
    """Consent until the end of the year, on record when it begins unless said otherwise."""
    said = {"until": NEXT_YEAR, "data_from": datetime(2025, 1, 1, tzinfo=UTC)} | more
    return said.pop("recorded", at), consent_samples.given(at=at, **said)


def said(kind: Kind, on: datetime, **more: Any) -> tuple[datetime, Event]:
    return on, consent_samples.event(kind, **({"at": on} | more))


def ask(facts: Facts, as_of: datetime, source: str = "spending", **more: Any) -> Decision:
    return decide(
        facts, source, more.pop("purpose", "credit_scoring"), as_of=as_of, **({"data_at": None} | more)
    )


def reason(facts: Facts, as_of: datetime, **more: Any) -> Reason | None:
    return ask(facts, as_of, **more).reason


class TestConsent:
    """From the first yes to its end."""

    def test_a_yes_names_the_grant_it_rests_on(self) -> None:
        """Allowed: which grant, until when, whose, and whether another system vouches for it."""
        decision = ask(facts(given(grant_id="g")), MAR)
        assert decision == Decision(True, None, "g", "subject", False, NEXT_YEAR)
        assert ask(facts(given(grant_id="g", origin="imported")), MAR).imported

    def test_who_never_said_anything_did_not_agree(self) -> None:
        """NO_GRANT: silence is a no; so is a withdrawal of what was never given."""
        assert reason(Facts(), MAR) is Reason.NO_GRANT
        assert reason(facts(said(Kind.WITHDRAWN, FEB)), MAR) is Reason.NO_GRANT

    def test_who_refused_did_not_agree(self) -> None:
        """NO_GRANT: refused, until a consent is given after all."""
        history = facts(said(Kind.REFUSED, JAN), given(MAR))
        assert reason(history, FEB) is Reason.NO_GRANT
        assert reason(history, MAR) is None

    def test_consent_to_something_else_is_none_to_this(self) -> None:
        """PURPOSE: this source, for another purpose. SOURCE: this purpose, of another source."""
        history = facts(given())
        assert reason(history, MAR, purpose="model_training") is Reason.PURPOSE
        assert reason(history, MAR, source="employment") is Reason.SOURCE
        assert reason(history, MAR, source="employment", purpose="model_training") is Reason.NO_GRANT

    def test_consent_begins_and_ends_by_its_own_dates(self) -> None:
        """NOT_YET before its first instant; EXPIRED from its last, which no longer belongs to it."""
        history = facts(given(FEB, until=APR, recorded=JAN))
        assert reason(history, FEB - SECOND) is Reason.NOT_YET
        assert reason(history, FEB) is None
        assert reason(history, APR - SECOND) is None
        assert reason(history, APR) is Reason.EXPIRED

    def test_two_consents_do_not_add_up(self) -> None:
        """DESIGN 4.1: "no union across grants": the later one decides, about each date of the data too."""
        old, new = datetime(2020, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC)
        history = facts(
            given(JAN, data_from=old, grant_id="wide"), given(MAR, data_from=new, grant_id="narrow")
        )
        assert ask(history, FEB, data_at=JAN).grant_id == "wide"
        assert ask(history, APR, data_at=MAR).grant_id == "narrow"
        assert reason(history, APR, data_at=JAN) is Reason.DATA_RANGE

    def test_a_renewal_carries_on_where_the_old_consent_ends(self) -> None:
        """Several consents at once: each source and purpose, and each stretch of time, has its own."""
        history = facts(
            given(JAN, until=APR, grant_id="first"),
            given(JAN, until=FEB, purpose="model_training", grant_id="training"),
            given(APR, recorded=MAR, grant_id="second", replaces="first"),
        )
        assert ask(history, APR - SECOND).grant_id == "first"
        assert ask(history, APR).grant_id == "second"
        assert reason(history, MAR, purpose="model_training") is Reason.EXPIRED


class TestEnd:
    """What was ended is over; a new consent is a new consent."""

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            (Kind.REFUSED, Reason.NO_GRANT),
            (Kind.WITHDRAWN, Reason.WITHDRAWN),
            (Kind.REVOKED, Reason.REVOKED),
            (Kind.SUPERSEDED, Reason.SUPERSEDED),
        ],
    )
    def test_from_then_on_it_is_no(self, kind: Kind, expected: Reason) -> None:
        """DESIGN 4.3: "Withdrawn acts from now on"; not resumed, nor released, but given anew."""
        history = [given(), said(kind, MAR), said(Kind.RESUMED, APR), given(MAY, grant_id="new")]
        assert reason(facts(*history), MAR - SECOND) is None
        assert reason(facts(*history), MAR) is expected
        assert reason(facts(*history), APR) is expected
        assert ask(facts(*history), MAY).grant_id == "new"

    def test_at_the_same_instant_the_no_wins(self) -> None:
        """DESIGN 4.1: "the restrictive event winning ties", whichever was recorded first."""
        assert reason(facts(given(), said(Kind.WITHDRAWN, JAN)), FEB) is Reason.WITHDRAWN
        assert reason(facts(said(Kind.WITHDRAWN, JAN), given()), FEB) is Reason.WITHDRAWN

    def test_of_everything_at_once(self) -> None:
        """A star takes back every source and purpose; a name that name alone."""
        other = given(source="employment", purpose="model_training")
        for source, purpose in ((ANY, ANY), ("employment", ANY), (ANY, "model_training")):
            history = facts(given(), other, said(Kind.WITHDRAWN, MAR, source=source, purpose=purpose))
            asked = {"source": "employment", "purpose": "model_training"}
            assert reason(history, MAR, **asked) is Reason.WITHDRAWN
            assert reason(history, MAR) is (Reason.WITHDRAWN if (source, purpose) == (ANY, ANY) else None)

    def test_a_withdrawal_that_arrives_late(self) -> None:
        """DESIGN 4.3, 4.6: made in March, recorded in May: April was lawful on what was known then, not today."""
        history = facts(given(), said(Kind.WITHDRAWN, MAY, at=MAR))
        assert reason(history, APR, known_at=APR) is None
        assert reason(history, APR, known_at=MAY) is Reason.WITHDRAWN
        assert reason(history, APR) is Reason.WITHDRAWN
        assert reason(history, FEB) is None

    @pytest.mark.parametrize("kind", RESTRICTS)
    def test_a_no_for_a_later_day_counts_when_it_is_recorded(self, kind: Kind) -> None:
        """A no does not wait; what lifts one does. And an invalidation is not about a consent given since."""
        purpose = ANY if kind in WHOLE else "credit_scoring"
        no = said(kind, MAR, at=JUN, purpose=purpose, hold_id="court")
        assert reason(facts(given(), no), MAR) is not None
        if kind is Kind.INVALIDATED:
            assert reason(facts(given(), no, given(APR)), APR) is None

    @pytest.mark.parametrize(
        ("no", "lift"), [(Kind.PAUSED, Kind.RESUMED), (Kind.HOLD_PLACED, Kind.HOLD_RELEASED)]
    )
    def test_what_lifts_a_no_waits_for_its_day(self, no: Kind, lift: Kind) -> None:
        """Recorded in April for June: no until June."""
        purpose = ANY if no in WHOLE else "credit_scoring"
        early = [
            said(no, MAR, purpose=purpose, hold_id="court"),
            said(lift, APR, at=JUN, purpose=purpose, hold_id="court"),
        ]
        assert reason(facts(given(), *early), MAY) is not None
        assert reason(facts(given(), *early), JUN) is None

    def test_a_consent_that_has_not_begun_never_begins(self) -> None:
        """Given in January for May on, withdrawn in March: no in May too. One given in April is a new one."""
        early = [given(MAY, recorded=JAN), said(Kind.WITHDRAWN, MAR)]
        assert reason(facts(*early), MAR) is Reason.WITHDRAWN
        assert reason(facts(*early), MAY) is Reason.WITHDRAWN
        assert reason(facts(*early, given(MAY, recorded=APR)), MAY) is None

    def test_clocks_may_be_five_minutes_behind(self) -> None:
        """A withdrawal dated five minutes before the consent it means ends it; six minutes, or imported, not."""
        for minutes, origin, expected in (
            (4, "recorded", Reason.WITHDRAWN),
            (5, "recorded", Reason.WITHDRAWN),
            (6, "recorded", None),
            (4, "imported", None),
        ):
            before = JAN - timedelta(minutes=minutes)
            history = facts(given(), said(Kind.WITHDRAWN, JAN, at=before, origin=origin))
            assert reason(history, FEB) is expected, (minutes, origin)

    def test_a_cancelled_consent_gives_way_to_one_given_since(self) -> None:
        """June alone was agreed to and taken back; the year that was agreed to afterwards goes on after June."""
        june = given(JUN, until=JUL, recorded=JAN)
        year = given(MAR, grant_id="year")
        assert reason(facts(june, year), JUL) is Reason.EXPIRED
        assert ask(facts(june, said(Kind.WITHDRAWN, FEB), year), JUL).grant_id == "year"


class TestPause:
    """A pause suspends; a resumption lifts the pause and nothing else."""

    def test_between_pause_and_resumption_it_is_no(self) -> None:
        """PAUSED, from the pause up to the resumption."""
        history = facts(given(), said(Kind.PAUSED, MAR), said(Kind.RESUMED, APR))
        assert [reason(history, day) for day in (FEB, MAR, APR - SECOND, APR)] == [
            *(None, Reason.PAUSED, Reason.PAUSED, None)
        ]

    def test_it_does_not_stop_the_clock(self) -> None:
        """EXPIRED goes before PAUSED: what has run out is not waiting."""
        assert reason(facts(given(until=APR), said(Kind.PAUSED, MAR)), APR) is Reason.EXPIRED

    def test_it_carries_over_to_a_consent_on_record_that_has_not_begun(self) -> None:
        """Renewed in January for May on, paused in March: still paused in May. One given in April is not."""
        renewed = [given(until=MAY), given(MAY, recorded=JAN), said(Kind.PAUSED, MAR)]
        assert reason(facts(*renewed), MAY) is Reason.PAUSED
        assert reason(facts(*renewed, said(Kind.RESUMED, APR)), MAY) is None
        assert reason(facts(*renewed, given(MAY, recorded=APR)), MAY) is None

    def test_a_pause_and_a_resumption_at_the_same_instant(self) -> None:
        """The restrictive one wins."""
        history = facts(given(), said(Kind.PAUSED, MAR), said(Kind.RESUMED, MAR))
        assert reason(history, MAR) is Reason.PAUSED


class TestInvalidation:
    """What was never valid never was."""

    def test_it_taints_what_was_done_before(self) -> None:
        """DESIGN 4.3: "invalidated acts on prior and future use"; February was lawful on what was known in April."""
        history = facts(given(), said(Kind.INVALIDATED, MAY))
        assert reason(history, FEB, known_at=APR) is None
        assert reason(history, FEB) is Reason.INVALIDATED
        assert reason(history, JUN) is Reason.INVALIDATED

    def test_it_outlasts_the_consent(self) -> None:
        """INVALIDATED goes before EXPIRED, and a withdrawal before both: it ended the consent, valid or not."""
        assert reason(facts(given(until=MAR), said(Kind.INVALIDATED, MAY)), APR) is Reason.INVALIDATED
        both = facts(given(), said(Kind.WITHDRAWN, MAR), said(Kind.INVALIDATED, MAY))
        assert [reason(both, day) for day in (FEB, APR)] == [Reason.INVALIDATED, Reason.WITHDRAWN]

    def test_of_one_consent(self) -> None:
        """Named, it strikes that one; the consent that followed stands, and so does one given afterwards."""
        when, what = said(Kind.INVALIDATED, MAY)
        named = replace(what, grant_id="first")
        history = [given(grant_id="first"), given(MAR, grant_id="second")]
        assert reason(facts(*history, (when, named)), FEB) is Reason.INVALIDATED
        assert reason(facts(*history, (when, named)), MAR) is None
        assert reason(facts(*history, (when, what)), MAR) is Reason.INVALIDATED
        assert reason(facts(*history, (when, what), given(JUN)), JUN) is None


class TestHoldAndErasure:
    """Restrictions of the person, whatever was agreed to."""

    def test_two_holds_at_once(self) -> None:
        """RESTRICTED until both are released, each by its own name; it restricts, it never permits."""
        history = facts(
            given(),
            said(Kind.HOLD_PLACED, FEB, purpose=ANY, hold_id="court"),
            said(Kind.HOLD_PLACED, MAR, source=ANY, purpose=ANY, hold_id="audit"),
            said(Kind.HOLD_RELEASED, APR, purpose=ANY, hold_id="court"),
            said(Kind.HOLD_RELEASED, MAY, source=ANY, purpose=ANY, hold_id="audit"),
        )
        days = (FEB - SECOND, FEB, MAR, APR, MAY)
        held = Reason.RESTRICTED
        assert [reason(history, day) for day in days] == [None, held, held, held, None]
        assert [reason(history, day, source="employment") for day in days] == [
            *(Reason.SOURCE, Reason.SOURCE, held, held, Reason.SOURCE)
        ]

    def test_a_hold_may_be_placed_again(self) -> None:
        """A release ends what was placed before it, not what is placed under the same name afterwards."""
        hold = {"purpose": ANY, "hold_id": "court"}
        placed, released, again = (
            said(kind, day, **hold)
            for kind, day in ((Kind.HOLD_PLACED, FEB), (Kind.HOLD_RELEASED, MAR), (Kind.HOLD_PLACED, APR))
        )
        history = facts(given(), placed, released, again)
        assert [reason(history, day) for day in (FEB, MAR, APR)] == [
            Reason.RESTRICTED,
            None,
            Reason.RESTRICTED,
        ]

    def test_a_release_dated_before_its_hold_releases_nothing(self) -> None:
        """Placed in March, and a release recorded in May that took effect in February: it is not about this hold."""
        hold = {"purpose": ANY, "hold_id": "court"}
        placed, released = said(Kind.HOLD_PLACED, MAR, **hold), said(Kind.HOLD_RELEASED, MAY, at=FEB, **hold)
        assert reason(facts(given(), placed, released), JUN) is Reason.RESTRICTED

    def test_who_asked_for_erasure_is_no_longer_used(self) -> None:
        """RESTRICTED from the request on, ERASED when it is done; of that source, until a new consent."""
        asked, done = (
            said(kind, day, purpose=ANY) for kind, day in ((Kind.ERASURE_REQUESTED, FEB), (Kind.ERASED, APR))
        )
        history = facts(given(), given(source="employment"), asked, done, given(MAY))
        assert [reason(history, day) for day in (JAN, FEB, APR, MAY)] == [
            *(None, Reason.RESTRICTED, Reason.ERASED, None)
        ]
        assert reason(history, APR, source="employment") is None

    def test_one_source_erased_does_not_fulfil_a_request_for_everything(self) -> None:
        """Nor does an erasure done before the request; everything erased does."""
        wish = said(Kind.ERASURE_REQUESTED, MAR, source=ANY, purpose=ANY)
        part, whole = (said(Kind.ERASED, APR, source=source, purpose=ANY) for source in ("spending", ANY))
        before = said(Kind.ERASED, FEB, purpose=ANY)
        assert reason(facts(given(), wish, part), MAY) is Reason.RESTRICTED
        assert (
            reason(facts(given(), before, said(Kind.ERASURE_REQUESTED, MAR, purpose=ANY)), MAY)
            is Reason.RESTRICTED
        )
        assert reason(facts(given(), wish, whole), MAY) is Reason.ERASED

    def test_who_was_erased_as_a_whole_stays_so(self) -> None:
        """ERASED, for every source and purpose, and whatever arrives afterwards."""
        history = facts(given(), said(Kind.ERASED, MAR, source=ANY, purpose=ANY), given(MAY))
        assert reason(history, FEB) is None
        for source in ("spending", "employment", "app_usage"):
            assert reason(history, JUN, source=source) is Reason.ERASED

    def test_a_source_erased_is_remembered_without_the_consent(self) -> None:
        """ERASED, also when the entries about the consent were blanked; a source never agreed to stays as it is."""
        history = facts(said(Kind.ERASED, MAR, purpose=ANY))
        assert [reason(history, day) for day in (FEB, MAR)] == [Reason.NOT_YET, Reason.ERASED]
        assert reason(history, MAR, source="employment") is Reason.NO_GRANT


class TestNames:
    """What can be named at all."""

    def test_no_consent_opens_a_prohibited_source(self) -> None:
        """PROHIBITED, consent or not; also before anything else is looked at."""
        history = facts(given(source="contacts"), said(Kind.ERASED, MAR, source=ANY, purpose=ANY))
        assert reason(history, APR, source="contacts") is Reason.PROHIBITED
        assert reason(history, APR, source="contacts", purpose="marketing") is Reason.PROHIBITED

    def test_an_unknown_name_is_a_no(self) -> None:
        """UNKNOWN: DESIGN 1: "Unknown means no"."""
        history = facts(given(source="weather"), given(purpose="marketing"))
        assert reason(history, FEB, source="weather") is Reason.UNKNOWN
        assert reason(history, FEB, purpose="marketing") is Reason.UNKNOWN
        assert reason(history, FEB, source=ANY) is Reason.UNKNOWN
        assert reason(history, FEB, purpose=ANY) is Reason.UNKNOWN


class TestData:
    """The record's own date."""

    def test_records_from_before_or_beyond_the_range(self) -> None:
        """DATA_RANGE: from `data_from`, up to and without `data_until`, which says nothing about a feature."""
        history = facts(given(data_from=FEB, data_until=APR))
        days = (FEB - SECOND, FEB, APR - SECOND, APR)
        out = Reason.DATA_RANGE
        assert [reason(history, MAY, data_at=day) for day in days] == [out, None, None, out]
        assert [reason(history, MAY, data_at=day, derived=True) for day in days] == [out, None, None, None]

    def test_records_that_are_too_old_to_use(self) -> None:
        """DATA_LIFE: so long after its own date, to the instant; the range goes first."""
        history = facts(given(data_from=FEB, data_life=30 * DAY))
        assert reason(history, MAR + 30 * DAY - SECOND, data_at=MAR) is None
        assert reason(history, MAR + 30 * DAY, data_at=MAR) is Reason.DATA_LIFE
        assert reason(history, APR, data_at=JAN) is Reason.DATA_RANGE


class TestTwoPeople:
    """Anna's account is Bela's too."""

    LINK = said(Kind.LINKED, APR, purpose=ANY, co_subject=BELA)

    def test_both_must_agree(self) -> None:
        """DESIGN 4.10: "either one's withdrawal stops it"; the no says whose it is, Anna's own first."""
        bela = given(subject=BELA)
        no = said(Kind.WITHDRAWN, MAY, subject=BELA)
        alone = ask(facts(given(), self.LINK), MAY)
        assert (alone.reason, alone.party) == (Reason.NO_GRANT, "co_subject")
        assert reason(facts(given(), bela, self.LINK, no), APR) is None
        assert ask(facts(given(), bela, self.LINK, no), MAY).party == "co_subject"
        mine = ask(facts(given(), bela, self.LINK, no, said(Kind.REVOKED, MAY)), MAY)
        assert (mine.reason, mine.party) == (Reason.REVOKED, "subject")

    def test_a_link_counts_for_all_times_once_it_is_known(self) -> None:
        """The account was theirs all along; about another source it says nothing."""
        history = facts(given(), given(source="employment"), self.LINK)
        assert reason(history, FEB) is Reason.NO_GRANT
        assert reason(history, FEB, known_at=MAR) is None
        assert reason(history, MAY, source="employment") is None

    def test_of_the_other_one_too_only_what_was_known_counts(self) -> None:
        """DESIGN 4.6: Bela's withdrawal, recorded in May for February, was not known in April."""
        history = facts(
            given(), given(subject=BELA), self.LINK, said(Kind.WITHDRAWN, MAY, subject=BELA, at=FEB)
        )
        assert reason(history, APR, known_at=APR) is None
        assert reason(history, APR) is Reason.WITHDRAWN

    def test_of_several_the_first_no_by_key_is_told(self) -> None:
        """The answer does not depend on the order in which the links were recorded."""
        first, second = sorted((BELA, CHEN))
        links = [said(Kind.LINKED, JAN, purpose=ANY, co_subject=key) for key in (BELA, CHEN)]
        noes = [
            entry
            for key, kind in ((first, Kind.WITHDRAWN), (second, Kind.REVOKED))
            for entry in (given(subject=key), said(kind, FEB, subject=key))
        ]
        for order in (links, links[::-1]):
            assert reason(facts(given(), *order, *noes), MAR) is Reason.WITHDRAWN

    def test_the_narrower_terms_hold(self) -> None:
        """DATA_RANGE and DATA_LIFE are each party's own."""
        bela = given(subject=BELA, data_from=MAR, data_life=30 * DAY)
        history = facts(given(), bela, self.LINK)
        assert reason(history, MAY, data_at=FEB) is Reason.DATA_RANGE
        assert reason(history, MAY, data_at=MAR) is Reason.DATA_LIFE
        assert reason(history, MAY, data_at=APR + DAY) is None
