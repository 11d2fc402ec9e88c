"""Days, money and trailing windows as Ibis expressions: what the maths of every source is made of.

A *day* is the number of days since 1970-01-01 UTC, an n-day window is the days D-n+1..D. The work is linear in
the events: a subject's history becomes a *calendar*, one row per day that matters, and windows slide over that.
Nothing here names an engine. Three ways in which engines differ shape the code:

* A sum of int64 is wider than int64 on DuckDB while Ibis believes it is int64 and drops a plain cast; so every
  integer leaves through ``decimal(38, 0)`` (``declared``).
* Ibis writes ``epoch_seconds`` and ``date`` of an instant so that DuckDB answers in the *session's* time zone;
  the distance in seconds from a fixed instant does not depend on it (``seconds``).
* ``last`` over a window skips nulls on Spark and does not on DuckDB; so "the last known value" is a lookup by
  the greatest ``seq`` (``in_order_known``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable
from functools import reduce
from typing import Any, TypeAlias

from ingestion.source import Feature

#: An Ibis table expression, and an Ibis column expression. Ibis is imported where it is used: it costs seconds.
Table: TypeAlias = Any
Value: TypeAlias = Any

#: What a row of a spine, a calendar and a feature table is about.
KEY = ("subject_key", "day")

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_SECONDS_PER_DAY = 86_400


def seconds(instant: Value) -> Value:
    """Whole seconds since 1970-01-01 UTC, rounded down."""
    return instant.delta(_EPOCH, unit="second")


def day_of(instant: Value) -> Value:
    """UTC day of an instant."""
    return seconds(instant) // _SECONDS_PER_DAY


def hour_of(instant: Value) -> Value:
    """UTC hour of an instant, 0-23."""
    return seconds(instant) % _SECONDS_PER_DAY // 3600


def day_number(date: Value) -> Value:
    """Day of a calendar date."""
    return date.delta(_EPOCH.date(), unit="day")


def exact(number: Value) -> Value:
    """An integer as a 38-digit decimal: sums and squares of it neither round nor overflow."""
    return number.cast("decimal(38, 0)")


def minor_units(money: Value) -> Value:
    """Money as an exact count of cents."""
    return exact(money.cast("decimal(38, 2)") * 100)


def units(minor: Value) -> Value:
    """Cents as currency units, rounded once, to the nearest float64."""
    return minor.cast("float64") / 100


def ratio(part: Value, whole: Value) -> Value:
    """``part / whole`` as float64; null unless ``whole`` is above zero."""
    return (whole > 0).ifelse(part.cast("float64") / whole.cast("float64"), None)


def variation(n: Value | int, total: Value, squares: Value) -> Value:
    """Coefficient of variation (population) of ``n`` integers, from their sum and sum of squares.

    Exact up to the last two roundings: a variance taken from float64 sums cancels to noise when values are alike.
    """
    spread = exact(squares) * n - exact(total) * exact(total)
    return ratio(spread.cast("float64").sqrt(), total)


def of_subjects(events: Table, spine: Table) -> Table:
    """The events of subjects that the spine asks for."""
    return events.semi_join(spine.select("subject_key").distinct(), "subject_key")


def in_order_known(events: Table, event_time: str) -> Table:
    """Adds ``day`` and ``seq``, the place of a row in the order in which its subject's rows became known."""
    import ibis

    order = ibis.window(group_by="subject_key", order_by=[event_time, "batch_order", "row_number"])
    return events.mutate(day=day_of(events[event_time]), seq=ibis.row_number().over(order))


def first_known(rows: Table, *identity: str) -> Table:
    """The first row by ``seq`` of each (subject_key, *identity)."""
    firsts = rows.group_by("subject_key", *identity).aggregate(seq=rows.seq.min())
    return rows.semi_join(firsts, ["subject_key", "seq"])


def attach(table: Table, piece: Table, key: Collection[str] = KEY) -> Table:
    """Left join on ``key``: ``table`` with the other columns of ``piece``, null where it has no row."""
    # Named columns, not drop(): Ibis writes dropped ones in the order of a set, another in each process, and
    # a published definition is compared as text.
    added = [column for column in piece.columns if column not in key]
    return table.left_join(piece, list(key)).select(*table.columns, *added)


def calendar(spine: Table, *pieces: Table) -> Table:
    """One row per subject and day that is in the spine or in a piece, with the columns of all pieces.

    Each piece has one row per (subject_key, day); its columns are null on the other days.
    """
    import ibis

    days = ibis.union(*(table.select(*KEY) for table in (spine, *pieces)), distinct=True)
    return reduce(attach, pieces, days)


def trailing(days: int) -> Any:
    """The window of the last ``days`` days of a calendar, the row's own included."""
    import ibis

    return ibis.range_window(group_by="subject_key", order_by="day", preceding=days - 1, following=0)


def so_far() -> Any:
    """The window of a calendar's rows up to and including the row's own."""
    import ibis

    return ibis.window(group_by="subject_key", order_by="day", preceding=None, following=0)


def total(column: Value, days: int) -> Value:
    """Sum over the last ``days`` days; zero when there is nothing to sum."""
    return column.sum().over(trailing(days)).coalesce(0)


def days_since(rows: Table, seen: Value) -> Value:
    """Days since the last calendar row on which ``seen`` was true; null before the first."""
    return rows.day - seen.ifelse(rows.day, None).max().over(so_far())


def distinct_deltas(uses: Table, item: str, days: int, name: str) -> Table:
    """Changes, by day, of the number of distinct ``item`` used in the last ``days`` days.

    An item used on day u counts until the day before u+days or until its next use, which counts it anew: +1 on
    u, -1 on the earlier of the two. ``distinct_now`` sums the changes. Linear in the uses.

    Args:
        uses: has subject_key, day and ``item``; rows without an item count nothing.
        item: the column whose values are counted.
        days: length of the window.
        name: of the column of changes.
    """
    import ibis

    used = uses.filter(uses[item].notnull()).select(*KEY, item).distinct()
    next_use = used.day.lead().over(ibis.window(group_by=["subject_key", item], order_by="day"))
    spans = used.select(*KEY, until=ibis.least(next_use.coalesce(used.day + days), used.day + days))
    changes = ibis.union(
        spans.select(*KEY, change=1),
        spans.select("subject_key", day=spans.until, change=-1),
    )
    return changes.group_by(*KEY).aggregate(changes.change.sum().name(name))


def distinct_now(change: Value) -> Value:
    """Number of distinct items in the window on a calendar row, from ``distinct_deltas``."""
    return change.sum().over(so_far()).coalesce(0)


def declared(rows: Table, features: Iterable[Feature]) -> Table:
    """Subject_key, day, then the features in their order and with their types."""
    cast: dict[str, Callable[[Value], Value]] = {
        "int64": lambda value: exact(value).cast("int64"),
        "float64": lambda value: value.cast("float64"),
    }
    return rows.select(*KEY, **{f.name: cast[f.dtype](rows[f.name]) for f in features})
