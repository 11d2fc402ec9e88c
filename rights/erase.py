"""Erasure: everything a home holds of a person, or of one source, made unreadable in every copy, and a certificate.

In this order, each step repeatable, so that a job that was killed ends where it would have ended:

1. the request is recorded: from then on nothing about the person can be used;
2. what there is is surveyed and noted in a journal, with what will become of it;
3. online values are deleted, feature rows taken out of every data version;
4. the person's data keys are left out, all others sealed under a new epoch, the old epoch's key destroyed: what is
   sealed, here and in any backup, stays shut;
5. the directory's row gives way to a tombstone;
6. it is verified that nothing is left;
7. the ledger records the erasure and the hash of what was done, and blanks consent records where that was asked;
8. the certificate is signed.

A hold stops an erasure before anything is destroyed, and never anything but an erasure. One that is placed after an
interrupted erasure has begun to destroy comes too late for the data; the erasure is recorded when it is released.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from consent.accesses import AccessKind
from consent.callers import current_caller
from consent.clock import format_instant, now_utc, parse_instant
from consent.decide import requests
from consent.errors import EvidenceError
from consent.evidence.certificate import ERASURE, sign_certificate
from consent.files import exclusive, remove_partials, write_atomically
from consent.home import Home
from consent.knowledge import holds_on, pending_erasures
from consent.ledger import new_event_id
from consent.nouns import ANY, Event, Kind, Recorded, Statement
from consent.sealing import digest
from ingestion.holdings import remove_from_tables, sources_of, survey, tables_of
from ingestion.manifest import canonical_json
from ingestion.tables import stale_keys
from rights.inventory import Inventory, take_inventory
from rights.journal import Journal, Planned, end_erasures, read_journals, write_journal

#: Called with (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]
#: Longest that a key service waits before a key is gone for good, where its own answer was lost.
_LONGEST_WAIT = timedelta(days=30)
#: Keys of an erasure's epoch, by use: whose are left out.
Uses = dict[str, list[str]]


@dataclass(frozen=True)
class Wanted:
    """An erasure that somebody asks for.

    Attributes:
        source: one, or ``*`` for the whole person.
        basis: the ground, for the certificate and the ledger. No person's name.
        blank: whether the consent records go as well; else they are kept under the pseudonym, as evidence.
    """

    subject_key: str
    source: str = ANY
    basis: str = "request of the person"
    blank: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of it.

    Attributes:
        certificate: its file; None where a hold is in the way.
        document: what the certificate says.
        held_by: names of the holds in the way.
    """

    subject_key: str
    certificate: Path | None
    document: dict[str, Any]
    held_by: tuple[str, ...] = ()


def erase(
    home: Home,
    wanted: Sequence[Wanted],
    *,
    clock: Callable[[], datetime] = now_utc,
    on_progress: Progress = lambda *_: None,
) -> list[Outcome]:
    """Erase people, or one source of theirs. Erasures that were interrupted are ended first.

    Returns:
        One outcome per erasure, those that were interrupted before those that are wanted.

    Raises:
        IllegalTransition: somebody is erased already.
        Conflict: an ingestion, publish or erasure job is running.
        Unavailable: a store or the key service cannot be used; run it again.
    """
    with exclusive(home.path("job.lock"), "an ingestion, publish or erasure job"):
        begun = read_journals(home)
        ended = [o for journal in begun for o in _carry_out(home, journal, clock, on_progress)]
        todo = _distinct(wanted, {(o.subject_key, o.document["source"]) for o in ended})
        if todo:
            about = {"erasures": str(len(todo))}
            home.accesses.record(AccessKind.ERASED, caller=current_caller(), about=about)
        asked = {w: _request(home, w, clock()) for w in todo}
        held = [_restricted(home, w) for w in todo if _holds(home, w.subject_key, w.source)]
        free = [w for w in todo if not _holds(home, w.subject_key, w.source)]
        if not free:
            return ended + held
        on_progress("looking at what there is", 0, _STEPS)
        journal = _plan(home, free, asked, clock())
        return ended + held + _carry_out(home, journal, clock, on_progress)


def _distinct(wanted: Sequence[Wanted], done: set[tuple[str, str]]) -> list[Wanted]:
    """Each once, without those that are done or that another of them goes beyond."""
    whole = {w.subject_key for w in wanted if w.source == ANY}
    once: dict[tuple[str, str], Wanted] = {}
    for w in wanted:
        beyond = {(w.subject_key, w.source), (w.subject_key, ANY)} & done
        if not beyond and (w.source == ANY or w.subject_key not in whole):
            once.setdefault((w.subject_key, w.source), w)
    return list(once.values())


def due(home: Home) -> list[Wanted]:
    """Erasures that were asked for, are not done, and no hold is in the way of."""
    people = home.ledger.subjects_with(Kind.ERASURE_REQUESTED)
    return [Wanted(key, source) for key in people for source in pending_erasures(home.ledger.facts(key))]


# ------------------------------------------------------------------------------------------- asking


def _request(home: Home, wanted: Wanted, now: datetime) -> Statement:
    """The request on record that this erasure answers; recorded now, if nobody has asked."""
    pending = _pending(home, wanted)
    if pending is None:
        event = Event(
            new_event_id(),
            Kind.ERASURE_REQUESTED,
            wanted.subject_key,
            wanted.source,
            ANY,
            now,
            basis=wanted.basis,
        )
        home.ledger.append([event])
        pending = _pending(home, wanted)
    if pending is None:
        raise EvidenceError("the request for erasure is not on record", remedy="Run `assent log audit`.")
    return pending


def _pending(home: Home, wanted: Wanted) -> Statement | None:
    said = home.ledger.facts(wanted.subject_key).statements
    return next((r for r in requests(said) if r.source in (wanted.source, ANY)), None)


def _holds(home: Home, subject_key: str, source: str) -> list[str]:
    return holds_on(home.ledger.facts(subject_key), source)


def _restricted(home: Home, wanted: Wanted) -> Outcome:
    """Nothing was done, for a hold; or all but recording it, where the hold came too late."""
    held_by = tuple(_holds(home, wanted.subject_key, wanted.source))
    late = any(wanted.subject_key in j.of(wanted.source) for j in read_journals(home))
    summary = (
        "the hold came when the data was destroyed already; the erasure is recorded when it is released"
        if late
        else "nothing is erased while a hold is in force; nothing is used either"
    )
    items = [{"store": "everything", "outcome": "RESTRICTED", "holds": list(held_by)}]
    document = {"source": wanted.source, "summary": summary, "items": items}
    return Outcome(wanted.subject_key, None, document, held_by)


# ------------------------------------------------------------------------------------------- planning


def _plan(home: Home, wanted: Sequence[Wanted], asked: Mapping[Wanted, Statement], now: datetime) -> Journal:
    """Note what there is and what becomes of it, before any of it is touched."""
    found = take_inventory(home, [(w.subject_key, w.source) for w in wanted])
    planned = [_planned(home, w, asked[w], found[w.subject_key, w.source], now) for w in wanted]
    journal = Journal(planned[0].erasure_id, planned, home.epochs.current + 1)
    write_journal(home, journal)
    return journal


def _planned(home: Home, wanted: Wanted, request: Statement, found: Inventory, now: datetime) -> Planned:
    history = home.ledger.history(wanted.subject_key)
    recorded = next(r for r in history if r.leaf_index == request.leaf_index)
    said = recorded.event.basis
    return Planned(
        erasure_id=_erasure_id(wanted, recorded, history),
        subject_key=wanted.subject_key,
        source=wanted.source,
        basis=said if said and wanted.basis == Wanted.basis else wanted.basis,
        blank=wanted.blank,
        request=request.leaf_index,
        requested_at=format_instant(recorded.recorded_at),
        items=_items(home, wanted, found, now),
        receipts=found.receipts,
        models=found.models,
    )


def _erasure_id(wanted: Wanted, request: Recorded, history: Sequence[Recorded]) -> str:
    """Of this answer to the request: one for everything may be answered source by source, and any of them again."""
    about = (ANY, wanted.source)
    before = sum(r.event.kind is Kind.ERASED and r.event.source in about for r in history)
    parts = (request.event.event_id, wanted.source, str(before))
    return digest(b"assent-erasure/1", *(part.encode() for part in parts))[:32]


_SEALED = "its key is destroyed; the sealed bytes stay shut until a sweep removes them"
_TAKEN_OUT = "taken out of every data version; the files that held them were written anew"
_DELETED = "deleted; sealed under the same key besides"


def _items(home: Home, wanted: Wanted, found: Inventory, now: datetime) -> list[dict[str, Any]]:
    """What the certificate says of each store."""
    items: list[dict[str, Any]] = []
    for store, how in (("vault", _SEALED), ("quarantine", _SEALED), ("tables", _TAKEN_OUT)):
        for source in sorted({h.source for h in found.holdings if h.store == store}):
            here = [h for h in found.holdings if (h.store, h.source) == (store, source)]
            items.append(_erased(store, how, source=source, places=len(here), rows=sum(h.rows for h in here)))
    items += [_erased("online", _DELETED, values=found.online)] if found.online else []
    items += [_erased("days asked for", _SEALED, rows=found.asked)] if found.asked else []
    items.append(_erased("data keys", "left out; all others sealed under a new epoch", keys=found.keys))
    return items + (_of_whole_person(home, wanted, found, now) if wanted.source == ANY else [])


def _of_whole_person(home: Home, wanted: Wanted, found: Inventory, now: datetime) -> list[dict[str, Any]]:
    gone = "the key by which the person was found in them is destroyed"
    items = [
        _erased("lists of training sets", gone, lists=len(found.receipts)),
        _erased("directory", "the customer number leads nowhere any more", rows=1),
        {
            "store": "tombstone",
            "outcome": "RETAINED",
            "rows": 1,
            "basis": "so that a late file cannot bring the person back; a keyed hash of the customer number alone",
            "until": "as long as the home is kept",
        },
    ]
    if wanted.blank:
        return [*items, _erased("consent records", "blanked; every proof stays valid", entries=found.entries)]
    kept = {
        "store": "consent records",
        "outcome": "RETAINED",
        "entries": found.entries,
        "basis": "proof of what was agreed to and withdrawn (GDPR Art. 7(1), 17(3)(e)); under the pseudonym alone",
        "until": format_instant(now + timedelta(days=home.settings.storage.evidence_days)),
    }
    return [*items, kept]


def _erased(store: str, how: str, **counts: Any) -> dict[str, Any]:
    return {"store": store, "outcome": "ERASED", "how": how, **counts}


# ------------------------------------------------------------------------------------------- destroying

_STEPS = 6


def _carry_out(
    home: Home, journal: Journal, clock: Callable[[], datetime], on_progress: Progress
) -> list[Outcome]:
    """All steps from the third on."""
    if not journal.began_at and not _begin(home, journal, clock()):
        return []
    if not journal.erased_at:
        _destroy(home, journal, clock, on_progress)
    on_progress("recording it", 4, _STEPS)
    free = [planned for planned in journal.erasures if not _holds(home, planned.subject_key, planned.source)]
    outcomes = [_certify(home, journal, planned) for planned in free]
    home.ledger.forget()
    remove_leftovers(home)
    end_erasures(home, journal, free)
    on_progress("done", _STEPS, _STEPS)
    return outcomes


def _begin(home: Home, journal: Journal, now: datetime) -> bool:
    """Note that it is begun, without those that a hold has come in the way of; whether there are others.

    Their request stays on record: they are planned anew when the hold is released.
    """
    held = [planned for planned in journal.erasures if _holds(home, planned.subject_key, planned.source)]
    journal.began_at = format_instant(now)
    end_erasures(home, journal, held)
    return bool(journal.erasures)


def _destroy(home: Home, journal: Journal, clock: Callable[[], datetime], on_progress: Progress) -> None:
    on_progress("deleting online values and feature rows", 1, _STEPS)
    for source in journal.sources():
        _take_out(home, source, journal.of(source))
    on_progress("sealing the other keys anew", 2, _STEPS)
    _destroy_keys(home, journal, clock)
    on_progress("making sure that nothing is left", 3, _STEPS)
    _bury(home, journal, clock())
    _require_gone(home, journal)
    journal.erased_at = format_instant(home.ledger.now())
    write_journal(home, journal)


def _take_out(home: Home, source: str, subjects: Sequence[str]) -> None:
    from feature_repo.stores import setup  # Feast takes seconds to load

    setup.remove_online(home, subjects, source=source)
    remove_from_tables(home, source, subjects)


def _destroy_keys(home: Home, journal: Journal, clock: Callable[[], datetime]) -> None:
    """Leave the keys out, seal the others under the journal's epoch, destroy every epoch before it."""
    uses = _uses(home, journal)
    if not _left_out(home, journal.epoch, uses):
        _require_fresh_epoch(home, journal)
        home.data_keys.rotate(journal.epoch, destroy=uses)
    home.data_keys.forget()
    older = [n for n in home.epochs.numbers() if n < journal.epoch]
    for old in sorted({*_unfinished(journal), *older}):
        _destroy_epoch(home, journal, old, clock)


def _uses(home: Home, journal: Journal) -> Uses:
    """Whose keys are left out, for what."""
    uses: Uses = {}
    people = [use for use in home.data_keys.uses() if not use.startswith("table/")]
    for source in journal.sources():
        for use in people if source == ANY else [source]:
            uses.setdefault(use, []).extend(journal.of(source))
    for table in tables_of(home, ANY):
        uses |= stale_keys(home, table)
    return uses


def _left_out(home: Home, epoch: int, uses: Uses) -> bool:
    """Whether an interrupted erasure has got past leaving the keys out."""
    if home.epochs.current < epoch or any(in_use < epoch for in_use in home.data_keys.epochs_in_use()):
        return False
    return not any(home.data_keys.count(use, owners) for use, owners in uses.items())


def _require_fresh_epoch(home: Home, journal: Journal) -> None:
    """Take another epoch, where keys were sealed under the planned one since: it has to be one that never saw them.

    A backup made in between would open for as long as the epoch lives.
    """
    if home.epochs.current > journal.epoch or journal.epoch in home.data_keys.epochs_in_use():
        journal.epoch = home.epochs.current + 1
        write_journal(home, journal)


def _unfinished(journal: Journal) -> set[int]:
    """Epochs that it was begun to destroy, with no end noted."""
    return {int(e) for e, about in journal.epochs_destroyed.items() if "effective_at" not in about}


def _destroy_epoch(home: Home, journal: Journal, epoch: int, clock: Callable[[], datetime]) -> None:
    """Before and after it is noted, so that the certificate tells when, whatever happens in between."""
    name = str(epoch)
    if name not in journal.epochs_destroyed:
        began = {"service": home.epochs.service_of(epoch), "began_at": format_instant(clock())}
        journal.epochs_destroyed[name] = began
        write_journal(home, journal)
    about = journal.epochs_destroyed[name]
    if epoch in home.epochs.numbers():
        effective_at = home.epochs.destroy(epoch).effective_at
    else:  # destroyed, and killed before that was noted
        wait = timedelta(0) if about["service"] == "local" else _LONGEST_WAIT
        effective_at = parse_instant(about["began_at"]) + wait
    about["effective_at"] = format_instant(effective_at)
    write_journal(home, journal)


def _bury(home: Home, journal: Journal, now: datetime) -> None:
    for planned in journal.erasures:
        if planned.source == ANY:
            home.directory.erase(planned.subject_key, now, planned.erasure_id)
    home.directory.forget()


def _require_gone(home: Home, journal: Journal) -> None:
    """Look again, as a reader would.

    Raises:
        EvidenceError: something is left.
    """
    from feature_repo.stores import setup

    for source in journal.sources():
        subjects = journal.of(source)
        left = [h for found in survey(home, source, subjects).values() for h in found]
        uses = home.data_keys.uses() if source == ANY else sources_of(home, source)
        keys = sum(home.data_keys.count(use, subjects) for use in uses)
        online = sum(setup.count_online(home, subjects, source=source).values())
        named = source == ANY and home.directory.holds(subjects)
        if left or keys or online or named:
            raise EvidenceError(
                "something is left of what was erased; the erasure is not certified",
                remedy="Run it again; if it stays so, report it.",
            )


# ------------------------------------------------------------------------------------------- certifying


def _certify(home: Home, journal: Journal, planned: Planned) -> Outcome:
    """Record the erasure in the ledger, and sign what was done."""
    done = _done(home, journal, planned)
    entry = home.ledger.erase(
        Event(
            planned.erasure_id,
            Kind.ERASED,
            planned.subject_key,
            planned.source,
            ANY,
            parse_instant(journal.erased_at),
            basis=planned.basis,
            indicated_by="controller",
            evidence_hash=hashlib.sha256(canonical_json(done)).hexdigest(),
        ),
        blank=planned.blank,
    )
    document = done | {
        "ledger": {
            "request": planned.request,
            "erasure": entry.leaf_index,
            "tree_size": entry.leaf_index + 1,
        },
        "done_sha256": entry.event.evidence_hash,
    }
    path = home.path("certificates", f"{planned.erasure_id}.certificate")
    signer = home.keyring.log_signer(home.settings.origin)
    write_atomically(path, sign_certificate(ERASURE, document, signer))
    return Outcome(planned.subject_key, path, document)


def _done(home: Home, journal: Journal, planned: Planned) -> dict[str, Any]:
    """What was done, from the journal alone: the same however often the job was interrupted."""
    whole = planned.source == ANY
    return {
        "erasure_id": planned.erasure_id,
        "summary": f"the erasure of {'everything about' if whole else f'{planned.source} data of'} one person",
        "subject_key": planned.subject_key,
        "source": planned.source,
        "basis": planned.basis,
        "requested_at": planned.requested_at,
        "erased_at": journal.erased_at,
        "items": planned.items + _in_backups(home, journal, whole=whole),
        "epochs_destroyed": journal.epochs_destroyed,
        "epoch": journal.epoch,
        "training_sets": {
            "receipts": planned.receipts,
            "models": planned.models,
            "outside": "Training sets that were handed out, and models, lie outside this system; their holders are to"
            " remove the person's rows and to leave them out of the next training.",
        },
    }


def _in_backups(home: Home, journal: Journal, *, whole: bool) -> list[dict[str, Any]]:
    sealed = "sealed data, features, online values and lists in backups of the home"
    erased_at = parse_instant(journal.erased_at)
    final = max(parse_instant(about["effective_at"]) for about in journal.epochs_destroyed.values())
    gone_now = final <= erased_at
    items: list[dict[str, Any]] = [
        {
            "store": sealed,
            "outcome": "ERASED" if gone_now else "PENDING_BACKUP",
            "how": "no copy of the key table made before opens without the destroyed epoch key",
            **({} if gone_now else {"deadline": format_instant(final)}),
        }
    ]
    if whole:
        left = "the directory's row (a keyed hash) and consent records (under the pseudonym) in backups of the home"
        deadline = format_instant(erased_at + timedelta(days=home.settings.storage.backup_days))
        items.append({"store": left, "outcome": "PENDING_BACKUP", "deadline": deadline})
    return items


def remove_leftovers(home: Home) -> None:
    """What interrupted jobs left in places where nobody looks."""
    for name in ("vault", "quarantine", "tables", "runs", "receipts", "erasures", "certificates"):
        remove_partials(home.path(name))
