"""Nothing unfit is published, drift is in the lineage, and none of it asks a network."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.clock import now_utc
from consent.errors import DataQuality
from consent.home import Home
from console.cli import run
from ingestion import publish as publishing
from ingestion.feature_checks import rule_of
from ingestion.publish import publish
from ingestion.run import ingest
from ingestion.sources import SOURCES, definitions
from ingestion.tables import read_versions
from tests.ingestion.conftest import transaction, write_csv

PEOPLE = 25


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every attempt to reach anybody is noted, and fails."""
    asked: list[Any] = []

    def refuse(*args: Any, **_: Any) -> Any:
        asked.append(args)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


def load(home: Home, consent: Callable[..., str], tmp_path: Path, amount: str, day: int) -> None:
    rows = [
        transaction(f"P{i}", day * 100 + n, amount=amount, occurred_at=f"2026-03-{day:02}T10:00:00Z")
        for i in range(PEOPLE)
        for n in range(2)
    ]
    ingest(home, "spending", [write_csv(tmp_path / f"{day}.csv", rows)])


def test_drift_is_in_the_lineage_and_on_screen(
    home: Home,
    consent: Callable[..., str],
    tmp_path: Path,
    no_network: list[Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From the second version on; in counts of people by bin; as a table, as JSON and as a picture."""
    for i in range(PEOPLE):
        consent(f"P{i}")
    load(home, consent, tmp_path, "10.00", 1)
    publish(home, as_of=now_utc())
    here = ["--home", str(home.root)]
    assert run(["drift", "spending_v1", *here]) == 0
    assert "nothing to compare" in capsys.readouterr().out
    load(home, consent, tmp_path, "900.00", 2)
    publish(home, as_of=now_utc())
    found = {d["feature"]: d for d in read_versions(home, "spending_v1")[-1].lineage["drift"]}
    assert set(found) == {f.name for f in SOURCES["spending"].features}
    assert found["balance_last"]["nulls_now"] == 1
    assert found["days_since_last_txn"]["psi"] > 0.25
    assert run(["drift", "spending_v1", "--picture", str(tmp_path / "d.svg"), *here]) == 0
    assert "great" in capsys.readouterr().out
    assert (tmp_path / "d.svg").read_text().startswith("<svg")
    assert run(["drift", "spending_v1", "--json", *here]) == 0
    assert len(json.loads(capsys.readouterr().out)["drift"]) == len(found)
    for wrong in (["contacts_v1"], ["spending_v1", "--version", "9"], ["spending_v1", "--picture", "d.pdf"]):
        assert run(["drift", *wrong, *here]) == 6
    assert no_network == []


def test_unfit_features_are_not_published(
    home: Home, consent: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version before stays the newest, whatever was written for the new one."""
    consent("P0")
    rows = [transaction("P0", n) for n in range(3)]
    ingest(home, "spending", [write_csv(tmp_path / "f.csv", rows)])
    publish(home, as_of=now_utc() - timedelta(days=1))
    wrong = tuple(
        replace(f, unit="share 0-1") if f.name == "spend_90d" else f for f in SOURCES["spending"].features
    )
    bent = [replace(d, features=wrong) if d.name == "spending" else d for d in definitions()]
    monkeypatch.setattr(publishing, "definitions", lambda: bent)
    with pytest.raises(DataQuality, match=r"spending_v1 was not published: .* break spend_90d_in_range"):
        publish(home)
    assert len(read_versions(home, "spending_v1")) == 1


@pytest.mark.parametrize("source", definitions(), ids=lambda d: d.definition)
def test_every_declared_feature_has_a_rule(source: Any) -> None:
    """Shares stay within 0 and 1, counts above 0, and what is never null is never null."""
    for feature in source.features:
        rule = rule_of(feature)
        assert rule.nullable == (feature.null_means != "never null")
        assert (rule.most == 1) == (feature.unit in ("share 0-1", "0 or 1"))
        assert (rule.least == 0) == (feature.dtype == "int64" or rule.most == 1)


def test_the_page_of_a_job_has_no_value_and_nothing_from_outside(
    home: Home, consent: Callable[..., str], tmp_path: Path, no_network: list[Any]
) -> None:
    """Counts and rules; a policy forbids the browser to fetch; a hostile file name is only text."""
    consent("CANARY-person")
    rows = [transaction("CANARY-person", i, merchant="CANARY-shop", amount="75319.02") for i in range(40)]
    rows += [transaction("CANARY-person", 40, amount="-75319.02"), transaction("CANARY-other", 41)]
    path = write_csv(tmp_path / "<script>alert(1)<%2fscript>.csv", rows)
    page = tmp_path / "job.html"
    call = ["ingest", "spending", str(path), "--home", str(home.root)]
    assert run([*call, "--report", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "amount_positive" in text
    assert "NO_GRANT" in text
    assert not any(value in text for value in ("CANARY", "75319"))
    assert "<script" not in text
    assert "default-src &#x27;none&#x27;" in text
    assert not re.findall(r"""(?:src|href|url)\s*[=(]|https?:""", text)
    assert run([*call, "--report", str(tmp_path / "nowhere" / "job.html")]) == 6
    assert no_network == []
