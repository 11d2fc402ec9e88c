"""The lender that Feast's own tests find: everybody agrees to everything, and gets a subject key on the way in.

Feast's universal tests bring tables of drivers and customers, with whole numbers, several columns or nothing for a
key, and any type of feature. Here every key becomes a person with a subject key of their own, as ingestion does it,
and each table a published one, in which of several rows of one instant the one created last is left, as ingestion
leaves it. The stores beside pass every call on to Assent's own and translate keys on the way in and out.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import Entity, FeatureView, Field, ValueType
from feast.repo_config import RepoConfig
from feast.types import String

from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import Event, Grant, Kind, Notice
from feature_repo.stores.source import EVENT_TIMESTAMP, SUBJECT_KEY, ConsentSource
from ingestion.source import INSTANT
from ingestion.tables import publish_table

PURPOSE, SOURCE = "credit_scoring", "spending"
LONG_AGO, LONG_FROM_NOW = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
#: Entity rows of queries lie here.
QUERIES = Path(tempfile.mkdtemp(prefix="assent-feast-queries-"))


class Lender:
    """One home for the whole run.

    Attributes:
        keys: subject key -> the values it stands for.
    """

    def __init__(self) -> None:
        self.home = Home.create(Path(tempfile.mkdtemp(prefix="assent-feast-")) / "home")
        self.keys: dict[str, tuple[Any, ...]] = {}
        self._tables: dict[tuple[str, tuple[str, ...]], str] = {}
        self._numbers = itertools.count(1)

    def subjects(self, values: Sequence[tuple[Any, ...]]) -> list[str]:
        """The subject key for each key of Feast's; who is new agrees first."""
        names = ["|".join(str(value) for value in row) or "nobody in particular" for row in values]
        found: list[str] = self.home.directory.find_or_create(names)
        fresh = {key: row for key, row in zip(found, values, strict=True) if key not in self.keys}
        self.home.ledger.append([_agreed(key) for key in fresh])
        self.keys |= fresh
        return found

    def table(self, source: Any, join_keys: Sequence[str]) -> str:
        """The published table of a source, about these keys; published the first time it is asked for."""
        place = source.path, tuple(join_keys)
        if place not in self._tables:
            self._tables[place] = f"{SOURCE}_v{next(self._numbers)}"
            self._publish(self._tables[place], source, join_keys)
        return self._tables[place]

    def _publish(self, table: str, source: Any, join_keys: Sequence[str]) -> None:
        frame = pd.read_parquet(source.path)
        columns = list(zip(*(frame[key] for key in join_keys if key in frame), strict=True))
        frame[SUBJECT_KEY] = self.subjects(columns or [()] * len(frame))
        raw = {name: column for column, name in source.field_mapping.items()}
        at = pd.to_datetime(frame[raw.get(source.timestamp_field, source.timestamp_field)], utc=True)
        if source.created_timestamp_column in frame:
            frame = frame.sort_values(source.created_timestamp_column)
        frame[EVENT_TIMESTAMP] = at.reindex(frame.index).dt.floor("us").dt.as_unit("us")
        frame = frame.drop_duplicates([SUBJECT_KEY, EVENT_TIMESTAMP], keep="last")
        frame = frame.sort_values([SUBJECT_KEY, EVENT_TIMESTAMP])
        features = [c for c in frame if c not in (SUBJECT_KEY, EVENT_TIMESTAMP)]
        rows = pa.Table.from_pandas(frame[[SUBJECT_KEY, EVENT_TIMESTAMP, *features]], preserve_index=False)
        rows = rows.set_column(0, SUBJECT_KEY, rows[SUBJECT_KEY].cast(pa.string()))
        rows = rows.set_column(1, EVENT_TIMESTAMP, rows[EVENT_TIMESTAMP].cast(INSTANT))
        publish_table(
            self.home,
            table,
            [rows.replace_schema_metadata(None)] if len(frame) else [],
            definition={"of": table, "features": {}},
            input_hash=secrets.token_hex(32),
            lineage={},
            now=datetime.now(UTC),
        )

    def view(self, view: Any, table: str = f"{SOURCE}_v1") -> Any:
        """The view as Assent has it: about a subject, on a consent source; one of another kind as it is."""
        if not isinstance(view, FeatureView):
            return view
        source = view.batch_source
        mapped = {
            c: f for c, f in source.field_mapping.items() if f in {field.name for field in view.features}
        }
        ours = FeatureView(
            name=view.name,
            entities=[Entity(name="subject", join_keys=[SUBJECT_KEY], value_type=ValueType.STRING)],
            ttl=view.ttl,
            schema=[Field(name=SUBJECT_KEY, dtype=String), *view.features],
            source=ConsentSource(source=SOURCE, table=table, field_mapping=mapped),
        )
        ours.projection.name_alias = view.projection.name_alias
        ours.projection.features = view.projection.features
        return ours

    def config(self, project: str) -> RepoConfig:
        """Assent's configuration for a project of Feast's."""
        return _config(str(self.home.root), project)

    def key_columns(self, table: pa.Table, names: Sequence[str]) -> list[pa.Array]:
        """Feast's keys again, for the subject keys of a table."""
        rows = [self.keys[key] for key in table[SUBJECT_KEY].to_pylist()]
        return [pa.array([row[i] for row in rows]) for i in range(len(names))]


def _agreed(key: str) -> Event:
    terms = Grant(
        secrets.token_hex(8), Notice("n", "1", "en", "ab" * 32), "IN", "toggle", LONG_FROM_NOW, LONG_AGO
    )
    imported: dict[str, Any] = {"origin": "imported", "evidence_hash": "cd" * 32}
    return Event(new_event_id(), Kind.GIVEN, key, SOURCE, PURPOSE, LONG_AGO + timedelta(1), terms, **imported)


@functools.cache
def _config(home: str, project: str) -> RepoConfig:
    stores = "feature_repo.stores"
    return RepoConfig(
        project=project,
        provider=f"{stores}.provider.ConsentProvider",
        registry={
            "registry_store_type": f"{stores}.registry.SignedRegistryStore",
            "path": f"{home}/feast/{project}.registry.db",
            "home": home,
        },
        offline_store={
            "type": f"{stores}.offline.ConsentOfflineStore",
            "purpose": PURPOSE,
            "home": home,
            "entity_files": str(QUERIES),
        },
        online_store={"type": f"{stores}.online.ConsentOnlineStore", "purpose": PURPOSE, "home": home},
        entity_key_serialization_version=3,
    )


@functools.cache
def lender() -> Lender:
    """The one of this process."""
    return Lender()
