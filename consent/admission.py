"""May this event join the ledger? Sound by itself, and fitting the state it meets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import sqlalchemy as sa

from consent.clock import CLOCK_SKEW, micros
from consent.decide import ENDS, counts_from, holds, requests, stand
from consent.encoding import (
    NONCE_BYTES,
    RECORD_COLUMNS,
    TIME_COLUMNS,
    as_statement,
    commit_row,
    entry,
    to_row,
)
from consent.errors import BadInput, Conflict, IllegalTransition
from consent.evidence.merkle import leaf_hash
from consent.nouns import ANY, Event, Kind, Reason, Recorded, Statement
from consent.queries import find_events, read_statements

#: Code of the error for what is said a second time: the state is the one it would make.
ALREADY = "ALREADY"

_KEY = re.compile("[0-9a-f]{32}")

#: Longest text an event may carry in one field.
MAX_TEXT = 300
#: Largest integer that RFC 8785 can write exactly: times up to the year 2255.
MAX_INTEGER = 2**53 - 1

_SEE = "Look at the subject's record with `assent consent show`; check effective_at."
GIVEN = "GIVEN"
GIVEN_KIND = Kind.GIVEN.value
#: What restricts nothing that is to come.
_PLAIN_KINDS = frozenset({Kind.GIVEN.value, Kind.REFUSED.value, Kind.LINKED.value})
_LIVE = frozenset({GIVEN, Reason.PAUSED.value, Reason.EXPIRED.value})
#: What each kind is called, the states it may meet, and the state it makes.
_ACTS: dict[Kind, tuple[str, frozenset[str], str]] = {
    Kind.WITHDRAWN: ("withdraw", _LIVE, Reason.WITHDRAWN.value),
    Kind.REVOKED: ("revoke", _LIVE, Reason.REVOKED.value),
    Kind.SUPERSEDED: ("supersede", _LIVE, Reason.SUPERSEDED.value),
    Kind.INVALIDATED: ("invalidate", _LIVE, Reason.INVALIDATED.value),
    Kind.PAUSED: ("pause", frozenset({GIVEN}), Reason.PAUSED.value),
    Kind.RESUMED: ("resume", frozenset({Reason.PAUSED.value}), GIVEN),
}
_RESTRICTIONS = frozenset({Kind.HOLD_PLACED, Kind.HOLD_RELEASED, Kind.ERASURE_REQUESTED})


class Admission:
    """Admits events one by one against what is on record and what the batch itself has brought.

    Attributes:
        rows: of the events admitted, in order, as the table holds them; encoded at once, while they are at hand.
        leaf_hashes: of the same.
    """

    def __init__(
        self,
        connection: sa.Connection,
        size: int,
        recorded_at: datetime,
        events: Sequence[Event],
        *,
        erasing: bool = False,
    ) -> None:
        self._erasing = erasing
        self._next = size
        self._recorded_at = recorded_at
        self._recorded_us = micros(recorded_at)
        self._by_id: dict[str, Recorded | None] = find_events(
            connection, (e.event_id for e in events if _is_plain(e.event_id))
        )
        self._said = read_statements(connection, (e.subject_key for e in events if _is_plain(e.subject_key)))
        self._nonces = os.urandom(NONCE_BYTES * len(events))
        self.rows: list[tuple[Any, ...]] = []
        self.leaf_hashes: list[bytes] = []

    def admit_all(self, events: Iterable[Event]) -> list[Recorded]:
        """The entries the events become, or already are; all of them or none.

        Raises:
            BadInput, IllegalTransition, Conflict: one of them cannot join.
        """
        admitted: list[Recorded] = []
        entries = []
        try:
            for event in events:
                entries.append(self._admit(event, admitted))
        except Exception:
            self._forget(admitted)
            raise
        return entries

    def find(self, event_id: str) -> Recorded | None:
        """The entry with this idempotency key, if it is on record."""
        return self._by_id.get(event_id)

    def _admit(self, event: Event, admitted: list[Recorded]) -> Recorded:
        if event.event_id in self._by_id:
            return _require_same(self._by_id[event.event_id], event)
        row = to_row(event, self._recorded_us)
        require_sound(event, self._recorded_at, row)
        if event.blanks is not None and not self._erasing:
            raise BadInput("an erasure that blanks entries is not appended", remedy="Use `Ledger.erase`.")
        mine, said = self._said.setdefault(event.subject_key, []), as_statement(self._next, row)
        if mine or event.kind is not Kind.GIVEN or event.grant.replaces is not None:  # type: ignore[union-attr]
            self._require_fitting(event, mine, said)
        mine.append(said)
        recorded = Recorded(self._next, self._recorded_at, event)
        self._next += 1
        self._by_id[event.event_id] = recorded
        self._encode(recorded.leaf_index, row)
        admitted.append(recorded)
        return recorded

    def _encode(self, leaf_index: int, row: dict[str, Any]) -> None:
        at = NONCE_BYTES * len(self.rows)
        nonce = self._nonces[at : at + NONCE_BYTES]
        committed = commit_row(row, nonce)
        self.leaf_hashes.append(leaf_hash(entry(self._recorded_us, committed)))
        self.rows.append((leaf_index, *row.values(), nonce, committed))

    def _require_fitting(self, event: Event, mine: list[Statement], said: Statement) -> None:
        if not _PLAIN_KINDS.issuperset(s.kind for s in mine):
            if event.blanks is None:  # what is left of somebody erased may still be blanked
                _require_not_erased(mine)
            _require_no_request(event, mine)
        if event.kind is Kind.GIVEN:
            _require_new_grant(event, mine, self._recorded_us)
        elif event.kind in _ACTS:
            _require_effect(event, mine, said)
        elif event.kind in (Kind.HOLD_PLACED, Kind.HOLD_RELEASED):
            _require_hold(event, mine, said)
        elif event.kind is Kind.ERASURE_REQUESTED:
            _require_first_request(event, mine)
        elif event.kind is Kind.ERASED:
            _require_not_held(event, mine)

    def _forget(self, admitted: list[Recorded]) -> None:
        for recorded in reversed(admitted):
            del self._by_id[recorded.event.event_id]
            self._said[recorded.event.subject_key].pop()
            self.rows.pop()
            self.leaf_hashes.pop()
            self._next -= 1


def _is_plain(key: object) -> bool:
    """Whether a key can be looked up at all; `require_sound` says what is wrong with it."""
    return isinstance(key, str) and key.isascii() and key.isalnum()


def _require_same(known: Recorded | None, event: Event) -> Recorded:
    """The entry that is on record under the event's id, if it says the same."""
    if known is None:
        raise _illegal("this event was recorded and has been erased since", Reason.ERASED.value)
    if known.event != event:
        raise Conflict(
            "an event with this id is on record with other content",
            remedy="Give the new event an id of its own.",
        )
    return known


def _illegal(message: str, state: str, remedy: str = _SEE, code: str | None = None) -> IllegalTransition:
    return IllegalTransition(f"{message}: the state is {state}", remedy=remedy, code=code)


def _require_not_erased(mine: Sequence[Statement]) -> None:
    if any(s.kind == Kind.ERASED and s.source == ANY for s in mine):
        raise _illegal(
            "nothing can be recorded about somebody who is erased",
            Reason.ERASED.value,
            remedy="A person who comes back gets a new subject key.",
        )


def _require_new_grant(event: Event, mine: Sequence[Statement], now: int) -> None:
    grant = event.grant
    assert grant is not None
    source, purpose = event.source, event.purpose
    earlier = [
        s.grant_id for s in mine if s.source == source and s.purpose == purpose and s.kind == GIVEN_KIND
    ]
    if grant.grant_id in earlier:
        raise _illegal(
            "this grant is on record, a grant is given once",
            _state(mine, source, purpose, now),
            remedy="Give a new agreement a grant_id of its own.",
        )
    if grant.replaces is not None and event.origin == "recorded" and grant.replaces not in earlier:
        raise _illegal(
            "the grant that this one replaces is not on record",
            _state(mine, source, purpose, now),
            remedy="Name a grant of the same person, source and purpose, or leave replaces out.",
        )


def _require_no_request(event: Event, mine: Sequence[Statement]) -> None:
    if event.kind is Kind.GIVEN and any(s.source in (event.source, ANY) for s in requests(mine)):
        raise _illegal(
            "an erasure is due",
            Reason.RESTRICTED.value,
            remedy="Carry out the erasure first, then ask again.",
        )


def _require_effect(event: Event, mine: Sequence[Statement], said: Statement) -> None:
    """A statement that would change no answer is refused: whoever sent it believes something that is not so."""
    verb, meets, makes = _ACTS[event.kind]
    grants = [s for s in mine if s.kind == Kind.GIVEN and _is_about(said, s)]
    now = said.recorded_at
    instants = {counts_from(said), now, *(g.effective_at for g in grants if g.effective_at > now)}
    if event.kind is Kind.INVALIDATED:
        instants |= {g.effective_at for g in grants}
    pairs = {(g.source, g.purpose) for g in grants}
    free = [s for s in mine if s.kind not in _RESTRICTIONS]
    after = [*free, said]
    for (source, purpose), at in ((pair, at) for pair in pairs for at in instants):
        before = _state(free, source, purpose, at)
        if before in meets and before != _state(after, source, purpose, at):
            return
    states = {_state(free, *pair, now) for pair in pairs} or {Reason.NO_GRANT.value}
    none_left = states <= {*(r.value for r in ENDS.values()), makes}
    when = "" if none_left else ", and it is dated before any of it was given"
    raise _illegal(
        f"there is nothing to {verb}{when}",
        ", ".join(sorted(states)),
        code=ALREADY if states == {makes} else None,
    )


def _is_about(said: Statement, grant: Statement) -> bool:
    if said.grant_id is not None and said.grant_id != grant.grant_id:
        return False
    return said.source in (grant.source, ANY) and said.purpose in (grant.purpose, ANY)


def _require_hold(event: Event, mine: Sequence[Statement], said: Statement) -> None:
    named = [s for s in mine if s.hold_id == event.hold_id]
    if event.kind is Kind.HOLD_PLACED and named:
        raise _illegal(
            "a hold of this name was placed before",
            "HELD" if holds(named) else "RELEASED",
            remedy="Give the new hold a name of its own.",
        )
    if event.kind is Kind.HOLD_RELEASED and not any(s.source == event.source for s in holds(named)):
        raise _illegal(
            "there is no such hold to release",
            ("HELD" if holds(named) else "RELEASED") if named else "NOT_HELD",
            remedy="Look at the subject's record for the hold's name and source.",
            code=ALREADY if named and not holds(named) else None,
        )
    if event.kind is Kind.HOLD_RELEASED and len(holds([*named, said])) == len(holds(named)):
        raise _illegal("the release is dated no later than the hold", "HELD")


def _require_first_request(event: Event, mine: Sequence[Statement]) -> None:
    if any(s.source in (event.source, ANY) for s in requests(mine)):
        raise _illegal("an erasure was asked for before and is due", Reason.RESTRICTED.value, code=ALREADY)


def _require_not_held(event: Event, mine: Sequence[Statement]) -> None:
    if any(ANY in (s.source, event.source) or s.source == event.source for s in holds(mine)):
        raise _illegal(
            "what is held cannot be erased",
            "HELD",
            remedy="Release the hold first; until then nothing is used.",
        )


def _state(said: Sequence[Statement], source: str, purpose: str, at: int) -> str:
    """Where the subject's own consent stands; a co-subject's no takes nobody's right to withdraw."""
    reason = stand(said, source, purpose, at).reason
    return GIVEN if reason is None else reason.value


def require_sound(event: Event, recorded_at: datetime, row: Mapping[str, Any] | None = None) -> None:
    """What must hold of one event by itself.

    Args:
        row: the event as `to_row` makes it, where that is at hand.

    Raises:
        BadInput: it does not hold.
    """
    row = row or to_row(event, 0)
    said = _texts(row)
    texts, numbers = list(filter(None, said)), list(filter(None, _numbers(row)))
    none_empty = len(texts) + said.count(None) == len(said)
    if not (none_empty and "".join(texts).isprintable() and max(map(len, texts)) <= MAX_TEXT):
        _require_texts(row)
    if numbers and (max(numbers) > MAX_INTEGER or min(numbers) < -MAX_INTEGER):
        name = next(n for n in TIME_COLUMNS if row[n] is not None and abs(row[n]) > MAX_INTEGER)
        raise BadInput(
            f"{name} is beyond the year 2255",
            remedy="Give a real date; an agreement without an end is none.",
        )
    fault = _fault_in_shape(event) or _fault_in_scope(event) or _fault_in_time(event, recorded_at)
    if fault is not None:
        raise BadInput(fault[0], remedy=fault[1])


_texts = itemgetter(*(name for name in RECORD_COLUMNS if name not in TIME_COLUMNS))
_numbers = itemgetter(*TIME_COLUMNS)


def _require_texts(row: Mapping[str, Any]) -> None:
    for name, value in row.items():
        if isinstance(value, str) and not (0 < len(value) <= MAX_TEXT and value.isprintable()):
            raise BadInput(
                f"{name} is empty, too long or not printable text",
                remedy=f"Give at most {MAX_TEXT} printable characters.",
            )


#: Which sources and purposes a kind may name: one, every one, or either.
_WIDE_SOURCE = frozenset(Kind) - {Kind.GIVEN, Kind.REFUSED, Kind.LINKED}
EVERY_PURPOSE = frozenset(
    {Kind.LINKED, Kind.HOLD_PLACED, Kind.HOLD_RELEASED, Kind.ERASURE_REQUESTED, Kind.ERASED}
)
HOLDS = frozenset({Kind.HOLD_PLACED, Kind.HOLD_RELEASED})
_GROUNDED = frozenset({Kind.REVOKED, Kind.INVALIDATED, Kind.HOLD_PLACED})


#: What is wrong, and the remedy.
_Fault = tuple[str, str] | None


def _fault_in_shape(event: Event) -> _Fault:
    """What is wrong with the event's shape, and the remedy."""
    kind, other = event.kind, event.co_subject_key
    if not (_KEY.fullmatch(event.event_id) and _KEY.fullmatch(event.subject_key)) or (
        other is not None and not _KEY.fullmatch(other)
    ):
        return (
            "a subject key or event id is not 32 hex digits",
            "Look subject keys up in the directory; a raw number must never be in the ledger.",
        )
    if (kind is Kind.GIVEN) != (event.grant is not None):
        return "terms belong to a grant alone", "Mend the event."
    if (kind is Kind.LINKED) != (other is not None):
        return "a co-subject belongs to a link alone", "Mend it."
    if other == event.subject_key:
        return "a subject cannot be their own co-subject", "Mend the link."
    if (kind in HOLDS) != (event.hold_id is not None):
        return "a hold has a name, and only a hold", "Give its hold_id."
    if event.grant_id is not None and kind is not Kind.INVALIDATED:
        return "only an invalidation names one grant", "Leave grant_id out."
    if event.blanks is not None and kind is not Kind.ERASED:
        return "only an erasure blanks entries", "Mend the event."
    return None


def _fault_in_scope(event: Event) -> _Fault:
    kind = event.kind
    if event.source == ANY and kind not in _WIDE_SOURCE:
        return "this may not be for every source", "Name the source."
    if event.purpose == ANY and kind in (Kind.GIVEN, Kind.REFUSED):
        return "this may not be for every purpose", "Name the purpose."
    if event.purpose != ANY and kind in EVERY_PURPOSE:
        return "this is for every purpose", "Leave the purpose out."
    if kind in _GROUNDED and event.basis is None:
        return (
            "this needs its legal ground",
            "Name it in basis: the authority, the law, the case. No person's name.",
        )
    if kind is Kind.WITHDRAWN and event.indicated_by != "subject":
        return "only the subject withdraws", "What somebody else ends is revoked: record it as revoked."
    if kind is Kind.REVOKED and event.indicated_by == "subject":
        return "a revocation is somebody else's", "Name who: guardian, controller or authority."
    if event.origin == "imported" and event.evidence_hash is None:
        return "an imported event names its evidence", "Give its evidence_hash."
    return None


_MAY_BE_LATER = frozenset({Kind.GIVEN, Kind.REFUSED, Kind.LINKED, Kind.RESUMED, Kind.HOLD_RELEASED})
_MAY_NOT_BE_EARLIER = frozenset({Kind.GIVEN, Kind.RESUMED, Kind.HOLD_RELEASED})


def _fault_in_time(event: Event, recorded_at: datetime) -> _Fault:
    grant = event.grant
    if event.kind not in _MAY_BE_LATER and event.effective_at > recorded_at + CLOCK_SKEW:
        return (
            "what ends or restricts takes effect now or in the past (a time without an offset is UTC)",
            "Leave effective_at out, or write it with its offset.",
        )
    if grant is not None and grant.expires_at <= event.effective_at:
        return "the grant ends before it begins", "Check expires_at."
    if grant is not None and grant.data_until is not None and grant.data_until <= grant.data_from:
        return "the data range ends before it begins", "Check data_from and data_until."
    if (
        event.kind in _MAY_NOT_BE_EARLIER
        and event.origin != "imported"
        and event.effective_at < recorded_at - CLOCK_SKEW
    ):
        return (
            "what allows something cannot take effect before it was recorded",
            "Later consent never legalises earlier collection; `assent consent import` takes a system of record.",
        )
    return None
