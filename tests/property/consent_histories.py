"""Random histories of consent for the laws: small towns of people, on a coarse grid of time.

Times lie on a grid of two and a half minutes, so that ties, boundaries and the five minutes by which clocks may
disagree all happen often.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from consent.clock import micros
from consent.encoding import to_row, to_statement
from consent.nouns import ANY, Event, Facts, Grant, Kind, Recorded, Statement
from consent.timeline import _COLUMNS, Timeline
from tests.consent.consent_samples import EVIDENCE, NOTICE, NOW

TICK = timedelta(seconds=150)
TICKS = 14
#: Random histories in the three-way test, one per person of a town; a nightly run asks for more.
CASES = int(os.environ.get("ASSENT_CASES", "2000"))
PEOPLE = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(40)]
SOURCES = ("spending", "employment")
PURPOSES = ("credit_scoring", "model_training")
HOLDS = ("case-1", "case-2")


def law(examples: int) -> Callable[[Any], Any]:
    """Settings for a law: as many examples here, scaled with the nightly run."""
    return settings(
        max_examples=max(examples, examples * CASES // 2000),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def at(tick: int, microseconds: int = 0) -> datetime:
    return NOW + tick * TICK + timedelta(microseconds=microseconds)


ticks = st.integers(0, TICKS)
#: On a boundary, or one microsecond beside it.
instants = st.builds(at, st.integers(-1, 2 * TICKS), st.integers(-1, 1))
often_spending = st.sampled_from(("spending", "spending", "spending", "employment"))
purposes = st.sampled_from(PURPOSES)
often_scoring = st.sampled_from(("credit_scoring", "credit_scoring", "model_training"))
origins = st.sampled_from(("recorded", "imported"))
#: For every purpose by their nature.
WHOLE = (Kind.LINKED, Kind.HOLD_PLACED, Kind.HOLD_RELEASED, Kind.ERASURE_REQUESTED, Kind.ERASED)
#: About one source and one purpose, never about every one.
EXACT = (Kind.GIVEN, Kind.REFUSED)
GROUNDED = (Kind.REVOKED, Kind.INVALIDATED, *WHOLE[1:])
LIFTS = (Kind.RESUMED, Kind.HOLD_RELEASED)
ENDS = (Kind.REFUSED, Kind.WITHDRAWN, Kind.REVOKED, Kind.SUPERSEDED, Kind.ERASED)
RESTRICTS = (*ENDS, Kind.PAUSED, Kind.INVALIDATED, Kind.HOLD_PLACED, Kind.ERASURE_REQUESTED)
OFTEN = {
    Kind.GIVEN: 16,
    Kind.WITHDRAWN: 2,
    Kind.PAUSED: 5,
    Kind.RESUMED: 3,
    Kind.HOLD_RELEASED: 2,
    Kind.LINKED: 2,
    Kind.ERASURE_REQUESTED: 2,
    Kind.ERASED: 2,
}


def kinds_but(*without: Kind) -> st.SearchStrategy[Kind]:
    """Kinds as often as they make histories worth asking about."""
    return st.sampled_from([kind for kind in Kind if kind not in without for _ in range(OFTEN.get(kind, 1))])


kinds = kinds_but()


@st.composite
def statements(draw: st.DrawFn, people: list[str], kind: st.SearchStrategy[Kind] = kinds) -> Event:
    """One statement, some people saying much more than others; `ledger_of` gives the ids.

    The `grant_id` of an invalidation is a number here: the how-manieth grant it may name.
    """
    what = draw(kind)
    effective = draw(ticks)
    busy = [p for i, p in enumerate(people) for _ in range(2 + len(people) // (i + 1) // 3)]
    subject = draw(st.sampled_from(busy))
    source, purpose = draw(often_spending), draw(often_scoring)
    if what not in (*EXACT, Kind.LINKED):
        source = draw(st.sampled_from((source, source, source, ANY)))
    if what not in EXACT:
        purpose = ANY if what in WHOLE else draw(st.sampled_from((purpose, purpose, ANY)))
    others = [p for p in people if p != subject]
    origin = draw(origins)
    return Event(
        event_id="",
        kind=what,
        subject_key=subject,
        source=source,
        purpose=purpose,
        effective_at=at(effective),
        grant=draw(terms(effective)) if what is Kind.GIVEN else None,
        co_subject_key=draw(st.sampled_from(others)) if what is Kind.LINKED else None,
        origin=origin,
        evidence_hash=EVIDENCE if origin == "imported" else None,
        grant_id=draw(st.sampled_from((None, "0", "1", "2"))) if what is Kind.INVALIDATED else None,
        hold_id=draw(st.sampled_from(HOLDS)) if what in (Kind.HOLD_PLACED, Kind.HOLD_RELEASED) else None,
        basis="a court order" if what in GROUNDED else None,
        indicated_by="guardian" if what is Kind.REVOKED else "subject",
    )


@st.composite
def terms(draw: st.DrawFn, effective: int) -> Grant:
    """Terms of a grant; `ledger_of` gives the id."""
    life = draw(st.sampled_from((None, None, 1, 5)))
    until = draw(st.sampled_from((None, None, 4, 9)))
    return Grant(
        grant_id="",
        notice=NOTICE,
        jurisdiction="CN",
        method="toggle",
        expires_at=at(effective + draw(st.integers(1, 16))),
        data_from=at(draw(st.integers(0, 6))),
        data_until=None if until is None else at(until),
        data_life=None if life is None else life * TICK,
    )


def ledger_of(said: list[tuple[int, Event]]) -> tuple[Recorded, ...]:
    """(recorded tick, statement) pairs as entries in ledger order, each with an id and a grant id of its own."""
    ordered = sorted(said, key=lambda pair: pair[0])
    granted = [(f"grant-{i}", event) for i, (_, event) in enumerate(ordered) if event.grant]
    entries = []
    for leaf_index, (tick, event) in enumerate(ordered):
        grant = event.grant and replace(event.grant, grant_id=f"grant-{leaf_index}")
        named = event.grant_id and _target(event, granted)
        entries.append(
            Recorded(
                leaf_index,
                at(tick),
                replace(event, event_id=f"{leaf_index:032x}", grant=grant, grant_id=named),
            )
        )
    return tuple(entries)


def _target(event: Event, granted: list[tuple[str, Event]]) -> str:
    """The grant that an invalidation names: one of the subject's, and one that it covers if there is any."""
    own = [(name, g) for name, g in granted if g.subject_key == event.subject_key]
    fitting = [
        name for name, g in own if event.source in (g.source, ANY) and event.purpose in (g.purpose, ANY)
    ]
    names = fitting or [name for name, _ in own] or ["grant-of-somebody"]
    return names[int(event.grant_id or 0) % len(names)]


@dataclass(frozen=True)
class Town:
    """A ledger about several people, as values."""

    entries: tuple[Recorded, ...]
    people: list[str]

    def facts(self, subject: str) -> Facts:
        others = {key: statements_of(said) for key, said in self.others(subject).items()}
        return Facts(statements_of(self.of(subject)), others)

    def others(self, subject: str) -> dict[str, tuple[Recorded, ...]]:
        """What each linked co-subject said."""
        linked = {r.event.co_subject_key for r in self.of(subject)} - {None}
        return {str(key): self.of(str(key)) for key in linked}

    def of(self, subject: str) -> tuple[Recorded, ...]:
        return tuple(r for r in self.entries if r.event.subject_key == subject)

    def timeline(self, known_at: datetime | None = None) -> Timeline:
        return Timeline(arrow_of(self.entries), known_at=known_at)


def statements_of(entries: tuple[Recorded, ...]) -> tuple[Statement, ...]:
    return tuple(map(to_statement, entries))


def arrow_of(entries: tuple[Recorded, ...]) -> pa.Table:
    """The entries as `consent.timeline.read_events` gives them."""
    rows = [to_row(r.event, micros(r.recorded_at)) | {"leaf_index": r.leaf_index} for r in entries]
    picked = [{name: row[name] for name in _COLUMNS} for row in rows]
    return pa.Table.from_pylist(picked, schema=pa.schema(list(_COLUMNS.items())))


def towns(people: list[str] = PEOPLE, at_most: int = 320) -> st.SearchStrategy[Town]:
    said = st.lists(st.tuples(ticks, statements(people)), min_size=at_most // 2, max_size=at_most)
    return said.map(lambda pairs: Town(ledger_of(pairs), people))


#: One person and one other, for the laws of the point form.
pairs = towns(PEOPLE[:2], 12)


def row_instants(values: list[datetime | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.timestamp("us", tz="UTC"))])


def texts(values: list[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])
