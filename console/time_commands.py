"""``assent consent``: questions that involve two times. Was that read lawful, who was eligible, what has changed?"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from consent.catalog import PURPOSES, SOURCES, require_purpose, require_source
from consent.clock import format_instant, parse_instant
from consent.errors import BadInput
from consent.files import write_atomically
from consent.nouns import Decision, Facts
from console.consent_commands import Subject
from console.options import DEFAULT_HOME, HomeOption, JsonOption, looked, open_home, optional_instant
from console.show import say, say_json, say_table

Source = Annotated[str, typer.Option("--source", help=f"One of {', '.join(SOURCES)}.")]
Purpose = Annotated[str, typer.Option("--purpose", help=f"One of {', '.join(PURPOSES)}.")]
Out = Annotated[Path | None, typer.Option("--out", help="Write the rows to this CSV file.")]


def review(
    subject: Subject,
    source: Source,
    purpose: Purpose,
    read_at: Annotated[str, typer.Option("--read-at", help="When the data was read.")],
    data_at: Annotated[
        str | None, typer.Option("--data-at", help="Date of the record; default: any.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Was a read lawful, on what was known then, and what does it look like on what is known today?

    LAWFUL, LATE (ended by something that arrived later: no fault, clean up), TAINTED (invalidated since), UNLAWFUL.

    Example: assent consent review C-1042 --source spending --purpose model_training --read-at 2026-03-01T09:30
    """
    from consent.knowledge import review_read

    opened = open_home(home)
    key = opened.directory.find([subject])[0]
    if key is not None:
        looked(opened, key, "consent review")
    facts = opened.ledger.facts(key) if key else Facts()
    at = parse_instant(read_at, what="--read-at")
    found = review_read(facts, source, purpose, read_at=at, data_at=optional_instant(data_at, "--data-at"))
    if json:
        answers = {"then": _answer(found.then), "today": _answer(found.today)}
        say_json({"verdict": found.verdict, "read_at": format_instant(at), **answers})
        return
    say(f"{found.verdict}: {source} for {purpose}, read at {format_instant(at)}")
    say(f"  on what was known then:  {_word(found.then)}")
    say(f"  on what is known today:  {_word(found.today)}")


def _answer(decision: Decision) -> dict[str, Any]:
    return {"allowed": decision.allowed, "reason": decision.reason, "grant_id": decision.grant_id}


def _word(decision: Decision) -> str:
    return f"covered by grant {decision.grant_id}" if decision.allowed else f"not covered: {decision.reason}"


def eligible(
    source: Source,
    purpose: Purpose,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="The instant asked about; default: now.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option("--known-at", help="The state of knowledge; default: everything on record.")
    ] = None,
    receipt: Annotated[
        str | None, typer.Option("--receipt", help="As it was for a training set: its receipt's id.")
    ] = None,
    out: Out = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Who could be used for a purpose, at an instant, on what was known at a moment.

    Examples:
      assent consent eligible --source spending --purpose model_training
      assent consent eligible --source spending --purpose model_training --as-of 2026-03-01 --known-at 2026-03-01
      assent consent eligible --source spending --purpose model_training --receipt 5be1... --out eligible.csv
    """
    from consent.knowledge import eligible as find_eligible

    require_source(source)
    require_purpose(purpose)
    opened = open_home(home)
    timeline, at = opened.gate.timeline(), optional_instant(as_of, "--as-of") or opened.ledger.now()
    if receipt is not None:
        from feature_repo.stores.receipts import find_receipt

        if known_at is not None or as_of is not None:
            raise BadInput("a receipt says its own times", remedy="Leave out --as-of and --known-at.")
        used = find_receipt(opened, receipt)
        timeline, at = timeline.of_size(used.ledger_size), used.created_at
    elif known_at is not None:
        timeline = timeline.known(parse_instant(known_at, what="--known-at"))
    keys = find_eligible(timeline, source, purpose, as_of=at).to_pylist()
    if out is not None:
        _write(out, ("subject_key",), ([key] for key in keys))
    if json:
        listed = {} if out is not None else {"subject_keys": keys}
        say_json(
            {
                "source": source,
                "purpose": purpose,
                "as_of": format_instant(at),
                "eligible": len(keys),
                **listed,
            }
        )
    else:
        say(f"{len(keys)} people: {source} for {purpose}, as of {format_instant(at)}")


def changes(
    since: Annotated[str, typer.Option("--from", help="What was known at this moment ...")],
    until: Annotated[str | None, typer.Option("--until", help="... against this one; default: now.")] = None,
    out: Out = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """What the ledger learnt between two moments, and which answers, about which times, that changed.

    Example: assent consent changes --from 2026-11-01 --until 2026-11-08 --out changes.csv
    """
    from consent.knowledge import changes as find_changes

    opened = open_home(home)
    known_from = parse_instant(since, what="--from")
    known_until = optional_instant(until, "--until") or opened.ledger.now()
    found = find_changes(opened.gate.timeline(), known_from=known_from, known_until=known_until)
    columns = ("subject_key", "source", "purpose", "from", "until", "was", "now")
    rows = [
        (c.subject_key, c.source, c.purpose, _time(c.from_at), _time(c.until_at), c.was, c.now)
        for c in found.spans
    ]
    if out is not None:
        _write(out, columns, rows)
    if json:
        listed = (
            {} if out is not None else {"changes": [dict(zip(columns, row, strict=True)) for row in rows]}
        )
        say_json({"entries": found.entries, "changed": len(rows), **listed})
        return
    said = ", ".join(f"{number} {kind}" for kind, number in found.entries.items()) or "nothing"
    people = len({c.subject_key for c in found.spans})
    say(f"recorded: {said}; {len(rows)} answers changed, of {people} people")
    if out is None:
        say_table(columns, rows[:_ROWS_SHOWN])
        if len(rows) > _ROWS_SHOWN:
            say(f"and {len(rows) - _ROWS_SHOWN} more; use --out or --json to see all")


_ROWS_SHOWN = 20


def _time(at: Any) -> str | None:
    return None if at is None else format_instant(at)


def _write(out: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    import io

    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    try:
        write_atomically(out.absolute(), text.getvalue().encode())
    except OSError:
        raise BadInput(f"{out.name} cannot be written", remedy="Check the path.") from None
