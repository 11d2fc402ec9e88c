"""``assent runs``: what jobs did."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consent.clock import format_instant
from consent.errors import BadInput
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home, optional_instant
from console.show import say, say_json, say_table

if TYPE_CHECKING:
    from ingestion.runs import Run

app = typer.Typer(help="What jobs did: rows, bytes and seconds.", no_args_is_help=True)


@app.command("list")
def list_runs(
    kind: Annotated[str | None, typer.Option("--kind", help="Only these: ingest or publish.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only jobs begun at this instant or later.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="So many at most.")] = 50,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """List the jobs that ended, the newest first.

    Example: assent runs list --kind ingest --since 2026-11-01
    """
    from ingestion.runs import KINDS, newest_runs

    kinds = tuple(known for known in KINDS if kind in (None, known))
    if not kinds:
        raise BadInput("there is no such kind of job", remedy=f"Use one of: {', '.join(KINDS)}.")
    found = list(islice(newest_runs(open_home(home), kinds, since=optional_instant(since, "--since")), limit))
    if json:
        say_json({"runs": [_document(run) for run in found]})
        return
    say_table(("run", "job", "of", "begun", "seconds", "result"), [_row(run) for run in found])


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="The run's id, from `assent runs list`.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Show one job: what became of the rows of each file, by reason and rule, or of each table; seconds per stage.

    Example: assent runs show 2026-11-25T101500-3fa2c1
    """
    from ingestion.runs import find_run

    found = find_run(open_home(home), run)
    if json:
        say_json(_document(found))
        return
    about = found.document
    say(f"{found.kind} {found.run_id}, begun {format_instant(found.started_at)}, {about['seconds']} seconds")
    if about.get("stages"):
        say("seconds: " + ", ".join(f"{seconds} {stage}" for stage, seconds in about["stages"].items()))
    if found.kind == "ingest":
        _say_files(about["files"])
    else:
        say_table(
            ("table", "version", "rows", "people", "computed anew", "new"),
            [
                [t[c] for c in ("table", "version", "rows", "subjects", "computed", "fresh")]
                for t in about["tables"]
            ],
        )


def _document(run: Run) -> dict[str, Any]:
    return {"kind": run.kind, **run.document}


def _row(run: Run) -> tuple[Any, ...]:
    about = run.document
    if run.kind == "ingest":
        of, result = about["source"], ", ".join(f"{n} {count}" for count, n in about["totals"].items())
    else:
        of = ", ".join(t["table"] for t in about["tables"])
        result = ", ".join(
            f"version {t['version']}" if t["fresh"] else "nothing new" for t in about["tables"]
        )
    return run.run_id, run.kind, of, format_instant(run.started_at)[:19], about["seconds"], result


def _say_files(files: list[dict[str, Any]]) -> None:
    counts = ("rows", "read", "loaded", "quarantined", "rejected")
    say_table(
        ("file", "bytes", *counts, "refused", "outcome"),
        [
            (f["file"], f.get("bytes"), *(f[c] for c in counts), sum(f["refused"].values()), f["outcome"])
            for f in files
        ],
    )
    for file in files:
        for what in ("refused", "quarantined_by_rule", "warnings_by_rule"):
            told = ", ".join(f"{rows} {why}" for why, rows in file[what].items())
            if told:
                say(f"  {file['file']}: {what.replace('_', ' ')}: {told}")
