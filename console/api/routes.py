"""The four calls of the consent API. Customer numbers stand in bodies only; no rule lives here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Request
from fastapi.responses import Response

from consent.accesses import AccessKind
from consent.catalog import PURPOSES, SOURCES
from consent.clock import format_instant
from consent.decide import decide
from consent.errors import BadInput, IllegalTransition
from consent.exchange.controller import require_controller
from consent.exchange.record_export import receipt_of
from consent.exchange.statements import GRANT_OF_LEDGER
from consent.nouns import ANY, Decision, Facts, Recorded
from console.api import bodies
from console.api.calls import Call, calling
from console.api.problems import RESPONSES
from console.api.strict_json import StrictRoute
from console.options import optional_instant

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="A name of your own for this request. Sent again with the same content, it gets the same answer"
        " and nothing happens twice; with other content it is refused. Remembered for 24 hours.",
        examples=['"8e03978e-40d5-43dd-bc93-6894a57f9324"'],
    ),
]
_LINKED_DATA = "application/ld+json"

router = APIRouter(responses=RESPONSES, route_class=StrictRoute)


@router.post("/consents", status_code=201, response_model=bodies.Entry, summary="Record a yes or a no")
def record(
    request: Request,
    answer: Annotated[
        bodies.Answer,
        Body(
            openapi_examples={
                "given": {"summary": "A yes", "value": bodies.EXAMPLE_YES},
                "refused": {"summary": "A no", "value": bodies.EXAMPLE_NO},
            }
        ),
    ],
    key: Key = None,
) -> Response:
    """Record what a person answered about one source and one purpose. It counts from now on, never from before."""
    with calling(request) as call:
        return call.once(key, answer, 201, lambda name: _entry(call.record(_said(answer), name)))


@router.post("/withdrawals", response_model=bodies.Withdrawn, summary="Withdraw consent")
def withdraw(
    request: Request,
    withdrawal: Annotated[
        bodies.Withdrawal,
        Body(
            openapi_examples={
                "everything": {"summary": "Everything", "value": {"subject_id": "C-1042"}},
                "one source": {
                    "summary": "One source",
                    "value": {"subject_id": "C-1042", "source": "spending"},
                },
            }
        ),
    ],
    key: Key = None,
) -> Response:
    """Withdraw. When this answers, nothing of it can be read or loaded any more, in any process.

    Who has nothing left to withdraw gets the same 200, with `recorded` null.
    """
    with calling(request) as call:
        return call.once(key, withdrawal, 200, lambda name: _withdraw(call, withdrawal, name))


@router.post("/state", response_model=bodies.State, summary="Where a person stands")
def state(
    request: Request,
    question: Annotated[
        bodies.Question,
        Body(openapi_examples={"now": {"summary": "Now", "value": {"subject_id": "C-1042"}}}),
    ],
) -> Response:
    """May data be used, for each source and purpose, and why not. A person nobody knows has agreed to nothing."""
    with calling(request) as call:
        return call.answer(_state(call, question))


@router.post(
    "/receipts",
    summary="A consent receipt",
    response_class=Response,
    responses={
        200: {"description": "The receipt", "content": {_LINKED_DATA: {"schema": {"type": "object"}}}}
    },
)
def receipt(
    request: Request,
    wanted: Annotated[
        bodies.ReceiptWanted,
        Body(
            openapi_examples={
                "latest": {
                    "summary": "The latest",
                    "value": {"subject_id": "C-1042", "source": "spending", "purpose": "credit_scoring"},
                }
            }
        ),
    ],
) -> Response:
    """A copy of the consent record for the person: ISO/IEC TS 27560 fields in W3C DPV JSON-LD."""
    with calling(request) as call:
        controller = require_controller(call.home.settings.controller)
        subject_key = call.home.directory.require(wanted.subject_id)
        call.look(AccessKind.LOOKED, subject_key, wanted.purpose)
        document = receipt_of(
            call.home,
            controller,
            subject_key,
            source=wanted.source,
            purpose=wanted.purpose,
            grant_id=wanted.grant_id,
        )
        return call.answer(document, media_type=_LINKED_DATA)


def _said(answer: bodies.Yes | bodies.No) -> dict[str, str | None]:
    """The answer as a statement of `consent.exchange.statements`."""
    said = {"event": answer.decision, "subject_id": answer.subject_id, "channel": answer.channel}
    said |= {"source": answer.source, "purpose": answer.purpose}
    if isinstance(answer, bodies.No):
        return said
    named = {f"notice_{name}": getattr(answer.notice, name) for name in ("id", "version", "language")}
    days = {
        name: None if getattr(answer, name) is None else str(getattr(answer, name))
        for name in ("data_life_days", "retention_days")
    }
    return (
        said
        | named
        | days
        | {name: getattr(answer, name) for name in ("jurisdiction", "method", "expires_at", "data_from")}
        | {
            "notice_hash": answer.notice.sha256,
            "data_until": answer.data_until,
            "evidence_hash": answer.evidence_sha256,
            "replaces": None if answer.replaces is None else GRANT_OF_LEDGER + answer.replaces,
        }
    )


def _withdraw(call: Call, withdrawal: bodies.Withdrawal, name: str | None) -> dict[str, Any]:
    said = {"event": "withdrawn", **withdrawal.model_dump()}
    try:
        return {"recorded": _entry(call.record(said, name))}
    except IllegalTransition:
        if _in_force(call, withdrawal):
            raise
    except BadInput:  # a number nobody knows may be mistyped; of somebody who was erased nothing is left
        if not call.home.directory.tombstones([withdrawal.subject_id]):
            raise
    return {"recorded": None}


def _in_force(call: Call, withdrawal: bodies.Withdrawal) -> bool:
    """Whether anything of what was to be withdrawn may be used all the same."""
    facts, now = call.home.ledger.facts_now(call.home.directory.require(withdrawal.subject_id))
    return any(
        decide(facts, source, purpose, data_at=None, as_of=now).allowed
        for source in SOURCES
        for purpose in PURPOSES
        if withdrawal.source in (ANY, source) and withdrawal.purpose in (ANY, purpose)
    )


def _state(call: Call, question: bodies.Question) -> dict[str, Any]:
    sources, purposes = (
        _asked("source", question.source, SOURCES),
        _asked("purpose", question.purpose, PURPOSES),
    )
    known_at = optional_instant(question.known_at, "known_at")
    as_of = optional_instant(question.as_of, "as_of")
    key = call.home.directory.find([question.subject_id])[0]
    call.look(AccessKind.LOOKED, key, question.purpose)
    facts, now = (Facts(), call.home.ledger.now()) if key is None else call.home.ledger.facts_now(key)
    at = as_of or now
    return {
        "as_of": format_instant(at),
        "known_at": None if known_at is None else format_instant(known_at),
        "decisions": [
            _standing(
                source, purpose, decide(facts, source, purpose, data_at=None, as_of=at, known_at=known_at)
            )
            for source in sources
            for purpose in purposes
        ],
    }


def _asked(what: str, name: str | None, known: Iterable[str]) -> list[str]:
    """What is asked about: one of the catalog, or all of it. What was sent instead is not repeated."""
    if name is not None and name not in known:
        raise BadInput(
            f"there is no such {what}", remedy=f"Use one of: {', '.join(known)}.", code="BAD_FIELD"
        )
    return list(known) if name is None else [name]


def _standing(source: str, purpose: str, decision: Decision) -> dict[str, Any]:
    ends = decision.expires_at
    return {
        "source": source,
        "purpose": purpose,
        "allowed": decision.allowed,
        "reason": None if decision.reason is None else decision.reason.value,
        "grant_id": decision.grant_id,
        "expires_at": None if ends is None else format_instant(ends),
        "imported": decision.imported,
    }


def _entry(recorded: Recorded) -> dict[str, Any]:
    event = recorded.event
    return {
        "entry": recorded.leaf_index,
        "event": event.kind.value,
        "source": event.source,
        "purpose": event.purpose,
        "recorded_at": format_instant(recorded.recorded_at),
        "effective_at": format_instant(event.effective_at),
        "grant_id": event.grant.grant_id if event.grant else None,
    }
