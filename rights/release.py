"""The release of a legal hold takes two people: one proposes it, another carries it out.

A proposal is a small signed document in the home. It ends with the release, or after some days.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from consent.clock import format_instant, now_utc, parse_instant
from consent.decide import holds
from consent.errors import BadInput, Denied
from consent.home import Home
from consent.knowledge import pending_erasures
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Kind, Recorded, Statement
from consent.sealing import digest
from ingestion.manifest import read_manifest, write_manifest

_USE = "releases"
#: How long a proposal waits for the second person.
LIFE = timedelta(days=14)


@dataclass(frozen=True)
class Proposal:
    """A release that waits for a second person.

    Attributes:
        hold: position of the hold's entry in the ledger.
        by: who proposed it, as callers are named.
    """

    subject_key: str
    hold: int
    by: str
    at: datetime


def holds_in_force(home: Home, subject_key: str) -> list[Statement]:
    """The holds on a person that nothing has released."""
    return holds(home.ledger.facts(subject_key).statements)


def find_proposal(home: Home, subject_key: str, hold: int, *, now: datetime) -> Proposal | None:
    """The proposal to release a hold, if there is one and it is still good.

    Raises:
        EvidenceError: the document was changed.
    """
    path = _path(home, subject_key, hold)
    if not path.exists():
        return None
    document = read_manifest(path, home.keyring.secret(_USE))
    found = Proposal(**{**document, "at": parse_instant(str(document["at"]))})
    return found if now - found.at < LIFE else None


def propose_release(
    home: Home, subject_key: str, hold: int, *, by: str, clock: Callable[[], datetime] = now_utc
) -> Proposal:
    """The first person says that a hold may be released. Doing it twice changes nothing.

    Raises:
        BadInput: there is no such hold in force.
    """
    _require_in_force(home, subject_key, hold)
    now = clock()
    known = find_proposal(home, subject_key, hold, now=now)
    if known is not None:
        return known
    made = Proposal(subject_key, hold, by, now)
    path = _path(home, subject_key, hold)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_manifest(path, {**asdict(made), "at": format_instant(now)}, home.keyring.secret(_USE))
    return made


def release_hold(
    home: Home, subject_key: str, hold: int, *, by: str, clock: Callable[[], datetime] = now_utc
) -> tuple[Recorded, list[str]]:
    """The second person releases it.

    Returns:
        The entry, and the sources (``*``: the whole person) of which an erasure was waiting for this.

    Raises:
        BadInput: there is no such hold in force.
        Denied: nobody has proposed it, or the same person did.
    """
    held = _require_in_force(home, subject_key, hold)
    proposal = find_proposal(home, subject_key, hold, now=clock())
    if proposal is None:
        raise Denied("nobody has proposed this release", remedy="Propose it first.", code="NOT_PROPOSED")
    if proposal.by == by:
        raise Denied(
            "the release was proposed by the same person",
            remedy="Somebody else has to release it.",
            code="TWO_PEOPLE",
        )
    event = Event(
        new_event_id(),
        Kind.HOLD_RELEASED,
        subject_key,
        held.source,
        ANY,
        clock(),
        hold_id=held.hold_id,
        indicated_by="authority",
        actor="officer",
        channel="console",
    )
    (recorded,) = home.ledger.append([event])
    _path(home, subject_key, hold).unlink(missing_ok=True)
    return recorded, pending_erasures(home.ledger.facts(subject_key))


def _require_in_force(home: Home, subject_key: str, hold: int) -> Statement:
    found = next((h for h in holds_in_force(home, subject_key) if h.leaf_index == hold), None)
    if found is None:
        raise BadInput(
            "there is no such hold in force", remedy="Look at the person's page again.", code="NOT_HELD"
        )
    return found


def _path(home: Home, subject_key: str, hold: int) -> Path:
    """A name that tells nothing."""
    name = digest(b"assent-release/1", subject_key.encode(), str(hold).encode())[:32]
    return home.path("releases", f"{name}.json")
