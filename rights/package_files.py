"""The files of an access package for programs and spreadsheets; the pages for people are `rights.page`."""

from __future__ import annotations

from consent.home import Home
from consent.nouns import Kind, Recorded
from ingestion.vault import Store
from rights.own_accesses import accesses_document
from rights.own_consents import OwnConsents, history_document, receipts
from rights.own_features import FeatureRows, definitions_document, online_document
from rights.own_records import Records, Seen
from rights.own_storage import storage_document
from rights.package import Package
from rights.rows import write_csv, write_jsonl
from rights.view import View

#: Where the records of each store go.
_FOLDERS: dict[Store, str] = {"vault": "records", "quarantine": "quarantine"}


def write_files(package: Package, home: Home, view: View) -> None:
    """Everything that is held, in the order in which a person would look for it."""
    for records, seen in view.records:
        _write_records(package, records, seen)
    _write_features(package, home, view)
    _write_consents(package, view)
    _write_evidence(package, home, view.consents)
    _write_certificates(package, home, view.consents)
    accesses = accesses_document(view.receipts, view.models, view.looks)
    package.add_json("accesses.json", accesses, "accesses_json", rows=len(view.receipts))
    storage = storage_document(view.storage, view.controller, view.consents.entries)
    package.add_json("storage.json", {"currency": view.currency, **storage}, "storage_json")


def _write_records(package: Package, records: Records, seen: Seen) -> None:
    """Twice, and so unsealed twice: a zip takes one file after the other, and nothing is to be put aside."""
    folder, source = _FOLDERS[records.store], records.source
    with package.stream(f"{folder}/{source}.csv", f"{folder}_csv", source) as stream:
        write_csv(stream, records.columns, seen.watch(records.tables()))
    with package.stream(f"{folder}/{source}.jsonl", f"{folder}_jsonl", source) as stream:
        write_jsonl(stream, records.columns, records.tables())


def _write_features(package: Package, home: Home, view: View) -> None:
    for rows, _ in view.features:
        _write_rows(package, rows)
    if view.features:
        tables = [(rows.table, source) for rows, source in view.features]
        definitions = definitions_document(home, tables)
        package.add_json("features/definitions.json", definitions, "features_json")
    if view.online:
        package.add_json("features/online.json", online_document(view.online), "online_json")


def _write_rows(package: Package, rows: FeatureRows) -> None:
    with package.stream(f"features/{rows.table}.csv", "features_csv", rows.table) as stream:
        write_csv(stream, rows.columns, rows.tables())


def _write_consents(package: Package, view: View) -> None:
    entries = view.consents.entries
    history = {
        "subject_key": view.subject_key,
        "consent_log": view.origin,
        "entries": [
            said | {"proof": proof_file(view.consents, said["entry"])} for said in history_document(entries)
        ],
    }
    package.add_json("consents/history.json", history, "history_json", rows=len(entries))
    for entry, receipt in receipts(view.consents, view.controller, view.origin):
        about = f"{entry.event.source}, {entry.event.purpose}"
        package.add_json(receipt_file(entry), receipt, "receipt", about=about)


def receipt_file(entry: Recorded) -> str:
    """Where the receipt of a consent is."""
    return f"consents/receipts/entry-{entry.leaf_index}.jsonld"


def proof_file(consents: OwnConsents, at: int) -> str:
    """Where the proof of an entry is; those without a record lie apart, so that all others verify at once."""
    folder = "proofs" if consents.proofs[at].record is not None else "proofs-without-record"
    return f"consents/{folder}/entry-{at}.tlog-proof"


def _write_evidence(package: Package, home: Home, consents: OwnConsents) -> None:
    for at, proof in consents.proofs.items():
        name = proof_file(consents, at)
        stem = name.removesuffix(".tlog-proof")
        if proof.record is not None:
            package.add(name, proof.tlog_proof, "proof", about=str(at))
            package.add(f"{stem}.record.json", proof.record, "record", about=str(at))
        else:
            package.add(name, proof.tlog_proof, "bare_proof", about=str(at))
            package.add(f"{stem}.entry", f"{proof.entry.hex()}\n".encode(), "bare_entry", about=str(at))
    if consents.checkpoint is not None:
        package.add("consents/log/log.checkpoint", consents.checkpoint, "checkpoint")
    package.add("consents/log/log.vkey", f"{home.ledger.verifier.format_vkey()}\n".encode(), "key")
    for number, note in enumerate(home.ledger.handovers(), start=1):
        package.add(f"consents/log/{number:04}.handover", note, "handover")


def _write_certificates(package: Package, home: Home, consents: OwnConsents) -> None:
    """Of erasures of one source: the entry of the ledger bears the certificate's name."""
    for entry in consents.entries:
        path = home.path("certificates", f"{entry.event.event_id}.certificate")
        if entry.event.kind is Kind.ERASED and path.exists():
            package.add(f"certificates/{path.name}", path.read_bytes(), "certificate")
