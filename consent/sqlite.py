"""How every SQLite file of a home is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from consent.errors import EvidenceError, Unavailable


def open_sqlite(path: Path) -> sa.Engine:
    """An engine whose write transactions take the lock at once and whose commits survive a power cut."""
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": 30, "isolation_level": None},
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # FULL always: with NORMAL a power cut can drop entries that a signed checkpoint already covers.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        write = connection.get_execution_options().get("write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


#: SQLite takes 32,766 parameters in one statement.
_VALUES_AT_A_TIME = 30_000
#: Which file an engine's connections have open.
_OPENED: WeakKeyDictionary[sa.Engine, tuple[int, int]] = WeakKeyDictionary()


@contextmanager
def transaction(engine: sa.Engine, what: str, *, write: bool = False) -> Iterator[sa.Connection]:
    """One transaction; what goes wrong in the database is told without quoting it.

    Raises:
        Unavailable: the file is locked or cannot be read.
        EvidenceError: the file is damaged, or a guard of the ledger refused.
    """
    _require_same_file(engine)
    try:
        with engine.connect().execution_options(write=write) as connection, connection.begin():
            yield connection
    except sa.exc.TimeoutError:
        raise _unavailable(f"{what} is busy") from None
    except sa.exc.OperationalError as error:
        told = str(error.orig)  # quotes what it could not decode: never shown
        if "decode" in told:
            raise _damaged(what, error) from None
        raise _unavailable(f"{what} is busy" if "locked" in told else f"{what} cannot be used") from None
    except sa.exc.DatabaseError as error:
        raise _damaged(what, error) from None


def _unavailable(message: str) -> Unavailable:
    return Unavailable(message, remedy="Try again; nothing was decided, so nothing was allowed.")


def _damaged(what: str, error: sa.exc.DatabaseError) -> EvidenceError:
    return EvidenceError(
        f"{what} is damaged ({type(error.orig).__name__})",
        remedy="Stop, keep the file, and restore a copy that a held checkpoint verifies.",
    )


def select_in(
    connection: sa.Connection, select: str, values: Iterable[Any], *, before: tuple[Any, ...] = ()
) -> Iterator[sa.Row[Any]]:
    """The rows of a query that ends in a column's name, for any number of values of that column.

    Args:
        before: parameters of the query itself.
    """
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), _VALUES_AT_A_TIME):
        chunk = tuple(distinct[start : start + _VALUES_AT_A_TIME])
        yield from connection.exec_driver_sql(
            f"{select} IN ({','.join('?' * len(chunk))})", (*before, *chunk)
        )


def _require_same_file(engine: sa.Engine) -> None:
    """Let go of connections to a file that another has taken the place of: they would never see what it holds."""
    path = str(engine.url.database)
    try:
        found = Path(path).stat()
    except OSError:
        return  # connecting says what is wrong
    identity = (found.st_dev, found.st_ino)
    if _OPENED.get(engine, identity) != identity:
        engine.dispose()
    _OPENED[engine] = identity
