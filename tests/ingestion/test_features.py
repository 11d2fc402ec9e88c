"""The maths of every source on DuckDB: equal to a slow twin on random histories, blind to what it must not see."""

import datetime as dt
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import duckdb
import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingestion.source import Source
from ingestion.sources import SOURCES
from tests.reference import features_twin as twin

Row = dict[str, Any]
Spine = Sequence[tuple[str, int]]

SUBJECTS = ("ada", "ben", "cho")
DAY_0 = 19_723  # 2024-01-01
SPINE_SCHEMA = pa.schema([("subject_key", pa.string()), ("day", pa.int64())])


def events_schema(source: Source) -> pa.Schema:
    extra = [("row_number", pa.int64()), ("batch_order", pa.int64())]
    return pa.schema([("subject_key", pa.string()), *source.schema, *extra])


@cache
def engine(name: str) -> duckdb.DuckDBPyConnection:
    """DuckDB with a source's maths prepared, in a session time zone that is not UTC, as on a lender's server."""
    source, connection = SOURCES[name], duckdb.connect()
    connection.execute("SET threads = 1; SET TimeZone = 'Asia/Ho_Chi_Minh'")
    for table, schema in (("events", events_schema(source)), ("spine", SPINE_SCHEMA)):
        connection.register("empty", schema.empty_table())
        connection.execute(f"CREATE TABLE {table} AS FROM empty")
    events, spine = (
        ibis.table(ibis.Schema.from_pyarrow(schema), name=table)
        for table, schema in (("events", events_schema(source)), ("spine", SPINE_SCHEMA))
    )
    for statement, expression in (
        ("active_days", source.active_days(events)),
        ("compute", source.compute(events, spine)),
    ):
        connection.execute(f"PREPARE {statement} AS {ibis.to_sql(expression, dialect='duckdb')}")
    return connection


def answer(name: str, statement: str, events: pa.Table, spine: pa.Table) -> pa.Table:
    """What a prepared statement gives for these events and this spine."""
    connection = engine(name)
    for table, content in (("events", events), ("spine", spine)):
        connection.register("content", content)
        connection.execute(f"DELETE FROM {table}; INSERT INTO {table} FROM content")
    return connection.sql(f"EXECUTE {statement}").to_arrow_table()


@cache
def utc_backend() -> Any:
    """Ibis on a DuckDB of its own, in UTC."""
    backend = ibis.duckdb.connect()
    backend.raw_sql("SET threads = 1; SET TimeZone = 'UTC'")
    return backend


def spine_table(spine: Spine) -> pa.Table:
    return pa.Table.from_pylist([{"subject_key": s, "day": d} for s, d in spine], SPINE_SCHEMA)


def events_table(name: str, events: Sequence[Row]) -> pa.Table:
    return pa.Table.from_pylist(list(events), events_schema(SOURCES[name]))


def computed(name: str, events: Sequence[Row], spine: Spine) -> pa.Table:
    return answer(name, "compute", events_table(name, events), spine_table(spine))


def rows(name: str, events: Sequence[Row], spine: Spine) -> list[Row]:
    """The result by subject and day: floats as they are, not rounded."""
    return sorted(computed(name, events, spine).to_pylist(), key=lambda row: (row["subject_key"], row["day"]))


def active_days(name: str, events: Sequence[Row]) -> list[tuple[str, int]]:
    result = answer(name, "active_days", events_table(name, events), spine_table(()))
    assert result.schema == SPINE_SCHEMA
    return sorted((row["subject_key"], row["day"]) for row in result.to_pylist())


# ------------------------------------------------------------------------------------------- random histories

_times = st.one_of(
    st.sampled_from(
        [
            dt.timedelta(),
            dt.timedelta(hours=6, microseconds=-1),
            dt.timedelta(hours=6),
            dt.timedelta(days=1, microseconds=-1),
        ]
    ),
    st.integers(0, 86_400_000_000 - 1).map(lambda us: dt.timedelta(microseconds=us)),
)


def _instants(last_day: int) -> st.SearchStrategy[dt.datetime]:
    days = st.one_of(st.integers(0, last_day), st.sampled_from([0, 6, 7, 29, 30, 89, 90]))
    return st.builds(lambda day, time: twin.EPOCH + dt.timedelta(days=DAY_0 + day) + time, days, _times)


def _money(low: int, high: int) -> st.SearchStrategy[Decimal]:
    cents = st.one_of(st.integers(low, high), st.integers(low, 30))
    return cents.map(lambda n: Decimal(n).scaleb(-2))


def _maybe(values: Sequence[str]) -> st.SearchStrategy[str | None]:
    return st.one_of(st.none(), st.sampled_from(values))


_common = {"subject_key": st.sampled_from(SUBJECTS), "batch_order": st.integers(0, 2)}

_transaction = st.fixed_dictionaries(
    {
        **_common,
        "transaction_id": st.integers(0, 40).map("t{}".format),
        "occurred_at": _instants(130),
        "amount": _money(1, 10**9),
        "currency": st.just("VND"),
        "direction": st.sampled_from(["debit", "credit"]),
        "kind": st.sampled_from(
            [
                "purchase",
                "transfer",
                "salary",
                "salary",
                "cash",
                "loan_disbursal",
                "loan_repayment",
                "nsf_fee",
            ]
        ),
        "category": _maybe(["groceries", "rent", "gambling", "cash", "health", "dining"]),
        "merchant": st.none(),
        "counterparty": _maybe(["bank one", "bank two", "bank three"]),
        "balance_after": st.one_of(st.none(), _money(-(10**6), 10**9)),
    }
)

_dates = st.integers(DAY_0 - 1300, DAY_0 + 200).map(lambda day: twin.EPOCH.date() + dt.timedelta(days=day))

_report = st.fixed_dictionaries(
    {
        **_common,
        "record_id": st.integers(0, 4).map("r{}".format),
        "reported_at": _instants(500),
        "employer": st.none(),
        "employer_type": st.sampled_from(["government", "state_owned", "private", "self_employed"]),
        "job_title": st.none(),
        "monthly_salary": st.one_of(st.none(), st.just(Decimal(0)), _money(1, 10**9)),
        "currency": st.just("VND"),
        "started_on": _dates,
        "ended_on": st.one_of(st.none(), _dates),
    }
)

_use = st.fixed_dictionaries(
    {
        **_common,
        "occurred_at": _instants(130),
        "package": st.integers(0, 5).map("app{}".format),
        "event": st.sampled_from(["open", "foreground", "install", "uninstall"]),
        "category": _maybe(["finance", "lending", "gambling", "game"]),
        "device_id": _maybe(["phone 1", "phone 2"]),
        "duration_s": st.sampled_from([None, 1]),
    }
)


@dataclass(frozen=True)
class Kind:
    """How to make histories of a source, and what they should give."""

    name: str
    event: st.SearchStrategy[Row]
    last_day: int
    twin: Callable[[Sequence[Row], Spine], list[Row]]

    @property
    def event_time(self) -> str:
        return SOURCES[self.name].event_time

    def day(self, event: Row) -> int:
        return twin.day_of(event[self.event_time])

    def histories(self) -> st.SearchStrategy[list[Row]]:
        """Events of three subjects; some are there twice, some days have many."""
        drawn = st.one_of(st.lists(self.event, max_size=5), st.lists(self.event, min_size=20, max_size=40))
        again = st.lists(st.integers(0, 39), max_size=5)
        return st.builds(self._history, drawn, again)

    @staticmethod
    def _history(events: list[Row], again: list[int]) -> list[Row]:
        copies = [{**events[i], "batch_order": 3} for i in again if i < len(events)]
        return [{**event, "row_number": n} for n, event in enumerate(events + copies)]

    def spines(self) -> st.SearchStrategy[list[tuple[str, int]]]:
        """Days before, amid and after the activity, of subjects with and without any."""
        days = st.integers(DAY_0 - 3, DAY_0 + self.last_day + 100)
        return st.lists(st.tuples(st.sampled_from([*SUBJECTS, "nobody"]), days), unique=True, max_size=25)


KINDS = {
    "spending": Kind("spending", _transaction, 130, twin.spending),
    "employment": Kind("employment", _report, 500, twin.employment),
    "app_usage": Kind("app_usage", _use, 130, twin.app_usage),
}
each_source = pytest.mark.parametrize("name", sorted(KINDS))
examples = settings(deadline=None, max_examples=12)


def test_every_source_of_the_catalog_has_a_twin() -> None:
    assert KINDS.keys() == SOURCES.keys()


# -------------------------------------------------------------------------------------------------------- laws


def assert_same(got: Row, expected: Row) -> None:
    """int64 exactly, float64 to 1e-9 of the value, nulls where nulls are."""
    assert list(got) == list(expected)
    for column, value in expected.items():
        if isinstance(value, float):
            assert isinstance(got[column], float), column
            assert math.isclose(got[column], value, rel_tol=1e-9), column
        else:
            assert got[column] == value, column


@each_source
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_compute_equals_its_twin(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    events, spine = data.draw(kind.histories()), sorted(data.draw(kind.spines()))
    got = rows(name, events, spine)
    assert len(got) == len(spine)
    for row, expected in zip(got, kind.twin(events, spine), strict=True):
        assert_same(row, expected)


@each_source
@examples
@given(data=st.data())
def test_later_events_change_nothing(name: str, data: st.DataObject) -> None:
    """A row for day D sees events of days <= D only, whatever else is in the table; to the last bit."""
    kind = KINDS[name]
    events, spine = data.draw(kind.histories()), data.draw(kind.spines())
    today = data.draw(st.integers(DAY_0, DAY_0 + kind.last_day))
    past = [event for event in events if kind.day(event) <= today]
    due = [(subject, day) for subject, day in spine if day <= today]
    assert rows(name, events, due) == rows(name, past, due)


@each_source
@examples
@given(data=st.data())
def test_other_subjects_change_nothing(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    events, spine = data.draw(kind.histories()), data.draw(kind.spines())
    mine = [event for event in events if event["subject_key"] == "ada"]
    my_days = [(subject, day) for subject, day in spine if subject == "ada"]
    together = [row for row in rows(name, events, spine) if row["subject_key"] == "ada"]
    assert together == rows(name, mine, my_days)


@each_source
@examples
@given(data=st.data(), seed=st.integers())
def test_the_order_of_rows_changes_nothing(name: str, data: st.DataObject, seed: int) -> None:
    kind = KINDS[name]
    events, spine = data.draw(kind.histories()), data.draw(kind.spines())
    shuffled_events, shuffled_spine = list(events), list(spine)
    random.Random(seed).shuffle(shuffled_events)
    random.Random(seed).shuffle(shuffled_spine)
    assert rows(name, events, spine) == rows(name, shuffled_events, shuffled_spine)
    assert active_days(name, events) == active_days(name, shuffled_events)


@each_source
@examples
@given(data=st.data())
def test_a_batch_delivered_again_changes_nothing(name: str, data: st.DataObject) -> None:
    kind = KINDS[name]
    events, spine = data.draw(kind.histories()), data.draw(kind.spines())
    again = [{**event, "batch_order": event["batch_order"] + 4} for event in events]
    assert rows(name, events, spine) == rows(name, events + again, spine)
    assert active_days(name, events) == active_days(name, events + again)


@each_source
@examples
@given(data=st.data())
def test_the_result_has_the_rows_of_the_spine_and_the_declared_columns(
    name: str, data: st.DataObject
) -> None:
    kind = KINDS[name]
    events, spine = data.draw(kind.histories()), data.draw(kind.spines())
    result = computed(name, events, spine)
    declared = [(f.name, getattr(pa, f.dtype)()) for f in SOURCES[name].features]
    assert result.schema == pa.schema([*SPINE_SCHEMA, *declared])
    assert sorted(zip(result["subject_key"].to_pylist(), result["day"].to_pylist(), strict=True)) == sorted(
        spine
    )
    for feature in SOURCES[name].features:
        if feature.null_means == "never null":
            assert result[feature.name].null_count == 0, feature.name


@pytest.mark.parametrize("name", ["spending", "app_usage"])
@examples
@given(data=st.data())
def test_the_active_days_are_the_days_of_the_events(name: str, data: st.DataObject) -> None:
    """Of a transaction that is there twice, on two days, only the first day counts."""
    kind = KINDS[name]
    events = data.draw(kind.histories())
    if name == "spending":
        ordered = sorted(events, key=lambda e: (e["occurred_at"], e["batch_order"], e["row_number"]))
        events = list({(e["subject_key"], e["transaction_id"]): e for e in reversed(ordered)}.values())
    assert active_days(name, events) == sorted({(e["subject_key"], kind.day(e)) for e in events})


@examples
@given(data=st.data())
def test_employment_turns_on_active_days_only(data: st.DataObject) -> None:
    """What a spell is on a day stays so until the next active day; only what counts days goes on counting."""
    turning = ("employed_now", "stable_employer_type", "monthly_salary_now")
    events = data.draw(KINDS["employment"].histories())
    active = set(active_days("employment", events))
    assert {(e["subject_key"], twin.day_of(e["reported_at"])) for e in events} <= active
    daily = rows("employment", events, [("ada", day) for day in range(DAY_0 - 1, DAY_0 + 400)])
    for yesterday, today in pairwise(daily):
        if ("ada", today["day"]) not in active:
            assert [today[column] for column in turning] == [yesterday[column] for column in turning]


@each_source
@settings(deadline=None, max_examples=3)
@given(data=st.data())
def test_the_same_through_ibis_in_utc(name: str, data: st.DataObject) -> None:
    """The session's time zone does not matter, nor whether Ibis or we send the SQL."""
    kind = KINDS[name]
    events, spine = data.draw(kind.histories()), data.draw(kind.spines())
    backend = utc_backend()
    backend.con.register("events", events_table(name, events))
    backend.con.register("spine", spine_table(spine))
    result = SOURCES[name].compute(backend.table("events"), backend.table("spine"))
    by_ibis = result.order_by("subject_key", "day").to_pyarrow().to_pylist()
    assert by_ibis == rows(name, events, spine)
