"""``assent report``: the privacy officer's reports as text, CSV or JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consent.clock import format_instant
from consent.errors import ConfigError, EvidenceError
from consent.home import Home
from console.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    open_home,
    optional_instant,
)
from console.show import progress_bar, say, say_json, say_table

if TYPE_CHECKING:  # what makes reports takes a moment to load
    from reports.query import Query
    from reports.table import Cell, Report, Row

#: Rows that are shown as text unless a limit is named.
SHOWN = 100
#: Tables with more columns are shown row by row.
WIDEST = 10


class Format(StrEnum):
    """How a report is written."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"


@dataclass(frozen=True)
class _Out:
    """Where and how."""

    format: Format
    path: Path | None
    bom: bool
    overwrite: bool


def report(
    name: Annotated[str, typer.Argument(help="Which report; `list` shows them all.", show_default=False)],
    subject: Annotated[
        str | None, typer.Option("--subject", help="Customer number of one person; it is not kept.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", help="Only this source.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="Only this purpose.")] = None,
    since: Annotated[str | None, typer.Option("--from", help="From this instant on.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Before this instant.")] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="The instant asked about; default: now.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option("--known-at", help="The state of knowledge; default: everything on record.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Most rows.")] = None,
    skip: Annotated[int, typer.Option("--skip", min=0, help="Leave out the first rows.")] = 0,
    format_: Annotated[Format, typer.Option("--format", help="How it is written.")] = Format.TEXT,
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; default: here.")] = None,
    bom: Annotated[bool, typer.Option("--bom", help="CSV: a byte order mark, for Excel.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Take the place of a file.")] = False,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Make one of the officer's reports. People are named by pseudonym; that it was made is in the access log.

    Examples:
      assent report list
      assent report coverage
      assent report coverage --source spending --from 2026-01-01 --to 2026-07-01 --format csv --out coverage.csv
      assent report subject-timeline --subject C-1042
      assent report decision-explainer --subject C-1042 --as-of 2026-03-01 --known-at 2026-03-01
      assent report latency --from 2026-10-01 --to 2026-11-01 --json
      assent report integrity
    """
    if name == "list":
        _list(as_json=json)
        return
    where = _Out(Format.JSON if json else format_, out, bom, overwrite)
    if out is not None and where.format is Format.TEXT:
        raise ConfigError("a file is CSV or JSON", remedy="Add --format csv.")
    if bom and where.format is not Format.CSV:
        raise ConfigError("--bom is for CSV", remedy="Add --format csv.")
    opened = open_home(home)
    from reports.query import Query

    query = Query(
        None if subject is None else opened.directory.require(subject),
        source,
        purpose,
        optional_instant(since, "--from"),
        optional_instant(until, "--to"),
        optional_instant(as_of, "--as-of"),
        optional_instant(known_at, "--known-at"),
        limit,
        skip,
    )
    _make(opened, name, query, where)


def _list(*, as_json: bool) -> None:
    from reports.catalog import REPORTS
    from reports.handbook import option

    if as_json:
        listed = [
            {
                "name": d.name,
                "title": d.title,
                "says": d.says,
                "takes": sorted(d.takes),
                "needs": sorted(d.needs),
            }
            for d in REPORTS.values()
        ]
        say_json({"reports": listed})
        return
    say_table(
        ("report", "what it is", "takes"),
        [(d.name, d.title, " ".join(sorted(option(field) for field in d.takes))) for d in REPORTS.values()],
    )


def _make(home: Home, name: str, query: Query, where: _Out) -> None:
    from reports.catalog import make_report
    from rights.unnamed_file import require_free, unnamed_file

    if where.path is not None:
        require_free(where.path.absolute(), overwrite=where.overwrite)
    shown = where.format is Format.TEXT and where.path is None
    with progress_bar(quiet=where.path is None and not shown) as advance:
        made = make_report(home, name, query, on_progress=advance)
        rows = list(islice(made.rows, query.limit or SHOWN + 1)) if shown else []
        if where.path is not None:
            with unnamed_file(where.path, overwrite=where.overwrite) as file:
                written = _write(made, where, lambda piece: file.write(piece.encode()))
            say(f"written: {where.path} ({written} rows)")
    if shown:
        _show(made, rows, is_limited=query.limit is not None)
    elif where.path is None:
        _write(made, where, lambda piece: say(piece, end=""))
    if made.broken:
        raise EvidenceError(
            f"evidence does not fit: {', '.join(made.broken)}",
            remedy="Keep everything as it is; compare with checkpoints and copies held elsewhere.",
        )


def _write(made: Report, where: _Out, write: Callable[[str], object]) -> int:
    from reports.formats import write_csv, write_json

    if where.format is Format.JSON:
        return write_json(made, write)
    return write_csv(made, write, bom=where.bom)


def _show(made: Report, rows: list[Row], *, is_limited: bool) -> None:
    asked = ", ".join(f"{name} {value}" for name, value in made.asked.items())
    say(f"{made.title}{': ' + asked if asked else ''}")
    say(f"{made.says}\n")
    shown = rows if is_limited else rows[:SHOWN]
    empty = _say_rows([column.name for column in made.columns], shown)
    more = len(rows) > len(shown)
    say(f"{f'the first {SHOWN}' if more else len(shown)} rows; made {format_instant(made.made_at)}")
    if empty:
        say(f"0 or empty in every row, and left out here: {', '.join(empty)}")
    if more:
        say("There are more: name --limit and --skip, or --format csv.")
    for note in made.notes:
        say(f"- {note}")


def _say_rows(names: list[str], rows: list[Row]) -> list[str]:
    """Show rows as a table, or one after the other where they are wide; returns the columns left out."""
    empty = [name for n, name in enumerate(names) if rows and all(_is_empty(row[n]) for row in rows)]
    kept = [n for n, name in enumerate(names) if name not in empty]
    texts = [[_short(row[n]) for n in kept] for row in rows]
    named = [names[n] for n in kept]
    if len(named) <= WIDEST:
        say_table(named, texts)
        return empty
    for row in texts:
        say_table(("", ""), [(name, text) for name, text in zip(named, row, strict=True) if text])
    return empty


def _is_empty(cell: Cell) -> bool:
    return cell in (None, 0, "") and not isinstance(cell, bool)


def _short(cell: Cell) -> str:
    """A cell for a person's eyes: instants to the second, numbers to six digits."""
    from reports.formats import cell_text

    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S}"
    return f"{cell:.6g}" if isinstance(cell, float) else cell_text(cell)
