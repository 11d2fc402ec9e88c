"""``assent log prove``, ``cosigned`` and ``export``: what the log hands out, and what witnesses bring back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.errors import BadInput, ConfigError, Gap
from consent.evidence.cosignatures import WitnessVerifier
from consent.evidence.prove import newest_checkpoint, prove_entry, prove_growth
from consent.evidence.tiles import export_tiles
from consent.files import write_atomically
from consent.ledger import Ledger
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import progress_bar, say, say_json

WitnessOption = Annotated[
    list[str] | None,
    typer.Option("--witness", help="A witness' verifier key, or a file with it; may be repeated."),
]


def prove(
    entry: Annotated[int | None, typer.Argument(help="Which entry, from 0.", min=0)] = None,
    since: Annotated[
        Path | None, typer.Option("--since", help="A checkpoint: prove that the log only grew since.")
    ] = None,
    first: Annotated[
        bool, typer.Option("--first", help="A request for a witness that has seen nothing yet.")
    ] = False,
    cosigned: Annotated[
        bool, typer.Option("--cosigned", help="Prove against the newest checkpoint that witnesses cosigned.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", help="A directory; with --since or --first, a file.")
    ] = Path(),
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Write proofs that others verify without this home: one entry's place, or that the log only grew.

    For an entry: entry-N.tlog-proof, which may be shown to anybody, and entry-N.record.json, which holds the
    record itself: it goes to the person it is about, or to whoever may see it.

    With --since: a consistency file, and at the same time the request to a witness.

    Examples:
      assent log prove 41 --out receipts
      assent log prove --since 2026-11-22.checkpoint --out 2026-11-23.add-checkpoint
    """
    if (entry is not None) + (since is not None) + first != 1 or (cosigned and entry is None):
        raise ConfigError("prove one thing", remedy="Name an entry, or --since, or --first.")
    ledger = open_home(home).ledger
    files = (
        _entry_files(ledger, entry, cosigned, out) if entry is not None else _growth_file(ledger, since, out)
    )
    for path, content in files.items():
        write_out(path, content)
    if json:
        say_json({"files": [str(path) for path in files]})
    else:
        for path in files:
            say(f"written: {path}")


def _entry_files(ledger: Ledger, entry: int, cosigned: bool, out: Path) -> dict[Path, bytes]:
    with ledger.snapshot() as log:
        proof, record = prove_entry(log, entry, _cosigned(ledger) if cosigned else newest_checkpoint(log))
    return {out / f"entry-{entry}.tlog-proof": proof, out / f"entry-{entry}.record.json": record}


def _growth_file(ledger: Ledger, since: Path | None, out: Path) -> dict[Path, bytes]:
    if out.is_dir():
        raise BadInput(
            "--out is a directory", remedy="Name the file to write, like 2026-11-23.add-checkpoint."
        )
    held = None if since is None else read_file(since)
    if held is not None:
        ledger.require_checkpoint(held)
    with ledger.snapshot() as log:
        return {out: prove_growth(log, held)}


def _cosigned(ledger: Ledger) -> bytes:
    notes = ledger.cosigned()
    if not notes:
        raise Gap("no witness has cosigned yet", remedy="Bring a note back with `assent log cosigned`.")
    return notes[-1]


def cosigned(
    file: Annotated[Path, typer.Argument(help="The note that a witness cosigned.")],
    witness: WitnessOption = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Keep a checkpoint that a witness has cosigned, so that later proofs can carry its word.

    Example: assent log cosigned 2026-11-23.cosigned --witness auditor.vkey
    """
    if not witness:
        raise ConfigError("whose cosignature counts?", remedy="Name the witness' key with --witness.")
    pinned = open_home(home).ledger.add_cosigned(read_file(file), read_witnesses(witness))
    if json:
        say_json({"entries": pinned})
    else:
        say(f"kept: a cosigned checkpoint of {pinned} entries")


def export(
    directory: Annotated[Path, typer.Argument(help="Where to write; an earlier export is continued.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Write the whole log as static files for auditors (C2SP tlog-tiles). It holds commitments, no records.

    Example: assent log export log-export
    """
    with open_home(home).ledger.snapshot() as log, progress_bar(quiet=json) as advance:
        note, size = newest_checkpoint(log), log.tree_size
        export_tiles(directory, log.entries, note, lambda done: advance("exporting the log", done, size))
    if json:
        say_json({"entries": size, "directory": str(directory)})
    else:
        say(f"exported: {size} entries")


def read_file(path: Path) -> bytes:
    """A file named on the command line.

    Raises:
        BadInput: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError:
        raise BadInput(f"{path.name} cannot be read", remedy="Check the path.") from None


def write_out(path: Path, content: bytes) -> None:
    """A file the user asked for, with the directory it lies in, if that one is missing.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        path.absolute().parent.mkdir(exist_ok=True)
        write_atomically(path.absolute(), content)
    except OSError:
        raise BadInput(f"{path.name} cannot be written", remedy="Check the path.") from None


def read_key(named: str) -> str:
    """A verifier key given as itself, or as the file that holds it."""
    path = Path(named)
    if "+" in named and not path.is_file():
        return named.strip()
    return read_file(path).decode(errors="replace").strip()


def read_witnesses(named: list[str] | None) -> tuple[WitnessVerifier, ...]:
    """The witnesses named with --witness."""
    return tuple(WitnessVerifier.parse_vkey(read_key(each)) for each in named or [])
