"""What a job did, as a page of its own: counts and names of rules, no value, and nothing from outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rights.markup import Markup, element, join

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c2430 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem }
th, td { text-align: left; padding: .25rem .9rem .25rem 0 }
th { font-weight: 600; border-bottom: 1px solid #9aa5b1 } td.number { text-align: right }
.bar { display: flex; height: 1.1rem; border-radius: 3px; overflow: hidden; margin: .3rem 0 }
.loaded { background: #2a6f97 } .refused { background: #b8c4ce } .quarantined { background: #d98e04 }
.rejected { background: #b3261e } .left_out { background: #e4e7eb }
code { font-size: .85em; overflow-wrap: anywhere } h2 { margin-top: 2.2rem; font-size: 1.1rem }
"""
_FATES = (
    ("loaded", "loaded"),
    ("refused", "refused, no consent"),
    ("quarantined", "quarantined"),
    ("rejected", "rejected with the file"),
    ("left_out", "left out by the mapping"),
)
#: Nothing may be fetched from anywhere, whatever a file's name looks like.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def job_page(report: Any) -> str:
    """A `RunReport` as one HTML document."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", f"Job {report.run_id}"),
        element("style", Markup(_STYLE)),
    )
    facts = [
        ("Job", report.run_id),
        ("Source", report.source),
        ("Started", report.started_at),
        ("Seconds", f"{report.seconds:g}"),
        ("Consent ledger", f"{report.ledger_size} entries"),
    ]
    body = element(
        "body",
        element("h1", f"What became of {report.source}"),
        element(
            "p",
            "Counts and names of rules only. Rows without consent are counted and never loaded;"
            " rows that break a rule lie sealed in quarantine.",
        ),
        _table(("", ""), facts),
        [_file(file) for file in report.files],
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en")


def _file(file: Any) -> Markup:
    fates = [(name, label, _count(file, name)) for name, label in _FATES]
    whole = max(1, sum(n for _, _, n in fates))
    bar = [
        element("div", class_=name, style=f"width:{100 * n / whole:.3f}%", title=f"{label}: {n}")
        for name, label, n in fates
        if n
    ]
    tables = [
        ("Refused, by reason", file.refused),
        ("Quarantined, by rule (a row may break several)", file.quarantined_by_rule),
        ("Warned, by rule", file.warnings_by_rule),
    ]
    whole_file = [*file.failed_table_checks, *(f"{name} (warning)" for name in file.table_warnings)]
    return join(
        [
            element("h2", f"{file.file}: {file.outcome}"),
            element("div", bar, class_="bar"),
            _table(
                ("rows", f"{file.rows}"),
                [(label, str(n)) for _, label, n in fates if n]
                + ([("taken in earlier", str(file.already_ingested))] if file.already_ingested else []),
            ),
            [
                join(
                    [element("h3", title), _table(("name", "rows"), [(k, str(n)) for k, n in counts.items()])]
                )
                for title, counts in tables
                if counts
            ],
            element("p", f"Of the file as a whole: {', '.join(whole_file)}") if whole_file else None,
            element("p", "Rules: ", element("code", file.suite_hash)),
        ]
    )


def _count(file: Any, name: str) -> int:
    return sum(file.refused.values()) if name == "refused" else int(getattr(file, name))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    titles = element("tr", [element("th", cell) for cell in head]) if any(head) else None
    return element(
        "table",
        titles,
        [
            element("tr", [element("td", cell, class_="number" if cell.isdigit() else None) for cell in row])
            for row in rows
        ],
    )
