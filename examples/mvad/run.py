"""Monthly employment states of 712 young people through Assent. Run it with ``make example-mvad``."""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

from examples.reenact import Example, main

INTRODUCTION = (
    "Real employment histories: 712 young people in Northern Ireland, July 1993 to June 1999, month by month."
)


def people(path: Path) -> Iterator[str]:
    """The customer numbers, as the mapping writes them."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        for row in csv.DictReader(file):
            yield f"mvad-{row['id']}"


EXAMPLE = Example(
    folder="mvad",
    file="monthly_states.csv.gz",
    source="employment",
    mapping=Path(__file__).with_name("employment.toml"),
    origin="It is the mvad data set of McVicar and Anyadike-Danes (2002), as the R package TraMineR has it.",
    people=people,
    currency="GBP",
)

if __name__ == "__main__":
    sys.exit(main(EXAMPLE, INTRODUCTION))
