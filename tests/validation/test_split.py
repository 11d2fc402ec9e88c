"""The split of a table into good and bad rows agrees with itself and with Great Expectations."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.errors import EvidenceError
from tests.validation.samples import GOOD, IDENTITY, NOW, SOURCES, Row, judged, table_of
from validation import gate
from validation.suites import columns_of, suite_for

TEXT = [
    "",
    "x",
    "x" * 300,
    "=1+1",
    "'; drop table batch; --",
    "🤦🏼‍♂️",
    "工资",
    "a\x00b",
    "\ufeff",
    "NaN",
    None,
]

#: Values of each type that are at home nowhere, or at the end of what the type can hold.
STRANGE: dict[pa.DataType, list[Any]] = {
    pa.string(): TEXT,
    pa.int64(): [0, -1, 2**63 - 1, -(2**63), None],
    pa.date32(): [date(1, 1, 1), date(9999, 12, 31), -(2**31), 2**31 - 1, 2**31 - 2, None],
    pa.timestamp("us", tz="UTC"): [
        datetime(1, 1, 1, tzinfo=UTC),
        NOW,
        2**63 - 1,
        2**63 - 2,
        -(2**63),
        -(2**63) + 1,
        None,
    ],
    pa.decimal128(18, 2): [Decimal(0), Decimal("-9999999999999999.99"), Decimal("9999999999999999.99"), None],
}


def changed_rows(source: str) -> st.SearchStrategy[list[Row]]:
    """Up to 25 rows, most of them good, with keys that collide."""
    cells = {
        field.name: st.sampled_from([*STRANGE[field.type], GOOD[source].get(field.name, None)])
        for field in columns_of(source)
    }
    keys = {"subject_key": st.sampled_from(["a" * 32, "b" * 32, None])}
    if source in IDENTITY:
        keys[IDENTITY[source]] = st.sampled_from(["same", "other", None])
    colliding = st.fixed_dictionaries(keys)
    del cells["raw"]
    strange = st.fixed_dictionaries({}, optional=cells)
    return st.lists(st.one_of(st.just({}), colliding, strange), min_size=1, max_size=25)


@pytest.mark.parametrize("source", SOURCES)
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_good_and_bad_rows_are_the_table(source: str, data: st.DataObject) -> None:
    """No row is lost, doubled or moved, and whatever the cells hold, every rule gives an answer.

    That each rule's rows are as many as Great Expectations counted is checked inside, on every table.
    """
    rows = data.draw(changed_rows(source))
    table = table_of(source, [{**row, "raw": str(position)} for position, row in enumerate(rows)])
    verdict = judged(table, source)
    assert verdict.checks_not_run == 0
    good, bad = (list(map(int, part["raw"].to_pylist())) for part in (verdict.good, verdict.bad))
    assert sorted(good + bad) == list(range(len(rows)))
    assert verdict.good.equals(table.take(pa.array(sorted(good), pa.int64())))
    assert verdict.bad.drop_columns("rules").equals(table.take(pa.array(sorted(bad), pa.int64())))
    reasons = verdict.bad["rules"].to_pylist()
    assert all(reasons)
    assert verdict.by_rule == Counter(rule for rules in reasons for rule in rules)


def test_rows_come_in_any_order_of_columns_and_chunks() -> None:
    """Columns keep their order and rows theirs, however the table is put together."""
    rows = [{"amount": Decimal(n % 3), "raw": str(n)} for n in range(30)]
    table = table_of("spending", rows)
    shuffled = pa.concat_tables([table.slice(0, 7), table.slice(7, 1), table.slice(8)])
    shuffled = shuffled.select(table.column_names[::-1])
    verdict = judged(shuffled, "spending")
    assert verdict.good.column_names == shuffled.column_names
    assert verdict.bad.column_names == [*shuffled.column_names, "rules"]
    assert verdict.bad["raw"].to_pylist() == [str(n) for n in range(0, 30, 3)]
    assert verdict.bad.schema.field("rules").type == pa.list_(pa.string())


def test_great_expectations_and_the_split_must_count_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule for some rows only, which the split would apply to all, is found out before a row is let go."""
    from great_expectations.expectations.row_conditions import Column

    from validation.quiet import gx

    def conditional(source: str, *, currency: str, now: datetime) -> Any:
        suite = suite_for(source, currency=currency, now=now)
        suite.expectations[2].row_condition = Column("amount") > 100
        return gx.ExpectationSuite(name=source, expectations=suite.expectations)

    monkeypatch.setattr(gate, "suite_for", conditional)
    with pytest.raises(
        EvidenceError, match="cells_readable: Great Expectations counted 0 rows, the split found 1"
    ):
        judged(table_of("spending", [{"malformed": "amount"}, {"amount": Decimal(500)}]), "spending")
