"""The access log: who used or looked at which data, written down before they get it.

It is a Merkle log like the ledger's, in a database of its own, with a key, a head and an anchor of its own: what was
written can be neither changed nor taken out unnoticed, and a signed checkpoint that is kept elsewhere shows it to
others. The hashed entries are the ledger's 41 bytes and say nothing by themselves. A person is in it only as a token
under a key of theirs alone: when that key is destroyed, the entries stay whole and name nobody.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from consent.anchor import Anchor
from consent.clock import instant, micros, now_utc
from consent.database import begin, open_sqlite, require_same_file, run
from consent.datakeys import DataKeys
from consent.encoding import NONCE_BYTES, canonical_json, entry
from consent.errors import Conflict, EvidenceError, Unavailable
from consent.evidence import merkle
from consent.evidence.notes import (
    Checkpoint,
    Signer,
    Verifier,
    format_checkpoint,
    parse_checkpoint,
    sign_note,
    verify_note,
)
from consent.head import Head, HeadKey, create_head, read_head, write_head
from consent.queries import insert_tiles, open_tree
from consent.schema import head_table, merkle_tile

#: What the people's keys for this are kept under in the key table.
USE = "accesses"
_WHAT = "the access log"
_DOMAIN = b"assent-access/v1\n"
_REMEDY = "Stop, keep the file, and compare with a checkpoint of the access log that was kept elsewhere."
_TOLD = "It was changed behind our back. " + _REMEDY
_AT_A_TIME = 1_000


class AccessKind(StrEnum):
    """What was done."""

    TRAINING_SET = "training_set"
    REPRODUCED = "reproduced"
    ONLINE = "online"
    LOOKED = "looked"
    REPORTED = "reported"
    EXPORTED = "exported"
    ERASED = "erased"
    ACTED = "acted"
    SIGNED_IN = "signed_in"
    REFUSED = "refused"


@dataclass(frozen=True)
class Access:
    """One entry.

    Attributes:
        leaf_index: its number, from 0.
        at: when it was written.
        caller: who asked.
        about: what it was about: a receipt's id, a page's or report's name; never anything about a person.
        personal: whether it is about one person, whom only `AccessLog.entries` with their key finds.
    """

    leaf_index: int
    at: datetime
    kind: AccessKind
    caller: str
    purpose: str
    about: dict[str, str]
    personal: bool


@dataclass(frozen=True)
class AccessQuery:
    """Which entries are wanted; what is None does not matter.

    Attributes:
        before: only entries with a smaller number, to turn the page.
    """

    kind: AccessKind | None = None
    caller: str | None = None
    purpose: str | None = None
    subject_key: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None


_COLUMNS = (
    "leaf_index",
    "recorded_at",
    "commitment",
    "nonce",
    "kind",
    "caller",
    "purpose",
    "person",
    "about",
)
_COMMITTED = ("kind", "caller", "purpose", "person", "about")
_metadata = sa.MetaData()
_event = sa.Table(
    "event",
    _metadata,
    sa.Column("leaf_index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("commitment", sa.LargeBinary, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    *(sa.Column(name, sa.Text, nullable=False) for name in _COMMITTED),
    sa.Index("event_person", "person", "leaf_index"),
    sa.Index("event_kind", "kind", "leaf_index"),
)
merkle_tile.to_metadata(_metadata)
head_table.to_metadata(_metadata)
_GUARDS = tuple(
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    for table, verbs in (
        ("event", ("update", "delete")),
        ("merkle_tile", ("update", "delete")),
        ("head", ("delete",)),
    )
    for verb in verbs
)


class AccessLog:
    """Any number of processes write to it and read it. Make one with `create`, or `open` the one that is there."""

    def __init__(
        self,
        path: Path,
        signer: Signer,
        anchor: Path,
        keys: DataKeys,
        *,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._path = path
        self._signer = signer
        self._anchor_path = anchor
        self._keys = keys
        self._clock = clock
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._engine = open_sqlite(self._path)
        self._anchor = Anchor(self._anchor_path, self._signer.name)
        self._head_key = HeadKey(self._signer, _WHAT)
        self._process = os.getpid()
        self._mutex = threading.Lock()
        self._edge = merkle.Frontier()
        self._whole = False

    @classmethod
    def create(cls, path: Path, signer: Signer, anchor: Path, keys: DataKeys) -> AccessLog:
        """A new, empty one.

        Raises:
            Conflict: there is one already.
        """
        if path.exists() or anchor.exists():
            raise Conflict("there is an access log here already", remedy="Use it, or name another home.")
        log = cls(path, signer, anchor, keys)
        path.touch(mode=0o600)
        with begin(log._engine, _WHAT, write=True) as connection:
            _metadata.create_all(connection)
            for guard in _GUARDS:
                connection.exec_driver_sql(guard)
            create_head(connection, log._head_key)
        log._anchor.set(0, merkle.EMPTY_ROOT)
        return log

    @classmethod
    def open(cls, path: Path, signer: Signer, anchor: Path, keys: DataKeys) -> AccessLog:
        """The one that is there.

        Raises:
            Unavailable: there is none.
        """
        if not path.exists():
            raise Unavailable(
                "the access log is gone, so nothing can be written down and nothing is handed out",
                remedy="Restore access.db of this home.",
            )
        return cls(path, signer, anchor, keys)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()
        self._anchor.close()

    @property
    def verifier(self) -> Verifier:
        """The public half of the key that signs its checkpoints."""
        return self._signer.verifier

    # ------------------------------------------------------------------ writing

    def record(
        self,
        kind: AccessKind,
        *,
        caller: str,
        purpose: str = "",
        subject_key: str | None = None,
        about: Mapping[str, str] | None = None,
    ) -> int:
        """Write down that somebody gets something, before they get it. It is durable when this returns.

        Args:
            subject_key: whom it is about, if it is one person.
            about: names and identifiers; never anything about a person.

        Returns:
            The entry's number.

        Raises:
            Unavailable: it cannot be written, so nothing may be handed out.
            EvidenceError: the log was changed.
        """
        person = "" if subject_key is None else self._create_token(subject_key)
        row = {
            "kind": kind.value,
            "caller": caller,
            "purpose": purpose,
            "person": person,
            "about": json.dumps(dict(about or {}), sort_keys=True, ensure_ascii=False),
        }
        self._leave_parent()
        with self._mutex, self._connection(write=True) as connection:
            head, edge = self._open(connection)
            at = max(micros(self._clock()), head.recorded_at)
            committed = _insert(connection, head.tree_size, at, row)
            insert_tiles(connection, edge.extend([merkle.leaf_hash(entry(at, committed))]))
            root = edge.root()
            write_head(connection, self._head_key.sealed(edge.tree_size, at, root))
        self._edge = edge
        self._anchor.advance(edge.tree_size, root)
        return head.tree_size

    def _create_token(self, subject_key: str) -> str:
        return _token(self._keys.find_or_create(USE, [subject_key])[subject_key].key)

    def _open(self, connection: sa.Connection) -> tuple[Head, merkle.Frontier]:
        """The head, and the edge of the tree it seals."""
        head = self._require_head(connection)
        edge = self._edge
        if edge.tree_size != head.tree_size or edge.root() != head.root:
            edge = merkle.Frontier.read(open_tree(connection), head.tree_size)
            if edge.root() != head.root:
                raise EvidenceError("the access log does not fit its head", remedy=_TOLD)
        return head, edge.copy()

    # ------------------------------------------------------------------ reading

    def entries(self, query: AccessQuery | None = None, *, limit: int = 100) -> list[Access]:
        """The newest entries first; at most `limit`.

        Raises:
            EvidenceError: the log was changed.
        """
        sql, values = self._select(query or AccessQuery())
        if sql is None:
            return []
        with self._connection() as connection:
            self._require_head(connection)
            rows = run(connection, f"{sql} ORDER BY leaf_index DESC LIMIT ?", (*values, limit))
        return [_access(row) for row in rows]

    def count(self, query: AccessQuery | None = None) -> int:
        """How many such entries there are."""
        sql, values = self._select(query or AccessQuery())
        if sql is None:
            return 0
        with self._connection() as connection:
            self._require_head(connection)
            return int(run(connection, f"SELECT count(*) FROM ({sql})", tuple(values))[0][0])  # noqa: S608

    def _select(self, query: AccessQuery) -> tuple[str | None, list[Any]]:
        """SQL without an order; None where the person has no key, so no entry is about them."""
        wanted: list[tuple[str, Any]] = []
        if query.subject_key is not None:
            keys = self._keys.find(USE, [query.subject_key])
            if query.subject_key not in keys:
                return None, []
            wanted.append(("person = ?", _token(keys[query.subject_key].key)))
        for name in ("kind", "caller", "purpose"):
            if (value := getattr(query, name)) is not None:
                wanted.append((f"{name} = ?", str(value)))
        for clause, at in (("recorded_at >= ?", query.since), ("recorded_at < ?", query.until)):
            if at is not None:
                wanted.append((clause, micros(at)))
        if query.before is not None:
            wanted.append(("leaf_index < ?", query.before))
        where = " AND ".join(clause for clause, _ in wanted) or "TRUE"
        return f"SELECT {', '.join(_COLUMNS)} FROM event WHERE {where}", [value for _, value in wanted]  # noqa: S608

    def size(self) -> int:
        """Number of entries."""
        with self._connection() as connection:
            return self._require_head(connection).tree_size

    def checkpoint(self) -> bytes:
        """A signed checkpoint over everything in it, a C2SP signed note."""
        with self._connection() as connection:
            head = self._require_head(connection)
        return sign_note(format_checkpoint(self._signer.name, head.tree_size, head.root), self._signer)

    def audit(
        self, held: bytes | None = None, *, on_progress: Callable[[int, int], None] = lambda _n, _of: None
    ) -> int:
        """Replay everything, and compare it with the head, the anchor and a checkpoint kept elsewhere.

        Returns:
            The number of entries.

        Raises:
            EvidenceError: something does not fit; it names the first bad entry.
        """
        pinned = None if held is None else self._verified(held)
        with self._connection() as connection:
            head = self._require_head(connection)
            edge, last = merkle.Frontier(), 0
            at_pin = merkle.EMPTY_ROOT
            for row in _rows(connection, head.tree_size):
                last = _require_row(row, edge.tree_size, last)
                edge.extend([merkle.leaf_hash(entry(row[1], row[2]))])
                if pinned is not None and edge.tree_size == pinned.tree_size:
                    at_pin = edge.root()
                if not edge.tree_size % _AT_A_TIME:
                    on_progress(edge.tree_size, head.tree_size)
        if edge.tree_size != head.tree_size or edge.root() != head.root:
            raise EvidenceError(
                f"the access log's {edge.tree_size} entries do not fit its head of {head.tree_size}",
                remedy=_TOLD,
            )
        _require_pin(pinned, edge.tree_size, at_pin)
        return edge.tree_size

    def _verified(self, note: bytes) -> Checkpoint:
        checkpoint = parse_checkpoint(verify_note(note, [self._signer.verifier]))
        if checkpoint.origin != self._signer.name:
            raise EvidenceError("the checkpoint is of another log", remedy="Name one of this access log.")
        return checkpoint

    # ------------------------------------------------------------------ the database

    def _leave_parent(self) -> None:
        """In a forked process, let go of the other's connections and of a lock that nobody here would open again."""
        if os.getpid() != self._process:
            self._engine.dispose(close=False)
            self._begin_anew()

    @contextmanager
    def _connection(self, *, write: bool = False) -> Iterator[sa.Connection]:
        self._leave_parent()
        if not require_same_file(self._engine):
            self._whole = False
        with begin(self._engine, _WHAT, write=write) as connection:
            yield connection

    def _require_head(self, connection: sa.Connection) -> Head:
        """The head, sealed, and not behind the anchor, which is looked at first."""
        anchored = self._anchor.read()
        head = self._head_key.require(read_head(connection))
        if anchored.tree_size > head.tree_size or not self._whole:
            tree = open_tree(connection)
            Anchor.require(anchored, head.tree_size, lambda size: merkle.root(tree, size))
            self._whole = True
        return head


def _token(key: bytes) -> str:
    return hashlib.blake2b(key=key, digest_size=16, person=b"assent-accesses").hexdigest()


def _commitment(row: Mapping[str, Any], nonce: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + nonce + canonical_json(row)).digest()


def _insert(connection: sa.Connection, leaf_index: int, at: int, row: Mapping[str, str]) -> bytes:
    """Add an entry; returns what is committed to."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    committed = _commitment(row, nonce)
    values = (leaf_index, at, committed, nonce, *(row[name] for name in _COMMITTED))
    run(connection, f"INSERT INTO event ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * 9)})", values)  # noqa: S608
    return committed


def _rows(connection: sa.Connection, size: int) -> Iterator[Sequence[Any]]:
    select = f"SELECT {', '.join(_COLUMNS)} FROM event WHERE leaf_index >= ? ORDER BY leaf_index LIMIT ?"  # noqa: S608
    for lo in range(0, size, _AT_A_TIME):
        yield from run(connection, select, (lo, min(_AT_A_TIME, size - lo)))


def _require_row(row: Sequence[Any], expected: int, last: int) -> int:
    """Return the row's instant, if it is the next entry and says what was committed to."""
    index, at, committed, nonce = row[:4]
    content = dict(zip(_COMMITTED, row[4:], strict=True))
    if index != expected or type(at) is not int or at < last or type(nonce) is not bytes:
        raise EvidenceError(f"entry {expected} of the access log is missing or out of order", remedy=_TOLD)
    if any(type(value) is not str for value in content.values()) or _commitment(content, nonce) != committed:
        raise EvidenceError(f"entry {expected} of the access log was changed", remedy=_TOLD)
    return at


def _require_pin(pinned: Checkpoint | None, size: int, root: bytes) -> None:
    if pinned is None:
        return
    if pinned.tree_size > size:
        raise EvidenceError(
            f"the checkpoint pins {pinned.tree_size} accesses, the log holds {size}", remedy=_REMEDY
        )
    if pinned.root != root:
        raise EvidenceError(
            f"the first {pinned.tree_size} accesses are not those the checkpoint pins", remedy=_REMEDY
        )


def _access(row: Sequence[Any]) -> Access:
    try:
        _require_row(row, row[0], 0)
        about = json.loads(row[8])
        return Access(row[0], instant(row[1]), AccessKind(row[4]), row[5], row[6], about, bool(row[7]))
    except (ValueError, TypeError):
        raise EvidenceError(f"entry {row[0]} of the access log was changed", remedy=_TOLD) from None
