"""A withdrawal is effective at the very next call: in a job already built, and from another process."""

from __future__ import annotations

import subprocess
import sys

from feast.data_source import PushMode

from tests.feature_repo.lender import Lender, values

PURPOSE = "credit_scoring"

WITHDRAW = """
import sys
from pathlib import Path
from consent.clock import now_utc
from consent.home import Home
from consent.ledger import new_event_id
from consent.nouns import Event, Kind
home = Home.open(Path(sys.argv[1]))
home.ledger.append([Event(new_event_id(), Kind.WITHDRAWN, sys.argv[2], "*", "*", now_utc())])
"""


def test_a_withdrawal_between_the_job_and_its_execution_counts(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    job = lender.stores[PURPOSE].get_historical_features(
        entity_df=lender.entities((key, 0)), features=["spending_v1:spend_7d"]
    )
    assert job.receipt is None
    assert values(job.to_df(), "spend_7d") == [5.0]
    first = job.receipt
    lender.withdraw(key)
    assert values(job.to_df(), "spend_7d") == [None]
    assert job.to_arrow()["spend_7d"].to_pylist() == [None]
    assert job.receipt.ledger_size == first.ledger_size + 1
    assert job.receipt.views[0].masked == {"WITHDRAWN": 1}


def test_new_data_between_the_job_and_its_execution_counts_too(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    version = lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    job = lender.stores[PURPOSE].get_historical_features(
        entity_df=lender.entities((key, 0)), features=["spending_v1:spend_7d"]
    )
    lender.publish("spending", [(key, -8, {"spend_7d": 6.0})])
    assert values(job.to_df(), "spend_7d") == [6.0]
    assert [used.version for used in job.receipt.tables] == [version.number + 1]


def test_a_withdrawal_in_another_process_counts_here(lender: Lender) -> None:
    key = lender.agrees(PURPOSE)
    row = {
        f: [1.0] for f in (f.name for f in lender.stores[PURPOSE].get_feature_view("spending_v1").features)
    }
    lender.publish("spending", [(key, -9, {"spend_7d": 5.0})])
    store = lender.stores[PURPOSE]
    frame = lender.entities((key, -9)).assign(**row)
    store.push("spending_v1_push", frame, to=PushMode.ONLINE)
    request = {"features": ["spending_v1:spend_7d"], "entity_rows": [{"subject_key": key}]}
    job = store.get_historical_features(entity_df=lender.entities((key, 0)), features=request["features"])
    assert values(job.to_df(), "spend_7d") == [5.0]
    assert store.get_online_features(**request).to_dict()["spend_7d"] == [1.0]

    subprocess.run([sys.executable, "-c", WITHDRAW, str(lender.home.root), key], check=True)
    assert values(job.to_df(), "spend_7d") == [None]
    assert store.get_online_features(**request).to_dict()["spend_7d"] == [None]
