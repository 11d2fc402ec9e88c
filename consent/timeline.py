"""The rules of `consent.decide` for whole tables: a relation that says, for every instant, yes or why not.

One row per (subject_key, source, purpose) and span of time; the spans of a key do not overlap and leave no hole.
``reason`` is null where the grant is usable. Gates are equi-joins on the key with the instant as a range
predicate, so a decision over millions of rows costs little more than a plain join.
"""

from __future__ import annotations

import threading
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from consent.catalog import PROHIBITED, PURPOSES, SOURCES
from consent.clock import CLOCK_SKEW, MICROSECOND, micros
from consent.errors import EvidenceError
from consent.ledger import Ledger
from consent.nouns import Reason

#: Beyond every instant.
FOREVER = 2**62

_COLUMNS: dict[str, pa.DataType] = {
    "leaf_index": pa.int64(),
    "kind": pa.string(),
    "subject_key": pa.string(),
    "source": pa.string(),
    "purpose": pa.string(),
    "effective_at": pa.int64(),
    "recorded_at": pa.int64(),
    "grant_id": pa.string(),
    "expires_at": pa.int64(),
    "data_from": pa.int64(),
    "data_life": pa.int64(),
    "co_subject_key": pa.string(),
    "origin": pa.string(),
}

_SEGMENTS = f"""
CREATE TEMP TABLE segment AS
WITH statement AS (
    SELECT * REPLACE (CASE kind WHEN 'given' THEN effective_at ELSE least(effective_at, recorded_at) END
                      AS effective_at)
    FROM known WHERE kind IN ('given', 'refused', 'withdrawn')),
key AS (SELECT DISTINCT subject_key, source, purpose FROM statement WHERE kind <> 'withdrawn'),
about AS (
    SELECT statement.* FROM statement JOIN key USING (subject_key, source, purpose)
    UNION ALL
    SELECT s.* REPLACE (key.source AS source, key.purpose AS purpose)
    FROM statement s JOIN key ON key.subject_key = s.subject_key
     AND s.source IN ('*', key.source) AND s.purpose IN ('*', key.purpose)
    WHERE s.source = '*' OR s.purpose = '*'),
standing AS (
    SELECT a.* FROM about a ANTI JOIN (SELECT * FROM about WHERE kind <> 'given') no
      ON no.subject_key = a.subject_key AND no.source = a.source AND no.purpose = a.purpose
     AND a.kind = 'given' AND no.leaf_index > a.leaf_index AND no.effective_at <= a.effective_at
     AND a.recorded_at <= no.effective_at
                          + CASE no.origin WHEN 'recorded' THEN {CLOCK_SKEW // MICROSECOND} ELSE 0 END),
folded AS (
    SELECT *, coalesce(lead(effective_at) OVER fold, {FOREVER}) AS next_at,
        row_number() OVER fold = 1 AS is_first
    FROM standing
    WINDOW fold AS (PARTITION BY subject_key, source, purpose
                    ORDER BY effective_at, kind <> 'given', leaf_index)),
span AS (
    SELECT *, effective_at AS from_at, least(coalesce(expires_at, next_at), next_at) AS until_at,
        CASE kind WHEN 'given' THEN NULL WHEN 'withdrawn' THEN 'WITHDRAWN' ELSE 'NO_GRANT' END AS reason
    FROM folded
    UNION ALL
    SELECT *, greatest(expires_at, effective_at), next_at, 'EXPIRED' FROM folded WHERE kind = 'given'
    UNION ALL
    SELECT *, -{FOREVER}, effective_at, 'NOT_YET' FROM folded WHERE is_first)
SELECT subject_key, source, purpose, from_at, until_at, reason, 'subject' AS party,
    CASE WHEN reason IS NULL OR reason = 'EXPIRED' THEN grant_id END AS grant_id,
    CASE WHEN reason IS NULL THEN data_from END AS data_from,
    CASE WHEN reason IS NULL THEN data_life END AS data_life,
    origin = 'imported' AS imported
FROM span WHERE from_at < until_at
"""  # noqa: S608

#: For data about two people: cut the subject's spans and the co-subjects' at all their boundaries; the first
#: party with a reason decides, the narrowest data range and life hold.
_LINKED = f"""
CREATE TEMP TABLE linked AS
WITH link AS (
    SELECT DISTINCT subject_key, source, co_subject_key FROM known WHERE kind = 'linked'),
own AS (
    SELECT DISTINCT s.subject_key, s.source, s.purpose FROM segment s JOIN link USING (subject_key, source)),
piece AS (
    SELECT s.subject_key, s.source, s.purpose, '' AS party_key, s.from_at, s.until_at, s.reason,
        s.grant_id, s.data_from, s.data_life, s.imported
    FROM segment s JOIN own USING (subject_key, source, purpose)
    UNION ALL
    SELECT own.subject_key, own.source, own.purpose, link.co_subject_key,
        coalesce(s.from_at, -{FOREVER}), coalesce(s.until_at, {FOREVER}),
        CASE WHEN s.subject_key IS NOT NULL THEN s.reason
             WHEN EXISTS (SELECT 1 FROM given g WHERE g.subject_key = link.co_subject_key
                          AND g.source = own.source) THEN 'PURPOSE'
             WHEN EXISTS (SELECT 1 FROM given g WHERE g.subject_key = link.co_subject_key
                          AND g.purpose = own.purpose) THEN 'SOURCE'
             ELSE 'NO_GRANT' END,
        NULL, s.data_from, s.data_life, NULL
    FROM own JOIN link USING (subject_key, source)
    LEFT JOIN segment s ON s.subject_key = link.co_subject_key
     AND s.source = own.source AND s.purpose = own.purpose),
edge AS (
    SELECT DISTINCT subject_key, source, purpose, unnest([from_at, until_at]) AS edge_at FROM piece),
cut AS (
    SELECT *, lead(edge_at) OVER (PARTITION BY subject_key, source, purpose ORDER BY edge_at) AS until_at FROM edge)
SELECT c.subject_key, c.source, c.purpose, c.edge_at AS from_at, c.until_at,
    arg_min(p.reason, p.party_key) FILTER (p.reason IS NOT NULL) AS reason,
    CASE WHEN coalesce(min(p.party_key) FILTER (p.reason IS NOT NULL), '') = ''
         THEN 'subject' ELSE 'co_subject' END AS party,
    CASE WHEN party = 'subject' THEN max(p.grant_id) FILTER (p.party_key = '') END AS grant_id,
    max(p.data_from) AS data_from, min(p.data_life) AS data_life,
    bool_or(p.imported) FILTER (p.party_key = '') AS imported
FROM cut c JOIN piece p ON p.subject_key = c.subject_key AND p.source = c.source AND p.purpose = c.purpose
 AND p.from_at <= c.edge_at AND p.until_at >= c.until_at
WHERE c.until_at IS NOT NULL
GROUP BY ALL
"""  # noqa: S608

_TIMELINE = """
SELECT * FROM segment WHERE (subject_key, source) NOT IN (SELECT (subject_key, source) FROM linked)
UNION ALL BY NAME SELECT * FROM linked
"""

_JUDGE = """
SELECT CASE
    WHEN t.subject_key IS NULL THEN CASE
        WHEN s.subject_key IS NOT NULL THEN 'PURPOSE'
        WHEN p.subject_key IS NOT NULL THEN 'SOURCE'
        ELSE 'NO_GRANT' END
    WHEN t.reason IS NOT NULL THEN t.reason
    WHEN r.data_at < t.data_from THEN 'DATA_RANGE'
    WHEN r.as_of - r.data_at >= t.data_life THEN 'DATA_LIFE'
    END AS reason
FROM row r
LEFT JOIN (SELECT * FROM timeline WHERE source = $source AND purpose = $purpose) t
    ON t.subject_key = r.subject_key AND r.as_of >= t.from_at AND r.as_of < t.until_at
LEFT JOIN (SELECT DISTINCT subject_key FROM given WHERE source = $source) s ON s.subject_key = r.subject_key
LEFT JOIN (SELECT DISTINCT subject_key FROM given WHERE purpose = $purpose) p ON p.subject_key = r.subject_key
ORDER BY r.position
"""

#: For loading, any purpose will do; of several refusals the one nearest to a yes is reported.
_NEARNESS = [
    Reason.DATA_RANGE,
    Reason.DATA_LIFE,
    Reason.PAUSED,
    Reason.EXPIRED,
    Reason.WITHDRAWN,
    Reason.NOT_YET,
    Reason.SOURCE,
    Reason.NO_GRANT,
    Reason.PURPOSE,
]


class Timeline:
    """What consent says at every instant, on the knowledge of one moment.

    Attributes:
        ledger_size: entries of the ledger it was folded from.
        segments: one row per key and span: subject_key, source, purpose, from_at and until_at (microseconds,
            half open), reason (null: usable), party, grant_id, data_from, data_life (microseconds), imported.
    """

    def __init__(self, events: pa.Table, *, known_at: datetime | None = None) -> None:
        """Fold the events known at `known_at`; None: everything on record."""
        self.ledger_size = events.num_rows
        connection = private_duckdb()
        connection.register("event", events)
        connection.execute(
            "CREATE TEMP TABLE known AS SELECT * FROM event WHERE recorded_at <= $known_at",
            {"known_at": FOREVER if known_at is None else micros(known_at)},
        )
        connection.execute(
            "CREATE TEMP TABLE given AS"
            " SELECT DISTINCT subject_key, source, purpose FROM known WHERE kind = 'given'"
        )
        connection.execute(_SEGMENTS)
        connection.execute(_LINKED)
        self.segments: pa.Table = fetch_arrow(connection, _TIMELINE)
        self._given: pa.Table = fetch_arrow(connection, "FROM given")
        connection.close()

    def usable(self) -> pa.Table:
        """The usable intervals: subject_key, source, purpose, usable_from, usable_until, data_from, grant_id.

        They do not overlap within a key. Times are microseconds, UTC; intervals are half open.
        """
        granted = self.segments.filter(pc.is_null(self.segments["reason"]))
        columns = [
            "subject_key",
            "source",
            "purpose",
            "from_at",
            "until_at",
            "data_from",
            "data_life",
            "grant_id",
        ]
        renamed = granted.select(columns).rename_columns(
            [
                "subject_key",
                "source",
                "purpose",
                "usable_from",
                "usable_until",
                "data_from",
                "data_life",
                "grant_id",
            ]
        )
        return renamed.sort_by(
            [(c, "ascending") for c in ("subject_key", "source", "purpose", "usable_from")]
        )

    def judge(
        self,
        subject_key: pa.ChunkedArray,
        source: str,
        purpose: str,
        *,
        data_at: pa.ChunkedArray | None,
        as_of: pa.ChunkedArray | datetime,
    ) -> pa.ChunkedArray:
        """`consent.decide` for every row.

        Args:
            subject_key: strings; null is a subject nobody knows.
            data_at: the record's own date per row, timestamps; a null date cannot be checked and is refused.
                None for the whole argument asks about the consent alone.
            as_of: the instant the question is about, one for all or one per row.

        Returns:
            Reason codes as strings, null where allowed; as many and in the order of the rows.

        Raises:
            EvidenceError: the number of answers is not the number of rows.
        """
        rows = len(subject_key)
        if source in PROHIBITED:
            return _all(Reason.PROHIBITED, rows)
        if source not in SOURCES or purpose not in PURPOSES:
            return _all(Reason.UNKNOWN, rows)
        dates = pa.nulls(rows, pa.int64()) if data_at is None else _as_micros(data_at)
        instants = (
            pa.repeat(pa.scalar(micros(as_of)), rows) if isinstance(as_of, datetime) else _as_micros(as_of)
        )
        connection = private_duckdb()
        connection.register("timeline", self.segments)
        connection.register("given", self._given)
        connection.register(
            "row",
            pa.table(
                {
                    "position": pa.array(range(rows), pa.int64()),
                    "subject_key": subject_key,
                    "data_at": dates,
                    "as_of": instants,
                }
            ),
        )
        reasons = fetch_arrow(connection, _JUDGE, {"source": source, "purpose": purpose})["reason"]
        connection.close()
        if len(reasons) != rows:
            raise EvidenceError("consent spans overlap", remedy="Run `assent log audit`.")
        undated = pc.and_(pc.is_null(dates), data_at is not None)
        unknown = pc.or_(pc.is_null(instants), pc.and_(undated, pc.is_null(reasons)))
        return pc.if_else(unknown, Reason.UNKNOWN.value, reasons)

    def judge_loading(
        self, subject_key: pa.ChunkedArray, source: str, *, data_at: pa.ChunkedArray | None, now: datetime
    ) -> pa.ChunkedArray:
        """May each record be loaded: some purpose's grant is usable now and reaches back far enough.

        Returns:
            Reason codes as strings, null where the record may be loaded.
        """
        if source in PROHIBITED:
            return _all(Reason.PROHIBITED, len(subject_key))
        nearest: pa.ChunkedArray | None = None
        for purpose in PURPOSES:
            reasons = self.judge(subject_key, source, purpose, data_at=data_at, as_of=now)
            rank = pc.index_in(reasons, value_set=pa.array([r.value for r in _NEARNESS]))
            rank = pc.if_else(pc.is_null(reasons), -1, pc.fill_null(rank, len(_NEARNESS)))
            nearest = rank if nearest is None else pc.min_element_wise(nearest, rank)
        names = pa.array([r.value for r in _NEARNESS] + [Reason.UNKNOWN.value])
        assert nearest is not None
        return pc.take(names, pc.if_else(pc.equal(nearest, -1), pa.scalar(None, pa.int32()), nearest))


class Gate:
    """The ledger's timeline, folded anew whenever the ledger has grown."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._timeline: Timeline | None = None
        self._pinned: bytes | None = None

    def timeline(self) -> Timeline:
        """What consent says on everything that is on record at this moment."""
        with self._lock:
            # The newest checkpoint pins every entry: the same note, the same ledger.
            pinned = self._ledger.checkpoint()
            cached = self._timeline
            if cached is None or self._pinned != pinned:
                cached = self._timeline = Timeline(read_events(self._ledger))
                self._pinned = pinned
            return cached


def read_events(ledger: Ledger) -> pa.Table:
    """The columns of the ledger that decide, as Arrow; one row per entry, in order."""
    schema = pa.schema(list(_COLUMNS.items()))
    batches = [
        pa.record_batch(
            [pa.array(c, t) for c, t in zip(zip(*rows, strict=True), _COLUMNS.values(), strict=True)],
            schema=schema,
        )
        for rows in ledger.rows(tuple(_COLUMNS))
    ]
    return pa.Table.from_batches(batches, schema=schema)


def private_duckdb(*, threads: int = 2) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB that never writes to disk: a spill file would hold personal data in clear."""
    connection = duckdb.connect(":memory:")
    connection.execute("SET temp_directory = ''")
    connection.execute(f"SET threads = {int(threads)}")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def fetch_arrow(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, object] | None = None
) -> pa.Table:
    """The whole result of a query."""
    return connection.sql(query, params=parameters or None).to_arrow_table()


def _as_micros(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(pc.cast(instants, pa.timestamp("us", tz="UTC")), pa.int64())


def _all(reason: Reason, rows: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.repeat(pa.scalar(reason.value), rows)])
