"""The stores that the online store wraps: Feast's own, and what they lack, counting and deletion by subject."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal, Protocol

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.online_store import OnlineStore
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.repo_config import RepoConfig

from consent.errors import ConfigError, Unavailable

Kind = Literal["sqlite", "redis"]
_KEY_VERSION = 3


class InnerStore(Protocol):
    """One of Feast's online stores, of whose rows each has one owner."""

    store: OnlineStore

    def config(self, outer: RepoConfig) -> RepoConfig:
        """A copy of the configuration that the store takes for its own: it insists on its own configuration class."""
        ...

    def call(self, action: str, *arguments: Any) -> Any:
        """Call a method of the store; what goes wrong in its server is told as one of ours.

        Raises:
            Unavailable: the server cannot be used.
        """
        ...

    def has(self, config: RepoConfig, table: Any) -> bool:
        """Whether anything can lie there of a view, or of a version of it that was perhaps never used."""
        ...

    def count(self, config: RepoConfig, table: Any, keys: Sequence[Any]) -> list[int]:
        """How many cells lie under each entity key."""
        ...

    def remove(self, config: RepoConfig, table: Any, keys: Sequence[Any]) -> int:
        """Delete everything under these entity keys. Returns the number of cells deleted."""
        ...


def open_inner(kind: Kind, path: str, connection: str | None) -> InnerStore:
    """The store that a configuration names.

    Raises:
        ConfigError: Redis without an address, or its library is not installed.
    """
    if kind == "sqlite":
        return SqliteInner(path)
    if not connection:
        raise ConfigError(
            "the online store's Redis has no address",
            remedy="Set `connection_string` of the online store, as redis.internal:6379,ssl=true.",
        )
    return RedisInner(connection)


def stored_key(key: Any) -> bytes:
    """The bytes under which Feast's stores keep a row."""
    return bytes(serialize_entity_key(key, entity_key_serialization_version=_KEY_VERSION))


class SqliteInner:
    """Feast's SQLite store: one row for each value, in a table for each view."""

    def __init__(self, path: str) -> None:
        self.store: OnlineStore = SqliteOnlineStore()
        self._path = path

    def config(self, outer: RepoConfig) -> RepoConfig:
        """See `InnerStore`."""
        return _with_store(outer, SqliteOnlineStoreConfig(path=self._path))

    def call(self, action: str, *arguments: Any) -> Any:
        """See `InnerStore`."""
        return getattr(self.store, action)(*arguments)

    def has(self, config: RepoConfig, table: Any) -> bool:
        """See `InnerStore`."""
        versioning = config.registry.enable_online_feature_view_versioning
        with closing(sqlite3.connect(self._path)) as connection:
            return compute_table_id(config.project, table, versioning) in _tables(connection, config, table)

    def count(self, config: RepoConfig, table: Any, keys: Sequence[Any]) -> list[int]:
        """See `InnerStore`."""
        with closing(sqlite3.connect(self._path)) as connection:
            found = [0] * len(keys)
            for name in _tables(connection, config, table):
                sql = f'SELECT count(*) FROM "{name}" WHERE entity_key = ?'  # noqa: S608
                for i, key in enumerate(keys):
                    found[i] += connection.execute(sql, (stored_key(key),)).fetchone()[0]
            return found

    def remove(self, config: RepoConfig, table: Any, keys: Sequence[Any]) -> int:
        """See `InnerStore`."""
        with closing(sqlite3.connect(self._path)) as connection, connection:
            connection.execute("PRAGMA secure_delete = ON")
            wanted = [(stored_key(key),) for key in keys]
            return sum(
                connection.executemany(f'DELETE FROM "{name}" WHERE entity_key = ?', wanted).rowcount  # noqa: S608
                for name in _tables(connection, config, table)
            )


def _tables(connection: sqlite3.Connection, config: RepoConfig, table: Any) -> list[str]:
    """The view's own table and those of its other versions (``view@v2``); in a namesake's the keys are others."""
    own = re.escape(compute_table_id(config.project, table)) + r"(_v[0-9]+)?"
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [name for (name,) in names if re.fullmatch(own, name)]


class RedisInner:
    """Feast's Redis store: one hash for each owner, with a field for each value and one for their time."""

    def __init__(self, connection: str) -> None:
        try:
            from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
        except ImportError:
            raise ConfigError("redis is not installed", remedy="Run pip install 'assent[redis]'.") from None
        self.store: OnlineStore = RedisOnlineStore()
        self._settings = RedisOnlineStoreConfig(connection_string=connection)

    def config(self, outer: RepoConfig) -> RepoConfig:
        """See `InnerStore`."""
        return _with_store(outer, self._settings)

    def call(self, action: str, *arguments: Any) -> Any:
        """See `InnerStore`."""
        with _told():
            return getattr(self.store, action)(*arguments)

    def has(self, config: RepoConfig, table: Any) -> bool:
        """See `InnerStore`. Views have no tables of their own."""
        return True

    def count(self, config: RepoConfig, table: Any, keys: Sequence[Any]) -> list[int]:
        """See `InnerStore`."""
        with self._pipeline() as pipe:
            for key in keys:
                pipe.hlen(_redis_key(config, key))
            return [max(fields - 1, 0) for fields in pipe.execute()]

    def remove(self, config: RepoConfig, table: Any, keys: Sequence[Any]) -> int:
        """See `InnerStore`. Never overwritten: Feast's store refuses rows that are older than what is there."""
        number = sum(self.count(config, table, keys))
        with self._pipeline() as pipe:
            for key in keys:
                pipe.delete(_redis_key(config, key))
            pipe.execute()
        return number

    @contextmanager
    def _pipeline(self) -> Iterator[Any]:
        with _told(), self.store._get_client(self._settings).pipeline(transaction=False) as pipe:
            yield pipe


@contextmanager
def _told() -> Iterator[None]:
    """Redis' errors as one of ours.

    Raises:
        Unavailable: it cannot be reached.
    """
    from redis import RedisError

    try:
        yield
    except RedisError:
        raise Unavailable(
            "the online store's Redis cannot be used", remedy="Try again; nothing was handed out."
        ) from None


def _redis_key(config: RepoConfig, key: Any) -> bytes:
    return stored_key(key) + config.project.encode()


def _with_store(outer: RepoConfig, settings: Any) -> RepoConfig:
    inner = outer.model_copy()
    inner._online_store = settings
    return inner
