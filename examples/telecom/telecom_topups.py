"""Telecom top-ups: how a prepaid balance is kept filled, which says how steady small money comes in."""

from __future__ import annotations

import pyarrow as pa

from ingestion.source import INSTANT, MONEY, Column, Feature, Source
from ingestion.sources import windows as w
from ingestion.sources.windows import KEY, Table


def _topups(events: Table) -> Table:
    """One row per top-up: a number seen twice counts as it first became known."""
    return w.first_known(w.in_order_known(events, "occurred_at"), "topup_id")


def active_days(events: Table) -> Table:
    """Days with a top-up."""
    return events.select("subject_key", day=w.day_of(events.occurred_at)).distinct()


def _daily(topups: Table) -> Table:
    """Sums and counts by subject and day."""
    cents = w.minor_units(topups.amount)
    daily = topups.group_by(*KEY).aggregate(
        topups=topups.count(),
        cents=cents.sum(),
        credit_cents=cents.sum(where=topups.channel == "airtime_credit"),
        lowest=w.minor_units(topups.balance_before).min(),
    )
    return daily.mutate(active=1, squares=w.exact(daily.cents) * w.exact(daily.cents))


def compute(events: Table, spine: Table) -> Table:
    """Features of each spine row; see ``Source.compute``."""
    days = w.calendar(spine, _daily(_topups(w.of_subjects(events, spine))))
    rows = days.select(
        *KEY,
        topups_30d=w.total(days.topups, 30),
        active_days_90d=w.total(days.active, 90),
        cents_30=w.total(days.cents, 30),
        cents_90=w.total(days.cents, 90),
        squares_90=w.total(days.squares, 90),
        credit_90=w.total(days.credit_cents, 90),
        lowest_90=days.lowest.min().over(w.trailing(90)),
        days_since_last_topup=w.days_since(days, days.active == 1),
    ).semi_join(spine, list(KEY))
    return w.declared(
        rows.mutate(
            topup_sum_30d=w.units(rows.cents_30),
            topup_sum_90d=w.units(rows.cents_90),
            airtime_credit_share_90d=w.ratio(rows.credit_90, rows.cents_90),
            topup_regularity_90d=w.variation(90, rows.cents_90, rows.squares_90),
            balance_before_min_90d=w.units(rows.lowest_90),
        ),
        FEATURES,
    )


COLUMNS = (
    Column("topup_id", pa.string(), "The operator's own number of the top-up; unique for a subject."),
    Column("occurred_at", INSTANT, "When the balance was filled."),
    Column("amount", MONEY, "Value added, in units of `currency`; above zero."),
    Column("currency", pa.string(), "ISO 4217 code; one currency for all rows of a subject."),
    Column("channel", pa.string(), "app, agent, voucher, bank or airtime_credit (lent by the operator)."),
    Column(
        "balance_before", MONEY, "Balance before, in units of `currency`; null if unknown.", required=False
    ),
)

FEATURES = (
    Feature(
        "topups_30d",
        "int64",
        "top-ups",
        "30 days",
        "Top-ups.",
        why="How often small money is at hand.",
        regulation="Often and little is how poor people pay, and no fault.",
    ),
    Feature(
        "active_days_90d",
        "int64",
        "days",
        "90 days",
        "Days with a top-up.",
        why="Tells a number in use from one bought for the application.",
        regulation="A second number used seldom looks the same: ask before refusing.",
    ),
    Feature(
        "topup_sum_30d",
        "float64",
        "currency units",
        "30 days",
        "Value added.",
        why="The month's spare money.",
        regulation="A proxy for wealth: set it against income, and test outcomes by group.",
    ),
    Feature(
        "topup_sum_90d",
        "float64",
        "currency units",
        "90 days",
        "Value added.",
        why="The same over a quarter, which one dry week does not upset.",
        regulation="A proxy for wealth: set it against income, and test outcomes by group.",
    ),
    Feature(
        "airtime_credit_share_90d",
        "float64",
        "share 0-1",
        "90 days",
        "Value lent by the operator over all value.",
        "no top-up in the window",
        why="Over-indebtedness in the smallest coin.",
        regulation="A small debt, paid back at the next top-up: tell the applicant before it counts.",
    ),
    Feature(
        "topup_regularity_90d",
        "float64",
        "ratio",
        "90 days",
        "Standard deviation (population) of the value per day over its mean, days without any included.",
        "no top-up in the window",
        why="Income stability: 0 is the same every day.",
        regulation="Seasonal and daily wages vary more: test outcomes by group.",
    ),
    Feature(
        "balance_before_min_90d",
        "float64",
        "currency units",
        "90 days",
        "Lowest known balance before a top-up.",
        "no balance known in the window",
        why="How far it runs down before money comes.",
        regulation="A proxy for wealth: test outcomes by group.",
    ),
    Feature(
        "days_since_last_topup",
        "int64",
        "days",
        "whole history",
        "Days since the last top-up, 0 on its day.",
        "no top-up so far",
        why="How current every other figure of this source is.",
        regulation="Says how old the evidence is, nothing about a person (accuracy, GDPR Art. 5(1)(d)).",
    ),
)

SOURCE = Source(
    name="telecom_topups",
    definition="telecom_topups_v1",
    doc="Top-ups of a prepaid number: how often, how much, how steady. A topup_id seen twice counts once, as it first"
    " became known.",
    columns=COLUMNS,
    event_time="occurred_at",
    identity=("topup_id",),
    features=FEATURES,
    active_days=active_days,
    compute=compute,
)
