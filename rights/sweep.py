"""The sweep: carries out erasures that are due, and destroys what may not be kept any longer; to be run every night.

1. Erasures that were asked for or interrupted, and that no hold is in the way of (`rights.erase`).
2. Records that are due (`rights.retention`). Who has none left loses the data key; who keeps some gets a new key, and
   the records that stay are sealed under it. Files are written anew without what is due, and without records whose
   key an erasure has destroyed; then the old keys go with their epoch, so that backups are shut as well.
3. Feature rows that are due, in every data version, and online values that nobody may use.
4. Consent records of people who were erased so long ago that their evidence is no longer needed: blanked.

Killed at any point, the next sweep ends it. A hold that is placed while a sweep is at work may come too late for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from consent.clock import format_instant, now_utc
from consent.evidence.certificate import SWEEP, sign_certificate
from consent.files import exclusive, write_atomically
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Kind
from consent.rotation import rotate_epoch
from consent.sealing import digest
from ingestion.asked import asked_days, count_asked, keep_asked_days
from ingestion.holdings import sources_of, tables_of
from ingestion.manifest import read_manifest, write_manifest
from ingestion.sources import SOURCES
from ingestion.tables import discard_unnamed, read_versions, remove_rows, stale_keys
from ingestion.vault import STORES, Batch, Store, discard_uncommitted, read_batch, read_batches
from rights.erase import Outcome, Progress, due, erase, remove_leftovers
from rights.retention import Retention
from rights.rewrite import Renewal, rewrite_store

_USE = "sweep"
_JOURNAL = "sweep.journal"


@dataclass
class Plan:
    """Whose records of a source go, all or some of them, and how many rows; noted before anything is touched."""

    whole: list[str] = field(default_factory=list)
    partial: list[str] = field(default_factory=list)
    rows: int = 0


@dataclass(frozen=True)
class Swept:
    """What a sweep did, or would do.

    Attributes:
        erasures: those that were due.
        records: source -> people and rows whose records were destroyed.
        feature_rows: taken out of tables.
        online: values removed.
        blanked: people whose consent records were blanked.
        shut: records that nobody could open any more, removed.
        certificate: the signed statement of it; None where there was nothing to do.
    """

    erasures: list[Outcome]
    records: dict[str, dict[str, int]]
    feature_rows: int
    online: int
    blanked: int
    shut: int
    certificate: Path | None

    def report(self) -> dict[str, Any]:
        """JSON-able; counts only."""
        return {
            "erasures": [str(o.certificate) for o in self.erasures],
            "records": self.records,
            "feature_rows": self.feature_rows,
            "online_values": self.online,
            "consent_records_blanked": self.blanked,
            "shut_records_removed": self.shut,
            "certificate": None if self.certificate is None else str(self.certificate),
        }


def sweep(
    home: Home,
    *,
    dry_run: bool = False,
    clock: Callable[[], datetime] = now_utc,
    on_progress: Progress = lambda *_: None,
) -> Swept:
    """Do what is due; with `dry_run` only count it.

    Raises:
        Conflict: another job is running.
        Unavailable: a store or the key service cannot be used; the next sweep goes on from there.
    """
    erasures = [] if dry_run else erase(home, due(home), clock=clock, on_progress=on_progress)
    with exclusive(home.path("job.lock"), "an ingestion, publish or erasure job"):
        on_progress("looking for what is due", 0, 4)
        rules = {name: Retention.of(home, name) for name in sources_of(home, ANY)}
        plans = _plan(home, rules)
        records = {
            name: {"people": len(plan.whole), "people_in_part": len(plan.partial), "rows": plan.rows}
            for name, plan in plans.items()
        }
        if dry_run:
            return Swept([], records, 0, 0, len(_forgotten(home, clock())), 0, None)
        swept = _carry_out(home, rules, plans, records, clock, on_progress)
    return Swept(erasures, records, *swept)


# ------------------------------------------------------------------------------------------- planning


def _plan(home: Home, rules: dict[str, Retention]) -> dict[str, Plan]:
    """Whose records go, by source, with those of a sweep that was interrupted, which has removed some already."""
    begun = _read_journal(home)
    plans = {}
    for name, rule in rules.items():
        discard_uncommitted(home, name)
        goes, stays, rows = _count(home, name, rule)
        before = begun.get(name, Plan())
        whole = (goes - stays) | (set(before.whole) - stays)
        partial = (goes & stays) | (set(before.partial) - whole)
        plans[name] = Plan(sorted(whole), sorted(partial), max(rows, before.rows))
    return plans


def _count(home: Home, source: str, rule: Retention) -> tuple[set[str], set[str], int]:
    """Who has rows that are due, who has others, and how many are due."""
    goes: set[str] = set()
    stays: set[str] = set()
    number = 0
    for store, batch in _stored(home, source):
        for rows in read_batch(home, store, batch):
            gone = due_rows(home, rule, store, batch, rows)
            goes.update(rows["subject_key"].filter(gone).unique().to_pylist())
            stays.update(rows["subject_key"].filter(pc.invert(gone)).unique().to_pylist())
            number += int(pc.sum(gone, min_count=0).as_py())
    return goes, stays, number


def _stored(home: Home, source: str) -> Iterator[tuple[Store, Batch]]:
    for batch in read_batches(home, source):
        for store in STORES:
            if store in batch.stores:
                yield store, batch


def due_rows(home: Home, rule: Retention, store: Store, batch: Batch, rows: pa.Table) -> pa.ChunkedArray:
    """Which rows of a batch are due; those in quarantine also when they have been there long enough."""
    kept_until = batch.committed_at + timedelta(days=home.settings.storage.quarantine_days)
    if store == "quarantine" and kept_until <= rule.now:
        return pc.is_valid(rows["subject_key"])
    return rule.due(rows["subject_key"], rows[SOURCES[batch.source].event_time], batch.committed_at)


# ------------------------------------------------------------------------------------------- destroying


def _carry_out(
    home: Home,
    rules: dict[str, Retention],
    plans: dict[str, Plan],
    records: dict[str, dict[str, int]],
    clock: Callable[[], datetime],
    on_progress: Progress,
) -> tuple[int, int, int, int, Path | None]:
    on_progress("sealing what stays", 1, 4)
    _write_journal(home, plans)
    shut = sum(_rewrite(home, name, rules[name], plan) for name, plan in plans.items())
    on_progress("taking feature rows out", 2, 4)
    feature_rows = sum(_sweep_tables(home, name, rules[name], plan.whole) for name, plan in plans.items())
    online = _sweep_online(home)
    on_progress("destroying keys", 3, 4)
    epochs = _destroy_keys(home, plans)
    forgotten = _forgotten(home, clock())
    for subject_key in forgotten:
        _blank(home, subject_key)
    home.ledger.forget()
    remove_leftovers(home)
    done = any(plan.whole or plan.partial for plan in plans.values()) or feature_rows or forgotten or shut
    counts = {
        "records": records,
        "feature_rows": feature_rows,
        "online_values": online,
        "consent_records_blanked": len(forgotten),
        "shut_records_removed": shut,
    }
    certificate = _certify(home, counts, epochs, clock()) if done else None
    home.path("erasures", _JOURNAL).unlink(missing_ok=True)
    on_progress("done", 4, 4)
    return feature_rows, online, len(forgotten), shut, certificate


def _rewrite(home: Home, source: str, rule: Retention, plan: Plan) -> int:
    """Write files anew without what is due. Returns how many records nobody could open any more."""
    renewed = _renew(home, source, plan.partial)
    whole, shut = frozenset(plan.whole), 0
    for batch in read_batches(home, source):
        for store in STORES:
            batch, removed = rewrite_store(
                home, batch, store, Renewal(whole, renewed, _stays(home, rule, store, batch))
            )
            shut += removed
    for table in tables_of(home, source):
        _rewrite_asked(home, source, table, plan)
    return shut


def _stays(home: Home, rule: Retention, store: Store, batch: Batch) -> Callable[[pa.Table], pa.ChunkedArray]:
    return lambda rows: pc.invert(due_rows(home, rule, store, batch, rows))


def _renew(home: Home, source: str, subjects: list[str]) -> dict[str, int]:
    """A new key for each; one that an interrupted sweep has made already is used. Returns the newest versions."""
    renewed = set(home.data_keys.owners(source, at_least=2))
    home.data_keys.renew(source, [s for s in subjects if s not in renewed])
    return {s: key.version for s, key in home.data_keys.find(source, subjects).items()}


def _rewrite_asked(home: Home, source: str, table: str, plan: Plan) -> None:
    """Days asked for, without people who have no records left or were erased; the others' under their newest keys."""
    days = asked_days(home, source, table)
    kept = days.filter(pc.invert(pc.is_in(days["subject_key"], value_set=pa.array(plan.whole, pa.string()))))
    people = set(kept["subject_key"].to_pylist())
    if len(people) < count_asked(home, table) or people & set(plan.partial):
        keep_asked_days(home, source, table, kept)


def _sweep_tables(home: Home, source: str, rule: Retention, whole: list[str]) -> int:
    people, rows = pa.array(whole, pa.string()), 0
    for table in tables_of(home, source):
        for version in read_versions(home, table):

            def gone(found: pa.Table, published_at: datetime = version.published_at) -> pa.ChunkedArray:
                old = rule.due(found["subject_key"], found["event_timestamp"], published_at, derived=True)
                return pc.or_(old, pc.is_in(found["subject_key"], value_set=people))

            rows += remove_rows(home, version, gone, among=None).rows
        discard_unnamed(home, table)
    return rows


def _sweep_online(home: Home) -> int:
    from feature_repo.stores import setup  # Feast takes seconds to load

    return setup.remove_unusable(home) if setup.has_online(home) else 0


def _destroy_keys(home: Home, plans: dict[str, Plan]) -> dict[str, Any]:
    """Shut what was left out, here and in every backup, if anything was. Returns the epochs destroyed."""
    destroy = {name: plan.whole for name, plan in plans.items() if plan.whole}
    outdated = {name: owners for name in plans if (owners := home.data_keys.owners(name, at_least=2))}
    stale = {use: keys for t in tables_of(home, ANY) for use, keys in stale_keys(home, t).items() if keys}
    if not (destroy or outdated or stale or len(home.epochs.numbers()) > 1):
        return {}
    rotated = rotate_epoch(home, destroy=destroy | stale, outdated=outdated)
    return {
        str(gone.epoch): {"service": gone.service, "effective_at": format_instant(gone.effective_at)}
        for gone in rotated.destroyed
    }


# ------------------------------------------------------------------------------------------- evidence


def _forgotten(home: Home, now: datetime) -> list[str]:
    """People erased so long ago that their consent records are no longer needed as evidence."""
    limit = timedelta(days=home.settings.storage.evidence_days)
    found = []
    for subject_key in home.ledger.subjects_with(Kind.ERASED):
        history = home.ledger.history(subject_key)
        erased = [r for r in history if r.event.kind is Kind.ERASED and r.event.source == ANY]
        over = bool(erased) and erased[0].recorded_at + limit <= now
        if over and len(erased) < len(history) and not any(r.event.blanks for r in erased):
            found.append(subject_key)
    return found


def _blank(home: Home, subject_key: str) -> None:
    now = home.ledger.now()
    event_id = digest(b"assent-evidence-ends/1", subject_key.encode())[:32]
    known = home.ledger.find_event(event_id)
    at = known.event.effective_at if known else now
    basis = "the consent records are no longer needed as evidence"
    event = Event(event_id, Kind.ERASED, subject_key, ANY, ANY, at, basis=basis, indicated_by="controller")
    home.ledger.erase(event, blank=True)


def _certify(home: Home, counts: dict[str, Any], epochs: dict[str, Any], now: datetime) -> Path:
    document = {
        "sweep_id": new_event_id(),
        "summary": "a sweep of what may not be kept any longer",
        "swept_at": format_instant(now),
        "epochs_destroyed": epochs,
        **counts,
    }
    path = home.path("certificates", f"sweep-{document['sweep_id']}.certificate")
    signer = home.keyring.log_signer(home.settings.origin)
    write_atomically(path, sign_certificate(SWEEP, document, signer))
    return path


def _write_journal(home: Home, plans: dict[str, Plan]) -> None:
    document = {name: asdict(plan) for name, plan in plans.items()}
    write_manifest(home.path("erasures", _JOURNAL), document, home.keyring.secret(_USE))


def _read_journal(home: Home) -> dict[str, Plan]:
    path = home.path("erasures", _JOURNAL)
    if not path.exists():
        return {}
    return {name: Plan(**plan) for name, plan in read_manifest(path, home.keyring.secret(_USE)).items()}
