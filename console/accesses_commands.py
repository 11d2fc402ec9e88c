"""``assent accesses``: who used or looked at which data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consent.accesses import Access, AccessKind, AccessQuery
from consent.clock import format_instant
from console.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    looked,
    open_home,
    optional_instant,
)
from console.proof_commands import read_file, write_out
from console.show import progress_bar, say, say_json, say_table

app = typer.Typer(help="The access log: who used or looked at which data.", no_args_is_help=True)


@app.command("list")
def list_accesses(
    subject: Annotated[str | None, typer.Option("--subject", help="Only about this customer number.")] = None,
    kind: Annotated[AccessKind | None, typer.Option("--kind", help="Only of this kind.")] = None,
    caller: Annotated[str | None, typer.Option("--caller", help="Only by this caller.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="Only for this purpose.")] = None,
    since: Annotated[str | None, typer.Option("--since", help="From this instant on.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="Before this instant.")] = None,
    before: Annotated[
        int | None, typer.Option("--before", min=0, help="Below this number: older ones.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")] = 50,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """List accesses, the newest first. Asking about a person is an access too.

    Examples:
      assent accesses list --kind training_set --since 2026-11-01
      assent accesses list --subject C-1042
    """
    opened = open_home(home)
    key = None if subject is None else opened.directory.require(subject)
    if key is not None:
        looked(opened, key, "accesses list")
    found = opened.accesses.entries(
        AccessQuery(
            kind,
            caller,
            purpose,
            key,
            optional_instant(since, "--since"),
            optional_instant(until, "--until"),
            before,
        ),
        limit=limit,
    )
    if json:
        say_json({"accesses": [_document(entry) for entry in found]})
        return
    say_table(
        ("number", "at", "what", "by", "purpose", "about"),
        [
            (e.leaf_index, format_instant(e.at)[:19], e.kind, e.caller, e.purpose or None, _about(e))
            for e in found
        ],
    )
    if len(found) == limit and found[-1].leaf_index:
        say(f"older ones: --before {found[-1].leaf_index}")


def _about(entry: Access) -> str:
    told = ", ".join(f"{name} {value[:40]}" for name, value in entry.about.items())
    return "; ".join(filter(None, (told, "one person" if entry.personal else "")))


def _document(entry: Access) -> dict[str, Any]:
    return {**vars(entry), "at": format_instant(entry.at)}


@app.command()
def checkpoint(
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.")] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Sign a checkpoint of the access log, to keep elsewhere: what it covers cannot be changed unnoticed after that.

    Example: assent accesses checkpoint --out accesses-2026-11.checkpoint
    """
    note = open_home(home).accesses.checkpoint()
    if out is not None:
        write_out(out, note)
    if json:
        say_json({"checkpoint": note.decode()})
    else:
        say(note.decode() if out is None else f"written: {out.name}\n", end="")


@app.command()
def audit(
    held: Annotated[
        Path | None, typer.Option("--checkpoint", help="A checkpoint kept elsewhere, to compare with.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Replay the access log: contents, order, tree and head. Exit code 5 and the first bad entry if it does not fit.

    Example: assent accesses audit --checkpoint accesses-2026-11.checkpoint
    """
    log = open_home(home).accesses
    note = None if held is None else read_file(held)
    with progress_bar(quiet=json) as advance:
        entries = log.audit(note, on_progress=lambda n, of: advance("replaying the access log", n, of))
    if json:
        say_json({"entries": entries, "verifier": log.verifier.format_vkey()})
    else:
        say(f"audit passed: {entries} accesses; key {log.verifier.format_vkey()}")
