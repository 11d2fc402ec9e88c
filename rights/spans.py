"""From when to when data could be used, as one rule sees it: a person's consent drawn out in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from consent.catalog import PURPOSES, SOURCES
from consent.clock import instant, micros
from consent.decide import counts_from, decide
from consent.nouns import ANY, Decision, Facts, Kind, Reason, Statement

#: What is said about one source and one purpose, and so makes them a pair that is spoken about.
_ABOUT_A_PAIR = frozenset({Kind.GIVEN.value, Kind.REFUSED.value})


@dataclass(frozen=True)
class Span:
    """A time in which the answer stays the same.

    Attributes:
        reason: why data may not be used; None: it may.
        other_party: the reason is that another person, whose data it is as well, has not agreed.
    """

    start: datetime
    end: datetime
    reason: Reason | None
    other_party: bool = False


@dataclass(frozen=True)
class Lane:
    """One source for one purpose.

    Attributes:
        spans: without gaps, oldest first; the last one ends at the instant that was asked about. None where all that
            was said takes effect later.
        now: the decision at that instant.
    """

    source: str
    purpose: str
    spans: tuple[Span, ...]
    now: Decision


def lanes(facts: Facts, as_of: datetime) -> list[Lane]:
    """Every source and purpose that the person was asked about, in the catalog's order."""
    pairs = {(s.source, s.purpose) for s in facts.statements if s.kind in _ABOUT_A_PAIR}
    return [
        Lane(source, purpose, spans(facts, source, purpose, as_of), _decide(facts, source, purpose, as_of))
        for source in SOURCES
        for purpose in PURPOSES
        if (source, purpose) in pairs
    ]


def spans(facts: Facts, source: str, purpose: str, as_of: datetime) -> tuple[Span, ...]:
    """The answers from the first statement on up to `as_of`, on everything that is known today."""
    turns = sorted({at for at in _turns(facts, source, purpose) if at < micros(as_of)})
    found: list[Span] = []
    for at, until in pairwise([*turns, micros(as_of)]):
        decision = _decide(facts, source, purpose, instant(at))
        span = Span(instant(at), instant(until), decision.reason, decision.party == "co_subject")
        if found and (found[-1].reason, found[-1].other_party) == (span.reason, span.other_party):
            span = Span(found.pop().start, span.end, span.reason, span.other_party)
        found.append(span)
    return tuple(found)


def _decide(facts: Facts, source: str, purpose: str, at: datetime) -> Decision:
    return decide(facts, source, purpose, data_at=None, as_of=at)


def _turns(facts: Facts, source: str, purpose: str) -> Iterator[int]:
    """Instants, in microseconds, at which the answer can change."""
    for said in (facts.statements, *facts.co_subjects.values()):
        for s in _about(said, source, purpose):
            yield counts_from(s)
            if s.expires_at is not None:
                yield s.expires_at


def _about(said: Sequence[Statement], source: str, purpose: str) -> list[Statement]:
    return [s for s in said if s.source in (source, ANY) and s.purpose in (purpose, ANY)]
