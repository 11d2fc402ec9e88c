"""One ingestion job: exactly what consent allows, exactly once, and every row accounted for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from consent.clock import now_utc
from consent.errors import AssentError, BadInput, Conflict, Denied, EvidenceError
from consent.files import exclusive
from consent.home import Home
from ingestion.run import RunReport, ingest
from ingestion.vault import read_batch, read_batches, read_store
from tests.ingestion.conftest import DATA_FROM, grant_event, transaction, write_csv
from tests.ingestion.killing import kill_at_each_step
from tests.ingestion.restating import restate


def loaded(home: Home, source: str = "spending") -> pa.Table:
    tables = list(read_store(home, "vault", source))
    return pa.concat_tables(tables) if tables else pa.table({"transaction_id": pa.array([], pa.string())})


def ids(home: Home) -> list[str]:
    return sorted(loaded(home)["transaction_id"].to_pylist())


def reconciles(report: RunReport) -> bool:
    return all(
        f.read == f.loaded + sum(f.refused.values()) + f.quarantined + f.rejected
        and f.rows == f.read + f.already_ingested
        for f in report.files
    )


def good_rows(subject: str, count: int, start: int = 0) -> list[dict[str, Any]]:
    return [transaction(subject, start + i) for i in range(count)]


def test_only_consented_rows_are_loaded(home: Home, consent: Callable[..., str], tmp_path: Path) -> None:
    """Rows without consent are never loaded, only counted by reason."""
    key = consent("甲")
    consent("乙", source="employment")
    rows = [*good_rows("甲", 30), transaction("乙", 100), transaction("丙", 101), transaction("", 102)]
    rows.append(transaction("甲", 103, occurred_at="2024-12-31T23:59:59Z"))
    report = ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    assert report.files[0].refused == {"DATA_RANGE": 1, "NO_GRANT": 1, "SOURCE": 1, "UNKNOWN": 1}
    assert reconciles(report)
    assert ids(home) == sorted(f"t{i}" for i in range(30))
    assert set(loaded(home)["subject_key"].to_pylist()) == {key}


def test_first_instant_of_the_data_range_is_loaded(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """DESIGN 4.4: loading needs data_at >= data_from."""
    consent("甲")
    rows = [transaction("甲", 1, occurred_at=DATA_FROM.isoformat())]
    assert ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)]).total("loaded") == 1


def test_repeating_a_job_changes_nothing(home: Home, consent: Callable[..., str], tmp_path: Path) -> None:
    """Exactly once, however often it is re-run."""
    consent("甲")
    path = write_csv(tmp_path / "f.csv", good_rows("甲", 25))
    ingest(home, "spending", [path])
    again = ingest(home, "spending", [path])
    assert again.files[0].outcome == "nothing new"
    assert (again.total("read"), again.total("loaded")) == (0, 0)
    assert len(ids(home)) == 25
    assert len(read_batches(home, "spending")) == 1


def test_later_consent_loads_the_remaining_rows_once(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """The same file offered again brings in only the rows that consent has opened since."""
    consent("甲")
    path = write_csv(tmp_path / "f.csv", [*good_rows("甲", 20), *good_rows("乙", 5, 50)])
    assert ingest(home, "spending", [path]).files[0].refused == {"NO_GRANT": 5}
    consent("乙")
    second = ingest(home, "spending", [path])
    assert (second.total("loaded"), second.files[0].already_ingested) == (5, 20)
    assert len(ids(home)) == len(set(ids(home))) == 25


def test_withdrawal_stops_loading(
    home: Home, consent: Callable[..., str], withdraw: Callable[..., None], tmp_path: Path
) -> None:
    """A withdrawal takes effect at the very next read of a file."""
    consent("甲")
    withdraw("甲", "spending")
    report = ingest(home, "spending", [write_csv(tmp_path / "f.csv", good_rows("甲", 3))])
    assert report.files[0].refused == {"WITHDRAWN": 3}


def test_a_clock_set_back_does_not_undo_a_withdrawal(
    home: Home, withdraw: Callable[..., None], tmp_path: Path
) -> None:
    """The gates' now is never before the ledger's last entry."""
    key = home.directory.find_or_create(["甲"])[0]
    given = replace(
        grant_event(key, "spending", "credit_scoring"),
        effective_at=now_utc() - timedelta(days=2),
        origin="imported",
        evidence_hash="cd" * 32,
    )
    home.ledger.append([given])
    withdraw("甲", "spending")
    path = write_csv(tmp_path / "f.csv", good_rows("甲", 3))
    home.ledger._clock = lambda: now_utc() - timedelta(seconds=30)
    report = ingest(home, "spending", [path], clock=lambda: now_utc() - timedelta(seconds=30))
    assert report.files[0].refused == {"WITHDRAWN": 3}


def test_joint_data_needs_both(home: Home, consent: Callable[..., str], tmp_path: Path) -> None:
    """DESIGN 4.10: data about two people needs both."""
    from consent.ledger import new_event_id
    from consent.nouns import Event, Kind

    key, other = consent("甲"), home.directory.find_or_create(["乙"])[0]
    link = Event(new_event_id(), Kind.LINKED, key, "spending", "*", now_utc(), co_subject_key=other)
    home.ledger.append([link])
    path = write_csv(tmp_path / "f.csv", good_rows("甲", 2))
    assert ingest(home, "spending", [path]).files[0].refused == {"NO_GRANT": 2}
    consent("乙")
    assert ingest(home, "spending", [path]).total("loaded") == 2


def test_bad_rows_are_quarantined_sealed_with_the_rules_name(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """Bad rows go to a sealed quarantine with the rule's name; the cell that could not be read is kept."""
    key = consent("甲")
    rows = good_rows("甲", 60)
    rows[5]["amount"] = "-3.00"
    rows[6]["amount"] = "八元"
    report = ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    assert (report.total("loaded"), report.total("quarantined")) == (58, 2)
    assert reconciles(report)
    bad = pa.concat_tables(read_store(home, "quarantine", "spending")).sort_by("row_number")
    assert bad["row_number"].to_pylist() == [5, 6]
    assert set(bad["subject_key"].to_pylist()) == {key}
    assert bad["raw"].to_pylist() == [None, "amount=八元"]
    assert all(bad["rules"].to_pylist())
    assert "八元".encode() not in b"".join(p.read_bytes() for p in home.root.rglob("*") if p.is_file())


def test_batch_over_its_threshold_is_rejected_whole(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """Above the source's threshold nothing of the batch is loaded, and the run report says why."""
    consent("甲")
    rows = good_rows("甲", 10)
    rows[0]["amount"] = rows[1]["amount"] = "-1.00"
    report = ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    assert report.rejected_files == ["f.csv"]
    assert (report.total("loaded"), report.total("quarantined"), report.total("rejected")) == (0, 0, 10)
    assert reconciles(report)
    assert read_batches(home, "spending") == []
    assert not list(home.path("quarantine").rglob("*.parquet"))


def test_run_reports_are_kept_and_hold_no_value(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """Every job leaves a report of counts."""
    consent("甲")
    report = ingest(home, "spending", [write_csv(tmp_path / "f.csv", good_rows("甲", 3))])
    kept = json.loads(home.path("runs", f"{report.run_id}.json").read_text())
    assert kept["totals"] == {"read": 3, "loaded": 3, "refused": 0, "quarantined": 0, "rejected": 0}
    assert "盒马鲜生" not in home.path("runs", f"{report.run_id}.json").read_text()


def test_the_same_file_twice_in_one_job_is_an_error(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """A duplicate file is named, and nothing is loaded."""
    consent("甲")
    first = write_csv(tmp_path / "f.csv", good_rows("甲", 3))
    second = write_csv(tmp_path / "g.csv", good_rows("甲", 3))
    with pytest.raises(BadInput, match=r"g\.csv has the same content as f\.csv"):
        ingest(home, "spending", [first, second])
    assert read_batches(home, "spending") == []


def test_one_unreadable_file_leaves_the_whole_job_undone(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """Nothing is half-written: a job whose second file cannot be read loads nothing of the first."""
    consent("甲")
    good = write_csv(tmp_path / "f.csv", good_rows("甲", 3))
    (tmp_path / "g.csv").write_bytes(b"")
    with pytest.raises(BadInput, match=r"g\.csv"):
        ingest(home, "spending", [good, tmp_path / "g.csv"])
    assert read_batches(home, "spending") == []
    assert ingest(home, "spending", [good]).total("loaded") == 3
    assert len(list(home.path("vault").rglob("*.parquet*"))) == 1


@pytest.mark.parametrize(("source", "kind"), [("contacts", Denied), ("horoscope", AssentError)])
def test_prohibited_and_unknown_sources_are_refused(
    home: Home, source: str, kind: type, tmp_path: Path
) -> None:
    """A prohibited source is refused, consent or not; an unknown one too."""
    with pytest.raises(kind):
        ingest(home, source, [tmp_path / "f.csv"])


def test_a_second_job_at_the_same_time_is_refused(home: Home, tmp_path: Path) -> None:
    """Two jobs never write at once."""
    with exclusive(home.path("job.lock"), "a test"), pytest.raises(Conflict):
        ingest(home, "spending", [tmp_path / "f.csv"])


def test_damage_to_the_vault_is_evidence(home: Home, consent: Callable[..., str], tmp_path: Path) -> None:
    """A sealed file that is changed, swapped, or whose manifest is changed or missing, is refused."""
    consent("甲")
    for name, start in (("f.csv", 0), ("g.csv", 100), ("h.csv", 200)):
        ingest(home, "spending", [write_csv(tmp_path / name, good_rows("甲", 3, start))])
    first, second, _ = sorted(home.path("vault", "spending").glob("*.parquet"))
    manifest = sorted(home.path("vault", "spending").glob("*.json"))[1]
    originals = {p: p.read_bytes() for p in (first, second, manifest)}

    def refused() -> bool:
        with pytest.raises(EvidenceError):
            list(read_store(home, "vault", "spending"))
        for path, content in originals.items():
            path.write_bytes(content)
        return len(list(read_store(home, "vault", "spending"))) == 3

    content = bytearray(originals[first])
    content[len(content) // 2] ^= 1
    first.write_bytes(content)
    assert refused()
    first.write_bytes(originals[second])
    assert refused()
    manifest.write_bytes(originals[manifest].replace(b'"order":1', b'"order":2'))
    assert refused()
    manifest.unlink()
    assert refused()


def test_a_record_moved_to_another_subject_does_not_open(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """The seal binds subject, source, store and batch: swapped within the file, hash mended, it stays shut."""
    consent("甲")
    consent("乙")
    ingest(home, "spending", [write_csv(tmp_path / "f.csv", [*good_rows("甲", 1), *good_rows("乙", 1, 9)])])
    batch = read_batches(home, "spending")[0]
    assert len(list(read_batch(home, "vault", batch))) == 1
    path = home.path("vault", "spending", batch.stores["vault"].file)
    table = pq.read_table(path)
    at = table.column_names.index("sealed")
    pq.write_table(table.set_column(at, "sealed", table["sealed"].take(pa.array([1, 0]))), path)
    with pytest.raises(EvidenceError, match="does not open"):
        list(
            read_batch(home, "vault", replace(batch, stores={"vault": restate(path, batch.stores["vault"])}))
        )


def test_a_killed_job_run_again_ends_in_the_same_state(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """Killed at every durable step in turn, then run again: the state an uninterrupted job would have reached."""
    consent("甲")
    consent("乙")
    rows = good_rows("甲", 40)
    rows[7]["amount"] = "-1.00"
    files = [
        write_csv(tmp_path / "f.csv", rows),
        write_csv(tmp_path / "g.csv", [*good_rows("乙", 40, 100), *good_rows("丙", 2, 300)]),
    ]
    expected = sorted([f"t{i}" for i in range(40) if i != 7] + [f"t{i}" for i in range(100, 140)])
    named = [str(path) for path in files]
    codes = kill_at_each_step(
        f"ingest(home, 'spending', [Path(p) for p in {named!r}])", home, range(1, 24, 2)
    )
    assert codes.count(9) >= 5
    assert set(ids(home)) <= set(expected)
    report = ingest(home, "spending", files)
    assert reconciles(report)
    assert ids(home) == expected
    quarantined = pa.concat_tables(read_store(home, "quarantine", "spending"))
    assert quarantined["transaction_id"].to_pylist() == ["t7"]
    on_record = {file.file for b in read_batches(home, "spending") for file in b.stores.values()}
    kept = {p.name for store in ("vault", "quarantine") for p in home.path(store).rglob("*.parquet*")}
    assert kept == on_record


def test_statistics_of_the_vault_show_the_subject_key_only(
    home: Home, consent: Callable[..., str], tmp_path: Path
) -> None:
    """Parquet statistics hold nothing personal, and every field of a person is inside the seal."""
    consent("甲")
    ingest(home, "spending", [write_csv(tmp_path / "f.csv", good_rows("甲", 3))])
    file = pq.ParquetFile(next(home.path("vault", "spending").glob("*.parquet")))
    assert file.schema_arrow.names == ["subject_key", "key_version", "rows", "nonce", "sealed"]
    statistics = [file.metadata.row_group(0).column(i).statistics for i in range(5)]
    assert [s is not None and s.has_min_max for s in statistics] == [True, False, False, False, False]


def test_values_survive_the_round_trip(home: Home, consent: Callable[..., str], tmp_path: Path) -> None:
    """What is unsealed is what was in the file, in the source's types."""
    from decimal import Decimal

    consent("甲")
    rows = [transaction("甲", 1, amount="0.10", merchant='"a ""quoted"", 名 😀"')]
    ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    row = loaded(home).to_pylist()[0]
    assert row["amount"] == Decimal("0.10")
    assert row["merchant"] == 'a "quoted", 名 😀'
    assert row["balance_after"] is None
    assert pc.all(pc.equal(loaded(home)["batch_order"], 0)).as_py()
