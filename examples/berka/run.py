"""The Berka bank data through Assent: consent, ingest, publish, train, withdraw, train again.

Run it with ``make example-berka``. Exit codes are those of ``assent``: 6 where the data is absent.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from consent.audit import require_evidence
from consent.clock import now_utc
from consent.decide import decide
from consent.errors import AssentError, EvidenceError
from consent.exchange.records import import_records
from consent.exchange.statements import record_statements
from consent.home import Home
from consent.nouns import ANY
from console.show import exit_code, say, say_error, say_json, say_unforeseen
from examples.berka.model import FOLDS, REPEATS, Auc, out_of_fold_auc
from examples.berka.prepare import (
    CURRENCY,
    MAPPING,
    SOURCE,
    WITHDRAWING,
    Lender,
    chosen,
    find_data,
    read_rows,
    write_lender,
)
from examples.reenact import Say, ingest_mapped, listed, reconciliation
from ingestion.sources import SOURCES

CHECKOUT = Path(__file__).resolve().parents[2]
ACTOR = "berka example"
PURPOSE = "model_training"
SERVICE = "berka_training_v1"
INTRODUCTION = """\
Real transactions and loans of a Czech bank, 1993-1998. The consents are a re-enactment on historical data:
nobody was ever asked; a documented share of the clients stands for those who agree.
"""
FEATURES = [feature.name for feature in SOURCES[SOURCE].features]


@dataclass(frozen=True)
class Round:
    """What one fetch gave, and how well a model trained on it ranks.

    Attributes:
        clients: people of whom the consent for model training is in force.
        loans: rows asked for and returned.
        used: loans whose features were handed out.
        masked: reason -> loans whose features are null for it.
        masked_for_co_holder: those of them that the owner agreed to and somebody else did not.
        without_data: loans with consent, but without features.
        defaults: defaulted loans among those used.
        features: features that differ between the loans used.
        receipt: names the file that records the fetch.
    """

    clients: int
    loans: int
    used: int
    masked: dict[str, int]
    masked_for_co_holder: int
    without_data: int
    defaults: int
    features: int
    receipt: str
    auc: Auc


@dataclass(frozen=True)
class Outcome:
    """The whole run. ``report`` is JSON-able; the frames are what the two fetches returned."""

    report: dict[str, Any]
    lender: Lender
    first: pd.DataFrame
    second: pd.DataFrame


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the example; errors are shown, never raised."""
    parser = argparse.ArgumentParser(prog="examples/berka/run.py", description=__doc__.split("\n")[0])
    parser.add_argument("--home", type=Path, help="keep the Assent home here; default: a temporary one")
    parser.add_argument("--json", action="store_true", help="answer with one JSON object")
    options = parser.parse_args(arguments)
    try:
        data = find_data(CHECKOUT)
        with tempfile.TemporaryDirectory(prefix="assent-berka-") as directory:
            outcome = run(
                data,
                options.home or Path(directory) / "home",
                files=Path(directory),
                tell=(lambda _: None) if options.json else say,
            )
    except AssentError as error:
        say_error(error, as_json=options.json)
        return exit_code(error)
    except Exception as error:  # a library's message could quote a cell, so it is not shown
        say_unforeseen(error)
        return 1
    if options.json:
        say_json(outcome.report)
    return 0


def run(data: Path, root: Path, *, files: Path, tell: Say) -> Outcome:
    """Everything, in order.

    Args:
        data: the bank's files.
        root: where to make the home; its keys are beside it.
        files: a private directory for the lender's files, which hold raw client numbers.
        tell: takes the transcript, piece by piece.
    """
    os.environ.pop("ASSENT_KEYS", None)  # would point Feast to the keys of another home
    home = Home.create(root, currency=CURRENCY)
    lender = write_lender(data, files)
    _tell_people(lender, tell)
    report: dict[str, Any] = {"joint_loans": len(lender.joint_loans)}
    report["imported"] = _import_consents(home, lender, tell)
    report["ingested"] = _ingest(home, lender, tell)
    entities = _publish(home, lender, tell)
    _register_service(home)
    first, before = _fetch_and_train(home, lender, entities)
    tell(f"\nA point-in-time training set of {before.loans} loans; a model trained on {before.used} of them.")
    withdrawn = withdraw(home, lender)
    tell(
        f"{withdrawn} of {before.clients} clients withdraw. The same fetch again, without publishing anew.\n"
    )
    second, after = _fetch_and_train(home, lender, entities)
    tell("\n".join(comparison(before, after)))
    report["clients"] = {"asked": len(lender.clients), "agreed": len(lender.agreeing), "withdrew": withdrawn}
    report |= {"with_all_consents": asdict(before), "after_withdrawals": asdict(after)}
    report["audit"] = _audit(home, tell)
    return Outcome(report, lender, first, second)


def _tell_people(lender: Lender, tell: Say) -> None:
    asked, agreed = len(lender.clients), len(lender.agreeing)
    tell(INTRODUCTION)
    tell(
        f"{len(lender.holders)} loans; {len(lender.joint_loans)} of them on accounts with two data subjects, who"
        f" both have to agree.\n{asked} clients: {agreed} agree, {asked - agreed} refuse."
    )


def _import_consents(home: Home, lender: Lender, tell: Say) -> dict[str, Any]:
    report = import_records(home, lender.consents, actor=ACTOR)
    rejected = Counter(line.reason for line in report.rejected)
    tell(
        f"{report.read:,} consent records, {report.recorded:,} recorded as imported; rejected: {listed(rejected)}"
    )
    return {"read": report.read, "recorded": report.recorded, "rejected_by_reason": dict(rejected)}


def _ingest(home: Home, lender: Lender, tell: Say) -> dict[str, Any]:
    counts = ingest_mapped(home, SOURCE, lender.spending, MAPPING)
    tell("\n" + reconciliation(counts))
    counts["amounts"] = _amounts(home, lender)
    tell(
        "  amounts: {loaded:,} crowns loaded + {quarantined:,} quarantined, as in the bank's files".format(
            **counts["amounts"]
        )
    )
    return counts


def _amounts(home: Home, lender: Lender) -> dict[str, int]:
    """Whole crowns in the vault and in quarantine, against those in the bank's files of people who may be used.

    Raises:
        EvidenceError: they differ.
    """
    from ingestion.vault import STORES, read_store

    held = {
        store: sum(
            int(a or 0) for rows in read_store(home, store, SOURCE) for a in rows["amount"].to_pylist()
        )
        for store in STORES
    }
    yes, expected = set(lender.agreeing), 0
    accounts = {a for a, holders in lender.accounts.items() if yes.issuperset(holders)}
    for path in lender.spending:
        expected += sum(int(row["amount"]) for row in read_rows(path, ",") if row["account_id"] in accounts)
    if sum(held.values()) != expected:
        raise EvidenceError("the amounts of the ingestion do not add up", remedy="Please report it.")
    return {"loaded": held["vault"], "quarantined": held["quarantine"]}


def _publish(home: Home, lender: Lender, tell: Say) -> pa.Table:
    """Publish features as of each loan's date; returns the loans as an entity frame."""
    from ingestion.entities import read_entities
    from ingestion.publish import publish

    entities = read_entities(home, lender.loans)
    for published in publish(home, [SOURCE], entities=entities.select(["subject_key", "event_timestamp"])):
        version = published.version
        tell(
            f"Published {version.table} version {version.number}:"
            f" {version.rows:,} rows of {version.subjects} people."
        )
    return entities


def _register_service(home: Home) -> None:
    """The model's own feature service, as a modeler would define it in plain Feast."""
    from feast import FeatureService

    from feature_repo.stores import setup

    setup.apply(home)
    store = setup.open_store(home, PURPOSE)
    view = store.get_feature_view(SOURCES[SOURCE].definition)
    store.apply(FeatureService(name=SERVICE, features=[view], tags={"purpose": PURPOSE}))


def _fetch_and_train(home: Home, lender: Lender, entities: pa.Table) -> tuple[pd.DataFrame, Round]:
    from feature_repo.stores import setup

    frame, receipt = setup.training_set(home, entities, SERVICE)
    (view,) = receipt.views
    used = frame[frame[FEATURES].notna().any(axis=1)]
    if (len(frame), len(used)) != (entities.num_rows, view.given):
        raise EvidenceError("the training set is not what its receipt says", remedy="Please report it.")
    own, co_holder = _standing(home, lender)
    return frame, Round(
        clients=own,
        loans=len(frame),
        used=len(used),
        masked=dict(sorted(view.masked.items())),
        masked_for_co_holder=co_holder,
        without_data=view.no_data,
        defaults=int(used["defaulted"].sum()),
        features=int((used[FEATURES].nunique() > 1).sum()),
        receipt=receipt.receipt_id,
        auc=out_of_fold_auc(used[FEATURES].to_numpy(np.float64), used["defaulted"].to_numpy()),
    )


def _standing(home: Home, lender: Lender) -> tuple[int, int]:
    """Clients whose own consent is in force, and loans that only a co-holder's lack of it masks."""
    now, own, masked_for_co_holder = now_utc(), 0, 0
    owners = {holders[0] for holders in lender.holders.values()}
    for person, key in zip(lender.clients, home.directory.find(lender.clients), strict=True):
        assert key is not None
        decision = decide(home.ledger.facts(key), SOURCE, PURPOSE, data_at=None, as_of=now)
        for_co_holder = not decision.allowed and decision.party == "co_subject"
        own += decision.allowed or for_co_holder
        masked_for_co_holder += for_co_holder and person in owners
    return own, masked_for_co_holder


def withdraw(home: Home, lender: Lender) -> int:
    """A third of those who agreed take it back, now and for every purpose. Returns how many."""
    people = chosen(lender.agreeing, WITHDRAWING, "withdrawal")
    withdrawal = {"event": "withdrawn", "source": SOURCE, "purpose": ANY}
    statements = [withdrawal | {"subject_id": person} for person in people]
    record_statements(home, statements, actor=ACTOR, channel="re-enactment")
    return len(people)


def _masked_for(reason: str, part: Round) -> int:
    return part.masked.get(reason, 0)


def comparison(before: Round, after: Round) -> list[str]:
    """The two rounds side by side, a line per figure."""
    reasons = sorted({*before.masked, *after.masked})
    lines: list[tuple[str, Callable[[Round], Any]]] = [
        ("clients whose consent is in force", lambda r: r.clients),
        ("loans, all of them rows of the training set", lambda r: r.loans),
        ("loans masked for lack of consent", lambda r: sum(r.masked.values())),
        *((f"  {name}", partial(_masked_for, name)) for name in reasons),
        ("  of these, for a co-holder's lack alone", lambda r: r.masked_for_co_holder),
        ("loans with consent but without data", lambda r: r.without_data),
        ("loans the model is trained on", lambda r: r.used),
        ("defaults among them", lambda r: r.defaults),
        (f"ROC AUC, out of fold, {REPEATS} x {FOLDS} folds", lambda r: f"{r.auc.mean:.3f} ± {r.auc.sd:.3f}"),
        ("  95 % interval for so few loans", lambda r: f"{r.auc.low:.2f} to {r.auc.high:.2f}"),
    ]
    header = f"{'':<46}{'with all consents':>20}{'after withdrawals':>20}"
    return [header, *(f"{label:<46}{of(before):>20}{of(after):>20}" for label, of in lines)]


def _audit(home: Home, tell: Say) -> dict[str, int]:
    report = home.ledger.audit()
    require_evidence(report)
    tell(f"\nAudit passed: {report.entries} ledger entries, {report.checkpoints} signed checkpoints.")
    return {"entries": report.entries, "checkpoints": report.checkpoints}


if __name__ == "__main__":
    sys.exit(main())
