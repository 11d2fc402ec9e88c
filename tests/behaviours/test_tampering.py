"""What is found when somebody with the database, and without scruples, has switched the guards off.

The audit names the first bad position. Here there is no anchor: that one is looked at in ``test_anchor``.
"""

import random
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.audit import AuditReport, require_evidence
from consent.encoding import RECORD_COLUMNS, commitment
from consent.errors import EvidenceError
from consent.evidence import merkle
from consent.evidence.cosignatures import cosign, verify_cosignatures
from consent.evidence.notes import Signer, format_checkpoint, parse_checkpoint, sign_note, verify_note
from consent.ledger import Ledger
from consent.nouns import ANY, Event, Kind
from consent.schema import EVENT_COLUMNS, metadata
from tests.behaviours.shops import Shop, Statement
from tests.consent.consent_samples import BELA, CHEN, DAY, NOW, YEAR, Clock, event, given, withdrawn
from tests.consent.log_samples import W1, W2

ENTRIES = 1_000
WITNESSES = [W1.verifier]


@dataclass(frozen=True)
class Log:
    """An honest log. ``sizes`` are the sizes its checkpoints sign; one of them, ``cosigned``, W1 has cosigned."""

    shop: Shop
    signer: Signer
    sizes: tuple[int, ...]
    cosigned: int

    def signed_after(self, leaf_index: int) -> int:
        """The last entry under the first checkpoint that covers an entry."""
        return min(size for size in self.sizes if size > leaf_index) - 1

    def audit(self, **more: Any) -> AuditReport:
        """As an auditor opens it, without the anchor."""
        ledger = Ledger.open(self.shop.database, self.signer)
        try:
            return ledger.audit(witnesses=WITNESSES, **more)
        finally:
            ledger.close()


@pytest.fixture(scope="module")
def log(shared_shop: Shop, signer: Signer) -> Log:
    """About a thousand entries of every kind in batches of random size, three tiles full."""
    clock, chance = Clock(), random.Random(7)
    ledger = shared_shop.create(signer, clock, anchored=False)
    sizes, erased, cosigned = [0], None, 0
    while sizes[-1] < ENTRIES:
        batch = [_statement(chance, f"{sizes[-1]:016x}{i:016x}", clock) for i in range(chance.randint(1, 60))]
        entries = ledger.append([e for pair in batch for e in pair])
        if entries[-1].leaf_index > 400 and not erased:
            erased = ledger.erase(
                event(Kind.ERASED, batch[0][0].subject_key, ANY, ANY, at=clock.now), blank=True
            )
        note = ledger.checkpoint()
        sizes.append(ledger.size())
        clock.step(chance.random() * 3600)
        if sizes[-1] > 600 and not cosigned:
            cosigned = ledger.add_cosigned(cosign(note or b"", W1, clock.now), WITNESSES)
    ledger.close()
    signed = shared_shop.plainly("SELECT tree_size FROM checkpoint ORDER BY tree_size")
    return Log(shared_shop, signer, tuple(size for (size,) in signed), cosigned)


@pytest.fixture(scope="module")
def honest_copy(log: Log) -> object:
    """The honest log, to begin again from."""
    return log.shop.backup()


def _statement(chance: random.Random, subject: str, clock: Clock) -> list[Event]:
    """A grant of this person, and sometimes more."""
    first = given(subject, at=clock.now, data_life=DAY, retention=YEAR, data_until=clock.now)
    assert first.grant is not None
    more = [
        [],
        [withdrawn(subject, at=clock.now)],
        [event(Kind.LINKED, subject, purpose=ANY, at=clock.now, co_subject=BELA, origin="imported")],
        [event(Kind.PAUSED, subject, at=clock.now)],
        [event(Kind.REVOKED, subject, at=clock.now, basis="of age", indicated_by="guardian")],
        [event(Kind.HOLD_PLACED, subject, ANY, ANY, at=clock.now, hold_id="case 7", basis="court order")],
        [given(subject, at=clock.now, replaces=first.grant.grant_id)],
    ]
    return [first, *chance.choice(more)]


class Forger:
    """Plain SQL on the log with every guard off. What is read is what the honest log holds."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.statements: list[Statement] = []

    def sql(self, sql: str, *values: Any) -> None:
        self.statements.append((sql, values))

    def read(self, sql: str, *values: Any) -> Any:
        return self._shop.plainly((sql, values))[0][0]

    def row(self, leaf_index: int) -> dict[str, Any]:
        ask = f"SELECT {', '.join(EVENT_COLUMNS)} FROM event WHERE leaf_index = ?"
        return dict(zip(EVENT_COLUMNS, self._shop.plainly((ask, (leaf_index,)))[0], strict=True))

    def set(self, leaf_index: int, **values: Any) -> None:
        assigned = ", ".join(f"{name} = ?" for name in values)
        self.sql(f"UPDATE event SET {assigned} WHERE leaf_index = ?", *values.values(), leaf_index)

    def rewrite(self, leaf_index: int, **values: Any) -> None:
        """Change an entry and make its commitment fit."""
        row = self.row(leaf_index) | values
        committed = commitment({name: row[name] for name in RECORD_COLUMNS}, row["nonce"])
        self.set(leaf_index, **values, commitment=committed)

    def shift(self, start: int) -> None:
        """Make room for one entry."""
        self.sql("UPDATE event SET leaf_index = -leaf_index - 1 WHERE leaf_index >= ?", start)
        self.sql("UPDATE event SET leaf_index = -leaf_index WHERE leaf_index < 0")

    def insert(self, leaf_index: int, row: dict[str, Any]) -> None:
        row = row | {"leaf_index": leaf_index, "event_id": "forged"}
        row["commitment"] = commitment({name: row[name] for name in RECORD_COLUMNS}, row["nonce"])
        places = ", ".join("?" * len(row))
        self.sql(f"INSERT INTO event ({', '.join(row)}) VALUES ({places})", *row.values())


Audit = Callable[[Callable[[Forger], None]], AuditReport]


@pytest.fixture
def audit_after(log: Log, honest_copy: object) -> Iterator[Audit]:
    """Forge the log, and audit it; afterwards it is honest again."""

    def run(forge: Callable[[Forger], None]) -> AuditReport:
        forger = Forger(log.shop)
        forge(forger)
        log.shop.behind_our_back(*forger.statements)
        return log.audit()

    yield run
    log.shop.restore(honest_copy)


def unless_refused(audit_after: Audit, forge: Callable[[Forger], None]) -> AuditReport | None:
    """The report; None where the database itself, whose columns have types, does not take the value."""
    try:
        return audit_after(forge)
    except (psycopg.DataError, psycopg.ProgrammingError, psycopg.IntegrityError, sqlite3.IntegrityError):
        return None


def test_an_honest_log_is_clean(log: Log) -> None:
    """Every content, clock, tile and checkpoint fits; the last signed root is the replayed one."""
    seen: list[int] = []
    report = log.audit(on_progress=seen.append)
    assert report.findings == ()
    assert (report.entries, report.checkpoints) == (log.sizes[-1], len(log.sizes))
    assert report.entries >= ENTRIES > 3 * merkle.TILE
    assert seen[-1] == report.entries
    assert (report.cosigned, report.blanked) == (1, 2)
    note = log.shop.plainly("SELECT note FROM checkpoint ORDER BY tree_size DESC")[0][0]
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
        report = unless_refused(audit_after, lambda f: f.set(where, **{column: value}))
        if report is not None:
            self._is_found(report, where)

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
        report = unless_refused(audit_after, lambda f: f.set(300, **{column: value}))
        if report is not None:
            self._is_found(report, 300)

    @staticmethod
    def _entry_with(log: Log, column: str) -> int:
        ask = f"SELECT min(leaf_index) FROM event WHERE {column} IS NOT NULL AND leaf_index > 299"
        return int(log.shop.plainly(ask)[0][0])

    @staticmethod
    def _is_found(report: AuditReport, where: int) -> None:
        assert report.findings[0].leaf_index == where
        with pytest.raises(EvidenceError, match=f"entry {where}:"):
            require_evidence(report)


class TestOrder:
    @pytest.mark.parametrize("where", [0, 1, 255, 256, 400, 767])
    def test_a_missing_entry_is_found_where_it_was(self, audit_after: Audit, where: int) -> None:
        """A hole in the numbers, at a tile's edge or inside."""
        report = audit_after(lambda f: f.sql("DELETE FROM event WHERE leaf_index = ?", where))
        assert [f.leaf_index for f in report.findings] == [where]

    def test_a_hole_does_not_hide_what_comes_after(self, audit_after: Audit) -> None:
        """The contents behind a hole are still looked at."""

        def forge(forger: Forger) -> None:
            forger.sql("DELETE FROM event WHERE leaf_index = 3")
            forger.set(500, actor="somebody")

        assert [f.leaf_index for f in audit_after(forge).findings] == [3, 500]

    def test_a_hole_does_not_hide_what_comes_before(self, audit_after: Audit) -> None:
        """The tiles before a hole are still compared."""

        def forge(forger: Forger) -> None:
            forger.sql("UPDATE merkle_tile SET hash = ? WHERE tile_index = 1", bytes(32))
            forger.sql("DELETE FROM event WHERE leaf_index = 515")

        assert {f.leaf_index for f in audit_after(forge).findings} == {256, 515}

    @pytest.mark.parametrize("kept", [0, 1, 256, 999])
    def test_a_cut_tail_is_found_at_its_first_entry(self, log: Log, audit_after: Audit, kept: int) -> None:
        """The checkpoint says how many there were; with nothing left it says so too."""
        report = audit_after(lambda f: f.sql("DELETE FROM event WHERE leaf_index >= ?", kept))
        assert report.findings[0].leaf_index == kept
        assert str(log.sizes[-1]) in report.findings[0].what

    def test_two_swapped_entries_are_found(self, log: Log, audit_after: Audit) -> None:
        """Each is sound by itself, but the signed tree has them in order."""

        def forge(forger: Forger) -> None:
            for old, new in ((310, -1), (311, 310), (-1, 311)):
                forger.sql("UPDATE event SET leaf_index = ? WHERE leaf_index = ?", new, old)

        assert 310 <= _first(audit_after(forge)) <= log.signed_after(310)

    def test_an_inserted_entry_is_found(self, log: Log, audit_after: Audit) -> None:
        """A forged entry with a commitment that fits moves every later one."""

        def forge(forger: Forger) -> None:
            row = forger.row(310)
            forger.shift(310)
            forger.insert(310, row)

        assert 310 <= _first(audit_after(forge)) <= log.signed_after(310)

    def test_an_entry_added_behind_the_head_is_found(self, log: Log, audit_after: Audit) -> None:
        """What no append has put there is named from its first entry on."""
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
            lambda f: f.sql("UPDATE merkle_tile SET hash = ? WHERE tile_index = ?", bytes(32), tile)
        )
        assert [f.leaf_index for f in report.findings] == [256 * tile]

    def test_a_missing_tile_is_found(self, audit_after: Audit) -> None:
        """A tile that should be there and is not."""
        report = audit_after(lambda f: f.sql("DELETE FROM merkle_tile WHERE tile_index = 1"))
        assert [f.leaf_index for f in report.findings] == [256]

    @pytest.mark.parametrize("value", [b"", "text", 5])
    def test_a_tile_that_is_no_hash_is_found(self, audit_after: Audit, value: object) -> None:
        """Another type is no match, and no crash."""
        report = unless_refused(audit_after, lambda f: f.sql("UPDATE merkle_tile SET hash = ?", value))
        assert report is None or _first(report) == 0

    def test_a_tile_over_entries_that_do_not_exist_is_found(self, audit_after: Audit) -> None:
        """No tile may wait for entries to come."""
        report = audit_after(lambda f: f.sql("INSERT INTO merkle_tile VALUES (1, 99, ?)", bytes(32)))
        assert [f.leaf_index for f in report.findings] == [None]
        with pytest.raises(EvidenceError, match="does not verify: 1 stored tiles"):
            require_evidence(report)


class TestCheckpoints:
    def test_a_changed_root_is_found(self, log: Log, audit_after: Audit) -> None:
        """The root beside the note must be the one the note signs."""
        size = log.sizes[9]
        report = audit_after(
            lambda f: f.sql("UPDATE checkpoint SET root = ? WHERE tree_size = ?", bytes(32), size)
        )
        assert [f.leaf_index for f in report.findings] == [size - 1]

    @pytest.mark.parametrize(
        "value", [b"", b"\xff\xfe", "text", 5, "flip", "stranger", "older", "other log", "another tree"]
    )
    def test_a_changed_note_is_found(self, log: Log, audit_after: Audit, value: object) -> None:
        """Damaged, signed by another key or name, or taken from another size."""
        size = log.sizes[9]
        report = unless_refused(
            audit_after,
            lambda f: f.sql("UPDATE checkpoint SET note = ? WHERE tree_size = ?", _note(f, log, value), size),
        )
        assert report is None or _first(report) == size - 1

    def test_a_moved_checkpoint_is_found(self, log: Log, audit_after: Audit) -> None:
        """A note stands for its own size only."""
        size = next(s for s in log.sizes[9:] if s - 1 not in log.sizes)
        report = audit_after(
            lambda f: f.sql("UPDATE checkpoint SET tree_size = tree_size - 1 WHERE tree_size = ?", size)
        )
        assert _first(report) == size - 2

    def test_without_any_checkpoint_everything_is_unsigned(self, audit_after: Audit) -> None:
        """From the first entry on."""
        report = audit_after(lambda f: f.sql("DELETE FROM checkpoint"))
        assert [f.leaf_index for f in report.findings] == [0]

    def test_a_checkpoint_for_more_than_there_is_is_found(self, log: Log, audit_after: Audit) -> None:
        """As after a backup was restored: the signed entries are missing."""
        size = log.sizes[-1]
        report = audit_after(
            lambda f: f.sql("UPDATE checkpoint SET tree_size = 5000 WHERE tree_size = ?", size)
        )
        assert _first(report) == size


def _note(forger: Forger, log: Log, value: object) -> object:
    size = log.sizes[9]
    note = forger.read("SELECT note FROM checkpoint WHERE tree_size = ?", size)
    text = verify_note(note, [log.signer.verifier])
    signed = parse_checkpoint(text)
    if value == "flip":
        return note[:-3] + b"AA\n"
    if value == "stranger":
        return sign_note(text, Signer(log.signer.name, Ed25519PrivateKey.generate()))
    if value == "other log":
        return sign_note(format_checkpoint("assent/other", size, signed.root), log.signer)
    if value == "another tree":
        return sign_note(format_checkpoint(log.signer.name, size, bytes(32)), log.signer)
    if value == "older":
        return forger.read("SELECT note FROM checkpoint WHERE tree_size = ?", log.sizes[8])
    return value


class TestCosigned:
    @pytest.mark.parametrize(
        "value", [b"", b"\xff", "the log alone", "another witness", "another size", "another tree"]
    )
    def test_a_changed_note_is_found(self, log: Log, audit_after: Audit, value: object) -> None:
        """A checkpoint that a witness is said to have cosigned is compared like any other."""
        size, other = log.cosigned, next(s for s in log.sizes if s > log.cosigned)

        def forge(forger: Forger) -> None:
            signed = forger.read("SELECT note FROM checkpoint WHERE tree_size = ?", size)
            tree = sign_note(format_checkpoint(log.signer.name, size, bytes(32)), log.signer)
            note = {
                "the log alone": signed,
                "another witness": cosign(signed, W2, NOW),
                "another size": forger.read("SELECT note FROM checkpoint WHERE tree_size = ?", other),
                "another tree": cosign(tree, W1, NOW),
            }.get(str(value), value)
            forger.sql("UPDATE cosigned SET note = ?", note)

        report = audit_after(forge)
        if value in ("the log alone", "another witness"):  # true, but nothing a witness we know has seen
            assert (report.findings, report.cosigned) == ((), 0)
        else:
            assert _first(report) == size - 1

    def test_a_moved_one_is_found(self, log: Log, audit_after: Audit) -> None:
        """It pins its own size only, and no more than there is."""
        assert _first(audit_after(lambda f: f.sql("UPDATE cosigned SET tree_size = 5"))) == 4

    def test_one_of_more_than_there_is_is_found(self, log: Log, audit_after: Audit) -> None:
        """Entries are missing, whatever else was cut with them."""
        report = audit_after(lambda f: f.sql("UPDATE cosigned SET tree_size = 5000"))
        assert _first(report) == log.sizes[-1]


class TestWitnessTimes:
    """When a witness saw the log bounds, from outside, when its entries can have been recorded."""

    @pytest.mark.parametrize(
        ("clock_says", "finding"),
        [
            (NOW + DAY, "recorded_at is after a time at which a witness saw the entry"),
            (NOW - DAY, "recorded_at is before a time at which a witness saw the log without the entry"),
            (NOW + timedelta(minutes=1), None),
            (NOW - timedelta(minutes=1), None),
        ],
    )
    def test_a_clock_that_is_wrong_is_found(
        self, shop: Shop, signer: Signer, clock_says: Any, finding: str | None
    ) -> None:
        """By more than clocks may disagree: post-dated when it was seen, back-dated when it came after."""
        ledger = shop.create(signer, Clock(clock_says))
        ledger.append([given(at=clock_says)])
        ledger.add_cosigned(cosign(ledger.checkpoint() or b"", W1, NOW), WITNESSES)
        ledger.append([given(BELA, at=clock_says)])
        ledger.add_cosigned(cosign(ledger.checkpoint() or b"", W1, NOW), WITNESSES)
        report = ledger.audit(witnesses=WITNESSES)
        assert {f.what for f in report.findings} == (set() if finding is None else {finding})
        assert finding is None or _first(report) == (0 if clock_says > NOW else 1)
        assert report.cosigned == 2
        assert ledger.audit().findings == ()


def test_copies_that_carry_a_newer_word_of_one_witness_are_joined(
    shop: Shop, signer: Signer, clock: Clock
) -> None:
    """Two lines of one witness make no note: what is kept of a copy is what it was brought for."""
    ledger = shop.create(signer, clock)
    ledger.append([given()])
    note, both = ledger.checkpoint() or b"", [W1.verifier, W2.verifier]
    ledger.add_cosigned(cosign(note, W1, NOW), both)
    ledger.add_cosigned(cosign(cosign(note, W1, NOW + DAY), W2, NOW), both)
    (joined,) = ledger.cosigned()
    assert verify_cosignatures(joined, signer.verifier, both) == [(W1.name, NOW), (W2.name, NOW)]
    assert ledger.audit(witnesses=both).findings == ()


#: Values of every type, for columns of every type. PostgreSQL does not take most of them.
NONSENSE = ("text", b"\xff", 3.75, -7, None)
DERIVED = [
    (table.name, column.name)
    for table in metadata.sorted_tables
    for column in table.columns
    if table.name not in ("event", "alembic_version")
]


@pytest.mark.parametrize(("table", "column"), DERIVED, ids=str)
@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_nonsense_is_a_finding_and_no_crash(audit_after: Audit, table: str, column: str, value: Any) -> None:
    """In any column of what follows from the entries: an auditor's run ends with what is wrong."""

    def forge(forger: Forger) -> None:
        if table == "handover":
            values = (value, b"note") if column == "number" else (5, value)
            forger.sql("INSERT INTO handover (number, note) VALUES (?, ?)", *values)
            return
        key = {"blanked": "leaf_index", "merkle_tile": "tile_index", "head": "one"}.get(table, "tree_size")
        last = f"{key} = (SELECT max({key}) FROM {table})"
        forger.sql(f"UPDATE {table} SET {column} = ? WHERE {last}", value)

    try:
        report = unless_refused(audit_after, forge)
    except EvidenceError:
        return
    assert report is None or report.findings or column in ("created_at", "witness")


def test_text_that_is_no_unicode_is_broken_evidence(log: Log, audit_after: Audit) -> None:
    """SQLite keeps any bytes as text; reading them is an evidence error that does not repeat them."""
    if log.shop.backend == "postgres":
        pytest.skip("PostgreSQL takes no such text")
    with pytest.raises(EvidenceError) as caught:
        audit_after(
            lambda f: f.sql("UPDATE event SET actor = CAST(x'6b6579ff' AS TEXT) WHERE leaf_index = 9")
        )
    assert "key" not in repr(caught.value)


@pytest.mark.parametrize(
    ("column", "value"), [("kind", "perhaps"), ("effective_at", 2**62), ("expires_at", "soon")]
)
def test_reading_an_entry_that_no_event_can_say_is_broken_evidence(
    log: Log, audit_after: Audit, column: str, value: object
) -> None:
    """The point form stops with an evidence error instead of deciding on nonsense."""
    subject = log.shop.plainly("SELECT subject_key FROM event WHERE leaf_index = 0")[0][0]
    if unless_refused(audit_after, lambda f: f.set(0, **{column: value})) is None:
        return
    ledger = Ledger.open(log.shop.database, log.signer)
    with pytest.raises(EvidenceError, match="entry 0") as caught:
        ledger.history(subject)
    if value != 2**62:
        with pytest.raises(EvidenceError, match="entry 0"):
            ledger.facts(subject)
    assert str(value) not in str(caught.value)
    ledger.close()


class TestHeldCheckpoint:
    """A checkpoint kept elsewhere shows what the ledger alone cannot."""

    def test_a_later_ledger_still_holds_it(self, ledger: Ledger) -> None:
        """What was appended since does not matter."""
        ledger.append([given()])
        held = ledger.checkpoint()
        ledger.append([given(BELA), given(purpose="model_training")])
        assert held is not None
        assert ledger.require_checkpoint(held) == 1

    def test_a_rewritten_or_cut_ledger_does_not(self, shop: Shop, signer: Signer, clock: Clock) -> None:
        """Another history under the same key passes its own audit, and fails against the held note."""
        first = shop.create(signer, clock, anchored=False)
        empty = shop.backup()
        first.append([given()])
        one = first.checkpoint()
        first.append([given(BELA)])
        two = first.checkpoint()
        shop.restore(empty)
        again = shop.open(signer, clock, anchored=False)
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

    def test_only_it_shows_a_log_that_was_rebuilt_with_the_key(
        self, shop: Shop, signer: Signer, clock: Clock
    ) -> None:
        """The limit, said plainly: an operator with the key can leave out a withdrawal and sign anew."""
        said = [given(), given(BELA), withdrawn(), given(CHEN)]
        honest = shop.create(signer, clock, anchored=False)
        empty = shop.backup()
        honest.append(said)
        held = honest.checkpoint()
        shop.restore(empty)
        rebuilt = shop.open(signer, clock, anchored=False)
        rebuilt.append([*said[:2], *said[3:], given(CHEN, purpose="model_training")])
        report = rebuilt.audit()
        assert report.findings == ()
        assert held is not None
        signed = parse_checkpoint(verify_note(held, [signer.verifier]))
        assert signed.tree_size == report.entries
        assert signed.root != report.root
        with pytest.raises(EvidenceError):
            rebuilt.require_checkpoint(held)


def _first(report: AuditReport) -> int | None:
    assert report.findings
    return report.findings[0].leaf_index
