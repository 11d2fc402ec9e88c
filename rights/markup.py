"""HTML put together from elements, so that what is not markup is always escaped. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TypeAlias

#: Control characters have no place in HTML; a value's exact form is in the files.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_VOID = frozenset({"meta", "br"})


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


Child: TypeAlias = "str | Iterable[Child] | None"


def element(name: str, /, *children: Child, **attributes: object) -> Markup:
    """One element.

    Args:
        children: text, which is escaped, and markup, which is not.
        attributes: an underscore at the end of a name is left out, one within is a dash; None: no such attribute.
    """
    opened = name + "".join(_attribute(key, value) for key, value in attributes.items() if value is not None)
    if name in _VOID:
        return Markup(f"<{opened}>")
    return Markup(f"<{opened}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Markup and escaped text, one after another."""
    return Markup("".join(_piece(child) for child in children))


def text(value: str) -> Markup:
    """Text, escaped."""
    return Markup(html.escape(_CONTROL.sub("\ufffd", value)))


def _piece(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    return text(child) if isinstance(child, str) else join(child)


def _attribute(key: str, value: object) -> str:
    return f' {key.rstrip("_").replace("_", "-")}="{text(str(value))}"'
