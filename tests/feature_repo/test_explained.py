"""What became of the rows of a fetch: the receipt's counts, by month, and a picture that asks nobody for anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from consent.errors import ConfigError
from feature_repo.stores.explanation import Explanation
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d", "employment_v1:tenure_days"]


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Lender:
    return Lender(tmp_path_factory.mktemp("explained") / "home")


def job_of(lender: Lender, rows: pd.DataFrame, refs: list[str] = REFS) -> Any:
    job = lender.stores[PURPOSE].get_historical_features(entity_df=rows, features=refs)
    job.to_df()
    return job


@pytest.fixture(scope="module")
def explained(lender: Lender) -> Explanation:
    yes, none, paused, no = (
        lender.agrees(PURPOSE),
        lender.agrees(PURPOSE),
        lender.agrees(PURPOSE),
        lender.person(),
    )
    lender.publish("spending", [(key, -90, {"spend_7d": 1.5}) for key in (yes, paused, no)])
    lender.publish("employment", [(yes, -1, {"tenure_days": 3})])
    lender.withdraw(paused)
    rows = lender.entities((yes, 0), (yes, -40), (none, 0), (paused, -40), (no, -80), (None, 0), (yes, None))
    explained: Explanation = job_of(lender, rows).explain()
    return explained


def test_the_table_has_the_receipts_counts(explained: Explanation) -> None:
    """One row per view; a column for each reason that masked something."""
    spending, employment = explained.table.to_dict("records")
    assert spending == {
        "features": "spending_v1",
        "source": "spending",
        "given %": 28.6,
        "given": 2,
        "no data": 1,
        "NO_GRANT": 1,
        "UNKNOWN": 2,
        "WITHDRAWN": 1,
    }
    assert (employment["given"], employment["no data"]) == (1, 2)
    assert explained.receipt.receipt_id[:16] in str(explained)
    assert "WITHDRAWN" in str(explained)


def test_the_months_add_up_to_the_receipt(explained: Explanation) -> None:
    """Each view's outcomes, whatever the month; rows without an instant are there too."""
    for view in explained.receipt.views:
        mine = explained.by_month[explained.by_month["view"] == view.view]
        counts = mine.groupby("outcome")["rows"].sum().to_dict()
        assert counts == {
            name: n for name, n in {"given": view.given, "no data": view.no_data, **view.masked}.items() if n
        }
        assert mine["rows"].sum() == explained.receipt.entity_rows
        assert mine["month"].isna().any()
        assert mine["month"].nunique() >= 2


def test_it_explains_the_fetch_and_not_what_came_after(lender: Lender) -> None:
    """Later withdrawals and later data versions are in the next fetch's explanation."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 1.5})])
    job = job_of(lender, lender.entities((key, 0)), REFS[:1])
    before = job.explain()
    lender.withdraw(key)
    lender.publish("spending", [])
    assert job.explain().by_month.equals(before.by_month)
    assert before.by_month["outcome"].tolist() == ["given"]
    job.to_df()
    assert job.explain().by_month["outcome"].tolist() == ["WITHDRAWN"]


def test_explaining_leaves_no_receipt(lender: Lender) -> None:
    """It hands out no value."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 1.5})])
    job = job_of(lender, lender.entities((key, 0)), REFS[:1])
    before = len(list(lender.home.path("receipts").iterdir()))
    job.explain().picture()
    assert len(list(lender.home.path("receipts").iterdir())) == before


def test_there_is_nothing_to_explain_before_a_fetch(lender: Lender) -> None:
    """Nor after a scan."""
    job: Any = lender.stores[PURPOSE].get_historical_features(
        entity_df=lender.entities((None, 0)), features=REFS[:1]
    )
    with pytest.raises(ConfigError, match="explain"):
        job.explain()


def test_the_picture_stands_alone(explained: Explanation, tmp_path: Path) -> None:
    """Well-formed SVG, the same each time, with nothing to load, and nobody's key in it."""
    picture = explained.picture()
    assert picture == explained.picture()
    ET.fromstring(picture)
    assert not re.search(r"(href|src)=\"(?!#)|url\((?!#)|@import|<script|<image", picture)
    assert len(picture) < 400_000
    explained.save(tmp_path / "coverage.svg")
    assert (tmp_path / "coverage.svg").read_text("utf-8") == picture
    shown = explained._repr_html_()
    assert "<svg" in shown
    assert "spending_v1" in shown
    assert not re.search("[0-9a-f]{32}", shown.replace(explained.receipt.receipt_id[:16], "")[:2_000])


def test_no_rows_at_all_are_explained(lender: Lender) -> None:
    """An empty table and an empty picture, not an error."""
    lender.publish("spending", [])
    explained = job_of(lender, lender.entities((None, 0)).head(0), REFS[:1]).explain()
    assert explained.table["given"].tolist() == [0]
    assert explained.picture().startswith("<svg")
