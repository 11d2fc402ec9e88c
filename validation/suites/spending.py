"""What makes a row of spending fit for use: one booked transaction of one subject."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa

from validation.quiet import gx
from validation.rules import (
    FILLERS,
    INSTANT,
    MONEY,
    ROW_COLUMNS,
    between,
    dated,
    fresh,
    not_one_of,
    one_of,
    plain,
    present,
    satisfying,
    short,
    suite_of,
    unique,
)

#: One row per transaction. amount: in ``currency``, > 0, its sign is ``direction``; balance_after: in ``currency``.
COLUMNS = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("occurred_at", INSTANT),
        ("amount", MONEY),
        ("currency", pa.string()),
        ("direction", pa.string()),
        ("kind", pa.string()),
        ("category", pa.string()),
        ("merchant", pa.string()),
        ("counterparty", pa.string()),
        ("balance_after", MONEY),
        *ROW_COLUMNS,
    ]
)

DIRECTIONS = ["debit", "credit"]
KINDS = [
    "purchase",
    "transfer",
    "salary",
    "cash",
    "loan_disbursal",
    "loan_repayment",
    "fee",
    "nsf_fee",
    "interest",
    "other",
]
CATEGORIES = [
    "groceries",
    "rent",
    "utilities",
    "fuel",
    "dining",
    "gambling",
    "cash",
    "health",
    "travel",
    "clothing",
    "education",
    "entertainment",
    "insurance",
    "savings",
    "other",
]


def suite(*, currency: str, now: datetime) -> gx.ExpectationSuite:
    """The rules for a batch of transactions.

    Args:
        currency: ISO 4217 code of the home's currency; amounts in any other are not comparable.
        now: the moment of checking, aware.
    """
    return suite_of(
        "spending",
        COLUMNS,
        [
            present("transaction_id"),
            short("transaction_id", shortest=1),
            unique("transaction_id_unique", "subject_key", "transaction_id"),
            *dated("occurred_at", earliest=datetime(1990, 1, 1, tzinfo=UTC), now=now),
            present("amount"),
            between("amount_positive", "amount", min_value=0, strict_min=True),
            between("amount_below_limit", "amount", max_value=10**9, strict_max=True),
            not_one_of("amount_not_filler", "amount", FILLERS),
            not_one_of("balance_after_not_filler", "balance_after", FILLERS),
            present("currency"),
            one_of("currency_is_home", "currency", [currency]),
            present("direction"),
            one_of("direction_known", "direction", DIRECTIONS),
            present("kind"),
            one_of("kind_known", "kind", KINDS),
            one_of("category_known", "category", CATEGORIES),
            short("merchant"),
            short("counterparty"),
            plain("transaction_id", "merchant", "counterparty"),
            satisfying("salary_is_credit", ["kind", "direction"], "kind <> 'salary' or direction = 'credit'"),
            satisfying(
                "purchase_is_debit", ["kind", "direction"], "kind <> 'purchase' or direction = 'debit'"
            ),
            # A lender may take back a loan on the day it pays it out, or refund an overpaid instalment.
            satisfying(
                "loan_disbursal_is_credit",
                ["kind", "direction"],
                "kind <> 'loan_disbursal' or direction = 'credit'",
                severity="warning",
            ),
            satisfying(
                "loan_repayment_is_debit",
                ["kind", "direction"],
                "kind <> 'loan_repayment' or direction = 'debit'",
                severity="warning",
            ),
            # Booked twice under two numbers, or two of the same on one day: a person has to look.
            unique(
                "transaction_not_repeated",
                *("subject_key", "occurred_at", "amount", "direction", "kind"),
                severity="warning",
            ),
            fresh("occurred_at", within=timedelta(days=45), now=now),
            # The shares by category leave such a row out.
            satisfying(
                "purchase_has_category",
                ["kind", "category"],
                "kind <> 'purchase' or category is not null",
                severity="warning",
            ),
        ],
    )
