"""Our own expectation: every row satisfies one SQL predicate."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import sqlalchemy as sa
from great_expectations.execution_engine import SqlAlchemyExecutionEngine
from great_expectations.expectations.expectation import MulticolumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider import (
    MulticolumnMapMetricProvider,
    multicolumn_condition_partial,
)

_DOMAIN = ("batch_id", "table", "column_list", "row_condition", "condition_parser", "ignore_row_if")


class RowsSatisfySql(MulticolumnMapMetricProvider):
    """The metric behind ``ExpectRowsToSatisfySql``."""

    condition_metric_name = "multicolumn_values.satisfy_sql"
    condition_domain_keys = _DOMAIN
    condition_value_keys = ("predicate",)

    @multicolumn_condition_partial(engine=SqlAlchemyExecutionEngine)
    def _sqlalchemy(cls, column_list: list[Any], predicate: str, **_: Any) -> sa.ColumnElement[bool]:  # noqa: N805
        return sa.literal_column(f"coalesce(({predicate}), true)", sa.Boolean)


class ExpectRowsToSatisfySql(MulticolumnMapExpectation):
    """Every row satisfies a SQL boolean predicate over ``column_list``.

    Unknown (null) counts as satisfied, as in a SQL ``CHECK`` constraint. The predicate is pasted into the
    query, so it must be a constant of the suite.

    Great Expectations' own ``UnexpectedRowsExpectation`` says the same but has no per-row condition to split
    a batch by, and puts whole rows into its result.
    """

    predicate: str
    ignore_row_if: Literal["never"] = "never"
    map_metric: ClassVar[str] = "multicolumn_values.satisfy_sql"
    domain_keys: ClassVar[tuple[str, ...]] = _DOMAIN
    success_keys: ClassVar[tuple[str, ...]] = ("predicate", "mostly")
    args_keys: ClassVar[tuple[str, ...]] = ("column_list", "predicate")
