"""Writes that leave alone what is newer than they are: a pushed row is not undone by an older published one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from feast.repo_config import RepoConfig

from feature_repo.stores.inner import InnerStore

#: Entity keys that are looked up at a time.
_AT_ONCE = 500
_keeping: ContextVar[bool] = ContextVar("keeping_newer", default=False)


@contextmanager
def keeping_newer() -> Iterator[None]:
    """Inside, the online store keeps what is newer than what is written. Feast's SQLite store never does."""
    reset = _keeping.set(True)
    try:
        yield
    finally:
        _keeping.reset(reset)


def without_older(inner: InnerStore, config: RepoConfig, table: Any, rows: list[Any]) -> list[Any]:
    """The rows to write; inside `keeping_newer` those of which the store holds nothing newer.

    Args:
        rows: (entity key, values, event time, ...).
    """
    if not _keeping.get():
        return rows
    kept = []
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        found = inner.call("online_read", config, table, [row[0] for row in some])
        kept += [row for row, (at, _) in zip(some, found, strict=True) if at is None or at <= _aware(row[2])]
    return kept


def _aware(at: datetime) -> datetime:
    """Without an offset it is UTC, as in Feast."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
