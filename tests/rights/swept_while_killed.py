"""The story of a sweep of `tests.rights.test_killed_erasures`: all records of one person are due, some of another."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg  # noqa: F401  # all that is heavy is loaded before the first fork

import feature_repo.definitions  # noqa: F401
from consent.evidence.certificate import verify_certificate
from rights.sweep import sweep
from tests.rights.erased_while_killed import is_left
from tests.rights.reading import digests_of
from tests.rights.small_home import Known, SmallHome

WHOLE, PARTLY, OTHER = "C-0", "C-1", "C-2"
_DAYS = 40


def make(place: Path) -> None:
    """The home as it is after 40 days; records are one to three days older."""
    lives = {PARTLY: {"data_life": timedelta(days=_DAYS + 2.5)}}
    small = SmallHome(place / "home", sources=["spending"], terms=lives)
    small.lender.withdraw(small.people[WHOLE])
    small.write_down(place, hours=_DAYS * 24)


def job(place: Path) -> None:
    known = Known.of(place)
    sweep(known.open(), clock=lambda: known.now)


def afterwards(place: Path) -> dict[str, Any]:
    """What can be read after the kill; then what is left to do is swept."""
    known = Known.of(place)
    home = known.open()
    killed = {number: digests_of(home, key) for number, key in known.people.items()}
    sweep(home, clock=lambda: known.now)
    keys, certificates = home.log_keys().keys, sorted(home.path("certificates").iterdir())
    return {
        "killed": killed,
        "ended": {number: digests_of(home, key) for number, key in known.people.items()},
        "due": sweep(home, dry_run=True, clock=lambda: known.now).records,
        "certificates": [verify_certificate(p.read_bytes(), keys)[1] for p in certificates],
        "older keys": home.data_keys.owners("spending", at_least=2),
        "keys": home.data_keys.owners("spending"),
        "epochs": [len(home.epochs.numbers()), home.data_keys.epochs_in_use() == home.epochs.numbers()],
        "left": sorted(p.name for p in home.root.rglob("*") if is_left(p)),
    }
