"""Questions that involve two times, on stories that a person can follow."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from consent.clock import micros
from consent.decide import decide
from consent.encoding import to_row
from consent.errors import Unavailable
from consent.knowledge import GIVEN, NOTHING, Verdict, changes, eligible, review_read, review_reads
from consent.ledger import Ledger
from consent.nouns import ANY, Event, Kind, Reason
from consent.timeline import _SCHEMA, Gate, Timeline, read_events
from tests.consent.consent_samples import ANNA, BELA, CHEN, DAY, NOW, YEAR, Clock, event, given, withdrawn
from tests.consent.consent_samples import facts as facts_of

MONDAY, TUESDAY, FRIDAY = NOW, NOW + DAY, NOW + 4 * DAY
ABOUT = ("spending", "credit_scoring")
GIVEN_MONDAY = (MONDAY, given(at=MONDAY))
#: What arrives on Friday -> the verdict on a read of Tuesday.
LATER = {
    "nothing": (None, Verdict.LAWFUL),
    "a withdrawal of Friday": (withdrawn(at=FRIDAY), Verdict.LAWFUL),
    "a withdrawal of Monday, late": (
        withdrawn(at=MONDAY + timedelta(hours=1), origin="imported"),
        Verdict.LATE,
    ),
    "an invalidation": (
        event(Kind.INVALIDATED, at=FRIDAY, basis="void", indicated_by="authority"),
        Verdict.TAINTED,
    ),
}


@pytest.mark.parametrize("what", LATER)
def test_a_read_is_judged_on_what_was_known_and_on_what_is_known(what: str) -> None:
    """DESIGN 4.3: a withdrawal that arrives late is no fault; an invalidation taints what was read."""
    arrived, verdict = LATER[what]
    said = [GIVEN_MONDAY, *([] if arrived is None else [(FRIDAY, arrived)])]
    review = review_read(facts_of(*said), *ABOUT, read_at=TUESDAY, data_at=MONDAY)
    assert review.verdict is verdict
    assert review.then.allowed
    assert review.today.allowed == (verdict is Verdict.LAWFUL)


def test_later_consent_never_makes_an_earlier_read_lawful() -> None:
    """DESIGN 4.3: even where an imported grant says that it held at the time."""
    late = given(at=MONDAY, origin="imported")
    review = review_read(facts_of((FRIDAY, late)), *ABOUT, read_at=TUESDAY)
    assert review.verdict is Verdict.UNLAWFUL
    assert review.then.reason is Reason.NO_GRANT
    assert review.today.allowed


def book_of(*said: tuple[object, Event]) -> Timeline:
    rows = [to_row(e, micros(at)) | {"leaf_index": i} for i, (at, e) in enumerate(said)]  # type: ignore[arg-type]
    return Timeline(pa.Table.from_pylist([{n: r[n] for n in _SCHEMA.names} for r in rows], schema=_SCHEMA))


def test_many_reads_are_judged_as_each_alone() -> None:
    """The rows keep their order; each instant has its own state of knowledge."""
    timeline = book_of(
        GIVEN_MONDAY,
        (MONDAY, given(BELA, at=MONDAY)),
        (TUESDAY, withdrawn(BELA, at=TUESDAY)),
        (FRIDAY, withdrawn(at=MONDAY + timedelta(hours=1), origin="imported")),
    )
    reads = [
        (ANNA, *ABOUT, FRIDAY + DAY),
        (ANNA, *ABOUT, TUESDAY),
        (BELA, *ABOUT, FRIDAY),
        (CHEN, *ABOUT, TUESDAY),
        (ANNA, "spending", "model_training", TUESDAY),
    ]
    names = ("subject_key", "source", "purpose", "read_at")
    table = pa.table(dict(zip(names, map(list, zip(*reads, strict=True)), strict=True)))
    found = review_reads(timeline, table)
    assert found.select(["subject_key", "read_at"]).equals(table.select(["subject_key", "read_at"]))
    assert found["verdict"].to_pylist() == ["UNLAWFUL", "LATE", "UNLAWFUL", "UNLAWFUL", "UNLAWFUL"]
    assert found["then"].to_pylist() == ["WITHDRAWN", None, "WITHDRAWN", "NO_GRANT", "PURPOSE"]
    assert found["today"].to_pylist() == ["WITHDRAWN", "WITHDRAWN", "WITHDRAWN", "NO_GRANT", "PURPOSE"]


def test_who_was_eligible_depends_on_what_was_known() -> None:
    """DESIGN 4.6: "who was eligible for training set R"; by time of knowledge and by size of the ledger."""
    timeline = book_of(
        GIVEN_MONDAY,
        (MONDAY, given(BELA, at=MONDAY)),
        (FRIDAY, withdrawn(at=MONDAY + timedelta(hours=1), origin="imported")),
    )
    everybody = sorted([ANNA, BELA])
    assert eligible(timeline, *ABOUT, as_of=TUESDAY).to_pylist() == [BELA]
    assert eligible(timeline.known(TUESDAY), *ABOUT, as_of=TUESDAY).to_pylist() == everybody
    assert eligible(timeline.of_size(2), *ABOUT, as_of=TUESDAY).to_pylist() == everybody
    assert eligible(timeline.of_size(1), *ABOUT, as_of=TUESDAY).to_pylist() == [ANNA]


def test_what_changed_between_two_known_times() -> None:
    """DESIGN 4.6: what was recorded, and about which times the answer is another one now."""
    early = MONDAY + timedelta(hours=1)
    timeline = book_of(
        (MONDAY, given(at=MONDAY, until=MONDAY + YEAR)),
        (MONDAY, given(BELA, at=MONDAY)),
        (FRIDAY, withdrawn(at=early, origin="imported")),
        (FRIDAY, given(CHEN, at=FRIDAY, until=FRIDAY + YEAR)),
    )
    found = changes(timeline, known_from=TUESDAY, known_until=FRIDAY)
    assert found.entries == {"given": 1, "withdrawn": 1}
    spans = {(c.subject_key, c.from_at, c.until_at, c.was, c.now) for c in found.spans}
    assert spans == {
        (ANNA, early, MONDAY + YEAR, GIVEN, "WITHDRAWN"),
        (ANNA, MONDAY + YEAR, None, "EXPIRED", "WITHDRAWN"),
        (CHEN, FRIDAY, FRIDAY + YEAR, NOTHING, GIVEN),
    }
    assert changes(timeline, known_from=FRIDAY, known_until=FRIDAY + DAY).spans == ()


def test_a_withdrawal_changes_the_answer_about_those_whose_data_it_is_too() -> None:
    """DESIGN 4.10: what a co-subject says changes the subject's answers."""
    timeline = book_of(
        GIVEN_MONDAY,
        (MONDAY, given(BELA, at=MONDAY)),
        (MONDAY, event(Kind.LINKED, purpose=ANY, co_subject=BELA)),
        (FRIDAY, withdrawn(BELA, at=FRIDAY)),
    )
    found = changes(timeline, known_from=TUESDAY, known_until=FRIDAY)
    assert {c.subject_key for c in found.spans if c.now == "WITHDRAWN"} == {ANNA, BELA}


class TestGate:
    """The gate grows with the ledger, and is read anew where more than that has happened."""

    def test_it_says_what_the_ledger_says_after_every_append(self, ledger: Ledger, clock: Clock) -> None:
        """Spans that nothing new is about are kept; the others are folded again."""
        gate = Gate(ledger)
        steps: list[Event] = [
            given(),
            given(BELA),
            given(source="employment"),
            event(Kind.PAUSED, BELA, purpose=ANY),
            event(Kind.LINKED, purpose=ANY, co_subject=BELA),
            event(Kind.RESUMED, BELA, purpose=ANY, at=NOW + timedelta(seconds=4)),
            event(Kind.HOLD_PLACED, ANNA, ANY, ANY, hold_id="1", basis="order"),
            withdrawn(BELA, source=ANY, purpose=ANY, at=NOW + timedelta(seconds=7)),
        ]
        for step in steps:
            clock.step(1)
            ledger.append([step])
            timeline, now = gate.timeline(), ledger.now()
            assert timeline.ledger_size == ledger.size()
            for source, purpose in (ABOUT, ("employment", "credit_scoring"), ("spending", "model_training")):
                keys = pa.chunked_array([[ANNA, BELA, CHEN]])
                batch = timeline.judge(keys, source, purpose, data_at=None, as_of=now).to_pylist()
                point = [
                    decide(ledger.facts(key), source, purpose, data_at=None, as_of=now).reason
                    for key in (ANNA, BELA, CHEN)
                ]
                assert batch == point, step.kind

    def test_an_earlier_timeline_keeps_its_knowledge(self, ledger: Ledger) -> None:
        """Whoever holds one goes on with what was known when it was made."""
        gate = Gate(ledger)
        ledger.append([given()])
        before = gate.timeline()
        ledger.append([withdrawn()])
        keys = pa.chunked_array([[ANNA]])
        assert before.judge(keys, *ABOUT, data_at=None, as_of=NOW).to_pylist() == [None]
        assert gate.timeline().judge(keys, *ABOUT, data_at=None, as_of=NOW).to_pylist() == ["WITHDRAWN"]

    def test_what_was_blanked_is_forgotten(self, ledger: Ledger, clock: Clock) -> None:
        """After an erasure the gate holds nothing of the person's consents but that they are erased."""
        gate = Gate(ledger)
        ledger.append([given(), given(BELA)])
        gate.timeline()
        clock.step(1)
        ledger.erase(event(Kind.ERASED, ANNA, ANY, ANY, at=clock.now), blank=True)
        timeline = gate.timeline()
        assert timeline.subjects().to_pylist() == [BELA]
        keys = pa.chunked_array([[ANNA, BELA]])
        assert timeline.judge(keys, *ABOUT, data_at=None, as_of=clock.now).to_pylist() == ["ERASED", None]

    def test_a_reading_that_broke_off_is_begun_again(
        self, ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What had arrived by then counts, though the spans were not folded anew."""
        gate = Gate(ledger)
        ledger.append([given(), given(BELA)])
        keys = pa.chunked_array([[ANNA, BELA]])
        before = gate.timeline().judge(keys, *ABOUT, data_at=None, as_of=clock.now)
        assert before.to_pylist() == [None, None]
        clock.step(1)
        ledger.append([withdrawn(at=clock.now)])

        def broken(*args: Any) -> Iterator[pa.RecordBatch]:
            yield from read_events(*args)
            raise Unavailable("the connection ended")

        with monkeypatch.context() as patch:
            patch.setattr("consent.timeline.read_events", broken)
            with pytest.raises(Unavailable):
                gate.timeline()
        after = gate.timeline().judge(keys, *ABOUT, data_at=None, as_of=clock.now)
        assert after.to_pylist() == ["WITHDRAWN", None]
