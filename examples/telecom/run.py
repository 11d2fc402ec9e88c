"""Prepaid top-ups, a source of its own package, through the whole line. Run it with ``make example-telecom``.

The rows are generated: nobody real is in them.
"""

from __future__ import annotations

import csv
import json
import os
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from consent.catalog import SOURCES as CATALOG
from consent.clock import now_utc
from consent.errors import AssentError, ConfigError
from consent.exchange.records import import_records
from consent.exchange.statements import record_statements
from consent.home import Home
from console.show import exit_code, say, say_error
from examples.reenact import Say, consents

SOURCE, SERVICE, PURPOSE = "telecom_topups", "telecom_training_v1", "model_training"
PEOPLE, DAYS = 40, 120


def rows(dice: random.Random, person: str, until: datetime) -> list[dict[str, Any]]:
    """The top-ups of one generated person; every tenth one is lent by the operator."""
    every = dice.randint(2, 12)
    return [
        {
            "subject_id": person,
            "topup_id": f"{person}-{day}",
            "occurred_at": (until - timedelta(days=day, hours=dice.randint(1, 20))).isoformat(),
            "amount": f"{dice.choice((5, 10, 20))}.00",
            "currency": "INR",
            "channel": dice.choice((*("app", "agent", "voucher") * 3, "airtime_credit")),
            "balance_before": f"{dice.random():.2f}",
        }
        for day in range(2, DAYS, every)
    ]


def write_files(directory: Path, until: datetime) -> tuple[list[str], Path, Path]:
    """The people, their consents, and their top-ups; the first row of all is not fit for use."""
    dice = random.Random(7)
    people = [f"T-{number:03d}" for number in range(PEOPLE)]
    topups = [row for person in people for row in rows(dice, person, until)]
    topups[0]["amount"] = "-5.00"
    files = directory / "consents.jsonl", directory / "topups.csv"
    answers = consents(SOURCE, people, people[: PEOPLE * 3 // 4])
    files[0].write_text("".join(json.dumps(a) + "\n" for a in answers), encoding="utf-8")
    with files[1].open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(topups[0]))
        writer.writeheader()
        writer.writerows(topups)
    return people, *files


def run(directory: Path, tell: Say) -> dict[str, Any]:
    """Consents in, rows in, features out, a withdrawal, and the same fetch again.

    Raises:
        ConfigError: the package of the source is not installed.
    """
    if SOURCE not in CATALOG:
        raise ConfigError(
            f"the source {SOURCE} is not installed", remedy="Run `make example-telecom`, which installs it."
        )
    from ingestion.publish import publish
    from ingestion.run import ingest

    os.environ.pop("ASSENT_KEYS", None)
    now = now_utc().astimezone(UTC)
    home = Home.create(directory / "home", currency="INR")
    people, statements, topups = write_files(directory, now)
    import_records(home, statements, actor="telecom example")
    (file,) = ingest(home, SOURCE, [topups]).files
    refused = sum(file.refused.values())
    tell(f"{file.read} rows = {file.loaded} loaded + {refused} refused + {file.quarantined} quarantined")
    (published,) = publish(home)
    tell(
        f"Published {published.version.table}: {published.version.rows} rows of {published.version.subjects} people."
    )
    before = _fetch(home, people, now)
    withdrawn = {"event": "withdrawn", "source": SOURCE, "purpose": "*", "subject_id": people[0]}
    record_statements(home, [withdrawn], actor="telecom example", channel="app")
    after = _fetch(home, people, now)
    tell(f"Given to {before['given']} of {len(people)} people; after one withdrawal to {after['given']}.")
    return {"ingested": file, "home": home, "people": people, "before": before, "after": after}


def _fetch(home: Home, people: list[str], now: datetime) -> dict[str, Any]:
    """A training set of everybody now, through plain Feast."""
    from feast import FeatureService

    from feature_repo.stores import setup

    if not list(home.path("feast").glob("*/feature_store.yaml")):
        setup.write_configurations(home)
    setup.apply(home)
    store = setup.open_store(home, PURPOSE)
    view = store.get_feature_view(f"{SOURCE}_v1")
    store.apply(FeatureService(name=SERVICE, features=[view], tags={"purpose": PURPOSE}))
    keys = home.directory.find(people)
    entities = pa.table(
        {"subject_key": keys, "event_timestamp": pa.array([now] * len(keys), pa.timestamp("us", "UTC"))}
    )
    frame, receipt = setup.training_set(home, entities, SERVICE)
    (about,) = receipt.views
    return {"frame": frame, "given": about.given, "masked": dict(about.masked)}


def main() -> int:
    """Run it; errors are shown, never raised."""
    try:
        with tempfile.TemporaryDirectory(prefix="assent-telecom-") as directory:
            run(Path(directory), say)
    except AssentError as error:
        say_error(error, as_json=False)
        return exit_code(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
