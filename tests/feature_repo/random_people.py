"""A home with a clock of its own, a few people, and what they say about consent as the dice fall.

The ledger is told by `append`, the twin (`tests.reference.leak_twin`) by what the ledger put down.
"""

from __future__ import annotations

import contextlib
import random
import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from consent.errors import IllegalTransition
from consent.home import Home
from consent.ledger import Ledger, new_event_id
from consent.nouns import ANY, Event, Grant, Kind, Notice, Recorded
from feature_repo.stores import setup
from feature_repo.stores.config import open_home
from tests.reference.leak_twin import World

SOURCES = ("spending", "employment", "app_usage")
PURPOSES = ("credit_scoring", "model_training", "fraud_detection", "loan_servicing")
NOTICE = Notice("onboarding", "3", "en-IN", "0" * 64)
EVIDENCE = "e" * 64
DAY = timedelta(days=1)
BEGIN = datetime(2024, 3, 1, 9, 30, tzinfo=UTC)
#: Alive at a time; some of those who were erased are still asked about.
PEOPLE, REMEMBERED = 6, 3

#: How often somebody says what.
SAID = {
    Kind.REFUSED: 2,
    Kind.PAUSED: 6,
    Kind.RESUMED: 7,
    Kind.WITHDRAWN: 6,
    Kind.REVOKED: 2,
    Kind.SUPERSEDED: 2,
    Kind.INVALIDATED: 3,
    Kind.ERASURE_REQUESTED: 0.3,
}


class People:
    """Who lives in one home.

    Attributes:
        counts: how often what happened.
        lately: the purpose that somebody spoke of last; reads like to ask about it.
    """

    def __init__(self, root: Path, seed: int) -> None:
        self.seed, self.dice, self.now = seed, random.Random(seed), BEGIN
        self.counts: Counter[str] = Counter()
        made = Home.create(root)
        setup.apply(made)
        # The one that the stores of this process use, with a clock of ours in it.
        self.home = open_home(str(made.root), str(made.keys))
        origin, keyring = self.home.settings.origin, self.home.keyring
        self.home.__dict__["ledger"] = Ledger.open(
            root / "ledger.db", keyring.log_signer(origin), self.clock, anchor=keyring.anchor(origin)
        )
        self.stores = {purpose: setup.open_store(self.home, purpose) for purpose in PURPOSES}
        views = {source: self.stores[PURPOSES[0]].get_feature_view(f"{source}_v1") for source in SOURCES}
        self.twin = World({source: view.ttl for source, view in views.items()})
        self.numbers: dict[str, str] = {}
        self.last_recorded, self.lately = BEGIN, PURPOSES[0]
        self.people = [self.newcomer() for _ in range(PEOPLE)]
        self.gone: list[str] = []
        for _ in range(10 * PEOPLE):
            self.give()

    def clock(self) -> datetime:
        """What the home takes for the time."""
        return self.now

    @property
    def instant(self) -> datetime:
        """The home's now: the clock, but never before the last entry."""
        return max(self.now, self.last_recorded)

    def end(self) -> None:
        """Let go of the home, which the stores keep: a long run has very many."""
        self.home.ledger.close()
        self.home.__dict__.clear()

    def newcomer(self) -> str:
        number = secrets.token_hex(8)
        (key,) = self.home.directory.find_or_create([number])
        self.numbers[key] = number
        return key

    def somebody(self) -> str:
        """Some people say much more than others."""
        return self.dice.choices(self.people, [6, 5, 3, 2, 1, 1])[0]

    def source(self) -> str:
        return self.dice.choices(list(SOURCES), [4, 2, 1])[0]

    def purpose(self) -> str:
        return self.dice.choices(PURPOSES, [6, 2, 1, 1])[0]

    def asked_about(self) -> list[str]:
        return [*self.people, *self.gone]

    def around(self, days: float) -> datetime:
        """An instant up to so many days before now."""
        return self.instant - self.dice.random() * days * DAY

    def record(self, event: Event) -> None:
        """Append it, if it fits the state it meets; the twin hears of it as the ledger put it down."""
        with contextlib.suppress(IllegalTransition):
            self.heard(self.home.ledger.append([event]))

    def heard(self, entries: list[Recorded]) -> None:
        self.twin.hear(entries)
        self.last_recorded = max([self.last_recorded, *(entry.recorded_at for entry in entries)])

    def event(self, kind: Kind, source: str, purpose: str, at: datetime, **more: Any) -> Event:
        imported = at < self.now - timedelta(minutes=3)
        return Event(
            new_event_id(),
            kind,
            more.pop("subject", None) or self.somebody(),
            source,
            purpose,
            at,
            origin="imported" if imported else "recorded",
            evidence_hash=EVIDENCE if imported else None,
            **more,
        )

    def pair(self) -> tuple[str, str]:
        return self.source(), self.purpose()

    def give(self) -> None:
        source, purpose = self.pair()
        begins = self.dice.choice(
            [self.now, self.around(40), self.around(100), self.now + self.dice.random() * DAY]
        )
        terms = Grant(
            secrets.token_hex(8),
            NOTICE,
            "IN",
            "toggle",
            expires_at=begins + self.dice.choice([3, 60, 300, 300]) * self.dice.uniform(0.5, 1) * DAY,
            data_from=self.dice.choice([BEGIN - 400 * DAY, BEGIN - 400 * DAY, self.around(60)]),
            data_life=self.dice.choice([None, None, None, self.dice.uniform(1, 90) * DAY]),
        )
        self.record(self.event(Kind.GIVEN, source, purpose, begins, grant=terms))

    def agree(self, subject: str, source: str, purpose: str) -> None:
        """From now on, for data of whatever age."""
        terms = Grant(
            secrets.token_hex(8),
            NOTICE,
            "IN",
            "toggle",
            expires_at=self.now + 60 * DAY,
            data_from=BEGIN - 400 * DAY,
        )
        self.record(self.event(Kind.GIVEN, source, purpose, self.now, subject=subject, grant=terms))

    def say(self) -> None:
        """Refuse, pause, resume, withdraw, ...: now, or as a system of record says, earlier."""
        (kind,) = self.dice.choices(list(SAID), list(SAID.values()))
        subject, source, purpose = self.dice.choice(self.agreed() or [(self.somebody(), *self.pair())])
        self.lately = purpose
        if kind is not Kind.REFUSED:
            wide = [(source, ANY), (ANY, purpose), (ANY, ANY)]
            source, purpose = self.dice.choice([*[(source, purpose)] * 6, *wide])
        if kind is Kind.ERASURE_REQUESTED:
            purpose = ANY
        more: dict[str, Any] = {}
        if kind in (Kind.REVOKED, Kind.INVALIDATED):
            more["basis"] = "a court order"
        if kind is Kind.REVOKED:
            more["indicated_by"] = "guardian"
        at = self.now if kind is Kind.ERASURE_REQUESTED else self.dice.choice([self.now, self.around(30)])
        self.record(self.event(kind, source, purpose, at, subject=subject, **more))

    def agreed(self) -> list[tuple[str, str, str]]:
        """Whom, to what and for what there is a grant of, in force or not; the newest ones."""
        events = [entry.event for key in self.people for entry in self.twin.said[key][-12:]]
        return [(e.subject_key, e.source, e.purpose) for e in events if e.kind is Kind.GIVEN]

    def hold(self) -> None:
        kind = self.dice.choice([Kind.HOLD_PLACED, Kind.HOLD_RELEASED, Kind.HOLD_RELEASED])
        source = self.dice.choice([ANY, *SOURCES])
        name = f"case {self.dice.randrange(3)}"
        self.record(self.event(kind, source, ANY, self.now, hold_id=name, basis="a court order"))

    def link(self) -> None:
        one, other = self.dice.sample(self.people, 2)  # whatever happens to either
        source = self.source()
        self.record(self.event(Kind.LINKED, source, ANY, self.now, subject=one, co_subject_key=other))

    def wait(self) -> None:
        """The clock goes on; now and then it is set back a little, which must undo nothing."""
        days = self.dice.choice([2 / 1440, 0.1, 0.5, 1, 3, self.dice.uniform(5, 25)])
        back = max(self.now - timedelta(seconds=40), self.last_recorded - timedelta(seconds=50))
        self.now = self.dice.choice([self.now + days * DAY] * 6 + [back])
