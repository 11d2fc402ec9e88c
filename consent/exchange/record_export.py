"""Consent records and receipts of what is on record in a home."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

from consent.errors import BadInput
from consent.exchange.consent_record import Document, about_same, consent_receipt, consent_record
from consent.exchange.controller import Controller
from consent.home import Home
from consent.nouns import Kind, Recorded


def receipt_of(
    home: Home,
    controller: Controller,
    subject_key: str,
    *,
    source: str | None = None,
    purpose: str | None = None,
    grant_id: str | None = None,
) -> Document:
    """The receipt of one grant: the one named, else the latest for the source and purpose.

    Raises:
        BadInput: there is no such grant, or several pairs of source and purpose to choose from.
    """
    history = home.ledger.history(subject_key)
    entry = find_grant(history, source=source, purpose=purpose, grant_id=grant_id)
    return consent_receipt(
        entry,
        about_same(history, entry),
        controller,
        as_of=home.ledger.now(),
        receipt_id=str(uuid.uuid4()),
        origin=home.ledger.verifier.name,
    )


def find_grant(
    history: Sequence[Recorded],
    *,
    source: str | None = None,
    purpose: str | None = None,
    grant_id: str | None = None,
) -> Recorded:
    """See `receipt_of`."""
    asked = {"source": source, "purpose": purpose}
    grants = [
        r
        for r in history
        if r.event.grant is not None
        and all(name is None or getattr(r.event, field) == name for field, name in asked.items())
        and grant_id in (None, r.event.grant.grant_id)
    ]
    if not grants:
        raise BadInput(
            "no such grant is on record",
            remedy="`assent consent show` lists them; what was refused or erased has no receipt.",
            code="NO_GRANT",
        )
    if len({(r.event.source, r.event.purpose) for r in grants}) > 1:
        raise BadInput(
            f"there are {len(grants)} grants to choose from",
            remedy="Name --source and --purpose, or --grant; a receipt is of one grant.",
        )
    return grants[-1]


def all_records(
    home: Home, controller: Controller, *, on_progress: Callable[[int], None] = lambda _: None
) -> Iterator[Document]:
    """The record of every grant on record, person by person, one person in memory at a time.

    Args:
        on_progress: called now and then with the number of people done so far.
    """
    as_of = home.ledger.now()
    for done, key in enumerate(_people(home), start=1):
        history = home.ledger.history(key)
        for entry in history:
            if entry.event.grant is not None:
                yield consent_record(entry, about_same(history, entry), controller, as_of=as_of)
        if done % 500 == 0:
            on_progress(done)


def _people(home: Home) -> list[str]:
    """Subject keys of all who ever gave a consent that is still readable, in ledger order."""
    people: dict[str, None] = {}
    for rows in home.ledger.rows(("subject_key", "kind")):
        people.update((key, None) for key, kind in rows if kind == Kind.GIVEN and key is not None)
    return list(people)
