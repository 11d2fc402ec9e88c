"""Great Expectations on DuckDB: dialect, execution engine and data source, on its own extension points.

No released SQLAlchemy driver for DuckDB works with it: it reads results after closing the connection, and in
those drivers the cursor *is* the connection, so the rollback on close empties the result. The small DB-API
here reads each result at once. That is cheap, because no query of a suite returns rows, only counts.
"""

from __future__ import annotations

import functools
import itertools
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import duckdb
import sqlalchemy as sa
from great_expectations.datasource.fluent import SQLDatasource
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnMapMetricProvider,
    column_condition_partial,
)
from sqlalchemy import pool
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.types import UserDefinedType

_open: dict[str, duckdb.DuckDBPyConnection] = {}


@contextmanager
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB of its own that never touches a disk.

    It does not spill (a batch is plain text), reads no file, loads no extension and sees no Python variable;
    only what is registered on it. When memory runs out the query fails. Two threads.
    """
    with duckdb.connect(":memory:", config={"temp_directory": "", "threads": 2}) as con:
        con.execute("set timezone = 'UTC'; set enable_external_access = false")
        yield con


@contextmanager
def connection_string(con: duckdb.DuckDBPyConnection) -> Iterator[str]:
    """A URL that stands for a live connection while the block runs.

    Great Expectations takes URLs only. Through this one it sees the tables registered on ``con``; nothing
    is copied.
    """
    key = secrets.token_hex(8)
    _open[key] = con
    try:
        yield f"duckdb+gx:///{key}"
    finally:
        del _open[key]


class _Cursor:
    description: Any = None

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._rows: Iterator[tuple[Any, ...]] = iter(())

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self._con.execute(sql, list(parameters) or None)
        self.description = self._con.description or None
        self._rows = iter(self._con.fetchall() if self.description else ())

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(self._rows, None)

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        return list(itertools.islice(self._rows, size))

    def fetchall(self) -> list[tuple[Any, ...]]:
        return list(self._rows)

    def close(self) -> None:
        self._rows = iter(())


class _Connection:
    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con

    def cursor(self) -> _Cursor:
        return _Cursor(self._con)

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def close(self) -> None:
        """The connection belongs to whoever opened it."""


class _DBAPI:
    paramstyle = "qmark"
    Error = duckdb.Error

    @staticmethod
    def connect(key: str) -> _Connection:
        return _Connection(_open[key])


@functools.cache
def _type(name: str) -> UserDefinedType[Any]:
    """A column type whose class is named as DuckDB names it: Great Expectations reads the class name."""
    return type(name, (UserDefinedType,), {"cache_ok": True, "get_col_spec": lambda self, **_: name})()


class dialect(PGDialect):  # noqa: N801 - Great Expectations looks for <module>.dialect
    """DuckDB speaks nearly PostgreSQL's SQL, but not its catalog."""

    name = "duckdb"
    driver = "gx"
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        """The DB-API of this module."""
        return _DBAPI

    @classmethod
    def get_pool_class(cls, url: sa.URL) -> type[pool.Pool]:
        """None: there is one connection, and it is not ours to keep."""
        return pool.NullPool

    def create_connect_args(self, url: sa.URL) -> Any:
        """The key of the live connection."""
        return [url.database], {}

    def initialize(self, connection: sa.Connection) -> None:
        """Ask nothing: PostgreSQL's questions have no answer here."""
        self.default_schema_name = "main"

    def get_columns(
        self, connection: sa.Connection, table_name: str, schema: str | None = None, **_: Any
    ) -> Any:
        """Names and types of a table's columns."""
        described = connection.exec_driver_sql(f"describe {self.identifier_preparer.quote(table_name)}")
        return [
            {"name": name, "type": _type(kind), "nullable": True, "default": None}
            for name, kind, *_ in described
        ]

    def get_pk_constraint(
        self, connection: sa.Connection, table_name: str, schema: str | None = None, **_: Any
    ) -> Any:
        """None: a registered Arrow table has no keys."""
        return {"constrained_columns": [], "name": None}


registry.register("duckdb.gx", __name__, "dialect")


class DuckDBExecutionEngine(SqlAlchemyExecutionEngine):
    """The SQL engine, told which dialect it speaks."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dialect_module = sys.modules[__name__]


class MatchRegex(ColumnMapMetricProvider):
    """Great Expectations has no regular expressions for a dialect it does not know."""

    condition_metric_name = "column_values.match_regex"
    condition_value_keys = ("regex",)

    @column_condition_partial(engine=DuckDBExecutionEngine)
    def _sqlalchemy(cls, column: sa.ColumnElement[str], regex: str, **_: Any) -> sa.ColumnElement[bool]:  # noqa: N805
        return sa.func.regexp_matches(column, sa.literal(regex), type_=sa.Boolean)


class DuckDBDatasource(SQLDatasource):
    """What ``context.data_sources.add_duckdb`` makes."""

    type: Literal["duckdb"] = "duckdb"
    connection_string: str

    @property
    def execution_engine_type(self) -> Any:
        """The engine below this data source."""
        return DuckDBExecutionEngine
