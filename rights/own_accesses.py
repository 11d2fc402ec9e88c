"""Who used a person's data: training sets that hold a value of theirs, models trained on these, and who looked.

Which member of staff it was is in the access log, and not told here: they have rights of their own (CJEU C-579/21).
Single reads are not written down; the document says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from consent.accesses import Access, AccessQuery
from consent.clock import format_instant
from consent.home import Home
from feature_repo.stores.models import Model, models_with
from feature_repo.stores.receipts import Receipt, receipts_with

#: What `feature_repo.stores` does not write down, in a sentence for a person.
NOT_LOGGED = (
    "Reads of features for a single decision (online reads) are not written down one by one, but added up without"
    " names; each of them was decided by consent as it stood at that moment. Nor is it written down what was done"
    " with a training set once it was handed out."
)


#: Looks at one person that are told one by one; the newest.
MOST_LOOKS = 1_000


def read_looks(home: Home, subject_key: str, *, before: int) -> list[Access]:
    """When somebody looked at what is held about the person, or made a package of it; the newest first.

    Args:
        before: entries of the access log with a smaller number.
    """
    return home.accesses.entries(AccessQuery(subject_key=subject_key, before=before), limit=MOST_LOOKS)


def read_accesses(home: Home, subject_key: str) -> tuple[list[Receipt], list[Model]]:
    """The training sets that hold a value of the person's, oldest first, and the models trained on them."""
    receipts = receipts_with(home, [subject_key])[subject_key]
    return receipts, models_with(home, [receipt.receipt_id for receipt in receipts])


def accesses_document(
    receipts: list[Receipt], models: list[Model], looks: Sequence[Access]
) -> dict[str, Any]:
    """What `read_accesses` and `read_looks` found, less what is about other people."""
    mine = {receipt.receipt_id for receipt in receipts}
    return {
        "not_logged_one_by_one": NOT_LOGGED,
        "training_sets": [_receipt(receipt, models) for receipt in receipts],
        "models": [
            {
                "name": model.name,
                "registered_at": format_instant(model.registered_at),
                "training_sets_with_you": sorted(mine & set(model.receipts)),
            }
            for model in models
        ],
        "looked_at": [
            {"at": format_instant(look.at), "what": look.kind.value, "purpose": look.purpose}
            for look in looks
        ],
    }


def _receipt(receipt: Receipt, models: list[Model]) -> dict[str, Any]:
    return {
        "receipt_id": receipt.receipt_id,
        "at": format_instant(receipt.created_at),
        "purpose": receipt.purpose,
        "features": list(receipt.features),
        "data_versions": [asdict(used) for used in receipt.tables],
        "entries_of_consent_log": receipt.ledger_size,
        "models": [model.name for model in models if receipt.receipt_id in model.receipts],
    }
