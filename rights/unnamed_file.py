"""A file that has no name until it is whole: a job that is killed at any point leaves nothing of it.

An access package is somebody's whole data in plain text, so not even a part of it may be left lying about. Linux can
write a file that no directory names, and name it at the end. Where the file system cannot (memory sticks, network
drives), the file is prepared as ``<name>.partial`` beside its place and removed on failure; there alone, a job ended
by force leaves that one file, which the next one with the same name removes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from consent.errors import BadInput, Conflict, Unavailable
from consent.files import partial_path, sync


@contextmanager
def unnamed_file(out: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file for its owner only, which is given its name when the block has ended without an error.

    Raises:
        BadInput: the directory does not exist, or the name is a directory's.
        Conflict: something has this name, and may not be overwritten.
        Unavailable: it cannot be written.
    """
    out = out.absolute()
    require_free(out, overwrite=overwrite)
    try:
        descriptor, prepared = _open(out)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(descriptor)
                _name(descriptor, prepared, out, overwrite=overwrite)
        finally:
            if prepared is not None:
                prepared.unlink(missing_ok=True)
    except FileExistsError:
        raise _taken(out) from None
    except OSError:
        raise Unavailable(f"{out.name} cannot be written", remedy="Check the directory and disk.") from None


def require_free(out: Path, *, overwrite: bool) -> None:
    """Raise where a file of this name cannot be made; see `unnamed_file`."""
    if not out.parent.is_dir():
        raise BadInput("the directory of --out does not exist", remedy="Make it first.")
    if out.is_dir() and not out.is_symlink():
        raise BadInput("--out is a directory", remedy="Name the file to write, ending in .zip.")
    if os.path.lexists(out) and not overwrite:
        raise _taken(out)


def _taken(out: Path) -> Conflict:
    return Conflict(f"{out.name} exists", remedy="Name another file, or add --overwrite.")


def _open(out: Path) -> tuple[int, Path | None]:
    """A descriptor, and the file's name for the time being, if it needs one."""
    try:
        descriptor = os.open(out.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):
        return _open_partial(out)
    if Path(f"/proc/self/fd/{descriptor}").exists():
        return descriptor, None
    os.close(descriptor)
    return _open_partial(out)


def _open_partial(out: Path) -> tuple[int, Path]:
    prepared = partial_path(out)
    prepared.unlink(missing_ok=True)  # of a job that was ended by force, or a link that somebody laid there
    return os.open(prepared, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), prepared


def _name(descriptor: int, prepared: Path | None, out: Path, *, overwrite: bool) -> None:
    if prepared is None:
        prepared = partial_path(out) if overwrite else out
        if overwrite:
            prepared.unlink(missing_ok=True)
        _link_unnamed(descriptor, prepared)
    if overwrite:
        prepared.replace(out)
    elif prepared != out:
        _link(prepared, out)
    sync(out.parent)


def _link_unnamed(descriptor: int, path: Path) -> None:
    """Give a file without a name one. Naming a directory makes Python call linkat, which follows the link to it."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=directory, follow_symlinks=True)
    finally:
        os.close(directory)


def _link(prepared: Path, out: Path) -> None:
    """A second name, which fails where the name is taken; a rename where the file system has no second names."""
    try:
        os.link(prepared, out)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(out):
            raise _taken(out) from None
        prepared.replace(out)
