"""The point form, the batch form and a slow twin, on random histories.

DESIGN 4.11: "The point form and the batch form must agree on every case (property test with a slow reference
twin)."
"""

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consent.decide import decide
from consent.nouns import Facts
from consent.timeline import Timeline
from tests.property.consent_histories import (
    PEOPLE,
    PURPOSES,
    SOURCES,
    Town,
    instants,
    law,
    row_instants,
    texts,
    towns,
)
from tests.reference.consent_twin import verdict

NOBODY = "0" * 32
#: Every pair that occurs, and sources and purposes that nobody may or can name.
ABOUT = [
    *((source, purpose) for source in SOURCES for purpose in PURPOSES),
    ("contacts", "credit_scoring"),
    ("weather", "credit_scoring"),
    ("spending", "marketing"),
]
Question = tuple[datetime, datetime | None]


@given(
    town=towns(),
    known_at=st.none() | instants,
    as_of=st.lists(instants, min_size=5, max_size=5),
    data_at=st.lists(instants, min_size=2, max_size=2),
    undated=st.sets(st.sampled_from(ABOUT)),
    derived=st.booleans(),
)
@law(-(-2000 // len(PEOPLE)))
def test_all_three_give_the_same_reason(
    town: Town,
    known_at: datetime | None,
    as_of: list[datetime],
    data_at: list[datetime],
    undated: set[tuple[str, str]],
    derived: bool,
) -> None:
    """`decide`, `Timeline.judge` and the twin give the same allowed and the same reason, at every boundary."""
    timeline = town.timeline(known_at)
    everybody = {NOBODY: Facts()} | {subject: town.facts(subject) for subject in PEOPLE}
    for source, purpose in ABOUT:
        dates = [None] if (source, purpose) in undated else data_at
        questions: list[Question] = [(instant, date) for instant in as_of for date in dates]
        batch = judged(timeline, source, purpose, questions, derived=derived)
        once = judged(timeline, source, purpose, questions[: len(dates)], derived=derived)
        for subject, facts in everybody.items():
            own, others = town.of(subject), town.others(subject)
            assert once[subject] == batch[subject][: len(dates)], (own, others, source, purpose, as_of[0])
            for (instant, date), reason in zip(questions, batch[subject], strict=True):
                asked: Any = {"data_at": date, "as_of": instant, "known_at": known_at, "derived": derived}
                point = decide(facts, source, purpose, **asked)
                slow = verdict(own, others, source, purpose, **asked)
                assert (point.reason, point.allowed) == (slow, slow is None), (own, others, source, asked)
                assert reason == slow, (own, others, source, purpose, asked)


def judged(
    timeline: Timeline, source: str, purpose: str, questions: list[Question], *, derived: bool
) -> dict[str, list[str | None]]:
    """The batch form's answers to the same questions about everybody; a single instant is asked about at once."""
    everybody = [*PEOPLE, NOBODY]
    dates = [date for _ in everybody for _, date in questions]
    as_of = [instant for _ in everybody for instant, _ in questions]
    reasons = timeline.judge(
        texts([subject for subject in everybody for _ in questions]),
        source,
        purpose,
        data_at=None if None in dates else row_instants(dates),
        as_of=as_of[0] if len(set(as_of)) == 1 else row_instants(as_of),
        derived=derived,
    ).to_pylist()
    size = len(questions)
    return {subject: reasons[i * size : (i + 1) * size] for i, subject in enumerate(everybody)}
