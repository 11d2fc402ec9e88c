"""``assent log``: the integrity of the consent ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.audit import require_evidence
from consent.errors import Gap
from console import proof_commands, verify_commands, witness_commands
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.proof_commands import WitnessOption, read_file, read_witnesses, write_out
from console.show import progress_bar, say, say_json

app = typer.Typer(
    help="Integrity: signed checkpoints, the audit, proofs, witnesses and what verifies them.",
    no_args_is_help=True,
)
app.command("prove")(proof_commands.prove)
app.command("cosigned")(proof_commands.cosigned)
app.command("export")(proof_commands.export)
app.command("verify")(verify_commands.verify)
app.add_typer(witness_commands.app, name="witness")


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
        write_out(out, note)
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
    witness: WitnessOption = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Replay the whole ledger: contents, order, clocks, tree and every signed checkpoint.

    Ends with exit code 5 and the first bad position if anything does not fit.

    With a checkpoint that was kept elsewhere it also shows whether the ledger was cut or rewritten since; with the
    keys of witnesses, whether entries are dated outside the times at which these saw the log.

    Examples:
      assent log audit
      assent log audit --checkpoint 2026-11-23.checkpoint --witness auditor.vkey
    """
    ledger = open_home(home).ledger
    note = None if held is None else read_file(held)
    witnesses = read_witnesses(witness or [])
    with progress_bar(quiet=json) as advance:
        report = ledger.audit(
            witnesses=witnesses, on_progress=lambda done: advance("replaying the ledger", done, 0)
        )
    if json:
        say_json(
            {
                "entries": report.entries,
                "checkpoints": report.checkpoints,
                "blanked": report.blanked,
                "cosigned": report.cosigned,
                "root": report.root.hex(),
                "findings": [{"what": f.what, "leaf_index": f.leaf_index} for f in report.findings],
            }
        )
    require_evidence(report)
    pinned = None if note is None else ledger.require_checkpoint(note)
    if not json:
        say(f"audit passed: {report.entries} entries, {report.checkpoints} signed checkpoints")
        say(f"root {report.root.hex()}")
        for number, what in (
            (report.blanked, "entries were blanked by logged erasures"),
            (report.cosigned, "checkpoints were cosigned by these witnesses"),
            (pinned, "entries are those that the checkpoint pins"),
        ):
            if number:
                say(f"{number} {what}")


@app.command("rotate-key")
def rotate_key(
    out: Annotated[Path | None, typer.Option("--out", help="Write the handover note to this file.")] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Hand the log over to a new signing key. The old one is destroyed; what it signed stays valid.

    Give the handover note to everybody who holds the log's key: it leads from the old key to the new one.

    Example: assent log rotate-key --out 2026-11.handover
    """
    opened = open_home(home)
    note = opened.rotate_log_key()
    if out is not None:
        write_out(out, note)
    key = opened.ledger.verifier.format_vkey()
    if json:
        say_json({"handover": note.decode(), "verifier_key": key})
    else:
        say(note.decode().rstrip())
        say(f"\nverifier key from now on: {key}")


@app.command()
def handovers(
    out: Annotated[Path, typer.Option("--out", help="Directory for the notes.")] = Path(),
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Write every key handover of the log: with the key you hold and these, all checkpoints verify.

    Example: assent log handovers --out keys
    """
    notes = open_home(home).ledger.handovers()
    paths = [out / f"{number:04}.handover" for number in range(1, len(notes) + 1)]
    for path, note in zip(paths, notes, strict=True):
        write_out(path, note)
    if json:
        say_json({"files": [str(path) for path in paths]})
    else:
        say(f"{len(paths)} handovers" + "".join(f"\nwritten: {path}" for path in paths))


@app.command("re-anchor")
def re_anchor(
    held: Annotated[Path, typer.Option("--checkpoint", help="The newest checkpoint kept elsewhere.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Write the ledger's lost anchor anew, if a checkpoint kept elsewhere verifies the ledger.

    The anchor lies beside the keys and tells an old copy of the ledger from the newest one.

    Example: assent log re-anchor --checkpoint 2026-11-23.checkpoint
    """
    pinned = open_home(home).ledger.re_anchor(read_file(held))
    if json:
        say_json({"pinned": pinned})
    else:
        say(f"anchored: the first {pinned} entries are those that the checkpoint pins")


@app.command()
def migrate(home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """Bring the ledger's tables from an earlier version of Assent to this one. Proofs stay valid.

    Make a copy of the ledger first. Doing it twice changes nothing.

    Example: assent log migrate
    """
    before, after = open_home(home).migrate_ledger()
    if json:
        say_json({"before": before, "after": after})
    else:
        say("the ledger is up to date" if before == after else f"migrated from revision {before} to {after}")
