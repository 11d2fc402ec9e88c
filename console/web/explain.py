"""Why was it yes, why was it no? For any moment, on any state of knowledge; and was a read at that moment lawful."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from consent.catalog import PURPOSES, SOURCES
from consent.decide import decide
from consent.knowledge import review_read
from consent.nouns import Facts
from console.web.access import require_access, too_often
from console.web.desk import AtDesk, Sent

router = APIRouter(dependencies=[Depends(require_access)])

_FIELDS = ("source", "purpose", "as_of", "known_at", "data_at")


@router.get("/explain", name="explain")
def show(desk: AtDesk) -> Response:
    """Ask."""
    return desk.render(
        "explain.html",
        sources=tuple(SOURCES),
        purposes=tuple(PURPOSES),
        asked=dict.fromkeys(_FIELDS, ""),
        decision=None,
    )


@router.post("/explain", name="explained")
def explain(desk: AtDesk, form: Sent) -> Response:
    """Answer."""
    if not desk.shared.look_ups.allows(desk.signed_in.csrf):
        raise too_often()
    subject_key = desk.home.directory.find([form.need("number")])[0]
    source, purpose = form.need("source"), form.need("purpose")
    desk.look("explain", subject_key, source=source if source in SOURCES else "?")
    facts, now = desk.home.ledger.facts_now(subject_key) if subject_key else (Facts(), desk.home.ledger.now())
    as_of = desk.words.instant(form.get("as_of"), "as of") or now
    known_at = desk.words.instant(form.get("known_at"), "known at")
    data_at = desk.words.instant(form.get("data_at"), "date of the record")
    decision = decide(facts, source, purpose, data_at=data_at, as_of=as_of, known_at=known_at)
    grant = next(
        (s.leaf_index for s in facts.statements if s.grant_id and s.grant_id == decision.grant_id), None
    )
    return desk.render(
        "explain.html",
        sources=tuple(SOURCES),
        purposes=tuple(PURPOSES),
        asked={name: form.get(name) for name in _FIELDS},
        decision=decision,
        is_known=subject_key is not None,
        as_of=as_of,
        known_at=known_at,
        grant=grant,
        review=review_read(facts, source, purpose, read_at=min(as_of, now), data_at=data_at),
    )
