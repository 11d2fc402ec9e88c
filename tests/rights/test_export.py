"""An access package holds every record and feature row exactly, vouches for itself, or is not made."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.clock import format_instant, parse_instant
from consent.errors import BadInput, Conflict, Denied, EvidenceError, Gap
from consent.evidence.certificate import ACCESS, verify_certificate
from consent.files import exclusive
from consent.home import Home
from feature_repo.stores import setup
from ingestion.sources import SOURCES
from ingestion.tables import read_table, read_versions
from ingestion.vault import STORES, Store, read_batches, read_store
from rights.export import export_person
from rights.rows import spreadsheet_text
from tests.rights.borrowers import (
    ALIVE,
    ANNA,
    BELA,
    DORA,
    FINN,
    HOSTILE,
    NOBODY,
    Borrowers,
)
from tests.rights.packages import MADE_AT, Opened, Packages, export, typed

_FOLDERS: dict[Store, str] = {"vault": "records", "quarantine": "quarantine"}

# ------------------------------------------------------------------------------------------- records


@pytest.mark.parametrize("who", ALIVE)
def test_every_row_of_the_vault_and_the_quarantine_is_there(
    borrowers: Borrowers, packages: Packages, who: str
) -> None:
    """Value by value in the source's types, with the batch's loading time; no row more, no row less."""
    home, key, package = borrowers.home, borrowers.key(who), packages(who)
    for store in STORES:
        for source in SOURCES:
            loaded = {b.order: b.committed_at for b in read_batches(home, source)}
            expected = [
                {"loaded_at": loaded[row.pop("batch_order")]} | row
                for table in read_store(home, store, source, subjects=[key])
                for row in table.drop_columns(["subject_key"]).to_pylist()
            ]
            assert read_back(package, store, source) == expected


def read_back(package: Opened, store: Store, source: str) -> list[dict[str, Any]]:
    """The rows of a .jsonl file in their types; none where there is no file."""
    name = f"{_FOLDERS[store]}/{source}.jsonl"
    if name not in package.files:
        return []
    kinds = {field.name: field.type for field in SOURCES[source].schema}
    return [
        {
            column: parse_instant(value)
            if column == "loaded_at"
            else typed(value, kinds[column])
            if column in kinds
            else value
            for column, value in row.items()
        }
        for row in package.rows(name)
    ]


def test_what_the_lender_sent_is_what_the_person_gets(borrowers: Borrowers, packages: Packages) -> None:
    """Every admitted row of the files themselves, cell by cell, in any encoding and with any text."""
    for who in (ANNA, BELA, DORA):
        for source in SOURCES:
            sent = [row for row in borrowers.rows[source] if row["subject_id"] == who]
            held = {
                identity(source, row): row
                for folder in _FOLDERS.values()
                if f"{folder}/{source}.jsonl" in packages(who).files
                for row in packages(who).rows(f"{folder}/{source}.jsonl")
            }
            assert len(held) == len(sent)
            for row in sent:
                assert_alike(row, held[identity(source, row)])


def identity(source: str, row: dict[str, Any]) -> tuple[str, ...]:
    names = {"spending": ("transaction_id",), "employment": ("record_id",), "app_usage": ("occurred_at",)}
    return tuple(plain(row[name]) for name in names[source])


def assert_alike(sent: dict[str, Any], held: dict[str, Any]) -> None:
    """A cell that could not be read is null, and stands as it was in ``raw``."""
    unread = (held.get("malformed") or "").split(",")
    for name, value in sent.items():
        if name in unread:
            assert held[name] is None
            assert value in held["raw"]
        elif name != "subject_id":
            assert plain(held.get(name)) == plain(value), name


def plain(value: Any) -> str:
    return "" if value is None else format_instant(value) if hasattr(value, "tzinfo") else str(value)


def test_the_quarantine_names_the_rules_that_were_broken(packages: Packages) -> None:
    """With the cells that could not be read, as they stood in the file."""
    by_number = {row["transaction_id"]: row for row in packages(ANNA).rows("quarantine/spending.jsonl")}
    assert by_number["A9"]["rules"] == ["amount_positive"]
    assert set(by_number["A10"]["rules"]) == {"amount_present", "cells_readable"}
    assert (by_number["A10"]["malformed"], by_number["A10"]["raw"]) == ("amount", "amount==1+1")


@pytest.mark.parametrize("who", ALIVE)
def test_the_spreadsheet_says_the_same(packages: Packages, who: str) -> None:
    """A .csv is the .jsonl, but for an apostrophe before what a spreadsheet takes for a formula."""
    package = packages(who)
    for name in [n for n in package.files if n.endswith(".jsonl")]:
        content = package.files[name.replace(".jsonl", ".csv")]
        assert content.startswith(b"\xef\xbb\xbf")
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        expected = [{column: cell(value) for column, value in row.items()} for row in package.rows(name)]
        assert rows == expected


def cell(value: Any) -> str:
    """What a spreadsheet is to be given."""
    text = "; ".join(value) if isinstance(value, list) else "" if value is None else str(value)
    amount = text.removeprefix("-").replace(".", "").isdigit()
    return text if amount else spreadsheet_text(text)


def test_no_cell_is_a_formula_and_amounts_stay_numbers(packages: Packages) -> None:
    """Hostile texts are made harmless in .csv and kept in .jsonl; a negative balance is still a number."""
    folders = _FOLDERS.values()  # some are loaded, some are in quarantine for being what they are
    texts = [packages(DORA).files[f"{folder}/spending.csv"].decode("utf-8-sig") for folder in folders]
    cells = [cell for t in texts for row in csv.reader(io.StringIO(t, newline="")) for cell in row]
    assert not [c for c in cells if c.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))]
    rows = [row for folder in folders for row in packages(DORA).rows(f"{folder}/spending.jsonl")]
    merchants = {row["merchant"] for row in rows}
    assert merchants == set(HOSTILE)
    assert ",-12.30," in packages(ANNA).files["records/spending.csv"].decode()


# ------------------------------------------------------------------------------------------- features


@pytest.mark.parametrize("who", ALIVE)
def test_every_feature_row_of_every_data_version_is_there(
    borrowers: Borrowers, packages: Packages, who: str
) -> None:
    """Exact numbers, with the version's number and when it was published."""
    home, key, package = borrowers.home, borrowers.key(who), packages(who)
    for source in SOURCES.values():
        expected = [
            {
                "data_version": str(version.number),
                "published_at": format_instant(version.published_at),
                "event_timestamp": format_instant(row.pop("event_timestamp")),
            }
            | {name: "" if value is None else repr(value) for name, value in row.items()}
            for version in read_versions(home, source.definition)
            for row in read_table(home, version, subjects=[key]).drop_columns(["subject_key"]).to_pylist()
        ]
        name = f"features/{source.definition}.csv"
        assert (name in package.files) == bool(expected)
        if expected:
            text = package.files[name].decode("utf-8-sig")
            assert list(csv.DictReader(io.StringIO(text, newline=""))) == expected


def test_two_data_versions_are_told_apart(packages: Packages) -> None:
    """The rows of an earlier version stay beside those of the newest."""
    rows = list(
        csv.DictReader(io.StringIO(packages(ANNA).files["features/spending_v1.csv"].decode("utf-8-sig")))
    )
    assert {row["data_version"] for row in rows} == {"1", "2"}


def test_every_feature_is_explained(packages: Packages) -> None:
    """Definition and reason, unit, window and when it is empty, from the source's definition."""
    told = {d["table"]: d for d in packages(ANNA).json("features/definitions.json")}
    assert set(told) == {source.definition for source in SOURCES.values()}
    for source in SOURCES.values():
        features = told[source.definition]["features"]
        assert [f["name"] for f in features] == [f.name for f in source.features]
        for said, feature in zip(features, source.features, strict=True):
            assert (said["definition_and_reason"], said["unit"]) == (feature.meaning, feature.unit)
            assert (said["window"], said["empty_means"]) == (feature.window, feature.null_means)


def test_online_values_are_told_whatever_consent_says(borrowers: Borrowers, packages: Packages) -> None:
    """Feast gives nothing of a source that was withdrawn; the person is told all the same what lies there."""
    online = {view["view"]: view for view in packages(ANNA).json("features/online.json")}
    assert set(online) == {source.definition for source in SOURCES.values()}
    gated = setup.online_features(borrowers.home, "scorecard_v1", [borrowers.key(ANNA)])
    features = [f.name for f in SOURCES["app_usage"].features]
    assert [gated[name] for name in features] == [[None]] * len(features)
    newest = {}
    for source in SOURCES.values():
        text = packages(ANNA).files[f"features/{source.definition}.csv"].decode("utf-8-sig")
        newest = list(csv.DictReader(io.StringIO(text)))[-1]
        values = online[source.definition]["values"]
        assert online[source.definition]["at"] == newest["event_timestamp"]
        assert {n: "" if v is None else repr(v) for n, v in values.items()} == {n: newest[n] for n in values}


# ------------------------------------------------------------------------------------------- the whole


@pytest.mark.parametrize("who", ALIVE)
def test_the_manifest_lists_every_file(packages: Packages, who: str) -> None:
    """With its size, hash, rows and what it is, in two languages; nothing else lies in the package."""
    package = packages(who)
    manifest = package.json("manifest.json")
    listed = {f["file"]: f for f in manifest["files"]}
    assert [*listed, "manifest.json", "manifest.note", "SHA256SUMS"] == list(package.files)
    for name, said in listed.items():
        assert said["size"] == len(package.files[name])
        assert said["sha256"] == hashlib.sha256(package.files[name]).hexdigest()
        assert said["what"] != said["what_zh"]
        if name.endswith(".jsonl"):
            assert said["rows"] == len(package.rows(name))
    assert manifest["counts"] == package.exported.counts
    assert manifest["made_at"] == format_instant(MADE_AT)


def test_the_checksums_are_what_sha256sum_wants(packages: Packages, tmp_path: Path) -> None:
    """They hold for every file, and no more once one of them has changed."""
    folder = packages(ANNA).unpack(tmp_path)
    command = ["sha256sum", "--strict", "-c", "SHA256SUMS"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.count(": OK") == len(packages(ANNA).files) - 1
    (folder / "storage.json").write_text("{}")
    assert subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode == 1


def test_the_manifest_is_signed(borrowers: Borrowers, packages: Packages) -> None:
    """By the log's key, under a header of its own; a changed note is refused."""
    note = packages(ANNA).files["manifest.note"]
    header, document = verify_certificate(note, [borrowers.home.ledger.verifier])
    assert header == ACCESS
    assert document["manifest_sha256"] == hashlib.sha256(packages(ANNA).files["manifest.json"]).hexdigest()
    assert document["manifest_sha256"] == packages(ANNA).exported.sha256
    with pytest.raises(EvidenceError):
        verify_certificate(note.replace(b'"files": ', b'"files": 1'), [borrowers.home.ledger.verifier])


def test_two_packages_of_one_moment_are_the_same_bytes(borrowers: Borrowers, tmp_path: Path) -> None:
    """And those of another moment are not."""
    made = []
    for name in ("1", "2"):
        for part in (borrowers.home.root, borrowers.home.keys):
            shutil.copytree(part, tmp_path / name / part.name)
        copied = replace(borrowers, home=Home.open(tmp_path / name / borrowers.home.root.name))
        setup.apply(copied.home)
        made.append(export(copied, ANNA, tmp_path, name=f"{name}.zip").path.read_bytes())
    assert made[0] == made[1]
    later = export(borrowers, ANNA, tmp_path, at=MADE_AT + timedelta(days=1), name="3.zip")
    assert later.path.read_bytes() != made[0]


# ------------------------------------------------------------------------------------------- refused


def test_somebody_unknown(borrowers: Borrowers, tmp_path: Path) -> None:
    """Is told so, and the number is not repeated."""
    for number in (NOBODY, "", "x" * 300, "\0"):
        with pytest.raises(BadInput) as refused:
            export_person(borrowers.home, number, tmp_path / "p.zip")
        assert refused.value.code == "UNKNOWN_SUBJECT"
        assert not number or number not in refused.value.message
    assert not list(tmp_path.iterdir())


def test_somebody_erased(borrowers: Borrowers, tmp_path: Path) -> None:
    """Is told which certificate says so."""
    name = borrowers.home.directory.tombstones([FINN])[FINN].erasure_id
    with pytest.raises(Denied, match=name) as refused:
        export_person(borrowers.home, FINN, tmp_path / "p.zip")
    assert refused.value.code == "ERASED"
    assert borrowers.home.path("certificates", f"{name}.certificate").exists()
    assert not list(tmp_path.iterdir())


def test_nobody_answers_for_the_data(tmp_path: Path) -> None:
    """A package that does not say who holds the data is none."""
    home = Home.create(tmp_path / "home")
    home.directory.find_or_create([ANNA])
    with pytest.raises(Gap, match="controller"):
        export_person(home, ANNA, tmp_path / "p.zip")


def test_while_a_job_is_running(borrowers: Borrowers, tmp_path: Path) -> None:
    """A package shows one state of the home, so it waits for jobs as they wait for each other."""
    with exclusive(borrowers.home.path("job.lock"), "a test"), pytest.raises(Conflict):
        export_person(borrowers.home, ANNA, tmp_path / "p.zip")
    assert not list(tmp_path.iterdir())
