"""The whole line through the command line, and what it leaves on the disk."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from consent.clock import now_utc
from console.cli import run
from console.demo_data import Inputs, midnight, write_inputs
from tests.rights.scanning import Scanner, spellings

REPO = Path(__file__).parents[2]


def assent(*arguments: str | Path, cwd: Path, expect: int = 0) -> tuple[str, str]:
    """Run a command line in this process, in a directory: (stdout, stderr)."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(a) for a in arguments])
    assert code == expect, err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Inputs, list[str]]:
    """Everything run once in a fresh directory: (directory, inputs, all output)."""
    directory = tmp_path_factory.mktemp("line")
    outside = tmp_path_factory.mktemp("inputs")
    inputs = write_inputs(outside, today=midnight(now_utc()), people=25, seed=11)
    output = []
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(
        tempfile, "tempdir", str(directory)
    )  # what a job leaves in temporary files is scanned, too
    monkeypatch.setenv("TMPDIR", str(directory))
    for arguments in (
        ["init"],
        ["consent", "import", inputs.consents],
        ["ingest", "spending", *inputs.spending],
        ["ingest", "employment", *inputs.employment, "--json"],
        ["ingest", "app_usage", *inputs.app_usage],
        ["publish", "--entities", inputs.loans],
        ["training-set", inputs.loans, "--service", "scorecard_training_v1", "--out", outside / "t.parquet"],
        ["consent", "show", inputs.people[0].customer],
        ["versions", "--json"],
        ["log", "audit"],
    ):
        expect = 6 if arguments[:2] == ["consent", "show"] and not _asked(inputs) else 0
        output += assent(*arguments, cwd=directory, expect=expect)
    monkeypatch.undo()
    return directory, inputs, output


def _asked(inputs: Inputs) -> bool:
    """Whether the first person of the demo was asked for anything at all."""
    customer = inputs.people[0].customer
    return any(json.loads(r)["subject_id"] == customer for r in inputs.consents.read_text().splitlines())


def test_nothing_of_a_person_is_in_clear_anywhere(line: tuple[Path, Inputs, list[str]]) -> None:
    """No identifier, merchant, employer, device id or salary in any byte of the home, the keys or the output."""
    directory, inputs, output = line
    values = {
        v
        for p in inputs.people
        for v in (p.customer, p.name + " " + p.phone, p.phone, p.device, f"{p.salary:.2f}")
    }
    values |= {p.employer[0] for p in inputs.people} | {
        "盒马鲜生",
        "海底捞",
        "链家公寓",
        "彩票站 0731",
        "com.quickcash.loan",
    }
    scanner = Scanner({value: spellings(value) for value in values})
    assert scanner.scan(directory) == []
    assert scanner.scan_text(*output) == []
    planted = {hit.value for hit in scanner.scan(*inputs.spending, *inputs.employment)}
    assert len(planted) > len(values) / 2, "the scan looks for nothing"


def test_runs_reconcile_and_the_training_set_keeps_every_row(line: tuple[Path, Inputs, list[str]]) -> None:
    """read = loaded + refused + quarantined, for every job; 266 loans stay 266 rows."""
    directory, inputs, _ = line
    for path in directory.joinpath(".assent", "runs").glob("*.json"):
        totals = json.loads(path.read_text())["totals"]
        assert (
            totals["read"]
            == totals["loaded"] + totals["refused"] + totals["quarantined"] + totals["rejected"]
        )
        assert totals["read"] > 0
    training = pq.read_table(inputs.loans.parent / "t.parquet")
    assert training.num_rows == len(inputs.loans.read_text().splitlines()) - 1
    assert 0 < training["spend_30d"].null_count < training.num_rows
    assert "defaulted" in training.column_names


def test_a_modelers_ten_lines(line: tuple[Path, Inputs, list[str]]) -> None:
    """Plain Feast on the home's configuration gives the same training set as the command."""
    directory, inputs, _ = line
    script = """
import sys, pyarrow.parquet as pq
from feast import FeatureStore
store = FeatureStore(repo_path=".assent/feast/model_training")
made = pq.read_table(sys.argv[1]).to_pandas()
loans = made[["subject_key", "event_timestamp", "defaulted"]]
service = store.get_feature_service("scorecard_training_v1")
job = store.get_historical_features(entity_df=loans, features=service)
fetched = job.to_df()
assert fetched["spend_30d"].equals(made["spend_30d"])
print(job.receipt.purpose, len(fetched))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(inputs.loans.parent / "t.parquet")],
        capture_output=True,
        text=True,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["model_training", str(len(inputs.loans.read_text().splitlines()) - 1)]


def test_everything_again_changes_nothing(line: tuple[Path, Inputs, list[str]]) -> None:
    """Idempotent: import, ingest and publish run again add nothing."""
    directory, inputs, _ = line
    again = json.loads(assent("consent", "import", inputs.consents, "--json", cwd=directory)[0])
    assert (again["recorded"], again["rejected"]) == (0, [])
    totals = json.loads(assent("ingest", "spending", *inputs.spending, "--json", cwd=directory)[0])["totals"]
    assert (totals["loaded"], totals["quarantined"]) == (0, 0)
    published = json.loads(assent("publish", "--entities", inputs.loans, "--json", cwd=directory)[0])
    assert not any(p["fresh"] for p in published["published"]) or datetime.now(UTC).hour == 0


def test_the_demo_clears_its_own_earlier_home_only(tmp_path: Path) -> None:
    """`assent demo` runs in the same place again, and never removes anything else."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    assert "something else" in assent("demo", "--home", "mine", cwd=tmp_path, expect=4)[1]
    assert (tmp_path / "mine" / "thesis.txt").exists()
    (tmp_path / ".assent-demo").mkdir()
    (tmp_path / ".assent-demo" / "DEMO").touch()
    text, _ = assent("demo", "--people", "40", cwd=tmp_path)
    assert "audit passed" in text
    assert "DENIED" not in text
    assert "(exit code 3)" in text
    assert 'assent consent withdraw "$CUSTOMER" --source spending' in text
