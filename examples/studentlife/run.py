"""App use on three students' phones through Assent. Run it with ``make example-studentlife``."""

from __future__ import annotations

import csv
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path

from examples.reenact import Example, main

INTRODUCTION = (
    "Real app usage: polls of the running tasks on three phones of the StudentLife study, spring 2013."
)


def people(path: Path) -> Iterator[str]:
    """The customer numbers, as the mapping writes them."""
    with gzip.open(path, "rt", encoding="ascii") as file:
        for row in csv.DictReader(file):
            yield f"studentlife-{row['userId']}"


EXAMPLE = Example(
    folder="studentlife",
    file="app_usage.csv.gz",
    source="app_usage",
    mapping=Path(__file__).with_name("app_usage.toml"),
    origin="It is from the StudentLife study of Dartmouth College (2014).",
    people=people,
    currency="USD",
)

if __name__ == "__main__":
    sys.exit(main(EXAMPLE, INTRODUCTION))
