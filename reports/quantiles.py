"""Medians and the like, by the nearest rank: always a value that was measured, never one between two."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np


class Spread(NamedTuple):
    """How durations are spread, in seconds; None where there are none."""

    cases: int
    p50: float | None
    p95: float | None
    longest: float | None


def spread(micros: np.ndarray[Any, np.dtype[np.int64]]) -> Spread:
    """Of durations in microseconds: the smallest one that at least 50 (95) in a hundred do not exceed."""
    if not len(micros):
        return Spread(0, None, None, None)
    ordered = np.sort(micros)
    p50, p95 = (int(ordered[math.ceil(share * len(ordered) / 100) - 1]) for share in (50, 95))
    return Spread(len(ordered), p50 / 1e6, p95 / 1e6, int(ordered[-1]) / 1e6)
