"""Runs one suite over one table, and finds which rows break which rule.

Great Expectations judges and counts, but on SQL names no more than twenty failing rows per rule. So each
rule on rows is asked for its own condition, the one Great Expectations counts by, and one query over all
conditions gives every failing row the set of rules it breaks. Both sides must count the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)
from great_expectations.expectations.expectation import ColumnMapExpectation, MulticolumnMapExpectation
from great_expectations.expectations.registry import get_metric_kwargs
from great_expectations.validator.metric_configuration import MetricConfiguration
from great_expectations.validator.metrics_calculator import MetricsCalculator

from consent.errors import DataQuality, EvidenceError
from validation import duckdb_backend
from validation.quiet import gx

Ints = npt.NDArray[np.int64]

#: Counts, and no cell: the default formats hold samples of failing values.
_NO_VALUES = {"result_format": "BASIC", "partial_unexpected_count": 0, "exclude_unexpected_values": True}

_ROW_RULES = (ColumnMapExpectation, MulticolumnMapExpectation)

#: The table as Great Expectations sees it, and with each row's position beside it.
_BATCH, _NUMBERED, _POSITION = "batch", "numbered", "__position"


@dataclass(frozen=True)
class Findings:
    """What a suite found in a table.

    Attributes:
        critical: names of the rules whose breaking makes a row unfit; the others only warn.
        table_failures: names of the rules on the table as a whole that failed, or raised, whatever their severity.
        table_warnings: of those that failed and only warn.
        not_run: number of rules that raised instead of answering; if there are any, no row is judged.
        counts: failing rows by rule, zeros included; rule ``i`` of this order is bit ``i`` of ``broken``.
        broken: int64, one per row of the table; the set of rules the row breaks, as bits.
    """

    critical: frozenset[str]
    table_failures: tuple[str, ...]
    not_run: int
    counts: dict[str, int]
    broken: Ints
    table_warnings: tuple[str, ...] = ()


def evaluate(table: pa.Table, suite: gx.ExpectationSuite) -> Findings:
    """Run a suite over a table of at least one row.

    Raises:
        DataQuality: a rule has no condition to find its rows by.
        EvidenceError: the rows found differ in number from what Great Expectations counted.
        Exception: whatever Great Expectations or DuckDB raise; it may quote cells, so do not let it out.
    """
    critical = frozenset(rule_name(rule) for rule in suite.expectations if rule.severity == "critical")
    row_rules = {rule_name(rule): rule for rule in suite.expectations if _is_of_rows(rule)}
    with duckdb_backend.connection() as con, _batch(con, table) as (context, definition):
        results = _run(context, definition, suite)
        failed, warned = _table_failures(results, row_rules.keys(), critical)
        if not_run := sum(_raised(result) for result in results.values()):
            return Findings(critical, failed, not_run, {}, np.zeros(table.num_rows, np.int64))
        batch = definition.get_batch()
        conditions = _conditions(batch, list(row_rules.values()))
        broken = np.zeros(table.num_rows, np.int64)
        positions, bits = _broken_rules(con, batch.data.execution_engine.dialect, conditions)
        broken[positions] = bits
    counts = {rule: results[rule].result["unexpected_count"] for rule in row_rules}
    _require_same_counts(counts, broken)
    return Findings(critical, failed, 0, counts, broken, warned)


def _table_failures(
    results: dict[str, Any], row_rules: Collection[str], critical: frozenset[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Rules on the table that failed: those that count, and those that only warn. One that raised counts."""
    failed = [rule for rule, r in results.items() if rule not in row_rules and not r.success]
    counts = [rule in critical or _raised(results[rule]) for rule in failed]
    return (
        tuple(rule for rule, hard in zip(failed, counts, strict=True) if hard),
        tuple(rule for rule, hard in zip(failed, counts, strict=True) if not hard),
    )


def _is_of_rows(rule: Any) -> bool:
    """Whether a row can break it; a rule that a share of the rows has to meet is of the table."""
    return isinstance(rule, _ROW_RULES) and rule.mostly == 1


def rule_name(rule: Any) -> str:
    """The name an expectation goes by in every report."""
    name: str = rule.meta["rule"]
    return name


@contextmanager
def _batch(con: duckdb.DuckDBPyConnection, table: pa.Table) -> Iterator[tuple[Any, Any]]:
    """A context of Great Expectations that knows one table, and the definition of that batch.

    Fresh for each batch: a context keeps every result it ever made.
    """
    con.register(_BATCH, table)
    con.register(_NUMBERED, table.append_column(_POSITION, pa.array(np.arange(table.num_rows))))
    with duckdb_backend.connection_string(con) as url:
        context = gx.get_context(mode="ephemeral", project_config=_in_memory())
        source = context.data_sources.add_duckdb(name="duckdb", connection_string=url)
        asset = source.add_table_asset(_BATCH, table_name=_BATCH)
        yield context, asset.add_batch_definition_whole_table("all")


def _in_memory() -> DataContextConfig:
    """Nothing on disk, not even the temporary folder for a web site of results; no progress bars."""
    return DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False, metric_calculations=False),
    )


def _run(context: Any, definition: Any, suite: gx.ExpectationSuite) -> dict[str, Any]:
    """Great Expectations' own results, by rule name. They come in an order of their own."""
    names = {rule.id: rule_name(rule) for rule in context.suites.add(suite).expectations}
    validation = gx.ValidationDefinition(name="check", data=definition, suite=suite)
    outcome = context.validation_definitions.add(validation).run(result_format=_NO_VALUES)
    return {names[result.expectation_config.id]: result for result in outcome.results}


def _raised(result: Any) -> bool:
    """Whether a rule raised: its ``exception_info`` is then keyed by metric instead of plain."""
    return bool(result.exception_info.get("raised_exception", True))


def _conditions(batch: Any, rules: list[Any]) -> list[sa.ColumnElement[bool]]:
    """For each rule the condition "this row breaks it", made by Great Expectations itself."""
    engine = batch.data.execution_engine
    engine.batch_manager.load_batch_list(batch_list=[batch])
    metrics = [_condition_metric(rule, batch.id) for rule in rules]
    resolved, failed = MetricsCalculator(execution_engine=engine).compute_metrics(metrics)
    if failed:
        raise DataQuality(f"{len(failed)} rules have no condition to find rows by")
    return [
        _duplicated(rule) if "unique" in rule.map_metric else resolved[metric.id][0]
        for rule, metric in zip(rules, metrics, strict=True)
    ]


def _condition_metric(rule: Any, batch_id: str) -> MetricConfiguration:
    arguments = get_metric_kwargs(f"{rule.map_metric}.unexpected_count", configuration=rule.configuration)
    return MetricConfiguration(
        f"{rule.map_metric}.condition",
        metric_domain_kwargs={**arguments["metric_domain_kwargs"], "batch_id": batch_id},
        metric_value_kwargs=dict(arguments["metric_value_kwargs"]),
    )


def _duplicated(rule: Any) -> sa.ColumnElement[bool]:
    """The row's key occurs more than once.

    Great Expectations' condition for it only holds inside a query of its own, so this one is ours.
    """
    kwargs = rule.configuration.kwargs
    key: list[sa.ColumnClause[Any]] = [
        sa.column(name) for name in kwargs.get("column_list", [kwargs.get("column")])
    ]
    repeated = sa.select(*key).select_from(sa.table(_NUMBERED)).group_by(*key).having(sa.func.count() > 1)
    return sa.tuple_(*key).in_(repeated)


def _broken_rules(
    con: duckdb.DuckDBPyConnection, dialect: sa.Dialect, conditions: list[sa.ColumnElement[bool]]
) -> tuple[Ints, Ints]:
    """Positions of the rows that break any rule, in any order, and the rules each breaks, as bits.

    A bigint has room for 63 rules.
    """
    bits: sa.ColumnElement[int] = sa.literal_column("0::bigint", sa.BigInteger)
    for i, condition in enumerate(conditions):
        bits = bits.bitwise_or(sa.case((condition, sa.literal_column(f"{1 << i}::bigint")), else_=0))
    rows = sa.select(sa.column(_POSITION), bits.label("broken")).select_from(sa.table(_NUMBERED)).subquery()
    query = sa.select(rows).where(rows.c.broken != 0)
    sql = query.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    found = con.execute(str(sql), [sql.params[name] for name in sql.positiontup or ()]).fetchnumpy()
    return np.asarray(found[_POSITION], np.int64), np.asarray(found["broken"], np.int64)


def _require_same_counts(counted: dict[str, int], broken: Ints) -> None:
    for i, (rule, count) in enumerate(counted.items()):
        if (found := int(np.count_nonzero(broken & (1 << i)))) != count:
            raise EvidenceError(
                f"rule {rule}: Great Expectations counted {count} rows, the split found {found}"
            )
