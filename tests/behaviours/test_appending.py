"""What the ledger promises of what it takes in: one order, once, whole, and never back in time."""

import threading
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from consent.encoding import to_statement
from consent.errors import Conflict, IllegalTransition
from consent.evidence.notes import Signer, parse_checkpoint, verify_note
from consent.ledger import Ledger
from consent.nouns import ANY, Kind, Reason
from tests.behaviours.shops import Shop, ask
from tests.consent.consent_samples import ANNA, BELA, DAY, NOW, YEAR, Clock, event, given, withdrawn


class TestAppending:
    def test_entries_are_numbered_from_zero_in_the_order_given(self, ledger: Ledger) -> None:
        """Each event gets the next place, across batches, and the answer keeps the order of the question."""
        first = ledger.append([given(), given(BELA)])
        second = ledger.append([withdrawn(BELA)])
        assert [r.leaf_index for r in first + second] == [0, 1, 2]
        assert [r.event.subject_key for r in first + second] == [ANNA, BELA, BELA]
        assert ledger.size() == 3

    def test_what_is_read_back_is_what_was_appended(self, ledger: Ledger) -> None:
        """Every field survives the table, for every kind of statement."""
        events = [
            given(data_life=30 * DAY, retention=YEAR, data_until=NOW, grant_id="older"),
            given(BELA, origin="imported", at=NOW - YEAR),
            given(replaces="older", grant_id="newer"),
            event(Kind.REFUSED, purpose="model_training"),
            event(Kind.LINKED, purpose=ANY, co_subject=BELA),
            event(Kind.PAUSED, purpose=ANY),
            event(Kind.HOLD_PLACED, source=ANY, purpose=ANY, hold_id="case 7", basis="court order"),
            event(Kind.REVOKED, source=ANY, basis="minor", indicated_by="guardian"),
            given(BELA, purpose="fraud_detection", grant_id="void"),
            event(
                Kind.INVALIDATED,
                BELA,
                purpose="fraud_detection",
                grant_id="void",
                basis="notice",
                indicated_by="authority",
            ),
        ]
        appended = ledger.append(events)
        assert [r.event for r in appended] == events
        assert ledger.history(ANNA) + ledger.history(BELA) == [
            *[r for r in appended if r.event.subject_key == ANNA],
            *[r for r in appended if r.event.subject_key == BELA],
        ]
        assert ledger.find_event(events[0].event_id) == appended[0]
        assert ledger.find_event("f" * 32) is None
        facts = ledger.facts(ANNA)
        assert facts.statements == tuple(to_statement(r) for r in appended if r.event.subject_key == ANNA)
        assert facts.co_subjects == {BELA: (to_statement(appended[1]), *map(to_statement, appended[-2:]))}

    def test_the_same_event_twice_is_recorded_once(self, ledger: Ledger) -> None:
        """The event id is the idempotency key: the same content again gives the first entry, also in one batch."""
        agreed = given()
        (first,) = ledger.append([agreed])
        again = ledger.append([agreed, agreed, given(BELA)])
        assert again[:2] == [first, first]
        assert again[2].leaf_index == 1
        assert ledger.size() == 2

    def test_the_same_id_with_other_content_is_a_conflict(self, ledger: Ledger) -> None:
        """An id on record cannot come to mean something else, neither later nor inside one batch."""
        agreed = given()
        ledger.append([agreed])
        other = replace(agreed, purpose="model_training")
        with pytest.raises(Conflict, match="other content"):
            ledger.append([other])
        fresh = given(BELA)
        with pytest.raises(Conflict, match="other content"):
            ledger.append([fresh, replace(fresh, channel="phone")])
        assert ledger.size() == 1

    def test_a_batch_is_recorded_whole_or_not_at_all(self, ledger: Ledger) -> None:
        """One event that does not fit leaves nothing of its batch, and no checkpoint."""
        ledger.append([given(BELA)])
        before = ledger.checkpoint()
        with pytest.raises(IllegalTransition):
            ledger.append([given(), withdrawn(), withdrawn()])
        assert (ledger.size(), ledger.checkpoint()) == (1, before)
        assert ledger.history(ANNA) == []

    def test_nothing_to_append_leaves_no_checkpoint(self, ledger: Ledger) -> None:
        """An empty batch, and a repeated one, sign nothing new."""
        assert ledger.append([]) == []
        assert ledger.checkpoint() is None
        assert (ledger.audit().findings, ledger.audit().entries) == ((), 0)
        agreed = given()
        ledger.append([agreed])
        before = ledger.checkpoint()
        ledger.append([agreed])
        assert ledger.checkpoint() == before

    def test_every_batch_is_signed(self, ledger: Ledger, signer: Signer) -> None:
        """After each append there is a note by the log's key over exactly the entries so far."""
        for size in (1, 2, 3):
            ledger.append([given(f"{size:032x}")])
            note = ledger.checkpoint()
            assert note is not None
            signed = parse_checkpoint(verify_note(note, [signer.verifier]))
            assert (signed.origin, signed.tree_size) == (signer.name, size)
            assert signed.root == ledger.audit().root

    def test_rows_come_in_order_and_in_chunks(self, ledger: Ledger) -> None:
        """An export gives every entry once, in ledger order, whatever the chunk."""
        ledger.append([given(f"{i:032x}") for i in range(10)])
        chunks = list(ledger.rows(("leaf_index", "subject_key"), chunk=4))
        assert [len(c) for c in chunks] == [4, 4, 2]
        assert [row for c in chunks for row in c] == [(i, f"{i:032x}") for i in range(10)]


class TestClock:
    def test_a_small_step_back_is_held_at_the_last_entry(self, ledger: Ledger, clock: Clock) -> None:
        """Up to sixty seconds back the ledger keeps its order instead of refusing."""
        (first,) = ledger.append([given()])
        clock.step(-60)
        (second,) = ledger.append([given(BELA, at=clock.now)])
        assert second.recorded_at == first.recorded_at == NOW
        assert ledger.audit().findings == ()

    def test_a_large_step_back_is_refused(self, ledger: Ledger, clock: Clock) -> None:
        """Beyond that entries would be back-dated, so nothing is written."""
        ledger.append([given()])
        clock.step(-60.000001)
        with pytest.raises(Conflict, match="clock"):
            ledger.append([withdrawn(at=clock.now)])
        assert ledger.size() == 1

    @pytest.mark.parametrize("behind", [1, 30, 60])
    def test_a_withdrawal_while_the_clock_is_behind_counts_at_once(
        self, ledger: Ledger, clock: Clock, behind: int
    ) -> None:
        """It is denied at the very next read, and still when the clock has caught up with the grant."""
        ledger.append([given()])
        now = clock.step(-behind)
        ledger.append([withdrawn(at=now)])
        for later in (
            timedelta(0),
            timedelta(seconds=behind),
            timedelta(seconds=behind, microseconds=1),
            DAY,
        ):
            assert not ask(ledger, as_of=now + later).allowed

    def test_a_withdrawal_by_a_clock_that_is_ahead_counts_at_once(self, ledger: Ledger) -> None:
        """A no does not wait for the ledger's clock to reach the sender's."""
        ledger.append([given()])
        ledger.append([withdrawn(at=NOW + timedelta(minutes=4))])
        assert ask(ledger, as_of=NOW).reason is Reason.WITHDRAWN


class TestSigning:
    def _signed(self, shop: Shop) -> list[int]:
        return [size for (size,) in shop.plainly("SELECT tree_size FROM checkpoint ORDER BY tree_size")]

    def test_a_checkpoint_is_signed_at_the_first_entry_and_after_a_minute(
        self, ledger: Ledger, shop: Shop, clock: Clock
    ) -> None:
        """Whatever was recorded can be held against the operator a minute later at most."""
        ledger.append([given()])
        assert self._signed(shop) == [1]
        clock.step(59.999999)
        ledger.append([given(BELA, at=clock.now)])
        assert self._signed(shop) == [1]
        clock.step(0.000001)
        ledger.append([given(BELA, at=clock.now), given(BELA, at=clock.now)])
        assert self._signed(shop) == [1, 4]

    def test_a_checkpoint_is_signed_after_ten_thousand_entries(self, ledger: Ledger, shop: Shop) -> None:
        """However fast they come."""
        ledger.append([given()])
        ledger.append([given(f"{i:032x}") for i in range(9_999)])
        assert self._signed(shop) == [1]
        ledger.append([given(BELA)])
        assert self._signed(shop) == [1, 10_001]

    def test_another_process_counts_from_the_same_checkpoint(
        self, ledger: Ledger, shop: Shop, signer: Signer, clock: Clock
    ) -> None:
        """Each looks it up once, so many processes do not sign more than one."""
        ledger.append([given()])
        shop.open(signer, clock).append([given(BELA)])
        assert self._signed(shop) == [1]


class TestHead:
    def test_it_says_what_was_once_the_whole_ledger(self, ledger: Ledger) -> None:
        """Whoever has kept one can tell that nothing before it has changed; another history does not hold it."""
        empty = ledger.head()
        ledger.append([given()])
        one = ledger.head()
        assert (empty.tree_size, one.tree_size) == (0, 1)
        assert one.root == ledger.audit().root
        ledger.append([given(BELA)])
        assert ledger.head() != one
        assert ledger.holds(empty)
        assert ledger.holds(one)
        assert not ledger.holds(one._replace(root=bytes(32)))
        assert not ledger.holds(one._replace(tree_size=3))

    def test_now_is_never_before_the_last_entry(self, ledger: Ledger, clock: Clock) -> None:
        """A clock set back must not undo a withdrawal."""
        clock.step(-90)
        assert ledger.now() == clock.now
        clock.step(90)
        ledger.append([given()])
        clock.step(-90)
        assert ledger.now() == NOW
        clock.step(100)
        assert ledger.now() == clock.now


def test_eight_threads_share_one_ledger(ledger: Ledger) -> None:
    """Eight writers at once give a dense, verified order and each gets its own entries back."""
    answers: dict[int, list[Any]] = {}

    def write(number: int) -> None:
        answers[number] = [
            r
            for batch in range(3)
            for r in ledger.append([given(f"{number:016x}{batch:08x}{i:08x}") for i in range(3)])
        ]

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = [r for mine in answers.values() for r in mine]
    assert sorted(r.leaf_index for r in entries) == list(range(72))
    assert ledger.audit().findings == ()


def test_a_reader_is_not_held_up_by_many_threads(ledger: Ledger) -> None:
    """More threads than pooled connections wait their turn instead of failing."""
    ledger.append([given()])
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(ledger.size())) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 40
