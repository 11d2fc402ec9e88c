"""Which training sets and models used this person: a thousand receipts of a hundred thousand people each.

python benchmarks/bench_receipts.py [--receipts 1000] [--people 100000]

The first list is written as a fetch writes it, of so many people with keys of their own. The others hold random
tokens, as the lists of other people look to whoever asks, and in every tenth the one person who is asked about. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from consent.clock import now_utc
from consent.home import Home
from feature_repo.stores import members
from feature_repo.stores.models import models_with, register_model
from feature_repo.stores.receipts import Receipt, receipts_with, write_receipt

TOKEN_BYTES = 16
ROUNDS = 5
BAR_SECONDS = 1.0


def make(home: Home, receipts: int, people: int) -> tuple[str, int]:
    """The receipts. Returns the person who is asked about, and in how many training sets they are."""
    keys = [os.urandom(TOKEN_BYTES).hex() for _ in range(people)]
    asked = keys[people // 2]
    begun = time.perf_counter()
    first = members.write_members(home, keys)
    print(
        f"one list of {people:,} people written as a fetch does: {time.perf_counter() - begun:.2f} s",
        flush=True,
    )
    draft = Receipt(
        "",
        now_utc(),
        "local:bench",
        "model_training",
        False,
        ("spending_v1:spend_7d",),
        (),
        0,
        None,
        people,
        "0" * 64,
        people,
        first,
        (),
    )
    written = [write_receipt(home, draft)]
    for number in range(1, receipts):
        chosen = [asked] if number % 10 == 0 else []
        name = _list(home, people, chosen)
        written.append(write_receipt(home, replace(draft, members_hash=name, entity_rows=people + number)))
        if number % 200 == 0:
            print(f"{number:,} receipts", flush=True)
    register_model(home, "the-model", [r.receipt_id for r in written[:50]], now=now_utc())
    return asked, 1 + (receipts - 1) // 10


def _list(home: Home, people: int, chosen: list[str]) -> str:
    """A list with the tokens of the chosen, and random ones."""
    salt = os.urandom(TOKEN_BYTES)
    keys = home.data_keys.find(members.USE, chosen)
    tokens = [members._token(keys[subject].key, salt) for subject in chosen]
    random = os.urandom((people - len(tokens)) * TOKEN_BYTES)
    tokens += [random[i : i + TOKEN_BYTES] for i in range(0, len(random), TOKEN_BYTES)]
    content = salt + b"".join(sorted(tokens))
    name = hashlib.sha256(content).hexdigest()
    home.path("receipts", f"{name}.members").write_bytes(content)
    return name


def ask(place: Path, asked: str) -> tuple[float, int, int]:
    """Seconds from an opened home to the answer, how many training sets, how many models."""
    home = Home.open(place)
    begun = time.perf_counter()
    found = receipts_with(home, [asked])[asked]
    models = models_with(home, [receipt.receipt_id for receipt in found])
    return time.perf_counter() - begun, len(found), len(models)


def main() -> None:
    """Make the receipts, ask, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--receipts", type=int, default=1_000)
    parser.add_argument("--people", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assent-bench-", dir=Path.cwd()) as name:
        place = Path(name) / "home"
        asked, expected = make(Home.create(place), options.receipts, options.people)
        answers = [ask(place, asked) for _ in range(ROUNDS)]
    assert {answer[1:] for answer in answers} == {(expected, 1)}
    seconds = statistics.median(answer[0] for answer in answers)
    print(
        f"{expected} of {options.receipts:,} training sets and 1 model in {seconds:.3f} s (bar {BAR_SECONDS:g} s)"
    )
    found: dict[str, Any] = {"seconds": round(seconds, 3), "worst": round(max(a[0] for a in answers), 3)}
    print(json.dumps({**found, "receipts": options.receipts, "people": options.people}))


if __name__ == "__main__":
    main()
