"""Everything one person said, and what was said about them, in the order in which it was recorded."""

from __future__ import annotations

from collections.abc import Iterator

from consent.nouns import ANY, Recorded
from reports.query import Definition, Scope
from reports.table import CellType, Column, Row, count, instant, text


def rows(scope: Scope) -> Iterator[Row]:
    """One row per entry."""
    query = scope.query
    for entry in scope.home.ledger.history(query.subject_key or ""):
        said = entry.event
        known = query.known_at is None or entry.recorded_at <= query.known_at
        about = query.source in (None, said.source) or said.source == ANY
        meant = query.purpose in (None, said.purpose) or said.purpose == ANY
        if known and about and meant and scope.covers(entry.recorded_at):
            yield _row(entry)


def _row(entry: Recorded) -> Row:
    said, grant = entry.event, entry.event.grant
    notice = None if grant is None else grant.notice
    return (
        entry.leaf_index,
        entry.recorded_at,
        said.effective_at,
        max((entry.recorded_at - said.effective_at).total_seconds(), 0.0),
        said.kind.value,
        said.source,
        said.purpose,
        grant.grant_id if grant else said.grant_id,
        grant.replaces if grant else None,
        grant.expires_at if grant else None,
        grant.data_from if grant else None,
        notice.notice_id if notice else None,
        notice.version if notice else None,
        notice.language if notice else None,
        notice.sha256 if notice else None,
        grant.jurisdiction if grant else None,
        grant.method if grant else None,
        said.channel,
        said.indicated_by,
        said.actor,
        said.origin,
        said.basis,
        said.evidence_hash,
    )


REPORT = Definition(
    "subject-timeline",
    "Subject timeline",
    "Every entry of the consent ledger about one person, in the order of recording. Two clocks: recorded_at is the"
    " ledger's, effective_at is when the statement says it takes effect.",
    (
        count(
            "entry", "entries", "Its place in the ledger, from 0; it can be proved with `assent log prove`."
        ),
        instant("recorded_at", "When the ledger took it in."),
        instant("effective_at", "When it takes effect, as it was said."),
        Column("lag", CellType.SECONDS, "How long after its effect it was recorded; 0 where it was ahead."),
        text("event", "What was said."),
        text("source", "About which data; * for all."),
        text("purpose", "For what; * for every purpose."),
        text("grant_id", "The grant that was given, or the one that was invalidated."),
        text("replaces", "The grant that this one renews."),
        instant("expires_at", "When the grant ends."),
        instant("data_from", "How far back the data may reach."),
        text("notice", "The notice the person saw."),
        text("notice_version", "Its version."),
        text("notice_language", "Its language, BCP 47."),
        text("notice_sha256", "SHA-256 of its exact text."),
        text("jurisdiction", "The law it was given under, ISO 3166."),
        text("method", "How it was expressed."),
        text("channel", "Where it was expressed."),
        text("indicated_by", "Who expressed it."),
        text("actor", "Who recorded it: a role or a system."),
        text("origin", "recorded here, or imported from a system of record."),
        text("basis", "The legal ground, where one is needed."),
        text("evidence_sha256", "SHA-256 of the evidence that is kept elsewhere."),
    ),
    rows,
    takes=frozenset({"subject_key", "source", "purpose", "since", "until", "known_at"}),
    needs=frozenset({"subject_key"}),
    notes=(
        "Entries whose content an erasure took are not shown; their places in the log and their proofs stay.",
        "since and until are held against recorded_at.",
    ),
)
