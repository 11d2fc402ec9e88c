"""The overview's figures, counted beside the pages: a page shows the newest there are and says of when they are.

A new entry in a ledger of millions makes spans be folded anew, which takes seconds; nobody waits for that. Whatever
decides about a person is never taken from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from consent import figures
from consent.catalog import PURPOSES, SOURCES
from consent.figures import Delay
from consent.home import Home
from consent.nouns import Kind

#: Moments at which coverage is drawn, beside now: so many, four weeks apart.
_POINTS = 13
_APART = timedelta(weeks=4)
WEEKS = 26
_SOON = timedelta(days=30)
_DELAY_DAYS = 90
#: Figures that are younger are not counted anew.
_FRESH = timedelta(seconds=10)


@dataclass(frozen=True)
class Counted:
    """What was counted, at one moment.

    Attributes:
        ledger_size: entries that were on record.
        instants: of the coverage, oldest first; the last is `at`.
        coverage: people whose consent could be used, at each instant.
        ending: people whose consent ends within 30 days.
        withdrawn, given: entries in each of the last weeks, oldest first.
        open_since: when the oldest open request was recorded.
    """

    at: datetime
    ledger_size: int
    people: int
    instants: tuple[datetime, ...]
    coverage: dict[tuple[str, str], list[int]]
    ending: dict[tuple[str, str], int]
    delay: Delay
    withdrawn: list[int]
    given: list[int]
    open_requests: int
    open_since: datetime | None


class Figures:
    """Counts in the background, one at a time. The process ends when counting has: the engine is not torn away."""

    def __init__(self, home: Home, *, clock: Callable[[], datetime]) -> None:
        self._home = home
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: Counted | None = None
        self._working: threading.Thread | None = None
        self._failed: BaseException | None = None

    def newest(self, *, wait: float = 0.0) -> Counted | None:
        """The newest figures; where the ledger has grown since, counting begins.

        Args:
            wait: so many seconds for the first ones, or for newer ones.

        Returns:
            None while the first are being counted.

        Raises:
            AssentError: counting failed: the ledger is not whole, or cannot be reached.
        """
        work = self._begin_if_due()
        if work is not None and wait:
            work.join(wait)
        with self._lock:
            failed, self._failed = self._failed, None
            if failed is not None:
                raise failed
            return self._counted

    def _begin_if_due(self) -> threading.Thread | None:
        size, now = self._home.ledger.head().tree_size, self._clock()
        with self._lock:
            if self._working is not None and self._working.is_alive():
                return self._working
            known = self._counted
            if known is not None and now - known.at < _FRESH:
                return None
            if known is not None and known.ledger_size == size and now - known.at < timedelta(minutes=5):
                return None
            self._working = threading.Thread(target=self._work, name="assent-figures")
            self._working.start()
            return self._working

    def _work(self) -> None:
        try:
            counted = count(self._home, self._home.ledger.now())
        except BaseException as error:
            with self._lock:
                self._failed = error
            return
        with self._lock:
            self._counted = counted


def count(home: Home, now: datetime) -> Counted:
    """Everything, now."""
    timeline = home.gate.timeline()
    instants = tuple(now - _APART * ago for ago in reversed(range(_POINTS)))
    pairs = [(source, purpose) for source in SOURCES for purpose in PURPOSES]
    open_requests, open_since = figures.count_open_requests(timeline)
    return Counted(
        now,
        timeline.ledger_size,
        figures.people(timeline),
        instants,
        {pair: figures.coverage(timeline, *pair, instants) for pair in pairs},
        {pair: figures.ending(timeline, *pair, now, now + _SOON) for pair in pairs},
        figures.delay(timeline, now - timedelta(days=_DELAY_DAYS)),
        figures.per_week(timeline, Kind.WITHDRAWN, WEEKS, now),
        figures.per_week(timeline, Kind.GIVEN, WEEKS, now),
        open_requests,
        open_since,
    )
