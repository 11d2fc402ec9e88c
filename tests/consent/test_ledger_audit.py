"""What the audit finds when somebody with the file, and without scruples, has dropped the triggers."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent import merkle
from consent.audit import AuditReport, require_evidence
from consent.encoding import RECORD_COLUMNS, commitment
from consent.errors import EvidenceError
from consent.ledger import Ledger
from consent.notes import Signer, format_checkpoint, parse_checkpoint, sign_note, verify_note
from consent.nouns import ANY, Event, Kind
from tests.consent.consent_samples import BELA, CHEN, DAY, YEAR, Clock, event, given, withdrawn

ENTRIES = 1_000


@dataclass(frozen=True)
class Log:
    """An honest log, closed. ``sizes`` are the sizes its checkpoints sign."""

    path: Path
    signer: Signer
    sizes: tuple[int, ...]

    def signed_after(self, leaf_index: int) -> int:
        """The last entry under the first checkpoint that covers an entry."""
        return min(size for size in self.sizes if size > leaf_index) - 1


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Log:
    """About a thousand entries of every kind in batches of random size, three tiles full."""
    path = tmp_path_factory.mktemp("audit") / "ledger.db"
    clock, chance = Clock(), random.Random(7)
    ledger = Ledger.create(path, signer, clock)
    sizes = [0]
    while sizes[-1] < ENTRIES:
        batch = [_statement(chance, f"{sizes[-1]:016x}{i:016x}", clock) for i in range(chance.randint(1, 60))]
        entries = ledger.append([e for pair in batch for e in pair])
        sizes.append(entries[-1].leaf_index + 1)
        clock.step(chance.random() * 3600)
    ledger.close()
    return Log(path, signer, tuple(sizes[1:]))


def _statement(chance: random.Random, subject: str, clock: Clock) -> list[Event]:
    """A grant of this person, and sometimes more."""
    full = given(subject, at=clock.now, data_life=DAY, retention=YEAR, replaces="older")
    more = [
        [],
        [withdrawn(subject, at=clock.now)],
        [event(Kind.LINKED, subject, purpose=ANY, at=clock.now, co_subject=BELA, origin="imported")],
    ]
    return [full, *chance.choice(more)]


class Forger:
    """Plain SQL on a copy of the log, with every trigger dropped."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path)
        for (name,) in list(self.db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")):
            self.db.execute(f"DROP TRIGGER {name}")

    def row(self, leaf_index: int) -> dict[str, Any]:
        self.db.row_factory = sqlite3.Row
        return dict(self.db.execute("SELECT * FROM event WHERE leaf_index = ?", (leaf_index,)).fetchone())

    def set(self, leaf_index: int, **values: Any) -> None:
        assigned = ", ".join(f"{name} = ?" for name in values)
        self.db.execute(f"UPDATE event SET {assigned} WHERE leaf_index = ?", (*values.values(), leaf_index))

    def rewrite(self, leaf_index: int, **values: Any) -> None:
        """Change an entry and make its commitment fit."""
        row = self.row(leaf_index) | values
        committed = commitment({name: row[name] for name in RECORD_COLUMNS}, row["nonce"])
        self.set(leaf_index, **values, commitment=committed)

    def shift(self, start: int) -> None:
        """Make room for one entry."""
        self.db.execute("UPDATE event SET leaf_index = -leaf_index - 1 WHERE leaf_index >= ?", (start,))
        self.db.execute("UPDATE event SET leaf_index = -leaf_index WHERE leaf_index < 0")

    def insert(self, leaf_index: int, row: dict[str, Any]) -> None:
        row = row | {"leaf_index": leaf_index, "event_id": "forged"}
        committed = commitment({name: row[name] for name in RECORD_COLUMNS}, row["nonce"])
        row["commitment"] = committed
        places = ", ".join("?" * len(row))
        self.db.execute(f"INSERT INTO event ({', '.join(row)}) VALUES ({places})", tuple(row.values()))


Audit = Callable[[Callable[[Forger], None]], AuditReport]


@pytest.fixture
def audit_after(log: Log, tmp_path: Path) -> Audit:
    """Forge a copy, and audit it."""

    def run(forge: Callable[[Forger], None]) -> AuditReport:
        copy = tmp_path / "copy.db"
        shutil.copyfile(log.path, copy)
        forger = Forger(copy)
        forge(forger)
        forger.db.commit()
        forger.db.close()
        ledger = Ledger.open(copy, log.signer)
        try:
            return ledger.audit()
        finally:
            ledger.close()

    return run


def test_an_honest_log_is_clean(log: Log) -> None:
    """Every content, clock, tile and checkpoint fits; the last signed root is the replayed one."""
    ledger = Ledger.open(log.path, log.signer)
    seen: list[int] = []
    report = ledger.audit(on_progress=seen.append)
    assert report.findings == ()
    assert (report.entries, report.checkpoints) == (log.sizes[-1], len(log.sizes))
    assert report.entries >= ENTRIES > 3 * merkle.TILE
    assert seen[-1] == report.entries
    note = ledger.checkpoint()
    assert note is not None
    signed = parse_checkpoint(verify_note(note, [log.signer.verifier]))
    assert (signed.tree_size, signed.root) == (report.entries, report.root)
    require_evidence(report)


def test_a_forger_who_changes_nothing_is_not_found(audit_after: Audit) -> None:
    """Dropping the triggers alone breaks no evidence: the findings below are about what was changed."""
    assert audit_after(lambda _: None).findings == ()


class TestOneColumn:
    @pytest.mark.parametrize("column", RECORD_COLUMNS)
    def test_any_changed_column_is_found_at_its_entry(
        self, log: Log, audit_after: Audit, column: str
    ) -> None:
        """The columns are the committed content: another value, type or no value shows, at the right entry."""
        where = self._entry_with(log, column)

        def forge(forger: Forger) -> None:
            value = forger.row(where)[column]
            forger.set(where, **{column: value + 1 if isinstance(value, int) else value + "x"})

        self._is_found(audit_after(forge), where)

    @pytest.mark.parametrize("column", ["actor", "expires_at", "recorded_at", "subject_key", "grant_id"])
    @pytest.mark.parametrize("value", [b"\x00\x01", "新", -1, 1.5, ""])
    def test_a_value_of_another_type_is_found(
        self, log: Log, audit_after: Audit, column: str, value: object
    ) -> None:
        """What the encoder cannot even write is a finding too, not a crash."""
        where = self._entry_with(log, column)
        self._is_found(audit_after(lambda f: f.set(where, **{column: value})), where)

    @pytest.mark.parametrize("column", ["data_life", "replaces", "notice_hash", "expires_at", "grant_id"])
    def test_a_blanked_column_is_found(self, log: Log, audit_after: Audit, column: str) -> None:
        """Leaving out what was said is a change like any other."""
        where = self._entry_with(log, column)
        self._is_found(audit_after(lambda f: f.set(where, **{column: None})), where)

    @pytest.mark.parametrize("column", ["nonce", "commitment"])
    @pytest.mark.parametrize("value", [bytes(16), bytes(32), b"", "text"])
    def test_a_changed_nonce_or_commitment_is_found(
        self, audit_after: Audit, column: str, value: object
    ) -> None:
        """Content, nonce and commitment hang together."""
        self._is_found(audit_after(lambda f: f.set(300, **{column: value})), 300)

    @staticmethod
    def _entry_with(log: Log, column: str) -> int:
        db = sqlite3.connect(log.path)
        found = db.execute(
            f"SELECT min(leaf_index) FROM event WHERE {column} IS NOT NULL AND leaf_index > 299"
        )
        return int(found.fetchone()[0])

    @staticmethod
    def _is_found(report: AuditReport, where: int) -> None:
        assert report.findings[0].leaf_index == where
        with pytest.raises(EvidenceError, match=f"entry {where}:"):
            require_evidence(report)


class TestOrder:
    @pytest.mark.parametrize("where", [0, 1, 255, 256, 400, 767])
    def test_a_missing_entry_is_found_where_it_was(self, audit_after: Audit, where: int) -> None:
        """A hole in the numbers, at a tile's edge or inside."""
        report = audit_after(lambda f: f.db.execute("DELETE FROM event WHERE leaf_index = ?", (where,)))
        assert report.findings[0].leaf_index == where
        assert len(report.findings) == 1

    def test_a_hole_does_not_hide_what_comes_after(self, audit_after: Audit) -> None:
        """The contents behind a hole are still looked at."""

        def forge(forger: Forger) -> None:
            forger.db.execute("DELETE FROM event WHERE leaf_index = 3")
            forger.set(500, actor="somebody")

        assert [f.leaf_index for f in audit_after(forge).findings] == [3, 500]

    @pytest.mark.parametrize("kept", [0, 1, 256, 999])
    def test_a_cut_tail_is_found_at_its_first_entry(self, log: Log, audit_after: Audit, kept: int) -> None:
        """The checkpoint says how many there were; with nothing left it says so too."""
        report = audit_after(lambda f: f.db.execute("DELETE FROM event WHERE leaf_index >= ?", (kept,)))
        assert report.findings[0].leaf_index == kept
        assert str(log.sizes[-1]) in report.findings[0].what

    def test_two_swapped_entries_are_found(self, log: Log, audit_after: Audit) -> None:
        """Each is sound by itself, but the signed tree has them in order."""

        def forge(forger: Forger) -> None:
            for old, new in ((310, -1), (311, 310), (-1, 311)):
                forger.db.execute("UPDATE event SET leaf_index = ? WHERE leaf_index = ?", (new, old))

        assert 310 <= _first(audit_after(forge)) <= log.signed_after(310)

    def test_an_inserted_entry_is_found(self, log: Log, audit_after: Audit) -> None:
        """A forged entry with a commitment that fits moves every later one."""

        def forge(forger: Forger) -> None:
            row = forger.row(310)
            forger.shift(310)
            forger.insert(310, row)

        assert 310 <= _first(audit_after(forge)) <= log.signed_after(310)

    def test_an_entry_added_behind_the_signature_is_found(self, log: Log, audit_after: Audit) -> None:
        """What no checkpoint signs is named from its first entry on."""
        size = log.sizes[-1]
        report = audit_after(lambda f: f.insert(size, f.row(size - 1)))
        assert _first(report) == size

    def test_an_entry_of_negative_number_is_found(self, audit_after: Audit) -> None:
        """Not even before the beginning."""
        report = audit_after(lambda f: f.insert(-5, f.row(0)))
        assert _first(report) == 0

    def test_a_back_dated_entry_is_found(self, log: Log, audit_after: Audit) -> None:
        """An earlier recorded_at goes back behind the entry before it, however well its commitment fits."""
        where = log.sizes[5] + 1
        report = audit_after(
            lambda f: f.rewrite(where, recorded_at=f.row(where)["recorded_at"] - 10 * 86_400_000_000)
        )
        assert _first(report) == where

    def test_an_entry_rewritten_with_a_fitting_commitment_is_found(
        self, log: Log, audit_after: Audit
    ) -> None:
        """At the first checkpoint that signed it."""
        report = audit_after(lambda f: f.rewrite(310, actor="somebody"))
        assert _first(report) == log.signed_after(310)


class TestTree:
    @pytest.mark.parametrize("tile", [0, 1, 2])
    def test_a_changed_tile_is_found_at_its_first_entry(self, audit_after: Audit, tile: int) -> None:
        """Stored inner hashes are compared with the entries below them."""
        report = audit_after(
            lambda f: f.db.execute("UPDATE merkle_tile SET hash = ? WHERE tile_index = ?", (bytes(32), tile))
        )
        assert [f.leaf_index for f in report.findings] == [256 * tile]

    def test_a_missing_tile_is_found(self, audit_after: Audit) -> None:
        """A tile that should be there and is not."""
        report = audit_after(lambda f: f.db.execute("DELETE FROM merkle_tile WHERE tile_index = 1"))
        assert [f.leaf_index for f in report.findings] == [256]

    @pytest.mark.parametrize("value", [b"", "text", 5])
    def test_a_tile_that_is_no_hash_is_found(self, audit_after: Audit, value: object) -> None:
        """Another type is no match, and no crash."""
        report = audit_after(lambda f: f.db.execute("UPDATE merkle_tile SET hash = ?", (value,)))
        assert _first(report) == 0

    def test_a_tile_over_entries_that_do_not_exist_is_found(self, audit_after: Audit) -> None:
        """No tile may wait for entries to come."""
        report = audit_after(
            lambda f: f.db.execute("INSERT INTO merkle_tile VALUES (1, 99, ?)", (bytes(32),))
        )
        assert [f.leaf_index for f in report.findings] == [None]
        with pytest.raises(EvidenceError, match="does not verify: 1 stored tiles"):
            require_evidence(report)


class TestCheckpoints:
    def test_a_changed_root_is_found(self, log: Log, audit_after: Audit) -> None:
        """The root beside the note must be the one the note signs."""
        size = log.sizes[9]
        report = audit_after(
            lambda f: f.db.execute("UPDATE checkpoint SET root = ? WHERE tree_size = ?", (bytes(32), size))
        )
        assert [f.leaf_index for f in report.findings] == [size - 1]

    @pytest.mark.parametrize("value", [b"", b"\xff\xfe", "text", 5, "flip", "stranger", "older", "other log"])
    def test_a_changed_note_is_found(self, log: Log, audit_after: Audit, value: object) -> None:
        """Damaged, signed by another key or name, or taken from another size."""
        size = log.sizes[9]
        report = audit_after(
            lambda f: f.db.execute(
                "UPDATE checkpoint SET note = ? WHERE tree_size = ?", (_note(f, log, value), size)
            )
        )
        assert _first(report) == size - 1

    def test_a_moved_checkpoint_is_found(self, log: Log, audit_after: Audit) -> None:
        """A note stands for its own size only."""
        size = log.sizes[9]
        report = audit_after(
            lambda f: f.db.execute(
                "UPDATE checkpoint SET tree_size = tree_size - 1 WHERE tree_size = ?", (size,)
            )
        )
        assert _first(report) == size - 2

    def test_without_the_newest_checkpoint_the_rest_is_unsigned(self, log: Log, audit_after: Audit) -> None:
        """The entries that nothing signs any more are named."""
        report = audit_after(
            lambda f: f.db.execute("DELETE FROM checkpoint WHERE tree_size = ?", (log.sizes[-1],))
        )
        assert [f.leaf_index for f in report.findings] == [log.sizes[-2]]

    def test_without_any_checkpoint_everything_is_unsigned(self, audit_after: Audit) -> None:
        """From the first entry on."""
        report = audit_after(lambda f: f.db.execute("DELETE FROM checkpoint"))
        assert [f.leaf_index for f in report.findings] == [0]

    def test_a_checkpoint_for_more_than_there_is_is_found(self, log: Log, audit_after: Audit) -> None:
        """As after a backup was restored: the signed entries are missing."""
        size = log.sizes[-1]
        report = audit_after(
            lambda f: f.db.execute("UPDATE checkpoint SET tree_size = 5000 WHERE tree_size = ?", (size,))
        )
        assert _first(report) == size


def _note(forger: Forger, log: Log, value: object) -> object:
    size = log.sizes[9]
    (note,) = forger.db.execute("SELECT note FROM checkpoint WHERE tree_size = ?", (size,)).fetchone()
    text = verify_note(note, [log.signer.verifier])
    signed = parse_checkpoint(text)
    if value == "flip":
        return note[:-3] + b"AA\n"
    if value == "stranger":
        return sign_note(text, Signer(log.signer.name, Ed25519PrivateKey.generate()))
    if value == "other log":
        return sign_note(format_checkpoint("assent/other", size, signed.root), log.signer)
    if value == "older":
        older = forger.db.execute("SELECT note FROM checkpoint WHERE tree_size = ?", (log.sizes[8],))
        return older.fetchone()[0]
    return value


def test_text_that_is_no_unicode_is_broken_evidence(log: Log, audit_after: Audit) -> None:
    """SQLite keeps any bytes as text; reading them is an evidence error that does not repeat them."""
    with pytest.raises(EvidenceError) as caught:
        audit_after(
            lambda f: f.db.execute("UPDATE event SET actor = CAST(x'6b6579ff' AS TEXT) WHERE leaf_index = 9")
        )
    assert "key" not in repr(caught.value)


def test_reading_an_entry_that_no_event_can_say_is_broken_evidence(log: Log, tmp_path: Path) -> None:
    """The point form stops with an evidence error instead of deciding on nonsense."""
    copy = tmp_path / "copy.db"
    shutil.copyfile(log.path, copy)
    for column, value in (("kind", "perhaps"), ("effective_at", 2**62), ("expires_at", "soon")):
        forger = Forger(copy)
        subject = forger.row(0)["subject_key"]
        forger.set(0, **{column: value})
        forger.db.commit()
        with pytest.raises(EvidenceError, match="entry 0") as caught:
            Ledger.open(copy, log.signer).facts(subject)
        assert str(value) not in str(caught.value)


def test_a_rebuilt_log_passes_its_own_audit_and_only_a_held_checkpoint_shows_it(
    tmp_path: Path, signer: Signer
) -> None:
    """The limit, said plainly: an operator with the key can leave out a withdrawal and sign anew."""
    said = [given(), given(BELA), withdrawn(), given(CHEN)]
    honest = Ledger.create(tmp_path / "honest.db", signer, Clock())
    honest.append(said)
    held = honest.checkpoint()
    rebuilt = Ledger.create(tmp_path / "rebuilt.db", signer, Clock())
    rebuilt.append([*said[:2], *said[3:], given(CHEN, purpose="model_training")])
    report = rebuilt.audit()
    assert report.findings == ()
    assert held is not None
    signed = parse_checkpoint(verify_note(held, [signer.verifier]))
    assert signed.tree_size == report.entries
    assert signed.root != report.root


def _first(report: AuditReport) -> int | None:
    assert report.findings
    return report.findings[0].leaf_index
