"""``assent log``: the integrity of the consent ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.audit import require_evidence
from consent.errors import BadInput, Gap
from consent.files import write_atomically
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import progress_bar, say, say_json

app = typer.Typer(help="Integrity: signed checkpoints and the audit.", no_args_is_help=True)


@app.command()
def checkpoint(
    home: HomeOption = DEFAULT_HOME,
    out: Annotated[Path | None, typer.Option("--out", help="Write the note to this file.")] = None,
    json: JsonOption = False,
) -> None:
    """Show the newest signed checkpoint: keep it elsewhere, it pins everything recorded so far.

    Example: assent log checkpoint --out 2026-11-23.checkpoint
    """
    ledger = open_home(home).ledger
    note = ledger.checkpoint()
    if note is None:
        raise Gap(
            "the ledger is empty, so there is nothing to sign", remedy="Record or import consent first."
        )
    if out is not None:
        try:
            write_atomically(out.absolute(), note)
        except OSError:
            raise BadInput(f"{out.name} cannot be written", remedy="Check the path.") from None
    if json:
        say_json({"checkpoint": note.decode(), "verifier_key": ledger.verifier.format_vkey()})
    else:
        say(note.decode().rstrip())
        say(f"\nverifier key: {ledger.verifier.format_vkey()}")
        say("Keep both where the operator cannot change them; compare with `assent log audit --checkpoint`.")


@app.command()
def audit(
    held: Annotated[
        Path | None, typer.Option("--checkpoint", help="A checkpoint kept elsewhere, to compare with.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Replay the whole ledger: contents, order, clocks, tree and every signed checkpoint.

    Ends with exit code 5 and the first bad position if anything does not fit.

    With a checkpoint that was kept elsewhere it also shows whether the ledger was cut or rewritten since.

    Examples:
      assent log audit
      assent log audit --checkpoint 2026-11-23.checkpoint
    """
    ledger = open_home(home).ledger
    pinned = None if held is None else ledger.require_checkpoint(_read(held))
    size = ledger.size()
    with progress_bar(quiet=json) as advance:
        report = ledger.audit(on_progress=lambda done: advance("replaying the ledger", done, size))
    if json:
        say_json(
            {
                "entries": report.entries,
                "checkpoints": report.checkpoints,
                "root": report.root.hex(),
                "findings": [{"what": f.what, "leaf_index": f.leaf_index} for f in report.findings],
            }
        )
    require_evidence(report)
    if not json:
        say(f"audit passed: {report.entries} entries, {report.checkpoints} signed checkpoints")
        say(f"root {report.root.hex()}")
        if pinned is not None:
            say(f"the first {pinned} entries are those that the checkpoint pins")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise BadInput(f"{path.name} cannot be read", remedy="Check the path.") from None
