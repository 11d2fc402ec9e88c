"""The formulas about the loan asked for: true to their definitions, and null instead of nonsense."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingestion.loan_terms import debt_service_to_income, effective_annual_rate, instalment_to_income

money = st.floats(1, 1e7)
numbers = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from(
        [None, 0, -0.0, -1, 1.5, 10**400, "12", b"1", True, Decimal("NaN"), [], 5e-324, 1e308, 1200, 1201]
    ),
)


def rate(amount: Any, fees: Any, instalment: Any, instalments: Any) -> float | None:
    """One loan's rate; None for null."""
    (found,) = effective_annual_rate([amount], [fees], [instalment], [instalments])
    return None if math.isnan(found) else float(found)


@pytest.mark.parametrize(
    ("loan", "expected"),
    [
        ((1000, 0, 1000, 1), 0.0),
        ((1000, 0, 1010, 1), 1.01**12 - 1),
        ((1200, 0, 100, 12), 0.0),
        # 6,000 for 24 months at 12 % a year nominal: 282.44 a month, 12.68 % effective.
        ((6000, 0, 282.4408333594, 24), 1.01**12 - 1),
        # A fee of a fifth, taken up front: 100 paid back for 80.
        ((100, 20, 100, 1), 1.25**12 - 1),
        ((100, 0, 50, 1), 0.5**12 - 1),
    ],
)
def test_rates_worked_out_by_hand(loan: tuple[float, float, float, int], expected: float) -> None:
    assert rate(*loan) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(amount=money, share=st.floats(0, 0.9), markup=st.floats(0.6, 5), n=st.integers(1, 360))
def test_at_the_rate_the_instalments_are_worth_what_was_paid_out(
    amount: float, share: float, markup: float, n: int
) -> None:
    fees, instalment = amount * share, amount * markup / n
    found = rate(amount, fees, instalment, n)
    assert found is not None
    worth = math.fsum(instalment / (1 + found) ** (k / 12) for k in range(1, n + 1))
    assert worth == pytest.approx(amount - fees, rel=1e-7)


@given(amount=money, more=st.floats(1.001, 2), n=st.integers(1, 60))
def test_fees_and_dearer_instalments_raise_the_rate(amount: float, more: float, n: int) -> None:
    instalment = amount / n
    plain, dearer = rate(amount, 0, instalment, n), rate(amount, 0, instalment * more, n)
    with_fees = rate(amount, amount * (1 - 1 / more), instalment, n)
    assert plain == pytest.approx(0, abs=1e-9)
    assert dearer is not None
    assert dearer > 1e-6
    assert dearer == pytest.approx(with_fees, rel=1e-6)


@given(st.tuples(numbers, numbers, numbers, numbers))
def test_whatever_comes_in_a_rate_is_finite_or_null(loan: tuple[Any, Any, Any, Any]) -> None:
    found = rate(*loan)
    assert found is None or math.isfinite(found)


@pytest.mark.parametrize(
    "loan",
    [
        (0, 0, 10, 12),
        (100, 100, 10, 12),
        (100, 101, 10, 12),
        (100, -1, 10, 12),
        (100, 0, 0, 12),
        (100, 0, -10, 12),
        (100, 0, 10, 0),
        (100, 0, 10, 1.5),
        (100, 0, 10, 1201),
        (None, 0, 10, 12),
        (100, None, 10, 12),
        (100, 0, "10", 12),
        (math.inf, 0, 10, 12),
        (1e300, 0, 1e-300, 12),
        (1e-300, 0, 1e300, 12),
    ],
)
def test_terms_that_make_no_sense_have_no_rate(loan: tuple[Any, Any, Any, Any]) -> None:
    assert rate(*loan) is None


def test_ratios_to_income() -> None:
    income = [200.0, 0.0, -1.0, None, 5e-324, 200.0]
    instalment = [50.0, 50.0, 50.0, 50.0, 1e308, None]
    ratio = instalment_to_income(instalment, income)
    assert ratio[0] == 0.25
    assert np.isnan(ratio[1:]).all()
    service = debt_service_to_income([50.0] * 4, [200.0] * 4, [0.25, None, -0.1, math.inf])
    assert service[0] == 0.5
    assert np.isnan(service[1:]).all()


@given(st.tuples(numbers, numbers, numbers))
def test_whatever_comes_in_a_ratio_is_finite_or_null(values: tuple[Any, Any, Any]) -> None:
    (found,) = debt_service_to_income(*([value] for value in values))
    assert math.isfinite(found) or math.isnan(found)


def test_many_loans_at_once_are_as_one_by_one() -> None:
    loans = [(1000, 50, 100 + i, 12) for i in range(50)]
    together = effective_annual_rate(*(list(column) for column in zip(*loans, strict=True)))
    assert together.tolist() == [rate(*loan) for loan in loans]
