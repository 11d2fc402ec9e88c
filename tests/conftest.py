"""Fixtures that any room may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from consent.evidence.notes import Signer
from consent.home import Home
from consent.ledger import Ledger
from tests.consent.consent_samples import Clock


@pytest.fixture
def clock() -> Clock:
    """A clock that stands still until a test sets it."""
    return Clock()


@pytest.fixture(scope="session")
def signer() -> Signer:
    """A log key that is no secret."""
    return Signer("assent/test", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture
def ledger(tmp_path: Path, signer: Signer, clock: Clock) -> Iterator[Ledger]:
    """An empty ledger on the standing clock."""
    opened = Ledger.create(tmp_path / "ledger.db", signer, clock)
    yield opened
    opened.close()


@pytest.fixture
def empty_home(tmp_path: Path) -> Home:
    """A new home with its keys beside it."""
    return Home.create(tmp_path / "home")
