"""Who is asking: named once where somebody comes in, and read wherever something is written down about it."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from consent.errors import BadInput

_CALLER: ContextVar[str | None] = ContextVar("assent_caller", default=None)
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,200}")


def current_caller() -> str:
    """The one whom `calling_as` names; else the user of this process, as ``local:<name>``."""
    return _CALLER.get() or _process_user()


def _process_user() -> str:
    try:
        return f"local:{getpass.getuser()}"
    except (OSError, KeyError):  # a user id without a name, as in many containers
        return "local:unknown"


@contextmanager
def calling_as(name: str) -> Iterator[None]:
    """Everything within is asked by this caller.

    Raises:
        BadInput: this is no name.
    """
    if _NAME.fullmatch(name) is None:
        raise BadInput("a caller has a name of 1 to 200 characters", remedy="Leave control characters out.")
    token = _CALLER.set(name)
    try:
        yield
    finally:
        _CALLER.reset(token)
