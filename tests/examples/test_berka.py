"""The Berka example: how the bank's rows become a lender's files, and the whole line on the real data."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from consent.errors import BadInput
from examples.berka import prepare
from examples.berka.model import out_of_fold_auc, standard_error
from examples.berka.prepare import Account
from examples.berka.run import CHECKOUT, FEATURES, Outcome, comparison, run
from ingestion.mapped_rows import read_mapped, read_mapping
from ingestion.sources import SOURCES

Mapped = Callable[..., dict[str, Any]]

ACCOUNTS = {"7": Account("berka-client-1", ("berka-client-2",)), "8": Account("berka-client-3")}


def transaction(**cells: str) -> dict[str, str]:
    """A made-up row of the bank's transactions."""
    return {
        "trans_id": "100",
        "account_id": "7",
        "date": "1996-02-29",
        "type": "VYDAJ",
        "operation": "VYBER",
        "amount": "1200",
        "balance": "-35",
        "k_symbol": "",
        "bank": "",
        "account": "",
    } | cells


@pytest.fixture
def mapped(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A row of the bank as the example's mapping file reads it."""
    bank = write_bank(tmp_path / "bank")
    mapping = read_mapping(prepare.MAPPING, SOURCES["spending"])

    def read(**cells: str) -> dict[str, Any]:
        rows = [transaction(trans_id="99"), transaction(**cells)]
        path = bank / "trans_before_loan_1.csv"
        path.write_text(
            "\n".join(",".join(row) for row in [transaction(), *(r.values() for r in rows)]) + "\n"
        )
        return read_mapped(path, SOURCES["spending"], mapping).rows.to_pylist()[1]

    return read


def holder(client: str, account: str, kind: str) -> dict[str, str]:
    return {"disp_id": "1", "client_id": client, "account_id": account, "type": kind}


def loan(**cells: str) -> dict[str, str]:
    return {"loan_id": "5", "account_id": "7", "date": "960301", "status": "A"} | cells


class TestTransactions:
    """examples/berka/spending.toml, line by line."""

    def test_a_row_is_under_the_owner_and_keeps_what_the_bank_wrote(self, mapped: Mapped) -> None:
        assert mapped() == {
            "subject_id": "berka-client-1",
            "transaction_id": "100",
            "occurred_at": datetime(1996, 2, 29, tzinfo=UTC),
            "amount": Decimal("1200.00"),
            "currency": "CZK",
            "direction": "debit",
            "kind": "cash",
            "category": "cash",
            "merchant": None,
            "counterparty": None,
            "balance_after": Decimal("-35.00"),
            "row_number": 1,
            "malformed": None,
            "raw": None,
        }

    @pytest.mark.parametrize(
        ("code", "direction"), [("PRIJEM", "credit"), ("VYDAJ", "debit"), ("VYBER", "debit")]
    )
    def test_vyber_is_a_third_kind_of_debit(self, code: str, direction: str, mapped: Mapped) -> None:
        assert mapped(type=code)["direction"] == direction

    @pytest.mark.parametrize(
        ("operation", "symbol", "kind", "category"),
        [
            ("VKLAD", "", "cash", None),
            ("VYBER", "", "cash", "cash"),
            ("VYBER KARTOU", "", "cash", "cash"),
            ("PREVOD Z UCTU", "", "transfer", None),
            ("PREVOD NA UCET", "", "transfer", None),
            ("PREVOD NA UCET", " ", "transfer", None),
            ("PREVOD NA UCET", "SIPO", "purchase", "utilities"),
            ("VYBER", "SIPO", "purchase", "utilities"),
            ("PREVOD NA UCET", "POJISTNE", "purchase", "insurance"),
            ("PREVOD NA UCET", "UVER", "loan_repayment", None),
            ("PREVOD Z UCTU", "DUCHOD", "salary", None),
            ("", "UROK", "interest", None),
            ("", "", "other", None),
        ],
    )
    def test_the_symbol_comes_before_the_operation(
        self, operation: str, symbol: str, kind: str, category: str | None, mapped: Mapped
    ) -> None:
        row = mapped(operation=operation, k_symbol=symbol)
        assert (row["kind"], row["category"], row["malformed"]) == (kind, category, None)

    @pytest.mark.parametrize("symbol", ["SLUZBY", "SANKC. UROK"])
    def test_a_charge_is_no_cash_although_it_was_taken_like_it(self, symbol: str, mapped: Mapped) -> None:
        row = mapped(operation="VYBER", k_symbol=symbol)
        assert row["kind"] in ("fee", "nsf_fee")
        assert row["category"] is None

    @pytest.mark.parametrize(
        ("cells", "faulty"),
        [
            ({"type": "X"}, "direction"),
            ({"operation": "NEW CODE"}, "kind,category"),
            ({"k_symbol": "NEW CODE"}, "kind,category"),
        ],
    )
    def test_a_code_nobody_knows_is_left_for_the_validation(
        self, cells: dict[str, str], faulty: str, mapped: Mapped
    ) -> None:
        assert mapped(**cells)["malformed"] == faulty

    def test_the_other_account_became_a_float(self, mapped: Mapped) -> None:
        assert mapped(bank="ST", account="66487163.0")["counterparty"] == "ST 66487163"
        assert mapped(account="66487163.0")["counterparty"] == "66487163"

    @pytest.mark.parametrize("account", ["", "0.0", "0"])
    def test_no_other_account_is_no_counterparty(self, account: str, mapped: Mapped) -> None:
        assert mapped(account=account, bank="ST")["counterparty"] is None

    def test_an_amount_of_zero_is_left_for_the_validation(self, mapped: Mapped) -> None:
        assert mapped(amount="0", k_symbol="SANKC. UROK")["amount"] == Decimal("0.00")

    def test_an_account_nobody_knows_is_nobodys_row(self, mapped: Mapped) -> None:
        assert mapped(account_id="9")["subject_id"] is None


class TestAccounts:
    def test_owner_and_disponent_are_two_data_subjects(self) -> None:
        rows = [holder("2", "7", "DISPONENT"), holder("1", "7", "OWNER"), holder("9", "6", "OWNER")]
        assert prepare.read_accounts(rows, {"7"}) == {"7": ACCOUNTS["7"]}

    def test_whoever_is_not_the_owner_is_a_data_subject_too(self) -> None:
        rows = [holder("1", "7", "OWNER"), holder("2", "7", "USER")]
        assert prepare.read_accounts(rows, {"7"})["7"].holders == ("berka-client-1", "berka-client-2")

    @pytest.mark.parametrize("rows", [[], [("1", "DISPONENT")], [("1", "OWNER"), ("2", "OWNER")]])
    def test_an_account_needs_one_owner(self, rows: list[tuple[str, str]]) -> None:
        with pytest.raises(BadInput, match="1 loan accounts"):
            prepare.read_accounts([holder(client, "7", kind) for client, kind in rows], {"7"})


class TestLoans:
    def test_a_loan_asks_about_its_owner_at_its_date(self) -> None:
        assert prepare.entity_row(loan(status="B"), ACCOUNTS) == {
            "subject_id": "berka-client-1",
            "event_timestamp": "1996-03-01T00:00:00Z",
            "loan_id": 5,
            "defaulted": 1,
        }

    @pytest.mark.parametrize(("status", "defaulted"), [("A", 0), ("B", 1), ("C", 0), ("D", 1)])
    def test_the_label_is_a_bad_end_finished_or_running(self, status: str, defaulted: int) -> None:
        assert prepare.entity_row(loan(status=status), ACCOUNTS)["defaulted"] == defaulted

    def test_a_status_nobody_knows_is_no_label(self) -> None:
        with pytest.raises(BadInput):
            prepare.entity_row(loan(status="E"), ACCOUNTS)

    def test_two_digits_are_a_year_of_the_twentieth_century(self) -> None:
        assert prepare.loan_date("681208") == datetime(1968, 12, 8, tzinfo=UTC)


class TestConsents:
    def test_each_client_answers_for_each_purpose_apart(self) -> None:
        records = list(prepare.consent_records(ACCOUNTS, ["berka-client-1", "berka-client-3"]))
        answers = {(r["subject_id"], r["purpose"]): r["event"] for r in records if r["event"] != "linked"}
        assert answers == {
            (f"berka-client-{client}", purpose): event
            for client, event in ((1, "given"), (2, "refused"), (3, "given"))
            for purpose in ("credit_scoring", "model_training")
        }

    def test_a_second_data_subject_is_linked_to_the_owner(self) -> None:
        links = [r for r in prepare.consent_records(ACCOUNTS, []) if r["event"] == "linked"]
        assert [(r["subject_id"], r["co_subject_id"]) for r in links] == [
            ("berka-client-1", "berka-client-2")
        ]

    def test_a_record_can_be_imported_and_names_its_evidence(self) -> None:
        from consent.exchange.statements import parse_record

        for record in prepare.consent_records(ACCOUNTS, ["berka-client-1"]):
            parsed = parse_record(record, now=datetime(2026, 1, 1, tzinfo=UTC))
            assert parsed.effective_at == datetime(1993, 1, 1, tzinfo=UTC)
            assert parsed.evidence_hash is not None
            assert parsed.grant is None or parsed.grant.data_from == parsed.effective_at

    def test_the_same_people_are_chosen_every_time_whatever_their_order(self) -> None:
        people = [f"p{number}" for number in range(100)]
        some = prepare.chosen(people, 0.9, "agreement")
        assert len(some) == 90
        assert some == prepare.chosen(people[::-1], 0.9, "agreement")
        assert some != prepare.chosen(people, 0.9, "withdrawal")


def write_bank(folder: Path) -> Path:
    """A tiny made-up bank in the shape of the real files."""
    folder.mkdir()
    (folder / "disp.asc").write_bytes(
        b'"disp_id";"client_id";"account_id";"type"\r\n1;1;7;"OWNER"\r\n2;2;7;"DISPONENT"\r\n3;3;8;"OWNER"\r\n'
    )
    (folder / "loan.asc").write_bytes(
        b'"loan_id";"account_id";"date";"amount";"duration";"payments";"status"\r\n'
        b'5;7;960301;12000;12;1000.00;"D"\r\n6;8;960302;12000;12;1000.00;"C"\r\n'
    )
    header = ",".join(transaction()) + "\n"
    for name, account in zip(prepare.TRANSACTION_FILES, ("7", "8"), strict=True):
        (folder / name).write_text(header + ",".join(transaction(account_id=account).values()) + "\n")
    return folder


class TestFiles:
    def test_a_lenders_files_are_written(self, tmp_path: Path) -> None:
        lender = prepare.write_lender(write_bank(tmp_path / "berka"), tmp_path)
        assert lender.holders == {5: ("berka-client-1", "berka-client-2"), 6: ("berka-client-3",)}
        assert lender.joint_loans == {5}
        assert lender.clients == ("berka-client-1", "berka-client-2", "berka-client-3")
        assert len(lender.consents.read_text().splitlines()) == 3 * 2 + 1
        assert [path.name for path in lender.spending] == list(prepare.TRANSACTION_FILES)
        assert [row["defaulted"] for row in csv.DictReader(lender.loans.open())] == ["1", "0"]

    def test_the_file_with_birth_numbers_is_not_needed(self) -> None:
        assert "client.asc" not in prepare.FILES

    def test_absent_data_is_said_with_a_stable_exit_code(self, tmp_path: Path) -> None:
        write_bank(tmp_path / "berka")
        (tmp_path / "berka" / "trans_before_loan_2.csv").unlink()
        process = subprocess.run(
            [sys.executable, str(CHECKOUT / "examples" / "berka" / "run.py"), "--json"],
            env=os.environ | {"ASSENT_DATA": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (process.returncode, process.stdout) == (6, "")
        error = json.loads(process.stderr)["error"]
        assert error["code"] == "BAD_INPUT"
        assert error["message"].endswith(f"{tmp_path / 'berka'} lacks trans_before_loan_2.csv")
        assert "PKDD'99" in error["remedy"]
        assert prepare.ORIGIN in error["remedy"]

    def test_the_data_is_looked_for_beside_the_checkout(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("ASSENT_DATA", raising=False)
        (tmp_path / "shared" / "data").mkdir(parents=True)
        folder = write_bank(tmp_path / "shared" / "data" / "berka")
        assert prepare.find_data(tmp_path / "checkout") == folder


class TestModel:
    def test_the_standard_error_of_pure_chance_is_that_of_mann_and_whitney(self) -> None:
        assert standard_error(0.5, 40, 90) == pytest.approx(((40 + 90 + 1) / (12 * 40 * 90)) ** 0.5)

    def test_noise_ranks_nobody_and_a_copy_of_the_label_everybody(self) -> None:
        dice = np.random.default_rng(1)
        defaulted = (dice.random(300) < 0.2).astype(int)
        noise = dice.random((300, 3))
        empty = np.full((300, 1), np.nan)
        auc = out_of_fold_auc(np.hstack([noise, empty]), defaulted)
        assert auc.low < 0.5 < auc.high
        holes = np.where(dice.random((300, 1)) < 0.1, np.nan, defaulted[:, None].astype(float))
        assert out_of_fold_auc(np.hstack([noise, holes]), defaulted).mean > 0.9


# ------------------------------------------------------------------------------------------- the whole line


def find_data_or_skip() -> Path:
    try:
        return prepare.find_data(CHECKOUT)
    except BadInput as absent:
        pytest.skip(absent.message)


def test_the_whole_line_on_the_real_data(tmp_path: Path) -> None:
    """One run, many claims: it takes half a minute."""
    data = find_data_or_skip()
    transcript: list[str] = []
    outcome = run(data, tmp_path / "home", files=tmp_path, tell=transcript.append)
    assert_every_transaction_is_accounted_for(outcome)
    agreeing = set(outcome.lender.agreeing)
    staying = agreeing - set(prepare.chosen(outcome.lender.agreeing, prepare.WITHDRAWING, "withdrawal"))
    assert_given_where_all_holders_agree(outcome, outcome.first, agreeing)
    assert_given_where_all_holders_agree(outcome, outcome.second, staying)
    assert_withdrawals_mask_more(outcome)
    assert_values_of_the_others_are_unchanged(outcome)
    assert_features_see_only_what_came_before_the_loan(outcome, data)
    assert_nobody_is_named(outcome, transcript)
    assert_the_readme_shows_these_figures(transcript)


def given(frame: pd.DataFrame) -> pd.Series:
    """Whether each row has any feature."""
    return frame[FEATURES].notna().any(axis=1)


def assert_every_transaction_is_accounted_for(outcome: Outcome) -> None:
    counts = outcome.report["ingested"]
    assert counts["rows"] == 54_694
    assert counts["loaded"] + counts["refused"] + counts["quarantined"] == 54_694
    assert counts["rejected"] == 0
    assert set(counts["quarantined_by_rule"]) == {"amount_positive"}
    assert outcome.report["imported"]["rejected_by_reason"] == {}


def assert_given_where_all_holders_agree(outcome: Outcome, frame: pd.DataFrame, agreeing: set[str]) -> None:
    """In particular, a joint account with one holder who refuses is masked whole."""
    assert len(frame) == 682
    assert frame["defaulted"].sum() == 76
    lender = outcome.lender
    expected = [set(lender.holders[number]) <= agreeing for number in frame["loan_id"]]
    assert given(frame).tolist() == expected
    one_refuses = [n for n in lender.joint_loans if len(set(lender.holders[n]) & agreeing) == 1]
    assert len(one_refuses) > 20
    assert frame[frame["loan_id"].isin(one_refuses)][FEATURES].isna().all(axis=None)


def assert_withdrawals_mask_more(outcome: Outcome) -> None:
    before, after = outcome.report["with_all_consents"], outcome.report["after_withdrawals"]
    assert set(before["masked"]) == {"NO_GRANT"}
    assert after["masked"]["WITHDRAWN"] > 100
    for part, frame in ((before, outcome.first), (after, outcome.second)):
        assert part["used"] + sum(part["masked"].values()) + part["without_data"] == part["loans"] == 682
        assert part["features"] == 12
        assert part["defaults"] == frame[given(frame)]["defaulted"].sum()
        assert 0.6 < part["auc"]["low"] < part["auc"]["mean"] < part["auc"]["high"] < 0.95
    assert after["clients"] == before["clients"] - outcome.report["clients"]["withdrew"]
    assert outcome.report["clients"]["withdrew"] == round(before["clients"] / 3)


def assert_values_of_the_others_are_unchanged(outcome: Outcome) -> None:
    still = given(outcome.second)
    assert still.sum() > 300
    assert given(outcome.first)[still].all()
    pd.testing.assert_frame_equal(outcome.first[still], outcome.second[still])


def assert_features_see_only_what_came_before_the_loan(outcome: Outcome, data: Path) -> None:
    """Two features, counted anew with pandas from the bank's own files."""
    bank = pd.concat([pd.read_csv(data / name, parse_dates=["date"]) for name in prepare.TRANSACTION_FILES])
    loans = pd.read_csv(data / prepare.LOAN_FILE, sep=";")
    loans["granted"] = pd.to_datetime("19" + loans["date"].astype(str))
    rows = bank[bank["amount"] > 0].merge(loans[["account_id", "loan_id", "granted"]], on="account_id")
    days = (rows["granted"] - rows["date"]).dt.days
    count = rows[days <= 30].groupby("loan_id").size()
    spend = rows[(days <= 90) & (rows["type"] != "PRIJEM")].groupby("loan_id")["amount"].sum()
    used = outcome.first[given(outcome.first)].set_index("loan_id")
    assert used["txn_count_30d"].tolist() == count.reindex(used.index, fill_value=0).tolist()
    assert used["spend_90d"].tolist() == spend.reindex(used.index, fill_value=0).tolist()


def assert_nobody_is_named(outcome: Outcome, transcript: list[str]) -> None:
    said = "\n".join(transcript) + json.dumps(outcome.report)
    assert "berka-client" not in said


def assert_the_readme_shows_these_figures(transcript: list[str]) -> None:
    """All but the areas under the curve, whose last digit depends on the machine's arithmetic, and the audit."""
    readme = (CHECKOUT / "examples" / "berka" / "README.md").read_text(encoding="utf-8")
    lines = [line for piece in transcript for line in piece.splitlines() if line.strip()]
    volatile = ("ROC AUC", "  95 %", "Audit")
    assert [line for line in lines if line not in readme and not line.startswith(volatile)] == []


def test_the_rounds_are_shown_side_by_side() -> None:
    from examples.berka.model import Auc
    from examples.berka.run import Round

    figures: dict[str, Any] = {"clients": 9, "loans": 8, "without_data": 0, "features": 3, "receipt": "r"}
    before = Round(
        **figures,
        used=7,
        masked={"NO_GRANT": 1},
        masked_for_co_holder=1,
        defaults=2,
        auc=Auc(0.8, 0.01, 0.6, 1),
    )
    after = Round(
        **figures,
        used=5,
        masked={"WITHDRAWN": 3},
        masked_for_co_holder=0,
        defaults=1,
        auc=Auc(0.7, 0.02, 0.4, 1),
    )
    table = {line[:46].strip(): line[46:].split() for line in comparison(before, after)[1:]}
    assert table["loans masked for lack of consent"] == ["1", "3"]
    assert (table["NO_GRANT"], table["WITHDRAWN"]) == (["1", "0"], ["0", "3"])
