"""How the command line shows things: JSON or text on stdout, progress and errors on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from consent.errors import (
    AssentError,
    BadInput,
    ConfigError,
    Conflict,
    DataQuality,
    Denied,
    EvidenceError,
    Gap,
    IllegalTransition,
    Unavailable,
    told_without_text,
)

#: The one table of exit codes. 1 is an error nobody foresaw.
EXIT_CODES: list[tuple[type[AssentError], int]] = [
    (ConfigError, 2),
    (Gap, 2),
    (Denied, 3),
    (Unavailable, 4),
    (Conflict, 4),
    (IllegalTransition, 4),
    (EvidenceError, 5),
    (BadInput, 6),
    (DataQuality, 7),
]


def exit_code(error: AssentError) -> int:
    """The process's exit code for an error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)


def say(text: str = "", *, end: str = "\n") -> None:
    """A line of the result."""
    sys.stdout.write(text + end)


def say_json(document: Any) -> None:
    """The result as one JSON document."""
    say(json.dumps(document, indent=2, ensure_ascii=False, default=str))


def say_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """A small table."""
    table = Table(*columns, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 140
    Console(file=sys.stdout, width=width, soft_wrap=False).print(table, markup=False)


def say_error(error: AssentError, *, as_json: bool) -> None:
    """What went wrong and what to do about it, on stderr."""
    if as_json:
        document = {"error": {"code": error.code, "message": error.message, "remedy": error.remedy}}
        sys.stderr.write(json.dumps(document, ensure_ascii=False) + "\n")
        return
    sys.stderr.write(f"assent: {error.message}\n")
    if error.remedy:
        sys.stderr.write(f"  {error.remedy}\n")


def say_usage(message: str) -> None:
    """A command line that cannot be understood. A stray argument is not repeated: it may be a customer number."""
    plain = message
    if "extra argument" in message:
        plain = "there are more arguments than expected"
    elif "No such command" in message:
        plain = "there is no such command"
    sys.stderr.write(f"assent: {plain}\n  Add --help to see what the command takes.\n")


def say_unforeseen(error: BaseException) -> None:
    """Where an unforeseen error arose, on stderr; never its text."""
    sys.stderr.write(f"assent: {told_without_text(error)}\n  Please report these lines.\n")


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr, where that is a terminal; call what it yields with (doing, done, in all)."""
    console = Console(file=sys.stderr)
    if quiet or not console.is_terminal:
        yield lambda *_: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)

        def advance(doing: str, done: int, in_all: int) -> None:
            progress.update(task, description=doing, completed=done, total=in_all or None)

        yield advance
