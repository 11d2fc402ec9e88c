"""Instants as text and as numbers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.clock import format_instant, instant, micros, now_utc, parse_instant
from consent.errors import BadInput

aware = st.datetimes(
    datetime(1900, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC) | st.just(timezone(timedelta(hours=8)))
)


@given(aware)
@settings(max_examples=200, deadline=None)
def test_numbers_and_text_lose_nothing(at: datetime) -> None:
    """Microseconds and ISO 8601 both lead back to the same instant, in UTC."""
    assert instant(micros(at)) == parse_instant(format_instant(at)) == at
    assert instant(micros(at)).tzinfo is UTC
    assert format_instant(at).endswith("Z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
        (" 2026-11-23T08:00:00+08:00 ", datetime(2026, 11, 23, tzinfo=UTC)),
        ("2026-11-23T08:00", datetime(2026, 11, 23, 8, tzinfo=UTC)),
        ("2026-11-23T08:00:00.000001Z", datetime(2026, 11, 23, 8, 0, 0, 1, tzinfo=UTC)),
    ],
)
def test_without_an_offset_it_is_utc(text: str, expected: datetime) -> None:
    """A date is its first moment in UTC; an offset is honoured."""
    assert parse_instant(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "23/11/2026",
        "2026-13-01",
        "2026-02-30",
        "1795420800",
        "2026-11-23T25:00",
        "0001-01-01T00:00:00+08:00",
        "9999-12-31T23:59:59-08:00",
        "２０２６-１１-２３",
        "2026-11-23\0",
    ],
)
def test_what_is_no_instant_is_refused(text: str) -> None:
    """Also what falls off the calendar in UTC; the text itself is not repeated."""
    with pytest.raises(BadInput, match="effective_at") as caught:
        parse_instant(text, what="effective_at")
    assert not text or text not in str(caught.value) + caught.value.remedy


def test_the_clock_is_aware_and_in_utc() -> None:
    """Nothing in the house takes a naive time."""
    assert now_utc().tzinfo is UTC
    assert abs(now_utc() - datetime.now(UTC)) < timedelta(seconds=10)
