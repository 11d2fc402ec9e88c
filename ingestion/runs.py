"""What jobs did: one small report a job, kept in the home. Counts, names of files and rules; never a cell."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from consent.clock import parse_instant
from consent.errors import BadInput, EvidenceError
from consent.files import write_atomically
from consent.home import Home
from ingestion.manifest import canonical_json

Kind = Literal["ingest", "publish"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Run:
    """One job that ended.

    Attributes:
        document: its report, as it lies in the home.
    """

    run_id: str
    kind: Kind
    started_at: datetime
    document: dict[str, Any]


class Stopwatch:
    """Adds up the seconds of each stage of a job; a stage ends where the next begins."""

    def __init__(self) -> None:
        self._spent: dict[str, float] = {}
        self._stage: str | None = None
        self._since = time.perf_counter()

    def enter(self, stage: str | None) -> None:
        """From here on the time is that stage's; None: nobody's."""
        now = time.perf_counter()
        if self._stage is not None:
            self._spent[self._stage] = self._spent.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, of the stages that have ended."""
        return {stage: round(spent, 3) for stage, spent in self._spent.items()}


def new_run_id(started_at: datetime) -> str:
    """A name for a job; names of later jobs sort later."""
    return f"{started_at:%Y-%m-%dT%H%M%S-%f}-{secrets.token_hex(3)}"


def keep_run(home: Home, kind: Kind, document: dict[str, Any]) -> None:
    """Write a job's report; it has ``run_id`` and ``started_at``."""
    path = _place(home, kind) / f"{document['run_id']}.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomically(path, canonical_json(document))


def newest_runs(
    home: Home, kinds: Collection[Kind] = KINDS, *, since: datetime | None = None, before: str = ""
) -> Iterator[Run]:
    """The jobs that ended, the newest first, one in memory at a time.

    Args:
        before: only those whose name comes before this one, to turn the page.

    Raises:
        EvidenceError: a report is not one that a job writes.
    """
    paths = [(path, kind) for kind in kinds for path in _place(home, kind).glob("*.json")]
    for path, kind in sorted(paths, key=lambda found: found[0].stem, reverse=True):
        if before and path.stem >= before:
            continue
        run = _read(path, kind)
        if since is not None and run.started_at < since:
            return
        yield run


def find_run(home: Home, run_id: str, kinds: Collection[Kind] = KINDS) -> Run:
    """The job of that name.

    Raises:
        BadInput: there is none.
        EvidenceError: its report is not one that a job writes.
    """
    if re.fullmatch("[0-9A-Za-z-]+", run_id):
        for kind in kinds:
            path = _place(home, kind) / f"{run_id}.json"
            if path.exists():
                return _read(path, kind)
    raise BadInput("there is no such run", remedy="See `assent runs list`.")


def _place(home: Home, kind: Kind) -> Path:
    return home.path("runs") if kind == "ingest" else home.path("runs", kind)


def _read(path: Path, kind: Kind) -> Run:
    try:
        document = json.loads(path.read_bytes())
        return Run(document["run_id"], kind, parse_instant(document["started_at"]), document)
    except (ValueError, KeyError, TypeError, OSError, BadInput):
        raise EvidenceError(
            "the report of a job cannot be read", remedy="Restore the home's runs directory."
        ) from None
