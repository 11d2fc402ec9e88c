"""Which consents end soon, so that people can be asked again in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from consent.tallies import ending
from reports.query import Definition, Scope
from reports.table import SUBJECT, CellType, Column, Row, count, instant, text

#: How far ahead is looked unless an end is named.
AHEAD = timedelta(days=30)


def rows(scope: Scope) -> Iterator[Row]:
    """One row per grant, the first to end first."""
    query = scope.query
    found = ending(
        scope.timeline,
        [(s, p) for s in scope.sources for p in scope.purposes],
        (scope.as_of, query.until or scope.as_of + AHEAD),
        limit=query.limit,
        skip=query.skip,
    )
    entries = {r.leaf_index: r for r in scope.home.ledger.entries([e.leaf_index for e in found])}
    for each in found:
        entry = entries[each.leaf_index]
        grant = entry.event.grant
        assert grant is not None
        yield (
            each.subject_key,
            entry.event.source,
            entry.event.purpose,
            each.ends_at,
            (each.ends_at - scope.as_of) // timedelta(days=1),
            grant.grant_id,
            grant.notice.notice_id,
            grant.notice.version,
            grant.notice.language,
            grant.jurisdiction,
            entry.event.channel,
            entry.leaf_index,
        )


REPORT = Definition(
    "expiring",
    "Expiring consents",
    "Grants that are in force at as_of and run out by the end that is named (left out: within 30 days), where no"
    " other grant on record takes over at that moment. Ordered by their end.",
    (
        SUBJECT,
        text("source", "Which data."),
        text("purpose", "For what."),
        instant("expires_at", "When it ends."),
        Column("days_left", CellType.DAYS, "Whole days from as_of."),
        text("grant_id", "The grant."),
        text("notice", "The notice it was given on."),
        text("notice_version", "Its version."),
        text("notice_language", "The language to ask again in, BCP 47."),
        text("jurisdiction", "The law it was given under, ISO 3166."),
        text("channel", "Where it was given."),
        count("entry", "entries", "Its place in the ledger."),
    ),
    rows,
    takes=frozenset({"source", "purpose", "until", "as_of", "known_at"}),
    notes=(
        "Grants that are paused or restricted at as_of are not in force, and not listed.",
        "A grant that ends earlier for another reason is not listed: it does not run out.",
    ),
    pages=True,
)
