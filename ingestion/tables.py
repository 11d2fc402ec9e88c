"""Published feature tables: immutable encrypted Parquet files and one signed manifest per data version.

A table is one definition version (``spending_v1``); each publish adds a data version, atomically. Files are
encrypted with Parquet Modular Encryption under a key bound to the table and version, so that they cannot be
declared as a plain file source, swapped, or read in a stolen copy of the home.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe

from consent.clock import format_instant, parse_instant
from consent.errors import ConfigError, Conflict, EvidenceError, Gap, Unavailable
from consent.files import file_hash, move_into_place, partial_path
from consent.home import Home
from consent.sealing import bind, digest, seal, unseal
from ingestion.manifest import read_manifest, write_manifest
from ingestion.source import INSTANT

_USE = "feature-tables"
KEY_COLUMNS = (pa.field("subject_key", pa.string()), pa.field("event_timestamp", INSTANT))


@dataclass(frozen=True)
class Version:
    """One data version of a feature table. Holds no personal value.

    Attributes:
        number: 1, 2, ...
        definition_hash: of maths, schema and source.
        input_hash: of everything the version was computed from.
        rows, subjects: counts.
        lineage: batches, ledger size and checkpoint it was computed from.
    """

    table: str
    number: int
    definition_hash: str
    input_hash: str
    rows: int
    subjects: int
    published_at: datetime
    file: str
    sha256: str
    lineage: dict[str, Any]


def read_versions(home: Home, table: str) -> list[Version]:
    """All data versions of a table, oldest first; empty before the first publish.

    Raises:
        EvidenceError: a manifest was changed or is missing.
    """
    key = home.keyring.secret(_USE)
    paths = sorted(home.path("tables", table).glob("v*.json"))
    versions = [_from_document(read_manifest(path, key)) for path in paths]
    if [v.number for v in versions] != list(range(1, len(versions) + 1)):
        raise EvidenceError(f"a version of {table} is missing", remedy="Restore the tables from a copy.")
    return versions


def read_current(home: Home, table: str) -> Version:
    """The newest data version.

    Raises:
        Gap: nothing was published yet.
    """
    versions = read_versions(home, table)
    if not versions:
        raise Gap(
            f"nothing is published in {table}",
            remedy="Ingest files of its source, then run `assent publish`.",
        )
    return versions[-1]


def read_table(
    home: Home,
    version: Version,
    *,
    columns: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
) -> pa.Table:
    """The rows of one data version. **Not gated**: for the stores that decide on every value.

    Args:
        columns: feature columns wanted; the key columns always come along.
        subjects: only these subject keys.

    Returns:
        subject_key, event_timestamp (unique together), then the features.

    Raises:
        EvidenceError: the file is not the one the manifest names.
        ConfigError: a column wanted is not there.
    """
    path = home.path("tables", version.table, version.file)
    if not path.exists():
        raise Unavailable(f"a file of {version.table} is missing", remedy="Restore it, or publish again.")
    if file_hash(path) != version.sha256:
        raise EvidenceError(f"a file of {version.table} was changed", remedy="Restore it, or publish again.")
    wanted = None if columns is None else [f.name for f in KEY_COLUMNS] + list(columns)
    filters = None if subjects is None else pc.field("subject_key").isin(pa.array(subjects, pa.string()))
    properties = _factory(home, version.table, version.number).file_decryption_properties(
        pe.KmsConnectionConfig(), pe.DecryptionConfiguration(cache_lifetime=timedelta(0))
    )
    missing = set(wanted or ()) - set(pq.read_schema(path, decryption_properties=properties).names)
    if missing:
        raise ConfigError(
            f"{version.table} has no column {', '.join(sorted(missing))}",
            remedy="Ask for published features.",
        )
    return pq.read_table(path, columns=wanted, filters=filters, decryption_properties=properties)


def publish_table(
    home: Home,
    table: str,
    rows: pa.Table,
    *,
    definition: dict[str, Any],
    input_hash: str,
    lineage: dict[str, Any],
    now: datetime,
) -> Version:
    """Add a data version.

    Args:
        rows: ``subject_key``, ``event_timestamp`` (unique together), features.
        definition: what the definition version fixes for ever (maths, schema, source), as plain JSON.

    Raises:
        Conflict: the table was published with another definition; the message shows the difference.
    """
    require_same_definition(home, table, definition, now=now)
    versions = read_versions(home, table)
    number = len(versions) + 1
    path = home.path("tables", table, f"v{number:08d}.parquet")
    partial = partial_path(path)
    properties = _factory(home, table, number).file_encryption_properties(
        pe.KmsConnectionConfig(),
        pe.EncryptionConfiguration(
            footer_key=f"{table}/{number}",
            uniform_encryption=True,
            double_wrapping=False,
            data_key_length_bits=256,
        ),
    )
    pq.write_table(rows, partial, compression="zstd", encryption_properties=properties, row_group_size=65_536)
    move_into_place(partial, path)
    version = Version(
        table,
        number,
        definition_hash(definition),
        input_hash,
        rows.num_rows,
        len(rows["subject_key"].unique()),
        now,
        path.name,
        file_hash(path),
        lineage,
    )
    document = {**vars(version), "published_at": format_instant(now)}
    write_manifest(home.path("tables", table, f"v{number:08d}.json"), document, home.keyring.secret(_USE))
    return version


def definition_hash(definition: dict[str, Any]) -> str:
    """SHA-256 over the definition's canonical JSON."""
    return digest(_readable(definition).encode())


def require_same_definition(home: Home, table: str, definition: dict[str, Any], *, now: datetime) -> None:
    """Fix the definition at the first publish, compare with it ever after.

    Raises:
        Conflict: it changed; a changed definition needs a new version name.
    """
    path = home.path("tables", table, "definition.json")
    key = home.keyring.secret(_USE)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_manifest(path, {"definition": definition, "fixed_at": format_instant(now)}, key)
        return
    fixed = read_manifest(path, key)["definition"]
    if fixed != definition:
        diff = "\n".join(
            difflib.unified_diff(
                _readable(fixed).splitlines(),
                _readable(definition).splitlines(),
                "published",
                "now",
                lineterm="",
                n=1,
            )
        )
        raise Conflict(
            f"the definition of {table} is published and immutable, and has changed:\n{diff}",
            remedy="Publish the change under a new definition version.",
        )


class _Kms(pe.KmsClient):
    """Wraps a file's keys under the home's table key, bound to the table and version (the master key's name)."""

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self._secret = secret

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        return seal(self._secret, key_bytes, bind(b"assent-table/1", master_key_identifier.encode())).hex()

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        return unseal(
            self._secret, bytes.fromhex(wrapped_key), bind(b"assent-table/1", master_key_identifier.encode())
        )


def _factory(home: Home, table: str, number: int) -> pe.CryptoFactory:
    secret = home.keyring.secret(f"{_USE}/{table}/{number}")
    return pe.CryptoFactory(lambda _config: _Kms(secret))


def _readable(definition: dict[str, Any]) -> str:
    return json.dumps(definition, indent=1, sort_keys=True, ensure_ascii=True)


def _from_document(document: dict[str, Any]) -> Version:
    return Version(**{**document, "published_at": parse_instant(document["published_at"])})
