"""May it be used, and why not: one person, every source and purpose, at any instant and on any state of knowledge."""

from __future__ import annotations

from collections.abc import Iterator

from consent.clock import micros
from consent.decide import decide
from consent.nouns import Reason
from reports.query import Definition, Scope
from reports.table import CellType, Column, Row, count, instant, text

#: Why the answer is no, in a sentence.
BECAUSE = {
    Reason.NO_GRANT: "The person was never asked, or said no.",
    Reason.NOT_YET: "What the person agreed to had not begun.",
    Reason.EXPIRED: "The consent had run out.",
    Reason.PAUSED: "The person had paused it.",
    Reason.WITHDRAWN: "The person had withdrawn it.",
    Reason.REVOKED: "Somebody else, who may, had ended it.",
    Reason.INVALIDATED: "It was never valid.",
    Reason.SUPERSEDED: "The notice had changed, and the person had not agreed to the new one.",
    Reason.PURPOSE: "The person agreed to this data for another purpose only.",
    Reason.SOURCE: "The person agreed to this purpose for other data only.",
    Reason.DATA_RANGE: "The record lies outside the dates the person agreed to.",
    Reason.DATA_LIFE: "The record was too old to be used.",
    Reason.PROHIBITED: "No consent can open this data.",
    Reason.RESTRICTED: "A legal hold, or an erasure that was due, restricted it.",
    Reason.ERASED: "It was erased.",
    Reason.UNKNOWN: "It could not be decided, so no.",
}
_OTHER = " It is data about another person too, and the answer is theirs."


def rows(scope: Scope) -> Iterator[Row]:
    """One row per source and purpose."""
    query = scope.query
    facts = scope.home.ledger.facts(query.subject_key or "")
    known_at = None if query.known_at is None else micros(query.known_at)
    known = sum(known_at is None or s.recorded_at <= known_at for s in facts.statements)
    for source in scope.sources:
        for purpose in scope.purposes:
            answer = decide(facts, source, purpose, data_at=None, as_of=scope.as_of, known_at=query.known_at)
            because = "" if answer.reason is None else BECAUSE[answer.reason]
            yield (
                source,
                purpose,
                scope.as_of,
                query.known_at,
                answer.allowed,
                answer.reason,
                because + (_OTHER if answer.party == "co_subject" else "") or "A grant was in force.",
                answer.grant_id,
                answer.expires_at,
                answer.party,
                answer.imported,
                known,
            )


REPORT = Definition(
    "decision-explainer",
    "Decision explainer",
    "The answer of the consent rules for one person at the instant as_of, on what was on record at known_at (left"
    " out: on everything on record now). A denial has exactly one reason. Asked is about the consent alone,"
    " whatever the date of a record.",
    (
        text("source", "Which data."),
        text("purpose", "For what."),
        instant("as_of", "The instant that is asked about."),
        instant("known_at", "The state of knowledge; empty: everything on record."),
        Column("allowed", CellType.FLAG, "Whether it may be used."),
        text("reason", "Why not, as one of the codes of docs/reasons.md."),
        text("because", "The same in a sentence."),
        text("grant_id", "The grant the answer rests on."),
        instant("expires_at", "When that grant ends."),
        text("party", "Whose consent decided: the subject's own or a co-subject's."),
        Column("imported", CellType.FLAG, "Whether it rests on what another system of record vouches for."),
        count("known", "entries", "How many entries about the person were known."),
    ),
    rows,
    takes=frozenset({"subject_key", "source", "purpose", "as_of", "known_at"}),
    needs=frozenset({"subject_key"}),
    notes=(
        "Whether one record may be used also depends on its own date: see `assent consent decide --data-at`.",
        "The rules are those of consent/decide.py; every read is decided by them anew.",
    ),
)
