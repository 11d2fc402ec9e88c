"""``assent receipt``: what each training fetch used."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consent.clock import format_instant
from console.options import DEFAULT_HOME, HomeOption, JsonOption, looked, open_home
from console.show import say, say_json, say_table

if TYPE_CHECKING:
    from feature_repo.stores.receipts import Receipt

app = typer.Typer(help="Receipts: what each training fetch used.", no_args_is_help=True)


@app.command("list")
def list_receipts(home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """List the receipts, oldest first.

    Example: assent receipt list
    """
    from feature_repo.stores.receipts import read_receipts

    receipts = read_receipts(open_home(home))
    if json:
        say_json({"receipts": [_document(r) for r in receipts]})
    else:
        _say(receipts)


@app.command()
def show(
    receipt: Annotated[str, typer.Argument(help="The receipt's id.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Show one receipt: who asked, for what, which data versions, how much was masked and why.

    Example: assent receipt show ff227a41...
    """
    from console.data_commands import say_fetched
    from feature_repo.stores.receipts import find_receipt

    found = find_receipt(open_home(home), receipt)
    if json:
        say_json(_document(found))
        return
    say(f"receipt {found.receipt_id}")
    say(f"{format_instant(found.created_at)}, by {found.caller}, for {found.purpose}")
    say(
        f"{found.entity_rows} rows, {found.subjects} people; {found.ledger_size} entries of the consent ledger"
    )
    if found.reproduces is not None:
        say(f"reproduces receipt {found.reproduces}")
    say_table(("table", "data version"), [(t.table, t.version) for t in found.tables])
    say_fetched(found)


@app.command()
def of(
    subject: Annotated[str, typer.Argument(help="Customer number.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Which training sets hold values of a person, and which models were trained on these.

    Example: assent receipt of C-1042
    """
    from feature_repo.stores.models import models_with
    from feature_repo.stores.receipts import receipts_with

    opened = open_home(home)
    key = opened.directory.require(subject)
    looked(opened, key, "receipt of")
    receipts = receipts_with(opened, [key])[key]
    models = models_with(opened, [r.receipt_id for r in receipts])
    if json:
        say_json({"receipts": [_document(r) for r in receipts], "models": [m.name for m in models]})
        return
    if not receipts:
        say("no training set holds a value of this person")
        return
    _say(receipts)
    say("models: " + (", ".join(m.name for m in models) or "none"))


def _say(receipts: list[Receipt]) -> None:
    rows = [
        (r.receipt_id[:16], format_instant(r.created_at)[:19], r.caller, r.purpose, r.entity_rows, r.subjects)
        for r in receipts
    ]
    say_table(("receipt", "at", "by", "purpose", "rows", "people"), rows)


def _document(receipt: Receipt) -> dict[str, Any]:
    return {**asdict(receipt), "created_at": format_instant(receipt.created_at)}
