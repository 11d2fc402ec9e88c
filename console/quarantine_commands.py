"""``assent quarantine``: list, show, replay."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consent.catalog import SOURCES, require_source
from console.data_commands import say_ingested
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import progress_bar, say, say_json, say_table

app = typer.Typer(help="Rows that failed validation: sealed, counted, tried again.", no_args_is_help=True)

SourceArgument = Annotated[str, typer.Argument(help=f"One of {', '.join(sorted(SOURCES))}.")]
BatchOption = Annotated[
    str | None, typer.Option("--batch", help="Of one batch: its name, or the beginning of it.")
]


@app.command("list")
def list_batches(
    source: Annotated[str | None, typer.Argument(help="One source; default: all.")] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Count what each batch holds in quarantine, by rule. Nobody's values are read out.

    Example: assent quarantine list spending
    """
    from ingestion.quarantine import list_held

    opened = open_home(home)
    names = [require_source(source)] if source else sorted(SOURCES)
    held = [batch for name in names for batch in list_held(opened, name)]
    if json:
        say_json({"batches": [batch.to_document() for batch in held]})
        return
    say_table(
        ("source", "batch", "loaded at", "rows", "people", "rules"),
        [
            (
                b.source,
                b.batch_id[:12],
                b.loaded_at[:19],
                b.rows,
                b.people,
                ", ".join(f"{n} {rule}" for rule, n in b.by_rule.items()),
            )
            for b in held
        ],
    )


@app.command("show")
def show_rows(
    source: SourceArgument,
    batch: BatchOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="So many rows at most.")] = 20,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Show rows in quarantine with the rules they break. Every value about a person is masked, for everybody.

    The row's number is its place in the lender's own file, counted from 0: look there. Looking is written into the
    access log.

    Example: assent quarantine show spending --limit 5
    """
    from ingestion.quarantine import show_held

    rows = show_held(open_home(home), source, batch_id=batch, limit=limit)
    if json:
        say_json({"source": source, "rows": rows})
        return
    columns = list(rows[0]) if rows else ["batch", "row", "rules"]
    say_table(columns, [[row[column] or "-" for column in columns] for row in rows])


@app.command("replay")
def replay_rows(
    source: SourceArgument,
    mapping: Annotated[
        Path | None, typer.Option("--map", help="A mended mapping file, for rows that came in through one.")
    ] = None,
    batch: BatchOption = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Put rows in quarantine through consent and validation again, after the mapping or the suite was mended.

    Rows that are fit now are loaded, once, and leave the quarantine. Safe to repeat.

    Examples:
      assent quarantine replay spending
      assent quarantine replay spending --map bank.toml
    """
    from ingestion.mapped_rows import read_mapping
    from ingestion.quarantine import replay
    from ingestion.sources import source as find_source

    require_source(source)
    read = read_mapping(mapping, find_source(source)) if mapping else None
    opened = open_home(home)
    with progress_bar(quiet=json) as advance:
        advance("trying the rows again", 0, 1)
        report = replay(opened, source, mapping=read, batch_id=batch)
    if json:
        say_json(report.report())
    elif report.files:
        say_ingested(report)
    else:
        say("nothing to try again")
