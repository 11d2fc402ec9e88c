"""What every request of the consent API goes through: its size, who calls, and the last door for errors."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from consent.accesses import AccessKind
from consent.errors import AssentError, BadInput, Denied, Unavailable
from consent.home import Home
from consent.tokens import Role, Token
from console.api.problems import problem
from console.last_door import answering
from console.show import say_unforeseen

#: Longest body; a consent with everything in it has about 2 kB.
MOST_BYTES = 16 * 1024
#: Told to anybody.
OPEN = frozenset({"/openapi.json"})

#: Path -> the roles that may call it: those who may meet a customer number. Withdrawing needs no other than giving.
ALLOWED = dict.fromkeys(
    ("/consents", "/withdrawals", "/state", "/receipts"), frozenset({Role.RECORDER, Role.OFFICER})
)


class _TooLargeError(Exception):
    """The body goes beyond `MOST_BYTES`."""


class Door:
    """Refuses before anything of a request is read what nobody may ask."""

    def __init__(self, app: ASGIApp, *, home: Home) -> None:
        self._app = app
        self._home = home

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or answer with a problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await answering(self._admit, scope, receive, send, _answer)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = Request(scope).url.path.removeprefix(scope.get("root_path", ""))
        if path not in OPEN:
            headers = Headers(scope=scope)
            scope.setdefault("state", {})["token"] = await run_in_threadpool(
                _require_caller, self._home, path, headers
            )
            receive = _counted(headers, receive)
        await self._app(scope, receive, send)


def _require_caller(home: Home, path: str, headers: Headers) -> Token:
    """Who calls.

    Raises:
        Denied: the caller has no good token, or none of a role that may.
    """
    found = home.tokens.find_bearer(headers.get("authorization"))
    if found is None:
        raise Denied(
            "there is no token, or none that is good",
            remedy="Send `Authorization: Bearer ...` with a token of `assent token create`.",
            code="UNAUTHENTICATED",
        )
    if path in ALLOWED and found.role not in ALLOWED[path]:
        caller = f"token:{found.name}"
        home.accesses.record(AccessKind.REFUSED, caller=caller, about={"api": path, "reason": "ROLE"})
        raise Denied("the token's role may not do this", remedy="Use a token of another role.", code="ROLE")
    return found


def _counted(headers: Headers, receive: Receive) -> Receive:
    """The body, as long as it is not too long, whatever its length is said to be."""
    said, read = headers.get("content-length", "0"), 0
    if not (said.isascii() and said.isdecimal() and len(said) < 10) or int(said) > MOST_BYTES:
        raise _TooLargeError

    async def counting() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MOST_BYTES:
            raise _TooLargeError
        return message

    return counting


def _answer(error: Exception) -> Response:
    if isinstance(error, AssentError):
        return problem(error)
    if isinstance(error, _TooLargeError):
        told = BadInput(
            f"the body has more than {MOST_BYTES} bytes", remedy="Send one statement.", code="TOO_LARGE"
        )
        return problem(told)
    say_unforeseen(error)
    unforeseen = Unavailable(
        "something went wrong that nobody foresaw",
        remedy="Try again; tell whoever runs this.",
        code="UNFORESEEN",
    )
    return problem(unforeseen, status=500)
