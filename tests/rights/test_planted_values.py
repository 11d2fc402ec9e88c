"""Values of twenty people go in by every way there is; ten people are erased; then everything is searched and tried.

A backup of the whole home was made before, everything but the keyring, with its write-ahead logs.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consent.errors import EvidenceError, Unavailable
from consent.home import Home
from consent.nouns import Kind
from consent.sealing import KEY_BYTES, bind, unseal
from feature_repo.stores import setup
from tests.rights.planted import SOURCES, Line, Person, below_the_anchor, plant
from tests.rights.reading import Read, everything_of
from tests.rights.scanning import Scanner, spellings_of_bytes

#: Erased as a whole: by name, from a file, after a hold, by a sweep, with the consent records.
WHOLE = (0, 1, 2, 3, 4, 8, 9)
#: One source of theirs is erased.
PARTLY = {5: "spending", 6: "employment", 7: "app_usage"}
BLANKED, WITHDREW, HELD, PUSHED = 8, 10, 13, (1, 14)

#: (use, owner, version) -> data key.
DataKeys = dict[tuple[str, str, int], bytes]


@dataclass(frozen=True)
class Told:
    """What was planted, and how it was before the erasures.

    Attributes:
        backup: everything of the home, as it was copied while it was in use.
        old_keys: the keyring as it was then, which nobody should have kept.
        subject_keys: by the people's index.
        data_keys, epoch_key: as they were.
        grants: what the person agreed to whose consent records are blanked.
    """

    line: Line
    backup: Path
    old_keys: Path
    subject_keys: list[str]
    data_keys: DataKeys
    epoch_key: bytes
    before: dict[int, dict[str, Read]]
    stolen_before: dict[int, dict[str, Read]]
    grants: list[str]

    def opened(self, root: Path, keys: Path, who: Iterable[int] = range(20)) -> dict[int, dict[str, Read]]:
        """All that a home's files give away with a keyring, by person."""
        home = Home.open(root, keys=keys)
        return {i: everything_of(home, self.subject_keys[i]) for i in who}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    place = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(place / "tmp"))
        patch.setattr(tempfile, "tempdir", str(place / "tmp"))
        patch.delenv("ASSENT_KEYS", raising=False)
        line = plant(place, tmp_path_factory.mktemp("lender"))
        apart = tmp_path_factory.mktemp("apart")
        backup, old_keys = apart / "backup", apart / "old keys"
        shutil.copytree(line.root, backup)
        assert sum(log.stat().st_size for log in backup.glob("*.db-wal")) > 0
        shutil.copytree(line.keys, old_keys)
        home = Home.open(line.root)
        found = home.directory.find([p.number for p in line.people])
        keys = [key for key in found if key]
        told = Told(
            line,
            backup,
            old_keys,
            keys,
            every_data_key([backup / "keys.db"], line.keys),
            (line.keys / next(p.name for p in line.keys.glob("epoch-*"))).read_bytes(),
            {i: everything_of(home, key) for i, key in enumerate(keys)},
            {},
            [r.event.grant.grant_id for r in home.ledger.history(keys[BLANKED]) if r.event.grant],
        )
        told.stolen_before.update(told.opened(backup, line.keys))
        erase_ten(line)
        yield told


def erase_ten(line: Line) -> None:
    """Each in another way."""
    numbers = [p.number for p in line.people]
    named = line.outside / "erase.txt"
    named.write_text(f"\ufeff{numbers[2]}\r\n\r\n  {numbers[9]} \n", encoding="utf-8")
    line.assent("erase", numbers[3], expect=3)
    line.assent("erase", numbers[0], numbers[1])
    line.assent("erase", "--from", named, "--json")
    line.assent("hold", "release", numbers[3], "--name", f"case {numbers[3]}")
    line.assent("consent", "request-erasure", numbers[4])
    line.assent("sweep")
    for index, source in PARTLY.items():
        line.assent("erase", numbers[index], "--source", source, "--basis", "withdrawal of 3 November")
    line.assent("erase", numbers[BLANKED], "--blank-records")
    line.assent("certificate", "list")
    line.assent("consent", "show", numbers[0], expect=6)
    line.assent("erase", numbers[0], expect=3)


def every_data_key(tables: list[Path], keyring: Path) -> DataKeys:
    """All data keys that any secret of a keyring gives out of these key tables, whatever epoch a bucket claims."""
    secrets = [p.read_bytes() for p in keyring.iterdir() if p.is_file() and p.stat().st_size == KEY_BYTES]
    found: DataKeys = {}
    for path in tables:
        with closing(sqlite3.connect(path)) as connection:
            buckets = connection.execute("SELECT bucket, use, sealed FROM bucket").fetchall()
        tries = [
            (*bucket, secret, epoch) for bucket in buckets for secret in secrets for epoch in range(1, 20)
        ]
        for bucket, use, sealed, secret, epoch in tries:
            bound = bind(b"assent-bucket/2", use.encode(), str(bucket).encode(), str(epoch).encode())
            try:
                plain = unseal(secret, sealed, bound)
            except EvidenceError:
                continue
            for at in range(0, len(plain), 20 + KEY_BYTES):
                name, key = plain[at : at + 20], plain[at + 20 : at + 20 + KEY_BYTES]
                found[use, name[:16].hex(), int.from_bytes(name[16:], "big")] = key
    return found


def victims(told: Told) -> dict[int, str]:
    """Index -> source that is erased, or ``""`` for everything."""
    return dict.fromkeys(WHOLE, "") | PARTLY


def others(told: Told) -> list[Person]:
    return [p for p in told.line.people if p.index not in victims(told)]


def of_victims(told: Told) -> Scanner:
    """Looks for what was planted of the ten, as far as it is erased."""
    people = told.line.people
    return told.line.scanner(
        *((people[i], (source,) if source else (*SOURCES, "")) for i, source in victims(told).items())
    )


def open_places(read: dict[str, Read], source: str) -> list[str]:
    return [place for place, rows in read.items() if rows and not isinstance(rows, str) and source in place]


# ------------------------------------------------------------------------------------------- nothing in clear


def test_nothing_of_anybody_is_in_clear_anywhere(told: Told) -> None:
    """Home, keyring, temporary files and all that any command said, after everything; the backup as well."""
    scanner = told.line.scanner()
    assert scanner.scan(told.line.place) == []
    assert scanner.scan(told.backup) == []
    assert scanner.scan_text(*told.line.outputs) == []


def test_the_scan_finds_every_value_in_the_lenders_own_files(told: Told) -> None:
    """It looks for what was really planted, of all twenty people, and of those who never agreed."""
    looked_for = {name.removesuffix(" word") for p in told.line.people for name in p.values((*SOURCES, ""))}
    looked_for -= {name for name in looked_for if name.endswith("pushed")}  # written by hand, not by file
    found = {hit.value.removesuffix(" word") for hit in told.line.scanner().scan(told.line.outside)}
    assert found >= looked_for
    assert len(looked_for) > 500


def test_no_key_that_was_destroyed_is_anywhere(told: Told) -> None:
    """Neither the ten's data keys nor the epoch key that wrapped them, in any byte of home, keyring or backup."""
    gone = {
        f"{use} {owner} {version}": spellings_of_bytes(key)
        for (use, owner, version), key in told.data_keys.items()
        if any(owner == told.subject_keys[i] and source in ("", use) for i, source in victims(told).items())
    }
    assert len(gone) == 4 * len(WHOLE) + len(PARTLY)
    scanner = Scanner({**gone, "epoch": spellings_of_bytes(told.epoch_key)})
    assert scanner.scan(told.line.place, told.backup) == []
    assert {hit.value for hit in scanner.scan(told.old_keys)} == {"epoch"}


def test_nothing_that_was_overwritten_is_left_in_the_databases(told: Told) -> None:
    """No bucket of the key table as it was, and no pseudonym of the erased in the directory, in pages and logs."""
    with closing(sqlite3.connect(told.backup / "keys.db")) as connection:
        buckets = dict(connection.execute("SELECT bucket, substr(sealed, 1, 48) FROM bucket"))
    old = Scanner({f"bucket {number}": [sealed] for number, sealed in buckets.items()})
    named = Scanner({f"person {i}": spellings_of_bytes(told.subject_keys[i].encode()) for i in WHOLE})
    for scanner, name in ((old, "keys.db"), (named, "directory.db")):
        there = scanner.scan(*told.backup.glob(f"{name}*"))
        assert len({hit.value for hit in there}) in (len(buckets), len(WHOLE))
        assert scanner.scan(*told.line.root.glob(f"{name}*")) == []


# ------------------------------------------------------------------------------------------- the attack works


def test_before_the_erasures_the_same_attack_reads_everybody(told: Told) -> None:
    """From the backup, with the keyring as it was then: every place of all ten opens, value by value."""
    assert told.stolen_before == told.before
    for index in victims(told):
        read = told.stolen_before[index]
        assert read.keys() - open_places(read, "") == {"quarantine/spending/1"}, (
            index
        )  # no bad row was in that file
    assert told.line.scanner().scan_text(repr(told.stolen_before)) != []


def test_a_backup_with_the_old_keyring_opens(told: Told) -> None:
    """Which nobody should have kept: it is the keyring that protects, and the attack works to this day."""
    who = (*victims(told), WITHDREW)
    assert told.opened(told.backup, told.old_keys, who) == {i: told.before[i] for i in who}


# ------------------------------------------------------------------------------------------- the ten stay shut


@pytest.fixture(scope="module")
def attacks(told: Told, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, dict[str, Read]]]:
    """All that opens with the keyring as it is now, from every mixture of then and now."""
    now, keys = told.line.root, told.line.keys
    mixed = {}
    for name, files, table in (
        ("new keys, old files", told.backup, now),
        ("old keys, new files", now, told.backup),
    ):
        root = tmp_path_factory.mktemp("mixed") / "home"
        shutil.copytree(files, root)
        for stale in root.glob("keys.db*"):
            stale.unlink()
        for part in table.glob("keys.db*"):
            shutil.copyfile(part, root / part.name)
        mixed[name] = root
    some = (*victims(told), WITHDREW)
    return {
        "as it is": told.opened(now, keys),
        "restored": told.opened(told.backup, keys, some),
        "new keys, old files": told.opened(mixed["new keys, old files"], keys),
        "old keys, new files": told.opened(mixed["old keys, new files"], keys, some),
    }


@pytest.mark.parametrize("attack", ["as it is", "restored", "new keys, old files", "old keys, new files"])
def test_nothing_of_the_ten_opens(told: Told, attacks: dict[str, Any], attack: str) -> None:
    """Sealed records, quarantine, feature files, online values, days asked for, lists: all shut, in every mixture."""
    for index, source in victims(told).items():
        assert open_places(attacks[attack][index], source) == [], index


@pytest.mark.parametrize("attack", ["as it is", "restored", "new keys, old files", "old keys, new files"])
def test_no_value_of_the_ten_is_in_anything_that_opens(
    told: Told, attacks: dict[str, Any], attack: str
) -> None:
    """Not in anybody else's records and features either."""
    assert of_victims(told).scan_text(repr(attacks[attack])) == []


def test_the_mixture_with_todays_keys_and_yesterdays_files_opens_for_the_others(
    told: Told, attacks: dict[str, Any]
) -> None:
    """What is shut is shut because of the keys: the same files still give away everybody else's records."""
    read = attacks["new keys, old files"]
    assert of_victims(told).scan_text(repr(told.stolen_before)) != []
    for person in others(told):
        assert open_places(read[person.index], "vault"), person.index
        assert told.line.scanner((person, SOURCES)).scan_text(repr(read[person.index])) != []


def test_no_key_table_gives_a_key_of_the_ten_to_any_secret_of_the_keyring(told: Told) -> None:
    """Every bucket of then and now, tried with every secret there is under every epoch."""
    found = every_data_key([told.backup / "keys.db", told.line.root / "keys.db"], told.line.keys)
    owned = {(use, owner) for use, owner, _ in found}
    for index, source in victims(told).items():
        mine = {use for use, owner in owned if owner == told.subject_keys[index]}
        assert mine == (set() if not source else {*SOURCES, "receipts"} - {source}), index
    assert {("spending", told.subject_keys[p.index]) for p in others(told)} <= owned
    before = {(use, owner) for use, owner, _ in told.data_keys}
    assert {("spending", key) for key in told.subject_keys} <= before


def test_a_restored_ledger_decides_nothing(told: Told) -> None:
    """Its anchor lies beside the keys; and what stands in it below that is nobody's number, name or amount."""
    restored = Home.open(told.backup, keys=told.line.keys)
    with pytest.raises(EvidenceError):
        restored.ledger.decide(told.subject_keys[0], "spending", "credit_scoring")
    below = list(below_the_anchor(told.backup, restored))
    assert sum(told.subject_keys[0] in row for row in below) >= 6
    assert told.line.scanner().scan_text(*below) == []


def test_a_restored_key_table_is_unavailable_and_says_why(told: Told) -> None:
    """An operator who restores a backup over the home learns that it is too old."""
    restored = Home.open(told.backup, keys=told.line.keys)
    with pytest.raises(Unavailable, match="epoch key 1 is gone") as caught:
        restored.data_keys.find("spending", told.subject_keys)
    assert "old copy of the key table" in caught.value.remedy


def test_the_ten_cannot_be_found_or_used_any_more(told: Told) -> None:
    """Their numbers lead nowhere, and every answer is no; whoever had one source erased is still known."""
    home, people = Home.open(told.line.root), told.line.people
    for index, source in victims(told).items():
        (found,) = home.directory.find([people[index].number])
        assert (found is None) == (source == "")
        for name in (source,) if source else SOURCES:
            reason = home.ledger.decide(told.subject_keys[index], name, "credit_scoring").reason
            assert reason == "ERASED", index


def test_blanked_consent_records_are_in_no_byte_of_the_ledger(told: Told) -> None:
    """Of what was agreed to nothing is left, also in free pages and the log; every proof stays valid."""
    home = Home.open(told.line.root)
    kinds = [r.event.kind for r in home.ledger.history(told.subject_keys[BLANKED])]
    assert kinds == [Kind.ERASED]
    scanner = Scanner({grant: spellings_of_bytes(grant.encode()) for grant in told.grants})
    before = scanner.scan(told.backup / "ledger.db", told.backup / "ledger.db-wal")
    assert {hit.value for hit in before} == set(told.grants)
    assert len(told.grants) == 6
    assert scanner.scan(told.line.root) == []
    assert home.ledger.audit().findings == ()


# ------------------------------------------------------------------------------------------- the others are whole


def test_the_other_ten_read_as_before_in_every_store(told: Told, attacks: dict[str, Any]) -> None:
    """Every row, feature, online value, day and list is what it was, and of three people all but the one source."""
    for person in others(told):
        assert attacks["as it is"][person.index] == _kept(told, person.index), person.index
    for index, source in PARTLY.items():
        for place, rows in told.before[index].items():
            assert source in place or attacks["as it is"][index][place] == rows, (index, place)


def _kept(told: Told, index: int) -> dict[str, Read]:
    """What was there before, less the online values of a consent that was withdrawn, which the sweep removed."""
    return told.before[index] | ({"online/employment": []} if index == WITHDREW else {})


def test_the_other_ten_are_complete_value_by_value(told: Told, attacks: dict[str, Any]) -> None:
    """Every cell of every good row that was in a file, and the unreadable cell of every bad one."""
    for person in others(told):
        read = attacks["as it is"][person.index]
        for source in SOURCES:
            rows = [r for place in open_places(read, f"vault/{source}") for r in read[place]]
            assert len(rows) == len(person.good[source])
            known = {str(value) for row in rows for value in row.values()}
            for row in person.good[source]:
                cells = {
                    v for c, v in row.items() if v and c not in ("subject_id", "occurred_at", "reported_at")
                }
                assert cells <= known, person.index
            bad = [r for place in open_places(read, f"quarantine/{source}") for r in read[place]]
            assert len(bad) == 1
        raw = str(read)
        assert person.texts["spending"]["badamount"] in raw
        assert person.texts["app_usage"]["duration"] in raw


def test_features_of_the_other_ten_are_their_own_amounts(told: Told) -> None:
    """Numbers are values too: what was spent, earned and left is served to the cent, and to none of the erased."""
    home = Home.open(told.line.root)
    served = setup.online_features(home, "scorecard_v1", told.subject_keys)
    for person in told.line.people:
        values = [served[f][person.index] for f in ("spend_7d", "balance_last", "monthly_salary_now")]
        expected = [_feature(person, "spending", "spent"), _feature(person, "spending", "balance")]
        expected.append(_feature(person, "employment", "pushed" if person.index in PUSHED else "salary"))
        if person.index == WITHDREW:
            expected[2] = None
        gone = victims(told).get(person.index)
        if gone in ("", "spending"):
            expected[:2] = [None, None]
        if gone in ("", "employment"):
            expected[2] = None
        if person.index == HELD:
            expected = [None] * 3
        assert values == expected, person.index


def _feature(person: Person, source: str, cell: str) -> float | None:
    return float(person.amounts[source][cell])
