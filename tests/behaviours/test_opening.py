"""Making a ledger, opening one, and what is none."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consent.errors import AssentError, ConfigError, Conflict, Unavailable
from consent.evidence.notes import Signer
from consent.ledger import Ledger
from consent.migrate import migrate
from consent.schema import REVISION
from tests.behaviours.shops import PostgresShop, Shop, ask
from tests.consent.consent_samples import ANNA, CHEN, NOW, Clock, given

USES: list[Callable[[Ledger], Any]] = [
    Ledger.size,
    Ledger.now,
    Ledger.checkpoint,
    Ledger.audit,
    ask,
    lambda ledger: ledger.append([given()]),
    lambda ledger: ledger.history(ANNA),
]


def test_a_ledger_is_created_once(shop: Shop, signer: Signer, clock: Clock) -> None:
    """What exists is never overwritten, nor its anchor."""
    ledger = shop.create(signer, clock)
    ledger.append([given()])
    anchored = shop.anchor.read_bytes()
    with pytest.raises(Conflict, match="exists"):
        shop.create(signer, clock)
    assert ask(ledger).allowed
    assert shop.anchor.read_bytes() == anchored


def test_what_one_has_written_another_reads(shop: Shop, signer: Signer, clock: Clock) -> None:
    """Opened again, or open in two places at once, it is one ledger."""
    first = shop.create(signer, clock)
    second = shop.open(signer, clock)
    first.append([given()])
    assert ask(second).allowed
    second.append([given(CHEN)])
    assert (first.size(), first.head()) == (2, second.head())
    first.close()
    assert shop.open(signer, clock).size() == 2


def test_it_can_be_used_after_it_was_closed(shop: Shop, signer: Signer, clock: Clock) -> None:
    """Closing lets go of the database, no more."""
    ledger = shop.create(signer, clock)
    ledger.append([given()])
    for _ in range(2):
        ledger.close()
        assert ask(ledger).allowed
    assert ledger.append([given(CHEN)])[0].leaf_index == 1


@pytest.mark.parametrize("use", USES)
def test_a_database_without_a_ledger_decides_nothing(
    shop: Shop, signer: Signer, clock: Clock, use: Callable[[Ledger], Any]
) -> None:
    """Not from tables that are not there, and nothing is made on the way."""
    with pytest.raises(AssentError):
        use(shop.open(signer, clock, anchored=False))
    if isinstance(shop, PostgresShop):
        assert shop.plainly("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
        with pytest.raises(Unavailable, match="no consent ledger"):
            migrate(shop.database, signer, anchor=shop.anchor)


def test_migrating_what_is_up_to_date_changes_nothing(shop: Shop, signer: Signer, clock: Clock) -> None:
    """Somebody runs the command to be sure."""
    ledger = shop.create(signer, clock)
    ledger.append([given()])
    assert migrate(shop.database, signer, anchor=shop.anchor) == (REVISION, REVISION)
    assert ledger.audit().findings == ()
    with pytest.raises(Exception, match="append-only"):
        shop.plainly("DELETE FROM event")


def test_two_who_create_at_once_make_one(shop: Shop, signer: Signer, clock: Clock) -> None:
    """One of them is told that there is a ledger already, in an error of ours."""
    outcomes: list[Any] = []
    start = threading.Barrier(4)

    def create() -> None:
        start.wait()
        try:
            outcomes.append(shop.create(signer, clock))
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(outcome, Ledger) for outcome in outcomes) == 1
    assert all(isinstance(outcome, Ledger | AssentError) for outcome in outcomes), outcomes
    assert shop.open(signer, clock).append([given()])[0].leaf_index == 0


@pytest.mark.parametrize(
    "address", ["nonsense", "sqlite:///ledger.db", "mysql://assent@/db", "", "postgresql//x", "://"]
)
def test_what_is_no_address_of_a_database_is_told(signer: Signer, address: str) -> None:
    """Before anything is opened, and without repeating it."""
    with pytest.raises(ConfigError) as caught:
        Ledger.open(address, signer)
    assert not address or address not in str(caught.value)


def test_a_password_does_not_belong_into_an_address(signer: Signer) -> None:
    """The settings are no place for secrets, and no error repeats one."""
    with pytest.raises(ConfigError, match="password") as caught:
        Ledger.open("postgresql://assent:s3cret@host/assent", signer)
    assert "s3cret" not in str(caught.value) + caught.value.remedy + repr(caught.value)


@pytest.mark.parametrize("use", USES)
def test_a_server_that_is_not_there_is_unavailable(
    signer: Signer, tmp_path: Path, use: Callable[[Ledger], Any]
) -> None:
    """Nothing is decided, so nothing is allowed."""
    ledger = Ledger.open(f"postgresql://assent@/assent?host={tmp_path}", signer, Clock(NOW))
    with pytest.raises(Unavailable) as caught:
        use(ledger)
    assert str(tmp_path) not in str(caught.value) + caught.value.remedy


def test_a_question_about_very_many_is_one_question(ledger: Ledger) -> None:
    """More ids than a statement of either database takes as parameters."""
    (recorded,) = ledger.append([given()])
    many = [f"{i:032x}" for i in range(70_000)]
    assert ledger.find_events([*many, recorded.event.event_id]) == {recorded.event.event_id: recorded}
