"""The story, told once, and its reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reports.catalog import make_report
from reports.query import Query
from tests.reports.story import Story, tell

#: Makes a report of the story: rows as mappings.
Asked = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """To be read, not changed; reports add to its access log alone."""
    return tell(tmp_path_factory.mktemp("story"))


@pytest.fixture(scope="session")
def ask(story: Story) -> Asked:
    def _ask(name: str, **asked: Any) -> list[dict[str, Any]]:
        report = make_report(story.home, name, Query(**asked))
        names = [column.name for column in report.columns]
        return [dict(zip(names, row, strict=True)) for row in report.rows]

    return _ask
