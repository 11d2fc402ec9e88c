"""What a loan asked for costs, and whether it fits the income: formulas over columns, null (NaN) for no answer.

Nothing here raises on a value and nothing is ever infinite: what makes no sense, or cannot be known, is null. Money
is in currency units, instalments are equal and monthly, the first one month after the money is paid out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

MONTHS = 12
#: A hundred years of instalments.
MOST_INSTALMENTS = 1_200
#: Logarithms of 1 + the monthly rate between which a rate is looked for: far beyond any loan, and still finite.
_LOWEST, _HIGHEST = -20.0, 20.0
_HALVINGS = 70


def instalment_to_income(instalment: Iterable[Any], monthly_income: Iterable[Any]) -> Floats:
    """Instalment over the income of a month; null unless the income is above zero and the instalment not below."""
    paid, income = _numbers(instalment), _numbers(monthly_income)
    with np.errstate(over="ignore"):
        return _finite(np.where(paid >= 0, paid, np.nan) / np.where(income > 0, income, np.nan))


def debt_service_to_income(
    instalment: Iterable[Any], monthly_income: Iterable[Any], repaid_to_income: Iterable[Any]
) -> Floats:
    """The instalment and what is repaid on loans already, over income; null where either is."""
    repaid = _numbers(repaid_to_income)
    return _finite(instalment_to_income(instalment, monthly_income) + np.where(repaid >= 0, repaid, np.nan))


def effective_annual_rate(
    amount: Iterable[Any], upfront_fees: Iterable[Any], instalment: Iterable[Any], instalments: Iterable[Any]
) -> Floats:
    """The yearly rate at which the instalments are worth what is paid out, fees deducted up front.

    The rate r with ``amount - fees = sum(instalment / (1 + r) ** (k / 12) for k in 1..instalments)``.

    Source: Directive (EU) 2023/2225, Annex III, the basic equation of the annual percentage rate, for one drawdown
    and equal months.

    Returns:
        0.2 for 20 %, below zero where less is paid back than is paid out; null unless the amount and the instalment
        are above zero, the fees are less than the amount, and the instalments a whole number up to 1,200.
    """
    count = _numbers(instalments)
    count = np.where((count >= 1) & (count <= MOST_INSTALMENTS) & (count == np.floor(count)), count, np.nan)
    fees = _numbers(upfront_fees)
    paid_out = _numbers(amount) - np.where(fees >= 0, fees, np.nan)
    paid = _numbers(instalment)
    with np.errstate(all="ignore"):
        wanted = np.where(paid_out > 0, paid_out, np.nan) / np.where(paid > 0, paid, np.nan)
        return _finite(np.expm1(MONTHS * _log_rate(wanted, count)))


def _log_rate(wanted: Floats, count: Floats) -> Floats:
    """The u at which `count` instalments of one, a month apart, are worth `wanted`; null outside the bounds.

    By halving: the worth falls as u grows, so it cannot miss.
    """
    wanted, count = np.broadcast_arrays(wanted, count)
    low, high = np.full(wanted.shape, _LOWEST), np.full(wanted.shape, _HIGHEST)
    bracketed = (_worth(low, count) >= wanted) & (_worth(high, count) <= wanted)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_much = _worth(middle, count) > wanted
        low, high = np.where(too_much, middle, low), np.where(too_much, high, middle)
    return np.where(bracketed, (low + high) / 2, np.nan)


def _worth(u: Floats, count: Floats) -> Floats:
    """Present value of `count` instalments of one at the monthly rate exp(u) - 1."""
    with np.errstate(all="ignore"):
        return np.where(u == 0, count, -np.expm1(-u * count) / np.expm1(u))


def _numbers(values: Iterable[Any]) -> Floats:
    """As float64; null for what is no finite number."""
    return _finite(np.array([_number(value) for value in values], dtype=np.float64))


def _number(value: Any) -> float:
    if isinstance(value, bool | str | bytes):
        return np.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def _finite(numbers: Floats) -> Floats:
    return np.where(np.isfinite(numbers), numbers, np.nan)
