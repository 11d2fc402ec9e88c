"""Which rows are due: the rule for whole tables against one written row by row from the text."""

from __future__ import annotations

import contextlib
import random
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from consent.catalog import PURPOSES
from consent.clock import now_utc
from consent.errors import IllegalTransition
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Grant, Kind, Notice, Reason
from ingestion.source import INSTANT
from rights.retention import Retention

DAY = timedelta(days=1)
NOTICE = Notice("n", "1", "zh-CN", "ab" * 32)
NEVER = {Reason.NO_GRANT, Reason.PURPOSE, Reason.SOURCE}
AT_ONCE = {Reason.DATA_LIFE, Reason.DATA_RANGE, Reason.INVALIDATED, Reason.PROHIBITED}
ENDED = NEVER | AT_ONCE | {Reason.WITHDRAWN, Reason.REVOKED, Reason.EXPIRED, Reason.SUPERSEDED, Reason.ERASED}


def is_due(
    home: Home, key: str, data_at: datetime, loaded_at: datetime, now: datetime, stored: dict[str, timedelta]
) -> bool:
    """The text of `rights.retention`, for one row, on `consent.decide` alone."""
    grace = timedelta(days=home.settings.storage.grace_days)
    overs, nevers, limits = [], [], []
    for purpose in PURPOSES:
        reason = home.ledger.decide(key, "spending", purpose, data_at=data_at, as_of=now).reason
        earlier = home.ledger.decide(key, "spending", purpose, data_at=data_at, as_of=now - grace).reason
        ended = loaded_at <= now - grace and reason in ENDED and earlier in ENDED
        overs.append(reason in AT_ONCE or ended)
        nevers.append(reason in NEVER)
        in_force = home.ledger.decide(key, "spending", purpose, as_of=now)
        if in_force.allowed:
            limits.append(stored.get(in_force.grant_id or ""))
    use_is_over = any(overs) and all(over or never for over, never in zip(overs, nevers, strict=True))
    known = [limit for limit in limits if limit is not None]
    return use_is_over or (bool(limits) and len(known) == len(limits) and now - loaded_at >= max(known))


def some_history(dice: random.Random, key: str, now: datetime) -> tuple[list[Event], dict[str, timedelta]]:
    """What a person may have said in a year, and how long data may be stored under each grant."""
    events, stored = [], {}
    for purpose in dice.sample(sorted(PURPOSES), dice.randint(1, 3)):
        given_at = now - dice.randint(40, 300) * DAY
        grant_id, keep = new_event_id(), dice.choice([None, None, 5 * DAY, 60 * DAY])
        terms = Grant(
            grant_id,
            NOTICE,
            "CN",
            "toggle",
            now + dice.choice([-35, -10, 100]) * DAY,
            given_at - 400 * DAY,
            dice.choice([None, None, 20 * DAY]),
            keep,
        )
        if keep is not None:
            stored[grant_id] = keep
        events.append(say(Kind.GIVEN, key, purpose, given_at, grant=terms))
        fate = dice.choice(
            [None, None, Kind.WITHDRAWN, Kind.REVOKED, Kind.PAUSED, Kind.SUPERSEDED, Kind.INVALIDATED]
        )
        if fate is not None:
            grounds = {Kind.REVOKED: "guardian", Kind.INVALIDATED: "authority", Kind.SUPERSEDED: "controller"}
            more = {"indicated_by": grounds.get(fate, "subject")}
            if fate in (Kind.REVOKED, Kind.INVALIDATED):
                more["basis"] = "letter"
            events.append(say(fate, key, purpose, now - dice.choice([1, 20, 31, 39]) * DAY, **more))
    if dice.random() < 0.2:
        events.append(
            say(
                Kind.HOLD_PLACED,
                key,
                ANY,
                now - DAY,
                hold_id=f"h{key[:4]}",
                basis="order",
                indicated_by="authority",
            )
        )
    return events, stored


def say(kind: Kind, key: str, purpose: str, at: datetime, **more: object) -> Event:
    return Event(
        new_event_id(),
        kind,
        key,
        "spending",
        purpose,
        at,
        origin="imported",
        evidence_hash="cd" * 32,
        **more,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_rule_for_tables_agrees_with_the_rule_for_one_row(tmp_path: Path, seed: int) -> None:
    """Over 40 people with histories of every kind, records of every age, loaded long ago and just now."""
    home, dice, now = Home.create(tmp_path / "home"), random.Random(seed), now_utc()
    keys = home.directory.find_or_create([f"C{i}" for i in range(40)])
    stored: dict[str, timedelta] = {}
    for key in keys:
        events, kept = some_history(dice, key, now)
        stored |= kept
        for event in events:
            with contextlib.suppress(IllegalTransition):  # one that would change nothing
                home.ledger.append([event])
    rule = Retention.of(home, "spending")
    rows = [(key, now - dice.choice([1, 19, 21, 100, 350]) * DAY) for key in keys for _ in range(6)]
    answers = set()
    for loaded_at in (now - 90 * DAY, now - 31 * DAY, now - 6 * DAY, now - DAY):
        due = rule.due(
            pa.chunked_array([pa.array([k for k, _ in rows])]),
            pa.chunked_array([pa.array([at for _, at in rows], INSTANT)]),
            loaded_at,
        ).to_pylist()
        expected = [is_due(home, key, at, loaded_at, rule.now, stored) for key, at in rows]
        assert due == expected
        answers |= set(due)
    assert answers == {True, False}
