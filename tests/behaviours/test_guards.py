"""What the database itself refuses, to anybody who speaks plain SQL to it."""

import sqlite3

import psycopg
import pytest

from consent.errors import EvidenceError
from consent.evidence.notes import Signer
from consent.ledger import Ledger
from consent.nouns import ANY, Kind
from consent.schema import BLANKED_COLUMNS, EVENT_COLUMNS
from tests.behaviours.shops import TABLES, Shop
from tests.consent.consent_samples import ANNA, NOW, Clock, event, given

_OTHERS = ", ".join(c for c in EVENT_COLUMNS if c not in ("leaf_index", "event_id", "recorded_at"))
_INTO = f"INTO event (leaf_index, event_id, recorded_at, {_OTHERS})"
_EMPTY = ", ".join(f"{c} = NULL" for c in BLANKED_COLUMNS)


def _copied(leaf_index: int, *, event_id: str = "'new'", recorded_at: str = "recorded_at + 1000000") -> str:
    """A copy of the first entry, at another place."""
    return (
        f"{_INTO} SELECT {leaf_index}, {event_id}, {recorded_at}, {_OTHERS} FROM event WHERE leaf_index = 0"
    )


STATEMENTS = {
    "update": "UPDATE event SET purpose = 'model_training' WHERE leaf_index = 0",
    "update nothing visible": "UPDATE event SET actor = actor",
    "delete": "DELETE FROM event WHERE leaf_index = 1",
    "delete all": "DELETE FROM event",
    "insert at a place that is taken": f"INSERT {_copied(7)}",
    "insert before the beginning": f"INSERT {_copied(-1)}",
    "leave a hole": f"INSERT {_copied(302)}",
    "back-date": f"INSERT {_copied(301, recorded_at='recorded_at - 1')}",
    "say the same again": f"INSERT {_copied(301, event_id='event_id')}",
    "say the same again, quietly": f"INSERT {_copied(301, event_id='event_id')}"
    " ON CONFLICT (event_id) DO UPDATE SET actor = 'x'",
    "update a tile": "UPDATE merkle_tile SET hash = {zero}",
    "delete a tile": "DELETE FROM merkle_tile",
    "insert a tile again": "INSERT INTO merkle_tile VALUES (1, 0, {zero})",
    "update a checkpoint": "UPDATE checkpoint SET note = {zero}",
    "delete a checkpoint": "DELETE FROM checkpoint",
    "insert a checkpoint again": "INSERT INTO checkpoint VALUES (301, {zero}, {zero}, 0)",
    "an older checkpoint": "INSERT INTO checkpoint VALUES (7, {zero}, {zero}, 0)",
    "blank an entry": f"UPDATE event SET {_EMPTY} WHERE leaf_index = 0",
    "blank an entry in part": "UPDATE event SET kind = NULL WHERE leaf_index = 0",
    "blank in the name of no erasure": "INSERT INTO blanked VALUES (0, 299)",
    "blank in the name of no entry": "INSERT INTO blanked VALUES (0, 999)",
    "blank what came after the erasure": "INSERT INTO blanked VALUES (300, 300)",
    "unblank an entry": "UPDATE event SET actor = 'somebody' WHERE leaf_index = 5",
    "take another's name for a blank": "UPDATE blanked SET erased_by = 299",
    "forget a blank": "DELETE FROM blanked",
    "rename an entry": "UPDATE event SET event_id = 'other' WHERE leaf_index = 5",
    "move an entry": "UPDATE event SET leaf_index = 999 WHERE leaf_index = 5",
    "re-date an entry": "UPDATE event SET recorded_at = recorded_at - 1 WHERE leaf_index = 5",
    "another commitment": "UPDATE event SET commitment = {zero} WHERE leaf_index = 5",
    "shrink the head": "UPDATE head SET tree_size = 1",
    "delete the head": "DELETE FROM head",
    "a second head": "INSERT INTO head VALUES (2, 0, 0, {zero}, {zero})",
    "update a handover": "UPDATE handover SET note = {zero}",
    "delete a handover": "DELETE FROM handover",
    "update a cosigned checkpoint": "UPDATE cosigned SET note = {zero}",
    "delete a cosigned checkpoint": "DELETE FROM cosigned",
}
#: REPLACE deletes without firing triggers for DELETE; IGNORE and DO UPDATE want to make silence of a refusal.
SQLITE_ONLY = {
    "replace an entry": f"INSERT OR REPLACE {_copied(0)}",
    "replace by its event id": f"INSERT OR REPLACE {_copied(301, event_id='event_id')}",
    "ignore": f"INSERT OR IGNORE {_copied(400)}",
    "replace a tile": "INSERT OR REPLACE INTO merkle_tile VALUES (1, 0, {zero})",
    "replace a checkpoint": "INSERT OR REPLACE INTO checkpoint VALUES (301, {zero}, {zero}, 0)",
    "replace a blank": "INSERT OR REPLACE INTO blanked VALUES (5, 300)",
    "replace a handover": "INSERT OR REPLACE INTO handover VALUES (300, {zero})",
    "replace a cosigned checkpoint": "INSERT OR REPLACE INTO cosigned VALUES (300, 'w', {zero})",
    "replace the head": "INSERT OR REPLACE INTO head VALUES (1, 0, 0, {zero}, {zero})",
}
POSTGRES_ONLY = {
    **{f"truncate {table}": f"TRUNCATE {table}" for table in TABLES if table != "alembic_version"},
    "merge": "MERGE INTO event e USING (SELECT 0 AS i) s ON e.leaf_index = s.i WHEN MATCHED THEN DELETE",
    "insert two, one of them wrong": f"INSERT {_INTO} SELECT leaf_index + 300, event_id || 'x',"
    f" recorded_at + 1000000, {_OTHERS} FROM event WHERE leaf_index IN (1, 3)",
}


@pytest.fixture(scope="module")
def filled(shared_shop: Shop, signer: Signer) -> Shop:
    """A ledger of 301 entries, one tile full, one entry blanked by the last."""
    clock = Clock()
    ledger = shared_shop.create(signer, clock)
    ledger.append([given(f"{i:032x}") for i in range(200)])
    clock.step(1)
    ledger.append([given(f"{i:032x}") for i in range(200, 300)])
    ledger.erase(event(Kind.ERASED, f"{5:032x}", ANY, ANY), blank=True)
    ledger.checkpoint()
    ledger.close()
    zero = _zero(shared_shop)
    shared_shop.plainly(
        f"INSERT INTO handover (number, note) VALUES (300, {zero})",
        f"INSERT INTO cosigned (tree_size, witness, note) VALUES (300, 'w', {zero})",
    )
    return shared_shop


def _zero(shop: Shop) -> str:
    return "x'00'" if shop.backend == "sqlite" else r"'\x00'"


def _everything(shop: Shop) -> list[object]:
    return [sorted(shop.plainly(f"SELECT * FROM {table}"), key=repr) for table in TABLES]


#: What somebody may set before: SQLite's triggers inside triggers, PostgreSQL's triggers of a replica.
SETTINGS = {
    "sqlite": ("PRAGMA recursive_triggers = ON", "PRAGMA recursive_triggers = OFF"),
    "postgres": ("SET session_replication_role = origin", "SET session_replication_role = replica"),
}


@pytest.mark.parametrize("setting", [0, 1], ids=["one way", "the other way"])
@pytest.mark.parametrize("what", [*STATEMENTS, *SQLITE_ONLY, *POSTGRES_ONLY])
def test_the_database_is_append_only(filled: Shop, what: str, setting: int) -> None:
    """UPDATE, DELETE, TRUNCATE, every way to replace and every wrong INSERT are refused, whatever is set."""
    special = SQLITE_ONLY if filled.backend == "sqlite" else POSTGRES_ONLY
    statement = (STATEMENTS | special).get(what)
    if statement is None:
        pytest.skip("the other database's words")
    before = _everything(filled)
    with pytest.raises((sqlite3.IntegrityError, psycopg.DatabaseError)) as caught:
        filled.plainly(SETTINGS[filled.backend][setting], statement.format(zero=_zero(filled)))
    refused = str(caught.value)
    assert isinstance(caught.value, psycopg.IntegrityError) or "append-only" in refused or "CHECK" in refused
    assert _everything(filled) == before


def test_what_the_ledger_itself_does_is_not_in_the_way(filled: Shop, signer: Signer) -> None:
    """After all that was tried it goes on, and the audit is clean: nothing has changed."""
    copy = filled.backup()
    filled.behind_our_back("DELETE FROM handover", "DELETE FROM cosigned")  # no ledger wrote those
    clock = Clock(NOW.replace(hour=9))
    ledger = filled.open(signer, clock)
    ledger.append([given(ANNA, at=clock.now), given(ANNA, at=clock.now, purpose="model_training")])
    ledger.erase(event(Kind.ERASED, ANNA, ANY, ANY, at=clock.now), blank=True)
    ledger.checkpoint()
    report = ledger.audit()
    assert (report.findings, report.entries, report.blanked) == ((), 304, 3)
    filled.restore(copy)


def test_a_guard_that_refuses_is_told_as_broken_evidence(shop: Shop, signer: Signer, clock: Clock) -> None:
    """A refusal by a guard during an append comes back as one of our errors and quotes nothing."""
    ledger: Ledger = shop.create(signer, clock)
    ledger.append([given("b" * 32)])
    if shop.backend == "sqlite":
        shop.plainly("CREATE TRIGGER stop BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'stop'); END")
    else:
        shop.plainly(
            "CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '%', NEW; END $$",
            "CREATE TRIGGER stop BEFORE INSERT ON event FOR EACH ROW EXECUTE FUNCTION stop()",
        )
    for events in ([given(ANNA)], [given(ANNA), given(ANNA, purpose="model_training")]):
        with pytest.raises(EvidenceError) as caught:
            ledger.append(events)
        assert ANNA not in repr(caught.value) + caught.value.remedy
    assert ledger.size() == 1
