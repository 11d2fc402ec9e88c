"""A training set is reproduced from its receipt: the values of then, less what consent has taken away since."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from consent.accesses import AccessKind
from consent.errors import AssentError, BadInput, Unavailable
from consent.nouns import Kind
from feature_repo.stores import setup
from feature_repo.stores.entity_rows import Chunk, RowsHash
from feature_repo.stores.receipts import Receipt, taken_away
from rights.erase import Wanted, erase
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d", "spending_v1:spend_30d"]


@pytest.fixture
def lender(tmp_path_factory: pytest.TempPathFactory) -> Lender:
    return Lender(tmp_path_factory.mktemp("reproduced") / "home")


def fetch(lender: Lender, rows: pd.DataFrame, refs: list[str] = REFS, **options: Any) -> tuple[Any, Receipt]:
    job = lender.stores[PURPOSE].get_historical_features(entity_df=rows, features=refs, **options)
    return job.to_df(), job.receipt  # type: ignore[attr-defined]


def spends(frame: pd.DataFrame) -> list[float | None]:
    return [None if pd.isna(cell) else float(cell) for cell in frame["spend_7d"]]


def test_the_same_values_come_back_though_newer_ones_were_published(lender: Lender) -> None:
    """From the data version that the receipt names."""
    a, b = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    lender.publish("spending", [(a, -9, {"spend_7d": 1.0}), (b, -9, {"spend_7d": 2.0})])
    rows = lender.entities((a, 0), (b, -1), (None, 0))
    frame, receipt = fetch(lender, rows)
    lender.publish("spending", [(a, -9, {"spend_7d": 7.0}), (a, -1, {"spend_7d": 8.0})])
    assert spends(fetch(lender, rows)[0]) == [8.0, None, None]
    again, used = setup.reproduce(lender.home, rows, receipt)
    pd.testing.assert_frame_equal(again, frame)
    assert taken_away(receipt, used) == {"spending_v1": 0}
    assert used.reproduces == receipt.receipt_id
    assert used.tables == receipt.tables
    entry = lender.home.accesses.entries(limit=1)[0]
    assert (entry.kind, entry.about) == (AccessKind.REPRODUCED, {"receipt": used.receipt_id})


def test_what_consent_has_taken_away_is_gone_and_counted(lender: Lender) -> None:
    """Withdrawn, and erased: also from the old data version."""
    a, b, c = (lender.agrees(PURPOSE) for _ in range(3))
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0}) for key in (a, b, c)])
    rows = lender.entities((a, 0), (b, 0), (b, -1), (c, 0))
    _, receipt = fetch(lender, rows)
    lender.withdraw(b)
    erase(lender.home, [Wanted(c)])
    again, used = setup.reproduce(lender.home, rows, receipt)
    assert spends(again) == [5.0, None, None, None]
    assert taken_away(receipt, used) == {"spending_v1": 3}
    assert used.views[0].masked == {"WITHDRAWN": 2, "ERASED": 1}


def test_what_was_not_given_then_is_not_given_now(lender: Lender) -> None:
    """Whoever agrees later, also to the past, is not in a training set of before."""
    a, late = lender.agrees(PURPOSE), lender.person()
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0}) for key in (a, late)])
    rows = lender.entities((a, 0), (late, 0))
    frame, receipt = fetch(lender, rows)
    assert spends(frame) == [5.0, None]
    lender.home.ledger.append([lender.grant(late, "spending", PURPOSE)])
    assert spends(fetch(lender, rows)[0]) == [5.0, 5.0]
    again, used = setup.reproduce(lender.home, rows, receipt)
    assert spends(again) == [5.0, None]
    assert used.views[0].masked == {"NO_GRANT": 1}


def test_what_was_found_invalid_since_is_taken_away(lender: Lender) -> None:
    """An invalidation acts on the past as well."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    rows = lender.entities((key, 0))
    _, receipt = fetch(lender, rows)
    lender.record(lender.event(Kind.INVALIDATED, key, basis="consent was not informed"))
    again, used = setup.reproduce(lender.home, rows, receipt)
    assert (spends(again), taken_away(receipt, used)) == ([None], {"spending_v1": 1})


def test_other_entity_rows_are_refused(lender: Lender) -> None:
    """Other people, other instants, another order, one more or one less; other columns do not matter."""
    a, b = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0}) for key in (a, b)])
    rows = lender.entities((a, 0), (b, 0))
    _, receipt = fetch(lender, rows)
    for other in (
        lender.entities((a, 0), (b, -1)),
        lender.entities((b, 0), (a, 0)),
        lender.entities((a, 0)),
        lender.entities((a, 0), (b, 0), (None, 0)),
        lender.entities((a, 0), (None, 0)),
    ):
        before = lender.home.accesses.size()
        with pytest.raises(BadInput, match="not the entity rows"):
            setup.reproduce(lender.home, other, receipt)
        assert lender.home.accesses.size() == before
    assert spends(setup.reproduce(lender.home, rows.assign(label=1), receipt)[0]) == [5.0, 5.0]


def test_the_receipt_of_another_fetch_is_refused(lender: Lender) -> None:
    """Other features, other names of them, another purpose; a scan has none."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    rows = lender.entities((key, 0))
    _, receipt = fetch(lender, rows)
    store = lender.stores[PURPOSE]
    for job in (
        store.get_historical_features(entity_df=rows, features=REFS[:1]),
        store.get_historical_features(entity_df=rows, features=REFS, full_feature_names=True),
        lender.stores["model_training"].get_historical_features(entity_df=rows, features=REFS),
    ):
        with pytest.raises(BadInput, match="another fetch"):
            job.as_in(receipt)  # type: ignore[attr-defined]


def test_full_names_and_on_demand_features_come_back(lender: Lender) -> None:
    """The receipt says how the columns were called."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    rows = lender.entities((key, 0))
    frame, receipt = fetch(lender, rows, full_feature_names=True)
    again, _ = setup.reproduce(lender.home, rows, receipt)
    pd.testing.assert_frame_equal(again, frame)
    assert "spending_v1__spend_7d" in again


def test_a_data_version_that_is_gone_is_said_to_be(lender: Lender) -> None:
    """Nothing else takes its place."""
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    rows = lender.entities((key, 0))
    _, receipt = fetch(lender, rows)
    lender.publish("spending", [(key, -9, {"spend_7d": 6.0})])
    for path in lender.home.path("tables", "spending_v1").glob("v00000001-*.parquet"):
        path.unlink()
    with pytest.raises((Unavailable, AssentError)):
        setup.reproduce(lender.home, rows, receipt)


def test_streamed_it_is_decided_in_the_same_way(lender: Lender) -> None:
    """Batches of a reproduction hold what its whole holds."""
    a, b = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0}) for key in (a, b)])
    rows = lender.entities((a, 0), (b, 0))
    _, receipt = fetch(lender, rows)
    lender.withdraw(b)
    job = lender.stores[PURPOSE].get_historical_features(entity_df=rows, features=REFS).as_in(receipt)  # type: ignore[attr-defined]
    assert [cell for batch in job.to_arrow_batches() for cell in batch["spend_7d"].to_pylist()] == [5.0, None]


def test_the_hash_of_the_rows_does_not_depend_on_how_they_are_cut() -> None:
    """And every row counts, with its place."""
    keys = [None, "a" * 32, "b" * 32, "", "a" * 32, "ü" * 7]
    at = pa.array([1, None, 3, 4, -1, 6]).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"subject_key": keys, "other": range(6)})

    def digest(*cuts: int, rows: pa.Table = table, instants: pa.Array = at) -> bytes:
        found = RowsHash({"subject_key"})
        bounds = [0, *cuts, len(rows)]
        for low, high in pairwise(bounds):
            found.add(Chunk(rows.slice(low, high - low), instants.slice(low, high - low)))
        return found.digest()

    assert len({digest(), digest(3), digest(1, 2, 3, 4, 5), digest(0, 0, 6)}) == 1
    shifted = pa.table({"subject_key": ["a" * 31, "a" + "b" * 32], "other": [0, 1]})
    other = pa.table({"subject_key": ["a" * 32, "b" * 32], "other": [0, 1]})
    assert digest(rows=shifted, instants=at[:2]) != digest(rows=other, instants=at[:2])
    for place in range(6):
        changed = [*keys[:place], "c" * 32, *keys[place + 1 :]]
        assert digest(rows=pa.table({"subject_key": changed})) != digest()
