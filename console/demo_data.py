"""Generated borrowers for the demo: consents, spending, employment, app usage and loans. Nobody real.

A lender's files hold raw customer numbers, so they are written outside the home and deleted after the demo.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consent.clock import format_instant

_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗"
_GIVEN = [
    "伟",
    "芳",
    "娜",
    "敏",
    "静",
    "丽",
    "强",
    "磊",
    "洋",
    "艳",
    "勇",
    "军",
    "杰",
    "娟",
    "涛",
    "明",
    "超",
    "霞",
]
_MERCHANTS = {
    "groceries": ["盒马鲜生", "永辉超市", "Carrefour 古北店"],
    "dining": ["兰州拉面馆", "海底捞", "Starbucks 国贸"],
    "utilities": ["国家电网", "中国移动"],
    "rent": ["链家公寓"],
    "travel": ["携程旅行", "高德打车"],
    "entertainment": ["万达影城"],
    "clothing": ["优衣库"],
    "gambling": ["彩票站 0731"],
}
_EMPLOYERS = [
    ("长沙远大机械有限公司", "private"),
    ("第三人民医院", "state_owned"),
    ("湘江区教育局", "government"),
    ("Foxconn 郑州", "foreign"),
    ("自营水果店", "self_employed"),
]
_APPS = [
    ("com.tencent.mm", "communication"),
    ("com.taobao.taobao", "shopping"),
    ("com.eg.android.AlipayGphone", "finance"),
    ("com.quickcash.loan", "lending"),
    ("com.yidai.wallet", "lending"),
    ("com.tencent.tmgp.sgame", "game"),
    ("com.netease.cloudmusic", "entertainment"),
]
_NOTICE = "我们将在您同意后，仅为您勾选的用途使用您勾选的数据。您可随时撤回。"
#: How people answered for (source, purpose): mostly yes, some no, some not asked.
_ANSWERS = {"spending": (0.86, 0.06), "employment": (0.72, 0.12), "app_usage": (0.61, 0.20)}


@dataclass(frozen=True)
class Person:
    """One generated borrower. ``strain`` from 0 to 1 drives spending, borrowing and default."""

    customer: str
    name: str
    phone: str
    device: str
    strain: float
    salary: float
    payday: int
    employer: tuple[str, str]
    hired: datetime


@dataclass(frozen=True)
class Inputs:
    """Where the demo's files are."""

    consents: Path
    spending: list[Path]
    employment: list[Path]
    app_usage: list[Path]
    loans: Path
    late_spending: Path
    people: list[Person]


def write_inputs(directory: Path, *, today: datetime, people: int = 400, seed: int = 7) -> Inputs:
    """Write a lender's files.

    Args:
        today: the last day the files know of; midnight UTC.
        people: how many borrowers.
    """
    dice = random.Random(seed)  # noqa: S311  (demo data, no secret)
    borrowers = [_person(dice, i, today) for i in range(people)]
    spending = [row for p in borrowers for row in _spending(dice, p, today)]
    half = len(spending) // 2
    return Inputs(
        consents=_write_jsonl(
            directory / "consents.jsonl", [r for p in borrowers for r in _consents(dice, p, today)]
        ),
        spending=[
            _write_csv(directory / "spending_1.csv", spending[:half]),
            _write_csv(directory / "spending_2.csv", spending[half:]),
        ],
        employment=[
            _write_jsonl(
                directory / "employment.jsonl", [r for p in borrowers for r in _employment(dice, p, today)]
            )
        ],
        app_usage=[
            _write_parquet(
                directory / "app_usage.parquet", [r for p in borrowers for r in _apps(dice, p, today)]
            )
        ],
        loans=_write_csv(directory / "loans.csv", _loans(dice, borrowers, today)),
        late_spending=_write_csv(
            directory / "spending_late.csv", [_purchase(dice, p, today) for p in borrowers]
        ),
        people=borrowers,
    )


def _person(dice: random.Random, number: int, today: datetime) -> Person:
    name = dice.choice(_SURNAMES) + "".join(dice.sample(_GIVEN, 2))
    return Person(
        customer=f"客户-{number:05d}-{dice.randrange(10**6):06d}",
        name=name,
        phone=f"138{dice.randrange(10**8):08d}",
        device=f"IMEI{dice.randrange(10**15):015d}",
        strain=dice.betavariate(2, 5),
        salary=round(dice.lognormvariate(8.9, 0.35), 2),
        payday=dice.randrange(1, 28),
        employer=dice.choice(_EMPLOYERS),
        hired=today - timedelta(days=dice.randrange(200, 2500)),
    )


def _consents(dice: random.Random, person: Person, today: datetime) -> list[dict[str, Any]]:
    """Sought for each source and purpose apart; never bundled."""
    rows = []
    asked = today - timedelta(days=dice.randrange(150, 200))
    for source, (yes, no) in _ANSWERS.items():
        answer = dice.random()
        if answer >= yes + no:
            continue  # was never asked
        for purpose in ("credit_scoring", "model_training", "fraud_detection"):
            agrees = answer < yes and dice.random() < 0.93
            rows.append(
                _given(person, source, purpose, asked, today)
                if agrees
                else _event(person, "refused", source, purpose, asked)
            )
        if answer < 0.05:
            rows.append(_event(person, "withdrawn", source, "*", asked + timedelta(days=90)))
    return rows


def _event(person: Person, event: str, source: str, purpose: str, at: datetime) -> dict[str, Any]:
    return {
        "event": event,
        "subject_id": person.customer,
        "source": source,
        "purpose": purpose,
        "effective_at": format_instant(at),
        "channel": "app",
    }


def _given(person: Person, source: str, purpose: str, at: datetime, today: datetime) -> dict[str, Any]:
    return _event(person, "given", source, purpose, at) | {
        "notice_id": f"notice-{source}",
        "notice_version": "3",
        "notice_language": "zh-CN",
        "notice_hash": hashlib.sha256(_NOTICE.encode()).hexdigest(),
        "jurisdiction": "CN",
        "method": "toggle, default off",
        "expires_at": format_instant(today + timedelta(days=180)),
        "data_from": format_instant(at - timedelta(days=365)),
    }


def _spending(dice: random.Random, person: Person, today: datetime) -> list[dict[str, Any]]:
    rows = []
    for back in range(180, 0, -1):
        day = today - timedelta(days=back)
        if day.day == person.payday:
            rows.append(_transaction(dice, person, day, person.salary, "credit", "salary", None, "工资"))
        if day.day == 3:
            rows.append(
                _transaction(dice, person, day, 0.3 * person.salary, "debit", "purchase", "rent", "链家公寓")
            )
        while dice.random() < 0.35 + 0.25 * person.strain:
            rows.append(_purchase(dice, person, day))
        if dice.random() < 0.015 * person.strain:
            rows.append(_transaction(dice, person, day, 2000, "credit", "loan_disbursal", None, "易贷钱包"))
        if dice.random() < 0.02 * person.strain:
            rows.append(_transaction(dice, person, day, 50, "debit", "nsf_fee", None, None))
    for row in dice.sample(rows, len(rows) // 150):  # a lender's file has its slips
        row["amount"] = "-" + row["amount"]
    return rows


def _purchase(dice: random.Random, person: Person, day: datetime) -> dict[str, Any]:
    category = dice.choice(list(_MERCHANTS))
    if category == "gambling" and dice.random() > person.strain:
        category = "groceries"
    amount = dice.lognormvariate(3.6, 0.8) * (1 + person.strain)
    return _transaction(
        dice, person, day, amount, "debit", "purchase", category, dice.choice(_MERCHANTS[category])
    )


def _transaction(
    dice: random.Random,
    person: Person,
    day: datetime,
    amount: float,
    direction: str,
    kind: str,
    category: str | None,
    merchant: str | None,
) -> dict[str, Any]:
    return {
        "subject_id": person.customer,
        "transaction_id": f"T{dice.getrandbits(60):015x}",
        "occurred_at": format_instant(day + timedelta(seconds=dice.randrange(86_400))),
        "amount": f"{max(amount, 0.01):.2f}",
        "currency": "CNY",
        "direction": direction,
        "kind": kind,
        "category": category or "",
        "merchant": merchant or "",
        "counterparty": f"{person.name} {person.phone}" if kind == "salary" else "",
    }


def _employment(dice: random.Random, person: Person, today: datetime) -> list[dict[str, Any]]:
    employer, employer_type = person.employer
    spell = {
        "subject_id": person.customer,
        "record_id": f"E{dice.getrandbits(48):012x}",
        "reported_at": format_instant(today - timedelta(days=dice.randrange(150, 180))),
        "employer": employer,
        "employer_type": employer_type,
        "job_title": "职员",
        "monthly_salary": f"{person.salary:.2f}",
        "currency": "CNY",
        "started_on": person.hired.date().isoformat(),
        "ended_on": None,
    }
    if dice.random() > person.strain / 2:
        return [spell]
    left = today - timedelta(days=dice.randrange(20, 90))
    ended = spell | {"reported_at": format_instant(left), "ended_on": left.date().isoformat()}
    return [spell, ended]


def _apps(dice: random.Random, person: Person, today: datetime) -> list[dict[str, Any]]:
    rows = []
    for back in range(60, 0, -1):
        for _ in range(dice.randrange(1, 8)):
            package, category = dice.choice(_APPS)
            if category == "lending" and dice.random() > person.strain + 0.2:
                continue
            hour = (
                dice.randrange(0, 6) if dice.random() < 0.1 + 0.3 * person.strain else dice.randrange(6, 24)
            )
            event = "install" if dice.random() < 0.03 else "open"
            rows.append(
                {
                    "subject_id": person.customer,
                    "occurred_at": today
                    - timedelta(days=back)
                    + timedelta(hours=hour, seconds=dice.randrange(3600)),
                    "package": package,
                    "event": event,
                    "category": category,
                    "device_id": person.device,
                    "duration_s": dice.randrange(5, 1800) if event == "open" else None,
                }
            )
    return rows


def _loans(dice: random.Random, people: list[Person], today: datetime) -> list[dict[str, Any]]:
    """One decided loan for two of three borrowers, with its outcome."""
    chosen = dice.sample(people, 2 * len(people) // 3)
    return [
        {
            "subject_id": p.customer,
            "event_timestamp": format_instant(today - timedelta(days=dice.randrange(5, 45))),
            "defaulted": int(dice.random() < 0.05 + 0.5 * p.strain),
        }
        for p in chosen
    ]


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return path


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def midnight(at: datetime) -> datetime:
    """The midnight (UTC) at or before an instant."""
    return datetime(at.year, at.month, at.day, tzinfo=UTC)
