"""Drift: nothing where nothing changed, more where more did, and no person's value in what is kept."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pytest

from validation.drift import FEWEST, FeatureDrift, Meter, drift_from_documents, newest_rows
from validation.drift_picture import drift_picture


def column(values: object) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.float64())])


def measured(before: object, *now: object) -> FeatureDrift:
    meter = Meter("f", column(before))
    for part in now:
        meter.add(column(part))
    found = meter.drift()
    assert found is not None
    return found


NORMAL = np.random.default_rng(1).normal(100, 15, 5000)


def test_the_same_people_have_not_drifted() -> None:
    same = measured(NORMAL, NORMAL)
    assert same.psi == 0
    assert (same.verdict, same.before) == ("small", same.now)
    assert sum(same.now) == pytest.approx(1, abs=1e-5)


def test_parts_add_up() -> None:
    """Whatever parts the people come in."""
    shifted = NORMAL + 10
    assert measured(NORMAL, shifted) == measured(NORMAL, shifted[:10], shifted[10:4000], shifted[4000:])


def test_a_greater_shift_is_a_greater_drift() -> None:
    found = [measured(NORMAL, NORMAL + shift).psi for shift in (0, 3, 8, 30)]
    assert found == sorted(found)
    assert found[1] < 0.1 < found[2]
    assert found[3] > 0.25


def test_the_index_is_that_of_the_formula() -> None:
    """Sum of (now - before) * ln(now / before), over bins laid over the version before; nulls are one."""
    before, now = [0.0] * 50 + [1.0] * 50, [0.0] * 20 + [1.0] * 60 + [None] * 20
    found = measured(before, now)
    a, b = [0.5, 50.5, 50.5, 0.5, 0.5], [0.5, 20.5, 60.5, 0.5, 20.5]
    shares = [(x / sum(a), y / sum(b)) for x, y in zip(a, b, strict=True)]
    assert found.psi == pytest.approx(sum((y - x) * math.log(y / x) for x, y in shares), abs=1e-6)
    assert (found.nulls_before, found.nulls_now) == (0, 0.2)
    assert (found.before, found.now) == ((0, 0.5, 0.5, 0, 0), (0, 0.2, 0.6, 0, 0.2))


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ([None] * 30, [1.0] * 30),
        ([1.0] * 30, [None] * 30),
        ([5.0] * 30, [5.0] * 30),
        ([5.0] * 30, [4.0, 5.0, 6.0] * 10),
        ([None] * 30, [None] * 30),
    ],
)
def test_odd_columns_have_a_finite_drift(before: list[float | None], now: list[float | None]) -> None:
    """All null, all alike, values beyond every edge."""
    found = measured(before, now)
    assert math.isfinite(found.psi)
    assert sum(found.now) == pytest.approx(1, abs=1e-5)


def test_values_that_were_all_alike_are_told_from_others() -> None:
    """Also where the version before has only one value."""
    alike = [5.0] * 50
    assert measured(alike, alike).psi == 0
    assert measured(alike, [6.0] * 50).psi > 0.25
    assert measured(alike, [4.0] * 50).psi > 0.25


def test_of_few_people_nothing_is_kept() -> None:
    for before, now in ((FEWEST - 1, 100), (100, FEWEST - 1)):
        meter = Meter("f", column([1.0] * before))
        meter.add(column([1.0] * now))
        assert meter.drift() is None


def test_no_value_of_anybody_is_kept() -> None:
    """Shares only: not the edges of the bins, which are people's values."""
    kept = json.dumps(asdict(measured([7531902.25 + i for i in range(40)], [7531902.25] * 40)))
    assert "7531" not in kept
    (back,) = drift_from_documents([json.loads(kept)])
    assert back.feature == "f"


def test_each_person_counts_once_with_the_newest_row() -> None:
    rows = pa.table({"subject_key": ["a", "a", "b", "c", "c"], "f": [1, 2, 3, 4, 5]})
    assert newest_rows(rows)["f"].to_pylist() == [2, 3, 5]
    assert newest_rows(rows.slice(0, 0)).num_rows == 0


def test_the_picture_refers_to_nothing_outside_it() -> None:
    """A picture of shares: the same bytes each time, no script and no address."""
    drifts = [measured(NORMAL, NORMAL + i) for i in range(6)]
    svg = drift_picture("spending_v1", drifts)
    assert svg == drift_picture("spending_v1", drifts)
    text = svg.decode()
    assert text.startswith("<svg")
    assert "<script" not in text
    assert not re.findall(r"""(?:href|src)\s*=\s*["'](?!#)|url\((?!#)|@import""", text)
    assert drift_picture("spending_v1", drifts, form="png").startswith(b"\x89PNG")
