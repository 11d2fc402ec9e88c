"""Which row of a feature table an entity row sees, and whether it may: on keys and instants alone.

No feature value passes through here, only positions of rows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from consent.clock import MICROSECOND
from consent.fold import FOREVER
from consent.nouns import Reason
from consent.timeline import Timeline, fetch_arrow, private_duckdb

# The key columns of a feature table are unique together, so the join finds at most one row.
_AS_OF = """
SELECT CASE WHEN f.at_us >= e.at_us - $life THEN f.place END AS place
FROM entity e ASOF LEFT JOIN feature f ON f.subject_key = e.subject_key AND f.at_us <= e.at_us
ORDER BY e.place
"""

_LATEST = "SELECT arg_max(place, at_us) AS place FROM feature GROUP BY subject_key ORDER BY place"


def rows_as_of(
    entity_key: pa.ChunkedArray,
    entity_at: pa.ChunkedArray,
    feature_key: pa.ChunkedArray,
    feature_at: pa.ChunkedArray,
    *,
    ttl: timedelta | None,
) -> pa.ChunkedArray:
    """Position of the latest feature row at or before each entity row, and no older than `ttl`.

    Returns:
        One per entity row, in order; null where there is none.
    """
    connection = private_duckdb()
    connection.register("entity", _points(entity_key, entity_at))
    connection.register("feature", _points(feature_key, feature_at))
    life = ttl // MICROSECOND if ttl else FOREVER
    positions = fetch_arrow(connection, _AS_OF, {"life": life})["place"]
    connection.close()
    return positions


def latest_rows(feature_key: pa.ChunkedArray, feature_at: pa.ChunkedArray) -> pa.ChunkedArray:
    """Position of each subject's latest row, ascending."""
    connection = private_duckdb()
    connection.register("feature", _points(feature_key, feature_at))
    positions = fetch_arrow(connection, _LATEST)["place"]
    connection.close()
    return positions


def reasons_for(
    timeline: Timeline,
    source: str,
    purpose: str,
    entity_key: pa.ChunkedArray,
    entity_at: pa.ChunkedArray,
    value_at: pa.ChunkedArray,
    *,
    now: datetime,
) -> pa.ChunkedArray:
    """Why each entity row may not see its value; null where it may.

    Consent must be in force now and at the entity row's instant, both times for data as old as the value. Both
    limits on the data's age only ever exclude the older values, so judging the latest one alone is the same as
    leaving out what is not allowed before looking for the latest.

    Args:
        value_at: event time of the value found; null where there is none, which asks about the consent alone.
    """
    rows = pa.table({"key": entity_key, "at": entity_at, "value_at": value_at})
    found = pc.is_valid(rows["value_at"])
    judged = [
        _now_and_then(timeline, source, purpose, rows.filter(found), now, alone=False),
        _now_and_then(timeline, source, purpose, rows.filter(pc.invert(found)), now, alone=True),
    ]
    # Back into the order of the entity rows: a stable sort put those with a value first.
    order = pc.sort_indices(pc.if_else(found, 0, 1))
    reasons = _strings(judged).take(pc.sort_indices(order))
    nobody = pc.or_(pc.is_null(rows["key"]), pc.is_null(rows["at"]))
    return pc.if_else(nobody, Reason.UNKNOWN.value, reasons)


def _now_and_then(
    timeline: Timeline, source: str, purpose: str, rows: pa.Table, now: datetime, *, alone: bool
) -> pa.ChunkedArray:
    """The reason as of now or else as of the row's instant; of the consent `alone`, or for the row's value."""
    data_at = None if alone else rows["value_at"]
    at_now, then = (
        timeline.judge(rows["key"], source, purpose, data_at=data_at, as_of=as_of, derived=True)
        for as_of in (now, rows["at"])
    )
    return pc.coalesce(at_now, then)


def _points(key: pa.ChunkedArray, at: pa.ChunkedArray) -> pa.Table:
    return pa.table({"place": np.arange(len(key)), "subject_key": key, "at_us": pc.cast(at, pa.int64())})


def _strings(arrays: list[pa.ChunkedArray]) -> pa.ChunkedArray:
    chunks = [chunk for array in arrays for chunk in pa.chunked_array(array).cast(pa.string()).chunks]
    return pa.chunked_array(chunks, pa.string())
