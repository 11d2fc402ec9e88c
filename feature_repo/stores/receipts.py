"""What one training fetch used, written down before its values are handed out.

A receipt is a JSON file named by the SHA-256 of its bytes, so that nobody changes it unnoticed who cannot also
change its name wherever it is quoted. It holds counts and versions; the people are in a list beside it, which names
nobody (`feature_repo.stores.members`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from consent.accesses import AccessKind
from consent.clock import format_instant, parse_instant
from consent.errors import BadInput, EvidenceError, Unavailable
from consent.files import write_atomically
from consent.home import Home
from feature_repo.stores.members import lists_with

_FORMAT = 3


@dataclass(frozen=True)
class TableUsed:
    """A data version that values were read from."""

    table: str
    version: int
    definition_hash: str


@dataclass(frozen=True)
class ViewOutcome:
    """What became of the entity rows in one feature view; the counts add up to the receipt's `entity_rows`.

    Attributes:
        given: rows whose features were handed out.
        no_data: rows with consent, but without a feature row at that time.
        masked: denial reason -> rows whose features are null for it.
    """

    view: str
    source: str
    given: int
    no_data: int
    masked: dict[str, int]


@dataclass(frozen=True)
class Receipt:
    """The record of one execution of a historical fetch.

    Attributes:
        receipt_id: SHA-256 of the receipt's file, hex.
        created_at: the instant consent was judged at.
        caller: who asked.
        features: feature references asked for, and those that on-demand features needed.
        ledger_size: entries on record when consent was judged.
        checkpoint: a signed checkpoint over these entries, and over any recorded while the fetch began; None while
            the ledger is empty.
        full_feature_names: whether the result's columns are called ``<view>__<feature>``.
        entity_rows: rows asked for, and returned.
        entities_hash: BLAKE2b-256 (hex) of whom the rows name and of their instants, in order.
        subjects: people of whom at least one value was handed out.
        members_hash: SHA-256 (hex) of the list of these people.
        reproduces: the receipt whose values this fetch gave again, less what was taken away since.
    """

    receipt_id: str
    created_at: datetime
    caller: str
    purpose: str
    full_feature_names: bool
    features: tuple[str, ...]
    tables: tuple[TableUsed, ...]
    ledger_size: int
    checkpoint: str | None
    entity_rows: int
    entities_hash: str
    subjects: int
    members_hash: str
    views: tuple[ViewOutcome, ...]
    reproduces: str | None = None


def write_receipt(home: Home, draft: Receipt) -> Receipt:
    """Write a receipt whose identifier is still empty, note it in the access log, and return it with its identifier.

    Raises:
        Unavailable: it cannot be written, so nothing may be handed out.
        EvidenceError: the access log was changed.
    """
    document = {"format": _FORMAT, **asdict(draft), "created_at": format_instant(draft.created_at)}
    del document["receipt_id"]
    body = (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()
    receipt_id = hashlib.sha256(body).hexdigest()
    try:
        write_atomically(home.path("receipts", f"{receipt_id}.json"), body)
    except OSError:
        raise Unavailable(
            "the receipt cannot be written, so no values are handed out",
            remedy="Make room in <home>/receipts.",
        ) from None
    kind = AccessKind.TRAINING_SET if draft.reproduces is None else AccessKind.REPRODUCED
    home.accesses.record(kind, caller=draft.caller, purpose=draft.purpose, about={"receipt": receipt_id})
    return replace(draft, receipt_id=receipt_id)


def read_receipt(home: Home, receipt_id: str) -> Receipt:
    """The receipt of that identifier.

    Raises:
        BadInput: this is no identifier of a receipt.
        Unavailable: there is no such receipt.
        EvidenceError: the file is not the one the identifier names.
    """
    if not re.fullmatch("[0-9a-f]{64}", receipt_id):
        raise BadInput(
            "a receipt is named by 64 hex digits, or the first 8 or more", remedy="See `assent receipt list`."
        )
    try:
        body = home.path("receipts", f"{receipt_id}.json").read_bytes()
    except OSError:
        raise Unavailable("there is no such receipt", remedy="See `assent receipt list`.") from None
    if hashlib.sha256(body).hexdigest() != receipt_id:
        raise EvidenceError("a receipt was changed", remedy="Restore it from a copy.")
    return _from_document(receipt_id, json.loads(body))


def find_receipt(home: Home, name: str) -> Receipt:
    """The receipt whose identifier begins so.

    Raises:
        BadInput: this begins no identifier, or several.
        Unavailable, EvidenceError: as `read_receipt`.
    """
    if re.fullmatch("[0-9a-f]{8,63}", name):
        found = [path.stem for path in home.path("receipts").glob(f"{name}*.json")]
        if len(found) > 1:
            raise BadInput("several receipts begin so", remedy="Give more of the digits.")
        name = found[0] if found else name.ljust(64, "0")
    return read_receipt(home, name)


def read_receipts(home: Home) -> list[Receipt]:
    """All receipts, oldest first.

    Raises:
        EvidenceError: one was changed.
    """
    paths = home.path("receipts").glob("*.json")
    return sorted((read_receipt(home, p.stem) for p in paths), key=lambda r: (r.created_at, r.receipt_id))


def receipts_with(home: Home, subject_keys: Sequence[str]) -> dict[str, list[Receipt]]:
    """For each person the receipts of the training sets that hold a value of theirs, oldest first.

    Raises:
        EvidenceError: a receipt was changed.
        Unavailable: a list of people is missing.
    """
    receipts = read_receipts(home)
    named = lists_with(home, subject_keys, [r.members_hash for r in receipts])
    return {key: [r for r in receipts if r.members_hash in named.get(key, ())] for key in subject_keys}


def taken_away(before: Receipt, again: Receipt) -> dict[str, int]:
    """For each view of a training set that was reproduced, how many rows have lost their features since."""
    return {one.view: one.given - two.given for one, two in zip(before.views, again.views, strict=True)}


def _from_document(receipt_id: str, document: dict[str, Any]) -> Receipt:
    if document.get("format") != _FORMAT:
        raise EvidenceError("a receipt is of another build's format", remedy="Read it with that build.")
    fields = {name: value for name, value in document.items() if name != "format"}
    return Receipt(
        receipt_id=receipt_id,
        **{
            **fields,
            "created_at": parse_instant(fields["created_at"]),
            "features": tuple(fields["features"]),
            "tables": tuple(TableUsed(**table) for table in fields["tables"]),
            "views": tuple(ViewOutcome(**view) for view in fields["views"]),
        },
    )
