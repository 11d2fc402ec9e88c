"""The file drop of a witness: requests come in as files, and each gets an answer beside it.

``x.add-checkpoint`` is answered by ``x.cosigned``, the checkpoint with the cosignature, or by ``x.refused``, the
reason. Run it as often as you like: what was cosigned is not asked again, what was refused is tried anew.

The directory is written by others, so nothing in it is trusted: links are passed over, and no answer follows one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from consent.clock import now_utc
from consent.errors import AssentError, Conflict, Unavailable
from consent.evidence.notes import MAX_NOTE_BYTES
from consent.evidence.proofs import parse_add_checkpoint
from consent.evidence.witness import Witness

REQUEST, COSIGNED, REFUSED = ".add-checkpoint", ".cosigned", ".refused"
_MAX_BYTES = 2 * MAX_NOTE_BYTES


class Answer(NamedTuple):
    """What became of one request. ``reason`` is empty where it was cosigned."""

    name: str
    reason: str = ""


def process_drop(witness: Witness, directory: Path, now: Callable[[], datetime] = now_utc) -> list[Answer]:
    """Answer every request that has no cosigned checkpoint yet, the smallest trees first.

    Args:
        witness: whose key and memory count.
        directory: the drop.
        now: the witness' clock.

    Returns:
        One answer per request that was open.

    Raises:
        Unavailable: the directory cannot be read or written, or another process runs this witness.
    """
    try:
        found = [path for path in directory.iterdir() if path.name.endswith(REQUEST) and _is_plain(path)]
        waiting = [path for path in found if not os.path.lexists(_answer_path(path, COSIGNED))]
        requests = [(_size_asked(content), path, content) for path in waiting if (content := _read(path))]
        return [_answer(witness, path, content, now()) for _, path, content in sorted(requests)]
    except OSError:
        raise Unavailable("the drop cannot be read or written", remedy="Check the directory.") from None


def _answer(witness: Witness, path: Path, content: bytes, at: datetime) -> Answer:
    refused = _answer_path(path, REFUSED)
    try:
        note = _cosign(witness, content, at)
    except Unavailable:
        raise
    except AssentError as error:
        _write(refused, f"{error.code}: {error.message}\n{error.remedy}\n".encode())
        return Answer(path.name, error.message)
    _write(_answer_path(path, COSIGNED), note)
    refused.unlink(missing_ok=True)
    return Answer(path.name)


def _cosign(witness: Witness, content: bytes, at: datetime) -> bytes:
    """Cosign, or give again an answer that was lost after the witness had moved on to that checkpoint."""
    try:
        return witness.cosign(content, at)
    except Conflict:
        if note := witness.cosigned_before(content):
            return note
        raise


def _size_asked(content: bytes) -> int:
    """For the order: a request that starts from a smaller tree comes first."""
    try:
        return parse_add_checkpoint(content).old_size
    except AssentError:
        return 0


def _answer_path(path: Path, suffix: str) -> Path:
    return path.with_name(path.name.removesuffix(REQUEST) + suffix)


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _read(path: Path) -> bytes:
    """The file, cut where it is longer than any request: it is refused then."""
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def _write(path: Path, content: bytes) -> None:
    """Write whole or not at all, under a name nobody can have prepared; readable to whoever fetches the answer."""
    prepared = path.with_name(f".{secrets.token_hex(8)}.partial")
    descriptor = os.open(prepared, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    prepared.replace(path)
