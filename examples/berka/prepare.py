"""From the bank's files to a lender's consents.jsonl and loans.csv.

Read are the loans and who holds which account; ``client.asc`` with its birth numbers is never opened. The
transactions themselves go into the line as the bank wrote them, through ``spending.toml``. What is written holds raw
client numbers: it belongs into a private, temporary directory.

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

MAPPING = Path(__file__).with_name("spending.toml")
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
        spending: the bank's own transaction files.
        loans: the entity file: subject_id, event_timestamp, loan_id, defaulted.
        clients: everybody asked, as subject_id, in order.
        agreeing: those who agree.
        holders: loan_id -> everybody whose data the account's rows are, its owner first.
        accounts: account_id -> the same.
    """

    consents: Path
    spending: tuple[Path, ...]
    loans: Path
    clients: tuple[str, ...]
    agreeing: tuple[str, ...]
    holders: dict[int, tuple[str, ...]]
    accounts: dict[str, tuple[str, ...]]

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
        spending=tuple(data / name for name in TRANSACTION_FILES),
        loans=_write_csv(directory / "loans.csv", entities),
        clients=tuple(clients),
        agreeing=tuple(agreeing),
        holders={int(loan["loan_id"]): accounts[loan["account_id"]].holders for loan in loans},
        accounts={number: account.holders for number, account in accounts.items()},
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
