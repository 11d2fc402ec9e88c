"""The catalog of sources: every module here that has a ``SOURCE``. One file adds one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from consent.errors import ConfigError
from ingestion.source import Source


def _found() -> Iterator[Source]:
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        candidate = getattr(importlib.import_module(module.name), "SOURCE", None)
        if isinstance(candidate, Source):
            yield candidate


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
