"""Twenty borrowers with values that can be told again, planted through every way into a home.

Every text holds a word that stands nowhere else, and every amount is somebody's own, so that whoever finds one knows
whose it is, from which source and cell.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_source import PushMode

from consent.clock import format_instant, now_utc
from consent.home import CONFIG_FILE, Home
from consent.ledger import Ledger
from console.cli import run
from feature_repo.stores import setup
from tests.ingestion.killing import kill_at_each_step
from tests.rights.scanning import Scanner, spellings, spellings_of_number

DAY = timedelta(days=1)
SOURCES = ("spending", "employment", "app_usage")
_TERMS = {
    "notice_id": "n",
    "notice_version": "3",
    "notice_language": "zh-CN",
    "notice_hash": "ab" * 32,
    "jurisdiction": "CN",
    "method": "toggle, default off",
    "expires_at": "2099-01-01",
    "data_from": "2020-01-01",
}


@dataclass
class Person:
    """One borrower, and what of theirs is in the files.

    Attributes:
        texts, amounts: source -> cell -> value; ``""`` for what belongs to no source.
        good: source -> rows that were taken in, as they stand in the files.
    """

    index: int
    number: str
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    amounts: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    good: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def text(self, source: str, cell: str) -> str:
        """A new text of the person's own."""
        word = f"P{self.index:02d}-{source[:2]}-{cell}-x7Q"
        value = f"王小{self.index} {word} 门诊"
        return self.texts.setdefault(source, {}).setdefault(cell, value)

    def amount(self, source: str, cell: str) -> Decimal:
        """A new amount of the person's own, with cents."""
        mine = self.amounts.setdefault(source, {})
        hundreds = 31_000 + 1_009 * self.index + 97 * len(mine) + 331 * SOURCES.index(source)
        return mine.setdefault(cell, Decimal(hundreds * 100 + 41 + self.index) / 100)

    def values(self, sources: Sequence[str]) -> dict[str, list[bytes]]:
        """Name -> spellings of all there is of the person in these sources."""
        found = {
            f"{self.index} {s} {c}": spellings(v) for s in sources for c, v in self.texts.get(s, {}).items()
        }
        words = {f"{n} word": spellings(n_word) for n, n_word in self._words(sources).items()}
        amounts = {
            f"{self.index} {s} {c}": spellings_of_number(v)
            for s in sources
            for c, v in self.amounts.get(s, {}).items()
        }
        return found | words | amounts

    def _words(self, sources: Sequence[str]) -> dict[str, str]:
        texts = [(s, c, v) for s in sources for c, v in self.texts.get(s, {}).items()]
        return {f"{self.index} {s} {c}": v.split()[1] for s, c, v in texts if " " in v}


@dataclass
class Line:
    """A home into which everything was planted.

    Attributes:
        place: holds the home, its keys and the jobs' temporary files; the lender's own files lie elsewhere.
        outputs: of every command.
        strangers: people whose rows stand in the files and who never agreed to anything.
    """

    place: Path
    outside: Path
    people: list[Person]
    strangers: list[Person]
    now: datetime
    outputs: list[str] = field(default_factory=list)

    @property
    def root(self) -> Path:
        return self.place / "home"

    @property
    def keys(self) -> Path:
        return self.place / "home.keys"

    @property
    def tmp(self) -> Path:
        return self.place / "tmp"

    def assent(self, *arguments: str | Path, expect: int = 0) -> str:
        """Run a command on the home; what it says is kept."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([*map(str, arguments), "--home", str(self.root)])
        self.outputs += [out.getvalue(), err.getvalue()]
        assert code == expect, (arguments[:2], code, err.getvalue())
        return out.getvalue()

    def scanner(self, *whose: tuple[Person, Sequence[str]]) -> Scanner:
        """Looks for all that was planted, or for these people's of these sources."""
        everybody = [(p, (*SOURCES, "")) for p in (*self.people, *self.strangers)]
        return Scanner(
            {name: v for p, sources in whose or everybody for name, v in p.values(sources).items()}
        )


def plant(place: Path, outside: Path) -> Line:
    """Everything that may hold somebody's data, from the first consent to what is served online."""
    people = [Person(i, f"客户-P{i:02d}-7Qx4") for i in range(20)]
    strangers = [Person(i, f"客户-S{i:02d}-7Qx4") for i in range(90, 93)]
    line = Line(place, outside, people, strangers, now_utc())
    for person in (*people, *strangers):
        person.texts[""] = {"number": person.number}
    line.tmp.mkdir()
    line.assent("init")
    settings = line.root / CONFIG_FILE
    settings.write_text(settings.read_text().replace("reject_above = 0.05", "reject_above = 0.4"))
    _agree(line)
    files = _write_files(line)
    _break_off(line, files["broken off"])
    line.assent("ingest", "spending", files["spending"], "--encoding", "gb18030")
    line.assent("ingest", "employment", files["employment"], "--json")
    line.assent("ingest", "app_usage", files["app_usage"])
    line.assent("ingest", "spending", files["rejected"], expect=7)
    line.assent("ingest", "spending", files["broken off"])
    line.assent("publish", "--entities", files["loans"])
    said = line.assent(
        *("training-set", files["loans"], "--service", "scorecard_training_v1"),
        *("--out", outside / "training.parquet", "--json"),
    )
    line.assent("model", "register", "scorecard-1", "--receipt", json.loads(said)["receipt"]["receipt_id"])
    _push(line)
    _change_minds(line)
    return line


# ------------------------------------------------------------------------------------------- consents


def _agree(line: Line) -> None:
    """Ten people by JSON lines, eight by CSV in GB18030, two by hand."""
    rows = [
        _given(p, s, q, line.now)
        for p in line.people
        for s in SOURCES
        for q in ("credit_scoring", "model_training")
    ]
    lines = [
        json.dumps(row, ensure_ascii=False) for row in rows if row["subject_id"] in _numbers(line.people[:10])
    ]
    jsonl = line.outside / "consents.jsonl"
    jsonl.write_text("\n".join(lines), encoding="utf-8")
    line.assent("consent", "import", jsonl)
    some = [row for row in rows if row["subject_id"] in _numbers(line.people[10:18])]
    line.assent(
        "consent", "import", _csv(line.outside / "consents.csv", some, "gb18030"), "--encoding", "gb18030"
    )
    for person in line.people[18:]:
        terms = [
            part
            for name, v in _TERMS.items()
            for part in (f"--{name.replace('_id', '').replace('_', '-')}", v)
        ]
        about = [part for s in SOURCES for part in ("--source", s)]
        purposes = ("--purpose", "credit_scoring", "--purpose", "model_training")
        line.assent("consent", "record", person.number, *about, *purposes, *terms)


def _numbers(people: Sequence[Person]) -> set[str]:
    return {p.number for p in people}


def _given(person: Person, source: str, purpose: str, now: datetime) -> dict[str, str]:
    """The lender's own ids hold the customer number, as they do."""
    own = f"{person.number}/{source}/{purpose}"
    return {
        "event": "given",
        "subject_id": person.number,
        "source": source,
        "purpose": purpose,
        "effective_at": format_instant(now - 60 * DAY),
        "event_id": f"event {own}",
        "grant_id": f"grant {own}",
        **_TERMS,
    }


def _change_minds(line: Line) -> None:
    """A withdrawal, a joint account, a hold named after the customer."""
    line.assent("consent", "withdraw", line.people[10].number, "--source", "employment")
    line.assent("consent", "link", line.people[11].number, line.people[12].number, "--source", "spending")
    for person in (line.people[3], line.people[13]):
        line.assent(
            "hold", "place", person.number, "--name", f"case {person.number}", "--basis", "order 4 O 231/26"
        )


# ------------------------------------------------------------------------------------------- records


def _write_files(line: Line) -> dict[str, Path]:
    everybody = (*line.people, *line.strangers)
    folder = line.outside
    spending = [row for p in everybody for row in (*_spending(p, line.now), _bad_spending(p, line.now))]
    employment = [row for p in everybody for row in (*_employment(p, line.now), _bad_employment(p, line.now))]
    apps = [row for p in everybody for row in (*_apps(p, line.now), _bad_app(p, line.now))]
    rejected = [
        _bad_spending(p, line.now) | {"transaction_id": p.text("spending", "rejected")} for p in everybody
    ]
    rejected += [
        _good(p, "spending", {**_spending(p, line.now)[0], "transaction_id": "r"}, kept=False)
        for p in everybody[:1]
    ]
    later = [row for p in everybody for row in _more_spending(p, line.now)]
    loans = [
        {"subject_id": p.number, "event_timestamp": format_instant(line.now - 5 * DAY)} for p in everybody
    ]
    jsonl = folder / "employment.jsonl"
    jsonl.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in employment), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(apps), folder / "apps.parquet")
    return {
        "spending": _csv(folder / "spending.csv", spending, "gb18030"),
        "employment": jsonl,
        "app_usage": folder / "apps.parquet",
        "rejected": _csv(folder / "rejected.csv", rejected),
        "broken off": _csv(folder / "later.csv", later),
        "loans": _csv(folder / "loans.csv", loans),
    }


def _good(person: Person, source: str, row: dict[str, Any], *, kept: bool = True) -> dict[str, Any]:
    if kept:
        person.good.setdefault(source, []).append(row)
    return row


def _spending(p: Person, now: datetime) -> list[dict[str, Any]]:
    spent = {
        "subject_id": p.number,
        "transaction_id": p.text("spending", "t1"),
        "occurred_at": format_instant(now - 3 * DAY),
        "amount": f"{p.amount('spending', 'spent'):.2f}",
        "currency": "CNY",
        "direction": "debit",
        "kind": "purchase",
        "category": "health",
        "merchant": p.text("spending", "merchant"),
        "counterparty": p.text("spending", "counterparty"),
        "balance_after": f"{p.amount('spending', 'balance'):.2f}",
    }
    paid = spent | {
        "transaction_id": p.text("spending", "t2"),
        "occurred_at": format_instant(now - 12 * DAY),
        "amount": f"{p.amount('spending', 'salary'):.2f}",
        "direction": "credit",
        "kind": "salary",
        "category": "",
        "merchant": "",
        "balance_after": "",
    }
    return [_good(p, "spending", row) for row in (spent, paid)]


def _bad_spending(p: Person, now: datetime) -> dict[str, Any]:
    """Cells that cannot be read, and so are kept as they stand."""
    row = {**_spending_like(p), "occurred_at": format_instant(now - 9 * DAY)}
    return row | {"transaction_id": p.text("spending", "t3"), "amount": p.text("spending", "badamount")}


def _spending_like(p: Person) -> dict[str, Any]:
    return p.good["spending"][0] | {"merchant": p.text("spending", "badmerchant"), "counterparty": ""}


def _more_spending(p: Person, now: datetime) -> list[dict[str, Any]]:
    """The file whose ingestion breaks off."""
    rows = [
        _spending_like(p)
        | {
            "transaction_id": p.text("spending", f"u{i}"),
            "occurred_at": format_instant(now - (20 + i) * DAY),
            "amount": f"{p.amount('spending', f'later{i}'):.2f}",
            "merchant": p.text("spending", f"later{i}"),
        }
        for i in range(3)
    ]
    return [_good(p, "spending", row) for row in rows]


def _employment(p: Person, now: datetime) -> list[dict[str, Any]]:
    row = {
        "subject_id": p.number,
        "record_id": p.text("employment", "record"),
        "reported_at": format_instant(now - 15 * DAY),
        "employer": p.text("employment", "employer"),
        "employer_type": "private",
        "job_title": p.text("employment", "title"),
        "monthly_salary": f"{p.amount('employment', 'salary'):.2f}",
        "currency": "CNY",
        "started_on": "2025-01-01",
    }
    earlier = row | {"record_id": p.text("employment", "earlier"), "ended_on": "2025-06-30"}
    return [_good(p, "employment", {"ended_on": None, **r}) for r in (row, earlier)]


def _bad_employment(p: Person, now: datetime) -> dict[str, Any]:
    row = {**p.good["employment"][0], "reported_at": format_instant(now - 16 * DAY)}
    bad = {"record_id": p.text("employment", "badrecord"), "employer": p.text("employment", "bademployer")}
    return (
        row | bad | ({"started_on": p.text("employment", "started")} if p.index % 2 else {"currency": "EUR"})
    )


def _apps(p: Person, now: datetime) -> list[dict[str, Any]]:
    row = {
        "subject_id": p.number,
        "occurred_at": (now - 3 * DAY).astimezone(UTC).isoformat(),
        "package": p.text("app_usage", "package"),
        "event": "open",
        "category": "finance",
        "device_id": p.text("app_usage", "device"),
        "duration_s": "60",
    }
    return [
        _good(p, "app_usage", row),
        _good(p, "app_usage", row | {"package": p.text("app_usage", "other")}),
    ]


def _bad_app(p: Person, now: datetime) -> dict[str, Any]:
    row = {**p.good["app_usage"][0], "package": p.text("app_usage", "badpackage")}
    return row | {"duration_s": p.text("app_usage", "duration")}


def _csv(path: Path, rows: Sequence[Mapping[str, Any]], encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


# ------------------------------------------------------------------------------------------- broken off, online


def _break_off(line: Line, file: Path) -> None:
    """An ingestion that has no room in memory is killed while its rows lie aside, and again at later steps."""
    small = "setattr(sys.modules['ingestion.records'], 'MEMORY_BYTES', 4096)"
    codes = kill_at_each_step(
        f"[{small}, ingest(home, 'spending', [Path({str(file)!r})])]", Home.open(line.root), (1, 4)
    )
    assert codes == [9, 9]


def _push(line: Line) -> None:
    """Somebody who is erased later and somebody who is not get a value online by hand."""
    home = Home.open(line.root)
    store = setup.open_store(home, "credit_scoring")
    view = store.get_feature_view("employment_v1")
    for person in (line.people[1], line.people[14]):
        value = float(person.amount("employment", "pushed"))
        row = {f.name: [value if f.name == "monthly_salary_now" else None] for f in view.features}
        (key,) = home.directory.find([person.number])
        at = pd.Series([now_utc() - timedelta(hours=1)])
        store.push(
            "employment_v1_push",
            pd.DataFrame({"subject_key": [key], "event_timestamp": at, **row}),
            to=PushMode.ONLINE,
        )


def below_the_anchor(root: Path, keys: Home) -> Iterator[str]:
    """What a restored ledger tells whoever reads it without asking whether it is the newest."""
    ledger = Ledger.open(root / "ledger.db", keys.keyring.log_signer(keys.settings.origin))
    for rows in ledger.rows(["subject_key", "source", "purpose", "channel", "basis", "event_id"]):
        yield from map(repr, rows)
    ledger.close()
