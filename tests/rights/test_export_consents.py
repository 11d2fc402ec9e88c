"""An access package tells what was agreed to, with proofs, and who used the data; and nothing of anybody else."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from consent.clock import format_instant, parse_instant
from consent.errors import EvidenceError
from consent.evidence.certificate import ERASURE, verify_certificate
from consent.evidence.handover import LogKeys
from consent.evidence.notes import Verifier
from consent.evidence.proofs import parse_tlog_proof, verify_tlog_proof
from consent.evidence.trust import Trust
from consent.evidence.verify import verify_files
from consent.exchange.consent_record import read_record
from consent.nouns import Kind
from feature_repo.stores.receipts import read_receipt
from rights.own_consents import WITHHELD
from tests.rights.borrowers import (
    ALIVE,
    ANNA,
    BELA,
    BELAS,
    CHEN,
    CHENS,
    EMIL,
    FINN,
    HUGO,
    NOBODY,
    Borrowers,
)
from tests.rights.packages import Packages

# ------------------------------------------------------------------------------------------- consents


@pytest.mark.parametrize("who", ALIVE)
def test_every_entry_of_the_log_is_told(borrowers: Borrowers, packages: Packages, who: str) -> None:
    """In order, with both times, origin, terms and notice; each with a proof of its own."""
    recorded = borrowers.home.ledger.history(borrowers.key(who))
    told = packages(who).json("consents/history.json")["entries"]
    assert [said["entry"] for said in told] == [r.leaf_index for r in recorded]
    for said, r in zip(told, recorded, strict=True):
        assert said["event"] == r.event.kind
        assert (said["source"], said["purpose"]) == (r.event.source, r.event.purpose)
        assert parse_instant(said["effective_at"]) == r.event.effective_at
        assert parse_instant(said["recorded_at"]) == r.recorded_at
        assert (said["origin"], said["indicated_by"]) == (r.event.origin, r.event.indicated_by)
        assert said["proof"] in packages(who).files
        if r.event.grant:
            assert said["terms"]["notice"]["sha256"] == r.event.grant.notice.sha256
            assert parse_instant(said["terms"]["expires_at"]) == r.event.grant.expires_at


def test_each_consent_has_a_receipt(borrowers: Borrowers, packages: Packages) -> None:
    """Of ISO/IEC TS 27560, with the terms as they are on record and the state as it is now."""
    recorded = [r for r in borrowers.home.ledger.history(borrowers.key(ANNA)) if r.event.grant]
    receipts = {n: c for n, c in packages(ANNA).files.items() if n.startswith("consents/receipts/")}
    assert len(receipts) == len(recorded) == 9
    for r in recorded:
        receipt = read_record(json.loads(receipts[f"consents/receipts/entry-{r.leaf_index}.jsonld"]))
        assert (receipt.source, receipt.purpose, receipt.grant) == (
            r.event.source,
            r.event.purpose,
            r.event.grant,
        )
        ended = receipt.states[-1][0] == ("dpv:ConsentWithdrawn",)
        assert ended == (r.event.source == "app_usage")


def test_the_proofs_verify_offline(packages: Packages, tmp_path: Path) -> None:
    """With the files of the package alone: every record, the checkpoint and the signed manifest."""
    folder = packages(ANNA).unpack(tmp_path) / "consents"
    key = Verifier.parse_vkey((folder / "log" / "log.vkey").read_text().strip())
    files = [
        *sorted((folder / "proofs").iterdir()),
        folder / "log" / "log.checkpoint",
        tmp_path / "manifest.note",
    ]
    verified = verify_files(files, Trust(LogKeys(key)))
    entries = packages(ANNA).json("consents/history.json")["entries"]
    with_record = [e for e in entries if e["event"] not in WITHHELD]
    assert len(verified) == len(with_record) + 2
    assert [v.shows for v in verified[:2]] == [f"the record is entry {e['entry']}" for e in with_record[:2]]


def test_a_record_that_was_changed_does_not_verify(packages: Packages, tmp_path: Path) -> None:
    """The proof is of the record as it stands."""
    folder = packages(ANNA).unpack(tmp_path) / "consents"
    key = Verifier.parse_vkey((folder / "log" / "log.vkey").read_text().strip())
    record = next((folder / "proofs").glob("*.record.json"))
    record.write_bytes(record.read_bytes().replace(b'"toggle, ', b'"button, '))
    with pytest.raises(EvidenceError):
        verify_files(sorted((folder / "proofs").iterdir()), Trust(LogKeys(key)))


@pytest.mark.parametrize(("who", "kind"), [(ANNA, Kind.LINKED), (CHEN, Kind.HOLD_PLACED)])
def test_what_is_withheld_is_proved_all_the_same(packages: Packages, who: str, kind: Kind) -> None:
    """The other person of a link, and the ground of a hold: the fingerprint in the log instead of the record."""
    package = packages(who)
    (said,) = [e for e in package.json("consents/history.json")["entries"] if e["event"] == kind]
    assert said.get("co_subject", "another person") == "another person"
    assert said.get("basis", "not disclosed") == "not disclosed"
    stem = said["proof"].removesuffix(".tlog-proof")
    assert f"{stem}.record.json" not in package.files
    key = Verifier.parse_vkey(package.files["consents/log/log.vkey"].decode().strip())
    entry = bytes.fromhex(package.files[f"{stem}.entry"].decode())
    proof = parse_tlog_proof(package.files[said["proof"]])
    assert proof.leaf_index == said["entry"]
    verify_tlog_proof(proof, entry, Trust(LogKeys(key)))
    with pytest.raises(EvidenceError):
        verify_tlog_proof(proof, entry[:-1] + b"\0", Trust(LogKeys(key)))


# ------------------------------------------------------------------------------------------- uses, storage


def test_training_sets_and_models_that_hold_the_person(borrowers: Borrowers, packages: Packages) -> None:
    """Those of others are not told; and what is not written down is said to be."""
    everybody, only_bela = borrowers.receipts
    for who, receipts, models in (
        (ANNA, {everybody}, {"scorecard-1"}),
        (BELA, {everybody, only_bela}, {"scorecard-1", "belas-model"}),
        (EMIL, set(), set()),
    ):
        told = packages(who).json("accesses.json")
        assert {t["receipt_id"] for t in told["training_sets"]} == receipts
        assert {m["name"] for m in told["models"]} == models
        assert "online reads" in told["not_logged_one_by_one"]
    (told,) = packages(ANNA).json("accesses.json")["training_sets"]
    receipt = read_receipt(borrowers.home, everybody)
    assert (told["at"], told["purpose"]) == (format_instant(receipt.created_at), "model_training")
    assert told["features"] == list(receipt.features)
    assert [v["version"] for v in told["data_versions"]] == [t.version for t in receipt.tables]
    assert told["models"] == ["scorecard-1"]


def test_what_is_kept_where_what_for_and_how_long(borrowers: Borrowers, packages: Packages) -> None:
    """Purposes with terms, places with rows, days asked for, rules of retention, recipients, logic of decisions."""
    told = packages(ANNA).json("storage.json")
    sources = {s["source"]: s for s in told["sources"]}
    scoring = next(p for p in sources["spending"]["purposes"] if p["purpose"] == "credit_scoring")
    assert scoring["may_be_used_now"]
    assert (scoring["terms"]["data_life_days"], scoring["terms"]["retention_days"]) == (3000, 2000)
    assert scoring["agreed_until"] == "2099-01-01T00:00:00Z"
    assert [p["reason"] for p in sources["app_usage"]["purposes"]] == ["WITHDRAWN"] * 3
    held = {(h["store"], h.get("data_version")): h["rows"] for h in sources["spending"]["held"]}
    assert min(held["tables", "spending_v1/1"], held["tables", "spending_v1/2"]) > 0
    assert sum(rows for (store, _), rows in held.items() if store == "quarantine") == 2
    asked = (borrowers.now - timedelta(days=1.5)).date().isoformat()
    assert all(s["days_asked_for"] == [asked] for s in told["sources"])
    assert told["retention_rules"]["quarantine"]["days"] == 90
    assert told["recipients"] == ["Credit Bureau <Ltd>"]
    uses = {u["name"]: u for u in told["automated_decisions"]["uses"]}
    assert "spending_v1:spend_30d" in uses["scorecard_v1"]["features"]
    assert uses["scorecard_v1"]["purpose"] == "credit_scoring"


def test_why_another_person_is_in_the_way_is_not_told(packages: Packages) -> None:
    """Only that they are: Bela's withdrawal is hers to know."""
    for who, reason in ((ANNA, "ANOTHER_PERSON"), (BELA, "WITHDRAWN")):
        sources = {s["source"]: s for s in packages(who).json("storage.json")["sources"]}
        use = next(p for p in sources["spending"]["purposes"] if p["purpose"] == "fraud_detection")
        assert (use["may_be_used_now"], use["reason"]) == (False, reason)
    for page, said in (
        ("index.html", "another person, whose data it is as well"),
        ("index.zh.html", "另一人，而其未同意"),
    ):
        text = packages(ANNA).files[page].decode()
        assert said in text
        assert said not in packages(BELA).files[page].decode()


def test_holds_and_erasures_are_told_and_prevent_nothing(packages: Packages) -> None:
    """What is held or waits to be erased is still the person's to see."""
    told = packages(CHEN).json("storage.json")
    assert [h["source"] for h in told["holds_in_force"]] == ["*"]
    assert [r["source"] for r in told["erasures_asked_for"]] == ["spending"]
    assert packages(CHEN).exported.counts["records"] == {"spending": 2}


def test_an_erased_source_is_told_with_its_certificate(packages: Packages) -> None:
    """Nothing of it is left; the certificate says what was done."""
    package = packages(HUGO)
    (done,) = package.json("storage.json")["erasures_done"]
    assert done["source"] == "employment"
    assert not [name for name in package.files if "employment" in name]
    key = Verifier.parse_vkey(package.files["consents/log/log.vkey"].decode().strip())
    header, document = verify_certificate(
        package.files[f"certificates/{done['certificate']}.certificate"], [key]
    )
    assert (header, document["source"]) == (ERASURE, "employment")


# ------------------------------------------------------------------------------------------- nobody else


@pytest.mark.parametrize("who", ALIVE)
def test_nothing_of_anybody_else_is_in_it(borrowers: Borrowers, packages: Packages, who: str) -> None:
    """No pseudonym, customer number, record or entry of another person, a co-subject least of all."""
    secrets = {"SECRET court order"}
    for other in set(ALIVE) - {who}:
        key = borrowers.key(other)
        secrets |= {key, other}
        for r in borrowers.home.ledger.history(key):
            secrets |= {r.event.event_id} | ({r.event.grant.grant_id} if r.event.grant else set())
    secrets |= set(BELAS) if who != BELA else set()
    secrets |= set(CHENS) if who != CHEN else set()
    secrets |= {FINN, NOBODY}
    content = b"\n".join(packages(who).files.values())
    assert not [s for s in secrets if s.encode() in content or s.encode("utf-16-le") in content]
