"""The reports there are, and the one way to ask for one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from consent.accesses import AccessKind
from consent.callers import current_caller
from consent.errors import BadInput
from consent.home import Home
from reports import (
    access_log,
    certificates,
    coverage,
    decision_explainer,
    expiring,
    holds,
    impact_inputs,
    integrity,
    latency,
    processing_record,
    requests,
    subject_timeline,
    training_provenance,
    violations,
)
from reports.query import Definition, Progress, Query, Scope, require_query
from reports.table import Report, Row

#: Every report, by its name.
REPORTS: dict[str, Definition] = {
    module.REPORT.name: module.REPORT
    for module in (
        subject_timeline,
        decision_explainer,
        integrity,
        coverage,
        expiring,
        latency,
        access_log,
        violations,
        requests,
        certificates,
        holds,
        training_provenance,
        processing_record,
        impact_inputs,
    )
}


def find_report(name: str) -> Definition:
    """The report of that name.

    Raises:
        BadInput: there is none.
    """
    if name not in REPORTS:
        raise BadInput("there is no such report", remedy=f"Use one of: {', '.join(REPORTS)}.")
    return REPORTS[name]


def make_report(home: Home, name: str, query: Query, *, on_progress: Progress = lambda *_: None) -> Report:
    """Ask for a report. That it was asked for is in the access log before a row is read.

    Raises:
        BadInput: there is no such report, or it cannot be asked this.
        Unavailable: it cannot be written down that it was asked for.
    """
    definition = find_report(name)
    require_query(query, definition.takes, definition.needs)
    said = query.said()
    about = {key: value for key, value in said.items() if key not in ("subject_key", "purpose")}
    home.accesses.record(
        AccessKind.REPORTED,
        caller=current_caller(),
        subject_key=query.subject_key,
        purpose=query.purpose or "",
        about={"report": name, **about},
    )
    scope = Scope(home, query, home.ledger.now(), on_progress)
    return Report(
        name,
        definition.title,
        definition.says,
        said,
        scope.now,
        home.ledger.size(),
        definition.columns,
        _page(definition, scope),
        definition.notes,
        scope.broken,
    )


def _page(definition: Definition, scope: Scope) -> Iterator[Row]:
    found, query = definition.rows(scope), scope.query
    if definition.pages:
        return found
    return islice(found, query.skip, None if query.limit is None else query.skip + query.limit)
