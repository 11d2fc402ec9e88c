"""What was done: ingestion runs and quarantine, training sets and models, requests, certificates, the access log."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from consent.accesses import AccessKind, AccessQuery
from consent.catalog import SOURCES
from consent.clock import now_utc, parse_instant
from consent.decide import holds
from consent.errors import BadInput, Unavailable
from consent.evidence.certificate import verify_certificate
from consent.figures import held_people, open_requests
from consent.home import Home
from consent.knowledge import holds_on
from console.web.access import require_access
from console.web.desk import AtDesk, Desk, From
from console.web.drawings import share_of
from console.web.person import download
from ingestion.runs import Kind, Run, find_run, newest_runs
from reports.catalog import make_report
from reports.query import Query
from reports.register import a_month_after

router = APIRouter(dependencies=[Depends(require_access)])

PAGE = 25
_LOADS: tuple[Kind, ...] = ("ingest",)
_NAME = re.compile(r"[0-9A-Za-z-]{1,64}")


# ------------------------------------------------------------------------------------------- runs


def newest_loads(home: Home, *, limit: int, before: str = "") -> list[dict[str, Any]]:
    """The newest reports of ingestion jobs; only these are read.

    Args:
        before: only runs whose name comes before this one.
    """
    return [_load(run) for run in islice(newest_runs(home, _LOADS, before=before), limit)]


def _load(run: Run) -> dict[str, Any]:
    return run.document | {"started": run.started_at}


@router.get("/runs", name="runs")
def runs(desk: AtDesk, before: str = "") -> Response:
    """Ingestion jobs, newest first."""
    found = newest_loads(desk.home, limit=PAGE + 1, before=before)
    return desk.render("runs.html", runs=found[:PAGE], more=len(found) > PAGE)


@router.get("/runs/{name}", name="run")
def run(desk: AtDesk, name: str) -> Response:
    """One job: what became of every file, by reason and by rule."""
    try:
        found = find_run(desk.home, _named(name), _LOADS)
    except BadInput:
        raise _missing() from None
    return desk.render("run.html", run=_load(found))


@router.get("/quarantine", name="quarantine")
def quarantine(desk: AtDesk, source: str = "", skip: From = 0) -> Response:
    """What the batches of a source hold in quarantine, newest first, by rule: counts only."""
    from ingestion.quarantine import list_held

    chosen = source if source in SOURCES else next(iter(SOURCES))
    held = sorted(list_held(desk.home, chosen), key=lambda each: each.loaded_at, reverse=True)
    skip = max(skip, 0)
    return desk.render(
        "quarantine.html",
        held=held[skip : skip + PAGE],
        at={each.batch_id: parse_instant(each.loaded_at) for each in held[skip : skip + PAGE]},
        more=len(held) > skip + PAGE,
        skip=skip,
        page=PAGE,
        source=chosen,
        sources=tuple(SOURCES),
    )


def _named(name: str) -> str:
    if _NAME.fullmatch(name) is None:
        raise _missing()
    return name


def _missing() -> BadInput:
    return BadInput("there is no such thing", remedy="Go back to the list.", code="NOT_FOUND")


# ------------------------------------------------------------------------------------------- training


@router.get("/training", name="training")
def training(desk: AtDesk, skip: From = 0) -> Response:
    """Training sets, newest first, the models trained on them, and what of their people has been withdrawn since."""
    skip = max(skip, 0)
    made = make_report(desk.home, "training-provenance", Query(limit=PAGE + 1, skip=skip))
    names = [column.name for column in made.columns]
    sets = [dict(zip(names, row, strict=True)) for row in made.rows]
    return desk.render("training.html", sets=sets[:PAGE], skip=skip, page=PAGE, more=len(sets) > PAGE)


# ------------------------------------------------------------------------------------------- requests


@router.get("/requests", name="requests")
def requests(desk: AtDesk, after: From = -1, person: str = "") -> Response:
    """Erasures that were asked for and are not done, with the day they are due; holds in force."""
    timeline, now = desk.home.gate.timeline(), desk.home.ledger.now()
    found = open_requests(timeline, after=after, limit=PAGE + 1)
    rows = [
        {
            "request": each,
            "due": a_month_after(each.recorded_at),
            "passed": share_of(each.recorded_at, now, a_month_after(each.recorded_at)),
            "is_late": a_month_after(each.recorded_at) < now,
            "held_by": holds_on(desk.home.ledger.facts(each.subject_key), each.source),
        }
        for each in found[:PAGE]
    ]
    people = held_people(timeline, after=person, limit=PAGE + 1)
    held = [(key, h) for key in people[:PAGE] for h in holds(desk.home.ledger.facts(key).statements)]
    entries = {r.leaf_index: r for r in desk.home.ledger.entries([h.leaf_index for _, h in held])}
    desk.look("requests")
    return desk.render(
        "requests.html",
        rows=rows,
        more=found[PAGE - 1].leaf_index if len(found) > PAGE else None,
        held=[(key, entries[h.leaf_index]) for key, h in held if h.leaf_index in entries],
        more_held=people[PAGE - 1] if len(people) > PAGE else None,
    )


# ------------------------------------------------------------------------------------------- certificates


@router.get("/certificates", name="certificates")
def certificates(desk: AtDesk, skip: From = 0) -> Response:
    """What erasures and sweeps destroyed, newest first."""
    paths = sorted(
        desk.home.path("certificates").glob("*.certificate"), key=lambda p: p.stat().st_mtime_ns, reverse=True
    )
    skip = min(max(skip, 0), len(paths))
    found = [(path.stem, _certificate(desk.home, path)[1]) for path in paths[skip : skip + PAGE]]
    return desk.render(
        "certificates.html",
        certificates=found,
        skip=skip,
        page=PAGE,
        more=len(paths) > skip + PAGE,
        at={name: _at(document) for name, document in found},
    )


@router.get("/certificates/{name}", name="certificate")
def certificate(desk: AtDesk, name: str) -> Response:
    """One certificate, its signature verified."""
    _, document = _certificate(desk.home, _path(desk, name))
    desk.look("certificate", certificate=name)
    return desk.render("certificate.html", name=name, document=document, at=_at(document))


@router.get("/certificates/{name}/file", name="certificate_file")
def certificate_file(desk: AtDesk, name: str) -> Response:
    """The signed file, to be verified on any machine."""
    content, _ = _certificate(desk.home, _path(desk, name))
    desk.look("certificate", certificate=name, kept="yes")
    return download(content, f"{name}.certificate")


def _path(desk: Desk, name: str) -> Path:
    path: Path = desk.home.path("certificates", f"{_named(name)}.certificate")
    if not path.exists():
        raise _missing()
    return path


def _certificate(home: Home, path: Path) -> tuple[bytes, dict[str, Any]]:
    try:
        content = path.read_bytes()
    except OSError:
        raise Unavailable("a certificate cannot be read", remedy="Restore it from a copy.") from None
    return content, verify_certificate(content, home.log_keys().keys)[1]


def _at(document: dict[str, Any]) -> Any:
    said = document.get("erased_at") or document.get("swept_at")
    return parse_instant(str(said)) if said else now_utc()


# ------------------------------------------------------------------------------------------- accesses


@router.get("/accesses", name="accesses")
def accesses(desk: AtDesk, kind: str = "", caller: str = "", before: From = 2**62) -> Response:
    """Who used or looked at which data, newest first; this look among them."""
    desk.look("accesses")
    wanted = AccessKind(kind) if kind in set(AccessKind) else None
    query = AccessQuery(kind=wanted, caller=caller[:200] or None, before=before)
    found = desk.home.accesses.entries(query, limit=PAGE + 1)
    return desk.render(
        "accesses.html",
        accesses=found[:PAGE],
        more=len(found) > PAGE,
        kinds=[k.value for k in AccessKind],
        asked={"kind": kind, "caller": caller},
    )
