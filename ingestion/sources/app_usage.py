"""App usage: which apps ran when on the phone, and what that says about regularity, loan stacking and fraud."""

from __future__ import annotations

import pyarrow as pa

from ingestion.source import INSTANT, Column, Feature, Source
from ingestion.sources import regulation as note
from ingestion.sources import windows as w
from ingestion.sources.windows import KEY, Table

#: Night is 00:00-05:59 UTC: the source carries no time zone.
NIGHT_ENDS_AT_HOUR = 6


def _uses(events: Table) -> Table:
    """One row per event: rows alike in every column of the source count once."""
    uses = events.select("subject_key", *IDENTITY).distinct()
    return uses.mutate(day=w.day_of(uses.occurred_at), hour=w.hour_of(uses.occurred_at))


def active_days(events: Table) -> Table:
    """Days with an event."""
    return events.select("subject_key", day=w.day_of(events.occurred_at)).distinct()


def _daily(uses: Table) -> Table:
    """Counts by subject and day."""
    installed = uses.event == "install"
    daily = uses.group_by(*KEY).aggregate(
        events=uses.count(),
        night=uses.count(where=uses.hour < NIGHT_ENDS_AT_HOUR),
        finance=uses.count(where=uses.category == "finance"),
        gambling=uses.count(where=uses.category == "gambling"),
        installs=uses.count(where=installed),
        uninstalls=uses.count(where=uses.event == "uninstall"),
        lending_installs=uses.count(where=installed & (uses.category == "lending")),
    )
    return daily.mutate(active=1, squares=w.exact(daily.events) * w.exact(daily.events))


def _days(uses: Table, spine: Table) -> Table:
    """The calendar: daily counts, and changes of the numbers of distinct apps, devices and hours."""
    return w.calendar(
        spine,
        _daily(uses),
        w.distinct_deltas(uses, "package", 30, "apps"),
        w.distinct_deltas(uses.filter(uses.category == "finance"), "package", 30, "finance_apps"),
        w.distinct_deltas(uses.filter(uses.category == "lending"), "package", 90, "lending_apps"),
        w.distinct_deltas(uses, "device_id", 90, "devices"),
        w.distinct_deltas(uses, "hour", 30, "hours"),
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
        active_hours_30d=w.distinct_now(days.hours),
        finance_30=w.total(days.finance, 30),
        finance_apps_30d=w.distinct_now(days.finance_apps),
        busiest_30=days.events.max().over(w.trailing(30)),
        lending_apps_90d=w.distinct_now(days.lending_apps),
        gambling_events_90d=w.total(days.gambling, 90),
        installs_7d=w.total(days.installs, 7),
        uninstalls_30d=w.total(days.uninstalls, 30),
        lending_installs_30d=w.total(days.lending_installs, 30),
        devices_90d=w.distinct_now(days.devices),
        squares_30=w.total(days.squares, 30),
        history_days=days.day - (days.active == 1).ifelse(days.day, None).min().over(w.so_far()),
        days_since_last_event=w.days_since(days, days.active == 1),
    )


def compute(events: Table, spine: Table) -> Table:
    """Features of each spine row; see ``Source.compute``."""
    uses = _uses(w.of_subjects(events, spine))
    rows = _over_windows(_days(uses, spine)).semi_join(spine, list(KEY))
    return w.declared(
        rows.mutate(
            max_day_share_30d=w.ratio(rows.busiest_30, rows.events_30d),
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
        "Events of any kind.",
        why="Anti-fraud: hundreds in a week or none at all do not look like somebody's own phone.",
        regulation=note.BEHAVIOUR,
    ),
    Feature(
        "events_30d",
        "int64",
        "events",
        "30 days",
        "Events of any kind.",
        why="How much evidence the shares of this source rest on.",
        regulation=note.BEHAVIOUR,
    ),
    Feature(
        "active_days_30d",
        "int64",
        "days",
        "30 days",
        "Days with an event.",
        why="Anti-fraud: a phone in daily use differs from one switched on for an application.",
        regulation=note.BEHAVIOUR,
    ),
    Feature(
        "active_hours_30d",
        "int64",
        "hours",
        "30 days",
        "Distinct hours of the day (0-23, UTC) with an event.",
        why="Device operation: a script runs in one hour, or in all of them; people sleep.",
        regulation=note.BEHAVIOUR,
    ),
    Feature(
        "night_share_30d",
        "float64",
        "share 0-1",
        "30 days",
        "Events at 00:00-05:59 UTC over all events. The hour is UTC, not local: compare within one "
        "country only.",
        "no event in the window",
        why="Operation at unlikely hours, such as scripted devices.",
        regulation="Night work, a small child, an illness and Ramadan look the same: a proxy for occupation, "
        "health and religion. For fraud only, never for a price or a limit.",
    ),
    Feature(
        "max_day_share_30d",
        "float64",
        "share 0-1",
        "30 days",
        "Events of the busiest day over all events.",
        "no event in the window",
        why="Device operation: 1 is everything on one day, as on a phone prepared for an application.",
        regulation=note.BEHAVIOUR,
    ),
    Feature(
        "distinct_apps_30d",
        "int64",
        "apps",
        "30 days",
        "Distinct packages.",
        why="Anti-fraud: a farmed device runs very few.",
        regulation="Fewer on cheap phones and among older people: a proxy for wealth and age. For fraud only.",
    ),
    Feature(
        "finance_share_30d",
        "float64",
        "share 0-1",
        "30 days",
        "Events of finance apps over all events.",
        "no event in the window",
        why="Engagement with banking and payment.",
        regulation=note.DIGITAL,
    ),
    Feature(
        "finance_apps_30d",
        "int64",
        "apps",
        "30 days",
        "Distinct packages of category finance.",
        why="Engagement with banking and payment, whatever the rest of the phone is used for.",
        regulation=note.DIGITAL,
    ),
    Feature(
        "lending_apps_90d",
        "int64",
        "apps",
        "90 days",
        "Distinct packages of category lending.",
        why="Loan stacking: several lenders' apps at once.",
        regulation="An app is not a loan: confirm it with spending or a bureau before it counts as a "
        "commitment, and tell the applicant.",
    ),
    Feature(
        "lending_installs_30d",
        "int64",
        "events",
        "30 days",
        "Installs of lending apps.",
        why="Loan stacking: applications made everywhere at once.",
        regulation="Shopping around for credit is sensible and often encouraged: not a reason for refusal by "
        "itself.",
    ),
    Feature(
        "gambling_events_90d",
        "int64",
        "events",
        "90 days",
        "Events of gambling apps.",
        why="Over-indebtedness.",
        regulation="Near to health: from much gambling an addiction can be inferred, and what lets such data "
        "be inferred is treated like it (CJEU C-184/20; GDPR Art. 9). Use it to protect, never for "
        "marketing.",
    ),
    Feature(
        "installs_7d",
        "int64",
        "events",
        "7 days",
        "Apps installed.",
        why="Anti-fraud and loan stacking: a burst of installs just before an application.",
        regulation="A new phone looks the same: ask before refusing.",
    ),
    Feature(
        "uninstalls_30d",
        "int64",
        "events",
        "30 days",
        "Apps uninstalled.",
        why="Anti-fraud: traces removed before an application.",
        regulation="Clearing a full phone looks the same, and cheap phones fill sooner: ask before refusing.",
    ),
    Feature(
        "devices_90d",
        "int64",
        "devices",
        "90 days",
        "Distinct known device ids; 0 if no id is known.",
        why="Anti-fraud: an account that moves between devices.",
        regulation="Shared and borrowed phones are common among poor people and, in places, women: for fraud "
        "only.",
    ),
    Feature(
        "daily_regularity_30d",
        "float64",
        "ratio",
        "30 days",
        "Standard deviation (population) of events per day over their mean, days without any included.",
        "no event in the window",
        why="Regularity of life and anti-fraud: 0 is the same every day, 5.4 is everything on one day.",
        regulation=note.BEHAVIOUR,
    ),
    Feature(
        "history_days",
        "int64",
        "days",
        "whole history",
        "Days since the first known event, 0 on its day.",
        "no event so far",
        why="Anti-fraud: how long this phone's use has been known.",
        regulation="Says how long somebody has shared data: do not let recent consent count against a person, "
        "who gave it freely (GDPR Art. 7(4)).",
    ),
    Feature(
        "days_since_last_event",
        "int64",
        "days",
        "whole history",
        "Days since the last event, 0 on its day.",
        "no event so far",
        why="How current every other figure of this source is.",
        regulation=note.CURRENT,
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
