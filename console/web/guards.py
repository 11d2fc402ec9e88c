"""What every request and answer goes through, outermost first: the last door, headers, host, size, session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent.callers import calling_as
from console.last_door import answering
from console.show import say_unforeseen
from console.web.sessions import Session

#: Longest body of a request. A form of ours has a few short fields.
MOST_BYTES = 64 * 1024

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class LastDoor:
    """An error that nobody foresaw: its place is told on stderr, never its text, which could hold personal data."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 500 where the rest of the application has raised."""

        def answer(error: Exception) -> Response | None:
            say_unforeseen(error)
            return PlainTextResponse("Something went wrong.", 500) if scope["type"] == "http" else None

        await answering(self._app, scope, receive, send, answer)


class SafeHeaders:
    """Headers that every answer bears."""

    def __init__(self, app: ASGIApp, *, is_https: bool) -> None:
        self._app = app
        https = {"Strict-Transport-Security": "max-age=31536000"} if is_https else {}
        self._headers = _HEADERS | https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add them; what is not said to be cacheable is not."""

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, adding)


class KnownHost:
    """Answers only to its own names, so that no other site's name can be pointed at this machine."""

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse any other ``Host``."""
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else ""
        if scope["type"] == "http" and host.lower() not in self._hosts:
            await PlainTextResponse("This is not the name of this server.", 421)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class TooLargeError(Exception):
    """The body went beyond `MOST_BYTES`."""


class SmallBody:
    """Refuses a body that is larger than any form of ours, whatever its length is said to be."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what comes in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        said, read = Headers(scope=scope).get("content-length", "0"), 0

        async def counting() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BYTES:
                raise TooLargeError
            return message

        try:
            if not said.isdecimal() or int(said) > MOST_BYTES:
                raise TooLargeError
            await self._app(scope, counting, send)
        except TooLargeError:
            await PlainTextResponse("That is too large.", 413)(scope, receive, send)


class WhoAsks:
    """Finds the session of a request; everything below is asked in its caller's name."""

    def __init__(self, app: ASGIApp, *, cookie: str, find: Callable[[str | None], Session | None]) -> None:
        self._app = app
        self._cookie = cookie
        self._find = find

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put it into the request's state; None where nobody has signed in."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        cookies = read_cookies(scope)
        session = self._find(cookies.get(self._cookie))
        state: dict[str, Any] = scope.setdefault("state", {})
        state["session"], state["cookies"] = session, cookies
        if session is None:
            await self._app(scope, receive, send)
            return
        with calling_as(session.caller):
            await self._app(scope, receive, send)


def read_cookies(scope: Scope) -> dict[str, str]:
    """A request's cookies; none where they cannot be read."""
    try:
        return {name: m.value for name, m in SimpleCookie(Headers(scope=scope).get("cookie", "")).items()}
    except CookieError:
        return {}
