"""The officer's console on a large ledger: how long its pages take.

python benchmarks/bench_console.py [--people 1000000] [--events 5000000] [--looks 40]

Seconds from the request to the whole answer, in one process with the server, with every look written down: median and
95 of 100. Bars: the overview within 1 s, also right after a new entry; a person's page within 0.3 s. The last line
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench_reports import prepare, statements
from fastapi.testclient import TestClient

from consent.home import Home
from console.web.app import create_app, shared_by
from console.web.limits import Limit

_URL = "http://127.0.0.1:8740"
_NUMBERS = 1_000
BARS = {"overview": 1.0, "overview_after_an_entry": 1.0, "person": 0.3}


@dataclass
class Officer:
    """Somebody at the console, and how long she waited for what."""

    home: Home
    waited: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        app = create_app(self.home, _URL)
        shared = shared_by(app)
        shared.look_ups = shared.requests = shared.sign_ins = Limit(10**9, 10**9)
        self.client = TestClient(app, base_url=_URL, follow_redirects=False)
        assert self.client.post("/sign-in/link", data={"secret": shared.links.make()}).status_code == 303
        self.csrf = re.findall(r'name="csrf" value="([^"]+)"', self.client.get("/person").text)[0]

    def get(self, what: str, path: str) -> str:
        """Open a page."""
        return str(self._timed(what, lambda: self.client.get(path)).text)

    def look_up(self, number: str) -> str:
        """Look somebody up; the address of the page."""
        fields = {"csrf": self.csrf, "number": number}
        answer = self._timed("look_up", lambda: self.client.post("/person", data=fields))
        return str(answer.headers["location"])

    def _timed(self, what: str, ask: Callable[[], Any]) -> Any:
        begun = time.perf_counter()
        answer = ask()
        self.waited.setdefault(what, []).append(time.perf_counter() - begun)
        assert answer.status_code in (200, 303), (what, answer.status_code)
        return answer


def lend(place: Path, people: int, events: int) -> Home:
    """A ledger of so many people, and a thousand of them with customer numbers."""
    home, _ = prepare(place, people, events + people)  # it leaves room for what comes after a yes
    keys = home.directory.find_or_create([f"C-{n}" for n in range(_NUMBERS)])
    made = list(statements(_NUMBERS, _NUMBERS * 5))
    known = dict(zip(dict.fromkeys(event.subject_key for event in made), keys, strict=True))
    home.ledger.append([replace(event, subject_key=known[event.subject_key]) for event in made])
    return home


def work(officer: Officer, looks: int) -> float:
    """A day's work, many times over; how long the first figures took to count."""
    begun = time.perf_counter()
    officer.get("overview_first", "/")
    while "figures are being counted" in officer.client.get("/").text:
        time.sleep(0.2)
    counted = time.perf_counter() - begun
    for number in range(looks):
        page = officer.look_up(f"C-{number}")
        officer.get("person", page)
        officer.get("person_past", f"{page}/matrix?at=2026-06-01T00:00&known=2026-06-01T00:00")
        officer.get("person_accesses", f"{page}/accesses")
        officer.get("overview", "/")
        if number % 4 == 0:
            form = {"csrf": officer.csrf, "source": "employment"}
            done = officer.client.post(f"{page}/withdraw", data=form)
            assert done.status_code in (303, 409), done.status_code
            officer.get("overview_after_an_entry", "/")
        officer.get("ledger", "/ledger")
        officer.get("ledger_of_a_kind", "/ledger?kind=withdrawn&source=spending")
        officer.get("requests", "/requests")
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--looks", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        begun = time.perf_counter()
        home = lend(Path(place), given.people, given.events)
        print(f"{home.ledger.size():,} entries, made in {time.perf_counter() - begun:.0f} s", flush=True)
        officer = Officer(home)
        counted = work(officer, given.looks)
    print(f"{'page':28}{'median s':>10}{'95 of 100':>11}{'bar':>7}")
    figures: dict[str, Any] = {"first_figures_s": round(counted, 1)}
    for what, waited in officer.waited.items():
        median, most = statistics.median(waited), sorted(waited)[int(len(waited) * 0.95)]
        bar = BARS.get(what)
        print(
            f"{what:28}{median:10.3f}{most:11.3f}{bar or '':>7}{'' if not bar or most < bar else '  MISSED'}"
        )
        figures[what] = {"median_s": round(median, 4), "p95_s": round(most, 4)}
    figures["max_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
