"""What makes a row of app usage fit for use: one event of one app on a subject's phone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from validation.quiet import gx
from validation.rules import (
    FILLERS,
    INSTANT,
    ROW_COLUMNS,
    between,
    dated,
    fresh,
    matching,
    not_one_of,
    one_of,
    plain,
    present,
    satisfying,
    short,
    suite_of,
    unique,
)

#: One row per event; two may be alike. duration_s: seconds the app was in front.
COLUMNS = pa.schema(
    [
        ("occurred_at", INSTANT),
        ("package", pa.string()),
        ("event", pa.string()),
        ("category", pa.string()),
        ("device_id", pa.string()),
        ("duration_s", pa.int64()),
        *ROW_COLUMNS,
    ]
)

EVENTS = ["open", "foreground", "install", "uninstall"]
CATEGORIES = [
    "finance",
    "lending",
    "gambling",
    "social",
    "shopping",
    "game",
    "work",
    "system",
    "communication",
    "transport",
    "health",
    "education",
    "entertainment",
    "other",
]

_SECONDS_PER_DAY = 86_400


def suite(*, currency: str, now: datetime) -> gx.ExpectationSuite:
    """The rules for a batch of app events.

    Args:
        currency: taken because every suite takes it; an app event holds no money.
        now: the moment of checking, aware.
    """
    return suite_of(
        "app_usage",
        COLUMNS,
        [
            # The first smartphones with apps.
            *dated("occurred_at", earliest=datetime(2007, 1, 1, tzinfo=UTC), now=now),
            present("package"),
            short("package", shortest=1, longest=255),
            # Package names and app names of any script, but no control characters.
            matching("package_printable", "package", r"^\P{Cc}*$"),
            present("event"),
            one_of("event_known", "event", EVENTS),
            one_of("category_known", "category", CATEGORIES),
            short("device_id"),
            plain("device_id", "event"),
            between("duration_s_in_a_day", "duration_s", min_value=0, max_value=_SECONDS_PER_DAY),
            not_one_of("duration_s_not_filler", "duration_s", FILLERS),
            # Features count rows that are alike in every column once.
            unique(
                "event_not_repeated", *("subject_key", "occurred_at", "package", "event"), severity="warning"
            ),
            fresh("occurred_at", within=timedelta(days=45), now=now),
            satisfying(
                "duration_s_while_in_use",
                ["event", "duration_s"],
                "event in ('open', 'foreground') or coalesce(duration_s, 0) = 0",
                severity="warning",
            ),
            # The counts by category leave such a row out.
            present("category", severity="warning"),
        ],
    )
