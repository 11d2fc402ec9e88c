"""The quarantine: counted and masked for everybody, and tried again after a fix, exactly once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from consent.errors import BadInput, Conflict, Denied
from consent.files import exclusive
from consent.home import Home
from console.cli import run
from ingestion.mapped_rows import read_mapping
from ingestion.mapping import Mapping
from ingestion.quarantine import list_held, replay, show_held
from ingestion.reading import Reading
from ingestion.rehearsal import MASK
from ingestion.run import ingest
from ingestion.sources import SOURCES
from ingestion.vault import read_batches, read_store
from tests.ingestion.conftest import transaction, write_csv
from tests.ingestion.killing import kill_at_each_step
from tests.ingestion.test_rehearsal import MAPPING

HEADER = "who,no,day,sum,typ,shop\n"


def lines(*odd: str) -> str:
    """Forty good rows of one person, then some others."""
    good = [f"甲,{i},01/03/2026,12.50,P,CANARY" for i in range(40)]
    return HEADER + "\n".join([*good, *odd]) + "\n"


Q, NEGATIVE, OTHERS = (
    "甲,40,01/03/2026,12.50,Q,CANARY",
    "甲,41,01/03/2026,-1.00,P,CANARY",
    "乙,42,01/03/2026,9.00,Q,CANARY",
)
MENDED = MAPPING.replace('{ P = "purchase" }', '{ P = "purchase", Q = "fee" }')


def mapping_of(tmp_path: Path, text: str) -> Mapping:
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    return read_mapping(path, SOURCES["spending"])


@pytest.fixture
def loaded(home: Home, consent: Callable[..., str], tmp_path: Path) -> Home:
    """A mapped file of two people, three of whose rows are in quarantine."""
    consent("甲")
    consent("乙")
    path = tmp_path / "bank.csv"
    path.write_text(
        lines(Q, NEGATIVE, OTHERS, *(Q.replace(",40,", f",{i},").replace("Q", "P") for i in range(50, 70)))
    )
    reading = Reading(mapping=mapping_of(tmp_path, MAPPING))
    ingest(home, "spending", [path], reading=reading)
    return home


def ids(home: Home, store: Any = "vault") -> list[str]:
    tables = list(read_store(home, store, "spending"))
    return sorted(pa.concat_tables(tables)["transaction_id"].to_pylist()) if tables else []


def test_batches_are_listed_in_counts(loaded: Home) -> None:
    """By rule, and how many people; a source without any is an empty list."""
    (held,) = list_held(loaded, "spending")
    assert (held.rows, held.people, held.mapped) == (3, 2, True)
    assert held.by_rule == {"amount_positive": 1, "cells_readable": 2, "kind_present": 2}
    assert list_held(loaded, "employment") == []


def test_rows_are_shown_masked_for_everybody_and_looking_is_noted(loaded: Home) -> None:
    """The rule and the place in the lender's file say enough."""
    before = loaded.accesses.size()
    rows = show_held(loaded, "spending")
    assert loaded.accesses.size() == before + 1
    assert [(r["row"], r["rules"]) for r in sorted(rows, key=lambda r: int(r["row"] or 0))] == [
        ("40", "cells_readable, kind_present"),
        ("41", "amount_positive"),
        ("42", "cells_readable, kind_present"),
    ]
    assert {r["amount"] for r in rows} == {MASK}
    shown = json.dumps(rows, ensure_ascii=False)
    assert not any(value in shown for value in ("CANARY", "12.5", "-1.00", "甲", "2026"))
    assert len(show_held(loaded, "spending", limit=2)) == 2


def test_a_mended_mapping_lets_rows_in_once(loaded: Home, tmp_path: Path) -> None:
    """What is fit now is loaded and leaves; what is not stays; again, and nothing happens."""
    mended = mapping_of(tmp_path, MENDED)
    report = replay(loaded, "spending", mapping=mended)
    assert (report.total("read"), report.total("loaded"), report.total("quarantined")) == (3, 2, 1)
    assert {"40", "42"} <= set(ids(loaded))
    assert ids(loaded, "quarantine") == ["41"]
    (held,) = list_held(loaded, "spending")
    assert (held.rows, held.by_rule) == (1, {"amount_positive": 1})
    again = replay(loaded, "spending", mapping=mended)
    assert (again.total("read"), again.total("loaded")) == (1, 0)
    assert len(ids(loaded)) == len(set(ids(loaded))) == 62
    newest = read_batches(loaded, "spending")[-1]
    assert newest.facts["mapping_hash"] == mended.sha256
    assert newest.facts["replayed_from"] == read_batches(loaded, "spending")[0].batch_id


def test_the_file_offered_again_brings_nothing_twice(loaded: Home, tmp_path: Path) -> None:
    """A replayed row keeps its place in the lender's file."""
    mended = mapping_of(tmp_path, MENDED)
    replay(loaded, "spending", mapping=mended)
    report = ingest(loaded, "spending", [tmp_path / "bank.csv"], reading=Reading(mapping=mended))
    assert report.files[0].outcome == "nothing new"


def test_consent_is_asked_again(loaded: Home, withdraw: Callable[..., None], tmp_path: Path) -> None:
    """Who has withdrawn meanwhile is refused; the row stays sealed where it is until it may no longer be kept."""
    withdraw("乙")
    report = replay(loaded, "spending", mapping=mapping_of(tmp_path, MENDED))
    assert (report.total("loaded"), report.files[0].refused) == (1, {"WITHDRAWN": 1})
    assert ids(loaded, "quarantine") == ["41", "42"]


def test_a_replay_killed_at_any_step_ends_the_same(loaded: Home, tmp_path: Path) -> None:
    """Nothing twice, nothing lost, no file left over."""
    mapping_of(tmp_path, MENDED)
    call = (
        "__import__('ingestion.quarantine', fromlist=['x']).replay(home, 'spending', mapping="
        "__import__('ingestion.mapped_rows', fromlist=['x']).read_mapping("
        f"Path({str(tmp_path / 'm.toml')!r}), __import__('ingestion.sources', fromlist=['x']).SOURCES['spending']))"
    )
    codes = kill_at_each_step(call, loaded, range(1, 14, 4))
    assert codes.count(9) >= 2
    replay(loaded, "spending", mapping=mapping_of(tmp_path, MENDED))
    assert len(ids(loaded)) == len(set(ids(loaded))) == 62
    assert ids(loaded, "quarantine") == ["41"]
    on_record = {file.file for b in read_batches(loaded, "spending") for file in b.stores.values()}
    kept = {p.name for store in ("vault", "quarantine") for p in loaded.path(store).rglob("*.parquet*")}
    assert kept == on_record


def test_a_mended_suite_needs_no_mapping(home: Home, consent: Callable[..., str], tmp_path: Path) -> None:
    """Rows from the future become rows of the past; what could not be read stays."""
    consent("甲")
    early = datetime(2026, 2, 1, tzinfo=UTC)
    rows = [transaction("甲", i) for i in range(1, 40)]
    rows.append(transaction("甲", 40, amount="eight"))
    now = lambda: early  # noqa: E731
    settings = replace(home.settings, reject_above=1.0)
    lenient = Home(home.root, home.keys, settings)
    ingest(lenient, "spending", [write_csv(tmp_path / "f.csv", rows)], clock=now)
    assert len(ids(home, "quarantine")) == 40
    report = replay(home, "spending")
    assert (report.total("loaded"), report.total("quarantined")) == (39, 1)
    assert list_held(home, "spending")[0].by_rule == {"amount_present": 1, "cells_readable": 1}


def test_a_mapping_that_reads_other_columns_is_refused(loaded: Home, tmp_path: Path) -> None:
    """What was not kept cannot be read."""
    other = MENDED.replace('merchant = "shop"', 'merchant = "store"')
    with pytest.raises(BadInput, match="store, which was not kept"):
        replay(loaded, "spending", mapping=mapping_of(tmp_path, other))
    assert len(ids(loaded, "quarantine")) == 3


def test_unmapped_rows_are_left_alone_by_a_mapping(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """There is nothing of the lender's to read anew."""
    consent("甲")
    rows = [transaction("甲", i) for i in range(39)] + [transaction("甲", 39, amount="0.00")]
    ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    assert replay(home, "spending", mapping=mapping_of(tmp_path, MENDED)).files == ()
    assert ids(home, "quarantine") == ["t39"]


def test_refusals(loaded: Home) -> None:
    """No such batch, a prohibited source, another job."""
    with pytest.raises(BadInput, match="no such batch"):
        show_held(loaded, "spending", batch_id="zzz")
    with pytest.raises(Denied):
        list_held(loaded, "contacts")
    with exclusive(loaded.path("job.lock"), "a job"), pytest.raises(Conflict):
        replay(loaded, "spending")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: capsys.readouterr().out


def test_the_commands(loaded: Home, tmp_path: Path, said: Callable[[], str]) -> None:
    """List, show and replay, as text and as JSON."""
    mapping_of(tmp_path, MENDED)
    home = ["--home", str(loaded.root)]
    assert run(["quarantine", "list", "--json", *home]) == 0
    (batch,) = json.loads(said())["batches"]
    assert run(["quarantine", "list", *home]) == 0
    assert "amount_positive" in said()
    assert run(["quarantine", "show", "spending", "--batch", batch["batch_id"][:8], *home]) == 0
    assert MASK in said()
    assert run(["quarantine", "replay", "spending", "--map", str(tmp_path / "m.toml"), *home]) == 0
    assert "quarantine of" in said()
    assert run(["quarantine", "replay", "employment", *home]) == 0
    assert "nothing to try again" in said()
    assert run(["quarantine", "show", "spending", "--batch", "zzz", *home]) == 6
    assert run(["quarantine", "list", "contacts", *home]) == 3
