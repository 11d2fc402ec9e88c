"""May this one reach this page? Asked before every page: role, form token, origin, how often."""

from __future__ import annotations

import secrets

from fastapi import Request

from consent.errors import AssentError, Denied
from console.web.desk import Desk, SignInFirst, read_form
from console.web.looks import write_down
from console.web.roles import ALLOWED, PUBLIC

_READING = frozenset({"GET", "HEAD"})


class TooOften(AssentError):
    """Somebody asks more often than a person does."""

    code = "TOO_OFTEN"


async def require_access(request: Request) -> None:
    """Raise unless the page may be reached.

    Raises:
        SignInFirst: nobody has signed in.
        Denied: the role does not reach it, or the form is not from a page of this session.
        TooOften: wait a little.
    """
    desk, name = Desk(request), request.scope["route"].name
    if name not in PUBLIC:
        _require_role(desk, name)
        _require_pace(desk)
    if request.method not in _READING:
        _require_own_origin(request, desk.shared.base_url)
        if name not in PUBLIC:
            await _require_own_form(request, desk)


def _require_role(desk: Desk, name: str) -> None:
    if desk.session is None:
        raise SignInFirst
    if not desk.may(name):
        write_down(desk.home, "refused", refused=name if name in ALLOWED else "?")
        raise Denied(
            "your role does not reach this page",
            remedy="Ask whoever gave you the role.",
            code="ROLE",
        )


def _require_pace(desk: Desk) -> None:
    if not desk.shared.requests.allows(desk.signed_in.csrf):
        raise too_often()


def too_often() -> TooOften:
    """What is raised where somebody asks too often."""
    return TooOften("that is more often than a person asks", remedy="Wait a minute, then go on.")


def _require_own_origin(request: Request, base_url: str) -> None:
    """A browser says where a form comes from; another site's is refused. Without a word, the token has to do."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site", "same-origin")
    own = {base_url, f"{request.url.scheme}://{request.headers.get('host', '')}"}
    if (origin is not None and origin not in own) or site not in ("same-origin", "none"):
        raise _foreign()


async def _require_own_form(request: Request, desk: Desk) -> None:
    sent = request.headers.get("x-csrf-token") or (await read_form(request)).get("csrf")
    if not secrets.compare_digest(sent.encode(), desk.signed_in.csrf.encode()):
        raise _foreign()


def _foreign() -> Denied:
    return Denied(
        "the form is not from a page of this session",
        remedy="Open the page again and send it from there.",
        code="FOREIGN_FORM",
    )
