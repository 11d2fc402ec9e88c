"""What is asked of feature rows before they are committed, and how they differ from the version before."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import pyarrow as pa

from consent.home import Home
from ingestion.source import Feature, Source
from ingestion.tables import Version, read_table
from validation.drift import Meter, newest_rows
from validation.feature_table import FeatureRule, require_fit

#: Beyond every amount and count that can be meant.
_MOST = 1e15


class FeatureChecks:
    """Goes over the rows of a new version, part by part.

    Args:
        before: the version it takes the place of; None for the first.
    """

    def __init__(self, home: Home, source: Source, before: Version | None, now: datetime) -> None:
        self._source = source
        self._now = now
        self._rules = [rule_of(feature) for feature in source.features]
        self._meters: dict[str, Meter] = {}
        for feature in source.features if before else ():
            assert before is not None
            rows = newest_rows(read_table(home, before, columns=[feature.name]))
            self._meters[feature.name] = Meter(feature.name, rows[feature.name])

    def passed(self, rows: pa.Table) -> pa.Table:
        """The same rows, if they are fit.

        Raises:
            DataQuality: they are not; nothing of the version is published.
        """
        require_fit(rows, self._source.definition, self._rules, now=self._now)
        newest = newest_rows(rows)
        for name, meter in self._meters.items():
            meter.add(newest[name])
        return rows

    def drift(self) -> list[dict[str, Any]]:
        """For the lineage, once every part has passed; empty for a first version, or of too few people."""
        return [asdict(drift) for meter in self._meters.values() if (drift := meter.drift())]


def rule_of(feature: Feature) -> FeatureRule:
    """What the declaration of a feature says of its values."""
    fraction = feature.unit in ("0 or 1", "share 0-1")
    least = 0.0 if fraction or feature.dtype == "int64" else -_MOST
    return FeatureRule(feature.name, least, 1.0 if fraction else _MOST, feature.null_means != "never null")
