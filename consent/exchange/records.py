"""Statements of consent in a lender's file, recorded in the ledger.

A file holds one statement per line, as CSV with a header or as JSON objects; the fields are those of
`consent.exchange.statements`. Good lines are kept, broken ones reported by number and reason, and nothing is recorded
twice.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from consent.admission import ALREADY, require_sound
from consent.clock import now_utc
from consent.errors import AssentError, BadInput, Denied, IllegalTransition
from consent.exchange.account_aggregator import read_artefacts
from consent.exchange.jws import PublicKeys
from consent.exchange.statements import (
    FIELDS,
    ParsedRecord,
    as_known,
    bad_field,
    find_people,
    parse_record,
    to_event,
)
from consent.home import Home
from consent.nouns import Event, Kind, Recorded
from consent.sealing import token

#: Without these columns a CSV file is none of consent.
REQUIRED_COLUMNS = ("event", "subject_id", "source")
_EVENTS_PER_APPEND = 2_000


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that was not recorded. ``line`` counts from 1, header and blank lines included."""

    line: int
    reason: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file: ``read`` is always the sum of the others. ``rejected`` is in line order.

    Attributes:
        notes: what else there is to say -> of how many consent artefacts.
    """

    read: int
    recorded: int
    already_recorded: int
    rejected: tuple[Rejected, ...]
    notes: Mapping[str, int] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The same as plain JSON values, with counts by reason."""
        return {
            "read": self.read,
            "recorded": self.recorded,
            "already_recorded": self.already_recorded,
            "rejected_by_reason": dict(sorted(Counter(r.reason for r in self.rejected).items())),
            "rejected": [asdict(r) for r in self.rejected],
            "notes": dict(self.notes),
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

    What acts on consents and holds is recorded after what gives them, in the order of time, so that lines may stand
    anywhere.

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
    job = _Import(home, actor, _require_text(home, path, codec), now_utc(), on_progress)
    with path.open(encoding=codec) as file:
        for line, fields in read_lines(file):
            job.take(line, fields)
    return job.finish()


def import_artefacts(
    home: Home,
    path: Path,
    keys: PublicKeys,
    *,
    consumer: str | None = None,
    actor: str = "import",
    on_progress: Callable[[int], None] = lambda _: None,
) -> ImportReport:
    """Record the consents in a file of India's Account Aggregator artefacts, as `import_records` does.

    Args:
        path: one artefact as JSON, or one a line.
        keys: of the Account Aggregators: an artefact they have not signed is rejected.
        consumer: the lender's own identifier among them; others' artefacts are rejected. None: not looked at.

    Returns:
        The report counts statements, of which an artefact gives one or two, by its place in the file.
    """
    notes: Counter[str] = Counter()
    job = _Import(home, actor, _require_text(home, path, "utf-8-sig"), now_utc(), on_progress)
    for position, found in read_artefacts(path, keys, consumer=consumer, notes=notes):
        for fields in [found] if isinstance(found, BadInput) else found:
            job.take(position, fields)
    return replace(job.finish(), notes=dict(notes))


def _codec(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise BadInput("there is no such encoding", remedy="Use utf-8 or gb18030.") from None
    return "utf-8-sig" if name == "utf-8" else name


def _require_text(home: Home, path: Path, codec: str) -> str:
    """Keyed hash of the file, once all of it has been seen to be text.

    A plain hash of a short file would confirm a guess of what is in it.

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
        return token(home.keyring.secret("evidence"), path.read_bytes()).hex()
    except OSError:
        raise BadInput("the file cannot be read", remedy="Check its name and your rights.") from None
    except (UnicodeError, LookupError):
        raise BadInput(
            f"the file is not text in {codec.removesuffix('-sig')}",
            remedy="Name its encoding with --encoding, e.g. gb18030.",
        ) from None


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
            yield number, bad_field("the line is no CSV", "Check its quotes.", "BAD_LINE")
            continue
        if header is None:
            header = _header(cells)
        elif len(cells) != len(header):
            counts = f"expected {len(header)} cells, got {len(cells)}"
            yield number, bad_field(counts, "Check its commas and quotes.", "BAD_LINE")
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
        raise bad_field("the line is no JSON", "Write one object per line.", "BAD_LINE") from None
    if not isinstance(fields, dict):
        raise bad_field("the line is no JSON object", "Write one object per line.", "BAD_LINE")
    return {name: _json_text(name, value) for name, value in fields.items()}


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    pairs = list(pairs)
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise bad_field("a field stands twice in the line", "Write it once.", "BAD_LINE")
    return fields


def _json_text(name: str, value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if name in ("data_life_days", "retention_days") and type(value) is int:
        return str(value)
    named = name if name in FIELDS else "a field"
    raise bad_field(f"{named} is not text", "Put it in quotes; a number would lose its leading zeros.")


_READERS: dict[str, Callable[[TextIO], Iterator[_Line]]] = {
    ".csv": _csv_lines,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
}

_Item = tuple[int, ParsedRecord]


class _Import:
    """One file on its way into the ledger."""

    def __init__(
        self, home: Home, actor: str, file_token: str, now: datetime, on_progress: Callable[[int], None]
    ) -> None:
        self._home = home
        self._actor = actor
        self._evidence = file_token
        self._now = now
        self._on_progress = on_progress
        self._secret = home.keyring.secret("import")
        self._waiting: list[_Item] = []
        self._later: list[_Item] = []
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
        later = self._waiting if record.kind in (Kind.GIVEN, Kind.REFUSED, Kind.LINKED) else self._later
        later.append((line, record))
        if len(self._waiting) >= _EVENTS_PER_APPEND:
            self._settle(self._waiting)
            self._waiting = []
            self._on_progress(self._read)

    def finish(self) -> ImportReport:
        """Record what is left; what acts on consents comes last, in the order of time."""
        self._settle(self._waiting)
        self._later.sort(key=lambda item: item[1].effective_at)
        for start in range(0, len(self._later), _EVENTS_PER_APPEND):
            self._settle(self._later[start : start + _EVENTS_PER_APPEND])
        self._on_progress(self._read)
        rejected = tuple(sorted(self._rejected, key=lambda r: r.line))
        return ImportReport(self._read, self._recorded, self._already_recorded, rejected)

    def _reject(self, line: int, error: AssentError) -> None:
        self._rejected.append(Rejected(line, error.code, error.message, error.remedy))

    def _settle(self, items: Sequence[_Item]) -> None:
        """Record the statements, or find out why not; the same one twice is settled in two rounds."""
        while items:
            events = self._events(items)
            known = self._home.ledger.find_events([event.event_id for _, event, _ in events])
            fresh: dict[str, tuple[int, Event]] = {}
            again = []
            for line, event, record in events:
                on_record = known.get(event.event_id)
                if on_record is not None:
                    self._compare(line, event, record, on_record)
                elif event.event_id in fresh:
                    again.append((line, record))
                else:
                    fresh[event.event_id] = (line, event)
            self._append(list(fresh.values()))
            items = again

    def _events(self, items: Sequence[_Item]) -> list[tuple[int, Event, ParsedRecord]]:
        people = find_people(self._home.directory, [record for _, record in items], from_file=True)
        events = []
        for line, record in items:
            try:
                event = to_event(
                    record,
                    people,
                    self._secret,
                    origin="imported",
                    actor=self._actor,
                    channel="import",
                    file_token=self._evidence,
                )
                require_sound(event, self._now)
                events.append((line, event, record))
            except BadInput as error:
                self._reject(line, error)
        return events

    def _compare(self, line: int, event: Event, record: ParsedRecord, known: Recorded) -> None:
        if as_known(event, record, known) == known.event:
            self._already_recorded += 1
        else:
            message = "this event_id is on record with other content"
            self._rejected.append(Rejected(line, "CONFLICT", message))

    def _append(self, fresh: Sequence[tuple[int, Event]]) -> None:
        """All at once; if the ledger refuses, by halves, until only what it refuses is left."""
        try:
            self._recorded += len(self._home.ledger.append([event for _, event in fresh]))
        except (BadInput, IllegalTransition) as error:
            if error.code == ALREADY and len(fresh) == 1:
                self._already_recorded += 1
                return
            if len(fresh) == 1:
                self._reject(fresh[0][0], error)
                return
            middle = len(fresh) // 2
            self._append(fresh[:middle])
            self._append(fresh[middle:])
