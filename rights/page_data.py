"""A person's records and features, on the page: how many, from when to when, what they mean, and the newest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.types as pt

from consent.clock import EPOCH
from ingestion.source import Feature
from ingestion.sources import SOURCES
from rights.markup import Child, Markup, element, join
from rights.own_features import FeatureRows, features_of
from rights.own_records import Records, Seen
from rights.page_parts import day, minute, number, shortened, table, with_aside
from rights.rows import plain_values
from rights.view import View
from rights.words import Words

#: Days of loading that are named one by one.
_LOADS = 3
#: What a record in quarantine has besides.
_FAILURE = ("rules", "malformed", "raw")
#: Columns that a record has besides those of its source.
_OURS = ("loaded_at", "row_number", *_FAILURE)


def held_records(view: View, words: Words) -> Markup:
    """The section on records."""
    found = view.of_store("vault")
    if not found:
        return element("p", words("no_records"))
    return join(
        [
            element("p", words("records_lead")),
            *(_source(records, seen, words, "records") for records, seen in found),
        ]
    )


def quarantined(view: View, words: Words) -> Markup | None:
    """The section on records that failed a check, if there are any."""
    found = view.of_store("quarantine")
    if not found:
        return None
    lead = words("quarantine_lead", days=view.storage.storage.quarantine_days)
    return join(
        [element("p", lead), *(_source(records, seen, words, "quarantine") for records, seen in found)]
    )


def _source(records: Records, seen: Seen, words: Words, folder: str) -> Markup:
    name = records.source
    files = [element("a", file, href=file) for file in (f"{folder}/{name}.csv", f"{folder}/{name}.jsonl")]
    return join(
        [
            element("h3", words.source(name)),
            element("p", words.about_sources.get(name, "")),
            element("p", _counted(seen, words)),
            _newest(records, seen, words),
            element("p", words("records_all"), " ", files[0], ", ", files[1]),
            _columns(records, words),
        ]
    )


def _counted(seen: Seen, words: Words) -> str:
    loads = sorted({day(at) for at, _ in seen.loads})
    named = ", ".join(loads) if len(loads) <= _LOADS else f"{loads[0]} … {loads[-1]} ({len(loads)})"
    first, last = seen.first or EPOCH, seen.last or EPOCH
    return words("records_count", rows=f"{seen.rows:,}", first=day(first), last=day(last), loads=named)


def _newest(records: Records, seen: Seen, words: Words) -> Markup:
    assert seen.newest is not None
    columns = [n for n in _in_order_of_interest(records) if seen.newest[n].null_count < len(seen.newest)]
    rows = list(zip(*(_shown(seen.newest[name]) for name in columns), strict=True))
    numbers = [name for name in columns if _is_number(seen.newest[name].type)]
    caption = words(
        "newest_caption", source=words.source(records.source), shown=len(rows), rows=f"{seen.rows:,}"
    )
    return table(caption, columns, rows, kind="wide cells", numbers=numbers)


def _in_order_of_interest(records: Records) -> list[str]:
    """A record's own date first, then why it failed; when it was loaded stands above the table."""
    own = [name for name in records.columns if name not in (*_OURS, records.event_time)]
    return [records.event_time, *(name for name in _FAILURE if name in records.columns), *own]


def _shown(column: Any) -> list[Child]:
    """A column's cells, to the second; figures to the right."""
    values = plain_values(column)
    if pt.is_timestamp(column.type):
        return [element("span", _second(value), class_="when") for value in values]
    if _is_number(column.type):
        return [element("td", shortened(value), class_="number") for value in values]
    return [shortened(value) for value in values]


def _is_number(kind: Any) -> bool:
    return bool(pt.is_decimal(kind) or pt.is_integer(kind))


def _second(instant: str | None) -> str:
    return "" if instant is None else instant[:19].replace("T", " ")


def _columns(records: Records, words: Words) -> Markup:
    """What the columns mean; those of the source are explained where the records themselves are."""
    own = SOURCES[records.source].columns if records.source in SOURCES else ()
    meanings = {c.name: words.meaning(c) for c in own} | {name: words(name) for name in _OURS}
    told = records.columns if records.store == "vault" else _FAILURE
    rows = [(element("code", name), meanings.get(name, "")) for name in told]
    caption = words("columns_caption", source=words.source(records.source))
    return table(caption, (words("column"), words("meaning")), rows, kind="plain")


# ------------------------------------------------------------------------------------------- features


def computed(view: View, words: Words) -> Markup:
    """The section on features."""
    if not view.features:
        return element("p", words("no_features"))
    online = {each.view: each.values for each in view.online}
    parts = [
        _table(rows, source, online.get(rows.table), words, view.currency) for rows, source in view.features
    ]
    return join([element("p", words("features_lead")), *parts])


def _table(
    rows: FeatureRows, source: str, online: dict[str, Any] | None, words: Words, currency: str
) -> Markup:
    newest, file = rows.newest, f"features/{rows.table}.csv"
    published = rows.versions[-1][0].published_at
    counted = words(
        "features_count", rows=f"{rows.rows:,}", versions=len(rows.versions), at=minute(published)
    )
    caption = words("features_caption", source=words.source(source), at=minute(newest["event_timestamp"]))
    heads = [words(key) for key in ("feature", "value", "online", "why")]
    lines = [_feature(f, newest.get(f.name), online, words, currency) for f in features_of(rows.table)] or [
        (name, _value(newest.get(name), words)) for name in rows.columns[3:]
    ]
    return join(
        [
            element("h3", words.source(source)),
            table(caption, heads[: len(lines[0])], lines, numbers=heads[1:3]),
            element("p", counted, " ", element("a", file, href=file)),
        ]
    )


def _feature(
    feature: Feature, value: Any, online: dict[str, Any] | None, words: Words, currency: str
) -> Sequence[Child]:
    unit = currency if feature.unit == "currency units" else words.scale(feature.unit)
    measured = words("comma").join((unit, words.scale(feature.window)))
    empty = words("empty", when=words.scale(feature.null_means))
    return (
        with_aside(element("code", feature.name), measured),
        _value(value, words),
        _value(online[feature.name], words) if online and feature.name in online else words("absent"),
        with_aside(words.meaning(feature), "" if feature.null_means == Feature.null_means else empty),
    )


def _value(value: Any, words: Words) -> Markup:
    return element("td", words("none") if value is None else number(value), class_="number")
