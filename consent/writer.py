"""How entries get into the ledger: one transaction for all who append at the same moment, one order for all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from consent.admission import Admission
from consent.anchor import Anchor
from consent.blanking import format_blanks
from consent.checkpoints import is_due, read_keys, read_newest, require_current, sign_checkpoint
from consent.clock import instant, micros
from consent.database import run
from consent.errors import Conflict, EvidenceError, Unavailable
from consent.evidence import merkle
from consent.evidence.handover import sign_handover
from consent.evidence.notes import Checkpoint, Signer, Verifier
from consent.head import Head, HeadKey, read_head, write_head
from consent.nouns import Event, Recorded
from consent.queries import (
    blank_events,
    insert_events,
    insert_tiles,
    lock_head,
    open_tree,
    read_handovers,
    read_leaves_of,
)

#: How far the clock may jump back before the ledger refuses to write.
MAX_CLOCK_STEP_BACK = timedelta(seconds=60)
#: Most callers that share a transaction.
_CALLERS_AT_A_TIME = 1_000


@dataclass(eq=False)
class _Caller:
    """Somebody who waits for their events to be on record."""

    events: Sequence[Event]
    entries: list[Recorded] = field(default_factory=list)
    error: Exception | None = None
    leads: bool = False
    woken: threading.Lock = field(default_factory=threading.Lock)

    def outcome(self) -> list[Recorded]:
        """The entries, or the reason why there are none."""
        if self.error is not None:
            raise copy(self.error) from None
        return self.entries


@dataclass
class _Page:
    """One transaction's view of the ledger: the entries before it, and the instant of what it adds."""

    connection: sa.Connection
    frontier: merkle.Frontier
    recorded_at: datetime
    root: bytes
    signed: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        return self.frontier.tree_size


class Writer:
    """Appends, erases and signs. One for each `Ledger`; any number of threads and processes at a time."""

    def __init__(
        self,
        begin: Callable[[], AbstractContextManager[sa.Connection]],
        signer: Signer,
        held: Verifier,
        clock: Callable[[], datetime],
        anchor: Anchor | None,
    ) -> None:
        self._begin = begin
        self._signer = signer
        self._held = held
        self._clock = clock
        self._anchor = anchor
        self._mutex = threading.Lock()
        self._waiting: list[_Caller] = []
        self._led = False
        self._key = HeadKey(signer)
        self._edge: tuple[merkle.Frontier, bytes] | None = None
        self._signed: tuple[int, int] | None = None

    # ------------------------------------------------------------------ group commit

    def append(self, events: Sequence[Event]) -> list[Recorded]:
        """See `Ledger.append`. Whoever comes while a transaction is under way shares the next one."""
        caller = _Caller(events)
        caller.woken.acquire()
        with self._mutex:
            self._waiting.append(caller)
            caller.leads, self._led = not self._led, True
        if not caller.leads:
            self._wait(caller)
        if caller.leads:
            self._lead()
        return caller.outcome()

    def _wait(self, caller: _Caller) -> None:
        try:
            caller.woken.acquire()
        except BaseException:  # Control-C: nobody may wait for somebody who is gone
            with self._mutex:
                if caller in self._waiting:
                    self._waiting.remove(caller)
            if caller.leads:
                self._hand_over()
            raise

    def _lead(self) -> None:
        """Record what everybody who waits has brought, then hand over to the first who came meanwhile."""
        with self._mutex:
            batch = self._waiting[:_CALLERS_AT_A_TIME]
            del self._waiting[: len(batch)]
        try:
            self._record(batch)
        except Exception as error:
            for caller in batch:
                caller.error = caller.error or error
        except BaseException:
            for caller in batch:
                caller.error = Unavailable("the append was interrupted", remedy="Send it again.")
            raise
        finally:
            for caller in batch:
                if not caller.leads:
                    caller.woken.release()
            self._hand_over()

    def _hand_over(self) -> None:
        with self._mutex:
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].woken.release()
            else:
                self._led = False

    def _record(self, batch: Sequence[_Caller]) -> None:
        with self._page() as page:
            said = [event for caller in batch for event in caller.events]
            admission = Admission(page.connection, page.size, page.recorded_at, said)
            for caller in batch:
                try:
                    caller.entries = admission.admit_all(caller.events)
                except Exception as error:  # theirs alone; the others' events are recorded
                    caller.error = error
            self._store(page, admission)

    # ------------------------------------------------------------------ one transaction

    @contextmanager
    def _page(self) -> Iterator[_Page]:
        """A transaction under the ledger's lock; once it is durable, the anchor says so."""
        with self._begin() as connection:
            lock_head(connection)
            page = self._open(connection)
            yield page
        self._edge, self._signed = (page.frontier, page.root), page.signed or self._signed
        if self._anchor is not None:
            self._anchor.advance(page.size, page.root)

    def _open(self, connection: sa.Connection) -> _Page:
        head = self._require(connection)
        frontier, root = self._edge or (merkle.Frontier(), b"")
        if (frontier.tree_size, root) != (head.tree_size, head.root):
            frontier = merkle.Frontier.read(open_tree(connection), head.tree_size)
            if frontier.root() != head.root:
                raise EvidenceError(
                    "the tree does not fit the ledger's head", remedy="Run `assent log audit`."
                )
        if self._anchor is not None:
            self._anchor.require(
                self._anchor.read(),
                head.tree_size,
                lambda n: head.root if n == head.tree_size else merkle.root(open_tree(connection), n),
            )
        return _Page(connection, frontier.copy(), self._next_instant(head), head.root)

    def _require(self, connection: sa.Connection) -> Head:
        """The head; where another key has sealed it, say whose turn it is."""
        try:
            return self._key.require(read_head(connection))
        except EvidenceError:
            require_current(read_keys(connection, self._held), self._signer)
            raise

    def _next_instant(self, head: Head) -> datetime:
        now = self._clock()
        if not head.tree_size:
            return now
        last = instant(head.recorded_at)
        if last - now > MAX_CLOCK_STEP_BACK:
            raise Conflict(
                "the clock is more than a minute behind the ledger's last entry",
                remedy="Set the machine's clock right; entries must not be back-dated.",
            )
        return max(last, now)

    def _store(self, page: _Page, admission: Admission) -> None:
        if not admission.rows:
            return
        recorded_us = micros(page.recorded_at)
        insert_events(page.connection, admission.rows)
        insert_tiles(page.connection, page.frontier.extend(admission.leaf_hashes))
        page.root = page.frontier.root()
        write_head(page.connection, self._key.sealed(page.size, recorded_us, page.root))
        if is_due(self._last_signed(page.connection), page.size, recorded_us):
            self._sign(page, recorded_us)

    def _last_signed(self, connection: sa.Connection) -> tuple[int, int]:
        """Size and time of the newest checkpoint, as far as this process knows."""
        if self._signed is None:
            newest = read_newest(connection)
            self._signed = (0, 0) if newest is None else newest[:2]
        return self._signed

    # ------------------------------------------------------------------ signing and erasing

    def sign(self) -> bytes | None:
        """A checkpoint over all entries; None while there are none."""
        with self._page() as page:
            newest = read_newest(page.connection)
            if newest is not None and newest[0] == page.size:
                return newest[2]
            return self._sign(page, micros(page.recorded_at)) if page.size else None

    def _sign(self, page: _Page, now_us: int) -> bytes:
        require_current(read_keys(page.connection, self._held), self._signer)
        page.signed = page.size, now_us
        return sign_checkpoint(page.connection, self._signer, page.size, page.root, now_us)

    def hand_over(self, new: Signer) -> bytes:
        """See `Ledger.hand_over`."""
        with self._begin() as connection:
            notes = read_handovers(connection)
            done = bool(notes) and read_keys(connection, self._held).newest == new.verifier
        note = notes[-1] if done else self._hand_log_over(new)  # done: a second try, after a crash
        self._signer, self._key = new, HeadKey(new)
        return note

    def _hand_log_over(self, new: Signer) -> bytes:
        with self._page() as page:
            require_current(read_keys(page.connection, self._held), self._signer)
            note = sign_handover(Checkpoint(new.name, page.size, page.root), self._signer, new)
            number = len(read_handovers(page.connection)) + 1
            run(page.connection, "INSERT INTO handover (number, note) VALUES (?, ?)", (number, note))
            last = self._key.require(read_head(page.connection)).recorded_at
            write_head(page.connection, HeadKey(new).sealed(page.size, last, page.root))
        return note

    def erase(self, event: Event, *, blank: bool) -> Recorded:
        """See `Ledger.erase`."""
        with self._page() as page:
            admission = Admission(page.connection, page.size, page.recorded_at, [event], erasing=True)
            on_record = admission.find(event.event_id)
            if on_record is not None:
                return _same_erasure(on_record, event, blank=blank)
            leaves = read_leaves_of(page.connection, event.subject_key, event.source) if blank else []
            named = replace(event, blanks=format_blanks(leaves) if blank else None)
            (recorded,) = admission.admit_all([named])
            self._store(page, admission)
            blank_events(page.connection, leaves, erased_by=recorded.leaf_index)
        return recorded


def _same_erasure(on_record: Recorded, event: Event, *, blank: bool) -> Recorded:
    """The erasure that is on record under this id, if it is the one that is asked for."""
    if replace(on_record.event, blanks=None) != event or (on_record.event.blanks is not None) != blank:
        raise Conflict(
            "an event with this id is on record with other content",
            remedy="Give the new erasure an id of its own.",
        )
    return on_record
