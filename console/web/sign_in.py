"""Signing in: with the one-time link that the server prints, with a token, or with OpenID Connect; and out."""

from __future__ import annotations

import getpass

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from consent.callers import calling_as
from consent.errors import Denied
from consent.tokens import Role
from console.web.access import require_access, too_often
from console.web.desk import LANGUAGE_COOKIE, AtDesk, Desk, Sent
from console.web.language import LANGUAGES
from console.web.looks import write_down

router = APIRouter(dependencies=[Depends(require_access)])


@router.get("/sign-in", name="sign_in")
def show(desk: AtDesk) -> Response:
    """The ways in."""
    if desk.session is not None:
        return desk.go("/")
    return desk.render("sign_in.html", openid=desk.home.settings.console.openid, link=None)


@router.post("/sign-in", name="sign_in_token")
def with_token(desk: AtDesk, form: Sent) -> Response:
    """Sign in with a token of `assent token create`."""
    _require_pace(desk)
    secret = form.get("token")
    token = desk.home.tokens.find(secret)
    if token is None:
        raise _refused(desk, "token")

    def is_good() -> bool:
        return desk.home.tokens.find(secret) is not None

    return admit(desk, f"token:{token.name}", token.role, token.name, is_good=is_good)


@router.get("/sign-in/link", name="sign_in_link")
def show_link(desk: AtDesk, secret: str = "") -> Response:
    """What the one-time link leads to. Opening it uses nothing up: only the button does."""
    return desk.render("sign_in.html", openid=None, link=secret[:100])


@router.post("/sign-in/link", name="use_link")
def use_link(desk: AtDesk, form: Sent) -> Response:
    """Sign in with the one-time link; it is used up."""
    _require_pace(desk)
    if not desk.shared.links.use(form.get("secret")):
        raise _refused(desk, "link")
    return admit(desk, f"link:{getpass.getuser()}", Role.OFFICER, getpass.getuser())


@router.post("/sign-out", name="sign_out")
def sign_out(desk: AtDesk) -> Response:
    """End the session."""
    desk.shared.sessions.end(desk.request.state.cookies.get(desk.shared.cookie))
    answer = desk.go("/sign-in")
    answer.delete_cookie(desk.shared.cookie, path="/", secure=desk.shared.is_https, httponly=True)
    return answer


@router.get("/language/{lang}", name="language")
def choose_language(desk: AtDesk, lang: str, back: str = "/") -> Response:
    """Remember a language, and go back to a page of ours."""
    own = back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"
    answer = desk.go(own)
    if lang in LANGUAGES:
        answer.set_cookie(
            LANGUAGE_COOKIE,
            lang,
            max_age=366 * 86_400,
            secure=desk.shared.is_https,
            httponly=True,
            samesite="lax",
        )
    return answer


def admit(desk: Desk, caller: str, role: Role, shown_as: str, **more: object) -> Response:
    """Begin a session, once it is written down; an earlier one of the same browser ends."""
    with calling_as(caller):
        write_down(desk.home, "sign_in", role=role.value)
    desk.shared.sessions.end(desk.request.state.cookies.get(desk.shared.cookie))
    secret = desk.shared.sessions.begin(caller, role, shown_as=shown_as, **more)  # type: ignore[arg-type]
    answer = desk.go("/")
    answer.set_cookie(
        desk.shared.cookie, secret, secure=desk.shared.is_https, httponly=True, samesite="lax", path="/"
    )
    return answer


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def _require_pace(desk: Desk) -> None:
    if not desk.shared.sign_ins.allows(address_of(desk.request)):
        raise too_often()


def _refused(desk: Desk, way: str) -> Denied:
    with calling_as("nobody"):
        write_down(desk.home, "refused", refused="sign_in", way=way)
    return Denied(
        "this does not sign you in",
        remedy="Ask for a new link or token: a link is good once and not for long, a token until its end.",
        code="SIGN_IN",
    )
