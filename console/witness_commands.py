"""``assent log witness``: run a witness on another machine than the log's, from a file drop."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.errors import ConfigError
from consent.evidence.file_drop import process_drop
from consent.evidence.notes import Verifier
from consent.evidence.witness import Witness
from console.options import JsonOption
from console.proof_commands import read_file, read_key
from console.show import say, say_json

app = typer.Typer(
    help="A witness: on another machine, cosign checkpoints and refuse forks.", no_args_is_help=True
)

StateOption = Annotated[
    Path, typer.Option("--state", envvar="ASSENT_WITNESS", help="The witness' own directory, with its key.")
]
_DEFAULT_STATE = Path("witness")


@app.command()
def init(
    name: Annotated[str, typer.Argument(help="What it cosigns under, like auditor.example/w1.")],
    state: StateOption = _DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Make a witness with a key of its own. Do it on a machine that the log's operator does not run.

    Example: assent log witness init auditor.example/w1 --state witness
    """
    witness = Witness.create(state, name)
    if json:
        say_json({"witness_key": witness.vkey})
    else:
        say(witness.vkey)
        say("Hand this key to everybody who is to rely on the witness.")


@app.command()
def trust(
    key: Annotated[
        str | None, typer.Argument(help="The log's verifier key, or a file with it.", show_default=False)
    ] = None,
    handover: Annotated[
        Path | None, typer.Option("--handover", help="A key handover of a log that is watched already.")
    ] = None,
    state: StateOption = _DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Watch a log from now on, or accept its new key. Get the key from somebody you trust, not with the requests.

    Examples:
      assent log witness trust log.vkey
      assent log witness trust --handover 2026-12-01.handover
    """
    if (key is None) == (handover is None):
        raise ConfigError(
            "name one thing to trust", remedy="Give the log's key, or --handover with its note."
        )
    witness = Witness.open(state)
    if key is not None:
        verifier = Verifier.parse_vkey(read_key(key))
        witness.trust(verifier.format_vkey())
    if handover is not None:
        witness.follow(read_file(handover))
    if json:
        say_json({"witness_key": witness.vkey})
    else:
        say("watched from now on" if key else "the log's new key is accepted")


@app.command()
def run(
    drop: Annotated[Path, typer.Argument(help="The directory with *.add-checkpoint requests.")],
    state: StateOption = _DEFAULT_STATE,
    json: JsonOption = False,
) -> None:
    """Answer every request in a directory: *.cosigned, or *.refused with the reason. Run it as often as you like.

    Ends with exit code 5 if a request was refused.

    Example: assent log witness run drop --state witness
    """
    answers = process_drop(Witness.open(state), drop)
    refused = [answer for answer in answers if answer.reason]
    if json:
        say_json({"answers": [answer._asdict() for answer in answers]})
    else:
        for answer in answers:
            say(f"{answer.name}: {'refused: ' + answer.reason if answer.reason else 'cosigned'}")
        say(f"{len(answers) - len(refused)} cosigned, {len(refused)} refused")
    if refused:
        raise typer.Exit(5)
