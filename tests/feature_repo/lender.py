"""A small lender for the tests of this room: a home, people's agreements and hand-made feature rows."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import FeatureStore

from consent.catalog import PURPOSES
from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Grant, Kind, Notice
from feature_repo.stores import setup
from ingestion.source import INSTANT
from ingestion.sources import SOURCES
from ingestion.tables import Version, publish_table

DAY = timedelta(days=1)
NOTICE = Notice("onboarding", "3", "en-IN", "0" * 64)
EVIDENCE = "e" * 64


class Lender:
    """Everything is dated in days from `now`, so that no test meets a boundary while it runs."""

    def __init__(self, root: Path) -> None:
        self.home = Home.create(root)
        self.now = now_utc()
        setup.apply(self.home)

    @cached_property
    def stores(self) -> dict[str, FeatureStore]:
        return {purpose: setup.open_store(self.home, purpose) for purpose in PURPOSES}

    def at(self, days: float) -> datetime:
        return self.now + days * DAY

    def person(self) -> str:
        return self.home.directory.find_or_create([secrets.token_hex(8)])[0]

    def grant(
        self,
        key: str,
        source: str,
        purpose: str,
        *,
        start: float = -300,
        end: float = 300,
        data_from: float = -1000,
        data_life: timedelta | None = None,
    ) -> Event:
        terms = Grant(
            secrets.token_hex(8), NOTICE, "IN", "toggle", self.at(end), self.at(data_from), data_life
        )
        return self.event(Kind.GIVEN, key, source, purpose, at=start, grant=terms)

    def event(
        self, kind: Kind, key: str, source: str = ANY, purpose: str = ANY, *, at: float = 0, **more: Any
    ) -> Event:
        return Event(
            new_event_id(),
            kind,
            key,
            source,
            purpose,
            self.at(at),
            origin="imported",
            evidence_hash=EVIDENCE,
            **more,
        )

    def record(self, *events: Event) -> None:
        self.home.ledger.append(events)

    def agrees(self, *purposes: str, sources: Iterable[str] = SOURCES, **terms: Any) -> str:
        """A new person who agrees to the sources for the purposes."""
        key = self.person()
        self.record(*(self.grant(key, s, p, **terms) for s in sources for p in purposes))
        return key

    def withdraw(self, key: str, source: str = ANY, purpose: str = ANY) -> None:
        self.record(Event(new_event_id(), Kind.WITHDRAWN, key, source, purpose, now_utc()))

    def publish(self, source: str, rows: Sequence[tuple[str, float, Mapping[str, Any]]]) -> Version:
        """A data version of (subject, day, features); features not named are null."""
        definition = SOURCES[source]
        types = {"int64": pa.int64(), "float64": pa.float64()}
        columns = {
            "subject_key": pa.array([key for key, _, _ in rows], pa.string()),
            "event_timestamp": pa.array([self.at(days) for _, days, _ in rows], INSTANT),
            **{
                f.name: pa.array([values.get(f.name) for _, _, values in rows], types[f.dtype])
                for f in definition.features
            },
        }
        return publish_table(
            self.home,
            definition.definition,
            [pa.table(columns).sort_by([("subject_key", "ascending"), ("event_timestamp", "ascending")])],
            definition={
                "of": definition.definition,
                "source": source,
                "features": {f.name: f.dtype for f in definition.features},
            },
            input_hash=secrets.token_hex(32),
            lineage={},
            now=self.now,
        )

    def entities(self, *rows: tuple[str | None, float | None], **columns: Sequence[Any]) -> pd.DataFrame:
        instants = [pd.NaT if days is None else self.at(days) for _, days in rows]
        return pd.DataFrame(
            {
                "subject_key": pd.Series([key for key, _ in rows], dtype=object),
                "event_timestamp": pd.to_datetime(pd.Series(instants, dtype=object), utc=True),
                **columns,
            }
        )


def values(frame: pd.DataFrame, column: str) -> list[Any]:
    """A column with None for null."""
    return [None if pd.isna(value) else value for value in frame[column]]
