"""Every page in a real browser: for people with a screen reader, a keyboard, a phone, no script, and in Chinese."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Page, expect

from tests.console.web.conftest import Served, Visit, keep, sign_in
from tests.console.web.test_officer_tasks import look_up
from tests.rights.borrowers import ANNA, DORA

_AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
_LISTS = (
    *(
        "/",
        "/person",
        "/explain",
        "/requests",
        "/ledger",
        "/ledger/verify",
        "/accesses",
        "/runs",
        "/quarantine",
        "/training",
    ),
    *("/certificates", "/reports", "/reports/coverage", "/reports/processing-record", "/nowhere"),
)


def pages(page: Page, served: Served) -> Iterator[str]:
    """Opens every page in turn, and says which."""
    for path in _LISTS:
        page.goto(served.url + path)
        if path == "/":
            page.wait_for_selector("#figures .facts")
        yield path
    for path, link in (("/runs", "tbody a"), ("/certificates", "tbody th a")):
        page.goto(served.url + path)
        page.locator(link).first.click()
        yield f"one of {path}"
    look_up(page, served, ANNA)
    page.wait_for_selector("#held table")
    page.wait_for_selector("#accesses table")
    yield "person"
    person = page.url
    for act in ("withdraw", "export", "erase", "hold", "held", "accesses"):
        page.goto(f"{person}/{act}")
        yield act
    page.goto(f"{served.url}/explain")
    page.get_by_label("Customer number").fill(DORA)
    page.locator("main form button").click()
    yield "explained"


@pytest.mark.parametrize("width", [375, 1440])
def test_accessible_and_readable_at(visit: Visit, served: Served, width: int) -> None:
    """On a phone and on a desk: axe finds nothing of weight, no page is wider than the screen, no text tiny."""
    page, found = visit(width=width), []
    page.goto(f"{served.url}/sign-in")
    found += faults(page, "sign-in", width)
    sign_in(page, served)
    for number, name in enumerate(pages(page, served)):
        found += faults(page, name, width)
        keep(page, f"{width}-{number:02}-{re.sub('[^a-z]+', '-', name).strip('-') or 'overview'}")
    assert not found


def faults(page: Page, name: str, width: int) -> Iterator[tuple[str, str, str]]:
    """What is wrong with the page as it is: contrast, names, roles, headings, landmarks, size."""
    page.wait_for_load_state("networkidle")  # parts of a page come after it
    page.evaluate(_AXE.read_text())
    result = page.evaluate(
        "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice']})"
    )
    assert result["passes"], name
    for each in result["violations"]:
        if each["impact"] in ("serious", "critical", "moderate"):
            yield name, each["id"], each["nodes"][0]["html"][:120]
    if page.evaluate("document.documentElement.scrollWidth") > width:
        yield name, "wider than the screen", ""
    sizes = page.evaluate(
        "[...document.querySelectorAll('main *')].filter(e => e.innerText && !e.closest('svg'))"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    if min(sizes) < 12:
        yield name, "tiny text", ""


def test_with_the_keyboard_alone(visit: Visit, served: Served) -> None:
    """From sign-in to a withdrawal without a mouse; where the keyboard is can always be seen."""
    page = visit()
    page.goto(served.link())
    tab_to(page, "Sign in")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the page"
    tab_to(page, "A person")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{served.url}/person")
    assert page.evaluate("document.activeElement.name") == "number"
    page.keyboard.insert_text(DORA)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Consent in time")).to_be_visible()
    tab_to(page, "Withdraw")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Withdraw consent")).to_be_visible()
    tab_to(page, "Withdraw consent")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The withdrawal is on record")).to_be_visible()
    key = served.home.directory.find([DORA])[0]
    assert key
    assert served.home.ledger.decide(key, "spending", "credit_scoring").reason == "WITHDRAWN"


def focused(page: Page) -> str:
    """The name of what has the keyboard."""
    return str(page.evaluate("document.activeElement.innerText"))


def tab_to(page: Page, name: str) -> None:
    """Press Tab until something has the keyboard; it has to show an outline."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused(page) == name:
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none", name
            return
    raise AssertionError(f"{name} cannot be reached with the keyboard")


def test_reading_needs_no_script(visit: Visit, served: Served) -> None:
    """Without JavaScript every page is there; what else comes by itself is behind a link."""
    page = sign_in(visit(java_script_enabled=False), served)
    for path in _LISTS:
        page.goto(served.url + path)
        assert page.locator("h1").inner_text()
    look_up(page, served, ANNA)
    page.get_by_label("At this moment").fill("2026-01-01T00:00")
    page.get_by_role("button", name="Ask").click()
    assert "at=2026-01-01" in page.url
    page.get_by_role("link", name="Show what is held").click()
    expect(page.locator("#held")).to_contain_text("scorecard-1")
    page.get_by_role("link", name="Back to the person").click()
    page.get_by_role("link", name="Show who looked").click()
    expect(page.locator("#accesses")).to_contain_text("data held")


def test_in_chinese(visit: Visit, served: Served) -> None:
    """The browser's language, or the one that is chosen; no English sentence of ours is left."""
    page = sign_in(visit(lang="zh-CN"), served)
    assert page.locator("html").get_attribute("lang") == "zh-CN"
    expect(page.get_by_role("heading", name="总览")).to_be_visible()
    page.wait_for_selector("#figures .facts")
    keep(page, "zh-overview")
    for path in (p for p in _LISTS if p != "/reports/processing-record"):  # that one is the lender's own text
        page.goto(served.url + path)
        said = page.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => !e.closest('[lang=en], code, pre, .langs, .brand,"
            " .who, option, button') && !e.children.length).map(e => e.textContent).join('\\n')"
        )
        left = {word for word in re.findall(r"[A-Za-z]{3,}", said) if word not in _KEPT}
        assert not left, (path, left)
    look_up_zh(page, served)
    expect(page.locator("#matrix")).to_contain_text("已撤回")
    expect(page.get_by_text(re.compile(r"至2099年1月1日")).first).to_be_visible()
    page.wait_for_selector("#held table")
    keep(page, "zh-person")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_role("heading", name="Consent in time")).to_be_visible()


#: Names that stay as they are.
_KEPT = {
    "UTC",
    "CSV",
    "JSON",
    "spending",
    "csv",
    "jsonl",
    "scorecard",
    "link",
    "root",
    "ISO",
    "SHA",
    "SECRET",
}
_KEPT |= {
    "court",
    "order",
    "belas",
    "model",
    "employment",
    "app",
    "usage",
    "https",
    "lender",
    "example",
    "privacy",
}
_KEPT |= {"assent", "quarantine", "token", "second", "officer", "local"}


def look_up_zh(page: Page, served: Served) -> None:
    page.goto(f"{served.url}/person")
    page.get_by_label("客户号").fill(ANNA)
    page.get_by_role("button", name="查询").click()
