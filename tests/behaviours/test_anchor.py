"""The ledger's head and its anchor: entries behind the head, yesterday's copy, a lost anchor."""

from collections.abc import Callable
from typing import Any

import pytest

from consent.anchor import Anchor
from consent.clock import micros
from consent.encoding import NONCE_BYTES, commitment, to_row
from consent.errors import AssentError, EvidenceError, Unavailable
from consent.evidence import merkle
from consent.evidence.notes import Signer, parse_checkpoint
from consent.ledger import Ledger
from consent.nouns import ANY, Event, Kind
from consent.schema import EVENT_COLUMNS
from consent.timeline import Gate
from tests.behaviours.shops import Shop, Statement, ask
from tests.consent.consent_samples import ANNA, BELA, CHEN, DAY, NOW, Clock, event, given, withdrawn

Attempt = Callable[[Ledger], Any]
DECIDE, TABLES, APPEND = (
    ask,
    lambda ledger: Gate(ledger).timeline(),
    lambda ledger: ledger.append([given(CHEN)]),
)
SIGN, NOW_AT = Ledger.checkpoint, Ledger.now


def erase(ledger: Ledger) -> Any:
    return ledger.erase(event(Kind.ERASED, BELA, ANY, ANY), blank=True)


def forged(leaf_index: int, said: Event) -> Statement:
    """An entry as an append would write it, with a commitment that fits."""
    row, nonce = to_row(said, micros(NOW)), bytes(NONCE_BYTES)
    values = (leaf_index, *row.values(), nonce, commitment(row, nonce))
    places = ", ".join("?" * len(values))
    return f"INSERT INTO event ({', '.join(EVENT_COLUMNS)}) VALUES ({places})", values


class TestHead:
    """Whoever can write to the database, but has not the log's key, is noticed at the next read."""

    @pytest.fixture(params=["the process that wrote it", "another process"])
    def filled(self, request: pytest.FixtureRequest, shop: Shop, signer: Signer, clock: Clock) -> Ledger:
        """Anna said no, and Bela yes; written here or elsewhere."""
        ledger = shop.create(signer, clock)
        ledger.append([given(BELA), given(), withdrawn()])
        return ledger if request.param == "the process that wrote it" else shop.open(signer, clock)

    @pytest.mark.parametrize("attempt", [DECIDE, TABLES, APPEND, NOW_AT, erase])
    def test_an_entry_behind_the_head_is_refused(self, filled: Ledger, shop: Shop, attempt: Attempt) -> None:
        """However well its commitment fits: nothing is decided on it, and nothing is built on it."""
        shop.plainly(forged(3, given()))
        with pytest.raises(EvidenceError):
            attempt(filled)

    def test_an_entry_about_the_co_subject_behind_the_head_is_refused(
        self, filled: Ledger, shop: Shop
    ) -> None:
        """Her yes is asked for too, so a forged one must not count."""
        shared = event(Kind.LINKED, CHEN, purpose=ANY, co_subject=BELA)
        filled.append([given(CHEN), shared])
        assert ask(filled, CHEN).allowed
        shop.plainly(forged(5, withdrawn(BELA)))
        for subject in (BELA, CHEN):
            with pytest.raises(EvidenceError):
                ask(filled, subject)

    def test_one_far_behind_the_head_stops_the_writers_too(self, filled: Ledger, shop: Shop) -> None:
        """It would become part of the log once the log has grown that far."""
        shop.behind_our_back(forged(1000, given()))
        with pytest.raises(EvidenceError):
            filled.append([given(CHEN)])

    def test_sending_again_what_stands_behind_the_head_is_refused(self, filled: Ledger, shop: Shop) -> None:
        """Nobody is told that it is on record: no head seals it, and no checkpoint will sign it."""
        said = withdrawn(BELA)
        shop.plainly(forged(3, said))
        with pytest.raises(EvidenceError):
            filled.append([said])

    def test_the_audit_names_it(self, filled: Ledger, shop: Shop) -> None:
        """At its place."""
        shop.plainly(forged(3, given()))
        (finding,) = filled.audit().findings
        assert (finding.leaf_index, finding.what) == (
            3,
            "the head of the ledger seals 3 entries, the last one there is number 3",
        )

    @pytest.mark.parametrize("anchored", [True, False])
    def test_an_entry_that_no_checkpoint_signs_yet_is_pinned_by_the_head(
        self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock, anchored: bool
    ) -> None:
        """Rewritten with a commitment that fits, between two checkpoints: the audit and the next writer notice."""
        filled.append([given(CHEN)])
        shop.behind_our_back("DELETE FROM event WHERE leaf_index = 3", forged(3, given(CHEN)))
        again = shop.open(signer, clock, anchored=anchored)
        findings = {f.what: f.leaf_index for f in again.audit().findings}
        assert findings.pop("the head seals other entries than there are") is None
        assert findings == ({"the anchor pins other entries than there are": 3} if anchored else {})
        with pytest.raises(EvidenceError):
            again.append([given(BELA, purpose="model_training")])

    def test_two_events_appended_onto_it_are_refused_by_an_error_of_ours(
        self, filled: Ledger, shop: Shop
    ) -> None:
        """Many rows go to the database by another way than one; its complaint quotes values."""
        shop.plainly(forged(3, given()))
        with pytest.raises(EvidenceError) as caught:
            filled.append([given(CHEN), given(CHEN, purpose="model_training")])
        assert CHEN not in str(caught.value)

    @pytest.mark.parametrize(
        "forge",
        [
            ("UPDATE head SET tree_size = 4", ()),
            ("UPDATE head SET recorded_at = recorded_at - 1", ()),
            ("UPDATE head SET root = ?", (bytes(32),)),
            ("UPDATE head SET seal = ?", (bytes(32),)),
            ("UPDATE head SET tree_size = 2, recorded_at = 0", ()),
            ("DELETE FROM head", ()),
        ],
        ids=lambda forge: forge[0],
    )
    @pytest.mark.parametrize("attempt", [DECIDE, TABLES, APPEND, NOW_AT])
    def test_an_edited_head_is_refused(
        self, filled: Ledger, shop: Shop, forge: Statement, attempt: Attempt
    ) -> None:
        """Its seal is made with the log's key."""
        shop.behind_our_back(forge)
        with pytest.raises(EvidenceError):
            attempt(filled)
        assert "head" in filled.audit().findings[0].what

    def test_an_older_head_put_back_is_refused(
        self, filled: Ledger, shop: Shop, signer: Signer, clock: Clock
    ) -> None:
        """Yesterday's head has yesterday's seal, but the anchor knows better, and entries stand behind it."""
        (head,) = shop.plainly("SELECT tree_size, recorded_at, root, seal FROM head")
        shop.open(signer, clock).append([given(CHEN)])
        shop.behind_our_back(("UPDATE head SET tree_size = ?, recorded_at = ?, root = ?, seal = ?", head))
        for attempt in (DECIDE, TABLES, APPEND, NOW_AT):
            with pytest.raises(EvidenceError):
                attempt(filled)

    @pytest.mark.parametrize("attempt", [DECIDE, TABLES, NOW_AT])
    def test_a_last_entry_that_is_gone_is_noticed(self, ledger: Ledger, shop: Shop, attempt: Attempt) -> None:
        """The head says three, there are two: the withdrawal is missing, and its grant must not count again."""
        ledger.append([given(BELA), given(), withdrawn()])
        shop.behind_our_back("DELETE FROM event WHERE leaf_index = 2")
        with pytest.raises(EvidenceError):
            attempt(ledger)

    def test_a_last_entry_that_is_gone_stops_the_writers(
        self, shop: Shop, ledger: Ledger, signer: Signer, clock: Clock
    ) -> None:
        """Another process cannot build on it, and the audit says what is missing."""
        ledger.append([given(), withdrawn()])
        shop.behind_our_back("DELETE FROM event WHERE leaf_index = 1")
        with pytest.raises(EvidenceError):
            shop.open(signer, clock).append([given(CHEN)])
        assert ledger.audit().findings[0].leaf_index == 1


class TestBackup:
    """A copy of yesterday holds less than the ledger has held: it decides nothing and signs nothing."""

    ATTEMPTS = (DECIDE, TABLES, APPEND, SIGN, NOW_AT, erase, lambda ledger: ledger.append([given(), given()]))

    @pytest.fixture
    def restored(self, ledger: Ledger, shop: Shop) -> Ledger:
        """The database as it was before Anna withdrew; the ledger is open all the while."""
        ledger.append([given(), given(BELA)])
        copy = shop.backup()
        ledger.append([withdrawn()])
        assert not ask(ledger).allowed
        shop.restore(copy)
        return ledger

    @pytest.mark.parametrize("attempt", ATTEMPTS)
    def test_who_has_it_open_is_refused(self, restored: Ledger, attempt: Attempt) -> None:
        """Also where the very next thing is to write."""
        with pytest.raises(EvidenceError, match="holds 2 entries, but it has held 3"):
            attempt(restored)

    def test_a_timeline_that_was_made_before_is_not_given_out(self, ledger: Ledger, shop: Shop) -> None:
        """Whole tables are asked about what is on record now, or not at all."""
        gate = Gate(ledger)
        ledger.append([given(), given(BELA)])
        copy = shop.backup()
        gate.timeline()
        ledger.append([withdrawn()])
        gate.timeline()
        shop.restore(copy)
        with pytest.raises(EvidenceError):
            gate.timeline()

    @pytest.mark.parametrize("attempt", ATTEMPTS)
    def test_who_opens_it_is_refused(
        self, restored: Ledger, shop: Shop, signer: Signer, clock: Clock, attempt: Attempt
    ) -> None:
        """A new process too; and it stays so, however often it tries."""
        again = shop.open(signer, clock)
        for _ in range(2):
            with pytest.raises(EvidenceError, match="holds 2 entries, but it has held 3"):
                attempt(again)

    def test_the_audit_says_how_many_are_missing(self, restored: Ledger) -> None:
        """From the first entry that is gone."""
        finding = restored.audit().findings[0]
        assert (finding.leaf_index, finding.what) == (
            2,
            "the log has held 3 entries but holds 2: entries are missing",
        )

    def test_the_newest_copy_is_as_good_as_the_ledger(self, ledger: Ledger, shop: Shop) -> None:
        """It goes on where it was."""
        ledger.append([given(), withdrawn()])
        copy = shop.backup()
        shop.restore(copy)
        assert not ask(ledger).allowed
        assert ledger.append([given(CHEN)])[0].leaf_index == 2
        assert ledger.audit().findings == ()

    def test_another_history_of_the_same_length_is_refused(
        self, shop: Shop, signer: Signer, clock: Clock
    ) -> None:
        """Made from the copy with the log's own key where no anchor is, and brought here."""
        ledger = shop.create(signer, clock)
        ledger.append([given(), given(BELA)])
        copy = shop.backup()
        ledger.append([withdrawn()])
        shop.restore(copy)
        shop.open(signer, clock, anchored=False).append([given(CHEN)])
        for attempt in (DECIDE, APPEND):
            with pytest.raises(EvidenceError, match="not those it has held"):
                attempt(shop.open(signer, clock))
        with pytest.raises(EvidenceError):
            ledger.append([given(CHEN, purpose="model_training")])
        assert "the anchor pins other entries than there are" in {f.what for f in ledger.audit().findings}


class TestLostAnchor:
    @pytest.fixture
    def lost(self, ledger: Ledger, shop: Shop) -> tuple[Ledger, bytes]:
        """A ledger whose anchor is gone, and a checkpoint of it that was kept elsewhere."""
        ledger.append([given(), given(BELA)])
        held = ledger.checkpoint()
        assert held is not None
        ledger.append([withdrawn()])
        ledger.close()
        shop.anchor.unlink()
        return ledger, held

    @pytest.mark.parametrize("attempt", [DECIDE, TABLES, APPEND, SIGN, NOW_AT, Ledger.audit])
    def test_without_it_nothing_is_decided(
        self, lost: tuple[Ledger, bytes], shop: Shop, signer: Signer, clock: Clock, attempt: Attempt
    ) -> None:
        """Nobody can tell whether the ledger is whole."""
        for ledger in (lost[0], shop.open(signer, clock)):
            with pytest.raises(Unavailable, match="anchor"):
                attempt(ledger)

    def test_a_held_checkpoint_mends_it(self, lost: tuple[Ledger, bytes], shop: Shop, signer: Signer) -> None:
        """The ledger holds what was held elsewhere, so it is trusted again, to its last entry."""
        ledger, held = lost
        assert ledger.re_anchor(held) == 2
        assert not ask(ledger).allowed
        assert Anchor(shop.anchor, signer.name).read().tree_size == 3
        ledger.append([given(CHEN)])
        assert ledger.audit().findings == ()
        assert shop.anchor.stat().st_mode & 0o077 == 0

    def test_a_checkpoint_of_another_history_does_not(
        self, lost: tuple[Ledger, bytes], shop: Shop, signer: Signer, tmp_path: Any
    ) -> None:
        """Neither one that pins other entries, nor one that pins more, nor one by another key or log."""
        ledger, held = lost
        other = Ledger.create(tmp_path / "other.db", signer, Clock())
        other.append([given(), given(CHEN)])
        shorter = other.checkpoint()
        other.append([given(BELA), given(BELA, purpose="model_training")])
        longer = other.checkpoint()
        stranger = Ledger.create(
            tmp_path / "stranger.db", Signer("assent/other", signer.private_key), Clock()
        )
        stranger.append([given(), given(BELA)])
        foreign = stranger.checkpoint()
        for opened in (other, stranger):
            opened.close()
        for note in (shorter, longer, foreign, held[:-4] + b"AAA\n", b""):
            assert note is not None
            with pytest.raises(EvidenceError):
                ledger.re_anchor(note)
            assert not shop.anchor.exists()

    @pytest.mark.parametrize("text", [b"", b"nonsense", b"assent/test\n1\n", b"\xff\xfe"])
    def test_a_damaged_one_is_no_anchor(self, ledger: Ledger, shop: Shop, text: bytes) -> None:
        """An emptied file is not the anchor of an empty log."""
        ledger.append([given()])
        shop.anchor.write_bytes(text)
        for attempt in (DECIDE, APPEND, NOW_AT):
            with pytest.raises(AssentError):
                attempt(ledger)

    def test_one_of_another_log_is_no_anchor(self, ledger: Ledger, shop: Shop) -> None:
        """The keys of another home were mounted."""
        ledger.append([given()])
        ledger.close()
        Anchor(shop.anchor, "assent/other").set(1, bytes(32))
        with pytest.raises(EvidenceError, match="another log"):
            ask(ledger)


class TestAnchor:
    def test_it_follows_every_append(self, ledger: Ledger, shop: Shop) -> None:
        """Size and root of what is durable, without a signature."""
        for size in (1, 2, 3):
            ledger.append([given(f"{size:032x}")])
            anchored = parse_checkpoint(shop.anchor.read_text())
            assert (anchored.origin, anchored.tree_size, anchored.root) == (
                "assent/test",
                size,
                ledger.audit().root,
            )

    def test_a_refused_append_does_not_move_it(self, ledger: Ledger, shop: Shop) -> None:
        """Nor does one that records nothing new."""
        (recorded,) = ledger.append([given()])
        before = shop.anchor.read_bytes()
        with pytest.raises(AssentError):
            ledger.append([withdrawn(BELA)])
        ledger.append([recorded.event])
        assert shop.anchor.read_bytes() == before

    def test_it_can_be_set_back_on_purpose(self, shop: Shop) -> None:
        """For a log that a held checkpoint verifies; whoever sets it reads what was set."""
        anchor = Anchor(shop.anchor, "assent/test")
        for size in (12, 3):
            anchor.set(size, bytes(32))
            assert anchor.read().tree_size == size

    def test_it_never_goes_back(self, shop: Shop) -> None:
        """A slower process does not undo what a faster one has noted."""
        mine, other = Anchor(shop.anchor, "assent/test"), Anchor(shop.anchor, "assent/test")
        mine.set(3, bytes(32))
        other.advance(7, bytes(32))
        mine.advance(5, bytes(32))
        assert mine.read().tree_size == other.read().tree_size == 7

    def test_two_who_advance_it_at_the_same_moment_leave_it_readable(self, shop: Shop) -> None:
        """From 9 to 10 its text gets longer; the slower one must not leave the faster one's last letter."""
        other = Anchor(shop.anchor, "assent/test")

        class Slow(Anchor):
            def read(self) -> Any:
                seen = super().read()
                other.advance(10, bytes(32))
                return seen

        Slow(shop.anchor, "assent/test").set(8, bytes(32))
        Slow(shop.anchor, "assent/test").advance(9, bytes(32))
        assert other.read().tree_size == 10

    def test_a_re_anchoring_elsewhere_is_seen(self, shop: Shop) -> None:
        """It is mended by a command while a service runs."""
        service, command = Anchor(shop.anchor, "assent/test"), Anchor(shop.anchor, "assent/test")
        command.set(3, bytes(32))
        assert service.read().tree_size == 3
        command.set(5, bytes(32))
        assert service.read().tree_size == 5

    def test_a_decision_while_others_append_is_no_broken_evidence(
        self, shop: Shop, signer: Signer, clock: Clock
    ) -> None:
        """The anchor may be ahead of what a reader has just read: another process was faster, nothing is lost."""
        writer = shop.create(signer, clock)
        writer.append([given()])
        others = iter([given(BELA), given(CHEN)])

        def while_reading() -> Any:
            for said in others:
                writer.append([said])
                break
            return clock()

        reader = shop.open(signer, while_reading)
        reader.size()
        assert ask(reader).allowed
        assert writer.size() == 2

    def test_an_empty_ledger_has_one(self, ledger: Ledger, shop: Shop) -> None:
        """From the first moment, or nobody could say that the first entries were removed."""
        anchored = parse_checkpoint(shop.anchor.read_text())
        assert (anchored.tree_size, anchored.root) == (0, merkle.EMPTY_ROOT)
        assert not ask(ledger, ANNA, as_of=NOW + DAY).allowed
