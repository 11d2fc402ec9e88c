"""What the pages say in each language (``console/web/words``, one file each), and how it writes dates and numbers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_datetime, get_timezone_name
from babel.lists import format_list
from babel.numbers import format_decimal, format_percent

from consent.clock import parse_instant
from consent.errors import BadInput
from consent.nouns import ANY

_TEXTS = Path(__file__).parent / "words"
#: BCP 47 tag -> Babel's locale.
_LOCALES = {"en": "en_GB", "zh": "zh_Hans_CN"}
LANGUAGES = tuple(_LOCALES)


@dataclass(frozen=True)
class Words:
    """One language in one time zone.

    Attributes:
        lang: ``en`` or ``zh``.
        names: kind of thing -> its name -> in words.
        text: everything else.
    """

    lang: str
    zone: ZoneInfo
    names: Mapping[str, Mapping[str, str]]
    text: Mapping[str, str]

    @property
    def tag(self) -> str:
        """The page's BCP 47 tag."""
        return self.text["tag"]

    def __call__(self, key: str, /, **values: object) -> str:
        """What a page says under a key."""
        return self.text[key].format(**values) if values else self.text[key]

    def name(self, kind: str, name: object) -> str:
        """A source, purpose, event, reason ... in words; ``*`` is every one."""
        said = str(name)
        return self.text[f"every_{kind}"] if said == ANY else self.names[kind].get(said, said)

    def column(self, name: str) -> str:
        """The head of a report's column."""
        return self.names["column"].get(name) or name.replace("_", " ").capitalize()

    def pair(self, source: str, purpose: str) -> str:
        """A source for a purpose."""
        return self("pair", source=self.name("source", source), purpose=self.name("purpose", purpose))

    def number(self, value: float) -> str:
        """A count or figure."""
        return str(format_decimal(value, locale=_LOCALES[self.lang]))

    def share(self, part: float, whole: float) -> str:
        """A share in percent; a dash where there is nothing to share."""
        return str(format_percent(part / whole, locale=_LOCALES[self.lang])) if whole else "–"

    def count(self, key: str, number: int) -> str:
        """A number of things: ``key_one`` or ``key_many``."""
        return self(f"{key}_{'one' if number == 1 else 'many'}", n=self.number(number))

    def day(self, at: datetime | date) -> str:
        """A date."""
        local = at.astimezone(self.zone).date() if isinstance(at, datetime) else at
        return str(format_date(local, "medium", locale=_LOCALES[self.lang]))

    def month(self, at: datetime) -> str:
        """A month of a year."""
        shape = "y年M月" if self.lang == "zh" else "MMM y"
        return str(format_datetime(at, shape, tzinfo=self.zone, locale=_LOCALES[self.lang]))

    def minute(self, at: datetime) -> str:
        """A date and time, to the minute, in the console's zone."""
        shape = "y年M月d日 HH:mm" if self.lang == "zh" else "d MMM y, HH:mm"
        return str(format_datetime(at, shape, tzinfo=self.zone, locale=_LOCALES[self.lang]))

    def zone_name(self) -> str:
        """The name of the zone in which times are shown."""
        if self.zone.key == "UTC":
            return "UTC"
        return str(get_timezone_name(self.zone, locale=_LOCALES[self.lang]))

    def field(self, at: datetime) -> str:
        """An instant as a form's field holds it."""
        return at.astimezone(self.zone).strftime("%Y-%m-%dT%H:%M")

    def lasted(self, span: timedelta) -> str:
        """How long something took, in the unit that suits it."""
        seconds = span.total_seconds()
        for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
            if seconds >= 2 * size:
                return self(f"in_{unit}", n=self.number(round(seconds / size)))
        return self("in_seconds", n=self.number(round(seconds, 1)))

    def listed(self, items: list[str]) -> str:
        """Several things in a row."""
        return str(format_list(items, locale=_LOCALES[self.lang]))

    def instant(self, text: str | None, what: str) -> datetime | None:
        """A form's date and time, in the console's zone unless it says another; None where it is empty.

        Raises:
            BadInput: it is none.
        """
        if not text:
            return None
        try:
            said = datetime.fromisoformat(text.strip())
        except ValueError:
            return parse_instant(text, what=what)
        local = said.replace(tzinfo=self.zone) if said.tzinfo is None else said
        try:
            at = local.astimezone(UTC)
        except OverflowError:
            at = datetime.min.replace(tzinfo=UTC)
        if not 1900 <= at.year <= 2200:
            raise BadInput(f"{what} is not in the years 1900 to 2200", remedy="Write a real date.")
        return at


@cache
def words(lang: str, zone: str) -> Words:
    """The texts of a language."""
    raw = tomllib.loads((_TEXTS / f"{lang}.toml").read_text(encoding="utf-8"))
    return Words(lang, ZoneInfo(zone), raw["names"], raw["text"])


def choose(wanted: str | None, accepted: str) -> str:
    """The language to use: the one that was chosen, else the first that the browser accepts.

    Args:
        accepted: the header ``Accept-Language``.
    """
    if wanted in LANGUAGES:
        return str(wanted)
    tags = (part.split(";")[0].strip().lower()[:2] for part in accepted[:200].split(","))
    return next((tag for tag in tags if tag in LANGUAGES), LANGUAGES[0])
