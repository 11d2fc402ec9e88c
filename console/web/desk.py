"""What a page has at hand: the home, who is asking, in which language, and how to answer."""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import jinja2
from fastapi import Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from consent.callers import current_caller
from consent.clock import now_utc
from consent.errors import BadInput, Denied
from consent.home import Home
from console.web.language import LANGUAGES, Words, choose, words
from console.web.limits import Limit
from console.web.looks import write_down
from console.web.roles import may
from console.web.sessions import OneTimeLinks, Session, Sessions

if TYPE_CHECKING:
    from console.web.figures import Figures

_HERE = pathlib.Path(__file__).parent
_FIELD = 500
LANGUAGE_COOKIE = "assent_language"


class SignInFirst(Exception):
    """Nobody has signed in; the answer is the sign-in page."""


@dataclass
class Shared:
    """What all requests share.

    Attributes:
        base_url: the address that browsers call the console by, without a slash at the end.
        cookie: name of the session's cookie.
        sign_ins: attempts, by address.
        requests: anything, by session.
        look_ups: customer numbers, by session: nobody tries them out.
    """

    home: Home
    base_url: str
    sessions: Sessions
    links: OneTimeLinks
    figures: Figures
    cookie: str
    sign_ins: Limit = field(default_factory=lambda: Limit(10, 10))
    requests: Limit = field(default_factory=lambda: Limit(120, 600))
    look_ups: Limit = field(default_factory=lambda: Limit(20, 30))

    @property
    def is_https(self) -> bool:
        """Whether browsers come over TLS."""
        return self.base_url.startswith("https://")


@cache
def files_version() -> str:
    """A digest of the files of the pages: their address changes with their content."""
    parts = (path.read_bytes() for path in sorted((_HERE / "static").iterdir()))
    return hashlib.sha256(b"".join(parts)).hexdigest()[:12]


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_TEMPLATES = _environment()


class Desk:
    """One request."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.shared: Shared = request.app.state.shared
        self.home = self.shared.home
        self.session: Session | None = request.state.session
        cookies: Mapping[str, str] = request.state.cookies
        lang = choose(cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language", ""))
        self.words: Words = words(lang, self.home.settings.console.timezone)

    @property
    def signed_in(self) -> Session:
        """Who is signed in.

        Raises:
            SignInFirst: nobody is.
        """
        if self.session is None:
            raise SignInFirst
        return self.session

    @property
    def is_fragment(self) -> bool:
        """Whether only a part of the page is wanted, to be put into the one that is open."""
        return self.request.headers.get("hx-request") == "true"

    def may(self, name: str) -> bool:
        """Whether the one who asks may reach a page or act."""
        return may(self.session.role if self.session else None, name)

    def person(self, handle: str) -> str:
        """The subject key behind a handle of this session.

        Raises:
            BadInput: the session knows no such person (any more).
        """
        subject_key = self.signed_in.people.get(handle)
        if subject_key is None or not self.home.directory.holds([subject_key]):  # erased meanwhile, perhaps
            raise BadInput(
                "this session does not know this person any more",
                remedy="Look the person up again.",
                code="UNKNOWN_HANDLE",
            )
        return subject_key

    def look(self, what: str, subject_key: str | None = None, **about: str) -> None:
        """Write down what is about to be shown or done; see `console.web.looks.write_down`."""
        write_down(self.home, what, subject_key=subject_key, **about)

    def render(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """A page, or with ``#name`` a part of it for a page that is open."""
        name, _, block = template.partition("#")
        found = _TEMPLATES.get_template(name)
        context = found.new_context({**self._always(), **values})
        parts = found.blocks[block](context) if block else found.root_render_func(context)
        return HTMLResponse("".join(parts), status)

    def go(self, path: str, **query: str) -> RedirectResponse:
        """Send the browser to another page."""
        return RedirectResponse(path + (f"?{urlencode(query)}" if query else ""), 303)

    def _always(self) -> dict[str, Any]:
        return {
            "w": self.words,
            "version": files_version(),
            "desk": self,
            "may": self.may,
            "session": self.session,
            "csrf": self.session.csrf if self.session else "",
            "path": self.request.url.path,
            "languages": LANGUAGES,
            "caller": current_caller() if self.session else "",
            "origin": self.home.settings.origin,
            "now": now_utc(),
            "field": lambda at: self.words.field(at) if isinstance(at, datetime) else "",
        }


def _desk(request: Request) -> Desk:
    return Desk(request)


#: A page's first argument.
AtDesk = Annotated[Desk, Depends(_desk)]


class Form:
    """The fields of a form: each one once, short, and text."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    def get(self, name: str, default: str = "") -> str:
        """A field without the space around it; `default` where it is empty or missing."""
        return self._fields.get(name, "").strip() or default

    def need(self, name: str) -> str:
        """A field that may not be empty.

        Raises:
            BadInput: it is.
        """
        if not (found := self.get(name)):
            raise BadInput(f"{name} is empty", remedy="Fill it in.", code="EMPTY_FIELD")
        return found


async def read_form(request: Request) -> Form:
    """The form that was sent.

    Raises:
        BadInput: it is no plain form of ours.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise BadInput("this is no form", remedy="Send the form of the page.", code="NO_FORM")
    sent = await request.form(max_files=0, max_fields=50)
    fields = [(name, value) for name, value in sent.multi_items() if isinstance(value, str)]
    if len(dict(fields)) != len(fields) or any(len(name) + len(value) > _FIELD for name, value in fields):
        raise BadInput("a field is there twice, or too long", remedy="Shorten it.", code="NO_FORM")
    return Form(dict(fields))


#: A number in an address: a position in a log, or how many to skip.
Position = Annotated[int, Path(ge=0, le=2**62)]
From = Annotated[int, Query(ge=-1, le=2**62)]
#: The fields of the form that was sent.
Sent = Annotated[Form, Depends(read_form)]


def require_confirmed(home: Home, subject_id: str, subject_key: str) -> None:
    """Raise unless this customer number, typed once more, is this person's: before what cannot be taken back."""
    if home.directory.find([subject_id])[0] != subject_key:
        raise Denied(
            "the customer number typed to confirm is not this person's",
            remedy="Nothing was done. Type the number of the person whom you looked up.",
            code="NOT_CONFIRMED",
        )
