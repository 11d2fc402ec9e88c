"""What a caller gets when something is refused or goes wrong: one document (RFC 9457), one table of statuses.

A message never holds a value that was sent: neither ours do, nor is anything of the framework's shown.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from consent.errors import (
    AssentError,
    BadInput,
    ConfigError,
    Conflict,
    Denied,
    EvidenceError,
    Gap,
    IllegalTransition,
    Unavailable,
)
from console.api import bodies

MEDIA_TYPE = "application/problem+json"
#: By code, where the kind of error does not tell it.
_BY_CODE = {
    "UNKNOWN_SUBJECT": 404,
    "NO_GRANT": 404,
    "ERASED": 409,
    "TOO_LARGE": 413,
    "BAD_JSON": 400,
    "BAD_HEADER": 400,
    "UNAUTHENTICATED": 401,
}
_BY_KIND: list[tuple[type[AssentError], int]] = [
    (BadInput, 422),
    (Denied, 403),
    (Conflict, 409),
    (IllegalTransition, 409),
    (Gap, 503),
    (ConfigError, 503),
    (Unavailable, 503),
    (EvidenceError, 500),
]
_STATUSES = (400, 401, 403, 404, 409, 413, 415, 422, 503)
#: For the OpenAPI page.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in _STATUSES
}


def status_of(error: AssentError) -> int:
    """The answer's status for an error."""
    if error.code in _BY_CODE:
        return _BY_CODE[error.code]
    return next((status for kind, status in _BY_KIND if isinstance(error, kind)), 500)


def problem(error: AssentError, *, status: int | None = None, fields: list[str] | None = None) -> Response:
    """The answer to an error."""
    status = status or status_of(error)
    told = bodies.Problem(
        type=f"urn:x-assent:problem:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        remedy=error.remedy,
        code=error.code,
        fields=fields,
    )
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(status, {})
    content = json.dumps(told.model_dump(exclude_none=True), ensure_ascii=False).encode()
    return Response(content, status, headers, MEDIA_TYPE)


def of_error(_request: Request, error: Exception) -> Response:
    """An error of ours."""
    assert isinstance(error, AssentError)
    return problem(error)


def of_body(_request: Request, error: Exception) -> Response:
    """A body that is not as described. A name that was sent is not repeated, only one that was asked for."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        told = BadInput("the body is no JSON", remedy="Send one JSON object in UTF-8.", code="BAD_JSON")
        return problem(told)
    fields = sorted({name for each in found if (name := _field(each))})
    unknown = any(each["type"] == "extra_forbidden" for each in found)
    where = f"; look at: {', '.join(fields)}" if fields else ""
    what = "the body has a field that is not known" if unknown else "the body is not as it should be"
    return problem(
        BadInput(what + where, remedy="See openapi.json for what it may hold.", code="BAD_BODY"),
        fields=fields or None,
    )


def of_status(_request: Request, error: Exception) -> Response:
    """What the framework refuses: no such path, no such method, another encoding or media type."""
    assert isinstance(error, HTTPException)
    status = error.status_code
    code, remedy = {
        400: ("BAD_JSON", "Send one JSON object in UTF-8."),
        404: ("NOT_FOUND", "See openapi.json for the paths."),
        405: ("METHOD_NOT_ALLOWED", "See openapi.json for the methods."),
        415: ("MEDIA_TYPE", "Send application/json."),
    }.get(status, ("REFUSED", "See openapi.json."))
    answer = problem(BadInput(HTTPStatus(status).phrase.lower(), remedy=remedy, code=code), status=status)
    answer.headers.update(error.headers or {})
    return answer


def _field(each: Any) -> str:
    """The name of a field that we have asked for; empty for any other."""
    named = [str(part) for part in each["loc"] if isinstance(part, str)]
    known = {name for model in _MODELS for name in model.model_fields}
    return next((part for part in reversed(named) if part in known), "")


_MODELS = (
    bodies.Yes,
    bodies.No,
    bodies.NoticeSeen,
    bodies.Withdrawal,
    bodies.Question,
    bodies.ReceiptWanted,
)
