"""What the browser gets when something is refused or goes wrong: one table of statuses, one page."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from consent.errors import (
    AssentError,
    BadInput,
    ConfigError,
    Conflict,
    DataQuality,
    Denied,
    EvidenceError,
    Gap,
    IllegalTransition,
    Unavailable,
)
from console.web.access import TooOften
from console.web.desk import Desk

#: The one table of statuses.
STATUSES: list[tuple[type[AssentError], int]] = [
    (TooOften, 429),
    (ConfigError, 409),
    (Gap, 409),
    (Denied, 403),
    (Unavailable, 503),
    (Conflict, 409),
    (IllegalTransition, 409),
    (EvidenceError, 500),
    (BadInput, 400),
    (DataQuality, 422),
]
_NOT_FOUND = frozenset({"UNKNOWN_SUBJECT", "UNKNOWN_HANDLE", "NOT_FOUND"})


def status_of(error: AssentError) -> int:
    """The answer's status for an error."""
    if error.code in _NOT_FOUND:
        return 404
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 500)


def of_error(request: Request, error: Exception) -> Response:
    """A page that says what went wrong and what to do."""
    assert isinstance(error, AssentError)
    return _page(request, error, status_of(error))


def of_status(request: Request, error: Exception) -> Response:
    """The same for what the framework refuses: no such page, no such method."""
    assert isinstance(error, HTTPException)
    code = {404: "NOT_FOUND", 405: "NOT_FOUND"}.get(error.status_code, "BAD_INPUT")
    told = BadInput("there is no such page", remedy="Use the pages on the left.", code=code)
    return _page(request, told, error.status_code)


def of_input(request: Request, _error: Exception) -> Response:
    """The same for a number or date that is none; what was sent is not repeated."""
    told = BadInput("a part of the address is no number that can be", remedy="Use the links of the pages.")
    return _page(request, told, 400)


def sign_in_first(request: Request, _error: Exception) -> Response:
    """To the sign-in page. A part of a page that is open takes the whole page there."""
    if request.headers.get("hx-request") == "true":
        return PlainTextResponse("", 401, {"HX-Redirect": "/sign-in"})
    return RedirectResponse("/sign-in", 303)


def _page(request: Request, error: AssentError, status: int) -> Response:
    desk = Desk(request)
    known = desk.words.names["error"].get(error.code)
    template = "error.html#problem" if desk.is_fragment else "error.html"
    return desk.render(template, status=status, error=error, known=known)
