"""Which training sets a model was trained on, so that one can say which models a person's data is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from consent.clock import format_instant, parse_instant
from consent.errors import BadInput, Conflict
from consent.home import Home
from feature_repo.stores.receipts import find_receipt
from ingestion.manifest import read_manifest, write_manifest

_USE = "models"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Model:
    """A model and the receipts of its training sets."""

    name: str
    receipts: tuple[str, ...]
    registered_at: datetime


def register_model(home: Home, name: str, receipts: Sequence[str], *, now: datetime) -> Model:
    """Write down what a model was trained on. Doing it twice changes nothing.

    Raises:
        BadInput: the name cannot be used, or no receipt is named.
        Unavailable: there is no such receipt.
        Conflict: the model was registered with other receipts.
    """
    if _NAME.fullmatch(name) is None or not receipts:
        raise BadInput(
            "a model has a name of letters, digits, dots, dashes and underscores, and at least one receipt",
            remedy="Example: assent model register scorecard-2026-11 --receipt ID",
        )
    model = Model(name, tuple(sorted({find_receipt(home, r).receipt_id for r in receipts})), now)
    path = home.path("models", f"{name}.json")
    if path.exists():
        known = _read(home, name)
        if known.receipts != model.receipts:
            raise Conflict(
                "the model is registered with other receipts",
                remedy="Give the newly trained model a name of its own.",
            )
        return known
    document = {**asdict(model), "registered_at": format_instant(now)}
    write_manifest(path, document, home.keyring.secret(_USE))
    return model


def read_models(home: Home) -> list[Model]:
    """All models, by name.

    Raises:
        EvidenceError: an entry was changed.
    """
    return [_read(home, path.stem) for path in sorted(home.path("models").glob("*.json"))]


def models_with(home: Home, receipts: Sequence[str]) -> list[Model]:
    """The models that were trained on any of these training sets."""
    return [model for model in read_models(home) if set(model.receipts) & set(receipts)]


def _read(home: Home, name: str) -> Model:
    document: dict[str, Any] = read_manifest(home.path("models", f"{name}.json"), home.keyring.secret(_USE))
    return Model(document["name"], tuple(document["receipts"]), parse_instant(document["registered_at"]))
