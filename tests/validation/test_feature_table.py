"""Feature rows are asked by their declarations before they are published; one broken rule refuses the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from consent.errors import DataQuality
from validation.feature_table import FeatureRule, require_fit

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULES = [
    FeatureRule("count", 0, 1e15, nullable=False),
    FeatureRule("share", 0, 1, nullable=True),
    FeatureRule("amount", -1e15, 1e15, nullable=True),
    *(FeatureRule(f"f{i}", 0, 1e15, nullable=False) for i in range(60)),
]
GOOD: dict[str, Any] = {
    "subject_key": "a" * 32,
    "event_timestamp": NOW,
    "count": 3,
    "share": 0.5,
    "amount": -12.5,
    **{f"f{i}": i for i in range(60)},
}


def rows(**changes: Any) -> pa.Table:
    schema = pa.schema(
        [
            ("subject_key", pa.string()),
            ("event_timestamp", pa.timestamp("us", "UTC")),
            ("count", pa.int64()),
            ("share", pa.float64()),
            ("amount", pa.float64()),
            *((f"f{i}", pa.int64()) for i in range(60)),
        ]
    )
    return pa.Table.from_pylist([GOOD, GOOD | {"share": None, "amount": None}, GOOD | changes], schema=schema)


def test_rows_as_declared_are_fit() -> None:
    """Null where null means something; no rows at all are fit too."""
    require_fit(rows(), "t_v1", RULES, now=NOW)
    require_fit(rows().slice(0, 0), "t_v1", RULES, now=NOW)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"count": None}, "count_present"),
        ({"count": -1}, "count_in_range"),
        ({"share": 1.5}, "share_in_range"),
        ({"share": float("nan")}, "share_in_range"),
        ({"amount": float("inf")}, "amount_in_range"),
        ({"amount": -1e300}, "amount_in_range"),
        ({"f59": -75319}, "f59_in_range"),
        ({"f59": None}, "f59_present"),
        ({"subject_key": "CANARY-1380"}, "subject_key_is_pseudonym"),
        ({"subject_key": None}, "subject_key_present"),
        ({"event_timestamp": None}, "event_timestamp_present"),
        ({"event_timestamp": NOW + timedelta(days=2)}, "event_timestamp_not_future"),
    ],
)
def test_one_broken_rule_refuses_the_table(changes: dict[str, Any], rule: str) -> None:
    """Told are the rule and how many rows; no value."""
    with pytest.raises(DataQuality) as caught:
        require_fit(rows(**changes), "t_v1", RULES, now=NOW)
    assert caught.value.message == f"t_v1 was not published: 1 rows break {rule}"
    assert "version before" in caught.value.remedy
    assert not any(value in caught.value.message for value in ("CANARY", "75319", "1.5"))
