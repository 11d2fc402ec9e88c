"""Every execution of a historical fetch leaves a receipt, or gives nothing."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from consent.accesses import AccessKind
from consent.callers import calling_as
from consent.clock import now_utc
from consent.errors import BadInput, EvidenceError, Unavailable
from consent.evidence.notes import parse_checkpoint, verify_note
from feature_repo.stores import setup
from feature_repo.stores.members import count_members
from feature_repo.stores.receipts import Receipt, find_receipt, read_receipt, receipts_with
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"


def fetch(lender: Lender, *keys: str | None) -> Receipt:
    job = lender.stores[PURPOSE].get_historical_features(
        entity_df=lender.entities(*((key, 0) for key in keys)), features=["spending_v1:spend_7d"]
    )
    job.to_df()
    assert isinstance(job.receipt, Receipt)
    return job.receipt


def path_of(lender: Lender, receipt: Receipt) -> Path:
    return lender.home.path("receipts", f"{receipt.receipt_id}.json")


def test_a_receipt_says_what_was_used_and_for_whom_without_naming_them(lender: Lender) -> None:
    yes, no, empty = lender.agrees(PURPOSE), lender.person(), lender.agrees(PURPOSE)
    version = lender.publish("spending", [(key, -9, {"spend_7d": 5.0}) for key in (yes, no)])
    before = now_utc()
    receipt = fetch(lender, yes, no, yes, empty, None)
    assert before <= receipt.created_at <= now_utc()
    assert (receipt.purpose, receipt.features) == (PURPOSE, ("spending_v1:spend_7d",))
    (used,) = receipt.tables
    assert (used.table, used.version, used.definition_hash) == (
        "spending_v1",
        version.number,
        version.definition_hash,
    )
    (view,) = receipt.views
    assert (view.given, view.no_data, view.masked) == (2, 1, {"NO_GRANT": 1, "UNKNOWN": 1})
    assert receipt.entity_rows == 5 == view.given + view.no_data + sum(view.masked.values())
    assert receipt.subjects == 1
    text = path_of(lender, receipt).read_text()
    assert not any(key in text for key in (yes, no, empty))


def test_the_checkpoint_signs_the_entries_that_decided(lender: Lender) -> None:
    receipt = fetch(lender, lender.agrees(PURPOSE))
    assert receipt.checkpoint
    text = verify_note(receipt.checkpoint.encode(), [lender.home.ledger.verifier])
    assert parse_checkpoint(text).tree_size == receipt.ledger_size == lender.home.ledger.size()


def test_a_forged_entry_decides_nothing(tmp_path: Path) -> None:
    """A grant written into the database past every guard, but without the ledger's key, stops the fetch."""
    lender = Lender(tmp_path / "home")
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    with sqlite3.connect(lender.home.path("ledger.db")) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(event)")]
        forged = {"leaf_index": lender.home.ledger.size(), "event_id": "'f'", "subject_key": f"'{'e' * 32}'"}
        values = ", ".join(str(forged.get(name, name)) for name in columns)
        connection.execute(f"INSERT INTO event SELECT {values} FROM event WHERE leaf_index = 0")
    with pytest.raises(EvidenceError, match="seals 3 entries"):
        fetch(lender, key)
    with pytest.raises(EvidenceError, match="seals 3 entries"):
        lender.home.ledger.decide("e" * 32, "spending", PURPOSE)


def test_a_receipt_is_named_by_its_bytes_and_readable_by_its_owner_only(lender: Lender) -> None:
    receipt = fetch(lender, lender.agrees(PURPOSE))
    path = path_of(lender, receipt)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == receipt.receipt_id
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_bytes())["format"] == 3
    assert read_receipt(lender.home, receipt.receipt_id) == receipt


def test_a_changed_receipt_is_not_read(lender: Lender) -> None:
    receipt = fetch(lender, lender.agrees(PURPOSE))
    path = path_of(lender, receipt)
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"entity_rows": 1', b'"entity_rows": 2'))
    with pytest.raises(EvidenceError):
        read_receipt(lender.home, receipt.receipt_id)
    path.write_bytes(content)


def test_a_receipt_that_is_not_there(lender: Lender) -> None:
    with pytest.raises(Unavailable):
        read_receipt(lender.home, "0" * 64)
    with pytest.raises(BadInput):
        read_receipt(lender.home, "../assent")


def test_every_execution_leaves_one_and_building_a_job_leaves_none(lender: Lender) -> None:
    def receipts() -> set[Path]:
        return set(lender.home.path("receipts").glob("*.json"))

    before = receipts()
    job = lender.stores[PURPOSE].get_historical_features(
        entity_df=lender.entities((lender.agrees(PURPOSE), 0)), features=["spending_v1:spend_7d"]
    )
    assert receipts() == before
    job.to_df()
    job.to_arrow()
    assert len(receipts() - before) == 2


def test_a_person_is_found_in_the_training_sets_that_hold_their_values_and_in_no_other(
    lender: Lender,
) -> None:
    a, b, no = lender.agrees(PURPOSE), lender.agrees(PURPOSE), lender.person()
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0}) for key in (a, b, no)])
    both, one = fetch(lender, b, a, no, a), fetch(lender, a)
    found = receipts_with(lender.home, [a, b, no])
    ids = {key: [r.receipt_id for r in receipts] for key, receipts in found.items()}
    assert ids == {a: [both.receipt_id, one.receipt_id], b: [both.receipt_id], no: []}
    assert count_members(lender.home, both.members_hash) == both.subjects == 2


def test_a_list_of_people_names_nobody(lender: Lender) -> None:
    """Not even to who holds the keyring and guesses: two lists of the same people have nothing in common."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    one, two = (path_of(lender, fetch(lender, key)) for _ in range(2))
    lists = [
        lender.home.path("receipts", json.loads(p.read_bytes())["members_hash"] + ".members").read_bytes()
        for p in (one, two)
    ]
    assert len({*lists, *(content[16:] for content in lists)}) == 4
    assert not any(key.encode() in content or bytes.fromhex(key) in content for content in lists)


def test_a_list_of_people_that_was_changed_or_is_gone(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    receipt = fetch(lender, key)
    path = lender.home.path("receipts", f"{receipt.members_hash}.members")
    content = path.read_bytes()
    path.write_bytes(content + bytes(16))
    with pytest.raises(EvidenceError):
        count_members(lender.home, receipt.members_hash)
    path.unlink()
    with pytest.raises(Unavailable):
        count_members(lender.home, receipt.members_hash)
    with pytest.raises(Unavailable):
        receipts_with(lender.home, [key])
    path.write_bytes(content)


def test_a_receipt_says_who_asked_and_is_in_the_access_log(lender: Lender) -> None:
    """By its name, which is the hash of all it says."""
    before = lender.home.accesses.size()
    with calling_as("modeler:王芳"):
        receipt = fetch(lender, lender.agrees(PURPOSE))
    assert receipt.caller == "modeler:王芳"
    assert lender.home.accesses.size() == before + 1
    (entry,) = lender.home.accesses.entries(limit=1)
    assert (entry.kind, entry.caller, entry.purpose) == (AccessKind.TRAINING_SET, receipt.caller, PURPOSE)
    assert entry.about == {"receipt": receipt.receipt_id}
    assert not entry.personal


def test_a_receipt_is_found_by_its_first_digits(lender: Lender) -> None:
    receipt = fetch(lender, lender.agrees(PURPOSE))
    assert find_receipt(lender.home, receipt.receipt_id[:12]) == receipt
    for wrong in ("", "0" * 7, "../assent", "*" * 12, "0" * 65):
        with pytest.raises(BadInput):
            find_receipt(lender.home, wrong)
    with pytest.raises(Unavailable):
        find_receipt(lender.home, "0" * 12)


def test_no_entry_in_the_access_log_no_values(tmp_path: Path) -> None:
    """Whatever is wrong with the log: gone, changed, or an older copy."""
    lender = Lender(tmp_path / "home")
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    assert fetch(lender, key).subjects == 1
    lender.home.accesses.close()
    path = lender.home.path("access.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE head SET root = zeroblob(32)")
    connection.close()
    with pytest.raises(EvidenceError, match="access log"):
        fetch(lender, key)
    for place in path.parent.glob("access.db*"):
        place.unlink()
    with pytest.raises((Unavailable, EvidenceError)):
        fetch(lender, key)


@pytest.fixture
def no_room(lender: Lender) -> Iterator[None]:
    """Nowhere to write a receipt."""
    lender.home.path("receipts").rename(lender.home.path("moved"))
    yield
    lender.home.path("moved").rename(lender.home.path("receipts"))


@pytest.mark.usefixtures("no_room")
def test_no_receipt_no_values(lender: Lender) -> None:
    lender.publish("spending", [])
    with pytest.raises(Unavailable, match="receipt"):
        fetch(lender, lender.agrees(PURPOSE))
    for source in ("employment", "app_usage"):
        lender.publish(source, [])
    with pytest.raises(Unavailable, match="receipt"):
        setup.training_set(lender.home, lender.entities(("a" * 32, 0)), "scorecard_v1")
