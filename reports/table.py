"""The one shape every report has: a title, what it says, columns with type and unit, rows, and notes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

#: What stands in a cell; None: it does not apply, or nothing is on record.
Cell = str | int | float | bool | datetime | None
Row = tuple[Cell, ...]


class CellType(StrEnum):
    """What the cells of a column are.

    TEXT, SUBJECT: strings; a subject is a pseudonym of 32 hex digits. COUNT: a whole number from 0 on. SHARE: from 0
    to 1. NUMBER: in the row's own unit. SECONDS, DAYS: durations. INSTANT: a moment in UTC, exact to the
    microsecond. FLAG: yes or no.
    """

    TEXT = "text"
    SUBJECT = "subject"
    COUNT = "count"
    SHARE = "share"
    NUMBER = "number"
    SECONDS = "seconds"
    DAYS = "days"
    INSTANT = "instant"
    FLAG = "flag"


_UNITS = {CellType.SECONDS: "s", CellType.DAYS: "d", CellType.SHARE: "1", CellType.INSTANT: "UTC"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: stable, for programs.
        says: what a cell means, in a sentence.
        counts: of what a count is: ``people``, ``rows``, ``entries``.
    """

    name: str
    type: CellType
    says: str
    counts: str = ""

    @property
    def unit(self) -> str:
        """What one stands for; empty for text."""
        return self.counts or _UNITS.get(self.type, "")


def text(name: str, says: str) -> Column:
    """A column of words."""
    return Column(name, CellType.TEXT, says)


def count(name: str, of: str, says: str) -> Column:
    """A column of whole numbers."""
    return Column(name, CellType.COUNT, says, of)


def instant(name: str, says: str) -> Column:
    """A column of moments."""
    return Column(name, CellType.INSTANT, says)


SUBJECT = Column("subject_key", CellType.SUBJECT, "The person's pseudonym; no customer number is stored.")


@dataclass(frozen=True)
class Report:
    """One report that was asked for.

    Attributes:
        says: what is counted, by which clock, up to which moment.
        asked: what narrows it, by name; of a person it only says that one was named.
        made_at: the ledger's clock when it was asked for: never before the last entry.
        ledger_size: entries of the consent ledger at that moment.
        rows: made while they are read, once.
        notes: what it does not say.
        broken: filled while the rows are read: evidence that did not fit.
    """

    name: str
    title: str
    says: str
    asked: dict[str, str]
    made_at: datetime
    ledger_size: int
    columns: tuple[Column, ...]
    rows: Iterator[Row]
    notes: tuple[str, ...]
    broken: list[str] = field(default_factory=list)
