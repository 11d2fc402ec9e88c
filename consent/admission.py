"""May this event join the ledger? Sound by itself, and fitting the state it meets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

import sqlalchemy as sa

from consent.clock import CLOCK_SKEW
from consent.decide import decide
from consent.encoding import to_row
from consent.errors import BadInput, Conflict, IllegalTransition
from consent.nouns import ANY, Event, Facts, Kind, Reason, Recorded
from consent.queries import find_events, find_grants, read_events_of

#: Code of the error for a withdrawal of what is withdrawn.
ALREADY_WITHDRAWN = "ALREADY_WITHDRAWN"

_KEY = re.compile("[0-9a-f]{32}")

#: Longest text an event may carry in one field.
MAX_TEXT = 300
#: Largest integer that RFC 8785 can write exactly: times up to the year 2255.
MAX_INTEGER = 2**53 - 1


class Admission:
    """Admits events one by one against what is on record and what the batch itself has brought."""

    def __init__(
        self, connection: sa.Connection, size: int, recorded_at: datetime, events: Sequence[Event]
    ) -> None:
        self._connection = connection
        self._next = size
        self._recorded_at = recorded_at
        self._by_id = find_events(connection, (e.event_id for e in events))
        self._grants = find_grants(connection, (e.subject_key for e in events if e.grant))
        self._pending: dict[str, list[Recorded]] = {}
        self.fresh: list[Event] = []

    def admit(self, event: Event) -> Recorded:
        """The entry the event becomes, or already is.

        Raises:
            IllegalTransition, Conflict: it fits neither.
        """
        known = self._by_id.get(event.event_id)
        if known is not None:
            if known.event != event:
                raise Conflict(
                    "an event with this id is on record with other content",
                    remedy="Give the new event an id of its own.",
                )
            return known
        require_sound(event, self._recorded_at)
        if event.kind is Kind.WITHDRAWN:
            self._require_withdrawable(event)
        if event.grant is not None:
            self._require_new_grant(event, event.grant.grant_id)
        recorded = Recorded(self._next, self._recorded_at, event)
        self._next += 1
        self._by_id[event.event_id] = recorded
        self._pending.setdefault(event.subject_key, []).append(recorded)
        self.fresh.append(event)
        return recorded

    def _require_withdrawable(self, event: Event) -> None:
        mine = self._mine(event)
        grants = [
            r.event
            for r in mine
            if r.event.kind is Kind.GIVEN
            and event.source in (ANY, r.event.source)
            and event.purpose in (ANY, r.event.purpose)
        ]
        instants = {min(event.effective_at, self._recorded_at), self._recorded_at}
        instants |= {g.effective_at for g in grants if g.effective_at > self._recorded_at}
        pairs = {(g.source, g.purpose) for g in grants}
        after = (*mine, Recorded(self._next, self._recorded_at, event))
        none = {Reason.WITHDRAWN.value, Reason.NO_GRANT.value, Reason.NOT_YET.value}
        for pair, at in ((pair, at) for pair in pairs for at in instants):
            if _state(mine, *pair, at) not in none | {_state(after, *pair, at)}:
                return
        states = {_state(mine, *pair, self._recorded_at) for pair in pairs}
        withdrawn = states == {Reason.WITHDRAWN.value}
        state = ", ".join(sorted(states)) or Reason.NO_GRANT.value
        none_left = states <= {Reason.WITHDRAWN.value, Reason.NO_GRANT.value}
        when = "" if none_left else ", and it is dated before any of it was given"
        raise IllegalTransition(
            f"there is nothing to withdraw: the state is {state}{when}",
            remedy="Look at the subject's record with `assent consent show`; check effective_at.",
            code=ALREADY_WITHDRAWN if withdrawn else None,
        )

    def _require_new_grant(self, event: Event, grant_id: str) -> None:
        grant = (event.subject_key, event.source, event.purpose, grant_id)
        if grant in self._grants:
            state = _state(self._mine(event), event.source, event.purpose, self._recorded_at)
            raise IllegalTransition(
                f"this grant is on record, a grant is given once: the state is {state}",
                remedy="Give a new agreement a grant_id of its own.",
            )
        self._grants.add(grant)

    def _mine(self, event: Event) -> tuple[Recorded, ...]:
        recorded = read_events_of(self._connection, event.subject_key)
        return (*recorded, *self._pending.get(event.subject_key, ()))


def _state(events: tuple[Recorded, ...], source: str, purpose: str, as_of: datetime) -> str:
    """Where the subject's own consent stands; a co-subject's no takes nobody's right to withdraw."""
    own = tuple(r for r in events if r.event.kind is not Kind.LINKED)
    decision = decide(Facts(own), source, purpose, data_at=None, as_of=as_of)
    return "GIVEN" if decision.reason is None else decision.reason.value


def require_sound(event: Event, recorded_at: datetime) -> None:
    """What must hold of one event by itself.

    Raises:
        BadInput: it does not hold.
    """
    for name, value in to_row(event, 0).items():
        if isinstance(value, str):
            if not (0 < len(value) <= MAX_TEXT and value.isprintable()):
                raise BadInput(
                    f"{name} is empty, too long or not printable text",
                    remedy=f"Give at most {MAX_TEXT} printable characters.",
                )
        elif value is not None and abs(value) > MAX_INTEGER:
            raise BadInput(
                f"{name} is beyond the year 2255",
                remedy="Give a real date; an agreement without an end is none.",
            )
    for sound, message, remedy in _rules(event, recorded_at):
        if not sound:
            raise BadInput(message, remedy=remedy)


def _rules(event: Event, recorded_at: datetime) -> Iterator[tuple[bool, str, str]]:
    """Each rule: whether it holds, what is wrong if not, and the remedy."""
    kind, grant, other = event.kind, event.grant, event.co_subject_key
    keys = (event.event_id, event.subject_key, other or event.subject_key)
    yield (
        all(_KEY.fullmatch(key) for key in keys),
        "a subject key or event id is not 32 hex digits",
        "Look subject keys up in the directory; a raw number must never be in the ledger.",
    )
    yield (kind is Kind.GIVEN) == (grant is not None), "terms belong to a grant alone", "Mend the event."
    yield (kind is Kind.LINKED) == (other is not None), "a co-subject belongs to a link alone", "Mend it."
    yield other != event.subject_key, "a subject cannot be their own co-subject", "Mend the link."
    if kind is Kind.WITHDRAWN:
        in_time = event.effective_at <= recorded_at + CLOCK_SKEW
        yield (
            in_time,
            "a withdrawal takes effect now or in the past (a time without an offset is UTC)",
            "Leave effective_at out, or write it with its offset.",
        )
    else:
        yield event.source != ANY, "only a withdrawal may be for every source", "Name the source."
        named = kind is Kind.LINKED or event.purpose != ANY
        yield named, "only a withdrawal may be for every purpose", "Name the purpose."
    if event.origin == "imported":
        named = event.evidence_hash is not None
        yield named, "an imported event names its evidence", "Give its evidence_hash."
    if grant is not None:
        yield grant.expires_at > event.effective_at, "the grant ends before it begins", "Check expires_at."
        yield (
            event.origin == "imported" or event.effective_at >= recorded_at - CLOCK_SKEW,
            "a grant cannot take effect before it was recorded",
            "Later consent never legalises earlier collection; `assent consent import` takes a system of record.",
        )
