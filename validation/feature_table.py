"""Are these feature rows fit to be published? Rules from the features' own declarations.

One sweep over the columns says whether any rule is broken at all, in a tenth of the time and without loading Great
Expectations. Where it finds something, Great Expectations says which rules, and in how many rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from consent.errors import DataQuality, EvidenceError
from validation.gate import without_values

#: More rules than this are asked in turns: an evaluation has room for 63.
_AT_A_TIME = 25
_PSEUDONYM = "^[0-9a-f]{32}$"
_GRACE = timedelta(days=1)


@dataclass(frozen=True)
class FeatureRule:
    """What a feature's values must be.

    Attributes:
        least, most: bounds; also no value may be infinite, or not a number.
        nullable: whether null means something.
    """

    name: str
    least: float
    most: float
    nullable: bool


def require_fit(rows: pa.Table, definition: str, rules: Sequence[FeatureRule], *, now: datetime) -> None:
    """Refuse feature rows that break a rule.

    Args:
        rows: subject_key, event_timestamp and the features; unique and sorted by the first two.
        definition: its name, for the error.

    Raises:
        DataQuality: with the rules and how many rows break each; no value.
        EvidenceError: the sweep found something that Great Expectations does not.
    """
    if not rows.num_rows or without_values(lambda: _sweep(rows, rules, now)):
        return
    broken = without_values(lambda: dict(_broken(rows, rules, now)))
    if not broken:
        raise EvidenceError(
            f"{definition}: the sweep and Great Expectations do not agree", remedy="Please report it."
        )
    listed = ", ".join(f"{count} rows break {rule}" for rule, count in sorted(broken.items()))
    raise DataQuality(
        f"{definition} was not published: {listed}",
        remedy="The definition's maths or its records are wrong. The version before stays in use.",
    )


def _sweep(rows: pa.Table, rules: Sequence[FeatureRule], now: datetime) -> bool:
    """Whether every row meets every rule."""
    keys, instants = rows["subject_key"], rows["event_timestamp"]
    pseudonyms = pc.all(pc.match_substring_regex(keys, _PSEUDONYM), skip_nulls=False).as_py()
    latest = pa.scalar(now + _GRACE, instants.type)
    dated = pc.all(pc.less_equal(instants, latest), skip_nulls=False).as_py()
    return bool(pseudonyms and dated) and all(_meets(rows[rule.name], rule) for rule in rules)


def _meets(values: pa.ChunkedArray, rule: FeatureRule) -> bool:
    if values.null_count and not rule.nullable:
        return False
    # Comparing, not asking for the least and greatest: these pass over what is not a number.
    within = pc.and_(pc.greater_equal(values, rule.least), pc.less_equal(values, rule.most))
    return bool(pc.all(within, min_count=0).as_py())


def _broken(rows: pa.Table, rules: Sequence[FeatureRule], now: datetime) -> Iterator[tuple[str, int]]:
    from validation.evaluation import evaluate  # here, because it imports Great Expectations
    from validation.quiet import gx
    from validation.rules import between, matching, present

    own = [
        present("subject_key"),
        matching("subject_key_is_pseudonym", "subject_key", _PSEUDONYM),
        present("event_timestamp"),
        between("event_timestamp_not_future", "event_timestamp", max_value=now + _GRACE),
    ]
    for lo in range(0, max(1, len(rules)), _AT_A_TIME):
        some = rules[lo : lo + _AT_A_TIME]
        asked = [] if lo else own
        asked += [present(rule.name) for rule in some if not rule.nullable]
        asked += [
            between(f"{rule.name}_in_range", rule.name, min_value=rule.least, max_value=rule.most)
            for rule in some
        ]
        findings = evaluate(rows, gx.ExpectationSuite(name="features", expectations=asked))
        if findings.not_run:
            yield "rules that could not be run", findings.not_run
        yield from ((rule, count) for rule, count in findings.counts.items() if count)
