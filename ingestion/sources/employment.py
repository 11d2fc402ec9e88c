"""Employment: spells of work as they were reported, and what they say about job and income stability.

A spell is known as its latest report by the day puts it; a report supersedes the earlier one of the same
``record_id`` from its own day on, never before.
"""

from __future__ import annotations

import pyarrow as pa

from ingestion.source import INSTANT, MONEY, Column, Feature, Source
from ingestion.sources import regulation as note
from ingestion.sources import windows as w
from ingestion.sources.windows import KEY, Table

STABLE_TYPES = ("government", "state_owned")
YEAR, TWO_YEARS, THREE_YEARS = 365, 730, 1095
#: 9999-12-31: until then a report stands, or a spell goes on, that nobody has ended.
NEVER = 2_932_896
#: Features that count something, and are zero where there is nothing to count.
_COUNTS = (
    "current_jobs",
    "spells_36m",
    "jobs_started_24m",
    "jobs_ended_12m",
    "employer_types_36m",
    "employed_days_365d",
)


def _reports(events: Table) -> Table:
    """One row per report, with the days [known_from, known_until) on which it is the latest of its record.

    Of two reports on one day the earlier is known on no day.
    """
    import ibis

    known = w.in_order_known(events, "reported_at")
    by_record = ibis.window(group_by=["subject_key", "record_id"], order_by="seq")
    return known.select(
        "subject_key",
        "seq",
        "employer_type",
        known_from=known.day,
        known_until=known.day.lead().over(by_record).coalesce(NEVER),
        began=w.day_number(known.started_on),
        ended=w.day_number(known.ended_on).coalesce(NEVER),
        cents=w.minor_units(known.monthly_salary),
    )


def active_days(events: Table) -> Table:
    """Days with a report, and days on which a reported spell begins or is over without another report.

    A spell that is reported to end in the future yields a day in the future.
    """
    import ibis

    reports = _reports(events)
    turns = ibis.union(
        reports.select("subject_key", "known_from", "known_until", day=reports.began),
        reports.select("subject_key", "known_from", "known_until", day=reports.ended + 1),
    )
    awaited = turns.filter(turns.day > turns.known_from, turns.day < turns.known_until)
    return ibis.union(
        reports.select("subject_key", day=reports.known_from), awaited.select(*KEY), distinct=True
    )


def _known(reports: Table, spine: Table) -> Table:
    """For each spine row the reports that stand on its day."""
    pairs = spine.select(*KEY).inner_join(reports, "subject_key")
    return pairs.filter(pairs.known_from <= pairs.day, pairs.day < pairs.known_until)


def _begun(reports: Table, spine: Table) -> Table:
    """For each spine row the spells that have begun by its day, and whether they go on."""
    known = _known(reports, spine)
    return known.filter(known.began <= known.day).mutate(current=known.ended >= known.day)


def _salaries(reports: Table, spine: Table) -> Table:
    """Salary in cents on each spine row's day: of the current spells, the one reported last with a salary."""
    spells = _begun(reports, spine)
    paid = spells.filter(spells.current, spells.cents.notnull())
    latest = paid.group_by(*KEY).aggregate(seq=paid.seq.max())
    return w.attach(latest, reports.select("subject_key", "seq", "cents"), ("subject_key", "seq"))


def _counts(spells: Table) -> Table:
    """What counting a spine row's spells tells."""
    import ibis

    ended = spells.ended
    recent = ended > spells.day - THREE_YEARS
    stable = spells.current & spells.employer_type.isin(STABLE_TYPES)
    return spells.group_by(*KEY).aggregate(
        current_jobs=spells.count(where=spells.current),
        tenure_days=(spells.day - spells.began).max(where=spells.current),
        spells_36m=spells.count(where=recent),
        jobs_started_24m=spells.count(where=spells.began > spells.day - TWO_YEARS),
        employer_types_36m=spells.employer_type.nunique(where=recent),
        stable=spells.count(where=stable),
        jobs_ended_12m=spells.count(where=ended.between(spells.day - YEAR + 1, spells.day)),
        longest_spell_days=ibis.greatest(ibis.least(ended, spells.day) - spells.began + 1, 0).max(),
        last_agreed=ended.max(where=spells.current),
        peak_cents=spells.cents.max(),
        first_began=spells.began.min(),
    )


def _worked_days(spells: Table) -> Table:
    """Days of the last year covered by at least one spell.

    In the order of their first days, each spell adds the days after the last day covered so far.
    """
    import ibis

    spans = spells.mutate(
        first=ibis.greatest(spells.began, spells.day - YEAR + 1), last=ibis.least(spells.ended, spells.day)
    )
    earlier = ibis.window(group_by=KEY, order_by=["first", "seq"], preceding=(None, 1))
    covered_to = spans.last.max().over(earlier).coalesce(spans.first - 1)
    added = spans.last - ibis.greatest(spans.first - 1, covered_to)
    spans = spans.select(*KEY, added=(added > 0).ifelse(added, 0))
    return spans.group_by(*KEY).aggregate(employed_days_365d=spans.added.sum())


def _salary_change(reports: Table, spine: Table) -> Table:
    """Salary in cents on each spine row's day, and what it was a year before, on what was reported by then."""
    before = _salaries(reports, spine.mutate(day=spine.day - YEAR))
    before = before.select("subject_key", day=before.day + YEAR, cents_before=before.cents)
    return w.attach(_salaries(reports, spine), before)


def compute(events: Table, spine: Table) -> Table:
    """Features of each spine row; see ``Source.compute``."""
    import ibis

    reports = _reports(w.of_subjects(events, spine))
    known, spells = _known(reports, spine), _begun(reports, spine)
    last_report = known.group_by(*KEY).aggregate(last_report=known.known_from.max())
    rows = spine.select(*KEY)
    for piece in (last_report, _counts(spells), _worked_days(spells), _salary_change(reports, spine)):
        rows = w.attach(rows, piece)
    rows = rows.mutate(**{name: rows[name].coalesce(0) for name in _COUNTS})
    year_began = ibis.greatest(rows.first_began, rows.day - YEAR + 1)
    return w.declared(
        rows.mutate(
            employed_now=(rows.current_jobs > 0).ifelse(1, 0),
            experience_days=rows.day - rows.first_began,
            days_to_contract_end=(rows.last_agreed < NEVER).ifelse(rows.last_agreed - rows.day, None),
            stable_employer_type=(rows.stable.coalesce(0) > 0).ifelse(1, 0),
            gap_days_365d=rows.first_began.notnull().ifelse(
                rows.day - year_began + 1 - rows.employed_days_365d, None
            ),
            monthly_salary_now=w.units(rows.cents),
            salary_change_ratio_12m=w.ratio(rows.cents, rows.cents_before),
            salary_to_peak_ratio=w.ratio(rows.cents, rows.peak_cents),
            days_since_last_report=rows.day - rows.last_report,
        ),
        FEATURES,
    )


COLUMNS = (
    Column("record_id", pa.string(), "The reporter's own number of the spell; unique for a subject."),
    Column("reported_at", INSTANT, "When the spell was reported as it stands in this row."),
    Column("employer", pa.string(), "Name of the employer. Never a feature.", required=False),
    Column(
        "employer_type",
        pa.string(),
        "government, state_owned, private, foreign, self_employed or other.",
    ),
    Column("job_title", pa.string(), "Never a feature.", required=False),
    Column(
        "monthly_salary",
        MONEY,
        "Agreed pay per month, in units of `currency`; null if unknown.",
        required=False,
    ),
    Column("currency", pa.string(), "ISO 4217 code; one currency for all rows of a subject.", required=False),
    Column("started_on", pa.date32(), "First day of the spell."),
    Column(
        "ended_on",
        pa.date32(),
        "Last day of the spell, in the future if that is agreed; null while it goes on.",
        required=False,
    ),
)

FEATURES = (
    Feature(
        "employed_now",
        "int64",
        "0 or 1",
        "the day",
        "1 if a spell is current: begun, and not ended before the day.",
        why="Income to repay from.",
        regulation="Pensions, benefits and support are income too: 0 must not end an application by itself (US"
        " Regulation B, 12 CFR 1002.6(b)(5), for pensions and part-time pay).",
    ),
    Feature(
        "current_jobs",
        "int64",
        "spells",
        "the day",
        "Spells that are current.",
        why="Income stability: a second job is a second leg; anti-fraud: many at once are seldom true.",
        regulation="Several small jobs are common among migrants and women: test outcomes by group.",
    ),
    Feature(
        "tenure_days",
        "int64",
        "days",
        "the day",
        "Days since the longest-running current spell began, 0 on its first day.",
        "not employed",
        why="Job stability.",
        regulation=note.AGE,
    ),
    Feature(
        "experience_days",
        "int64",
        "days",
        "whole history",
        "Days since the first known spell began, 0 on its first day.",
        "no spell has begun",
        why="Job stability: somebody known to have worked for years, whatever the employer.",
        regulation=note.AGE,
    ),
    Feature(
        "longest_spell_days",
        "int64",
        "days",
        "whole history",
        "Days of the longest spell, up to the day; the first day counts.",
        "no spell has begun",
        why="Job stability: whether somebody has ever stayed.",
        regulation=note.AGE,
    ),
    Feature(
        "spells_36m",
        "int64",
        "spells",
        "1,095 days",
        "Spells with a day in the window.",
        why="Job stability: many short spells mean an uncertain income.",
        regulation=note.INTERRUPTED,
    ),
    Feature(
        "jobs_started_24m",
        "int64",
        "spells",
        "730 days",
        "Spells that began in the window, a first job included.",
        why="Job stability: changes of job.",
        regulation=note.INTERRUPTED,
    ),
    Feature(
        "jobs_ended_12m",
        "int64",
        "spells",
        "365 days",
        "Spells whose last day is in the window.",
        why="Job stability: income that has just been lost.",
        regulation=note.INTERRUPTED,
    ),
    Feature(
        "employed_days_365d",
        "int64",
        "days",
        "365 days",
        "Days of the window covered by at least one spell; overlapping spells count once.",
        why="Income stability.",
        regulation=note.INTERRUPTED,
    ),
    Feature(
        "gap_days_365d",
        "int64",
        "days",
        "365 days",
        "Days of the window, from the first known spell on, covered by none.",
        "no spell has begun",
        why="Income stability: time without pay.",
        regulation=note.INTERRUPTED,
    ),
    Feature(
        "days_to_contract_end",
        "int64",
        "days",
        "the day",
        "Days from the day to the last agreed day of a current spell; of several, the latest.",
        "not employed, or a current spell is open-ended",
        why="Income stability: a contract that ends before the loan does.",
        regulation="Fixed terms are commoner among the young and migrants. Compare it with the term of the "
        "loan; do not score it by itself.",
    ),
    Feature(
        "monthly_salary_now",
        "float64",
        "currency units",
        "the day",
        "Salary of the current spell; of several, the one reported last with a salary.",
        "not employed, or no salary reported for a current spell",
        why="Income level.",
        regulation=note.INCOME,
    ),
    Feature(
        "salary_change_ratio_12m",
        "float64",
        "ratio",
        "365 days",
        "monthly_salary_now over what it was 365 days before, on what was reported by then; 1 is unchanged.",
        "either salary unknown, or the earlier one zero",
        why="Income stability.",
        regulation="A fall may be part-time work after a birth or an illness: a person should be able to say "
        "so (GDPR Art. 22(3); PIPL Art. 24).",
    ),
    Feature(
        "salary_to_peak_ratio",
        "float64",
        "ratio",
        "whole history",
        "monthly_salary_now over the highest salary of any spell that has begun; 1 is the highest ever.",
        "no salary now, or no salary above zero ever",
        why="Income stability: somebody who lives on less than they are used to.",
        regulation="A fall may be part-time work after a birth or an illness: a person should be able to say "
        "so (GDPR Art. 22(3); PIPL Art. 24).",
    ),
    Feature(
        "employer_types_36m",
        "int64",
        "types",
        "1,095 days",
        "Distinct types of employer of the spells in spells_36m.",
        why="Job stability: moves between kinds of work.",
        regulation=note.INTERRUPTED,
    ),
    Feature(
        "stable_employer_type",
        "int64",
        "0 or 1",
        "the day",
        "1 if a current spell is with government or a state-owned employer.",
        why="Job stability: such jobs seldom end at short notice.",
        regulation="Where public posts are closed to foreigners it stands for nationality, and elsewhere often"
        " for party or origin: leave it out unless tests by group are clean.",
    ),
    Feature(
        "days_since_last_report",
        "int64",
        "days",
        "whole history",
        "Days since the last report of any spell, 0 on its day.",
        "nothing reported so far",
        why="How current every other figure of this source is.",
        regulation=note.CURRENT,
    ),
)

SOURCE = Source(
    name="employment",
    definition="employment_v1",
    doc="Spells of employment as they were reported: tenure, job changes, gaps, salary. A record_id reported again "
    "counts as last reported (latest reported_at, then batch, then row) from the day of that report on.",
    columns=COLUMNS,
    event_time="reported_at",
    identity=("record_id",),
    features=FEATURES,
    active_days=active_days,
    compute=compute,
)
