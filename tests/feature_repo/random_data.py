"""What is done with people's data as the dice fall: batches, publishes, pushes, materialisations, erasures.

Published tables by hand hold rows of everybody, so that it is the reads that have to ask; real jobs get records of
everybody, and have to ask themselves.
"""

from __future__ import annotations

import contextlib
import functools
import io
import secrets
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from consent.errors import IllegalTransition
from consent.nouns import ANY, Kind
from feature_repo.stores import setup
from ingestion import sources
from ingestion.publish import describe, publish
from ingestion.run import ingest
from ingestion.source import INSTANT
from ingestion.tables import publish_table, read_current, read_table
from ingestion.vault import Batch, commit_batch, pack_rows, read_batches, stage_store
from rights.erase import Wanted, erase
from tests.feature_repo.random_people import REMEMBERED, SOURCES, People
from tests.reference.leak_twin import Row

#: One feature of each source; every value that is made is another.
FEATURES = {"spending": "balance_last", "employment": "monthly_salary_now", "app_usage": "night_share_30d"}
#: Subject, the record's date, its batch and its place there, the balance after it: what a balance rests on.
Record = tuple[str, datetime, int, int, float]


class Data(People):
    """People whose data is here and there."""

    def __init__(self, root: Path, seed: int) -> None:
        super().__init__(root, seed)
        self.records: list[Record] = []
        self.values = 0
        for source in SOURCES:
            self.publish_by_hand(source)
            self.materialise(source)

    def value(self) -> float:
        self.values += 1
        return self.values + 0.25

    def publish_by_hand(self, source: str | None = None) -> None:
        """A data version with rows of everybody, whatever they agreed to: reading is what has to ask."""
        source = source or self.source()
        people = [key for key in self.people if self.dice.random() < 0.9]
        rows = sorted(
            {
                (key, self.around(130)): self.value() for key in people for _ in range(self.dice.randrange(5))
            }.items()
        )
        self.write_version(source, [(key, at, value) for (key, at), value in rows])

    def write_version(self, source: str, rows: list[Row]) -> None:
        definition = sources.SOURCES[source]
        types = {"int64": pa.int64(), "float64": pa.float64()}
        columns: dict[str, Any] = {
            "subject_key": pa.array([key for key, _, _ in rows], pa.string()),
            "event_timestamp": pa.array([at for _, at, _ in rows], INSTANT),
        }
        for feature in definition.features:
            cells = [value if feature.name == FEATURES[source] else None for _, _, value in rows]
            columns[feature.name] = pa.array(cells, types[feature.dtype])
        publish_table(
            self.home,
            definition.definition,
            [pa.table(columns)] if rows else [],
            definition=described(source),
            input_hash=secrets.token_hex(32),
            lineage={},
            now=self.now,
        )
        self.twin.publish(source, rows)

    def push(self) -> None:
        self.push_row(self.source(), self.purpose(), (self.somebody(), self.around(130), self.value()))

    def push_newest(self, subject: str, source: str, purpose: str) -> None:
        """A value that is newer than what is published."""
        self.push_row(source, purpose, (subject, self.instant, self.value()))

    def push_row(self, source: str, purpose: str, row: tuple[str, datetime, float]) -> None:
        store = self.stores[purpose]
        features = store.get_feature_view(f"{source}_v1").features
        cells = {f.name: [row[2] if f.name == FEATURES[source] else None] for f in features}
        frame = pd.DataFrame({"subject_key": [row[0]], "event_timestamp": [row[1]], **cells})
        store.push(f"{source}_v1_push", frame)
        self.twin.push(source, row, self.instant)

    def materialise(self, source: str | None = None) -> None:
        source = source or self.source()
        purpose = self.purpose()
        start, end = sorted([self.around(150), self.dice.choice([self.instant, self.around(20)])])
        with quiet():
            self.stores[purpose].materialize(start, end, feature_views=[f"{source}_v1"])
        self.twin.materialise(source, purpose, start, end, self.instant, only_newer=False)

    def increment(self, source: str | None = None, purpose: str | None = None) -> None:
        source, purpose = source or self.source(), purpose or self.purpose()
        end = self.instant
        with quiet():
            self.stores[purpose].materialize_incremental(end, feature_views=[f"{source}_v1"])
        start = end - self.twin.ttl[source]
        self.twin.materialise(source, purpose, start, end, end, only_newer=True)

    def tidy(self) -> None:
        setup.remove_unusable(self.home)
        self.twin.tidy(self.instant)

    def erase(self) -> None:
        """Everything about somebody, or one source; a hold is in the way of it, and the request stands."""
        key = self.somebody()
        source = self.dice.choice([ANY, *SOURCES])
        blank = source == ANY and self.dice.random() < 0.5
        with contextlib.suppress(IllegalTransition):
            for outcome in erase(self.home, [Wanted(key, source, blank=blank)], clock=self.clock):
                if outcome.certificate is not None:
                    self.erased(outcome.subject_key, str(outcome.document["source"]))
        self.heard(self.home.ledger.history(key))

    def erased(self, key: str, source: str) -> None:
        self.counts["erasures"] += 1
        self.twin.erase(key, source)
        if source in (ANY, "spending"):
            self.records = [record for record in self.records if record[0] != key]
        if source == ANY:
            self.people[self.people.index(key)] = self.newcomer()
            self.gone = [key, *self.gone][:REMEMBERED]

    # ------------------------------------------------------------------ real jobs

    def publish_without_somebody(self) -> None:
        """Somebody whose records are in the vault takes everything back; nothing is published of them."""
        leaves = self.somebody()
        self.record(self.event(Kind.WITHDRAWN, "spending", ANY, self.now, subject=leaves))
        self.publish_for_real()

    def publish_for_real(self) -> None:
        """Records of everybody straight into the vault, past the gate; the publish job has to ask."""
        order = len(read_batches(self.home, "spending"))
        rows = [
            self.transaction(key, number)
            for number, key in enumerate(key for key in self.people for _ in range(2))
        ]
        fields = [pa.field("subject_key", pa.string()), pa.field("row_number", pa.int64())]
        table = pa.Table.from_pylist(rows, schema=pa.schema([*sources.SOURCES["spending"].schema, *fields]))
        name = f"{secrets.token_hex(12)}-0000"
        file = stage_store(self.home, "vault", "spending", name, table)
        assert file is not None
        taken = pack_rows(pa.array(range(len(rows))).to_numpy())
        batch = Batch(name, "spending", order, name, taken, {"vault": file}, self.now)
        commit_batch(self.home, batch)
        self.records += [
            (r["subject_key"], r["occurred_at"], order, r["row_number"], float(r["balance_after"]))
            for r in rows
        ]
        self.run_publish()

    def transaction(self, key: str, number: int) -> dict[str, Any]:
        return {
            "subject_key": key,
            "row_number": number,
            "transaction_id": secrets.token_hex(8),
            "occurred_at": self.around(20),
            "amount": Decimal("12.50"),
            "currency": "CNY",
            "direction": "debit",
            "kind": "purchase",
            "category": "groceries",
            "balance_after": Decimal(str(self.value())),
        }

    def run_publish(self) -> None:
        """Every published balance is the last that may be loaded now, of those known by that day."""
        asked_at = self.instant
        publish(self.home, ["spending"], clock=self.clock)
        table = read_table(self.home, read_current(self.home, "spending_v1"), columns=["balance_last"])
        rows = [(r["subject_key"], r["event_timestamp"], r["balance_last"]) for r in table.to_pylist()]
        usable = [r for r in self.records if self.twin.may_be_loaded(r[0], "spending", asked_at, r[1])]
        for key, at, value in rows:
            known = [r for r in usable if r[0] == key and r[1] < at]
            newest = max(known, key=lambda r: r[1:4], default=None)
            assert newest, "a row was published of what may not be used"
            assert value == newest[4], "a published value rests on what may not be used"
            self.counts["published"] += 1
        self.twin.publish("spending", rows)

    def ingest_for_real(self) -> None:
        """A file about everybody, also about some who are gone; the ingestion job has to ask."""
        people = [key for key in self.asked_about() for _ in range(2)]
        rows = [self.transaction(key, number) for number, key in enumerate(people)]
        path = self.home.root.with_name(f"{secrets.token_hex(4)}.jsonl")
        told = [{**row, "subject_id": self.numbers[row["subject_key"]]} for row in rows]
        pd.DataFrame(told).drop(columns=["subject_key", "row_number"]).astype(str).to_json(
            path, orient="records", lines=True
        )
        asked_at, order = self.instant, len(read_batches(self.home, "spending"))
        (report,) = ingest(self.home, "spending", [path], clock=self.clock).files
        usable = [
            r
            for r in rows
            if r["subject_key"] in self.people
            and self.twin.may_be_loaded(r["subject_key"], "spending", asked_at, r["occurred_at"])
        ]
        assert (report.read, report.loaded) == (len(rows), len(usable)), "another number of rows was loaded"
        self.records += [
            (r["subject_key"], r["occurred_at"], order, r["row_number"], float(r["balance_after"]))
            for r in usable
        ]
        self.run_publish()


@functools.cache
def described(source: str) -> dict[str, Any]:
    """What real publish jobs fix for ever; a data version by hand has to say the same."""
    return describe(sources.SOURCES[source])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Feast prints what it materialises."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
