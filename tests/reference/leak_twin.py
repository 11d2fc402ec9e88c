"""The slow, obviously right way to know what any read must give: keep everything in lists and look through it.

Written from DESIGN section 4: a value is given when consent for its source and the purpose is in force **now**, was
in force at the **row's instant**, and covers the **value's own date**; anything else is null. Who consented to what
is `consent_twin`'s to say. Shares no code with the stores, the gate or the rules it checks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from consent.nouns import Recorded
from tests.reference.consent_twin import PURPOSES, SOURCES, verdict

#: Subject, the value's own date, the value; None: it is null.
Row = tuple[str, datetime, float | None]


class World:
    """What was said, what is published, and what lies in the online store.

    Attributes:
        ttl: source -> how old a value may be.
        made_for: value -> the source and person it was published or pushed for; every value is another.
    """

    def __init__(self, ttl: Mapping[str, timedelta]) -> None:
        self.ttl = ttl
        self.said: dict[str, list[Recorded]] = defaultdict(list)
        self.published: dict[str, list[Row]] = {source: [] for source in SOURCES}
        self.online: dict[tuple[str, str], tuple[datetime, float | None]] = {}
        self.made_for: dict[float, tuple[str, str]] = {}

    # ------------------------------------------------------------------ what happens

    def hear(self, entries: Iterable[Recorded]) -> None:
        """Entries of the ledger, each once."""
        for entry in entries:
            mine = self.said[entry.event.subject_key]
            if entry.leaf_index not in {known.leaf_index for known in mine}:
                mine.append(entry)

    def publish(self, source: str, rows: Iterable[Row]) -> None:
        """A data version takes the place of the one before."""
        self.published[source] = list(rows)
        self._note(source, self.published[source])

    def materialise(
        self, source: str, purpose: str, start: datetime, end: datetime, now: datetime, *, only_newer: bool
    ) -> None:
        """Each person's latest row in the range, where this purpose may use it now."""
        latest: dict[str, tuple[datetime, float | None]] = {}
        for subject, at, value in sorted(self.published[source], key=lambda row: row[1]):
            if start <= at <= end:
                latest[subject] = (at, value)
        for subject, (at, value) in latest.items():
            there = self.online.get((source, subject))
            stays = only_newer and there is not None and there[0] > at
            if not stays and self.may(subject, source, purpose, now, at):
                self.online[source, subject] = (at, value)

    def push(self, source: str, row: Row, now: datetime) -> None:
        """One row straight into the online store, if any purpose may use it now."""
        subject, at, value = row
        self._note(source, [row])
        if any(self.may(subject, source, purpose, now, at) for purpose in PURPOSES):
            self.online[source, subject] = (at, value)

    def tidy(self, now: datetime) -> None:
        """Online values that no purpose may use any more go; where one only has to wait, they stay."""
        for source, subject in list(self.online):
            reasons = {self._reason(subject, source, p, now, None, derived=True) for p in PURPOSES}
            waits = reasons & {None, "PAUSED", "RESTRICTED"}
            ended = reasons & {"EXPIRED", "SUPERSEDED", "WITHDRAWN", "REVOKED", "INVALIDATED"}
            if not waits and (ended or "NOT_YET" not in reasons):
                del self.online[source, subject]

    def erase(self, subject: str, source: str) -> None:
        """A person's rows and values of one source, or of every one, are gone."""
        for gone in SOURCES if source == "*" else (source,):
            self.published[gone] = [row for row in self.published[gone] if row[0] != subject]
            self.online.pop((gone, subject), None)

    def _note(self, source: str, rows: Iterable[Row]) -> None:
        for subject, _, value in rows:
            if value is None:
                continue
            assert self.made_for.setdefault(value, (source, subject)) == (source, subject)

    # ------------------------------------------------------------------ what a read must give

    def read_online(self, subject: str, source: str, purpose: str, now: datetime) -> float | None:
        """The value that lies online, if this purpose may use it now and it is not too old."""
        if (source, subject) not in self.online:
            return None
        at, value = self.online[source, subject]
        fresh = at >= now - self.ttl[source]
        return value if fresh and self.may(subject, source, purpose, now, at) else None

    def read_historical(
        self, subject: str, source: str, purpose: str, at: datetime, now: datetime
    ) -> float | None:
        """The latest value that could be seen at an instant, of those that may be used now and might be used then."""
        best: tuple[datetime, float | None] | None = None
        for owner, dated, value in self.published[source]:
            if owner != subject or not at - self.ttl[source] <= dated <= at:
                continue
            if best is not None and dated <= best[0]:
                continue
            if all(self.may(subject, source, purpose, instant, dated) for instant in (now, at)):
                best = (dated, value)
        return None if best is None else best[1]

    def may(self, subject: str, source: str, purpose: str, as_of: datetime, dated: datetime | None) -> bool:
        """Whether consent allows a feature of that date to be used."""
        return self._reason(subject, source, purpose, as_of, dated, derived=True) is None

    def may_be_loaded(self, subject: str, source: str, now: datetime, dated: datetime) -> bool:
        """Whether a record of that date may be loaded now, for whatever purpose."""
        return any(self._reason(subject, source, p, now, dated, derived=False) is None for p in PURPOSES)

    def _reason(
        self,
        subject: str,
        source: str,
        purpose: str,
        as_of: datetime,
        dated: datetime | None,
        *,
        derived: bool,
    ) -> str | None:
        own = tuple(self.said[subject])
        others = {entry.event.co_subject_key for entry in own} - {None}
        about_others = {str(key): tuple(self.said[str(key)]) for key in others}
        return verdict(own, about_others, source, purpose, data_at=dated, as_of=as_of, derived=derived)
