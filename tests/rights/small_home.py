"""A small real home: three people, and something of each of them in every store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from consent.clock import format_instant, parse_instant
from consent.epochs import Epochs
from consent.home import Home
from consent.ledger import Ledger
from feature_repo.stores import setup
from feature_repo.stores.models import register_model
from ingestion.asked import keep_asked_days
from ingestion.sources import SOURCES
from ingestion.vault import STORES, Batch, commit_batch, pack_rows, stage_store
from tests.feature_repo.lender import Lender

#: Feature of each source that the online store and training sets are compared by.
FEATURES = {"spending": "spend_30d", "employment": "monthly_salary_now"}


class SmallHome:
    """Its people agree to every source for scoring and training.

    Attributes:
        people: customer number -> subject key.
    """

    def __init__(
        self,
        root: Path,
        *,
        sources: Sequence[str] = ("spending", "employment"),
        terms: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Make it.

        Args:
            sources: of which there is data.
            terms: customer number -> more terms of what the person agrees to.
        """
        self.lender = Lender(root)
        self.home = self.lender.home
        numbers = [f"C-{i}" for i in range(3)]
        self.people = dict(zip(numbers, self.home.directory.find_or_create(numbers), strict=True))
        for number, key in self.people.items():
            pairs = [(s, p) for s in SOURCES for p in ("credit_scoring", "model_training")]
            more = (terms or {}).get(number, {})
            self.lender.record(*(self.lender.grant(key, s, p, **more) for s, p in pairs))
        for source in SOURCES:
            if source in sources:
                self._load(source)
                self._publish(source)
            else:
                self.lender.publish(source, [])
        setup.materialise(self.home, start=self.lender.at(-30), end=self.lender.at(0))
        entities = self.lender.entities(*((key, 0) for key in self.people.values()))
        _, receipt = setup.training_set(self.home, entities, "scorecard_training_v1")
        register_model(self.home, "scorecard-1", [receipt.receipt_id], now=self.lender.now)

    def close(self) -> None:
        """Let go of its databases, so that its files can be copied."""
        for store in (self.home.ledger, self.home.data_keys, self.home.directory):
            store.close()

    def write_down(self, place: Path, *, hours: float) -> None:
        """Leave what a story in another process has to know, and let go of the files."""
        known = {"people": self.people, "now": format_instant(self.lender.now + timedelta(hours=hours))}
        (place / "known").write_text(json.dumps(known))
        self.close()

    def _load(self, source: str) -> None:
        """One batch; everybody has something in quarantine."""
        name, rows = f"{0:024x}-0000", self._rows(source)
        staged = {store: stage_store(self.home, store, source, name, rows) for store in STORES}
        taken = pack_rows(pa.array(range(len(rows))).to_numpy())
        files = {store: file for store, file in staged.items() if file}
        commit_batch(self.home, Batch(name, source, 0, name, taken, files, self.lender.now, {}))

    def _rows(self, source: str) -> pa.Table:
        schema = SOURCES[source].schema
        rows = [
            {field.name: _cell(field.type, f"{number}-{i}", self.lender.at(-i - 1)) for field in schema}
            | {"subject_key": key, "row_number": i, "malformed": None, "raw": f"raw {number}"}
            for number, key in self.people.items()
            for i in range(3)
        ]
        extra = [("subject_key", pa.string()), ("row_number", pa.int64())]
        extra += [("malformed", pa.string()), ("raw", pa.string())]
        return pa.Table.from_pylist(rows, schema=pa.schema([*schema, *(pa.field(*e) for e in extra)]))

    def _publish(self, source: str) -> None:
        """Two data versions, and days that were asked for."""
        for version in range(2):
            values = [
                (key, -day, {FEATURES[source]: 1000.0 * i + 10 * version + day + 0.25})
                for i, key in enumerate(self.people.values())
                for day in (2, 9)
            ]
            self.lender.publish(source, values)
        days = pa.table({"subject_key": list(self.people.values()), "day": [20_000, 20_001, 20_002]})
        keep_asked_days(self.home, source, SOURCES[source].definition, days)


def _cell(kind: pa.DataType, text: str, at: Any) -> Any:
    if pa.types.is_decimal(kind):
        return Decimal("12.50") + len(text)
    if pa.types.is_timestamp(kind):
        return at
    if pa.types.is_date32(kind):
        return (at - timedelta(days=3)).date()
    return 7 if pa.types.is_integer(kind) else text


@dataclass(frozen=True)
class Known:
    """What was written down of a small home.

    Attributes:
        people: customer number -> subject key.
        now: where the clock of the story stands still.
    """

    place: Path
    people: dict[str, str]
    now: datetime

    @classmethod
    def of(cls, place: Path) -> Known:
        known = json.loads((place / "known").read_text())
        return cls(place, known["people"], parse_instant(known["now"]))

    def open(self) -> Home:
        """The home, on the clock that stands still."""
        return home_at(self.place / "home", self.now)


def home_at(root: Path, at: datetime) -> Home:
    """A home whose clock stands still: what is told of time does not depend on when something was interrupted."""
    home = Home.open(root)
    origin, keyring = home.settings.origin, home.keyring
    signer, anchor = keyring.log_signer(origin), keyring.anchor(origin)
    home.__dict__["ledger"] = Ledger.open(root / "ledger.db", signer, lambda: at, anchor=anchor)
    home.__dict__["epochs"] = Epochs(keyring.path, origin, home.settings.key_service, clock=lambda: at)
    return home
