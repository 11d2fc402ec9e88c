"""``assent model``: which training sets a model was trained on."""

from __future__ import annotations

from typing import Annotated

import typer

from consent.clock import format_instant, now_utc
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import say, say_json, say_table

app = typer.Typer(help="Models and the receipts of their training sets.", no_args_is_help=True)


@app.command()
def register(
    name: Annotated[str, typer.Argument(help="The model's name and version.")],
    receipt: Annotated[list[str], typer.Option("--receipt", help="Receipt id; may be repeated.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Write down what a model was trained on, so that an erasure's certificate can name it.

    Example: assent model register scorecard-2026-11 --receipt ff227a41...
    """
    from feature_repo.stores.models import register_model

    model = register_model(open_home(home), name, receipt, now=now_utc())
    if json:
        say_json({"name": model.name, "receipts": list(model.receipts)})
    else:
        say(f"{model.name}: trained on {len(model.receipts)} training sets")


@app.command("list")
def list_models(home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """List the models.

    Example: assent model list
    """
    from feature_repo.stores.models import read_models

    models = read_models(open_home(home))
    if json:
        say_json({"models": [{"name": m.name, "receipts": list(m.receipts)} for m in models]})
        return
    say_table(
        ("model", "registered", "training sets"),
        [(m.name, format_instant(m.registered_at)[:19], len(m.receipts)) for m in models],
    )
