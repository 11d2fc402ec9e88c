"""What a source is: its columns, its event time, its features and their maths.

Pure descriptions. One file per source under ``ingestion/sources`` fills them in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

#: Every instant inside Assent: microseconds, UTC.
INSTANT = pa.timestamp("us", tz="UTC")
#: Money, in units of the row's currency.
MONEY = pa.decimal128(18, 2)


@dataclass(frozen=True)
class Column:
    """One column of a source, as it is once a reader has parsed it.

    Attributes:
        type: Arrow type; a reader turns text into it strictly.
        required: the file must have the column (a cell may still be null: that is for the suite to judge).
        doc: what it means, with its unit.
        default: value for every row when an optional column is absent from the file.
    """

    name: str
    type: pa.DataType
    doc: str
    required: bool = True
    default: str | None = None


@dataclass(frozen=True)
class Feature:
    """One published feature.

    Attributes:
        dtype: ``int64`` or ``float64``.
        unit: what one stands for ("rows", "days", "share 0-1", "currency units").
        window: the span of time it looks back over.
        doc: definition.
        why: why a risk team wants it.
        regulation: what the law, or fairness, asks of whoever uses it.
        null_means: when the value is null.
    """

    name: str
    dtype: Literal["int64", "float64"]
    unit: str
    window: str
    doc: str
    null_means: str = "never null"
    why: str = ""
    regulation: str = ""

    @property
    def meaning(self) -> str:
        """Definition and reason, as a person is told."""
        return f"{self.doc} {self.why}".rstrip()


@dataclass(frozen=True)
class Source:
    """A source of personal data that people may agree to share.

    Attributes:
        name: its name in consent records, on the command line and in the vault.
        definition: the published definition, ``<name>_v<N>``; changed maths needs a new N.
        event_time: the column that dates a row: when the fact became known. Consent for the data range is
            judged against it and no feature sees a row before it.
        identity: the columns that make two rows of one subject the same event.
        active_days: ``events -> (subject_key: string, day: int64)``, distinct; the days on which a
            subject's features change. ``day`` counts days since 1970-01-01 UTC.
        compute: ``(events, spine) -> (subject_key, day, *features)``; one row per spine row. Both are Ibis
            tables; ``spine`` is distinct (subject_key, day). A row for day D sees events of days <= D only.
        earlier: definitions of the same source that are still published and served beside this one.
        deprecated: what to use instead, and until when this definition is published; empty: it is not.
    """

    name: str
    definition: str
    doc: str
    columns: tuple[Column, ...]
    event_time: str
    identity: tuple[str, ...]
    features: tuple[Feature, ...]
    active_days: Callable[[Any], Any]
    compute: Callable[[Any, Any], Any]
    earlier: tuple[Source, ...] = ()
    deprecated: str = ""

    @property
    def schema(self) -> pa.Schema:
        """Arrow schema of the source's own columns, in order."""
        return pa.schema([pa.field(c.name, c.type) for c in self.columns])
