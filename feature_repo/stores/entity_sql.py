"""Entity rows by SQL: one query over the Parquet files of one directory, and over nothing else.

The query may come from another machine (``feast serve_offline``). So it runs in an engine of its own, which reads
that directory and cannot reach the home, the keys, a variable of the program or the network, and writes nothing.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import duckdb
import pandas as pd

from consent.errors import BadInput, ConfigError, Gap
from consent.timeline import fetch_arrow, private_duckdb
from feature_repo.stores.config import ConsentStoreConfig

_REMEDY = (
    "Or run the query yourself and pass its result as a data frame, with subject_key and event_timestamp."
)


def read_entity_query(query: str, directory: str | None, store: ConsentStoreConfig) -> pd.DataFrame:
    """The rows of a query.

    Args:
        query: one SELECT in DuckDB's SQL; ``loans.parquet`` of the directory is the table ``loans``.
        directory: what it may read; None: nothing.

    Raises:
        Gap: no directory is configured.
        ConfigError: the directory is none, or the home or its keys lie in it or around it.
        BadInput: the query is not one SELECT, or fails; neither it nor a value is quoted.
    """
    readable = _require_readable(directory, store)
    connection = private_duckdb()
    try:
        for name, value in (
            ("python_enable_replacements", "false"),
            ("autoload_known_extensions", "false"),
            ("autoinstall_known_extensions", "false"),
            ("allowed_directories", f"[{_literal(str(readable))}]"),
            ("enable_external_access", "false"),
        ):
            connection.execute(f"SET {name} = {value}")
        for file in sorted(readable.glob("*.parquet")):
            table = '"' + file.stem.replace('"', '""') + '"'
            with contextlib.suppress(duckdb.Error):  # no Parquet after all; then there is no such table
                connection.execute(f"CREATE VIEW {table} AS FROM read_parquet({_literal(str(file))})")
        connection.execute("SET lock_configuration = true")
        _require_one_select(query)
        rows: pd.DataFrame = fetch_arrow(connection, query).to_pandas(integer_object_nulls=True)
    except duckdb.Error as error:  # its text quotes cells, and the query
        raise BadInput(
            f"the query of the entity rows fails with {type(error).__name__}",
            remedy=f"It may read the Parquet files of the directory `entity_files` alone. {_REMEDY}",
        ) from None
    finally:
        connection.close()
    return rows


def _require_one_select(query: str) -> None:
    statements = duckdb.extract_statements(query)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise BadInput("the query of the entity rows is not one SELECT", remedy=_REMEDY)


def _require_readable(directory: str | None, store: ConsentStoreConfig) -> Path:
    if directory is None:
        raise Gap(
            "no directory is configured that a query for entity rows may read",
            remedy=f"Set `entity_files` of the offline store to a directory of Parquet files. {_REMEDY}",
        )
    readable, home = Path(directory).resolve(), store.open_home()
    if not Path(directory).is_absolute() or not readable.is_dir():
        raise ConfigError(
            "`entity_files` is no absolute path of a directory", remedy="Mend feature_store.yaml."
        )
    for place in (home.root.resolve(), home.keys.resolve()):
        if readable in (place, *place.parents) or place in readable.parents:
            raise ConfigError(
                "`entity_files` is around, or in, the home or its keys",
                remedy="Name a directory that holds nothing but files with entity rows.",
            )
    return readable


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
