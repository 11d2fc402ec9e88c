"""The page that a person reads: whole, harmless, true, in both languages."""

from __future__ import annotations

import posixpath
import re
import string
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from consent.catalog import PURPOSES, SOURCES
from consent.nouns import Kind, Reason
from ingestion.sources import SOURCES as DEFINED
from rights.markup import Markup, element, text
from rights.own_storage import RETENTION_RULES
from rights.words import LANGUAGES, words
from tests.rights.borrowers import ALIVE, ANNA, CHEN, DORA, EMIL, HOSTILE
from tests.rights.packages import Packages

PAGES = ("index.html", "index.zh.html")
VOID = {"meta", "br"}
Reading = Callable[[str, str], "Read"]


class Read(HTMLParser):
    """A page, read as a browser would.

    Attributes:
        unbalanced: end tags that close something else than was open last.
        elements: every start tag with its attributes.
        cells: the text of every cell of a table.
    """

    def __init__(self, page: str) -> None:
        super().__init__()
        self.source = page
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and {"td", "th"} & set(self.open):
            self.cells[-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def read(packages: Packages) -> Reading:
    """Somebody's page."""
    return lambda who, page: Read(packages(who).files[page].decode())


everybody = pytest.mark.parametrize("who", ALIVE)
both = pytest.mark.parametrize("page", PAGES)


@everybody
@both
def test_it_is_valid(read: Reading, who: str, page: str) -> None:
    """Every element is closed where it should be; language, title and encoding are said; ids are used once."""
    found = read(who, page)
    assert (found.unbalanced, found.open) == ([], [])
    assert found.source.startswith("<!DOCTYPE html>\n")
    assert found.all("html") == [{"lang": "en" if page == "index.html" else "zh-CN"}]
    assert {"charset": "utf-8"} in found.all("meta")
    assert len(found.all("title")) >= 1
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = {a["aria-labelledby"] for _, a in found.elements if "aria-labelledby" in a}
    assert labels <= set(ids)


@everybody
@both
def test_nothing_is_fetched_and_nothing_runs(read: Reading, who: str, page: str) -> None:
    """No script, no handler, no style sheet, picture or link from anywhere else; a policy says so as well."""
    found = read(who, page)
    tags = {tag for tag, _ in found.elements}
    assert not tags & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "form",
        "input",
        "base",
        "use",
        "image",
    }
    for tag, attributes in found.elements:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("src", "srcset", "xlink:href")
        ]
        assert tag == "a" or "href" not in attributes
    policy = next(m for m in found.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")
    style = re.search("<style>(.*?)</style>", found.source, re.S)
    assert style is not None
    assert "url(" not in style[1] and "@import" not in style[1]  # noqa: PT018


@everybody
@both
def test_every_link_leads_to_a_file_of_the_package(
    read: Reading, packages: Packages, who: str, page: str
) -> None:
    """None leads out of it."""
    files = packages(who).files
    links = [attributes["href"] for attributes in read(who, page).all("a")]
    assert links
    for link in links:
        assert posixpath.normpath(link) == link
        assert link in files


@both
def test_hostile_texts_are_only_text(read: Reading, page: str) -> None:
    """Names of merchants, employers, the lender and the customer number stand there as they are, and do nothing."""
    found = read(DORA, page)
    for said in HOSTILE:
        shown = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f]", "\ufffd", said)
        assert shown in found.cells or shown.replace("\r", "\n") in found.cells, said
    assert DORA in found.text
    assert "惠民 <Lending> & Co" in found.text
    assert "Credit Bureau <Ltd>" in found.text
    assert "toggle, <default> off" in found.text
    assert "<script>" not in found.source
    assert "onerror=alert(1)>" not in found.source


@everybody
@both
def test_tables_can_be_read_aloud(read: Reading, who: str, page: str) -> None:
    """Each has a caption; each head says what it heads; what moves sideways can be reached by keyboard."""
    found = read(who, page)
    assert len(found.all("caption")) == len(found.all("table")) > 0
    assert all(head.get("scope") in ("col", "row") for head in found.all("th"))
    regions = [a for a in found.all("div") if a.get("role") == "region"]
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in regions)
    drawings = [a for a in found.all("svg") if a.get("role") == "img"]
    assert len(drawings) + len([a for a in found.all("svg") if a.get("aria-hidden")]) == len(found.all("svg"))


def test_it_tells_the_lender_the_state_and_the_counts(read: Reading, packages: Packages) -> None:
    """Who holds the data, what may be used now and why not, how many records from when to when."""
    found = read(ANNA, "index.html")
    for said in ("privacy@lender.example", "https://lender.example/consent?a=1&b=2", "Credit Bureau <Ltd>"):
        assert said in found.text
    assert "may be used, until 2099-01-01" in found.text
    assert "not used: you withdrew" in found.text
    assert "Spending: the newest records, 9 of 9" in found.text
    assert "another person" in found.text
    assert "scorecard-1" in found.text
    assert "Not written down one by one" in found.text
    (rows,) = [
        f["rows"]
        for f in packages(ANNA).json("manifest.json")["files"]
        if f["file"] == "records/spending.csv"
    ]
    assert rows == 9


def test_a_bar_for_every_use_that_was_asked_about(read: Reading) -> None:
    """Drawn with the state at each time, and told in words for who cannot see it."""
    drawings = re.findall(
        r'<svg [^>]*role="img"[^>]*><title>(.*?)</title>(.*?)</svg>', read(ANNA, "index.html").source
    )
    assert len(drawings) == 9
    (paused,) = [bars for told, bars in drawings if told.startswith("Employment for Credit scoring")]
    assert re.findall('class="fill ([a-z]+)"', paused) == ["yes", "rest", "yes"]
    (ended,) = [told for told, _ in drawings if told.startswith("App usage for Training of models")]
    assert ended.endswith("you withdrew")


@both
def test_a_hold_and_a_pending_erasure_stand_at_the_top(read: Reading, page: str) -> None:
    """Without the hold's ground."""
    notes = [a for a in read(CHEN, page).all("p") if a.get("class") == "notice"]
    assert len(notes) == 2
    assert "SECRET" not in read(CHEN, page).source


def test_who_is_told_of_nothing(read: Reading) -> None:
    """Somebody who said no and of whom nothing is held."""
    found = read(EMIL, "index.html")
    assert "No records are held." in found.text
    assert "Nothing was computed." in found.text
    assert "No training set holds data of yours." in found.text
    assert "not used: you did not agree" in found.text


# ------------------------------------------------------------------------------------------- words


def test_both_languages_say_the_same() -> None:
    """Each table has the same keys, each text the same places to fill in."""
    english, chinese = (words(language) for language in LANGUAGES)
    for name in ("sources", "about_sources", "purposes", "events", "reasons", "parties", "origins", "stores"):
        assert getattr(english, name).keys() == getattr(chinese, name).keys()
    for name in ("files", "text"):
        mine, theirs = getattr(english, name), getattr(chinese, name)
        assert mine.keys() == theirs.keys()
        assert {k: places(v) for k, v in mine.items()} == {k: places(v) for k, v in theirs.items()}


def places(said: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(said) if name is not None}


@pytest.mark.parametrize("language", LANGUAGES)
def test_everything_has_a_word(language: str) -> None:
    """Every source, purpose, event, reason, rule and column; in Chinese every feature, unit and window besides."""
    spoken = words(language)
    assert spoken.sources.keys() == spoken.about_sources.keys() == SOURCES.keys()
    assert spoken.purposes.keys() == PURPOSES.keys()
    assert set(spoken.events) == set(Kind)
    assert set(spoken.reasons) == set(Reason)
    assert all(f"rule_{name}" in spoken.text for name in RETENTION_RULES)
    if language == "zh":
        for source in DEFINED.values():
            assert {c.name for c in source.columns} | {
                f.name for f in source.features
            } <= spoken.meanings.keys()
            assert {
                s for f in source.features for s in (f.unit, f.window, f.null_means)
            } <= spoken.scales.keys()


def test_markup_escapes_what_is_not_markup() -> None:
    """Text and attributes; what was put together before stays as it is; control characters are shown as such."""
    inner = element("b", "<&\"'>")
    assert inner == "<b>&lt;&amp;&quot;&#x27;&gt;</b>"
    assert element("p", inner, None, ["x", inner], title='"<') == f'<p title="&quot;&lt;">{inner}x{inner}</p>'
    assert element("br") == "<br>"
    assert text("a\0b\x7f\n") == "a\ufffdb\ufffd\n"
    assert isinstance(text("x"), Markup)
