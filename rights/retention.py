"""Which records may not be kept any longer.

Three clocks (`docs/reasons.md`). A row is due when, for every purpose, its use has ended and cannot return by itself:

- its data life is over, or it lies outside the data range of what was agreed to, or consent was never valid: at once;
- consent has ended (withdrawn, revoked, expired, superseded, refused, erased): after the settings' days of grace;
- consent is in force, but says how long data may be stored (`retention_days`): that long after it was loaded.

A pause, a hold, an erasure that waits for one, and a grant that has not begun keep everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consent.catalog import PURPOSES
from consent.home import Home
from consent.nouns import Reason
from consent.timeline import Timeline

_AT_ONCE = pa.array(
    [Reason.DATA_LIFE.value, Reason.DATA_RANGE.value, Reason.INVALIDATED.value, Reason.PROHIBITED.value]
)
_ENDED = pa.array(
    [
        Reason.WITHDRAWN.value,
        Reason.REVOKED.value,
        Reason.EXPIRED.value,
        Reason.SUPERSEDED.value,
        Reason.ERASED.value,
        Reason.NO_GRANT.value,
        Reason.PURPOSE.value,
        Reason.SOURCE.value,
    ]
)


@dataclass(frozen=True)
class Retention:
    """The rule for one source at one instant.

    Attributes:
        stored_us: subject key -> for how long data may be stored, in microseconds; who is not in it has no limit.
    """

    timeline: Timeline
    source: str
    now: datetime
    grace: timedelta
    stored_us: dict[str, int]

    @classmethod
    def of(cls, home: Home, source: str) -> Retention:
        """The rule as the ledger and the settings are now."""
        timeline, now = home.gate.timeline(), home.ledger.now()
        grace = timedelta(days=home.settings.storage.grace_days)
        return cls(timeline, source, now, grace, _stored(home, timeline, source, now))

    def due(
        self,
        subject_key: pa.ChunkedArray,
        data_at: pa.ChunkedArray,
        loaded_at: datetime,
        *,
        derived: bool = False,
    ) -> pa.ChunkedArray:
        """For each row whether it is due.

        Args:
            data_at: the record's own date.
            loaded_at: when the rows were loaded.
            derived: see `consent.decide.decide`.
        """
        purposes = [self._over(subject_key, data_at, loaded_at, p, derived=derived) for p in PURPOSES]
        everywhere, somewhere = _none(subject_key, invert=True), _none(subject_key)
        for over, never in purposes:
            everywhere = pc.and_(everywhere, pc.or_(over, never))
            somewhere = pc.or_(somewhere, over)
        return pc.or_(pc.and_(everywhere, somewhere), self._stored_too_long(subject_key, loaded_at))

    def _over(
        self,
        subject_key: pa.ChunkedArray,
        data_at: pa.ChunkedArray,
        loaded_at: datetime,
        purpose: str,
        *,
        derived: bool,
    ) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """Whether use for one purpose is over for good; whether nobody ever agreed to it."""

        def reasons_at(instant: datetime) -> pa.ChunkedArray:
            return self.timeline.judge(
                subject_key, self.source, purpose, data_at=data_at, as_of=instant, derived=derived
            )

        reasons, old = reasons_at(self.now), self.now - self.grace
        over = pc.is_in(reasons, value_set=_AT_ONCE)
        if loaded_at <= old:
            over = pc.or_(over, pc.and_(_is_over(reasons), _is_over(reasons_at(old))))
        return over, pc.is_in(reasons, value_set=_NEVER)

    def _stored_too_long(self, subject_key: pa.ChunkedArray, loaded_at: datetime) -> pa.ChunkedArray:
        stored = (self.now - loaded_at) // timedelta(microseconds=1)
        over = [subject for subject, limit in self.stored_us.items() if stored >= limit]
        return pc.is_in(subject_key, value_set=pa.array(over, pa.string()))


#: Nobody ever agreed to this for the purpose: says nothing about the other purposes.
_NEVER = pa.array([Reason.NO_GRANT.value, Reason.PURPOSE.value, Reason.SOURCE.value])


def _none(like: pa.ChunkedArray, *, invert: bool = False) -> pa.ChunkedArray:
    """As many noes as there are rows; or as many yeses."""
    return pa.chunked_array([pa.array(np.full(len(like), invert))])


def _is_over(reasons: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.or_(pc.is_in(reasons, value_set=_ENDED), pc.is_in(reasons, value_set=_AT_ONCE))


def _stored(home: Home, timeline: Timeline, source: str, now: datetime) -> dict[str, int]:
    """For how long data of each subject may be stored: the longest of what is agreed to now."""
    limits = home.ledger.retentions(source)
    if not limits:
        return {}
    agreed: dict[str, list[int | None]] = {}
    for purpose in PURPOSES:
        usable = timeline.usable_of(source, purpose, as_of=now)
        for subject, grant in zip(
            usable["subject_key"].to_pylist(), usable["grant_id"].to_pylist(), strict=True
        ):
            agreed.setdefault(subject, []).append(limits.get(grant))
    return {
        subject: max(limit for limit in found if limit is not None)
        for subject, found in agreed.items()
        if None not in found
    }
