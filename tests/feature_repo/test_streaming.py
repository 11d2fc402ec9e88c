"""Historical fetches in batches: what changes while they are taken, and entity rows in every form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from consent.clock import now_utc
from consent.errors import BadInput, Unavailable
from consent.ledger import new_event_id
from consent.nouns import Event, Kind
from feature_repo.stores import historical
from feature_repo.stores.receipts import read_receipt
from ingestion.tables import read_current
from rights.erase import Wanted, erase
from tests.feature_repo.lender import Lender, values

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d", "employment_v1:tenure_days"]
#: Entity rows in a batch.
BATCH = 4
PEOPLE = 3


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(historical, "_FEWEST_ROWS", BATCH)
    monkeypatch.setattr(historical, "_FIXED_BYTES", 2**60)


class Streamed:
    """People with a value each, who all agreed, and rows about them in turn."""

    def __init__(self, lender: Lender, count: int) -> None:
        self.lender = lender
        self.people = [lender.agrees(PURPOSE) for _ in range(PEOPLE)]
        for source, feature in (("spending", "spend_7d"), ("employment", "tenure_days")):
            lender.publish(source, [(key, -9, {feature: i + 1}) for i, key in enumerate(sorted(self.people))])
        self.value = {key: float(i + 1) for i, key in enumerate(sorted(self.people))}
        asked = [self.people[i % PEOPLE] for i in range(count)]
        self.rows = lender.entities(*((key, 0) for key in asked), application=range(count))

    def job(self, rows: Any = None, refs: list[str] = REFS) -> Any:
        store = self.lender.stores[PURPOSE]
        return store.get_historical_features(entity_df=self.rows if rows is None else rows, features=refs)

    def file(self, path: Path, rows: pd.DataFrame) -> None:
        pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), path, row_group_size=3)


@pytest.fixture
def streamed(lender: Lender) -> Streamed:
    return Streamed(lender, 3 * BATCH)


def column(batch: pa.Table, name: str = "spend_7d") -> list[Any]:
    return batch[name].to_pylist()


@pytest.mark.parametrize("count", [0, 1, BATCH, BATCH + 1, 3 * BATCH])
def test_batches_are_the_whole_result_in_order_and_small(lender: Lender, count: int) -> None:
    streamed = Streamed(lender, count)
    whole, job = streamed.job().to_arrow(), streamed.job()
    batches = list(job.to_arrow_batches())
    assert [b.num_rows for b in batches] == (
        [BATCH] * (count // BATCH) + [count % BATCH] * bool(count % BATCH) or [0]
    )
    assert pa.concat_tables(batches).equals(whole)
    assert column(whole) == [streamed.value[key] for key in streamed.rows["subject_key"]]
    assert (job.receipt.entity_rows, job.receipt.subjects) == (count, min(count, PEOPLE))


def test_on_demand_features_are_computed_for_each_batch(streamed: Streamed) -> None:
    keys = sorted(streamed.people)
    rows = [(k, -9, {"income_30d": 100.0, "repayment_to_income_30d": 0.5}) for k in keys]
    streamed.lender.publish("spending", rows)
    wanted = ["loan_affordability:debt_service_to_income"]
    batches = list(streamed.job(streamed.rows.assign(monthly_instalment=25.0), wanted).to_arrow_batches())
    assert [column(batch, "debt_service_to_income") for batch in batches] == [[0.75] * BATCH] * 3


def test_the_receipt_is_on_disk_before_the_first_value(streamed: Streamed) -> None:
    job = streamed.job()
    batches = job.to_arrow_batches()
    receipt = read_receipt(streamed.lender.home, job.receipt.receipt_id)
    assert (receipt.entity_rows, [view.given for view in receipt.views]) == (3 * BATCH, [3 * BATCH] * 2)
    assert sum(batch.num_rows for batch in batches) == 3 * BATCH


def taken(batches: Iterator[pa.Table]) -> list[list[Any]]:
    return [column(batch) for batch in batches]


def test_what_is_taken_back_between_batches_stays_out_of_the_later_ones(streamed: Streamed) -> None:
    job = streamed.job()
    batches = job.to_arrow_batches()
    first, gone = column(next(batches)), streamed.people[0]
    assert first[0] == streamed.value[gone]
    streamed.lender.withdraw(gone, "spending")
    later = pa.concat_tables(batches).to_pylist()
    assert len(later) == 2 * BATCH
    for row in later:
        key, expected = row["subject_key"], streamed.value[row["subject_key"]]
        assert row["spend_7d"] == (None if key == gone else expected)
        assert row["tenure_days"] == expected
    # It counts more than was handed out, never less.
    assert [view.given for view in job.receipt.views] == [3 * BATCH] * 2


def test_what_becomes_allowed_meanwhile_is_not_in_the_receipt_and_stays_out(streamed: Streamed) -> None:
    late = streamed.lender.person()
    known = sorted([*streamed.people, late])
    streamed.lender.publish("spending", [(key, -9, {"spend_7d": 1.0}) for key in known])
    rows = streamed.lender.entities(*((key, 0) for key in [*streamed.people, late] * 3))
    job = streamed.job(rows, REFS[:1])
    batches = job.to_arrow_batches()
    assert column(next(batches)) == [1.0, 1.0, 1.0, None]
    streamed.lender.record(streamed.lender.grant(late, "spending", PURPOSE))
    assert taken(batches) == [[1.0, 1.0, 1.0, None]] * 2
    assert (job.receipt.subjects, job.receipt.views[0].masked) == (PEOPLE, {"NO_GRANT": 3})
    assert column(streamed.job(rows, REFS[:1]).to_arrow()) == [1.0] * 12


def test_a_pause_between_batches_counts_and_so_does_its_end(streamed: Streamed) -> None:
    def say(kind: Kind) -> None:
        about = ("spending", PURPOSE, now_utc())
        streamed.lender.record(*(Event(new_event_id(), kind, key, *about) for key in streamed.people))

    batches = streamed.job(refs=REFS[:1]).to_arrow_batches()
    next(batches)
    say(Kind.PAUSED)
    assert column(next(batches)) == [None] * BATCH
    say(Kind.RESUMED)
    assert None not in column(next(batches))


def test_a_data_version_published_between_batches_is_for_the_next_fetch(streamed: Streamed) -> None:
    """One fetch, one version of each table; its receipt names it."""
    job = streamed.job(refs=REFS[:1])
    batches = job.to_arrow_batches()
    next(batches)
    assert job.receipt.tables[0].version == read_current(streamed.lender.home, "spending_v1").number
    streamed.lender.publish("spending", [(key, -9, {"spend_7d": 99.0}) for key in sorted(streamed.people)])
    assert 99.0 not in [value for batch in taken(batches) for value in batch]
    assert set(column(streamed.job(refs=REFS[:1]).to_arrow())) == {99.0}


def test_an_erasure_between_batches_ends_the_fetch(streamed: Streamed) -> None:
    """The file that the values would have come from is gone with everything that could open it."""
    batches = streamed.job().to_arrow_batches()
    next(batches)
    list(erase(streamed.lender.home, [Wanted(streamed.people[0])]))
    with pytest.raises(Unavailable):
        next(batches)
    left = streamed.job().to_arrow()
    asked = streamed.rows["subject_key"]
    assert column(left) == [None if k == streamed.people[0] else streamed.value[k] for k in asked]


@pytest.mark.parametrize("how", ["frame", "table", "dataset", "several files"])
def test_entity_rows_may_come_in_every_form(streamed: Streamed, tmp_path: Path, how: str) -> None:
    frame = streamed.rows
    streamed.file(tmp_path / "a.parquet", frame[:5])
    streamed.file(tmp_path / "b.parquet", frame[5:])
    streamed.file(tmp_path / "whole.parquet", frame)
    forms = {
        "frame": frame,
        "table": pa.Table.from_pandas(frame, preserve_index=False),
        "dataset": pads.dataset(tmp_path / "whole.parquet"),
        "several files": pads.dataset([tmp_path / "a.parquet", tmp_path / "b.parquet"]),
    }
    expected = [streamed.value[key] for key in frame["subject_key"]]
    job = streamed.job(forms[how])
    whole = job.to_arrow()
    assert column(whole) == expected
    assert column(whole, "application") == list(range(len(frame)))
    batches = list(streamed.job(forms[how]).to_arrow_batches())
    assert [b.num_rows for b in batches] == [BATCH] * 3
    assert [value for batch in taken(batches) for value in batch] == expected


@pytest.mark.parametrize("what", ["other people", "other instants", "fewer rows", "more rows", "none"])
def test_entity_files_that_change_meanwhile_are_noticed(
    streamed: Streamed, tmp_path: Path, what: str
) -> None:
    """Who and when decides; a row that was not decided gets nothing."""
    path, rows = tmp_path / "rows.parquet", streamed.rows
    streamed.file(path, rows)
    batches = streamed.job(pads.dataset(path)).to_arrow_batches()
    other = {
        "other people": rows.assign(subject_key=[*rows["subject_key"][:-1], "f" * 32]),
        "other instants": rows.assign(event_timestamp=rows["event_timestamp"] + pd.Timedelta("1us")),
        "fewer rows": rows[:-1],
        "more rows": pd.concat([rows[:1], rows]),
        "none": rows[:0],
    }[what]
    streamed.file(path, other)
    with pytest.raises(BadInput, match=r"have changed since|cannot be read"):
        list(batches)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no Parquet at all"])
def test_entity_files_that_become_unreadable(streamed: Streamed, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.parquet"
    streamed.file(path, streamed.rows)
    job = streamed.job(pads.dataset(path))
    path.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read"):
        list(job.to_arrow_batches())
    path.unlink()
    with pytest.raises(BadInput, match="cannot be read"):
        job.to_arrow()


def test_instants_in_files_are_taken_as_in_frames(streamed: Streamed, tmp_path: Path) -> None:
    """Nanoseconds are rounded down, other zones are other words for the same instant, none is UTC."""
    key, at = streamed.people[0], pd.Timestamp(streamed.lender.at(-9))
    exact = pa.array([at.value, at.value - 1, at.value + 999, None], pa.timestamp("ns"))
    for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns", "Asia/Shanghai"), pa.timestamp("ns")):
        instants = exact.cast(kind) if kind.tz is None else exact.cast(pa.timestamp("ns", "UTC")).cast(kind)
        rows = pa.table({"subject_key": [key] * 4, "event_timestamp": instants})
        pq.write_table(rows, tmp_path / "rows.parquet")
        for form in (rows, pads.dataset(tmp_path / "rows.parquet"), rows.to_pandas()):
            job = streamed.job(form, REFS[:1])
            assert column(job.to_arrow()) == [streamed.value[key], None, streamed.value[key], None]
            assert job.receipt.views[0].masked == {"UNKNOWN": 1}


def test_more_memory_means_fewer_turns_never_fewer_rows_than_the_least(
    streamed: Streamed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit governs how many rows there are at a time."""
    monkeypatch.undo()
    entities = historical.EntityRows(
        pa.table({"subject_key": ["a"], "event_timestamp": [1]}), "event_timestamp"
    )
    sizes = [
        historical.Wanted(None, [], entities, (), limit).rows_at_a_time  # type: ignore[arg-type]
        for limit in (1, 128, 1024, 2048)
    ]
    assert sizes[0] == historical._FEWEST_ROWS
    assert sizes == sorted(sizes)
    assert 2.0 < sizes[3] / sizes[2] < 2.2


def test_a_value_as_old_as_the_ttl_counts_and_a_microsecond_older_does_not(streamed: Streamed) -> None:
    key, store = streamed.people[0], streamed.lender.stores[PURPOSE]
    ttl = store.get_feature_view("spending_v1").ttl
    edge = pd.Timestamp(streamed.lender.at(-50)) + ttl
    streamed.lender.publish("spending", [(key, -50, {"spend_7d": 5.0})])
    at = [edge, edge + pd.Timedelta("1us"), edge + pd.Timedelta("999ns")]
    rows = pd.DataFrame({"subject_key": key, "event_timestamp": at})
    assert values(streamed.job(rows, REFS[:1]).to_df(), "spend_7d") == [5.0, None, 5.0]
