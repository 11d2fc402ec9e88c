"""The pages under docs/ are true."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

from consent.exchange.statements import FIELDS, SAYABLE, parse_record
from consent.knowledge import Verdict
from consent.nouns import Reason
from ingestion.catalogue import catalogue
from ingestion.sources import SOURCES

DOCS = Path(__file__).parents[1] / "docs"


def test_the_catalogue_is_written_from_the_definitions() -> None:
    """docs/sources.md is what `make docs` writes, and names every column and feature."""
    assert (DOCS / "sources.md").read_text(encoding="utf-8") == catalogue(), "run make docs"
    for source in SOURCES.values():
        names = [c.name for c in source.columns] + [f.name for f in source.features]
        assert all(f"| `{name}` |" in catalogue() for name in names)


def test_every_example_of_a_consent_file_can_be_read() -> None:
    """The statements shown in docs/consent-files.md parse, one of each kind."""
    text = (DOCS / "consent-files.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\{.*\}$", text, re.M)
    kinds = [parse_record(json.loads(line), now=datetime(2026, 7, 1, tzinfo=UTC)).kind for line in lines]
    assert set(kinds) == set(SAYABLE)


def test_every_field_of_a_consent_file_is_explained() -> None:
    """docs/consent-files.md explains each field that exists, and no other."""
    text = (DOCS / "consent-files.md").read_text(encoding="utf-8")
    first_cells = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", text, re.M)
    assert sorted(re.findall(r"`([a-z_]+)`", " ".join(first_cells))) == sorted(FIELDS)


def test_every_reason_is_explained() -> None:
    """docs/reasons.md has each reason code and each verdict, and no other."""
    text = (DOCS / "reasons.md").read_text(encoding="utf-8")
    assert sorted(set(re.findall(r"`([A-Z_]+)`", text))) == sorted([*Reason, *Verdict])
