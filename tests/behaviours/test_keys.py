"""The log's key gives way to a new one; what was signed before stays good, and the old key signs nothing more."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consent.errors import AssentError, BadInput, Conflict, EvidenceError
from consent.evidence.handover import LogKeys
from consent.evidence.notes import Signer
from consent.home import Home
from consent.ledger import Ledger
from consent.nouns import ANY, Kind
from tests.behaviours.shops import Shop, ask
from tests.consent.consent_samples import ANNA, BELA, CHEN, NOW, Clock, event, given, withdrawn
from tests.consent.log_samples import NEXT, THIRD

Attempt = Callable[[Ledger], Any]
WRITES: dict[str, Attempt] = {
    "append": lambda ledger: ledger.append([given(CHEN)]),
    "sign": lambda ledger: ledger.checkpoint(),
    "erase": lambda ledger: ledger.erase(event(Kind.ERASED, BELA, ANY, ANY), blank=True),
    "hand over": lambda ledger: ledger.hand_over(THIRD),
}


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """Two entries, signed with the old key, and one more."""
    ledger.append([given(), given(BELA)])
    ledger.checkpoint()
    ledger.append([given(purpose="model_training")])
    return ledger


class TestHandingOver:
    def test_old_and_new_checkpoints_verify_along_the_chain(
        self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock
    ) -> None:
        """Who holds the first key alone follows the handovers to the key of any checkpoint."""
        old = filled.checkpoint()
        first = filled.hand_over(NEXT)
        filled.append([given(CHEN)])
        middle = filled.checkpoint()
        second = filled.hand_over(THIRD)
        filled.append([withdrawn()])
        new = filled.checkpoint()
        assert filled.handovers() == [first, second]
        keys = LogKeys.follow(signer.verifier, filled.handovers())
        signed = [keys.verified(note or b"") for note in (old, middle, new)]
        assert [(at.tree_size, key) for at, key in signed] == [
            (3, signer.verifier),
            (4, NEXT.verifier),
            (5, THIRD.verifier),
        ]
        assert (filled.audit().findings, filled.audit().checkpoints) == ((), 4)
        for note, size in ((old, 3), (middle, 4), (new, 5)):
            assert filled.require_checkpoint(note or b"") == size
        again = shop.open(THIRD, clock, held=signer.verifier)
        assert again.audit().findings == ()
        assert again.append([given(CHEN, purpose="model_training")])[0].leaf_index == 5

    def test_decisions_go_on(self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock) -> None:
        """Whoever has the new key, in this process or another, reads what was recorded under the old one."""
        filled.hand_over(NEXT)
        for ledger in (filled, shop.open(NEXT, clock, held=signer.verifier)):
            assert ask(ledger).allowed
            assert ledger.verifier == NEXT.verifier

    def test_an_empty_ledger_can_change_its_key(self, ledger: Ledger) -> None:
        """Before the first entry too."""
        ledger.hand_over(NEXT)
        ledger.append([given()])
        ledger.checkpoint()
        assert ledger.audit().findings == ()

    @pytest.mark.parametrize("write", WRITES)
    def test_the_old_key_writes_nothing_more(
        self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock, write: str
    ) -> None:
        """Neither in a process that goes on with it, nor in one that opens the ledger with it."""
        running = shop.open(signer, clock)
        running.append([given(CHEN, purpose="model_training")])
        filled.hand_over(NEXT)
        before = shop.plainly("SELECT count(*) FROM event UNION ALL SELECT count(*) FROM checkpoint")
        for old in (running, shop.open(signer, clock)):
            with pytest.raises(AssentError):
                WRITES[write](old)
        assert shop.plainly("SELECT count(*) FROM event UNION ALL SELECT count(*) FROM checkpoint") == before
        assert ask(filled).allowed

    @pytest.mark.parametrize("write", WRITES)
    def test_the_old_key_is_told_that_it_is_old(
        self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock, write: str
    ) -> None:
        """Nothing was tampered with: the keyring is not the newest, and the remedy says so."""
        filled.hand_over(NEXT)
        filled.append([given(CHEN)])
        with pytest.raises(Conflict, match="handed over"):
            WRITES[write](shop.open(signer, clock))

    def test_a_second_call_returns_the_same_note(
        self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock
    ) -> None:
        """After a crash somebody tries again: with the old key at hand, or with the new one already."""
        running = shop.open(signer, clock)
        assert ask(running).allowed
        note = filled.hand_over(NEXT)
        assert filled.hand_over(NEXT) == note
        assert running.hand_over(NEXT) == note
        assert shop.open(signer, clock).hand_over(NEXT) == note
        assert shop.open(NEXT, clock, held=signer.verifier).hand_over(NEXT) == note
        assert filled.handovers() == [note]

    def test_a_key_is_not_handed_over_to_itself(self, filled: Ledger, signer: Signer) -> None:
        """Nothing would change; the ledger stays as it is."""
        with pytest.raises(BadInput):
            filled.hand_over(signer)
        assert filled.handovers() == []
        assert filled.append([given(CHEN)])[0].leaf_index == 3

    def test_who_ends_a_handover_that_another_began_goes_on_with_the_new_key(
        self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock
    ) -> None:
        """The second call changes the key at hand too: it writes, signs and reads."""
        running = shop.open(signer, clock)
        assert ask(running).allowed
        filled.hand_over(NEXT)
        running.hand_over(NEXT)
        assert running.append([given(CHEN)])[0].leaf_index == 3
        assert LogKeys.follow(signer.verifier, running.handovers()).verified(running.checkpoint() or b"")
        assert ask(running).allowed

    @pytest.mark.parametrize("read", [ask, Ledger.now, Ledger.head])
    def test_a_reader_with_the_old_key_is_told_that_it_is_old(
        self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock, read: Attempt
    ) -> None:
        """A service that runs on while a command rotates: it decides nothing, and nothing was tampered with."""
        running = shop.open(signer, clock)
        assert ask(running).allowed
        filled.hand_over(NEXT)
        for old in (running, shop.open(signer, clock)):
            with pytest.raises(Conflict, match="handed over"):
                read(old)

    @pytest.mark.parametrize("entries", [0, 1])
    def test_two_handovers_with_nothing_between_are_two(
        self, ledger: Ledger, signer: Signer, entries: int
    ) -> None:
        """The new key was lost on the day it was made, and nothing was recorded that day."""
        ledger.append([given(f"{i:032x}") for i in range(entries)])
        ledger.hand_over(NEXT)
        ledger.hand_over(THIRD)
        assert LogKeys.follow(signer.verifier, ledger.handovers()).newest == THIRD.verifier
        ledger.append([given(CHEN)])
        assert ledger.audit().findings == ()

    def test_a_stranger_takes_over_nothing(self, filled: Ledger, shop: Shop, clock: Clock) -> None:
        """A key that was never handed the log cannot hand it on, nor read it as its own."""
        with pytest.raises(AssentError):
            shop.open(THIRD, clock).hand_over(NEXT)
        with pytest.raises(EvidenceError):
            ask(shop.open(THIRD, clock))
        assert filled.handovers() == []
        assert filled.audit().findings == ()

    @pytest.mark.parametrize(
        "forge",
        [
            "DELETE FROM handover",
            "UPDATE handover SET number = 7",
            "UPDATE handover SET note = (SELECT note FROM checkpoint WHERE tree_size = 2)",
        ],
    )
    def test_a_forged_handover_is_found(self, filled: Ledger, shop: Shop, forge: str) -> None:
        """Without it the newer checkpoints are signed by nobody who was given the log."""
        filled.hand_over(NEXT)
        filled.append([given(CHEN)])
        filled.checkpoint()
        shop.behind_our_back(forge)
        report = filled.audit()
        if forge.endswith("= 7"):  # the number only sorts
            assert report.findings == ()
        else:
            assert report.findings
        if "SET note" in forge:
            assert report.findings[-1].what.startswith("a key handover is wrong")


class TestHome:
    """`Home.rotate_log_key` has two steps: the ledger's handover, then the keyring's."""

    @pytest.fixture
    def home(self, shop: Shop, tmp_path: Path) -> Home:
        """A home whose ledger is in the shop's database, or in its own file."""
        address = shop.database if isinstance(shop.database, str) else None
        home = Home.create(tmp_path / "home", ledger=address)
        home.ledger.append([given(at=NOW, origin="imported")])
        return home

    @staticmethod
    def _is_whole(home: Home, first: Any, entries: int) -> None:
        again = Home.open(home.root)
        origin = again.settings.origin
        assert again.keyring.first_log_key(origin) == first
        again.ledger.checkpoint()
        report = again.ledger.audit()
        assert (report.findings, report.entries) == ((), entries)
        assert again.ledger.verifier == again.keyring.log_signer(origin).verifier
        assert again.ledger.decide(ANNA, "spending", "credit_scoring").allowed
        again.ledger.close()

    def test_it_rotates_as_often_as_one_likes(self, home: Home) -> None:
        """Each time another key, and the first one is what auditors go on holding."""
        first = home.ledger.verifier
        for entries in (2, 3):
            before = home.ledger.verifier
            home.rotate_log_key()
            assert home.ledger.verifier != before
            home.ledger.append([given(f"{entries:032x}", at=NOW, origin="imported")])
            self._is_whole(home, first, entries)
        home.ledger.close()

    def test_a_crash_between_the_steps_is_mended_by_running_it_again(self, home: Home) -> None:
        """The ledger has changed hands, the keyring has not: the second run ends what the first began."""
        first, origin = home.ledger.verifier, home.settings.origin
        note = home.ledger.hand_over(home.keyring.next_log_signer(origin))
        home.ledger.close()
        again = Home.open(home.root)
        assert again.rotate_log_key() == note
        again.ledger.append([given(BELA, at=NOW, origin="imported")])
        again.ledger.close()
        self._is_whole(home, first, 2)

    def test_a_crash_before_the_steps_is_mended_by_running_it_again(self, home: Home) -> None:
        """The next key is made, and nothing else: it is the one that is used."""
        first, origin = home.ledger.verifier, home.settings.origin
        made = home.keyring.next_log_signer(origin).verifier
        home.ledger.close()
        again = Home.open(home.root)
        again.rotate_log_key()
        assert again.ledger.verifier == made
        again.ledger.close()
        self._is_whole(home, first, 1)

    def test_a_new_home_with_the_same_keys_begins_with_the_key_of_now(
        self, home: Home, tmp_path: Path
    ) -> None:
        """Its log has never had another; only the log that was handed over has a first key to remember."""
        first = home.ledger.verifier
        home.rotate_log_key()
        other = Home.create(tmp_path / "other", keys=home.keys)
        other.ledger.append([given(at=NOW, origin="imported")])
        assert other.ledger.audit().findings == ()
        assert home.keyring.first_log_key(home.settings.origin) == first
        assert home.keyring.first_log_key(other.settings.origin) == other.ledger.verifier
