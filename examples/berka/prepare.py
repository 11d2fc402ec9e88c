"""From the bank's files to a lender's: consents.jsonl, two spending CSVs, loans.csv.

Read are the loans, who holds which account, and the transactions; ``client.asc`` with its birth numbers is never
opened. What is written holds raw client numbers: it belongs into a private, temporary directory.

Source: P. Berka, Guide to the Financial Data Set, PKDD'99 Discovery Challenge.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from consent.errors import BadInput

#: All of what is read.
TRANSACTION_FILES = ("trans_before_loan_1.csv", "trans_before_loan_2.csv")
LOAN_FILE, HOLDER_FILE = "loan.asc", "disp.asc"
FILES = (LOAN_FILE, HOLDER_FILE, *TRANSACTION_FILES)

#: Where the bank's files come from, and what they mean.
ORIGIN = "http://sorry.vse.cz/~berka/challenge/pkdd1999/berka.htm"

CURRENCY = "CZK"
SOURCE = "spending"
PURPOSES = ("credit_scoring", "model_training")
#: Share of the clients who agree, and share of these who later withdraw.
AGREEING, WITHDRAWING = 0.9, 1 / 3
#: Before the first transaction of the data, and beyond every use of it.
CONSENT_FROM, CONSENT_UNTIL = "1993-01-01T00:00:00Z", "2099-12-31T00:00:00Z"
NOTICE = (
    "Re-enactment on historical data: may the lender use the transactions of your account for this purpose?"
)
EVIDENCE = (
    "examples/berka: nobody was ever asked. Of the clients of loan accounts, ordered by a hash of their number, "
    f"the first {AGREEING:.0%} stand for those who agree, the others for those who refuse."
)

DIRECTIONS = {"PRIJEM": "credit", "VYDAJ": "debit", "VYBER": "debit"}
#: k_symbol -> (kind, category). What the bank calls a payment says more than how it was made, so it comes first.
BY_SYMBOL = {
    "SIPO": ("purchase", "utilities"),
    "POJISTNE": ("purchase", "insurance"),
    "SLUZBY": ("fee", ""),
    "UROK": ("interest", ""),
    "SANKC. UROK": ("nsf_fee", ""),
    "DUCHOD": ("salary", ""),
    "UVER": ("loan_repayment", ""),
}
#: operation -> (kind, category).
BY_OPERATION = {
    "VKLAD": ("cash", ""),
    "VYBER": ("cash", "cash"),
    "VYBER KARTOU": ("cash", "cash"),
    "PREVOD Z UCTU": ("transfer", ""),
    "PREVOD NA UCET": ("transfer", ""),
}
#: Loan status -> the label: defaulted (finished unpaid, or running and in debt).
DEFAULTED = {"A": 0, "B": 1, "C": 0, "D": 1}

Row = Mapping[str, str]


@dataclass(frozen=True)
class Account:
    """Whose data the rows of an account are: its owner's, and everybody else's who may dispose of it."""

    owner: str
    others: tuple[str, ...] = ()

    @property
    def holders(self) -> tuple[str, ...]:
        """All of them, the owner first."""
        return (self.owner, *self.others)


@dataclass(frozen=True)
class Lender:
    """The files that were written, and who is in them.

    Attributes:
        spending: one CSV per file of the bank.
        loans: the entity file: subject_id, event_timestamp, loan_id, defaulted.
        clients: everybody asked, as subject_id, in order.
        agreeing: those who agree.
        holders: loan_id -> everybody whose data the account's rows are, its owner first.
    """

    consents: Path
    spending: tuple[Path, ...]
    loans: Path
    clients: tuple[str, ...]
    agreeing: tuple[str, ...]
    holders: dict[int, tuple[str, ...]]

    @property
    def joint_loans(self) -> frozenset[int]:
        """Loans on an account with more than one data subject."""
        return frozenset(loan for loan, people in self.holders.items() if len(people) > 1)


def find_data(checkout: Path) -> Path:
    """The folder ``berka`` under ``ASSENT_DATA``, or else under ``../shared/data`` of the checkout.

    Raises:
        BadInput: a file is missing; says which, where it was looked for, and where to get it.
    """
    named = os.environ.get("ASSENT_DATA")
    folder = (Path(named) if named else checkout.parent / "shared" / "data").absolute() / "berka"
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise BadInput(
            f"the Berka data is not here: {folder} lacks {', '.join(missing)}",
            remedy="It is the Financial data set of the PKDD'99 Discovery Challenge"
            f" ({ORIGIN}); examples/berka/README.md says how the files are made. ASSENT_DATA is"
            f" {'set' if named else 'not set'}: let it name the folder that holds `berka`, or put `berka` under"
            " ../shared/data beside the checkout.",
        )
    return folder


def write_lender(data: Path, directory: Path) -> Lender:
    """Write a lender's files from the bank's.

    Args:
        data: the folder with `FILES`.
        directory: where to; an existing, private one.
    """
    loans = list(read_rows(data / LOAN_FILE, ";"))
    accounts = read_accounts(read_rows(data / HOLDER_FILE, ";"), {loan["account_id"] for loan in loans})
    clients = sorted({person for account in accounts.values() for person in account.holders})
    agreeing = chosen(clients, AGREEING, "agreement")
    entities = [entity_row(loan, accounts) for loan in loans]
    return Lender(
        consents=_write_jsonl(directory / "consents.jsonl", consent_records(accounts, agreeing)),
        spending=tuple(
            _write_csv(
                directory / f"spending_{number}.csv",
                [spending_row(row, accounts) for row in read_rows(data / name, ",")],
            )
            for number, name in enumerate(TRANSACTION_FILES, 1)
        ),
        loans=_write_csv(directory / "loans.csv", entities),
        clients=tuple(clients),
        agreeing=tuple(agreeing),
        holders={int(loan["loan_id"]): accounts[loan["account_id"]].holders for loan in loans},
    )


def read_rows(path: Path, delimiter: str) -> Iterator[dict[str, str]]:
    """The rows of one of the bank's files, every cell as text."""
    with path.open(encoding="ascii", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter)


def read_accounts(holders: Iterable[Row], wanted: set[str]) -> dict[str, Account]:
    """Owner and further holders of each wanted account, from rows of ``disp.asc``.

    Whoever is not the owner has data in the account all the same, whatever the bank calls them.

    Raises:
        BadInput: an account has no owner, or more than one.
    """
    owners, others = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for row in holders:
        role = owners if row["type"] == "OWNER" else others
        role[row["account_id"]].append(subject_id(row["client_id"]))
    unclear = sum(len(owners[account]) != 1 for account in wanted)
    if unclear:
        raise BadInput(
            f"{HOLDER_FILE}: {unclear} loan accounts have no single owner", remedy="Get the file again."
        )
    return {account: Account(owners[account][0], tuple(sorted(others[account]))) for account in wanted}


def subject_id(client_id: str) -> str:
    """The customer number a lender would know a client by."""
    return f"berka-client-{client_id}"


def chosen(people: Sequence[str], share: float, question: str) -> list[str]:
    """That share of the people, by a hash of the question and their number: the same ones every time."""

    def place(person: str) -> str:
        return hashlib.sha256(f"assent/examples/berka/{question}/{person}".encode()).hexdigest()

    return sorted(sorted(people, key=place)[: round(share * len(people))])


def consent_records(accounts: Mapping[str, Account], agreeing: Iterable[str]) -> Iterator[dict[str, str]]:
    """Everybody's own answer for each purpose, then who shares whose data."""
    yes = set(agreeing)
    for person in sorted({person for account in accounts.values() for person in account.holders}):
        for purpose in PURPOSES:
            yield _given(person, purpose) if person in yes else _statement("refused", person, purpose)
    for _, account in sorted(accounts.items()):
        for other in account.others:
            yield _statement("linked", account.owner, "*") | {"co_subject_id": other}


def _statement(event: str, person: str, purpose: str) -> dict[str, str]:
    return {
        "event": event,
        "subject_id": person,
        "source": SOURCE,
        "purpose": purpose,
        "effective_at": CONSENT_FROM,
        "channel": "re-enactment",
        "evidence_hash": hashlib.sha256(EVIDENCE.encode()).hexdigest(),
    }


def _given(person: str, purpose: str) -> dict[str, str]:
    return _statement("given", person, purpose) | {
        "notice_id": "berka-re-enactment",
        "notice_version": "1",
        "notice_language": "en",
        "notice_hash": hashlib.sha256(NOTICE.encode()).hexdigest(),
        "jurisdiction": "CZ",
        "method": "re-enacted on historical data",
        "expires_at": CONSENT_UNTIL,
        "data_from": CONSENT_FROM,
    }


def spending_row(row: Row, accounts: Mapping[str, Account]) -> dict[str, str]:
    """One transaction under the account's owner; codes nobody knows stay for the validation to judge.

    Raises:
        BadInput: the account is not one of the loan accounts.
    """
    if row["account_id"] not in accounts:
        raise BadInput("a transaction is of an account without a loan", remedy="Get the file again.")
    kind, category = kind_and_category(row["operation"], row["k_symbol"])
    return {
        "subject_id": accounts[row["account_id"]].owner,
        "transaction_id": row["trans_id"],
        "occurred_at": f"{row['date']}T00:00:00Z",
        "amount": row["amount"],
        "currency": CURRENCY,
        "direction": DIRECTIONS.get(row["type"], ""),
        "kind": kind,
        "category": category,
        "counterparty": counterparty(row["bank"], row["account"]),
        "balance_after": row["balance"],
    }


def kind_and_category(operation: str, k_symbol: str) -> tuple[str, str]:
    """What a payment was; a symbol of blanks is none."""
    symbol = k_symbol.strip()
    return BY_SYMBOL.get(symbol) or BY_OPERATION.get(operation.strip(), ("other", ""))


def counterparty(bank: str, account: str) -> str:
    """Bank and account number of the other side; the number became a float, and 0.0 stands for none."""
    number = account.strip().removesuffix(".0")
    return "" if number in ("", "0") else f"{bank.strip()} {number}".strip()


def entity_row(loan: Row, accounts: Mapping[str, Account]) -> dict[str, str | int]:
    """Whom a loan is about, when it was granted, and how it ended. The status is only ever the label.

    Raises:
        BadInput: the status is none that exists.
    """
    if loan["status"] not in DEFAULTED:
        raise BadInput(f"{LOAN_FILE}: a loan has an unknown status", remedy="Get the file again.")
    return {
        "subject_id": accounts[loan["account_id"]].owner,
        "event_timestamp": loan_date(loan["date"]).isoformat().replace("+00:00", "Z"),
        "loan_id": int(loan["loan_id"]),
        "defaulted": DEFAULTED[loan["status"]],
    }


def loan_date(text: str) -> datetime:
    """Midnight (UTC) of a date written YYMMDD; all are of the twentieth century."""
    return datetime.strptime(f"19{text}", "%Y%m%d").replace(tzinfo=UTC)


def _write_jsonl(path: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def _write_csv(path: Path, rows: Sequence[Mapping[str, str | int]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
