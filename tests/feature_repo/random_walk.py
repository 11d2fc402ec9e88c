"""One home and the people in it, to whom things happen as the dice fall; whatever is read is compared with the twin.

Everything goes the ways that a lender's system goes: the ledger's `append`, published tables, real batches in the
vault, real ingestion and publish jobs, plain Feast calls, real erasures. The twin (`tests.reference.leak_twin`) is
told what happened and never asks the home about consent.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from consent.nouns import ANY, Kind
from tests.feature_repo.random_data import FEATURES, Data
from tests.feature_repo.random_people import DAY, PURPOSES

REFS = [f"{source}_v1:{feature}" for source, feature in FEATURES.items()]
SERVICES = {"credit_scoring": "scorecard_v1", "model_training": "scorecard_training_v1"}
MICROSECOND = timedelta(microseconds=1)

#: What somebody may say of a value that is read now.
TAKEN_BACK = [
    Kind.PAUSED,
    Kind.PAUSED,
    Kind.INVALIDATED,
    Kind.INVALIDATED,
    Kind.LINKED,
    Kind.WITHDRAWN,
    Kind.REVOKED,
]

#: How often what happens.
OFTEN = {
    "give": 26,
    "say": 16,
    "hold": 3,
    "link": 0.4,
    "wait": 12,
    "publish_by_hand": 5,
    "push": 5,
    "materialise": 6,
    "increment": 3,
    "tidy": 0.6,
    "erase": 1,
    "publish_for_real": 0.3,
    "publish_without_somebody": 0.3,
    "take_back_what_is_read": 10,
    "tidy_and_agree_again": 1.5,
    "increment_after_a_push": 1.5,
    "ingest_for_real": 0.05,
    "read_online": 55,
    "read_historical": 3,
    "run_an_old_job": 1.5,
}


class Walk(Data):
    """A random walk; `counts` says how many steps, questions and values there were."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, seed)
        self.jobs: list[tuple[Any, str, list[tuple[str, datetime]]]] = []

    def step(self) -> None:
        """Whatever comes next.

        Raises:
            AssertionError: a read gave what it must not; it names the seed and the step.
        """
        (kind,) = self.dice.choices(list(OFTEN), list(OFTEN.values()))
        try:
            getattr(self, kind)()
        except AssertionError as error:
            number = self.counts["steps"]
            raise AssertionError(f"seed {self.seed}, step {number}, {kind}: {error}") from error
        self.counts[kind] += 1
        self.counts["steps"] += 1

    def take_back_what_is_read(self) -> None:
        """What is read now is paused, invalidated, linked ..., and read again: chance seldom leads there."""
        subject, source, purpose = self.readable()
        kind = self.dice.choice(TAKEN_BACK)
        more: dict[str, Any] = {"co_subject_key": self.newcomer()} if kind is Kind.LINKED else {}
        if kind in (Kind.REVOKED, Kind.INVALIDATED):
            more["basis"] = "a court order"
        if kind is Kind.REVOKED:
            more["indicated_by"] = "guardian"
        about = (source, ANY) if kind is Kind.LINKED else (source, purpose)
        before = len(self.twin.said[subject])
        self.record(self.event(kind, *about, self.instant, subject=subject, **more))
        heard = len(self.twin.said[subject]) > before
        self.counts[f"{kind} {'heard' if heard else 'not heard'}"] += 1
        self.lately = purpose
        self.read_online(purpose)
        if self.dice.random() < 0.2:
            self.read_historical()

    def tidy_and_agree_again(self) -> None:
        """What nobody might use any more is gone from the online store, also for those who agree anew."""
        subject, source, purpose = self.readable()
        self.record(self.event(Kind.WITHDRAWN, source, ANY, self.now, subject=subject))
        self.tidy()
        self.agree(subject, source, purpose)
        self.read_online(purpose)

    def increment_after_a_push(self) -> None:
        """A pushed value is newer than what is published, and stays."""
        subject, source, purpose = self.readable()
        self.push_newest(subject, source, purpose)
        self.increment(source, purpose)
        self.read_online(purpose)

    def readable(self) -> tuple[str, str, str]:
        """A person, a source and a purpose of which a value is read online now; made so, if there are none."""
        found = [
            (key, source, purpose)
            for key in self.people
            for source in FEATURES
            for purpose in PURPOSES
            if self.twin.read_online(key, source, purpose, self.instant) is not None
        ]
        if not found:
            found = [(self.somebody(), *self.pair())]
            self.agree(*found[0])
            self.push_newest(*found[0])
        return self.dice.choice(found)

    def read_online(self, purpose: str | None = None) -> None:
        """All people, all views, one purpose."""
        purpose = purpose or self.dice.choice([self.lately, self.purpose()])
        store, people = self.stores[purpose], self.asked_about()
        wanted: Any = REFS
        if purpose == "credit_scoring" and self.dice.random() < 0.3:
            wanted = store.get_feature_service("scorecard_v1")
        request = {"features": wanted, "entity_rows": [{"subject_key": key} for key in people]}
        if self.dice.random() < 0.2:
            answer = asyncio.run(store.get_online_features_async(**request)).to_dict()
        else:
            answer = store.get_online_features(**request).to_dict()
        for source, feature in FEATURES.items():
            for key, value in zip(people, answer[feature], strict=True):
                expected = self.twin.read_online(key, source, purpose, self.instant)
                self.compare("online", key, source, purpose, value, expected)

    def read_historical(self) -> None:
        """Rows of all people at instants where something changes; some jobs are kept, and run later."""
        purpose = self.dice.choice([self.lately, self.purpose()])
        rows = [(key, at) for key in self.asked_about() for at in self.telling_instants(key)]
        frame = pd.DataFrame(rows, columns=["subject_key", "event_timestamp"])
        store, wanted = self.stores[purpose], REFS
        if purpose in SERVICES and self.dice.random() < 0.3:
            wanted = store.get_feature_service(SERVICES[purpose])
        job = store.get_historical_features(entity_df=frame, features=wanted)
        if self.dice.random() < 0.4:
            self.jobs.append((job, purpose, rows))
        self.run(job, purpose, rows)

    def run_an_old_job(self) -> None:
        """It was built when other things were so; what counts is what is so when it runs."""
        if self.jobs:
            self.run(*self.jobs.pop(self.dice.randrange(len(self.jobs))))

    def run(self, job: Any, purpose: str, rows: list[tuple[str, datetime]]) -> None:
        table = job.to_arrow()
        for source, feature in FEATURES.items():
            for (key, at), value in zip(rows, table[feature].to_pylist(), strict=True):
                expected = self.twin.read_historical(key, source, purpose, at, self.instant)
                self.compare(f"historical as of {at}", key, source, purpose, value, expected)

    def telling_instants(self, key: str) -> list[datetime]:
        """When a person said something, a grant ends, a value appears or grows too old; or just beside it."""
        found = [self.instant, self.around(100), self.instant + self.dice.random() * 20 * DAY]
        for entry in self.twin.said[key][-10:]:
            found += [entry.event.effective_at, entry.recorded_at]
            if entry.event.grant is not None:
                found.append(entry.event.grant.expires_at)
        for source, rows in self.twin.published.items():
            found += [dated for owner, dated, _ in rows if owner == key]
            found += [dated + self.twin.ttl[source] for owner, dated, _ in rows if owner == key]
        beside = self.dice.choices([timedelta(), MICROSECOND, -MICROSECOND], [6, 1, 1], k=len(found))
        some = [at + step for at, step in zip(found, beside, strict=True)]
        return self.dice.sample(some, min(len(some), 12))

    def compare(
        self, how: str, key: str, source: str, purpose: str, value: float | None, expected: float | None
    ) -> None:
        """One question: what this read gave for one person in one view, and what it must give."""
        self.counts["questions"] += 1
        self.counts["given"] += value is not None
        self.counts[how.partition(" ")[0]] += 1
        self.counts[how.partition(" ")[0] + " given"] += value is not None
        if value is not None:
            assert self.twin.made_for.get(value) == (source, key), f"{how}: a value of somebody else's"
        assert value == expected, f"{how}: {source} for {purpose}: {value} and not {expected}"
