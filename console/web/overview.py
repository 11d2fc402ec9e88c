"""The first page: where things stand today."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from consent.accesses import AccessQuery
from consent.catalog import PURPOSES, SOURCES
from console.web.access import require_access
from console.web.desk import AtDesk, Desk
from console.web.drawings import draw_columns, draw_curve
from console.web.figures import Counted
from console.web.records import newest_loads

router = APIRouter(dependencies=[Depends(require_access)])

#: So long the page waits for figures that are newer than the ones at hand.
_WAIT_SECONDS = 0.4
_RUNS = 5


@router.get("/", name="overview")
def show(desk: AtDesk) -> Response:
    """The page."""
    home = desk.home
    head = home.ledger.head()
    return desk.render(
        "overview.html",
        head=head,
        runs=newest_loads(home, limit=_RUNS),
        audit=desk.request.app.state.audit.state(),
        accesses=home.accesses.count(AccessQuery()) if desk.may("accesses") else None,
        **_figures(desk),
    )


@router.get("/figures", name="figures")
def figures(desk: AtDesk) -> Response:
    """The counted part of the page, for the page that is open."""
    return desk.render("overview.html#figures", **_figures(desk))


def _figures(desk: Desk) -> dict[str, Any]:
    counted = desk.shared.figures.newest(wait=_WAIT_SECONDS)
    if counted is None:
        return {"counted": None}
    most = max([1, *(max(counts) for counts in counted.coverage.values())])
    return {
        "counted": counted,
        "newer": desk.home.ledger.size() - counted.ledger_size,
        "sources": tuple(SOURCES),
        "purposes": tuple(PURPOSES),
        "curves": {pair: draw_curve(counts, most) for pair, counts in counted.coverage.items()},
        "ending": _ending(counted),
        "withdrawals": draw_columns(counted.withdrawn),
    }


def _ending(counted: Counted) -> list[tuple[tuple[str, str], int]]:
    """Most first; only where there are any."""
    return sorted(((p, n) for p, n in counted.ending.items() if n), key=lambda each: -each[1])[:6]
