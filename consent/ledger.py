"""The append-only consent ledger: one order, one Merkle tree over it, on SQLite or PostgreSQL.

Every append happens under one lock, together with the tree's new tiles; callers that append at the same moment share
a transaction (`consent.writer`). What is durable is noted in the anchor, outside the database. A checkpoint is signed
when somebody asks for one, and in any case after a minute or ten thousand entries. UPDATE and DELETE are refused by
triggers; that stops accidents. Only a checkpoint held elsewhere shows what an operator did.
"""

from __future__ import annotations

import itertools
import os
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from consent.anchor import Anchor
from consent.audit import AuditReport, replay
from consent.checkpoints import merge_notes, read_keys, read_newest, require_current, require_pinned
from consent.clock import instant, micros, now_utc
from consent.database import (
    begin,
    checkpoint,
    open_postgres,
    open_sqlite,
    require_same_file,
    run,
    stream,
    told,
    transaction,
)
from consent.decide import decide
from consent.encoding import RECORD_COLUMNS
from consent.errors import BadInput, Conflict, Denied, EvidenceError, Unavailable
from consent.evidence import merkle
from consent.evidence.cosignatures import WitnessVerifier, cosigned_by
from consent.evidence.handover import LogKeys
from consent.evidence.notes import Checkpoint, Signer, Verifier
from consent.evidence.trust import Trust
from consent.head import QUERY, Head, HeadKey, create_head, read_head
from consent.nouns import Decision, Event, Facts, Kind, Recorded
from consent.queries import (
    OF_SUBJECT,
    find_events,
    open_tree,
    read_entries,
    read_events_at,
    read_events_of,
    read_facts,
    read_handovers,
    read_size,
)
from consent.schema import EVENT_COLUMNS, REVISION, SELECT, create_tables
from consent.writer import Writer

_WHAT = "the consent ledger"
#: Pages of a large ledger that a thread keeps at hand for single questions.
_READER_CACHE_KIB = 65_536


@dataclass(frozen=True)
class Snapshot:
    """The log at one moment, for proofs and exports; good while its context is open.

    Attributes:
        checkpoint: a signed note over all `tree_size` entries; None while there are none.
    """

    tree_size: int
    tree: merkle.TreeReader
    checkpoint: bytes | None
    _connection: sa.Connection

    def entries(self, lo: int, hi: int) -> Iterator[bytes]:
        """The 41 bytes that the log hashes, of the entries ``[lo, hi)`` in order."""
        return read_entries(self._connection, lo, hi)

    def disclose(self, leaf_index: int) -> tuple[dict[str, Any], bytes]:
        """An entry's record without absent values, and the nonce that opens its commitment.

        Raises:
            BadInput: there is no such entry.
            Denied: an erasure has blanked it.
        """
        rows = run(self._connection, SELECT + " WHERE leaf_index = ?", (leaf_index,))
        if not rows or leaf_index >= self.tree_size:
            raise BadInput(
                "there is no such entry", remedy=f"Entries are numbered 0 to {self.tree_size - 1}."
            )
        row = dict(zip(EVENT_COLUMNS, rows[0], strict=True))
        if row["kind"] is None:
            raise Denied(
                "the entry was blanked by an erasure",
                remedy="Its place in the log still proves.",
                code="ERASED",
            )
        return {name: row[name] for name in RECORD_COLUMNS if row[name] is not None}, bytes(row["nonce"])


class Ledger:
    """The consent ledger in a SQLite file, or in a PostgreSQL database that several machines share.

    Use `Ledger.create` once, `Ledger.open` afterwards. Safe to use from several threads and processes.
    """

    def __init__(
        self,
        database: Path | str,
        signer: Signer,
        clock: Callable[[], datetime] = now_utc,
        *,
        anchor: Path | None = None,
        held: Verifier | None = None,
    ) -> None:
        """A ledger that is there.

        Args:
            database: a SQLite file, or the address of a PostgreSQL database.
            anchor: where the anchor is kept, outside the database and its backups. Without one nothing tells an
                old copy of the database from the newest.
            held: the oldest key of the log, where `signer` has taken over from another.
        """
        self._database = database
        self._signer = signer
        self._held = held or signer.verifier
        self._clock = clock
        self._engine = open_sqlite(database) if isinstance(database, Path) else open_postgres(database)
        self._anchor = None if anchor is None else Anchor(anchor, signer.name)
        self._anchor_path = anchor
        self._writer = self._new_writer()
        self._key = HeadKey(signer)
        self._ready = False
        self._own = threading.local()
        self._readers: WeakKeyDictionary[threading.Thread, sqlite3.Connection] = WeakKeyDictionary()
        self._opened = 0
        self._process = os.getpid()

    def _new_writer(self) -> Writer:
        return Writer(
            lambda: self._connection(write=True),
            self._signer,
            self._held,
            lambda: self._clock(),
            self._anchor,
        )

    @classmethod
    def create(
        cls,
        database: Path | str,
        signer: Signer,
        clock: Callable[[], datetime] = now_utc,
        *,
        anchor: Path | None = None,
    ) -> Ledger:
        """A new, empty ledger.

        Raises:
            Conflict: there is a ledger already.
            Unavailable: the database cannot be reached.
        """
        ledger = cls(database, signer, clock, anchor=anchor)
        if isinstance(database, Path):
            if database.exists():
                raise _exists()
            database.touch(mode=0o600)
        with transaction(ledger._engine, _WHAT, write=True) as connection:
            if sa.inspect(connection).has_table("event"):
                raise _exists()
            create_tables(connection)
            create_head(connection, ledger._key)
        if ledger._anchor is not None:
            ledger._anchor.set(0, merkle.EMPTY_ROOT)
        return ledger

    @classmethod
    def open(
        cls,
        database: Path | str,
        signer: Signer,
        clock: Callable[[], datetime] = now_utc,
        *,
        anchor: Path | None = None,
        held: Verifier | None = None,
    ) -> Ledger:
        """The ledger that is there.

        Raises:
            Unavailable: there is none, or it cannot be read.
        """
        if isinstance(database, Path) and not database.exists():
            raise Unavailable("there is no consent ledger here", remedy="Run `assent init`, or check --home.")
        return cls(database, signer, clock, anchor=anchor, held=held)

    def close(self) -> None:
        """Let go of the database."""
        self._opened += 1
        self._engine.dispose()
        for reader in list(self._readers.values()):
            reader.close()
        self._own, self._readers = threading.local(), WeakKeyDictionary()
        if self._anchor is not None:
            self._anchor.close()

    @property
    def verifier(self) -> Verifier:
        """The public half of the key that signs this ledger's checkpoints now."""
        return self._signer.verifier

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[sa.Connection]:
        self._refresh()
        ready = self._ready  # asked once: another thread may notice a new file meanwhile
        anchored = None if ready else self._anchored()
        with begin(self._engine, _WHAT, write=write) as connection:
            if not ready:
                self._require_ready(connection, anchored)
            yield connection

    def _anchored(self) -> Checkpoint | None:
        """What the anchor says. It is read before the ledger, or a faster writer would look like a loss.

        The tables come first all the same: those of an earlier version may have no anchor yet.
        """
        if not self._ready:
            with begin(self._engine, _WHAT) as connection:
                _require_revision(connection)
        return None if self._anchor is None else self._anchor.read()

    def _refresh(self) -> None:
        """Notice that another file has taken the database's place, or that this is a forked process."""
        if os.getpid() != self._process:
            self._engine.dispose(close=False)
            self._process, self._opened = os.getpid(), self._opened + 1
            if self._anchor_path is not None:
                self._anchor = Anchor(self._anchor_path, self._signer.name)
            self._writer = self._new_writer()  # the other process may hold the locks of the one before
        if not require_same_file(self._engine):
            self._ready, self._opened = False, self._opened + 1

    def _require_ready(self, connection: sa.Connection, anchored: Checkpoint | None) -> None:
        """Before the first use of the database as it was opened: it is whole. `_anchored` has seen to its tables."""
        if anchored is not None:
            tree = open_tree(connection)
            Anchor.require(anchored, read_size(connection), lambda size: merkle.root(tree, size))
        self._ready = True

    # ------------------------------------------------------------------ reading

    def now(self) -> datetime:
        """The clock, but never before the last entry: a clock set back must not undo a withdrawal."""
        head, now = self.head(), self._clock()
        return max(instant(head.recorded_at), now) if head.tree_size else now

    def size(self) -> int:
        """Number of entries."""
        with self._connection() as connection:
            return read_size(connection)

    def head(self) -> Head:
        """Size, last instant and root: while they are the same, nothing was recorded.

        Raises:
            EvidenceError: the head was changed, or the ledger has held more than it holds now.
        """
        anchored = self._anchored()
        with self._connection() as connection:
            row = read_head(connection)
        return self._checked(row, anchored)

    def _checked(self, row: Sequence[Any] | None, anchored: Checkpoint | None) -> Head:
        """The head, sealed, and not behind the anchor; `_require_ready` has compared what is before it."""
        try:
            head = self._key.require(row)
        except EvidenceError:
            with self._connection() as connection:  # nothing was changed where the key was handed over
                require_current(self._keys(connection), self._signer)
            raise
        if anchored is not None and anchored.tree_size > head.tree_size:
            Anchor.require(anchored, head.tree_size, lambda _: b"")
        return head

    def facts(self, subject_key: str) -> Facts:
        """Everything on record about one subject and the co-subjects of their data."""
        return self.facts_now(subject_key)[0]

    def facts_now(self, subject_key: str) -> tuple[Facts, datetime]:
        """`facts`, and an instant at which they are the latest: the clock, but not before the last entry."""
        anchored = self._anchored()
        if isinstance(self._database, Path):
            execute = self._reader().execute
            found = self._read_facts(lambda sql, values: execute(sql, values).fetchall(), subject_key)
        else:
            with self._connection() as connection:
                found = self._read_facts(lambda sql, values: run(connection, sql, values), subject_key)
        facts, rows, now = found
        head = self._checked(rows[0] if rows else None, anchored)
        return facts, max(instant(head.recorded_at), now)

    def _read_facts(
        self, query: Callable[..., Sequence[Any]], subject_key: str
    ) -> tuple[Facts, Sequence[Any], datetime]:
        try:
            facts = read_facts(lambda key: query(OF_SUBJECT, (key,)), subject_key)
            # Head and clock after the facts: a withdrawal on record is then never in the future.
            return facts, query(QUERY, ()), self._clock()
        except sqlite3.Error as error:
            raise told(error, _WHAT) from None

    def _reader(self) -> sqlite3.Connection:
        """This thread's own connection for single questions: opening a transaction costs more than asking."""
        self._refresh()
        if not self._ready:
            with self._connection():
                pass
        if getattr(self._own, "opened", None) != self._opened:
            pooled = self._engine.raw_connection()
            self._own.reader, self._own.opened = pooled.driver_connection, self._opened
            pooled.detach()
            self._readers[threading.current_thread()] = self._own.reader
            self._own.reader.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        reader: sqlite3.Connection = self._own.reader
        return reader

    def decide(
        self,
        subject_key: str,
        source: str,
        purpose: str,
        *,
        data_at: datetime | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
        derived: bool = False,
    ) -> Decision:
        """`consent.decide.decide` on what is on record; as of now if no instant is named."""
        facts, now = self.facts_now(subject_key)
        return decide(
            facts,
            source,
            purpose,
            data_at=data_at,
            as_of=as_of or now,
            known_at=known_at,
            derived=derived,
        )

    def history(self, subject_key: str) -> list[Recorded]:
        """The subject's entries in ledger order; those that an erasure has blanked are not among them."""
        with self._connection() as connection:
            return list(read_events_of(connection, subject_key))

    def subjects_with(self, kind: Kind) -> list[str]:
        """Subject keys of which an entry of this kind is on record, in order."""
        with self._connection() as connection:
            sql = "SELECT DISTINCT subject_key FROM event WHERE kind = ? ORDER BY subject_key"
            return [subject_key for (subject_key,) in run(connection, sql, (kind.value,))]

    def retentions(self, source: str) -> dict[str, int]:
        """How long data may be stored, in microseconds, by the grants of a source that say so."""
        with self._connection() as connection:
            sql = "SELECT grant_id, retention FROM event WHERE kind = ? AND source = ? AND retention IS NOT NULL"
            return {str(grant): int(of) for grant, of in run(connection, sql, (Kind.GIVEN.value, source))}

    def entries(self, leaf_indexes: Sequence[int]) -> list[Recorded]:
        """The entries at these positions, in order; those that an erasure has blanked are not among them."""
        with self._connection() as connection:
            return read_events_at(connection, leaf_indexes)

    def find_event(self, event_id: str) -> Recorded | None:
        """The entry with this idempotency key, if it is on record and not blanked."""
        return self.find_events([event_id]).get(event_id)

    def find_events(self, event_ids: Sequence[str]) -> dict[str, Recorded | None]:
        """The entries with these idempotency keys, as far as they are on record; None for a blanked one."""
        with self._connection() as connection:
            return find_events(connection, event_ids)

    def holds(self, head: Head) -> bool:
        """Whether this was the `head` of the ledger once: nothing before it has changed since, but for blanks."""
        with self._connection() as connection:
            size = read_size(connection)
            return head.tree_size <= size and merkle.root(open_tree(connection), head.tree_size) == head.root

    def rows(
        self, columns: Sequence[str], lo: int = 0, hi: int | None = None, *, chunk: int = 50_000
    ) -> Iterator[list[tuple[Any, ...]]]:
        """The entries ``[lo, hi)`` in order, as chunks of plain tuples; of blanked ones most columns are None."""
        unknown = set(columns) - set(RECORD_COLUMNS) - {"leaf_index"}
        assert not unknown
        sql = f"SELECT {', '.join(columns)} FROM event WHERE leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index"  # noqa: S608
        with self._connection() as connection:
            yield from stream(connection, _WHAT, sql, (lo, 2**62 if hi is None else hi), rows=chunk)

    # ------------------------------------------------------------------ appending

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """Append statements, all or none.

        Events whose ``event_id`` is on record with the same content are not appended again; their existing
        entries are returned in their place.

        Returns:
            One entry per event, in the order given.

        Raises:
            IllegalTransition: an event does not fit the state it met, or was erased since it was recorded.
            BadInput: an event is not sound by itself; see `consent.admission.require_sound`.
            Conflict: an ``event_id`` is on record with other content, or the clock went back.
            EvidenceError: the ledger has held more than it holds now.
            Unavailable: the ledger cannot be written.
        """
        self._refresh()
        return self._writer.append(events) if events else []

    def erase(self, event: Event, *, blank: bool) -> Recorded:
        """Record that an erasure is done, once, and take the content out of the entries it is about.

        The entries keep their place, instant and commitment, so every proof stays valid; the erasure's own entry
        says which they are. Destroying the data itself is the caller's business, and comes first.

        Args:
            event: of kind ERASED, about one source or every one.
            blank: whether the consent records go as well; False keeps them, under the pseudonym, as evidence.

        Raises:
            IllegalTransition: the subject is held, or erased already.
        """
        return self._writer.erase(event, blank=blank)

    def forget(self) -> None:
        """Leave nothing of blanked content in a SQLite file's free pages and write-ahead log.

        PostgreSQL keeps the old rows until its next vacuum, and its write-ahead log as long as the server is told to.
        """
        if isinstance(self._database, Path):
            self._refresh()
            checkpoint(self._engine, _WHAT)

    # ------------------------------------------------------------------ proving

    def checkpoint(self) -> bytes | None:
        """A signed checkpoint over everything on record, a C2SP signed note; None while the ledger is empty."""
        anchored = self._anchored()
        with self._connection() as connection:
            row, newest = read_head(connection), read_newest(connection)
        head = self._checked(row, anchored)
        if newest is not None and newest[0] == head.tree_size:
            return newest[2]
        return self._writer.sign() if head.tree_size else None

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """The log as the newest checkpoint signs it."""
        note = self.checkpoint()
        with self._connection() as connection:
            size = 0 if note is None else self._keys(connection).verified(note)[0].tree_size
            yield Snapshot(size, open_tree(connection), note, connection)

    def handovers(self) -> list[bytes]:
        """The signed notes by which one key gave way to the next, oldest first."""
        with self._connection() as connection:
            return read_handovers(connection)

    def hand_over(self, new: Signer) -> bytes:
        """From now on `new` signs; the handover note carries the signatures of both keys.

        Calling it again with the same key, after a crash, returns the same note.

        Raises:
            Conflict: the key at hand is not the newest.
        """
        note = self._writer.hand_over(new)
        self._signer, self._key = new, HeadKey(new)
        return note

    def _keys(self, connection: sa.Connection) -> LogKeys:
        return read_keys(connection, self._held)

    def require_checkpoint(self, note: bytes) -> int:
        """Return if what this checkpoint pins is still what the ledger holds; call `audit` for the rest.

        Args:
            note: a checkpoint of this ledger that was kept elsewhere.

        Returns:
            The number of entries it pins.

        Raises:
            EvidenceError: it is not signed by a key of this ledger, or the ledger was cut or rewritten since.
        """
        with self._connection() as connection:
            return require_pinned(connection, read_size(connection), self._keys(connection), note)

    def re_anchor(self, note: bytes) -> int:
        """Write the anchor anew, for a ledger that a checkpoint kept elsewhere verifies. For a lost anchor only.

        Raises:
            EvidenceError: the ledger is not the one the checkpoint pins.
        """
        if self._anchor is None:
            return 0
        self._refresh()
        with begin(self._engine, _WHAT) as connection:
            size = read_size(connection)
            pinned = require_pinned(connection, size, self._keys(connection), note)
            self._anchor.set(size, merkle.root(open_tree(connection), size))
        return pinned

    def add_cosigned(self, note: bytes, witnesses: Sequence[WitnessVerifier]) -> int:
        """Keep a checkpoint that witnesses have cosigned. Doing it twice adds nothing.

        Args:
            witnesses: whose cosignatures are believed.

        Returns:
            The number of entries it pins.

        Raises:
            EvidenceError: nobody of them cosigned it, or it is not of this ledger.
        """
        with self._connection(write=True) as connection:
            keys = self._keys(connection)
            found = Trust(keys, tuple(witnesses), quorum=1).verified(note)
            pinned = require_pinned(connection, read_size(connection), keys, note)
            rows = run(connection, "SELECT witness FROM cosigned WHERE tree_size = ?", (pinned,))
            new = {c.name for c in found.cosignatures} - {name for (name,) in rows}
            fresh = [(pinned, w.name, cosigned_by(note, found.key, w)) for w in witnesses if w.name in new]
            run(connection, "INSERT INTO cosigned (tree_size, witness, note) VALUES (?, ?, ?)", fresh)
        return pinned

    def cosigned(self) -> list[bytes]:
        """The checkpoints that witnesses have cosigned, oldest first, each with all its cosignatures."""
        with self._connection() as connection:
            rows = run(connection, "SELECT tree_size, note FROM cosigned ORDER BY tree_size, witness")
        by_size = itertools.groupby(rows, key=lambda row: row[0])
        return [merge_notes([bytes(note) for _, note in same]) for _, same in by_size]

    def audit(
        self,
        *,
        witnesses: Sequence[WitnessVerifier] = (),
        on_progress: Callable[[int], None] = lambda _: None,
    ) -> AuditReport:
        """Replay everything: contents, order, clocks, blanks, tree, stored tiles, every signed checkpoint.

        Args:
            witnesses: whose times bound, from outside, when entries can have been recorded.
            on_progress: called with the number of entries replayed so far.
        """
        self._refresh()
        anchored = self._anchored()
        with begin(self._engine, _WHAT) as connection:
            return replay(connection, self._held, self._key, anchored, witnesses, on_progress)


def _exists() -> Conflict:
    return Conflict("a ledger exists here", remedy="Open it, or choose another home.")


def _require_revision(connection: sa.Connection) -> None:
    """Raise unless the tables are those of this version of Assent."""
    found = None
    if sa.inspect(connection).has_table("alembic_version"):
        found = run(connection, "SELECT version_num FROM alembic_version")
    if found != [(REVISION,)]:
        raise Conflict(
            "the ledger's tables are of another version of Assent",
            remedy="Run `assent log migrate`; make a copy of the ledger first.",
            code="OUTDATED",
        )


def new_event_id() -> str:
    """A fresh idempotency key: 32 hex digits, time-ordered (UUIDv7, RFC 9562 section 5.7)."""
    stamp = micros(now_utc()) // 1000
    value = (stamp << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return f"{value:032x}"
