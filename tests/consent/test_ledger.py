"""The ledger's rules on what it takes in, and what it promises about it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.decide import decide
from consent.errors import AssentError, BadInput, Conflict, EvidenceError, IllegalTransition, Unavailable
from consent.ledger import Ledger, new_event_id
from consent.notes import Signer, parse_checkpoint, verify_note
from consent.nouns import ANY, Decision, Event, Kind, Reason
from tests.consent.consent_samples import (
    ANNA,
    BELA,
    DAY,
    EVIDENCE,
    NOW,
    YEAR,
    Clock,
    event,
    given,
    withdrawn,
)


def ask(ledger: Ledger, subject: str = ANNA, *, as_of: Any = NOW) -> Decision:
    return decide(ledger.facts(subject), "spending", "credit_scoring", data_at=None, as_of=as_of)


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
            given(data_life=30 * DAY, retention=YEAR, replaces="older"),
            given(BELA, origin="imported", at=NOW - YEAR),
            event(Kind.REFUSED, purpose="model_training"),
            event(Kind.LINKED, purpose=ANY, co_subject=BELA),
            withdrawn(source=ANY, purpose=ANY),
        ]
        appended = ledger.append(events)
        assert [r.event for r in appended] == events
        assert ledger.history(ANNA) + ledger.history(BELA) == [
            *[r for r in appended if r.event.subject_key == ANNA],
            *[r for r in appended if r.event.subject_key == BELA],
        ]
        assert ledger.find_event(events[0].event_id) == appended[0]
        assert ledger.find_event("f" * 32) is None
        assert ledger.facts(ANNA).co_subjects == {BELA: (appended[1],)}

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


class TestTransitions:
    """DESIGN 4.2: "Illegal transitions are rejected with the state they met"."""

    @pytest.mark.parametrize(
        ("before", "state", "no"),
        [
            ([], "NO_GRANT", withdrawn()),
            ([], "NO_GRANT", withdrawn(source=ANY, purpose=ANY)),
            ([event(Kind.REFUSED)], "NO_GRANT", withdrawn()),
            ([event(Kind.REFUSED)], "NO_GRANT", withdrawn(purpose=ANY)),
            ([given(), withdrawn()], "WITHDRAWN", withdrawn()),
            ([given(), withdrawn()], "WITHDRAWN", withdrawn(source=ANY, purpose=ANY)),
            ([given(), withdrawn(source=ANY, purpose=ANY)], "WITHDRAWN", withdrawn()),
            ([given(purpose="model_training")], "NO_GRANT", withdrawn()),
            ([given(source="employment")], "NO_GRANT", withdrawn(purpose=ANY)),
            ([given(BELA)], "NO_GRANT", withdrawn(source=ANY, purpose=ANY)),
            ([given(), event(Kind.REFUSED)], "NO_GRANT", withdrawn()),
        ],
    )
    def test_there_must_be_something_to_withdraw(
        self, ledger: Ledger, before: list[Event], state: str, no: Event
    ) -> None:
        """A withdrawal that meets no grant is refused and told which state it met."""
        ledger.append(before)
        with pytest.raises(IllegalTransition, match=state):
            ledger.append([no])

    def test_a_wide_withdrawal_needs_one_grant_to_meet(self, ledger: Ledger) -> None:
        """Of several grants one in force is enough, and all of them end."""
        ledger.append([given(), given(purpose="model_training"), withdrawn()])
        ledger.append([withdrawn(source="spending", purpose=ANY)])
        for purpose in ("credit_scoring", "model_training"):
            decision = decide(ledger.facts(ANNA), "spending", purpose, data_at=None, as_of=NOW)
            assert decision.reason is Reason.WITHDRAWN

    def test_a_withdrawn_grant_can_be_followed_by_a_new_one(self, ledger: Ledger, clock: Clock) -> None:
        """A new given is a new grant, and can be withdrawn in its turn."""
        ledger.append([given(), withdrawn()])
        ledger.append([given(at=clock.step(60))])
        assert ask(ledger, as_of=clock.now).allowed
        ledger.append([withdrawn(at=clock.step(60))])
        assert ask(ledger, as_of=clock.now).reason is Reason.WITHDRAWN

    def test_a_terminal_grant_never_revives(self, ledger: Ledger, clock: Clock) -> None:
        """DESIGN 4.2: the same grant given again is refused with its state, on record and inside one batch."""
        agreed = given(grant_id="G1")
        ledger.append([agreed, withdrawn(), given(purpose="model_training", grant_id="G1")])
        again = given(at=clock.step(60), grant_id="G1")
        with pytest.raises(IllegalTransition, match="WITHDRAWN"):
            ledger.append([again])
        with pytest.raises(IllegalTransition, match="once"):
            ledger.append([given(BELA, grant_id="G2"), given(BELA, grant_id="G2")])

    def test_a_grant_that_has_not_begun_can_be_withdrawn_for_good(self, ledger: Ledger, clock: Clock) -> None:
        """What is withdrawn before it begins never begins, and cannot be withdrawn twice."""
        ledger.append([given(at=NOW + 7 * DAY)])
        ledger.append([withdrawn(at=clock.step(DAY.total_seconds()))])
        assert ask(ledger, as_of=NOW + 8 * DAY).reason is Reason.WITHDRAWN
        with pytest.raises(IllegalTransition, match="WITHDRAWN"):
            ledger.append([withdrawn(at=clock.now)])

    def test_a_renewal_that_has_not_begun_can_be_withdrawn_after_the_first_grant_was(
        self, ledger: Ledger, clock: Clock
    ) -> None:
        """Withdrawn now, given from next week on: that is something to withdraw."""
        ledger.append([given(), withdrawn()])
        clock.step(3600)
        ledger.append([given(at=NOW + 7 * DAY)])
        ledger.append([withdrawn(at=clock.step(3600))])
        assert ask(ledger, as_of=NOW + 8 * DAY).reason is Reason.WITHDRAWN

    def test_a_late_withdrawal_is_taken_when_the_grant_was_in_force_then(
        self, ledger: Ledger, clock: Clock
    ) -> None:
        """DESIGN 4.3: an earlier withdrawal that arrives late counts from its effective time."""
        clock.step(10 * DAY.total_seconds())
        ledger.append([given(at=NOW, origin="imported"), withdrawn(at=NOW + 9 * DAY)])
        ledger.append([withdrawn(at=NOW + 5 * DAY, origin="imported")])
        assert ask(ledger, as_of=NOW + 6 * DAY).reason is Reason.WITHDRAWN
        assert ask(ledger, as_of=NOW + 4 * DAY).allowed

    def test_consent_to_joint_data_can_be_withdrawn_whatever_the_other_said(self, ledger: Ledger) -> None:
        """A link takes nobody's right to withdraw: it is the subject's own grant that counts."""
        ledger.append([given(), event(Kind.LINKED, purpose=ANY, co_subject=BELA)])
        ledger.append([withdrawn()])
        with pytest.raises(IllegalTransition, match="WITHDRAWN"):
            ledger.append([withdrawn()])

    def test_an_expired_grant_can_still_be_withdrawn(self, ledger: Ledger, clock: Clock) -> None:
        """The person's no is worth recording, also after the end."""
        ledger.append([given(until=NOW + DAY)])
        clock.step(2 * DAY.total_seconds())
        ledger.append([withdrawn(at=clock.now)])
        assert ask(ledger, as_of=clock.now).reason is Reason.WITHDRAWN


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


class TestSoundness:
    def test_a_back_dated_grant_is_refused_and_an_imported_one_taken(self, ledger: Ledger) -> None:
        """DESIGN 4.9: no earlier than it was recorded, less a small skew; an import says so in every answer."""
        with pytest.raises(BadInput, match="before it was recorded"):
            ledger.append([given(at=NOW - timedelta(minutes=5, microseconds=1))])
        ledger.append([given(BELA, at=NOW - timedelta(minutes=5))])
        ledger.append([given(at=NOW - DAY, origin="imported")])
        assert ask(ledger, as_of=NOW - timedelta(hours=1)).imported
        assert not ask(ledger, BELA).imported

    @pytest.mark.parametrize(
        ("broken", "message"),
        [
            (lambda: given(until=NOW), "ends before it begins"),
            (lambda: given(source=ANY), "every source"),
            (lambda: given(purpose=ANY), "every purpose"),
            (lambda: event(Kind.REFUSED, purpose=ANY), "every purpose"),
            (lambda: event(Kind.LINKED, source=ANY, purpose=ANY, co_subject=BELA), "every source"),
            (lambda: event(Kind.LINKED, purpose=ANY), "co-subject"),
            (lambda: event(Kind.LINKED, purpose=ANY, co_subject=ANNA), "their own"),
            (lambda: event(Kind.GIVEN), "terms"),
            (lambda: replace(given(), kind=Kind.REFUSED), "terms"),
            (lambda: replace(given(), co_subject_key=BELA), "co-subject"),
            (lambda: replace(given(origin="imported"), evidence_hash=None), "evidence"),
            (lambda: withdrawn(at=NOW + timedelta(minutes=5, microseconds=1)), "now or in the past"),
            (lambda: replace(given(), channel=""), "channel"),
            (lambda: replace(given(), channel="line\nbreak"), "channel"),
            (lambda: replace(given(), channel="\ud800"), "channel"),
            (lambda: replace(given(), actor="x" * 301), "actor"),
            (lambda: given(until=NOW.replace(year=9999)), "expires_at is beyond"),
            (lambda: given(data_life=timedelta(days=999_999_999)), "data_life is beyond"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(
        self, ledger: Ledger, broken: Callable[[], Event], message: str
    ) -> None:
        """An event that contradicts itself is refused before anything is written, without quoting it."""
        ledger.append([given(BELA)])
        with pytest.raises(BadInput, match=message) as caught:
            ledger.append([broken()])
        assert ledger.size() == 1
        assert ANNA not in str(caught.value) + caught.value.remedy
        assert EVIDENCE not in str(caught.value)


class TestOpening:
    def test_a_ledger_is_created_once(self, tmp_path: Path, signer: Signer) -> None:
        """What exists is never overwritten."""
        Ledger.create(tmp_path / "l.db", signer).close()
        with pytest.raises(Conflict):
            Ledger.create(tmp_path / "l.db", signer)

    def test_a_missing_ledger_is_unavailable(self, tmp_path: Path, signer: Signer) -> None:
        """Nothing is decided from an empty file made by mistake."""
        with pytest.raises(Unavailable):
            Ledger.open(tmp_path / "l.db", signer)

    @pytest.mark.parametrize("content", [b"", b"not a database, but long enough to be looked at " * 9])
    def test_a_file_that_is_no_ledger_decides_nothing(
        self, tmp_path: Path, signer: Signer, content: bytes
    ) -> None:
        """Reading and writing fail with an error of ours."""
        (tmp_path / "l.db").write_bytes(content)
        ledger = Ledger.open(tmp_path / "l.db", signer)
        for attempt in (
            ledger.size,
            lambda: ledger.facts(ANNA),
            lambda: ledger.append([given()]),
            ledger.audit,
        ):
            with pytest.raises(AssentError):
                attempt()

    @pytest.mark.parametrize("name", ["100% sure?", "a&b=c#d", "同意 记录", "it's"])
    def test_any_folder_name_will_do(self, tmp_path: Path, signer: Signer, name: str) -> None:
        """A path is a path, whatever signs it holds."""
        (tmp_path / name).mkdir()
        ledger = Ledger.create(tmp_path / name / "ledger.db", signer)
        ledger.append([given(at=NOW, origin="imported")])
        ledger.close()
        assert [p.name for p in (tmp_path / name).iterdir()] == ["ledger.db"]
        assert Ledger.open(tmp_path / name / "ledger.db", signer).size() == 1

    def test_only_its_owner_can_read_it(self, tmp_path: Path, signer: Signer) -> None:
        """The file is private from the first moment on."""
        Ledger.create(tmp_path / "l.db", signer)
        assert {p.stat().st_mode & 0o077 for p in tmp_path.glob("l.db*")} == {0}

    def test_event_ids_are_fresh_and_ordered_in_time(self) -> None:
        """UUIDv7: version and variant bits in place, never twice."""
        ids = [new_event_id() for _ in range(1000)]
        assert len(set(ids)) == 1000
        assert {i[12] for i in ids} == {"7"}
        assert {i[16] for i in ids} <= set("89ab")
        assert [i[:12] for i in ids] == sorted(i[:12] for i in ids)


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


class TestHeldCheckpoint:
    """A checkpoint kept elsewhere shows what the ledger alone cannot."""

    def test_a_later_ledger_still_holds_it(self, ledger: Ledger) -> None:
        """What was appended since does not matter."""
        ledger.append([given()])
        held = ledger.checkpoint()
        ledger.append([given(BELA), given(purpose="model_training")])
        assert held is not None
        assert ledger.require_checkpoint(held) == 1

    def test_a_rewritten_or_cut_ledger_does_not(self, tmp_path: Path, clock: Clock) -> None:
        """Another history under the same key passes its own audit, and fails against the held note."""
        signer = Signer("assent/test", Ed25519PrivateKey.from_private_bytes(b"k" * 32))
        first = Ledger.create(tmp_path / "first.db", signer, clock)
        first.append([given()])
        one = first.checkpoint()
        first.append([given(BELA)])
        two = first.checkpoint()
        again = Ledger.create(tmp_path / "again.db", signer, clock)
        again.append([given()])
        assert again.audit().findings == ()
        assert one is not None
        assert two is not None
        with pytest.raises(EvidenceError, match="are not those the checkpoint pins"):
            again.require_checkpoint(one)
        with pytest.raises(EvidenceError, match="pins 2 entries, the ledger holds 1"):
            again.require_checkpoint(two)
        with pytest.raises(EvidenceError):
            again.require_checkpoint(two.replace(b"\n2\n", b"\n1\n"))


def test_a_withdrawal_dated_before_any_grant_is_refused_not_swallowed(ledger: Ledger) -> None:
    """A mistyped year must not lose a withdrawal: it would change nothing, so it is told."""
    ledger.append([given()])
    early = replace(withdrawn(), effective_at=NOW - timedelta(days=2000))
    with pytest.raises(IllegalTransition, match="dated before any of it was given"):
        ledger.append([early])


def test_a_ledger_file_that_is_replaced_is_read_anew(tmp_path: Path, signer: Signer, clock: Clock) -> None:
    """A reader does not go on with a file that another has taken the place of."""
    reader = Ledger.create(tmp_path / "ledger.db", signer, clock)
    reader.append([given()])
    assert ask(reader).allowed
    other = Ledger.create(tmp_path / "other.db", signer, clock)
    other.append([given(), withdrawn()])
    other.close()
    for name in ("ledger.db-wal", "ledger.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    (tmp_path / "other.db").replace(tmp_path / "ledger.db")
    assert not ask(reader).allowed
