"""Features from the vault: unseal, compute, publish as a new data version of each definition.

A version is computed from the records of people of whom, at this moment, some purpose may still use the source.
It holds one row per subject and day on which something happened, up to the last whole day before ``as_of``, and one
for that day itself. A row's timestamp is the midnight (UTC) after the last day it has seen, so no feature knows
anything later than itself, and no row is dated in the future.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from consent.catalog import PURPOSES
from consent.clock import now_utc
from consent.errors import EvidenceError
from consent.files import exclusive, remove_partials
from consent.home import Home
from consent.nouns import Reason
from consent.sealing import digest, token
from consent.timeline import fetch_arrow, private_duckdb
from ingestion.asked import ASKED, asked_days, keep_asked_days
from ingestion.source import INSTANT, Source
from ingestion.sources import SOURCES
from ingestion.table_files import KEY_COLUMNS
from ingestion.tables import (
    Version,
    definition_hash,
    discard_unnamed,
    publish_table,
    read_versions,
    require_same_definition,
)
from ingestion.vault import read_batches, read_store

#: Called with (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]
DAY_US = 86_400_000_000
#: Subjects computed at a time, so that memory does not grow with the population.
_SUBJECTS_AT_A_TIME = 50_000
_LINEAGE_COLUMNS = (("subject_key", pa.string()), ("row_number", pa.int64()), ("batch_order", pa.int64()))


@dataclass(frozen=True)
class Published:
    """What `publish` did for one definition. ``fresh`` is false where nothing had changed."""

    version: Version
    fresh: bool


def publish(
    home: Home,
    source_names: Sequence[str] | None = None,
    *,
    as_of: datetime | None = None,
    entities: pa.Table | None = None,
    clock: Callable[[], datetime] = now_utc,
    on_progress: Progress = lambda *_: None,
) -> list[Published]:
    """Publish a data version of each source's feature table; sources without any batch are left out.

    Args:
        source_names: which sources; None for all.
        as_of: every subject gets a row as of the midnight (UTC) at or before this instant, and nobody a later
            one; None: now.
        entities: ``subject_key``, ``event_timestamp``: each pair gets a row as of the midnight at or before it,
            so that a training set for these instants sees windows that end there.

    Returns:
        One entry per source that has data; a re-run on unchanged input publishes nothing.

    Raises:
        Conflict: another job is running, or a published definition was changed.
    """
    now = clock()
    with exclusive(home.path("job.lock"), "an ingestion or publish job"):
        remove_partials(home.path("tables"))
        sources = [s for s in SOURCES.values() if source_names is None or s.name in source_names]
        sources = [s for s in sources if read_batches(home, s.name)]
        published = []
        for i, source in enumerate(sources):
            on_progress(f"publishing {source.definition}", i, len(sources))
            discard_unnamed(home, source.definition)
            published.append(_publish_source(home, source, min(as_of or now, now), entities, now))
        on_progress("done", len(sources), len(sources))
    return published


def _publish_source(
    home: Home, source: Source, as_of: datetime, entities: pa.Table | None, now: datetime
) -> Published:
    definition = describe(source)
    require_same_definition(home, source.definition, definition, now=now)
    subjects = _usable_subjects(home, source)
    last_day = int(as_of.timestamp()) // 86_400 - 1
    asked = _remember_asked(home, source, entities)
    wanted_days = _wanted_days(subjects, last_day, asked)
    input_hash = _input_hash(home, source, definition, wanted_days)
    versions = read_versions(home, source.definition)
    if versions and versions[-1].input_hash == input_hash:
        return Published(versions[-1], fresh=False)
    parts = (
        compute_features(
            source,
            _events(home, source, some),
            wanted_days.filter(_is_in(wanted_days, some)),
            last_day=last_day,
        )
        for some in _chunks(subjects)
    )
    checkpoint = home.ledger.checkpoint()
    lineage = {
        "batches": [b.batch_id for b in read_batches(home, source.name)],
        "ledger_size": home.ledger.size(),
        "checkpoint": checkpoint.decode() if checkpoint else None,
    }
    version = publish_table(
        home,
        source.definition,
        parts,
        definition=definition,
        input_hash=input_hash,
        lineage=lineage,
        now=now,
    )
    return Published(version, fresh=True)


def compute_features(source: Source, events: pa.Table, wanted_days: pa.Table, *, last_day: int) -> pa.Table:
    """The source's features for every wanted day and every day of activity up to `last_day`.

    Args:
        events: the source's columns with subject_key, row_number and batch_order.
        wanted_days: subject_key, day (days since 1970-01-01 UTC); only subjects with some event count.

    Returns:
        subject_key, event_timestamp, features; unique and sorted by the first two.
    """
    events_table, spine_table = _inputs(source)
    connection = private_duckdb()
    connection.register("event", events)
    connection.register("wanted_day", wanted_days)
    active = _sql(source.active_days(events_table))
    connection.execute(
        "CREATE TEMP TABLE spine AS SELECT DISTINCT subject_key, day FROM"  # noqa: S608
        f" (SELECT subject_key, day FROM ({active}) WHERE day <= {last_day} UNION ALL"
        "   SELECT w.subject_key, w.day FROM wanted_day w SEMI JOIN event USING (subject_key))"
    )
    spine_rows = len(fetch_arrow(connection, "FROM spine"))
    features = _sql(source.compute(events_table, spine_table))
    names = ", ".join(f'"{f.name}"' for f in source.features)
    rows = fetch_arrow(
        connection,
        f"SELECT subject_key, make_timestamptz((day + 1) * {DAY_US}) AS event_timestamp, {names}"  # noqa: S608
        f" FROM ({features}) ORDER BY subject_key, event_timestamp",
    )
    connection.close()
    if rows.num_rows != spine_rows:
        raise EvidenceError(
            f"{source.definition}: {rows.num_rows} feature rows for {spine_rows} days",
            remedy="The definition's maths is wrong; nothing was published.",
        )
    return rows.cast(_published_schema(source))


def describe(source: Source) -> dict[str, Any]:
    """What a definition version fixes for ever: the maths as DuckDB SQL, the schemas, the source."""
    events, spine = _inputs(source)
    return {
        "definition": source.definition,
        "source": source.name,
        "event_time": source.event_time,
        "identity": list(source.identity),
        "columns": {c.name: str(c.type) for c in source.columns},
        "features": {f.name: f.dtype for f in source.features},
        "active_days": _sql(source.active_days(events)).splitlines(),
        "compute": _sql(source.compute(events, spine)).splitlines(),
    }


def _sql(expression: Any) -> str:
    import ibis

    return str(ibis.to_sql(expression, dialect="duckdb"))


def _inputs(source: Source) -> tuple[Any, Any]:
    """What the maths is written over: the tables ``event`` and ``spine``, by their schemas alone."""
    import ibis  # takes a second to load; only publishing needs it

    events = ibis.Schema.from_pyarrow(_event_schema(source))
    return ibis.table(events, name="event"), ibis.table(
        {"subject_key": "string", "day": "int64"}, name="spine"
    )


def _event_schema(source: Source) -> pa.Schema:
    return pa.schema([*source.schema, *(pa.field(*c) for c in _LINEAGE_COLUMNS)])


def _published_schema(source: Source) -> pa.Schema:
    types = {"int64": pa.int64(), "float64": pa.float64()}
    features = [pa.field(f.name, types[f.dtype]) for f in source.features]
    return pa.schema([*KEY_COLUMNS, *features])


def _events(home: Home, source: Source, subjects: pa.Array) -> pa.Table:
    schema = _event_schema(source)
    tables = [
        t.select(schema.names).cast(schema)
        for t in read_store(home, "vault", source.name, subjects=subjects.to_pylist())
    ]
    events = pa.concat_tables(tables) if tables else schema.empty_table()
    # Loaded lawfully then; a person may since have narrowed how far back, or how long, records may be used.
    reasons = home.gate.timeline().judge_loading(
        events["subject_key"], source.name, data_at=events[source.event_time], now=home.ledger.now()
    )
    return events.filter(pc.is_null(reasons))


def _usable_subjects(home: Home, source: Source) -> pa.Array:
    """Subjects with records of the source that some purpose may still use, in order."""
    timeline = home.gate.timeline()
    known = timeline.subjects()
    reasons = timeline.judge_loading(
        pa.chunked_array([known]), source.name, data_at=None, now=home.ledger.now()
    )
    return known.filter(pc.is_null(reasons.combine_chunks()))


def _remember_asked(home: Home, source: Source, entities: pa.Table | None) -> pa.Table:
    """Every (subject_key, day) ever asked for with `entities`, sealed beside the table under the subjects' own keys.

    Else the next version would lack the rows of a training set's instants, and the same fetch would find older ones.
    """
    known = asked_days(home, source.name, source.definition)
    if entities is None:
        return known
    instants = pc.cast(pc.cast(entities["event_timestamp"], INSTANT), pa.int64())
    days = pc.subtract(pc.floor(pc.divide(pc.cast(instants, pa.float64()), DAY_US)), 1).cast(pa.int64())
    fresh = pa.table([entities["subject_key"].cast(pa.string()), days], schema=ASKED).drop_null()
    reasons = home.gate.timeline().judge_loading(
        fresh["subject_key"], source.name, data_at=None, now=home.ledger.now()
    )
    nobodys = pa.array(
        [Reason.ERASED.value, Reason.NO_GRANT.value]
    )  # of them nothing is kept, and no key made
    fresh = fresh.filter(pc.invert(pc.is_in(reasons, value_set=nobodys)))
    union = pa.concat_tables([known, fresh]).group_by(ASKED.names).aggregate([]).select(ASKED.names)
    if union.num_rows > known.num_rows:
        keep_asked_days(home, source.name, source.definition, union)
    return union


def _wanted_days(subjects: pa.Array, last_day: int, asked: pa.Table) -> pa.Table:
    """subject_key, day: the last whole day of all, and those asked for, of people who may be used."""
    newest = pa.repeat(pa.scalar(last_day, pa.int64()), len(subjects))
    table = pa.table({"subject_key": subjects, "day": newest})
    asked = asked.filter(
        pc.and_(pc.less_equal(asked["day"], last_day), pc.is_in(asked["subject_key"], value_set=subjects))
    )
    both = pa.concat_tables([table, asked])
    return (
        both.group_by(["subject_key", "day"])
        .aggregate([])
        .sort_by([("subject_key", "ascending"), ("day", "ascending")])
    )


def _chunks(subjects: pa.Array) -> list[pa.Array]:
    return [subjects[i : i + _SUBJECTS_AT_A_TIME] for i in range(0, len(subjects), _SUBJECTS_AT_A_TIME)]


def _is_in(table: pa.Table, subjects: pa.Array) -> pa.ChunkedArray:
    return pc.is_in(table["subject_key"], value_set=subjects)


def _usable_terms(home: Home, source: Source) -> list[Any]:
    """Who may be used now for what, and within which data range and life; sorted."""
    timeline, now = home.gate.timeline(), home.ledger.now()
    current = pa.concat_tables(timeline.usable_of(source.name, p, as_of=now) for p in PURPOSES)
    terms = ("subject_key", "purpose", "data_from", "data_until", "data_life")
    return sorted(zip(*(current[c].to_pylist() for c in terms), strict=True), key=str)


def _input_hash(home: Home, source: Source, definition: dict[str, Any], wanted_days: pa.Table) -> str:
    """Everything a version depends on: definition, batches, who may be used, which days were asked for."""
    batches = [f.sha256 for b in read_batches(home, source.name) for f in b.stores.values()]
    days = "".join(
        f"{s}{d};"
        for s, d in zip(*(wanted_days[c].to_pylist() for c in wanted_days.column_names), strict=True)
    )
    terms = _usable_terms(home, source)
    people = token(home.keyring.secret("feature-inputs"), days.encode(), repr(terms).encode())
    return digest(definition_hash(definition).encode(), *(b.encode() for b in batches), people)
