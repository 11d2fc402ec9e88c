"""Files that are either there, whole and durable, or not there at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consent.errors import Conflict

_PARTIAL = ".partial"


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` so that a reader, or a restart after a crash, sees the old content or the new, never a mix."""
    partial = partial_path(path)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    move_into_place(partial, path)


def partial_path(path: Path) -> Path:
    """Where the content of `path` is prepared."""
    return path.with_name(path.name + _PARTIAL)


def move_into_place(prepared: Path, path: Path) -> None:
    """Make a prepared file durable, then visible under its name in one step."""
    prepared.chmod(0o600)
    sync(prepared)
    prepared.replace(path)
    sync(path.parent)


def remove_partials(directory: Path) -> None:
    """Delete what an interrupted job left behind."""
    for leftover in directory.rglob("*" + _PARTIAL):
        leftover.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file, or the names in a directory, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_hash(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_name(name: str) -> str:
    """A log's name as part of a file's: several homes may share a keyring."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


@contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold a lock that ends with the process.

    Raises:
        Conflict: another process holds it.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Conflict(f"another process is running {what}", remedy="Wait for it to end.") from None
        yield
