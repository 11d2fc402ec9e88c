"""A lender's home behind a real server, and a real browser in front of it."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from consent.home import Home
from console.web.app import create_app, shared_by
from feature_repo.stores import setup
from tests.rights.borrowers import lend

#: Where screenshots are kept; no file of it is tracked.
PICTURES = Path(__file__).parents[3] / "build" / "screenshots"
#: So that Chromium asks nobody outside for anything.
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def lent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a lender's home with its borrowers. To be copied, not changed."""
    root = tmp_path_factory.mktemp("lent")
    lend(root)
    return root


@pytest.fixture(scope="module")
def place(lent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it for one file of tests, which may change it."""
    root = tmp_path_factory.mktemp("console")
    for name in ("home", "home.keys"):
        shutil.copytree(lent / name, root / name)
    setup.write_configurations(Home.open(root / "home"))
    return root


@dataclass
class Served:
    """A console that is listening."""

    app: FastAPI
    home: Home
    url: str

    def link(self) -> str:
        """A fresh link that signs in once."""
        return f"{self.url}/sign-in/link?secret={shared_by(self.app).links.make()}"


@pytest.fixture(scope="module")
def served(place: Path) -> Iterator[Served]:
    """The console of the copy, on a port of its own."""
    with serving(Home.open(place / "home")) as found:
        yield found


class serving:  # noqa: N801 - reads as a word where it is used
    """Serve a home's console for as long as the block lasts."""

    def __init__(self, home: Home) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = create_app(home, url)
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._served = Served(app, home, url)

    def __enter__(self) -> Served:
        self._thread.start()
        return self._served

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()


def chromium() -> str:
    """The machine's Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("ASSENT_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip("no Chromium: `make browser` installs it, or ASSENT_CHROMIUM names one")
    assert found, "no Chromium: .ci/run installs it"
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser without a window. As long as it is open, the process has an event loop that others trip over."""
    path = chromium()
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=list(_QUIET))
        yield opened
        opened.close()


def is_wrong(message: ConsoleMessage) -> bool:
    """Whether the browser complains of something that a test did not ask for."""
    return message.type == "error" and "404 (Not Found)" not in message.text


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, served: Served) -> Iterator[Visit]:
    """Opens a page of its own session. Whatever leaves the machine, and whatever the console complains of, fails."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def open_page(*, width: int = 1440, height: int = 900, lang: str = "en", **more: Any) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": height}, locale=lang, accept_downloads=True, **more
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        page.on("request", lambda r: None if r.url.startswith(served.url) else wrong.append(r.url))
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("console", lambda m: wrong.append(m.text) if is_wrong(m) else None)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def sign_in(page: Page, served: Served) -> Page:
    """Sign in as privacy officer, by the link."""
    page.goto(served.link())
    page.click("main button")
    page.wait_for_url(f"{served.url}/")
    return page


def keep(page: Page, name: str) -> None:
    """Keep a picture of the page as it is."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
