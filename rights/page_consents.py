"""What a person agreed to, on the page: bars drawn in time, and every entry of the log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from consent.clock import micros
from consent.nouns import Grant, Kind, Reason, Recorded
from rights.markup import Child, Markup, element, join
from rights.own_consents import ANOTHER_PERSON
from rights.package_files import proof_file, receipt_file
from rights.page_parts import day, minute, table, with_aside
from rights.spans import Lane, Span
from rights.view import View
from rights.words import Words

#: A drawing's width, in its own units.
_WIDTH = 1000
#: Height and distance from the top, by state: told apart without colours, too.
_SHAPES = {"yes": (24, 0), "rest": (12, 6), "no": (2, 11)}
_AT_REST = (Reason.PAUSED, Reason.RESTRICTED, Reason.NOT_YET)
_TICKS = 6


def agreed(view: View, words: Words) -> Markup:
    """The section."""
    lanes, lead = view.storage.lanes, element("p", words("agreed_lead"))
    drawn = [lead, _legend(words), _timeline(view, words)] if lanes else element("p", words("never_asked"))
    return join([drawn, _entries(view, words)])


# ------------------------------------------------------------------------------------------- drawn in time


def _legend(words: Words) -> Markup:
    return element(
        "ul",
        [element("li", _sample(state), words(f"legend_{state}")) for state in _SHAPES],
        class_="key",
    )


def _sample(state: str) -> Markup:
    return element(
        "svg", _bar(state, 0, _WIDTH), viewBox=f"0 0 {_WIDTH} 24", aria_hidden="true", **_STRETCHED
    )


_STRETCHED = {"preserveAspectRatio": "none"}


def _timeline(view: View, words: Words) -> Markup:
    lanes, as_of = view.storage.lanes, view.consents.as_of
    axis = Axis(min([as_of, *(lane.spans[0].start for lane in lanes if lane.spans)]), as_of)
    return join([*(_lane(lane, axis, words) for lane in lanes), _labels(axis)])


def _lane(lane: Lane, axis: Axis, words: Words) -> Markup:
    name = words("pair", source=words.source(lane.source), purpose=words.purpose(lane.purpose))
    return element(
        "figure",
        element(
            "figcaption",
            element("span", name),
            element("span", _now(lane, words), class_=f"state {_state_now(lane)}"),
        ),
        _drawing(lane, axis, words),
    )


def _drawing(lane: Lane, axis: Axis, words: Words) -> Markup:
    told = words("semicolon").join(_told(span, words) for span in lane.spans)
    about = words(
        "bar",
        source=words.source(lane.source),
        purpose=words.purpose(lane.purpose),
        first=day(axis.first),
        last=day(axis.last),
        spans=told,
    )
    bars = [_bar(_state(span.reason), axis.place(span.start), axis.place(span.end)) for span in lane.spans]
    ticks = [
        element("line", x1=axis.place(at), x2=axis.place(at), y1=0, y2=24, class_="tick")
        for at in axis.ticks()
    ]
    return element(
        "svg", element("title", about), bars, ticks, viewBox=f"0 0 {_WIDTH} 24", role="img", **_STRETCHED
    )


def _bar(state: str, start: float, end: float) -> Markup:
    height, top = _SHAPES[state]
    width = round(max(end - start, 2), 2)
    return element("rect", x=start, y=top, width=width, height=height, class_=f"fill {state}")


def _labels(axis: Axis) -> Markup:
    places = [(at, axis.place(at) / _WIDTH * 100) for at in (axis.first, *axis.ticks(), axis.last)]
    shown = [(at, share) for at, share in places[1:-1] if 14 < share < 84]
    first, last = places[0], places[-1]
    return element(
        "div",
        element("span", day(first[0]), style="left:0%"),
        [element("span", day(at)[:7], style=f"left:{share:.2f}%", class_="mid") for at, share in shown],
        element("span", day(last[0]), style="left:100%", class_="late"),
        class_="axis",
        aria_hidden="true",
    )


class Axis:
    """Places instants on a drawing's width."""

    def __init__(self, first: datetime, last: datetime) -> None:
        self.first = first
        self.last = last

    def place(self, at: datetime) -> float:
        """From 0 to the width."""
        whole = max(micros(self.last) - micros(self.first), 1)
        return round((micros(at) - micros(self.first)) / whole * _WIDTH, 2)

    def ticks(self) -> list[datetime]:
        """The beginnings of some months in between, evenly chosen."""
        first, last = self.first.year * 12 + self.first.month, self.last.year * 12 + self.last.month - 1
        months = range(first, last + 1)
        step = next((n for n in (1, 2, 3, 6, 12, 24, 60, 120) if len(months) / n <= _TICKS), 600)
        return [
            self.first.replace(
                year=m // 12, month=m % 12 + 1, day=1, hour=0, minute=0, second=0, microsecond=0
            )
            for m in months
            if m % step == 0
        ]


def _state(reason: Reason | None) -> str:
    if reason is None:
        return "yes"
    return "rest" if reason in _AT_REST else "no"


def _state_now(lane: Lane) -> str:
    return _state(lane.now.reason)


def _now(lane: Lane, words: Words) -> str:
    if lane.now.allowed:
        return words("now_yes", date=day(lane.now.expires_at) if lane.now.expires_at else "")
    return words("now_no", reason=_why(lane.now.reason, words, other=lane.now.party == "co_subject"))


def _told(span: Span, words: Words) -> str:
    start, end = day(span.start), day(span.end)
    if span.reason is None:
        return words("span_yes", start=start, end=end)
    return words("span_no", start=start, end=end, reason=_why(span.reason, words, other=span.other_party))


def _why(reason: Reason | None, words: Words, *, other: bool) -> str:
    """The reason; that of another person is nobody else's business."""
    return words("other_person") if other else words.reasons[str(reason)]


# ------------------------------------------------------------------------------------------- every entry


def _entries(view: View, words: Words) -> Markup:
    heads = [words(f"col_{key}") for key in ("when", "event", "for", "terms", "proof")]
    rows = [_entry(view, entry, words) for entry in view.consents.entries]
    return table(words("entries_caption"), heads, rows, kind="wide log")


def _entry(view: View, entry: Recorded, words: Words) -> Sequence[Child]:
    event = entry.event
    recorded = words("recorded_on", date=minute(entry.recorded_at))
    return (
        element("span", minute(event.effective_at), class_="when"),
        with_aside(words.events[event.kind.value], words("said_by", who=words.parties[event.indicated_by])),
        words("pair", source=words.source(event.source), purpose=words.purpose(event.purpose)),
        with_aside(
            words("semicolon").join(_terms(entry, words)),
            words("comma").join((recorded, words.origins[event.origin])),
        ),
        _links(view, entry, words),
    )


def _links(view: View, entry: Recorded, words: Words) -> Child:
    proof = element("a", words("proof"), href=proof_file(view.consents, entry.leaf_index))
    if entry.event.grant is None:
        return proof
    return [proof, element("br"), element("a", words("receipt"), href=receipt_file(entry))]


def _terms(entry: Recorded, words: Words) -> list[str]:
    event = entry.event
    said = [] if event.grant is None else _of_grant(event.grant, words)
    if event.kind is Kind.LINKED:
        said.append(ANOTHER_PERSON)
    elif event.kind in (Kind.HOLD_PLACED, Kind.HOLD_RELEASED):
        said.append(words("terms_undisclosed"))
    elif event.basis:
        said.append(words("terms_basis", basis=event.basis))
    return said


def _of_grant(grant: Grant, words: Words) -> list[str]:
    notice = grant.notice
    optional = (
        ("terms_to", grant.data_until and day(grant.data_until), "date"),
        ("terms_life", grant.data_life and grant.data_life.days, "days"),
        ("terms_kept", grant.retention and grant.retention.days, "days"),
    )
    return [
        words("terms_until", date=day(grant.expires_at)),
        words("terms_from", date=day(grant.data_from)),
        *(words(key, **{name: value}) for key, value, name in optional if value),
        words("terms_method", method=grant.method),
        words("terms_notice", notice=notice.notice_id, version=notice.version, language=notice.language),
    ]
