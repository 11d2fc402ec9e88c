"""Access packages, written and opened again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from consent.clock import parse_instant
from rights.export import Exported, export_person
from tests.rights.borrowers import Borrowers

#: When packages of tests are made; after everything that is on record.
MADE_AT = datetime(2031, 5, 4, 3, 2, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Opened:
    """A package, unpacked in memory.

    Attributes:
        files: name -> content, in order.
    """

    path: Path
    exported: Exported
    files: dict[str, bytes]

    def json(self, name: str) -> Any:
        return json.loads(self.files[name])

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a .jsonl file."""
        return [json.loads(line) for line in self.files[name].decode().split("\n")[:-1]]

    def unpack(self, directory: Path) -> Path:
        with zipfile.ZipFile(self.path) as package:
            package.extractall(directory)
        return directory


#: Customer number -> package.
Packages = Callable[[str], Opened]


def export(
    borrowers: Borrowers, customer: str, directory: Path, *, at: datetime = MADE_AT, name: str = "p.zip"
) -> Opened:
    """Write somebody's package and open it."""
    out = directory / name
    exported = export_person(borrowers.home, customer, out, clock=lambda: at)
    with zipfile.ZipFile(out) as package:
        assert package.testzip() is None
        return Opened(out, exported, {info.filename: package.read(info) for info in package.infolist()})


def typed(value: Any, kind: pa.DataType) -> Any:
    """A value of a .jsonl file in the type that the source gives it."""
    if value is None or pt.is_string(kind) or pt.is_integer(kind) or pt.is_list(kind):
        return value
    if pt.is_decimal(kind):
        assert isinstance(value, str)
        return Decimal(value)
    if pt.is_timestamp(kind):
        return parse_instant(value)
    assert pt.is_date(kind)
    return date.fromisoformat(value)
