"""What an access package says, in each language: the texts themselves are in ``rights/pages``, one file a language.

For a person who is no engineer: short sentences, no term of ours without its meaning beside it. A column or a feature
of which a language has no text is told as the source's definition has it, in English; in English all features are.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from consent.nouns import ANY
from ingestion.source import Column, Feature

_TEXTS = Path(__file__).parent / "pages"


@dataclass(frozen=True)
class Words:
    """One language.

    Attributes:
        lang: BCP 47 tag.
        page: the page's own file.
        sources, purposes, events, reasons, parties, origins, stores: name -> in words.
        about_sources: what a source is.
        files: kind of file -> what it is, of what it is about.
        text: everything else the page says.
        meanings: of columns and features.
        scales: of units, windows and empty values.
    """

    lang: str
    page: str
    sources: Mapping[str, str]
    about_sources: Mapping[str, str]
    purposes: Mapping[str, str]
    events: Mapping[str, str]
    reasons: Mapping[str, str]
    parties: Mapping[str, str]
    origins: Mapping[str, str]
    stores: Mapping[str, str]
    files: Mapping[str, str]
    text: Mapping[str, str]
    meanings: Mapping[str, str]
    scales: Mapping[str, str]

    def __call__(self, key: str, /, **values: object) -> str:
        """What the page says under a key."""
        return self.text[key].format(**values)

    def source(self, name: str) -> str:
        """A source's name; ``*`` is every one."""
        return self.text["every_source"] if name == ANY else self.sources.get(name, name)

    def purpose(self, name: str) -> str:
        """A purpose's name; ``*`` is every one."""
        return self.text["every_purpose"] if name == ANY else self.purposes.get(name, name)

    def meaning(self, what: Column | Feature) -> str:
        """What a column or feature means, and why a lender wants it."""
        said = what.meaning if isinstance(what, Feature) else what.doc
        return self.meanings.get(what.name, said.replace("`", ""))

    def scale(self, said: str) -> str:
        """A unit, a window, or when a value is empty."""
        return self.scales.get(said, said)

    def file(self, kind: str, about: str = "") -> str:
        """What a file of the package is; `about` may be a source, and a purpose after a comma."""
        named = (self.sources.get(part) or self.purposes.get(part) or part for part in about.split(", "))
        return self.files[kind].format(about=", ".join(named))


@cache
def words(language: str) -> Words:
    """The texts of a language: ``en`` or ``zh``."""
    return Words(**tomllib.loads((_TEXTS / f"{language}.toml").read_text(encoding="utf-8")))


LANGUAGES = ("en", "zh")
