"""Access: everything a home holds about one person, in one zip that they can read, take elsewhere and have verified.

Consent, a hold or a pending erasure do not stand in its way: they say what a lender may do with data, not whether a
person may see it. The package is made under the lock of the jobs, so that it shows one state of the home; records are
streamed, so that it takes little memory however many there are. It holds a person's data in plain text: it may not
lie in the home, whose backups are made to hold none.

Source: GDPR Art. 12(3), 15, 20; PIPL Art. 45; ISO/IEC TS 27560:2023 (receipts).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from consent.accesses import AccessKind
from consent.callers import current_caller
from consent.clock import format_instant, now_utc
from consent.errors import BadInput, Denied
from consent.evidence.certificate import ACCESS, sign_certificate
from consent.exchange.controller import require_controller
from consent.files import exclusive
from consent.home import Home
from rights.own_accesses import read_looks
from rights.package import Entry, Package, readable_json
from rights.package_files import write_files
from rights.page import page
from rights.unnamed_file import require_free, unnamed_file
from rights.view import View, take_view
from rights.words import LANGUAGES, words

#: Called with (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]
_STEPS = 3


@dataclass(frozen=True)
class Exported:
    """A package that was written.

    Attributes:
        entries: its files, in order.
        counts: what it holds; no value and no number of a person.
        sha256: of its manifest, which the signed note names.
    """

    path: Path
    entries: tuple[Entry, ...]
    counts: dict[str, Any]
    sha256: str


def export_person(
    home: Home,
    subject_id: str,
    out: Path,
    *,
    overwrite: bool = False,
    clock: Callable[[], datetime] = now_utc,
    on_progress: Progress = lambda *_: None,
) -> Exported:
    """Write the access package of a person.

    Args:
        subject_id: customer number.
        out: the file to write, ending in .zip, outside the home and its keys.
        overwrite: whether it may take the place of a file that is there.

    Raises:
        BadInput: nothing is on record about the person, or `out` cannot be used.
        Denied: the person is erased.
        Conflict: `out` exists, or a job is running.
        Gap: nobody is named who answers for the data.
        EvidenceError: something in the home is not as it was written; there is no package then.
        Unavailable: something in the home is missing, or `out` cannot be written.
    """
    require_controller(home.settings.controller)
    _require_place(home, out)
    require_free(out.absolute(), overwrite=overwrite)
    find_person(home, subject_id)
    with unnamed_file(out, overwrite=overwrite) as file:
        written = write_package(home, subject_id, file, clock=clock, on_progress=on_progress)
    return replace(written, path=out)


def write_package(
    home: Home,
    subject_id: str,
    file: BinaryIO,
    *,
    clock: Callable[[], datetime] = now_utc,
    on_progress: Progress = lambda *_: None,
) -> Exported:
    """The same into a file that is open, or into memory; what is returned has no path of its own.

    Raises:
        BadInput, Denied, Conflict, Gap, EvidenceError, Unavailable: see `export_person`.
    """
    controller = require_controller(home.settings.controller)
    subject_key = find_person(home, subject_id)
    entry = home.accesses.record(AccessKind.EXPORTED, caller=current_caller(), subject_key=subject_key)
    made_at = clock()
    with exclusive(home.path("job.lock"), "an ingestion, publish or erasure job"):
        on_progress("looking at what there is", 0, _STEPS)
        view = take_view(home, controller, subject_id, subject_key, made_at)
        view = replace(view, looks=read_looks(home, subject_key, before=entry))
        with Package(file, made_at) as package:
            on_progress("writing records", 1, _STEPS)
            write_files(package, home, view)
            on_progress("writing the pages", 2, _STEPS)
            manifest = _close(package, home, view)
    on_progress("done", _STEPS, _STEPS)
    sha256 = hashlib.sha256(manifest).hexdigest()
    return Exported(Path(), tuple(package.entries), counts(view), sha256)


def find_person(home: Home, subject_id: str) -> str:
    """The subject key of a customer number, which is not repeated.

    Raises:
        BadInput: nothing is on record about this person.
        Denied: the person is erased.
    """
    try:
        return home.directory.require(subject_id)
    except BadInput:
        tombstone = home.directory.tombstones([subject_id]).get(subject_id)
        if tombstone is None:
            raise
    raise Denied(
        f"everything about this person was erased; certificate {tombstone.erasure_id}",
        remedy=f"Send the certificate: `assent certificate show {tombstone.erasure_id[:12]}`.",
        code="ERASED",
    )


def _require_place(home: Home, out: Path) -> None:
    if out.suffix.lower() != ".zip":
        raise BadInput("the package is a .zip", remedy="Name --out accordingly.")
    place = out.absolute().parent.resolve()
    if any(inside.resolve() in (place, *place.parents) for inside in (home.root, home.keys)):
        raise BadInput(
            "the package would lie in the home or its keys, and so in their backups",
            remedy="Name a place elsewhere with --out; the package is plain text.",
        )


def _close(package: Package, home: Home, view: View) -> bytes:
    """The pages, and what vouches for everything before them."""
    written = list(package.entries)
    for language in LANGUAGES:
        name = words(language).page
        package.add(name, page(view, words(language), written).encode(), f"page_{language}")
    manifest = readable_json(_manifest(view, package.entries))
    package.add("manifest.json", manifest, "manifest")
    package.add("manifest.note", _sign(home, view, package, manifest), "note")
    package.add_sums("SHA256SUMS")
    return manifest


def _manifest(view: View, entries: Sequence[Entry]) -> dict[str, Any]:
    return {
        "format": ACCESS,
        "made_at": format_instant(view.made_at),
        "controller": view.controller.name,
        "subject_key": view.subject_key,
        "consent_log": view.origin,
        "counts": counts(view),
        "files": [_described(entry) for entry in entries],
    }


def _described(entry: Entry) -> dict[str, Any]:
    told = {"what": words("en"), "what_zh": words("zh")}
    return {
        "file": entry.file,
        "size": entry.size,
        "sha256": entry.sha256,
        "rows": entry.rows,
        **{name: language.file(entry.kind, entry.about) for name, language in told.items()},
    }


def _sign(home: Home, view: View, package: Package, manifest: bytes) -> bytes:
    sha256 = hashlib.sha256(manifest).hexdigest()
    document = {
        "summary": f"an access package; SHA-256 of its manifest.json: {sha256}",
        "made_at": format_instant(view.made_at),
        "files": len(package.entries) - 1,
        "manifest_sha256": sha256,
    }
    return sign_certificate(ACCESS, document, home.keyring.log_signer(home.settings.origin))


def counts(view: View) -> dict[str, Any]:
    """How much of what a package holds, once it is written."""
    return {
        "records": {records.source: seen.rows for records, seen in view.of_store("vault")},
        "quarantine": {records.source: seen.rows for records, seen in view.of_store("quarantine")},
        "features": {rows.table: rows.rows for rows, _ in view.features},
        "online_values": sum(len(each.values) for each in view.online),
        "consent_entries": len(view.consents.entries),
        "training_sets": len(view.receipts),
        "models": len(view.models),
    }
