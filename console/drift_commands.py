"""``assent drift``: how the people of a feature table differ from those of the version before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consent.errors import BadInput
from consent.files import write_atomically
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import say, say_json, say_table


def drift(
    table: Annotated[str, typer.Argument(help="A published table, e.g. spending_v1.")],
    version: Annotated[
        int | None, typer.Option("--version", help="Its data version; default: the newest.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Draw it, into a .svg or .png file.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Show how each feature has shifted since the version before: population stability and null shares.

    Of each person the newest row counts. PSI below 0.1 is small, from 0.25 great. Measured when the version was
    published; of fewer than 20 people nothing is.

    Examples:
      assent drift spending_v1
      assent drift spending_v1 --version 3 --picture drift.svg
    """
    from validation.drift import drift_from_documents

    if picture is not None and picture.suffix.lower() not in (".svg", ".png"):
        raise BadInput("the picture can be .svg or .png", remedy="Name --picture accordingly.")
    found = _version(open_home(home), table, version)
    drifts = drift_from_documents(found.lineage.get("drift", []))
    if picture is not None:
        _draw(picture, f"{table}, version {found.number}", drifts)
    if json:
        say_json({"table": table, "version": found.number, "drift": found.lineage.get("drift", [])})
        return
    if not drifts:
        say(
            f"{table}, version {found.number}: nothing to compare, it is the first version or of too few people"
        )
        return
    say_table(
        ("feature", "psi", "shift", "null before", "null now"),
        [
            (d.feature, f"{d.psi:.3f}", d.verdict, f"{d.nulls_before:.1%}", f"{d.nulls_now:.1%}")
            for d in drifts
        ],
        title=f"{table}, version {found.number} against the one before",
    )


def _version(home: Any, table: str, number: int | None) -> Any:
    from ingestion.sources import definitions
    from ingestion.tables import read_versions

    if table not in {source.definition for source in definitions()}:
        raise BadInput("there is no such table", remedy="See `assent versions`.")
    versions = read_versions(home, table)
    chosen = [v for v in versions if number is None or v.number == number]
    if not chosen:
        raise BadInput("there is no such data version", remedy="See `assent versions`.")
    return chosen[-1]


def _draw(path: Path, title: str, drifts: Any) -> None:
    from validation.drift_picture import drift_picture

    if not drifts:
        raise BadInput("there is nothing to draw", remedy="Publish a second version, of at least 20 people.")
    if not path.absolute().parent.is_dir():
        raise BadInput("the directory of --picture does not exist", remedy="Make it first.")
    write_atomically(
        path.absolute(), drift_picture(title, drifts, form=path.suffix.lower().removeprefix("."))
    )
