"""The page docs/reports.md, from the definitions: what each report counts, by which clock, and its columns."""

from __future__ import annotations

from reports.catalog import REPORTS
from reports.query import Definition

#: How a field of `Query` is written on the command line.
OPTIONS = {
    "subject_key": "--subject",
    "source": "--source",
    "purpose": "--purpose",
    "since": "--from",
    "until": "--to",
    "as_of": "--as-of",
    "known_at": "--known-at",
}
_HEAD = """# Reports

`assent report NAME` makes one; `--format csv` or `json`, `--out FILE`, `--limit` and `--skip` work with each. People
are in it under their pseudonym only; a customer number that is named with `--subject` is neither stored nor shown.
That a report was made is in the access log before its first row is read. Written from the definitions by `make docs`.

**CSV**: UTF-8 (`--bom` for Excel), RFC 4180, a header, instants in ISO 8601 UTC, `true` and `false`, empty for no
value; text that a spreadsheet would take for a formula has an apostrophe in front. **JSON**: one document with
`report`, `title`, `says`, `asked`, `made_at`, `ledger_size`, `columns` (`name`, `type`, `unit`, `says`), `notes` and
`rows`, one object a row by column name. Names and meanings of columns stay; a new column is added at the end.
"""


def handbook() -> str:
    """All of it, as Markdown."""
    return "\n".join([_HEAD, *(_section(definition) for definition in REPORTS.values())])


def option(field: str) -> str:
    """A field of `Query` as an option of the command."""
    return OPTIONS[field]


def _section(definition: Definition) -> str:
    takes = " ".join(
        f"`{name}`" if field in definition.needs else f"[`{name}`]"
        for field, name in OPTIONS.items()
        if field in definition.takes
    )
    columns = "\n".join(
        f"| `{c.name}` | {c.type.value}{f', {c.unit}' if c.unit else ''} | {c.says} |"
        for c in definition.columns
    )
    notes = "".join(f"\n- {note}" for note in definition.notes)
    return (
        f"## {definition.name}: {definition.title}\n\n{definition.says}\n\nTakes: {takes or 'nothing'}.\n\n"
        f"| column | type, unit | meaning |\n|---|---|---|\n{columns}\n{notes}\n"
    )
