"""Statements of consent as text, from a lender's file or a command line, read and recorded in the ledger.

One statement is a mapping of field names to text; a file holds one per line, as CSV with a header or as JSON
objects. The rules on reading a statement live here once. Messages name lines, fields and counts, never a value.

==================  ===========================================================================================
event               given, refused, withdrawn, linked
subject_id          customer number
source, purpose     of the catalog; ``*`` in a withdrawal; a link has no purpose
effective_at        ISO 8601; left out: now. Of a grant: the start of its validity
notice_id, notice_version, notice_language, notice_hash, jurisdiction, method, expires_at, data_from
                    terms, all needed in ``given``; elsewhere they are ignored, because a lender's export
                    repeats them in every row
data_life_days, retention_days, replaces, grant_id
                    optional terms
co_subject_id       the other person, in ``linked`` only
channel             where it was said
evidence_hash       SHA-256 of the evidence, 64 hex digits
event_id            the lender's own id of the statement, at most 200 characters
==================  ===========================================================================================
"""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from consent.catalog import PROHIBITED, PURPOSES, SOURCES, require_source
from consent.clock import now_utc, parse_instant
from consent.directory import Directory, normalise_subject_id
from consent.encoding import canonical_json, to_row
from consent.errors import AssentError, BadInput, Denied, IllegalTransition
from consent.files import file_hash
from consent.home import Home
from consent.ledger import MAX_TEXT, new_event_id, require_sound
from consent.nouns import ANY, Event, Grant, Kind, Notice, Origin, Recorded
from consent.sealing import token

#: Without these columns a CSV file is none of consent.
REQUIRED_COLUMNS = ("event", "subject_id", "source")
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
_OPTIONAL_TERMS = ("data_life_days", "retention_days", "replaces", "grant_id")
#: Every field a statement may have.
FIELDS = (
    *("event", "subject_id", "source", "purpose", "effective_at"),
    *_TERMS,
    *_OPTIONAL_TERMS,
    *("co_subject_id", "channel", "evidence_hash", "event_id"),
)

#: Customer numbers; the directory has the rules for them.
_PEOPLE = ("subject_id", "co_subject_id")

MAX_EVENT_ID = 200
MAX_DAYS = 36_500
_EVENTS_PER_APPEND = 2_000
_YEARS = range(1900, 2201)

_SHA256 = re.compile("[0-9a-fA-F]{64}")
_DAYS = re.compile("[1-9][0-9]{0,4}")
_JURISDICTION = re.compile("[A-Z]{2}(-[A-Z0-9]{1,3})?")
_LANGUAGE = re.compile("[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
_FIELD_NAME = re.compile("[a-z][a-z_]{0,39}")


# -------------------------------------------------------------------------------------------- one statement


@dataclass(frozen=True, slots=True)
class ParsedRecord:
    """A statement that was read and is sound as far as text can tell.

    Attributes:
        subject_id, co_subject_id: customer numbers, in their one spelling.
        effective_at: as said, else the moment of reading; `timed` tells which.
        grant: the terms; an empty grant_id where none was said.
        event_id: the lender's own, not yet a key of the ledger.
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
        raise _bad(
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
        canonical="",
    )
    return replace(record, canonical=_canonical(record))


def _bad(message: str, remedy: str, code: str = "BAD_FIELD") -> BadInput:
    return BadInput(message, remedy=remedy, code=code)


def _clean(fields: Mapping[str, str | None]) -> dict[str, str]:
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        named = unknown[0] if _FIELD_NAME.fullmatch(unknown[0]) else "with an odd name"
        raise _bad(f"there is no field {named}", f"Use only: {', '.join(FIELDS)}.", "UNKNOWN_FIELD")
    said = {name: value.strip() for name, value in fields.items() if value and value.strip()}
    for name, value in said.items():
        limit = MAX_EVENT_ID if name == "event_id" else MAX_TEXT
        if name not in _PEOPLE and (len(value) > limit or not value.isprintable()):
            raise _bad(f"{name} is too long or not printable text", f"Give at most {limit} characters.")
    return said


def _need(said: Mapping[str, str], name: str) -> str:
    if name not in said:
        raise _bad(f"{name} is missing", f"Fill in {name}.", "MISSING_FIELD")
    return said[name]


def _kind(text: str) -> Kind:
    if text not in list(Kind):
        raise _bad("the event is none that exists", f"Use one of: {', '.join(Kind)}.", "UNKNOWN_EVENT")
    return Kind(text)


def _about(said: Mapping[str, str], kind: Kind) -> tuple[str, str]:
    """Source and purpose; the words of the catalog are checked without repeating what was said instead."""
    source = _need(said, "source")
    wide = kind is Kind.WITHDRAWN
    if source in PROHIBITED:
        require_source(source)
    if source not in SOURCES and not (source == ANY and wide):
        raise _bad("there is no such source", f"Use one of: {', '.join(SOURCES)}.", "UNKNOWN_SOURCE")
    if kind is Kind.LINKED:
        if said.get("purpose", ANY) != ANY:
            raise _bad("a link is for every purpose", "Leave purpose out.")
        return source, ANY
    purpose = _need(said, "purpose")
    if purpose not in PURPOSES and not (purpose == ANY and wide):
        raise _bad("there is no such purpose", f"Use one of: {', '.join(PURPOSES)}.", "UNKNOWN_PURPOSE")
    return source, purpose


def _person(said: Mapping[str, str], name: str) -> str:
    return normalise_subject_id(_need(said, name))


def _instant(said: Mapping[str, str], name: str) -> datetime:
    at = parse_instant(_need(said, name), what=name)
    if at.year not in _YEARS:
        raise _bad(f"{name} is not in the years 1900 to 2200", "Write a real date; every grant ends.")
    return at


def _hash(said: Mapping[str, str], name: str) -> str:
    text = _need(said, name)
    if not _SHA256.fullmatch(text):
        raise _bad(f"{name} is no SHA-256", "Give 64 hex digits.")
    return text.lower()


def _matching(said: Mapping[str, str], name: str, pattern: re.Pattern[str], example: str) -> str:
    text = _need(said, name)
    if not pattern.fullmatch(text):
        raise _bad(f"{name} is not written as it should be", f"Write it like {example}.")
    return text


def _days(said: Mapping[str, str], name: str) -> timedelta | None:
    if name not in said:
        return None
    text = said[name]
    if not _DAYS.fullmatch(text) or int(text) > MAX_DAYS:
        raise _bad(f"{name} is no whole number of days from 1 to {MAX_DAYS}", "Write it like 365.")
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


# ----------------------------------------------------------------------------------------- into the ledger


def find_subject_keys(directory: Directory, records: Sequence[ParsedRecord]) -> dict[str, str]:
    """Subject key by customer number. People met for the first time get one; a withdrawal makes nobody known."""
    named = [r.subject_id for r in records if r.kind is not Kind.WITHDRAWN]
    named += [r.co_subject_id for r in records if r.co_subject_id]
    keys = dict(zip(named, directory.find_or_create(named), strict=True)) if named else {}
    others = [r.subject_id for r in records if r.subject_id not in keys]
    keys.update((s, key) for s, key in zip(others, directory.find(others), strict=True) if key)
    return keys


def to_event(
    record: ParsedRecord,
    subject_keys: Mapping[str, str],
    secret: bytes,
    *,
    origin: Origin,
    actor: str,
    channel: str,
    file_sha256: str | None = None,
) -> Event:
    """The event a statement becomes.

    The lender's event_id is hashed with `secret`, so that no id of theirs, which may hold a customer number,
    stands in the ledger. Of a file, a statement without an id gets one from its content: reading it again adds
    nothing. A grant without a time of its own counts once for ever, or yesterday's file would bring back what
    was withdrawn since; a withdrawal without one counts once per file.

    Args:
        file_sha256: of the file it stands in: the evidence where none is named. None: no file.

    Raises:
        BadInput: a withdrawal by somebody who is not on record.
    """
    if record.subject_id not in subject_keys:
        raise BadInput(
            "nothing is on record about this person",
            remedy="Check the customer number; there is nothing to withdraw.",
            code="UNKNOWN_SUBJECT",
        )
    event_id = _event_id(record, secret, file_sha256)
    event = _event(record, subject_keys, event_id, origin=origin, actor=actor, channel=channel)
    if event.grant is not None and not event.grant.grant_id:
        grant = replace(event.grant, grant_id=_hashed(secret, "grant", event_id))
        event = replace(event, grant=grant)
    return replace(event, evidence_hash=record.evidence_hash or file_sha256)


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
    )


def _event_id(record: ParsedRecord, secret: bytes, file_sha256: str | None) -> str:
    if record.event_id is not None:
        return _hashed(secret, "event", record.event_id)
    if file_sha256 is None:
        return new_event_id()
    once_for_ever = record.timed or record.kind in (Kind.GIVEN, Kind.LINKED)
    return _hashed(secret, "record", record.canonical, "" if once_for_ever else file_sha256)


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
    keys = find_subject_keys(home.directory, records)
    secret = home.keyring.secret("import")
    events = [to_event(r, keys, secret, origin="recorded", actor=actor, channel=channel) for r in records]
    known = home.ledger.find_events([event.event_id for event in events])
    return home.ledger.append(
        [_as_known(e, r, known.get(e.event_id)) for e, r in zip(events, records, strict=True)]
    )


def _as_known(event: Event, record: ParsedRecord, known: Recorded | None) -> Event:
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


# -------------------------------------------------------------------------------------------------- a file


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not recorded. ``line`` counts from 1, header and blank lines included."""

    line: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file: ``read`` is always the sum of the others. ``rejected`` is in line order."""

    read: int
    recorded: int
    already_recorded: int
    rejected: tuple[Rejected, ...]

    def report(self) -> dict[str, Any]:
        """The same as plain JSON values, with counts by reason."""
        return {
            "read": self.read,
            "recorded": self.recorded,
            "already_recorded": self.already_recorded,
            "rejected_by_reason": dict(sorted(Counter(r.reason for r in self.rejected).items())),
            "rejected": [asdict(r) for r in self.rejected],
        }


def import_records(
    home: Home,
    path: Path,
    *,
    actor: str = "import",
    encoding: str = "utf-8",
    on_progress: Callable[[int], None] = lambda _: None,
) -> ImportReport:
    """Record the statements of a lender's file: good lines are kept, broken ones reported.

    Withdrawals are recorded after everything else in the file, so that their lines may stand anywhere.

    Args:
        path: a ``.csv``, ``.jsonl`` or ``.ndjson`` file, one statement per line.
        encoding: of the file; a byte order mark is no matter.
        on_progress: called now and then with the number of lines read so far.

    Raises:
        BadInput: the file cannot be read as such; nothing was recorded.
        Conflict, Unavailable: the ledger cannot take it now; import the file again later.
    """
    read_lines = _READERS.get(path.suffix.lower())
    if read_lines is None:
        raise BadInput("the file is of no known kind", remedy=f"Name it {', '.join(_READERS)}.")
    codec = _codec(encoding)
    job = _Import(home, actor, _require_text(path, codec), now_utc(), on_progress)
    with path.open(encoding=codec) as file:
        for line, fields in read_lines(file):
            job.take(line, fields)
    return job.finish()


def _codec(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise BadInput("there is no such encoding", remedy="Use utf-8 or gb18030.") from None
    return "utf-8-sig" if name == "utf-8" else name


def _require_text(path: Path, codec: str) -> str:
    """SHA-256 of the file, once all of it has been seen to be text.

    Raises:
        BadInput: it is missing, empty, binary or in another encoding.
    """
    empty = True
    try:
        with path.open(encoding=codec) as file:
            for block in iter(lambda: file.read(1 << 20), ""):
                if "\0" in block:
                    raise BadInput("the file is not text", remedy="Export it as CSV or JSON lines.")
                empty = empty and not block.strip()
        if empty:
            raise BadInput("the file is empty", remedy="Export it again.")
        return file_hash(path)
    except OSError:
        raise BadInput("the file cannot be read", remedy="Check its name and your rights.") from None
    except (UnicodeError, LookupError):
        raise BadInput(f"the file is not text in {codec}", remedy="Name its encoding: gb18030?") from None


#: A line's number and what it says, or why it says nothing.
_Line = tuple[int, Mapping[str, str | None] | BadInput]


def _csv_lines(file: TextIO) -> Iterator[_Line]:
    header: list[str] | None = None
    for number, line in enumerate(file, start=1):
        if not line.strip(" \t\r\n,"):
            continue
        try:
            # One line is one statement: an unclosed quote must not swallow the lines after it.
            cells = next(csv.reader([line], strict=True))
        except csv.Error:
            if header is None:
                raise BadInput("the header is no CSV", remedy="Check its quotes.") from None
            yield number, _bad("the line is no CSV", "Check its quotes.", "BAD_LINE")
            continue
        if header is None:
            header = _header(cells)
        elif len(cells) != len(header):
            counts = f"expected {len(header)} cells, got {len(cells)}"
            yield number, _bad(counts, "Check its commas and quotes.", "BAD_LINE")
        else:
            yield number, dict(zip(header, cells, strict=True))


def _header(cells: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    remedy = f"The first line names the columns, out of: {', '.join(FIELDS)}."
    missing = [name for name in REQUIRED_COLUMNS if name not in header]
    if missing:  # then the line may hold anything, so none of it is repeated
        raise BadInput(f"the file has no column {', '.join(missing)}", remedy=remedy)
    for position, name in enumerate(header, start=1):
        if name not in FIELDS:
            named = f"{name[:40]!r}" if name.isprintable() else "unprintable"
            raise BadInput(f"there is no column {named} (column {position})", remedy=remedy)
    if len(set(header)) < len(header):
        raise BadInput("a column stands twice in the header", remedy=remedy)
    return header


def _json_lines(file: TextIO) -> Iterator[_Line]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            try:
                yield number, _json_fields(line)
            except BadInput as error:
                yield number, error


def _json_fields(line: str) -> dict[str, str | None]:
    try:
        fields = json.loads(line, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise _bad("the line is no JSON", "Write one object per line.", "BAD_LINE") from None
    if not isinstance(fields, dict):
        raise _bad("the line is no JSON object", "Write one object per line.", "BAD_LINE")
    return {name: _json_text(name, value) for name, value in fields.items()}


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _bad("a field stands twice in the line", "Write it once.", "BAD_LINE")
    return fields


def _json_text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if name in ("data_life_days", "retention_days") and type(value) is int:
        return str(value)
    named = name if name in FIELDS else "a field"
    raise _bad(f"{named} is not text", "Put it in quotes; a number would lose its leading zeros.")


_READERS: dict[str, Callable[[TextIO], Iterator[_Line]]] = {
    ".csv": _csv_lines,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}

_Item = tuple[int, ParsedRecord]


class _Import:
    """One file on its way into the ledger."""

    def __init__(
        self, home: Home, actor: str, file_sha256: str, now: datetime, on_progress: Callable[[int], None]
    ) -> None:
        self._home = home
        self._actor = actor
        self._file_sha256 = file_sha256
        self._now = now
        self._on_progress = on_progress
        self._secret = home.keyring.secret("import")
        self._waiting: list[_Item] = []
        self._withdrawals: list[_Item] = []
        self._read = self._recorded = self._already_recorded = 0
        self._rejected: list[Rejected] = []

    def take(self, line: int, fields: Mapping[str, str | None] | BadInput) -> None:
        """The next line."""
        self._read += 1
        try:
            if isinstance(fields, BadInput):
                raise fields
            record = parse_record(fields, now=self._now)
        except (BadInput, Denied) as error:
            self._reject(line, error)
            return
        last = self._withdrawals if record.kind is Kind.WITHDRAWN else self._waiting
        last.append((line, record))
        if len(self._waiting) >= _EVENTS_PER_APPEND:
            self._settle(self._waiting)
            self._waiting = []
            self._on_progress(self._read)

    def finish(self) -> ImportReport:
        """Record what is left, the withdrawals last."""
        self._settle(self._waiting)
        for start in range(0, len(self._withdrawals), _EVENTS_PER_APPEND):
            self._settle(self._withdrawals[start : start + _EVENTS_PER_APPEND])
        self._on_progress(self._read)
        rejected = tuple(sorted(self._rejected, key=lambda r: r.line))
        return ImportReport(self._read, self._recorded, self._already_recorded, rejected)

    def _reject(self, line: int, error: AssentError) -> None:
        self._rejected.append(Rejected(line, error.code, error.message))

    def _settle(self, items: Sequence[_Item]) -> None:
        """Record the statements, or find out why not; the same one twice is settled in two rounds."""
        while items:
            events = self._events(items)
            known = self._home.ledger.find_events([event.event_id for event, _ in events.values()])
            fresh: dict[str, tuple[int, Event]] = {}
            again = []
            for line, (event, record) in events.items():
                on_record = known.get(event.event_id)
                if on_record is not None:
                    self._compare(line, event, record, on_record)
                elif event.event_id in fresh:
                    again.append((line, record))
                else:
                    fresh[event.event_id] = (line, event)
            self._append(list(fresh.values()))
            items = again

    def _events(self, items: Sequence[_Item]) -> dict[int, tuple[Event, ParsedRecord]]:
        keys = find_subject_keys(self._home.directory, [record for _, record in items])
        events = {}
        for line, record in items:
            try:
                event = to_event(
                    record,
                    keys,
                    self._secret,
                    origin="imported",
                    actor=self._actor,
                    channel="import",
                    file_sha256=self._file_sha256,
                )
                require_sound(event, self._now)
                events[line] = (event, record)
            except BadInput as error:
                self._reject(line, error)
        return events

    def _compare(self, line: int, event: Event, record: ParsedRecord, known: Recorded) -> None:
        if _as_known(event, record, known) == known.event:
            self._already_recorded += 1
        else:
            message = "this event_id is on record with other content"
            self._rejected.append(Rejected(line, "CONFLICT", message))

    def _append(self, fresh: Sequence[tuple[int, Event]]) -> None:
        """All at once; if the ledger refuses, by halves, until only what it refuses is left."""
        try:
            self._recorded += len(self._home.ledger.append([event for _, event in fresh]))
        except (BadInput, IllegalTransition) as error:
            if len(fresh) == 1:
                self._reject(fresh[0][0], error)
                return
            middle = len(fresh) // 2
            self._append(fresh[:middle])
            self._append(fresh[middle:])
