"""The last door of the HTTP applications: what was raised within becomes an answer, as far as there can be one."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.show import say_unforeseen


async def answering(
    app: ASGIApp, scope: Scope, receive: Receive, send: Send, answer: Callable[[Exception], Response | None]
) -> None:
    """Run an application; what it raises is answered, unless half an answer is out: then the connection ends.

    Args:
        answer: the answer to an error; None: none.
    """
    begun = False

    async def noting(message: Message) -> None:
        nonlocal begun
        begun = True
        await send(message)

    try:
        await app(scope, receive, noting)
    except Exception as error:
        if begun:
            say_unforeseen(error)
            return
        response = answer(error)
        if response is not None:
            await response(scope, receive, send)
