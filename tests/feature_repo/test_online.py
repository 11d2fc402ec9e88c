"""Online: every write is gated for some purpose, every read for this one, and the file shows nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore
from feast.data_source import PushMode
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value

from consent.clock import micros
from consent.errors import EvidenceError
from consent.nouns import Kind
from feature_repo.stores import online, setup
from feature_repo.stores.cells import Cells
from tests.feature_repo.lender import DAY, Lender

PURPOSE = "credit_scoring"
SPEND, SALARY = "spending_v1:spend_7d", "employment_v1:monthly_salary_now"


def read(lender: Lender, *keys: str, purpose: str = PURPOSE, feature: str = SPEND) -> list[Any]:
    response = lender.stores[purpose].get_online_features(
        features=[feature], entity_rows=[{"subject_key": key} for key in keys]
    )
    return response.to_dict()[feature.partition(":")[2]]


def frame(lender: Lender, *rows: tuple[str, float, Any], view: str = "spending_v1") -> pd.DataFrame:
    """Rows for push: subject, day, spend_7d; every other feature null."""
    features = lender.stores[PURPOSE].get_feature_view(view).features
    columns = {f.name: [v if f.name == "spend_7d" else None for *_, v in rows] for f in features}
    keys, days = [key for key, *_ in rows], [lender.at(day) for _, day, _ in rows]
    return pd.DataFrame({"subject_key": keys, "event_timestamp": pd.Series(days), **columns})


def push(store: FeatureStore, rows: pd.DataFrame) -> None:
    store.push("spending_v1_push", rows, to=PushMode.ONLINE)


def write(store: FeatureStore, rows: pd.DataFrame) -> None:
    store.write_to_online_store("spending_v1", rows)


def stored(lender: Lender) -> set[bytes]:
    """The tokens of the subjects in the spending view."""
    with sqlite3.connect(lender.home.path("feast", "online.db")) as connection:
        return {
            bytes(key)[-32:] for (key,) in connection.execute("SELECT entity_key FROM assent_spending_v1")
        }


def token(lender: Lender, key: str, view: str = "spending_v1") -> bytes:
    return Cells.of_view(lender.home, "assent", view).token(key)


def test_materialise_brings_online_what_serving_purposes_may_use(lender: Lender) -> None:
    scored, screened = lender.agrees(PURPOSE), lender.agrees("fraud_detection")
    trained, nobody = lender.agrees("model_training"), lender.person()
    rows = [
        (key, day, {"spend_7d": float(i), "monthly_salary_now": 9.0})
        for i, key in enumerate((scored, screened, trained, nobody))
        for day in (-20, -10)
    ]
    lender.publish("spending", rows)
    lender.publish("employment", rows)
    lender.publish("app_usage", [])
    written = setup.materialise(lender.home, start=lender.at(-30), end=lender.at(0))
    assert written == {"spending_v1": 2, "employment_v1": 2, "app_usage_v1": 0}
    assert read(lender, scored, screened, trained, nobody) == [0.0, None, None, None]
    assert read(lender, scored, screened, purpose="fraud_detection") == [None, 1.0]
    assert read(lender, scored, screened, purpose="loan_servicing") == [None, None]
    assert read(lender, scored, screened, feature=SALARY) == [9.0, None]


def test_materialise_is_silent(lender: Lender, capfd: pytest.CaptureFixture[str]) -> None:
    lender.publish("spending", [(lender.agrees(PURPOSE), -1, {"spend_7d": 1.0})])
    setup.materialise(lender.home, start=lender.at(-30), end=lender.at(0))
    assert capfd.readouterr() == ("", "")


def test_a_row_outside_the_range_or_the_data_range_is_not_brought_online(lender: Lender) -> None:
    early, late = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    narrow = lender.agrees(PURPOSE, data_from=-5)
    lender.publish(
        "spending",
        [(early, -31, {"spend_7d": 1.0}), (late, 1, {"spend_7d": 2.0}), (narrow, -10, {"spend_7d": 3.0})],
    )
    setup.materialise(lender.home, start=lender.at(-30), end=lender.at(0))
    assert stored(lender).isdisjoint({token(lender, key) for key in (early, late, narrow)})


def test_plain_materialize_and_materialize_incremental_are_gated(tmp_path: Path) -> None:
    lender = Lender(tmp_path / "home")  # of its own: Feast remembers how far a view was materialised
    yes, no = lender.agrees(PURPOSE), lender.agrees("model_training")
    store = lender.stores[PURPOSE]
    lender.publish("spending", [(key, -10, {"spend_7d": 1.0}) for key in (yes, no)])
    store.materialize(lender.at(-30), lender.at(-5), feature_views=["spending_v1"])
    assert read(lender, yes, no) == [1.0, None]
    lender.publish("spending", [(key, -1, {"spend_7d": 2.0}) for key in (yes, no)])
    store.materialize_incremental(lender.at(0), feature_views=["spending_v1"])
    assert read(lender, yes, no) == [2.0, None]
    assert token(lender, no) not in stored(lender)


@pytest.mark.parametrize("by", [push, write], ids=["push", "write_to_online_store"])
@pytest.mark.parametrize("crowd", [0, online.FEW_ROWS], ids=["a few", "many"])
def test_rows_that_no_purpose_may_use_are_dropped_on_the_way_in(lender: Lender, by: Any, crowd: int) -> None:
    scored, trained = lender.agrees(PURPOSE), lender.agrees("model_training")
    gone, old = lender.agrees(PURPOSE), lender.agrees(PURPOSE, data_from=-5)
    lender.withdraw(gone)
    people = (scored, trained, gone, old)
    rows = [(key, -6.0, 1.5) for key in people] + [("0" * 32, -6.0, 0.0)] * crowd
    by(lender.stores[PURPOSE], frame(lender, *rows))
    assert [token(lender, key) in stored(lender) for key in people] == [True, True, False, False]
    assert token(lender, "0" * 32) not in stored(lender)
    assert read(lender, *people) == [1.5, None, None, None]


def test_rows_without_a_subject_or_an_instant_are_dropped(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    before = stored(lender)
    rows = frame(lender, (key, -1, 1.5), (key, -1, 2.5))
    rows.loc[0, "event_timestamp"] = pd.NaT
    rows.loc[1, "subject_key"] = None
    push(lender.stores[PURPOSE], rows)
    assert stored(lender) == before


def test_a_withdrawal_shows_at_the_very_next_read(lender: Lender) -> None:
    key = lender.agrees(PURPOSE, "fraud_detection")
    push(lender.stores[PURPOSE], frame(lender, (key, -1, 1.5)))
    assert read(lender, key) == [1.5]
    lender.withdraw(key, "spending", PURPOSE)
    assert read(lender, key) == [None]
    assert read(lender, key, purpose="fraud_detection") == [1.5]
    lender.withdraw(key)
    assert read(lender, key, purpose="fraud_detection") == [None]


def test_a_link_to_somebody_who_did_not_agree_shows_at_the_very_next_read(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    push(lender.stores[PURPOSE], frame(lender, (key, -1, 1.5)))
    lender.record(lender.event(Kind.LINKED, key, "spending", co_subject_key=lender.person()))
    assert read(lender, key) == [None]


def test_what_may_not_be_used_looks_like_what_is_not_there(lender: Lender) -> None:
    key, stranger = lender.agrees("model_training"), lender.person()
    push(lender.stores[PURPOSE], frame(lender, (key, -1, 1.5)))
    response = lender.stores[PURPOSE].get_online_features(
        features=[SPEND], entity_rows=[{"subject_key": key}, {"subject_key": stranger}]
    )
    names = list(response.proto.metadata.feature_names.val)
    vector = response.proto.results[names.index("spend_7d")]
    assert list(vector.statuses) == [FieldStatus.NOT_FOUND] * 2
    assert [t.seconds for t in vector.event_timestamps] == [0, 0]


def test_data_life_and_the_views_ttl_are_kept_on_reads(lender: Lender) -> None:
    short, stale = lender.agrees(PURPOSE, data_life=20 * DAY), lender.agrees(PURPOSE)
    push(lender.stores[PURPOSE], frame(lender, (short, -19, 1.5), (stale, -119, 2.5)))
    assert read(lender, short, stale) == [1.5, 2.5]
    push(lender.stores[PURPOSE], frame(lender, (short, -19.9999, 1.5), (stale, -121, 2.5)))
    assert read(lender, short, stale) == [1.5, None]
    tight = lender.agrees(PURPOSE, data_life=2 * DAY)
    lender.record(lender.grant(tight, "spending", "model_training"))
    push(lender.stores[PURPOSE], frame(lender, (tight, -3, 3.5)))
    assert token(lender, tight) in stored(lender)
    assert read(lender, tight) == [None]


def test_the_event_time_comes_back_to_the_microsecond(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    push(lender.stores[PURPOSE], frame(lender, (key, -1, 1.5)))
    response = lender.stores[PURPOSE].get_online_features(
        features=[SPEND], entity_rows=[{"subject_key": key}]
    )
    stamps = {micros(v.event_timestamps[0].ToDatetime(lender.now.tzinfo)) for v in response.proto.results}
    assert micros(lender.at(-1)) in stamps


def test_online_features_of_a_service_with_its_request(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    rows = frame(lender, (key, -1, 1.5)).assign(income_30d=200.0, repayment_to_income_30d=0.25)
    push(lender.stores[PURPOSE], rows)
    answer = setup.online_features(lender.home, "scorecard_v1", [key, None])
    assert answer["subject_key"] == [key, None]
    assert answer["spend_7d"] == [1.5, None]
    assert answer["tenure_days"] == [None, None]
    loan = setup.online_features(
        lender.home, "affordability_v1", [key, None], request={"monthly_instalment": [50.0, 50.0]}
    )
    assert loan["debt_service_to_income"] == [0.5, None]


def test_a_loan_offered_is_judged_by_its_cost_and_the_income(lender: Lender) -> None:
    """Terms that make no sense give null, and what the loan costs needs nobody's consent."""
    key = lender.agrees(PURPOSE)
    push(
        lender.stores[PURPOSE],
        frame(lender, (key, -1, 1.5)).assign(inflow_90d=600.0, repayment_to_inflow_90d=0.1),
    )
    offers = {"loan_amount": [100.0, 100.0], "upfront_fees": [20.0, 100.0]}
    offers |= {"monthly_instalment": [100.0, 100.0], "instalments": [1, 1]}
    told = setup.online_features(lender.home, "loan_offer_v1", [key, key], request=offers)
    assert told["debt_service_to_inflow"] == [0.6, 0.6]
    assert told["effective_annual_rate"] == [pytest.approx(1.25**12 - 1), None]
    told = setup.online_features(lender.home, "loan_offer_v1", [None, None], request=offers)
    assert told["debt_service_to_inflow"] == [None, None]
    assert told["effective_annual_rate"] == [pytest.approx(1.25**12 - 1), None]


def test_remove_online_deletes_every_view_of_the_people_named(lender: Lender) -> None:
    gone, kept = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    push(lender.stores[PURPOSE], frame(lender, (gone, -1, 1.5), (kept, -1, 2.5)))
    assert setup.remove_online(lender.home, [gone]) == 1
    assert setup.remove_online(lender.home, [gone]) == 0
    assert read(lender, gone, kept) == [None, 2.5]


# ---------------------------------------------------------------------------------------------- at rest


def test_the_file_shows_neither_subjects_nor_values(lender: Lender) -> None:
    online_db = lender.home.path("feast", "online.db")
    key = lender.agrees(PURPOSE)
    push(lender.stores[PURPOSE], frame(lender, (key, -1, 123456.789)))
    raw = online_db.read_bytes()
    assert key.encode() not in raw
    assert bytes.fromhex(key) not in raw
    assert b"123456" not in raw
    with sqlite3.connect(online_db) as connection:
        cells = connection.execute("SELECT value, value_text FROM assent_spending_v1").fetchall()
    assert {text for _, text in cells} == {None}


def test_a_cells_length_tells_neither_nulls_nor_sizes(lender: Lender) -> None:
    """One person's values may be null, or small, or large: as many bytes."""
    sizes = set()
    for value in (None, 0.5, 1e300):
        key = lender.agrees(PURPOSE)
        rows = frame(lender, (key, -1, value))
        push(lender.stores[PURPOSE], rows.assign(txn_count_30d=None if value is None else int(value % 2**40)))
        find = "SELECT length(value) FROM assent_spending_v1 WHERE substr(entity_key, -32) = ?"
        with sqlite3.connect(lender.home.path("feast", "online.db")) as connection:
            sizes |= set(connection.execute(find, (token(lender, key),)).fetchall())
        assert read(lender, key) == [value]
    assert len(sizes) == 1


@pytest.mark.parametrize(
    ("copied_from", "change"),
    [
        (("b", "spending_v1"), lambda cell: cell),
        (("a", "employment_v1"), lambda cell: cell),
        (("a", "spending_v1"), lambda cell: (2**62).to_bytes(8, "big") + cell[8:]),
        (("a", "spending_v1"), lambda cell: cell[:-1]),
        (("a", "spending_v1"), lambda cell: cell[:5]),
        (("a", "spending_v1"), lambda cell: cell[:-1] + bytes([cell[-1] ^ 1])),
    ],
    ids=["another person's", "another view's", "another time's", "cut off", "hardly there", "one bit"],
)
def test_a_moved_or_changed_value_is_evidence_not_an_answer(
    lender: Lender, copied_from: tuple[str, str], change: Callable[[bytes], bytes]
) -> None:
    people = {"a": lender.agrees(PURPOSE), "b": lender.agrees(PURPOSE)}
    push(lender.stores[PURPOSE], frame(lender, *((key, -1, 1.5) for key in people.values())))
    works = frame(lender, *((key, -1, 1.5) for key in people.values()), view="employment_v1").assign(
        monthly_salary_now=2.5
    )
    lender.stores[PURPOSE].push("employment_v1_push", works)
    who, view = copied_from
    find = "WHERE substr(entity_key, -32) = ?"
    with sqlite3.connect(lender.home.path("feast", "online.db")) as connection:
        where = (token(lender, people[who], view),)
        (raw,) = connection.execute(f"SELECT value FROM assent_{view} {find}", where).fetchone()
        cell = Value(bytes_val=change(Value.FromString(raw).bytes_val)).SerializeToString()
        where = (token(lender, people["a"]),)
        connection.execute(f"UPDATE assent_spending_v1 SET value = ? {find}", (cell, *where))
    with pytest.raises(EvidenceError):
        read(lender, people["a"])


def test_a_subject_has_another_token_in_every_view(lender: Lender) -> None:
    key = "a" * 32
    assert len({token(lender, key, view) for view in ("spending_v1", "employment_v1")}) == 2


def test_values_of_people_who_withdrew_are_removed(tmp_path: Path) -> None:
    """Denied at once; gone from the store at the next publish, and nobody else's."""
    lender = Lender(tmp_path / "home")
    stays, leaves = (lender.agrees("credit_scoring", "fraud_detection", sources=["spending"]) for _ in "ab")
    lender.publish("spending", [(key, -3, {"spend_30d": 5.0}) for key in (stays, leaves)])
    setup.materialise(lender.home, start=lender.at(-30), end=lender.at(0))
    lender.withdraw(leaves, purpose="credit_scoring")
    assert setup.remove_unusable(lender.home) == 0
    lender.withdraw(leaves)
    assert setup.remove_unusable(lender.home) > 0
    assert setup.remove_unusable(lender.home) == 0
    assert setup.remove_online(lender.home, [leaves]) == 0
    assert setup.online_features(lender.home, "scorecard_v1", [stays, leaves])["spend_30d"] == [5.0, None]
    assert setup.remove_online(lender.home, [stays]) > 0
