"""The application: pages, guards and what they share, put together for one home."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from consent.clock import now_utc
from consent.errors import AssentError, BadInput
from consent.home import Home
from console.api.app import MOUNTED_AT, create_api
from console.web import (
    answers,
    explain,
    ledger,
    openid,
    overview,
    person,
    person_acts,
    records,
    report_pages,
    sign_in,
)
from console.web.access import require_access
from console.web.desk import Shared, SignInFirst, files_version
from console.web.figures import Figures
from console.web.guards import KnownHost, LastDoor, SafeHeaders, SmallBody, WhoAsks
from console.web.sessions import OneTimeLinks, Sessions

_STATIC = Path(__file__).parent / "static"
_LINK_MINUTES = 15
_PAGES = (sign_in, openid, overview, person, person_acts, ledger, explain, records, report_pages)

_static = APIRouter(dependencies=[Depends(require_access)])


def create_app(home: Home, base_url: str, *, clock: Callable[[], datetime] = now_utc) -> FastAPI:
    """The console of a home; `shared_by` gives what its requests share.

    Args:
        base_url: what browsers call it by, without a slash at the end.
    """
    settings = home.settings.console
    is_https = base_url.startswith("https://")
    sessions = Sessions(
        idle=timedelta(minutes=settings.idle_minutes),
        longest=timedelta(hours=settings.session_hours),
        clock=clock,
    )
    links = OneTimeLinks(life=timedelta(minutes=_LINK_MINUTES), clock=clock)
    cookie = "__Host-assent" if is_https else "assent"
    app = FastAPI(title="Assent", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.shared = Shared(home, base_url, sessions, links, Figures(home, clock=clock), cookie)
    app.state.audit = ledger.Audit(home)
    for page in (*(p.router for p in _PAGES), _static):
        app.include_router(page)
    app.mount(MOUNTED_AT, create_api(home))
    app.add_exception_handler(AssentError, answers.of_error)
    app.add_exception_handler(HTTPException, answers.of_status)
    app.add_exception_handler(RequestValidationError, answers.of_input)
    app.add_exception_handler(SignInFirst, answers.sign_in_first)
    app.add_middleware(WhoAsks, cookie=cookie, find=sessions.find)
    app.add_middleware(SmallBody)
    app.add_middleware(KnownHost, hosts=_hosts(base_url))
    app.add_middleware(LastDoor)
    app.add_middleware(SafeHeaders, is_https=is_https)
    return app


def shared_by(app: FastAPI) -> Shared:
    """What the requests of an application share."""
    found: Shared = app.state.shared
    return found


def _hosts(base_url: str) -> list[str]:
    named = urlsplit(base_url)
    port = f":{named.port}" if named.port else ""
    local = ("127.0.0.1", "localhost", "[::1]")
    return [
        named.netloc,
        *(f"{host}{port}" for host in local if named.hostname in ("127.0.0.1", "localhost", "::1")),
    ]


@_static.get("/static/{version}/{name}", name="static")
def static(version: str, name: str) -> Response:
    """A file of the pages: style, script. Its address changes with its content."""
    if name not in _files() or version != files_version():
        raise BadInput("there is no such file", remedy="Load the page again.", code="NOT_FOUND")
    return FileResponse(_STATIC / name, headers={"Cache-Control": "public, max-age=31536000, immutable"})


@cache
def _files() -> frozenset[str]:
    return frozenset(p.name for p in _STATIC.iterdir() if p.suffix in (".css", ".js", ".svg"))
