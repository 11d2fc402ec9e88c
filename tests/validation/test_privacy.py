"""No cell gets out but in the rows themselves; nothing is written, nothing is asked of a network."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from consent.errors import DataQuality
from tests.validation.samples import NOW, SOURCES, judged, table_of
from validation import duckdb_backend, evaluation, gate
from validation.gate import report
from validation.rules import satisfying
from validation.suites import columns_of, suite_for

#: One recognisable value per type, in a row that breaks rules with each of them, and how it may be written.
PLANTED: dict[pa.DataType, Any] = {
    pa.string(): "CANARY\x07" + "x" * 300,
    pa.int64(): -86_420_975,
    pa.date32(): date(1907, 8, 9),
    pa.timestamp("us", tz="UTC"): datetime(1907, 8, 9, 10, 11, 12, tzinfo=UTC),
    pa.decimal128(18, 2): Decimal("-7531902.46"),
}
NEEDLES = (
    "CANARY",
    "86420975",
    "86_420_975",
    "1907-08-09",
    "1907, 8, 9",
    "7531902",
    "7_531_902",
    "1968926928",
)


def planted(source: str, rows: int = 3) -> pa.Table:
    """Equal rows, so that the rules on uniqueness fail too."""
    row = {field.name: PLANTED[field.type] for field in columns_of(source)}
    return table_of(source, [row] * rows)


@pytest.fixture
def everything_said(capfd: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """What was written to stdout, stderr and any logger, at any level, while the test ran."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in (None, "great_expectations", "sqlalchemy", "py.warnings")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
    loggers[0].setLevel(logging.DEBUG)

    def said() -> str:
        out, err = capfd.readouterr()
        return out + err + stream.getvalue()

    yield said
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


def assert_no_canary(text: str) -> None:
    assert [needle for needle in NEEDLES if needle in text] == []


@pytest.mark.parametrize("source", SOURCES)
def test_canaries_stay_in_the_rows(source: str, everything_said: Any) -> None:
    verdict = judged(planted(source), source)
    assert verdict.quarantined == 3
    assert verdict.bad.drop_columns("rules").equals(planted(source))
    assert_no_canary(json.dumps(report(verdict)) + repr(verdict) + str(verdict))
    # Nothing at all: no progress bars either.
    assert everything_said() == ""


def test_great_expectations_itself_is_told_to_keep_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its results stay in memory; even there they hold counts only."""
    results: list[Any] = []

    def kept(*arguments: Any) -> Any:
        results.append(real(*arguments))
        return results[-1]

    real = evaluation._run
    monkeypatch.setattr(evaluation, "_run", kept)
    judged(planted("spending"), "spending")
    assert len(results[0]) == len(suite_for("spending", currency="EUR", now=NOW).expectations)
    assert_no_canary("".join(str(result) for result in results[0].values()))


def test_the_needles_would_be_found() -> None:
    """The control: the canaries are in the table's own text."""
    text = "".join(planted(source).to_string(preview_cols=99) for source in SOURCES)
    text += "".join(str(planted(source).to_pylist()) for source in SOURCES)
    found = {needle for needle in NEEDLES if needle in text}
    assert found >= {"CANARY", "86420975", "1907-08-09", "1907, 8, 9", "7531902"}


RAISING = {
    "spending": ("merchant", "amount", "cast(merchant as integer) > 0"),
    "employment": ("employer", "job_title", "cast(employer as date) > date '2000-01-01'"),
    "app_usage": ("package", "event", "error('no ' || package)::varchar = ''"),
}


@pytest.mark.parametrize("source", SOURCES)
def test_a_rule_that_raises_quotes_nothing(
    source: str, everything_said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's message quotes the cell; Great Expectations keeps and logs it. We do neither."""
    *columns, predicate = RAISING[source]

    def raising(source: str, **arguments: Any) -> Any:
        suite = suite_for(source, **arguments)
        suite.add_expectation(satisfying("raises", columns, predicate))
        return suite

    monkeypatch.setattr(gate, "suite_for", raising)
    verdict = judged(planted(source), source)
    assert (verdict.outcome, verdict.checks_not_run) == ("reject", 1)
    assert_no_canary(json.dumps(report(verdict)) + repr(verdict) + everything_said())


@pytest.mark.parametrize("step", ["_run", "_conditions", "_broken_rules"])
def test_an_error_of_ours_or_theirs_comes_out_as_its_kind(
    step: str, everything_said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Message, cause, context and traceback of what is raised hold no cell."""

    def quoting(*_: Any) -> None:
        with duckdb_backend.connection() as con:
            con.execute("select cast('CANARY' as integer)")

    monkeypatch.setattr(evaluation, step, quoting)
    with pytest.raises(DataQuality) as caught:
        judged(planted("spending"), "spending")
    error = caught.value
    assert str(error) == "the check did not finish: ConversionException"
    assert (error.__cause__, error.__context__) == (None, None)
    assert_no_canary("".join(traceback.format_exception(error)) + error.remedy + everything_said())


def test_rules_without_a_condition_are_counted_not_quoted(
    everything_said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unresolvable(rule: Any, batch_id: str) -> Any:
        metric = real(rule, batch_id)
        metric.metric_domain_kwargs["table"] = "CANARY"
        return metric

    real = evaluation._condition_metric
    monkeypatch.setattr(evaluation, "_condition_metric", unresolvable)
    with pytest.raises(DataQuality, match="rules have no condition to find rows by") as caught:
        judged(planted("spending"), "spending")
    assert_no_canary(str(caught.value) + everything_said())


def test_a_column_name_is_not_told_either(everything_said: Any) -> None:
    """The header of a file without one is its first row."""
    verdict = judged(pa.table({"CANARY": ["CANARY"]}), "spending")
    assert verdict.outcome == "reject"
    assert_no_canary(json.dumps(report(verdict)) + repr(verdict) + everything_said())


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_csv('/etc/passwd')",
        "copy (select 1) to '/tmp/leak.csv'",
        "attach '/tmp/leak.db'",
        "set temp_directory = '/tmp'",
        "set enable_external_access = true",
        "install httpfs",
        "load httpfs",
        "select * from a_table_in_python",
    ],
)
def test_the_database_reaches_nothing_outside(statement: str) -> None:
    a_table_in_python = pa.table({"x": [1]})
    with duckdb_backend.connection() as con:
        assert con.execute("select current_setting('temp_directory')").fetchone() == ("",)
        with pytest.raises(duckdb.Error):
            con.execute(statement)
    assert a_table_in_python.num_rows == 1


def test_no_connection_outlives_its_check() -> None:
    judged(table_of("spending", [{}]), "spending")
    assert duckdb_backend._open == {}


CHILD = """
import sys, warnings
events = []
def audit(name, args):
    # urllib3 binds a local socket when imported, to find out whether there is IPv6; that sends nothing.
    if name.startswith("socket.") and name not in ("socket.__new__", "socket.bind"):
        events.append(name)
    if name == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        events.append(f"write {args[0]}")
    if name in ("os.mkdir", "os.rename", "os.remove", "tempfile.mkdtemp", "tempfile.mkstemp", "subprocess.Popen"):
        events.append(name)
sys.addaudithook(audit)
import validation.gate, validation.suites, validation
assert "great_expectations" not in sys.modules and "pandas" not in sys.modules, "imported too early"
from tests.validation.samples import NOW, SOURCES, judged, table_of
for source in SOURCES:
    verdict = judged(table_of(source, [{}, {"malformed": "x"}]), source)
    assert verdict.outcome == "quarantine"
assert "great_expectations" in sys.modules
assert warnings.showwarning.__module__ == "warnings", "warnings of the process are swallowed"
warnings.warn("still heard")
print(events)
"""


def test_a_process_that_checks_writes_and_connects_nowhere(tmp_path: Path) -> None:
    """Importing the gate does not import Great Expectations; checking opens no file to write and no socket."""
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR", "cwd")}
    for folder in folders.values():
        folder.mkdir()
    environment = {
        **os.environ,
        "HOME": str(folders["HOME"]),
        "TMPDIR": str(folders["TMPDIR"]),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    child = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=folders["cwd"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (child.returncode, child.stdout) == (0, "[]\n"), child.stderr
    assert "still heard" in child.stderr
    assert [path for folder in folders.values() for path in folder.rglob("*")] == []
