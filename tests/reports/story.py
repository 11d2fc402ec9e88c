"""A small lender's year, on a clock that is set: every figure of a report can be worked out by hand.

Day 0 is `NOW`; the ledger's clock stands where `Story.on` puts it. People: Anna agrees and withdraws late, Bela is
held, Chen asks for erasure and is erased, Dora refuses, Emil's consent was never valid, Fay's runs out.
"""

from __future__ import annotations

import csv
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from consent.accesses import AccessLog
from consent.clock import format_instant
from consent.home import CONFIG_FILE, Home
from consent.ledger import Ledger
from consent.nouns import ANY, Event, Kind, Recorded
from feature_repo.stores.members import write_members
from feature_repo.stores.models import register_model
from feature_repo.stores.receipts import Receipt, TableUsed, ViewOutcome, write_receipt
from ingestion.run import ingest
from rights.erase import Wanted, erase
from tests.consent.consent_samples import DAY, NOW, Clock, event, given
from tests.rights.borrowers import CONTROLLER

PEOPLE = ("anna", "bela", "chen", "dora", "emil", "fay")
PAIRS = [(s, p) for s in ("spending", "employment") for p in ("credit_scoring", "model_training")]
HOUR = timedelta(hours=1)
COLUMNS = (
    *("subject_id", "transaction_id", "occurred_at", "amount", "currency", "direction", "kind"),
    *("category", "merchant", "counterparty", "balance_after"),
)


class Story:
    """The home, who is in it, and what was recorded, in order."""

    def __init__(self, place: Path) -> None:
        self.clock = Clock(NOW - 100 * DAY)
        self.home = Home.create(place / "home")
        with (self.home.path(CONFIG_FILE)).open("a", encoding="utf-8") as settings:
            settings.write(CONTROLLER)
        self.home.ledger.close()
        self.home.accesses.close()
        self.home = open_on(self.home.root, self.clock)
        keys = self.home.directory.find_or_create([f"C-{name}" for name in PEOPLE])
        self.people = dict(zip(PEOPLE, keys, strict=True))
        self.entries: list[Recorded] = []
        self.receipts: list[Receipt] = []

    def on(self, day: float, hours: float = 0) -> datetime:
        """Set the clock."""
        self.clock.now = NOW + day * DAY + hours * HOUR
        return self.clock.now

    def says(self, *events: Event) -> None:
        self.entries += self.home.ledger.append(list(events))

    def said(self, kind: Kind, who: str, source: str = "spending", purpose: str = ANY, **more: Any) -> None:
        """Something about a person; `late` hours ago, by their own clock."""
        late = more.pop("late", 0)
        at = self.clock.now - late * HOUR
        more |= {"origin": "imported"} if late else {}
        self.says(event(kind, self.people[who], source, purpose, at=at, **more))

    def agrees(self, who: str, *pairs: tuple[str, str], days: float = 500) -> None:
        now = self.clock.now
        self.says(*(given(self.people[who], s, p, at=now, until=now + days * DAY) for s, p in pairs))

    def fetch(self, *who: str, sources: Iterable[str] = ("spending", "employment"), **more: Any) -> Receipt:
        """A training fetch, as `feature_repo.stores.historical` leaves it behind."""
        size = more.get("ledger_size", self.home.ledger.size())
        masked = more.get("masked", {})
        draft = Receipt(
            receipt_id="",
            created_at=self.clock.now,
            caller="local:ann",
            purpose="model_training",
            full_feature_names=False,
            features=("spending_v1:spend_30d",),
            tables=tuple(TableUsed(f"{s}_v1", 1, "d" * 64) for s in sources),
            ledger_size=size,
            checkpoint=None,
            entity_rows=len(who),
            entities_hash="e" * 64,
            subjects=len(who),
            members_hash=write_members(self.home, [self.people[w] for w in who]),
            views=tuple(ViewOutcome(f"{s}_v1", s, len(who), 0, masked.get(s, {})) for s in sources),
        )
        self.receipts.append(write_receipt(self.home, draft))
        return self.receipts[-1]


def open_on(root: Path, clock: Clock) -> Home:
    """A home whose ledger and access log run on a clock that is set."""
    home = Home.open(root)
    origin, ring = home.settings.origin, home.keyring
    home.__dict__["ledger"] = Ledger.open(
        root / "ledger.db", ring.log_signer(origin), clock, anchor=ring.anchor(origin)
    )
    access = f"{origin}/access"
    home.__dict__["accesses"] = AccessLog(
        root / "access.db", ring.derived_signer(access), ring.anchor(access), home.data_keys, clock=clock
    )
    return home


def tell(place: Path) -> Story:
    """The whole story."""
    story = Story(place)
    story.on(-100)
    for who in ("anna", "bela", "chen", "emil"):
        story.agrees(who, *PAIRS)
    story.said(Kind.REFUSED, "dora", "spending", "credit_scoring")
    story.on(-99)
    story.agrees(
        "fay", ("spending", "credit_scoring"), ("app_usage", "credit_scoring"), days=110
    )  # to day 11
    story.agrees("fay", ("employment", "credit_scoring"), days=120)  # to day 21, renewed on day -20
    story.on(-50)
    story.fetch("anna", "bela", "chen", "emil", masked={"spending": {"NO_GRANT": 2, "WITHDRAWN": 1}})
    register_model(story.home, "model-1", [story.receipts[0].receipt_id], now=story.clock.now)
    story.on(-40)
    story.said(Kind.WITHDRAWN, "anna", "spending", late=15 * 24)  # she said so on day -55
    story.on(-40, 1)
    story.said(Kind.WITHDRAWN, "anna", "employment", "credit_scoring", late=2)
    story.on(-39)
    story.said(
        Kind.INVALIDATED,
        "emil",
        "employment",
        "model_training",
        basis="notice 3 void",
        indicated_by="authority",
    )
    story.on(-30)
    story.said(Kind.HOLD_PLACED, "bela", ANY, hold_id="case-1", basis="order 7", indicated_by="authority")
    story.on(-29)
    story.said(Kind.ERASURE_REQUESTED, "bela", "spending")
    story.said(Kind.ERASURE_REQUESTED, "chen", ANY)
    story.on(-20)
    now = story.clock.now
    story.says(given(story.people["fay"], "employment", "credit_scoring", at=now, until=now + 400 * DAY))
    story.on(-19)
    story.said(Kind.HOLD_PLACED, "dora", "spending", hold_id="case-2", basis="order 8")
    story.on(-9)
    story.said(Kind.HOLD_RELEASED, "dora", "spending", hold_id="case-2", basis="order 9")
    story.on(-5)
    erase(story.home, [Wanted(story.people["chen"])], clock=story.clock)
    _load(story, place)
    story.on(-3)
    story.said(Kind.WITHDRAWN, "anna", "employment", "model_training")
    story.on(-3, 30 / 3600)
    known = story.home.ledger.size() - 1
    story.fetch("anna", "fay", ledger_size=known)  # decided without it: that may not be
    story.on(-2)
    story.said(Kind.WITHDRAWN, "emil", "spending", "credit_scoring", late=-0.05)  # by a clock 3 minutes ahead
    story.on(-1)
    story.fetch("anna")  # who had agreed to nothing any more
    story.on(0)
    return story


def _load(story: Story, place: Path) -> None:
    """A job that runs from 8 to 9 o'clock on day -4; at 8:20 somebody withdraws who was let in before."""
    began = story.on(-4)
    rows = [("C-fay", began - n * DAY) for n in (1, 2, 3)] + [("C-anna", began - DAY), ("C-x", began - DAY)]
    ticks = iter((began, began + HOUR))
    ingest(story.home, "spending", [spending_file(place / "bank.csv", rows)], clock=lambda: next(ticks))
    story.on(-4, 1 / 3)
    story.said(Kind.WITHDRAWN, "fay", "spending", "credit_scoring")
    story.said(Kind.WITHDRAWN, "emil", "employment", "credit_scoring")  # of which nothing is loaded


def spending_file(path: Path, rows: Iterable[tuple[str, datetime]]) -> Path:
    """A bank's file with one purchase per (customer number, instant)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for who, at in rows:
            number = secrets.token_hex(6)
            writer.writerow(
                (
                    who,
                    number,
                    format_instant(at),
                    "10.00",
                    "CNY",
                    "debit",
                    "purchase",
                    "groceries",
                    "",
                    "",
                    "",
                )
            )
    return path
