"""The story of `tests.rights.test_killed_erasures`: one whole person and one source of another, erased together."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import psycopg  # noqa: F401  # all that is heavy is loaded before the first fork

import feature_repo.definitions  # noqa: F401
from consent.home import Home
from consent.nouns import ANY, Kind
from feature_repo.stores import setup
from ingestion.sources import SOURCES
from rights.erase import Wanted, due, erase
from tests.rights.reading import digests_of, everything_that_opens
from tests.rights.small_home import FEATURES, Known, SmallHome

WHOLE, PARTLY, OTHER = "C-0", "C-1", "C-2"
SOURCE = "spending"


def make(place: Path) -> None:
    """The home, with both requests on record."""
    small = SmallHome(place / "home")
    for number, source in ((WHOLE, ANY), (PARTLY, SOURCE)):
        small.lender.record(small.lender.event(Kind.ERASURE_REQUESTED, small.people[number], source))
    small.write_down(place, hours=1)


def job(place: Path) -> None:
    """Erase both."""
    known = Known.of(place)
    erase(known.open(), _wanted(known), clock=lambda: known.now)


def _wanted(known: Known) -> list[Wanted]:
    return [Wanted(known.people[WHOLE]), Wanted(known.people[PARTLY], SOURCE)]


def afterwards(place: Path) -> dict[str, Any]:
    """What can be used and read after the kill; then the erasures that are due are carried out."""
    known, kept = Known.of(place), place / "kept"
    home = known.open()
    killed = _state(home, known)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(home.root, kept)
    erase(home, [w for w in _wanted(known) if w in due(home)], clock=lambda: known.now)
    restored = Home.open(kept, keys=home.keys)
    served = setup.online_features(home, "scorecard_v1", list(known.people.values()))
    return {
        "killed": killed,
        "ended": _state(home, known) | {feature: served[feature] for feature in FEATURES.values()},
        "certificates": {p.name: p.read_text() for p in sorted(home.path("certificates").iterdir())},
        "restored": {number: everything_that_opens(restored, key) for number, key in known.people.items()},
        "left": sorted(p.name for p in home.root.rglob("*") if is_left(p)),
        "epochs": [home.epochs.numbers(), home.data_keys.epochs_in_use()],
        "audit": [str(finding) for finding in home.ledger.audit().findings],
    }


def _state(home: Home, known: Known) -> dict[str, Any]:
    return {
        number: {
            "reasons": {
                s: home.ledger.decide(key, s, "credit_scoring", as_of=known.now).reason for s in SOURCES
            },
            "read": digests_of(home, key),
        }
        for number, key in known.people.items()
    }


def is_left(path: Path) -> bool:
    """Whether it is something that an interrupted job leaves."""
    return path.name.endswith((".partial", "-journal")) or path.parent.name == "erasures"
