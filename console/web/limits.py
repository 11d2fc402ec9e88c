"""How often somebody may ask: so many at once, and so many a minute after that."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic

_CALLERS = 10_000


class Limit:
    """A bucket for each caller that fills up again as time goes by. Safe to use from several threads."""

    def __init__(self, at_once: int, per_minute: int, *, clock: Callable[[], float] = monotonic) -> None:
        self._at_once = at_once
        self._per_second = per_minute / 60
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, caller: str) -> bool:
        """Whether this one may ask now; it counts."""
        now = self._clock()
        with self._lock:
            left, since = self._buckets.pop(caller, (float(self._at_once), now))
            left = min(self._at_once, left + (now - since) * self._per_second)
            is_allowed = left >= 1
            self._buckets[caller] = (left - 1 if is_allowed else left, now)
            while len(self._buckets) > _CALLERS:
                self._buckets.popitem(last=False)
        return is_allowed
