"""What the database itself refuses, to anybody who opens the file."""

import sqlite3
from pathlib import Path

import pytest

from consent.errors import EvidenceError
from consent.ledger import Ledger
from consent.notes import Signer
from tests.consent.consent_samples import ANNA, Clock, given

_COPY = "SELECT * FROM event WHERE leaf_index = 0"
STATEMENTS = {
    "update": "UPDATE event SET purpose = 'model_training' WHERE leaf_index = 0",
    "update nothing visible": "UPDATE event SET actor = actor",
    "delete": "DELETE FROM event WHERE leaf_index = 1",
    "delete all": "DELETE FROM event",
    "replace an entry": f"INSERT OR REPLACE INTO event {_COPY}",
    "replace by its event id": "INSERT OR REPLACE INTO event SELECT 300, * FROM (SELECT {columns} FROM event"
    " WHERE leaf_index = 0)",
    "ignore": "INSERT OR IGNORE INTO event SELECT 400, * FROM (SELECT {columns} FROM event WHERE leaf_index = 0)",
    "upsert": f"INSERT INTO event {_COPY} ON CONFLICT DO UPDATE SET purpose = 'model_training'",
    "leave a hole": "INSERT INTO event SELECT 301, * FROM (SELECT {columns} FROM event WHERE leaf_index = 0)",
    "back-date": "INSERT INTO event SELECT 300, * FROM (SELECT {columns} FROM event WHERE leaf_index = 0)",
    "update a tile": "UPDATE merkle_tile SET hash = x'00'",
    "delete a tile": "DELETE FROM merkle_tile",
    "replace a tile": "INSERT OR REPLACE INTO merkle_tile VALUES (1, 0, x'00')",
    "update a checkpoint": "UPDATE checkpoint SET note = x'00'",
    "delete a checkpoint": "DELETE FROM checkpoint",
    "replace a checkpoint": "INSERT OR REPLACE INTO checkpoint VALUES (300, x'00', x'00', 0)",
    "an older checkpoint": "INSERT INTO checkpoint VALUES (7, x'00', x'00', 0)",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> Path:
    """A ledger of 300 entries, one tile full, recorded in two batches."""
    path = tmp_path_factory.mktemp("guards") / "ledger.db"
    clock = Clock()
    ledger = Ledger.create(path, signer, clock)
    ledger.append([given(f"{i:032x}") for i in range(200)])
    clock.step(1)
    ledger.append([given(f"{i:032x}") for i in range(200, 300)])
    ledger.close()
    return path


@pytest.mark.parametrize("recursive", ["ON", "OFF"])
@pytest.mark.parametrize("what", STATEMENTS)
def test_the_file_is_append_only(filled: Path, signer: Signer, what: str, recursive: str) -> None:
    """UPDATE, DELETE and every way to replace are refused by plain SQLite, whatever ``recursive_triggers`` says."""
    connection = sqlite3.connect(filled)
    connection.execute(f"PRAGMA recursive_triggers = {recursive}")
    columns = ", ".join(
        row[1] for row in connection.execute("PRAGMA table_info(event)") if row[1] != "leaf_index"
    )
    if what == "back-date":
        columns = columns.replace("recorded_at", "recorded_at - 1").replace("event_id", "'new' AS event_id")
    before = list(connection.execute("SELECT * FROM event, checkpoint, merkle_tile LIMIT 5"))
    # IGNORE and DO UPDATE cannot turn a guard's refusal into silence either.
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        connection.execute(STATEMENTS[what].format(columns=columns))
    connection.rollback()
    assert list(connection.execute("SELECT * FROM event, checkpoint, merkle_tile LIMIT 5")) == before
    assert connection.execute("SELECT count(*) FROM event").fetchone() == (300,)
    connection.close()


def test_a_guard_that_refuses_is_told_as_broken_evidence(
    filled: Path, signer: Signer, tmp_path: Path
) -> None:
    """A refusal by a guard during an append comes back as one of our errors and quotes nothing."""
    copy = tmp_path / "ledger.db"
    copy.write_bytes(filled.read_bytes())
    with sqlite3.connect(copy) as connection:
        connection.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON event BEGIN SELECT RAISE(ABORT, 'stop'); END"
        )
    ledger = Ledger.open(copy, signer, Clock())
    with pytest.raises(EvidenceError) as caught:
        ledger.append([given(ANNA, at=Clock().now)])
    assert ANNA not in repr(caught.value)
    assert ledger.size() == 300
