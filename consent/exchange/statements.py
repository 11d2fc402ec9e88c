"""Statements of consent as text, from a lender's file or a command line, and the events they become.

One statement is a mapping of field names to text. The rules on reading one live here once. Messages name fields and
counts, never a value.

==================  ===========================================================================================
event               given, refused, paused, resumed, withdrawn, revoked, superseded, invalidated, linked, hold_placed,
                    hold_released, erasure_requested; that an erasure is *done* is no statement, see `Ledger.erase`
subject_id          customer number
source, purpose     of the catalog; ``*`` for every one, but in given and refused; a link, a hold and a request for
                    erasure have no purpose
effective_at        ISO 8601; left out: now. Of a grant: the start of its validity
notice_id, notice_version, notice_language, notice_hash, jurisdiction, method, expires_at, data_from
                    terms, all needed in ``given``; elsewhere they are ignored, because a lender's export
                    repeats them in every row
data_until, data_life_days, retention_days, replaces, grant_id
                    optional terms; grant_id also names the one grant that is invalidated
hold_id             the lender's name of a hold
basis               legal ground, needed in revoked, invalidated and hold_placed; no person's name
indicated_by        subject, guardian, controller or authority; left out: subject
co_subject_id       the other person, in ``linked`` only
channel             where it was said
evidence_hash       SHA-256 of the evidence, 64 hex digits
event_id            the lender's own id of the statement, at most 200 characters
==================  ===========================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from secrets import token_hex
from typing import cast, get_args

from consent.admission import EVERY_PURPOSE, HOLDS, MAX_TEXT, require_sound
from consent.catalog import PROHIBITED, PURPOSES, SOURCES, require_source
from consent.clock import now_utc, parse_instant
from consent.directory import Directory, Tombstone, normalise_subject_id
from consent.encoding import canonical_json, to_row
from consent.errors import BadInput
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Grant, Indicator, Kind, Notice, Origin, Recorded
from consent.sealing import token

_TERMS = (
    "notice_id",
    "notice_version",
    "notice_language",
    "notice_hash",
    "jurisdiction",
    "method",
    "expires_at",
    "data_from",
)
_OPTIONAL_TERMS = ("data_until", "data_life_days", "retention_days", "replaces", "grant_id")
#: Every field a statement may have.
FIELDS = (
    *("event", "subject_id", "source", "purpose", "effective_at"),
    *_TERMS,
    *_OPTIONAL_TERMS,
    *("co_subject_id", "hold_id", "basis", "indicated_by", "channel", "evidence_hash", "event_id"),
)

#: What can be said; an erasure is done, not said.
SAYABLE = tuple(k for k in Kind if k is not Kind.ERASED)
#: About one source and one purpose.
_NARROW = (Kind.GIVEN, Kind.REFUSED)
_INDICATORS = get_args(Indicator)

#: Customer numbers; the directory has the rules for them.
_PEOPLE = ("subject_id", "co_subject_id")

#: In front of a grant's name: it is the ledger's own, as ``consent show`` gives it, not the lender's.
GRANT_OF_LEDGER = "assent:"
MAX_EVENT_ID = 200
MAX_DAYS = 36_500
_YEARS = range(1900, 2201)

_SHA256 = re.compile("[0-9a-fA-F]{64}")
_DAYS = re.compile("[1-9][0-9]{0,4}")
_JURISDICTION = re.compile("[A-Z]{2}(-[A-Z0-9]{1,3})?")
_LANGUAGE = re.compile("[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_FIELD_NAME = re.compile("[a-z][a-z_]{0,39}")


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """A statement that was read and is sound as far as text can tell.

    Attributes:
        subject_id, co_subject_id: customer numbers, in their one spelling.
        effective_at: as said, else the moment of reading; `timed` tells which.
        grant: the terms; an empty grant_id where none was said.
        event_id: the lender's own, not yet a key of the ledger.
        grant_id, hold_id: the lender's own; the grant that is invalidated, the hold that is placed or released.
        canonical: JSON of what was said, one text for all ways to write it.
    """

    kind: Kind
    subject_id: str
    source: str
    purpose: str
    effective_at: datetime
    timed: bool
    grant: Grant | None
    co_subject_id: str | None
    channel: str | None
    evidence_hash: str | None
    event_id: str | None
    grant_id: str | None
    hold_id: str | None
    basis: str | None
    indicated_by: Indicator
    canonical: str


def parse_record(fields: Mapping[str, str | None], *, now: datetime) -> ParsedRecord:
    """Read one statement.

    Args:
        fields: text by field name; empty text and None are the same as leaving the field out.
        now: when a statement without a time of its own takes effect.

    Raises:
        BadInput: a field is missing, unknown or wrong; its code says which.
        Denied: the source is prohibited.
    """
    said = _clean(fields)
    kind = _kind(_need(said, "event"))
    source, purpose = _about(said, kind)
    if (kind is Kind.LINKED) != ("co_subject_id" in said):
        raise bad_field(
            "co_subject_id belongs to a link, and only to a link", "Send the link as a line of its own."
        )
    effective_at = _instant(said, "effective_at") if "effective_at" in said else now
    record = ParsedRecord(
        kind=kind,
        subject_id=_person(said, "subject_id"),
        source=source,
        purpose=purpose,
        effective_at=effective_at,
        timed="effective_at" in said,
        grant=_grant(said) if kind is Kind.GIVEN else None,
        co_subject_id=_person(said, "co_subject_id") if kind is Kind.LINKED else None,
        channel=said.get("channel"),
        evidence_hash=_hash(said, "evidence_hash") if "evidence_hash" in said else None,
        event_id=said.get("event_id"),
        grant_id=said.get("grant_id") if kind is Kind.INVALIDATED else None,
        hold_id=_need(said, "hold_id") if kind in HOLDS else None,
        basis=said.get("basis"),
        indicated_by=_indicator(said, kind),
        canonical="",
    )
    return replace(record, canonical=_canonical(record))


def bad_field(message: str, remedy: str, code: str = "BAD_FIELD") -> BadInput:
    """An error about a field; its code says which kind."""
    return BadInput(message, remedy=remedy, code=code)


def _clean(fields: Mapping[str, str | None]) -> dict[str, str]:
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        named = unknown[0] if _FIELD_NAME.fullmatch(unknown[0]) else "with an odd name"
        raise bad_field(f"there is no field {named}", f"Use only: {', '.join(FIELDS)}.", "UNKNOWN_FIELD")
    said = {name: value.strip() for name, value in fields.items() if value and value.strip()}
    for name, value in said.items():
        limit = MAX_EVENT_ID if name == "event_id" else MAX_TEXT
        if name not in _PEOPLE and (len(value) > limit or not value.isprintable()):
            raise bad_field(f"{name} is too long or not printable text", f"Give at most {limit} characters.")
    return said


def _need(said: Mapping[str, str], name: str) -> str:
    if name not in said:
        raise bad_field(f"{name} is missing", f"Fill in {name}.", "MISSING_FIELD")
    return said[name]


def _kind(text: str) -> Kind:
    if text not in SAYABLE:
        raise bad_field(
            "the event is none that exists", f"Use one of: {', '.join(SAYABLE)}.", "UNKNOWN_EVENT"
        )
    return Kind(text)


def _about(said: Mapping[str, str], kind: Kind) -> tuple[str, str]:
    """Source and purpose; the words of the catalog are checked without repeating what was said instead."""
    source = _need(said, "source")
    wide = kind not in (*_NARROW, Kind.LINKED)
    if source in PROHIBITED:
        require_source(source)
    if source not in SOURCES and not (source == ANY and wide):
        raise bad_field("there is no such source", f"Use one of: {', '.join(SOURCES)}.", "UNKNOWN_SOURCE")
    if kind in EVERY_PURPOSE:
        if said.get("purpose", ANY) != ANY:
            raise bad_field("a link, a hold or an erasure is for every purpose", "Leave purpose out.")
        return source, ANY
    purpose = _need(said, "purpose")
    if purpose not in PURPOSES and not (purpose == ANY and wide):
        raise bad_field("there is no such purpose", f"Use one of: {', '.join(PURPOSES)}.", "UNKNOWN_PURPOSE")
    return source, purpose


def _indicator(said: Mapping[str, str], kind: Kind) -> Indicator:
    who = said.get("indicated_by", "subject")
    if who not in _INDICATORS:
        raise bad_field("indicated_by is none that exists", f"Use one of: {', '.join(_INDICATORS)}.")
    if kind is Kind.REVOKED:
        _need(said, "indicated_by")
    return cast("Indicator", who)


def _person(said: Mapping[str, str], name: str) -> str:
    return normalise_subject_id(_need(said, name))


def _instant(said: Mapping[str, str], name: str) -> datetime:
    at = parse_instant(_need(said, name), what=name)
    if at.year not in _YEARS:
        raise bad_field(f"{name} is not in the years 1900 to 2200", "Write a real date; every grant ends.")
    return at


def _hash(said: Mapping[str, str], name: str) -> str:
    text = _need(said, name)
    if not _SHA256.fullmatch(text):
        raise bad_field(f"{name} is no SHA-256", "Give 64 hex digits.")
    return text.lower()


def _matching(said: Mapping[str, str], name: str, pattern: re.Pattern[str], example: str) -> str:
    text = _need(said, name)
    if not pattern.fullmatch(text):
        raise bad_field(f"{name} is not written as it should be", f"Write it like {example}.")
    return text


def _days(said: Mapping[str, str], name: str) -> timedelta | None:
    if name not in said:
        return None
    text = said[name]
    if not _DAYS.fullmatch(text) or int(text) > MAX_DAYS:
        raise bad_field(f"{name} is no whole number of days from 1 to {MAX_DAYS}", "Write it like 365.")
    return timedelta(days=int(text))


def _grant(said: Mapping[str, str]) -> Grant:
    return Grant(
        grant_id=said.get("grant_id", ""),
        notice=Notice(
            _need(said, "notice_id"),
            _need(said, "notice_version"),
            _matching(said, "notice_language", _LANGUAGE, "zh-CN"),
            _hash(said, "notice_hash"),
        ),
        jurisdiction=_matching(said, "jurisdiction", _JURISDICTION, "CN or IN-KA"),
        method=_need(said, "method"),
        expires_at=_instant(said, "expires_at"),
        data_from=_instant(said, "data_from"),
        data_until=_instant(said, "data_until") if "data_until" in said else None,
        data_life=_days(said, "data_life_days"),
        retention=_days(said, "retention_days"),
        replaces=said.get("replaces"),
    )


def _canonical(record: ParsedRecord) -> str:
    """As the ledger would write it, with the customer numbers for the people."""
    people = {record.subject_id: record.subject_id, record.co_subject_id or "": record.co_subject_id or ""}
    row = to_row(_event(record, people, "", origin="imported", actor="", channel=""), 0)
    if not record.timed:
        row["effective_at"] = None
    return canonical_json(row).decode()


#: What makes a person known; the rest is about somebody who is.
_INTRODUCING = (*_NARROW, Kind.LINKED)


@dataclass(frozen=True)
class People:
    """Who statements are about.

    Attributes:
        keys: customer number -> subject key.
        erased: customer number -> when, and by which erasure, of those who were erased.
        from_file: whether the statements stand in a file.
    """

    keys: Mapping[str, str]
    erased: Mapping[str, Tombstone]
    from_file: bool

    def is_gone(self, subject_id: str, record: ParsedRecord) -> bool:
        """Whether a statement is about a person as they were before they were erased.

        Only a statement dated after the erasure is not. In a file it has to have a time of its own: what cannot be
        shown does not bring anybody back.
        """
        tombstone = self.erased.get(subject_id)
        if tombstone is None:
            return False
        return record.effective_at <= tombstone.erased_at or (self.from_file and not record.timed)


def find_people(directory: Directory, records: Sequence[ParsedRecord], *, from_file: bool) -> People:
    """The people of some statements. Who is met for the first time, or again, gets a key by a yes, a no or a link."""
    named = list(dict.fromkeys(s for r in records for s in (r.subject_id, r.co_subject_id) if s))
    keys = {s: key for s, key in zip(named, directory.find(named), strict=True) if key}
    people = People(keys, directory.tombstones(named), from_file)
    met = {r.subject_id for r in records if r.kind in _INTRODUCING and not people.is_gone(r.subject_id, r)}
    met |= {r.co_subject_id for r in records if r.co_subject_id and r.co_subject_id not in people.erased}
    new = sorted(met - keys.keys())
    created = zip(new, directory.find_or_create(new), strict=True) if new else ()
    return replace(people, keys=keys | dict(created))


def to_event(
    record: ParsedRecord,
    people: People,
    secret: bytes,
    *,
    origin: Origin,
    actor: str,
    channel: str,
    file_token: str | None = None,
) -> Event:
    """The event a statement becomes.

    The lender's event_id is hashed with `secret`, so that no id of theirs, which may hold a customer number,
    stands in the ledger. Of a file, a statement without an id gets one from its content: reading it again adds
    nothing. A grant without a time of its own counts once for ever, or yesterday's file would bring back what
    was withdrawn since; a withdrawal without one counts once per file.

    Args:
        file_token: keyed hash of the file it stands in: the evidence where none is named. None: no file.

    Raises:
        BadInput: it is about somebody who is not on record.
    """
    if any(people.is_gone(s, record) for s in (record.subject_id, record.co_subject_id) if s):
        raise BadInput(
            "this person was erased",
            remedy="A new consent, dated after the erasure, is a new beginning; nothing else can be recorded.",
            code="ERASED",
        )
    if record.subject_id not in people.keys or (record.co_subject_id or record.subject_id) not in people.keys:
        raise BadInput(
            "nothing is on record about this person",
            remedy="Check the customer number; there is nothing to act on.",
            code="UNKNOWN_SUBJECT",
        )
    event_id = _event_id(record, secret, file_token)
    event = _event(record, people.keys, event_id, origin=origin, actor=actor, channel=channel)
    if event.grant is not None:
        said, earlier = event.grant.grant_id, event.grant.replaces
        grant = replace(
            event.grant,
            grant_id=_grant_id(secret, said) if said else _hashed(secret, "grant", event_id),
            replaces=_grant_id(secret, earlier) if earlier else None,
        )
        event = replace(event, grant=grant)
    if event.grant_id is not None:
        event = replace(event, grant_id=_grant_id(secret, event.grant_id))
    if event.hold_id is not None:
        event = replace(event, hold_id=_hashed(secret, "lender-hold", event.hold_id))
    return replace(event, evidence_hash=record.evidence_hash or file_token)


def _event(
    record: ParsedRecord,
    subject_keys: Mapping[str, str],
    event_id: str,
    *,
    origin: Origin,
    actor: str,
    channel: str,
) -> Event:
    return Event(
        event_id=event_id,
        kind=record.kind,
        subject_key=subject_keys[record.subject_id],
        source=record.source,
        purpose=record.purpose,
        effective_at=record.effective_at,
        grant=record.grant,
        co_subject_key=subject_keys[record.co_subject_id] if record.co_subject_id else None,
        origin=origin,
        actor=actor,
        channel=record.channel or channel,
        evidence_hash=record.evidence_hash,
        grant_id=record.grant_id,
        hold_id=record.hold_id,
        basis=record.basis,
        indicated_by=record.indicated_by,
    )


def _event_id(record: ParsedRecord, secret: bytes, file_token: str | None) -> str:
    if record.event_id is not None:
        return _hashed(secret, "event", record.event_id)
    if file_token is None:
        return new_event_id()
    once_for_ever = record.timed or record.kind in (Kind.GIVEN, Kind.LINKED)
    return _hashed(secret, "record", record.canonical, "" if once_for_ever else file_token)


def _grant_id(secret: bytes, said: str) -> str:
    """The ledger's name of a grant, from the lender's or from its own."""
    own = said.removeprefix(GRANT_OF_LEDGER)
    return own if own != said else _hashed(secret, "lender-grant", said)


def _hashed(secret: bytes, *parts: str) -> str:
    return token(secret, *(part.encode() for part in parts))[:16].hex()


def record_statement(
    home: Home, fields: Mapping[str, str | None], *, actor: str = "operator", channel: str = "cli"
) -> Recorded:
    """`record_statements` for one."""
    return record_statements(home, [fields], actor=actor, channel=channel)[0]


def record_statements(
    home: Home,
    statements: Sequence[Mapping[str, str | None]],
    *,
    actor: str = "operator",
    channel: str = "cli",
) -> list[Recorded]:
    """Read statements made here and now, and record all of them or none.

    Raises:
        BadInput, Denied: one cannot be read, or withdraws for somebody who is not on record.
        IllegalTransition: one does not fit the state it met.
        Conflict: an event_id is on record with other content.
    """
    now = now_utc()
    records = [parse_record(fields, now=now) for fields in statements]
    secret = home.keyring.secret("import")
    _require_sound(home.directory, records, secret, now)
    people = find_people(home.directory, records, from_file=False)
    events = [to_event(r, people, secret, origin="recorded", actor=actor, channel=channel) for r in records]
    known = home.ledger.find_events([event.event_id for event in events])
    return home.ledger.append(
        [as_known(e, r, known.get(e.event_id)) for e, r in zip(events, records, strict=True)]
    )


def _require_sound(
    directory: Directory, records: Sequence[ParsedRecord], secret: bytes, now: datetime
) -> None:
    """Raise for what no ledger takes, before somebody new is made known by it."""
    named = list(dict.fromkeys(record.subject_id for record in records))
    unknown = [s for s, key in zip(named, directory.find(named), strict=True) if key is None]
    new = set(unknown) - directory.tombstones(unknown).keys()
    for record in (r for r in records if r.subject_id in new):
        keys = {s: token_hex(16) for s in (record.subject_id, record.co_subject_id) if s}
        nobody = People(keys, {}, from_file=False)
        require_sound(
            to_event(record, nobody, secret, origin="recorded", actor="operator", channel="cli"), now
        )


def as_known(event: Event, record: ParsedRecord, known: Recorded | None) -> Event:
    """The event with what the statement left open, and how it came in, as it is on record already."""
    if known is None:
        return event
    return replace(
        event,
        effective_at=event.effective_at if record.timed else known.event.effective_at,
        evidence_hash=record.evidence_hash or known.event.evidence_hash,
        channel=record.channel or known.event.channel,
        origin=known.event.origin,
        actor=known.event.actor,
    )
