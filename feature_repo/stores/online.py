"""Feast's online store behind the consent gate: asked at every write and at every read, in every process.

It wraps Feast's SQLite or Redis store by composition. A subclass would be passed by: Feast's own stores override more
than the two methods that matter, and would then read without asking.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn

import pyarrow as pa
from feast.infra.online_stores.helpers import compute_versioned_name
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.repo_config import RepoConfig
from pydantic import StrictStr

from consent.catalog import PURPOSES
from consent.clock import instant, micros
from consent.datakeys import Versions, is_owner
from consent.decide import decide
from consent.errors import Denied
from consent.home import Home
from consent.ledger import Ledger
from consent.nouns import Facts
from feature_repo.stores.cells import ROW, Cells
from feature_repo.stores.config import ConsentStoreConfig, require_consent_stores
from feature_repo.stores.inner import InnerStore, open_inner
from feature_repo.stores.newer import without_older
from feature_repo.stores.online_tally import tally_of
from feature_repo.stores.source import SUBJECT_KEY, require_consent_view
from ingestion.source import INSTANT

_log = logging.getLogger(__name__)
#: What this request has heard from the ledger; None outside of requests.
_asked: ContextVar[dict[str, tuple[Facts, datetime]] | None] = ContextVar("asked", default=None)

#: Up to here rows are decided one by one; more of them are worth folding the whole ledger.
FEW_ROWS = 100
#: Entity key, feature -> value, event time, creation time: what Feast calls a row to write.
Row = tuple[Any, dict[str, Any], datetime, datetime | None]
#: Event time and feature -> value; both None where there is nothing to be had.
Found = tuple[datetime | None, dict[str, Any] | None]


class ConsentOnlineStoreConfig(ConsentStoreConfig):
    """``online_store`` in feature_store.yaml.

    Attributes:
        inner: which of Feast's stores holds the sealed values: ``sqlite`` or ``redis``.
        path: the SQLite file, shared by all purposes; ``<home>/feast/online.db`` unless given.
        connection_string: of Redis, as Feast writes it: ``host:port,parameter=value,...``.
    """

    type: Literal["feature_repo.stores.online.ConsentOnlineStore"] = (
        "feature_repo.stores.online.ConsentOnlineStore"
    )
    inner: Literal["sqlite", "redis"] = "sqlite"
    path: StrictStr | None = None
    connection_string: StrictStr | None = None


class ConsentOnlineStore(OnlineStore):
    """Writes what some purpose may use, reads what this one may.

    Attributes:
        on_write: called with the view's name and the tokens of the subjects written.
    """

    def __init__(self) -> None:
        self.on_write: Callable[[str, list[bytes]], None] = lambda view, tokens: None
        self._writing = threading.Lock()  # Feast's SQLite store writes all on one connection
        self._opened: tuple[InnerStore, RepoConfig] | None = None

    # ------------------------------------------------------------------ the gate

    def online_write_batch(
        self, config: RepoConfig, table: Any, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """Write the rows whose data some purpose may use now; drop the others.

        Raises:
            Gap, Denied: the view is not one that consent can be decided on.
        """
        require_consent_stores(config)
        source = require_consent_view(table).source
        store: ConsentStoreConfig = config.online_store
        home = store.open_home()
        subjects = [_subject_key(row[0]) for row in data]
        times = [_event_us(row[2]) for row in data]
        usable = _usable_by_some_purpose(home, source, subjects, times)
        cells = Cells.of_view(home, config.project, table.name)
        kept = [
            (subject, time, row)
            for row, subject, time, is_usable in zip(data, subjects, times, usable, strict=True)
            if is_usable and subject is not None and time is not None
        ]
        keys = home.data_keys.find_or_create(source, [subject for subject, _, _ in kept])
        rows, tokens = [], []
        for subject, time, row in kept:
            owner = cells.token(subject)
            rows.append((_token_key(owner), cells.seal(owner, keys[subject], row[1], time), row[2], row[3]))
            tokens.append(owner)
        inner, inner_config = self._inner(config)
        with self._writing:
            rows = without_older(inner, inner_config, table, rows)
            inner.call("online_write_batch", inner_config, table, rows, progress)
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
        require_consent_stores(config)
        source = require_consent_view(table).source
        store: ConsentStoreConfig = config.online_store
        home = store.open_home()
        cells = Cells.of_view(home, config.project, table.name)
        subjects = [_subject_key(key) or "" for key in entity_keys]
        known = home.data_keys.versions(source, [s for s in subjects if is_owner(s)])
        reader = _Reader(home, source, store.purpose, table.ttl, cells, known)
        owners = [cells.token(subject) for subject in subjects]
        keys = [_token_key(owner) for owner in owners]
        inner, inner_config = self._inner(config)
        found = inner.call("online_read", inner_config, table, keys, [ROW])
        answers = [
            reader.answer(subject, owner, sealed or {}, requested_features)
            for subject, owner, (_, sealed) in zip(subjects, owners, found, strict=True)
        ]
        given = sum(values is not None for _, values in answers)
        tally_of(home).note(store.purpose, table.name, asked=len(answers), given=given)
        return answers

    def get_online_features(self, *args: Any, **kwargs: Any) -> Any:
        """As in Feast: `online_read` for each view; the ledger is asked about each person once, after this began."""
        with _one_request():
            return super().get_online_features(*args, **kwargs)

    async def get_online_features_async(self, *args: Any, **kwargs: Any) -> Any:
        """As `get_online_features`."""
        with _one_request():
            return await super().get_online_features_async(*args, **kwargs)

    async def online_write_batch_async(
        self, config: RepoConfig, table: Any, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        """As `online_write_batch`."""
        await asyncio.to_thread(self.online_write_batch, config, table, data, progress)

    async def online_read_async(
        self,
        config: RepoConfig,
        table: Any,
        entity_keys: list[Any],
        requested_features: list[str] | None = None,
    ) -> list[Found]:
        """As `online_read`."""
        return await asyncio.to_thread(self.online_read, config, table, entity_keys, requested_features)

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Reads and writes are."""
        return SupportedAsyncMethods(read=True, write=True)

    def _is_versioned_read_supported(self) -> bool:
        """Each version of a view has its own consent source, which is the one that is asked about."""
        return True

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
        inner, inner_config = self._inner(config)
        inner.call(
            "update",
            inner_config,
            tables_to_delete,
            tables_to_keep,
            entities_to_delete,
            entities_to_keep,
            partial,
        )

    def teardown(self, config: RepoConfig, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Remove the whole online store, of all purposes."""
        inner, inner_config = self._inner(config)
        inner.call("teardown", inner_config, tables, entities)

    def remove_subjects(self, config: RepoConfig, tables: Sequence[Any], subject_keys: Sequence[str]) -> int:
        """Delete the subjects' rows, which Feast cannot. Returns the number deleted, one a view and subject."""
        home = config.online_store.open_home()
        inner, inner_config = self._inner(config)
        return sum(
            inner.remove(inner_config, table, _owners(home, config, table, subject_keys)) for table in tables
        )

    def count_subjects(
        self, config: RepoConfig, tables: Sequence[Any], subject_keys: Sequence[str]
    ) -> dict[str, int]:
        """How many rows there are of each subject, one a view; who has none is left out."""
        home, counts = config.online_store.open_home(), Counter[str]()
        inner, inner_config = self._inner(config)
        for table in tables:
            owners = _owners(home, config, table, subject_keys)
            counts.update(dict(zip(subject_keys, inner.count(inner_config, table, owners), strict=True)))
        return {subject: count for subject, count in counts.items() if count}

    def read_for_own_access_package(
        self, config: RepoConfig, tables: Sequence[Any], subject_key: str
    ) -> dict[str, tuple[datetime, dict[str, Any]]]:
        """What lies here about one person, for the package in which they are told what is held about them.

        **Not gated**, on purpose: consent says what a lender may do with the data; a person's right to see what is
        held (GDPR Art. 15, PIPL Art. 45) does not hang on it, nor on a hold, and a withdrawn value that has not been
        removed yet is held all the same. No call of Feast leads here; it is for the rights room alone.

        Returns:
            View -> event time and feature -> value; views with nothing that can be opened are left out.

        Raises:
            EvidenceError: a value was changed or moved.
        """
        home, found = config.online_store.open_home(), {}
        for table in tables:
            cells = Cells.of_view(home, config.project, table.name)
            owner = cells.token(subject_key)
            versions = home.data_keys.versions(require_consent_view(table).source, [subject_key])
            inner, inner_config = self._inner(config)
            if not inner.has(inner_config, table):
                continue
            ((_, sealed),) = inner.call("online_read", inner_config, table, [_token_key(owner)], [ROW])
            opened = cells.open(owner, versions[subject_key], sealed) if sealed and versions else None
            if opened:
                name = compute_versioned_name(table, config.registry.enable_online_feature_view_versioning)
                found[name] = (instant(opened[0]), opened[1])
        return found

    def _inner(self, config: RepoConfig) -> tuple[InnerStore, RepoConfig]:
        """The store that is wrapped, and the configuration it takes for its own; opened once."""
        if self._opened is None:
            store: ConsentOnlineStoreConfig = config.online_store
            path = store.path or str(store.open_home().path("feast", "online.db"))
            inner = open_inner(store.inner, path, store.connection_string)
            self._opened = inner, inner.config(config)
        return self._opened

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

    async def update_online_store_async(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: an expression would change a value where it lies, and it lies sealed.

        Raises:
            Denied: always.
        """
        raise Denied(
            "a value cannot be changed where it lies: it is sealed",
            remedy="Write the whole row, with write_to_online_store or push.",
        )


@dataclass(frozen=True)
class _Reader:
    """Decides on what one read of one view found."""

    home: Home
    source: str
    purpose: str
    ttl: timedelta | None
    cells: Cells
    keys: Mapping[str, Versions]

    def answer(
        self, subject: str, owner: bytes, sealed: Mapping[str, Any], wanted: Sequence[str] | None
    ) -> Found:
        """The subject's event time and values, or nothing."""
        versions = self.keys.get(subject)
        opened = versions and self.cells.open(owner, versions, sealed)
        if not opened:
            return None, None
        event_us, values = opened
        facts, now = self._facts(subject)
        data_at = instant(event_us)
        allowed = decide(facts, self.source, self.purpose, data_at=data_at, as_of=now, derived=True).allowed
        too_old = self.ttl is not None and self.ttl > timedelta(0) and data_at < now - self.ttl
        if too_old or not allowed:
            return None, None
        return data_at, {name: values[name] for name in wanted or values if name in values}

    def _facts(self, subject: str) -> tuple[Facts, datetime]:
        """What is on record now, or was when another view of this request asked."""
        asked = _asked.get()
        if asked is None:
            return self.home.ledger.facts_now(subject)
        if subject not in asked:
            asked[subject] = self.home.ledger.facts_now(subject)
        return asked[subject]


@contextmanager
def _one_request() -> Iterator[None]:
    """What is asked of the ledger inside is asked once."""
    reset = _asked.set({})
    try:
        yield
    finally:
        _asked.reset(reset)


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


def _owners(home: Home, config: RepoConfig, table: Any, subject_keys: Sequence[str]) -> list[Any]:
    """The entity keys that stand for subjects in one view."""
    cells = Cells.of_view(home, config.project, table.name)
    return [_token_key(cells.token(subject)) for subject in subject_keys]


def _token_key(owner: bytes) -> Any:
    return EntityKey(join_keys=[SUBJECT_KEY], entity_values=[ValueProto(bytes_val=owner)])
