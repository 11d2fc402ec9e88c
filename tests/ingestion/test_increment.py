"""A publish that keeps what is untouched gives the version that computing everything gives."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Kind
from ingestion.publish import Published, publish
from ingestion.run import ingest
from ingestion.tables import read_current, read_table
from tests.ingestion.conftest import grant_event, transaction, write_csv

DAY = timedelta(days=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
PEOPLE = tuple("甲乙丙丁戊己")


def table_of(home: Home) -> pa.Table:
    return read_table(home, read_current(home, "spending_v1"))


def require_same_as_anew(home: Home, published: Published, **options: Any) -> None:
    """The rows of the newest version, and of one computed whole from a copy of the home."""
    kept = table_of(home)
    copy = home.root.with_name(f"copy-{new_event_id()}")
    for mine, theirs in ((home.root, copy), (home.keys, copy.with_name(copy.name + ".keys"))):
        shutil.copytree(mine, theirs)
    whole = Home.open(copy)
    (again,) = publish(whole, ["spending"], full=True, **options)
    assert again.computed == again.subjects
    assert kept.equals(table_of(whole))
    assert published.computed <= published.subjects
    for path in (copy, copy.with_name(copy.name + ".keys")):
        shutil.rmtree(path)


def one(home: Home, **options: Any) -> Published:
    (published,) = publish(home, ["spending"], **options)
    return published


@pytest.fixture
def filled(home: Home, consent: Callable[..., str], tmp_path: Path) -> dict[str, str]:
    """Six people with some days of spending; published as of the tenth of March."""
    keys = {name: consent(name) for name in PEOPLE}
    rows = [
        transaction(name, 100 * i + day, occurred_at=f"2026-03-{day:02d}T12:00:00Z", amount=f"{day + i}.25")
        for i, name in enumerate(PEOPLE)
        for day in (1, 2, 5, 9)
    ]
    ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    one(home, as_of=START + 9 * DAY)
    return keys


def test_only_who_has_new_records_is_computed_anew(
    home: Home, filled: dict[str, str], tmp_path: Path
) -> None:
    """A late record and a corrected one, on the same day as before."""
    rows = [
        transaction("甲", 900, occurred_at="2026-03-03T12:00:00Z", amount="70.00"),
        transaction("乙", 102, occurred_at="2026-03-02T12:00:00Z", amount="99.00"),
    ]
    ingest(home, "spending", [write_csv(tmp_path / "late.csv", rows)])
    published = one(home, as_of=START + 9 * DAY)
    assert (published.computed, published.subjects) == (2, 6)
    require_same_as_anew(home, published, as_of=START + 9 * DAY)


def test_a_later_day_computes_no_earlier_one_again(home: Home, filled: dict[str, str]) -> None:
    """Nobody's whole history, though everybody gets a row of the new day and loses that of the old."""
    published = one(home, as_of=START + 20 * DAY)
    assert published.computed == 0
    days = table_of(home)["event_timestamp"].to_pylist()
    assert days.count(START + 20 * DAY) == 6
    require_same_as_anew(home, published, as_of=START + 20 * DAY)


def test_an_earlier_day_computes_everything(home: Home, filled: dict[str, str]) -> None:
    """Rows of days that had not come must not stay."""
    published = one(home, as_of=START + 4 * DAY)
    assert published.computed == published.subjects == 6
    require_same_as_anew(home, published, as_of=START + 4 * DAY)


def test_days_that_are_asked_for_are_computed_for_those_people(home: Home, filled: dict[str, str]) -> None:
    """Before the last day and on it; they stay in later versions."""
    asked = pa.table(
        {
            "subject_key": [filled["甲"], filled["丙"]],
            "event_timestamp": pa.array([START + 3 * DAY, START + 9 * DAY]),
        }
    )
    published = one(home, as_of=START + 9 * DAY, entities=asked)
    assert published.computed == 1
    require_same_as_anew(home, published, as_of=START + 9 * DAY)
    published = one(home, as_of=START + 15 * DAY)
    assert published.computed == 0
    require_same_as_anew(home, published, as_of=START + 15 * DAY)


def test_other_terms_of_consent_touch_their_person(
    home: Home, filled: dict[str, str], consent: Callable[..., str], withdraw: Callable[..., None]
) -> None:
    """A withdrawal, a narrower range of data, somebody who comes back."""
    withdraw("甲", "spending")
    withdraw("乙", "spending")
    consent("乙", data_from=datetime(2026, 3, 4, tzinfo=UTC))
    published = one(home, as_of=START + 12 * DAY)
    assert (published.computed, published.subjects) == (1, 5)
    require_same_as_anew(home, published, as_of=START + 12 * DAY)
    consent("甲")
    published = one(home, as_of=START + 12 * DAY)
    assert (published.computed, published.subjects) == (1, 6)
    require_same_as_anew(home, published, as_of=START + 12 * DAY)


def test_records_that_have_grown_too_old_touch_their_person(
    home: Home, consent: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the consent says how long a record may be used, also without a new day."""
    ages, stays = consent("甲", data_life=timedelta(days=30)), consent("乙", data_life=timedelta(days=3_000))
    now = now_utc()
    rows = [
        transaction(name, 10 * i + day, occurred_at=(now - day * DAY).isoformat(), amount=f"{day}.25")
        for i, name in enumerate("甲乙")
        for day in (3, 29)
    ]
    ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    assert one(home).computed == 2
    later = now + 2 * DAY
    monkeypatch.setattr(home.ledger, "_clock", lambda: later)
    published = one(home)
    assert published.computed == 1
    counts = table_of(home).group_by("subject_key").aggregate([([], "count_all")]).to_pylist()
    assert {row["subject_key"]: row["count_all"] for row in counts} == {ages: 2, stays: 3}


def test_rows_that_were_taken_out_are_no_basis(home: Home, filled: dict[str, str]) -> None:
    """What an erasure or a sweep has touched is computed whole."""
    from ingestion.holdings import remove_from_tables

    remove_from_tables(home, "spending", [filled["甲"]])
    published = one(home, as_of=START + 12 * DAY)
    assert published.computed == published.subjects == 6
    require_same_as_anew(home, published, as_of=START + 12 * DAY)


def test_full_computes_everything_even_where_nothing_has_changed(home: Home, filled: dict[str, str]) -> None:
    """And without it nothing is published."""
    before = table_of(home)
    assert not one(home, as_of=START + 9 * DAY).fresh
    published = one(home, as_of=START + 9 * DAY, full=True)
    assert (published.fresh, published.computed) == (True, 6)
    assert table_of(home).equals(before)


@pytest.mark.parametrize("seed", range(3))
def test_any_history_gives_the_same_either_way(home: Home, tmp_path: Path, seed: int) -> None:
    """Law: whatever comes in, in whatever order, keeping what is untouched changes no row."""
    dice = random.Random(seed)
    home.settings = replace(home.settings, reject_above=1.0)
    day, number, kept = 3, 0, 0
    for step in range(4):
        events, rows = [], []
        for name in dice.sample(PEOPLE, dice.randint(0, 4)):
            key = home.directory.find_or_create([name])[0]
            if dice.random() < 0.25:
                events.append(Event(new_event_id(), Kind.WITHDRAWN, key, "spending", ANY, now_utc()))
            else:
                reach = START + timedelta(days=dice.choice([-400, -400, 2, 6]))
                life = dice.choice([None, None, timedelta(days=3_000)])
                purpose = dice.choice(["credit_scoring", "model_training"])
                events.append(grant_event(key, "spending", purpose, data_from=reach, data_life=life))
        for event in events:
            try:
                home.ledger.append([event])
            except Exception:  # a withdrawal of nothing
                continue
        for _ in range(dice.randint(0, 12)):
            number = dice.choice([number + 1, number + 1, max(1, number - 2)])
            at = START + timedelta(days=dice.randint(-40, day + 5), hours=dice.randint(0, 23))
            rows.append(
                transaction(
                    dice.choice(PEOPLE),
                    number,
                    occurred_at=at.isoformat(),
                    amount=f"{dice.randint(1, 900)}.{dice.randint(10, 99)}",
                    direction=dice.choice(["debit", "debit", "credit"]),
                )
            )
        if rows:
            ingest(home, "spending", [write_csv(tmp_path / f"{step}.csv", rows)])
        known = [k for k in home.directory.find(list(PEOPLE)) if k]
        asked = None
        if known and dice.random() < 0.4:
            instants = [START + timedelta(days=dice.randint(-5, day)) for _ in known]
            asked = pa.table({"subject_key": known, "event_timestamp": pa.array(instants)})
        day += dice.choice([0, 1, 1, 4])
        published = publish(home, ["spending"], as_of=START + day * DAY, entities=asked)
        if published:
            kept += published[0].subjects - published[0].computed if published[0].fresh else 0
            require_same_as_anew(home, published[0], as_of=START + day * DAY)
