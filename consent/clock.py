"""Instants at the edges: aware UTC datetimes in code, microseconds since 1970 in tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from consent.errors import BadInput

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

#: By how much the clocks of those who record consent may disagree.
CLOCK_SKEW = timedelta(minutes=5)


def now_utc() -> datetime:
    """The clock. Called only at the edges; rules take the instant as an argument."""
    return datetime.now(UTC)


def micros(instant: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware instant."""
    return (instant - EPOCH) // MICROSECOND


def instant(micros_utc: int) -> datetime:
    """Inverse of `micros`."""
    return EPOCH + timedelta(microseconds=micros_utc)


def parse_instant(text: str, *, what: str = "instant") -> datetime:
    """Strict ISO 8601 date or date-time; without an offset it is UTC.

    Raises:
        BadInput: the text is no such instant (the text itself is not repeated).
    """
    try:
        parsed = datetime.fromisoformat(text.strip())
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadInput(
            f"{what} is not an ISO 8601 date or date-time",
            remedy="Write it like 2026-11-23 or 2026-11-23T08:00:00+08:00.",
        ) from None


def format_instant(at: datetime) -> str:
    """ISO 8601 in UTC with a trailing Z."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
