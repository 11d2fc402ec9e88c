"""``assent consent receipt`` and ``export``: what a person, or an auditor, takes along."""

from __future__ import annotations

import json as json_text
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from consent.errors import Unavailable
from consent.exchange.controller import require_controller
from consent.exchange.record_export import all_records, receipt_of
from consent.files import move_into_place, partial_path
from console.options import DEFAULT_HOME, HomeOption, JsonOption, looked, open_home
from console.show import progress_bar, say, say_json

Out = Annotated[Path | None, typer.Option("--out", help="Write it here instead of to the screen.")]


def receipt(
    subject: Annotated[str, typer.Argument(help="Customer number.", show_default=False)],
    source: Annotated[str | None, typer.Option("--source", help="Of which source.")] = None,
    purpose: Annotated[str | None, typer.Option("--purpose", help="For which purpose.")] = None,
    grant: Annotated[str | None, typer.Option("--grant", help="Or the grant's id in the ledger.")] = None,
    out: Out = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Make the receipt of a consent, to hand to the person: what, for how long, who answers, how to withdraw.

    It is a JSON-LD document with the fields of ISO/IEC TS 27560.

    Examples:
      assent consent receipt C-1042 --source spending --purpose credit_scoring --out receipt.jsonld
      assent consent receipt C-1042 --grant 0198c1f4f2a07d3c8c5a1b2c3d4e5f60
    """
    opened = open_home(home)
    controller = require_controller(opened.settings.controller)
    key = opened.directory.require(subject)
    looked(opened, key, "consent receipt")
    document = receipt_of(opened, controller, key, source=source, purpose=purpose, grant_id=grant)
    if out is None:
        say_json(document)
        return
    with _writing(out) as file:
        json_text.dump(document, file, indent=2, ensure_ascii=False)
        file.write("\n")
    _say_written(
        {"receipt_id": document["dct:identifier"], "file": out.name}, f"receipt written: {out.name}", json
    )


def export(
    out: Out = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Export every consent record, one JSON-LD document per line: people are pseudonyms.

    Example: assent consent export --out consent-records.jsonl
    """
    opened = open_home(home)
    controller = require_controller(opened.settings.controller)
    records = 0
    with progress_bar(quiet=json) as advance, _writing(out) as file:
        for document in all_records(
            opened, controller, on_progress=lambda done: advance("exporting people", done, 0)
        ):
            file.write(json_text.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
            records += 1
    if out is not None:
        _say_written({"records": records, "file": out.name}, f"{records} records written: {out.name}", json)


def _say_written(answer: dict[str, Any], text: str, as_json: bool) -> None:
    say_json(answer) if as_json else say(text)


@contextmanager
def _writing(out: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that is there whole or not at all."""
    if out is None:
        yield sys.stdout
        return
    prepared = partial_path(out)
    try:
        with open(prepared, "w", encoding="utf-8", opener=_private) as file:
            yield file
        move_into_place(prepared, out)
    except OSError:
        raise Unavailable(f"{out.name} cannot be written", remedy="Check the directory and disk.") from None
    finally:
        prepared.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
