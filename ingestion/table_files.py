"""One file of a feature table: encrypted Parquet, written once, read piece by piece.

Parquet Modular Encryption seals every page and every header with AES-GCM under the file's own random key, bound to
the file and to its place in it. So a page that was changed, moved or taken from another file does not open, and
reading some people's pages needs no look at the others'. What lies outside the seals is the magic and the footer's
description of its key: these, and the footer, are hashed; the hash and the file's size are in the signed manifest.
"""

from __future__ import annotations

import hashlib
import secrets
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from operator import methodcaller

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from consent.errors import ConfigError, EvidenceError, Unavailable
from consent.files import move_into_place, partial_path
from consent.home import Home
from consent.sealing import bind, seal, unseal
from ingestion.source import INSTANT

KEY_COLUMNS = (pa.field("subject_key", pa.string()), pa.field("event_timestamp", INSTANT))
#: Rows that are read at a time.
ROWS_PER_PIECE = 65_536
_MAGIC_BYTES, _LENGTH_BYTES = 4, 4
_AS_TEXT = methodcaller("as_py")


@dataclass(frozen=True)
class TableFile:
    """Some people's rows of one data version.

    Attributes:
        frame_sha256: of the magic and the footer; everything between is sealed under the file's key.
        key_id: names its key in the key table, 32 hex digits.
        first, last: the subject keys between which its people are.
    """

    file: str
    frame_sha256: str
    size: int
    key_id: str
    rows: int
    subjects: int
    first: str
    last: str

    def may_hold(self, subjects: pa.StringArray | None) -> bool:
        """Whether one of these people, in order, could be in it."""
        return subjects is None or _any_between(subjects, self.first, self.last)


def key_use(table: str) -> str:
    """What the keys of a table's files are kept under in the key table."""
    return f"table/{table}"


def write_file(home: Home, table: str, number: int, rows: pa.Table) -> TableFile:
    """Write rows of data version `number`, in order of subject key and instant, under a new key.

    Raises:
        EvidenceError: they are not in order, two are of the same person and instant, or one names none; or the key
            columns are of other types, which readers do not look at again.
    """
    _require_order(table, rows)
    key_id, people = secrets.token_hex(16), rows["subject_key"].unique()
    name = f"v{number:08d}-{key_id[:12]}.parquet"
    key = home.data_keys.find_or_create(key_use(table), [key_id])[key_id].key
    properties = _factory(key, table).file_encryption_properties(
        pe.KmsConnectionConfig(),
        pe.EncryptionConfiguration(
            footer_key=name, uniform_encryption=True, double_wrapping=False, data_key_length_bits=256
        ),
    )
    path = home.path("tables", table, name)
    partial = partial_path(path)
    pq.write_table(
        rows, partial, compression="zstd", encryption_properties=properties, row_group_size=ROWS_PER_PIECE
    )
    move_into_place(partial, path)
    with pa.OSFile(str(path)) as file:
        frame, size = _frame_hash(file), file.size()
    first, last = people[0].as_py(), people[-1].as_py()
    return TableFile(name, frame, size, key_id, rows.num_rows, len(people), first, last)


def _require_order(table: str, rows: pa.Table) -> None:
    if [(f.name, f.type) for f in rows.schema][:2] != [(f.name, f.type) for f in KEY_COLUMNS]:
        raise EvidenceError(
            f"rows of {table} do not begin with subject_key and event_timestamp, as text and in UTC microseconds",
            remedy="Cast these columns before publishing.",
        )
    keys, instants = rows.column(0), rows.column(1)
    if keys.null_count or instants.null_count:
        raise out_of_order(table)
    at = instants.cast(pa.int64()).to_numpy()
    same = pc.equal(keys[1:], keys[:-1]).to_numpy()
    rising = pc.greater(keys[1:], keys[:-1]).to_numpy()
    if not np.all(rising | (same & (at[1:] > at[:-1]))):
        raise out_of_order(table)


def out_of_order(table: str) -> EvidenceError:
    """Rows that are not sorted, or not one for each person and instant."""
    return EvidenceError(
        f"rows of {table} are out of order, without a person or an instant, or two are of the same ones",
        remedy="Publish rows sorted by subject_key and event_timestamp, one for each.",
    )


def scan_file(
    home: Home,
    table: str,
    file: TableFile,
    *,
    columns: Sequence[str] | None = None,
    subjects: pa.StringArray | None = None,
) -> Iterator[pa.Table]:
    """The pieces of a file in which some people's rows could be, in order, whole.

    Args:
        columns: feature columns wanted; the key columns always come along. None: all.
        subjects: whom to look for, in order; None: everybody.

    Returns:
        subject_key as a dictionary, event_timestamp, then the features.

    Raises:
        EvidenceError: the file is not the one the manifest names.
        Unavailable: it, or its key, is not there.
        ConfigError: a column wanted is not there.
    """
    with _opened(home, table, file) as parquet:
        wanted = None if columns is None else [f.name for f in KEY_COLUMNS] + list(columns)
        require_columns(table, wanted or (), parquet.schema_arrow.names)
        for number in range(parquet.num_row_groups):
            if subjects is None or _any_between(subjects, *_people_of(parquet, number)):
                with _reading(table):
                    piece = parquet.read_row_group(number, columns=wanted, use_threads=False)
                yield piece if wanted is None else piece.select(wanted)


def schema_of(home: Home, table: str, file: TableFile) -> pa.Schema:
    """The columns of a file.

    Raises:
        EvidenceError, Unavailable: as `scan_file`.
    """
    with _opened(home, table, file) as parquet:
        return parquet.schema_arrow.set(0, KEY_COLUMNS[0])


def require_columns(table: str, wanted: Iterable[str], there: Iterable[str]) -> None:
    """Raise unless all columns wanted are there.

    Raises:
        ConfigError: one is not.
    """
    missing = set(wanted) - set(there)
    if missing:
        raise ConfigError(
            f"{table} has no column {', '.join(sorted(missing))}", remedy="Ask for published features."
        )


@contextmanager
def _opened(home: Home, table: str, file: TableFile) -> Iterator[pq.ParquetFile]:
    keys = home.data_keys.find(key_use(table), [file.key_id])
    if file.key_id not in keys:
        raise Unavailable(f"the key of a file of {table} is gone", remedy="Restore the newer key table.")
    properties = _factory(keys[file.key_id].key, table).file_decryption_properties(
        pe.KmsConnectionConfig(), pe.DecryptionConfiguration(cache_lifetime=timedelta(0))
    )
    with _reading(table):
        content = pa.OSFile(str(home.path("tables", table, file.file)))
    with content:
        with _reading(table):
            if content.size() != file.size or _frame_hash(content) != file.frame_sha256:
                raise _changed(table)
            parquet = pq.ParquetFile(
                content, decryption_properties=properties, read_dictionary=[KEY_COLUMNS[0].name]
            )
        yield parquet


@contextmanager
def _reading(table: str) -> Iterator[None]:
    """What Arrow says where a seal does not open, in our own words."""
    try:
        yield
    except MemoryError:
        raise
    except FileNotFoundError:
        raise Unavailable(
            f"a file of {table} is missing", remedy="Try again; if it stays so, restore it."
        ) from None
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "errno", None):  # the disk's own, not the content's
            raise Unavailable(f"a file of {table} cannot be read", remedy="Check the disk.") from None
        raise _changed(table) from None


def _changed(table: str) -> EvidenceError:
    return EvidenceError(f"a file of {table} was changed", remedy="Restore it, or publish again.")


def _frame_hash(content: pa.NativeFile) -> str:
    """SHA-256 of what no seal covers, and of the sealed footer between it."""
    size, tail = content.size(), _LENGTH_BYTES + _MAGIC_BYTES
    ending = content.read_at(tail, max(0, size - tail))
    footer = min(size, int.from_bytes(ending[:_LENGTH_BYTES], "little") + tail)
    framed = content.read_at(_MAGIC_BYTES, 0), content.read_at(footer, size - footer)
    return hashlib.sha256(bind(*framed)).hexdigest()


def _people_of(parquet: pq.ParquetFile, number: int) -> tuple[str, str]:
    found = parquet.metadata.row_group(number).column(0).statistics
    return found.min, found.max


def _any_between(subjects: pa.StringArray, first: str, last: str) -> bool:
    place = bisect_left(subjects, first, key=_AS_TEXT)
    return place < len(subjects) and subjects[place].as_py() <= last


class _Kms(pe.KmsClient):
    """Wraps Parquet's own key under the file's key, bound to the table and the file (the master key's name)."""

    def __init__(self, key: bytes, table: str) -> None:
        super().__init__()
        self._key = key
        self._table = table.encode()

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return seal(self._key, key_bytes, self._bound(master_key_identifier)).hex()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return unseal(self._key, bytes.fromhex(wrapped_key), self._bound(master_key_identifier))

    def _bound(self, name: str) -> bytes:
        return bind(b"assent-table/2", self._table, name.encode())


def _factory(key: bytes, table: str) -> pe.CryptoFactory:
    return pe.CryptoFactory(lambda _config: _Kms(key, table))
