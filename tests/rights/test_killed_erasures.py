"""An erasure that breaks off anywhere: nothing of the person can be used, nobody else is harmed, and it is ended."""

from __future__ import annotations

import pytest

from tests.rights import erased_while_killed as erasure
from tests.rights import swept_while_killed as sweep
from tests.rights.killing import Kills, Story, kill_at_steps

NO = {"RESTRICTED", "ERASED"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[Kills]:
    places = [tmp_path_factory.mktemp(name) for name in ("erased", "swept")]
    erasure.make(places[0])
    sweep.make(places[1])
    return kill_at_steps(Story(erasure.__name__, places[0], 20), Story(sweep.__name__, places[1], 60))


# ------------------------------------------------------------------------------------------- one and a half erased


@pytest.fixture
def erased(both: list[Kills]) -> Kills:
    return both[0]


def test_the_erasure_is_a_story(erased: Kills) -> None:
    """Everybody has something in every store, uninterrupted all of it goes, and each kind of step is killed."""
    before = erased.killed[0][1]["killed"]
    read = {r for who in before.values() for place, r in who["read"].items() if "app_usage" not in place}
    assert not {"-", "EvidenceError"} & read
    ended = erased.whole["ended"]
    assert set(ended[erasure.WHOLE]["read"].values()) == {"-"}
    assert {r for place, r in ended[erasure.PARTLY]["read"].items() if erasure.SOURCE in place} == {"-"}
    assert len(erased.whole["certificates"]) == 2
    steps = [step for step, _ in erased.killed]
    assert {step.split()[0] for step in steps} >= {"sync", "replace", "unlink", "commit"}
    assert len(steps) >= 8


def test_nothing_of_the_person_can_be_used_after_a_kill(erased: Kills) -> None:
    """At every step the answer is RESTRICTED or ERASED, for everything of the one and one source of the other."""
    for step, found in erased.killed:
        assert set(found["killed"][erasure.WHOLE]["reasons"].values()) <= NO, step
        assert found["killed"][erasure.PARTLY]["reasons"][erasure.SOURCE] in NO, step


def test_nobody_else_is_harmed_by_a_kill(erased: Kills) -> None:
    """Every store reads as before and every answer is yes, for others and for the other sources of the one."""
    before = erased.killed[0][1]["killed"]
    for step, found in erased.killed:
        assert found["killed"][erasure.OTHER] == before[erasure.OTHER], step
        for place, read in before[erasure.PARTLY]["read"].items():
            assert erasure.SOURCE in place or found["killed"][erasure.PARTLY]["read"][place] == read, (
                step,
                place,
            )
        answers = found["killed"][erasure.PARTLY]["reasons"].items()
        assert all(source == erasure.SOURCE or reason is None for source, reason in answers), step


def test_the_next_erasure_ends_it_in_the_same_state(erased: Kills) -> None:
    """The same rows in every store, the same values served, one epoch, and nothing left lying about."""
    for step, found in erased.killed:
        assert found["ended"] == erased.whole["ended"], step
        assert found["epochs"] == erased.whole["epochs"] == [[2], [2]], step
        assert found["left"] == [], step
        assert found["audit"] == [], step


def test_the_next_erasure_ends_it_in_the_same_certificates(erased: Kills) -> None:
    """Byte for byte, signatures included, on a clock that stands still.

    On a running clock the instants differ, as they should: ``erased_at``, and of each epoch ``began_at`` and
    ``effective_at``.
    """
    for step, found in erased.killed:
        assert found["certificates"] == erased.whole["certificates"], step


def test_a_backup_made_after_the_kill_is_shut_by_the_end(erased: Kills) -> None:
    """With the keyring as it is at the end: files, key table and logs as the killed job left them."""
    for step, found in erased.killed:
        assert found["restored"][erasure.WHOLE] == [], step
        assert not [place for place in found["restored"][erasure.PARTLY] if erasure.SOURCE in place], step


# ------------------------------------------------------------------------------------------- swept


@pytest.fixture
def swept(both: list[Kills]) -> Kills:
    return both[1]


def test_the_sweep_is_a_story(swept: Kills) -> None:
    """All of one person goes, some of another's, nothing of the third's, from every store."""
    before, ended = swept.killed[0][1]["killed"], swept.whole["ended"]
    assert set(ended[sweep.WHOLE].values()) == {"-", before[sweep.WHOLE]["lists"]}
    records = [
        place
        for place in before[sweep.PARTLY]
        if place.startswith(("vault/sp", "quarantine/sp", "tables/sp"))
    ]
    assert len(records) == 4
    assert all(ended[sweep.PARTLY][p] not in ("-", before[sweep.PARTLY][p]) for p in records)
    assert ended[sweep.PARTLY]["asked/spending"] == before[sweep.PARTLY]["asked/spending"]
    assert ended[sweep.OTHER] == before[sweep.OTHER]
    assert len(swept.killed) >= 6


def test_a_killed_sweep_run_again_ends_in_the_same_stored_rows(swept: Kills) -> None:
    """Whose records go and whose stay is noted before anything is touched."""
    for step, found in swept.killed:
        assert found["ended"] == swept.whole["ended"], step
        assert found["left"] == [], step


def test_nothing_that_is_due_remains_after_a_killed_sweep(swept: Kills) -> None:
    """A third sweep finds nothing."""
    for step, found in swept.killed:
        assert {count for of in found["due"].values() for count in of.values()} == {0}, step


def test_no_older_key_is_alive_after_a_killed_sweep(swept: Kills) -> None:
    """Of each person and source one version, under one epoch; of whom everything went none."""
    for step, found in swept.killed:
        assert found["older keys"] == [], step
        assert len(found["keys"]) == 2, step
        assert found["epochs"] == [1, True], step


def test_a_sweep_that_destroyed_something_is_certified_whatever_came_in_between(swept: Kills) -> None:
    """Killed at any step there is a certificate in the end, and it counts all people and rows of the whole sweep."""
    (certified,) = swept.whole["certificates"]
    assert certified["records"]["spending"] == {"people": 1, "people_in_part": 1, "rows": 8}
    for step, found in swept.killed:
        assert certified["records"] in [c["records"] for c in found["certificates"]], step


def test_a_killed_sweep_harms_nobody_else(swept: Kills) -> None:
    """Who has nothing that is due reads as before at every moment."""
    before = swept.killed[0][1]["killed"][sweep.OTHER]
    for step, found in swept.killed:
        assert found["killed"][sweep.OTHER] == before, step
