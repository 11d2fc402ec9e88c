"""Features from the vault: unseal, compute, publish as a new data version of each definition.

A version is computed from the records of people of whom, at this moment, some purpose may still use the source.
It holds one row per subject and day on which something happened, up to the last whole day before ``as_of``, and one
for that day itself. A row's timestamp is the midnight (UTC) after the last day it has seen, so no feature knows
anything later than itself, and no row is dated in the future.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from consent.catalog import PURPOSES
from consent.clock import format_instant, now_utc
from consent.errors import EvidenceError
from consent.files import exclusive, remove_partials
from consent.home import Home
from consent.nouns import Reason
from consent.sealing import digest, token
from consent.timeline import Timeline, fetch_arrow, private_duckdb
from ingestion.asked import ASKED, asked_days, keep_asked_days
from ingestion.feature_checks import FeatureChecks
from ingestion.increment import DAY_US, Basis, Standing, Term, find_basis, keep, lineage
from ingestion.runs import keep_run, new_run_id
from ingestion.source import INSTANT, Source
from ingestion.sources import definitions
from ingestion.table_files import KEY_COLUMNS
from ingestion.tables import (
    Version,
    definition_hash,
    discard_unnamed,
    publish_table,
    read_versions,
    require_same_definition,
)
from ingestion.vault import read_batch, read_batches

#: Called with (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]
#: Subjects computed at a time, so that memory does not grow with the population.
_SUBJECTS_AT_A_TIME = 50_000
_LINEAGE_COLUMNS = (("subject_key", pa.string()), ("row_number", pa.int64()), ("batch_order", pa.int64()))


@dataclass(frozen=True)
class Published:
    """What `publish` did for one definition.

    Attributes:
        fresh: false where nothing had changed.
        subjects: people that may be used.
        computed: of them, those of whom every row was computed anew.
    """

    version: Version
    fresh: bool
    subjects: int = 0
    computed: int = 0


def publish(
    home: Home,
    source_names: Sequence[str] | None = None,
    *,
    as_of: datetime | None = None,
    entities: pa.Table | None = None,
    full: bool = False,
    clock: Callable[[], datetime] = now_utc,
    on_progress: Progress = lambda *_: None,
) -> list[Published]:
    """Publish a data version of each definition's feature table; sources without any batch are left out.

    Args:
        source_names: which sources; None for all.
        as_of: every subject gets a row as of the midnight (UTC) at or before this instant, and nobody a later
            one; None: now.
        entities: ``subject_key``, ``event_timestamp``: each pair gets a row as of the midnight at or before it,
            so that a training set for these instants sees windows that end there.
        full: compute every row anew, also of people of whom nothing has changed. The result is the same.

    Returns:
        One entry per definition whose source has data; a re-run on unchanged input publishes nothing.

    Raises:
        Conflict: another job is running, or a published definition was changed.
    """
    now = clock()
    with exclusive(home.path("job.lock"), "an ingestion or publish job"):
        remove_partials(home.path("tables"))
        sources = [s for s in definitions() if source_names is None or s.name in source_names]
        sources = [s for s in sources if read_batches(home, s.name)]
        published = []
        for i, source in enumerate(sources):
            on_progress(f"publishing {source.definition}", i, len(sources))
            discard_unnamed(home, source.definition)
            job = _Job(home, source, min(as_of or now, now), now)
            published.append(job.publish(entities, full=full))
        on_progress("done", len(sources), len(sources))
        if published:
            keep_run(home, "publish", _report(published, now, clock()))
    return published


def _report(published: Sequence[Published], started: datetime, ended: datetime) -> dict[str, Any]:
    return {
        "run_id": new_run_id(started),
        "started_at": format_instant(started),
        "seconds": round((ended - started).total_seconds(), 3),
        "tables": [
            {
                "table": each.version.table,
                "version": each.version.number,
                "rows": each.version.rows,
                "subjects": each.subjects,
                "computed": each.computed,
                "fresh": each.fresh,
            }
            for each in published
        ],
    }


class _Job:
    """One publish of one definition, on what consent says at one moment."""

    def __init__(self, home: Home, source: Source, as_of: datetime, now: datetime) -> None:
        self._home = home
        self._source = source
        self._now = now
        self._timeline = home.gate.timeline()
        self._decided_at = home.ledger.now()
        self._last_day = int(as_of.timestamp()) // 86_400 - 1
        self._batches = read_batches(home, source.name)
        self._computed = 0

    def publish(self, entities: pa.Table | None, *, full: bool) -> Published:
        """A new data version, unless nothing has changed."""
        definition = describe(self._source)
        require_same_definition(self._home, self._source.definition, definition, now=self._now)
        subjects = self._usable_subjects()
        wanted = _wanted_days(subjects, self._last_day, self._remember_asked(entities))
        terms = self._terms(self._timeline, self._decided_at)
        input_hash = self._input_hash(definition, wanted, terms)
        versions = read_versions(self._home, self._source.definition)
        if versions and versions[-1].input_hash == input_hash and not full:
            return Published(versions[-1], fresh=False, subjects=len(subjects))
        basis = self._basis(versions[-1], terms) if versions and not full else None
        about = self._lineage()
        checks = FeatureChecks(self._home, self._source, versions[-1] if versions else None, self._now)

        def parts() -> Iterator[pa.Table]:
            for some in _chunks(subjects):
                yield checks.passed(self._part(some, wanted, basis))
            about["drift"] = checks.drift()

        version = publish_table(
            self._home,
            self._source.definition,
            parts(),
            definition=definition,
            input_hash=input_hash,
            lineage=about,
            now=self._now,
        )
        return Published(version, fresh=True, subjects=len(subjects), computed=self._computed)

    def _lineage(self) -> dict[str, Any]:
        checkpoint = self._home.ledger.checkpoint()
        return {
            **lineage(self._batches, self._timeline, self._decided_at, self._last_day),
            "checkpoint": checkpoint.decode() if checkpoint else None,
        }

    def _basis(self, before: Version, terms: list[Term]) -> Basis | None:
        now = Standing(self._home, self._batches, self._timeline, frozenset(terms), self._last_day)
        return find_basis(before, now, self._terms)

    def _part(self, some: pa.Array, wanted: pa.Table, basis: Basis | None) -> pa.Table:
        """The rows of some people: those that stay, and those that are computed."""
        wanted = _only(wanted, some)
        held = None if basis is None else keep(self._home, basis, some, wanted, last_day=self._last_day)
        if basis is None or held is None:
            return self._compute(some, self._events(some), wanted)
        rows, kept = held
        moved = basis.last_day < self._last_day
        events = self._stored(kept if moved else kept.filter(pc.is_in(kept, value_set=basis.aging)))
        allowed = self._allowed(events, self._timeline, self._decided_at)
        before = self._allowed(events, basis.timeline, basis.decided_at)
        changed = events.filter(pc.not_equal(allowed, before))["subject_key"].unique()
        kept = kept.filter(pc.invert(pc.is_in(kept, value_set=changed)))
        fresh = some.filter(pc.invert(pc.is_in(some, value_set=kept)))
        parts = [_only(rows, kept)]
        if len(fresh):
            parts.append(self._compute(fresh, self._events(fresh), _only(wanted, fresh)))
        if moved:
            events = _only(events.filter(allowed), kept)
            days = _only(wanted, kept)
            parts.append(
                compute_features(
                    self._source, events, days, last_day=self._last_day, first_day=basis.last_day
                )
            )
        return pa.concat_tables(parts).sort_by([(f.name, "ascending") for f in KEY_COLUMNS])

    def _compute(self, people: pa.Array, events: pa.Table, wanted: pa.Table) -> pa.Table:
        """Every row of some people."""
        self._computed += len(people)
        return compute_features(self._source, events, wanted, last_day=self._last_day)

    def _events(self, people: pa.Array) -> pa.Table:
        """The records of some people that may be used now."""
        events = self._stored(people)
        return events.filter(self._allowed(events, self._timeline, self._decided_at))

    def _stored(self, people: pa.Array) -> pa.Table:
        """All their records."""
        schema = _event_schema(self._source)
        subjects = people.to_pylist()
        stored = (read_batch(self._home, "vault", batch, subjects=subjects) for batch in self._batches)
        tables = [t.select(schema.names).cast(schema) for t in chain.from_iterable(stored)]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def _allowed(self, events: pa.Table, timeline: Timeline, at: datetime) -> pa.ChunkedArray:
        """Loaded lawfully then; a person may since have narrowed how far back, or how long, records may be used."""
        data_at = events[self._source.event_time]
        return pc.is_null(
            timeline.judge_loading(events["subject_key"], self._source.name, data_at=data_at, now=at)
        )

    def _usable_subjects(self) -> pa.Array:
        """Subjects with records of the source that some purpose may still use, in order."""
        known = self._timeline.subjects()
        reasons = self._timeline.judge_loading(
            pa.chunked_array([known]), self._source.name, data_at=None, now=self._decided_at
        )
        return known.filter(pc.is_null(reasons.combine_chunks()))

    def _terms(self, timeline: Timeline, at: datetime) -> list[Term]:
        """Who may be used at an instant for what, and within which data range and life."""
        usable = [timeline.usable_of(self._source.name, purpose, as_of=at) for purpose in PURPOSES]
        current = pa.concat_tables(usable)
        return [Term(*row) for row in zip(*(current[c].to_pylist() for c in Term._fields), strict=True)]

    def _remember_asked(self, entities: pa.Table | None) -> pa.Table:
        """Every (subject_key, day) ever asked for with `entities`, sealed beside the table under their own keys.

        Else the next version would lack the rows of a training set's instants, and the same fetch would find older
        ones.
        """
        known = asked_days(self._home, self._source.name, self._source.definition)
        if entities is None:
            return known
        instants = pc.cast(pc.cast(entities["event_timestamp"], INSTANT), pa.int64())
        days = pc.subtract(pc.floor(pc.divide(pc.cast(instants, pa.float64()), DAY_US)), 1).cast(pa.int64())
        fresh = pa.table([entities["subject_key"].cast(pa.string()), days], schema=ASKED).drop_null()
        reasons = self._timeline.judge_loading(
            fresh["subject_key"], self._source.name, data_at=None, now=self._decided_at
        )
        # Of these people nothing is kept, and no key made.
        nobodys = pa.array([Reason.ERASED.value, Reason.NO_GRANT.value])
        fresh = fresh.filter(pc.invert(pc.is_in(reasons, value_set=nobodys)))
        union = pa.concat_tables([known, fresh]).group_by(ASKED.names).aggregate([]).select(ASKED.names)
        if union.num_rows > known.num_rows:
            keep_asked_days(self._home, self._source.name, self._source.definition, union)
        return union

    def _input_hash(self, definition: dict[str, Any], wanted: pa.Table, terms: list[Term]) -> str:
        """Everything a version depends on: definition, batches, who may be used, which days were asked for."""
        batches = [f.sha256 for b in self._batches for f in b.stores.values()]
        days = "".join(
            f"{s}{d};" for s, d in zip(*(wanted[c].to_pylist() for c in wanted.column_names), strict=True)
        )
        key, about = self._home.keyring.secret("feature-inputs"), [tuple(t) for t in sorted(terms, key=str)]
        # With a limit of age, what may be used also depends on the day.
        today = self._decided_at.date() if any(t.data_life is not None for t in terms) else None
        people = token(key, days.encode(), repr((about, today)).encode())
        return digest(definition_hash(definition).encode(), *(b.encode() for b in batches), people)


def compute_features(
    source: Source, events: pa.Table, wanted_days: pa.Table, *, last_day: int, first_day: int | None = None
) -> pa.Table:
    """The source's features for every wanted day and every day of activity up to `last_day`.

    Args:
        events: the source's columns with subject_key, row_number and batch_order.
        wanted_days: subject_key, day (days since 1970-01-01 UTC); only subjects with some event count.
        first_day: only days from this one on.

    Returns:
        subject_key, event_timestamp, features; unique and sorted by the first two.
    """
    active, features = _maths(source)
    connection = private_duckdb()
    connection.register("event", events)
    connection.register("wanted_day", wanted_days)
    since = "" if first_day is None else f"WHERE day >= {first_day}"
    connection.execute(
        "CREATE TEMP TABLE spine AS SELECT DISTINCT subject_key, day FROM"  # noqa: S608
        f" (SELECT subject_key, day FROM ({active}) WHERE day <= {last_day} UNION ALL"
        "   SELECT w.subject_key, w.day FROM wanted_day w SEMI JOIN event USING (subject_key))"
        f" {since}"
    )
    spine_rows = len(fetch_arrow(connection, "FROM spine"))
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
    active, features = _maths(source)
    return {
        "definition": source.definition,
        "source": source.name,
        "event_time": source.event_time,
        "identity": list(source.identity),
        "columns": {c.name: str(c.type) for c in source.columns},
        "features": {f.name: f.dtype for f in source.features},
        "active_days": active.splitlines(),
        "compute": features.splitlines(),
    }


@lru_cache(maxsize=32)
def _maths(source: Source) -> tuple[str, str]:
    """The days of activity and the features as DuckDB SQL; to write it takes longer than to run it on few people."""
    import ibis

    events, spine = _inputs(source)
    expressions = source.active_days(events), source.compute(events, spine)
    active, features = (str(ibis.to_sql(each, dialect="duckdb")) for each in expressions)
    return active, features


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


def _only(rows: pa.Table, subjects: pa.Array) -> pa.Table:
    return rows.filter(pc.is_in(rows["subject_key"], value_set=subjects))
