"""``assent consent``: the ledger's daily work."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consent.catalog import PURPOSES, SOURCES
from consent.clock import format_instant
from consent.decide import decide as decide_consent
from consent.errors import BadInput, ConfigError, Denied
from consent.exchange.jws import read_public_keys
from consent.exchange.records import import_artefacts, import_records
from consent.exchange.statements import GRANT_OF_LEDGER, record_statement, record_statements
from consent.nouns import ANY, Decision, Facts, Kind, Recorded
from console.options import (
    DEFAULT_HOME,
    HomeOption,
    JsonOption,
    looked,
    open_home,
    optional_instant,
)
from console.show import progress_bar, say, say_json, say_table

app = typer.Typer(help="Who agreed to what: record, import, withdraw, show, decide.", no_args_is_help=True)

Subject = Annotated[str, typer.Argument(help="Customer number.", show_default=False)]
Sources = Annotated[
    list[str], typer.Option("--source", help=f"One of {', '.join(SOURCES)}; may be repeated.")
]
Purposes = Annotated[
    list[str], typer.Option("--purpose", help=f"One of {', '.join(PURPOSES)}; may be repeated.")
]


class ImportFormat(StrEnum):
    """What kind of file is imported."""

    STATEMENTS = "statements"
    ACCOUNT_AGGREGATOR = "account-aggregator"


@app.command()
def record(
    subject: Subject,
    source: Sources,
    purpose: Purposes,
    notice: Annotated[str | None, typer.Option("--notice", help="Id of the notice the person saw.")] = None,
    notice_version: Annotated[str | None, typer.Option("--notice-version", help="Its version.")] = None,
    notice_language: Annotated[
        str | None, typer.Option("--notice-language", help="Its language, e.g. zh-CN.")
    ] = None,
    notice_file: Annotated[
        Path | None, typer.Option("--notice-file", help="Its exact text; only the SHA-256 is recorded.")
    ] = None,
    notice_hash: Annotated[str | None, typer.Option("--notice-hash", help="Or its SHA-256.")] = None,
    jurisdiction: Annotated[
        str | None, typer.Option("--jurisdiction", help="ISO 3166 code, e.g. CN.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help="How it was expressed.")] = None,
    expires_at: Annotated[str | None, typer.Option("--expires-at", help="End of the consent.")] = None,
    data_from: Annotated[
        str | None, typer.Option("--data-from", help="How far back the data may reach.")
    ] = None,
    data_until: Annotated[
        str | None, typer.Option("--data-until", help="Up to when the data may reach, exclusive.")
    ] = None,
    replaces: Annotated[
        str | None, typer.Option("--replaces", help="The grant this one renews, as `show --json` names it.")
    ] = None,
    data_life_days: Annotated[
        int | None, typer.Option("--data-life-days", min=1, help="How old data may get in use.")
    ] = None,
    refused: Annotated[bool, typer.Option("--refused", help="The person said no.")] = False,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record what a person answered: one grant per source and purpose, never bundled.

    Examples:
      assent consent record C-1042 --source spending --purpose credit_scoring --purpose model_training
        --notice spending-notice --notice-version 3 --notice-language zh-CN --notice-file notice.txt
        --jurisdiction CN --method "toggle, default off" --expires-at 2027-06-30 --data-from 2025-01-01
      assent consent record C-1042 --source app_usage --purpose credit_scoring --refused
    """
    terms = {
        "notice_id": notice,
        "notice_version": notice_version,
        "notice_language": notice_language,
        "notice_hash": notice_hash if notice_file is None else _hash_of(notice_file),
        "jurisdiction": jurisdiction,
        "method": method,
        "expires_at": expires_at,
        "data_from": data_from,
        "data_until": data_until,
        "replaces": None if replaces is None else GRANT_OF_LEDGER + replaces,
        "data_life_days": None if data_life_days is None else str(data_life_days),
    }
    statements = [
        {
            "event": "refused" if refused else "given",
            "subject_id": subject,
            "source": s,
            "purpose": p,
            **terms,
        }
        for s in source
        for p in purpose
    ]
    say_recorded(record_statements(open_home(home), statements), as_json=json)


def _hash_of(notice: Path) -> str:
    try:
        return hashlib.sha256(notice.read_bytes()).hexdigest()
    except OSError:
        raise BadInput(f"{notice.name} cannot be read", remedy="Check the path of the notice.") from None


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="JSONL or CSV from the lender's system of record.")],
    encoding: Annotated[str, typer.Option("--encoding", help="Of the file, e.g. gb18030.")] = "utf-8",
    format_: Annotated[
        ImportFormat, typer.Option("--format", help="Or account-aggregator: India's consent artefacts.")
    ] = ImportFormat.STATEMENTS,
    key: Annotated[
        Path | None, typer.Option("--key", help="The Account Aggregators' public keys: JWK, JWK set or PEM.")
    ] = None,
    consumer: Annotated[
        str | None, typer.Option("--consumer", help="The lender's own identifier there; others are rejected.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Bring in consents from a system of record. Safe to repeat; broken lines are reported, good ones kept.

    Imported grants may carry an earlier effective time: they are marked imported and name their evidence, and
    every answer that rests on them says so. Ends with exit code 6 if a line was rejected.

    Examples:
      assent consent import consents.jsonl
      assent consent import artefacts.jsonl --format account-aggregator --key aa-keys.json --consumer fiu-lender
    """
    opened = open_home(home)
    with progress_bar(quiet=json) as advance:

        def told(done: int) -> None:
            advance("recording", done, 0)

        if format_ is ImportFormat.STATEMENTS:
            report = import_records(opened, file, encoding=encoding, on_progress=told)
        elif key is None:
            raise ConfigError(
                "there is no key to verify the artefacts with",
                remedy="Name the Account Aggregators' with --key.",
            )
        else:
            keys = read_public_keys(key)
            report = import_artefacts(opened, file, keys, consumer=consumer, on_progress=told)
    if json:
        say_json(report.report())
    else:
        say(
            f"{report.read} statements read: {report.recorded} recorded,"
            f" {report.already_recorded} already on record, {len(report.rejected)} rejected"
        )
        for rejected in report.rejected[:20]:
            say(f"  line {rejected.line}: {rejected.reason}: {rejected.message}. {rejected.remedy}")
        if len(report.rejected) > 20:
            say(f"  and {len(report.rejected) - 20} more; use --json to see all")
        for note, times in sorted(report.notes.items()):
            say(f"  {note} ({times} artefacts)")
    if report.rejected:
        raise BadInput(
            f"{len(report.rejected)} of {report.read} lines were rejected; the others are recorded",
            remedy="Mend those lines and import the file again: nothing is recorded twice.",
        )


@app.command()
def withdraw(
    subject: Subject,
    source: Annotated[str, typer.Option("--source", help="Which source; default: all.")] = ANY,
    purpose: Annotated[str, typer.Option("--purpose", help="Which purpose; default: all.")] = ANY,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record that a person withdraws. It counts from the very next read, in every process.

    Examples:
      assent consent withdraw C-1042
      assent consent withdraw C-1042 --source spending --purpose model_training
    """
    fields = {"event": "withdrawn", "subject_id": subject, "source": source, "purpose": purpose}
    say_recorded([record_statement(open_home(home), fields)], as_json=json)


def say_recorded(entries: Sequence[Recorded], *, as_json: bool) -> None:
    """Tell what is on record now."""
    if as_json:
        say_json({"recorded": [_entry(r) for r in entries]})
        return
    for r in entries:
        about = f"source {_word(r.event.source)}, purpose {_word(r.event.purpose)}"
        say(f"recorded: {r.event.kind}, {about}, entry {r.leaf_index} of the ledger")


def _word(name: str) -> str:
    return "every" if name == ANY else name


@app.command()
def show(subject: Subject, home: HomeOption = DEFAULT_HOME, json: JsonOption = False) -> None:
    """Show what is on record about a person, and what may be used now.

    Example: assent consent show C-1042
    """
    opened = open_home(home)
    key = opened.directory.require(subject)
    looked(opened, key, "consent show")
    history = opened.ledger.history(key)
    matrix = _matrix(opened.ledger.facts(key), opened.ledger.now())
    if json:
        say_json(
            {
                "subject_key": key,
                "history": [_entry(r) for r in history],
                "now": [{"source": s, "purpose": p, **_answer(d)} for (s, p), d in matrix.items()],
            }
        )
        return
    say(f"subject {key}")
    say_table(
        ("entry", "recorded", "effective", "event", "source", "purpose", "until", "origin"),
        [
            (
                r.leaf_index,
                format_instant(r.recorded_at)[:19],
                format_instant(r.event.effective_at)[:19],
                r.event.kind,
                _word(r.event.source),
                _word(r.event.purpose),
                format_instant(r.event.grant.expires_at)[:10] if r.event.grant else None,
                r.event.origin,
            )
            for r in history
        ],
    )
    say()
    cells = {pair: _cell(d) for pair, d in matrix.items()}
    say_table(
        ("may be used now", *PURPOSES), [(s, *(cells[s, p] for p in PURPOSES)) for s in SOURCES], title=None
    )


def _cell(decision: Decision) -> str:
    whose = " (co-subject)" if decision.party == "co_subject" else ""
    return "yes" if decision.allowed else f"{decision.reason}{whose}"


def _matrix(facts: Facts, now: datetime) -> dict[tuple[str, str], Decision]:
    return {(s, p): decide_consent(facts, s, p, data_at=None, as_of=now) for s in SOURCES for p in PURPOSES}


@app.command()
def decide(
    subject: Subject,
    source: Annotated[str, typer.Option("--source", help="What data.")],
    purpose: Annotated[str, typer.Option("--purpose", help="What for.")],
    data_at: Annotated[
        str | None, typer.Option("--data-at", help="Date of the record; default: any.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="The instant asked about; default: now.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option("--known-at", help="The state of knowledge; default: everything on record.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """May this be used? Exit code 0 for yes, 3 for no, with exactly one reason.

    Examples:
      assent consent decide C-1042 --source spending --purpose credit_scoring
      assent consent decide C-1042 --source spending --purpose credit_scoring --as-of 2026-03-01 --known-at 2026-03-01
    """
    opened = open_home(home)
    key = opened.directory.find([subject])[0]
    if key is not None:
        looked(opened, key, "consent decide")
    asked_at = optional_instant(as_of, "--as-of") or opened.ledger.now()
    decision = decide_consent(
        opened.ledger.facts(key) if key else Facts(),
        source,
        purpose,
        data_at=optional_instant(data_at, "--data-at"),
        as_of=asked_at,
        known_at=optional_instant(known_at, "--known-at"),
    )
    if json:
        say_json(
            {"source": source, "purpose": purpose, "as_of": format_instant(asked_at), **_answer(decision)}
        )
    elif decision.allowed:
        say(f"ALLOWED: {source} for {purpose}, grant {decision.grant_id}" + _imported(decision))
    if not decision.allowed:
        whose = " of the co-subject" if decision.party == "co_subject" else ""
        raise Denied(
            f"DENIED: {source} for {purpose}: {decision.reason}{whose}" + _imported(decision),
            remedy="See `assent consent show` for the record it rests on.",
            code=str(decision.reason),
        )


def _imported(decision: Decision) -> str:
    return " (rests on an imported record)" if decision.imported else ""


def _answer(decision: Decision) -> dict[str, Any]:
    return {
        "allowed": decision.allowed,
        "reason": decision.reason,
        "grant_id": decision.grant_id,
        "party": decision.party,
        "imported": decision.imported,
        "expires_at": format_instant(decision.expires_at) if decision.expires_at else None,
    }


def _entry(r: Recorded) -> dict[str, Any]:
    event, grant = r.event, r.event.grant
    entry: dict[str, Any] = {
        "entry": r.leaf_index,
        "recorded_at": format_instant(r.recorded_at),
        "effective_at": format_instant(event.effective_at),
        "event": event.kind,
        "source": event.source,
        "purpose": event.purpose,
        "origin": event.origin,
        "event_id": event.event_id,
    }
    if event.kind is Kind.LINKED:
        entry["co_subject_key"] = event.co_subject_key
    if grant is not None:
        entry |= {
            "grant_id": grant.grant_id,
            "expires_at": format_instant(grant.expires_at),
            "data_from": format_instant(grant.data_from),
            "data_life_days": grant.data_life.days if grant.data_life else None,
            "notice": f"{grant.notice.notice_id}/{grant.notice.version}/{grant.notice.language}",
            "notice_hash": grant.notice.sha256,
        }
    return entry
