"""What Feast knows: the subject, one view per published definition, and the services that models ask for.

The one file here that ``feast apply`` scans. It takes whatever is bound to a name at the top level, so the views,
one per definition of ``ingestion.sources``, are bound in a loop. A service's ``purpose`` tag decides which
configuration answers for it.
"""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, PushSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

from feature_repo.stores.source import DEPRECATED, SUBJECT_KEY, ConsentSource
from ingestion.source import Feature, Source
from ingestion.sources import definitions

#: How old a row may be and still describe the subject. Spells of work are reported seldom, purchases daily.
TTL = {"employment": timedelta(days=400)}
DEFAULT_TTL = timedelta(days=120)
DTYPES = {"int64": Int64, "float64": Float64}

subject = Entity(
    name="subject",
    join_keys=[SUBJECT_KEY],
    value_type=ValueType.STRING,
    description="A person, as a pseudonym of 32 hex digits. 32 zeros stand for a person nobody knows.",
)


def _field(feature: Feature) -> Field:
    return Field(
        name=feature.name,
        dtype=DTYPES[feature.dtype],
        description=f"{feature.meaning} Null: {feature.null_means}, or not consented.",
        tags={"unit": feature.unit, "window": feature.window, "regulation": feature.regulation},
    )


def _view(source: Source) -> FeatureView:
    table = ConsentSource(source=source.name, table=source.definition, description=source.doc)
    return FeatureView(
        name=source.definition,
        entities=[subject],
        ttl=TTL.get(source.name, DEFAULT_TTL),
        schema=[Field(name=SUBJECT_KEY, dtype=String), *(_field(f) for f in source.features)],
        source=PushSource(name=f"{source.definition}_push", batch_source=table),
        description=source.doc,
        tags={"source": source.name, **({DEPRECATED: source.deprecated} if source.deprecated else {})},
    )


_views = {source.definition: _view(source) for source in definitions()}
globals().update(_views)

loan_request = RequestSource(
    name="loan_request",
    schema=[Field(name="monthly_instalment", dtype=Float64)],
    description="The loan applied for: its monthly instalment, in currency units.",
)
loan_offer = RequestSource(
    name="loan_offer",
    schema=[
        Field(name="loan_amount", dtype=Float64),
        Field(name="upfront_fees", dtype=Float64),
        Field(name="monthly_instalment", dtype=Float64),
        Field(name="instalments", dtype=Int64),
    ],
    description="The loan offered: its amount and the fees taken off before it is paid out, its monthly instalment,"
    " in currency units, and how many of these there are.",
)


# Feast compares the schemas of on-demand views with what it infers, so their fields carry no descriptions. It keeps
# their source text and runs it where nothing of this file is known, so they import what they need.
@on_demand_feature_view(
    sources=[
        _views["spending_v1"][
            ["income_30d", "repayment_to_income_30d", "inflow_90d", "repayment_to_inflow_90d"]
        ],
        loan_request,
    ],
    schema=[
        Field(name="instalment_to_income", dtype=Float64),
        Field(name="debt_service_to_income", dtype=Float64),
        Field(name="debt_service_to_inflow", dtype=Float64),
    ],
    mode="pandas",
    description="Does the loan applied for fit the income? instalment_to_income: instalment over salary of 30 days;"
    " debt_service_to_income: instalment and loan repayments over it; debt_service_to_inflow: the same over a third"
    " of the inflow of 90 days, where salaries are not tagged. Null: no income, or not consented.",
)
def loan_affordability(inputs: pd.DataFrame) -> pd.DataFrame:
    """Null where an input is null: what was not consented to stays unknown."""
    from ingestion.loan_terms import debt_service_to_income, instalment_to_income

    instalment, income = inputs["monthly_instalment"], inputs["income_30d"]
    inflow = inputs["inflow_90d"].astype("float64") / 3
    return pd.DataFrame(
        {
            "instalment_to_income": instalment_to_income(instalment, income),
            "debt_service_to_income": debt_service_to_income(
                instalment, income, inputs["repayment_to_income_30d"]
            ),
            "debt_service_to_inflow": debt_service_to_income(
                instalment, inflow, inputs["repayment_to_inflow_90d"]
            ),
        },
        index=inputs.index,
    )


@on_demand_feature_view(
    sources=[loan_offer],
    schema=[Field(name="effective_annual_rate", dtype=Float64)],
    mode="pandas",
    description="What does the loan cost? The yearly rate at which its instalments are worth what is paid out, fees"
    " deducted: 0.2 is 20 %. Null: the terms make no sense. Not about a person.",
)
def loan_cost(inputs: pd.DataFrame) -> pd.DataFrame:
    """See `ingestion.loan_terms`."""
    from ingestion.loan_terms import effective_annual_rate

    terms = (inputs[f] for f in ("loan_amount", "upfront_fees", "monthly_instalment", "instalments"))
    return pd.DataFrame({"effective_annual_rate": effective_annual_rate(*terms)}, index=inputs.index)


_scorecard = [_views["spending_v1"], _views["employment_v1"], _views["app_usage_v1"]]

scorecard_v1 = FeatureService(
    name="scorecard_v1",
    features=_scorecard,
    tags={"purpose": "credit_scoring"},
    description="What the first scorecard reads to decide on an application.",
)
scorecard_training_v1 = FeatureService(
    name="scorecard_training_v1",
    features=_scorecard,
    tags={"purpose": "model_training"},
    description="The same features, to train the first scorecard on people who agreed to that.",
)
affordability_v1 = FeatureService(
    name="affordability_v1",
    features=[loan_affordability],
    tags={"purpose": "credit_scoring"},
    description="Whether the loan applied for fits the income; the request names its instalment.",
)
loan_offer_v1 = FeatureService(
    name="loan_offer_v1",
    features=[loan_affordability, loan_cost],
    tags={"purpose": "credit_scoring"},
    description="The same, and what the loan costs; the request names its amount, fees, instalment and their number.",
)
fraud_screen_v1 = FeatureService(
    name="fraud_screen_v1",
    features=[
        _views["app_usage_v1"],
        _views["spending_v1"][["txn_count_30d", "max_day_spend_30d", "new_loans_90d", "days_since_last_txn"]],
    ],
    tags={"purpose": "fraud_detection"},
    description="Signs of a stolen identity, a revived account or loans taken everywhere at once.",
)
