"""The append-only consent ledger: one SQLite file, one order, one Merkle tree over it.

Every append happens under one lock (``BEGIN IMMEDIATE``) together with the tree's new tiles and a signed
checkpoint, so that from the first entry on there is a signature over everything recorded. UPDATE and DELETE are
refused by triggers; that stops accidents. Only a checkpoint held elsewhere shows what an operator did.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from consent import merkle
from consent.admission import Admission
from consent.audit import AuditReport, replay
from consent.clock import micros, now_utc
from consent.encoding import NONCE_BYTES, RECORD_COLUMNS, commitment, entry, to_row
from consent.errors import Conflict, EvidenceError, Unavailable
from consent.notes import Signer, Verifier, format_checkpoint, parse_checkpoint, sign_note, verify_note
from consent.nouns import Event, Facts, Recorded
from consent.queries import find_events, open_tree, read_events_of, read_facts, read_last_instant, read_size
from consent.schema import INSERT, TRIGGERS, checkpoint_table, metadata
from consent.sqlite import open_sqlite, transaction

#: How far the clock may jump back before the ledger refuses to write.
MAX_CLOCK_STEP_BACK = timedelta(seconds=60)


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
            for trigger in TRIGGERS:
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

    def now(self) -> datetime:
        """The clock, but never before the last entry: a clock set back must not undo a withdrawal."""
        with self._connection() as connection:
            last = read_last_instant(connection)
        return self._clock() if last is None else max(last, self._clock())

    def size(self) -> int:
        """Number of entries."""
        with self._connection() as connection:
            return read_size(connection)

    def facts(self, subject_key: str) -> Facts:
        """Everything on record about one subject and the co-subjects of their data."""
        with self._connection() as connection:
            return read_facts(connection, subject_key)

    def history(self, subject_key: str) -> list[Recorded]:
        """The subject's entries in ledger order."""
        with self._connection() as connection:
            return list(read_events_of(connection, subject_key))

    def find_event(self, event_id: str) -> Recorded | None:
        """The entry with this idempotency key, if it is on record."""
        return self.find_events([event_id]).get(event_id)

    def find_events(self, event_ids: Sequence[str]) -> dict[str, Recorded]:
        """The entries with these idempotency keys, as far as they are on record."""
        with self._connection() as connection:
            return find_events(connection, event_ids)

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
            size = read_size(connection)
            recorded_at = self._next_instant(connection)
            writer = Admission(connection, size, recorded_at, events)
            entries = [writer.admit(event) for event in events]
            if writer.fresh:
                self._store(connection, size, recorded_at, writer.fresh)
        return entries

    def _next_instant(self, connection: sa.Connection) -> datetime:
        now, last = self._clock(), read_last_instant(connection)
        if last is None:
            return now
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
        tiles = merkle.full_tiles(open_tree(connection), size, leaves)
        connection.exec_driver_sql(INSERT, rows)
        if tiles:
            connection.exec_driver_sql(
                "INSERT INTO merkle_tile (level, tile_index, hash) VALUES (?, ?, ?)",
                [tuple(tile) for tile in tiles],
            )
        self._sign(connection, size + len(rows), recorded_us)

    def _sign(self, connection: sa.Connection, tree_size: int, created_us: int) -> None:
        root = merkle.root(open_tree(connection), tree_size)
        note = sign_note(format_checkpoint(self._signer.name, tree_size, root), self._signer)
        connection.execute(
            checkpoint_table.insert().values(tree_size=tree_size, root=root, note=note, created_at=created_us)
        )

    # ------------------------------------------------------------------ proving

    def require_checkpoint(self, note: bytes) -> int:
        """Return if what this checkpoint pins is still what the ledger holds; call `audit` for the rest.

        Args:
            note: a checkpoint of this ledger that was kept elsewhere.

        Returns:
            The number of entries it pins.

        Raises:
            EvidenceError: it is not signed by this ledger's key, or the ledger was cut or rewritten since.
        """
        pinned = parse_checkpoint(verify_note(note, [self.verifier]))
        with self._connection() as connection:
            size = read_size(connection)
            if pinned.origin != self.verifier.name or pinned.tree_size > size:
                raise EvidenceError(
                    f"the checkpoint pins {pinned.tree_size} entries, the ledger holds {size}",
                    remedy="Entries were removed, an old copy was restored, or it is of another ledger.",
                )
            root = merkle.root(open_tree(connection), pinned.tree_size)
        if root != pinned.root:
            raise EvidenceError(
                f"the first {pinned.tree_size} entries are not those the checkpoint pins",
                remedy="The ledger was rewritten after the checkpoint was made. Keep both files.",
            )
        return pinned.tree_size

    def audit(self, *, on_progress: Callable[[int], None] = lambda _: None) -> AuditReport:
        """Replay everything: contents, order, clocks, tree, stored tiles and every signed checkpoint.

        Args:
            on_progress: called with the number of entries replayed so far.
        """
        with self._connection() as connection:
            return replay(connection, self.verifier, on_progress)


def new_event_id() -> str:
    """A fresh idempotency key: 32 hex digits, time-ordered (UUIDv7, RFC 9562 section 5.7)."""
    stamp = micros(now_utc()) // 1000
    value = (stamp << 80) | (0x7 << 76) | (secrets.randbits(12) << 64) | (0b10 << 62) | secrets.randbits(62)
    return f"{value:032x}"
