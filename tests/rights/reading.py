"""Everything that the files of a home give away of one person to whoever has keys and code: past every gate.

No consent is asked, no ledger opened: each store is read as low down as it can be. What does not open is named after
its error, so that a test can tell shut from empty.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import Value

from consent.errors import AssentError
from consent.home import Home
from feature_repo.stores.cells import Cells
from feature_repo.stores.members import lists_with
from ingestion.asked import asked_days
from ingestion.sources import SOURCES
from ingestion.tables import read_table, read_versions
from ingestion.vault import STORES, read_batch, read_batches

#: What was read of a place, as plain rows; or the name of the error.
Read = list[dict[str, Any]] | str


def everything_of(home: Home, subject_key: str) -> dict[str, Read]:
    """Place -> what can be read of the person there; places are called ``vault/spending/0``, ``lists`` and so on."""
    return {
        **dict(_records(home, subject_key)),
        **dict(_rows(home, subject_key)),
        **dict(_days(home, subject_key)),
        **dict(_online(home, subject_key)),
        "lists": _tried(lambda: [{"list": name} for name in sorted(_lists(home, subject_key))]),
    }


def everything_that_opens(home: Home, subject_key: str) -> list[str]:
    """The places at which something can be read of the person."""
    found = everything_of(home, subject_key).items()
    return [place for place, rows in found if rows and not isinstance(rows, str)]


def digests_of(home: Home, subject_key: str) -> dict[str, str]:
    """`everything_of`, to be compared: of rows a hash, of an error its name, ``-`` for nothing."""
    return {
        place: read if isinstance(read, str) else _digest(read) if read else "-"
        for place, read in everything_of(home, subject_key).items()
    }


def _digest(rows: list[dict[str, Any]]) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def values_in(found: dict[str, Read]) -> Iterator[Any]:
    """All values that could be read."""
    for rows in found.values():
        if not isinstance(rows, str):
            yield from (value for row in rows for value in row.values() if value is not None)


def _tried(read: Callable[[], list[dict[str, Any]]]) -> Read:
    try:
        return read()
    except AssentError as error:
        return type(error).__name__
    except (pa.ArrowException, OSError, sqlite3.Error) as error:
        return f"{type(error).__name__} of a library"


def _records(home: Home, subject_key: str) -> Iterator[tuple[str, Read]]:
    for source in SOURCES:
        for batch in read_batches(home, source):
            for store in STORES:
                yield (
                    f"{store}/{source}/{batch.order}",
                    _tried(
                        lambda s=store, b=batch: [  # type: ignore[misc]
                            row
                            for rows in read_batch(home, s, b, subjects=[subject_key])
                            for row in rows.to_pylist()
                        ]
                    ),
                )


def _rows(home: Home, subject_key: str) -> Iterator[tuple[str, Read]]:
    for source in SOURCES.values():
        for version in read_versions(home, source.definition):
            yield (
                f"tables/{source.definition}/{version.number}",
                _tried(lambda v=version: read_table(home, v, subjects=[subject_key]).to_pylist()),  # type: ignore[misc]
            )


def _days(home: Home, subject_key: str) -> Iterator[tuple[str, Read]]:
    for source in SOURCES.values():

        def read(source: Any = source) -> list[dict[str, Any]]:
            days = asked_days(home, source.name, source.definition)
            return list(days.filter(pc.equal(days["subject_key"], subject_key)).to_pylist())

        yield f"asked/{source.name}", _tried(read)


def _online(home: Home, subject_key: str) -> Iterator[tuple[str, Read]]:
    for source in SOURCES.values():
        yield f"online/{source.name}", _tried(lambda s=source: list(_cells(home, s, subject_key)))  # type: ignore[misc]


def _cells(home: Home, source: Any, subject_key: str) -> Iterator[dict[str, Any]]:
    cells = Cells.of_view(home, "assent", source.definition)
    owner = cells.token(subject_key)
    with closing(sqlite3.connect(home.path("feast", "online.db"))) as connection:
        rows = connection.execute(
            f"SELECT feature_name, value FROM assent_{source.definition} WHERE substr(entity_key, -32) = ?",
            (owner,),
        ).fetchall()
    stored = {name: Value.FromString(value) for name, value in rows}
    versions = home.data_keys.versions(source.name, [subject_key]).get(subject_key)
    opened = cells.open(owner, versions, stored) if versions and stored else None
    if opened:
        yield {name: getattr(v, v.WhichOneof("val")) for name, v in opened[1].items() if v.WhichOneof("val")}


def _lists(home: Home, subject_key: str) -> set[str]:
    names = [path.stem for path in home.path("receipts").glob("*.members")]
    return lists_with(home, [subject_key], names).get(subject_key, set())
