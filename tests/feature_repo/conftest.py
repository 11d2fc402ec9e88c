from __future__ import annotations

import pytest

from tests.feature_repo.lender import Lender


@pytest.fixture(scope="session")
def lender(tmp_path_factory: pytest.TempPathFactory) -> Lender:
    """One home for all tests: each brings its own people, and publishes the rows it needs."""
    return Lender(tmp_path_factory.mktemp("lender") / "home")
