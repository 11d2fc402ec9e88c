"""Everything a home holds of a person, counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc

from consent.home import Home
from consent.nouns import ANY
from feature_repo.stores import setup
from feature_repo.stores.models import models_with
from feature_repo.stores.receipts import receipts_with
from ingestion.asked import asked_days
from ingestion.holdings import Holding, sources_of, survey, tables_of


@dataclass(frozen=True)
class Inventory:
    """What there is of one person, or of one source of theirs.

    Attributes:
        holdings: in vault, quarantine and tables.
        online: rows in the online store, one for each view.
        asked: days that training sets asked for.
        keys: data keys.
        receipts: ids of the receipts of training sets that hold a value of theirs.
        models: names of the models trained on these.
        entries: of the ledger.
    """

    holdings: list[Holding]
    online: int
    asked: int
    keys: int
    receipts: list[str]
    models: list[str]
    entries: int


def take_inventory(home: Home, wanted: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Inventory]:
    """What there is of each (subject key, source), the source ``*`` for everything."""
    found = {}
    for source in sorted({source for _, source in wanted}):
        subjects = [subject for subject, of in wanted if of == source]
        holdings = survey(home, source, subjects)
        online = setup.count_online(home, subjects, source=source)
        asked = _asked(home, source, subjects)
        receipts = receipts_with(home, subjects)
        for subject in subjects:
            ids = [r.receipt_id for r in receipts[subject] if _uses(home, r.tables, source)]
            found[subject, source] = Inventory(
                holdings[subject],
                online.get(subject, 0),
                asked.get(subject, 0),
                _keys(home, source, subject),
                ids,
                [model.name for model in models_with(home, ids)],
                len(home.ledger.history(subject)),
            )
    return found


def _asked(home: Home, source: str, subjects: Sequence[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in sources_of(home, source):
        for table in tables_of(home, name):
            days = asked_days(home, name, table)
            for count in pc.value_counts(days["subject_key"]).to_pylist():
                counts[count["values"]] = counts.get(count["values"], 0) + count["counts"]
    return {subject: counts[subject] for subject in subjects if subject in counts}


def _keys(home: Home, source: str, subject: str) -> int:
    uses = [u for u in home.data_keys.uses() if not u.startswith("table/")] if source == ANY else [source]
    return sum(home.data_keys.count(use, [subject]) for use in uses)


def _uses(home: Home, tables: Sequence[object], source: str) -> bool:
    """Whether a training set read a table of this source."""
    mine = set(tables_of(home, source))
    return source == ANY or any(getattr(used, "table", None) in mine for used in tables)
