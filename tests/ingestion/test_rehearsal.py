"""A dry run shows what would happen, in counts and masks, and changes nothing at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from consent.errors import BadInput
from consent.home import Home
from console.cli import run
from ingestion.mapped_rows import read_mapping
from ingestion.reading import Reading
from ingestion.rehearsal import MASK, rehearse
from ingestion.run import ingest
from ingestion.sources import SOURCES
from ingestion.vault import read_batches, read_store

MAPPING = """
source = "spending"
[file]
time_zone = "Asia/Shanghai"
[leave_out]
typ = ["reversal"]
[columns]
subject_id = "who"
transaction_id = "no"
occurred_at = { from = "day", formats = ["%d/%m/%Y"] }
amount = "sum"
currency = { value = "CNY" }
direction = { value = "debit" }
kind = { from = "typ", codes = { P = "purchase" } }
category = { value = "groceries" }
merchant = "shop"
"""
ROWS = [
    *([f"甲,{i},01/03/2026,12.50,P,CANARY-shop" for i in range(40)]),
    "甲,40,01/03/2026,12.50,Q,CANARY-shop",
    "甲,41,01/03/2026,-1.00,P,CANARY-shop",
    "乙,42,01/03/2026,12.50,P,CANARY-shop",
    "甲,43,01/03/2026,12.50,reversal,CANARY-shop",
]


@pytest.fixture
def bank(tmp_path: Path) -> tuple[Path, Path]:
    """A lender's file and its mapping."""
    path, mapping = tmp_path / "bank.csv", tmp_path / "bank.toml"
    path.write_text("who,no,day,sum,typ,shop\n" + "\n".join(ROWS) + "\n", encoding="utf-8")
    mapping.write_text(MAPPING, encoding="utf-8")
    return path, mapping


def reading(mapping: Path) -> Reading:
    return Reading(mapping=read_mapping(mapping, SOURCES["spending"]))


def content(home: Home) -> dict[str, str]:
    """Every file of a home and its keys, by hash."""
    files = [p for root in (home.root, home.keys) for p in root.rglob("*") if p.is_file()]
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.suffix not in (".db-shm", ".db-wal")
    }


def test_a_dry_run_counts_what_a_run_then_does(
    home: Home, consent: Callable[..., str], bank: tuple[Path, Path]
) -> None:
    """The same counts, and nothing changed before."""
    consent("甲")
    path, mapping = bank
    before = content(home)
    (tried,) = rehearse(home, "spending", [path], reading=reading(mapping))
    assert content(home) == before
    assert read_batches(home, "spending") == []
    (done,) = ingest(home, "spending", [path], reading=reading(mapping)).files
    assert tried.report == done
    assert (done.loaded, done.refused, done.quarantined) == (40, {"NO_GRANT": 1}, 2)
    assert done.quarantined_by_rule == {"amount_positive": 1, "cells_readable": 1, "kind_present": 1}
    assert (done.rows, done.left_out, done.read) == (44, 1, 43)


def test_only_codes_of_the_source_are_shown(
    home: Home, consent: Callable[..., str], bank: tuple[Path, Path]
) -> None:
    """No amount, date, name or number of anybody."""
    consent("甲")
    (tried,) = rehearse(home, "spending", [bank[0]], reading=reading(bank[1]), shown=44)
    assert tried.sample[0] == {
        "transaction_id": MASK,
        "occurred_at": MASK,
        "amount": MASK,
        "currency": "CNY",
        "direction": "debit",
        "kind": "purchase",
        "category": "groceries",
        "merchant": MASK,
        "counterparty": None,
        "balance_after": None,
    }
    assert tried.sample[40]["kind"] == "unreadable"
    shown = json.dumps(tried.to_document(), ensure_ascii=False)
    assert not any(value in shown for value in ("CANARY", "甲", "12.5", "2026"))


def test_the_first_rows_only(home: Home, consent: Callable[..., str], bank: tuple[Path, Path]) -> None:
    """As many as asked for."""
    consent("甲")
    (tried,) = rehearse(home, "spending", [bank[0]], reading=reading(bank[1]), first=41)
    assert (tried.in_file, tried.report.rows, tried.report.loaded, tried.report.quarantined) == (
        44,
        41,
        40,
        1,
    )


def test_quarantined_rows_keep_the_lenders_cells(
    home: Home, consent: Callable[..., str], bank: tuple[Path, Path]
) -> None:
    """Sealed, so that a mended mapping can be tried on them; the customer number is not among them."""
    consent("甲")
    ingest(home, "spending", [bank[0]], reading=reading(bank[1]))
    (rows,) = read_store(home, "quarantine", "spending")
    cells = [json.loads(raw) for raw in rows["raw"].to_pylist()]
    assert [c["typ"] for c in cells] == ["Q", "P"]
    assert set(cells[0]) == {"no", "day", "sum", "typ", "shop"}
    (batch,) = read_batches(home, "spending")
    assert batch.facts["mapping_hash"] == reading(bank[1]).mapping.sha256  # type: ignore[union-attr]


def test_a_mapped_file_is_loaded_once(
    home: Home, consent: Callable[..., str], bank: tuple[Path, Path]
) -> None:
    """Rows left out do not shift the positions by which a file's rows are known."""
    consent("甲")
    ingest(home, "spending", [bank[0]], reading=reading(bank[1]))
    consent("乙")
    (second,) = ingest(home, "spending", [bank[0]], reading=reading(bank[1])).files
    assert (second.loaded, second.already_ingested, second.left_out) == (1, 42, 1)


def test_a_mapping_for_another_source_is_refused(home: Home, bank: tuple[Path, Path]) -> None:
    """Nothing is guessed."""
    with pytest.raises(BadInput, match="not for employment"):
        read_mapping(bank[1], SOURCES["employment"])


def test_the_command(
    home: Home, consent: Callable[..., str], bank: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Text and JSON, and options that contradict the mapping."""
    consent("甲")
    path, mapping = map(str, bank)
    call = ["ingest", "spending", path, "--map", mapping, "--home", str(home.root)]
    assert run([*call, "--dry-run", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["dry_run"], shown["files"][0]["loaded"]) == (True, 40)
    assert run([*call, "--dry-run", "--rows", "41"]) == 0
    text = capsys.readouterr().out
    assert "41 of 44 rows were looked at" in text
    assert "nothing was loaded" in text
    assert MASK in text
    assert run([*call, "--encoding", "gb18030"]) == 2
    assert "--map says" in capsys.readouterr().err
    assert run(call) == 0
    assert "left out by the mapping: 1 rows" in capsys.readouterr().out
