"""Random histories of consent for the laws: small towns of people, on a coarse grid of time.

Times lie on a grid of two and a half minutes, so that ties, boundaries and the five minutes by which clocks may
disagree all happen often.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from consent.clock import micros
from consent.encoding import to_row
from consent.nouns import ANY, Event, Facts, Grant, Kind, Recorded
from consent.timeline import _COLUMNS, Timeline
from tests.consent.consent_samples import EVIDENCE, NOTICE, NOW

TICK = timedelta(seconds=150)
TICKS = 14
#: Random histories in the three-way test, one per person of a town; a nightly run asks for more.
CASES = int(os.environ.get("ASSENT_CASES", "2000"))
PEOPLE = [hashlib.sha256(str(i).encode()).hexdigest()[:32] for i in range(40)]
SOURCES = ("spending", "employment")
PURPOSES = ("credit_scoring", "model_training")


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
kinds = st.sampled_from([Kind.GIVEN] * 5 + [Kind.WITHDRAWN] * 3 + [Kind.REFUSED] + [Kind.LINKED])
origins = st.sampled_from(("recorded", "imported"))


@st.composite
def statements(draw: st.DrawFn, people: list[str], kind: st.SearchStrategy[Kind] = kinds) -> Event:
    """One statement; its event_id is given by `ledger_of`."""
    what = draw(kind)
    effective = draw(ticks)
    subject = draw(st.sampled_from(people))
    source = draw(often_spending)
    purpose = ANY if what is Kind.LINKED else draw(purposes)
    grant = None
    co_subject = None
    if what is Kind.GIVEN:
        life = draw(st.sampled_from((None, None, 1, 5)))
        grant = Grant(
            grant_id="",
            notice=NOTICE,
            jurisdiction="CN",
            method="toggle",
            expires_at=at(effective + draw(st.integers(1, 12))),
            data_from=at(draw(st.integers(0, 6))),
            data_life=None if life is None else life * TICK,
        )
    elif what is Kind.WITHDRAWN:
        source = draw(st.sampled_from((source, source, ANY)))
        purpose = draw(st.sampled_from((purpose, purpose, ANY)))
    elif what is Kind.LINKED:
        co_subject = draw(st.sampled_from([p for p in people if p != subject]))
    origin = draw(origins)
    return Event(
        "",
        what,
        subject,
        source,
        purpose,
        at(effective),
        grant,
        co_subject,
        origin,
        evidence_hash=EVIDENCE if origin == "imported" else None,
    )


def ledger_of(said: list[tuple[int, Event]]) -> tuple[Recorded, ...]:
    """(recorded tick, statement) pairs as entries in ledger order, each with an id and a grant id of its own."""
    entries = []
    for leaf_index, (tick, event) in enumerate(sorted(said, key=lambda pair: pair[0])):
        grant = event.grant and _replace(event.grant, grant_id=f"grant-{leaf_index}")
        entries.append(
            Recorded(leaf_index, at(tick), _replace(event, event_id=f"{leaf_index:032x}", grant=grant))
        )
    return tuple(entries)


def _replace(value: Any, **changes: Any) -> Any:
    fields = {name: getattr(value, name) for name in value.__slots__}
    return type(value)(**(fields | changes))


@dataclass(frozen=True)
class Town:
    """A ledger about several people, as values."""

    entries: tuple[Recorded, ...]
    people: list[str]

    def facts(self, subject: str) -> Facts:
        mine = self.of(subject)
        linked = {r.event.co_subject_key for r in mine if r.event.co_subject_key}
        return Facts(mine, {key: self.of(key) for key in linked})

    def of(self, subject: str) -> tuple[Recorded, ...]:
        return tuple(r for r in self.entries if r.event.subject_key == subject)

    def timeline(self, known_at: datetime | None = None) -> Timeline:
        return Timeline(arrow_of(self.entries), known_at=known_at)


def arrow_of(entries: tuple[Recorded, ...]) -> pa.Table:
    """The entries as `consent.timeline.read_events` gives them."""
    rows = [to_row(r.event, micros(r.recorded_at)) | {"leaf_index": r.leaf_index} for r in entries]
    picked = [{name: row[name] for name in _COLUMNS} for row in rows]
    return pa.Table.from_pylist(picked, schema=pa.schema(list(_COLUMNS.items())))


def towns(people: list[str] = PEOPLE, at_most: int = 220) -> st.SearchStrategy[Town]:
    said = st.lists(st.tuples(ticks, statements(people)), min_size=at_most // 2, max_size=at_most)
    return said.map(lambda pairs: Town(ledger_of(pairs), people))


#: One person and one other, for the laws of the point form.
pairs = towns(PEOPLE[:2], 12)


def row_instants(values: list[datetime | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.timestamp("us", tz="UTC"))])


def texts(values: list[str | None]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, pa.string())])
