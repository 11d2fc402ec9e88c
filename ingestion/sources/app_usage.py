"""App usage: which apps ran when on the phone, and what that says about regularity, loan stacking and fraud."""

from __future__ import annotations

import pyarrow as pa

from ingestion.source import INSTANT, Column, Feature, Source
from ingestion.sources import windows as w
from ingestion.sources.windows import KEY, Table

#: Night is 00:00-05:59 UTC: the source carries no time zone.
NIGHT_ENDS_AT_HOUR = 6


def _uses(events: Table) -> Table:
    """One row per event: rows alike in every column of the source count once."""
    uses = events.select("subject_key", *IDENTITY).distinct()
    return uses.mutate(day=w.day_of(uses.occurred_at))


def active_days(events: Table) -> Table:
    """Days with an event."""
    return events.select("subject_key", day=w.day_of(events.occurred_at)).distinct()


def _daily(uses: Table) -> Table:
    """Counts by subject and day."""
    daily = uses.group_by(*KEY).aggregate(
        events=uses.count(),
        night=uses.count(where=w.hour_of(uses.occurred_at) < NIGHT_ENDS_AT_HOUR),
        finance=uses.count(where=uses.category == "finance"),
        gambling=uses.count(where=uses.category == "gambling"),
        installs=uses.count(where=uses.event == "install"),
    )
    return daily.mutate(active=1, squares=w.exact(daily.events) * w.exact(daily.events))


def _days(uses: Table, spine: Table) -> Table:
    """The calendar: daily counts, and changes of the numbers of distinct apps, lending apps and devices."""
    return w.calendar(
        spine,
        _daily(uses),
        w.distinct_deltas(uses, "package", 30, "apps"),
        w.distinct_deltas(uses.filter(uses.category == "lending"), "package", 90, "lending_apps"),
        w.distinct_deltas(uses, "device_id", 90, "devices"),
    )


def _over_windows(days: Table) -> Table:
    """The calendar's rows with sums over their windows."""
    return days.select(
        *KEY,
        events_7d=w.total(days.events, 7),
        events_30d=w.total(days.events, 30),
        active_days_30d=w.total(days.active, 30),
        night_30=w.total(days.night, 30),
        distinct_apps_30d=w.distinct_now(days.apps),
        finance_30=w.total(days.finance, 30),
        lending_apps_90d=w.distinct_now(days.lending_apps),
        gambling_events_90d=w.total(days.gambling, 90),
        installs_7d=w.total(days.installs, 7),
        devices_90d=w.distinct_now(days.devices),
        squares_30=w.total(days.squares, 30),
        days_since_last_event=w.days_since(days, days.active == 1),
    )


def compute(events: Table, spine: Table) -> Table:
    """Features of each spine row; see ``Source.compute``."""
    uses = _uses(w.of_subjects(events, spine))
    rows = _over_windows(_days(uses, spine)).semi_join(spine, list(KEY))
    return w.declared(
        rows.mutate(
            night_share_30d=w.ratio(rows.night_30, rows.events_30d),
            finance_share_30d=w.ratio(rows.finance_30, rows.events_30d),
            daily_regularity_30d=w.variation(30, rows.events_30d, rows.squares_30),
        ),
        FEATURES,
    )


COLUMNS = (
    Column("occurred_at", INSTANT, "When it happened on the device."),
    Column("package", pa.string(), "Package name of the app."),
    Column("event", pa.string(), "open, foreground, install or uninstall.", required=False, default="open"),
    Column(
        "category",
        pa.string(),
        "Kind of app: finance, lending, gambling, social, shopping, game, work, system, communication, transport, "
        "health, education, entertainment or other; null if unknown.",
        required=False,
    ),
    Column(
        "device_id",
        pa.string(),
        "The installation's own number of the device; null if unknown.",
        required=False,
    ),
    Column("duration_s", pa.int64(), "Seconds in the foreground.", required=False),
)
IDENTITY = tuple(column.name for column in COLUMNS)

FEATURES = (
    Feature(
        "events_7d",
        "int64",
        "events",
        "7 days",
        "Events of any kind. Anti-fraud: hundreds in a week or none at all do not look like somebody's own phone.",
    ),
    Feature(
        "events_30d",
        "int64",
        "events",
        "30 days",
        "Events of any kind. How much evidence the shares of this source rest on.",
    ),
    Feature(
        "active_days_30d",
        "int64",
        "days",
        "30 days",
        "Days with an event. Anti-fraud: a phone in daily use differs from one switched on for an application.",
    ),
    Feature(
        "night_share_30d",
        "float64",
        "share 0-1",
        "30 days",
        "Events at 00:00-05:59 UTC over all events. Operation at unlikely hours, such as scripted devices. The hour "
        "is UTC, not local: compare within one country only.",
        "no event in the window",
    ),
    Feature(
        "distinct_apps_30d",
        "int64",
        "apps",
        "30 days",
        "Distinct packages. Anti-fraud: a farmed device runs very few.",
    ),
    Feature(
        "finance_share_30d",
        "float64",
        "share 0-1",
        "30 days",
        "Events of finance apps over all events. Engagement with banking and payment.",
        "no event in the window",
    ),
    Feature(
        "lending_apps_90d",
        "int64",
        "apps",
        "90 days",
        "Distinct packages of category lending. Loan stacking: several lenders' apps at once.",
    ),
    Feature(
        "gambling_events_90d",
        "int64",
        "events",
        "90 days",
        "Events of gambling apps. Over-indebtedness.",
    ),
    Feature(
        "installs_7d",
        "int64",
        "events",
        "7 days",
        "Apps installed. Anti-fraud and loan stacking: a burst of installs just before an application.",
    ),
    Feature(
        "devices_90d",
        "int64",
        "devices",
        "90 days",
        "Distinct known device ids. Anti-fraud: an account that moves between devices; 0 if no id is known.",
    ),
    Feature(
        "daily_regularity_30d",
        "float64",
        "ratio",
        "30 days",
        "Standard deviation (population) of events per day over their mean, days without any included. Regularity "
        "of life and anti-fraud: 0 is the same every day, 5.4 is everything on one day.",
        "no event in the window",
    ),
    Feature(
        "days_since_last_event",
        "int64",
        "days",
        "whole history",
        "Days since the last event, 0 on its day. How current every other figure of this source is.",
        "no event so far",
    ),
)

SOURCE = Source(
    name="app_usage",
    definition="app_usage_v1",
    doc="Use of apps on the subject's phone: regularity, use of finance and lending apps, device operation for "
    "anti-fraud. Rows alike in every column count once.",
    columns=COLUMNS,
    event_time="occurred_at",
    identity=IDENTITY,
    features=FEATURES,
    active_days=active_days,
    compute=compute,
)
