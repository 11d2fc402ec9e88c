"""The sweep: what may not be kept any longer goes, everything else stays, and a second sweep finds nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from consent.clock import now_utc
from consent.datakeys import DataKeys
from consent.errors import Unavailable
from consent.evidence.certificate import SWEEP, verify_certificate
from consent.home import CONFIG_FILE, Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Kind
from ingestion.asked import asked_days, count_asked, keep_asked_days
from ingestion.publish import publish
from ingestion.run import ingest
from ingestion.tables import read_table, read_versions
from ingestion.vault import read_batches, read_store
from rights.erase import Wanted, erase
from rights.sweep import sweep
from tests.ingestion.conftest import grant_event, transaction, write_csv
from tests.rights.later import clock_in, home_in

TODAY = now_utc()


def day(ago: int) -> str:
    return (TODAY - timedelta(days=ago)).isoformat()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.create(tmp_path / "home")


@pytest.fixture
def agrees(home: Home) -> Callable[..., str]:
    """Somebody agrees to spending data for scoring; returns the subject key."""

    def agree(name: str, purpose: str = "credit_scoring", **terms: Any) -> str:
        (key,) = home.directory.find_or_create([name])
        home.ledger.append([grant_event(key, "spending", purpose, **terms)])
        return key

    return agree


def load(home: Home, tmp_path: Path, rows: list[dict[str, Any]], name: str = "f.csv") -> None:
    ingest(home, "spending", [write_csv(tmp_path / name, rows)])


def ids(home: Home, store: str = "vault") -> list[str]:
    tables = list(read_store(home, store, "spending"))  # type: ignore[arg-type]
    return sorted(i for t in tables for i in t["transaction_id"].to_pylist())


def say(home: Home, kind: Kind, key: str, **more: Any) -> None:
    home.ledger.append([Event(new_event_id(), kind, key, ANY, ANY, now_utc(), **more)])


def test_data_whose_life_is_over_goes_and_the_rest_stays_under_a_new_key(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """Row by row: within one person's sealed record, and for a person without any limit nothing."""
    short, long = agrees("甲", data_life=timedelta(days=30)), agrees("乙")
    rows = [transaction("甲", i, occurred_at=day(25 - i)) for i in range(20)]
    load(home, tmp_path, [*rows, *(transaction("乙", 100 + i, occurred_at=day(25 - i)) for i in range(5))])
    before = home.data_keys.find("spending", [short, long])
    later = home_in(home, 14.5)
    swept = sweep(later, clock=clock_in(14.5))
    assert swept.records["spending"] == {"people": 0, "people_in_part": 1, "rows": 10}
    assert ids(home) == sorted([f"t{i}" for i in range(10, 20)] + [f"t{i}" for i in range(100, 105)])
    after = home.data_keys.find("spending", [short, long])
    assert (after[short].version, after[long]) == (2, before[long])
    assert after[short].key != before[short].key
    assert sweep(home_in(home, 14.5), clock=clock_in(14.5)).certificate is None


def test_a_backup_made_before_a_sweep_does_not_open_afterwards(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """Old key table, old files, new keyring: nothing of what was due can be had; the attack itself works before."""
    agrees("甲", data_life=timedelta(days=30))
    load(home, tmp_path, [transaction("甲", i, occurred_at=day(25 - i)) for i in range(20)])
    backup = tmp_path / "backup"
    shutil.copytree(home.root, backup)
    restored = Home.open(backup, keys=home.keys)
    assert len(ids(restored)) == 20
    restored.data_keys.close()
    sweep(home_in(home, 14.5), clock=clock_in(14.5))
    with pytest.raises(Unavailable, match="epoch key 1 is gone"):
        ids(Home.open(backup, keys=home.keys))
    restored = Home.open(backup, keys=home.keys)
    restored.__dict__["data_keys"] = DataKeys.open(home.root / "keys.db", home.epochs)
    assert ids(restored) == []


@pytest.mark.parametrize(("days", "left"), [(29, 3), (31, 0)])
def test_data_goes_when_consent_has_ended_for_longer_than_the_days_of_grace(
    home: Home, agrees: Callable[..., str], tmp_path: Path, days: int, left: int
) -> None:
    """And the person's data key with it."""
    key, other = agrees("甲"), agrees("乙")
    load(home, tmp_path, [transaction("甲", i) for i in range(3)] + [transaction("乙", 9)])
    say(home, Kind.WITHDRAWN, key)
    sweep(home_in(home, days), clock=clock_in(days))
    assert len(ids(home)) == left + 1
    assert len(home.data_keys.find("spending", [key, other])) == (2 if left else 1)


@pytest.mark.parametrize("kind", [Kind.PAUSED, Kind.HOLD_PLACED])
def test_a_pause_and_a_hold_keep_everything(
    home: Home, agrees: Callable[..., str], tmp_path: Path, kind: Kind
) -> None:
    """However long they last; they end use, not storage."""
    key = agrees("甲", data_life=timedelta(days=90), expires_at=TODAY + timedelta(days=400))
    load(home, tmp_path, [transaction("甲", 1, occurred_at=day(1))])
    more = {"hold_id": "h1", "basis": "court order"} if kind is Kind.HOLD_PLACED else {}
    say(home, kind, key, **more)
    assert sweep(home_in(home, 60), clock=clock_in(60)).certificate is None
    assert ids(home) == ["t1"]


def test_another_purpose_that_still_needs_the_data_keeps_it(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """Data is destroyed when no purpose can use it any more, not when one has ended."""
    key = agrees("甲")
    agrees("甲", "fraud_detection", expires_at=TODAY + timedelta(days=300))
    load(home, tmp_path, [transaction("甲", 1)])
    home.ledger.append([Event(new_event_id(), Kind.WITHDRAWN, key, "spending", "credit_scoring", now_utc())])
    assert sweep(home_in(home, 200), clock=clock_in(200)).certificate is None
    assert sweep(home_in(home, 331), clock=clock_in(331)).records["spending"]["people"] == 1
    assert ids(home) == []


def test_retention_counts_from_loading_and_the_longest_of_what_is_agreed_counts(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """Consent in force, but it says how long data may be stored."""
    agrees("甲", retention=timedelta(days=10))
    agrees("乙", retention=timedelta(days=10))
    agrees("乙", "fraud_detection", retention=timedelta(days=20))
    agrees("丙")
    load(home, tmp_path, [transaction(name, i, occurred_at=day(200)) for i, name in enumerate("甲乙丙")])
    sweep(home_in(home, 9), clock=clock_in(9))
    assert ids(home) == ["t0", "t1", "t2"]
    sweep(home_in(home, 11), clock=clock_in(11))
    assert ids(home) == ["t1", "t2"]
    sweep(home_in(home, 21), clock=clock_in(21))
    assert ids(home) == ["t2"]


def test_invalidated_consent_has_no_days_of_grace(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """It was never valid, so nothing should have been collected."""
    key = agrees("甲")
    load(home, tmp_path, [transaction("甲", 1)])
    say(home, Kind.INVALIDATED, key, basis="notice void", indicated_by="authority")
    sweep(home)
    assert ids(home) == []


def test_quarantine_goes_after_its_own_time(home: Home, agrees: Callable[..., str], tmp_path: Path) -> None:
    """Bad rows are not kept for ever; good ones of the same person stay."""
    agrees("甲", expires_at=TODAY + timedelta(days=400))
    rows = [transaction("甲", i) for i in range(40)]
    rows[3]["amount"] = "-1.00"
    load(home, tmp_path, rows)
    assert ids(home, "quarantine") == ["t3"]
    sweep(home_in(home, 89), clock=clock_in(89))
    assert ids(home, "quarantine") == ["t3"]
    sweep(home_in(home, 91), clock=clock_in(91))
    assert (ids(home, "quarantine"), len(ids(home))) == ([], 39)


def test_feature_rows_that_are_due_go_from_every_version(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """A person's old rows by their own date; everything of a person without records."""
    short = agrees("甲", data_life=timedelta(days=30))
    gone, stays = agrees("乙"), agrees("丙", expires_at=TODAY + timedelta(days=400))
    people = (("甲", 0), ("乙", 100), ("丙", 200))
    load(
        home, tmp_path, [transaction(n, k + i, occurred_at=day(25 - i)) for n, k in people for i in range(20)]
    )
    publish(home, as_of=TODAY - timedelta(days=2))
    publish(home)
    say(home, Kind.WITHDRAWN, gone)
    swept = sweep(home_in(home, 40), clock=clock_in(40))
    assert swept.feature_rows > 0
    for version in read_versions(home, "spending_v1"):
        rows = read_table(home, version)
        counted = {c["values"]: c["counts"] for c in pc.value_counts(rows["subject_key"]).to_pylist()}
        assert gone not in counted
        assert counted[stays] >= 20
        limit = pa.scalar(datetime.now(UTC) + timedelta(days=40 - 30), pa.timestamp("us", tz="UTC"))
        mine = rows.filter(pc.equal(rows["subject_key"], short))
        assert not pc.any(pc.less(mine["event_timestamp"], limit), min_count=0).as_py()
        assert version.removed_rows > 0


def test_shut_records_are_removed_and_the_others_are_untouched(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """What an erasure left shut is gone from the files, byte for byte fewer, and the rest reads as before."""
    key, _ = agrees("甲"), agrees("乙")
    load(home, tmp_path, [transaction("甲", i) for i in range(300)] + [transaction("乙", 1000)])
    (old,) = read_batches(home, "spending")
    erase(home, [Wanted(key)])
    swept = sweep(home)
    (new,) = read_batches(home, "spending")
    assert swept.shut == 1
    assert new.stores["vault"].subjects == 1
    assert new.stores["vault"].size < old.stores["vault"].size
    assert (new.batch_id, new.order, new.packed_rows) == (old.batch_id, old.order, old.packed_rows)
    assert not home.path("vault", "spending", old.stores["vault"].file).exists()
    assert ids(home) == ["t1000"]
    load(home, tmp_path, [transaction("甲", i) for i in range(300)] + [transaction("乙", 1000)])
    assert ids(home) == ["t1000"]


def test_a_sweep_carries_out_erasures_that_were_asked_for(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """Also those that came in with a file; a hold lets them wait."""
    key, held = agrees("甲"), agrees("乙")
    load(home, tmp_path, [transaction("甲", 1), transaction("乙", 2)])
    for person in (key, held):
        home.ledger.append([Event(new_event_id(), Kind.ERASURE_REQUESTED, person, ANY, ANY, now_utc())])
    home.ledger.append(
        [Event(new_event_id(), Kind.HOLD_PLACED, held, ANY, ANY, now_utc(), hold_id="h", basis="order")]
    )
    swept = sweep(home)
    assert [o.subject_key for o in swept.erasures] == [key]
    assert ids(home) == ["t2"]


def test_consent_records_are_blanked_when_their_time_as_evidence_is_over(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """Once, with a logged erasure that names them; the audit passes."""
    key = agrees("甲")
    erase(home, [Wanted(key)])
    assert sweep(home_in(home, 1_094), clock=clock_in(1_094)).blanked == 0
    later = home_in(home, 1_096)
    assert sweep(later, dry_run=True, clock=clock_in(1_096)).blanked == 1
    assert sweep(later, clock=clock_in(1_096)).blanked == 1
    kinds = [r.event.kind for r in later.ledger.history(key)]
    assert set(kinds) == {Kind.ERASED}
    assert later.ledger.audit().findings == ()
    assert sweep(later, clock=clock_in(1_096)).blanked == 0


def test_a_dry_run_changes_nothing_and_says_what_would_go(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """Every file of the home is the same afterwards."""
    agrees("甲", data_life=timedelta(days=30))
    load(home, tmp_path, [transaction("甲", i, occurred_at=day(25 - i)) for i in range(20)])

    def content() -> dict[str, bytes]:
        return {
            str(p): p.read_bytes()
            for folder in (home.root, home.keys)
            for p in folder.rglob("*")
            if p.is_file() and not p.name.endswith(("-wal", "-shm"))
        }

    before = content()
    swept = sweep(home_in(home, 14.5), dry_run=True, clock=clock_in(14.5))
    assert swept.records["spending"] == {"people": 0, "people_in_part": 1, "rows": 10}
    assert content() == before


def test_a_sweep_is_certified(home: Home, agrees: Callable[..., str], tmp_path: Path) -> None:
    """Signed with the log's key: counts and epochs, and nobody's name."""
    key = agrees("甲", data_life=timedelta(days=30))
    load(home, tmp_path, [transaction("甲", i, occurred_at=day(25 - i)) for i in range(20)])
    swept = sweep(home_in(home, 14.5), clock=clock_in(14.5))
    assert swept.certificate is not None
    header, document = verify_certificate(swept.certificate.read_bytes(), [home.ledger.verifier])
    assert header == SWEEP
    assert document["records"]["spending"]["rows"] == 10
    assert set(document["epochs_destroyed"]) == {"1"}
    assert key not in swept.certificate.read_text()


def test_the_settings_say_how_long(home: Home, agrees: Callable[..., str], tmp_path: Path) -> None:
    """Days of grace are the lender's."""
    key = agrees("甲")
    load(home, tmp_path, [transaction("甲", 1)])
    say(home, Kind.WITHDRAWN, key)
    path = home.path(CONFIG_FILE)
    path.write_text(path.read_text() + "[storage]\ngrace_days = 3\n")
    sweep(home_in(home, 2), clock=clock_in(2))
    assert ids(home) == ["t1"]
    sweep(home_in(home, 4), clock=clock_in(4))
    assert ids(home) == []


def _asks(home: Home, *keys: str) -> None:
    keep_asked_days(
        home,
        "spending",
        "spending_v1",
        pa.table({"subject_key": keys, "day": range(20_000, 20_000 + len(keys))}),
    )


def test_days_asked_for_stay_with_somebody_some_of_whose_records_go(
    home: Home, agrees: Callable[..., str], tmp_path: Path
) -> None:
    """They are sealed under the new key as well, or a training set would find other rows the next time."""
    short = agrees("甲", data_life=timedelta(days=30))
    load(home, tmp_path, [transaction("甲", i, occurred_at=day(25 - i)) for i in range(20)])
    publish(home)
    _asks(home, short)
    sweep(home_in(home, 14.5), clock=clock_in(14.5))
    assert home.data_keys.find("spending", [short])[short].version == 2
    assert asked_days(home, "spending", "spending_v1")["day"].to_pylist() == [20_000]


def test_days_asked_for_go_with_the_erased(home: Home, agrees: Callable[..., str], tmp_path: Path) -> None:
    """They were shut by the erasure; the sweep removes the bytes, and the pseudonym with them."""
    gone, stays = agrees("甲"), agrees("乙")
    load(home, tmp_path, [transaction("甲", 1), transaction("乙", 2)])
    publish(home)
    _asks(home, gone, stays)
    erase(home, [Wanted(gone)])
    assert count_asked(home, "spending_v1") == 2
    sweep(home)
    assert count_asked(home, "spending_v1") == 1
    (kept,) = home.path("tables", "spending_v1").glob("asked-*.parquet")
    assert gone.encode() not in kept.read_bytes()
    assert len(asked_days(home, "spending", "spending_v1")) == 1
