"""Whoever appends while a transaction is under way shares the next one; nobody hangs, and nobody pays for others."""

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from consent.errors import AssentError, IllegalTransition, Unavailable
from consent.evidence.notes import Signer
from consent.ledger import Ledger
from consent.nouns import Event
from tests.behaviours.shops import PostgresShop, Shop, SqliteShop
from tests.consent.consent_samples import CHEN, NOW, given, withdrawn


class HeldClock:
    """A clock that ticks with every look, and that one who has the ledger's lock waits for when it is told to."""

    def __init__(self) -> None:
        self.now = NOW
        self.looked = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.holding = False
        self._process = os.getpid()

    def __call__(self) -> datetime:
        self.now += timedelta(microseconds=1)
        if self.holding and os.getpid() == self._process:
            self.looked.release()
            assert self.go_on.acquire(timeout=20)
        return self.now

    def wait_for_a_transaction(self) -> None:
        """Return when somebody has the lock and waits."""
        assert self.looked.acquire(timeout=20)

    def release(self) -> None:
        """Let everybody go on, from now on."""
        self.holding = False
        self.go_on.release(100)


class Callers:
    """Threads that append at the same moment, and what came of it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._threads: list[threading.Thread] = []
        self.outcomes: dict[int, Any] = {}

    def send(self, batches: Sequence[Sequence[Event]]) -> None:
        """One thread for each batch."""
        for batch in batches:
            number = len(self._threads)
            self._threads.append(threading.Thread(target=self._send, args=(number, batch), daemon=True))
            self._threads[-1].start()

    def _send(self, number: int, batch: Sequence[Event]) -> None:
        try:
            self.outcomes[number] = self._ledger.append(batch)
        except Exception as error:
            self.outcomes[number] = error

    def wait(self) -> list[Any]:
        """What each got: entries or an error. Nobody hangs."""
        until = time.monotonic() + 20
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        assert not any(thread.is_alive() for thread in self._threads), "somebody hangs"
        return [self.outcomes[number] for number in range(len(self._threads))]


def somebody(number: int) -> Event:
    return given(f"{number:032x}")


@pytest.fixture
def held() -> HeldClock:
    return HeldClock()


@pytest.fixture
def shared(shop: Shop, signer: Signer, held: HeldClock, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger whose writers wait a second for a lock, not half a minute."""
    monkeypatch.setattr("consent.database.LOCK_WAIT_S", 1)
    return shop.create(signer, held)


def queue_up(ledger: Ledger, held: HeldClock, batches: Sequence[Sequence[Event]]) -> Callers:
    """All of them wait for one transaction: the first has the lock, the others have come since."""
    held.holding = True
    callers = Callers(ledger)
    callers.send(batches[:1])
    held.wait_for_a_transaction()
    callers.send(batches[1:])
    time.sleep(0.2)
    return callers


def transactions(shop: Shop) -> int:
    """How many have recorded something: each has an instant of its own."""
    return int(shop.plainly("SELECT count(DISTINCT recorded_at) FROM event")[0][0])


def test_sixty_four_callers_share_few_transactions(shared: Ledger, held: HeldClock, shop: Shop) -> None:
    """All are recorded, densely; each gets its own entries; and the disk is waited for a few times only."""
    batches = [[somebody(100 * n + i) for i in range(n % 3 + 1)] for n in range(64)]
    callers = queue_up(shared, held, batches)
    held.release()
    outcomes = callers.wait()
    assert [[r.event for r in entries] for entries in outcomes] == batches
    places = sorted(r.leaf_index for entries in outcomes for r in entries)
    assert places == list(range(sum(map(len, batches))))
    assert all(
        [r.leaf_index - entries[0].leaf_index for r in entries] == [*range(len(entries))]
        for entries in outcomes
    )
    assert transactions(shop) <= 6
    assert shared.audit().findings == ()


def test_nobody_is_lost_among_many_callers(shop: Shop, signer: Signer) -> None:
    """Sixty-four threads at once, on the clock of the machine."""
    ledger = shop.create(signer)
    callers = Callers(ledger)
    said = [
        [
            given(f"{n:032x}", at=NOW, origin="imported", purpose=p)
            for p in ("credit_scoring", "model_training")
        ]
        for n in range(64)
    ]
    callers.send(said)
    outcomes = callers.wait()
    assert sorted(r.leaf_index for entries in outcomes for r in entries) == list(range(128))
    assert ledger.audit().findings == ()


def test_the_same_event_from_many_callers_is_recorded_once(shared: Ledger, held: HeldClock) -> None:
    """A client that sends again while its first try still waits gets the same entry twice."""
    once = somebody(1)
    callers = queue_up(shared, held, [[somebody(0)], *[[once]] * 8])
    held.release()
    _, *outcomes = callers.wait()
    assert len({entries[0].leaf_index for entries in outcomes}) == 1
    assert shared.size() == 2


@pytest.mark.parametrize("bad", [0, 1, 4])
def test_a_bad_caller_fails_alone(shared: Ledger, held: HeldClock, bad: int) -> None:
    """Its own batch is not recorded, whole; the others' are."""
    batches = [[somebody(n)] for n in range(6)]
    batches[bad] = [somebody(50), withdrawn(CHEN)]
    callers = queue_up(shared, held, batches)
    held.release()
    outcomes = callers.wait()
    assert isinstance(outcomes.pop(bad), IllegalTransition)
    assert sorted(entries[0].leaf_index for entries in outcomes) == list(range(5))
    assert shared.size() == 5
    assert shared.history(f"{50:032x}") == []
    assert shared.audit().findings == ()


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(lambda: replace(somebody(50), effective_at=datetime(2026, 1, 1)), id="no time zone"),
        pytest.param(lambda: replace(somebody(50), event_id="\ud800"), id="half a character"),
        pytest.param(lambda: replace(somebody(50), kind="given"), id="no kind"),
    ],
)
def test_a_caller_with_a_bug_fails_alone(
    shared: Ledger, held: HeldClock, broken: Callable[[], Event]
) -> None:
    """What is no event at all must not cost others theirs."""
    callers = queue_up(shared, held, [[somebody(0)], [somebody(1)], [broken()], [somebody(2)]])
    held.release()
    outcomes = callers.wait()
    assert isinstance(outcomes.pop(2), Exception)
    assert all(isinstance(entries, list) for entries in outcomes), outcomes


def test_while_the_database_is_locked_everybody_is_told(shared: Ledger, shop: Shop) -> None:
    """All who wait are refused as unavailable, after the time they are ready to wait; then it works again."""
    with shop.locked():
        callers = Callers(shared)
        callers.send([[somebody(n)] for n in range(8)])
        outcomes = callers.wait()
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes), outcomes
    assert shared.append([somebody(0)])[0].leaf_index == 0
    assert shared.audit().findings == ()


def test_a_connection_that_ends_under_a_shared_transaction_fails_it_whole(
    shared: Ledger, held: HeldClock, shop: Shop
) -> None:
    """Everybody in it is told that the ledger cannot be reached; nothing of it is recorded; the next one works."""
    if not isinstance(shop, PostgresShop):
        pytest.skip("a file has no connection that ends")
    said = [somebody(n) for n in range(8)]
    callers = queue_up(shared, held, [[event] for event in said])
    held.go_on.release()
    held.wait_for_a_transaction()
    shop.disconnect_all()
    held.release()
    first, *others = callers.wait()
    assert first[0].leaf_index == 0
    assert all(isinstance(outcome, Unavailable) for outcome in others), others
    assert [r.leaf_index for r in shared.append(said)] == list(range(8))
    assert shared.audit().findings == ()


@pytest.mark.parametrize("events", [1, 2])
def test_a_connection_that_ends_while_rows_are_sent_is_unavailable(
    shared: Ledger, shop: Shop, events: int
) -> None:
    """Also where many rows go by another way than one: nothing is damaged."""
    if not isinstance(shop, PostgresShop):
        pytest.skip("a file has no connection that ends")
    shop.plainly(
        "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$",
        "CREATE TRIGGER hang_up BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION hang_up()",
    )
    with pytest.raises(Unavailable):
        shared.append([somebody(n) for n in range(events)])
    shop.plainly("DROP TRIGGER hang_up ON event")
    assert shared.append([somebody(0)])[0].leaf_index == 0


def fail_commits(shop: Shop) -> None:
    """From now on every commit of an entry fails, after all of it was written."""
    if isinstance(shop, SqliteShop):
        shop.plainly(
            "CREATE TABLE nowhere (id INTEGER PRIMARY KEY)",
            "CREATE TABLE stop (id INTEGER REFERENCES nowhere (id) DEFERRABLE INITIALLY DEFERRED)",
            "CREATE TRIGGER stop_commit AFTER INSERT ON event BEGIN INSERT INTO stop VALUES (1); END",
        )
        return
    shop.plainly(
        "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stop'; END $$",
        "CREATE CONSTRAINT TRIGGER stop_commit AFTER INSERT ON event DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION stop()",
    )


def mend_commits(shop: Shop) -> None:
    on = "" if shop.backend == "sqlite" else " ON event"
    shop.plainly(f"DROP TRIGGER stop_commit{on}")


def test_a_commit_that_fails_fails_everybody_in_it(shared: Ledger, held: HeldClock, shop: Shop) -> None:
    """Nobody is told that something is on record which is not; the next append works, and nobody hangs."""
    fail_commits(shop)
    callers = queue_up(shared, held, [[somebody(n)] for n in range(8)])
    held.release()
    assert all(isinstance(outcome, AssentError) for outcome in callers.wait())
    assert shared.size() == 0
    mend_commits(shop)
    assert [r.leaf_index for r in shared.append([somebody(n) for n in range(8)])] == list(range(8))


def test_after_a_commit_that_failed_the_first_entries_are_signed(shared: Ledger, shop: Shop) -> None:
    """A checkpoint that never was is none: the next append signs."""
    fail_commits(shop)
    with pytest.raises(AssentError):
        shared.append([somebody(0)])
    mend_commits(shop)
    shared.append([somebody(0)])
    assert shared.audit().findings == ()


class Interrupted(BaseException):
    """As a KeyboardInterrupt is: whoever waited no longer does."""


def test_a_caller_who_stops_waiting_holds_nobody_up(shared: Ledger, held: HeldClock) -> None:
    """Control-C in a notebook, while other threads append."""

    def interrupt(*_: Any) -> None:
        raise Interrupted

    callers = queue_up(shared, held, [[somebody(0)]])
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Interrupted):
            shared.append([somebody(1)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    held.release()
    callers.wait()
    last = threading.Thread(target=lambda: shared.append([somebody(2)]), daemon=True)
    last.start()
    last.join(2)
    assert not last.is_alive(), "the next caller waits for ever"


def fork_and_append(ledger: Ledger, event: Event) -> int:
    """The number of a process that appends, and ends with 0 for recorded, 7 for unavailable."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(5)
        try:
            ledger.append([event])
            os._exit(0)
        except Unavailable:
            os._exit(7)
        finally:
            os._exit(1)
    return pid


def exit_code(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_process_forked_during_an_append_can_append(
    request: pytest.FixtureRequest, shared: Ledger, held: HeldClock, shop: Shop
) -> None:
    """A server that forks its workers while one of its threads records something."""
    if shop.backend == "sqlite":
        reason = "SQLite's own memory says in the child that the transaction under way still has the lock"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))
    callers = queue_up(shared, held, [[somebody(0)]])
    pid = fork_and_append(shared, somebody(1))
    held.release()
    callers.wait()
    assert exit_code(pid) == 0
    assert shared.size() == 2


def test_a_process_forked_during_an_append_does_no_harm(shared: Ledger, held: HeldClock) -> None:
    """It appends or is told that it cannot; its parent goes on, and every entry is where it was acknowledged."""
    said = somebody(1)
    callers = queue_up(shared, held, [[somebody(0)]])
    pid = fork_and_append(shared, said)
    held.release()
    (entries,) = callers.wait()
    assert exit_code(pid) in (0, 7)
    assert entries[0].leaf_index == 0
    assert shared.append([said])[0].leaf_index == 1
    assert shared.append([somebody(2)])[0].leaf_index == 2
    assert shared.audit().findings == ()


def test_a_process_forked_between_appends_can_append(shared: Ledger) -> None:
    """A server that opens its ledger first and forks its workers then: parent and child both go on."""
    shared.append([somebody(0)])
    assert not shared.decide("c" * 32, "spending", "credit_scoring").allowed
    assert exit_code(fork_and_append(shared, somebody(1))) == 0
    assert shared.append([somebody(2)])[0].leaf_index == 2
    assert shared.audit().findings == ()


def test_readers_are_not_held_up_by_a_writer(shared: Ledger, held: HeldClock) -> None:
    """A question is answered while a transaction is under way, on what is on record by then."""
    shared.append([somebody(0)])
    callers = queue_up(shared, held, [[somebody(1)]])
    assert shared.size() == 1
    assert shared.history(f"{1:032x}") == []
    held.release()
    callers.wait()
    assert shared.size() == 2
