"""What the ledger asks of its tables, within one connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

import sqlalchemy as sa

from consent import merkle
from consent.clock import instant
from consent.encoding import entry, from_row
from consent.nouns import Facts, Recorded
from consent.schema import SELECT
from consent.sqlite import select_in


def read_size(connection: sa.Connection) -> int:
    """Number of entries."""
    return int(connection.exec_driver_sql("SELECT coalesce(max(leaf_index) + 1, 0) FROM event").scalar_one())


def read_last_instant(connection: sa.Connection) -> datetime | None:
    """When the last entry was recorded; None while there is none."""
    last = connection.exec_driver_sql(
        "SELECT recorded_at FROM event ORDER BY leaf_index DESC LIMIT 1"
    ).scalar_one_or_none()
    return None if last is None else instant(last)


def find_events(connection: sa.Connection, event_ids: Iterable[str]) -> dict[str, Recorded]:
    """The entries with these idempotency keys, as far as they are on record."""
    rows = select_in(connection, SELECT + " WHERE event_id", event_ids)
    return {row.event_id: from_row(row._asdict(), row.leaf_index) for row in rows}


def read_events_of(connection: sa.Connection, subject_key: str) -> Iterator[Recorded]:
    """A subject's entries in ledger order."""
    result = connection.exec_driver_sql(SELECT + " WHERE subject_key = ? ORDER BY leaf_index", (subject_key,))
    return (from_row(row._asdict(), row.leaf_index) for row in result.fetchall())


def read_facts(connection: sa.Connection, subject_key: str) -> Facts:
    """Everything on record about a subject and the co-subjects of their data."""
    events = tuple(read_events_of(connection, subject_key))
    linked = {r.event.co_subject_key for r in events if r.event.co_subject_key}
    return Facts(events, {key: tuple(read_events_of(connection, key)) for key in sorted(linked)})


def open_tree(connection: sa.Connection) -> merkle.TreeReader:
    """The stored tree, as the Merkle rules read it."""

    def leaves(lo: int, hi: int) -> list[bytes]:
        rows = connection.exec_driver_sql(
            "SELECT recorded_at, commitment FROM event WHERE leaf_index >= ? AND leaf_index < ?"
            " ORDER BY leaf_index",
            (lo, hi),
        )
        return [merkle.leaf_hash(entry(at, bytes(committed))) for at, committed in rows]

    def tiles(level: int, lo: int, hi: int) -> list[bytes]:
        rows = connection.exec_driver_sql(
            "SELECT hash FROM merkle_tile WHERE level = ? AND tile_index >= ? AND tile_index < ?"
            " ORDER BY tile_index",
            (level, lo, hi),
        )
        return [bytes(row[0]) for row in rows]

    return merkle.TreeReader(leaves=leaves, tiles=tiles)


def find_grants(connection: sa.Connection, subject_keys: Iterable[str]) -> set[tuple[str, ...]]:
    """(subject_key, source, purpose, grant_id) of every grant of these subjects."""
    select = (
        "SELECT subject_key, source, purpose, grant_id FROM event WHERE grant_id IS NOT NULL AND subject_key"
    )
    return {tuple(row) for row in select_in(connection, select, subject_keys)}
