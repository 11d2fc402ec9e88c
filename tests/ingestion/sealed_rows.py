"""Rows of every kind the sources and the quarantine have, and a key table to seal them with."""

from __future__ import annotations

import base64
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from consent.datakeys import DataKeys
from consent.epochs import Epochs
from consent.keyring import Keyring
from ingestion.records import OpenFile, Place, RecordFile, RecordWriter, open_record_file, read_records
from ingestion.sources import SOURCES

TEXTS = ["", "x", "盒马鲜生", "名 😀", 'a "quoted", name', "é" * 40, "中" * 100, "long " * 70]
PLACE: Place = ("vault", "spending", "batch-0001")


def schemas() -> dict[str, pa.Schema]:
    """What the vault holds of each source, and what the quarantine holds besides."""
    number = pa.field("row_number", pa.int64())
    vault = {name: pa.schema([*source.schema, number]) for name, source in SOURCES.items()}
    marks = [
        pa.field("malformed", pa.string()),
        pa.field("raw", pa.string()),
        pa.field("rules", pa.list_(pa.string())),
    ]
    return vault | {f"{name} quarantine": pa.schema([*s, *marks]) for name, s in vault.items()}


def value(kind: pa.DataType, dice: random.Random) -> Any:
    """One value of a type, now and then null."""
    if dice.random() < 0.2:
        return None
    if pa.types.is_list(kind):
        return [value(kind.value_type, dice) for _ in range(dice.choice([0, 1, 2, 5]))]
    if pa.types.is_string(kind):
        return dice.choice(TEXTS)
    if pa.types.is_decimal(kind):
        return Decimal(dice.randrange(-(10**17), 10**17)).scaleb(-2)
    if pa.types.is_timestamp(kind):
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
            microseconds=dice.randrange(-(10**15), 4 * 10**15)
        )
    if pa.types.is_date(kind):
        return date(1900, 1, 1) + timedelta(days=dice.randrange(80_000))
    return dice.choice([0, 1, -1, 2**63 - 1, -(2**63), dice.randrange(10**6)])


def rows_of(schema: pa.Schema, number: int, seed: int = 1) -> pa.Table:
    """Random rows."""
    dice = random.Random(seed)
    return pa.table(
        [pa.array([value(f.type, dice) for _ in range(number)], f.type) for f in schema], schema=schema
    )


def owned(rows: pa.Table, subjects: list[str], seed: int = 1) -> pa.Table:
    """The rows, each somebody's; everybody of `subjects` has one at least, if there are enough."""
    dice = random.Random(seed)
    owners = [*subjects[: rows.num_rows], *dice.choices(subjects, k=max(0, rows.num_rows - len(subjects)))]
    dice.shuffle(owners)
    return rows.append_column("subject_key", pa.array(owners, pa.string()))


def people(number: int, seed: int = 1) -> list[str]:
    """Subject keys, in no order."""
    dice = random.Random(seed)
    return [dice.randbytes(16).hex() for _ in range(number)]


def by_subject(rows: pa.Table) -> pa.Table:
    """What a reader should find: subjects in order, each one's rows in the order they came, the key at the end."""
    names = [name for name in rows.column_names if name != "subject_key"]
    keys = rows["subject_key"].to_pylist()
    order = sorted(range(rows.num_rows), key=lambda i: (keys[i], i))
    return rows.select([*names, "subject_key"]).take(pa.array(order, pa.int64())).combine_chunks()


def new_key_table(folder: Path) -> DataKeys:
    """A key table of its own, with the first epoch."""
    folder.mkdir(parents=True, exist_ok=True)
    epochs = Epochs(Keyring.create(folder / "ring").path, "assent/test")
    epochs.ensure(1)
    return DataKeys.create(folder / "keys.db", epochs)


def write_file(
    keys: DataKeys, path: Path, rows: pa.Table, place: Place = PLACE, *, memory_bytes: int | None = None
) -> RecordFile:
    """All rows, at once."""
    with RecordWriter(keys, path, place, memory_bytes=memory_bytes) as writer:
        writer.write(rows)
        file = writer.finish()
    assert file is not None
    return file


def open_file(path: Path, about: RecordFile, *, whole: bool = True) -> OpenFile:
    return open_record_file(path.parent, about, whole=whole)


def read_file(
    keys: DataKeys,
    path: Path,
    about: RecordFile,
    place: Place = PLACE,
    *,
    subjects: list[str] | None = None,
) -> pa.Table:
    """All rows that can be read, or some people's."""
    opened = open_file(path, about, whole=subjects is None)
    found = list(read_records(keys, opened, place, subjects=subjects))
    schema = about.arrow_schema().append(pa.field("subject_key", pa.string()))
    table = pa.concat_tables(found) if found else schema.empty_table()
    table.validate(full=True)
    return table.combine_chunks()


def guises(planted: bytes) -> list[bytes]:
    """How a value might stand on a disk: as it is, as UTF-16, as hex, as base64 at any alignment."""
    text = planted.decode()
    shifted = [base64.b64encode(bytes(n) + planted)[4 if n else 0 : -4] for n in range(3)]
    wide = [text.encode("utf-16-le"), text.encode("utf-16-be")]
    return [planted, *wide, planted.hex().encode(), planted.hex().upper().encode(), *shifted]


def on_disk(directory: Path) -> bytes:
    """Everything under a directory, and every file without a name that this process has open."""
    content = [p.read_bytes() for p in directory.rglob("*") if p.is_file()]
    for link in Path("/proc/self/fd").iterdir():
        try:
            if "(deleted)" in str(link.readlink()):
                content.append(link.read_bytes())
        except OSError:
            continue  # a pipe, or closed in the meantime
    return b"\n".join(content)
