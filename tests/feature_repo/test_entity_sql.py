"""Entity rows by SQL: as gated as a data frame, and reaching one directory alone."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore, RepoConfig

from consent.errors import AssentError, BadInput, ConfigError, Gap
from consent.home import keys_beside
from tests.feature_repo.lender import Lender, values

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d"]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    place = tmp_path / "entity files"
    place.mkdir()
    return place


def store_reading(lender: Lender, files: Path | str | None) -> FeatureStore:
    """The store of credit scoring, with a directory that queries may read."""
    plain = lender.stores[PURPOSE].config
    offline = {
        "type": "feature_repo.stores.offline.ConsentOfflineStore",
        "purpose": PURPOSE,
        "home": plain.offline_store.home,
        "keys": plain.offline_store.keys,
        **({} if files is None else {"entity_files": str(files)}),
    }
    return FeatureStore(
        config=RepoConfig(
            project="assent",
            provider=plain.provider,
            registry=plain.registry.model_dump(),
            online_store=plain.online_store.model_dump(),
            offline_store=offline,
        )
    )


def ask(lender: Lender, files: Path | str | None, query: str) -> Any:
    return store_reading(lender, files).get_historical_features(entity_df=query, features=REFS)


def test_a_query_is_as_gated_as_the_frame_it_gives(lender: Lender, files: Path) -> None:
    """Same rows, same values, same receipt counts; other columns come along in their types."""
    yes, no, other = lender.agrees(PURPOSE), lender.person(), lender.agrees("model_training")
    lender.publish("spending", [(key, -2, {"spend_7d": 5.0}) for key in (yes, no, other)])
    frame = lender.entities(
        (yes, 0), (no, 0), (other, 0), (yes, -200), loan=[7, None, 9, 8], name=list("abcd")
    )
    frame["loan"] = frame["loan"].astype("Int64")
    frame.to_parquet(files / "loans.parquet")
    job = ask(lender, files, "SELECT * FROM loans ORDER BY name")
    by_frame = lender.stores[PURPOSE].get_historical_features(entity_df=frame, features=REFS)
    table, expected = job.to_arrow(), by_frame.to_arrow()
    assert table.select(["subject_key", "loan", "name", "spend_7d"]).equals(
        expected.select(["subject_key", "loan", "name", "spend_7d"])
    )
    assert table["spend_7d"].to_pylist() == [5.0, None, None, None]
    assert [v.masked for v in job.receipt.views] == [v.masked for v in by_frame.receipt.views]
    lender.withdraw(yes)
    assert values(job.to_df(), "spend_7d") == [None] * 4


def test_a_query_may_choose_and_compute(lender: Lender, files: Path) -> None:
    """It is a whole query, over several files and other formats if it names them."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -2, {"spend_7d": 5.0})])
    lender.entities((key, 0), (lender.person(), 0)).to_parquet(files / "loans.parquet")
    (files / "wanted.csv").write_text(f"key\n{key}\n", "utf-8")
    query = f"""
        WITH wanted AS (SELECT key FROM read_csv('{files}/wanted.csv', header = true))
        SELECT l.*, 1 + 1 AS two FROM loans l SEMI JOIN wanted w ON w.key = l.subject_key
    """
    result = ask(lender, files, query).to_df()
    assert (values(result, "spend_7d"), result["two"].tolist()) == ([5.0], [2])


def test_without_a_directory_a_query_is_refused_with_the_way(lender: Lender) -> None:
    """Nothing is configured, so no."""
    with pytest.raises(Gap) as caught:
        ask(lender, None, "SELECT 1")
    assert "entity_files" in caught.value.remedy
    assert "data frame" in caught.value.remedy


@pytest.mark.parametrize("where", ["", "tables", "..", "../home.keys", "/"])
def test_the_directory_may_not_reach_the_home_or_its_keys(lender: Lender, where: str) -> None:
    """Not them, nothing in them, nothing around them."""
    with pytest.raises(ConfigError, match="around, or in"):
        ask(lender, lender.home.path(where) if where != "/" else "/", "SELECT 1")


@pytest.mark.parametrize("where", ["relative", "/nowhere/at/all"])
def test_the_directory_must_be_one(lender: Lender, where: str) -> None:
    """An absolute path of a directory that is there."""
    with pytest.raises(ConfigError, match="absolute path"):
        ask(lender, where, "SELECT 1")


#: Queries that would reach further.
REACHING = {
    "a key": "SELECT content AS subject_key FROM read_blob('{keys}/root.key')",
    "a way up": "SELECT * FROM read_text('{files}/../elsewhere.txt')",
    "a link": "SELECT * FROM read_text('{files}/link.parquet')",
    "a link that is a table": "SELECT * FROM link",
    "names of files": "SELECT * FROM glob('{home}/*')",
    "the online store": "SELECT * FROM sqlite_scan('{home}/feast/online.db', 'assent_spending_v1')",
    "the network": "SELECT * FROM read_parquet('https://example.org/x.parquet')",
    "a variable": "SELECT * FROM secret_frame",
}


@pytest.mark.parametrize("what", REACHING)
def test_a_query_reaches_nothing_else(lender: Lender, files: Path, what: str) -> None:
    """Keys, home, other files, the network, variables of the program: all out of reach, and nothing is quoted."""
    secret_frame = pd.DataFrame({"subject_key": ["CANARY"], "event_timestamp": [lender.now]})
    elsewhere = files.with_name("elsewhere.txt")
    elsewhere.write_text("CANARY", "utf-8")
    (files / "link.parquet").symlink_to(elsewhere)
    home = lender.home.root
    query = REACHING[what].format(files=files, home=home, keys=keys_beside(home))
    with pytest.raises(BadInput, match=r"Permission|Catalog") as caught:
        ask(lender, files, query)
    assert "CANARY" not in "".join(traceback.format_exception(caught.value))
    assert len(secret_frame) == 1


@pytest.mark.parametrize(
    "query",
    [
        "COPY (SELECT 1) TO '{files}/out.csv'",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1; SELECT 2",
        "SET enable_external_access = true",
        "ATTACH '{files}/a.db'",
        "INSTALL httpfs",
        "",
        "SELEC 1",
    ],
)
def test_only_one_select_is_run(lender: Lender, files: Path, query: str) -> None:
    """What writes, changes a setting, or is no query is refused, and leaves no file."""
    with pytest.raises(BadInput):
        ask(lender, files, query.format(files=files))
    assert list(files.iterdir()) == []


def test_an_error_quotes_neither_the_query_nor_a_cell(lender: Lender, files: Path) -> None:
    """DuckDB's own errors hold both."""
    pd.DataFrame({"a": ["CANARY"]}).to_parquet(files / "t.parquet")
    for query in ("SELECT a::INT FROM t", "SELECT nothing_of_CANARY FROM t"):
        with pytest.raises(BadInput) as caught:
            ask(lender, files, query)
        assert "CANARY" not in "".join(traceback.format_exception(caught.value))


def test_rows_that_cannot_be_used_are_refused_as_of_a_frame(lender: Lender, files: Path) -> None:
    """The columns that a frame needs, a query needs."""
    with pytest.raises(BadInput, match="lack the column"):
        ask(lender, files, "SELECT 'x' AS subject_key")
    assert issubclass(BadInput, AssentError)
