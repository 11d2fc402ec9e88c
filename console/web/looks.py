"""Every act, and every look at a person, is written down before anything is shown. The one place that does it."""

from __future__ import annotations

from consent.accesses import AccessKind
from consent.callers import current_caller
from consent.home import Home

#: Page or act -> what the access log calls it; every other look is a look.
_KINDS = {
    "sign_in": AccessKind.SIGNED_IN,
    "refused": AccessKind.REFUSED,
    "erase": AccessKind.ACTED,
    "withdraw": AccessKind.ACTED,
    "hold": AccessKind.ACTED,
    "release": AccessKind.ACTED,
    "verify": AccessKind.ACTED,
}


def write_down(
    home: Home, what: str, *, subject_key: str | None = None, purpose: str = "", **about: str
) -> None:
    """Write down what somebody is about to see or do.

    Args:
        what: the page's or act's name.
        subject_key: whom it is about; somebody who was erased is named no more, nor gets a key for it.
        about: names and identifiers; never anything about a person.

    Raises:
        Unavailable: it cannot be written, so nothing may be shown.
        EvidenceError: the access log was changed.
    """
    named = subject_key if subject_key is not None and home.directory.holds([subject_key]) else None
    home.accesses.record(
        _KINDS.get(what, AccessKind.LOOKED),
        caller=current_caller(),
        purpose=purpose,
        subject_key=named,
        about={"page": what, **about},
    )
