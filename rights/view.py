"""What an access package tells of one person, put together from the home; pages and documents are written from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from consent.accesses import Access
from consent.exchange.controller import Controller
from consent.home import Home
from feature_repo.stores.models import Model
from feature_repo.stores.receipts import Receipt
from feature_repo.stores.setup import OnlineValues, online_values_for_own_access_package
from ingestion.vault import STORES, Store
from rights.inventory import take_inventory
from rights.own_accesses import read_accesses
from rights.own_consents import OwnConsents, read_consents
from rights.own_features import FeatureRows
from rights.own_records import Records, Seen
from rights.own_storage import OwnStorage, read_storage


@dataclass(frozen=True)
class View:
    """One person's data as of one moment. Records and features are read when their files are written.

    Attributes:
        subject_id: the customer number, as it was asked with; the home does not hold it.
        records: with what is gathered of them while they are written; vault before quarantine, by source.
        features: with the source of each table.
    """

    subject_id: str
    subject_key: str
    made_at: datetime
    currency: str
    origin: str
    controller: Controller
    consents: OwnConsents
    storage: OwnStorage
    records: list[tuple[Records, Seen]]
    features: list[tuple[FeatureRows, str]]
    online: list[OnlineValues]
    receipts: list[Receipt]
    models: list[Model]
    looks: Sequence[Access] = ()

    def of_store(self, store: Store) -> list[tuple[Records, Seen]]:
        """The records of one store."""
        return [each for each in self.records if each[0].store == store]


def take_view(
    home: Home, controller: Controller, subject_id: str, subject_key: str, made_at: datetime
) -> View:
    """Everything but the records and feature rows themselves, which may be many.

    Raises:
        EvidenceError: something is not as it was written.
        Unavailable: something is missing.
    """
    consents = read_consents(home, subject_key, made_at)
    inventory = take_inventory(home, [(subject_key, "*")])[subject_key, "*"]
    held = sorted({(h.source, h.store) for h in inventory.holdings})
    records = [
        Records(home, store, s, subject_key) for store in STORES for s, where in held if where == store
    ]
    tables = sorted(
        {(h.source, h.place.rpartition("/")[0]) for h in inventory.holdings if h.store == "tables"}
    )
    receipts, models = read_accesses(home, subject_key)
    return View(
        subject_id,
        subject_key,
        made_at,
        home.settings.currency,
        home.settings.origin,
        controller,
        consents,
        read_storage(home, subject_key, consents, inventory),
        [(each, Seen(each.event_time)) for each in records],
        [(FeatureRows(home, table, subject_key), source) for source, table in tables],
        online_values_for_own_access_package(home, subject_key),
        receipts,
        models,
    )
