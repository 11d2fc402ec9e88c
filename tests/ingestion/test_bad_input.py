"""Kinds of bad input, one line each: a clear error or a quarantined row with its rule, and the rest is right.

A row whose date cannot be read is refused and counted as undated: no consent can be held against it.

What refuses a file refuses it whole, before a row is loaded; what is wrong in a row concerns that row alone. Finer
boundaries of each are in test_readers.py, test_mapped_rows.py and tests/validation/test_rules.py.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from consent.errors import AssentError, BadInput, ConfigError, Denied
from consent.home import Home
from ingestion.mapping import parse_mapping
from ingestion.reading import Reading
from ingestion.run import ingest
from ingestion.sources import SOURCES
from ingestion.vault import read_store
from tests.ingestion.conftest import grant_event, transaction

PERSON = "CANARY-13800138000"
GOOD = [transaction(PERSON, i) for i in range(30)]


def csv(rows: list[dict[str, Any]], encoding: str = "utf-8") -> bytes:
    cells = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    text = "".join(
        ",".join(c if c.isalnum() else '"' + c.replace('"', '""') + '"' for c in line) + "\n"
        for line in cells
    )
    return text.encode(encoding)


def parquet(rows: list[dict[str, Any]], **columns: Any) -> bytes:
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    pq.write_table(table, sink)
    return bytes(sink.getvalue())


def without(column: str) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != column} for row in GOOD]


STRICT = Reading(
    mapping=parse_mapping(
        'source = "spending"\n[columns]\n'
        + "\n".join(
            f'{c} = "{c}"' for c in ("subject_id", "transaction_id", "occurred_at", "amount", "currency")
        )
        + '\ndirection = "direction"\nkind = { from = "kind", codes = { p = "purchase" }, unmapped = "error" }\n',
        SOURCES["spending"],
    )
)

#: Kind of bad file -> (file name, content, how it is read, what the error says).
FILES: dict[str, tuple[str, Callable[[], bytes], Reading, str]] = {
    # Damage.
    "an empty file": ("f.csv", lambda: b"", Reading(), "the file is empty"),
    "a header and nothing else": (
        "f.csv",
        lambda: csv(GOOD[:1]).split(b"\n")[0] + b"\n",
        Reading(),
        "no rows",
    ),
    "Parquet cut short": ("f.parquet", lambda: parquet(GOOD)[:-20], Reading(), "no readable Parquet"),
    "text that is called Parquet": ("f.parquet", lambda: csv(GOOD), Reading(), "no readable Parquet"),
    "Parquet that is called CSV": ("f.csv", lambda: parquet(GOOD), Reading(), "not utf-8|no subject column"),
    "a damaged gzip": ("f.csv.gz", lambda: gzip.compress(csv(GOOD))[:50], Reading(), "a row is damaged"),
    "plain text that is called gzip": ("f.jsonl.gz", lambda: b"{}\n" * 3, Reading(), "a row is damaged"),
    "a row with a field too few": (
        "f.csv",
        lambda: csv(GOOD) + b"1,2\n",
        Reading(),
        "another number of fields",
    ),
    "NUL bytes": ("f.csv", lambda: b"\0" * 64, Reading(), "no subject column|not utf-8"),
    "a JSON line cut short": (
        "f.jsonl",
        lambda: json.dumps(GOOD[0]).encode()[:40],
        Reading(),
        "line 1 is not a JSON",
    ),
    "a JSON array instead of lines": (
        "f.jsonl",
        lambda: json.dumps(GOOD).encode(),
        Reading(),
        "not a JSON object",
    ),
    "an unknown kind of file": ("f.xlsx", lambda: b"PK\3\4", Reading(), "format is not known"),
    # Structure.
    "a column missing": ("f.csv", lambda: csv(without("amount")), Reading(), "column amount is missing"),
    "a column twice": (
        "f.csv",
        lambda: csv(GOOD).replace(b"merchant", b"amount", 1),
        Reading(),
        "there twice",
    ),
    "no header row": ("f.csv", lambda: csv(GOOD).split(b"\n", 1)[1], Reading(), "no subject column"),
    "no column of customer numbers": (
        "f.csv",
        lambda: csv(without("subject_id")),
        Reading(),
        "no subject column",
    ),
    "nested values": (
        "f.parquet",
        lambda: parquet(GOOD, amount=pa.array([[1]] * 30)),
        Reading(),
        "column amount holds list",
    ),
    "customer numbers as floats": (
        "f.parquet",
        lambda: parquet(GOOD, subject_id=pa.array([1.0] * 30)),
        Reading(),
        "column subject_id holds double",
    ),
    # Encodings.
    "GB18030 that does not say so": (
        "f.csv",
        lambda: csv([r | {"merchant": "鲜生"} for r in GOOD], "gb18030"),
        Reading(),
        "not utf-8",
    ),
    "UTF-16 that does not say so": ("f.csv", lambda: csv(GOOD, "utf-16"), Reading(), "not utf-8"),
    "an encoding nobody knows": (
        "f.csv",
        lambda: csv(GOOD),
        Reading(encoding="martian"),
        "a name nobody knows",
    ),
    "half a character": (
        "f.jsonl",
        lambda: json.dumps(GOOD[0] | {"merchant": "\ud800"}).encode(),
        Reading(),
        "half a character",
    ),
    # Columns that are something else throughout.
    "dates day first, throughout": (
        "f.csv",
        lambda: csv([r | {"occurred_at": "01/03/2026"} for r in GOOD]),
        Reading(),
        "column occurred_at: no cell",
    ),
    "Unix seconds without a mapping": (
        "f.parquet",
        lambda: parquet(GOOD, occurred_at=pa.array([1_770_000_000] * 30)),
        Reading(),
        "column occurred_at holds int64",
    ),
    "names where amounts should be": (
        "f.csv",
        lambda: csv([r | {"amount": PERSON} for r in GOOD]),
        Reading(),
        "column amount: no cell",
    ),
    "a code that the mapping forbids": (
        "f.csv",
        lambda: csv(GOOD),
        STRICT,
        "understands no cell|hold a code",
    ),
    # Tricks.
    "SQL for a column's name": (
        "f.csv",
        lambda: csv(GOOD),
        Reading('x"; DROP TABLE raw; --'),
        "no subject column",
    ),
    "JSON nested beyond all bounds": ("f.jsonl", lambda: b"[" * 100_000, Reading(), "line 1 is not a JSON"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which one person agreed to everything, and no share of bad rows rejects a file."""
    made = Home.create(tmp_path_factory.mktemp("bad") / "home")
    key = made.directory.find_or_create([PERSON])[0]
    made.ledger.append([grant_event(key, source, "credit_scoring") for source in SOURCES])
    return Home(made.root, made.keys, replace(made.settings, reject_above=1.0))


def loaded(home: Home, source: str, column: str) -> list[str]:
    tables = list(read_store(home, "vault", source))
    return sorted(v for t in tables for v in t[column].to_pylist())


def refused(home: Home, files: list[Path], reading: Reading, source: str = "spending") -> AssentError:
    with pytest.raises(AssentError) as caught:
        ingest(home, source, files, reading=reading)
    assert caught.value.remedy
    assert "CANARY" not in f"{caught.value.message} {caught.value.remedy}"
    return caught.value


@pytest.mark.parametrize("kind", FILES)
def test_a_bad_file_is_refused_and_takes_the_job_with_it(kind: str, home: Home, tmp_path: Path) -> None:
    """A clear error with file and remedy, no value; of the good file beside it nothing is loaded either."""
    name, content, reading, message = FILES[kind]
    path = tmp_path / name
    path.write_bytes(content())
    error = refused(home, [path], reading)
    assert isinstance(error, BadInput)
    assert error.message.startswith(name)
    with pytest.raises(BadInput, match=message):
        ingest(home, "spending", [path], reading=reading)
    assert not list(home.path("vault").rglob("*.partial*"))


def test_bad_ways_to_name_files_and_sources(home: Home, tmp_path: Path) -> None:
    """A directory, nothing at all, the same content twice, a prohibited source, a source that is a path."""
    path, copy = tmp_path / "f.csv", tmp_path / "g.csv"
    for file in (path, copy):
        file.write_bytes(csv(GOOD))
    kinds: dict[str, tuple[list[Path], str, type[AssentError], str]] = {
        "a directory": ([tmp_path], "spending", BadInput, "cannot be read"),
        "no file of that name": ([tmp_path / "none.csv"], "spending", BadInput, "cannot be read"),
        "a name that leads out of the place": (
            [tmp_path / ".." / "none.csv"],
            "spending",
            BadInput,
            "cannot be read",
        ),
        "the same content twice": ([path, copy], "spending", BadInput, "same content"),
        "a prohibited source": ([path], "contacts", Denied, "prohibited"),
        "a source that is a path": ([path], "../spending", ConfigError, "no source"),
    }
    for files, source, error, said in kinds.values():
        caught = refused(home, files, Reading(), source)
        assert isinstance(caught, error)
        assert said in caught.message


#: Kind of bad row -> (source, what is wrong in it, a rule it breaks).
ROWS: dict[str, tuple[str, dict[str, Any], str]] = {
    # Dates.
    "a day that does not exist": ("spending", {"occurred_at": "2026-02-30"}, "undated"),
    "an hour that does not exist": ("spending", {"occurred_at": "2026-02-28T25:00:00Z"}, "undated"),
    "infinity for a date": ("spending", {"occurred_at": "infinity"}, "undated"),
    "no date": ("spending", {"occurred_at": ""}, "undated"),
    "a date in the future": ("spending", {"occurred_at": "2199-01-01"}, "occurred_at_not_future"),
    "a date before the person's consent reaches": ("spending", {"occurred_at": "1900-01-01"}, "out of range"),
    # Types.
    "a decimal comma": ("spending", {"amount": "12,50"}, "cells_readable"),
    "an exponent": ("spending", {"amount": "1e3"}, "cells_readable"),
    "NaN": ("spending", {"amount": "NaN"}, "cells_readable"),
    "digits of another script": ("spending", {"amount": "９"}, "cells_readable"),
    "more digits than money has": ("spending", {"amount": "9" * 20}, "cells_readable"),
    "a fraction of a cent": ("spending", {"amount": "12.505"}, "cells_readable"),
    "no amount": ("spending", {"amount": ""}, "amount_present"),
    # Ranges, units, currencies, fillers.
    "a negative amount": ("spending", {"amount": "-12.50"}, "amount_positive"),
    "an amount of zero": ("spending", {"amount": "0.00"}, "amount_positive"),
    "an amount beyond reason": ("spending", {"amount": "1000000000"}, "amount_below_limit"),
    "another currency": ("spending", {"currency": "USD"}, "currency_is_home"),
    "a currency in small letters": ("spending", {"currency": "cny"}, "currency_is_home"),
    "the greatest 32-bit number": ("spending", {"amount": "2147483647"}, "amount_not_filler"),
    "365243 for a number": ("spending", {"amount": "365243"}, "amount_not_filler"),
    # Sets, contradictions, duplicates.
    "a code nobody knows": ("spending", {"kind": "gift"}, "kind_known"),
    "a direction nobody knows": ("spending", {"direction": "sideways"}, "direction_known"),
    "a salary that is paid out": ("spending", {"kind": "salary"}, "salary_is_credit"),
    "one number for two events": ("spending", {"transaction_id": "twice"}, "transaction_id_unique"),
    "one number for two events, the other": (
        "spending",
        {"transaction_id": "twice"},
        "transaction_id_unique",
    ),
    # Hostile texts.
    "a formula for a number": ("spending", {"amount": "=1+1"}, "cells_readable"),
    "a formula for a name": ("spending", {"merchant": "=HYPERLINK(1)"}, "texts_plain"),
    "a command for a name": ("spending", {"merchant": "+cmd|' /C calc'!A0"}, "texts_plain"),
    "a way out of a directory": ("spending", {"merchant": "../../etc/passwd"}, "texts_plain"),
    "an escape sequence": ("spending", {"counterparty": "a\x1b[2Jb"}, "texts_plain"),
    "a text without end": ("spending", {"merchant": "x" * 10_000}, "merchant_length"),
    # The other sources.
    "a job that ends before it begins": (
        "employment",
        {"ended_on": "2019-01-01"},
        "ended_on_not_before_start",
    ),
    "the year 9999 for a job that goes on": (
        "employment",
        {"ended_on": "9999-12-31"},
        "ended_on_foreseeable",
    ),
    "a job that begins long after it is reported": (
        "employment",
        {"started_on": "2027-01-01"},
        "started_on_not_after_report",
    ),
    "a start that is a filler": ("employment", {"started_on": "1025-06-17"}, "started_on_not_too_old"),
    "a negative salary": ("employment", {"monthly_salary": "-1"}, "monthly_salary_not_negative"),
    "a kind of employer nobody knows": ("employment", {"employer_type": "club"}, "employer_type_known"),
    "milliseconds for seconds": ("app_usage", {"duration_s": "61000000"}, "duration_s_in_a_day"),
    "a duration below zero": ("app_usage", {"duration_s": "-1"}, "duration_s_in_a_day"),
    "an app's name with a line break": ("app_usage", {"package": "com.a\ncom.b"}, "package_printable"),
    "an event nobody knows": ("app_usage", {"event": "dream"}, "event_known"),
}

SAMPLE: dict[str, dict[str, Any]] = {
    "spending": transaction(PERSON, 0, counterparty=""),
    "employment": {
        "subject_id": PERSON,
        "record_id": "r",
        "reported_at": "2026-03-01",
        "employer_type": "private",
        "monthly_salary": "8000",
        "currency": "CNY",
        "started_on": "2020-01-01",
        "ended_on": "",
    },
    "app_usage": {
        "subject_id": PERSON,
        "occurred_at": "2026-03-01T10:00:00Z",
        "package": "com.a",
        "event": "open",
        "device_id": "",
        "duration_s": "61",
    },
}
#: Tells the rows of the sources apart, whatever is wrong in them: a column that no kind changes, or changes alone.
MARK = {"spending": "balance_after", "employment": "record_id", "app_usage": "device_id"}


@pytest.mark.parametrize("source", SAMPLE)
def test_a_bad_row_is_quarantined_for_its_reason_and_the_others_are_loaded(
    source: str, home: Home, tmp_path: Path
) -> None:
    """All kinds in one file, between good rows: each row has its own fate."""
    kinds = {name: (cells, rule) for name, (of, cells, rule) in ROWS.items() if of == source}
    rows = [SAMPLE[source] | {MARK[source]: str(1000 + i)} for i in range(2 * len(kinds))]
    for i, (cells, _) in enumerate(kinds.values()):
        rows[2 * i] |= cells
    if source == "spending":
        rows = [
            row if row["transaction_id"] == "twice" else row | {"transaction_id": f"n{i}"}
            for i, row in enumerate(rows)
        ]
    path = tmp_path / "f.csv"
    path.write_bytes(csv(rows))
    (report,) = ingest(home, source, [path]).files
    assert report.read == len(rows) == report.loaded + sum(report.refused.values()) + report.quarantined
    (bad,) = read_store(home, "quarantine", source)
    broken = dict(zip(bad["row_number"].to_pylist(), bad["rules"].to_pylist(), strict=True))
    for i, (name, (_, rule)) in enumerate(kinds.items()):
        found = broken.pop(2 * i, ["undated", "out of range"])
        assert rule in found, (name, found)
    assert broken == {}
    undated = sum(rule == "undated" for _, rule in kinds.values())
    beyond = sum(rule == "out of range" for _, rule in kinds.values())
    assert (report.undated, sum(report.refused.values())) == (undated, undated + beyond)
    good = {1000 + i for i in range(1, 2 * len(kinds), 2)}
    assert {int(float(value)) for value in loaded(home, source, MARK[source])} == good


def test_there_are_forty_kinds_and_more() -> None:
    """Each has a name of its own; the six of names and sources are not counted."""
    assert len(FILES) + len(ROWS) >= 60
    assert not set(FILES) & set(ROWS)
