"""Small builders of statements, for the tests of the consent room."""

import hashlib
import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from consent.encoding import to_statement
from consent.nouns import Event, Facts, Grant, Kind, Notice, Origin, Recorded, Statement

NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
ANNA, BELA, CHEN = (hashlib.sha256(name).hexdigest()[:32] for name in (b"anna", b"bela", b"chen"))
EVIDENCE = hashlib.sha256(b"evidence").hexdigest()
NOTICE = Notice("consent-form", "3", "zh-CN", hashlib.sha256(b"notice").hexdigest())

_ids = itertools.count(1)


def fresh_id() -> str:
    """32 hex digits, never the same twice."""
    return f"{next(_ids):032x}"


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def step(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def terms(*, expires_at: datetime, data_from: datetime | None = None, **more: object) -> Grant:
    return Grant(
        grant_id=str(more.pop("grant_id", None) or fresh_id()),
        notice=NOTICE,
        jurisdiction="CN",
        method="toggle, default off",
        expires_at=expires_at,
        data_from=data_from or NOW - YEAR,
        **more,  # type: ignore[arg-type]
    )


def event(
    kind: Kind,
    subject: str = ANNA,
    source: str = "spending",
    purpose: str = "credit_scoring",
    *,
    at: datetime = NOW,
    grant: Grant | None = None,
    co_subject: str | None = None,
    origin: Origin = "recorded",
    event_id: str | None = None,
    hold_id: str | None = None,
    **more: Any,
) -> Event:
    return Event(
        event_id=event_id or fresh_id(),
        kind=kind,
        subject_key=subject,
        source=source,
        purpose=purpose,
        effective_at=at,
        grant=grant,
        co_subject_key=co_subject,
        origin=origin,
        evidence_hash=EVIDENCE if origin == "imported" else None,
        hold_id=hold_id,
        **more,
    )


def given(
    subject: str = ANNA,
    source: str = "spending",
    purpose: str = "credit_scoring",
    *,
    at: datetime = NOW,
    until: datetime | None = None,
    origin: Origin = "recorded",
    event_id: str | None = None,
    **more: object,
) -> Event:
    grant = terms(expires_at=until or at + YEAR, **more)  # type: ignore[arg-type]
    return event(Kind.GIVEN, subject, source, purpose, at=at, grant=grant, origin=origin, event_id=event_id)


def withdrawn(
    subject: str = ANNA,
    source: str = "spending",
    purpose: str = "credit_scoring",
    *,
    at: datetime = NOW,
    origin: Origin = "recorded",
    event_id: str | None = None,
) -> Event:
    return event(Kind.WITHDRAWN, subject, source, purpose, at=at, origin=origin, event_id=event_id)


def facts(*said: tuple[datetime, Event]) -> Facts:
    """What was said and when it was recorded, in ledger order, as facts about Anna, and whom she is linked to."""
    entries = [Recorded(i, recorded_at, e) for i, (recorded_at, e) in enumerate(said)]
    linked = {e.co_subject_key for _, e in said if e.co_subject_key}

    def about(key: str) -> tuple[Statement, ...]:
        return tuple(to_statement(r) for r in entries if r.event.subject_key == key)

    return Facts(about(ANNA), {key: about(key) for key in sorted(linked)})


def on_record(events: Iterable[Event], *, recorded_at: datetime = NOW) -> tuple[Recorded, ...]:
    """The events as the ledger would hold them, all recorded at one instant."""
    return tuple(Recorded(i, recorded_at, e) for i, e in enumerate(events))
