"""A place for ledgers on either backend, and what somebody with the database and without scruples can do to it."""

from __future__ import annotations

import shutil
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from consent.clock import now_utc
from consent.evidence.notes import Signer, Verifier
from consent.ledger import Ledger
from consent.nouns import Decision
from consent.schema import metadata
from tests.consent.consent_samples import ANNA, NOW
from tests.postgres import Server

BACKENDS = ("sqlite", "postgres")
TABLES = [table.name for table in metadata.sorted_tables]

#: SQL with ``?`` for its parameters, alone or with them.
Statement = str | tuple[str, tuple[Any, ...]]


class Shop(ABC):
    """One database and one anchor beside it.

    Attributes:
        database: as `Ledger` takes it.
    """

    backend: str
    database: Path | str

    def __init__(self, place: Path) -> None:
        self.place = place
        self.anchor = place / "anchor"
        self._opened: list[Ledger] = []

    def create(
        self, signer: Signer, clock: Callable[[], datetime] = now_utc, *, anchored: bool = True
    ) -> Ledger:
        """A new ledger; it is closed with the shop."""
        anchor = self.anchor if anchored else None
        return self._kept(Ledger.create(self.database, signer, clock, anchor=anchor))

    def open(
        self,
        signer: Signer,
        clock: Callable[[], datetime] = now_utc,
        *,
        anchored: bool = True,
        held: Verifier | None = None,
    ) -> Ledger:
        """The ledger that is there, as another process would open it; it is closed with the shop."""
        anchor = self.anchor if anchored else None
        return self._kept(Ledger.open(self.database, signer, clock, anchor=anchor, held=held))

    def _kept(self, ledger: Ledger) -> Ledger:
        self._opened.append(ledger)
        return ledger

    def close(self) -> None:
        """Close every ledger."""
        while self._opened:
            self._opened.pop().close()

    @abstractmethod
    def plainly(self, *statements: Statement) -> list[tuple[Any, ...]]:
        """Plain SQL in one transaction, past the ledger and with its guards on; the rows of the last statement."""

    @abstractmethod
    def behind_our_back(self, *statements: Statement) -> None:
        """Plain SQL in one transaction, with every guard off while it lasts."""

    @abstractmethod
    def backup(self) -> object:
        """A copy of all that the database holds."""

    @abstractmethod
    def restore(self, backup: Any) -> None:
        """Bring a copy back, while whoever has the ledger open goes on."""

    @abstractmethod
    @contextmanager
    def locked(self) -> Iterator[None]:
        """Somebody else holds the lock that writers need, for as long as the context is open."""


def ask(ledger: Ledger, subject: str = ANNA, *, as_of: datetime | None = NOW) -> Decision:
    """May the subject's spending be used for credit scoring, as of then, or as of now?"""
    return ledger.decide(subject, "spending", "credit_scoring", as_of=as_of)


def _parts(statement: Statement) -> tuple[str, tuple[Any, ...]]:
    return (statement, ()) if isinstance(statement, str) else statement


class SqliteShop(Shop):
    """A file."""

    backend = "sqlite"

    def __init__(self, place: Path) -> None:
        super().__init__(place)
        self.path = self.database = place / "ledger.db"
        self._backups = 0

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        finally:
            connection.close()

    def plainly(self, *statements: Statement) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with self._transaction() as connection:
            for statement in statements:
                rows = connection.execute(*_parts(statement)).fetchall()
        return rows

    def behind_our_back(self, *statements: Statement) -> None:
        with self._transaction() as connection:
            found = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            guards = found.fetchall()
            for name, _ in guards:
                connection.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                connection.execute(*_parts(statement))
            for _, guard in guards:
                connection.execute(guard)

    def backup(self) -> Path:
        self._backups += 1
        copy = self.place / f"backup-{self._backups}.db"
        source, target = sqlite3.connect(self.path), sqlite3.connect(copy)
        source.backup(target)
        source.close()
        target.close()
        return copy

    def restore(self, backup: Path) -> None:
        restored = self.place / "restored.db"
        shutil.copyfile(backup, restored)
        for suffix in ("-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        restored.replace(self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            yield
        finally:
            connection.close()


class PostgresShop(Shop):
    """A database of a server that runs for all tests."""

    backend = "postgres"

    def __init__(self, place: Path, server: Server, name: str) -> None:
        super().__init__(place)
        self.server, self.name = server, name
        self.database = server.address(name)
        self._backups = 0

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection past the ledger."""
        return psycopg.connect(self.server.address(self.name))

    def _run(
        self, connection: psycopg.Connection[tuple[Any, ...]], statements: tuple[Statement, ...]
    ) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            sql, values = _parts(statement)
            cursor = connection.execute(sql.replace("?", "%s"), values or None)  # type: ignore[arg-type]
            rows = cursor.fetchall() if cursor.description else []
        return rows

    def plainly(self, *statements: Statement) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return self._run(connection, statements)

    def behind_our_back(self, *statements: Statement) -> None:
        guards = self.plainly("SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal")
        off = [f"ALTER TABLE {table} DISABLE TRIGGER {name}" for table, name in guards]
        on = [f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}" for table, name in guards]
        self.plainly(*off, *statements, *on)

    def backup(self) -> str:
        self._backups += 1
        copy = f"backup_{self._backups}"
        self.plainly(
            f"CREATE SCHEMA {copy}",
            *(f"CREATE TABLE {copy}.{table} AS TABLE public.{table}" for table in TABLES),
        )
        return copy

    def restore(self, backup: str) -> None:
        self.behind_our_back(
            f"TRUNCATE {', '.join(TABLES)}",
            *(f"INSERT INTO {table} SELECT * FROM {backup}.{table}" for table in TABLES),
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self.connect() as connection:
            connection.execute("SELECT * FROM head FOR UPDATE")
            yield

    def disconnect_all(self) -> None:
        """End every connection to the database, whatever it is doing."""
        with psycopg.connect(self.server.address()) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self.name,)
            )

    def empty(self) -> None:
        """Make room for the next ledger."""
        self.close()
        self.disconnect_all()
        self.plainly("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        for copy in range(1, self._backups + 1):
            self.plainly(f"DROP SCHEMA backup_{copy} CASCADE")


class Databases:
    """Empty databases of one server, used again and again: making one takes longer than emptying it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._made = 0
        self._free: list[str] = []

    @contextmanager
    def shop(self, place: Path) -> Iterator[PostgresShop]:
        """A shop in an empty database."""
        shop = PostgresShop(place, self._server, self._free.pop() if self._free else self._make())
        try:
            yield shop
        finally:
            shop.empty()
            self._free.append(shop.name)

    def _make(self) -> str:
        self._made += 1
        name = f"shop_{self._made}"
        with psycopg.connect(self._server.address(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return name
