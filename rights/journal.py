"""Erasures under way, so that a killed job ends where it would have ended.

There is one small signed document for those that go together, so that they are planned all or not at all. It holds
pseudonyms, counts and instants, and is deleted when the certificates are written.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any

from consent.home import Home
from ingestion.manifest import read_manifest, write_manifest

_USE = "erasures"


@dataclass(frozen=True)
class Planned:
    """One erasure.

    Attributes:
        erasure_id: 32 hex digits; the idempotency key of the ledger's entry, and the certificate's name.
        source: one, or ``*`` for the whole person.
        blank: whether the person's consent records go as well.
        request: position of the request in the ledger.
        items: what was found and what becomes of it, as the certificate will say.
    """

    erasure_id: str
    subject_key: str
    source: str
    basis: str
    blank: bool
    request: int
    requested_at: str
    items: list[dict[str, Any]]
    receipts: list[str]
    models: list[str]


@dataclass
class Journal:
    """Erasures that share a new epoch.

    Attributes:
        name: the first one's id.
        erasures: those that no certificate is written of yet.
        epoch: the epoch under which the keys that stay are sealed.
        began_at: when it was begun to destroy; empty until then. From then on a hold comes too late.
        epochs_destroyed: epoch -> what destroying its key said.
        erased_at: when everything was destroyed; empty until then.
    """

    name: str
    erasures: list[Planned]
    epoch: int
    began_at: str = ""
    epochs_destroyed: dict[str, dict[str, Any]] = field(default_factory=dict)
    erased_at: str = ""

    def of(self, source: str) -> list[str]:
        """Whose data of a source, or with ``*`` who, is erased."""
        return [planned.subject_key for planned in self.erasures if planned.source == source]

    def sources(self) -> list[str]:
        """The sources named, ``*`` among them."""
        return sorted({planned.source for planned in self.erasures})


def write_journal(home: Home, journal: Journal) -> None:
    """Make what was done so far durable."""
    path = home.path("erasures", f"{journal.name}.json")
    write_manifest(path, asdict(journal), home.keyring.secret(_USE))


def read_journals(home: Home) -> list[Journal]:
    """The erasures under way, in order.

    Raises:
        EvidenceError: a document was changed.
    """
    key, paths = home.keyring.secret(_USE), sorted(home.path("erasures").glob("*.json"))
    return [_from_document(read_manifest(path, key)) for path in paths]


def under_way(home: Home) -> set[str]:
    """Ids of the erasures that no certificate is written of yet."""
    return {planned.erasure_id for journal in read_journals(home) for planned in journal.erasures}


def _from_document(document: dict[str, Any]) -> Journal:
    return Journal(**{**document, "erasures": [Planned(**planned) for planned in document["erasures"]]})


def end_erasures(home: Home, journal: Journal, done: Collection[Planned]) -> None:
    """Certificates have taken the place of these; or they are given up."""
    journal.erasures = [planned for planned in journal.erasures if planned not in done]
    if journal.erasures:
        write_journal(home, journal)
    else:
        home.path("erasures", f"{journal.name}.json").unlink(missing_ok=True)
