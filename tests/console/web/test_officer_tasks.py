"""The officer's ten tasks in a real browser, from sign-in to the certificate of an erasure."""

from __future__ import annotations

import hashlib
import io
import zipfile
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import Download, Page, expect

from consent.clock import now_utc
from consent.evidence.certificate import verify_certificate
from consent.evidence.disclosure import parse_disclosure
from consent.evidence.proofs import parse_tlog_proof, verify_tlog_proof
from consent.evidence.trust import Trust
from consent.tokens import Role
from tests.console.web.conftest import Served, Visit, keep, sign_in
from tests.rights.borrowers import ANNA, CHEN, DORA, FINN, HUGO


def look_up(page: Page, served: Served, number: str) -> None:
    page.goto(f"{served.url}/person")
    page.get_by_label("Customer number").fill(number)
    page.get_by_role("button", name="Look up").click()


def content(download: Download) -> bytes:
    return Path(download.path()).read_bytes()


def test_1_sign_in_with_the_link_that_works_once(visit: Visit, served: Served) -> None:
    """The link signs in once; opening it uses nothing up; signing out ends the session."""
    link = served.link()
    page = visit()
    page.goto(link)
    page.goto(link)
    keep(page, "01-sign-in")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{served.url}/sign-in")
    page.goto(f"{served.url}/ledger")
    expect(page).to_have_url(f"{served.url}/sign-in")


def test_2_see_where_things_stand(visit: Visit, served: Served) -> None:
    """The overview counts people, entries, open requests; draws coverage; tells of refused rows."""
    page = sign_in(visit(), served)
    expect(page.get_by_text("people on record")).to_be_visible()
    facts = page.locator("#figures .facts b")
    assert facts.nth(0).inner_text() == "7"
    assert facts.nth(2).inner_text() == "1"
    drawn = page.get_by_role("img", name="Spending for fraud detection: 0 people on")
    assert "2 now" in str(drawn.get_attribute("aria-label"))
    expect(page.get_by_text("10% refused for want of consent, 15% unfit")).to_be_visible()
    keep(page, "02-overview")


def test_3_answer_who_agreed_to_what(visit: Visit, served: Served) -> None:
    """A person by customer number: consent in time, what may be used now, data held, who looked."""
    page = sign_in(visit(), served)
    look_up(page, served, ANNA)
    assert ANNA not in page.url
    assert served.home.directory.find([ANNA])[0] not in page.url
    expect(page.get_by_role("img", name="Employment for credit scoring: Yes")).to_be_visible()
    row = page.locator("#matrix tr", has_text="Spending")
    expect(row).to_contain_text("withdrawn (of the other person in this data)")
    expect(page.locator("#held")).to_contain_text("scorecard-1")
    expect(page.locator("#accesses")).to_contain_text("the person's page")
    keep(page, "03-person")


def test_4_explain_a_past_decision(visit: Visit, served: Served) -> None:
    """What might be used 80 days ago, when it was paused; and why, in the explainer."""
    page = sign_in(visit(), served)
    look_up(page, served, ANNA)
    then = (now_utc() - timedelta(days=80)).strftime("%Y-%m-%dT%H:%M")
    page.get_by_label("At this moment").fill(then)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator("#matrix tr", has_text="Employment")).to_contain_text("paused")
    assert page.url.endswith("/person/" + page.url.rsplit("/", 1)[1])
    page.goto(f"{served.url}/explain")
    page.get_by_label("Customer number").fill(ANNA)
    page.get_by_label("Source").select_option("employment")
    page.get_by_label("At this moment").fill(then)
    page.get_by_role("button", name="Ask").click()
    expect(page.get_by_role("heading", name="No, it may not be used")).to_be_visible()
    expect(page.locator("section.answer")).to_contain_text("PAUSED")
    keep(page, "04-explained")


def test_5_withdraw_for_a_person(visit: Visit, served: Served) -> None:
    """A withdrawal at the counter counts from the very next read."""
    key = served.home.directory.find([DORA])[0]
    assert key
    assert served.home.ledger.decide(key, "spending", "credit_scoring").allowed
    page = sign_in(visit(), served)
    look_up(page, served, DORA)
    page.get_by_role("link", name="Withdraw").click()
    page.get_by_label("Source").select_option("spending")
    keep(page, "05-withdraw")
    page.get_by_role("button", name="Withdraw consent").click()
    expect(page.get_by_text("The withdrawal is on record")).to_be_visible()
    decided = served.home.ledger.decide(key, "spending", "credit_scoring")
    assert decided.reason == "WITHDRAWN"
    assert served.home.ledger.decide(key, "employment", "credit_scoring").allowed
    entry = served.home.ledger.history(key)[-1].event
    assert (entry.actor, entry.channel) == ("officer", "console")


def test_6_hand_out_a_proof(visit: Visit, served: Served) -> None:
    """Proof and record of an entry, which verify offline with the log's key alone."""
    page = sign_in(visit(), served)
    look_up(page, served, ANNA)
    row = page.get_by_role("region", name="Table: On record").locator("tr", has_text="Withdrawn").first
    with page.expect_download() as proof:
        row.get_by_role("link", name="proof").click()
    with page.expect_download() as record:
        row.get_by_role("link", name="record").click()
    parsed = parse_tlog_proof(content(proof.value))
    disclosed = parse_disclosure(content(record.value))
    verify_tlog_proof(parsed, disclosed.entry(), Trust(served.home.log_keys(), (), quorum=0))
    assert disclosed.record["kind"] == "withdrawn"
    assert proof.value.suggested_filename == f"entry-{parsed.leaf_index}.tlog-proof"


def test_7_verify_the_whole_ledger(visit: Visit, served: Served) -> None:
    """Everything is replayed while she watches; the checkpoint is taken away and pins the ledger."""
    page = sign_in(visit(), served)
    page.get_by_role("link", name="Consent ledger").click()
    keep(page, "07-ledger")
    with page.expect_download() as note:
        page.get_by_role("link", name="Take the checkpoint").click()
    assert served.home.ledger.require_checkpoint(content(note.value)) == served.home.ledger.size()
    page.get_by_role("button", name="Verify everything").click()
    expect(page.get_by_text("nothing amiss")).to_be_visible(timeout=20_000)
    keep(page, "07-verified")
    page.goto(f"{served.url}/ledger?kind=withdrawn")
    kinds = page.locator("tbody th").all_inner_texts()
    assert kinds
    assert {kind.split("\n")[0] for kind in kinds} == {"Withdrawn"}


def test_8_a_hold_is_released_by_two_people(visit: Visit, served: Served) -> None:
    """One officer cannot release a hold; with a second one the erasure that waited is carried out."""
    page = sign_in(visit(), served)
    look_up(page, served, CHEN)
    expect(page.get_by_text("Under a legal hold")).to_be_visible()
    page.get_by_role("link", name="Release the hold").click()
    page.get_by_role("button", name="Propose the release").click()
    expect(page.get_by_text("The release is proposed")).to_be_visible()
    page.get_by_role("link", name="Release the hold").click()
    expect(page.get_by_text("You proposed this release yourself")).to_be_visible()
    assert page.get_by_role("button", name="Release the hold").count() == 0
    keep(page, "08-two-people")
    secret = served.home.tokens.create("second-officer", Role.OFFICER, now_utc() + timedelta(days=1))
    second = visit()
    second.goto(f"{served.url}/sign-in")
    second.get_by_label("Token").fill(secret)
    second.get_by_role("button", name="Sign in").click()
    look_up(second, served, CHEN)
    second.get_by_role("link", name="Release the hold").click()
    second.get_by_role("button", name="Release the hold").click()
    expect(second.get_by_role("heading", name="Certificate")).to_be_visible(timeout=30_000)
    look_up(second, served, CHEN)
    expect(second.get_by_role("heading", name="Consent in time")).to_be_visible()
    assert second.get_by_text("Under a legal hold").count() == 0


def test_9_give_a_person_their_data(visit: Visit, served: Served) -> None:
    """The access package, made in memory, with the sums that it names; a wrong number makes nothing."""
    page = sign_in(visit(), served)
    look_up(page, served, ANNA)
    page.get_by_role("link", name="Export").click()
    page.get_by_label("Customer number, to confirm").fill(ANNA)
    with page.expect_download() as package:
        page.get_by_role("button", name="Make the package").click()
    with zipfile.ZipFile(io.BytesIO(content(package.value))) as opened:
        sums = dict(reversed(line.split("  ")) for line in opened.read("SHA256SUMS").decode().splitlines())
        assert {"index.zh.html", "manifest.json"} < set(sums)
        assert all(hashlib.sha256(opened.read(name)).hexdigest() == sums[name] for name in sums)
    assert ANNA not in package.value.suggested_filename


def test_10_erase_a_person_and_prove_it(visit: Visit, served: Served) -> None:
    """Erasure in every store, the certificate on screen and as a file that verifies, and nobody left to look up."""
    page = sign_in(visit(), served)
    look_up(page, served, HUGO)
    page.get_by_role("link", name="Erase").click()
    keep(page, "10-erase")
    page.get_by_label("Customer number, to confirm").fill(HUGO)
    page.get_by_role("button", name="Erase for good").click()
    expect(page.get_by_text("Erased. This certificate is the proof.")).to_be_visible(timeout=30_000)
    expect(page.locator("table")).to_contain_text("data keys")
    keep(page, "10-certificate")
    with page.expect_download() as taken:
        page.get_by_role("link", name="Take the certificate").click()
    _, document = verify_certificate(content(taken.value), served.home.log_keys().keys)
    assert document["source"] == "*"
    assert HUGO not in content(taken.value).decode()
    look_up(page, served, HUGO)
    expect(page.get_by_text("Everything about this person was erased")).to_be_visible()
    page.get_by_role("link", name="Show the certificate").click()
    expect(page.get_by_role("heading", name="Certificate")).to_be_visible()
    look_up(page, served, FINN)
    expect(page.get_by_text("Everything about this person was erased")).to_be_visible()
