"""Slow, obviously right twin of the maths in `ingestion.sources`: for each spine row, loop over what was known.

Shares no code with the sources it checks. Events are dicts (decimals, aware datetimes, dates), a spine is a list of
(subject_key, day); each function gives one dict per spine row, in the spine's order. Sums are of `Decimal`.
"""

import datetime as dt
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

Row = dict[str, Any]
Spine = Sequence[tuple[str, int]]

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def day_of(instant: dt.datetime) -> int:
    return (instant - EPOCH).days


def date_day(date: dt.date) -> int:
    return (date - EPOCH.date()).days


def _known(events: Iterable[Row], subject: str, day: int, event_time: str) -> list[Row]:
    """The subject's events of days <= day, in the order in which they became known."""
    mine = [e for e in events if e["subject_key"] == subject and day_of(e[event_time]) <= day]
    return sorted(mine, key=lambda e: (e[event_time], e["batch_order"], e["row_number"]))


def _ratio(part: Any, whole: Any) -> float | None:
    return float(part) / float(whole) if whole > 0 else None


def _variation(values: Sequence[Decimal | int]) -> float | None:
    mean = statistics.mean(values)
    return float(statistics.pstdev(values)) / float(mean) if mean > 0 else None


# ---------------------------------------------------------------------------------------------------- spending


def _transactions(events: Iterable[Row], subject: str, day: int) -> list[Row]:
    first: dict[str, Row] = {}
    for event in _known(events, subject, day, "occurred_at"):
        first.setdefault(event["transaction_id"], event)
    return list(first.values())


def spending(events: Sequence[Row], spine: Spine) -> list[Row]:
    return [_spending_row(_transactions(events, subject, day), subject, day) for subject, day in spine]


def _spending_row(txns: list[Row], subject: str, day: int) -> Row:
    def last(days: int) -> list[Row]:
        return [t for t in txns if day - days + 1 <= day_of(t["occurred_at"]) <= day]

    def money(rows: Iterable[Row]) -> Decimal:
        return sum((t["amount"] for t in rows), Decimal(0))

    def debits(days: int) -> list[Row]:
        return [t for t in last(days) if t["direction"] == "debit"]

    def credits_of(days: int) -> list[Row]:
        return [t for t in last(days) if t["direction"] == "credit"]

    def salary(days: int) -> list[Row]:
        return [t for t in credits_of(days) if t["kind"] == "salary"]

    def repaid(days: int) -> Decimal:
        return money(t for t in debits(days) if t["kind"] == "loan_repayment")

    pay: dict[int, Decimal] = defaultdict(Decimal)
    for t in salary(90):
        pay[day_of(t["occurred_at"])] += t["amount"]
    capped = [min(amount, Decimal(10**13)) for amount in pay.values()]
    spent_on: dict[int, Decimal] = defaultdict(Decimal)
    for t in debits(30):
        spent_on[day_of(t["occurred_at"])] += t["amount"]
    spend_30 = money(debits(30))
    inflow_90 = money(t for t in credits_of(90) if t["kind"] != "loan_disbursal")
    essentials = {"groceries", "rent", "utilities", "fuel", "health"}
    loans = [t for t in last(90) if t["kind"] in ("loan_disbursal", "loan_repayment")]
    balances = [t["balance_after"] for t in txns if t["balance_after"] is not None]
    balances_90 = [t["balance_after"] for t in last(90) if t["balance_after"] is not None]
    return {
        "subject_key": subject,
        "day": day,
        "spend_7d": float(money(debits(7))),
        "spend_30d": float(spend_30),
        "spend_90d": float(money(debits(90))),
        "txn_count_30d": len(last(30)),
        "income_30d": float(money(salary(30))),
        "income_90d": float(money(salary(90))),
        "inflow_90d": float(inflow_90),
        "paydays_90d": len(pay),
        "income_cv_90d": _variation(capped) if len(pay) >= 2 else None,
        "essentials_share_30d": _ratio(money(t for t in debits(30) if t["category"] in essentials), spend_30),
        "gambling_share_30d": _ratio(money(t for t in debits(30) if t["category"] == "gambling"), spend_30),
        "cash_share_30d": _ratio(
            money(t for t in debits(30) if t["kind"] == "cash" or t["category"] == "cash"), spend_30
        ),
        "repayment_to_income_30d": _ratio(repaid(30), money(salary(30))),
        "repayment_to_inflow_90d": _ratio(repaid(90), inflow_90),
        "new_loans_90d": sum(t["kind"] == "loan_disbursal" for t in credits_of(90)),
        "lenders_90d": len({t["counterparty"] for t in loans if t["counterparty"] is not None}),
        "bounced_90d": sum(t["kind"] == "nsf_fee" for t in last(90)),
        "max_day_spend_30d": float(max(spent_on.values(), default=Decimal(0))),
        "balance_min_90d": float(min(balances_90)) if balances_90 else None,
        "balance_last": float(balances[-1]) if balances else None,
        "days_since_last_txn": day - max(day_of(t["occurred_at"]) for t in txns) if txns else None,
    }


# -------------------------------------------------------------------------------------------------- employment


def _spells(events: Iterable[Row], subject: str, day: int) -> list[Row]:
    """Each record as its latest report by the day puts it; the spells that have begun; in order of report."""
    latest: dict[str, Row] = {}
    for event in _known(events, subject, day, "reported_at"):
        latest.pop(event["record_id"], None)
        latest[event["record_id"]] = event
    return [e for e in latest.values() if date_day(e["started_on"]) <= day]


def _ended(spell: Row) -> float:
    return float("inf") if spell["ended_on"] is None else date_day(spell["ended_on"])


def _salary(events: Iterable[Row], subject: str, day: int) -> Decimal | None:
    known = None
    for spell in _spells(events, subject, day):
        if _ended(spell) >= day and spell["monthly_salary"] is not None:
            known = spell["monthly_salary"]
    return known


def _days_of(spell: Row, day: int) -> range:
    """The spell's days so far; none if it is reported to have ended before it began."""
    return range(date_day(spell["started_on"]), int(min(_ended(spell), day)) + 1)


def _to_contract_end(current: Sequence[Row], day: int) -> int | None:
    if not current or any(s["ended_on"] is None for s in current):
        return None
    return max(date_day(s["ended_on"]) for s in current) - day


def employment(events: Sequence[Row], spine: Spine) -> list[Row]:
    return [_employment_row(events, subject, day) for subject, day in spine]


def _employment_row(events: Sequence[Row], subject: str, day: int) -> Row:
    reports = _known(events, subject, day, "reported_at")
    spells = _spells(events, subject, day)
    current = [s for s in spells if _ended(s) >= day]
    recent = [s for s in spells if _ended(s) >= day - 1094]
    began = [date_day(s["started_on"]) for s in spells]
    year = range(day - 364, day + 1)
    worked = {d for d in year for s in spells if date_day(s["started_on"]) <= d <= _ended(s)}
    now, before = _salary(events, subject, day), _salary(events, subject, day - 365)
    paid = [s["monthly_salary"] for s in spells if s["monthly_salary"] is not None]
    return {
        "subject_key": subject,
        "day": day,
        "employed_now": 1 if current else 0,
        "current_jobs": len(current),
        "tenure_days": max((day - date_day(s["started_on"]) for s in current), default=None),
        "experience_days": day - min(began) if began else None,
        "longest_spell_days": max((len(_days_of(s, day)) for s in spells), default=None),
        "spells_36m": len(recent),
        "jobs_started_24m": sum(first >= day - 729 for first in began),
        "jobs_ended_12m": sum(_ended(s) in year for s in spells),
        "employed_days_365d": len(worked),
        "gap_days_365d": sum(d >= min(began) and d not in worked for d in year) if began else None,
        "days_to_contract_end": _to_contract_end(current, day),
        "monthly_salary_now": None if now is None else float(now),
        "salary_change_ratio_12m": None if now is None or before is None else _ratio(now, before),
        "salary_to_peak_ratio": None if now is None else _ratio(now, max(paid)),
        "employer_types_36m": len({s["employer_type"] for s in recent}),
        "stable_employer_type": int(
            any(s["employer_type"] in ("government", "state_owned") for s in current)
        ),
        "days_since_last_report": day - day_of(reports[-1]["reported_at"]) if reports else None,
    }


# --------------------------------------------------------------------------------------------------- app usage


def _uses(events: Iterable[Row], subject: str, day: int) -> list[Row]:
    unique: dict[tuple[Any, ...], Row] = {}
    for e in _known(events, subject, day, "occurred_at"):
        fields = ("occurred_at", "package", "event", "category", "device_id", "duration_s")
        unique[tuple(e[field] for field in fields)] = e
    return list(unique.values())


def app_usage(events: Sequence[Row], spine: Spine) -> list[Row]:
    return [_app_usage_row(_uses(events, subject, day), subject, day) for subject, day in spine]


def _app_usage_row(uses: list[Row], subject: str, day: int) -> Row:
    def last(days: int) -> list[Row]:
        return [e for e in uses if day - days + 1 <= day_of(e["occurred_at"]) <= day]

    per_day = [sum(day_of(e["occurred_at"]) == d for e in uses) for d in range(day - 29, day + 1)]
    return {
        "subject_key": subject,
        "day": day,
        "events_7d": len(last(7)),
        "events_30d": len(last(30)),
        "active_days_30d": sum(n > 0 for n in per_day),
        "active_hours_30d": len({e["occurred_at"].hour for e in last(30)}),
        "night_share_30d": _ratio(sum(e["occurred_at"].hour < 6 for e in last(30)), len(last(30))),
        "max_day_share_30d": _ratio(max(per_day), len(last(30))),
        "distinct_apps_30d": len({e["package"] for e in last(30)}),
        "finance_share_30d": _ratio(sum(e["category"] == "finance" for e in last(30)), len(last(30))),
        "finance_apps_30d": len({e["package"] for e in last(30) if e["category"] == "finance"}),
        "lending_apps_90d": len({e["package"] for e in last(90) if e["category"] == "lending"}),
        "lending_installs_30d": sum(e["event"] == "install" and e["category"] == "lending" for e in last(30)),
        "gambling_events_90d": sum(e["category"] == "gambling" for e in last(90)),
        "installs_7d": sum(e["event"] == "install" for e in last(7)),
        "uninstalls_30d": sum(e["event"] == "uninstall" for e in last(30)),
        "devices_90d": len({e["device_id"] for e in last(90) if e["device_id"] is not None}),
        "daily_regularity_30d": _variation(per_day),
        "history_days": day - min(day_of(e["occurred_at"]) for e in uses) if uses else None,
        "days_since_last_event": day - max(day_of(e["occurred_at"]) for e in uses) if uses else None,
    }
