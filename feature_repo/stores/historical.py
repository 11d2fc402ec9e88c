"""One execution of a historical fetch: read the ledger, find each row's value, decide, mask, leave a receipt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from consent.errors import ConfigError, EvidenceError
from consent.home import Home
from consent.timeline import Timeline
from feature_repo.stores.config import ConsentStoreConfig
from feature_repo.stores.entity_rows import EntityRows
from feature_repo.stores.members import write_members
from feature_repo.stores.point_in_time import reasons_for, rows_as_of
from feature_repo.stores.receipts import Receipt, TableUsed, ViewOutcome, write_receipt
from feature_repo.stores.source import EVENT_TIMESTAMP, SUBJECT_KEY, require_consent_view
from ingestion.tables import read_current, read_table


@dataclass(frozen=True)
class ViewPlan:
    """What is wanted of one feature view.

    Attributes:
        entity: column of the entity rows that holds the subject key.
        columns: output column -> table column.
    """

    name: str
    source: str
    table: str
    entity: str
    columns: dict[str, str]
    ttl: timedelta | None


@dataclass(frozen=True)
class _Answer:
    """One view's features for the entity rows, and what became of them."""

    features: pa.Table
    outcome: ViewOutcome
    used: TableUsed
    subjects: set[str]


def plan_view(view: Any, feature_refs: list[str], *, full: bool) -> ViewPlan:
    """What of a view the references ask for.

    Raises:
        Gap, Denied: the view is not one that consent can be decided on.
    """
    source = require_consent_view(view)
    name = view.projection.name_to_use()
    mapped = {feature: column for column, feature in source.field_mapping.items()}
    refs = (ref.rpartition(":") for ref in feature_refs)
    wanted = dict.fromkeys(feature for view_name, _, feature in refs if view_name == name)
    return ViewPlan(
        name=name,
        source=source.source,
        table=source.table,
        entity=view.projection.join_key_map.get(SUBJECT_KEY, SUBJECT_KEY),
        columns={f"{name}__{f}" if full else f: mapped.get(f, f) for f in wanted},
        ttl=view.ttl,
    )


def require_new_names(entities: EntityRows, views: list[ViewPlan]) -> None:
    """Raise unless every column of the result has a name of its own.

    Raises:
        ConfigError: it has not.
    """
    names = [*entities.table.column_names, *(name for view in views for name in view.columns)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ConfigError(
            f"two columns of the result would be called {', '.join(repeated)}",
            remedy="Use full_feature_names=True, or rename the column of the entity rows.",
        )


def fetch(
    store: ConsentStoreConfig, views: list[ViewPlan], entities: EntityRows, feature_refs: tuple[str, ...]
) -> tuple[pa.Table, Receipt]:
    """The entity rows with their features, decided now, and the receipt, which is on disk by then.

    Raises:
        Unavailable: the ledger, a table or the receipt's place cannot be used; then there are no values.
        EvidenceError: the ledger or a table was changed.
    """
    home = store.open_home()
    timeline, checkpoint = _read_ledger(home)
    # The clock after the ledger: a withdrawal on record is then never in the future.
    now = home.ledger.now()
    answers = [_answer(home, store.purpose, view, entities, timeline, now) for view in views]
    table = entities.table
    for answer in answers:
        for name, column in zip(answer.features.column_names, answer.features.columns, strict=True):
            table = table.append_column(name, column)
    subjects = set().union(*(answer.subjects for answer in answers))
    members_hash = write_members(home, subjects)
    draft = Receipt(
        receipt_id="",
        created_at=now,
        purpose=store.purpose,
        features=feature_refs,
        tables=tuple(sorted({answer.used for answer in answers}, key=lambda used: used.table)),
        ledger_size=timeline.ledger_size,
        checkpoint=checkpoint,
        entity_rows=table.num_rows,
        subjects=len(subjects),
        members_hash=members_hash,
        views=tuple(answer.outcome for answer in answers),
    )
    return table, write_receipt(home, draft)


def _read_ledger(home: Home) -> tuple[Timeline, str | None]:
    """What consent says, and a signed checkpoint over at least that."""
    timeline, note = home.gate.timeline(), home.ledger.checkpoint()
    signed = home.ledger.require_checkpoint(note) if note else 0
    if signed < timeline.ledger_size:
        raise EvidenceError(
            f"the log signed {signed} entries but holds {timeline.ledger_size}",
            remedy="Run `assent log audit`.",
        )
    return timeline, note.decode() if note else None


def _answer(
    home: Home, purpose: str, view: ViewPlan, entities: EntityRows, timeline: Timeline, now: datetime
) -> _Answer:
    keys = entities.subject_keys[view.entity]
    version = read_current(home, view.table)
    rows = read_table(
        home,
        version,
        columns=list(dict.fromkeys(view.columns.values())),
        subjects=pc.unique(keys.drop_null()).to_pylist(),
    )
    positions = rows_as_of(keys, entities.at, rows[SUBJECT_KEY], rows[EVENT_TIMESTAMP], ttl=view.ttl)
    value_at = rows[EVENT_TIMESTAMP].take(positions)
    reasons = reasons_for(timeline, view.source, purpose, keys, entities.at, value_at, now=now)
    allowed = pc.if_else(pc.is_null(reasons), positions, pa.scalar(None, pa.int64()))
    given = pc.is_valid(allowed)
    return _Answer(
        features=pa.table({name: rows[column].take(allowed) for name, column in view.columns.items()}),
        outcome=_count(view, reasons, given),
        used=TableUsed(view.table, version.number, version.definition_hash),
        subjects=set(keys.filter(given).to_pylist()),
    )


def _count(view: ViewPlan, reasons: pa.ChunkedArray, given: pa.ChunkedArray) -> ViewOutcome:
    counted = pc.value_counts(reasons.drop_null()).to_pylist()
    masked = {str(entry["values"]): int(entry["counts"]) for entry in counted}
    number = int(pc.sum(given, min_count=0).as_py())
    return ViewOutcome(
        view=view.name,
        source=view.source,
        given=number,
        no_data=len(reasons) - number - sum(masked.values()),
        masked=masked,
    )
