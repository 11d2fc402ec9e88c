"""What was decided about each public name of Feast, in words that a test can hold to be true."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from consent.errors import AssentError, Denied, Gap
from tests.feature_repo.lender import Lender

PURPOSE = "credit_scoring"
REFS = ["spending_v1:spend_7d"]


@dataclass(frozen=True)
class Gated:
    """Hands out or takes in values, and asks before.

    Attributes:
        shown_by: the test that shows it, ``file::test``.
    """

    shown_by: str


@dataclass(frozen=True)
class Refused:
    """Raises `Denied` or `Gap`, with what to do instead."""

    call: Callable[[Here], Any]


@dataclass(frozen=True)
class NoValues:
    """Has to do with no value of anybody's."""

    why: str


@dataclass(frozen=True)
class Calls:
    """A face that reaches values through these names of `FeatureStore`, which are decided themselves."""

    names: tuple[str, ...]


Decision = Gated | Refused | NoValues | Calls
Table = Mapping[str, Decision]


class Here:
    """Somebody who agreed, their published row, and what else a call may want."""

    def __init__(self, lender: Lender, place: Path) -> None:
        self.lender = lender
        self.place = place
        self.store = lender.stores[PURPOSE]
        self.config, self.provider = self.store.config, self.store.provider
        self.offline, self.online = self.provider.offline_store, self.provider.online_store
        self.key = lender.agrees(PURPOSE)
        lender.publish("spending", [(self.key, -1, {"spend_7d": 1.5})])
        self.view = self.store.get_feature_view("spending_v1")
        self.entities = lender.entities((self.key, 0))

    @property
    def rows(self) -> Any:
        """A row to write."""
        return self.lender.entities((self.key, -1)).assign(**{f.name: 1.5 for f in self.view.features})

    def job(self) -> Any:
        """A job that was not executed."""
        return self.store.get_historical_features(entity_df=self.entities, features=REFS)


def public_names(thing: object) -> set[str]:
    """All that does not begin with an underscore: methods, properties, constants, attributes."""
    return {name for name in dir(thing) if not name.startswith("_")}


def in_words(table: Table, words: type[Decision]) -> list[str]:
    """Names decided in one way."""
    return [name for name, decision in table.items() if isinstance(decision, words)]


def carries_no_values(why: str, *names: str) -> dict[str, Decision]:
    """One reason for many names."""
    return dict.fromkeys(names, NoValues(why))


def require_refused(refused: Decision, here: Here) -> AssentError:
    """Make the call, and see that one of our own refusals comes of it, perhaps inside an error of Feast's."""
    assert isinstance(refused, Refused)
    with pytest.raises(Exception) as caught:
        _carry_out(refused.call, here)
    cause: BaseException | None = caught.value
    while cause is not None and not isinstance(cause, Denied | Gap):
        cause = cause.__cause__
    assert cause is not None, caught.value
    assert cause.remedy
    return cause


def _carry_out(call: Callable[[Here], Any], here: Here) -> None:
    answer = call(here)
    if inspect.isawaitable(answer):
        asyncio.run(_wait(answer))


async def _wait(answer: Any) -> Any:
    return await answer


def there_is_a_test(name: str) -> bool:
    """Whether there is a test of this name, ``file::test``, in this room."""
    file, _, test = name.partition("::")
    path = Path(__file__).with_name(file)
    return path.is_file() and bool(re.search(rf"^def {test}\(", path.read_text("utf-8"), re.MULTILINE))
