"""Every error Assent raises on purpose.

One root with a stable ``code`` and a ``remedy``. The message is for programmers, the remedy for people.
Neither ever holds a subject key, a raw value, a row or SQL: only counts, column names and positions.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any


class AssentError(Exception):
    """Root of all errors raised on purpose.

    Attributes:
        code: stable, upper-case name for programs.
        remedy: what a person can do about it.
    """

    code = "ASSENT"

    def __init__(self, message: str, *, remedy: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        if code is not None:
            self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.remedy, self.code)


def _rebuild(kind: type[AssentError], message: str, remedy: str, code: str) -> AssentError:
    return kind(message, remedy=remedy, code=code)


class ConfigError(AssentError):
    """Something was asked for, or set up, in a way that cannot work."""

    code = "CONFIG"


class Gap(AssentError):
    """Nothing is configured, so the answer is no: a read without a purpose, a view without a source."""

    code = "GAP"


class Denied(AssentError):
    """A consent rule said no, and somebody tried to pass all the same."""

    code = "DENIED"


class IllegalTransition(AssentError):
    """An event does not fit the state it met; the message names that state."""

    code = "ILLEGAL_TRANSITION"


class Conflict(AssentError):
    """Somebody else holds the lock, or what exists contradicts what was asked."""

    code = "CONFLICT"


class Unavailable(AssentError):
    """A store or a key cannot be reached; nothing was decided, so nothing is allowed."""

    code = "UNAVAILABLE"


class EvidenceError(AssentError):
    """A proof, seal, signature or digest does not match. Never caught and continued."""

    code = "EVIDENCE"


class BadInput(AssentError):
    """A file or a value handed in cannot be used; the remedy says how to mend it."""

    code = "BAD_INPUT"


class DataQuality(AssentError):
    """A batch was read and checked, and is not fit for use."""

    code = "DATA_QUALITY"


def told_without_text(error: BaseException) -> str:
    """What an unforeseen error is and where it arose. Its text is withheld: libraries quote cell values in theirs."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    told = f"unforeseen {type(error).__name__}; its text is withheld, it could hold personal data"
    places = [f"  at {Path(frame.filename).name}:{frame.lineno} in {frame.name}" for frame in frames]
    return "\n".join([told, *places])
