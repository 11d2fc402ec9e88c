"""What can be asked of a report, and what a report knows while it is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property

from consent.catalog import PURPOSES, SOURCES
from consent.clock import format_instant
from consent.errors import BadInput
from consent.home import Home
from consent.timeline import Timeline
from reports.table import Column, Row

_SUBJECT = re.compile("[0-9a-f]{32}")
#: Called with (what is being done, how much is done, how much there is).
Progress = Callable[[str, int, int], None]
#: Most rows that are skipped, and most that one page may have.
MOST = 1_000_000_000


@dataclass(frozen=True)
class Query:
    """What narrows a report; what is None does not matter.

    Attributes:
        subject_key: whom it is about; found from a customer number before, which goes no further.
        since, until: half open.
        as_of: the instant that is asked about.
        known_at: the state of knowledge it is answered with.
        limit, skip: the page.
    """

    subject_key: str | None = None
    source: str | None = None
    purpose: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: datetime | None = None
    known_at: datetime | None = None
    limit: int | None = None
    skip: int = 0

    def said(self) -> dict[str, str]:
        """What was asked, as a report tells it: whom it is about is not repeated."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        texts = {
            name: format_instant(value) if isinstance(value, datetime) else str(value)
            for name, value in told.items()
            if value is not None and not (name == "skip" and value == 0)
        }
        return texts | ({"subject_key": "one person"} if self.subject_key else {})


#: What every report takes.
ALWAYS = frozenset({"limit", "skip"})


def require_query(query: Query, takes: frozenset[str], needs: frozenset[str]) -> None:
    """Return if a report can be asked this.

    Raises:
        BadInput: something is asked that it does not take, or left out that it needs, or makes no sense.
    """
    named = {f.name for f in fields(query) if getattr(query, f.name) is not None} - ALWAYS
    for name in sorted(named - takes):
        raise _bad(f"this report does not take {name}", f"It takes: {', '.join(sorted(takes)) or 'nothing'}.")
    for name in sorted(needs - named):
        raise _bad(f"this report needs {name}", "Name it.")
    for name, known in (("source", SOURCES), ("purpose", PURPOSES)):
        if getattr(query, name) is not None and getattr(query, name) not in known:
            raise _bad(f"there is no such {name}", f"Use one of: {', '.join(known)}.")
    if query.subject_key is not None and _SUBJECT.fullmatch(query.subject_key) is None:
        raise _bad("a person is named by a pseudonym of 32 hex digits", "Find it in the directory.")
    if query.since is not None and query.until is not None and query.since >= query.until:
        raise _bad("the time ends before it begins", "Name a later end; it is not part of the time itself.")
    limit = 1 if query.limit is None else query.limit
    if not (0 < limit <= MOST and 0 <= query.skip <= MOST):
        raise _bad("a page has at least one row and begins at 0 or later", "Name other numbers.")


def _bad(message: str, remedy: str) -> BadInput:
    return BadInput(message, remedy=remedy, code="BAD_QUERY")


@dataclass(frozen=True)
class Scope:
    """What a report is made of.

    Attributes:
        now: the ledger's clock when the report was asked for.
        broken: where a report puts evidence that does not fit.
    """

    home: Home
    query: Query
    now: datetime
    on_progress: Progress
    broken: list[str] = field(default_factory=list)

    @property
    def as_of(self) -> datetime:
        """The instant that is asked about: now, unless another is named."""
        return self.query.as_of or self.now

    @cached_property
    def timeline(self) -> Timeline:
        """What consent says, on the knowledge that is asked for."""
        self.on_progress("reading the ledger", 0, 0)
        newest = self.home.gate.timeline()
        return newest if self.query.known_at is None else newest.known(self.query.known_at)

    @property
    def sources(self) -> list[str]:
        """The sources that are asked about, in the catalog's order."""
        return [s for s in SOURCES if self.query.source in (None, s)]

    @property
    def purposes(self) -> list[str]:
        """The purposes that are asked about, in the catalog's order."""
        return [p for p in PURPOSES if self.query.purpose in (None, p)]

    def covers(self, at: datetime) -> bool:
        """Whether a moment lies in the time that is asked about."""
        since, until = self.query.since, self.query.until
        return (since is None or since <= at) and (until is None or at < until)


@dataclass(frozen=True)
class Definition:
    """A report that can be asked for.

    Attributes:
        takes, needs: names of the fields of `Query`; every report takes a page.
        rows: makes them one by one.
        pages: whether `rows` cuts out the page itself, where the database can.
    """

    name: str
    title: str
    says: str
    columns: tuple[Column, ...]
    rows: Callable[[Scope], Iterator[Row]]
    takes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    pages: bool = False
