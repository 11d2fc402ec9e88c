"""Schemathesis on the OpenAPI page: whatever a schema allows or forbids, no 500, and only what is described."""

from __future__ import annotations

import os
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from consent.home import Home
from console.api.app import create_api
from console.api.door import ALLOWED

load_all_checks()
CASES = max(30, int(os.environ.get("ASSENT_CASES", "2000")) // 50)
#: The schema says kinds and lengths; that a date is a date, and a source one of the catalog, is said in words. Who
#: calls without a token is tested in test_calls, without the thousand ways to write one.
NOT_MEANT = [CHECKS.get_one(name) for name in ("positive_data_acceptance", "ignored_auth")]


@pytest.fixture(scope="module")
def described(home: Home) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", create_api(home))


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("path", ALLOWED)
def test_every_call(
    described: Any, home: Home, secrets: dict[str, str], path: str, mode: GenerationMode
) -> None:
    """No server error; statuses, media types and bodies are those described; what is refused leaves nothing."""
    headers, statuses = {"Authorization": f"Bearer {secrets['recorder']}"}, set()

    @given(case=described[path]["POST"].as_strategy(generation_mode=mode))
    @settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def send(case: Any) -> None:
        size = home.ledger.size()
        answer = case.call_and_validate(headers=headers, excluded_checks=NOT_MEANT)
        statuses.add(answer.status_code)
        if answer.status_code >= 400:
            assert home.ledger.size() == size
            assert answer.json()["remedy"]

    send()
    assert statuses
    assert max(statuses) < 500


def test_the_ledger_is_whole_after_all_of_it(home: Home) -> None:
    """What was recorded on the way verifies."""
    assert home.ledger.audit().findings == ()
