"""What makes a row of top-ups fit for use: one top-up of one subject's number."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from validation.quiet import gx
from validation.rules import (
    INSTANT,
    MONEY,
    ROW_COLUMNS,
    between,
    dated,
    one_of,
    present,
    short,
    suite_of,
    unique,
)

#: One row per top-up. amount: in ``currency``, > 0.
COLUMNS = pa.schema(
    [
        ("topup_id", pa.string()),
        ("occurred_at", INSTANT),
        ("amount", MONEY),
        ("currency", pa.string()),
        ("channel", pa.string()),
        ("balance_before", MONEY),
        *ROW_COLUMNS,
    ]
)

CHANNELS = ["app", "agent", "voucher", "bank", "airtime_credit"]


def suite(*, currency: str, now: datetime) -> gx.ExpectationSuite:
    """The rules for a batch of top-ups.

    Args:
        currency: ISO 4217 code of the home's currency.
        now: the moment of checking, aware.
    """
    return suite_of(
        "telecom_topups",
        COLUMNS,
        [
            present("topup_id"),
            short("topup_id", shortest=1),
            unique("topup_id_unique", "subject_key", "topup_id"),
            # The first prepaid cards.
            *dated("occurred_at", earliest=datetime(1995, 1, 1, tzinfo=UTC), now=now),
            present("amount"),
            between("amount_positive", "amount", min_value=0, strict_min=True),
            # A top-up is small; a larger value is in the wrong unit.
            between("amount_below_limit", "amount", max_value=10**6, strict_max=True),
            present("currency"),
            one_of("currency_is_home", "currency", [currency]),
            present("channel"),
            one_of("channel_known", "channel", CHANNELS),
            present("balance_before", severity="warning"),
        ],
    )
