"""What may be named at all."""

import pytest

from consent.catalog import PROHIBITED, PURPOSES, SOURCES, require_purpose, require_source
from consent.decide import decide
from consent.errors import ConfigError, Denied
from consent.nouns import Reason
from tests.consent.consent_samples import ANNA, NOW, facts, given


def test_the_catalog_knows_its_own() -> None:
    """Every source and purpose of the catalog passes, and none is prohibited."""
    assert [require_source(s) for s in SOURCES] == list(SOURCES)
    assert [require_purpose(p) for p in PURPOSES] == list(PURPOSES)
    assert not PROHIBITED & set(SOURCES)


@pytest.mark.parametrize("source", sorted(PROHIBITED))
def test_no_consent_opens_a_prohibited_source(source: str) -> None:
    """DESIGN 1: "the catalog refuses to register them, consent or not"."""
    with pytest.raises(Denied) as caught:
        require_source(source)
    assert caught.value.code == "PROHIBITED"
    decision = decide(facts((NOW, given(ANNA, source))), source, "credit_scoring", data_at=None, as_of=NOW)
    assert decision.reason is Reason.PROHIBITED


def test_the_prohibited_sources_are_those_of_the_law() -> None:
    """DESIGN 1: contacts, call logs, media, location trails, social graph and health data."""
    assert {"contacts", "call_logs", "media", "location", "social_graph", "health"} <= PROHIBITED


@pytest.mark.parametrize("name", ["", "Spending", "spending ", "*", "weather"])
def test_an_unknown_name_is_a_configuration_error(name: str) -> None:
    """With the names that exist as the remedy."""
    with pytest.raises(ConfigError) as caught:
        require_source(name)
    assert "spending" in caught.value.remedy
    with pytest.raises(ConfigError) as caught:
        require_purpose(name)
    assert "credit_scoring" in caught.value.remedy
