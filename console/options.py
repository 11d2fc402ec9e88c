"""Options that many commands share."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from consent.accesses import AccessKind
from consent.callers import current_caller
from consent.clock import parse_instant
from consent.home import Home

DEFAULT_HOME = Path(".assent")

HomeOption = Annotated[
    Path, typer.Option("--home", envvar="ASSENT_HOME", help="The home directory.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
SubjectColumn = Annotated[
    str, typer.Option("--subject-column", help="Column that holds the customer number.")
]


def open_home(path: Path) -> Home:
    """The home a command works on."""
    return Home.open(path)


def looked(home: Home, subject_key: str, command: str) -> None:
    """Write down that somebody looks at a person, before they see anything."""
    about = {"command": command}
    home.accesses.record(AccessKind.LOOKED, caller=current_caller(), subject_key=subject_key, about=about)


def optional_instant(text: str | None, what: str) -> datetime | None:
    """An ISO 8601 option, or None where it was left out."""
    return None if text is None else parse_instant(text, what=what)
