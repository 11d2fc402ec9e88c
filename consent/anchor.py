"""The anchor: what the ledger held when it was last written, kept outside its database.

A backup that was restored, or a database that was cut, holds less than the anchor says, or something else; then
nothing is decided on it and nothing signed. The file lies beside the keys, never in the home, so that no backup
brings it back together with the ledger. It holds the text of a checkpoint, unsigned.

The anchor is advanced after the entries are durable, and not synced itself: after a power cut it may be behind the
ledger, never ahead of it.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable
from pathlib import Path

from consent.errors import EvidenceError, Unavailable
from consent.evidence.notes import Checkpoint, format_checkpoint, parse_checkpoint

_REMEDY = (
    "An old copy of the ledger was restored, or entries were removed. Bring back the newest copy. If it is lost,"
    " start a new home, so that the two histories have two names, and import the consents again."
)


_MAX_BYTES = 4096


class Anchor:
    """The anchor of one log in a file. It is made with the log and never vanishes while there are entries."""

    def __init__(self, path: Path, origin: str) -> None:
        self._path = path
        self._origin = origin
        self._descriptor: int | None = None
        self._seen: tuple[bytes, Checkpoint] | None = None
        self._writing = threading.Lock()

    def set(self, tree_size: int, root: bytes) -> None:
        """Write the anchor whatever it says so far: for a new log, and for one that a held checkpoint verifies."""
        text = format_checkpoint(self._origin, tree_size, root).encode()
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.pwrite(descriptor, text, 0)  # in place, so that processes that have it open see it
            os.ftruncate(descriptor, len(text))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> Checkpoint:
        """What was last written.

        Raises:
            Unavailable: the file is gone.
            EvidenceError: it is damaged, or another log's.
        """
        text = self._bytes()
        if self._seen is not None and self._seen[0] == text:
            return self._seen[1]
        anchored = parse_checkpoint(text.decode("utf-8", "replace"))
        if anchored.origin != self._origin:
            raise EvidenceError("the anchor is of another log", remedy="Check --home and ASSENT_KEYS.")
        self._seen = text, anchored
        return anchored

    def _bytes(self) -> bytes:
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            if os.fstat(self._descriptor).st_nlink == 0:
                self.close()
                return self._bytes()
            return os.pread(self._descriptor, _MAX_BYTES, 0)
        except OSError:
            raise Unavailable(
                "the ledger's anchor cannot be read, so nobody can tell whether the ledger is whole",
                remedy="It lies beside the keys. Mount them; if it is lost, run `assent log re-anchor` with the"
                " newest checkpoint that was kept elsewhere.",
            ) from None

    def advance(self, tree_size: int, root: bytes) -> None:
        """Note what is durable by now. Another process may have got further: an anchor never goes back."""
        if self.read().tree_size >= tree_size:
            return
        text = format_checkpoint(self._origin, tree_size, root).encode()
        with self._writing:
            descriptor = self._descriptor
            assert descriptor is not None
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # against other processes; the lock, against other threads
            try:
                if self.read().tree_size < tree_size:
                    # Less than a page at once: a reader, or a restart after a crash, sees the old text or the new.
                    os.pwrite(descriptor, text, 0)
                    self._seen = text, Checkpoint(self._origin, tree_size, root)
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def require(anchored: Checkpoint, tree_size: int, root_of: Callable[[int], bytes]) -> None:
        """Return if a ledger of this size holds all that an anchor pins, which was read before the ledger.

        Args:
            root_of: the root of the ledger's first so many entries.

        Raises:
            EvidenceError: it does not.
        """
        if anchored.tree_size > tree_size:
            raise EvidenceError(
                f"the ledger holds {tree_size} entries, but it has held {anchored.tree_size}", remedy=_REMEDY
            )
        if root_of(anchored.tree_size) != anchored.root:
            raise EvidenceError(
                f"the first {anchored.tree_size} entries of the ledger are not those it has held",
                remedy=_REMEDY,
            )
