"""``assent consent`` and ``assent hold``: what happens to consents after they were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from consent.exchange.statements import GRANT_OF_LEDGER, record_statement
from consent.knowledge import pending_erasures
from consent.nouns import ANY
from console.consent_commands import Subject, say_recorded
from console.options import DEFAULT_HOME, HomeOption, JsonOption, open_home
from console.rights_commands import say_erased
from console.show import progress_bar

hold_app = typer.Typer(
    help="Legal holds: while one is in force nothing is used and nothing erased.", no_args_is_help=True
)

Source = Annotated[str, typer.Option("--source", help="Which source; default: all.")]
Purpose = Annotated[str, typer.Option("--purpose", help="Which purpose; default: all.")]
Basis = Annotated[
    str,
    typer.Option(
        "--basis", help="The legal ground: authority, law, case. No person's name.", show_default=False
    ),
]
By = Annotated[str, typer.Option("--by", help="Who: guardian, controller or authority.", show_default=False)]


def pause(
    subject: Subject,
    source: Source = ANY,
    purpose: Purpose = ANY,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record that a person pauses their consent: no use until it is resumed; its time runs on.

    Example: assent consent pause C-1042 --source spending
    """
    _record(home, json, {"event": "paused", "subject_id": subject, "source": source, "purpose": purpose})


def resume(
    subject: Subject,
    source: Source = ANY,
    purpose: Purpose = ANY,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record that a person resumes what was paused. Nothing that has ended comes back.

    Example: assent consent resume C-1042 --source spending
    """
    _record(home, json, {"event": "resumed", "subject_id": subject, "source": source, "purpose": purpose})


def revoke(
    subject: Subject,
    by: By,
    basis: Basis,
    source: Source = ANY,
    purpose: Purpose = ANY,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record that somebody other than the person ends consent, from now on.

    Example: assent consent revoke C-1042 --by guardian --basis "guardian's letter 2026/118"
    """
    fields = {"event": "revoked", "subject_id": subject, "source": source, "purpose": purpose}
    _record(home, json, {**fields, "indicated_by": by, "basis": basis})


def invalidate(
    subject: Subject,
    basis: Basis,
    by: By = "authority",
    source: Source = ANY,
    purpose: Purpose = ANY,
    grant: Annotated[
        str | None, typer.Option("--grant", help="Only this grant, as `consent show --json` names it.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record that consent was never valid: it counts for all times, and taints every read that rested on it.

    Examples:
      assent consent invalidate C-1042 --source spending --basis "notice 3 void, authority's order 77/2026"
      assent consent invalidate C-1042 --grant 4f0c... --basis "notice 3 void, authority's order 77/2026"
    """
    fields = {"event": "invalidated", "subject_id": subject, "source": source, "purpose": purpose}
    named = None if grant is None else GRANT_OF_LEDGER + grant
    _record(home, json, {**fields, "indicated_by": by, "basis": basis, "grant_id": named})


def supersede(
    subject: Subject,
    source: Source = ANY,
    purpose: Purpose = ANY,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record that the notice or the terms have changed: no use until the person agrees to the new ones.

    Example: assent consent supersede C-1042 --source spending
    """
    fields = {"event": "superseded", "subject_id": subject, "source": source, "purpose": purpose}
    _record(home, json, {**fields, "indicated_by": "controller"})


def link(
    subject: Subject,
    co_subject: Annotated[
        str, typer.Argument(help="Customer number of the other person.", show_default=False)
    ],
    source: Annotated[str, typer.Option("--source", help="Which data is about both.")],
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record that a person's data of a source is about somebody else too: then both have to agree.

    Example: assent consent link C-1042 C-2077 --source spending
    """
    fields = {"event": "linked", "subject_id": subject, "co_subject_id": co_subject, "source": source}
    _record(home, json, fields)


def request_erasure(
    subject: Subject,
    source: Source = ANY,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Record that a person wants their data erased: nothing is used from now on, and the erasure is due.

    Example: assent consent request-erasure C-1042
    """
    _record(home, json, {"event": "erasure_requested", "subject_id": subject, "source": source})


Name = Annotated[str, typer.Option("--name", help="The hold's name in your register.", show_default=False)]


@hold_app.command("place")
def place(
    subject: Subject,
    name: Name,
    basis: Basis,
    source: Source = ANY,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Place a legal hold: nothing about the person is erased, and nothing used, until it is released.

    Example: assent hold place C-1042 --name 2026-17 --basis "court order 4 O 231/26"
    """
    fields = {
        "event": "hold_placed",
        "subject_id": subject,
        "source": source,
        "hold_id": name,
        "basis": basis,
    }
    _record(home, json, {**fields, "indicated_by": "authority"})


@hold_app.command("release")
def release(
    subject: Subject,
    name: Name,
    source: Source = ANY,
    home: HomeOption = DEFAULT_HOME,
    json: JsonOption = False,
) -> None:
    """Release a hold. An erasure that waited for it is carried out now, with its certificate.

    Else what was agreed to before and has not ended may be used again.

    Example: assent hold release C-1042 --name 2026-17
    """
    fields = {"event": "hold_released", "subject_id": subject, "source": source, "hold_id": name}
    opened = open_home(home)
    released = record_statement(opened, {**fields, "indicated_by": "authority"})
    waiting = pending_erasures(opened.ledger.facts(released.event.subject_key))
    if not json or not waiting:
        say_recorded([released], as_json=json)
    if waiting:
        from rights.erase import Wanted, erase  # what it needs takes seconds to load

        with progress_bar(quiet=json) as advance:
            wanted = [Wanted(released.event.subject_key, source) for source in waiting]
            say_erased(erase(opened, wanted, on_progress=advance), as_json=json)


def _record(home: HomeOption, as_json: bool, fields: Mapping[str, str | None]) -> None:
    say_recorded([record_statement(open_home(home), fields)], as_json=as_json)
