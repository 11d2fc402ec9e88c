"""Each report's figures, worked out by hand from the story, or by the slow twin from what was recorded in it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from consent.accesses import AccessKind, AccessQuery
from consent.nouns import ANY, Event, Kind, Recorded
from reports.catalog import REPORTS
from reports.holds import find_release
from reports.register import a_month_after
from reports.requests import find_answer
from tests.consent.consent_samples import DAY, NOW, event
from tests.reference import reports_twin as twin
from tests.reference.consent_twin import verdict
from tests.reports.conftest import Asked
from tests.reports.story import HOUR, Story


def own(story: Story, who: str) -> twin.Entries:
    return tuple(story.home.ledger.history(story.people[who]))


def test_a_subjects_timeline_is_what_was_recorded(story: Story, ask: Asked) -> None:
    """Every entry about her, in order, with both clocks and the lag between them."""
    rows = ask("subject-timeline", subject_key=story.people["anna"])
    expected = own(story, "anna")
    assert [r["entry"] for r in rows] == [e.leaf_index for e in expected]
    assert [(r["recorded_at"], r["effective_at"]) for r in rows] == [
        (e.recorded_at, e.event.effective_at) for e in expected
    ]
    assert [r["lag"] for r in rows if r["event"] == "withdrawn"] == [15 * 86_400, 2 * 3_600, 0]
    grants = [r for r in rows if r["event"] == "given"]
    assert {(r["notice"], r["notice_version"], r["jurisdiction"]) for r in grants} == {
        ("consent-form", "3", "CN")
    }


def test_a_subjects_timeline_is_narrowed(story: Story, ask: Asked) -> None:
    """By source, purpose, time of recording and knowledge; what is about every source stays."""
    key = story.people["bela"]
    assert {r["event"] for r in ask("subject-timeline", subject_key=key, source="employment")} == {
        "given",
        "hold_placed",
    }
    late = ask("subject-timeline", subject_key=key, since=NOW - 30 * DAY)
    assert [r["event"] for r in late] == ["hold_placed", "erasure_requested"]
    early = ask("subject-timeline", subject_key=key, known_at=NOW - 31 * DAY)
    assert {r["event"] for r in early} == {"given"}
    until = ask("subject-timeline", subject_key=key, until=NOW - 30 * DAY)
    assert {r["event"] for r in until} == {"given"}


@pytest.mark.parametrize("as_of", [-70, -54, -45, -39.5, -10, 0])
@pytest.mark.parametrize("known_at", [None, -45, -1])
def test_decisions_are_the_twins(story: Story, ask: Asked, as_of: float, known_at: float | None) -> None:
    """Of everybody, at any instant and on any state of knowledge."""
    at, known = NOW + as_of * DAY, None if known_at is None else NOW + known_at * DAY
    for who in story.people:
        for row in ask("decision-explainer", subject_key=story.people[who], as_of=at, known_at=known):
            reason = verdict(
                own(story, who), {}, row["source"], row["purpose"], data_at=None, as_of=at, known_at=known
            )
            assert (row["allowed"], row["reason"]) == (reason is None, reason)
            assert row["because"]
            assert row["known"] == sum(known is None or e.recorded_at <= known for e in own(story, who))


def test_a_withdrawal_that_came_late_is_told_by_knowledge(story: Story, ask: Asked) -> None:
    """On day -54 she had withdrawn, and nobody knew: the two times give two answers."""
    asked = {"subject_key": story.people["anna"], "source": "spending", "purpose": "model_training"}
    at = NOW - 54 * DAY
    (then,) = ask("decision-explainer", **asked, as_of=at, known_at=at)
    (today,) = ask("decision-explainer", **asked, as_of=at)
    assert (then["allowed"], today["allowed"], today["reason"]) == (True, False, "WITHDRAWN")


@pytest.mark.parametrize("day", [-100, -60, -45, -30, -10, 0])
def test_coverage_is_counted_person_by_person(story: Story, ask: Asked, day: float) -> None:
    """Each state of each source and purpose."""
    at = NOW + day * DAY
    entries = [e for who in story.people for e in own(story, who)]
    for row in ask("coverage", as_of=at):
        states = twin.coverage(entries, row["source"], row["purpose"], at, None)
        assert row["people"] == sum(states.values())
        assert (row["given"], row["not_asked"]) == (states["GIVEN"], states["NOT_ASKED"])
        named = ("withdrawn", "expired", "invalidated", "restricted", "erased", "paused", "revoked")
        assert {n: row[n] for n in named} == {n: states[n.upper()] for n in named}
        assert row["refused"] == states["NO_GRANT"]
        counts = [v for n, v in row.items() if isinstance(v, int) and n != "people"]
        assert sum(counts) == row["people"]
        if row["people"]:
            assert row["given_share"] == states["GIVEN"] / sum(states.values())


def test_coverage_over_a_time(ask: Asked) -> None:
    """A day at a time up to 62 days, else a month at a time; never later than now."""
    asked = {"source": "spending", "purpose": "credit_scoring"}
    days = [r["at"] for r in ask("coverage", **asked, since=NOW - 2 * DAY)]
    midnight = NOW.replace(hour=0)
    assert days == [NOW - 2 * DAY, midnight - DAY, midnight]
    rows = ask("coverage", **asked, since=NOW - 100 * DAY, until=NOW + 900 * DAY)
    assert [r["at"] for r in rows] == [
        NOW - 100 * DAY,
        *(datetime(2026, month, 1, tzinfo=NOW.tzinfo) for month in (9, 10, 11)),
    ]
    assert [r["given"] for r in rows] == [4, 5, 4, 2]  # Anna since day -55, Bela and Chen since -30


def test_expiring_consents(story: Story, ask: Asked) -> None:
    """Fay's app usage ends on day 11; what she withdrew or renewed is not listed, what ends later neither."""
    rows = ask("expiring")
    assert [(r["subject_key"], r["source"], r["purpose"]) for r in rows] == [
        (story.people["fay"], "app_usage", "credit_scoring")
    ]
    assert (rows[0]["expires_at"], rows[0]["days_left"]) == (NOW + 11 * DAY, 11)
    assert ask("expiring", until=NOW + 11 * DAY) == rows
    assert ask("expiring", until=NOW + 11 * DAY - timedelta(microseconds=1)) == []
    entries = [e for who in story.people for e in own(story, who)]
    for row_source, purpose in (("employment", "model_training"), ("spending", "credit_scoring")):
        far = ask("expiring", source=row_source, purpose=purpose, until=NOW + 900 * DAY)
        assert {(r["subject_key"], r["expires_at"], r["grant_id"]) for r in far} == twin.expiring(
            entries, row_source, purpose, NOW, NOW + 900 * DAY
        )


def test_latency_of_withdrawals(story: Story, ask: Asked) -> None:
    """Recorded 15 days and 2 hours late, twice at once; a job ran on for 40 min; a fetch did not know for 30 s."""
    by_stage = {r["stage"]: r for r in ask("latency")}
    ends = [e for who in story.people for e in own(story, who) if e.event.kind in ("withdrawn", "revoked")]
    lags = [max((e.recorded_at - e.event.effective_at).total_seconds(), 0.0) for e in ends]
    expected = {
        "recorded": lags,
        "ingest_stop": [0.0] * 5 + [2_400.0],
        "training_stop": [0.0] * 5 + [30.0],
        "erased": [24 * 86_400.0],
    }
    for stage, values in expected.items():
        row = by_stage[stage]
        assert (row["cases"], (row["p50"], row["p95"], row["longest"])) == (
            len(values),
            twin.percentiles(values),
        )
    assert by_stage["erased"]["open"] == 1
    assert min((e.recorded_at - e.event.effective_at).total_seconds() for e in ends) == -180
    assert by_stage["online_stop"]["cases"] == 6
    assert by_stage["online_stop"]["longest"] is None


def test_latency_is_narrowed(ask: Asked) -> None:
    """By the time of recording, the source and the purpose."""
    early = {r["stage"]: r for r in ask("latency", until=NOW - 40 * DAY + HOUR)}
    assert (early["recorded"]["cases"], early["recorded"]["longest"]) == (1, 15 * 86_400)
    employment = {r["stage"]: r for r in ask("latency", source="employment")}
    assert [employment[s]["longest"] for s in ("recorded", "ingest_stop", "training_stop")] == [7_200, 0, 30]
    scoring = {r["stage"]: r for r in ask("latency", purpose="credit_scoring")}
    assert scoring["recorded"]["cases"] == 5  # of spending she withdrew for every purpose
    none = {r["stage"]: r for r in ask("latency", since=NOW)}
    assert {(r["cases"], r["p50"]) for r in none.values()} == {(0, None)}


def test_violations_and_gaps(story: Story, ask: Asked) -> None:
    """What was stopped is counted; what later knowledge says of a fetch is named, person by person."""
    first, second, _ = story.receipts
    found = [(r["finding"], r["source"], r["reason"], r["rows"], r["subject_key"]) for r in ask("violations")]
    people = story.people
    later = [("READ_LATE", "spending", "WITHDRAWN", 1, people["anna"])]
    later += [("READ_TAINTED", "employment", "INVALIDATED", 1, people["emil"])]
    assert found == [
        ("READ_UNLAWFUL", "employment", "WITHDRAWN", 1, people["anna"]),
        ("REFUSED_AT_LOADING", "spending", "NO_GRANT", 1, None),
        ("REFUSED_AT_LOADING", "spending", "WITHDRAWN", 1, None),
        *sorted(later, key=lambda finding: finding[-1]),  # of one moment: by pseudonym, which is random
        ("MASKED_IN_TRAINING_SET", "spending", "NO_GRANT", 2, None),
        ("MASKED_IN_TRAINING_SET", "spending", "WITHDRAWN", 1, None),
    ]
    mine = ask("violations", subject_key=people["anna"])
    assert [(r["finding"], r["reference"]) for r in mine] == [
        ("READ_UNLAWFUL", f"receipt {second.receipt_id}"),
        ("READ_LATE", f"receipt {first.receipt_id}"),
    ]
    assert [r["finding"] for r in ask("violations", source="employment")] == ["READ_UNLAWFUL", "READ_TAINTED"]
    assert ask("violations", since=NOW) == []


def test_requests_with_what_became_of_them(story: Story, ask: Asked) -> None:
    """Bela's waits for a hold and becomes late in a month; Chen's was done in 24 days."""
    bela, chen = ask("requests")
    asked_on = NOW - 29 * DAY
    assert (bela["status"], bela["held_by"], bela["days"], bela["late"]) == ("on hold", "case-1", 29, False)
    assert (chen["status"], chen["done_at"], chen["days"]) == ("done", NOW - 5 * DAY, 24)
    assert (chen["source"], bela["source"]) == (ANY, "spending")
    assert chen["received_at"] == bela["received_at"] == asked_on
    assert chen["due_at"] == datetime(2026, 11, 25, 8, tzinfo=NOW.tzinfo)
    assert story.home.path("certificates", f"{chen['certificate']}.certificate").exists()
    assert ask("requests", source="employment") == [chen]
    assert ask("requests", subject_key=story.people["bela"]) == [bela]


@pytest.mark.parametrize(
    ("at", "due"),
    [
        ((2026, 1, 31), (2026, 2, 28)),
        ((2028, 1, 30), (2028, 2, 29)),
        ((2026, 12, 15), (2027, 1, 15)),
        ((2026, 11, 30), (2026, 12, 30)),
    ],
)
def test_a_month_is_a_calendar_month(at: tuple[int, int, int], due: tuple[int, int, int]) -> None:
    assert a_month_after(datetime(*at, 8, tzinfo=NOW.tzinfo)) == datetime(*due, 8, tzinfo=NOW.tzinfo)


def recorded(*events: Event) -> list[Recorded]:
    return [Recorded(n, NOW + n * DAY, each) for n, each in enumerate(events)]


def test_a_request_is_answered_by_what_does_all_it_asks_for() -> None:
    """One source of everything is not all of it; everything is more than one source."""
    asked = [event(Kind.ERASURE_REQUESTED, source=s, purpose=ANY, at=NOW) for s in (ANY, "spending")]
    done = [event(Kind.ERASED, source=s, purpose=ANY, at=NOW) for s in ("employment", "spending", ANY)]
    history = recorded(*asked, *done)
    assert [answer.leaf_index for r in history[:2] if (answer := find_answer(history, r))] == [4, 3]
    assert find_answer(history[:4], history[0]) is None
    assert find_answer(recorded(done[2], asked[0]), recorded(done[2], asked[0])[1]) is None


def test_a_hold_is_released_by_its_own_name() -> None:
    """After it was placed; another's release is none."""

    def hold(kind: Kind, name: str, day: float) -> Event:
        return event(kind, source=ANY, purpose=ANY, at=NOW + day * DAY, hold_id=name)

    placed, other = hold(Kind.HOLD_PLACED, "a", 0), hold(Kind.HOLD_PLACED, "b", 0)
    history = recorded(placed, other, hold(Kind.HOLD_RELEASED, "b", 2), hold(Kind.HOLD_RELEASED, "a", 3))
    assert [release.leaf_index for r in history[:2] if (release := find_release(history, r))] == [3, 2]
    early = recorded(hold(Kind.HOLD_RELEASED, "a", -1), placed)
    assert find_release(early, early[1]) is None


def test_holds(story: Story, ask: Asked) -> None:
    """One in force with a request that waits, one that was released after ten days."""
    bela, dora = ask("holds")
    assert (bela["subject_key"], bela["status"], bela["days"], bela["erasures_waiting"]) == (
        story.people["bela"],
        "in force",
        30,
        1,
    )
    assert (dora["status"], dora["released_at"], dora["days"], dora["erasures_waiting"]) == (
        "released",
        NOW - 9 * DAY,
        10,
        0,
    )
    assert [r["basis"] for r in (bela, dora)] == ["order 7", "order 8"]
    assert ask("holds", since=NOW - 20 * DAY) == [dora]


def test_erasure_certificates(story: Story, ask: Asked) -> None:
    """Every item of Chen's certificate, and what it says of training sets and models."""
    rows = ask("erasure-certificates")
    assert {r["subject_key"] for r in rows} == {story.people["chen"]}
    assert {r["outcome"] for r in rows} == {"ERASED", "RETAINED", "PENDING_BACKUP"}
    assert {(r["training_sets"], r["models"], r["at"]) for r in rows} == {(1, "model-1", NOW - 5 * DAY)}
    (entry,) = [e for e in own(story, "chen") if e.event.kind is Kind.ERASED]
    assert {r["entry"] for r in rows} == {entry.leaf_index}
    (kept,) = [r for r in rows if r["store"] == "consent records"]
    assert kept["until"] == NOW - 5 * DAY + timedelta(days=1_095)
    assert ask("erasure-certificates", since=NOW - 4 * DAY) == []
    assert ask("erasure-certificates", subject_key=story.people["anna"]) == []


def test_where_training_sets_stand_today(story: Story, ask: Asked) -> None:
    """Of the four: Anna withdrew, Bela is held, Chen is erased, Emil's was never valid."""
    third, second, first = ask("training-provenance")
    since = ("ended_since", "invalidated_since", "erased_since", "suspended_since")
    assert [first[name] for name in since] == [1, 1, 1, 1]
    assert (first["people"], first["over_share"], first["models"], first["masked"]) == (4, 0.75, "model-1", 3)
    assert [second[name] for name in since] == [1, 0, 0, 0]  # Fay agreed to no training
    assert [third[name] for name in since] == [0, 0, 0, 0]  # what had ended before has not ended since
    assert (second["receipt"], second["over_share"]) == (story.receipts[1].receipt_id, 0.5)
    assert ask("training-provenance", purpose="fraud_detection") == []


def test_the_record_of_processing(ask: Asked) -> None:
    """A row for each source and purpose, with the controller's own words and the people who agree."""
    rows = ask("processing-record")
    assert len(rows) == 12
    assert {r["controller"] for r in rows} == {"惠民 <Lending> & Co"}
    (row,) = ask("processing-record", source="employment", purpose="credit_scoring")
    assert row["people"] == 1  # Fay; Anna and Emil withdrew, Bela is held, Chen erased
    assert "storage_locations" in row
    assert "30 days" in row["retention"]


def test_impact_inputs(ask: Asked) -> None:
    """Volumes from the job: five rows offered, three let in."""
    figures = {(r["source"], r["measure"]): r["value"] for r in ask("impact-inputs")}
    assert figures["spending", "rows offered"] == 5
    assert figures["spending", "rows loaded"] == 0.6
    assert figures["spending", "rows refused for want of consent"] == 0.4
    assert figures["employment", "training sets"] == 3
    assert figures["employment", "rows handed out for training"] == 7
    assert figures["employment", "models"] == 1
    assert figures["spending", "asked for credit_scoring"] == 6
    assert figures["spending", "refused credit_scoring"] == pytest.approx(1 / 6)


def test_integrity_of_a_whole_record(story: Story, ask: Asked) -> None:
    """Every check is ok, and says how much it has verified."""
    rows = {r["check"]: r for r in ask("integrity")}
    assert {r["outcome"] for r in rows.values()} == {"ok"}
    assert rows["ledger replayed"]["number"] == story.home.ledger.size()
    assert rows["access log replayed"]["number"] == story.home.accesses.size()
    assert rows["receipts of training sets"]["number"] == 3


def test_the_access_log_tells_who_looked(story: Story, ask: Asked) -> None:
    """Newest first; a person's own entries are found with their key alone, and name nobody."""
    key = story.people["dora"]
    story.home.accesses.record(AccessKind.LOOKED, caller="officer:li", subject_key=key, about={"page": "p"})
    rows = ask("access-log", subject_key=key)
    assert [(r["kind"], r["caller"], r["about"]) for r in rows[1:2]] == [("looked", "officer:li", "page=p")]
    everything = ask("access-log")
    numbers = [r["entry"] for r in everything]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == story.home.accesses.size()
    assert key not in str(everything)


def test_that_a_report_was_made_is_written_down_before_it_is_read(story: Story, ask: Asked) -> None:
    """With its name, and about whom only for who has their key."""
    key = story.people["fay"]
    before = story.home.accesses.size()
    for name, definition in REPORTS.items():
        ask(name, limit=1, **({"subject_key": key} if "subject_key" in definition.needs else {}))
    made = story.home.accesses.entries(AccessQuery(AccessKind.REPORTED), limit=len(REPORTS))
    assert [entry.about["report"] for entry in reversed(made)] == list(REPORTS)
    assert story.home.accesses.size() == before + len(REPORTS)
    assert {e.about["report"] for e in made if e.personal} == {"subject-timeline", "decision-explainer"}
    assert key not in str(made)


@pytest.mark.parametrize("name", [name for name in REPORTS if name not in ("access-log",)])
def test_pages_put_together_are_the_whole(story: Story, ask: Asked, name: str) -> None:
    """Nothing is twice, nothing is missing, however the page is cut."""
    about = {"subject_key": story.people["anna"]} if "subject_key" in REPORTS[name].needs else {}
    whole = ask(name, **about)
    if name == "integrity":  # it counts the report that is being made
        whole, about = [r["check"] for r in whole], {}
        pages = [[r["check"] for r in ask(name, limit=3, skip=n)] for n in range(0, 9, 3)]
    else:
        step = max(1, len(whole) // 3)
        pages = [ask(name, **about, limit=step, skip=n) for n in range(0, len(whole), step)]
    assert [row for page in pages for row in page] == whole
