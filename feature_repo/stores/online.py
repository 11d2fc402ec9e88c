"""Feast's online store behind the consent gate: asked at every write and at every read, in every process.

It wraps Feast's SQLite store by composition. A subclass would be passed by: Feast's own stores override more than
the two methods that matter, and would then read without asking.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn

import pyarrow as pa
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import RepoConfig
from pydantic import StrictStr

from consent.catalog import PURPOSES
from consent.clock import instant, micros
from consent.decide import decide
from consent.errors import Denied
from consent.home import Home
from consent.ledger import Ledger
from feature_repo.stores.cells import Cells
from feature_repo.stores.config import ConsentStoreConfig
from feature_repo.stores.source import SUBJECT_KEY, require_consent_view
from ingestion.source import INSTANT

_log = logging.getLogger(__name__)

#: Up to here rows are decided one by one; more of them are worth folding the whole ledger.
FEW_ROWS = 100
#: Entity key, feature -> value, event time, creation time: what Feast calls a row to write.
Row = tuple[Any, dict[str, Any], datetime, datetime | None]
#: Event time and feature -> value; both None where there is nothing to be had.
Found = tuple[datetime | None, dict[str, Any] | None]


class ConsentOnlineStoreConfig(ConsentStoreConfig):
    """``online_store`` in feature_store.yaml.

    Attributes:
        path: the SQLite file, shared by all purposes; ``<home>/feast/online.db`` unless given.
    """

    type: Literal["feature_repo.stores.online.ConsentOnlineStore"] = (
        "feature_repo.stores.online.ConsentOnlineStore"
    )
    path: StrictStr | None = None


class ConsentOnlineStore(OnlineStore):
    """Writes what some purpose may use, reads what this one may.

    Attributes:
        on_write: called with the view's name and the tokens of the subjects written.
    """

    def __init__(self) -> None:
        self.on_write: Callable[[str, list[bytes]], None] = lambda view, tokens: None
        self._inner = SqliteOnlineStore()
        self._inner_config: RepoConfig | None = None

    # ------------------------------------------------------------------ the gate

    def online_write_batch(
        self, config: RepoConfig, table: Any, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """Write the rows whose data some purpose may use now; drop the others.

        Raises:
            Gap, Denied: the view is not one that consent can be decided on.
        """
        source = require_consent_view(table).source
        store: ConsentStoreConfig = config.online_store
        home = store.open_home()
        subjects = [_subject_key(row[0]) for row in data]
        times = [_event_us(row[2]) for row in data]
        usable = _usable_by_some_purpose(home, source, subjects, times)
        cells = Cells.of_view(home, config.project, table.name)
        rows, tokens = [], []
        for row, subject, time, is_usable in zip(data, subjects, times, usable, strict=True):
            if is_usable and subject is not None and time is not None:
                owner = cells.token(subject)
                rows.append((_token_key(owner), cells.seal(owner, row[1], time), row[2], row[3]))
                tokens.append(owner)
        self._inner.online_write_batch(self._config(config), table, rows, progress)
        _log.info("%s: %d rows written, %d dropped", table.name, len(rows), len(data) - len(rows))
        self.on_write(table.name, tokens)

    def online_read(
        self,
        config: RepoConfig,
        table: Any,
        entity_keys: list[Any],
        requested_features: list[str] | None = None,
    ) -> list[Found]:
        """Values that this purpose may use now; nothing else can be told apart from what is not there.

        Raises:
            Gap, Denied: the view is not one that consent can be decided on.
            EvidenceError: a value was changed or moved.
        """
        source = require_consent_view(table).source
        store: ConsentStoreConfig = config.online_store
        home = store.open_home()
        cells = Cells.of_view(home, config.project, table.name)
        reader = _Reader(home, source, store.purpose, table.ttl, cells)
        subjects = [_subject_key(key) or "" for key in entity_keys]
        keys = [_token_key(cells.token(subject)) for subject in subjects]
        found = self._inner.online_read(self._config(config), table, keys, requested_features)
        return [
            reader.answer(
                subject, {f: c for f, c in (sealed or {}).items() if f in (requested_features or [f])}
            )
            for subject, (_, sealed) in zip(subjects, found, strict=True)
        ]

    # ------------------------------------------------------------------ upkeep

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Make and drop the views' tables."""
        self._inner.update(
            self._config(config),
            tables_to_delete,
            tables_to_keep,
            entities_to_delete,
            entities_to_keep,
            partial,
        )

    def teardown(self, config: RepoConfig, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Remove the whole online store, of all purposes."""
        self._inner.teardown(self._config(config), tables, entities)

    def remove_subjects(self, config: RepoConfig, tables: Sequence[Any], subject_keys: Sequence[str]) -> int:
        """Delete the subjects' rows, which Feast cannot. Returns the number of cells deleted."""
        home = config.online_store.open_home()
        deleted = 0
        path = self._config(config).online_store.path
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("PRAGMA secure_delete = ON")
            for table in tables:
                cells = Cells.of_view(home, config.project, table.name)
                keys = [(_stored_key(cells.token(subject)),) for subject in subject_keys]
                name = compute_table_id(config.project, table)
                deleted += connection.executemany(
                    f'DELETE FROM "{name}" WHERE entity_key = ?',  # noqa: S608
                    keys,
                ).rowcount
        return deleted

    def _config(self, config: RepoConfig) -> RepoConfig:
        """A copy that the inner store takes for its own, built once: it insists on its own configuration class."""
        if self._inner_config is None:
            store: ConsentOnlineStoreConfig = config.online_store
            path = store.path or str(store.open_home().path("feast", "online.db"))
            inner = config.model_copy()
            inner._online_store = SqliteOnlineStoreConfig(path=path)
            self._inner_config = inner
        return self._inner_config

    # ------------------------------------------------------------------ refused

    def retrieve_online_documents(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: a search would look at everybody's rows.

        Raises:
            Denied: always.
        """
        raise Denied(
            "a vector search would look at the rows of people who did not agree",
            remedy="Ask for the features of named subjects.",
        )

    retrieve_online_documents_v2 = retrieve_online_documents

    def write_precomputed_vector(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: one vector would mix what consents keep apart.

        Raises:
            Denied: always.
        """
        raise Denied(
            "a precomputed vector would mix what consents keep apart",
            remedy="Leave precompute_online off.",
        )

    read_precomputed_vectors = write_precomputed_vector


@dataclass(frozen=True)
class _Reader:
    """Decides on what one read of one view found."""

    home: Home
    source: str
    purpose: str
    ttl: timedelta | None
    cells: Cells

    def answer(self, subject: str, sealed: dict[str, Any]) -> Found:
        """The subject's event time and values, or nothing."""
        if not sealed:
            return None, None
        event_us, values = self.cells.open(self.cells.token(subject), sealed)
        facts, now = self.home.ledger.facts_now(subject)
        data_at = instant(event_us)
        allowed = decide(facts, self.source, self.purpose, data_at=data_at, as_of=now, derived=True).allowed
        too_old = self.ttl is not None and self.ttl > timedelta(0) and data_at < now - self.ttl
        return (data_at, values) if allowed and not too_old else (None, None)


def _usable_by_some_purpose(
    home: Home, source: str, subjects: Sequence[str | None], times: Sequence[int | None]
) -> list[bool]:
    """Whether each row may be loaded: the store is shared, so some purpose must be able to use it now."""
    if len(subjects) <= FEW_ROWS:
        return [
            subject is not None
            and time is not None
            and _some_purpose_may(home.ledger, subject, source, instant(time))
            for subject, time in zip(subjects, times, strict=True)
        ]
    reasons = home.gate.timeline().judge_loading(
        pa.chunked_array([pa.array(subjects, pa.string())]),
        source,
        data_at=pa.chunked_array([pa.array(times, INSTANT)]),
        now=home.ledger.now(),
        derived=True,
    )
    return [reason is None for reason in reasons.to_pylist()]


def _some_purpose_may(ledger: Ledger, subject: str, source: str, data_at: datetime) -> bool:
    facts, now = ledger.facts_now(subject)
    return any(
        decide(facts, source, purpose, data_at=data_at, as_of=now, derived=True).allowed
        for purpose in PURPOSES
    )


def _subject_key(entity_key: Any) -> str | None:
    """The subject key in Feast's entity key; None if it is no text, and so nobody's."""
    if list(entity_key.join_keys) != [SUBJECT_KEY]:
        return None
    value = entity_key.entity_values[0]
    return str(value.string_val) if value.WhichOneof("val") == "string_val" else None


def _event_us(event_at: object) -> int | None:
    """Microseconds of an event time; without an offset it is UTC, as in Feast. None if it is no instant."""
    if not isinstance(event_at, datetime) or event_at != event_at:  # NaT differs from itself
        return None
    return int(micros(event_at.replace(tzinfo=UTC) if event_at.tzinfo is None else event_at))


def _token_key(owner: bytes) -> Any:
    return EntityKey(join_keys=[SUBJECT_KEY], entity_values=[ValueProto(bytes_val=owner)])


def _stored_key(owner: bytes) -> bytes:
    """The bytes under which the inner store keeps a row."""
    return bytes(serialize_entity_key(_token_key(owner), entity_key_serialization_version=3))
