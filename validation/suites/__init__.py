"""One suite per source, as code: every module here is the suite of the source it is named after.

An installed package names the suite's module under the entry point ``assent.suites``.
Each has ``COLUMNS``, the Arrow schema of the source's tables, and ``suite(currency=, now=)``.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from datetime import UTC, datetime
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING

import pyarrow as pa

from consent.catalog import SOURCES as CATALOG
from consent.errors import ConfigError

if TYPE_CHECKING:
    from great_expectations import ExpectationSuite

ENTRY_POINT = "assent.suites"
_MODULES = {module.name: f"{__name__}.{module.name}" for module in pkgutil.iter_modules(__path__)}
_MODULES = {
    point.name: point.value for point in entry_points(group=ENTRY_POINT) if point.name in CATALOG
} | _MODULES

#: The sources that have a suite.
SOURCES = tuple(sorted(_MODULES))


def suite_for(source: str, *, currency: str, now: datetime) -> ExpectationSuite:
    """The suite of a source, made anew.

    Args:
        currency: ISO 4217 code of the home's currency.
        now: the moment of checking, aware; nothing may be dated more than a day after it.

    Raises:
        ConfigError: the source has no suite.
    """
    return _module(source).suite(currency=currency, now=now)


def columns_of(source: str) -> pa.Schema:
    """The columns and Arrow types that tables of a source must have, in any order.

    Raises:
        ConfigError: the source has no suite.
    """
    columns: pa.Schema = _module(source).COLUMNS
    return columns


def codes_of(source: str, *, currency: str) -> dict[str, frozenset[str]]:
    """The columns that may hold nothing but certain codes, and which.

    Raises:
        ConfigError: the source has no suite.
    """
    rules = suite_for(source, currency=currency, now=datetime(2000, 1, 1, tzinfo=UTC)).expectations
    return {
        rule.column: frozenset(rule.value_set)
        for rule in rules
        if type(rule).__name__ == "ExpectColumnValuesToBeInSet"
    }


def suite_hash(suite: ExpectationSuite) -> str:
    """SHA-256 in hex over a suite's name, rules, severities and bounds: the same rules, the same hash."""
    rules = [
        {key: value for key, value in rule.items() if key != "id"}
        for rule in suite.to_json_dict()["expectations"]
    ]
    canonical = json.dumps([suite.name, rules], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _module(source: str) -> ModuleType:
    if source not in SOURCES:
        raise ConfigError(
            f"no suite for this source; there are {', '.join(SOURCES)}",
            remedy="Add a module of its name to validation/suites.",
        )
    # Late: a suite needs Great Expectations, which takes seconds to import.
    return importlib.import_module(_MODULES[source])
