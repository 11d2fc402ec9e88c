"""Who used a person's data, how long it is kept, and how decisions are made of it, on the page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from consent.clock import parse_instant
from feature_repo.stores.receipts import Receipt
from feature_repo.stores.setup import Service
from rights.markup import Child, Markup, element, join
from rights.own_storage import RETENTION_RULES
from rights.page_parts import day, minute, table
from rights.view import View
from rights.words import Words

#: Features that are named one by one.
_FEW = 6


def used(view: View, words: Words) -> Markup:
    """The section on who used it."""
    sets = [_set(receipt, view, words) for receipt in view.receipts]
    heads = [words(key) for key in ("col_at", "col_purpose", "col_features", "col_models")]
    models = [(m.name, element("td", minute(m.registered_at), class_="when")) for m in view.models]
    return join(
        [
            [element("p", words("used_lead")), table(words("sets_caption"), heads, sets)]
            if sets
            else element("p", words("no_sets")),
            table(
                words("models_caption"), (words("col_model"), words("col_registered")), models, kind="plain"
            )
            if models
            else None,
            _looks(view, words),
            element("p", words("not_logged")),
        ]
    )


def _looks(view: View, words: Words) -> Markup:
    """When somebody looked, the newest first."""
    rows = [
        (element("span", minute(look.at), class_="when"), words(f"look_{look.kind}")) for look in view.looks
    ]
    return table(words("looks_caption"), (words("col_at"), words("col_look")), rows, kind="plain")


def _set(receipt: Receipt, view: View, words: Words) -> Sequence[Child]:
    models = [m.name for m in view.models if receipt.receipt_id in m.receipts]
    versions = {used.table: words("of_version", version=used.version) for used in receipt.tables}
    return (
        element("span", minute(receipt.created_at), class_="when"),
        words.purpose(receipt.purpose),
        _by_source(receipt.features, versions, words),
        ", ".join(models),
    )


def _by_source(references: Sequence[str], more: dict[str, str], words: Words) -> Child:
    """Features by source, a line each: named where they are few, else counted."""
    lines: list[Child] = []
    for table_name, same in groupby(sorted(references), key=lambda reference: reference.rpartition(":")[0]):
        names = [reference.rpartition(":")[2] for reference in same]
        told = ", ".join(names) if len(names) <= _FEW else words("so_many", number=len(names))
        source = words.source(table_name.rpartition("_v")[0])
        lines.append(words("pair", source=source, purpose=f"{told}{more.get(table_name, '')}"))
    return [(element("br"), line) if at else line for at, line in enumerate(lines)]


def kept(view: View, words: Words) -> Markup:
    """The section on how long, and where."""
    storage = view.storage.storage
    rules = []
    for name in RETENTION_RULES:
        days = getattr(storage, f"{name}_days", None)
        told = words("as_agreed") if days is None else words("days", days=f"{days:,}")
        rules.append((words(f"rule_{name}"), told))
    asked = {at for days in view.storage.days.values() for at in days}
    online = words("kept_online", values=view.storage.inventory.online, days=len(asked))
    heads = [words(key) for key in ("col_data", "col_store", "col_rows", "col_since")]
    return join(
        [
            table(words("kept_caption"), (words("col_rule"), words("col_days")), rules, kind="plain"),
            table(
                words("kept_where"), heads, _places(view, words), kind="plain", numbers=[words("col_rows")]
            ),
            element("p", online),
        ]
    )


def _places(view: View, words: Words) -> list[Sequence[Child]]:
    """Rows by source and store, since the first of them."""
    holdings = sorted(view.storage.inventory.holdings, key=lambda h: (h.source, h.store))
    found: list[Sequence[Child]] = []
    for (source, store), same in groupby(holdings, key=lambda h: (h.source, h.store)):
        group = list(same)
        since: datetime = min(parse_instant(h.at) for h in group)
        rows = sum(h.rows for h in group)
        found.append(
            (
                words.source(source),
                words.stores[store],
                element("td", f"{rows:,}", class_="number"),
                element("td", day(since), class_="when"),
            )
        )
    return found


def decisions(view: View, words: Words) -> Markup:
    """The section on automated decisions, as far as this system knows."""
    heads = [words(key) for key in ("service", "col_purpose", "col_features")]
    rows = [_service(service, words) for service in view.storage.services]
    return join(
        [
            element("p", words("decisions_lead")),
            table(words("services_caption"), heads, rows) if rows else None,
        ]
    )


def _service(service: Service, words: Words) -> Sequence[Child]:
    held = [f for f in service.features if f.rpartition(":")[0] not in service.computed]
    on_request = [
        [words("on_request"), element("span", what, lang="en")] for what in service.computed.values()
    ]
    return (
        element("code", service.name),
        words.purpose(service.purpose),
        [_by_source(held, {}, words), *on_request],
    )
