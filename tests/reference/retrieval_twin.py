"""The slow, obviously right way to answer a historical fetch of one view: look at every row, ask about every row.

Rows that consent does not cover are left out *before* the latest is looked for, as the rule says; the store masks
afterwards and must come to the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from consent.decide import decide
from consent.nouns import Decision, Facts

#: Subject, event time, value.
FeatureRow = tuple[str, datetime, Any]

GIVEN, NO_DATA = "given", "no data"


def retrieve(
    facts: Mapping[str, Facts],
    feature_rows: Sequence[FeatureRow],
    entity_rows: Sequence[tuple[str | None, datetime | None]],
    *,
    source: str,
    purpose: str,
    ttl: timedelta,
    now: datetime,
) -> list[tuple[Any, str]]:
    """Value and outcome (given, no data, or the reason) of each entity row."""

    def answer(key: str | None, at: datetime | None) -> tuple[Any, str]:
        if key is None or at is None:
            return None, "UNKNOWN"
        mine = facts.get(key, Facts())

        def ask(data_at: datetime | None) -> list[Decision]:
            asked: Any = {"data_at": data_at, "derived": True}
            return [decide(mine, source, purpose, as_of=as_of, **asked) for as_of in (now, at)]

        seen = [(t, value) for owner, t, value in feature_rows if owner == key and at - ttl <= t <= at]
        usable = [(t, value) for t, value in seen if all(decision.allowed for decision in ask(t))]
        if usable:
            return max(usable, key=lambda row: row[0])[1], GIVEN
        newest = max((t for t, _ in seen), default=None)
        reasons = [decision.reason.value for decision in ask(newest) if decision.reason is not None]
        return None, reasons[0] if reasons else NO_DATA

    return [answer(key, at) for key, at in entity_rows]
