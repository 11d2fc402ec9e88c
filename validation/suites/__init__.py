"""One suite per source, as code: every module here is the suite of the source it is named after.

An installed package names the suite's module under the entry point ``assent.suites``.
Each has ``COLUMNS``, the Arrow schema of the source's tables, and ``suite(currency=, now=)``.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import pkgutil
from datetime import UTC, datetime
from importlib.metadata import entry_points
from types import ModuleType
from typing import TYPE_CHECKING, Any

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


#: Suites are hashed and written down as of this instant, so that the hash names the rules and not the hour.
HASHED_AS_OF = datetime(2000, 1, 1, tzinfo=UTC)
#: Stands for the home's currency in a snapshot: ISO 4217's code for none.
_NO_CURRENCY = "XXX"


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
    rules = suite_for(source, currency=currency, now=HASHED_AS_OF).expectations
    return {
        rule.column: frozenset(rule.value_set)
        for rule in rules
        if type(rule).__name__ == "ExpectColumnValuesToBeInSet"
    }


def suite_hash(suite: ExpectationSuite) -> str:
    """SHA-256 in hex over a suite's name, rules, severities and bounds: the same rules, the same hash."""
    canonical = json.dumps([suite.name, _rules(suite)], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _rules(suite: ExpectationSuite) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in rule.items() if key != "id"}
        for rule in suite.to_json_dict()["expectations"]
    ]


def snapshot(source: str) -> str:
    """The rules of a source as JSON, for people and for evidence: as of 2000-01-01, in the currency XXX.

    ``make docs`` writes it to ``validation/snapshots``; a test keeps the two equal.
    """
    suite = suite_for(source, currency=_NO_CURRENCY, now=HASHED_AS_OF)
    return json.dumps({"suite": suite.name, "rules": _rules(suite)}, indent=1, sort_keys=True) + "\n"


@functools.cache
def snapshot_hash(source: str) -> str:
    """SHA-256 in hex of the snapshot, as ``sha256sum`` gives it for the file; batches name it."""
    return hashlib.sha256(snapshot(source).encode()).hexdigest()


def _module(source: str) -> ModuleType:
    if source not in SOURCES:
        raise ConfigError(
            f"no suite for this source; there are {', '.join(SOURCES)}",
            remedy="Add a module of its name to validation/suites.",
        )
    # Late: a suite needs Great Expectations, which takes seconds to import.
    return importlib.import_module(_MODULES[source])
