"""Every rule has rows that pass and rows that fail; without the rule, a test here fails."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest

from tests.validation.samples import GOOD, NOW, SOURCES, judged, table_of
from validation.gate import Verdict
from validation.suites import columns_of, snapshot, snapshot_hash, suite_for, suite_hash

DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Case:
    """A good row with some cells changed, and the rules it then breaks."""

    changes: dict[str, Any]
    broken: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()


def row(*broken: str, warned: tuple[str, ...] = (), **changes: Any) -> Case:
    return Case(changes, broken, warned)


def text(column: str, longest: int, *, shortest: int = 0) -> list[Case]:
    """Both sides of the limits of a column's length, in characters and not in bytes."""
    sides = [row(**{column: "汉" * longest}), row(f"{column}_length", **{column: "x" * (longest + 1)})]
    return sides + ([row(f"{column}_length", **{column: ""})] if shortest else [row(**{column: ""})])


def dated(column: str, earliest: datetime) -> list[Case]:
    """Both sides of the first and last instant allowed, and the ends of what Arrow can hold."""
    return [
        row(f"{column}_present", **{column: None}),
        row(**{column: NOW + DAY}),
        row(f"{column}_not_future", **{column: NOW + DAY + TICK}),
        row(f"{column}_not_future", **{column: 2**63 - 1}),
        row(f"{column}_not_future", **{column: datetime(9999, 12, 31, tzinfo=UTC)}),
        row(**{column: earliest}),
        row(f"{column}_not_too_old", **{column: earliest - TICK}),
        row(f"{column}_not_too_old", **{column: -(2**63)}),
    ]


def listed(column: str, values: list[str], *, nullable: bool, **fitting: Any) -> list[Case]:
    """Each allowed value, one in other letters, one unknown, one empty, and null."""
    missing = row(*([] if nullable else [f"{column}_present"]), **{column: None, **fitting})
    foreign = (values[0].upper(), "unheard of", "")
    unknown = [row(f"{column}_known", **{column: value, **fitting}) for value in foreign]
    return [missing, *unknown, *(row(**{column: value, **fitting}) for value in values)]


EVERY_SOURCE = [
    row(),
    row("cells_readable", malformed="amount,occurred_at"),
    row("cells_readable", malformed=""),
    row("subject_key_present", subject_key=None),
    row("subject_key_present", subject_key=None),
    row("subject_key_is_pseudonym", subject_key="F" * 32),
    row("subject_key_is_pseudonym", subject_key="f" * 31),
    row("subject_key_is_pseudonym", subject_key="f" * 33),
    row("subject_key_is_pseudonym", subject_key="f" * 32 + "\n"),
    row("subject_key_is_pseudonym", subject_key="alice@example.org"),
    row("row_number_present", row_number=None),
    row("row_number_present", row_number=None),
    row("row_number_unique", row_number=9_000_001),
    row("row_number_unique", row_number=9_000_001),
    row("cells_readable", "row_number_unique", row_number=9_000_001, malformed="amount"),
    row(raw='{"amount": "12,50"}'),
]

SPENDING_CATEGORIES = """
    groceries rent utilities fuel dining gambling cash health travel clothing education entertainment
    insurance savings other
"""
APP_CATEGORIES = """
    finance lending gambling social shopping game work system communication transport health education
    entertainment other
"""

A, B = "a" * 32, "b" * 32

#: Texts a program may act on, and texts that only look a little like it.
HOSTILE = [
    "=1+1",
    " =HYPERLINK(1)",
    "@SUM(A1)",
    "+cmd|' /C calc'!A0",
    "-2+3(4)",
    "../../etc/passwd",
    "a/..\\b",
    "a\x1b[31mb",
    "a\x00b",
    "two\nlines",
]
HARMLESS = [
    "+1 Café",
    "-",
    "a=b",
    "a@b",
    "..",
    "1..2",
    "'; drop table batch; --",
    "<b>",
    "{0} %s",
    "汉",
    "&amp;",
]


def plain(*columns: str) -> list[Case]:
    return [
        *(row("texts_plain", **{column: value}) for column in columns for value in HOSTILE),
        *(row(**{column: value}) for column in columns for value in HARMLESS),
    ]


#: The same person, instant, amount, direction and kind.
REPEATED = ("transaction_not_repeated",)

SPENDING = [
    *text("transaction_id", 200, shortest=1),
    *[row("transaction_id_present", warned=REPEATED, transaction_id=None, subject_key=A)] * 2,
    *[row("transaction_id_unique", warned=REPEATED, transaction_id="same", subject_key=A)] * 2,
    row(transaction_id="same", subject_key=B),
    row("subject_key_present", transaction_id="same", subject_key=None),
    row("subject_key_present", transaction_id="same", subject_key=None),
    *dated("occurred_at", datetime(1990, 1, 1, tzinfo=UTC)),
    row("amount_present", amount=None),
    row(amount=Decimal("0.01")),
    row("amount_positive", amount=Decimal("0.00")),
    row("amount_positive", amount=Decimal("-12.50")),
    row(amount=Decimal("999999999.99")),
    row("amount_below_limit", amount=Decimal("1000000000.00")),
    row("amount_below_limit", amount=Decimal("9999999999999999.99")),
    row("amount_not_filler", "amount_below_limit", amount=Decimal("2147483647.00")),
    row("amount_not_filler", amount=Decimal("21474836.47")),
    row("amount_not_filler", amount=Decimal("365243.00")),
    row("balance_after_not_filler", balance_after=Decimal("-2147483648.00")),
    row("balance_after_not_filler", balance_after=Decimal("99999999.99")),
    row("currency_present", currency=None),
    row("currency_is_home", currency="USD"),
    row("currency_is_home", currency="eur"),
    row("direction_present", direction=None),
    *(row("direction_known", direction=value, kind="other") for value in ("DEBIT", "", "in")),
    row(direction="debit", kind="other"),
    row(direction="credit", kind="other"),
    row("kind_present", kind=None),
    *(row("kind_known", kind=value) for value in ("PURCHASE", "", "gift")),
    *(
        row(kind=kind, direction=direction, category=None)
        for direction, kinds in {
            "credit": "salary transfer cash loan_disbursal interest other fee nsf_fee",
            "debit": "transfer cash loan_repayment fee nsf_fee interest other",
        }.items()
        for kind in kinds.split()
    ),
    *listed(
        "category",
        SPENDING_CATEGORIES.split(),
        nullable=True,
        kind="transfer",
    ),
    *text("merchant", 200),
    row(merchant=None),
    *text("counterparty", 200),
    *plain("transaction_id", "merchant", "counterparty"),
    row(balance_after=None),
    row("salary_is_credit", kind="salary", direction="debit"),
    row("purchase_is_debit", kind="purchase", direction="credit"),
    row("amount_positive", "purchase_is_debit", direction="credit", amount=Decimal("-1.00")),
    row(warned=("loan_disbursal_is_credit",), kind="loan_disbursal", direction="debit"),
    row(warned=("loan_repayment_is_debit",), kind="loan_repayment", direction="credit"),
    row(warned=("purchase_has_category",), category=None),
    row("amount_present", warned=("purchase_has_category",), amount=None, category=None),
]

LATEST_END = NOW.date() + timedelta(days=20 * 365)

EMPLOYMENT = [
    *text("record_id", 200, shortest=1),
    row("record_id_present", record_id=None, subject_key=A),
    row("record_id_present", record_id=None, subject_key=A),
    row("record_id_unique", record_id="same", subject_key=A),
    row("record_id_unique", record_id="same", subject_key=A),
    row(record_id="same", subject_key=A, reported_at=NOW),
    row(record_id="same", subject_key=B),
    # The earliest report must come after its job, so a good one needs an older start.
    *(
        Case({**case.changes, "started_on": date(1980, 1, 1)}, (*case.broken, *late), case.warned)
        for case in dated("reported_at", datetime(1990, 1, 1, tzinfo=UTC))
        for late in [("started_on_not_after_report",) if case.changes["reported_at"] == -(2**63) else ()]
    ),
    *text("employer", 200),
    row(employer=None),
    *listed(
        "employer_type",
        ["government", "state_owned", "private", "foreign", "self_employed", "other"],
        nullable=False,
    ),
    *text("job_title", 200),
    *plain("record_id", "employer", "job_title"),
    row(job_title=None),
    row(monthly_salary=Decimal("0.00")),
    row("monthly_salary_not_negative", monthly_salary=Decimal("-0.01")),
    row(monthly_salary=Decimal("99999998.99")),
    row("monthly_salary_not_filler", monthly_salary=Decimal("99999999.00")),
    row("monthly_salary_not_filler", monthly_salary=Decimal("99999999.99")),
    row("monthly_salary_below_limit", monthly_salary=Decimal("100000000.00")),
    row("salary_currency_is_home", currency=None),
    row("salary_currency_is_home", currency="USD"),
    row(warned=("monthly_salary_present",), monthly_salary=None, currency=None),
    row(warned=("monthly_salary_present",), monthly_salary=None, currency="USD"),
    row("started_on_present", started_on=None),
    row("started_on_present", started_on=None, ended_on=date(2024, 1, 1)),
    row(started_on=date(1940, 1, 1)),
    row("started_on_not_too_old", started_on=date(1939, 12, 31)),
    row("started_on_not_too_old", started_on=date(1900, 1, 1)),
    row("started_on_not_too_old", started_on=-(2**31)),
    row(warned=("started_on_not_epoch",), started_on=date(1970, 1, 1)),
    # 23:59 in UTC is the next day further east: the report's day is its day in UTC.
    row(reported_at=datetime(2025, 6, 1, 23, 59, tzinfo=UTC), started_on=date(2025, 7, 2)),
    row(
        "started_on_not_after_report",
        reported_at=datetime(2025, 6, 1, 23, 59, tzinfo=UTC),
        started_on=date(2025, 7, 3),
    ),
    row("started_on_not_after_report", started_on=date(9999, 12, 31)),
    row("started_on_not_after_report", started_on=2**31 - 2),
    row(ended_on=date(2020, 5, 1)),
    row("ended_on_not_before_start", ended_on=date(2020, 4, 30)),
    row("ended_on_not_before_start", ended_on=-(2**31)),
    row(ended_on=LATEST_END),
    row("ended_on_foreseeable", ended_on=LATEST_END + DAY),
    row("ended_on_foreseeable", ended_on=date(2099, 12, 31)),
    row("ended_on_foreseeable", ended_on=date(9999, 12, 31)),
    row("ended_on_foreseeable", ended_on=2**31 - 1),
    row("monthly_salary_not_filler", monthly_salary=Decimal("365243.00")),
    row(
        "days_not_filler",
        "started_on_not_too_old",
        reported_at=datetime(2025, 6, 1, tzinfo=UTC),
        started_on=date(2025, 6, 1) - timedelta(days=365_243),
    ),
    row(
        "days_not_filler",
        "ended_on_foreseeable",
        reported_at=datetime(2025, 6, 1, tzinfo=UTC),
        ended_on=date(2025, 6, 1) + timedelta(days=365_243),
    ),
]

APP_USAGE = [
    *dated("occurred_at", datetime(2007, 1, 1, tzinfo=UTC)),
    row("package_present", package=None),
    *text("package", 255, shortest=1),
    row(package="微信"),
    row(package="com.example.App_2:remote-1"),
    row(package="🏦 \"bank\"; drop table batch; -- %s {0} \\ =cmd|' /C calc'!A0"),
    *(row("package_printable", package=f"a{c}b") for c in ("\x00", "\t", "\n", "\x1f", "\x7f", "\x85")),
    row("package_printable", package="a\n"),
    *listed("event", ["open", "foreground", "install", "uninstall"], nullable=False, duration_s=None),
    row(event="uninstall", duration_s=0),
    row(warned=("duration_s_while_in_use",), event="install", duration_s=1),
    *listed(
        "category",
        APP_CATEGORIES.split(),
        nullable=True,
    )[1:],
    row(warned=("category_present",), category=None),
    *text("device_id", 200),
    *plain("device_id"),
    row(device_id=None),
    row(duration_s=None),
    row(duration_s=0),
    row(duration_s=86_400),
    row("duration_s_in_a_day", duration_s=-1),
    row("duration_s_in_a_day", duration_s=86_401),
    row("duration_s_in_a_day", duration_s=2**63 - 1),
    row("duration_s_in_a_day", "duration_s_not_filler", duration_s=2**31 - 1),
    row("duration_s_in_a_day", "duration_s_not_filler", duration_s=365_243),
    *[row(warned=("event_not_repeated",), subject_key=A)] * 2,
    row(subject_key=A, event="install", duration_s=None),
]

CASES = {
    "spending": [*EVERY_SOURCE, *SPENDING],
    "employment": [*EVERY_SOURCE, *EMPLOYMENT],
    "app_usage": [*EVERY_SOURCE, *APP_USAGE],
}


@pytest.fixture(scope="module", params=SOURCES)
def judged_cases(request: pytest.FixtureRequest) -> tuple[str, Verdict]:
    source = request.param
    # ``raw`` is not looked at by any rule, so it can carry the case's number.
    cases = [{**case.changes, "raw": str(n)} for n, case in enumerate(CASES[source])]
    return source, judged(table_of(source, cases), source)


def test_each_row_breaks_exactly_the_critical_rules_it_should(judged_cases: tuple[str, Verdict]) -> None:
    """A row is quarantined for all its reasons and no other, whatever rows are beside it."""
    source, verdict = judged_cases
    found = {int(r["raw"]): set(r["rules"]) for r in verdict.bad.select(["raw", "rules"]).to_pylist()}
    wanted = {n: set(case.broken) for n, case in enumerate(CASES[source]) if case.broken}
    different = {
        n: (CASES[source][n], found.get(n))
        for n in range(len(CASES[source]))
        if found.get(n) != wanted.get(n)
    }
    assert different == {}


def test_rows_that_break_no_critical_rule_are_good(judged_cases: tuple[str, Verdict]) -> None:
    source, verdict = judged_cases
    good = [int(n) for n in verdict.good["raw"].to_pylist()]
    assert good == [n for n, case in enumerate(CASES[source]) if not case.broken]


def test_counts_are_those_of_the_cases(judged_cases: tuple[str, Verdict]) -> None:
    source, verdict = judged_cases
    assert verdict.by_rule == Counter(rule for case in CASES[source] for rule in case.broken)
    assert verdict.warnings == Counter(rule for case in CASES[source] for rule in case.warned)


@pytest.mark.parametrize("source", SOURCES)
def test_no_rule_can_be_removed_or_added_unnoticed(source: str) -> None:
    """The rules on rows are exactly those that some case breaks, as critical or as warning."""
    suite = suite_for(source, currency="EUR", now=NOW)
    rules = {rule.meta["rule"]: rule.severity for rule in suite.expectations}
    assert len(rules) == len(suite.expectations)
    assert {rules.pop("columns_match"), rules.pop("has_rows")} == {"critical"}
    assert rules.pop("reported_at_fresh" if source == "employment" else "occurred_at_fresh") == "warning"
    assert {r for r, s in rules.items() if s == "critical"} == {r for c in CASES[source] for r in c.broken}
    assert {r for r, s in rules.items() if s == "warning"} == {r for c in CASES[source] for r in c.warned}
    assert len(rules) <= 63


@pytest.mark.parametrize("source", SOURCES)
def test_good_rows_pass(source: str) -> None:
    verdict = judged(table_of(source, [{}, {}, {}]), source, reject_above=0)
    assert (verdict.outcome, verdict.by_rule, verdict.warnings) == ("accept", {}, {})
    assert verdict.good.equals(table_of(source, [{}, {}, {}]))


@pytest.mark.parametrize(
    ("source", "column", "days"),
    [("spending", "occurred_at", 45), ("employment", "reported_at", 400), ("app_usage", "occurred_at", 45)],
)
def test_old_news_is_warned_about(source: str, column: str, days: int) -> None:
    """Of the table as a whole: one fresh row is enough, and history is loaded all the same."""
    old, edge = {column: NOW - timedelta(days=days) - TICK}, {column: NOW - timedelta(days=days)}
    fitting = {"started_on": date(2015, 1, 1)} if source == "employment" else {}
    stale = judged(table_of(source, [old | fitting] * 3), source)
    assert (stale.outcome, stale.table_warnings) == ("accept", (f"{column}_fresh",))
    assert (stale.by_rule, stale.warnings, stale.good.num_rows) == ({}, {}, 3)
    mixed = judged(table_of(source, [old | fitting] * 3 + [edge | fitting]), source)
    assert (mixed.outcome, mixed.table_warnings) == ("accept", ())


@pytest.mark.parametrize("source", SOURCES)
def test_the_snapshot_is_current(source: str) -> None:
    """validation/snapshots holds each suite as JSON, and its SHA-256 is what batches name."""
    path = Path(__file__).parents[2] / "validation" / "snapshots" / f"{source}.json"
    assert path.read_text(encoding="utf-8") == snapshot(source), "run make docs"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == snapshot_hash(source)


@pytest.mark.parametrize("source", SOURCES)
def test_rules_on_the_table_are_asked_of_great_expectations_too(source: str) -> None:
    """The gate looks at columns and emptiness first; a suite run without it still refuses."""
    from validation.evaluation import evaluate
    from validation.quiet import gx

    suite = suite_for(source, currency="EUR", now=NOW)
    on_table = [rule for rule in suite.expectations if rule.meta["rule"] in ("columns_match", "has_rows")]
    found = evaluate(
        pa.table({"surprise": pa.array([], pa.int64())}),
        gx.ExpectationSuite(name="table", expectations=on_table),
    )
    assert set(found.table_failures) == {"columns_match", "has_rows"}


@pytest.mark.parametrize("source", SOURCES)
def test_suite_hash_names_the_rules(source: str) -> None:
    """The same for equal suites; another for another bound, severity or rule."""
    suite = suite_for(source, currency="EUR", now=NOW)
    assert suite_hash(suite) == suite_hash(suite_for(source, currency="EUR", now=NOW))
    assert suite_hash(suite) != suite_hash(suite_for(source, currency="EUR", now=NOW + TICK))
    assert len(bytes.fromhex(suite_hash(suite))) == 32
    before = suite_hash(suite)
    for rule in suite.expectations:
        rule.id = str(uuid4())  # as a context gives it
    assert suite_hash(suite) == before
    suite.expectations[2].severity = "warning"
    assert suite_hash(suite) != before


def test_suites_survive_json() -> None:
    """A suite written down is the suite, our own expectation included."""
    from validation.quiet import gx

    for source in SOURCES:
        suite = suite_for(source, currency="EUR", now=NOW)
        read = gx.ExpectationSuite(**json.loads(json.dumps(suite.to_json_dict())))
        assert suite_hash(read) == suite_hash(suite)


def test_columns_are_those_the_readers_make() -> None:
    """What ingestion hands over is what the suites expect, for every source there is."""
    from ingestion.sources import SOURCES as CATALOG

    assert set(CATALOG) == set(SOURCES) == set(GOOD)
    for name, source in CATALOG.items():
        own = [field for field in columns_of(name) if field.name in source.schema.names]
        assert pa.schema(own) == source.schema
