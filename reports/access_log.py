"""Who used or looked at which data, as the access log has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from consent.accesses import Access, AccessQuery
from consent.home import Home
from reports.query import Definition, Scope
from reports.table import CellType, Column, Row, count, instant, text

#: Entries in memory at a time.
_AT_A_TIME = 200


def rows(scope: Scope) -> Iterator[Row]:
    """One row per entry, the newest first."""
    asked = scope.query
    query = AccessQuery(
        purpose=asked.purpose, subject_key=asked.subject_key, since=asked.since, until=asked.until
    )
    return map(_row, newest_first(scope.home, query))


def newest_first(home: Home, query: AccessQuery) -> Iterator[Access]:
    """All such entries, the newest first, a bounded number in memory at a time."""
    while entries := home.accesses.entries(query, limit=_AT_A_TIME):
        yield from entries
        query = replace(query, before=entries[-1].leaf_index)


def _row(entry: Access) -> Row:
    about = "; ".join(f"{name}={value}" for name, value in sorted(entry.about.items()))
    return (
        entry.leaf_index,
        entry.at,
        entry.kind.value,
        entry.caller,
        entry.purpose or None,
        entry.personal,
        about,
    )


REPORT = Definition(
    "access-log",
    "Access log",
    "Every entry of the access log in the time that is named, by the clock of its writing, the newest first: training"
    " fetches, online reads as far as they are logged, looks, reports, exports, erasures and refusals, each written"
    " before anything was handed out. With a person: only entries about that person.",
    (
        count("entry", "entries", "Its number in the access log, from 0."),
        instant("at", "When it was written."),
        text("kind", "What was done."),
        text("caller", "Who asked."),
        text("purpose", "For what, where there is a purpose."),
        Column(
            "personal", CellType.FLAG, "Whether it is about one person, who is found with their own key only."
        ),
        text("about", "What it was about: names and identifiers, nothing about a person."),
    ),
    rows,
    takes=frozenset({"subject_key", "purpose", "since", "until"}),
    notes=(
        "A training fetch is one entry, not one per person: the receipt it names has the list of people.",
    ),
)
