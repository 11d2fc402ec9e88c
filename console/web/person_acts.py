"""What an officer does for a person: withdraw, export, erase, hold, release. The rules are in the rooms below."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from consent.callers import current_caller
from consent.catalog import require_purpose, require_source
from consent.clock import now_utc
from consent.exchange.statements import record_statement
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Kind
from console.web.access import require_access
from console.web.desk import AtDesk, Desk, Position, Sent, require_confirmed
from console.web.person import download
from rights.release import find_proposal, propose_release, release_hold

router = APIRouter(dependencies=[Depends(require_access)])


def _form(desk: Desk, handle: str, act: str, **values: Any) -> Response:
    from consent.catalog import PURPOSES, SOURCES

    desk.person(handle)
    return desk.render(
        "act.html", handle=handle, act=act, sources=tuple(SOURCES), purposes=tuple(PURPOSES), **values
    )


@router.get("/person/{handle}/withdraw", name="withdraw_form")
def withdraw_form(desk: AtDesk, handle: str) -> Response:
    """Ask what is withdrawn."""
    return _form(desk, handle, "withdraw")


@router.post("/person/{handle}/withdraw", name="withdraw")
def withdraw(desk: AtDesk, handle: str, form: Sent) -> Response:
    """Record that the person withdraws. It counts from the very next read."""
    subject_key = desk.person(handle)
    source, purpose = form.get("source", ANY), form.get("purpose", ANY)
    event = Event(
        new_event_id(),
        Kind.WITHDRAWN,
        subject_key,
        source if source == ANY else require_source(source),
        purpose if purpose == ANY else require_purpose(purpose),
        now_utc(),
        actor=desk.signed_in.role.value,
        channel="console",
    )
    desk.look("withdraw", subject_key, source=source, scope=purpose)
    desk.home.ledger.append([event])
    return desk.go(f"/person/{handle}", done="withdraw")


@router.get("/person/{handle}/export", name="export_form")
def export_form(desk: AtDesk, handle: str) -> Response:
    """Ask for the number, which the package tells the person."""
    return _form(desk, handle, "export")


@router.post("/person/{handle}/export", name="export")
def export(desk: AtDesk, handle: str, form: Sent) -> Response:
    """Everything held about the person, in one package, for them. It is made in memory and nowhere else."""
    from rights.export import write_package

    subject_key, number = desk.person(handle), form.need("number")
    require_confirmed(desk.home, number, subject_key)
    package = io.BytesIO()
    write_package(desk.home, number, package)
    return download(
        package.getvalue(), f"access-package-{now_utc():%Y-%m-%d}-{subject_key[:8]}.zip", "application/zip"
    )


@router.get("/person/{handle}/erase", name="erase_form")
def erase_form(desk: AtDesk, handle: str) -> Response:
    """Ask what is erased, and for the number to confirm."""
    return _form(desk, handle, "erase")


@router.post("/person/{handle}/erase", name="erase")
def erase(desk: AtDesk, handle: str, form: Sent) -> Response:
    """Erase the person, or one source, in every store and backup."""
    subject_key = desk.person(handle)
    require_confirmed(desk.home, form.need("number"), subject_key)
    source = form.get("source", ANY)
    source = source if source == ANY else require_source(source)
    desk.look("erase", subject_key, source=source)
    return _erase(desk, handle, subject_key, [source], form.get("basis", "request of the person"))


def _erase(desk: Desk, handle: str, subject_key: str, sources: Sequence[str], basis: str) -> Response:
    """Carry it out, and show the certificate; where a hold is in the way, the person's page, which says so."""
    from rights.erase import Wanted
    from rights.erase import erase as run_erase

    outcomes = run_erase(desk.home, [Wanted(subject_key, source, basis) for source in sources])
    mine = [o for o in outcomes if o.subject_key == subject_key and o.certificate is not None]
    if not mine or mine[-1].certificate is None:
        return desk.go(f"/person/{handle}", done="held")
    return desk.go(f"/certificates/{mine[-1].certificate.stem}", done="erase")


@router.get("/person/{handle}/hold", name="hold_form")
def hold_form(desk: AtDesk, handle: str) -> Response:
    """Ask for the hold's name and ground, and for the number to confirm."""
    return _form(desk, handle, "hold")


@router.post("/person/{handle}/hold", name="hold")
def hold(desk: AtDesk, handle: str, form: Sent) -> Response:
    """Place a legal hold: nothing used and nothing erased until two people release it."""
    subject_key, number = desk.person(handle), form.need("number")
    require_confirmed(desk.home, number, subject_key)
    fields = {
        "event": "hold_placed",
        "subject_id": number,
        "source": form.get("source", ANY),
        "hold_id": form.need("name"),
        "basis": form.need("basis"),
        "indicated_by": "authority",
    }
    desk.look("hold", subject_key, source=fields["source"])
    record_statement(desk.home, fields, actor=desk.signed_in.role.value, channel="console")
    return desk.go(f"/person/{handle}", done="hold")


@router.get("/person/{handle}/release/{entry}", name="release_form")
def release_form(desk: AtDesk, handle: str, entry: Position) -> Response:
    """Say who has proposed it, if anybody has."""
    found = find_proposal(desk.home, desk.person(handle), entry, now=now_utc())
    own = found is not None and found.by == current_caller()
    return _form(desk, handle, "release", entry=entry, proposal=found, own=own)


@router.post("/person/{handle}/release/{entry}", name="release")
def release(desk: AtDesk, handle: str, entry: Position, form: Sent) -> Response:
    """The first person proposes the release, the second carries it out; an erasure that waited for it follows."""
    subject_key, caller = desk.person(handle), current_caller()
    step = form.need("step")
    desk.look("release", subject_key, entry=str(entry), step="propose" if step == "propose" else "release")
    if step == "propose":
        propose_release(desk.home, subject_key, entry, by=caller)
        return desk.go(f"/person/{handle}", done="proposed")
    _, waiting = release_hold(desk.home, subject_key, entry, by=caller)
    if waiting:
        desk.look("erase", subject_key, source=",".join(waiting))
        return _erase(desk, handle, subject_key, waiting, "request of the person")
    return desk.go(f"/person/{handle}", done="release")
