"""Data versions: any of them is read by its number, and an earlier one becomes the newest again."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from consent.clock import now_utc
from consent.errors import BadInput, Unavailable
from console.cli import run
from feature_repo.stores import setup
from ingestion.tables import read_current, read_table, read_version, read_versions, remove_rows, roll_back
from rights.erase import Wanted, erase
from tests.feature_repo.lender import Lender, values

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d"]


@pytest.fixture
def lender(tmp_path: Path) -> Lender:
    return Lender(tmp_path / "home")


@pytest.fixture
def three(lender: Lender) -> tuple[Lender, str, str]:
    """Three versions of two people's spending."""
    a, b = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    for value in (1.0, 2.0, 3.0):
        lender.publish("spending", [(key, -9, {"spend_7d": value}) for key in (a, b)])
    return lender, a, b


def read(lender: Lender, rows: pd.DataFrame, **numbers: int) -> list[float | None]:
    job: Any = lender.stores[PURPOSE].get_historical_features(entity_df=rows, features=REFS)
    found: list[float | None] = values(job.at_versions(**numbers).to_df(), "spend_7d")
    return found


def online(lender: Lender, *keys: str) -> list[float | None]:
    wanted = [{"subject_key": key} for key in keys]
    found: list[float | None] = (
        lender.stores[PURPOSE].get_online_features(features=REFS, entity_rows=wanted).to_dict()["spend_7d"]
    )
    return found


def test_any_version_is_read_by_its_number(three: tuple[Lender, str, str]) -> None:
    """The newest without one; consent decides as of now, whatever the version."""
    lender, a, b = three
    rows = lender.entities((a, 0), (b, 0))
    assert read(lender, rows) == [3.0, 3.0]
    assert [read(lender, rows, spending_v1=n) for n in (1, 2, 3)] == [[v, v] for v in (1.0, 2.0, 3.0)]
    lender.withdraw(b)
    assert read(lender, rows, spending_v1=1) == [1.0, None]


def test_the_receipt_names_the_version_that_was_read(three: tuple[Lender, str, str]) -> None:
    """So that it is reproduced from it."""
    lender, a, _ = three
    job: Any = lender.stores[PURPOSE].get_historical_features(
        entity_df=lender.entities((a, 0)), features=REFS
    )
    earlier = job.at_versions(spending_v1=2)
    earlier.to_df()
    assert [t.version for t in earlier.receipt.tables] == [2]
    assert values(job.as_in(earlier.receipt).to_df(), "spend_7d") == [2.0]
    assert earlier.explain().table["given"].tolist() == [1]


@pytest.mark.parametrize(
    ("numbers", "error"), [({"spending_v1": 4}, Unavailable), ({"spending_v1": 0}, Unavailable)]
)
def test_a_version_that_is_not_there(
    three: tuple[Lender, str, str], numbers: dict[str, int], error: type[Exception]
) -> None:
    lender, a, _ = three
    with pytest.raises(error):
        read(lender, lender.entities((a, 0)), **numbers)


def test_a_table_that_is_not_read(three: tuple[Lender, str, str]) -> None:
    lender, a, _ = three
    with pytest.raises(BadInput, match="nothing is read from employment_v1"):
        read(lender, lender.entities((a, 0)), employment_v1=1)


def test_an_earlier_version_becomes_the_newest(three: tuple[Lender, str, str]) -> None:
    """As one more version, once; online values that were newer give way."""
    lender, a, b = three
    lender.publish("spending", [(key, -1, {"spend_7d": 4.0}) for key in (a, b)])
    setup.materialise(lender.home, start=lender.at(-20), end=lender.at(0))
    assert online(lender, a, b) == [4.0, 4.0]
    version = roll_back(lender.home, "spending_v1", 1, now=now_utc())
    assert (version.number, version.lineage["rolled_back_to"]) == (5, 1)
    assert read_table(lender.home, version).equals(
        read_table(lender.home, read_version(lender.home, "spending_v1", 1))
    )
    assert read(lender, lender.entities((a, 0), (b, 0))) == [1.0, 1.0]
    setup.replace_online(lender.home, "spending_v1")
    assert online(lender, a, b) == [1.0, 1.0]
    assert roll_back(lender.home, "spending_v1", 1, now=now_utc()).number == 5
    assert roll_back(lender.home, "spending_v1", 5, now=now_utc()).number == 5
    assert len(read_versions(lender.home, "spending_v1")) == 5


def test_who_was_erased_does_not_come_back_with_an_earlier_version(three: tuple[Lender, str, str]) -> None:
    """Their rows were taken out of every version."""
    lender, a, b = three
    erase(lender.home, [Wanted(b)])
    version = roll_back(lender.home, "spending_v1", 1, now=now_utc())
    assert set(read_table(lender.home, version)["subject_key"].to_pylist()) == {a}


def test_a_version_that_rows_were_taken_out_of_is_no_basis_after_a_rollback(
    three: tuple[Lender, str, str],
) -> None:
    """The next publish computes everything."""
    lender, _, b = three
    first = read_version(lender.home, "spending_v1", 1)
    remove_rows(lender.home, first, lambda rows: _is(rows, b), among=[b])
    assert "last_day" not in roll_back(lender.home, "spending_v1", 1, now=now_utc()).lineage


def _is(rows: Any, key: str) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.is_in(rows["subject_key"], value_set=pa.array([key]))


# ------------------------------------------------------------------------------------------- the commands


def call(lender: Lender, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run([*arguments, "--home", str(lender.home.root)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_rolling_back_by_command(three: tuple[Lender, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """It says what is read now; a second time nothing changes."""
    lender, a, b = three
    code, out, err = call(lender, capsys, "rollback", "spending_v1", "--to", "2")
    assert code == 0, err
    assert "version 4 has the rows of version 2" in out
    assert online(lender, a, b) == [2.0, 2.0]
    code, out, _ = call(lender, capsys, "rollback", "spending_v1", "--to", "2", "--json")
    assert (code, json.loads(out)["version"]) == (0, 4)
    listed = json.loads(call(lender, capsys, "versions", "--json")[1])["versions"]
    assert [v["lineage"].get("rolled_back_to") for v in listed] == [None, None, None, 2]
    assert read_current(lender.home, "spending_v1").number == 4


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("rollback", "nonsense_v1", "--to", "1"), 6),
        (("rollback", "../spending_v1", "--to", "1"), 6),
        (("rollback", "spending_v1", "--to", "9"), 4),
        (("rollback", "spending_v1", "--to", "0"), 2),
        (("rollback", "employment_v1", "--to", "1"), 2),
        (("rollback", "spending_v1"), 2),
    ],
)
def test_what_cannot_be_rolled_back(
    three: tuple[Lender, str, str], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int
) -> None:
    """Nothing is changed."""
    assert call(three[0], capsys, *arguments)[0] == code
    assert len(read_versions(three[0].home, "spending_v1")) == 3


def test_a_training_set_of_an_earlier_version_by_command(
    three: tuple[Lender, str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """--data-version, checked like any input."""
    lender, _, _ = three
    entities = tmp_path / "e.csv"
    entities.write_text("subject_id,event_timestamp\nx,2026-01-01\n")
    for text in ("spending_v1", "spending_v1=", "spending_v1=-1", "spending_v1=1.5", "=1x"):
        arguments = ("--service", "scorecard_v1", "--data-version", text, "--out", str(tmp_path / "o.csv"))
        assert call(lender, capsys, "training-set", str(entities), *arguments)[0] == 6, text
    for source in ("employment", "app_usage"):
        lender.publish(source, [])
    arguments = (
        "--service",
        "scorecard_v1",
        "--data-version",
        "spending_v1=2",
        "--out",
        str(tmp_path / "o.csv"),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        code, out, err = call(lender, capsys, "training-set", str(entities), *arguments, "--json")
    assert code == 0, err
    tables = {t["table"]: t["version"] for t in json.loads(out)["receipt"]["tables"]}
    assert tables["spending_v1"] == 2
