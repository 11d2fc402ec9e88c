"""Is the record whole? Everything that can be verified is verified, and each check has its row."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from consent.catalog import SOURCES
from consent.clock import instant as to_instant
from consent.errors import EvidenceError, Unavailable
from consent.evidence.notes import parse_checkpoint, parse_note
from feature_repo.stores.models import read_models
from feature_repo.stores.receipts import read_receipts
from reports.query import Definition, Scope
from reports.register import read_certificates
from reports.table import Row, count, instant, text

#: What a check counts, and what it says about it.
_Found = tuple[int, str]


def rows(scope: Scope) -> Iterator[Row]:
    """One row per check."""
    checks: tuple[tuple[str, Callable[[Scope], _Found]], ...] = (
        ("ledger replayed", _replay),
        ("ledger's newest checkpoint", _checkpoint),
        ("ledger's cosigned checkpoints", _cosigned),
        ("ledger's key handovers", lambda s: (len(s.home.log_keys().keys) - 1, "each signed by both keys")),
        ("access log replayed", _accesses),
        ("certificates", lambda s: (sum(1 for _ in read_certificates(s.home)), "each signature verified")),
        ("receipts of training sets", lambda s: (len(read_receipts(s.home)), "each is the one its id names")),
        ("registered models", lambda s: (len(read_models(s.home)), "each sealed")),
        ("batches of the vault", _batches),
    )
    for number, (what, check) in enumerate(checks):
        scope.on_progress(what, number, len(checks))
        yield _checked(scope, what, check)


def _checked(scope: Scope, what: str, check: Callable[[Scope], _Found]) -> Row:
    """A check that fails has its row as well; whoever asked is told when all of them are done."""
    try:
        number, detail = check(scope)
    except (EvidenceError, Unavailable) as error:
        scope.broken.append(what)
        return (what, "BROKEN", None, scope.now, error.message)
    return (what, "ok", number, scope.now, detail)


def _replay(scope: Scope) -> _Found:
    size = scope.home.ledger.size()
    report = scope.home.ledger.audit(on_progress=lambda n: scope.on_progress("replaying the ledger", n, size))
    if report.findings:
        first = report.findings[0]
        where = "" if first.leaf_index is None else f" at entry {first.leaf_index}"
        raise EvidenceError(f"{len(report.findings)} findings; the first{where}: {first.what}")
    last = scope.home.ledger.head().recorded_at
    until = f", the last of {to_instant(last):%Y-%m-%d %H:%M:%S} UTC" if report.entries else ""
    return report.entries, (
        f"root {report.root.hex()}{until}; {report.checkpoints} signed checkpoints fit;"
        f" {report.blanked} entries blanked, each by an erasure on record"
    )


def _checkpoint(scope: Scope) -> _Found:
    note = scope.home.ledger.checkpoint()
    if note is None:
        return 0, "nothing is recorded yet"
    checkpoint = parse_checkpoint(parse_note(note)[0])
    return checkpoint.tree_size, f"{checkpoint.origin}, root {checkpoint.root.hex()}"


def _cosigned(scope: Scope) -> _Found:
    notes = scope.home.ledger.cosigned()
    if not notes:
        return 0, "no witness has cosigned one: nobody outside can tell a rewritten history"
    pinned = max(scope.home.ledger.require_checkpoint(note) for note in notes)
    return len(notes), f"the newest pins {pinned} entries"


def _accesses(scope: Scope) -> _Found:
    log = scope.home.accesses
    entries = log.audit(on_progress=lambda n, of: scope.on_progress("replaying the access log", n, of))
    return entries, "fits its sealed head and its anchor"


def _batches(scope: Scope) -> _Found:
    from ingestion.vault import read_batches

    counts = {source: len(read_batches(scope.home, source)) for source in SOURCES}
    return sum(counts.values()), ", ".join(f"{source} {number}" for source, number in counts.items())


REPORT = Definition(
    "integrity",
    "Proof of integrity",
    "Whether the record fits together at the moment of this report: every entry of the ledger and of the access log"
    " is replayed and compared with the sealed heads, the anchors and every signed checkpoint; certificates,"
    " receipts, models and batches are verified. A check that fails is BROKEN; the command ends with exit code 5.",
    (
        text("check", "What was verified."),
        text("outcome", "ok or BROKEN."),
        count("number", "entries or documents", "How many were verified."),
        instant("at", "When."),
        text("detail", "What was found; of a broken check, the first thing that does not fit."),
    ),
    rows,
    notes=(
        "No log can show what was never recorded, or what the operator rewrote with the keys in hand, unless somebody"
        " else holds a checkpoint: compare with `assent log audit --checkpoint FILE`. See docs/auditing.md.",
        "Sealed records and feature files are verified when they are read.",
    ),
)
