"""Is this table fit for its purpose? One table in, one verdict out.

The verdict is values: nothing is read or written here, and nothing that leaves holds a cell, apart from the
two tables of rows themselves. Great Expectations is imported by the call, not by importing this module.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import pyarrow as pa

from consent.errors import AssentError, ConfigError, DataQuality
from validation.suites import HASHED_AS_OF, columns_of, suite_for, suite_hash

if TYPE_CHECKING:
    from validation.evaluation import Findings, Ints

T = TypeVar("T")


@dataclass(frozen=True)
class Verdict:
    """What became of a table.

    Attributes:
        outcome: ``accept``: every row is good; ``quarantine``: the good rows may go on, the bad ones may not;
            ``reject``: no row may.
        rows: rows handed in.
        quarantined: rows that break a critical rule.
        by_rule: rows that break each critical rule; a row may break several. Only rules that were broken.
        warnings: the same for rules that only warn.
        table_failures: failed rules on the table as a whole.
        table_warnings: of those that only warn.
        checks_not_run: rules that gave no answer.
        suite_hash: names the exact rules, whatever the moment of checking.
        good: the rows fit for use, with all columns and in the order they came; none if rejected.
        bad: the rows that break a critical rule, likewise, and the names of those rules in ``rules``:
            list<string>. Not filled when the rules could not be run.
    """

    outcome: Literal["accept", "quarantine", "reject"]
    rows: int
    quarantined: int
    by_rule: dict[str, int]
    warnings: dict[str, int]
    table_failures: tuple[str, ...]
    checks_not_run: int
    suite_hash: str
    good: pa.Table = field(repr=False)
    bad: pa.Table = field(repr=False)
    table_warnings: tuple[str, ...] = ()


def check(
    table: pa.Table, source: str, *, currency: str, now: datetime, reject_above: float = 0.05
) -> Verdict:
    """Check one table of a source.

    A table whose columns or types are not the source's is rejected unread. An empty table is accepted
    without running a rule: every rule on rows is true of it, and whether nothing is too little is for the
    caller to judge.

    Args:
        table: one row per event, with the columns of ``columns_of(source)`` in any order.
        currency: ISO 4217 code of the home's currency.
        now: the moment of checking, aware; rows dated more than a day after it are bad.
        reject_above: the share of bad rows, 0 to 1, above which the whole table is rejected.

    Raises:
        ConfigError: no such source, or the currency, moment or share make no sense.
        DataQuality: the check itself failed; the message names the kind of failure, never the text.
        EvidenceError: the rows found are not as many as Great Expectations counted.
    """
    _require_sensible(currency, now, reject_above)
    return without_values(lambda: _check(table, source, currency, now, reject_above))


def report(verdict: Verdict) -> dict[str, Any]:
    """The verdict as JSON-able names and counts, without a single cell."""
    return {
        "outcome": verdict.outcome,
        "rows": verdict.rows,
        "quarantined": verdict.quarantined,
        "by_rule": dict(verdict.by_rule),
        "warnings": dict(verdict.warnings),
        "table_failures": list(verdict.table_failures),
        "table_warnings": list(verdict.table_warnings),
        "checks_not_run": verdict.checks_not_run,
        "suite_hash": verdict.suite_hash,
    }


def _require_sensible(currency: str, now: datetime, reject_above: float) -> None:
    # The currency becomes part of a predicate.
    if not re.fullmatch("[A-Z]{3}", currency):
        raise ConfigError(
            "currency is not three capital letters", remedy="Give an ISO 4217 code such as EUR."
        )
    if now.tzinfo is None:
        raise ConfigError("now has no time zone", remedy="Give an aware instant.")
    if not 0 <= reject_above <= 1:
        raise ConfigError("reject_above is not a share", remedy="Give a number from 0 to 1.")


def without_values(work: Callable[[], T]) -> T:
    """Do the work; an error that is not ours comes out as the name of its kind alone.

    Errors of DuckDB and Great Expectations quote cells. Raising after the ``except`` block, not inside it,
    keeps them out of ``__context__`` too, which loggers and crash reporters follow.
    """
    try:
        return work()
    except AssentError:
        raise
    except Exception as error:
        kind = type(error).__name__
    raise DataQuality(
        f"the check did not finish: {kind}", remedy="Nothing was accepted. Check the batch again."
    )


def _check(table: pa.Table, source: str, currency: str, now: datetime, reject_above: float) -> Verdict:
    suite = suite_for(source, currency=currency, now=now)
    digest = suite_hash(suite_for(source, currency=currency, now=HASHED_AS_OF))
    if not _same_columns(table.schema, columns_of(source)):
        # No column name in the verdict: the first row of a file without a header is data.
        return _unread(table, digest, "reject", ("columns_match",), len(suite.expectations) - 1)
    if table.num_rows == 0:
        return _unread(table, digest, "accept", (), 0)
    from validation.evaluation import evaluate  # here, because it imports Great Expectations

    return _verdict(table, evaluate(table, suite), digest, reject_above)


def _same_columns(found: pa.Schema, wanted: pa.Schema) -> bool:
    return sorted((f.name, str(f.type)) for f in found) == sorted((f.name, str(f.type)) for f in wanted)


def _unread(
    table: pa.Table,
    digest: str,
    outcome: Literal["accept", "reject"],
    table_failures: tuple[str, ...],
    not_run: int,
) -> Verdict:
    none = table.schema.empty_table()
    bad = none.append_column("rules", _rule_lists(np.empty(0, np.int64), []))
    return Verdict(outcome, table.num_rows, 0, {}, {}, table_failures, not_run, digest, none, bad)


def _verdict(table: pa.Table, findings: Findings, digest: str, reject_above: float) -> Verdict:
    rules = list(findings.counts)
    critical = sum(1 << i for i, rule in enumerate(rules) if rule in findings.critical)
    broken = findings.broken & critical
    is_bad = broken != 0
    bad = table.filter(pa.array(is_bad)).append_column("rules", _rule_lists(broken[is_bad], rules))
    # The quotient is rounded as the share was when it was written down; the product would not be.
    too_many = bad.num_rows / table.num_rows > reject_above
    rejected = too_many or findings.not_run > 0 or len(findings.table_failures) > 0
    failing = {rule: count for rule, count in findings.counts.items() if count}
    return Verdict(
        outcome="reject" if rejected else "quarantine" if bad.num_rows else "accept",
        rows=table.num_rows,
        quarantined=bad.num_rows,
        by_rule={rule: count for rule, count in failing.items() if rule in findings.critical},
        warnings={rule: count for rule, count in failing.items() if rule not in findings.critical},
        table_failures=findings.table_failures,
        checks_not_run=findings.not_run,
        suite_hash=digest,
        good=table.schema.empty_table() if rejected else table.filter(pa.array(~is_bad)),
        bad=bad,
        table_warnings=findings.table_warnings,
    )


def _rule_lists(broken: Ints, rules: list[str]) -> pa.Array:
    """Bits to names: one list<string> per row."""
    rows, which = np.nonzero(broken[:, np.newaxis] >> np.arange(len(rules)) & 1)
    ends = np.searchsorted(rows, np.arange(len(broken) + 1))
    return pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.array(rules, pa.string()).take(pa.array(which))
    )
