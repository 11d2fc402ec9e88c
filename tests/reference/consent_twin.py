"""What DESIGN section 4 says about consent, once more: slow, plain and written without looking at the rules.

Every question is answered by walking through everything that was said, in the order in which it counts.
"""

from datetime import datetime, timedelta

from consent.nouns import Facts, Grant, Recorded

SOURCES = ("app_usage", "employment", "spending")
PURPOSES = ("credit_scoring", "model_training", "fraud_detection", "loan_servicing")
PROHIBITED = (
    *("contacts", "call_logs", "media", "files", "location", "social_graph", "social_network", "health"),
)
CLOCKS_DISAGREE_BY = timedelta(minutes=5)


def verdict(
    facts: Facts,
    source: str,
    purpose: str,
    *,
    data_at: datetime | None,
    as_of: datetime,
    known_at: datetime | None = None,
) -> str | None:
    """None for yes, otherwise the reason."""
    if source in PROHIBITED:
        return "PROHIBITED"
    if source not in SOURCES or purpose not in PURPOSES:
        return "UNKNOWN"
    parties = [said_by(facts.events, known_at)]
    others = {
        r.event.co_subject_key
        for r in said_by(facts.events, known_at)
        if r.event.kind == "linked" and r.event.source == source
    }
    parties += [said_by(facts.co_subjects.get(str(key), ()), known_at) for key in sorted(map(str, others))]
    grants = []
    for said in parties:
        state = walk(said, source, purpose, as_of)
        if isinstance(state, str):
            return state
        grants.append(state)
    if data_at is not None:
        for grant in grants:
            if data_at < grant.data_from:
                return "DATA_RANGE"
        for grant in grants:
            if grant.data_life is not None and data_at + grant.data_life <= as_of:
                return "DATA_LIFE"
    return None


def said_by(events: tuple[Recorded, ...], known_at: datetime | None) -> list[Recorded]:
    """What one person said, as far as it was known."""
    return [r for r in events if known_at is None or not r.recorded_at > known_at]


def walk(said: list[Recorded], source: str, purpose: str, as_of: datetime) -> Grant | str:
    """The grant that is in force when one has walked through one person's statements, or why there is none."""
    about = [
        r
        for r in said
        if r.event.kind in ("given", "refused", "withdrawn")
        and (r.event.source == source or r.event.source == "*")
        and (r.event.purpose == purpose or r.event.purpose == "*")
    ]
    if all(r.event.kind == "withdrawn" for r in about):
        return nothing_said(said, source, purpose)
    state: Grant | str = "NOT_YET"
    for r in in_order(strike_out(about)):
        if starts(r) > as_of:
            break
        if r.event.kind == "given":
            assert r.event.grant is not None
            state = r.event.grant
        else:
            state = "WITHDRAWN" if r.event.kind == "withdrawn" else "NO_GRANT"
    if isinstance(state, Grant) and not as_of < state.expires_at:
        return "EXPIRED"
    return state


def nothing_said(said: list[Recorded], source: str, purpose: str) -> str:
    given = [(r.event.source, r.event.purpose) for r in said if r.event.kind == "given"]
    if source in [s for s, _ in given]:
        return "PURPOSE"
    if purpose in [p for _, p in given]:
        return "SOURCE"
    return "NO_GRANT"


def starts(r: Recorded) -> datetime:
    """A no never waits for a time later than its recording."""
    if r.event.kind != "given" and r.event.effective_at > r.recorded_at:
        return r.recorded_at
    return r.event.effective_at


def in_order(about: list[Recorded]) -> list[Recorded]:
    """By time; at the same time the no after the yes; then as they stand in the ledger."""
    ordered = sorted(about, key=lambda r: r.leaf_index)
    ordered = [r for r in ordered if r.event.kind == "given"] + [
        r for r in ordered if r.event.kind != "given"
    ]
    return sorted(ordered, key=starts)


def strike_out(about: list[Recorded]) -> list[Recorded]:
    """Without the grants that a no, said when they were on record already, met before they began."""
    struck = set()
    for no in about:
        if no.event.kind == "given":
            continue
        latest = starts(no) + (CLOCKS_DISAGREE_BY if no.event.origin == "recorded" else timedelta())
        for r in about:
            on_record_before = r.leaf_index < no.leaf_index and r.recorded_at <= latest
            if r.event.kind == "given" and on_record_before and r.event.effective_at >= starts(no):
                struck.add(r.leaf_index)
    return [r for r in about if r.leaf_index not in struck]
