"""Accept, quarantine or reject: what decides, and what a verdict then holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from consent.errors import ConfigError
from tests.validation.samples import NOW, SOURCES, judged, table_of
from validation import duckdb_backend, gate
from validation.gate import Verdict, check, report
from validation.suites import columns_of, suite_for

BAD = {"malformed": "amount"}


def of(rows: int, bad: int, **arguments: Any) -> Verdict:
    return judged(table_of("spending", [BAD] * bad + [{}] * (rows - bad)), "spending", **arguments)


def test_all_good_is_accepted() -> None:
    verdict = of(3, 0)
    assert (verdict.outcome, verdict.rows, verdict.quarantined) == ("accept", 3, 0)
    assert (verdict.good.num_rows, verdict.bad.num_rows) == (3, 0)


def test_five_bad_rows_of_a_hundred_are_quarantined_and_six_reject() -> None:
    """The default threshold is a share that may be reached, not passed."""
    quarantined, rejected = of(100, 5, reject_above=0.05), of(100, 6, reject_above=0.05)
    assert (quarantined.outcome, quarantined.good.num_rows, quarantined.bad.num_rows) == ("quarantine", 95, 5)
    assert (rejected.outcome, rejected.good.num_rows, rejected.bad.num_rows) == ("reject", 0, 6)
    assert rejected.by_rule == {"cells_readable": 6}
    assert rejected.good.schema == quarantined.good.schema


def test_the_default_threshold_is_five_percent() -> None:
    table = table_of("app_usage", [BAD] * 6 + [{}] * 94)
    assert check(table, "app_usage", currency="EUR", now=NOW).outcome == "reject"
    assert check(table[1:], "app_usage", currency="EUR", now=NOW).outcome == "reject"
    assert check(table[2:], "app_usage", currency="EUR", now=NOW).outcome == "quarantine"


def test_the_share_is_compared_as_written() -> None:
    """0.29 * 100 is less than 29 in binary fractions."""
    assert of(100, 29, reject_above=0.29).outcome == "quarantine"


def test_zero_tolerance_rejects_at_one_bad_row() -> None:
    assert of(3, 1, reject_above=0).outcome == "reject"


def test_warnings_only_annotate() -> None:
    verdict = judged(table_of("spending", [{"category": None}]), "spending", reject_above=0)
    assert (verdict.outcome, verdict.by_rule) == ("accept", {})
    assert verdict.warnings == {"purchase_has_category": 1}
    assert verdict.good.num_rows == 1


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_is_accepted_without_asking(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty table meets no rule: the database is not even opened."""
    monkeypatch.delattr(duckdb_backend, "connection")
    verdict = judged(columns_of(source).empty_table(), source, reject_above=0)
    assert (verdict.outcome, verdict.rows, verdict.checks_not_run) == ("accept", 0, 0)
    assert verdict.good.schema == columns_of(source)
    assert verdict.bad.schema == columns_of(source).append(pa.field("rules", pa.list_(pa.string())))


DEFORMED: dict[str, Callable[[pa.Table], pa.Table]] = {
    "a column missing": lambda t: t.drop_columns("merchant"),
    "a column too many": lambda t: t.append_column("iban", t["merchant"]),
    "a column twice": lambda t: t.append_column("merchant", t["merchant"]),
    "another name": lambda t: t.rename_columns({"merchant": "Merchant"}),
    "another precision": lambda t: cast(t, "amount", pa.decimal128(20, 2)),
    "floats for money": lambda t: cast(t, "amount", pa.float64()),
    "no time zone": lambda t: cast(t, "occurred_at", pa.timestamp("us")),
    "another unit": lambda t: cast(t, "occurred_at", pa.timestamp("ms", tz="UTC")),
    "another time zone": lambda t: cast(t, "occurred_at", pa.timestamp("us", tz="Asia/Shanghai")),
    "large strings": lambda t: cast(t, "merchant", pa.large_string()),
    "dictionaries": lambda t: cast(t, "merchant", pa.dictionary(pa.int32(), pa.string())),
}


def cast(table: pa.Table, column: str, kind: pa.DataType) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, table[column].cast(kind))


@pytest.mark.parametrize("damage", DEFORMED.values(), ids=DEFORMED)
@pytest.mark.parametrize("rows", [0, 2])
def test_other_columns_or_types_reject_unread(damage: Callable[[pa.Table], pa.Table], rows: int) -> None:
    table = damage(table_of("spending", [{}] * rows))
    verdict = judged(table, "spending")
    assert (verdict.outcome, verdict.table_failures) == ("reject", ("columns_match",))
    assert verdict.checks_not_run == len(suite_for("spending", currency="EUR", now=NOW).expectations) - 1
    assert (verdict.rows, verdict.good.num_rows, verdict.bad.num_rows) == (rows, 0, 0)


def with_rule(monkeypatch: pytest.MonkeyPatch, make: Callable[[], Any]) -> None:
    """Let every suite have one rule more."""

    def longer(source: str, *, currency: str, now: datetime) -> Any:
        suite = suite_for(source, currency=currency, now=now)
        suite.add_expectation(make())
        return suite

    monkeypatch.setattr(gate, "suite_for", longer)


def test_a_failed_rule_on_the_table_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row goes on, however few are bad; the bad ones are still counted."""
    from validation.quiet import gx

    enough = gx.expectations.ExpectTableRowCountToBeBetween
    with_rule(monkeypatch, lambda: enough(min_value=10, meta={"rule": "has_enough_rows"}))
    verdict = of(4, 1)
    assert (verdict.outcome, verdict.table_failures) == ("reject", ("has_enough_rows",))
    assert (verdict.by_rule, verdict.good.num_rows, verdict.bad.num_rows) == ({"cells_readable": 1}, 0, 1)


def test_a_rule_that_raises_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is not a yes, also when the rule would only warn."""
    from validation.rules import satisfying

    columns, predicate = ["merchant", "amount"], "cast(merchant as integer) > 0"
    with_rule(monkeypatch, lambda: satisfying("raises", columns, predicate, severity="warning"))
    verdict = of(4, 0)
    assert (verdict.outcome, verdict.checks_not_run, verdict.table_failures) == ("reject", 1, ())
    assert (verdict.rows, verdict.good.num_rows, verdict.bad.num_rows) == (4, 0, 0)


def test_a_rule_on_the_table_that_raises_rejects(monkeypatch: pytest.MonkeyPatch) -> None:
    from validation.quiet import gx

    between = gx.expectations.ExpectColumnMaxToBeBetween
    with_rule(monkeypatch, lambda: between(column="nowhere", max_value=1, meta={"rule": "raises"}))
    verdict = of(4, 0)
    assert (verdict.outcome, verdict.checks_not_run, verdict.table_failures) == ("reject", 1, ("raises",))


def test_suite_hash_does_not_depend_on_the_hour() -> None:
    table = table_of("spending", [])
    now = check(table, "spending", currency="EUR", now=NOW)
    later = check(table, "spending", currency="EUR", now=NOW + timedelta(days=3))
    dollars = check(table, "spending", currency="USD", now=NOW)
    assert now.suite_hash == later.suite_hash != dollars.suite_hash


def test_report_is_json_and_repr_has_no_tables() -> None:
    verdict = of(4, 1)
    assert json.loads(json.dumps(report(verdict))) == {
        "outcome": "quarantine",
        "rows": 4,
        "quarantined": 1,
        "by_rule": {"cells_readable": 1},
        "warnings": {},
        "table_failures": [],
        "table_warnings": [],
        "checks_not_run": 0,
        "suite_hash": verdict.suite_hash,
    }
    assert "good" not in repr(verdict)
    assert "bad" not in repr(verdict)


@pytest.mark.parametrize(
    "changed",
    [
        {"source": "contacts"},
        {"source": "rules"},
        {"source": "../spending"},
        {"currency": "eur"},
        {"currency": "E'R"},
        {"currency": "EURO"},
        {"currency": "EUR\n"},
        {"now": NOW.replace(tzinfo=None)},
        {"reject_above": -0.01},
        {"reject_above": 1.01},
        {"reject_above": float("nan")},
    ],
    ids=str,
)
def test_senseless_arguments_are_refused(changed: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"source": "spending", "currency": "EUR", "now": NOW, **changed}
    with pytest.raises(ConfigError) as caught:
        check(table_of("spending", [{}]), **arguments)
    assert caught.value.remedy
