"""Erasure: the content goes, its place in the log stays, and whoever blanks more than an erasure says is found."""

from dataclasses import replace

import pytest

from consent.audit import AuditReport
from consent.blanking import format_blanks
from consent.encoding import from_row, to_row
from consent.errors import BadInput, Conflict, Denied, EvidenceError, IllegalTransition
from consent.evidence import merkle
from consent.evidence.notes import Signer, parse_checkpoint, verify_note
from consent.ledger import Ledger
from consent.nouns import ANY, Event, Kind, Reason
from consent.schema import BLANKED_COLUMNS, KEPT_COLUMNS
from consent.timeline import Gate
from tests.behaviours.shops import Shop, Statement, ask
from tests.consent.consent_samples import ANNA, BELA, DAY, NOW, Clock, event, given, withdrawn

EMPTY = ", ".join(f"{column} = NULL" for column in BLANKED_COLUMNS)


def said() -> list[Event]:
    """Anna twice about her spending and once about her work; Bela before and after."""
    return [
        given(BELA),
        given(),
        given(source="employment"),
        withdrawn(),
        event(Kind.LINKED, BELA, purpose=ANY, co_subject=ANNA),
    ]


def erasure(source: str = ANY, subject: str = ANNA) -> Event:
    return event(Kind.ERASED, subject, source, ANY)


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """What was said, signed."""
    ledger.append(said())
    ledger.checkpoint()
    return ledger


def test_entries_by_position(filled: Ledger) -> None:
    """In order, each once; what is not there, or was blanked, is left out."""
    assert [r.leaf_index for r in filled.entries([3, 1, 3, 99, -1])] == [1, 3]
    assert filled.entries([0]) == [r for r in filled.history(BELA) if r.leaf_index == 0]
    assert filled.entries([]) == []
    filled.erase(erasure("employment"), blank=True)
    assert [r.leaf_index for r in filled.entries(range(6))] == [0, 1, 3, 4, 5]


class TestErasing:
    @pytest.mark.parametrize(
        ("source", "gone"), [(ANY, [1, 2, 3]), ("spending", [1, 3]), ("employment", [2]), ("app_usage", [])]
    )
    def test_exactly_its_entries_are_emptied(
        self, filled: Ledger, shop: Shop, source: str, gone: list[int]
    ) -> None:
        """The subject's, of that source or every one; the erasure's own entry stays and says which they are."""
        kept = shop.plainly(f"SELECT {', '.join(KEPT_COLUMNS)} FROM event ORDER BY leaf_index")
        recorded = filled.erase(erasure(source), blank=True)
        assert (recorded.leaf_index, recorded.event.blanks) == (5, format_blanks(gone))
        columns = " AND ".join(f"{column} IS NULL" for column in BLANKED_COLUMNS)
        assert shop.plainly(f"SELECT leaf_index FROM event WHERE {columns} ORDER BY 1") == [
            (i,) for i in gone
        ]
        assert shop.plainly("SELECT leaf_index FROM event WHERE kind IS NULL ORDER BY 1") == [
            (i,) for i in gone
        ]
        assert shop.plainly(f"SELECT {', '.join(KEPT_COLUMNS)} FROM event ORDER BY leaf_index")[:5] == kept
        assert shop.plainly("SELECT leaf_index, erased_by FROM blanked ORDER BY 1") == [(i, 5) for i in gone]

    def test_without_blanking_the_record_stays_as_evidence(self, filled: Ledger, shop: Shop) -> None:
        """GDPR 17(3)(e): what shows that there was consent may be kept; nothing is used any more."""
        recorded = filled.erase(erasure(), blank=False)
        assert recorded.event.blanks is None
        assert shop.plainly("SELECT count(*) FROM event WHERE kind IS NULL") == [(0,)]
        assert ask(filled).reason is Reason.ERASED
        assert filled.audit().findings == ()

    def test_proofs_made_before_still_verify(self, filled: Ledger, signer: Signer) -> None:
        """The blanked entries too, against the checkpoint of then and against that of now."""
        with filled.snapshot() as before:
            assert before.checkpoint is not None
            held = parse_checkpoint(verify_note(before.checkpoint, [signer.verifier]))
            hashes = [merkle.leaf_hash(entry) for entry in before.entries(0, 5)]
            proofs = [merkle.inclusion_proof(before.tree, i, 5) for i in range(5)]
        filled.erase(erasure(), blank=True)
        for i in range(5):
            merkle.verify_inclusion(hashes[i], i, 5, proofs[i], held.root)
        with filled.snapshot() as after:
            now = parse_checkpoint(verify_note(after.checkpoint or b"", [signer.verifier]))
            assert [merkle.leaf_hash(entry) for entry in after.entries(0, 5)] == hashes
            for i in range(6):
                proof = merkle.inclusion_proof(after.tree, i, 6)
                leaf = merkle.leaf_hash(next(after.entries(i, i + 1)))
                merkle.verify_inclusion(leaf, i, 6, proof, now.root)
            merkle.verify_consistency(5, held.root, 6, now.root, merkle.consistency_proof(after.tree, 5, 6))
            with pytest.raises(Denied, match="blanked") as caught:
                after.disclose(1)
            assert caught.value.code == "ERASED"

    def test_the_audit_passes_and_counts_them(self, filled: Ledger, shop: Shop, signer: Signer) -> None:
        """A blank in the name of a logged erasure is no finding, in this process or another."""
        filled.erase(erasure("spending"), blank=True)
        filled.erase(erasure(), blank=True)
        for ledger in (filled, shop.open(signer, Clock())):
            report = ledger.audit()
            assert (report.findings, report.blanked, report.entries) == ((), 3, 7)

    def test_what_is_blanked_is_not_found_any_more(self, filled: Ledger) -> None:
        """No event, no history, nothing for whole tables; but the id is known."""
        mine = filled.history(ANNA)
        filled.erase(erasure(), blank=True)
        for recorded in mine:
            assert filled.find_event(recorded.event.event_id) is None
        ids = [r.event.event_id for r in mine]
        assert filled.find_events([*ids, "f" * 32]) == dict.fromkeys(ids)
        assert [r.event.kind for r in filled.history(ANNA)] == [Kind.ERASED]
        assert Gate(filled).timeline().subjects().to_pylist() == [BELA]

    def test_the_answer_is_erased(self, filled: Ledger) -> None:
        """Of one source or of all, for single questions and for whole tables, now and from then on."""
        gate = Gate(filled)
        gate.timeline()
        filled.erase(erasure("employment"), blank=True)
        assert filled.decide(ANNA, "employment", "credit_scoring").reason is Reason.ERASED
        assert ask(filled).reason is Reason.WITHDRAWN
        filled.erase(erasure(), blank=True)
        for source in ("employment", "spending", "app_usage"):
            assert filled.decide(ANNA, source, "credit_scoring", as_of=NOW + DAY).reason is Reason.ERASED
            spans = gate.timeline().spans(source, "credit_scoring").to_pylist()
            assert {s["reason"] for s in spans if s["subject_key"] == ANNA and s["until_at"] > 2**60} <= {
                "ERASED"
            }
        assert ask(filled, BELA).reason is Reason.ERASED, "her data is about Anna too"

    def test_an_erased_event_is_not_recorded_again(self, filled: Ledger, shop: Shop) -> None:
        """Its id says that it was here, so a repeated import brings nobody back."""
        events = [recorded.event for recorded in filled.history(ANNA)]
        filled.erase(erasure(), blank=True)
        for again in events:
            with pytest.raises(IllegalTransition, match=r"has been erased since: the state is ERASED$"):
                filled.append([again])
        assert filled.size() == 6

    def test_erasing_twice_with_one_id_is_done_once(self, filled: Ledger) -> None:
        """A retry after a lost answer gets the same entry."""
        once = erasure("spending")
        first = filled.erase(once, blank=True)
        assert filled.erase(once, blank=True) == first
        assert (filled.size(), filled.audit().findings) == (6, ())

    def test_an_erasure_by_the_id_of_something_else_is_a_conflict(self, filled: Ledger) -> None:
        """Nobody is told that something was erased when it was not."""
        taken = filled.history(BELA)[0].event.event_id
        with pytest.raises(Conflict):
            filled.erase(replace(erasure(), event_id=taken), blank=True)

    def test_a_retry_that_asks_for_more_is_a_conflict(self, filled: Ledger) -> None:
        """Done without blanking, the same id cannot come to mean that the record is gone."""
        once = erasure()
        filled.erase(once, blank=False)
        with pytest.raises(Conflict):
            filled.erase(once, blank=True)

    @pytest.mark.parametrize("held", [ANY, "spending"])
    def test_what_is_held_is_not_blanked(self, filled: Ledger, shop: Shop, held: str) -> None:
        """A refused erasure leaves every entry as it was."""
        hold = event(Kind.HOLD_PLACED, source=held, purpose=ANY, hold_id="case 7", basis="court order")
        filled.append([hold])
        with pytest.raises(IllegalTransition, match="HELD"):
            filled.erase(erasure(), blank=True)
        assert shop.plainly("SELECT count(*) FROM event WHERE kind IS NULL") == [(0,)]
        assert filled.size() == 6

    def test_only_an_erasure_erases(self, filled: Ledger) -> None:
        """Another kind cannot take entries with it."""
        with pytest.raises(BadInput, match="only an erasure"):
            filled.erase(withdrawn(source="employment"), blank=True)
        assert filled.audit().blanked == 0


class TestBehindOurBack:
    """Who blanks without a logged erasure, or more than one says, is found at the entry."""

    @pytest.fixture
    def erased(self, filled: Ledger) -> Ledger:
        """Anna's spending was erased properly: entries 1 and 3, by entry 5; and Bela stays."""
        filled.erase(erasure("spending"), blank=True)
        filled.append([given(BELA, purpose="model_training"), given(BELA, source="employment")])
        filled.checkpoint()
        return filled

    @pytest.mark.parametrize(
        ("forge", "where"),
        [
            pytest.param(
                [f"UPDATE event SET {EMPTY} WHERE leaf_index = 0"], 0, id="a blank in nobody's name"
            ),
            pytest.param(
                ["INSERT INTO blanked VALUES (0, 2)", f"UPDATE event SET {EMPTY} WHERE leaf_index = 0"],
                0,
                id="a blank in the name of no erasure",
            ),
            pytest.param(
                ["INSERT INTO blanked VALUES (0, 99)", f"UPDATE event SET {EMPTY} WHERE leaf_index = 0"],
                0,
                id="a blank in the name of no entry",
            ),
            pytest.param(
                ["INSERT INTO blanked VALUES (0, 5)", f"UPDATE event SET {EMPTY} WHERE leaf_index = 0"],
                5,
                id="one more in the name of an erasure",
            ),
            pytest.param(
                ["INSERT INTO blanked VALUES (6, 5)", f"UPDATE event SET {EMPTY} WHERE leaf_index = 6"],
                5,
                id="one that came after the erasure",
            ),
            pytest.param(
                [
                    "DELETE FROM blanked WHERE leaf_index = 3",
                    "INSERT INTO blanked VALUES (0, 5)",
                    f"UPDATE event SET {EMPTY} WHERE leaf_index = 0",
                ],
                3,
                id="one instead of another",
            ),
            pytest.param(["DELETE FROM blanked WHERE leaf_index = 1"], 1, id="a row of blanked removed"),
            pytest.param(["DELETE FROM blanked"], 1, id="all rows of blanked removed"),
            pytest.param(["UPDATE blanked SET erased_by = 2 WHERE leaf_index = 1"], 1, id="another name"),
            pytest.param(["INSERT INTO blanked VALUES (2, 5)"], 2, id="blanked, it says, but it is not"),
            pytest.param(["INSERT INTO blanked VALUES (77, 5)"], 5, id="blanked, but not there"),
            pytest.param(["UPDATE event SET kind = NULL WHERE leaf_index = 2"], 2, id="the kind alone"),
            pytest.param(["UPDATE event SET nonce = NULL WHERE leaf_index = 2"], 2, id="the nonce alone"),
            pytest.param(["UPDATE event SET actor = 'x' WHERE leaf_index = 1"], 1, id="content in a blank"),
            pytest.param(
                [("UPDATE event SET blanks = ? WHERE leaf_index = 5", (format_blanks([1]),))],
                5,
                id="other blanks",
            ),
            pytest.param(["UPDATE event SET blanks = NULL WHERE leaf_index = 5"], 5, id="no blanks"),
            pytest.param([f"UPDATE event SET {EMPTY} WHERE leaf_index = 5"], 5, id="the erasure itself"),
            pytest.param(["DELETE FROM event WHERE leaf_index = 5"], 5, id="the erasure gone"),
        ],
    )
    def test_it_is_found(self, erased: Ledger, shop: Shop, forge: list[Statement], where: int) -> None:
        """The audit names where; what an honest erasure blanked it does not name."""
        shop.behind_our_back(*forge)
        report = erased.audit()
        assert where in {finding.leaf_index for finding in report.findings}, report.findings
        assert self._first(report) in {where, 1}

    @staticmethod
    def _first(report: AuditReport) -> int | None:
        return report.findings[0].leaf_index

    def test_content_brought_back_from_a_backup_is_found(
        self, filled: Ledger, shop: Shop, signer: Signer
    ) -> None:
        """Yesterday's row put back into today's database: the erasure says that it is empty."""
        (row,) = shop.plainly(f"SELECT {', '.join(BLANKED_COLUMNS)} FROM event WHERE leaf_index = 1")
        filled.erase(erasure(), blank=True)
        columns = ", ".join(f"{column} = ?" for column in BLANKED_COLUMNS)
        shop.behind_our_back((f"UPDATE event SET {columns} WHERE leaf_index = 1", row))
        report = filled.audit()
        assert [f.leaf_index for f in report.findings] == [1]
        assert "not empty" in report.findings[0].what

    def test_an_erasure_that_was_undone_altogether_is_found(self, filled: Ledger, shop: Shop) -> None:
        """Every row and every blank as if it had not been, but the erasure itself still says what it blanked."""
        columns = ", ".join(f"{column} = ?" for column in BLANKED_COLUMNS)
        rows = shop.plainly(f"SELECT {', '.join(BLANKED_COLUMNS)} FROM event ORDER BY leaf_index")
        filled.erase(erasure(), blank=True)
        shop.behind_our_back(
            "DELETE FROM blanked",
            *((f"UPDATE event SET {columns} WHERE leaf_index = {i}", rows[i]) for i in (1, 2, 3)),
        )
        report = filled.audit()
        assert [f.leaf_index for f in report.findings] == [5]
        assert "names entries that are not blanked" in report.findings[0].what

    def test_a_blank_cannot_be_read_as_an_event(self) -> None:
        """What is empty says nothing, whoever asks."""
        row = to_row(given(), 0)
        with pytest.raises(EvidenceError):
            from_row(row | {"kind": None}, 7)
