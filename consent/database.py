"""How every database of a home is opened: SQLite files, and PostgreSQL for a ledger that several machines share.

One text of SQL serves both; parameters are written ``?``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from consent.errors import ConfigError, EvidenceError, Unavailable

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON")
#: A ledger's writers queue for one lock; so long, in seconds, one of them waits.
LOCK_WAIT_S = 30


_LEAVE_OUT = "Leave the password out: PGPASSWORD, or a password file named in PGPASSFILE, has it."


def open_sqlite(path: Path) -> sa.Engine:
    """An engine whose commits survive a power cut."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": LOCK_WAIT_S, "isolation_level": None, "check_same_thread": False},
        hide_parameters=True,
        pool_size=16,
        max_overflow=48,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # FULL always: with NORMAL a power cut can drop entries that a signed checkpoint already covers.
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")

    return engine


def open_or_make(path: Path, tables: sa.MetaData, what: str) -> sa.Engine:
    """An engine for a file that is made, with its tables, where it is not there: for what may begin empty.

    Raises:
        Unavailable, EvidenceError: as `transaction`.
    """
    path.touch(mode=0o600)
    engine = open_sqlite(path)
    with transaction(engine, what, write=True) as connection:
        tables.create_all(connection)
    return engine


def open_postgres(url: str) -> sa.Engine:
    """An engine for the database at an address.

    Raises:
        ConfigError: this is no address of a PostgreSQL database.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise _no_address() from None
    if parsed.get_backend_name() != "postgresql":
        raise _no_address()
    if parsed.password is not None:
        raise ConfigError("the ledger's address holds a password", remedy=_LEAVE_OUT)
    return sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={"options": f"-c lock_timeout={LOCK_WAIT_S}s -c timezone=UTC"},
    )


def _no_address() -> ConfigError:
    return ConfigError(
        "the ledger's address is none of a PostgreSQL database",
        remedy=f"Write it like postgresql://assent@host/assent. {_LEAVE_OUT}",
    )


def is_postgres(connection: sa.Connection) -> bool:
    """Whether the connection is to PostgreSQL rather than SQLite."""
    return connection.dialect.name == "postgresql"


def run(
    connection: sa.Connection, sql: str, parameters: Sequence[Any] | list[tuple[Any, ...]] = ()
) -> list[tuple[Any, ...]]:
    """Execute SQL whose parameters are written ``?``; a list of tuples executes it once for each.

    The driver is asked directly: the library between costs more than most of these statements.

    Returns:
        All rows, where it is a query.
    """
    driver: Any = connection.connection.driver_connection
    cursor = driver.cursor()
    text = sql.replace("?", "%s") if is_postgres(connection) else sql
    try:
        if isinstance(parameters, list):
            cursor.executemany(text, parameters)
        else:
            cursor.execute(text, tuple(parameters))
        rows: list[tuple[Any, ...]] = cursor.fetchall() if cursor.description else []
    finally:
        cursor.close()
    return rows


def stream(
    connection: sa.Connection, what: str, sql: str, parameters: Sequence[Any] = (), *, rows: int = 10_000
) -> Iterator[list[Any]]:
    """The rows of a query that is larger than memory, as plain tuples, so many at a time.

    Raises:
        Unavailable, EvidenceError: as `transaction`.
    """
    driver: Any = connection.connection.driver_connection
    dbapi: Any = connection.dialect.dbapi
    # A named cursor lies on the server; SQLite's are read as they are asked.
    cursor = driver.cursor(name="assent") if is_postgres(connection) else driver.cursor()
    try:
        cursor.execute(sql.replace("?", "%s") if is_postgres(connection) else sql, tuple(parameters))
        while found := cursor.fetchmany(rows):
            yield found
    except dbapi.Error as error:
        raise told(error, what) from None
    finally:
        cursor.close()


#: SQLite takes 32,766 parameters in one statement, PostgreSQL 65,535.
_VALUES_AT_A_TIME = 30_000
#: Which file an engine's connections have open.
_OPENED: WeakKeyDictionary[sa.Engine, tuple[int, int]] = WeakKeyDictionary()


@contextmanager
def transaction(engine: sa.Engine, what: str, *, write: bool = False) -> Iterator[sa.Connection]:
    """One transaction on the file or server that is there now; see `begin`."""
    require_same_file(engine)
    with begin(engine, what, write=write) as connection:
        yield connection


@contextmanager
def begin(engine: sa.Engine, what: str, *, write: bool = False) -> Iterator[sa.Connection]:
    """One transaction; what goes wrong in the database is told without quoting it.

    A read sees one moment. On SQLite a write has the lock from the start; on PostgreSQL the writers of a ledger
    queue for the row of its head.

    Raises:
        Unavailable: the database is locked or cannot be reached.
        EvidenceError: it is damaged, or a guard of the ledger refused.
    """
    try:
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            if engine.dialect.name == "sqlite":
                driver.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            elif not write:
                driver.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            try:
                yield connection
            except BaseException:
                with suppress(engine.dialect.loaded_dbapi.Error):  # the connection itself may be gone
                    driver.rollback()
                raise
            driver.commit()
    except (sa.exc.DBAPIError, sa.exc.TimeoutError, engine.dialect.loaded_dbapi.Error) as error:
        raise told(error, what) from None


def checkpoint(engine: sa.Engine, what: str) -> None:
    """Bring a SQLite file's write-ahead log into the file and empty it: deleted rows are then nowhere in either.

    Raises:
        Unavailable: another process is using the file; try again.
    """
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        try:
            busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except engine.dialect.loaded_dbapi.Error as error:
            raise told(error, what) from None
    if busy:
        raise _unavailable(f"{what} is busy")


def told(error: Exception, what: str) -> Unavailable | EvidenceError:
    """A database's error as one of ours, without its text, which quotes values."""
    original = getattr(error, "orig", error)
    text = str(original)
    if isinstance(error, sa.exc.TimeoutError) or "locked" in text or "lock timeout" in text:
        return _unavailable(f"{what} is busy")
    kinds = {kind.__name__ for kind in type(original).__mro__}
    if kinds & {"OperationalError", "InterfaceError"} and "decode" not in text:
        return _unavailable(f"{what} cannot be used")
    return EvidenceError(
        f"{what} is damaged ({type(original).__name__})",
        remedy="Stop, keep the file, and restore a copy that a held checkpoint verifies.",
    )


def _unavailable(message: str) -> Unavailable:
    return Unavailable(message, remedy="Try again; nothing was decided, so nothing was allowed.")


def select_in(
    connection: sa.Connection, select: str, values: Iterable[Any], *, before: tuple[Any, ...] = ()
) -> Iterator[tuple[Any, ...]]:
    """The rows of a query that ends in a column's name, for any number of values of that column.

    Args:
        before: parameters of the query itself.
    """
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), _VALUES_AT_A_TIME):
        chunk = tuple(distinct[start : start + _VALUES_AT_A_TIME])
        yield from run(connection, f"{select} IN ({','.join('?' * len(chunk))})", (*before, *chunk))


def require_same_file(engine: sa.Engine) -> bool:
    """Let go of connections to a file that another has taken the place of: they would never see what it holds.

    Returns:
        Whether it is still the file that was opened.
    """
    path = engine.url.database
    if path is None or engine.dialect.name != "sqlite":
        return True
    try:
        found = os.stat(path)  # noqa: PTH116 - asked before every transaction
    except OSError:
        return True  # connecting says what is wrong
    identity = (found.st_dev, found.st_ino)
    same = _OPENED.get(engine, identity) == identity
    if not same:
        engine.dispose()
    _OPENED[engine] = identity
    return same
