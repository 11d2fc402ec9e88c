"""Online reads in the access log: how many, by whom and for what, added up.

A line for each read would take longer than the read. So a process adds its reads up and writes them down together:
the first at once, the following ones a minute later at the latest, the rest when it ends. If they cannot be written,
the read that is due to write them gets no value. What a process that is killed had not written yet is lost, the
reads of a minute at most. Nobody is named: who was asked about online is not kept.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from weakref import WeakSet

from consent.accesses import AccessKind
from consent.callers import current_caller
from consent.errors import AssentError
from consent.home import Home

#: Reads are written down after so many seconds at the latest, by the next read.
PERIOD_S = 60.0

_Who = tuple[str, str]
_What = tuple[str, str]


class Tally:
    """The reads of one process in one home that are not written down yet."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._counts: dict[_Who, Counter[_What]] = {}
        self._written_at = -PERIOD_S

    def note(self, purpose: str, view: str, *, asked: int, given: int) -> None:
        """Add a read, before its values are handed out.

        Raises:
            Unavailable, EvidenceError: the access log cannot be written.
        """
        if os.getpid() != self._process:  # what was read before the fork is the other process's to tell
            self._begin()
        with self._lock:
            counts = self._counts.setdefault((current_caller(), purpose), Counter())
            counts[view, "asked"] += asked
            counts[view, "given"] += given
            if time.monotonic() - self._written_at >= PERIOD_S:
                self._write()

    def write(self) -> None:
        """Write down what there is."""
        if os.getpid() == self._process:
            with self._lock:
                self._write()

    def _write(self) -> None:
        while self._counts:
            (caller, purpose), counts = next(iter(self._counts.items()))
            about = dict(_told(counts))
            self._home.accesses.record(AccessKind.ONLINE, caller=caller, purpose=purpose, about=about)
            del self._counts[caller, purpose]
        self._written_at = time.monotonic()


def _told(counts: Counter[_What]) -> Iterator[tuple[str, str]]:
    for view in dict.fromkeys(view for view, _ in counts):
        yield view, f"{counts[view, 'asked']} people asked about, {counts[view, 'given']} given"


_TALLIES: WeakSet[Tally] = WeakSet()
_NEW = threading.Lock()
_KEPT = "_online_tally"


def tally_of(home: Home) -> Tally:
    """The process's tally of a home; written down when the process ends."""
    kept: Tally | None = vars(home).get(_KEPT)
    if kept is None:
        with _NEW:
            kept = vars(home).setdefault(_KEPT, Tally(home))
            _TALLIES.add(kept)
    return kept


@atexit.register
def _at_the_end() -> None:
    for tally in list(_TALLIES):
        try:
            tally.write()
        except (AssentError, OSError) as error:
            told = f"the last online reads are not in the access log ({type(error).__name__})"
            warnings.warn(told, stacklevel=1)
