"""What makes a row of employment fit for use: one job of one subject, as known at one moment."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow as pa

from validation.quiet import gx
from validation.rules import (
    FILLERS,
    INSTANT,
    MONEY,
    ROW_COLUMNS,
    between,
    dated,
    fresh,
    not_one_of,
    one_of,
    plain,
    present,
    satisfying,
    short,
    suite_of,
    unique,
)

#: One row per (subject_key, record_id, reported_at). monthly_salary: in ``currency``; ended_on: null while
#: the job lasts.
COLUMNS = pa.schema(
    [
        ("record_id", pa.string()),
        ("reported_at", INSTANT),
        ("employer", pa.string()),
        ("employer_type", pa.string()),
        ("job_title", pa.string()),
        ("monthly_salary", MONEY),
        ("currency", pa.string()),
        ("started_on", pa.date32()),
        ("ended_on", pa.date32()),
        *ROW_COLUMNS,
    ]
)

EMPLOYER_TYPES = ["government", "state_owned", "private", "foreign", "self_employed", "other"]

#: 2099-12-31 and 9999-12-31 are ways of writing "ongoing"; an agreed end of a job lies nearer.
_FORESEEABLE = timedelta(days=20 * 365)


def suite(*, currency: str, now: datetime) -> gx.ExpectationSuite:
    """The rules for a batch of employment records.

    Args:
        currency: ISO 4217 code of the home's currency; salaries in any other are not comparable.
        now: the moment of checking, aware.
    """
    return suite_of(
        "employment",
        COLUMNS,
        [
            present("record_id"),
            short("record_id", shortest=1),
            unique("record_id_unique", "subject_key", "record_id", "reported_at"),
            *dated("reported_at", earliest=datetime(1990, 1, 1, tzinfo=UTC), now=now),
            short("employer"),
            present("employer_type"),
            one_of("employer_type_known", "employer_type", EMPLOYER_TYPES),
            short("job_title"),
            plain("record_id", "employer", "job_title"),
            between("monthly_salary_not_negative", "monthly_salary", min_value=0),
            between("monthly_salary_below_limit", "monthly_salary", max_value=10**8, strict_max=True),
            not_one_of("monthly_salary_not_filler", "monthly_salary", FILLERS),
            satisfying(
                "salary_currency_is_home",
                ["monthly_salary", "currency"],
                f"monthly_salary is null or currency is not distinct from '{currency}'",
            ),
            present("started_on"),
            between("started_on_not_too_old", "started_on", min_value=date(1940, 1, 1)),
            # Jobs are reported shortly before they begin. A difference, not a sum: no date can overflow it.
            satisfying(
                "started_on_not_after_report",
                ["started_on", "reported_at"],
                "started_on - cast(reported_at as date) <= 31",
            ),
            satisfying("ended_on_not_before_start", ["started_on", "ended_on"], "ended_on >= started_on"),
            between("ended_on_foreseeable", "ended_on", max_value=now.date() + _FORESEEABLE),
            # Day zero of Unix time: what a system without a date writes.
            not_one_of("started_on_not_epoch", "started_on", ["1970-01-01"], severity="warning"),
            # 365243 days from any day is what a system writes that counts days and has none.
            satisfying(
                "days_not_filler",
                ["started_on", "ended_on", "reported_at"],
                "abs(started_on - cast(reported_at as date)) <> 365243"
                " and abs(coalesce(ended_on, started_on) - cast(reported_at as date)) <> 365243",
            ),
            fresh("reported_at", within=timedelta(days=400), now=now),
            # Income features are null without it.
            present("monthly_salary", severity="warning"),
        ],
    )
