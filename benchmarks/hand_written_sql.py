"""What a person who needs neither consent nor proof would write by hand: the peers of bench_ingest."""

from __future__ import annotations

#: Eighteen of the checks of spending's suite, each as what is true of a row that breaks it.
CHECKS = {
    "subject_key_present": "subject_key IS NULL",
    "subject_key_is_pseudonym": "NOT regexp_full_match(subject_key, '[0-9a-f]{32}')",
    "row_number_unique": None,
    "transaction_id_present": "transaction_id IS NULL",
    "transaction_id_length": "length(transaction_id) NOT BETWEEN 1 AND 200",
    "transaction_id_unique": None,
    "occurred_at_present": "occurred_at IS NULL",
    "occurred_at_not_future": "occurred_at > now() + INTERVAL 1 DAY",
    "occurred_at_not_too_old": "occurred_at < TIMESTAMPTZ '1990-01-01 00:00:00+00'",
    "amount_present": "amount IS NULL",
    "amount_positive": "amount <= 0",
    "amount_below_limit": "amount >= 1000000000",
    "currency_is_home": "currency NOT IN ('CNY')",
    "direction_known": "direction NOT IN ('debit', 'credit')",
    "kind_known": "kind NOT IN ('purchase', 'transfer', 'salary', 'cash', 'loan_disbursal', 'loan_repayment',"
    " 'fee', 'nsf_fee', 'interest', 'other')",
    "category_known": "category NOT IN ('groceries', 'rent', 'utilities', 'fuel', 'dining', 'gambling', 'cash',"
    " 'health', 'travel', 'clothing', 'education', 'entertainment', 'insurance', 'savings', 'other')",
    "salary_is_credit": "kind = 'salary' AND direction <> 'credit'",
    "purchase_is_debit": "kind = 'purchase' AND direction <> 'debit'",
}

#: Counts only: no row is named, nothing is split.
COUNT_BROKEN = f"""
SELECT {", ".join(f'count(*) FILTER (WHERE {when}) AS "{rule}"' for rule, when in CHECKS.items() if when)},
    (SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM batch GROUP BY row_number HAVING count(*) > 1))
        AS row_number_unique,
    (SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM batch
        GROUP BY subject_key, transaction_id HAVING count(*) > 1)) AS transaction_id_unique
FROM batch
"""

#: Who is known, with nothing asked about when or what for.
PLAIN_JOIN = "SELECT a.position FROM asked a JOIN usable u ON a.subject_key = u.subject_key"

_DAILY = """
txn AS (
    SELECT subject_key, epoch_us(occurred_at) // 86400000000 AS day, amount, direction, kind, category
    FROM event QUALIFY row_number() OVER (
        PARTITION BY subject_key, transaction_id ORDER BY occurred_at, batch_order, row_number) = 1),
daily AS (
    SELECT subject_key, day, count(*) AS txns,
        sum(amount) FILTER (direction = 'debit') AS spend,
        sum(amount) FILTER (direction = 'debit'
            AND category IN ('groceries', 'rent', 'utilities', 'fuel', 'health')) AS essentials,
        sum(amount) FILTER (direction = 'debit' AND category = 'gambling') AS gambling,
        sum(amount) FILTER (direction = 'debit' AND (kind = 'cash' OR category = 'cash')) AS cash,
        sum(amount) FILTER (direction = 'debit' AND kind = 'loan_repayment') AS repaid,
        sum(amount) FILTER (direction = 'credit' AND kind = 'salary') AS salary,
        sum(amount) FILTER (direction = 'credit' AND kind <> 'loan_disbursal') AS inflow,
        count(*) FILTER (direction = 'credit' AND kind = 'loan_disbursal') AS loans,
        count(*) FILTER (kind = 'nsf_fee') AS bounced
    FROM txn GROUP BY ALL),
days AS (
    SELECT k.subject_key, k.day, d.* EXCLUDE (subject_key, day)
    FROM (SELECT subject_key, day FROM spine UNION SELECT subject_key, day FROM daily) k
    LEFT JOIN daily d ON d.subject_key = k.subject_key AND d.day = k.day)
"""

_OVER = (
    "(PARTITION BY subject_key ORDER BY day RANGE BETWEEN {days} PRECEDING AND CURRENT ROW)"  # of day numbers
)


def _ratio(part: str, whole: str) -> str:
    return f"CASE WHEN {whole} > 0 THEN {part}::DOUBLE / {whole}::DOUBLE END"


#: Fifteen of spending's features.
FEATURES = {
    "spend_7d": "spend_7::DOUBLE",
    "spend_30d": "spend_30::DOUBLE",
    "spend_90d": "spend_90::DOUBLE",
    "txn_count_30d": "txns_30",
    "income_30d": "income_30::DOUBLE",
    "income_90d": "income_90::DOUBLE",
    "inflow_90d": "inflow_90::DOUBLE",
    "paydays_90d": "paydays_90",
    "essentials_share_30d": _ratio("essentials_30", "spend_30"),
    "gambling_share_30d": _ratio("gambling_30", "spend_30"),
    "cash_share_30d": _ratio("cash_30", "spend_30"),
    "repayment_to_income_30d": _ratio("repaid_30", "income_30"),
    "new_loans_90d": "loans_90",
    "bounced_90d": "bounced_90",
    "max_day_spend_30d": "most_30::DOUBLE",
}

WINDOW_FEATURES = f"""
WITH {_DAILY},
summed AS (
    SELECT subject_key, day,
        coalesce(sum(spend) OVER w7, 0) AS spend_7, coalesce(sum(spend) OVER w30, 0) AS spend_30,
        coalesce(sum(spend) OVER w90, 0) AS spend_90, coalesce(sum(txns) OVER w30, 0) AS txns_30,
        coalesce(sum(salary) OVER w30, 0) AS income_30, coalesce(sum(salary) OVER w90, 0) AS income_90,
        coalesce(sum(inflow) OVER w90, 0) AS inflow_90,
        coalesce(count(*) FILTER (salary > 0) OVER w90, 0) AS paydays_90,
        coalesce(sum(essentials) OVER w30, 0) AS essentials_30,
        coalesce(sum(gambling) OVER w30, 0) AS gambling_30, coalesce(sum(cash) OVER w30, 0) AS cash_30,
        coalesce(sum(repaid) OVER w30, 0) AS repaid_30, coalesce(sum(loans) OVER w90, 0) AS loans_90,
        coalesce(sum(bounced) OVER w90, 0) AS bounced_90, coalesce(max(spend) OVER w30, 0) AS most_30
    FROM days WINDOW w7 AS {_OVER.format(days=6)}, w30 AS {_OVER.format(days=29)}, w90 AS {_OVER.format(days=89)})
SELECT subject_key, day, {", ".join(f"{sql} AS {name}" for name, sql in FEATURES.items())}
FROM summed SEMI JOIN spine USING (subject_key, day)
"""
