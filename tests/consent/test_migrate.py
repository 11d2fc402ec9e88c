"""A ledger that an earlier version of Assent has made, brought to this one."""

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import consent
from consent.anchor import Anchor
from consent.errors import Conflict, Unavailable
from consent.evidence.notes import Signer
from consent.ledger import Ledger
from consent.migrate import migrate
from consent.nouns import ANY, Event, Kind
from consent.schema import REVISION
from tests.consent.consent_samples import ANNA, BELA, CHEN, Clock, event, given, withdrawn

#: The guards of the first version.
FIRST_GUARDS = [
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    for table in ("event", "merkle_tile", "checkpoint")
    for verb in ("update", "delete")
] + [
    "CREATE TRIGGER event_dense BEFORE INSERT ON event"
    " WHEN NEW.leaf_index IS NOT (SELECT coalesce(max(leaf_index) + 1, 0) FROM event)"
    " BEGIN SELECT RAISE(ABORT, 'append-only: leaf_index must be next'); END",
    "CREATE TRIGGER checkpoint_grows BEFORE INSERT ON checkpoint"
    " WHEN NEW.tree_size <= (SELECT max(tree_size) FROM checkpoint)"
    " BEGIN SELECT RAISE(ABORT, 'append-only'); END",
]
#: What the first version could say: given, refused, withdrawn, linked.
SAID = [
    *(given(f"{i:032x}", grant_id=f"G{i}") for i in range(300)),
    given(),
    event(Kind.REFUSED, BELA),
    event(Kind.LINKED, purpose=ANY, co_subject=BELA),
    withdrawn(source=ANY, purpose=ANY),
]


class First:
    """A ledger of the first version, with a checkpoint that somebody has kept."""

    def __init__(self, place: Path, signer: Signer, said: list[Event] = SAID) -> None:
        self.path, self.anchor, self.signer = place / "ledger.db", place / "anchor", signer
        self.clock = Clock()
        newest = Ledger.create(place / "newest.db", signer, self.clock)
        self.held = b""
        for i in range(0, len(said), 100):
            newest.append(said[i : i + 100])
            self.held = newest.checkpoint() or b""
            self.clock.step(60)
        newest.close()
        _make_first_tables(self.path)
        _copy_rows(place / "newest.db", self.path)

    def open(self) -> Ledger:
        return Ledger.open(self.path, self.signer, self.clock, anchor=self.anchor)

    def migrate(self) -> tuple[str, str]:
        return migrate(self.path, self.signer, anchor=self.anchor)

    def dump(self) -> list[str]:
        connection = sqlite3.connect(self.path)
        try:
            return list(connection.iterdump())
        finally:
            connection.close()


def _make_first_tables(path: Path) -> None:
    """As migration 0001 leaves them. That version wrote no revision."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(str(consent.__file__)).with_name("migrations")))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("DROP TABLE alembic_version")
    engine.dispose()


def _copy_rows(newest: Path, first: Path) -> None:
    connection = sqlite3.connect(first)
    connection.execute("ATTACH ? AS newest", (str(newest),))
    for table in ("event", "merkle_tile", "checkpoint"):
        columns = ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})"))
        connection.execute(f"INSERT INTO {table} ({columns}) SELECT {columns} FROM newest.{table}")
    for guard in FIRST_GUARDS:
        connection.execute(guard)
    connection.commit()
    connection.close()


@pytest.fixture
def first(tmp_path: Path, signer: Signer) -> First:
    return First(tmp_path, signer)


@pytest.mark.parametrize(
    "attempt",
    [
        Ledger.size,
        Ledger.checkpoint,
        Ledger.audit,
        lambda ledger: ledger.append([given(CHEN)]),
        lambda ledger: ledger.decide(ANNA, "spending", "credit_scoring"),
    ],
)
def test_an_older_ledger_is_not_used_as_it_is(first: First, attempt: Any) -> None:
    """Nothing is read from it or written to it, and the remedy names the command."""
    before = first.dump()
    with pytest.raises(Conflict, match="another version") as caught:
        attempt(first.open())
    assert caught.value.code == "OUTDATED"
    assert "migrate" in caught.value.remedy
    assert first.dump() == before


def test_it_is_brought_to_this_version(first: First) -> None:
    """Every entry is where it was and says what it said; decisions go on; so does the log."""
    assert first.migrate() == ("0001", REVISION)
    ledger = first.open()
    assert [r.event for r in ledger.history(ANNA)] == [e for e in SAID if e.subject_key == ANNA]
    assert [r.event for r in ledger.history(f"{7:032x}")] == [SAID[7]]
    assert ledger.decide(f"{7:032x}", "spending", "credit_scoring").allowed
    assert not ledger.decide(ANNA, "spending", "credit_scoring").allowed
    report = ledger.audit()
    assert (report.findings, report.entries, report.checkpoints) == ((), len(SAID), 4)
    paused = event(Kind.PAUSED, f"{7:032x}", at=first.clock.now)
    erased = event(Kind.ERASED, f"{8:032x}", ANY, ANY, at=first.clock.now)
    assert ledger.append([paused])[0].leaf_index == len(SAID)
    ledger.erase(erased, blank=True)
    assert (ledger.audit().findings, ledger.audit().blanked) == ((), 1)


def test_a_checkpoint_from_before_still_pins(first: First) -> None:
    """Whoever kept one of the older version's loses nothing by the change."""
    first.migrate()
    ledger = first.open()
    assert ledger.require_checkpoint(first.held) == len(SAID)
    ledger.append([given(CHEN, at=first.clock.now)])
    assert ledger.require_checkpoint(first.held) == len(SAID)


def test_it_has_an_anchor_from_then_on(first: First) -> None:
    """The first version had none; now nothing goes without."""
    first.migrate()
    anchored = Anchor(first.anchor, first.signer.name).read()
    assert (anchored.tree_size, anchored.root) == (len(SAID), first.open().audit().root)
    first.anchor.unlink()
    with pytest.raises(Unavailable, match="anchor"):
        first.open().size()


def _schema(path: Path) -> dict[str, Any]:
    """Columns with type, nullability and key, by table; the rest by name."""
    connection = sqlite3.connect(path)
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    described: dict[str, Any] = {
        table: {tuple(row[1:]) for row in connection.execute(f"PRAGMA table_info({table})")}
        for table in tables
    }
    others = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE type <> 'table'"
    described["others"] = {
        (kind, name, table, " ".join((sql or "").split()))
        for kind, name, table, sql in connection.execute(others)
    }
    described["unique"] = {
        (table, tuple(column[2] for column in connection.execute(f"PRAGMA index_info('{index[1]}')")))
        for table in tables
        for index in connection.execute(f"PRAGMA index_list({table})")
        if index[2]
    }
    described["checks"] = {
        table: sql.count("CHECK")
        for table, sql in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    }
    connection.close()
    return described


def test_the_migrated_tables_are_the_created_ones(first: First, tmp_path: Path) -> None:
    """Columns, types, nullability, keys, indexes and guards: nobody can tell how a ledger came to be."""
    first.migrate()
    Ledger.create(tmp_path / "created.db", first.signer).close()
    created, migrated = _schema(tmp_path / "created.db"), _schema(first.path)
    assert migrated.keys() == created.keys()
    for what in created:
        assert migrated[what] == created[what], what


def test_a_second_time_changes_nothing(first: First) -> None:
    """Nor does it touch the anchor."""
    first.migrate()
    before, anchor = first.dump(), first.anchor.read_bytes()
    assert first.migrate() == (REVISION, REVISION)
    assert (first.dump(), first.anchor.read_bytes()) == (before, anchor)


def test_an_empty_ledger_is_migrated_too(tmp_path: Path, signer: Signer) -> None:
    """Nothing on record yet is no reason to stay behind."""
    first = First(tmp_path, signer, [])
    first.migrate()
    ledger = first.open()
    assert ledger.append([given(at=first.clock.now)])[0].leaf_index == 0
    assert ledger.audit().findings == ()


def test_what_is_of_a_newer_version_is_left_alone(first: First) -> None:
    """An older Assent does not try its hand at it."""
    first.migrate()
    connection = sqlite3.connect(first.path)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    before = first.dump()
    with pytest.raises(Unavailable, match="newer version"):
        first.migrate()
    with pytest.raises(Conflict) as caught:
        first.open().size()
    assert caught.value.code == "OUTDATED"
    assert first.dump() == before


def test_what_is_no_ledger_is_not_made_one(tmp_path: Path, signer: Signer) -> None:
    """Neither a file that is not there nor one without the ledger's tables."""
    with pytest.raises(Unavailable):
        migrate(tmp_path / "none.db", signer, anchor=tmp_path / "anchor")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE t (x)").connection.close()
    with pytest.raises(Unavailable, match="no consent ledger"):
        migrate(tmp_path / "other.db", signer, anchor=tmp_path / "anchor")
    assert {p.name for p in tmp_path.iterdir()} <= {"other.db", "other.db-wal", "other.db-shm"}


_KILLED = """
import os, sys
from pathlib import Path
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from consent import migrate
from consent.evidence.notes import Signer

left = int(sys.argv[3])

@sa.event.listens_for(sa.Engine, "before_cursor_execute")
def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)

signer = Signer("assent/test", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
migrate.migrate(Path(sys.argv[1]), signer, anchor=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("statement", [2, 9, 17, 25, 40])
def test_one_that_is_killed_leaves_what_was_there(first: First, statement: int) -> None:
    """It is one transaction: the older version goes on with the ledger, or the next try ends the work."""
    before = first.dump()
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, first.path, first.anchor, str(statement)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert first.dump() == before
    with pytest.raises(Conflict):
        first.open().size()
    assert first.migrate() == ("0001", REVISION)
    assert first.open().audit().findings == ()


def test_one_that_is_changed_before_is_found_after(first: First) -> None:
    """The change of tables makes nothing good that was bad."""
    connection = sqlite3.connect(first.path)
    connection.execute("DROP TRIGGER event_no_update")
    connection.execute("UPDATE event SET actor = 'somebody' WHERE leaf_index = 5")
    connection.commit()
    connection.close()
    first.migrate()
    assert [f.leaf_index for f in first.open().audit().findings] == [5]
