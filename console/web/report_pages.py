"""The reports of the trade as pages, and as files to take away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi import Query as Asked
from fastapi.responses import Response, StreamingResponse

from consent.catalog import PURPOSES, SOURCES
from consent.clock import now_utc
from consent.errors import BadInput
from console.web.access import require_access, too_often
from console.web.desk import AtDesk, Desk, From, Sent
from reports.catalog import REPORTS, find_report, make_report
from reports.formats import write_csv, write_json
from reports.query import Definition, Query
from reports.table import Report

router = APIRouter(dependencies=[Depends(require_access)])

PAGE = 50
#: Fields of a form, in the order in which they are asked for.
_TIMES = ("since", "until", "as_of", "known_at")


class Narrowed:
    """What an address asks of a report."""

    def __init__(  # the fields of the form
        self,
        desk: AtDesk,
        source: str = "",
        purpose: str = "",
        since: str = "",
        until: str = "",
        as_of: str = "",
        known_at: str = "",
        person: Annotated[str, Asked(max_length=40)] = "",
        skip: From = 0,
    ) -> None:
        self.texts = {"source": source, "purpose": purpose, "since": since, "until": until}
        self.texts |= {"as_of": as_of, "known_at": known_at, "person": person}
        self.skip = max(skip, 0)
        self._desk = desk

    def query(self, definition: Definition, *, limit: int | None = None) -> Query:
        """For this report; what it does not take is left out."""
        texts = {name: text for name, text in self.texts.items() if text and name in definition.takes}
        times = {name: self._desk.words.instant(texts[name], name) for name in _TIMES if name in texts}
        named = {name: texts[name] for name in ("source", "purpose") if name in texts}
        key = self._desk.person(self.texts["person"]) if self.texts["person"] else None
        key = key if "subject_key" in definition.takes else None
        skip = self.skip if limit is not None else 0
        return Query(subject_key=key, limit=limit, skip=skip, **named, **times)  # type: ignore[arg-type]


Narrow = Annotated[Narrowed, Depends(Narrowed)]


@router.get("/reports", name="reports")
def show_all(desk: AtDesk) -> Response:
    """The reports there are."""
    return desk.render("reports.html", reports=list(REPORTS.values()))


@router.get("/reports/{name}", name="report")
def show(desk: AtDesk, name: str, narrow: Narrow) -> Response:
    """One report, a page at a time."""
    definition = _definition(name)
    made, rows = None, []
    if not ("subject_key" in definition.needs and not narrow.texts["person"]):
        made = make_report(desk.home, name, narrow.query(definition, limit=PAGE + 1))
        rows = list(islice(made.rows, PAGE + 1))
    return desk.render(
        "report.html",
        definition=definition,
        made=made,
        rows=rows[:PAGE],
        more=len(rows) > PAGE,
        narrow=narrow,
        page=PAGE,
        asked=narrow.texts,
        sources=tuple(SOURCES),
        purposes=tuple(PURPOSES),
        cell=lambda column, value: _cell(desk, column.name, column.type, value),
    )


@router.post("/reports/{name}", name="report_person")
def about_person(desk: AtDesk, name: str, form: Sent) -> Response:
    """The report about one person, by customer number, which goes no further than here."""
    definition = _definition(name)
    if not desk.shared.look_ups.allows(desk.signed_in.csrf):
        raise too_often()
    subject_key = desk.home.directory.find([form.need("number")])[0]
    if subject_key is None or "subject_key" not in definition.takes:
        raise BadInput(
            "nothing is on record about this person", remedy="Check the number.", code="UNKNOWN_SUBJECT"
        )
    desk.look("look_up", subject_key)
    return desk.go(f"/reports/{name}", person=desk.signed_in.remember(subject_key))


@router.get("/reports/{name}/file", name="report_file")
def take(desk: AtDesk, name: str, narrow: Narrow, kind: str = "csv") -> Response:
    """The whole report as CSV for a spreadsheet, or as JSON."""
    made = make_report(desk.home, name, narrow.query(_definition(name)))
    if kind not in ("csv", "json"):
        raise BadInput("a report is taken as csv or json", remedy="Use the links of its page.")
    media = "application/json" if kind == "json" else "text/csv; charset=utf-8"
    named = f'attachment; filename="{name}-{now_utc():%Y-%m-%d}.{kind}"'
    return StreamingResponse(_pieces(made, kind), media_type=media, headers={"Content-Disposition": named})


def _pieces(made: Report, kind: str) -> Iterator[bytes]:
    """The file, put together before it is sent: what fails while rows are read is an answer, not half a file."""
    written: list[str] = []
    if kind == "json":
        write_json(made, written.append)
    else:
        write_csv(made, written.append, bom=True)
    return iter([piece.encode() for piece in written])


def _definition(name: str) -> Definition:
    if name not in REPORTS:
        raise BadInput("there is no such report", remedy="Go back to the list.", code="NOT_FOUND")
    return find_report(name)


#: Column -> what kind of name stands in it.
_NAMED = {"source": "source", "purpose": "purpose", "event": "event", "reason": "reason", "because": "reason"}


def _cell(desk: Desk, name: str, kind: str, value: Any) -> str:
    """A cell in words."""
    w = desk.words
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return w.minute(value)
    if isinstance(value, bool):
        return w("yes" if value else "no")
    if kind == "share":
        return w.share(value, 1)
    if kind == "seconds":
        return w.lasted(timedelta(seconds=value))
    if isinstance(value, int | float):
        return w.number(round(value, 3))
    return w.name(_NAMED[name], value) if name in _NAMED and value else str(value)
