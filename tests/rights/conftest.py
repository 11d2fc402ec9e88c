"""Homes that several tests of this room look at, and change nothing in."""

from __future__ import annotations

from functools import cache

import pytest

from tests.rights.borrowers import Borrowers, lend
from tests.rights.packages import Opened, Packages, export


@pytest.fixture(scope="session")
def borrowers(tmp_path_factory: pytest.TempPathFactory) -> Borrowers:
    """A lender's home with its borrowers, made with the real commands. To be read, not changed."""
    return lend(tmp_path_factory.mktemp("borrowers"))


@pytest.fixture(scope="session")
def packages(borrowers: Borrowers, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    """Anybody's package; each is written once."""

    @cache
    def package_of(who: str) -> Opened:
        return export(borrowers, who, tmp_path_factory.mktemp("package"))

    return package_of
