"""One suite over both backends: every test that asks for a shop or a ledger runs on SQLite and on PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from consent.evidence.notes import Signer
from consent.ledger import Ledger
from tests.behaviours.shops import BACKENDS, Databases, Shop, SqliteShop
from tests.consent.consent_samples import Clock
from tests.postgres import running_server


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """Databases of one PostgreSQL server, which is started when the first test wants one."""
    with running_server(fsync=False) as server:
        yield Databases(server)


@contextmanager
def open_shop(request: pytest.FixtureRequest, place: Path) -> Iterator[Shop]:
    """A shop on the backend that the fixture's parameter names."""
    if request.param == "postgres":
        with request.getfixturevalue("databases").shop(place) as shop:
            yield shop
        return
    shop = SqliteShop(place)
    yield shop
    shop.close()


@pytest.fixture(params=BACKENDS)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A shop for one test."""
    with open_shop(request, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module", params=BACKENDS)
def shared_shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop for all tests of a module, which must not get in each other's way."""
    with open_shop(request, tmp_path_factory.mktemp("shop")) as opened:
        yield opened


@pytest.fixture
def ledger(shop: Shop, signer: Signer, clock: Clock) -> Ledger:
    """An empty ledger with an anchor, on the standing clock."""
    return shop.create(signer, clock)
