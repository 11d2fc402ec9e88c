"""One call of the consent API: in whose name, on which home, and its answer, the same however often it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel

from consent.accesses import AccessKind
from consent.callers import calling_as, current_caller
from consent.errors import BadInput
from consent.exchange.statements import record_statement
from consent.home import Home
from consent.nouns import Recorded

#: A string of RFC 8941, as the draft of the header wants it; or the same without its quotes.
_KEY = re.compile(r'"([\x20\x21\x23-\x5b\x5d-\x7e]{1,100})"|([A-Za-z0-9._~:@/+=-]{1,100})')


@dataclass(frozen=True)
class Call:
    """Who calls, and what for.

    Attributes:
        path: which of the calls it is.
    """

    home: Home
    caller: str
    path: str

    def record(self, said: Mapping[str, Any], name: str | None) -> Recorded:
        """Record one statement, once: durable, and in force in every process, when this returns.

        Args:
            name: of the request; None: it bears no key.
        """
        fields = {key: value for key, value in said.items() if value is not None}
        if name is not None:
            fields["event_id"] = name
        return record_statement(self.home, fields, actor=self.caller, channel="api")

    def look(self, kind: AccessKind, subject_key: str | None, purpose: str | None) -> None:
        """Write down what the caller is about to see, before they see it."""
        self.home.accesses.record(
            kind,
            caller=current_caller(),
            subject_key=subject_key,
            purpose=purpose or "",
            about={"api": self.path},
        )

    def once(
        self,
        key: str | None,
        content: BaseModel,
        status: int,
        carry_out: Callable[[str | None], Mapping[str, Any]],
    ) -> Response:
        """The answer to a request that changes something: the earlier one where the same key was sent before."""
        if key is None:
            return self.answer(carry_out(None), status=status)
        named = _require_key(key)
        name = f"api {self.caller} {named}"  # the ledger takes it once, should the answer not get noted
        text = json.dumps([self.path, content.model_dump()], sort_keys=True)
        answer = self.home.repeats.once(self.caller, named, text, lambda: json.dumps(carry_out(name)))
        return Response(answer.encode(), status, media_type="application/json")

    def answer(
        self, document: Mapping[str, Any], *, status: int = 200, media_type: str = "application/json"
    ) -> Response:
        """The answer to any other request."""
        return Response(json.dumps(document, ensure_ascii=False).encode(), status, media_type=media_type)


@contextmanager
def calling(request: Request) -> Iterator[Call]:
    """The call that a request makes; what is written down within bears the caller's name."""
    caller = f"token:{request.state.token.name}"
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    with calling_as(caller):
        yield Call(request.app.state.home, caller, path)


def _require_key(key: str) -> str:
    found = _KEY.fullmatch(key.strip())
    if found is None:
        raise BadInput(
            "the Idempotency-Key is no name of 1 to 100 printable characters",
            remedy='Send a UUID in double quotes, like "8e03978e-40d5-43dd-bc93-6894a57f9324".',
            code="BAD_HEADER",
        )
    return found[1] or found[2]
