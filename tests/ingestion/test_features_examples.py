"""The maths of every source on histories short enough to work out by hand."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from tests.ingestion.test_features import DAY_0, Row, active_days, rows
from tests.reference.features_twin import EPOCH

LAST_MICROSECOND = dt.timedelta(days=1, microseconds=-1)
MOST_MONEY = Decimal("9999999999999999.99")


def at(day: int, time: dt.timedelta = dt.timedelta(hours=12)) -> dt.datetime:
    """An instant of the n-th day."""
    return EPOCH + dt.timedelta(days=DAY_0 + day) + time


def on(day: int) -> dt.date:
    """The n-th day, as a date."""
    return at(day).date()


def history(events: Sequence[Row], blank: Row) -> list[Row]:
    """Events of Ada's, in the order in which they were loaded, with null in the columns not named."""
    return [
        {**blank, "subject_key": "ada", "row_number": n, "batch_order": 0, **event}
        for n, event in enumerate(events)
    ]


def features(name: str, events: list[Row], day: int) -> Row:
    """Ada's features on the n-th day."""
    (row,) = rows(name, events, [("ada", DAY_0 + day)])
    return row


def over_days(name: str, events: list[Row], feature: str, days: Sequence[int]) -> list[Any]:
    """One of Ada's features on some days, in their order."""
    return [row[feature] for row in rows(name, events, [("ada", DAY_0 + day) for day in days])]


# ---------------------------------------------------------------------------------------------------- spending


def account(*transactions: Row) -> list[Row]:
    """Transactions with a number of their own, debits for a purchase unless they say otherwise."""
    blank = {"currency": "VND", "direction": "debit", "kind": "purchase", "category": None, "merchant": None}
    blank |= {"counterparty": None, "balance_after": None}
    named = [{"transaction_id": f"t{n}", **transaction} for n, transaction in enumerate(transactions)]
    return history(named, blank)


def spent(day: int, amount: str, **more: Any) -> Row:
    return {"occurred_at": at(day), "amount": Decimal(amount), **more}


def paid(day: int, amount: str) -> Row:
    return spent(day, amount, direction="credit", kind="salary")


def test_cents_add_up_exactly() -> None:
    """0.10 + 0.20 is 0.30, which float64 addition does not find."""
    assert features("spending", account(spent(0, "0.10"), spent(0, "0.20")), 0)["spend_7d"] == 0.3
    dimes = account(*(spent(day % 30, "0.10") for day in range(600)))
    assert features("spending", dimes, 29)["spend_30d"] == 60.0


def test_sums_of_the_greatest_amounts_do_not_overflow() -> None:
    """Forty times the most that a cell holds is beyond int64, as cents, on one day and over the window."""
    most = account(*(spent(day // 2, str(MOST_MONEY)) for day in range(40)))
    assert features("spending", most, 19)["spend_30d"] == pytest.approx(4e17)
    one_day = account(*(spent(0, str(MOST_MONEY)) for _ in range(40)))
    assert features("spending", one_day, 0)["max_day_spend_30d"] == pytest.approx(4e17)


def test_the_greatest_salaries_do_not_overflow_their_squares() -> None:
    """A payday above 10 trillion counts as that in the variation, and in full in the income."""
    row = features("spending", account(*(paid(day, str(MOST_MONEY)) for day in range(90))), 89)
    assert row["income_90d"] == pytest.approx(9e17)
    assert row["income_cv_90d"] == 0.0


def test_salaries_a_cent_apart_vary_by_a_cent() -> None:
    """Where a variance from float64 sums would be noise: half a cent over a billion."""
    row = features("spending", account(paid(0, "1000000000.00"), paid(30, "1000000000.01")), 30)
    assert row["income_cv_90d"] == pytest.approx(0.005 / 1000000000.005, rel=1e-12)


def test_two_salaries_on_a_day_are_one_payday() -> None:
    row = features("spending", account(paid(0, "30"), paid(0, "70"), spent(0, "1")), 5)
    assert (row["paydays_90d"], row["income_90d"], row["income_cv_90d"]) == (1, 100.0, None)


def test_a_window_of_7_days_is_the_day_and_the_six_before() -> None:
    one = account(spent(0, "5"))
    assert over_days("spending", one, "spend_7d", [-1, 0, 6, 7]) == [0.0, 5.0, 5.0, 0.0]


@pytest.mark.parametrize(
    ("time", "day"), [(dt.timedelta(), 0), (LAST_MICROSECOND, 0), (dt.timedelta(days=1), 1)]
)
def test_a_day_is_from_midnight_to_its_last_microsecond_in_utc(time: dt.timedelta, day: int) -> None:
    events = account({"occurred_at": at(0, time), "amount": Decimal(1)})
    assert active_days("spending", events) == [("ada", DAY_0 + day)]
    assert over_days("spending", events, "txn_count_30d", [day - 1, day]) == [0, 1]


def test_a_transaction_counts_as_it_first_became_known() -> None:
    """What the bank sends later under the same number, with another amount or day, changes no row."""
    first = spent(0, "5", transaction_id="a")
    again = spent(3, "900", transaction_id="a")
    corrected = spent(0, "700", transaction_id="a", batch_order=1)
    events = account(first, again, corrected)
    assert active_days("spending", events) == [("ada", DAY_0)]
    assert over_days("spending", events, "spend_7d", [0, 3]) == [5.0, 5.0]


def test_shares_and_ratios_of_a_month() -> None:
    month = account(
        paid(1, "1000"),
        spent(2, "300", category="rent"),
        spent(2, "20", category="gambling"),
        spent(3, "100", kind="cash"),
        spent(4, "80", category="cash"),
        spent(5, "250", kind="loan_repayment", counterparty="bank one"),
        spent(6, "500", direction="credit", kind="loan_disbursal", counterparty="bank two"),
        spent(7, "50", kind="nsf_fee"),
    )
    row = features("spending", month, 29)
    assert row["spend_30d"] == 800.0
    assert row["essentials_share_30d"] == 300 / 800
    assert row["gambling_share_30d"] == 20 / 800
    assert row["cash_share_30d"] == 180 / 800
    assert row["repayment_to_income_30d"] == row["repayment_to_inflow_90d"] == 0.25
    assert (row["inflow_90d"], row["max_day_spend_30d"]) == (1000.0, 320.0)
    assert (row["new_loans_90d"], row["lenders_90d"], row["bounced_90d"]) == (1, 2, 1)


def test_the_last_known_balance_outlives_rows_without_one() -> None:
    balances = account(
        spent(0, "1", balance_after=Decimal("-7.50")), spent(0, "1", balance_after=Decimal(9)), spent(2, "1")
    )
    assert over_days("spending", balances, "balance_last", [-1, 0, 2, 200]) == [None, 9.0, 9.0, 9.0]
    assert over_days("spending", balances, "balance_min_90d", [0, 89, 90]) == [-7.5, -7.5, None]


def test_nothing_known_is_zero_or_null_as_declared() -> None:
    row = features("spending", [], 0)
    assert (row["spend_90d"], row["txn_count_30d"], row["lenders_90d"]) == (0.0, 0, 0)
    assert row["gambling_share_30d"] is row["balance_last"] is row["days_since_last_txn"] is None


# -------------------------------------------------------------------------------------------------- employment


def career(*reports: Row) -> list[Row]:
    """Reports of spells with a private employer unless they say otherwise."""
    blank = {"employer": None, "employer_type": "private", "job_title": None, "monthly_salary": None}
    return history(reports, {**blank, "currency": None, "ended_on": None})


def report(record: str, day: int, began: int, ended: int | None = None, **more: Any) -> Row:
    end = None if ended is None else on(ended)
    return {"record_id": record, "reported_at": at(day), "started_on": on(began), "ended_on": end, **more}


def test_a_correction_acts_from_its_own_day_on() -> None:
    """The rows of the days before it was reported stay as they were."""
    events = career(
        report("a", 0, -100, monthly_salary=Decimal(500)), report("a", 10, -400, monthly_salary=Decimal(800))
    )
    assert over_days("employment", events, "monthly_salary_now", [-1, 0, 9, 10]) == [
        None,
        500.0,
        500.0,
        800.0,
    ]
    assert over_days("employment", events, "tenure_days", [-1, 0, 9, 10]) == [None, 100, 109, 410]
    assert over_days("employment", events, "spells_36m", [9, 10]) == [1, 1]


def test_of_two_reports_at_one_instant_the_later_batch_holds_then_the_later_row() -> None:
    same = [report("a", 0, -1, monthly_salary=Decimal(pay)) for pay in (1, 2, 3)]
    assert features("employment", career(*same), 0)["monthly_salary_now"] == 3.0
    assert (
        features("employment", career({**same[0], "batch_order": 1}, *same[1:]), 0)["monthly_salary_now"]
        == 1.0
    )


def test_a_spell_reported_to_end_later_is_current_through_its_last_day() -> None:
    events = career(report("a", 0, -10, ended=5, employer_type="government"))
    assert over_days("employment", events, "employed_now", [-1, 0, 5, 6]) == [0, 1, 1, 0]
    assert over_days("employment", events, "stable_employer_type", [0, 6]) == [1, 0]
    assert over_days("employment", events, "tenure_days", [5, 6]) == [15, None]
    assert active_days("employment", events) == [("ada", DAY_0), ("ada", DAY_0 + 6)]


def test_a_spell_reported_to_begin_later_counts_from_its_first_day() -> None:
    events = career(report("a", 0, 3))
    assert over_days("employment", events, "employed_now", [0, 2, 3]) == [0, 0, 1]
    assert over_days("employment", events, "days_since_last_report", [0, 2, 3]) == [0, 2, 3]
    assert active_days("employment", events) == [("ada", DAY_0), ("ada", DAY_0 + 3)]


def test_an_end_that_another_report_took_back_turns_nothing() -> None:
    events = career(report("a", 0, -10, ended=5), report("a", 3, -10))
    assert active_days("employment", events) == [("ada", DAY_0), ("ada", DAY_0 + 3)]
    assert over_days("employment", events, "employed_now", [2, 5, 6]) == [1, 1, 1]


def test_an_end_in_9999_is_no_end() -> None:
    events = career({**report("a", 0, -10), "ended_on": dt.date(9999, 12, 31)})
    assert active_days("employment", events) == [("ada", DAY_0)]
    assert features("employment", events, 5000)["employed_now"] == 1


def test_overlapping_spells_count_their_days_once() -> None:
    """Of days 0-99: 10-29 twice, 20-39 in part, 25 within, 60-69 apart; 40 days worked, 50 of 90 not."""
    events = career(
        report("a", 0, 10, 29),
        report("b", 0, 10, 29),
        report("c", 0, 20, 39),
        report("d", 0, 25, 25),
        report("e", 0, 60, 69),
    )
    row = features("employment", events, 99)
    assert (row["employed_days_365d"], row["gap_days_365d"]) == (40, 50)


def test_the_year_of_worked_days_is_365_days_long() -> None:
    events = career(report("a", 0, -1000))
    row = features("employment", events, 0)
    assert (row["employed_days_365d"], row["gap_days_365d"], row["tenure_days"]) == (365, 0, 1000)


def test_salary_now_against_what_was_known_a_year_before() -> None:
    events = career(
        report("a", 0, -10, monthly_salary=Decimal(800)),
        report("a", 200, -10, ended=200),
        report("b", 200, 201, monthly_salary=Decimal(1000)),
    )
    assert over_days("employment", events, "salary_change_ratio_12m", [364, 365]) == [None, 1.25]


def test_job_counts_and_types() -> None:
    events = career(
        report("a", 0, -1094, -1094, employer_type="foreign"),
        report("b", 0, -729, -500),
        report("c", 0, -400),
    )
    assert over_days("employment", events, "spells_36m", [0, 1]) == [3, 2]
    assert over_days("employment", events, "employer_types_36m", [0, 1]) == [2, 1]
    assert over_days("employment", events, "jobs_started_24m", [0, 1]) == [2, 1]


# --------------------------------------------------------------------------------------------------- app usage


def phone(*uses: Row) -> list[Row]:
    """Events of opening an app unless they say otherwise."""
    return history(uses, {"event": "open", "category": None, "device_id": None, "duration_s": None})


def used(package: str, day: int, hour: int = 12, **more: Any) -> Row:
    return {"package": package, "occurred_at": at(day, dt.timedelta(hours=hour)), **more}


def test_an_app_counts_for_30_days_from_its_last_use() -> None:
    events = phone(used("maps", 0), used("maps", 10), used("mail", 10), used("mail", 10, hour=13))
    counts = over_days("app_usage", events, "distinct_apps_30d", [-1, 0, 9, 10, 30, 39, 40])
    assert counts == [0, 1, 1, 2, 2, 2, 0]


def test_an_app_used_again_on_the_day_it_would_have_dropped_out_counts_on() -> None:
    events = phone(used("maps", 0), used("maps", 30))
    assert over_days("app_usage", events, "distinct_apps_30d", [29, 30, 31, 59, 60]) == [1, 1, 1, 1, 0]


def test_lending_apps_and_devices_count_for_90_days() -> None:
    events = phone(
        used("cash now", 0, category="lending", device_id="one"),
        used("cash now", 1, category="lending", device_id="two"),
        used("bank", 2, category="finance", device_id="two"),
    )
    assert over_days("app_usage", events, "lending_apps_90d", [0, 2, 90, 91]) == [1, 1, 1, 0]
    assert over_days("app_usage", events, "devices_90d", [0, 2, 89, 90, 92]) == [1, 2, 2, 1, 0]
    assert features("app_usage", events, 2)["finance_share_30d"] == 1 / 3


def test_events_alike_in_every_column_count_once() -> None:
    events = phone(
        used("maps", 0), used("maps", 0), used("maps", 0, duration_s=1), used("maps", 0, event="install")
    )
    row = features("app_usage", events, 0)
    assert (row["events_7d"], row["installs_7d"]) == (3, 1)


def test_night_is_before_six_in_utc() -> None:
    events = phone(
        used("maps", 0, hour=0), used("maps", 0, hour=5), used("maps", 0, hour=6), used("maps", 0, hour=23)
    )
    assert features("app_usage", events, 0)["night_share_30d"] == 0.5


def test_regularity_is_zero_every_day_alike_and_greatest_on_one_day() -> None:
    daily = phone(*(used("maps", day) for day in range(30)))
    assert features("app_usage", daily, 29)["daily_regularity_30d"] == 0.0
    once = phone(used("maps", 0), used("mail", 0))
    assert features("app_usage", once, 5)["daily_regularity_30d"] == pytest.approx(29**0.5)
    assert features("app_usage", once, 30)["daily_regularity_30d"] is None
