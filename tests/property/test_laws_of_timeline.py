"""Laws of the batch form, each with the clause of DESIGN section 4 it rests on."""

from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consent.catalog import PURPOSES
from consent.clock import MICROSECOND, micros
from consent.decide import decide
from consent.nouns import ANY, Event, Kind, Reason
from consent.timeline import FOREVER, Book, Timeline
from tests.consent import consent_samples
from tests.consent.consent_samples import DAY, NOW, YEAR, on_record
from tests.property.consent_histories import (
    PEOPLE,
    SOURCES,
    Town,
    arrow_of,
    instants,
    law,
    row_instants,
    texts,
    towns,
)
from tests.reference.consent_twin import verdict

few = towns(PEOPLE[:15], 80)


@given(few, st.lists(instants, min_size=3, max_size=3), instants)
@law(6)
def test_a_record_may_be_loaded_when_any_purpose_allows_it(
    town: Town, data_at: list[datetime], now: datetime
) -> None:
    """DESIGN 4.4: "some purpose's grant for that source is usable at load time and data_at >= data_from"."""
    timeline = town.timeline()
    rows = [(subject, date) for subject in town.people for date in data_at]
    for source in (*SOURCES, "contacts", "weather"):
        reasons = timeline.judge_loading(
            texts([subject for subject, _ in rows]),
            source,
            data_at=row_instants([date for _, date in rows]),
            now=now,
        ).to_pylist()
        for (subject, date), reason in zip(rows, reasons, strict=True):
            facts = town.facts(subject)
            decisions = [decide(facts, source, p, data_at=date, as_of=now) for p in PURPOSES]
            assert (reason is None) == any(d.allowed for d in decisions)
            assert reason is None or reason in {d.reason for d in decisions}


@given(few)
@law(10)
def test_the_spans_of_a_key_neither_overlap_nor_leave_a_hole(town: Town) -> None:
    """DESIGN 4.11: "the ledger exports non-overlapping usable intervals"."""
    spans = defaultdict(list)
    for row in town.timeline().segments.to_pylist():
        spans[row["subject_key"], row["source"], row["purpose"]].append((row["from_at"], row["until_at"]))
    for covered in spans.values():
        covered.sort()
        assert covered[0][0] == -FOREVER
        assert covered[-1][1] == FOREVER
        assert all(until == start for (_, until), (start, _) in pairwise(covered)), covered
        assert all(start < until for start, until in covered)


@given(few, st.lists(instants, min_size=6, max_size=6), instants, st.none() | instants)
@law(10)
def test_usable_intervals_say_what_decide_says(
    town: Town, as_of: list[datetime], data_at: datetime, known_at: datetime | None
) -> None:
    """DESIGN 4.11: "intervals (subject_key, source, purpose, usable_from, usable_until, data_from, grant_id)"."""
    usable = defaultdict(list)
    for row in town.timeline(known_at).usable().to_pylist():
        usable[row["subject_key"], row["source"], row["purpose"]].append(row)
    for subject in town.people:
        facts = town.facts(subject)
        for source in SOURCES:
            for purpose in list(PURPOSES)[:3]:
                for instant in as_of:
                    within = _at(usable[subject, source, purpose], instant)
                    asked: Any = {"as_of": instant, "known_at": known_at}
                    decision = decide(facts, source, purpose, data_at=None, **asked)
                    assert [row["grant_id"] for row in within] == [decision.grant_id] * decision.allowed
                    dated = decide(facts, source, purpose, data_at=data_at, **asked)
                    assert dated.allowed == any(_holds(row, data_at, instant) for row in within)


def _at(rows: list[dict[str, Any]], instant: datetime) -> list[dict[str, Any]]:
    return [row for row in rows if row["usable_from"] <= micros(instant) < row["usable_until"]]


def _holds(row: dict[str, Any], data_at: datetime, as_of: datetime) -> bool:
    date, age = micros(data_at), micros(as_of) - micros(data_at)
    within = date >= row["data_from"] and (row["data_until"] is None or date < row["data_until"])
    return within and (row["data_life"] is None or age < row["data_life"])


@given(few, instants)
@law(8)
def test_a_no_about_joint_data_says_whose(town: Town, as_of: datetime) -> None:
    """DESIGN 4.10: "data about two people needs both": the batch form names the same party as the point form."""
    for row in town.timeline().segments.to_pylist():
        if row["from_at"] <= micros(as_of) < row["until_at"]:
            facts = town.facts(row["subject_key"])
            decision = decide(facts, row["source"], row["purpose"], data_at=None, as_of=as_of)
            assert (row["party"], row["reason"]) == (decision.party, decision.reason)
            assert row["grant_id"] == decision.grant_id
            assert decision.reason is not None or row["imported"] == decision.imported


def _reasons(timeline: Timeline, source: str, purpose: str, as_of: list[datetime]) -> list[str | None]:
    """Why not, for everybody of the small town at each of the instants."""
    rows = [(subject, at) for subject in PEOPLE[:15] for at in as_of]
    return timeline.judge(
        texts([subject for subject, _ in rows]),
        source,
        purpose,
        data_at=None,
        as_of=row_instants([at for _, at in rows]),
    ).to_pylist()


def _spans(timeline: Timeline, source: str, purpose: str) -> list[tuple[Any, ...]]:
    """Everything that is folded, in an order."""
    rows = timeline.spans(source, purpose).to_pylist()
    return sorted((tuple(row.values()) for row in rows), key=repr)


_PAIRS = [(source, purpose) for source in SOURCES for purpose in list(PURPOSES)[:3]]


@given(few, instants, st.lists(instants, min_size=4, max_size=4))
@law(8)
def test_what_was_known_earlier_is_a_timeline_of_its_own(
    town: Town, known_at: datetime, as_of: list[datetime]
) -> None:
    """`known` shares the book of the newer timeline, and says what one made with that knowledge alone says."""
    newest = town.timeline()
    before = [_spans(newest, *pair) for pair in _PAIRS]
    known, alone = newest.known(known_at), town.timeline(known_at)
    for pair in _PAIRS:
        assert _reasons(known, *pair, as_of) == _reasons(alone, *pair, as_of)
        assert _spans(known, *pair) == _spans(alone, *pair)
    assert [_spans(newest, *pair) for pair in _PAIRS] == before


@given(few, st.data(), st.lists(instants, min_size=4, max_size=4))
@law(5)
def test_a_timeline_that_grew_or_is_cut_says_what_its_entries_say(
    town: Town, data: st.DataObject, as_of: list[datetime]
) -> None:
    """`grown` keeps what was folded and not touched, `of_size` looks back: both as if made from the first entries."""
    size = data.draw(st.integers(0, len(town.entries)))
    first, others = town.entries[:size], town.entries[size:]
    book = Book()
    book.add([arrow_of(first)])
    early = Timeline(book)
    for pair in _PAIRS:  # folded before it grows
        _spans(early, *pair)
    book.add([arrow_of(others)])
    late = early.grown({(r.event.source, r.event.purpose) for r in others})
    back = late.of_size(size)
    whole, part = town.timeline(), Timeline(arrow_of(first))
    assert (late.ledger_size, back.ledger_size) == (len(town.entries), size)
    for pair in _PAIRS:
        for timeline, alone in ((late, whole), (back, part), (early, part)):
            assert _reasons(timeline, *pair, as_of) == _reasons(alone, *pair, as_of)
            assert _spans(timeline, *pair) == _spans(alone, *pair)


@pytest.mark.parametrize("released", ["case 1", "case 2"])
@pytest.mark.parametrize("agreed", [True, False])
def test_of_two_holds_of_one_instant_the_other_stays(released: str, agreed: bool) -> None:
    """DESIGN 4.2: a hold restricts until it is released, each by its own name, however alike two are."""
    until = NOW + DAY
    said = [consent_samples.given(PEOPLE[0], at=NOW - DAY, origin="imported")] if agreed else []
    hold: Any = {"purpose": ANY, "basis": "court order"}
    for name in ("case 1", "case 2"):
        said.append(consent_samples.event(Kind.HOLD_PLACED, PEOPLE[0], hold_id=name, **hold))
    one = Town(on_record([*said, _released(released, until)]), PEOPLE[:1])
    both = Town(on_record([*said, _released("case 1", until), _released("case 2", until)]), PEOPLE[:1])
    free = None if agreed else Reason.NO_GRANT
    for town, as_of, expected in (
        (one, NOW, Reason.RESTRICTED),
        (one, until, Reason.RESTRICTED),
        (one, until + DAY, Reason.RESTRICTED),
        (both, until - MICROSECOND, Reason.RESTRICTED),
        (both, until, free),
    ):
        asked: Any = {"data_at": None, "as_of": as_of}
        batch = town.timeline().judge(texts(PEOPLE[:1]), "spending", "credit_scoring", **asked).to_pylist()
        point = decide(town.facts(PEOPLE[0]), "spending", "credit_scoring", **asked).reason
        slow = verdict(town.of(PEOPLE[0]), town.others(PEOPLE[0]), "spending", "credit_scoring", **asked)
        assert batch == [point] == [slow] == [expected]


def _released(name: str, at: datetime) -> Event:
    return consent_samples.event(
        Kind.HOLD_RELEASED, PEOPLE[0], purpose=ANY, hold_id=name, at=at, basis="court order"
    )


@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize(
    ("terms", "outside", "inside", "reason"),
    [
        ({"data_from": NOW - DAY}, 5, 0, "DATA_RANGE"),
        ({"data_until": NOW - DAY}, 0, 5, "DATA_RANGE"),
        ({"data_life": 3 * DAY}, 5, 0, "DATA_LIFE"),
        ({"data_from": NOW - DAY, "data_life": 3 * DAY}, 5, 0, "DATA_RANGE"),
    ],
)
def test_of_two_peoples_terms_the_narrower_hold(
    narrow: int, terms: dict[str, Any], outside: int, inside: int, reason: str
) -> None:
    """DESIGN 4.1, 4.10: "one grant must cover every dimension" holds for each party, in all three forms.

    For data that is so many days old.
    """
    wide = {"data_from": NOW - YEAR, "data_life": 30 * DAY}
    people = PEOPLE[:2]
    said = [consent_samples.given(p, **(wide | terms if i == narrow else wide)) for i, p in enumerate(people)]
    link = consent_samples.event(Kind.LINKED, people[0], purpose=ANY, co_subject=people[1])
    town = Town(on_record([*said, link]), people)
    for age, expected in ((outside, reason), (inside, None)):
        data_at = NOW - age * DAY
        asked: Any = {"data_at": data_at, "as_of": NOW}
        answers = town.timeline().judge(
            texts([people[0]]), "spending", "credit_scoring", data_at=row_instants([data_at]), as_of=NOW
        )
        decision = decide(town.facts(people[0]), "spending", "credit_scoring", **asked)
        own, others = town.of(people[0]), town.others(people[0])
        slow = verdict(own, others, "spending", "credit_scoring", **asked)
        assert answers.to_pylist() == [decision.reason] == [slow] == [expected]


class TestEdges:
    """What no random history brings."""

    EMPTY = Timeline(arrow_of(()))

    def test_an_empty_ledger_knows_nobody(self) -> None:
        """With nothing on record everybody is refused for NO_GRANT, and no interval is usable."""
        answers = self.EMPTY.judge(texts(PEOPLE[:2]), "spending", "credit_scoring", data_at=None, as_of=NOW)
        assert answers.to_pylist() == [Reason.NO_GRANT] * 2
        assert self.EMPTY.usable().num_rows == 0

    def test_no_rows_give_no_answers(self) -> None:
        """A batch without rows is no error, for reading and for loading."""
        nothing = texts([])
        now = NOW
        assert (
            len(self.EMPTY.judge(nothing, "spending", "credit_scoring", data_at=row_instants([]), as_of=now))
            == 0
        )
        assert len(self.EMPTY.judge_loading(nothing, "spending", data_at=row_instants([]), now=now)) == 0

    @pytest.mark.parametrize("missing", ["subject_key", "data_at", "as_of"])
    def test_what_cannot_be_checked_is_refused(self, missing: str) -> None:
        """DESIGN 1: "Unknown means no": a row without a subject, a date or an instant is never allowed."""
        town = _one_grant()
        day = town.entries[0].event.effective_at
        answers = town.timeline().judge(
            texts([None if missing == "subject_key" else PEOPLE[0]]),
            "spending",
            "credit_scoring",
            data_at=row_instants([None if missing == "data_at" else day]),
            as_of=row_instants([None if missing == "as_of" else day]),
        )
        assert answers.to_pylist() == ["NO_GRANT" if missing == "subject_key" else "UNKNOWN"]

    def test_plain_dates_are_read_as_utc(self) -> None:
        """A data date without a time zone, as files hold it, is an instant in UTC."""
        town = _one_grant()
        day = town.entries[0].event.effective_at
        naive = pa.chunked_array([pa.array([day.replace(tzinfo=None)], pa.timestamp("ms"))])
        answers = town.timeline().judge(
            texts(PEOPLE[:1]), "spending", "credit_scoring", data_at=naive, as_of=day
        )
        assert answers.to_pylist() == [None]


def _one_grant() -> Town:
    return Town(on_record([consent_samples.given(PEOPLE[0])]), PEOPLE[:1])
