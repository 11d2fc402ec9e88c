"""What comes in between: a key service that goes away, a hold, a writer, another rotation, a second request."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consent import epochs
from consent.clock import format_instant, now_utc
from consent.epochs import Epochs
from consent.errors import EvidenceError, Unavailable
from consent.evidence.certificate import verify_certificate
from consent.files import exclusive
from consent.home import CONFIG_FILE, Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Kind
from consent.rotation import rotate_epoch
from consent.sealing import new_key, seal, unseal
from console.cli import run
from feature_repo.stores import setup
from feature_repo.stores.cells import Cells
from rights.erase import Outcome, Wanted, due, erase
from rights.journal import read_journals
from tests.rights.reading import digests_of, everything_of, everything_that_opens
from tests.rights.small_home import SmallHome, home_at


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    place = tmp_path_factory.mktemp("made")
    small = SmallHome(place / "home")
    small.close()
    return place, small.people


@dataclass(frozen=True)
class Case:
    """A copy of the small home; `a` is erased, `b` is not."""

    home: Home
    a: str
    b: str

    def say(self, kind: Kind, key: str, source: str = ANY, **more: Any) -> None:
        self.home.ledger.append([Event(new_event_id(), kind, key, source, ANY, now_utc(), **more)])

    def hold(self, key: str) -> None:
        self.say(Kind.HOLD_PLACED, key, hold_id="h", basis="order", indicated_by="authority")

    def release(self, key: str) -> None:
        self.say(Kind.HOLD_RELEASED, key, hold_id="h", indicated_by="authority")

    def reasons(self, key: str) -> set[str | None]:
        sources = ("spending", "employment", "app_usage")
        return {self.home.ledger.decide(key, source, "credit_scoring").reason for source in sources}

    def backup(self) -> Path:
        """A copy of all but the keyring, as the home is now."""
        kept = self.home.root.with_name(f"backup-{secrets.token_hex(4)}")
        shutil.copytree(self.home.root, kept)
        return kept

    def restored(self, backup: Path) -> Home:
        return Home.open(backup, keys=self.home.keys)

    def certificates(self) -> list[dict[str, Any]]:
        keys = self.home.log_keys().keys
        paths = self.home.path("certificates").glob("*.certificate")
        return [verify_certificate(path.read_bytes(), keys)[1] for path in paths]


@pytest.fixture
def case(made: tuple[Path, dict[str, str]], tmp_path: Path) -> Case:
    place, people = made
    shutil.copytree(place / "home", tmp_path / "home")
    shutil.copytree(place / "home.keys", tmp_path / "home.keys")
    home = Home.open(tmp_path / "home")
    setup.write_configurations(home)
    return Case(home, people["C-0"], people["C-1"])


class Stop(BaseException):
    """Breaks off a job, as Control-C does."""


def stopped(case: Case, wanted: list[Wanted], *, at: str = "", calls: int = 0) -> None:
    """Erase, and break off when it says what it is about to do, or asks for the time so many times."""

    def progress(doing: str, _done: int, _of: int) -> None:
        if doing == at:
            raise Stop

    def clock() -> datetime:
        nonlocal calls
        calls -= 1
        if calls == 0:
            raise Stop
        return now_utc()

    with pytest.raises(Stop):
        erase(case.home, wanted, clock=clock, on_progress=progress)


PLANNED, TABLES, KEYS, CERTIFY = (
    3,
    "deleting online values and feature rows",
    "sealing the other keys anew",
    "recording it",
)


# ------------------------------------------------------------------------------------------- a key service


@dataclass
class KeysInMemory:
    """A key service of this process, with a key for each version; it can be away when it is asked.

    Attributes:
        waits: how long it keeps a key that is to be destroyed.
        away_at: at which call of which kind it cannot be reached; `answers_late`: it does what is asked first.
    """

    waits: timedelta | None = None
    away_at: tuple[str, int] | None = None
    answers_late: bool = False
    calls: Counter[str] = field(default_factory=Counter)
    _keys: dict[str, bytes] = field(default_factory=dict)

    def create(self, name: str, epoch: int) -> str:
        def do() -> str:
            self._keys.setdefault(f"{name}/{epoch}", new_key())
            return f"{name}/{epoch}"

        return self._do("create", do)

    def wrap(self, version: str, key: bytes, aad: bytes) -> bytes:
        return self._do("wrap", lambda: seal(self._key(version), key, aad))

    def unwrap(self, version: str, blob: bytes, aad: bytes) -> bytes:
        return self._do("unwrap", lambda: unseal(self._key(version), blob, aad))

    def destroy(self, version: str) -> datetime | None:
        self._do("destroy", lambda: self._keys.pop(version, None))
        return None if self.waits is None else now_utc() + self.waits

    def _key(self, version: str) -> bytes:
        if version not in self._keys:
            raise Unavailable("the key is destroyed")
        return self._keys[version]

    def _do(self, what: str, do: Callable[[], Any]) -> Any:
        self.calls[what] += 1
        away = (what, self.calls[what]) == self.away_at
        if away and not self.answers_late:
            raise Unavailable("the key service cannot be reached")
        answer = do()
        if away:
            raise Unavailable("the key service did not answer in time")
        return answer


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> KeysInMemory:
    found = KeysInMemory()
    monkeypatch.setattr(epochs, "open_key_service", lambda _settings: found)
    return found


@pytest.fixture
def wrapped(case: Case, service: KeysInMemory) -> Case:
    """The epochs of the home are wrapped by the key service."""
    settings = case.home.path(CONFIG_FILE)
    table = '[key_service]\nkind = "vault-transit"\naddress = "https://vault.example"\nkey = "assent"\n'
    settings.write_text(settings.read_text() + table)
    home = Home.open(case.home.root)
    rotate_epoch(home)
    service.calls.clear()
    return replace(case, home=home)


AWAY = [("unwrap", 1), ("unwrap", 6), ("unwrap", 14), ("create", 1), ("wrap", 1), ("destroy", 1)]


@pytest.mark.parametrize("away_at", [*AWAY, ("destroy", 1, "late"), ("wrap", 1, "late")], ids=str)
def test_a_key_service_that_goes_away_stops_the_erasure_and_nothing_else(
    wrapped: Case, service: KeysInMemory, away_at: tuple[Any, ...]
) -> None:
    """It is Unavailable; nothing of the person can be used, nobody else is harmed; run again it ends."""
    case = wrapped
    before = digests_of(case.home, case.b)
    service.calls.clear()
    service.away_at, service.answers_late = away_at[:2], len(away_at) > 2
    with pytest.raises(Unavailable):
        erase(case.home, [Wanted(case.a)])
    assert service.calls[away_at[0]] == away_at[1]
    service.away_at = None
    assert case.reasons(case.a) <= {"RESTRICTED", "ERASED"}
    assert case.reasons(case.b) == {None}
    assert digests_of(case.home, case.b) == before
    kept = case.backup()
    (outcome,) = erase(case.home, due(case.home))
    assert outcome.certificate is not None
    assert everything_that_opens(case.home, case.a) == []
    assert everything_that_opens(case.restored(kept), case.a) == []
    assert digests_of(case.home, case.b) == before
    assert read_journals(case.home) == []


def test_the_certificate_says_until_when_a_key_service_keeps_a_key(
    wrapped: Case, service: KeysInMemory
) -> None:
    """What it only schedules to delete is pending in backups, with the day."""
    service.waits = timedelta(days=7)
    (outcome,) = erase(wrapped.home, [Wanted(wrapped.a)])
    (item,) = [i for i in outcome.document["items"] if i["store"].startswith("sealed data")]
    (about,) = outcome.document["epochs_destroyed"].values()
    assert (item["outcome"], item["deadline"]) == ("PENDING_BACKUP", about["effective_at"])
    assert about["effective_at"] > format_instant(now_utc() + timedelta(days=6.9))


def test_a_destruction_at_a_whole_second_is_not_after_one_later_in_it(case: Case) -> None:
    """Instants are compared as instants: 12:00:15 is before 12:00:15.25, whatever their texts."""
    at = now_utc().replace(microsecond=250_000) + timedelta(minutes=1)
    home = home_at(case.home.root, at)
    whole_second = at.replace(microsecond=0)
    home.__dict__["epochs"] = Epochs(home.keys, home.settings.origin, clock=lambda: whole_second)
    (outcome,) = erase(home, [Wanted(case.a)], clock=lambda: at)
    (item,) = [i for i in outcome.document["items"] if i["store"].startswith("sealed data")]
    assert item["outcome"] == "ERASED"


# ------------------------------------------------------------------------------------------- who seals in between


def test_a_key_sealed_under_the_new_epoch_in_between_does_not_come_back_from_a_backup(case: Case) -> None:
    """Killed when the new epoch was just made: a writer then seals the keys that are to go under it.

    The erasure takes another epoch, one that never saw them.
    """
    stopped(case, [Wanted(case.a)], at=KEYS)
    (journal,) = read_journals(case.home)
    case.home.epochs.ensure(journal.epoch)
    case.home.data_keys.find_or_create("spending", [secrets.token_hex(16)])
    kept = case.backup()
    assert everything_of(case.restored(kept), case.a)["vault/spending/0"] != []
    (outcome,) = erase(case.home, [])
    assert everything_that_opens(case.restored(kept), case.a) == []
    assert outcome.document["epoch"] == journal.epoch + 1 == case.home.epochs.current
    assert set(outcome.document["epochs_destroyed"]) == {"1", "2"}


def test_no_epoch_is_made_before_the_key_table_is_locked(case: Case) -> None:
    """Else a writer could seal under it what is about to be left out."""
    case.home.path("keys.db").write_bytes(b"nothing that can be locked" * 100)
    with pytest.raises(EvidenceError):
        case.home.data_keys.rotate(2)
    assert case.home.epochs.numbers() == [1]


def test_a_rotation_in_between_does_not_bring_the_key_back_from_a_backup(case: Case) -> None:
    """`assent keys rotate` takes the epoch that the interrupted erasure was going to take."""
    stopped(case, [Wanted(case.a)], at=KEYS)
    rotate_epoch(case.home)
    kept = case.backup()
    assert everything_of(case.restored(kept), case.a)["vault/spending/0"] != []
    erase(case.home, [])
    assert everything_that_opens(case.restored(kept), case.a) == []
    assert len(case.home.epochs.numbers()) == 1


def test_nobody_rotates_keys_beside_an_erasure(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    """Both would seal under the same new epoch, the one with the keys that the other leaves out."""
    with exclusive(case.home.path("job.lock"), "a test"):
        assert run(["keys", "rotate", "--home", str(case.home.root)]) == 4
    assert "Wait for it to end" in capsys.readouterr().err
    assert case.home.epochs.numbers() == [1]
    assert run(["keys", "rotate", "--home", str(case.home.root)]) == 0
    assert case.home.epochs.numbers() == [2]


def test_a_feature_file_that_was_written_anew_stays_shut_in_a_backup_with_todays_key_table(
    case: Case,
) -> None:
    """Its key is destroyed together with the person's: the old file holds them, and opens for nobody."""
    kept = case.backup()
    erase(case.home, [Wanted(case.a, "spending")])
    for part in kept.glob("keys.db*"):
        part.unlink()
    case.home.data_keys.close()
    shutil.copyfile(case.home.path("keys.db"), kept / "keys.db")
    restored = everything_of(case.restored(kept), case.a)
    assert restored["tables/spending_v1/1"] == restored["tables/spending_v1/2"] == "Unavailable"
    assert len(restored["tables/employment_v1/1"]) == 2


# ------------------------------------------------------------------------------------------- holds


def test_a_hold_before_anything_is_destroyed_keeps_everything(case: Case) -> None:
    """Planned, broken off, held: the others who were planned with the person are erased, the person is not."""
    before = digests_of(case.home, case.a)
    stopped(case, [Wanted(case.a), Wanted(case.b)], calls=PLANNED + 1)
    case.hold(case.a)
    (outcome,) = erase(case.home, [])
    assert outcome.subject_key == case.b
    assert digests_of(case.home, case.a) == before
    case.release(case.a)
    (outcome,) = erase(case.home, due(case.home))
    assert outcome.certificate is not None
    assert everything_that_opens(case.home, case.a) == []


@pytest.mark.parametrize("at", [TABLES, KEYS, CERTIFY])
def test_a_hold_after_destruction_has_begun_stops_nobody_elses_erasure(case: Case, at: str) -> None:
    """The data goes as it was going to; the erasure is recorded, and certified, when the hold is released."""
    stopped(case, [Wanted(case.a)], at=at)
    case.hold(case.a)
    (other,) = erase(case.home, [Wanted(case.b)])
    assert (other.subject_key, other.held_by) == (case.b, ())
    assert everything_that_opens(case.home, case.a) == []
    (waits,) = erase(case.home, [Wanted(case.a)])
    assert waits.certificate is None
    assert waits.held_by
    assert "destroyed already" in waits.document["summary"]
    assert case.reasons(case.a) == {"RESTRICTED"}
    case.release(case.a)
    (ended,) = erase(case.home, due(case.home))
    assert ended.certificate is not None
    assert case.reasons(case.a) == {"ERASED"}
    assert read_journals(case.home) == []


def test_a_release_carries_out_the_erasure_as_it_was_asked_for(case: Case) -> None:
    """The basis on the certificate is the one that stands in the request, not the one of the release."""
    case.hold(case.a)
    (held,) = erase(case.home, [Wanted(case.a, basis="withdrawal of 3 November")])
    assert held.certificate is None
    case.release(case.a)
    (outcome,) = erase(case.home, due(case.home))
    assert outcome.document["basis"] == "withdrawal of 3 November"


# ------------------------------------------------------------------------------------------- several requests


def test_a_source_and_then_everything_asked_for_is_one_erasure(case: Case) -> None:
    """Both requests are answered, and neither stands in the way of the other or of anybody else's."""
    case.say(Kind.ERASURE_REQUESTED, case.a, "spending")
    case.say(Kind.ERASURE_REQUESTED, case.a)
    assert len(due(case.home)) == 2
    (outcome,) = erase(case.home, due(case.home))
    assert outcome.document["source"] == ANY
    assert due(case.home) == []
    assert len(erase(case.home, [Wanted(case.b)])) == 1


def test_a_request_for_everything_can_be_answered_source_by_source(case: Case) -> None:
    """One source, the same again, then the rest: each with a certificate of its own."""
    case.say(Kind.ERASURE_REQUESTED, case.a)
    outcomes: list[Outcome] = []
    for source in ("spending", "spending", ANY):
        outcomes += erase(case.home, [Wanted(case.a, source)])
    assert [o.document["source"] for o in outcomes] == ["spending", "spending", ANY]
    assert len({o.certificate for o in outcomes}) == len(case.certificates()) == 3
    assert {c["ledger"]["request"] for c in case.certificates()} == {
        outcomes[0].document["ledger"]["request"]
    }
    assert case.reasons(case.a) == {"ERASED"}
    assert case.home.ledger.audit().findings == ()


def test_the_same_person_named_twice_is_erased_once(case: Case) -> None:
    """Alone, by source, and with the consent records: the first of these counts."""
    wanted = [
        Wanted(case.a, "spending"),
        Wanted(case.a),
        Wanted(case.a, blank=True),
        Wanted(case.a, "employment"),
    ]
    (outcome,) = erase(case.home, wanted)
    assert outcome.document["source"] == ANY


# ------------------------------------------------------------------------------------------- what is left


def _late_key(case: Case) -> None:
    """A writer who had decided before the request was on record makes a key."""
    case.home.data_keys.find_or_create("employment", [case.a])


def _late_value(case: Case) -> None:
    """And writes a value online."""
    cells = Cells.of_view(case.home, "assent", "spending_v1")
    with closing(sqlite3.connect(case.home.path("feast", "online.db"))) as connection, connection:
        sql = "SELECT * FROM assent_spending_v1 WHERE substr(entity_key, -32) = ? LIMIT 1"
        key, *rest = connection.execute(sql, (cells.token(case.b),)).fetchone()
        key = key[:-32] + cells.token(case.a)
        marks = ", ".join("?" * (1 + len(rest)))
        connection.execute(f"INSERT INTO assent_spending_v1 VALUES ({marks})", (key, *rest))


@pytest.mark.parametrize("late", [_late_key, _late_value])
def test_an_erasure_that_left_something_is_not_certified(case: Case, late: Callable[[Case], None]) -> None:
    """It looks again as a reader would, and says so; run again it ends."""

    def progress(doing: str, _done: int, _of: int) -> None:
        if doing == "making sure that nothing is left":
            late(case)

    with pytest.raises(EvidenceError, match="something is left"):
        erase(case.home, [Wanted(case.a)], on_progress=progress)
    assert case.certificates() == []
    assert case.reasons(case.a) == {"RESTRICTED"}
    (outcome,) = erase(case.home, [])
    assert outcome.certificate is not None
    assert everything_that_opens(case.home, case.a) == []


# ------------------------------------------------------------------------------------------- the journal


def test_a_journal_that_was_changed_is_refused(case: Case) -> None:
    """Whoever can write into the home cannot have somebody else erased by it."""
    stopped(case, [Wanted(case.a)], at=TABLES)
    (path,) = case.home.path("erasures").glob("*.json")
    path.write_bytes(path.read_bytes().replace(case.a.encode(), case.b.encode()))
    with pytest.raises(EvidenceError):
        erase(case.home, [])
    assert len(everything_that_opens(case.home, case.b)) > 8


def test_the_clock_of_the_certificate_is_the_erasures(case: Case) -> None:
    """Requested, begun, destroyed, erased: in this order."""
    case.say(Kind.ERASURE_REQUESTED, case.a)
    (outcome,) = erase(case.home, due(case.home))
    (about,) = outcome.document["epochs_destroyed"].values()
    told = [
        outcome.document["requested_at"],
        about["began_at"],
        about["effective_at"],
        outcome.document["erased_at"],
    ]
    assert told == sorted(told)
    assert datetime.fromisoformat(told[-1]) <= datetime.now(UTC)
