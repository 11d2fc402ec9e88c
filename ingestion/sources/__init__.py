"""The catalog of sources: every module here that has a ``SOURCE``, and those of installed packages.

A package names its module under the entry point ``assent.sources``; docs/adding-a-source.md tells how.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from importlib.metadata import entry_points

from consent.catalog import BUILT_IN
from consent.catalog import SOURCES as CATALOG
from consent.errors import ConfigError
from ingestion.source import Source

ENTRY_POINT = "assent.sources"


def _found() -> Iterator[Source]:
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        candidate = getattr(importlib.import_module(module.name), "SOURCE", None)
        if isinstance(candidate, Source):
            yield candidate
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINT)}
    for name in sorted(set(CATALOG) - set(BUILT_IN)):
        yield _installed(name, installed.get(name, ""))


def _installed(name: str, module: str) -> Source:
    """The source that an installed package describes."""
    described = getattr(importlib.import_module(module), "SOURCE", None) if module else None
    if not isinstance(described, Source) or described.name != name:
        raise ConfigError(
            f"the package of the source {name} does not describe it",
            remedy=f"Its entry point {ENTRY_POINT} names a module whose SOURCE is a Source of that name.",
        )
    if re.fullmatch(rf"{re.escape(name)}_v[1-9]\d*", described.definition) is None:
        raise ConfigError(
            f"the definition of the source {name} has another name", remedy=f"Call it {name}_v1, ..."
        )
    return described


#: Every source, by its name.
SOURCES: dict[str, Source] = {found.name: found for found in _found()}


def source(name: str) -> Source:
    """The source of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in SOURCES:
        raise ConfigError("unknown source", remedy=f"Use one of: {', '.join(sorted(SOURCES))}.")
    return SOURCES[name]


def definitions() -> list[Source]:
    """Every definition that is published: of each source the newest, then those it keeps beside it.

    Raises:
        ConfigError: two have the same name, or one is of another source.
    """
    found = [each for newest in SOURCES.values() for each in (newest, *newest.earlier)]
    names = [each.definition for each in found]
    strangers = [
        e for newest in SOURCES.values() for e in newest.earlier if e.name != newest.name or e.earlier
    ]
    if strangers or len(set(names)) < len(names):
        raise ConfigError(
            "the definitions of a source do not fit together",
            remedy="Each has a name of its own, and those in `earlier` are of the same source.",
        )
    return found


def definition_of(table: str) -> Source | None:
    """The definition of that name, if it is published here."""
    return next((each for each in definitions() if each.definition == table), None)
