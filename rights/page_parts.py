"""Tables, lists and dates as the pages of an access package have them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from consent.clock import format_instant
from rights.markup import Child, Markup, element

#: Longest text of a cell that a page shows whole.
_LONGEST = 200


def day(at: datetime) -> str:
    """The date, in UTC."""
    return format_instant(at)[:10]


def minute(at: datetime) -> str:
    """Date and time to the minute, in UTC."""
    return format_instant(at)[:16].replace("T", " ")


def number(value: Any) -> str:
    """A figure to be read: at most six decimals. The files have it exactly."""
    return f"{value:,.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


def shortened(value: Any) -> str:
    """A value as a cell shows it."""
    text = "" if value is None else "; ".join(value) if isinstance(value, list) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def with_aside(said: Child, aside: str) -> Child:
    """Something, and on a line below it something smaller."""
    return [said, element("br"), element("small", aside)] if aside else said


def facts(*pairs: tuple[str, Child]) -> Markup:
    """A list of terms and what they are."""
    return element("dl", [(element("dt", term), element("dd", said)) for term, said in pairs])


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[Child]],
    *,
    kind: str = "wide",
    numbers: Collection[str] = (),
) -> Markup:
    """A table that can be moved sideways where the screen is narrow.

    Args:
        rows: the first cell of each names the row; a cell that is a ``td`` already stays as it is.
        kind: how it behaves where there is little room.
        numbers: heads of columns of numbers.
    """
    classes = ["number" if head in numbers else None for head in heads]
    named = [element("th", head, scope="col", class_=at) for head, at in zip(heads, classes, strict=True)]
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", named)),
            element("tbody", [_row(cells) for cells in rows]),
        ),
        class_=f"scroll {kind}",
        role="region",
        aria_label=caption,
        tabindex="0",
    )


def _row(cells: Sequence[Child]) -> Markup:
    first, *others = cells
    return element("tr", element("th", first, scope="row"), [_cell(cell) for cell in others])


def _cell(cell: Child) -> Markup:
    return cell if isinstance(cell, Markup) and cell.startswith("<td") else element("td", cell)
