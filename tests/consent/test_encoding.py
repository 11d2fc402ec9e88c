"""How an event becomes bytes and a row, and back."""

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from consent.clock import instant, micros
from consent.encoding import (
    ENTRY_BYTES,
    RECORD_COLUMNS,
    canonical_json,
    commitment,
    entry,
    from_row,
    to_row,
)
from consent.errors import EvidenceError
from consent.nouns import ANY, Event, Grant, Kind, Notice, Recorded
from tests.consent import consent_samples
from tests.consent.consent_samples import BELA, NOW

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
integers = st.integers(-(2**53) + 1, 2**53 - 1)
records = st.dictionaries(st.sampled_from(RECORD_COLUMNS), st.none() | text | integers)

times = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
spans = st.none() | st.timedeltas(timedelta(days=1), timedelta(days=36_500))
grants = st.builds(
    Grant,
    grant_id=text,
    notice=st.builds(Notice, text, text, text, text),
    jurisdiction=text,
    method=text,
    expires_at=times,
    data_from=times,
    data_life=spans,
    retention=spans,
    replaces=st.none() | text,
)
events = st.builds(
    Event,
    event_id=text,
    kind=st.sampled_from([k for k in Kind if k is not Kind.GIVEN]),
    subject_key=text,
    source=text,
    purpose=text,
    effective_at=times,
    co_subject_key=st.none() | text,
    origin=st.sampled_from(["recorded", "imported"]),
    actor=text,
    channel=text,
    evidence_hash=st.none() | text,
) | st.builds(
    Event,
    event_id=text,
    kind=st.just(Kind.GIVEN),
    subject_key=text,
    source=text,
    purpose=text,
    effective_at=times,
    grant=grants,
)


@given(records)
@settings(max_examples=300, deadline=None)
def test_canonical_json_is_rfc_8785(record: dict[str, object]) -> None:
    """RFC 8785, section 3.2: the same bytes as the rfc8785 library, for every flat record of text and integers."""
    present = {name: value for name, value in record.items() if value is not None}
    assert canonical_json(record) == rfc8785.dumps(present)  # type: ignore[arg-type]


@given(events, times, st.integers(0, 2**40))
@settings(max_examples=150, deadline=None)
def test_a_row_says_exactly_what_the_event_said(event: Event, recorded_at: datetime, leaf_index: int) -> None:
    """`from_row` is the inverse of `to_row`, to the microsecond."""
    row = to_row(event, micros(recorded_at))
    assert tuple(row) == RECORD_COLUMNS
    assert from_row(row, leaf_index) == Recorded(leaf_index, recorded_at, event)


def test_the_entry_is_41_bytes_that_hide_the_record() -> None:
    """Version, recorded_at and commitment; the commitment binds nonce and canonical record under a domain."""
    record = to_row(consent_samples.given(), micros(NOW))
    nonce = bytes(range(16))
    committed = commitment(record, nonce)
    body = json.dumps(
        {k: v for k, v in record.items() if v is not None},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    assert committed == hashlib.sha256(b"assent-consent-event/v1\n" + nonce + body.encode()).digest()
    hashed = entry(micros(NOW), committed)
    assert len(hashed) == ENTRY_BYTES
    assert hashed == b"\x01" + micros(NOW).to_bytes(8, "big") + committed
    assert commitment(record, bytes(16)) != committed


@pytest.mark.parametrize("column", RECORD_COLUMNS)
def test_every_column_is_committed(column: str) -> None:
    """No column of the record can change under the same commitment."""
    record = to_row(consent_samples.given(), micros(NOW))
    changed = record | {column: 1 if record[column] != 1 else 2}
    assert commitment(changed, bytes(16)) != commitment(record, bytes(16))


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": "perhaps"},
        {"kind": None},
        {"effective_at": "soon"},
        {"recorded_at": 2**62},
        {"expires_at": None},
    ],
)
def test_a_row_that_was_never_written_is_broken_evidence(damage: dict[str, object]) -> None:
    """What `to_row` cannot have written is an evidence error that names the entry and quotes nothing."""
    row = to_row(consent_samples.given(), micros(NOW)) | damage
    with pytest.raises(EvidenceError, match="entry 7") as caught:
        from_row(row, 7)
    assert "perhaps" not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_a_link_keeps_its_other_person() -> None:
    """A link has no terms and one co-subject."""
    link = consent_samples.event(Kind.LINKED, purpose=ANY, co_subject=BELA)
    assert from_row(to_row(link, micros(NOW)), 0).event == link
    assert instant(micros(NOW)) == NOW
