"""The rules of `consent.decide` for whole tables: a relation that says, for every instant, yes or why not.

What decides in the ledger's entries is kept packed in a private DuckDB (`Book`). A `Timeline` is what was known at
one moment; it folds a source and purpose into spans when somebody asks about it (`consent.fold`). Gates are
equi-joins on the subject key with the instant as a range predicate, so a decision over millions of rows costs little
more than a plain join.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from consent import fold
from consent.catalog import PROHIBITED, PURPOSES, SOURCES
from consent.clock import micros
from consent.errors import EvidenceError
from consent.fold import FOREVER
from consent.head import Head
from consent.ledger import Ledger
from consent.nouns import ANY, Kind, Reason

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
    "data_until": pa.int64(),
    "data_life": pa.int64(),
    "co_subject_key": pa.string(),
    "hold_id": pa.string(),
    "origin": pa.string(),
}
_SCHEMA = pa.schema(list(_COLUMNS.items()))

#: For loading, any purpose will do; of several refusals the one nearest to a yes is reported.
_NEARNESS = [
    Reason.DATA_RANGE,
    Reason.DATA_LIFE,
    Reason.PAUSED,
    Reason.RESTRICTED,
    Reason.EXPIRED,
    Reason.SUPERSEDED,
    Reason.WITHDRAWN,
    Reason.REVOKED,
    Reason.INVALIDATED,
    Reason.NOT_YET,
    Reason.SOURCE,
    Reason.NO_GRANT,
    Reason.PURPOSE,
    Reason.ERASED,
    Reason.UNKNOWN,
]
_NEAREST_FIRST = [r.value for r in _NEARNESS]
_REASONS = [r.value for r in Reason]
#: So many spans, of about 130 bytes each, are kept folded.
_MOST_SPANS = 5_000_000
_ALLOWED, _NO_SPAN, _UNANSWERED = -1, -2, -3

#: What is held against a record's own date, by the column of the span that limits it.
_LIMITS = {
    "data_from": ("r.data_at < t.data_from", Reason.DATA_RANGE),
    "data_until": ("r.data_at >= t.data_until", Reason.DATA_RANGE),
    "data_life": ("{as_of} - r.data_at >= t.data_life", Reason.DATA_LIFE),
}


def _judge_sql(spans: str, limits: Iterable[str], *, at_once: bool) -> str:
    """Position and code of every row of ``asked``.

    Args:
        limits: columns of the spans that limit a record's date, in the order of their reasons.
        at_once: one instant, $latest, for all: there is one span of it for each person, so the key alone joins.
    """
    as_of = "$latest" if at_once else "r.as_of"
    cases = "".join(
        f"WHEN {_LIMITS[name][0].format(as_of=as_of)} THEN {_REASONS.index(_LIMITS[name][1])} "
        for name in limits
    )
    columns = ", ".join(("subject_key", "from_at", "until_at", *limits))
    during = "" if at_once else "AND r.as_of >= t.from_at AND r.as_of < t.until_at"
    return f"""
        SELECT r.position, CASE WHEN t.subject_key IS NULL THEN {_NO_SPAN}
            WHEN t.code IS NOT NULL THEN t.code {cases} ELSE {_ALLOWED} END::TINYINT AS code
        FROM asked r LEFT JOIN (
            SELECT {columns}, enum_code(reason)::TINYINT AS code FROM {spans}
            WHERE from_at <= $latest AND until_at > $earliest) t
        ON t.subject_key = r.subject_key {during}
    """  # noqa: S608


#: Those to close before the interpreter ends: the engine complains about what is left open.
_BOOKS: weakref.WeakSet[Book] = weakref.WeakSet()


@atexit.register
def _close_books() -> None:
    for book in list(_BOOKS):
        book.connection.close()
        del book.connection


class Book:
    """What decides in the ledger's entries, as a packed table that grows with the ledger.

    Attributes:
        size: entries of the ledger that were read.
    """

    def __init__(self) -> None:
        self.size = 0
        self.connection = private_duckdb()
        self.connection.execute("ATTACH ':memory:' AS book (COMPRESS)")
        self.connection.execute("USE book")
        for statement in (*fold.TYPES, fold.EVENT, fold.NAME):
            self.connection.execute(statement)
        self.numbers = itertools.count()
        _BOOKS.add(self)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the book, for one question; several threads may ask at a time."""
        cursor = self.connection.cursor()
        cursor.execute("USE book")
        return cursor

    def add(self, batches: Iterable[pa.Table | pa.RecordBatch]) -> None:
        """Take the entries that follow, as `read_events` gives them."""
        for batch in batches:
            self.connection.register("batch", batch)
            try:
                self.connection.execute(fold.LOAD)
                self.connection.execute(fold.LOAD_NAMES)
            except duckdb.Error:  # its text quotes what it could not read
                raise _nonsense() from None
            finally:
                self.connection.unregister("batch")
            self.size += batch.num_rows


class Folded:
    """A table of the book that goes when nobody needs it any more: hold it while its name is in use."""

    def __init__(self, book: Book, kind: str) -> None:
        self.name = f"{kind}_{next(book.numbers)}"
        self._book = book
        weakref.finalize(self, _drop, weakref.ref(book), self.name).atexit = False

    @cached_property
    def limits(self) -> tuple[str, ...]:
        """Of a table of spans: the limits on a record's date that any of them has."""
        counts = ", ".join(f"count({name})" for name in _LIMITS)
        found = self._book.cursor().execute(f"SELECT {counts} FROM {self.name}").fetchone()  # noqa: S608
        assert found is not None
        return tuple(name for name, number in zip(_LIMITS, found, strict=True) if number)

    def rows(self) -> int:
        """Number of rows."""
        counted = self._book.cursor().execute(f"SELECT count(*) FROM {self.name}").fetchone()  # noqa: S608
        assert counted is not None
        return int(counted[0])


def _drop(book: weakref.ref[Book], name: str) -> None:
    alive = book()
    if alive is not None:
        with contextlib.suppress(duckdb.Error):  # it is closed
            alive.cursor().execute(f"DROP TABLE IF EXISTS {name}")


class Timeline:
    """What consent says at every instant, on the knowledge of one moment. Safe to use from several threads.

    Attributes:
        ledger_size: entries of the ledger it was folded from.
    """

    def __init__(self, events: pa.Table | Book, *, known_at: datetime | None = None) -> None:
        """The entries so far; of these, what was known at `known_at`. None: everything on record."""
        if isinstance(events, Book):
            self._book = events
        else:
            self._book = Book()
            self._book.add([events])
        self.ledger_size = self._book.size
        self._known_at = FOREVER if known_at is None else micros(known_at)
        self._lock = threading.RLock()
        self._restricted: dict[str, Folded] = {}
        self._spans: OrderedDict[tuple[str, str], Folded] = OrderedDict()

    def known(self, known_at: datetime) -> Timeline:
        """The same entries, as far as they were known at an earlier moment."""
        earlier = Timeline(self._book, known_at=known_at)
        earlier.ledger_size = self.ledger_size
        return earlier

    def of_size(self, ledger_size: int) -> Timeline:
        """What the first so many entries say: the knowledge of whoever read the ledger when it held no more."""
        smaller = Timeline(self._book)
        smaller.ledger_size = min(ledger_size, self.ledger_size)
        return smaller

    def grown(self, touched: Collection[tuple[str, str]]) -> Timeline:
        """What consent says after the book has grown by entries about these sources and purposes."""
        later = Timeline(self._book)
        with self._lock:
            later._restricted = {
                source: table
                for source, table in self._restricted.items()
                if not any(s in (source, ANY) for s, _ in touched)
            }
            later._spans = OrderedDict(
                ((source, purpose), table)
                for (source, purpose), table in self._spans.items()
                if not any(s in (source, ANY) and p in (purpose, ANY) for s, p in touched)
            )
        return later

    # ------------------------------------------------------------------ folding

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own to the packed entries (``event``, see `consent.fold`), for one question."""
        return self._book.cursor()

    @property
    def knowledge(self) -> dict[str, int]:
        """What bounds the entries that count: parameters ``size`` and ``known_at`` of a question."""
        return {"size": self.ledger_size, "known_at": self._known_at}

    def fold(self, source: str, purpose: str) -> Folded:
        """The spans of a source and purpose."""
        with self._lock:
            if (source, purpose) not in self._spans:
                self._make_room()
                restricted = self._fold_restricted(source)
                own, spans = Folded(self._book, "own"), Folded(self._book, "spans")
                about = {"source": source, "purpose": purpose}
                self._run(fold.OWN.format(table=own.name), **about)
                self._run(
                    fold.SPANS.format(table=spans.name, own=own.name, restricted=restricted.name), **about
                )
                del own
                self._spans[source, purpose] = spans
            self._spans.move_to_end((source, purpose))
            return self._spans[source, purpose]

    def _make_room(self) -> None:
        """Before another pair is folded: where there are very many spans, let go of those unused for the longest."""
        sizes = [table.rows() for table in self._spans.values()]
        while sizes and sum(sizes) + max(sizes) > _MOST_SPANS:
            self._spans.popitem(last=False)
            del sizes[0]

    def _fold_restricted(self, source: str) -> Folded:
        with self._lock:
            if source not in self._restricted:
                table = Folded(self._book, "restricted")
                self._run(fold.RESTRICTED.format(table=table.name), source=source)
                self._restricted[source] = table
            return self._restricted[source]

    def _run(self, sql: str, **parameters: object) -> None:
        wanted = {k: v for k, v in (self.knowledge | parameters).items() if f"${k}" in sql}
        self._book.cursor().execute(sql, wanted)

    # ------------------------------------------------------------------ looking

    def spans(self, source: str, purpose: str) -> pa.Table:
        """Everybody's spans for a source and purpose of the catalog, in no particular order.

        Returns:
            One row per person and span: subject_key, source, purpose, from_at and until_at (microseconds, half
            open), reason (null: usable), party, grant_id, data_from, data_until, data_life (microseconds), imported.
        """
        spans = self.fold(source, purpose)
        return fetch_arrow(
            self._book.cursor(),
            f"""SELECT subject_key, $source AS source, $purpose AS purpose, from_at, until_at,
                reason::VARCHAR AS reason, party, {fold.GRANT_ID} AS grant_id, s.data_from, s.data_until, s.data_life,
                s.imported
            FROM {spans.name} s LEFT JOIN event e ON e.leaf_index = s.grant_index
            LEFT JOIN name n ON n.leaf_index = s.grant_index""",  # noqa: S608
            {"source": source, "purpose": purpose},
        )

    @property
    def segments(self) -> pa.Table:
        """The spans of every source and purpose."""
        return pa.concat_tables(self.spans(s, p) for s in SOURCES for p in PURPOSES)

    def subjects(self) -> pa.Array:
        """Everybody of whom a yes or a no is on record, in order of their keys."""
        rows = fetch_arrow(
            self._book.cursor(),
            f"""SELECT DISTINCT {fold.KEY.format("subject")} AS subject_key FROM event
            WHERE kind IN ('given', 'refused') AND leaf_index < $size AND recorded_at <= $known_at
            ORDER BY subject_key""",  # noqa: S608
            {"size": self.ledger_size, "known_at": self._known_at},
        )
        return rows["subject_key"].combine_chunks()

    def recorded_between(self, after: datetime, until: datetime) -> pa.Table:
        """Kind and subject_key of the entries recorded after one moment and up to another, in order."""
        return fetch_arrow(
            self._book.cursor(),
            f"""SELECT kind::VARCHAR AS kind, {fold.KEY.format("subject")} AS subject_key FROM event
            WHERE leaf_index < $size AND recorded_at > $after AND recorded_at <= $until ORDER BY leaf_index""",  # noqa: S608
            {"size": self.ledger_size, "after": micros(after), "until": micros(until)},
        )

    def spans_of(
        self, source: str, purpose: str, subject_keys: pa.ChunkedArray
    ) -> dict[str, list[tuple[int, int, str]]]:
        """The spans of some people and of those whose data is about them too: from_at, until_at, and the reason.

        GIVEN stands where there is none. People about whom nothing is on record are left out.
        """
        cursor = self._book.cursor()
        spans = self.fold(source, purpose)
        cursor.register("wanted", pa.table({"subject_key": pc.unique(subject_keys)}))
        rows = cursor.execute(
            f"""WITH direct AS (SELECT subject_key::UUID AS subject FROM wanted),
            people AS (
                SELECT subject FROM direct
                UNION SELECT e.subject FROM event e JOIN direct d ON e.co_subject = d.subject)
            SELECT subject_key, from_at, until_at, coalesce(reason::VARCHAR, 'GIVEN')
            FROM {spans.name}
            WHERE subject_key IN (SELECT {fold.KEY.format("subject")} FROM people)
            ORDER BY subject_key, from_at""",  # noqa: S608
        ).fetchall()
        found: dict[str, list[tuple[int, int, str]]] = {}
        for subject_key, *span in rows:
            found.setdefault(subject_key, []).append((span[0], span[1], span[2]))
        return found

    def usable(self) -> pa.Table:
        """The usable intervals: subject_key, source, purpose, usable_from, usable_until, data_from, grant_id, ...

        They do not overlap within a key. Times are microseconds, UTC; intervals are half open.
        """
        return pa.concat_tables(self.usable_of(s, p) for s in sorted(SOURCES) for p in sorted(PURPOSES))

    def usable_of(self, source: str, purpose: str, *, as_of: datetime | None = None) -> pa.Table:
        """`usable` for one source and purpose, in order; of one instant only, if it is named."""
        spans = self.fold(source, purpose)
        during = "" if as_of is None else f"AND from_at <= {micros(as_of)} AND until_at > {micros(as_of)}"
        return fetch_arrow(
            self._book.cursor(),
            f"""SELECT subject_key, $source AS source, $purpose AS purpose, from_at AS usable_from,
                until_at AS usable_until, s.data_from, s.data_until, s.data_life, {fold.GRANT_ID} AS grant_id,
                s.imported
            FROM {spans.name} s JOIN event e ON e.leaf_index = s.grant_index
            LEFT JOIN name n ON n.leaf_index = s.grant_index
            WHERE reason IS NULL {during} ORDER BY subject_key, from_at""",  # noqa: S608
            {"source": source, "purpose": purpose},
        )

    # ------------------------------------------------------------------ judging

    def judge(
        self,
        subject_key: pa.ChunkedArray,
        source: str,
        purpose: str,
        *,
        data_at: pa.ChunkedArray | None,
        as_of: pa.ChunkedArray | datetime,
        derived: bool = False,
    ) -> pa.ChunkedArray:
        """`consent.decide` for every row.

        Args:
            subject_key: strings; null is a subject nobody knows.
            data_at: the record's own date per row, timestamps; a null date cannot be checked and is refused.
                None for the whole argument asks about the consent alone.
            as_of: the instant the question is about, one for all or one per row.
            derived: see `consent.decide.decide`.

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
        if not rows:
            return pa.chunked_array([pa.array([], pa.string())])
        asked = _asked(subject_key, data_at, as_of)
        reasons = self._answers(asked, as_of, source, purpose, derived=derived)
        if "data_at" in asked.column_names and asked["data_at"].null_count:
            undated = pc.and_(pc.is_null(asked["data_at"]), pc.is_null(reasons))
            reasons = pc.if_else(undated.combine_chunks(), Reason.UNKNOWN.value, reasons)
        if "as_of" in asked.column_names and asked["as_of"].null_count:
            timeless = pc.is_null(asked["as_of"]).combine_chunks()
            reasons = pc.if_else(timeless, Reason.UNKNOWN.value, reasons)
        return pa.chunked_array([reasons])

    def _answers(
        self, asked: pa.Table, as_of: pa.ChunkedArray | datetime, source: str, purpose: str, *, derived: bool
    ) -> pa.Array:
        at_once = isinstance(as_of, datetime)
        earliest, latest = (micros(as_of),) * 2 if isinstance(as_of, datetime) else _range(asked["as_of"])
        cursor = self._book.cursor()
        cursor.register("asked", asked)
        spans = self.fold(source, purpose)
        dated = "data_at" in asked.column_names
        limits = [name for name in spans.limits if dated and not (derived and name == "data_until")]
        sql = _judge_sql(spans.name, limits, at_once=at_once)
        found = fetch_arrow(cursor, sql, {"earliest": earliest, "latest": latest})
        codes = _by_position(found, asked.num_rows)
        missing = np.flatnonzero(codes == _NO_SPAN)
        if len(missing):
            misses = asked.take(pa.array(missing))
            if at_once:
                misses = misses.append_column("as_of", pa.array([latest] * len(missing), pa.int64()))
            codes[missing] = self._misses(cursor, misses, source, purpose)
        if (codes < _ALLOWED).any():
            raise _overlap()
        return pa.DictionaryArray.from_arrays(
            pa.array(codes, mask=codes == _ALLOWED), pa.array(_REASONS)
        ).cast(pa.string())

    def _misses(self, cursor: duckdb.DuckDBPyConnection, asked: pa.Table, source: str, purpose: str) -> Any:
        numbered = asked.set_column(0, "position", pa.array(np.arange(asked.num_rows)))
        cursor.register("miss", numbered)
        restricted = self._fold_restricted(source)
        parameters: dict[str, object] = {**self.knowledge, "source": source, "purpose": purpose}
        found = fetch_arrow(cursor, fold.MISSES.format(restricted=restricted.name), parameters)
        codes = pc.index_in(found["reason"], value_set=pa.array(_REASONS)).cast(pa.int8())
        return _by_position(pa.table({"position": found["position"], "code": codes}), asked.num_rows)

    def judge_loading(
        self,
        subject_key: pa.ChunkedArray,
        source: str,
        *,
        data_at: pa.ChunkedArray | None,
        now: datetime,
        derived: bool = False,
    ) -> pa.ChunkedArray:
        """May each record be loaded: some purpose's grant is usable now and reaches to its date.

        Returns:
            Reason codes as strings, null where the record may be loaded.
        """
        if source in PROHIBITED:
            return _all(Reason.PROHIBITED, len(subject_key))
        nearest = np.full(len(subject_key), len(_NEARNESS))
        for purpose in self._commonest_first(source):
            refused = np.flatnonzero(nearest >= 0)  # what one purpose allows, no other need be asked about
            if not len(refused):
                break
            whole = len(refused) == len(nearest)
            keys, dates = (
                column if column is None or whole else column.take(pa.array(refused))
                for column in (subject_key, data_at)
            )
            reasons = self.judge(keys, source, purpose, data_at=dates, as_of=now, derived=derived)
            nearest[refused] = np.minimum(nearest[refused], _nearness(reasons))
        codes = pa.array(nearest, pa.int32(), mask=nearest < 0)
        return pa.chunked_array(
            [pa.array(_NEAREST_FIRST).take(pc.min_element_wise(codes, len(_NEARNESS) - 1, skip_nulls=False))]
        )

    def _commonest_first(self, source: str) -> list[str]:
        """The purposes, the one with the most spans of the source first: it answers for the most rows."""
        if source not in SOURCES:
            return list(PURPOSES)
        return sorted(PURPOSES, key=lambda purpose: -self.fold(source, purpose).rows())


def _nearness(reasons: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """How far each answer is from a yes: -1 is one."""
    rank = pc.fill_null(pc.index_in(reasons, value_set=pa.array(_NEAREST_FIRST)), len(_NEARNESS) - 1)
    return np.asarray(pc.if_else(pc.is_null(reasons), -1, rank), np.int64)


class Gate:
    """The ledger's timeline, brought up to date whenever the ledger has grown."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._book = Book()
        self._timeline: Timeline | None = None
        self._head: Head | None = None

    def timeline(self) -> Timeline:
        """What consent says on everything that is on record at this moment."""
        with self._lock:
            head = self._ledger.head()
            if self._timeline is None or self._head != head:
                before, self._timeline = self._timeline, None  # if this fails, the book may be half extended
                self._timeline = self._extend(before, head) or self._read_anew(head)
                self._head = head
            return self._timeline

    def _extend(self, before: Timeline | None, head: Head) -> Timeline | None:
        """The timeline with the entries that are new; None where more than that has changed."""
        if before is None or self._head is None or not self._ledger.holds(self._head):
            return None
        touched: set[tuple[str, str]] = set()
        for batch in read_events(self._ledger, self._book.size, head.tree_size):
            about = batch.select(["kind", "source", "purpose"]).to_pylist()
            if any(row["kind"] in (None, Kind.ERASED) for row in about):
                return None
            touched |= {(row["source"], row["purpose"]) for row in about}
            self._book.add([batch])
        return before.grown(touched)

    def _read_anew(self, head: Head) -> Timeline:
        self._book = Book()
        self._book.add(read_events(self._ledger, 0, head.tree_size))
        return Timeline(self._book)


def read_events(ledger: Ledger, lo: int, hi: int) -> Iterator[pa.RecordBatch]:
    """What decides in the entries ``[lo, hi)``, as Arrow; one row per entry, in order."""
    for rows in ledger.rows(tuple(_COLUMNS), lo, hi):
        columns = zip(zip(*rows, strict=True), _COLUMNS.values(), strict=True)
        try:
            yield pa.record_batch([pa.array(c, t) for c, t in columns], schema=_SCHEMA)
        except (pa.ArrowException, TypeError, OverflowError):  # their text quotes what they could not read
            raise _nonsense() from None


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


def _asked(
    subject_key: pa.ChunkedArray, data_at: pa.ChunkedArray | None, as_of: pa.ChunkedArray | datetime
) -> pa.Table:
    rows = len(subject_key)
    columns = {
        "position": pa.array(np.arange(rows, dtype=np.uint32)),
        "subject_key": subject_key,
    }
    if data_at is not None:
        columns["data_at"] = _as_micros(data_at)
    if not isinstance(as_of, datetime):
        columns["as_of"] = _as_micros(as_of)
    return pa.table(columns)


def _range(instants: pa.ChunkedArray) -> tuple[int, int]:
    extremes = pc.min_max(instants)
    earliest, latest = extremes["min"].as_py(), extremes["max"].as_py()
    return (0, 0) if earliest is None else (earliest, latest)


def _by_position(found: pa.Table, rows: int) -> Any:
    """The codes in the order of the rows.

    Raises:
        EvidenceError: a row has no answer, or two.
    """
    if found.num_rows != rows:
        raise _overlap()
    position, code = found["position"].to_numpy(), found["code"].to_numpy()
    if (position == np.arange(rows, dtype=position.dtype)).all():  # the join has kept the order
        return code.copy()
    codes = np.full(rows, _UNANSWERED, np.int8)
    codes[position] = code
    if (codes == _UNANSWERED).any():
        raise _overlap()
    return codes


def _nonsense() -> EvidenceError:
    return EvidenceError("the ledger holds what no event can say", remedy="Run `assent log audit`.")


def _overlap() -> EvidenceError:
    return EvidenceError("consent spans overlap or leave a hole", remedy="Run `assent log audit`.")


def _as_micros(instants: pa.ChunkedArray) -> pa.ChunkedArray:
    in_micros = instants if instants.type in _MICROS else pc.cast(instants, _MICROS[0])
    return pa.chunked_array(
        [chunk.view(pa.int64()) for chunk in pa.chunked_array(in_micros).chunks], pa.int64()
    )


_MICROS = (pa.timestamp("us", tz="UTC"), pa.timestamp("us", tz="Etc/UTC"))


def _all(reason: Reason, rows: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.repeat(pa.scalar(reason.value), rows)])
