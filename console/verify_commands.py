"""``assent log verify``: evidence checked on any machine, with files and a public key alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consent.clock import format_instant
from consent.evidence.notes import Verifier
from consent.evidence.trust import Trust
from consent.evidence.verify import Verified, read_keys, verify_files
from console.options import JsonOption
from console.proof_commands import WitnessOption, read_key, read_witnesses
from console.show import progress_bar, say, say_json


def verify(
    files: Annotated[
        list[Path], typer.Argument(help="Checkpoints, proofs and records, consistency files, an export.")
    ],
    key: Annotated[str, typer.Option("--key", help="The log's verifier key, or a file with it.")],
    witness: WitnessOption = None,
    quorum: Annotated[
        int | None,
        typer.Option(
            "--quorum", min=0, help="How many of the witnesses must have cosigned; all, if left out."
        ),
    ] = None,
    held: Annotated[
        list[Path] | None,
        typer.Option("--held", help="A checkpoint you kept: it must be the beginning of what is verified."),
    ] = None,
    handover: Annotated[
        list[Path] | None, typer.Option("--handover", help="A key handover; may be repeated, in any order.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Verify evidence offline: no home and no connection, only files and the keys you trust.

    What each file is shows from its content. Ends with exit code 5 if anything does not hold.

    Examples:
      assent log verify 2026-11-23.checkpoint --key log.vkey
      assent log verify entry-41.tlog-proof entry-41.record.json --key log.vkey
      assent log verify 2026-11-23.add-checkpoint --held 2026-11-22.checkpoint --key log.vkey
      assent log verify log-export --held 2026-11-22.checkpoint --key log.vkey --witness auditor.vkey
    """
    keys = read_keys(Verifier.parse_vkey(read_key(key)), handover or [], files)
    witnesses = read_witnesses(witness)
    trust = Trust(keys, witnesses, len(witnesses) if quorum is None else quorum)
    with progress_bar(quiet=json) as advance:
        verified = verify_files(
            files, trust, held or [], lambda done, in_all: advance("verifying the export", done, in_all)
        )
    if json:
        say_json({"verified": [_document(each) for each in verified]})
        return
    for each in verified:
        say(f"{each.name}: {each.kind}: {each.shows}")
        if each.pinned:
            say(f"  {_pinned(each)}")
    say("everything holds")


def _pinned(verified: Verified) -> str:
    assert verified.pinned
    tree = verified.pinned.checkpoint
    cosigned = [f"{c.name} at {format_instant(c.cosigned_at)}" for c in verified.pinned.cosignatures]
    return f"{tree.tree_size} entries, root {tree.root.hex()}" + (
        f"; cosigned by {', '.join(cosigned)}" if cosigned else ""
    )


def _document(verified: Verified) -> dict[str, Any]:
    document: dict[str, Any] = {"file": verified.name, "kind": verified.kind, "shows": verified.shows}
    if verified.pinned:
        tree = verified.pinned.checkpoint
        document |= {
            "origin": tree.origin,
            "entries": tree.tree_size,
            "root": tree.root.hex(),
            "cosigned": [
                {"witness": c.name, "at": format_instant(c.cosigned_at)} for c in verified.pinned.cosignatures
            ],
        }
    return document
