"""Pictures: coordinates for drawings in SVG, worked out here so that a template only writes them down. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from consent.clock import micros
from consent.nouns import Reason
from rights.page_consents import Axis
from rights.spans import Lane, Span

#: A lane's width, in its own units.
WIDTH = 1000
_AT_REST = (Reason.PAUSED, Reason.RESTRICTED, Reason.NOT_YET)
#: Height and distance from the top, by state: told apart without colours, too.
_SHAPES = {"yes": (20, 2), "rest": (10, 7), "no": (2, 11)}


def state_of(reason: Reason | None) -> str:
    """``yes``, ``rest`` for a no that may end, or ``no``."""
    if reason is None:
        return "yes"
    return "rest" if reason in _AT_REST else "no"


@dataclass(frozen=True)
class Bar:
    """A span of a lane."""

    x: float
    y: int
    width: float
    height: int
    state: str
    span: Span


@dataclass(frozen=True)
class Drawn:
    """A lane as it is drawn."""

    lane: Lane
    state: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Timeline:
    """Lanes over one axis.

    Attributes:
        ticks: place from 0 to `WIDTH`, and the moment.
    """

    lanes: tuple[Drawn, ...]
    ticks: tuple[tuple[float, datetime], ...]
    first: datetime
    last: datetime


def draw_lanes(lanes: Sequence[Lane], now: datetime) -> Timeline:
    """A person's consent in time, one lane for each source and purpose that they were asked about."""
    first = min([now, *(lane.spans[0].start for lane in lanes if lane.spans)])
    axis = Axis(first, now)
    drawn = tuple(
        Drawn(lane, state_of(lane.now.reason), tuple(_bar(span, axis) for span in lane.spans))
        for lane in lanes
    )
    ticks = tuple((axis.place(at), at) for at in axis.ticks() if at >= first)
    return Timeline(drawn, ticks, first, now)


def _bar(span: Span, axis: Axis) -> Bar:
    state = state_of(span.reason)
    height, y = _SHAPES[state]
    start, end = axis.place(span.start), axis.place(span.end)
    return Bar(start, y, round(max(end - start, 2), 2), height, state, span)


@dataclass(frozen=True)
class Curve:
    """A curve over equal steps, and the area below it.

    Attributes:
        line, area: points, as ``polyline`` and ``polygon`` take them.
        last: where the curve ends.
    """

    line: str
    area: str
    last: tuple[float, float]


def draw_curve(values: Sequence[float], most: float, *, width: int = 200, height: int = 48) -> Curve:
    """A small picture of a figure in time.

    Args:
        most: the value at the top.
    """
    step = width / max(len(values) - 1, 1)
    scale = (height - 4) / most if most else 0
    points = [(round(i * step, 1), round(height - value * scale, 1)) for i, value in enumerate(values)]
    line = " ".join(f"{x},{y}" for x, y in points)
    return Curve(line, f"0,{height} {line} {width},{height}", points[-1] if points else (0, height))


@dataclass(frozen=True)
class Column:
    """A column of a column chart."""

    x: float
    y: float
    width: float
    height: float
    value: int


def draw_columns(values: Sequence[int], *, width: int = 520, height: int = 96) -> list[Column]:
    """One column for each value; a value above zero is always to be seen."""
    most, step = max([*values, 1]), width / max(len(values), 1)
    heights = [max(2.0, value / most * height) if value else 0.0 for value in values]
    return [
        Column(round(i * step + 1, 1), round(height - h, 1), round(step - 2, 1), round(h, 1), value)
        for i, (value, h) in enumerate(zip(values, heights, strict=True))
    ]


def share_of(start: datetime, at: datetime, end: datetime) -> float:
    """How much of a time has passed, from 0 to 1."""
    whole = micros(end) - micros(start)
    return min(max((micros(at) - micros(start)) / whole, 0.0), 1.0) if whole > 0 else 1.0
