"""Published feature tables: immutable encrypted Parquet files and one signed manifest per data version.

A table is one definition version (``spending_v1``); each publish adds a data version, atomically. Its files, each
with the rows of some people, are encrypted (`ingestion.table_files`), each under a random key of its own in the
key table. So they cannot be declared as a plain file source, swapped, or read in a stolen copy of the home; and when
a person's rows are taken out, only the files that hold them are written anew; the old ones stay shut in every copy.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from consent.clock import format_instant, parse_instant
from consent.errors import Conflict, EvidenceError, Gap, Unavailable
from consent.home import Home
from consent.sealing import digest
from ingestion.manifest import read_manifest, write_manifest
from ingestion.table_files import (
    KEY_COLUMNS,
    TableFile,
    key_use,
    out_of_order,
    require_columns,
    scan_file,
    schema_of,
    write_file,
)

_USE = "feature-tables"
#: People whose rows share a file.
_SUBJECTS_PER_FILE = 50_000


@dataclass(frozen=True)
class Version:
    """One data version of a feature table. Holds no personal value.

    Attributes:
        number: 1, 2, ...
        definition_hash: of maths, schema and source.
        input_hash: of everything the version was computed from.
        rows, subjects: counts; less those that were taken out since.
        lineage: batches, ledger size and checkpoint it was computed from.
        removed_rows: taken out since it was published, by erasures and sweeps.
    """

    table: str
    number: int
    definition_hash: str
    input_hash: str
    rows: int
    subjects: int
    published_at: datetime
    files: tuple[TableFile, ...]
    lineage: dict[str, Any]
    removed_rows: int = 0


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


def read_version(home: Home, table: str, number: int) -> Version:
    """One data version.

    Raises:
        Unavailable: there is no such version.
        EvidenceError: a manifest was changed or is missing.
    """
    versions = read_versions(home, table)
    if not 0 < number <= len(versions):
        raise Unavailable(
            f"{table} has no data version {number}", remedy="See `assent versions` for those there are."
        )
    return versions[number - 1]


def scan_table(
    home: Home,
    version: Version,
    *,
    columns: Sequence[str] | None = None,
    subjects: pa.StringArray | None = None,
) -> Iterator[pa.Table]:
    """The rows of one data version piece by piece, in order. **Not gated**, as `read_table`.

    Args:
        columns: feature columns wanted; the key columns always come along.
        subjects: pieces without any of these people, who come in order, are left out.

    Returns:
        Tables of at most 65,536 rows: subject_key as a dictionary, event_timestamp, then the features; sorted by
        the first two, which are unique together.

    Raises:
        EvidenceError: a file is not the one the manifest names.
        ConfigError: a column wanted is not there.
    """
    for file in version.files:
        if file.may_hold(subjects):
            yield from scan_file(home, version.table, file, columns=columns, subjects=subjects)


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
        subject_key, event_timestamp (unique together), then the features; in order.

    Raises:
        EvidenceError: the file is not the one the manifest names.
        ConfigError: a column wanted is not there.
    """
    wanted = None if subjects is None else sorted_keys(subjects)
    pieces = scan_table(home, version, columns=columns, subjects=wanted)
    return pa.concat_tables([empty_table(home, version, columns), *(_only(p, wanted) for p in pieces)])


def empty_table(home: Home, version: Version, columns: Sequence[str] | None = None) -> pa.Table:
    """No rows, in the table's schema.

    Raises:
        ConfigError: a column wanted is not there.
    """
    if version.files:
        there = schema_of(home, version.table, version.files[0])
    else:
        features = read_definition(home, version.table).get("features", {})
        types = {"int64": pa.int64(), "float64": pa.float64()}
        there = pa.schema([*KEY_COLUMNS, *(pa.field(name, types[kind]) for name, kind in features.items())])
    if columns is None:
        return there.empty_table()
    require_columns(version.table, columns, there.names)
    return there.empty_table().select([*(f.name for f in KEY_COLUMNS), *columns])


def sorted_keys(subjects: Iterable[str]) -> pa.StringArray:
    """Each of these subject keys once, in order."""
    return pa.array(sorted(set(subjects)), pa.string())


def _only(piece: pa.Table, subjects: pa.StringArray | None) -> pa.Table:
    """The rows of these people, their keys as plain strings."""
    keys = piece["subject_key"].cast(pa.string())
    piece = piece.set_column(0, KEY_COLUMNS[0], keys)
    return piece if subjects is None else piece.filter(pc.is_in(keys, value_set=subjects))


def publish_table(
    home: Home,
    table: str,
    parts: Iterable[pa.Table],
    *,
    definition: dict[str, Any],
    input_hash: str,
    lineage: dict[str, Any],
    now: datetime,
) -> Version:
    """Add a data version.

    Args:
        parts: ``subject_key``, ``event_timestamp`` (unique together), features; sorted by the first two, within
            each part and from one part to the next, no person in two of them.
        definition: what the definition version fixes for ever (maths, schema, source), as plain JSON.

    Raises:
        Conflict: the table was published with another definition; the message shows the difference.
        EvidenceError: the rows are not in that order; readers count on it.
    """
    require_same_definition(home, table, definition, now=now)
    versions = read_versions(home, table)
    number = len(versions) + 1
    files = tuple(write_file(home, table, number, rows) for rows in _by_file(parts))
    if any(after.first <= before.last for before, after in pairwise(files)):
        raise out_of_order(table)
    version = Version(
        table,
        number,
        definition_hash(definition),
        input_hash,
        sum(f.rows for f in files),
        sum(f.subjects for f in files),
        now,
        files,
        lineage,
    )
    _commit(home, version)
    return version


def roll_back(home: Home, table: str, number: int, *, now: datetime) -> Version:
    """Add a data version with the rows of an earlier one: what is read from now on. Nothing is taken away.

    The next publish goes on from there. Doing it twice changes nothing.

    Raises:
        Unavailable: there is no such version.
        EvidenceError: it was changed.
    """
    earlier, newest = read_version(home, table, number), read_current(home, table)
    if newest.number == number or newest.lineage.get("rolled_back_to") == number:
        return newest
    told = {
        name: value
        for name, value in earlier.lineage.items()
        if not earlier.removed_rows or name != "last_day"
    }
    return publish_table(
        home,
        table,
        (read_table(home, replace(earlier, files=(file,))) for file in earlier.files),
        definition=read_definition(home, table),
        input_hash=f"rolled back to {number} from {newest.number}",
        lineage={**told, "rolled_back_to": number},
        now=now,
    )


def _by_file(parts: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of at most so many people at a time."""
    for rows in parts:
        people = rows["subject_key"].unique().to_pylist()
        for lo in range(0, len(people), _SUBJECTS_PER_FILE):
            some = pa.array(people[lo : lo + _SUBJECTS_PER_FILE], pa.string())
            yield rows.filter(pc.is_in(rows["subject_key"], value_set=some))


def _commit(home: Home, version: Version) -> None:
    document = {
        **vars(version),
        "published_at": format_instant(version.published_at),
        "files": [asdict(file) for file in version.files],
    }
    path = home.path("tables", version.table, f"v{version.number:08d}.json")
    write_manifest(path, document, home.keyring.secret(_USE))


# ------------------------------------------------------------------------------------------- taking rows out


class Removed(NamedTuple):
    """What taking rows out of a table did."""

    rows: int
    files: int
    written: int


def remove_rows(
    home: Home, version: Version, gone: Callable[[pa.Table], pa.ChunkedArray], *, among: Sequence[str] | None
) -> Removed:
    """Take rows out of one data version; the files that hold them are written anew under new keys.

    The old files are deleted. Their keys are destroyed by the next rotation, see `stale_keys`.

    Args:
        gone: for some rows, which of them to take out.
        among: only these people's rows can be meant; None: anybody's.
    """
    kept: list[TableFile] = []
    old: list[Path] = []
    wanted = None if among is None else sorted_keys(among)
    for file in version.files:
        alone = replace(version, files=(file,))
        rows = read_table(home, alone, columns=[], subjects=among) if file.may_hold(wanted) else None
        if rows is None or not pc.any(gone(rows), min_count=0).as_py():
            kept.append(file)
            continue
        old.append(home.path("tables", version.table, file.file))
        whole = read_table(home, alone)
        left = whole.filter(pc.invert(gone(whole)))
        if left.num_rows:
            kept.append(write_file(home, version.table, version.number, left))
    rows = sum(f.rows for f in kept)
    if old:
        subjects = sum(f.subjects for f in kept)
        removed = version.removed_rows + version.rows - rows
        _commit(home, replace(version, files=tuple(kept), rows=rows, subjects=subjects, removed_rows=removed))
        for path in old:
            path.unlink(missing_ok=True)
    fresh = [f for f in kept if f not in version.files]
    return Removed(version.rows - rows, len(old), sum(f.size for f in fresh))


def stale_keys(home: Home, table: str) -> dict[str, list[str]]:
    """Keys of files that no version names any more, by use, for `DataKeys.rotate`."""
    named = {file.key_id for version in read_versions(home, table) for file in version.files}
    use = key_use(table)
    return {use: [owner for owner in home.data_keys.owners(use) if owner not in named]}


def discard_unnamed(home: Home, table: str) -> None:
    """Delete files that no version names: what an interrupted job left."""
    named = {file.file for version in read_versions(home, table) for file in version.files}
    for path in home.path("tables", table).glob("v*.parquet"):
        if path.name not in named:
            path.unlink()


# ------------------------------------------------------------------------------------------- definitions


def read_definition(home: Home, table: str) -> dict[str, Any]:
    """What the definition version fixed at its first publish; empty before."""
    path = home.path("tables", table, "definition.json")
    if not path.exists():
        return {}
    fixed: dict[str, Any] = read_manifest(path, home.keyring.secret(_USE))["definition"]
    return fixed


def definition_hash(definition: dict[str, Any]) -> str:
    """SHA-256 over the definition's canonical JSON."""
    return digest(_readable(definition).encode())


def require_same_definition(home: Home, table: str, definition: dict[str, Any], *, now: datetime) -> None:
    """Fix the definition at the first publish, compare with it ever after.

    Raises:
        Conflict: it changed; a changed definition needs a new version name.
    """
    fixed = read_definition(home, table)
    if not fixed:
        path = home.path("tables", table, "definition.json")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = {"definition": definition, "fixed_at": format_instant(now)}
        write_manifest(path, document, home.keyring.secret(_USE))
        return
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


def _readable(definition: dict[str, Any]) -> str:
    return json.dumps(definition, indent=1, sort_keys=True, ensure_ascii=True)


def _from_document(document: dict[str, Any]) -> Version:
    files = tuple(TableFile(**file) for file in document["files"])
    return Version(**{**document, "published_at": parse_instant(document["published_at"]), "files": files})
