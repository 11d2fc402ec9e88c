"""A person's own features: the rows of every data version, what is online now, and what each feature means."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from consent.clock import format_instant
from consent.home import Home
from feature_repo.stores.setup import OnlineValues
from ingestion.source import INSTANT, Feature
from ingestion.sources import definition_of
from ingestion.tables import Version, definition_hash, read_definition, read_table, read_versions

_ADDED = ("data_version", "published_at")


@dataclass
class FeatureRows:
    """The rows of one feature table, of all its data versions.

    Attributes:
        rows: of the person, in all versions; counted while they go by.
        versions: those with rows of the person, and how many.
        newest: the last row of the newest version that has one.
    """

    home: Home
    table: str
    subject_key: str
    rows: int = 0
    versions: list[tuple[Version, int]] = field(default_factory=list)
    newest: dict[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """Data version, when it was published, the instant a row is about, features."""
        return [*_ADDED, "event_timestamp", *read_definition(self.home, self.table).get("features", {})]

    def tables(self) -> Iterator[pa.Table]:
        """The rows, the oldest version first.

        Raises:
            EvidenceError: a file is not as it was written.
        """
        for version in read_versions(self.home, self.table):
            rows = read_table(self.home, version, subjects=[self.subject_key]).drop_columns(["subject_key"])
            if rows.num_rows:
                rows = rows.sort_by("event_timestamp")
                self._see(version, rows)
                yield _with_version(version, rows).select(self.columns)

    def _see(self, version: Version, rows: pa.Table) -> None:
        self.rows += rows.num_rows
        self.versions.append((version, rows.num_rows))
        (self.newest,) = rows.slice(rows.num_rows - 1).to_pylist()


def _with_version(version: Version, rows: pa.Table) -> pa.Table:
    number = pa.repeat(pa.scalar(version.number, pa.int64()), rows.num_rows)
    published_at = pa.repeat(pa.scalar(version.published_at, INSTANT), rows.num_rows)
    return rows.append_column(_ADDED[0], number).append_column(_ADDED[1], published_at)


def features_of(table: str) -> tuple[Feature, ...]:
    """What the features of a table mean; nothing for a table of a definition that is no longer computed."""
    found = definition_of(table)
    return () if found is None else found.features


def definitions_document(home: Home, tables: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Each feature of each (table, source): definition and why it is wanted, unit, window, when it is empty."""
    return [
        {
            "table": table,
            "source": source,
            "definition_sha256": definition_hash(read_definition(home, table)),
            "features": [_explained(feature) for feature in features_of(table)]
            or [{"name": n, "dtype": t} for n, t in read_definition(home, table).get("features", {}).items()],
        }
        for table, source in tables
    ]


def _explained(feature: Feature) -> dict[str, Any]:
    return {
        "name": feature.name,
        "dtype": feature.dtype,
        "unit": feature.unit,
        "window": feature.window,
        "definition_and_reason": feature.meaning,
        "empty_means": feature.null_means,
    }


def online_document(online: list[OnlineValues]) -> list[dict[str, Any]]:
    """The online store's values as they are now, whatever consent says."""
    return [{"view": each.view, "at": format_instant(each.at), "values": each.values} for each in online]
