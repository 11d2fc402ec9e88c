"""Both languages say everything, and write dates and numbers as people do."""

from __future__ import annotations

import re
import string
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

import console.web
from consent.accesses import AccessKind
from consent.catalog import BUILT_IN, PURPOSES
from consent.errors import BadInput
from consent.knowledge import Verdict
from consent.nouns import Kind, Reason
from consent.tokens import Role
from console.web.language import LANGUAGES, Words, choose, words
from reports.catalog import REPORTS

_HERE = Path(console.web.__file__).parent
AT = datetime(2026, 11, 5, 22, 30, tzinfo=UTC)


def both() -> tuple[Words, Words]:
    return words("en", "UTC"), words("zh", "UTC")


def test_both_have_the_same_texts_with_the_same_places() -> None:
    """No text is missing in one language, and what is filled in is filled in in both."""
    english, chinese = both()
    assert english.text.keys() == chinese.text.keys()

    def places(text: str) -> set[str | None]:
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    for key in english.text:
        assert places(english.text[key]) == places(chinese.text[key]), key
    for kind in english.names.keys() - {"column"}:
        assert english.names[kind].keys() == chinese.names[kind].keys(), kind


def test_every_text_that_a_page_says_is_there_and_none_is_stale() -> None:
    """Each ``w("key")`` of a template has its text; each text is used."""
    used: set[str] = set()
    starts: set[str] = set()
    for path in [*_HERE.glob("templates/*.html"), *_HERE.glob("*.py")]:
        source = path.read_text()
        used |= set(re.findall(r"""\bw(?:ords)?\(\s*["']([a-z_0-9]+)["']""", source))
        used |= set(re.findall(r"""self\(\s*["']([a-z_0-9]+)["']""", source))
        starts |= set(re.findall(r"""\bw\(\s*["']([a-z_]+)["'] ~""", source))
        starts |= set(re.findall(r"""\.count\(["']([a-z_]+)["']""", source))
        starts |= set(re.findall(r"""w\(["'](\w+)["'] if""", source))
        used |= set(re.findall(r"""else ["']([a-z_]+)["'][,)]""", source)) & both()[0].text.keys()
    english = both()[0]
    assert used <= english.text.keys() | {key for key in used if any(k.startswith(key) for k in english.text)}
    spare = {
        key
        for key in english.text
        if key not in used | {"tag"}
        and not any(
            key.startswith(start)
            for start in starts | {"every_", "in_", "field_", "refused_by", "quarantined_by", "warned_by"}
        )
    }
    assert not spare


def test_every_name_has_words() -> None:
    """Whatever the ledger, the rules and the reports can say is said in both languages."""
    for w in both():
        for kind, names in {
            "source": BUILT_IN,
            "purpose": PURPOSES,
            "role": Role,
            "event": Kind,
            "reason": Reason,
            "why": Reason,
            "verdict": Verdict,
            "access": AccessKind,
            "report": REPORTS,
        }.items():
            assert {str(name) for name in names} <= w.names[kind].keys(), (w.lang, kind)
    columns = {column.name for report in REPORTS.values() for column in report.columns}
    assert columns <= both()[1].names["column"].keys()


def test_dates_and_numbers() -> None:
    """In the console's zone, and as each language writes them."""
    english, chinese = words("en", "Asia/Shanghai"), words("zh", "Asia/Shanghai")
    assert english.minute(AT) == "6 Nov 2026, 06:30"
    assert chinese.minute(AT) == "2026年11月6日 06:30"
    assert (english.day(AT), chinese.day(date(2026, 11, 5))) == ("6 Nov 2026", "2026年11月5日")
    assert (english.number(1234567), chinese.number(1234567.5)) == ("1,234,567", "1,234,567.5")
    assert (english.share(1, 3), english.share(0, 0), chinese.share(1, 4)) == ("33%", "–", "25%")
    assert english.zone_name() == "China Time"
    assert chinese.zone_name() == "中国时间"
    assert english.field(AT) == "2026-11-06T06:30"
    assert english.instant("2026-11-06T06:30", "x") == AT
    assert english.instant("2026-11-06T06:30+00:00", "x") != AT
    assert english.instant("", "x") is None


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (timedelta(milliseconds=400), "0.4 s"),
        (timedelta(seconds=119), "119 s"),
        (timedelta(minutes=2), "2 minutes"),
        (timedelta(hours=3), "3 hours"),
        (timedelta(days=2), "2 days"),
    ],
)
def test_how_long_something_took(span: timedelta, said: str) -> None:
    """In the unit that suits it."""
    assert words("en", "UTC").lasted(span) == said


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "0001-01-01", "9999-12-31T23:59", "'; --", "١٢"])
def test_what_is_no_date(text: str) -> None:
    """Is refused, and not repeated."""
    with pytest.raises(BadInput) as refused:
        words("zh", "Asia/Shanghai").instant(text, "the moment")
    assert text not in str(refused.value)


@pytest.mark.parametrize(
    ("wanted", "accepted", "lang"),
    [
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "de-DE,zh;q=0.5", "zh"),
        (None, "fr", "en"),
        (None, "", "en"),
        (None, ",;q=,;;" * 500, "en"),
        ("zh", "en", "zh"),
        ("xx", "zh", "zh"),
    ],
)
def test_which_language(wanted: str | None, accepted: str, lang: str) -> None:
    """The one that was chosen, else the browser's first that there is."""
    assert choose(wanted, accepted) == lang
    assert lang in LANGUAGES
