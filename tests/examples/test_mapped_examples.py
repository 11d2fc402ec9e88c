"""The examples on employment histories and app usage: every row accounted for, and features as pandas counts them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow.compute as pc
import pytest

from consent.errors import BadInput
from examples.mvad.run import EXAMPLE as MVAD
from examples.reenact import CHECKOUT, Example, Outcome, find_file, run
from examples.studentlife.run import EXAMPLE as STUDENTLIFE
from ingestion.tables import read_table, read_versions


def outcome_of(example: Example, tmp_path: Path) -> tuple[Outcome, pd.DataFrame, list[str]]:
    try:
        path = find_file(example)
    except BadInput as absent:
        pytest.skip(absent.message)
    said: list[str] = []
    outcome = run(example, tmp_path / "home", files=tmp_path, tell=said.append)
    return outcome, pd.read_csv(path, dtype=str), said


def last_features(outcome: Outcome, table: str) -> pd.DataFrame:
    """Each person's newest row, by customer number."""
    home = outcome.home
    frame = read_table(home, read_versions(home, table)[-1]).to_pandas()
    keys = dict(zip(home.directory.find(list(outcome.agreeing)), outcome.agreeing, strict=True))
    newest = frame.sort_values("event_timestamp").groupby("subject_key").tail(1)
    return newest.assign(person=newest["subject_key"].map(keys)).set_index("person")


def test_employment_histories(tmp_path: Path) -> None:
    """Months become spells: who works, since when, is what the states say."""
    outcome, states, said = outcome_of(MVAD, tmp_path)
    counts = outcome.report["ingested"]
    work = states[states["state"] == "employment"].assign(person="mvad-" + states["id"])
    assert counts["rows"] == len(states) == 51_264
    assert counts["left_out"] == len(states) - len(work)
    assert counts["loaded"] == work["person"].isin(outcome.agreeing).sum()
    assert counts["refused_by_reason"] == {"NO_GRANT": len(work) - counts["loaded"]}
    features = last_features(outcome, "employment_v1")
    at_the_end = set(work[work["month"] == "Jun.99"]["person"]) & set(outcome.agreeing)
    assert set(features[features["employed_now"] == 1].index) == at_the_end
    since = first_month_of_the_last_run(work)
    today = features["event_timestamp"].dt.tz_localize(None) - pd.Timedelta(days=1)
    for person in sorted(at_the_end)[:200]:
        assert features.loc[person, "tenure_days"] == (today[person] - since[person]).days
    assert all(line in readme("mvad") for line in "\n".join(said).splitlines())


def first_month_of_the_last_run(work: pd.DataFrame) -> pd.Series:
    months = pd.to_datetime(work["month"], format="%b.%y")
    number = months.dt.year * 12 + months.dt.month
    frame = pd.DataFrame({"person": work["person"], "month": months, "number": number}).sort_values(
        ["person", "number"]
    )
    fresh = frame.groupby("person")["number"].diff() != 1
    return frame[fresh].groupby("person")["month"].last()


def test_app_usage(tmp_path: Path) -> None:
    """Leading zeros stay, duplicates count once, and every category is one the source knows."""
    outcome, polls, said = outcome_of(STUDENTLIFE, tmp_path)
    counts = outcome.report["ingested"]
    assert counts["rows"] == counts["loaded"] == len(polls) == 145_690
    assert set(outcome.agreeing) == {f"studentlife-{i}" for i in polls["userId"].unique()}
    home = outcome.home
    table = read_table(home, read_versions(home, "app_usage_v1")[-1])
    days = pd.to_datetime(polls["timestamp"].astype(int), unit="s").dt.floor("D")
    distinct = polls.assign(day=days).drop_duplicates()
    assert len(polls) - len(distinct) == 7_178
    person = dict(zip(home.directory.find(list(outcome.agreeing)), outcome.agreeing, strict=True))
    for key, name in person.items():
        mine = distinct[distinct["userId"] == name.removeprefix("studentlife-")]
        rows = table.filter(pc.equal(table["subject_key"], key)).to_pandas()
        assert rows["events_7d"].max() == busiest_week(mine)
        assert rows["distinct_apps_30d"].max() <= mine["package"].nunique()
    assert all(line in readme("studentlife") for line in "\n".join(said).splitlines()[:2])


def busiest_week(polls: pd.DataFrame) -> int:
    daily = Counter(polls["day"])
    return max(sum(daily[day - pd.Timedelta(days=back)] for back in range(7)) for day in list(daily))


def readme(name: str) -> str:
    return (CHECKOUT / "examples" / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("example", [MVAD, STUDENTLIFE], ids=lambda e: e.folder)
def test_absent_data_is_said(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which file, where it was looked for, and where it comes from."""
    monkeypatch.setenv("ASSENT_DATA", str(tmp_path))
    with pytest.raises(BadInput, match=example.file) as caught:
        find_file(example)
    assert "ASSENT_DATA" in caught.value.remedy
