"""Statements as text: from a lender's file and from the command line into the ledger."""

import codecs
import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from consent.clock import now_utc, parse_instant
from consent.decide import decide
from consent.errors import AssentError, BadInput, Conflict, Denied, IllegalTransition
from consent.exchange import statements
from consent.exchange.records import ImportReport, Rejected, import_records
from consent.exchange.statements import FIELDS, parse_record, record_statement, record_statements
from consent.home import Home
from consent.nouns import ANY, Decision, Kind, Reason, Recorded
from consent.sealing import token
from tests.consent.consent_samples import NOW


def keyed(home: Home, path: Path) -> str:
    """What names a file as evidence: a plain hash of a short file would confirm a guess of its lines."""
    return token(home.keyring.secret("evidence"), path.read_bytes()).hex()


SECRET = "SECRET-13800138000-贰拾"
Fields = dict[str, Any]


def given(subject_id: str = "C-1", **more: Any) -> Fields:
    return {
        "event": "given",
        "subject_id": subject_id,
        "source": "spending",
        "purpose": "credit_scoring",
        "effective_at": "2026-01-01",
        "notice_id": "form",
        "notice_version": "3",
        "notice_language": "zh-CN",
        "notice_hash": "ab" * 32,
        "jurisdiction": "CN",
        "method": "toggle, default off",
        "expires_at": "2035-01-01",
        "data_from": "2025-01-01",
    } | more


def said(event: str, subject_id: str = "C-1", **more: Any) -> Fields:
    about = {"source": "spending", "purpose": "credit_scoring", "effective_at": "2026-03-01"}
    return {"event": event, "subject_id": subject_id} | about | more


def linked(subject_id: str = "C-1", co_subject_id: str = "C-2", **more: Any) -> Fields:
    return said("linked", subject_id, co_subject_id=co_subject_id, purpose="") | more


def as_csv(rows: list[Fields]) -> str:
    columns = [name for name in FIELDS if any(name in row for row in rows)]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_jsonl(rows: list[Fields]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


class Desk:
    """A home, and a folder to put files in."""

    def __init__(self, home: Home, folder: Path) -> None:
        self.home = home
        self._folder = folder

    def file(self, content: str | bytes, name: str) -> Path:
        path = self._folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(
        self, content: list[Fields] | str | bytes, name: str = "consent.jsonl", **more: Any
    ) -> ImportReport:
        if isinstance(content, list):
            content = as_csv(content) if name.endswith("csv") else as_jsonl(content)
        report = import_records(self.home, self.file(content, name), **more)
        assert report.read == report.recorded + report.already_recorded + len(report.rejected)
        return report

    def history(self, subject_id: str = "C-1") -> list[Recorded]:
        (key,) = self.home.directory.find([subject_id])
        return self.home.ledger.history(key) if key else []

    def ask(self, subject_id: str = "C-1", purpose: str = "credit_scoring", **more: datetime) -> Decision:
        (key,) = self.home.directory.find([subject_id])
        asked: Any = {"data_at": None, "as_of": now_utc()} | more
        return decide(self.home.ledger.facts(str(key)), "spending", purpose, **asked)


@pytest.fixture
def desk(empty_home: Home, tmp_path: Path) -> Desk:
    return Desk(empty_home, tmp_path)


def counts(report: ImportReport) -> tuple[int, int, int, int]:
    return report.read, report.recorded, report.already_recorded, len(report.rejected)


FORMATS = ["consent.csv", "consent.jsonl", "CONSENT.NDJSON"]


class TestGoodFiles:
    @pytest.mark.parametrize("name", FORMATS)
    def test_every_kind_of_statement_is_recorded(self, desk: Desk, name: str) -> None:
        """Given, refused, withdrawn and linked, with all that was said, marked as imported."""
        rows = [
            given(data_life_days="365", retention_days="1825", replaces="G0", grant_id="G1", channel="app"),
            said("refused", purpose="model_training", evidence_hash="CD" * 32),
            linked(),
            said("withdrawn", source="*", purpose="*"),
        ]
        assert counts(desk.load(rows, name, actor="nightly")) == (4, 4, 0, 0)
        agreed, refused, link, no = (r.event for r in desk.history())
        assert {e.origin for e in (agreed, refused, link, no)} == {"imported"}
        assert {e.actor for e in (agreed, refused, link, no)} == {"nightly"}
        assert agreed.grant is not None
        secret = desk.home.keyring.secret("import")
        ours = [token(secret, b"lender-grant", said_id)[:16].hex() for said_id in (b"G1", b"G0")]
        assert [agreed.grant.grant_id, agreed.grant.replaces, agreed.channel] == [*ours, "app"]
        assert (agreed.grant.data_life, agreed.grant.retention) == (timedelta(365), timedelta(1825))
        assert agreed.grant.notice.sha256 == "ab" * 32
        assert agreed.effective_at == parse_instant("2026-01-01")
        assert (refused.kind, refused.purpose, refused.evidence_hash) == (
            Kind.REFUSED,
            "model_training",
            "cd" * 32,
        )
        assert (link.kind, link.purpose, [link.co_subject_key]) == (
            Kind.LINKED,
            ANY,
            desk.home.directory.find(["C-2"]),
        )
        assert (no.source, no.purpose, no.channel) == (ANY, ANY, "import")
        assert desk.home.ledger.audit().findings == ()

    def test_the_file_is_the_evidence_where_none_is_named(self, desk: Desk) -> None:
        """DESIGN 4.9: an imported grant "names its evidence, and every answer that rests on it says so"."""
        path = desk.file(as_jsonl([given()]), "x.jsonl")
        import_records(desk.home, path)
        assert desk.history()[0].event.evidence_hash == keyed(desk.home, path)
        assert desk.ask().imported

    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
    def test_a_byte_order_mark_is_no_matter(self, desk: Desk, name: str, mark: bytes) -> None:
        """As spreadsheets write it."""
        text = as_csv([given()]) if name.endswith("csv") else as_jsonl([given()])
        assert counts(desk.load(mark + text.encode(), name)) == (1, 1, 0, 0)

    @pytest.mark.parametrize("encoding", ["gb18030", "GB18030", "utf-16", "UTF-8", "utf8"])
    @pytest.mark.parametrize("name", ["consent.csv", "consent.jsonl"])
    def test_chinese_names_come_through_in_any_encoding(self, desk: Desk, name: str, encoding: str) -> None:
        """The person found is the same, whatever the bytes were."""
        rows = [given("客户　〇一"), given("客户𠮷", channel="微信小程序")]
        text = as_csv(rows) if name.endswith("csv") else as_jsonl(rows)
        assert counts(desk.load(text.encode(encoding), name, encoding=encoding)) == (2, 2, 0, 0)
        assert desk.history("客户 〇一")
        assert desk.history("客户𠮷")[0].event.channel == "微信小程序"

    @pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
    def test_blank_lines_and_any_line_ending_are_fine(self, desk: Desk, ending: str) -> None:
        """Blank lines and rows of commas are not read, but count as lines."""
        lines = as_csv([given(), said("boast")]).splitlines()
        text = ending.join([lines[0], "", lines[1], "  ", "," * lines[0].count(","), lines[2], ""])
        report = desk.load(text, "c.csv")
        assert counts(report) == (2, 1, 0, 1)
        assert report.rejected[0].line == 6

    def test_a_header_alone_is_a_file_without_statements(self, desk: Desk) -> None:
        """A quiet day is no error."""
        assert counts(desk.load("event,subject_id,source\n", "c.csv")) == (0, 0, 0, 0)

    def test_terms_outside_a_grant_are_ignored(self, desk: Desk) -> None:
        """A lender's export repeats them in every row; a withdrawal must not fail on them."""
        assert counts(desk.load([given(), given(event="withdrawn", effective_at="2026-02-01")])) == (
            2,
            2,
            0,
            0,
        )
        assert desk.ask().reason is Reason.WITHDRAWN

    @pytest.mark.parametrize("name", FORMATS)
    def test_withdrawals_may_stand_anywhere(self, desk: Desk, name: str) -> None:
        """Also before the grant they end, and before the grant that followed: time decides, not the line."""
        rows = [
            said("withdrawn", effective_at="2026-05-01"),
            said("withdrawn", effective_at="2026-03-01"),
            given(effective_at="2026-04-01"),
            given(effective_at="2026-02-01"),
        ]
        assert counts(desk.load(rows, name)) == (4, 4, 0, 0)
        for month, allowed in ((1, False), (2, True), (3, False), (4, True), (5, False)):
            assert desk.ask(as_of=datetime(2026, month, 15, tzinfo=NOW.tzinfo)).allowed == allowed

    def test_many_lines_are_recorded_in_few_appends(self, desk: Desk) -> None:
        """Chunks, not lines, are appended; progress is told on the way."""
        told: list[int] = []
        report = desk.load([given(f"C-{i}") for i in range(4_500)], "c.csv", on_progress=told.append)
        assert counts(report) == (4_500, 4_500, 0, 0)
        assert told == [2_000, 4_000, 4_500]
        recorded_at = {at for chunk in desk.home.ledger.rows(("recorded_at",)) for (at,) in chunk}
        assert len(recorded_at) == 3


class TestAgain:
    ROWS = (
        given(),
        given("C-2", effective_at=""),
        said("refused", "C-3", effective_at=""),
        linked("C-4", effective_at=""),
        given("C-5", event_id="lender/77"),
        said("withdrawn", effective_at=""),
        said("withdrawn", "C-5"),
    )

    @pytest.mark.parametrize("name", FORMATS)
    def test_the_same_file_again_adds_nothing(self, desk: Desk, name: str) -> None:
        """Every line is found to be on record, also those without a time or an id of their own."""
        assert counts(desk.load(list(self.ROWS), name)) == (7, 7, 0, 0)
        size, note = desk.home.ledger.size(), desk.home.ledger.checkpoint()
        assert counts(desk.load(list(self.ROWS), name, actor="somebody else")) == (7, 0, 7, 0)
        assert (desk.home.ledger.size(), desk.home.ledger.checkpoint()) == (size, note)

    def test_the_same_lines_in_a_longer_file_add_only_what_is_new(self, desk: Desk) -> None:
        """A nightly export of everything so far: its other hash is no other statement."""
        timed = [row for row in self.ROWS if row["event"] in ("given", "linked") or row["effective_at"]]
        desk.load(timed)
        assert counts(desk.load([*timed, given("C-9")])) == (len(timed) + 1, 1, len(timed), 0)

    def test_the_same_lines_in_another_form_add_nothing(self, desk: Desk) -> None:
        """CSV or JSON, column order, spaces, digits and offsets: one text for all ways to write it."""
        desk.load([given("C-1"), given("007", data_life_days="30")], "a.jsonl")
        again = [
            given(" Ｃ-１ ", effective_at="2026-01-01T08:00:00+08:00", notice_hash="AB" * 32),
            dict(reversed(given("007", data_life_days=30).items())),
        ]
        assert counts(desk.load(again, "b.jsonl")) == (2, 0, 2, 0)
        assert counts(desk.load([given("C-1"), given("7", data_life_days="30")], "c.csv")) == (2, 1, 1, 0)

    def test_a_line_twice_in_one_file_is_recorded_once(self, desk: Desk) -> None:
        """Also when it is refused: then it is refused twice."""
        no = said("withdrawn", "C-1", purpose="model_training")
        assert counts(desk.load([given()] * 3 + [no] * 3)) == (6, 1, 2, 3)

    def test_yesterdays_file_does_not_bring_back_what_was_withdrawn_since(self, desk: Desk) -> None:
        """A grant without a time of its own counts once, whatever file it comes in again."""
        desk.load([given(effective_at="")])
        record_statement(desk.home, {**said("withdrawn"), "effective_at": ""})
        assert counts(desk.load([given(effective_at=""), given("C-2")])) == (2, 1, 1, 0)
        assert desk.ask().reason is Reason.WITHDRAWN

    def test_a_second_withdrawal_without_a_time_counts_in_another_file(self, desk: Desk) -> None:
        """Given, withdrawn, given again, withdrawn again: the last no is no repetition of the first."""
        no = said("withdrawn", effective_at="")
        desk.load([given(), no])
        desk.load([given(effective_at="", expires_at="2036-01-01")])
        assert desk.ask().allowed
        assert counts(desk.load([given("C-2"), no])) == (2, 2, 0, 0)
        assert desk.ask().reason is Reason.WITHDRAWN

    def test_the_lenders_own_id_decides_what_is_the_same(self, desk: Desk) -> None:
        """The same id with other content is a conflict, in a later file and inside one; the id is not stored."""
        first = given(event_id="客户 13800138000/1")
        assert counts(desk.load([first, {**first, "purpose": "model_training"}])) == (2, 1, 0, 1)
        report = desk.load([{**first, "expires_at": "2036-01-01"}, first])
        assert counts(report) == (2, 0, 1, 1)
        assert report.rejected[0].reason == "CONFLICT"
        (entry,) = desk.history()
        assert len(entry.event.event_id) == 32
        content = b"".join(p.read_bytes() for p in desk.home.root.glob("ledger.db*"))
        assert b"13800138000" not in content

    def test_a_statement_made_here_and_exported_later_is_the_same(self, desk: Desk) -> None:
        """With one id, what was recorded at the counter comes back in the nightly file and adds nothing."""
        fields = given(effective_at="", event_id="E-1")
        entry = record_statement(desk.home, fields)
        assert counts(desk.load([fields])) == (1, 0, 1, 0)
        assert desk.history() == [entry]
        assert not desk.ask().imported


#: What is wrong with a line, the code, and a word of the message. Wrong values are, or hold, SECRET.
BROKEN: dict[str, tuple[Fields, str, str]] = {
    "no event": (given(event=""), "MISSING_FIELD", "event"),
    "odd event": (given(event=SECRET), "UNKNOWN_EVENT", "event"),
    "capital event": (given(event="GIVEN"), "UNKNOWN_EVENT", "event"),
    "no subject": (given(""), "MISSING_FIELD", "subject_id"),
    "long subject": (given(SECRET * 10), "BAD_INPUT", "customer number"),
    "unprintable subject": (given(f"{SECRET}\u202e1"), "BAD_INPUT", "customer number"),
    "no source": (given(source=""), "MISSING_FIELD", "source"),
    "odd source": (given(source=SECRET), "UNKNOWN_SOURCE", "source"),
    "every source": (given(source="*"), "UNKNOWN_SOURCE", "source"),
    "prohibited source": (given(source="contacts"), "PROHIBITED", "contacts"),
    "prohibited link": (linked(source="health"), "PROHIBITED", "health"),
    "no purpose": (given(purpose=""), "MISSING_FIELD", "purpose"),
    "odd purpose": (given(purpose=SECRET), "UNKNOWN_PURPOSE", "purpose"),
    "every purpose": (said("refused", purpose="*"), "UNKNOWN_PURPOSE", "purpose"),
    "purpose of a link": (linked(purpose="credit_scoring"), "BAD_FIELD", "link"),
    "no co-subject": (linked(co_subject_id=""), "BAD_FIELD", "co_subject_id"),
    "co-subject of a grant": (given(co_subject_id=SECRET), "BAD_FIELD", "co_subject_id"),
    "long co-subject": (linked(co_subject_id=SECRET * 10), "BAD_INPUT", "customer number"),
    "linked to oneself": (linked("Ｃ-1", "C-1"), "BAD_INPUT", "own co-subject"),
    "odd time": (given(effective_at=SECRET), "BAD_INPUT", "effective_at"),
    "before the flood": (given(effective_at="1899-12-31"), "BAD_FIELD", "effective_at"),
    "no notice": (given(notice_id=""), "MISSING_FIELD", "notice_id"),
    "no version": (given(notice_version=""), "MISSING_FIELD", "notice_version"),
    "no language": (given(notice_language=""), "MISSING_FIELD", "notice_language"),
    "odd language": (given(notice_language=SECRET), "BAD_FIELD", "notice_language"),
    "no notice hash": (given(notice_hash=""), "MISSING_FIELD", "notice_hash"),
    "short notice hash": (given(notice_hash="ab" * 31), "BAD_FIELD", "notice_hash"),
    "odd notice hash": (given(notice_hash="zz" * 32), "BAD_FIELD", "notice_hash"),
    "no jurisdiction": (given(jurisdiction=""), "MISSING_FIELD", "jurisdiction"),
    "odd jurisdiction": (given(jurisdiction="China"), "BAD_FIELD", "jurisdiction"),
    "no method": (given(method=""), "MISSING_FIELD", "method"),
    "long method": (given(method="x" * 301), "BAD_FIELD", "method"),
    "no end": (given(expires_at=""), "MISSING_FIELD", "expires_at"),
    "never ends": (given(expires_at="9999-12-31"), "BAD_FIELD", "expires_at"),
    "odd end": (given(expires_at="23/11/2026"), "BAD_INPUT", "expires_at"),
    "ends before it begins": (given(expires_at="2025-12-31"), "BAD_INPUT", "ends before"),
    "no data range": (given(data_from=""), "MISSING_FIELD", "data_from"),
    "no days": (given(data_life_days="0"), "BAD_FIELD", "data_life_days"),
    "negative days": (given(data_life_days="-5"), "BAD_FIELD", "data_life_days"),
    "half a day": (given(retention_days="0.5"), "BAD_FIELD", "retention_days"),
    "too many days": (given(retention_days="36501"), "BAD_FIELD", "retention_days"),
    "full-width days": (given(retention_days="３０"), "BAD_FIELD", "retention_days"),
    "odd evidence": (given(evidence_hash=SECRET), "BAD_FIELD", "evidence_hash"),
    "long id": (given(event_id="x" * 201), "BAD_FIELD", "event_id"),
    "unprintable channel": (given(channel=f"{SECRET}\a"), "BAD_FIELD", "channel"),
    "withdrawn from the future": (
        said("withdrawn", "good", effective_at="2099-01-01"),
        "BAD_INPUT",
        "now or",
    ),
    "unknown person": (said("withdrawn", SECRET), "UNKNOWN_SUBJECT", "person"),
    "never given": (said("withdrawn", "good", purpose="loan_servicing"), "ILLEGAL_TRANSITION", "NO_GRANT"),
    "refused only": (said("withdrawn", "refuser"), "ILLEGAL_TRANSITION", "NO_GRANT"),
    "given twice": (given("good", grant_id="G1", event_id="other"), "ILLEGAL_TRANSITION", "on record"),
}

BROKEN_JSON = {
    "no JSON": (f'{{"event": "{SECRET}"', "BAD_LINE"),
    "plain text": (SECRET, "BAD_LINE"),
    "a list": (json.dumps(["given", SECRET]), "BAD_LINE"),
    "a text": (json.dumps(SECRET), "BAD_LINE"),
    "nothing": ("null", "BAD_LINE"),
    "deep": ("[" * 100_000, "BAD_LINE"),
    "twice": (f'{{"event": "given", "event": "{SECRET}"}}', "BAD_LINE"),
    "unknown field": (json.dumps(given(phone=SECRET)), "UNKNOWN_FIELD"),
    "odd field": (json.dumps(given(**{SECRET: "x"})), "UNKNOWN_FIELD"),
    "number for a name": (json.dumps(given(13800138000)), "BAD_FIELD"),  # type: ignore[arg-type]
    "nested": (json.dumps(given(method={"a": SECRET})), "BAD_FIELD"),
    "truth": (json.dumps(given(data_life_days=True)), "BAD_FIELD"),
    "fraction": (json.dumps(given(data_life_days=30.0)), "BAD_FIELD"),
    "huge": (json.dumps(given()).replace('"3"', "9" * 5000), "BAD_LINE"),
    "not a number": (json.dumps(given()).replace('"3"', "NaN"), "BAD_FIELD"),
    "half a letter": (json.dumps(given()).replace('"3"', r'"\ud800"'), "BAD_FIELD"),
}
BROKEN_CSV = {
    "too few cells": ("given,C-1", "BAD_LINE"),
    "too many cells": ("given,C-1,spending,credit_scoring" + f",{SECRET}" * 30, "BAD_LINE"),
    "unclosed quote": (f'given,"{SECRET},spending,', "BAD_LINE"),
    "text after a quote": (f'given,"C-1"{SECRET},spending', "BAD_LINE"),
    "an enormous cell": ("x" * 200_000, "BAD_LINE"),
}


def require_quiet(*errors: Rejected | AssentError) -> None:
    for error in errors:
        remedy = error.remedy if isinstance(error, AssentError) else ""
        told = f"{error.message} {remedy}"
        assert not any(secret in told for secret in (SECRET, "13800138000", "贰拾", "C-1", "zz", "23/11"))


class TestBrokenLines:
    @pytest.mark.parametrize("name", ["c.csv", "c.jsonl"])
    def test_broken_lines_are_reported_and_good_ones_kept(self, desk: Desk, name: str) -> None:
        """Each by its line, a stable code and a reason, none with a value; the good ones around them are recorded."""
        good = [given("good", grant_id="G1", event_id="first"), said("refused", "refuser")]
        rows = [*good, *(row for row, _, _ in BROKEN.values()), given("last"), said("withdrawn", "last")]
        report = desk.load(rows, name)
        assert counts(report) == (len(BROKEN) + 4, 4, 0, len(BROKEN))
        first = 4 if name == "c.csv" else 3
        assert [r.line for r in report.rejected] == list(range(first, first + len(BROKEN)))
        for what, (_, code, word), told in zip(BROKEN, BROKEN.values(), report.rejected, strict=True):
            assert (told.reason, word in told.message) == (code, True), (what, told)
        require_quiet(*report.rejected)
        assert desk.ask("good").allowed
        assert desk.ask("last").reason is Reason.WITHDRAWN
        assert desk.home.ledger.audit().findings == ()

    def test_broken_json_is_reported(self, desk: Desk) -> None:
        """Whatever stands in a line, only that line is lost."""
        lines = [line for line, _ in BROKEN_JSON.values()]
        report = desk.load("\n".join([as_jsonl([given("good")]).strip(), *lines, as_jsonl([given("last")])]))
        assert counts(report) == (len(lines) + 2, 2, 0, len(lines))
        assert [r.reason for r in report.rejected] == [code for _, code in BROKEN_JSON.values()]
        require_quiet(*report.rejected)

    def test_broken_csv_is_reported(self, desk: Desk) -> None:
        """An unclosed quote does not swallow the lines after it."""
        header, good, last = as_csv([given("good"), given("last", method="by phone")]).splitlines()
        lines = [line for line, _ in BROKEN_CSV.values()]
        report = desk.load("\n".join([header, good, *lines, last]), "c.csv")
        assert counts(report) == (len(lines) + 2, 2, 0, len(lines))
        assert [(r.line, r.reason) for r in report.rejected] == [
            (i, code) for i, (_, code) in enumerate(BROKEN_CSV.values(), start=3)
        ]
        require_quiet(*report.rejected)

    def test_one_bad_line_in_a_large_chunk_costs_only_itself(self, desk: Desk) -> None:
        """The ledger takes chunks whole or not at all; the chunk is halved until the bad line is alone."""
        rows = [given(f"C-{i}", grant_id="G") for i in range(600)]
        rows[333] = given("C-17", grant_id="G", channel="again")
        report = desk.load(rows)
        assert counts(report) == (600, 599, 0, 1)
        assert (report.rejected[0].line, report.rejected[0].reason) == (334, "ILLEGAL_TRANSITION")
        assert desk.home.ledger.audit().findings == ()

    def test_the_report_is_plain_json(self, desk: Desk) -> None:
        """With counts by reason, as the command line prints it."""
        report = desk.load([given(), given(source="contacts"), given(source="health")])
        assert json.loads(json.dumps(report.report())) == {
            "read": 3,
            "recorded": 1,
            "already_recorded": 0,
            "rejected_by_reason": {"PROHIBITED": 2},
            "rejected": [
                {
                    "line": line,
                    "reason": "PROHIBITED",
                    "message": report.rejected[line - 2].message,
                    "remedy": report.rejected[line - 2].remedy,
                }
                for line in (2, 3)
            ],
            "notes": {},
        }


HEADER = as_csv([given()]).splitlines()[0]
ROW = as_csv([given(SECRET)]).splitlines()[1]
BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("c.csv", b"", "empty"),
    "empty JSON lines": ("c.jsonl", b"", "empty"),
    "only a mark": ("c.csv", codecs.BOM_UTF8, "empty"),
    "only blanks": ("c.csv", b" \r\n\n\t\n", "empty"),
    "binary": ("c.csv", b"PK\x03\x04" + bytes(range(256)), "not text"),
    "binary that is text": ("c.csv", f"{HEADER}\n{ROW}\n\0".encode(), "not text"),
    "another encoding": ("c.csv", f"{HEADER}\n{ROW}\n".encode("gb18030"), "utf-8"),
    "another encoding at the very end": (
        "c.jsonl",
        as_jsonl([given()] * 3000).encode() + b"\xb0\xa1",
        "utf-8",
    ),
    "utf-16": ("c.csv", f"{HEADER}\n{ROW}\n".encode("utf-16"), "utf-8"),
    "another kind": ("c.xlsx", b"event,subject_id,source", "kind"),
    "no kind": ("consent", b"event,subject_id,source", "kind"),
    "no header": ("c.csv", ROW.encode(), "no column"),
    "other separators": ("c.csv", HEADER.replace(",", ";").encode(), "no column"),
    "header without a subject": ("c.csv", b"event,source\ngiven,spending\n", "subject_id"),
    "header without an event": ("c.csv", b"subject_id,source\n", "event"),
    "unknown column": ("c.csv", f"{HEADER},phone\n{ROW},1\n".encode(), "'phone'"),
    "unnamed column": ("c.csv", f"{HEADER},\n{ROW},1\n".encode(), "column 14"),
    "column twice": ("c.csv", f"{HEADER},event\n{ROW},given\n".encode(), "twice"),
    "broken header": ("c.csv", f'"{HEADER}\n{ROW}\n'.encode(), "header"),
}


class TestBadFiles:
    @pytest.mark.parametrize("what", BAD_FILES)
    def test_a_file_that_cannot_be_used_records_nothing(self, desk: Desk, what: str) -> None:
        """A reason and a remedy, no value, and not one entry."""
        name, content, word = BAD_FILES[what]
        with pytest.raises(BadInput, match=word) as caught:
            desk.load(content, name)
        assert caught.value.remedy
        require_quiet(caught.value)
        assert desk.home.ledger.size() == 0
        assert desk.home.directory.find(["C-1", SECRET]) == [None, None]

    def test_a_missing_file_or_a_folder_is_refused(self, desk: Desk, tmp_path: Path) -> None:
        """Without naming it: file names hold names."""
        (tmp_path / f"{SECRET}.csv").mkdir()
        for path in (tmp_path / "missing.csv", tmp_path / f"{SECRET}.csv"):
            with pytest.raises(BadInput, match="cannot be read") as caught:
                import_records(desk.home, path)
            require_quiet(caught.value)

    @pytest.mark.parametrize("encoding", ["klingon", "rot13", "", "utf-8\0"])
    def test_an_encoding_that_does_not_exist_is_refused(self, desk: Desk, encoding: str) -> None:
        """Whatever the word means elsewhere in Python."""
        with pytest.raises(BadInput):
            desk.load([given()], encoding=encoding)
        assert desk.home.ledger.size() == 0

    def test_a_clock_gone_back_stops_the_import(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """That is no line's fault: nothing is reported as broken, and the file can be imported later."""
        desk.load([given()])
        monkeypatch.setattr(desk.home.ledger, "_clock", lambda: now_utc() - timedelta(hours=1))
        with pytest.raises(Conflict, match="clock"):
            desk.load([given("C-2")])


class TestStatementsMadeHere:
    def test_the_same_rules_read_a_single_statement(self, desk: Desk) -> None:
        """Recorded now, by whom and where; no file, so no evidence is made up."""
        entry = record_statement(desk.home, given(effective_at=None), actor="clerk", channel="counter")
        assert (entry.event.origin, entry.event.actor, entry.event.channel) == (
            "recorded",
            "clerk",
            "counter",
        )
        assert entry.event.evidence_hash is None
        assert desk.ask().allowed
        no = record_statement(
            desk.home, {"event": "withdrawn", "subject_id": "C-1", "source": "*", "purpose": "*"}
        )
        assert no.leaf_index == 1
        assert desk.ask().reason is Reason.WITHDRAWN

    def test_several_statements_are_recorded_whole_or_not_at_all(self, desk: Desk) -> None:
        """One form for several purposes: one broken or illegal line leaves nothing of it on record."""
        form = [given(purpose=purpose, effective_at="") for purpose in ("credit_scoring", "model_training")]
        for bad in (given(purpose="marketing"), said("withdrawn", purpose="loan_servicing", effective_at="")):
            with pytest.raises(AssentError):
                record_statements(desk.home, [*form, bad])
            assert desk.home.ledger.size() == 0
        entries = record_statements(desk.home, [*form, said("withdrawn", purpose="*", effective_at="")])
        assert [r.leaf_index for r in entries] == [0, 1, 2]
        assert desk.home.ledger.audit().checkpoints == 1
        assert desk.ask().reason is desk.ask(purpose="model_training").reason is Reason.WITHDRAWN

    def test_two_agreements_in_the_same_words_are_two(self, desk: Desk) -> None:
        """Without an id of its own a statement made here is always a new one."""
        first = record_statement(desk.home, given(effective_at=""))
        second = record_statement(desk.home, given(effective_at=""))
        assert first.event.grant != second.event.grant
        assert desk.home.ledger.size() == 2

    def test_with_an_id_it_can_be_sent_again(self, desk: Desk) -> None:
        """The second attempt finds the first; other content under the same id is a conflict."""
        fields = given(effective_at="", event_id="E-1")
        assert record_statement(desk.home, fields) == record_statement(desk.home, fields)
        with pytest.raises(Conflict):
            record_statement(desk.home, {**fields, "expires_at": "2036-01-01"})

    @pytest.mark.parametrize(
        ("fields", "kind", "code"),
        [
            (given(), BadInput, "BAD_INPUT"),  # back-dated
            (given(source="contacts", effective_at=""), Denied, "PROHIBITED"),
            (said("withdrawn", SECRET), BadInput, "UNKNOWN_SUBJECT"),
            (said("refused", phone=SECRET), BadInput, "UNKNOWN_FIELD"),
        ],
    )
    def test_what_a_file_may_not_say_may_not_be_said_here(
        self, desk: Desk, fields: Fields, kind: type[AssentError], code: str
    ) -> None:
        """And a grant may not be back-dated here, which only a system of record may."""
        with pytest.raises(kind) as caught:
            record_statement(desk.home, fields)
        assert caught.value.code == code
        require_quiet(caught.value)
        assert desk.home.ledger.size() == 0

    def test_a_withdrawal_makes_nobody_known(self, desk: Desk) -> None:
        """Not in the directory either."""
        with pytest.raises(BadInput):
            record_statement(desk.home, said("withdrawn", "C-9"))
        desk.load([said("withdrawn", "C-9")])
        assert desk.home.directory.find(["C-9"]) == [None]

    def test_nothing_to_withdraw_names_the_state(self, desk: Desk) -> None:
        """DESIGN 4.2: "Illegal transitions are rejected with the state they met"."""
        record_statement(desk.home, said("refused"))
        with pytest.raises(IllegalTransition, match="NO_GRANT"):
            record_statement(desk.home, said("withdrawn"))


@pytest.mark.parametrize(
    "build", [given, linked, lambda: said("refused"), lambda: said("withdrawn", source="*")]
)
def test_reading_twice_gives_the_same(build: Callable[[], Fields]) -> None:
    """`parse_record` is a function of its fields: blanks, None and surrounding space do not matter."""
    fields = build()
    padded = {name: f"  {value}\t" for name, value in fields.items()} | {"channel": None, "replaces": " "}
    assert parse_record(fields, now=NOW) == parse_record(padded, now=NOW)


def test_a_statement_without_a_time_takes_effect_now() -> None:
    """And remembers that the time was not said."""
    record = parse_record(said("refused", effective_at=""), now=NOW)
    assert (record.effective_at, record.timed) == (NOW, False)
    assert str(NOW.year) not in record.canonical


def test_every_field_is_documented() -> None:
    """The module's table names each field that may be sent."""
    assert statements.__doc__ is not None
    assert all(name in statements.__doc__ for name in FIELDS)
