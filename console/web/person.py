"""One person: consent in time, what may be used now and at any past moment, data held, who read it, proofs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from consent.accesses import AccessQuery
from consent.catalog import PURPOSES, SOURCES
from consent.decide import decide, requests
from consent.errors import BadInput
from consent.evidence.prove import newest_checkpoint, prove_entry
from consent.nouns import Decision, Facts
from console.web.access import require_access, too_often
from console.web.desk import AtDesk, Desk, From, Position, Sent
from console.web.drawings import draw_lanes
from rights.release import find_proposal, holds_in_force
from rights.spans import lanes

router = APIRouter(dependencies=[Depends(require_access)])

#: Entries and accesses that are shown at a time.
PAGE = 25


@router.get("/person", name="person_find")
def find(desk: AtDesk) -> Response:
    """Ask for a customer number."""
    return desk.render("person_find.html", erased=None, unknown=False)


@router.post("/person", name="person_look_up")
def look_up(desk: AtDesk, form: Sent) -> Response:
    """Find a person by customer number, which goes no further than here."""
    if not desk.shared.look_ups.allows(desk.signed_in.csrf):
        raise too_often()
    number = form.need("number")
    subject_key = desk.home.directory.find([number])[0]
    if subject_key is not None:
        desk.look("look_up", subject_key)
        return desk.go(f"/person/{desk.signed_in.remember(subject_key)}")
    desk.look("look_up", found="nobody")
    tombstone = next(iter(desk.home.directory.tombstones([number]).values()), None)
    status = 404 if tombstone is None else 200
    return desk.render("person_find.html", status=status, erased=tombstone, unknown=tombstone is None)


@router.get("/person/{handle}", name="person")
def show(desk: AtDesk, handle: str, at: str = "", known: str = "", before: From = 2**62) -> Response:
    """The page of a person."""
    subject_key = desk.person(handle)
    desk.look("person", subject_key)
    facts, now = desk.home.ledger.facts_now(subject_key)
    places = [s.leaf_index for s in reversed(facts.statements) if s.leaf_index < before]
    return desk.render(
        "person.html",
        handle=handle,
        key=subject_key,
        timeline=draw_lanes(lanes(facts, now), now),
        entries=desk.home.ledger.entries(places[:PAGE])[::-1],
        more=len(places) > PAGE,
        total=len(facts.statements),
        holds=[_hold(desk, subject_key, h, now) for h in holds_in_force(desk.home, subject_key)],
        due=requests(facts.statements),
        **_matrix(desk, facts, now, at, known),
    )


def _hold(desk: Desk, subject_key: str, hold: Any, now: datetime) -> dict[str, Any]:
    entry = desk.home.ledger.entries([hold.leaf_index])
    proposal = find_proposal(desk.home, subject_key, hold.leaf_index, now=now)
    return {"entry": hold.leaf_index, "recorded": entry[0] if entry else None, "proposal": proposal}


@router.get("/person/{handle}/matrix", name="person_matrix")
def matrix(desk: AtDesk, handle: str, at: str = "", known: str = "") -> Response:
    """What might be used at a moment, on what was known at another; a part of the page."""
    subject_key = desk.person(handle)
    desk.look("decisions", subject_key)
    facts, now = desk.home.ledger.facts_now(subject_key)
    return desk.render("person.html#matrix", handle=handle, **_matrix(desk, facts, now, at, known))


def _matrix(desk: Desk, facts: Facts, now: datetime, at: str, known: str) -> dict[str, Any]:
    as_of, known_at = desk.words.instant(at, "the moment"), desk.words.instant(known, "what was known")
    answers: dict[tuple[str, str], Decision] = {
        (source, purpose): decide(facts, source, purpose, data_at=None, as_of=as_of or now, known_at=known_at)
        for source in SOURCES
        for purpose in PURPOSES
    }
    return {
        "answers": answers,
        "sources": tuple(SOURCES),
        "purposes": tuple(PURPOSES),
        "as_of": as_of,
        "known_at": known_at,
        "answered_at": as_of or now,
    }


@router.get("/person/{handle}/held", name="person_held")
def held(desk: AtDesk, handle: str) -> Response:
    """What is held of the person, and which training sets and models they are in."""
    from feature_repo.stores.models import models_with
    from rights.inventory import take_inventory

    subject_key = desk.person(handle)
    desk.look("held", subject_key)
    found = take_inventory(desk.home, [(subject_key, "*")])[subject_key, "*"]
    stores: dict[tuple[str, str], list[int]] = {}
    for holding in found.holdings:
        counts = stores.setdefault((holding.store, holding.source), [0, 0])
        counts[0] += holding.rows
        counts[1] += 1
    template = "person_held.html#held" if desk.is_fragment else "person_held.html"
    return desk.render(
        template,
        handle=handle,
        stores=sorted(stores.items()),
        found=found,
        receipts=_receipts(desk, found.receipts),
        models=models_with(desk.home, found.receipts),
    )


def _receipts(desk: Desk, names: list[str]) -> list[Any]:
    from feature_repo.stores.receipts import read_receipt

    return sorted((read_receipt(desk.home, name) for name in names), key=lambda r: r.created_at, reverse=True)


@router.get("/person/{handle}/accesses", name="person_accesses")
def accesses(desk: AtDesk, handle: str, before: From = 2**62) -> Response:
    """Who has read or looked at the person's data, this look among them."""
    subject_key = desk.person(handle)
    desk.look("accesses", subject_key)
    query = AccessQuery(subject_key=subject_key, before=before)
    found = desk.home.accesses.entries(query, limit=PAGE + 1)
    template = "person_accesses.html#accesses" if desk.is_fragment else "person_accesses.html"
    return desk.render(template, handle=handle, accesses=found[:PAGE], more=len(found) > PAGE)


@router.get("/person/{handle}/proof/{entry}", name="person_proof")
def proof(desk: AtDesk, handle: str, entry: Position) -> Response:
    """The proof that one of the person's entries is in the signed log."""
    return _prove(desk, handle, entry, part=0)


@router.get("/person/{handle}/record/{entry}", name="person_record")
def record(desk: AtDesk, handle: str, entry: Position) -> Response:
    """The record and nonce that open that entry."""
    return _prove(desk, handle, entry, part=1)


def _prove(desk: Desk, handle: str, entry: int, *, part: int) -> Response:
    subject_key = desk.person(handle)
    if entry not in {s.leaf_index for s in desk.home.ledger.facts(subject_key).statements}:
        raise BadInput("there is no such entry", remedy="Look at the person's page again.", code="NOT_FOUND")
    desk.look("proof", subject_key, entry=str(entry))
    with desk.home.ledger.snapshot() as log:
        made = prove_entry(log, entry, newest_checkpoint(log))
    name = (f"entry-{entry}.tlog-proof", f"entry-{entry}.record.json")[part]
    return download(made[part], name)


def download(content: bytes, name: str, kind: str = "application/octet-stream") -> Response:
    """A file for the browser to keep."""
    return Response(
        content, media_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
