"""The ledger: search it, verify it, take checkpoint and proofs away."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from consent.catalog import PURPOSES, SOURCES
from consent.clock import now_utc
from consent.errors import AssentError, Gap
from consent.evidence.prove import newest_checkpoint, prove_entry
from consent.figures import EntryQuery, find_entries
from consent.home import Home
from consent.nouns import Kind, Recorded
from console.web.access import require_access
from console.web.desk import AtDesk, Desk, From, Position, Sent
from console.web.person import download

router = APIRouter(dependencies=[Depends(require_access)])

PAGE = 50
_NEWEST = 2**62


@router.get("/ledger", name="ledger")
def show(
    desk: AtDesk,
    kind: str = "",
    source: str = "",
    purpose: str = "",
    since: str = "",
    until: str = "",
    entry: str = "",
    before: From = _NEWEST,
) -> Response:
    """Entries, newest first."""
    query = EntryQuery(
        kind if kind in set(Kind) else None,
        source if source in SOURCES else None,
        purpose if purpose in PURPOSES else None,
        desk.words.instant(since, "from"),
        desk.words.instant(until, "to"),
    )
    desk.look("ledger")
    places = _places(desk, query, entry, min(before, _NEWEST))
    entries = _entries(desk.home, places[:PAGE])
    return desk.render(
        "ledger.html",
        head=desk.home.ledger.head(),
        checkpoint=desk.home.ledger.checkpoint(),
        vkey=desk.home.ledger.verifier.format_vkey(),
        audit=desk.request.app.state.audit.state(),
        entries=entries,
        more=len(places) > PAGE,
        last=places[:PAGE][-1] if places else 0,
        asked={
            "kind": kind,
            "source": source,
            "purpose": purpose,
            "since": since,
            "until": until,
            "entry": entry,
        },
        kinds=[k.value for k in Kind],
        sources=tuple(SOURCES),
        purposes=tuple(PURPOSES),
    )


def _places(desk: Desk, query: EntryQuery, entry: str, before: int) -> list[int]:
    """Positions to show, one more than fit on the page if there are more."""
    size = desk.home.ledger.size()
    if entry.strip().isascii() and entry.strip().isdecimal() and len(entry) < 18:
        return [int(entry)] if int(entry) < size else []
    if query == EntryQuery():
        last = min(before, size)
        return list(range(last - 1, max(last - 2 - PAGE, -1), -1))
    return find_entries(desk.home.gate.timeline(), query, before=before, limit=PAGE + 1)


def _entries(home: Home, places: list[int]) -> list[tuple[int, Recorded | None]]:
    """With None for an entry that an erasure has blanked."""
    found = {r.leaf_index: r for r in home.ledger.entries(places)}
    return [(place, found.get(place)) for place in places]


@router.get("/ledger/checkpoint", name="checkpoint")
def checkpoint(desk: AtDesk) -> Response:
    """The newest signed checkpoint: kept elsewhere, it pins everything recorded so far."""
    desk.look("checkpoint")
    note = desk.home.ledger.checkpoint()
    if note is None:
        raise Gap(
            "the ledger is empty, so there is nothing to sign", remedy="Record or import consent first."
        )
    return download(note, f"{now_utc():%Y-%m-%d}.checkpoint")


@router.get("/ledger/{entry}/proof", name="ledger_proof")
def proof(desk: AtDesk, entry: Position) -> Response:
    """The proof that an entry is in the signed log."""
    return _prove(desk, entry, part=0)


@router.get("/ledger/{entry}/record", name="ledger_record")
def record(desk: AtDesk, entry: Position) -> Response:
    """The record and nonce that open it; it holds a pseudonym, so the look is written down as one at that person."""
    return _prove(desk, entry, part=1)


def _prove(desk: Desk, entry: int, *, part: int) -> Response:
    about = desk.home.ledger.entries([entry])
    desk.look("proof", about[0].event.subject_key if about else None, entry=str(entry))
    with desk.home.ledger.snapshot() as log:
        made = prove_entry(log, entry, newest_checkpoint(log))
    return download(made[part], (f"entry-{entry}.tlog-proof", f"entry-{entry}.record.json")[part])


# ------------------------------------------------------------------------------------------- verifying


@dataclass(frozen=True)
class AuditState:
    """How the last audit of the ledger stands.

    Attributes:
        done, size: entries replayed, and to replay.
        findings: what did not fit, with the position; empty: everything did.
    """

    is_running: bool = False
    done: int = 0
    size: int = 0
    ended_at: datetime | None = None
    entries: int = 0
    checkpoints: int = 0
    findings: tuple[tuple[str, int | None], ...] = ()
    failed: str = ""


class Audit:
    """Replays the whole ledger beside the pages, one at a time."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._lock = threading.Lock()
        self._state = AuditState()

    def state(self) -> AuditState:
        """How it stands."""
        with self._lock:
            return self._state

    def begin(self) -> None:
        """Begin one, unless one is running."""
        with self._lock:
            if self._state.is_running:
                return
            self._state = replace(self._state, is_running=True, done=0, size=self._home.ledger.size())
        threading.Thread(target=self._work, name="assent-audit", daemon=True).start()

    def _work(self) -> None:
        found = self._state
        try:
            report = self._home.ledger.audit(on_progress=self._progress)
            findings = tuple((f.what, f.leaf_index) for f in report.findings)
            found = AuditState(False, 0, 0, now_utc(), report.entries, report.checkpoints, findings)
        except AssentError as error:
            found = AuditState(False, 0, 0, now_utc(), failed=error.message)
        except Exception:  # its text could quote a record
            found = AuditState(False, 0, 0, now_utc(), failed="the audit could not be ended")
        finally:
            with self._lock:
                self._state = found

    def _progress(self, done: int) -> None:
        with self._lock:
            self._state = replace(self._state, done=done)


@router.post("/ledger/verify", name="verify")
def verify(desk: AtDesk, form: Sent) -> Response:
    """Replay the whole ledger."""
    desk.look("verify")
    desk.request.app.state.audit.begin()
    return desk.go("/ledger/verify")


@router.get("/ledger/verify", name="verify")
def verified(desk: AtDesk) -> Response:
    """How far it is, and what it found."""
    state: Any = desk.request.app.state.audit.state()
    template = "verify.html#audit" if desk.is_fragment else "verify.html"
    return desk.render(template, audit=state)
