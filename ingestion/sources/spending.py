"""Spending: the transactions of a bank account or wallet, and what they say about over-indebtedness.

Amounts are added as they stand: a subject's rows are expected in one currency, and nothing is converted.
"""

from __future__ import annotations

import pyarrow as pa

from ingestion.source import INSTANT, MONEY, Column, Feature, Source
from ingestion.sources import regulation as note
from ingestion.sources import windows as w
from ingestion.sources.windows import KEY, Table, Value

#: What a household can hardly do without. Health is in it so that medical bills never count against anybody.
ESSENTIALS = ("groceries", "rent", "utilities", "fuel", "health")
LOAN_KINDS = ("loan_disbursal", "loan_repayment")
#: In cents. A payday above 10 trillion units counts as that, so that exact sums of squares fit 38 digits.
PAYDAY_CAP = 10**15


def _transactions(events: Table) -> Table:
    """One row per transaction: the first that became known. Money in cents."""
    known = w.in_order_known(events, "occurred_at")
    return w.first_known(known, "transaction_id").mutate(
        cents=w.minor_units(known.amount), balance=w.minor_units(known.balance_after)
    )


def active_days(events: Table) -> Table:
    """Days with a transaction."""
    return _transactions(events).select(*KEY).distinct()


def _daily(txns: Table) -> Table:
    """Totals by subject and day. Money in cents, null where there was none of the kind."""
    debit, credit = txns.direction == "debit", txns.direction == "credit"

    def cents(when: Value) -> Value:
        return txns.cents.sum(where=when)

    return txns.group_by(*KEY).aggregate(
        txns=txns.count(),
        spend=cents(debit),
        essentials=cents(debit & txns.category.isin(ESSENTIALS)),
        gambling=cents(debit & (txns.category == "gambling")),
        cash=cents(debit & ((txns.kind == "cash") | (txns.category == "cash"))),
        repaid=cents(debit & (txns.kind == "loan_repayment")),
        salary=cents(credit & (txns.kind == "salary")),
        inflow=cents(credit & (txns.kind != "loan_disbursal")),
        loans=txns.count(where=credit & (txns.kind == "loan_disbursal")),
        bounced=txns.count(where=txns.kind == "nsf_fee"),
        balance_min=txns.balance.min(),
        balance_seq=txns.seq.max(where=txns.balance.notnull()),
    )


def _days(txns: Table, spine: Table) -> Table:
    """The calendar: daily totals, salary by payday, and changes of the number of lenders."""
    lenders = w.distinct_deltas(txns.filter(txns.kind.isin(LOAN_KINDS)), "counterparty", 90, "lenders")
    days = w.calendar(spine, _daily(txns), lenders)
    return days.mutate(
        payday=(days.salary > 0).ifelse(1, 0),
        pay=(days.salary > PAYDAY_CAP).ifelse(PAYDAY_CAP, days.salary).cast("decimal(38, 0)"),
    )


def _over_windows(days: Table) -> Table:
    """The calendar's rows with sums over their windows, in cents."""
    return days.select(
        *KEY,
        spend_7=w.total(days.spend, 7),
        spend_30=w.total(days.spend, 30),
        spend_90=w.total(days.spend, 90),
        txn_count_30d=w.total(days.txns, 30),
        income_30=w.total(days.salary, 30),
        income_90=w.total(days.salary, 90),
        inflow_90=w.total(days.inflow, 90),
        paydays_90d=w.total(days.payday, 90),
        pay_90=w.total(days.pay, 90),
        pay_squares_90=w.total(days.pay * days.pay, 90),
        essentials_30=w.total(days.essentials, 30),
        gambling_30=w.total(days.gambling, 30),
        cash_30=w.total(days.cash, 30),
        repaid_30=w.total(days.repaid, 30),
        repaid_90=w.total(days.repaid, 90),
        new_loans_90d=w.total(days.loans, 90),
        lenders_90d=w.distinct_now(days.lenders),
        bounced_90d=w.total(days.bounced, 90),
        max_day_spend_30=days.spend.max().over(w.trailing(30)).coalesce(0),
        balance_min_90=days.balance_min.min().over(w.trailing(90)),
        seq=days.balance_seq.max().over(w.so_far()),
        days_since_last_txn=w.days_since(days, days.txns > 0),
    )


def compute(events: Table, spine: Table) -> Table:
    """Features of each spine row; see ``Source.compute``."""
    txns = _transactions(w.of_subjects(events, spine))
    rows = _over_windows(_days(txns, spine)).semi_join(spine, list(KEY))
    rows = w.attach(rows, txns.select("subject_key", "seq", "balance"), ("subject_key", "seq"))
    return w.declared(
        rows.mutate(
            spend_7d=w.units(rows.spend_7),
            spend_30d=w.units(rows.spend_30),
            spend_90d=w.units(rows.spend_90),
            income_30d=w.units(rows.income_30),
            income_90d=w.units(rows.income_90),
            inflow_90d=w.units(rows.inflow_90),
            income_cv_90d=(rows.paydays_90d > 1).ifelse(
                w.variation(rows.paydays_90d, rows.pay_90, rows.pay_squares_90), None
            ),
            essentials_share_30d=w.ratio(rows.essentials_30, rows.spend_30),
            gambling_share_30d=w.ratio(rows.gambling_30, rows.spend_30),
            cash_share_30d=w.ratio(rows.cash_30, rows.spend_30),
            repayment_to_income_30d=w.ratio(rows.repaid_30, rows.income_30),
            repayment_to_inflow_90d=w.ratio(rows.repaid_90, rows.inflow_90),
            max_day_spend_30d=w.units(rows.max_day_spend_30),
            balance_min_90d=w.units(rows.balance_min_90),
            balance_last=w.units(rows.balance),
        ),
        FEATURES,
    )


COLUMNS = (
    Column("transaction_id", pa.string(), "The bank's own number of the transaction; unique for a subject."),
    Column("occurred_at", INSTANT, "When the account was debited or credited."),
    Column("amount", MONEY, "Money moved, in units of `currency`; above zero, the sign is in `direction`."),
    Column("currency", pa.string(), "ISO 4217 code; one currency for all rows of a subject."),
    Column("direction", pa.string(), "`debit` (money out) or `credit` (money in)."),
    Column(
        "kind",
        pa.string(),
        "purchase, transfer, salary, cash, loan_disbursal, loan_repayment, fee, nsf_fee (a payment bounced for "
        "lack of funds), interest or other.",
    ),
    Column(
        "category",
        pa.string(),
        "What it was for: groceries, rent, utilities, fuel, dining, gambling, cash, health, travel, clothing, "
        "education, entertainment, insurance, savings or other; null if unknown.",
        required=False,
    ),
    Column("merchant", pa.string(), "Where it was spent. Never a feature.", required=False),
    Column(
        "counterparty",
        pa.string(),
        "The other side. Tells lenders apart on loan rows; its name is never a feature.",
        required=False,
    ),
    Column(
        "balance_after",
        MONEY,
        "Balance after the transaction, in units of `currency`; may be negative.",
        required=False,
    ),
)

FEATURES = (
    Feature(
        "spend_7d",
        "float64",
        "currency units",
        "7 days",
        "All debits.",
        why="Against spend_30d it shows a burst of spending just before an application.",
        regulation=note.OUTGOINGS,
    ),
    Feature(
        "spend_30d",
        "float64",
        "currency units",
        "30 days",
        "All debits.",
        why="The month's outgoings, against which an instalment has to fit.",
        regulation=note.OUTGOINGS,
    ),
    Feature(
        "spend_90d",
        "float64",
        "currency units",
        "90 days",
        "All debits.",
        why="The level of outgoings over a quarter: over-indebtedness.",
        regulation=note.OUTGOINGS,
    ),
    Feature(
        "txn_count_30d",
        "int64",
        "transactions",
        "30 days",
        "Transactions of any kind.",
        why="Tells a living account from one opened or revived for the application.",
        regulation="Low for people who live on cash, often older, rural or poor: let it say how much is known,"
        " not how good somebody is.",
    ),
    Feature(
        "income_30d",
        "float64",
        "currency units",
        "30 days",
        "Credits of kind salary.",
        why="Ability to repay next month's instalment.",
        regulation=note.INCOME,
    ),
    Feature(
        "income_90d",
        "float64",
        "currency units",
        "90 days",
        "Credits of kind salary.",
        why="Income level that one missed or early payday does not upset.",
        regulation=note.INCOME,
    ),
    Feature(
        "inflow_90d",
        "float64",
        "currency units",
        "90 days",
        "All credits but loan disbursals.",
        why="Income of people whose bank does not tag salaries; borrowed money is left out because it "
        "is no income.",
        regulation="It counts benefits and pensions as income, as the law asks (US Regulation B, 12 CFR "
        "1002.6(b)(5), for pensions): keep it beside income_90d.",
    ),
    Feature(
        "paydays_90d",
        "int64",
        "days",
        "90 days",
        "Days with a salary credit.",
        why="Income stability: about 3 for monthly pay, 13 for weekly pay.",
        regulation="Tells how somebody is paid: weekly pay is no fault. Use it as a sign of missing pay, not "
        "as more is better.",
    ),
    Feature(
        "income_cv_90d",
        "float64",
        "ratio",
        "90 days",
        "Standard deviation (population) of salary per payday over its mean.",
        "fewer than 2 paydays in the window",
        why="Income stability: 0 is the same every time.",
        regulation="Part-time, seasonal and gig pay vary more, and more women and migrants work so: test "
        "outcomes by group.",
    ),
    Feature(
        "essentials_share_30d",
        "float64",
        "share 0-1",
        "30 days",
        "Debits for groceries, rent, utilities, fuel and health over all debits.",
        "no debit in the window",
        why="A high share leaves little room to cut back when money is short.",
        regulation="High for poor and large families. Health is added in so that nobody can read it apart: "
        "health data may not be used at all (GDPR Art. 9; Directive (EU) 2023/2225 Art. 18(3)).",
    ),
    Feature(
        "gambling_share_30d",
        "float64",
        "share 0-1",
        "30 days",
        "Debits for gambling over all debits.",
        "no debit in the window",
        why="Over-indebtedness: the share that a responsible lender asks about.",
        regulation="Near to health: from much gambling an addiction can be inferred, and what lets such data "
        "be inferred is treated like it (CJEU C-184/20; GDPR Art. 9). Use it to protect, never for "
        "marketing.",
    ),
    Feature(
        "cash_share_30d",
        "float64",
        "share 0-1",
        "30 days",
        "Debits of kind or category cash over all debits.",
        "no debit in the window",
        why="The part of spending that the other shares cannot see.",
        regulation="Higher among older and rural people: says what is not known, and should not count against "
        "anybody by itself.",
    ),
    Feature(
        "repayment_to_income_30d",
        "float64",
        "ratio",
        "30 days",
        "Loan repayments over salary.",
        "no salary in the window",
        why="Over-indebtedness: the debt-service ratio.",
        regulation=note.COMMITMENTS,
    ),
    Feature(
        "repayment_to_inflow_90d",
        "float64",
        "ratio",
        "90 days",
        "Loan repayments over inflow_90d.",
        "no inflow in the window",
        why="The debt-service ratio where salaries are not tagged.",
        regulation=note.COMMITMENTS,
    ),
    Feature(
        "new_loans_90d",
        "int64",
        "loans",
        "90 days",
        "Loan disbursals received.",
        why="Loan stacking: several at once often precede default.",
        regulation=note.COMMITMENTS,
    ),
    Feature(
        "lenders_90d",
        "int64",
        "lenders",
        "90 days",
        "Distinct counterparties of loan disbursals and repayments; rows without a counterparty are"
        " not counted.",
        why="Loan stacking across lenders, which no single lender sees.",
        regulation="Counts, never names: a lender's name could tell of religion or origin (an Islamic bank, a "
        "migrants' fund).",
    ),
    Feature(
        "bounced_90d",
        "int64",
        "transactions",
        "90 days",
        "Fees for insufficient funds.",
        why="Payments that bounced: the most direct sign of over-indebtedness.",
        regulation="Easily told to the applicant as a reason; banks' own habits of charging differ, so compare"
        " within a bank.",
    ),
    Feature(
        "max_day_spend_30d",
        "float64",
        "currency units",
        "30 days",
        "Greatest daily total of debits, 0 if there was none.",
        why="An account emptied in one go: anti-fraud.",
        regulation="One rent or hospital bill looks the same: a person should look before anything is refused "
        "for it (GDPR Art. 22(3)).",
    ),
    Feature(
        "balance_min_90d",
        "float64",
        "currency units",
        "90 days",
        "Lowest known balance.",
        "no balance known in the window",
        why="How near the subject comes to having nothing: over-indebtedness.",
        regulation=note.WEALTH,
    ),
    Feature(
        "balance_last",
        "float64",
        "currency units",
        "whole history",
        "Latest known balance.",
        "no balance known so far",
        why="The buffer for the first instalment.",
        regulation=note.WEALTH,
    ),
    Feature(
        "days_since_last_txn",
        "int64",
        "days",
        "whole history",
        "Days since the last transaction, 0 on its day.",
        "no transaction so far",
        why="How current every other figure of this source is.",
        regulation=note.CURRENT,
    ),
)

SOURCE = Source(
    name="spending",
    definition="spending_v1",
    doc="Transactions of a bank account or wallet: income level and regularity, over-indebtedness, loan stacking. "
    "A transaction_id seen twice counts once, as it first became known (earliest occurred_at, then batch, then "
    "row).",
    columns=COLUMNS,
    event_time="occurred_at",
    identity=("transaction_id",),
    features=FEATURES,
    active_days=active_days,
    compute=compute,
)
