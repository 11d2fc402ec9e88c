"""How much the people of a feature table differ from those of the version before: population stability, null shares.

Of each person the newest row counts. Only shares of bins are kept, without the bins' edges, which would be somebody's
values; and nothing at all of fewer than `FEWEST` people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]

#: Of fewer people a share says something about each.
FEWEST = 20
_BINS = 10
#: As scorecards are watched: from here on a shift is worth a look, and a matter for the model's owner.
WORTH_A_LOOK, GREAT = 0.1, 0.25


@dataclass(frozen=True)
class FeatureDrift:
    """One feature, before and now.

    Attributes:
        psi: population stability index over the bins, nulls one of them; 0: alike.
        nulls_before, nulls_now: shares of people without a value.
        before, now: shares of people by bin, from the lowest values to the highest, the last one for nulls.
    """

    feature: str
    psi: float
    nulls_before: float
    nulls_now: float
    before: tuple[float, ...]
    now: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """In a word."""
        return "great" if self.psi >= GREAT else "worth a look" if self.psi >= WORTH_A_LOOK else "small"


def newest_rows(rows: pa.Table) -> pa.Table:
    """The last row of each person, of rows sorted by subject_key and event_timestamp."""
    if not rows.num_rows:
        return rows
    keys = rows["subject_key"].combine_chunks()
    last = np.append(pc.not_equal(keys[:-1], keys[1:]).to_numpy(zero_copy_only=False), True)
    return rows.filter(pa.array(last))


class Meter:
    """Counts people into bins that were laid over the version before."""

    def __init__(self, feature: str, before: pa.ChunkedArray) -> None:
        """`before`: each person's newest value in the version before."""
        self._feature = feature
        values = _floats(before)
        there = values[~np.isnan(values)]
        self._edges = _edges(there) if there.size else there
        self._before = self._count(values)
        self._now = np.zeros_like(self._before)

    def add(self, now: pa.ChunkedArray) -> None:
        """Some people's newest values in the new version."""
        self._now += self._count(_floats(now))

    def drift(self) -> FeatureDrift | None:
        """None where there are too few people in either."""
        if min(self._before.sum(), self._now.sum()) < FEWEST:
            return None
        before, now = (counts / counts.sum() for counts in (self._before, self._now))
        smooth = [(c + 0.5) / (c.sum() + 0.5 * c.size) for c in (self._before, self._now)]
        psi = float(np.sum((smooth[1] - smooth[0]) * np.log(smooth[1] / smooth[0])))
        return FeatureDrift(
            self._feature, round(psi, 6), _share(before[-1]), _share(now[-1]), _shares(before), _shares(now)
        )

    def _count(self, values: Floats) -> Floats:
        """People by bin."""
        there = values[~np.isnan(values)]
        bins = np.searchsorted(self._edges, there, side="left")
        counts = np.bincount(bins, minlength=len(self._edges) + 1).astype(np.float64)
        return np.append(counts, float(values.size - there.size))


def _edges(values: Floats) -> Floats:
    """Upper edges of bins: one below all values, then of equally many people where values differ.

    What lies above all values has a bin of its own beyond the last edge.
    """
    quantiles = np.quantile(values, np.linspace(0, 1, _BINS + 1), method="inverted_cdf")
    return np.unique(np.append(quantiles, np.nextafter(quantiles[0], -np.inf)))


def _floats(values: pa.ChunkedArray) -> Floats:
    floats: Floats = values.cast(pa.float64()).to_numpy()
    return floats


def _share(value: Any) -> float:
    return round(float(value), 6)


def _shares(values: Floats) -> tuple[float, ...]:
    return tuple(_share(value) for value in values)


def drift_from_documents(documents: Sequence[dict[str, Any]]) -> list[FeatureDrift]:
    """As a version's lineage holds it."""
    return [FeatureDrift(**{**d, "before": tuple(d["before"]), "now": tuple(d["now"])}) for d in documents]
