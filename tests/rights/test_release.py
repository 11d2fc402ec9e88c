"""The release of a hold takes two people."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consent.decide import holds
from consent.errors import BadInput, Denied, EvidenceError
from consent.exchange.statements import record_statement
from consent.home import Home
from consent.nouns import Kind
from rights.release import LIFE, find_proposal, holds_in_force, propose_release, release_hold
from tests.consent.consent_samples import Clock
from tests.console.web.visitors import NUMBER, agree


@pytest.fixture
def held(empty_home: Home) -> tuple[Home, str, int]:
    """A home, a person in it, and the entry of a hold on them."""
    key = agree(empty_home)
    fields = {"event": "hold_placed", "subject_id": NUMBER, "source": "*", "hold_id": "2026-17"}
    placed = record_statement(empty_home, {**fields, "basis": "order 4", "indicated_by": "authority"})
    return empty_home, key, placed.leaf_index


def test_one_proposes_another_releases(held: tuple[Home, str, int]) -> None:
    """Then the hold is not in force any more, and the proposal is gone."""
    home, key, hold = held
    propose_release(home, key, hold, by="token:ada")
    released, waiting = release_hold(home, key, hold, by="token:bo")
    assert (released.event.kind, released.event.channel, waiting) == (Kind.HOLD_RELEASED, "console", [])
    assert not holds(home.ledger.facts(key).statements)
    assert not list(home.path("releases").iterdir())
    with pytest.raises(BadInput, match="no such hold"):
        release_hold(home, key, hold, by="token:bo")


def test_one_person_alone_cannot(held: tuple[Home, str, int]) -> None:
    """Neither without a proposal, nor with their own, nor by proposing again under another name first."""
    home, key, hold = held
    with pytest.raises(Denied) as nobody:
        release_hold(home, key, hold, by="token:ada")
    assert nobody.value.code == "NOT_PROPOSED"
    propose_release(home, key, hold, by="token:ada")
    assert propose_release(home, key, hold, by="token:bo").by == "token:ada"
    with pytest.raises(Denied) as same:
        release_hold(home, key, hold, by="token:ada")
    assert same.value.code == "TWO_PEOPLE"
    assert holds_in_force(home, key)


def test_a_proposal_ends_after_some_days(held: tuple[Home, str, int]) -> None:
    """What nobody carried out in time has to be proposed anew."""
    home, key, hold = held
    clock = Clock(home.ledger.now())
    propose_release(home, key, hold, by="token:ada", clock=clock)
    clock.now += LIFE
    assert find_proposal(home, key, hold, now=clock.now) is None
    with pytest.raises(Denied):
        release_hold(home, key, hold, by="token:bo", clock=clock)
    assert propose_release(home, key, hold, by="token:bo", clock=clock).by == "token:bo"
    clock.now -= timedelta(days=1)


def test_only_a_hold_that_is_in_force(held: tuple[Home, str, int]) -> None:
    """Another entry, another person's, or none at all is no hold."""
    home, key, hold = held
    other = agree(home, "C-OTHER")
    for who, entry in ((key, 0), (key, 99), (other, hold)):
        with pytest.raises(BadInput):
            propose_release(home, who, entry, by="token:ada")


def test_what_waited_for_it_is_told(held: tuple[Home, str, int]) -> None:
    """An erasure that was asked for meanwhile is named, for the caller to carry out."""
    home, key, hold = held
    record_statement(home, {"event": "erasure_requested", "subject_id": NUMBER, "source": "spending"})
    propose_release(home, key, hold, by="token:ada")
    assert release_hold(home, key, hold, by="token:bo")[1] == ["spending"]


def test_a_proposal_that_was_written_by_hand(held: tuple[Home, str, int]) -> None:
    """Is noticed: the document is signed, and so is its place."""
    home, key, hold = held
    propose_release(home, key, hold, by="token:ada")
    (path,) = home.path("releases").iterdir()
    assert key not in path.name
    path.write_text(path.read_text().replace("token:ada", "token:eve"))
    with pytest.raises(EvidenceError):
        release_hold(home, key, hold, by="token:ada")
