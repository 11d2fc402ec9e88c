"""Online reads in the access log: added up, nobody named, and no value without them."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from consent.accesses import Access, AccessKind, AccessQuery
from consent.callers import calling_as
from consent.errors import EvidenceError
from feature_repo.stores import online_tally, setup
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d", "employment_v1:tenure_days"]


@pytest.fixture
def lender(tmp_path: Path) -> Lender:
    return Lender(tmp_path / "home")


def read(lender: Lender, *keys: str) -> list[float | None]:
    wanted = [{"subject_key": key} for key in keys]
    store = lender.stores[PURPOSE]
    found: list[float | None] = store.get_online_features(features=REFS, entity_rows=wanted).to_dict()[
        "spend_7d"
    ]
    return found


def written(lender: Lender) -> list[Access]:
    return lender.home.accesses.entries(AccessQuery(kind=AccessKind.ONLINE))


def test_the_first_read_is_written_at_once_and_the_others_together(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With how many were asked about and how many given, by caller and view."""
    yes, no = lender.agrees(PURPOSE), lender.person()
    lender.publish("spending", [(key, -1, {"spend_7d": 1.5}) for key in (yes, no)])
    setup.materialise(lender.home, start=lender.at(-9), end=lender.at(0))
    assert read(lender, yes, no) == [1.5, None]
    (first,) = written(lender)
    assert first.about == {"spending_v1": "2 people asked about, 1 given"}
    with calling_as("token:scorer"):
        for _ in range(5):
            read(lender, yes)
    read(lender, no)
    assert len(written(lender)) == 1
    monkeypatch.setattr(online_tally, "PERIOD_S", 0.0)
    read(lender, yes)
    entries = {e.caller: e.about for e in written(lender)[:-1]}
    assert entries["token:scorer"] == {
        "spending_v1": "5 people asked about, 5 given",
        "employment_v1": "5 people asked about, 0 given",
    }
    assert sum(len(e.about) for e in written(lender)) >= 4
    assert not any(e.personal for e in written(lender))
    lender.home.accesses.close()
    assert not any(yes.encode() in p.read_bytes() for p in lender.home.root.glob("access.db*"))


def test_no_value_where_the_reads_cannot_be_written(lender: Lender, monkeypatch: pytest.MonkeyPatch) -> None:
    """The read that is due to write gets an error, and its count is not lost."""
    yes = lender.agrees(PURPOSE)
    lender.publish("spending", [(yes, -1, {"spend_7d": 1.5})])
    setup.materialise(lender.home, start=lender.at(-9), end=lender.at(0))
    read(lender, yes)
    path = lender.home.path("access.db")
    with sqlite3.connect(path) as connection:
        (root,) = connection.execute("SELECT root FROM head").fetchone()
        connection.execute("UPDATE head SET root = zeroblob(32)")
    monkeypatch.setattr(online_tally, "PERIOD_S", 0.0)
    with pytest.raises(EvidenceError, match="access log"):
        read(lender, yes)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE head SET root = ?", (root,))
    connection.close()
    assert read(lender, yes) == [1.5]
    assert lender.home.accesses.audit() == lender.home.accesses.size()


_CHILD = """
import sys
from consent.home import Home
from feature_repo.stores import setup
home = Home.open(__import__("pathlib").Path(sys.argv[1]))
for _ in range(3):
    setup.online_features(home, "scorecard_v1", [sys.argv[2]])
"""


def test_a_process_writes_what_is_left_when_it_ends(lender: Lender) -> None:
    """Without anything more to be read."""
    yes = lender.agrees(PURPOSE)
    for source in ("spending", "employment", "app_usage"):
        lender.publish(source, [])
    command = [sys.executable, "-c", _CHILD, str(lender.home.root), yes]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    asked = [int(e.about.get("spending_v1", "0").split()[0]) for e in written(lender)]
    assert sum(asked) == 3
    assert len(asked) == 2


def test_the_end_of_a_process_complains_instead_of_failing(
    lender: Lender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nobody left to refuse."""
    tally = online_tally.Tally(lender.home)
    monkeypatch.setattr(online_tally, "_TALLIES", {tally})
    tally._counts[("x", PURPOSE)] = online_tally.Counter({("spending_v1", "asked"): 1})
    for path in lender.home.root.glob("access.db*"):
        path.unlink()
    lender.home.__dict__.pop("accesses", None)
    with pytest.warns(UserWarning, match="not in the access log"):
        online_tally._at_the_end()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(online_tally, "_TALLIES", set())
        online_tally._at_the_end()
