"""A page shows a part and leads on to the rest: all of it, each once, and no more is read than is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from consent.exchange.statements import record_statements
from consent.home import Home
from console.web import ledger, person, records
from tests.console.web.visitors import NUMBER, Console, agree, console, find

_NUMBER = r'<td data-l="Entry" class="number">(\d+)</td>'


@pytest.fixture
def opened(empty_home: Home) -> Console:
    """Somebody who has changed their mind sixty times, and sixty others."""
    agree(empty_home)
    for _ in range(30):
        for event in ("paused", "resumed"):
            record_statements(
                empty_home, [{"event": event, "subject_id": NUMBER, "source": "*", "purpose": "*"}]
            )
    for n in range(60):
        agree(empty_home, f"C-{n:04}-other")
    return console(empty_home)


def walk(client: TestClient, path: str, link: str) -> Iterator[list[int]]:
    """The numbers on each page, from the first to the last."""
    while path:
        text = client.get(path).text
        yield [int(n) for n in re.findall(_NUMBER, text)]
        onwards = re.search(rf'href="([^"]+)">{link}</a>', text)
        path = onwards[1].replace("&amp;", "&") if onwards else ""


def test_the_ledger(opened: Console) -> None:
    """Newest first, fifty at a time, every entry once; a filter keeps its word on every page."""
    client = opened.officer()
    pages = list(walk(client, "/ledger", "Older"))
    assert [len(page) for page in pages] == [ledger.PAGE, ledger.PAGE, 121 - 2 * ledger.PAGE]
    assert [n for page in pages for n in page] == list(range(120, -1, -1))
    given = [n for page in walk(client, "/ledger?kind=given", "Older") for n in page]
    assert given == [*range(120, 60, -1), 0]
    paused = [n for page in walk(client, "/ledger?kind=paused", "Older") for n in page]
    assert paused == list(range(59, 0, -2))
    assert [n for page in walk(client, "/ledger?entry=7", "Older") for n in page] == [7]


def test_a_person(opened: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty-five entries at a time; only these are read whole."""
    client, read = opened.officer(), []
    entries = opened.home.ledger.entries
    monkeypatch.setattr(
        opened.home.ledger, "entries", lambda places: read.append(len(places)) or entries(places)
    )
    pages = list(walk(client, find(client), "Older"))
    assert [n for page in pages for n in page] == list(range(60, -1, -1))
    assert max(len(page) for page in pages) == person.PAGE
    assert max(read) <= person.PAGE


def test_the_access_log(opened: Console) -> None:
    """Twenty-five at a time; walking through it is itself written down, once a page."""
    client = opened.officer()
    path = find(client)
    for _ in range(30):
        client.get(f"{path}/matrix")
    before = opened.home.accesses.size()
    pages = list(walk(client, "/accesses", "Older"))
    assert [n for page in pages for n in page] == list(range(before, -1, -1))
    assert max(len(page) for page in pages) == records.PAGE
    assert opened.home.accesses.size() == before + len(pages)
