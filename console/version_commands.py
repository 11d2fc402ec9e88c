"""``assent rollback``: read an earlier data version from now on."""

from __future__ import annotations

from typing import Annotated

import typer

from consent.clock import now_utc
from consent.errors import BadInput
from consent.files import exclusive
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.show import progress_bar, say, say_json


def rollback(
    table: Annotated[str, typer.Argument(help="The feature table, such as spending_v1.")],
    to: Annotated[int, typer.Option("--to", min=1, help="The data version whose rows are read from now on.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Read an earlier data version from now on, offline and online. It becomes a new version; none is taken away.

    What consent has taken away since stays away, and the next publish goes on from the newest records.

    Example: assent rollback spending_v1 --to 3
    """
    from feature_repo.stores import setup
    from ingestion.sources import definition_of
    from ingestion.tables import read_current, roll_back

    opened = open_home(home)
    if definition_of(table) is None:
        raise BadInput("there is no such feature table", remedy="See `assent versions`.")
    with (
        exclusive(opened.path("job.lock"), "an ingestion or publish job"),
        progress_bar(quiet=json) as advance,
    ):
        advance("rolling back", 0, 2)
        before = read_current(opened, table).number
        version = roll_back(opened, table, to, now=now_utc())
        advance("writing online features", 1, 2)
        online = setup.replace_online(opened, table)
    if json:
        say_json(
            {
                "table": table,
                "version": version.number,
                "rows_of": to,
                "before": before,
                "online_rows": online,
            }
        )
        return
    say(f"{table}: version {version.number} has the rows of version {to}" + _told(version.number == before))
    say("online: written " + (", ".join(f"{n} {view}" for view, n in online.items()) or "nothing"))


def _told(unchanged: bool) -> str:
    return "; it was read already" if unchanged else ""
