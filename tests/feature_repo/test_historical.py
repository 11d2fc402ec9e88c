"""Plain Feast historical fetches give what consent allows: now, at the row's instant, and for data that old."""

from __future__ import annotations

import traceback

import pandas as pd
import pyarrow as pa
import pytest
from feast import FeatureService

from consent.errors import BadInput, ConfigError
from consent.nouns import Kind
from feature_repo.stores import setup
from tests.feature_repo.lender import DAY, Lender, values

PURPOSE = "credit_scoring"


def fetch(lender: Lender, frame: pd.DataFrame, *refs: str, **options: bool) -> tuple[pd.DataFrame, dict]:
    job = lender.stores[PURPOSE].get_historical_features(
        entity_df=frame, features=list(refs) or ["spending_v1:spend_7d"], **options
    )
    result = job.to_df()
    return result, {view.view: view for view in job.receipt.views}


def masked(lender: Lender, key: str | None, at: float | None, value_on: float = -10) -> str:
    """The one reason for which one row is masked."""
    lender.publish("spending", [(key, value_on, {"spend_7d": 1.0})] if key else [])
    result, views = fetch(lender, lender.entities((key, at)))
    assert values(result, "spend_7d") == [None]
    ((reason, rows),) = views["spending_v1"].masked.items()
    assert rows == 1
    return reason


def test_gives_the_latest_value_at_or_before_each_row_within_the_ttl(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -200, {"spend_7d": 1.0}), (key, -20, {"spend_7d": 2.0})])
    rows = lender.entities((key, -20), (key, -20.001), (key, -5), (key, -79), (key, -80), (key, -201))
    result, views = fetch(lender, rows)
    assert values(result, "spend_7d") == [2.0, None, 2.0, None, 1.0, None]
    assert (views["spending_v1"].given, views["spending_v1"].no_data) == (3, 3)


def test_every_row_comes_back_in_order_with_its_own_columns_and_duplicates(lender: Lender) -> None:
    yes, no = lender.agrees(PURPOSE), lender.person()
    lender.publish("spending", [(yes, -9, {"spend_7d": 5.0}), (no, -9, {"spend_7d": 6.0})])
    rows = lender.entities(
        (yes, 0), (no, 0), (yes, 0), ("f" * 32, 0), ("0" * 32, 0), (yes, 0), label=[1, 0, 1, 0, 1, 0]
    )
    before = rows.copy(deep=True)
    result, views = fetch(lender, rows)
    pd.testing.assert_frame_equal(rows, before)
    pd.testing.assert_frame_equal(result[rows.columns], rows)
    assert values(result, "spend_7d") == [5.0, None, 5.0, None, None, 5.0]
    assert views["spending_v1"].masked == {"NO_GRANT": 3}


@pytest.mark.parametrize(
    ("terms", "at", "reason"),
    [
        ({"start": -8}, -9, "NOT_YET"),
        ({"end": -1}, -2, "EXPIRED"),
        ({"data_from": -9.5}, 0, "DATA_RANGE"),
        ({"data_life": 5 * DAY}, 0, "DATA_LIFE"),
        ({"data_life": 10 * DAY}, -3, "DATA_LIFE"),
    ],
    ids=["before it began", "expired now", "older than agreed", "outlived at T", "outlived now, not at T"],
)
def test_masks_what_the_grant_does_not_cover(lender: Lender, terms: dict, at: float, reason: str) -> None:
    assert masked(lender, lender.agrees(PURPOSE, **terms), at) == reason


def test_masks_what_expires_between_now_and_the_row(lender: Lender) -> None:
    assert masked(lender, lender.agrees(PURPOSE, end=5), 6) == "EXPIRED"


def test_masks_other_purposes_and_other_sources(lender: Lender) -> None:
    assert masked(lender, lender.agrees("model_training"), 0) == "PURPOSE"
    assert masked(lender, lender.agrees(PURPOSE, sources=["employment"]), 0) == "SOURCE"


def test_a_withdrawal_now_masks_the_past_too_and_its_reason_wins(lender: Lender) -> None:
    key = lender.agrees(PURPOSE, start=-8)
    lender.withdraw(key, "spending")
    assert masked(lender, key, -2) == "WITHDRAWN"
    assert masked(lender, key, -9) == "WITHDRAWN"


def test_consent_given_again_later_does_not_reach_back(lender: Lender) -> None:
    key = lender.agrees(PURPOSE, start=-100, end=-50)
    lender.record(lender.grant(key, "spending", PURPOSE, start=-20))
    lender.publish("spending", [(key, -60, {"spend_7d": 1.0}), (key, -30, {"spend_7d": 2.0})])
    result, views = fetch(lender, lender.entities((key, -55), (key, -30), (key, -10)))
    assert values(result, "spend_7d") == [1.0, None, 2.0]
    assert views["spending_v1"].masked == {"EXPIRED": 1}


def test_data_about_two_people_needs_both(lender: Lender) -> None:
    key, partner = lender.agrees(PURPOSE), lender.agrees(PURPOSE)
    lender.record(lender.event(Kind.LINKED, key, "spending", co_subject_key=partner))
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    assert values(fetch(lender, lender.entities((key, 0)))[0], "spend_7d") == [5.0]
    lender.withdraw(partner, "spending")
    assert masked(lender, key, 0) == "WITHDRAWN"


@pytest.mark.parametrize(("key", "at"), [(None, 0.0), ("known", None), (None, None)])
def test_a_row_without_subject_or_instant_is_unknown(
    lender: Lender, key: str | None, at: float | None
) -> None:
    assert masked(lender, lender.agrees(PURPOSE) if key else None, at) == "UNKNOWN"


def test_what_is_no_instant_is_unknown(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 1.0})])
    rows = pd.DataFrame({"subject_key": key, "event_timestamp": ["yesterday", "", str(lender.now)]})
    result, views = fetch(lender, rows)
    assert values(result, "spend_7d") == [None, None, 1.0]
    assert views["spending_v1"].masked == {"UNKNOWN": 2}


def test_a_column_of_several_types_is_named_and_its_values_are_not(lender: Lender) -> None:
    rows = lender.entities(("a" * 32, 0), ("b" * 32, 0)).assign(subject_key=["a" * 32, 12345])
    with pytest.raises(BadInput, match="column subject_key") as caught:
        fetch(lender, rows)
    assert "12345" not in "".join(traceback.format_exception(caught.value))


def test_several_views_of_several_sources_are_decided_apart(lender: Lender) -> None:
    both, one = lender.agrees(PURPOSE), lender.agrees(PURPOSE, sources=["employment"])
    for source, feature in (("spending", "income_30d"), ("employment", "monthly_salary_now")):
        lender.publish(source, [(key, -9, {feature: 7.0}) for key in (both, one)])
    result, views = fetch(
        lender,
        lender.entities((both, 0), (one, 0)),
        "spending_v1:income_30d",
        "employment_v1:monthly_salary_now",
        full_feature_names=True,
    )
    assert values(result, "spending_v1__income_30d") == [7.0, None]
    assert values(result, "employment_v1__monthly_salary_now") == [7.0, 7.0]
    assert views["spending_v1"].masked == {"SOURCE": 1}
    assert views["employment_v1"].given == 2


def test_a_service_gives_all_its_features_in_one_call(lender: Lender) -> None:
    key = lender.agrees("model_training")
    for source in ("spending", "employment", "app_usage"):
        lender.publish(source, [(key, -9, {"spend_7d": 1.0, "tenure_days": 2, "events_7d": 3})])
    frame, receipt = setup.training_set(
        lender.home, pa.Table.from_pandas(lender.entities((key, 0))), "scorecard_training_v1"
    )
    assert [values(frame, c)[0] for c in ("spend_7d", "tenure_days", "events_7d")] == [1.0, 2, 3]
    assert receipt.purpose == "model_training"
    assert len(frame.columns) == 2 + len(receipt.features)


def test_on_demand_features_are_null_where_an_input_is_masked(lender: Lender) -> None:
    yes, no = lender.agrees(PURPOSE), lender.person()
    lender.publish(
        "spending", [(k, -9, {"income_30d": 200.0, "repayment_to_income_30d": 0.25}) for k in (yes, no)]
    )
    rows = lender.entities((yes, 0), (no, 0), monthly_instalment=[50.0, 50.0])
    result, _ = fetch(
        lender, rows, "loan_affordability:instalment_to_income", "loan_affordability:debt_service_to_income"
    )
    assert values(result, "instalment_to_income") == [0.25, None]
    assert values(result, "debt_service_to_income") == [0.5, None]


def test_projections_with_alias_and_other_join_keys(lender: Lender) -> None:
    """Two people in one row, which is how a composite entity is written here: each one's consent is asked."""
    applicant, partner = lender.agrees(PURPOSE), lender.person()
    lender.publish("spending", [(k, -9, {"spend_7d": v}) for k, v in ((applicant, 1.0), (partner, 2.0))])
    store = lender.stores[PURPOSE]
    view = store.get_feature_view("spending_v1").with_name("applicant")[["spend_7d"]]
    other = (
        store.get_feature_view("spending_v1")
        .with_name("partner")
        .with_join_key_map({"subject_key": "partner_key"})[["spend_7d"]]
    )
    store.apply([FeatureService(name="joint_v1", features=[view, other], tags={"purpose": PURPOSE})])
    rows = lender.entities((applicant, 0), (partner, 0), partner_key=[partner, applicant])
    service = store.get_feature_service("joint_v1")
    result = store.get_historical_features(entity_df=rows, features=service, full_feature_names=True).to_df()
    assert values(result, "applicant__spend_7d") == [1.0, None]
    assert values(result, "partner__spend_7d") == [None, 1.0]
    setup.materialise(lender.home, start=lender.at(-10), end=lender.at(0))
    both = [{"subject_key": a, "partner_key": b} for a, b in ((applicant, partner), (partner, applicant))]
    answer = store.get_online_features(features=service, entity_rows=both, full_feature_names=True).to_dict()
    assert answer["applicant__spend_7d"] == [1.0, None]
    assert answer["partner__spend_7d"] == [None, 1.0]


def test_instants_may_come_as_text_or_in_another_zone_or_unit(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    exact = pd.Series([lender.at(-9)])
    for instants in (
        exact.map(str),
        exact.dt.tz_convert("Asia/Shanghai"),
        exact.dt.tz_convert(None),
        exact.dt.as_unit("us"),
        exact.astype(object),
    ):
        rows = pd.DataFrame({"subject_key": [key], "event_timestamp": instants})
        assert values(fetch(lender, rows)[0], "spend_7d") == [5.0]


def test_an_empty_frame_gives_an_empty_frame(lender: Lender) -> None:
    lender.publish("spending", [])
    result, views = fetch(lender, lender.entities())
    assert list(result.columns) == ["subject_key", "event_timestamp", "spend_7d"]
    assert (len(result), views["spending_v1"].given) == (0, 0)


def test_frames_that_cannot_be_used_are_refused_by_column(lender: Lender) -> None:
    rows = lender.entities(("a" * 32, 0))
    with pytest.raises(BadInput, match="lack the column subject_key"):
        fetch(lender, rows.drop(columns="subject_key"))
    with pytest.raises(ConfigError, match="would be called spend_7d"):
        fetch(lender, rows.assign(spend_7d=1.0))
    with pytest.raises(BadInput, match="column label"):
        fetch(lender, rows.assign(label=[object()]))


def test_a_range_of_time_instead_of_people_is_refused(lender: Lender) -> None:
    """It names nobody, so nobody's consent can be asked about."""
    with pytest.raises(ConfigError, match="names nobody"):
        lender.stores[PURPOSE].get_historical_features(
            start_date=lender.at(-9), end_date=lender.now, features=["spending_v1:spend_7d"]
        )
