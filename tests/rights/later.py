"""A home as it will be in so many days: the ledger's clock is set ahead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from consent.clock import now_utc
from consent.home import Home
from consent.ledger import Ledger


def clock_in(days: float) -> Callable[[], datetime]:
    """The clock, so many days ahead."""
    return lambda: now_utc() + timedelta(days=days)


def home_in(home: Home, days: float) -> Home:
    """The same home, opened so many days later."""
    later = Home.open(home.root)
    origin, keyring = later.settings.origin, later.keyring
    later.__dict__["ledger"] = Ledger.open(
        later.root / "ledger.db",
        keyring.log_signer(origin),
        clock_in(days),
        anchor=keyring.anchor(origin),
        held=keyring.first_log_key(origin),
    )
    return later
