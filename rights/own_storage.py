"""What is kept about a person, where, what for, for how long; what restricts it, and how decisions are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from consent.catalog import PURPOSES, SOURCES
from consent.clock import EPOCH, format_instant, instant, parse_instant
from consent.decide import holds, requests
from consent.exchange.controller import Controller
from consent.home import Home, Storage
from consent.nouns import Decision, Kind, Recorded, Statement
from feature_repo.stores.setup import Service, read_services
from ingestion.asked import asked_days
from ingestion.holdings import Holding, sources_of, tables_of
from ingestion.sources import SOURCES as DEFINED
from rights.inventory import Inventory
from rights.own_consents import OwnConsents, terms_document
from rights.spans import Lane, lanes

#: How decisions come about, as far as this system knows.
DECISIONS = (
    "This system computes features from records and hands them to the lender's scoring, for the purposes listed."
    " It holds no scores and takes no decisions: how a score follows from the features, and what else counts, the"
    " lender tells you."
)
RETENTION_RULES = {
    "data_life": "how old a record may get before it is no longer used; then it is deleted",
    "retention": "how long after loading records may be stored; then they are deleted",
    "grace": "how many days after the last consent to a source has ended its records are deleted",
    "quarantine": "how many days after loading records that failed a check are deleted",
    "evidence": "how many days after an erasure consent records are kept, under a pseudonym, as evidence",
    "backup": "how many days old the oldest backup may be",
}


@dataclass(frozen=True)
class OwnStorage:
    """What is kept, and what stands in its way.

    Attributes:
        days: source -> days that training sets asked for.
        holds, requests: in force, and not carried out yet.
        done: erasures of one source that were carried out.
    """

    inventory: Inventory
    lanes: list[Lane]
    days: dict[str, list[datetime]]
    holds: list[Statement]
    requests: list[Statement]
    done: list[Recorded]
    services: list[Service]
    storage: Storage


def read_storage(home: Home, subject_key: str, consents: OwnConsents, inventory: Inventory) -> OwnStorage:
    """What is kept of somebody, counted."""
    said = consents.facts.statements
    return OwnStorage(
        inventory,
        lanes(consents.facts, consents.as_of),
        {source: _days(home, source, subject_key) for source in _sources(home)},
        holds(said),
        requests(said),
        [r for r in consents.entries if r.event.kind is Kind.ERASED],
        read_services(home),
        home.settings.storage,
    )


def _sources(home: Home) -> list[str]:
    return sorted({*SOURCES, *sources_of(home, "*")})


def _days(home: Home, source: str, subject_key: str) -> list[datetime]:
    tables = [asked_days(home, source, t, subjects=[subject_key]) for t in tables_of(home, source)]
    days = {day for table in tables for day in table["day"].to_pylist()}
    return [EPOCH + timedelta(days=day) for day in sorted(days)]


def storage_document(own: OwnStorage, controller: Controller, entries: Sequence[Recorded]) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "controller": asdict(controller),
        "retention_rules": {
            name: {"means": means, **_setting(own.storage, name)} for name, means in RETENTION_RULES.items()
        },
        "sources": [_source(own, name, entries) for name in own.days],
        "online_values": own.inventory.online,
        "data_keys": own.inventory.keys,
        "holds_in_force": [_standing(s) for s in own.holds],
        "erasures_asked_for": [_standing(s) for s in own.requests],
        "erasures_done": [_done(r) for r in own.done],
        "recipients": list(controller.recipients),
        "automated_decisions": {"how": DECISIONS, "uses": [asdict(service) for service in own.services]},
    }


def _setting(storage: Storage, name: str) -> dict[str, int]:
    days = getattr(storage, f"{name}_days", None)
    return {} if days is None else {"days": days}


def _source(own: OwnStorage, name: str, entries: Sequence[Recorded]) -> dict[str, Any]:
    held = [h for h in own.inventory.holdings if h.source == name]
    return {
        "source": name,
        "what": DEFINED[name].doc if name in DEFINED else "",
        "dpv_category": SOURCES.get(name, ""),
        "purposes": [_purpose(lane, entries) for lane in own.lanes if lane.source == name],
        "held": [_holding(h) for h in held],
        "days_asked_for": [day.date().isoformat() for day in own.days[name]],
    }


def _holding(holding: Holding) -> dict[str, Any]:
    kind = "data_version" if holding.store == "tables" else "batch"
    return {
        "store": holding.store,
        kind: holding.place,
        "rows": holding.rows,
        "since": format_instant(parse_instant(holding.at)),
    }


def _purpose(lane: Lane, entries: Sequence[Recorded]) -> dict[str, Any]:
    grant = next((g for g in (r.event.grant for r in entries) if g and g.grant_id == lane.now.grant_id), None)
    terms = {} if grant is None or not lane.now.allowed else {"terms": terms_document(grant)}
    return {
        "purpose": lane.purpose,
        "dpv_purpose": PURPOSES[lane.purpose],
        **answer(lane.now),
        **terms,
    }


def answer(decision: Decision) -> dict[str, Any]:
    """A decision for the person: a reason that is somebody else's is not told."""
    if decision.party == "co_subject" and not decision.allowed:
        return {"may_be_used_now": False, "reason": "ANOTHER_PERSON"}
    until = None if decision.expires_at is None else format_instant(decision.expires_at)
    reason = None if decision.reason is None else decision.reason.value
    return {"may_be_used_now": decision.allowed, "reason": reason, "agreed_until": until}


def _standing(s: Statement) -> dict[str, Any]:
    return {"entry": s.leaf_index, "source": s.source, "since": format_instant(instant(s.effective_at))}


def _done(r: Recorded) -> dict[str, Any]:
    return {"entry": r.leaf_index, "source": r.event.source, "certificate": r.event.event_id}
