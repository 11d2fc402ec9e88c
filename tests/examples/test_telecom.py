"""A fourth source, added the documented way: a package with two modules and three entry points."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from consent.catalog import BUILT_IN, fault_of

REPO = Path(__file__).parents[2]

#: What the source does everywhere, in one process: importing Feast costs seconds.
WHOLE_LINE = r"""
import sys
from datetime import timedelta
from pathlib import Path
import pandas as pd
from consent.catalog import SOURCES
from consent.clock import now_utc
from consent.decide import decide
from console.cli import run as assent
from examples.telecom.run import run, SOURCE
from ingestion.catalogue import catalogue
from ingestion.tables import read_table, read_versions

place = Path(sys.argv[1])
outcome = run(place, lambda _: None)
home, file, people = outcome["home"], outcome["ingested"], outcome["people"]
assert SOURCE in SOURCES and f"## {SOURCE}" in catalogue()
assert file.read == file.loaded + sum(file.refused.values()) + file.quarantined
assert file.quarantined_by_rule == {"amount_positive": 1} and set(file.refused) == {"NO_GRANT"}
# The consent gate, the point form, and retrieval through plain Feast.
assert (outcome["before"]["given"], outcome["after"]["given"]) == (30, 29)
assert outcome["after"]["masked"] == {"NO_GRANT": 10, "WITHDRAWN": 1}
key = home.directory.find(people)[0]
now = now_utc()
assert not decide(home.ledger.facts(key), SOURCE, "model_training", data_at=None, as_of=now).allowed
# The maths, against pandas on the lender's own file.
table = read_table(home, read_versions(home, f"{SOURCE}_v1")[-1]).to_pandas()
rows = pd.read_csv(place / "topups.csv", parse_dates=["occurred_at"])
own = table[table["subject_key"] == home.directory.find(people)[5]].set_index("event_timestamp")
mine = rows[rows["subject_id"] == people[5]]
for at, row in list(own.iterrows())[::7]:
    last = mine[(mine["occurred_at"] < at) & (mine["occurred_at"] >= at - pd.Timedelta(days=90))]
    assert row["topup_sum_90d"] == last["amount"].sum()
    assert row["active_days_90d"] == last["occurred_at"].dt.floor("D").nunique()
    lent = last[last["channel"] == "airtime_credit"]["amount"].sum()
    assert abs(row["airtime_credit_share_90d"] - lent / last["amount"].sum()) < 1e-12
    assert row["balance_before_min_90d"] == last["balance_before"].min()
# The commands: a dry run, an access package, an erasure.
here = ["--home", str(home.root)]
with (home.root / "assent.toml").open("a") as settings:
    settings.write(
        '[controller]\nname = "L"\naddress = "A"\ncontact = "c@l.example"\nurl = "https://l.example"\n'
        'withdraw_at = "https://l.example/w"\nstorage_locations = ["IN"]\nrecipients = []\n'
    )
assert assent(["ingest", SOURCE, str(place / "topups.csv"), "--dry-run", *here]) == 0
assert assent(["export", people[1], "--out", str(place / "own.zip"), *here]) == 0
assert assent(["erase", people[1], *here]) == 0
assert assent(["ingest", SOURCE, str(place / "topups.csv"), *here]) == 0
print("DONE")
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's package, installed as the documentation says."""
    target = tmp_path_factory.mktemp("telecom")
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", target, REPO / "examples" / "telecom"],
        check=True,
        capture_output=True,
    )
    return target


def python(*arguments: object, path: Path) -> subprocess.CompletedProcess[str]:
    """A process in which the packages under `path` are installed."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(REPO), str(path)])},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_the_whole_line_with_a_fourth_source(installed: Path, tmp_path: Path) -> None:
    """Catalog, gate, vault, suite, features, Feast, dry run, access package and erasure know it."""
    done = python("-c", WHOLE_LINE, tmp_path, path=installed)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("DONE\n")


def register(place: Path, name: str, category: str) -> Path:
    """A package that only registers a name."""
    about = place / "evil-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[assent.catalog]\n{name} = {category}\n[assent.sources]\n{name} = nowhere\n"
    )
    return place


ASSENT = ("-c", "import sys; from console.cli import run; sys.exit(run(sys.argv[1:]))")


@pytest.mark.parametrize(
    ("name", "category", "code", "said"),
    [
        ("contacts", "pd:Transaction", 3, "prohibited: no consent can open it"),
        ("phone_book", "pd:Contact", 3, "prohibited: no consent can open it"),
        ("spending", "pd:Transaction", 2, "another source of this name"),
        ("Top-ups", "pd:Transaction", 2, "its name is not"),
        ("topups", "money", 2, "none of W3C DPV's"),
    ],
)
def test_what_may_not_be_registered_stops_every_command(
    name: str, category: str, code: int, said: str, tmp_path: Path
) -> None:
    """Nothing is passed over in silence: as long as such a package is installed, no home opens."""
    path = register(tmp_path, name, category)
    done = python(*ASSENT, "init", "--home", tmp_path / "home", path=path)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert not (tmp_path / "home").exists()


def test_a_package_without_its_source_is_told(tmp_path: Path) -> None:
    """The entry point of the source is missing."""
    path = register(tmp_path, "topups", "pd:Transaction")
    (path / "evil-1.0.dist-info" / "entry_points.txt").write_text(
        "[assent.catalog]\ntopups = pd:Transaction\n"
    )
    done = python("-c", "import ingestion.sources", path=path)
    assert "the package of the source topups does not describe it" in done.stderr


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_source_is_sound_itself(name: str) -> None:
    """It would pass what an installed one has to pass."""
    assert fault_of(name, BUILT_IN[name], set()) == ""


def test_the_page_on_adding_a_source_shows_this_package() -> None:
    """docs/adding-a-source.md quotes the entry points as they are in the example."""
    page = (REPO / "docs" / "adding-a-source.md").read_text(encoding="utf-8")
    project = (REPO / "examples" / "telecom" / "pyproject.toml").read_text(encoding="utf-8")
    entry_points = project[project.index("[project.entry-points") : project.index("[tool.hatch")].strip()
    assert entry_points in page
