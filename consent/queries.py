"""What the ledger asks of its tables, within one connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from consent.database import is_postgres, run, select_in
from consent.encoding import TIME_COLUMNS, entry, from_row
from consent.errors import EvidenceError
from consent.evidence import merkle
from consent.nouns import Facts, Kind, Recorded, Statement
from consent.schema import BLANKED_COLUMNS, EVENT_COLUMNS, SELECT, merkle_tile

_STATEMENTS = f"SELECT {', '.join(Statement._fields)} FROM event"  # noqa: S608
OF_SUBJECT = f"{_STATEMENTS} WHERE subject_key = ? ORDER BY leaf_index"


def read_size(connection: sa.Connection) -> int:
    """Number of entries."""
    return int(run(connection, "SELECT coalesce(max(leaf_index) + 1, 0) FROM event")[0][0])


def read_handovers(connection: sa.Connection) -> list[bytes]:
    """The notes by which one signing key gave way to the next, oldest first."""
    rows = run(connection, "SELECT note FROM handover ORDER BY number")
    return [note if isinstance(note, bytes) else b"" for (note,) in rows]


def lock_head(connection: sa.Connection) -> None:
    """Wait until no other writer is at work; the lock ends with the transaction.

    SQLite has taken it already. On PostgreSQL a sequence would not do: numbers are handed out in another order
    than transactions end.
    """
    if is_postgres(connection):
        run(connection, "SELECT tree_size FROM head FOR UPDATE")


def find_events(connection: sa.Connection, event_ids: Iterable[str]) -> dict[str, Recorded | None]:
    """The entries with these idempotency keys, as far as they are on record; None for one that was blanked."""
    rows = select_in(connection, SELECT + " WHERE event_id", event_ids)
    return {row[_EVENT_ID]: _recorded(row) if row[_KIND] else None for row in rows}


_EVENT_ID, _KIND = EVENT_COLUMNS.index("event_id"), EVENT_COLUMNS.index("kind")


def _recorded(row: tuple[Any, ...]) -> Recorded:
    return from_row(dict(zip(EVENT_COLUMNS, row, strict=True)), row[0])


def read_events_of(connection: sa.Connection, subject_key: str) -> Iterator[Recorded]:
    """A subject's entries in ledger order."""
    rows = run(connection, SELECT + " WHERE subject_key = ? ORDER BY leaf_index", (subject_key,))
    return map(_recorded, rows)


def read_events_at(connection: sa.Connection, leaf_indexes: Iterable[int]) -> list[Recorded]:
    """The entries at these positions, in order, as far as they are not blanked."""
    rows = select_in(connection, SELECT + " WHERE leaf_index", leaf_indexes)
    return sorted((_recorded(row) for row in rows if row[_KIND]), key=lambda r: r.leaf_index)


def read_facts(fetch: Callable[[str], Iterable[Sequence[Any]]], subject_key: str) -> Facts:
    """Everything on record about a subject and the co-subjects of their data.

    Args:
        fetch: the rows of `OF_SUBJECT` for one subject.
    """
    mine = _statements(fetch(subject_key))
    linked = {s.co_subject_key for s in mine if s.co_subject_key is not None}
    return Facts(mine, {key: _statements(fetch(key)) for key in linked})


_KINDS = frozenset(Kind)


def _statements(rows: Iterable[Sequence[Any]]) -> tuple[Statement, ...]:
    """The rows, if they are such as an append writes; `consent.audit` looks at the rest of what they hold.

    Raises:
        EvidenceError: one is not.
    """
    said = tuple(map(Statement._make, rows))
    for s in said:
        if s.kind not in _KINDS or not (
            type(s.effective_at) is type(s.recorded_at) is int and type(s.expires_at) in _WHEN
        ):
            raise EvidenceError(
                f"entry {s.leaf_index} of the ledger holds what no event can say",
                remedy="Run `assent log audit`.",
            )
    return said


_WHEN = (int, type(None))


def read_statements(connection: sa.Connection, subject_keys: Iterable[str]) -> dict[str, list[Statement]]:
    """What decides in the entries of many subjects, each in ledger order."""
    found: dict[str, list[Statement]] = {}
    for row in select_in(
        connection, f"SELECT subject_key, {_STATEMENTS[7:]} WHERE subject_key", subject_keys
    ):
        found.setdefault(row[0], []).append(Statement._make(row[1:]))
    for statements in found.values():
        statements.sort()
    return found


def read_leaves_of(connection: sa.Connection, subject_key: str, source: str) -> list[int]:
    """The entries about a subject and a source, or every source, that an erasure can blank, in order."""
    rows = run(
        connection,
        "SELECT leaf_index FROM event WHERE subject_key = ? AND kind <> 'erased' AND (source = ? OR ? = '*')"
        " ORDER BY leaf_index",
        (subject_key, source, source),
    )
    return [row[0] for row in rows]


def read_entries(connection: sa.Connection, lo: int, hi: int) -> Iterator[bytes]:
    """The 41 bytes that the log hashes, of the entries ``[lo, hi)`` in order."""
    rows = run(
        connection,
        "SELECT recorded_at, commitment FROM event WHERE leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index",
        (lo, hi),
    )
    return (entry(at, bytes(committed)) for at, committed in rows)


def open_tree(connection: sa.Connection) -> merkle.TreeReader:
    """The stored tree, as the Merkle rules read it."""

    def leaves(lo: int, hi: int) -> list[bytes]:
        return [merkle.leaf_hash(e) for e in read_entries(connection, lo, hi)]

    def tiles(level: int, lo: int, hi: int) -> list[bytes]:
        rows = run(
            connection,
            "SELECT hash FROM merkle_tile WHERE level = ? AND tile_index >= ? AND tile_index < ?"
            " ORDER BY tile_index",
            (level, lo, hi),
        )
        return [bytes(row[0]) for row in rows]

    return merkle.TreeReader(leaves=leaves, tiles=tiles)


def insert_events(connection: sa.Connection, rows: list[tuple[Any, ...]]) -> None:
    """Append rows of `EVENT_COLUMNS`."""
    columns = ", ".join(EVENT_COLUMNS)
    if is_postgres(connection) and len(rows) > 1:  # in one statement, as the guard wants it
        _copy(connection, f"COPY event ({columns}) FROM STDIN (FORMAT BINARY)", rows)
        return
    places = ", ".join("?" * len(EVENT_COLUMNS))
    run(connection, f"INSERT INTO event ({columns}) VALUES ({places})", rows)  # noqa: S608


_INTEGERS = {"leaf_index", *TIME_COLUMNS}
_BYTES = {"nonce", "commitment"}
_COPY_TYPES = ["int8" if c in _INTEGERS else "bytea" if c in _BYTES else "text" for c in EVENT_COLUMNS]


def _copy(connection: sa.Connection, statement: str, rows: list[tuple[Any, ...]]) -> None:
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(_COPY_TYPES)
        for row in rows:
            copy.write_row(row)


def insert_tiles(connection: sa.Connection, tiles: Sequence[merkle.Tile]) -> None:
    """Store the roots of tiles that have become full."""
    if tiles:
        columns = ", ".join(c.name for c in merkle_tile.columns)
        insert = f"INSERT INTO merkle_tile ({columns}) VALUES (?, ?, ?)"  # noqa: S608
        run(connection, insert, [tuple(tile) for tile in tiles])


def blank_events(connection: sa.Connection, leaf_indexes: Sequence[int], *, erased_by: int) -> None:
    """Take the content out of entries, in the name of an erasure that is on record."""
    if not leaf_indexes:
        return
    run(
        connection,
        "INSERT INTO blanked (leaf_index, erased_by) VALUES (?, ?)",
        [(leaf_index, erased_by) for leaf_index in leaf_indexes],
    )
    emptied = ", ".join(f"{name} = NULL" for name in BLANKED_COLUMNS)
    run(
        connection,
        f"UPDATE event SET {emptied} WHERE leaf_index = ?",  # noqa: S608
        [(leaf_index,) for leaf_index in leaf_indexes],
    )
