"""The vocabulary the suites are written in, and the rules that hold for every source.

Each function makes one expectation. The rule's name says what is true of a good row; it is what reports,
quarantined rows and tests call it by.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from validation.expectations import ExpectRowsToSatisfySql
from validation.quiet import gx

gxe = gx.expectations

#: Columns every table has besides its source's own.
#: subject_key: 32 hex digits; row_number: position in the file; malformed: null, or the names of the columns
#: whose text could not be parsed (their cells are null); raw: JSON of those cells, which no rule looks at.
ROW_COLUMNS = pa.schema(
    [
        ("subject_key", pa.string()),
        ("row_number", pa.int64()),
        ("malformed", pa.string()),
        ("raw", pa.string()),
    ]
)

INSTANT = pa.timestamp("us", tz="UTC")
MONEY = pa.decimal128(18, 2)

#: Longest text a cell may hold, in characters.
TEXT_LIMIT = 200

#: What systems write where they have no number: a 32-bit integer's ends, in units and in cents; 365243 days; nines.
FILLERS = [
    2_147_483_647,
    -2_147_483_648,
    21_474_836.47,
    -21_474_836.48,
    365_243,
    99_999_999,
    99_999_999.99,
]

#: An RE2 expression. A plus or minus begins many a name; with a bracket, bar or exclamation mark it is a formula.
_HOSTILE = r"\p{Cc}|^\s*[=@]|^\s*[+-].*[(|!]|\.\.[/\\]"

#: Clocks of phones and banks run ahead.
_GRACE = timedelta(days=1)


def present(column: str, *, severity: str = "critical") -> Any:
    """``<column>_present``: the cell is not null."""
    return gxe.ExpectColumnValuesToNotBeNull(
        column=column, severity=severity, meta={"rule": f"{column}_present"}
    )


def one_of(rule: str, column: str, values: list[str]) -> Any:
    """Null or one of ``values``."""
    return gxe.ExpectColumnValuesToBeInSet(
        column=column, value_set=values, severity="critical", meta={"rule": rule}
    )


def not_one_of(rule: str, column: str, values: list[Any], *, severity: str = "critical") -> Any:
    """Null or none of ``values``."""
    return gxe.ExpectColumnValuesToNotBeInSet(
        column=column, value_set=values, severity=severity, meta={"rule": rule}
    )


def short(column: str, *, shortest: int = 0, longest: int = TEXT_LIMIT) -> Any:
    """``<column>_length``: null or between ``shortest`` and ``longest`` characters."""
    return gxe.ExpectColumnValueLengthsToBeBetween(
        column=column,
        min_value=shortest,
        max_value=longest,
        severity="critical",
        meta={"rule": f"{column}_length"},
    )


def between(rule: str, column: str, **bounds: Any) -> Any:
    """Null or within ``min_value``, ``max_value`` (inclusive unless ``strict_min``, ``strict_max``)."""
    return gxe.ExpectColumnValuesToBeBetween(
        column=column, severity="critical", meta={"rule": rule}, **bounds
    )


def matching(rule: str, column: str, regex: str) -> Any:
    """Null or matching an RE2 regular expression."""
    return gxe.ExpectColumnValuesToMatchRegex(
        column=column, regex=regex, severity="critical", meta={"rule": rule}
    )


def unique(rule: str, *columns: str, severity: str = "critical") -> Any:
    """No two rows agree in all ``columns``, of which there are two at least.

    Every row of a duplicate fails; a row with a null in one of them does not.
    """
    return gxe.ExpectCompoundColumnsToBeUnique(
        column_list=list(columns), severity=severity, meta={"rule": rule}
    )


def fresh(column: str, *, within: timedelta, now: datetime) -> Any:
    """``<column>_fresh``: some row is at most so old. Of the table as a whole, and only a warning: history is old.

    As a share and not as a greatest value, which would be fetched, and hostile dates lie beyond what Python holds.
    """
    return gxe.ExpectColumnValuesToBeBetween(
        column=column,
        min_value=now - within,
        mostly=1e-12,
        severity="warning",
        meta={"rule": f"{column}_fresh"},
    )


def satisfying(rule: str, columns: list[str], predicate: str, *, severity: str = "critical") -> Any:
    """The SQL ``predicate`` over ``columns``, of which there are two at least, is true or unknown."""
    return ExpectRowsToSatisfySql(
        column_list=columns, predicate=predicate, severity=severity, meta={"rule": rule}
    )


def plain(*columns: str) -> Any:
    """``texts_plain``: none of ``columns`` holds what a program may act on.

    Control characters, a formula as spreadsheets read it, or a way out of a directory.
    """
    found = " or ".join(f"coalesce(regexp_matches({column}, '{_HOSTILE}'), false)" for column in columns)
    return satisfying("texts_plain", list(columns), f"not ({found})")


def dated(column: str, *, earliest: datetime, now: datetime) -> list[Any]:
    """An instant that is present, no earlier than ``earliest`` and at most a day after ``now``."""
    return [
        present(column),
        between(f"{column}_not_future", column, max_value=now + _GRACE),
        between(f"{column}_not_too_old", column, min_value=earliest),
    ]


def suite_of(source: str, columns: pa.Schema, own_rules: list[Any]) -> gx.ExpectationSuite:
    """The suite of a source: the rules for every source, then its own.

    Args:
        columns: all columns of the table, ``ROW_COLUMNS`` among them.
    """
    every_source = [
        gxe.ExpectTableColumnsToMatchSet(
            column_set=list(columns.names),
            exact_match=True,
            severity="critical",
            meta={"rule": "columns_match"},
        ),
        # Every rule on rows is true of an empty table.
        gxe.ExpectTableRowCountToBeBetween(min_value=1, severity="critical", meta={"rule": "has_rows"}),
        gxe.ExpectColumnValuesToBeNull(
            column="malformed", severity="critical", meta={"rule": "cells_readable"}
        ),
        present("subject_key"),
        # A raw identifier that slipped past the pseudonymiser stops here.
        matching("subject_key_is_pseudonym", "subject_key", "^[0-9a-f]{32}$"),
        present("row_number"),
        gxe.ExpectColumnValuesToBeUnique(
            column="row_number", severity="critical", meta={"rule": "row_number_unique"}
        ),
    ]
    return gx.ExpectationSuite(name=source, expectations=[*every_source, *own_rules])
