"""The append-only consent ledger: one SQLite file, one order, one Merkle tree over it.

Every append happens under one lock (``BEGIN IMMEDIATE``) together with the tree's new tiles and a signed
checkpoint, so that from the first entry on there is a signature over everything recorded. UPDATE and DELETE are
refused by triggers; that stops accidents. Only a checkpoint held elsewhere shows what an operator did.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from consent import merkle
from consent.clock import CLOCK_SKEW, instant, micros, now_utc
from consent.decide import decide
from consent.encoding import (
    NONCE_BYTES,
    RECORD_COLUMNS,
    commitment,
    entry,
    from_row,
    to_row,
)
from consent.errors import BadInput, Conflict, EvidenceError, IllegalTransition, Unavailable
from consent.notes import Signer, Verifier, format_checkpoint, parse_checkpoint, sign_note, verify_note
from consent.nouns import ANY, Event, Facts, Kind, Reason, Recorded
from consent.sqlite import open_sqlite, transaction

#: How far the clock may jump back before the ledger refuses to write.
MAX_CLOCK_STEP_BACK = timedelta(seconds=60)

#: Longest text an event may carry in one field.
MAX_TEXT = 300
#: Largest integer that RFC 8785 can write exactly: times up to the year 2255.
MAX_INTEGER = 2**53 - 1

_CHUNK = 30_000

metadata = sa.MetaData()

_TEXT = {"event_id", "kind", "subject_key", "source", "purpose", "channel", "origin", "actor"}
_TIME = {"effective_at", "recorded_at", "expires_at", "data_from", "data_life", "retention"}

event_table = sa.Table(
    "event",
    metadata,
    sa.Column("leaf_index", sa.Integer, primary_key=True, autoincrement=False),
    *(
        sa.Column(
            name,
            sa.BigInteger if name in _TIME else sa.Text,
            nullable=name not in _TEXT | {"effective_at", "recorded_at"},
            unique=name == "event_id",
        )
        for name in RECORD_COLUMNS
    ),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("commitment", sa.LargeBinary, nullable=False),
    sa.Index("event_subject", "subject_key", "source", "purpose", "effective_at"),
)
merkle_tile = sa.Table(
    "merkle_tile",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tile_index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)
checkpoint_table = sa.Table(
    "checkpoint",
    metadata,
    sa.Column("tree_size", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

_TRIGGERS = [
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    for table in ("event", "merkle_tile", "checkpoint")
    for verb in ("update", "delete")
] + [
    # INSERT OR REPLACE deletes without firing DELETE triggers, so inserts are guarded too.
    "CREATE TRIGGER event_dense BEFORE INSERT ON event"
    " WHEN NEW.leaf_index IS NOT (SELECT coalesce(max(leaf_index) + 1, 0) FROM event)"
    " BEGIN SELECT RAISE(ABORT, 'append-only: leaf_index must be next'); END",
    "CREATE TRIGGER event_once BEFORE INSERT ON event"
    " WHEN EXISTS (SELECT 1 FROM event WHERE event_id = NEW.event_id)"
    " BEGIN SELECT RAISE(ABORT, 'append-only: duplicate event_id'); END",
    "CREATE TRIGGER event_clock BEFORE INSERT ON event"
    " WHEN NEW.recorded_at < (SELECT recorded_at FROM event ORDER BY leaf_index DESC LIMIT 1)"
    " BEGIN SELECT RAISE(ABORT, 'append-only: recorded_at must not go back'); END",
    "CREATE TRIGGER tile_once BEFORE INSERT ON merkle_tile"
    " WHEN EXISTS (SELECT 1 FROM merkle_tile WHERE level = NEW.level AND tile_index = NEW.tile_index)"
    " BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    "CREATE TRIGGER checkpoint_grows BEFORE INSERT ON checkpoint"
    " WHEN NEW.tree_size <= (SELECT max(tree_size) FROM checkpoint)"
    " BEGIN SELECT RAISE(ABORT, 'append-only'); END",
]

_INSERT = "INSERT INTO event (leaf_index, {}, nonce, commitment) VALUES ({})".format(  # noqa: S608
    ", ".join(RECORD_COLUMNS), ", ".join("?" * (len(RECORD_COLUMNS) + 3))
)
_SELECT = "SELECT leaf_index, {}, nonce, commitment FROM event".format(", ".join(RECORD_COLUMNS))  # noqa: S608


@dataclass(frozen=True)
class Finding:
    """Something the audit found wrong. ``leaf_index`` is None where no single entry is to blame."""

    what: str
    leaf_index: int | None = None


@dataclass(frozen=True)
class AuditReport:
    """What a full replay of the ledger found.

    Attributes:
        entries: entries replayed.
        checkpoints: signed checkpoints compared with the replayed tree.
        root: root of the replayed tree; of an empty one where entries are missing.
        findings: empty when everything fits; else the first finding comes first in ledger order.
    """

    entries: int
    checkpoints: int
    root: bytes
    findings: tuple[Finding, ...]


class Ledger:
    """The consent ledger in one SQLite file.

    Use `Ledger.create` once, `Ledger.open` afterwards. Safe to use from several threads and processes.
    """

    def __init__(self, path: Path, signer: Signer, clock: Callable[[], datetime] = now_utc) -> None:
        self._path = path
        self._signer = signer
        self._clock = clock
        self._engine = open_sqlite(path)

    @classmethod
    def create(cls, path: Path, signer: Signer, clock: Callable[[], datetime] = now_utc) -> Ledger:
        """A new, empty ledger at `path`.

        Raises:
            Conflict: there is a ledger already.
        """
        if path.exists():
            raise Conflict("a ledger exists here", remedy="Open it, or choose another home.")
        path.touch(mode=0o600)
        ledger = cls(path, signer, clock)
        with ledger._connection(write=True) as connection:
            metadata.create_all(connection)
            for trigger in _TRIGGERS:
                connection.exec_driver_sql(trigger)
        return ledger

    @classmethod
    def open(cls, path: Path, signer: Signer, clock: Callable[[], datetime] = now_utc) -> Ledger:
        """The ledger at `path`.

        Raises:
            Unavailable: there is none, or it cannot be read.
        """
        if not path.exists():
            raise Unavailable("there is no consent ledger here", remedy="Run `assent init`, or check --home.")
        return cls(path, signer, clock)

    def close(self) -> None:
        """Let go of the file."""
        self._engine.dispose()

    @property
    def verifier(self) -> Verifier:
        """The public half of the key that signs this ledger's checkpoints."""
        return self._signer.verifier

    def _connection(self, *, write: bool = False) -> AbstractContextManager[sa.Connection]:
        return transaction(self._engine, "the consent ledger", write=write)

    # ------------------------------------------------------------------ reading

    def size(self) -> int:
        """Number of entries."""
        with self._connection() as connection:
            return _size(connection)

    def facts(self, subject_key: str) -> Facts:
        """Everything on record about one subject and the co-subjects of their data."""
        with self._connection() as connection:
            return _facts(connection, subject_key)

    def history(self, subject_key: str) -> list[Recorded]:
        """The subject's entries in ledger order."""
        with self._connection() as connection:
            return list(_events_of(connection, subject_key))

    def find_event(self, event_id: str) -> Recorded | None:
        """The entry with this idempotency key, if it is on record."""
        return self.find_events([event_id]).get(event_id)

    def find_events(self, event_ids: Sequence[str]) -> dict[str, Recorded]:
        """The entries with these idempotency keys, as far as they are on record."""
        with self._connection() as connection:
            return _find_events(connection, event_ids)

    def rows(self, columns: Sequence[str], *, chunk: int = 50_000) -> Iterator[list[tuple[Any, ...]]]:
        """All entries in ledger order, as chunks of plain tuples of the columns asked for."""
        unknown = set(columns) - set(RECORD_COLUMNS) - {"leaf_index"}
        assert not unknown
        with self._connection() as connection:
            result = connection.exec_driver_sql(
                f"SELECT {', '.join(columns)} FROM event ORDER BY leaf_index"  # noqa: S608
            )
            while rows := result.fetchmany(chunk):
                yield [tuple(row) for row in rows]

    def checkpoint(self) -> bytes | None:
        """The newest signed checkpoint, a C2SP signed note; None while the ledger is empty."""
        with self._connection() as connection:
            row = connection.execute(
                sa.select(checkpoint_table.c.note).order_by(checkpoint_table.c.tree_size.desc()).limit(1)
            ).first()
        return None if row is None else bytes(row[0])

    # ------------------------------------------------------------------ appending

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """Append statements, all or none, and sign a checkpoint over the result.

        Events whose ``event_id`` is on record with the same content are not appended again; their existing
        entries are returned in their place.

        Returns:
            One entry per event, in the order given.

        Raises:
            IllegalTransition: an event does not fit the state it met.
            BadInput: an event is not sound by itself; see `require_sound`.
            Conflict: an ``event_id`` is on record with other content, or the clock went back.
            Unavailable: the ledger cannot be written.
        """
        if not events:
            return []
        with self._connection(write=True) as connection:
            size = _size(connection)
            recorded_at = self._next_instant(connection, size)
            writer = _Batch(connection, size, recorded_at, events)
            entries = [writer.admit(event) for event in events]
            if writer.fresh:
                self._store(connection, size, recorded_at, writer.fresh)
        return entries

    def _next_instant(self, connection: sa.Connection, size: int) -> datetime:
        now = self._clock()
        if size == 0:
            return now
        last_us = connection.exec_driver_sql(
            "SELECT recorded_at FROM event WHERE leaf_index = ?", (size - 1,)
        ).scalar_one()
        last = instant(last_us)
        if last - now > MAX_CLOCK_STEP_BACK:
            raise Conflict(
                "the clock is more than a minute behind the ledger's last entry",
                remedy="Set the machine's clock right; entries must not be back-dated.",
            )
        return max(last, now)

    def _store(
        self, connection: sa.Connection, size: int, recorded_at: datetime, fresh: Sequence[Event]
    ) -> None:
        recorded_us = micros(recorded_at)
        nonces = os.urandom(NONCE_BYTES * len(fresh))
        rows, leaves = [], []
        for i, event in enumerate(fresh):
            record = to_row(event, recorded_us)
            nonce = nonces[NONCE_BYTES * i : NONCE_BYTES * (i + 1)]
            committed = commitment(record, nonce)
            rows.append((size + i, *record.values(), nonce, committed))
            leaves.append(merkle.leaf_hash(entry(recorded_us, committed)))
        tiles = merkle.full_tiles(_tree(connection), size, leaves)
        connection.exec_driver_sql(_INSERT, rows)
        if tiles:
            connection.exec_driver_sql(
                "INSERT INTO merkle_tile (level, tile_index, hash) VALUES (?, ?, ?)",
                [tuple(tile) for tile in tiles],
            )
        self._sign(connection, size + len(rows), recorded_us)

    def _sign(self, connection: sa.Connection, tree_size: int, created_us: int) -> None:
        root = merkle.root(_tree(connection), tree_size)
        note = sign_note(format_checkpoint(self._signer.name, tree_size, root), self._signer)
        connection.execute(
            checkpoint_table.insert().values(tree_size=tree_size, root=root, note=note, created_at=created_us)
        )

    # ------------------------------------------------------------------ proving

    def audit(self, *, on_progress: Callable[[int], None] = lambda _: None) -> AuditReport:
        """Replay everything: contents, order, clocks, tree, stored tiles and every signed checkpoint.

        Args:
            on_progress: called with the number of entries replayed so far.
        """
        with self._connection() as connection:
            replay = _Replay(self.verifier, connection)
            result = connection.exec_driver_sql(_SELECT + " ORDER BY leaf_index")
            while rows := result.fetchmany(10_000):
                for row in rows:
                    replay.feed(row)
                on_progress(replay.size)
            return replay.report()


def _size(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("SELECT coalesce(max(leaf_index) + 1, 0) FROM event").scalar_one())


def _find_events(connection: sa.Connection, event_ids: Iterable[str]) -> dict[str, Recorded]:
    rows = _select_in(connection, _SELECT + " WHERE event_id", event_ids)
    return {row.event_id: from_row(row._asdict(), row.leaf_index) for row in rows}


def _select_in(connection: sa.Connection, select: str, values: Iterable[str]) -> Iterator[sa.Row[Any]]:
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), _CHUNK):
        chunk = tuple(distinct[start : start + _CHUNK])
        yield from connection.exec_driver_sql(f"{select} IN ({','.join('?' * len(chunk))})", chunk)


def _events_of(connection: sa.Connection, subject_key: str) -> Iterator[Recorded]:
    result = connection.exec_driver_sql(
        _SELECT + " WHERE subject_key = ? ORDER BY leaf_index", (subject_key,)
    )
    return (from_row(row._asdict(), row.leaf_index) for row in result.fetchall())


def _facts(connection: sa.Connection, subject_key: str) -> Facts:
    events = tuple(_events_of(connection, subject_key))
    linked = {r.event.co_subject_key for r in events if r.event.co_subject_key}
    return Facts(events, {key: tuple(_events_of(connection, key)) for key in sorted(linked)})


def _tree(connection: sa.Connection) -> merkle.TreeReader:
    def leaves(lo: int, hi: int) -> list[bytes]:
        rows = connection.exec_driver_sql(
            "SELECT recorded_at, commitment FROM event WHERE leaf_index >= ? AND leaf_index < ?"
            " ORDER BY leaf_index",
            (lo, hi),
        )
        return [merkle.leaf_hash(entry(at, bytes(committed))) for at, committed in rows]

    def tiles(level: int, lo: int, hi: int) -> list[bytes]:
        rows = connection.exec_driver_sql(
            "SELECT hash FROM merkle_tile WHERE level = ? AND tile_index >= ? AND tile_index < ?"
            " ORDER BY tile_index",
            (level, lo, hi),
        )
        return [bytes(row[0]) for row in rows]

    return merkle.TreeReader(leaves=leaves, tiles=tiles)


class _Batch:
    """Admits events one by one against what is on record and what the batch itself has brought."""

    def __init__(
        self, connection: sa.Connection, size: int, recorded_at: datetime, events: Sequence[Event]
    ) -> None:
        self._connection = connection
        self._next = size
        self._recorded_at = recorded_at
        self._by_id = _find_events(connection, (e.event_id for e in events))
        self._grants = _grants_of(connection, (e.subject_key for e in events if e.grant))
        self._pending: dict[str, list[Recorded]] = {}
        self.fresh: list[Event] = []

    def admit(self, event: Event) -> Recorded:
        """The entry the event becomes, or already is.

        Raises:
            IllegalTransition, Conflict: it fits neither.
        """
        known = self._by_id.get(event.event_id)
        if known is not None:
            if known.event != event:
                raise Conflict(
                    "an event with this id is on record with other content",
                    remedy="Give the new event an id of its own.",
                )
            return known
        require_sound(event, self._recorded_at)
        if event.kind is Kind.WITHDRAWN:
            self._require_withdrawable(event)
        if event.grant is not None:
            self._require_new_grant(event, event.grant.grant_id)
        recorded = Recorded(self._next, self._recorded_at, event)
        self._next += 1
        self._by_id[event.event_id] = recorded
        self._pending.setdefault(event.subject_key, []).append(recorded)
        self.fresh.append(event)
        return recorded

    def _require_withdrawable(self, event: Event) -> None:
        mine = self._mine(event)
        grants = [
            r.event
            for r in mine
            if r.event.kind is Kind.GIVEN
            and event.source in (ANY, r.event.source)
            and event.purpose in (ANY, r.event.purpose)
        ]
        # In force when it was withdrawn, now, or from a later start on.
        instants = {min(event.effective_at, self._recorded_at), self._recorded_at}
        instants |= {g.effective_at for g in grants if g.effective_at > self._recorded_at}
        pairs = {(g.source, g.purpose) for g in grants}
        states = {_state(mine, *pair, at) for pair in pairs for at in instants}
        if not states - {Reason.WITHDRAWN.value, Reason.NO_GRANT.value, Reason.NOT_YET.value}:
            state = Reason.WITHDRAWN.value if Reason.WITHDRAWN.value in states else Reason.NO_GRANT.value
            raise IllegalTransition(
                f"there is nothing to withdraw: the state is {state}",
                remedy="Look at the subject's record with `assent consent show`.",
            )

    def _require_new_grant(self, event: Event, grant_id: str) -> None:
        grant = (event.subject_key, event.source, event.purpose, grant_id)
        if grant in self._grants:
            state = _state(self._mine(event), event.source, event.purpose, self._recorded_at)
            raise IllegalTransition(
                f"this grant is on record, a grant is given once: the state is {state}",
                remedy="Give a new agreement a grant_id of its own.",
            )
        self._grants.add(grant)

    def _mine(self, event: Event) -> tuple[Recorded, ...]:
        recorded = _events_of(self._connection, event.subject_key)
        return (*recorded, *self._pending.get(event.subject_key, ()))


def _grants_of(connection: sa.Connection, subject_keys: Iterable[str]) -> set[tuple[str, ...]]:
    select = (
        "SELECT subject_key, source, purpose, grant_id FROM event WHERE grant_id IS NOT NULL AND subject_key"
    )
    return {tuple(row) for row in _select_in(connection, select, subject_keys)}


def _state(events: tuple[Recorded, ...], source: str, purpose: str, as_of: datetime) -> str:
    """Where the subject's own consent stands; a co-subject's no takes nobody's right to withdraw."""
    own = tuple(r for r in events if r.event.kind is not Kind.LINKED)
    decision = decide(Facts(own), source, purpose, data_at=None, as_of=as_of)
    return "GIVEN" if decision.reason is None else decision.reason.value


def require_sound(event: Event, recorded_at: datetime) -> None:
    """What must hold of one event by itself.

    Raises:
        BadInput: it does not hold.
    """
    for name, value in to_row(event, 0).items():
        if isinstance(value, str):
            if not (0 < len(value) <= MAX_TEXT and value.isprintable()):
                raise BadInput(
                    f"{name} is empty, too long or not printable text",
                    remedy=f"Give at most {MAX_TEXT} printable characters.",
                )
        elif value is not None and abs(value) > MAX_INTEGER:
            raise BadInput(
                f"{name} is beyond the year 2255",
                remedy="Give a real date; an agreement without an end is none.",
            )
    for sound, message, remedy in _rules(event, recorded_at):
        if not sound:
            raise BadInput(message, remedy=remedy)


def _rules(event: Event, recorded_at: datetime) -> Iterator[tuple[bool, str, str]]:
    """Each rule: whether it holds, what is wrong if not, and the remedy."""
    kind, grant, other = event.kind, event.grant, event.co_subject_key
    yield (kind is Kind.GIVEN) == (grant is not None), "terms belong to a grant alone", "Mend the event."
    yield (kind is Kind.LINKED) == (other is not None), "a co-subject belongs to a link alone", "Mend it."
    yield other != event.subject_key, "a subject cannot be their own co-subject", "Mend the link."
    if kind is Kind.WITHDRAWN:
        in_time = event.effective_at <= recorded_at + CLOCK_SKEW
        yield in_time, "a withdrawal takes effect now or in the past", "Leave effective_at out."
    else:
        yield event.source != ANY, "only a withdrawal may be for every source", "Name the source."
        named = kind is Kind.LINKED or event.purpose != ANY
        yield named, "only a withdrawal may be for every purpose", "Name the purpose."
    if event.origin == "imported":
        named = event.evidence_hash is not None
        yield named, "an imported event names its evidence", "Give its evidence_hash."
    if grant is not None:
        yield grant.expires_at > event.effective_at, "the grant ends before it begins", "Check expires_at."
        yield (
            event.origin == "imported" or event.effective_at >= recorded_at - CLOCK_SKEW,
            "a grant cannot take effect before it was recorded",
            "Later consent never legalises earlier collection; `assent consent import` takes a system of record.",
        )


class _Replay:
    """Rebuilds the tree entry by entry and compares it with everything that was stored."""

    def __init__(self, verifier: Verifier, connection: sa.Connection) -> None:
        self.size = 0
        self._verifier = verifier
        self._stack: list[tuple[int, bytes]] = []  # (height, root) of the perfect subtrees so far
        self._last_recorded = 0
        self._findings: list[Finding] = []
        self._checkpoints = {
            row[0]: (_blob(row[1]), _blob(row[2]))
            for row in connection.exec_driver_sql("SELECT tree_size, root, note FROM checkpoint")
        }
        self._compared = 0
        self._signed_size = 0
        self._tiles = {
            (row[0], row[1]): _blob(row[2])
            for row in connection.exec_driver_sql("SELECT level, tile_index, hash FROM merkle_tile")
        }
        self._torn = False  # entries are missing, so the tree above them cannot be rebuilt

    def feed(self, row: sa.Row[Any]) -> None:
        """Take the next row of the ledger in order."""
        if row.leaf_index != self.size:
            self._find(f"expected entry {self.size}, got {row.leaf_index}: entries are missing", self.size)
            self.size, self._torn = row.leaf_index, True
        leaf_index, *values, nonce, committed = tuple(row)
        record = dict(zip(RECORD_COLUMNS, values, strict=True))
        try:
            sound = commitment(record, _blob(nonce)) == committed
            leaf = merkle.leaf_hash(entry(record["recorded_at"], _blob(committed)))
        except (TypeError, ValueError, AttributeError, OverflowError):  # no text, or no instant
            sound, leaf = False, merkle.EMPTY_ROOT
        if not sound:
            self._find("the entry's content does not match its commitment", leaf_index)
        elif record["recorded_at"] < self._last_recorded:
            self._find("recorded_at goes back", leaf_index)
        else:
            self._last_recorded = record["recorded_at"]
        self._push(leaf)
        self._compare_checkpoint()

    def _push(self, node: bytes) -> None:
        if self._torn:
            self.size += 1
            return
        height, index = 0, self.size
        while index & 1:
            _, left = self._stack.pop()
            node, height, index = merkle.node_hash(left, node), height + 1, index >> 1
            if height % 8 == 0:
                self._compare_tile(height // 8, index, node)
        self._stack.append((height, node))
        self.size += 1

    def _compare_tile(self, level: int, index: int, node: bytes) -> None:
        stored = self._tiles.pop((level, index), None)
        if stored != node:
            self._find(
                f"stored tile {level}/{index} does not match the entries below it", (index << 8 * level)
            )

    def _root(self) -> bytes:
        if not self._stack or self._torn:
            return merkle.EMPTY_ROOT
        root = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            root = merkle.node_hash(left, root)
        return root

    def _compare_checkpoint(self) -> None:
        stored = self._checkpoints.pop(self.size, None)
        if stored is None or self._torn:
            return
        self._compared += 1
        self._signed_size = self.size
        root, note = stored
        try:
            signed = parse_checkpoint(verify_note(note, [self._verifier]))
        except EvidenceError as error:
            self._find(f"checkpoint {self.size}: {error.message}", self.size - 1)
            return
        if (signed.tree_size, signed.root, signed.origin) != (self.size, self._root(), self._verifier.name):
            self._find(f"checkpoint {self.size} signs another tree than the entries give", self.size - 1)
        if signed.root != root:
            self._find(f"checkpoint {self.size}: stored root and signed root differ", self.size - 1)

    def _find(self, what: str, leaf_index: int | None) -> None:
        self._findings.append(Finding(what, leaf_index))

    def report(self) -> AuditReport:
        """What was found; call it after the last row."""
        beyond = sorted(size for size in self._checkpoints if size > self.size)
        if beyond:
            self._find(
                f"the log signed {beyond[-1]} entries but holds {self.size}: entries are missing", self.size
            )
        if self._tiles and not self._torn:
            self._find(f"{len(self._tiles)} stored tiles cover entries that do not exist", None)
        if not beyond and not self._torn and self._signed_size < self.size:
            self._find("no checkpoint signs the entries from here on", self._signed_size)
        return AuditReport(self.size, self._compared, self._root(), tuple(self._findings))


def _blob(value: object) -> bytes:
    """The bytes; none where somebody stored another type, so that comparing fails instead of reading."""
    return value if isinstance(value, bytes) else b""


def new_event_id() -> str:
    """A fresh idempotency key: 32 hex digits, time-ordered (UUIDv7, RFC 9562 section 5.7)."""
    stamp = micros(now_utc()) // 1000
    value = (stamp << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return f"{value:032x}"


def require_evidence(report: AuditReport) -> None:
    """Raise unless the audit found nothing.

    Raises:
        EvidenceError: names the first bad position.
    """
    if report.findings:
        first = report.findings[0]
        where = "" if first.leaf_index is None else f" at entry {first.leaf_index}"
        raise EvidenceError(
            f"the ledger does not verify{where}: {first.what} ({len(report.findings)} findings)",
            remedy="Keep the file as it is; compare it with a checkpoint and a copy held elsewhere.",
        )
