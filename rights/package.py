"""The zip of an access package, written file by file, with a manifest of what each file is.

The same content at the same instant gives the same bytes: files come in the order in which they are written, and all
bear that instant. A large file is streamed; nothing is put aside outside the zip.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, BinaryIO

_NAME = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")
#: What the format can say of a time.
_FIRST, _LAST = datetime(1980, 1, 1, tzinfo=UTC), datetime(2107, 12, 31, 23, 59, 58, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One file of a package, as its manifest has it.

    Attributes:
        kind: what it is, as `rights.words` tells it to a person.
        about: of what: a source, a table, an entry of the ledger; may be empty.
        rows: of data; None for a file that has none.
    """

    file: str
    kind: str
    about: str
    size: int
    sha256: str
    rows: int | None


class Stream:
    """A file that is being written: counts, hashes and compresses."""

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.size = 0
        self.rows = 0

    def write(self, content: bytes, *, rows: int = 0) -> None:
        """Some more of it."""
        self._target.write(content)
        self._hash.update(content)
        self.size += len(content)
        self.rows += rows

    @property
    def sha256(self) -> str:
        """Of what was written so far, hex."""
        return self._hash.hexdigest()


class Package:
    """A zip being written; use it as a context.

    Attributes:
        entries: what was written, in order.
    """

    def __init__(self, file: BinaryIO, at: datetime) -> None:
        self._zip = zipfile.ZipFile(file, "w")
        self._at = min(max(at.astimezone(UTC), _FIRST), _LAST)
        self.entries: list[Entry] = []

    def __enter__(self) -> Package:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        with contextlib.nullcontext() if kind is None else contextlib.suppress(Exception):
            self._zip.close()  # after an error, too: else Python closes it later, when the file is gone

    def add(self, name: str, content: bytes, kind: str, *, about: str = "", rows: int | None = None) -> None:
        """A small file."""
        self._zip.writestr(self._info(name), content)
        sha256 = hashlib.sha256(content).hexdigest()
        self.entries.append(Entry(name, kind, about, len(content), sha256, rows))

    def add_json(
        self, name: str, document: Any, kind: str, *, about: str = "", rows: int | None = None
    ) -> None:
        """A small file of indented JSON, UTF-8."""
        self.add(name, readable_json(document), kind, about=about, rows=rows)

    @contextlib.contextmanager
    def stream(self, name: str, kind: str, about: str) -> Iterator[Stream]:
        """A file of any size, with rows."""
        with self._zip.open(self._info(name), "w", force_zip64=True) as target:
            stream = Stream(target)
            yield stream
        self.entries.append(Entry(name, kind, about, stream.size, stream.sha256, stream.rows))

    def add_sums(self, name: str) -> None:
        """The checksums of all files before, as ``sha256sum -c`` takes them."""
        sums = "".join(f"{entry.sha256}  {entry.file}\n" for entry in self.entries)
        self._zip.writestr(self._info(name), sums.encode())

    def _info(self, name: str) -> zipfile.ZipInfo:
        assert _NAME.fullmatch(name)
        info = zipfile.ZipInfo(name, self._at.timetuple()[:6])
        info.compress_type = zipfile.ZIP_DEFLATED
        info.create_system = 3  # so that the permissions mean something
        info.external_attr = (stat.S_IFREG | 0o600) << 16
        return info


def readable_json(document: Any) -> bytes:
    """Indented, in the order given, UTF-8."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
