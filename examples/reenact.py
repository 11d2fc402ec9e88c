"""Consents re-enacted on historical data, and the line from a lender's file to a published table, reconciled.

What the examples on public data share. Nobody in the data was ever asked: a documented share of the people, the same
ones every time, stands for those who agree.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consent.errors import AssentError, BadInput, EvidenceError
from consent.exchange.records import import_records
from consent.home import Home
from console.show import exit_code, say, say_error, say_json, say_unforeseen

CHECKOUT = Path(__file__).resolve().parents[1]
ACTOR = "example"
PURPOSES = ("credit_scoring", "model_training")
#: Share of the people who agree.
AGREEING = 0.9
CONSENT_FROM, CONSENT_UNTIL = "1990-01-01T00:00:00Z", "2099-12-31T00:00:00Z"
NOTICE = "Re-enactment on historical data: may the lender use this data of yours for this purpose?"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Example:
    """One public data set as one source.

    Attributes:
        folder: of the data, under ``ASSENT_DATA`` or ``../shared/data`` of the checkout.
        file: in that folder.
        origin: where to get it.
        people: the file -> the customer numbers in it.
        currency: of the home.
    """

    folder: str
    file: str
    source: str
    mapping: Path
    origin: str
    people: Callable[[Path], Iterable[str]]
    currency: str = "EUR"


@dataclass(frozen=True)
class Outcome:
    """The whole run; ``report`` is JSON-able."""

    home: Home
    report: dict[str, Any]
    agreeing: tuple[str, ...]


def find_file(example: Example, checkout: Path = CHECKOUT) -> Path:
    """The data, under ``ASSENT_DATA`` or else under ``../shared/data`` of the checkout.

    Raises:
        BadInput: it is not there; says where it was looked for, and where to get it.
    """
    named = os.environ.get("ASSENT_DATA")
    folder = (Path(named) if named else checkout.parent / "shared" / "data").absolute() / example.folder
    if not (folder / example.file).is_file():
        raise BadInput(
            f"the data is not here: {folder} lacks {example.file}",
            remedy=f"{example.origin} Let ASSENT_DATA name the folder that holds `{example.folder}`, or put it under"
            " ../shared/data beside the checkout.",
        )
    return folder / example.file


def chosen(people: Iterable[str], share: float, question: str) -> list[str]:
    """That share of the people, by a hash of the question and their number: the same ones every time."""

    def place(person: str) -> str:
        return hashlib.sha256(f"assent/examples/{question}/{person}".encode()).hexdigest()

    ordered = sorted(people, key=place)
    return sorted(ordered[: round(share * len(ordered))])


def consents(source: str, people: Iterable[str], agreeing: Iterable[str]) -> Iterator[dict[str, str]]:
    """Everybody's answer for each purpose, marked as what it is."""
    yes = set(agreeing)
    for person in sorted(people):
        for purpose in PURPOSES:
            answer = {
                "event": "given" if person in yes else "refused",
                "subject_id": person,
                "source": source,
                "purpose": purpose,
                "effective_at": CONSENT_FROM,
                "channel": "re-enactment",
                "evidence_hash": hashlib.sha256(b"nobody was ever asked").hexdigest(),
            }
            yield answer | (_terms() if person in yes else {})


def _terms() -> dict[str, str]:
    return {
        "notice_id": "re-enactment",
        "notice_version": "1",
        "notice_language": "en",
        "notice_hash": hashlib.sha256(NOTICE.encode()).hexdigest(),
        "jurisdiction": "EU",
        "method": "re-enacted on historical data",
        "expires_at": CONSENT_UNTIL,
        "data_from": CONSENT_FROM,
    }


def run(example: Example, root: Path, *, files: Path, tell: Say) -> Outcome:
    """Consents in, the file through its mapping, features out.

    Args:
        root: where to make the home; its keys are beside it.
        files: a private directory for the consent file, which holds customer numbers.
        tell: takes the transcript, piece by piece.

    Raises:
        EvidenceError: the counts do not add up.
    """
    os.environ.pop("ASSENT_KEYS", None)  # would point to the keys of another home
    path = find_file(example)
    home = Home.create(root, currency=example.currency)
    people = sorted(set(example.people(path)))
    agreeing = chosen(people, AGREEING, example.folder)
    statements = files / "consents.jsonl"
    statements.write_text(
        "".join(json.dumps(s) + "\n" for s in consents(example.source, people, agreeing)), encoding="utf-8"
    )
    import_records(home, statements, actor=ACTOR)
    tell(f"{len(people)} people: {len(agreeing)} agree, {len(people) - len(agreeing)} refuse (re-enacted).")
    ingested = ingest_mapped(home, example.source, [path], example.mapping)
    tell(reconciliation(ingested))
    return Outcome(
        home,
        {"people": len(people), "ingested": ingested, "published": _publish(home, tell)},
        tuple(agreeing),
    )


def ingest_mapped(home: Home, source: str, files: Sequence[Path], mapping: Path) -> dict[str, Any]:
    """Files through a mapping, and what became of every row.

    Raises:
        EvidenceError: a row is unaccounted for.
    """
    from ingestion.mapped_rows import read_mapping
    from ingestion.reading import Reading
    from ingestion.run import ingest  # loads Great Expectations, which takes seconds
    from ingestion.sources import source as find_source

    report = ingest(home, source, files, reading=Reading(mapping=read_mapping(mapping, find_source(source))))
    parts = ("loaded", "refused", "quarantined", "rejected", "left_out")
    counts = {"rows": report.total("rows")} | {name: report.total(name) for name in parts}
    if counts["rows"] != sum(counts[name] for name in parts):
        raise EvidenceError("the counts of the ingestion do not add up", remedy="Please report it.")
    sums: dict[str, Counter[str]] = {"refused_by_reason": Counter(), "quarantined_by_rule": Counter()}
    warnings = Counter[str]()
    for file in report.files:
        sums["refused_by_reason"].update(file.refused)
        sums["quarantined_by_rule"].update(file.quarantined_by_rule)
        warnings.update(file.warnings_by_rule)
    return counts | {name: dict(count) for name, count in sums.items()} | {"warnings_by_rule": dict(warnings)}


def reconciliation(ingested: dict[str, Any]) -> str:
    """Every row accounted for, as text."""
    lines = [
        "{rows:,} rows = {loaded:,} loaded + {refused:,} refused + {quarantined:,} quarantined"
        " + {rejected:,} rejected + {left_out:,} left out by the mapping".format(**ingested),
        f"  refused: {listed(ingested['refused_by_reason'])};"
        f" quarantined: {listed(ingested['quarantined_by_rule'])};"
        f" warned: {listed(ingested['warnings_by_rule'])}",
    ]
    return "\n".join(lines)


def listed(counts: dict[str, int]) -> str:
    """Counts in one line."""
    return ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items())) or "none"


def _publish(home: Home, tell: Say) -> list[dict[str, Any]]:
    from ingestion.publish import publish

    versions = [published.version for published in publish(home)]
    for v in versions:
        tell(f"Published {v.table} version {v.number}: {v.rows:,} rows of {v.subjects} people.")
    return [{"table": v.table, "version": v.number, "rows": v.rows, "people": v.subjects} for v in versions]


def main(example: Example, introduction: str, arguments: Sequence[str] | None = None) -> int:
    """Run an example as a command; errors are shown, never raised."""
    parser = argparse.ArgumentParser(description=introduction)
    parser.add_argument("--home", type=Path, help="keep the Assent home here; default: a temporary one")
    parser.add_argument("--json", action="store_true", help="answer with one JSON object")
    options = parser.parse_args(arguments)
    tell: Say = (lambda _: None) if options.json else say
    tell(introduction)
    try:
        with tempfile.TemporaryDirectory(prefix="assent-example-") as directory:
            place = Path(directory)
            outcome = run(example, options.home or place / "home", files=place, tell=tell)
    except AssentError as error:
        say_error(error, as_json=options.json)
        return exit_code(error)
    except Exception as error:  # a library's message could quote a cell, so it is not shown
        say_unforeseen(error)
        return 1
    if options.json:
        say_json(outcome.report)
    return 0
