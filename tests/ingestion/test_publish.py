"""Published feature tables: immutable definitions, atomic versions, nobody in them who may not be used."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consent.clock import now_utc
from consent.errors import BadInput, Conflict, EvidenceError, Gap
from consent.home import Home
from ingestion.entities import NOBODY, read_entities
from ingestion.publish import describe, publish
from ingestion.run import ingest
from ingestion.sources import SOURCES
from ingestion.tables import publish_table, read_current, read_table, read_versions
from tests.ingestion.conftest import transaction, write_csv
from tests.ingestion.killing import kill_at_each_step


@pytest.fixture
def filled(home: Home, consent: Callable[..., str], tmp_path: Path) -> dict[str, str]:
    """Two people with spending in the vault; customer number -> subject key."""
    keys = {name: consent(name) for name in ("甲", "乙")}
    rows = [
        transaction(name, 10 * i + day, occurred_at=f"2026-03-{day:02d}T12:00:00Z", amount=f"{day}.25")
        for i, name in enumerate(keys)
        for day in (1, 2, 9)
    ]
    ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    return keys


def current(home: Home) -> pa.Table:
    return read_table(home, read_current(home, "spending_v1"))


def test_a_row_per_day_of_activity_and_one_as_of_now(home: Home, filled: dict[str, str]) -> None:
    """The timestamp of a row is the midnight after the last day it has seen."""
    publish(home)
    rows = [r for r in current(home).to_pylist() if r["subject_key"] == filled["甲"]]
    assert [r["event_timestamp"] for r in rows[:3]] == [datetime(2026, 3, d, tzinfo=UTC) for d in (2, 3, 10)]
    assert [r["spend_7d"] for r in rows[:3]] == [1.25, 3.5, 9.25]
    today = now_utc().replace(hour=0, minute=0, second=0, microsecond=0)
    assert rows[3]["event_timestamp"] == today
    assert rows[3]["spend_7d"] == 0


def test_rows_for_the_instants_asked_for(home: Home, filled: dict[str, str]) -> None:
    """An entity's instant gets a row whose windows end at the midnight at or before it, and sees nothing later."""
    asked = pa.table(
        {
            "subject_key": [filled["甲"], filled["乙"], NOBODY],
            "event_timestamp": pa.array(
                [
                    datetime(2026, 3, 5, 9, tzinfo=UTC),
                    datetime(2026, 3, 9, tzinfo=UTC),
                    datetime(2026, 3, 9, tzinfo=UTC),
                ]
            ),
        }
    )
    publish(home, entities=asked)
    rows = {(r["subject_key"], r["event_timestamp"]): r for r in current(home).to_pylist()}
    assert rows[filled["甲"], datetime(2026, 3, 5, tzinfo=UTC)]["spend_30d"] == 3.5
    assert rows[filled["乙"], datetime(2026, 3, 9, tzinfo=UTC)]["spend_30d"] == 3.5
    assert not any(key == NOBODY for key, _ in rows)


def test_no_row_is_dated_after_as_of_or_in_the_future(
    home: Home, filled: dict[str, str], consent: Callable[..., str], tmp_path: Path
) -> None:
    """As of a past instant nobody has a later row; a job that ends next year makes no row of next year."""
    asked = pa.table(
        {"subject_key": [filled["甲"]], "event_timestamp": pa.array([datetime(2090, 1, 1, tzinfo=UTC)])}
    )
    publish(home, as_of=datetime(2026, 3, 3, 7, tzinfo=UTC), entities=asked)
    assert max(current(home)["event_timestamp"].to_pylist()) == datetime(2026, 3, 3, tzinfo=UTC)
    publish(home, as_of=datetime(2090, 1, 1, tzinfo=UTC))
    assert max(current(home)["event_timestamp"].to_pylist()) <= now_utc()
    consent("甲", source="employment")
    report = {"subject_id": "甲", "record_id": "r", "reported_at": "2026-03-01", "employer_type": "private"}
    report |= {"started_on": "2020-01-01", "ended_on": (now_utc() + timedelta(days=60)).date().isoformat()}
    ingest(home, "employment", [write_csv(tmp_path / "e.csv", [report])])
    publish(home, ["employment"])
    jobs = read_table(home, read_current(home, "employment_v1"))
    assert jobs.num_rows == 2
    assert max(jobs["event_timestamp"].to_pylist()) <= now_utc()


def test_publishing_twice_without_a_change_publishes_once(home: Home, filled: dict[str, str]) -> None:
    """Idempotent: the same input is the same version."""
    assert [p.fresh for p in publish(home)] == [True]
    assert [p.fresh for p in publish(home)] == [False]
    assert [v.number for v in read_versions(home, "spending_v1")] == [1]


def test_new_rows_make_a_new_version_and_the_old_one_stays(
    home: Home, filled: dict[str, str], tmp_path: Path
) -> None:
    """Each publish is one atomic data version; earlier ones stay readable."""
    publish(home)
    before = read_table(home, read_current(home, "spending_v1"))
    ingest(home, "spending", [write_csv(tmp_path / "g.csv", [transaction("甲", 99)])])
    publish(home)
    first, second = read_versions(home, "spending_v1")
    assert read_table(home, first).equals(before)
    assert second.number == 2
    assert read_table(home, second).num_rows == before.num_rows


def test_people_who_withdrew_leave_the_next_version(
    home: Home, filled: dict[str, str], withdraw: Callable[..., None]
) -> None:
    """A version is computed from people of whom some purpose may still use the source."""
    publish(home)
    withdraw("乙", "spending")
    publish(home)
    assert set(current(home)["subject_key"].to_pylist()) == {filled["甲"]}


def test_a_changed_definition_is_refused_with_the_difference(
    home: Home, filled: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A published definition version is immutable."""
    publish(home)
    spending = SOURCES["spending"]
    changed = dataclasses.replace(
        spending, compute=lambda events, spine: spending.compute(events, spine).mutate(spend_7d=0.0)
    )
    monkeypatch.setitem(SOURCES, "spending", changed)
    with pytest.raises(Conflict, match=r"(?s)spending_v1 is published and immutable.*\n\+"):
        publish(home)
    assert len(read_versions(home, "spending_v1")) == 1


def test_the_description_is_the_same_in_every_process() -> None:
    """The definition's hash does not depend on the process that computes it."""
    script = (
        "from ingestion.publish import describe; from ingestion.sources import SOURCES;"
        " from ingestion.tables import definition_hash; print(definition_hash(describe(SOURCES['spending'])))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    hashes = {
        subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env=environment | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1
    assert describe(SOURCES["spending"])["features"]["spend_7d"] == "float64"


def test_nothing_is_published_before_there_is_data(home: Home) -> None:
    """An empty home publishes nothing, and reading says what to do."""
    assert publish(home) == []
    with pytest.raises(Gap, match="nothing is published"):
        read_current(home, "spending_v1")


def test_files_are_encrypted_and_bound_to_their_version(home: Home, filled: dict[str, str]) -> None:
    """A stolen, changed or swapped file gives nothing; a plain reader cannot even read the footer."""
    publish(home)
    version = read_current(home, "spending_v1")
    path = home.path("tables", "spending_v1", version.files[0].file)
    content = path.read_bytes()
    assert b"PARE" in (content[:4], content[-4:])
    assert filled["甲"].encode() not in content
    with pytest.raises((OSError, pa.ArrowInvalid)):
        pq.read_table(path)
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(EvidenceError, match="was changed"):
        read_table(home, version)
    path.write_bytes(content)
    publish(home, as_of=datetime(2026, 4, 1, tzinfo=UTC))
    (other,) = read_current(home, "spending_v1").files
    swapped = dataclasses.replace(version.files[0], key_id=other.key_id)
    with pytest.raises((EvidenceError, OSError)):
        read_table(home, dataclasses.replace(version, files=(swapped,)))


def test_a_version_swapped_for_another_is_evidence(home: Home, filled: dict[str, str]) -> None:
    """Manifests are bound to their names; a missing one is noticed."""
    publish(home)
    publish(home, as_of=datetime(2026, 4, 1, tzinfo=UTC))
    first, second = sorted(home.path("tables", "spending_v1").glob("v*.json"))
    kept = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(EvidenceError):
        read_versions(home, "spending_v1")
    second.write_bytes(kept)
    first.unlink()
    with pytest.raises(EvidenceError, match="missing"):
        read_versions(home, "spending_v1")


def test_a_killed_publish_leaves_the_last_version_and_run_again_completes(
    home: Home, filled: dict[str, str], tmp_path: Path
) -> None:
    """Killed at every durable step: the previous version stays readable, and the next run publishes one more."""
    publish(home)
    before = current(home)
    ingest(home, "spending", [write_csv(tmp_path / "g.csv", [transaction("甲", 99, amount="5.00")])])
    codes = kill_at_each_step("publish(home)", home, range(1, 12))
    assert codes.count(9) >= 5
    assert read_table(home, read_versions(home, "spending_v1")[0]).equals(before)
    publish(home)
    assert [v.number for v in read_versions(home, "spending_v1")] == [1, 2]
    march_first = [
        r for r in current(home).to_pylist() if r["event_timestamp"] == datetime(2026, 3, 2, tzinfo=UTC)
    ]
    assert sorted(r["spend_7d"] for r in march_first) == [1.25, 6.25]
    assert not list(home.path("tables").rglob("*.partial"))


def test_unique_rows_only_ever_leave(home: Home, filled: dict[str, str]) -> None:
    """(subject_key, event_timestamp) is unique in what is published, and sorted."""
    publish(home)
    keys = current(home).select(["subject_key", "event_timestamp"])
    assert keys.group_by(keys.column_names).aggregate([]).num_rows == keys.num_rows
    assert keys.equals(keys.sort_by([("subject_key", "ascending"), ("event_timestamp", "ascending")]))


def test_definition_is_fixed_by_the_first_publish(home: Home) -> None:
    """The table itself refuses a second definition, whoever publishes."""
    rows = pa.table({"subject_key": ["a" * 32], "event_timestamp": pa.array([now_utc()])})
    common = {"input_hash": "x", "lineage": {}, "now": now_utc()}
    publish_table(home, "t_v1", [rows], definition={"maths": 1}, **common)
    with pytest.raises(Conflict):
        publish_table(home, "t_v1", [rows], definition={"maths": 2}, **common)


def test_entity_files(home: Home, filled: dict[str, str], tmp_path: Path) -> None:
    """Customer numbers become subject keys, unknown people nobody; other columns and the order stay."""
    path = tmp_path / "loans.csv"
    path.write_text(
        "loan,subject_id,event_timestamp,defaulted\n"
        "L1,乙,2026-03-05,0\nL2,nobody,2026-03-05T08:00:00+08:00,1\nL3,甲,2026-03-05,\n"
    )
    entities = read_entities(home, path)
    assert entities["subject_key"].to_pylist() == [filled["乙"], NOBODY, filled["甲"]]
    assert entities["loan"].to_pylist() == ["L1", "L2", "L3"]
    assert entities["defaulted"].to_pylist() == [0, 1, None]
    path.write_text(f"subject_key,event_timestamp\n{filled['甲']},2026-03-05\n")
    assert read_entities(home, path)["subject_key"].to_pylist() == [filled["甲"]]
    path.write_text("subject_id,event_timestamp\n甲,soon\n乙,2026-03-05\n")
    with pytest.raises(BadInput, match="unreadable in 1 of 2 rows"):
        read_entities(home, path)
    with pytest.raises(BadInput, match="format is not known"):
        read_entities(home, tmp_path / "loans.xlsx")
    path.write_text("subject_id,event_timestamp,loan,amount\n甲,2026-03-05,00042,7\n乙,2026-03-05,00043,8\n")
    entities = read_entities(home, path)
    assert (entities["loan"].to_pylist(), entities["amount"].to_pylist()) == (["00042", "00043"], [7, 8])
    for header in ("subject_id,subject_key,event_timestamp", "subject_id,event_timestamp,event_timestamp"):
        path.write_text(f"{header}\n甲,x,2026-03-05\n")
        with pytest.raises(BadInput, match="twice"):
            read_entities(home, path)


def test_instants_asked_for_once_stay_in_later_versions(
    home: Home, filled: dict[str, str], tmp_path: Path
) -> None:
    """The same training set fetched after the next daily publish finds the same rows."""
    asked = pa.table(
        {"subject_key": [filled["甲"]], "event_timestamp": pa.array([datetime(2026, 3, 5, 9, tzinfo=UTC)])}
    )
    publish(home, entities=asked)
    assert [p.fresh for p in publish(home)] == [False]
    ingest(home, "spending", [write_csv(tmp_path / "g.csv", [transaction("乙", 99)])])
    publish(home)
    rows = {(r["subject_key"], r["event_timestamp"]) for r in current(home).to_pylist()}
    assert (filled["甲"], datetime(2026, 3, 5, tzinfo=UTC)) in rows
    (kept,) = home.path("tables", "spending_v1").glob("asked-*.parquet")
    assert pq.read_schema(kept).names == ["subject_key", "key_version", "rows", "nonce", "sealed"]


def test_records_that_no_consent_covers_any_more_are_in_no_feature(
    home: Home, filled: dict[str, str], consent: Callable[..., str], withdraw: Callable[..., None]
) -> None:
    """A person who narrows how far back data may reach leaves out what was loaded before."""
    publish(home)
    withdraw("甲", "spending")
    consent("甲", data_from=datetime(2026, 3, 5, tzinfo=UTC))
    publish(home)
    rows = [r for r in current(home).to_pylist() if r["subject_key"] == filled["甲"]]
    assert [r["spend_90d"] for r in rows[:1]] == [9.25]
    assert read_current(home, "spending_v1").number == 2
