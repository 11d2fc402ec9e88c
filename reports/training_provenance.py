"""Each training set: what went into it, which models came of it, and how many of its people are over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from consent.decide import decide
from consent.evidence.certificate import ERASURE
from consent.nouns import ANY, Facts, Reason
from consent.tallies import people_not_given
from feature_repo.stores.members import lists_with
from feature_repo.stores.models import read_models
from feature_repo.stores.receipts import Receipt, read_receipts
from reports.query import Definition, Scope
from reports.register import allowed_at_fetch, read_certificates
from reports.table import CellType, Column, Row, count, instant, text

#: People whose keys are in memory at a time.
_AT_A_TIME = 20_000
_SUSPENDED = frozenset({Reason.PAUSED, Reason.RESTRICTED, Reason.NOT_YET})


def rows(scope: Scope) -> Iterator[Row]:
    """One row per receipt, the newest first."""
    models = read_models(scope.home)
    receipts = [r for r in reversed(read_receipts(scope.home)) if _is_wanted(scope, r)]
    erased, over = (_erased(scope) if receipts else {}), _Over(scope)
    for number, receipt in enumerate(receipts):
        scope.on_progress("looking through training sets", number, len(receipts))
        gone = erased.get(receipt.receipt_id, {})
        since = _since(scope, receipt, over.of(receipt) - gone.keys())
        named = ", ".join(model.name for model in models if receipt.receipt_id in model.receipts)
        yield _row(receipt, named, since + Counter(gone.values()))


def _is_wanted(scope: Scope, receipt: Receipt) -> bool:
    sources = {view.source for view in receipt.views}
    return (
        scope.covers(receipt.created_at)
        and receipt.purpose in scope.purposes
        and not sources.isdisjoint(scope.sources)
    )


def _row(receipt: Receipt, models: str, since: Counter[str]) -> Row:
    over = since["ended"] + since["invalidated"] + since["erased"]
    return (
        receipt.receipt_id,
        receipt.created_at,
        receipt.purpose,
        models or None,
        ", ".join(sorted({view.source for view in receipt.views})),
        len(receipt.features),
        ", ".join(f"{used.table}/{used.version}" for used in receipt.tables),
        receipt.ledger_size,
        receipt.entity_rows,
        sum(sum(view.masked.values()) for view in receipt.views),
        receipt.subjects,
        since["ended"],
        since["invalidated"],
        since["erased"],
        since["suspended"],
        None if not receipt.subjects else over / receipt.subjects,
        receipt.caller,
        receipt.reproduces,
    )


def _erased(scope: Scope) -> dict[str, dict[str, str]]:
    """Receipt -> subject key -> ``erased``, of whom everything or a source of it was erased."""
    found: dict[str, dict[str, str]] = {}
    for _, kind, document in read_certificates(scope.home):
        if kind == ERASURE and document["source"] in (ANY, *scope.sources):
            for receipt_id in document["training_sets"]["receipts"]:
                found.setdefault(receipt_id, {})[document["subject_key"]] = "erased"
    return found


class _Over:
    """Whose consent cannot be used any more: a few, not all people of a training set. Asked once for each pair."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._keys: dict[tuple[str, str], set[str]] = {}

    def of(self, receipt: Receipt) -> set[str]:
        """Of the sources of a training set, for its purpose."""
        keys: set[str] = set()
        for source in {view.source for view in receipt.views} & set(self._scope.sources):
            pair = source, receipt.purpose
            if pair not in self._keys:
                people = people_not_given(self._scope.timeline, *pair, as_of=self._scope.now)
                self._keys[pair] = set(people["subject_key"].to_pylist())
            keys |= self._keys[pair]
        return keys


def _since(scope: Scope, receipt: Receipt, people: set[str]) -> Counter[str]:
    """How many of these who are in a training set stand where today; each once."""
    counted: Counter[str] = Counter()
    ordered = sorted(people)
    for low in range(0, len(ordered), _AT_A_TIME):
        named = lists_with(scope.home, ordered[low : low + _AT_A_TIME], [receipt.members_hash])
        for key in (key for key, lists in named.items() if lists):
            if state := _state(scope, receipt, scope.home.ledger.facts(key)):
                counted[state] += 1
    return counted


def _state(scope: Scope, receipt: Receipt, facts: Facts) -> str | None:
    """The gravest change since the fetch, over the sources that could be used then."""
    changed = {
        _kind(today)
        for source in {view.source for view in receipt.views} & set(scope.sources)
        if allowed_at_fetch(facts, receipt, source)
        and (today := decide(facts, source, receipt.purpose, data_at=None, as_of=scope.now).reason)
    }
    return next((kind for kind in ("erased", "invalidated", "ended", "suspended") if kind in changed), None)


def _kind(reason: Reason) -> str:
    if reason in _SUSPENDED:
        return "suspended"
    named = {Reason.ERASED: "erased", Reason.INVALIDATED: "invalidated"}
    return named.get(reason, "ended")


REPORT = Definition(
    "training-provenance",
    "Training provenance",
    "Every training fetch that left a receipt, the newest first (clock: when consent was decided), with the models"
    " registered on it, and how many of its people may not be used for its purpose any more: of the sources whose"
    " consent was in force at the fetch, on the entries it knew, at least one cannot be used at the moment of this"
    " report. Each person is counted once, in the gravest state: erased, invalidated, ended, suspended.",
    (
        text("receipt", "The receipt's id: SHA-256 of its file."),
        instant("at", "When consent was decided."),
        text("purpose", "For what."),
        text("models", "Models registered on it, `assent model register`."),
        text("sources", "Which data."),
        count("features", "features", "Features asked for."),
        text("data_versions", "The published tables and their data versions."),
        count("ledger_size", "entries", "Entries on record when consent was decided."),
        count("entity_rows", "rows", "Rows asked for."),
        count("masked", "values", "Rows by view whose features were withheld for want of consent."),
        count("people", "people", "Of whom at least one value was handed out."),
        count("ended_since", "people", "Withdrawn, revoked, superseded, expired or refused since."),
        count("invalidated_since", "people", "The consent was never valid: the use has to be undone."),
        count("erased_since", "people", "Erased since: in full, or a source that was used."),
        count("suspended_since", "people", "Paused, held, or due to be erased at this moment."),
        Column("over_share", CellType.SHARE, "Ended, invalidated and erased, of people."),
        text("caller", "Who asked."),
        text("reproduces", "The receipt whose values this fetch gave again, less what was taken away since."),
    ),
    rows,
    takes=frozenset({"source", "purpose", "since", "until"}),
    notes=(
        "Which features of a person were null is not kept: a person counts for each source of the training set that"
        " could be used at the fetch, whether or not there was a row of it.",
        "A model that was not registered is not known here.",
    ),
)
