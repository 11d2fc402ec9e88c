"""The rules of `consent.decide` as SQL, for one source and purpose and everybody at once.

The table ``event`` holds what decides in the ledger's entries, packed: keys as 128-bit numbers, words as
enumerations. Folding gives *spans*: for each person rows that do not overlap and leave no hole, each with the reason
for a no, or null where a grant is usable. Numbers of rules refer to `consent.decide`.
"""

from __future__ import annotations

from consent.catalog import PURPOSES, SOURCES
from consent.decide import CLOCK_SKEW_US, ENDS, PERMISSIVE
from consent.nouns import Kind, Reason

#: Beyond every instant.
FOREVER = 2**62

_OTHER = "?"  # a word that is not in the catalog: nobody can ask about it


def _enum(name: str, words: object) -> str:
    listed = ", ".join(f"'{word}'" for word in words)  # type: ignore[attr-defined]
    return f"CREATE TYPE {name} AS ENUM ({listed})"


def _listed(words: object) -> str:
    return ", ".join(f"'{word}'" for word in sorted(words))  # type: ignore[call-overload]


TYPES = (
    _enum("kind_t", [k.value for k in Kind]),
    _enum("source_t", ["*", _OTHER, *SOURCES]),
    _enum("purpose_t", ["*", _OTHER, *PURPOSES]),
    _enum("reason_t", [r.value for r in Reason]),
)

EVENT = """
CREATE TABLE event (
    leaf_index BIGINT, kind kind_t, subject UUID, source source_t, purpose purpose_t, effective_at BIGINT,
    recorded_at BIGINT, grant_uuid UUID, expires_at BIGINT, data_from BIGINT, data_until BIGINT, data_life BIGINT,
    co_subject UUID, imported BOOLEAN)
"""
#: What does not fit the packed table: names of holds, and names of grants that are not 32 hex digits.
NAME = "CREATE TABLE name (leaf_index BIGINT, hold_id VARCHAR, grant_id VARCHAR)"

_HEX = "(length({0}) = 32 AND regexp_full_match({0}, '[0-9a-f]+'))"
LOAD = f"""
INSERT INTO event SELECT leaf_index, kind::kind_t, subject_key::UUID,
    CASE WHEN source IN ('*', {_listed(SOURCES)}) THEN source ELSE '{_OTHER}' END::source_t,
    CASE WHEN purpose IN ('*', {_listed(PURPOSES)}) THEN purpose ELSE '{_OTHER}' END::purpose_t,
    effective_at, recorded_at, CASE WHEN {_HEX.format("grant_id")} THEN grant_id::UUID END, expires_at, data_from,
    data_until, data_life, co_subject_key::UUID, origin = 'imported'
FROM batch WHERE kind IS NOT NULL
"""  # noqa: S608
LOAD_NAMES = f"""
INSERT INTO name SELECT leaf_index, hold_id, grant_id FROM batch
WHERE hold_id IS NOT NULL OR NOT {_HEX.format("grant_id")}
"""  # noqa: S608

#: The name of a grant, as text.
GRANT_ID = "coalesce(n.grant_id, replace(e.grant_uuid::VARCHAR, '-', ''))"
#: The text of a packed key.
KEY = "replace({0}::VARCHAR, '-', '')"

_BEGAN = (
    f"CASE WHEN kind IN ({_listed(PERMISSIVE)}) THEN effective_at ELSE least(effective_at, recorded_at) END"
)
_SAID = f"""
said AS (
    SELECT * EXCLUDE (effective_at), {_BEGAN} AS began_at, kind NOT IN ({_listed(PERMISSIVE)}) AS restrictive,
        began_at + CASE WHEN imported THEN 0 ELSE {CLOCK_SKEW_US} END AS on_record_until
    FROM event WHERE leaf_index < $size AND recorded_at <= $known_at
     AND source IN ('*', $source) AND {{about}})
"""  # noqa: S608

#: Rule 3, for one source: when somebody is erased as a whole, held, or due to be erased. Spans do not overlap.
RESTRICTED = f"""
CREATE TABLE {{table}} AS
WITH {_SAID.format(about="kind IN ('hold_placed', 'hold_released', 'erasure_requested', 'erased')")},
hold AS (SELECT s.*, n.hold_id FROM said s JOIN name n USING (leaf_index)),
raw AS (
    SELECT p.subject, p.began_at AS from_at, coalesce(min(r.began_at), {FOREVER}) AS until_at, 1 AS rank
    FROM hold p LEFT JOIN hold r ON r.kind = 'hold_released' AND r.subject = p.subject AND r.hold_id = p.hold_id
     AND r.began_at > p.began_at
    WHERE p.kind = 'hold_placed' GROUP BY p.leaf_index, p.subject, p.began_at
    UNION ALL
    SELECT q.subject, q.began_at, coalesce(min(e.began_at), {FOREVER}), 1
    FROM said q LEFT JOIN said e ON e.kind = 'erased' AND e.subject = q.subject AND e.leaf_index > q.leaf_index
     AND e.source IN ('*', q.source)
    WHERE q.kind = 'erasure_requested' GROUP BY q.leaf_index, q.subject, q.began_at
    UNION ALL
    SELECT subject, min(began_at), {FOREVER}, 0 FROM said WHERE kind = 'erased' AND source = '*' GROUP BY subject),
edge AS (SELECT DISTINCT subject, unnest([from_at, until_at]) AS edge_at FROM raw WHERE from_at < until_at),
cut AS (SELECT *, lead(edge_at) OVER (PARTITION BY subject ORDER BY edge_at) AS next_at FROM edge)
SELECT c.subject, c.edge_at AS from_at, c.next_at AS until_at,
    CASE min(r.rank) WHEN 0 THEN 'ERASED' ELSE 'RESTRICTED' END::reason_t AS reason
FROM cut c JOIN raw r ON r.subject = c.subject AND r.from_at <= c.edge_at AND r.until_at >= c.next_at
GROUP BY ALL
"""  # noqa: S608

_REASONS = " ".join(f"WHEN '{kind}' THEN '{reason}'" for kind, reason in ENDS.items())
#: Whether a statement s bears on a grant g.
_BEARS = """(s.began_at > g.began_at OR (s.began_at = g.began_at AND (s.restrictive OR s.leaf_index > g.leaf_index))
     OR (s.leaf_index > g.leaf_index AND g.recorded_at <= s.on_record_until))"""

#: Rules 4 to 6, for one source and purpose: everybody's own consent.
OWN = f"""
CREATE TABLE {{table}} AS
WITH {_SAID.format(about="purpose IN ('*', $purpose)")},
decisive AS (SELECT * FROM said WHERE kind IN ('given', {_listed(ENDS)})),
opened AS (
    SELECT DISTINCT subject FROM decisive
    WHERE kind IN ('given', 'refused') OR (kind = 'erased' AND source <> '*')),
standing AS (
    SELECT g.* FROM decisive g SEMI JOIN opened USING (subject)
    ANTI JOIN (SELECT * FROM decisive WHERE kind <> 'given') no
      ON no.subject = g.subject AND g.kind = 'given' AND no.began_at <= g.began_at
     AND no.leaf_index > g.leaf_index AND g.recorded_at <= no.on_record_until),
folded AS (
    SELECT *, coalesce(lead(began_at) OVER fold, {FOREVER}) AS next_at, row_number() OVER fold = 1 AS is_first
    FROM standing
    WINDOW fold AS (PARTITION BY subject ORDER BY began_at, restrictive, leaf_index)),
invalid AS (
    SELECT DISTINCT g.leaf_index FROM folded g JOIN said s ON s.subject = g.subject AND s.kind = 'invalidated'
    LEFT JOIN name gn ON gn.leaf_index = g.leaf_index LEFT JOIN name sn ON sn.leaf_index = s.leaf_index
    WHERE g.kind = 'given' AND CASE WHEN s.grant_uuid IS NULL AND sn.grant_id IS NULL THEN {_BEARS}
     ELSE s.grant_uuid IS NOT DISTINCT FROM g.grant_uuid AND sn.grant_id IS NOT DISTINCT FROM gn.grant_id END),
pause AS (
    SELECT g.leaf_index, greatest(s.began_at, g.began_at) AS from_at,
        coalesce(lead(s.began_at) OVER (PARTITION BY g.leaf_index ORDER BY s.began_at, s.restrictive, s.leaf_index),
                 {FOREVER}) AS until_at, s.kind = 'paused' AS paused
    FROM folded g JOIN said s ON s.subject = g.subject AND s.kind IN ('paused', 'resumed') AND {_BEARS}
    WHERE g.kind = 'given'),
granted AS (
    SELECT *, least(expires_at, next_at) AS ends_at FROM folded
    WHERE kind = 'given' AND leaf_index NOT IN (FROM invalid)),
span AS (
    SELECT *, began_at AS from_at, ends_at AS until_at, NULL AS reason
    FROM granted ANTI JOIN pause USING (leaf_index)
    UNION ALL BY NAME
    SELECT g.*, g.began_at AS from_at, least(g.ends_at, p.from_at) AS until_at, NULL AS reason
    FROM granted g JOIN (SELECT leaf_index, min(from_at) AS from_at FROM pause GROUP BY leaf_index) p
    USING (leaf_index)
    UNION ALL BY NAME
    SELECT g.*, p.from_at, least(g.ends_at, p.until_at) AS until_at, CASE WHEN p.paused THEN 'PAUSED' END AS reason
    FROM granted g JOIN pause p USING (leaf_index)
    UNION ALL BY NAME
    SELECT *, greatest(expires_at, began_at) AS from_at, next_at AS until_at, 'EXPIRED' AS reason FROM granted
    UNION ALL BY NAME
    SELECT *, began_at AS from_at, next_at AS until_at, 'INVALIDATED' AS reason
    FROM folded WHERE leaf_index IN (FROM invalid)
    UNION ALL BY NAME
    SELECT *, began_at AS from_at, next_at AS until_at, CASE kind {_REASONS} END AS reason
    FROM folded WHERE kind <> 'given'
    UNION ALL BY NAME
    SELECT * REPLACE (NULL AS leaf_index), -{FOREVER} AS from_at, began_at AS until_at, 'NOT_YET' AS reason
    FROM folded WHERE is_first)
SELECT subject, from_at, until_at, reason::reason_t AS reason,
    CASE WHEN kind = 'given' THEN leaf_index END AS grant_index,
    CASE WHEN reason IS NULL THEN data_from END AS data_from,
    CASE WHEN reason IS NULL THEN data_until END AS data_until,
    CASE WHEN reason IS NULL THEN data_life END AS data_life, imported
FROM span WHERE from_at < until_at
"""  # noqa: S608

#: Rules 3 and 8: where somebody is restricted, or their data is about another person too, cut everybody's spans at
#: all their boundaries. The first party with a reason decides, a restriction before what was agreed to; the narrowest
#: data range and life hold. Elsewhere the own spans are the answer.
SPANS = f"""
CREATE TABLE {{table}} AS
WITH link AS (
    SELECT DISTINCT subject, co_subject FROM event
    WHERE kind = 'linked' AND source = $source AND leaf_index < $size AND recorded_at <= $known_at),
whole AS (
    SELECT DISTINCT subject FROM {{own}} SEMI JOIN (
        SELECT subject FROM link UNION ALL SELECT subject FROM {{restricted}}) USING (subject)),
party AS (
    SELECT subject, NULL::UUID AS other, subject AS who FROM whole
    UNION ALL SELECT subject, co_subject, co_subject FROM link SEMI JOIN whole USING (subject)),
given AS (
    SELECT DISTINCT subject, source, purpose FROM event
    WHERE kind = 'given' AND leaf_index < $size AND recorded_at <= $known_at
     AND subject IN (SELECT who FROM party)),
piece AS (
    SELECT p.subject, p.other, 0 AS rank, r.from_at, r.until_at, r.reason, NULL AS grant_index, NULL AS data_from,
        NULL AS data_until, NULL AS data_life, false AS imported
    FROM party p JOIN {{restricted}} r ON r.subject = p.who
    UNION ALL
    SELECT p.subject, p.other, 1, coalesce(o.from_at, -{FOREVER}), coalesce(o.until_at, {FOREVER}),
        CASE WHEN o.subject IS NOT NULL THEN o.reason
             WHEN EXISTS (SELECT 1 FROM given g WHERE g.subject = p.who AND g.source = $source) THEN 'PURPOSE'
             WHEN EXISTS (SELECT 1 FROM given g WHERE g.subject = p.who AND g.purpose = $purpose) THEN 'SOURCE'
             ELSE 'NO_GRANT' END::reason_t,
        o.grant_index, o.data_from, o.data_until, o.data_life, coalesce(o.imported, false)
    FROM party p LEFT JOIN {{own}} o ON o.subject = p.who),
edge AS (SELECT DISTINCT subject, unnest([from_at, until_at]) AS edge_at FROM piece),
cut AS (SELECT *, lead(edge_at) OVER (PARTITION BY subject ORDER BY edge_at) AS next_at FROM edge),
first_no AS (
    SELECT c.subject, c.edge_at, c.next_at, p.*  EXCLUDE (subject),
        row_number() OVER (PARTITION BY c.subject, c.edge_at
                           ORDER BY p.reason IS NULL, p.other NULLS FIRST, p.rank) = 1 AS decides
    FROM cut c JOIN piece p ON p.subject = c.subject AND p.from_at <= c.edge_at AND p.until_at >= c.next_at
    WHERE c.next_at IS NOT NULL),
answer AS (
    SELECT subject, edge_at AS from_at, next_at AS until_at, any_value(reason) FILTER (decides) AS reason,
        CASE WHEN any_value(other) FILTER (decides) IS NULL OR any_value(reason) FILTER (decides) IS NULL
             THEN 'subject' ELSE 'co_subject' END AS party,
        any_value(grant_index) FILTER (decides AND other IS NULL) AS grant_index,
        max(data_from) AS data_from, min(data_until) AS data_until, min(data_life) AS data_life,
        bool_or(imported) FILTER (decides) AS imported
    FROM first_no GROUP BY subject, edge_at, next_at)
SELECT {KEY.format("subject")} AS subject_key, * EXCLUDE (subject) FROM (
    SELECT subject, from_at, until_at, reason, 'subject' AS party, grant_index, data_from, data_until, data_life,
        imported FROM {{own}} ANTI JOIN whole USING (subject)
    UNION ALL BY NAME SELECT * FROM answer)
"""  # noqa: S608

#: For rows about people who have no spans: rule 3, then the nearest miss.
MISSES = f"""
WITH who AS (
    SELECT position, as_of, CASE WHEN {_HEX.format("subject_key")} THEN subject_key::UUID END AS subject FROM miss),
given AS (
    SELECT DISTINCT subject, source, purpose FROM event
    WHERE kind = 'given' AND leaf_index < $size AND recorded_at <= $known_at AND subject IN (SELECT subject FROM who))
SELECT w.position, CASE
    WHEN r.reason IS NOT NULL THEN r.reason::VARCHAR
    WHEN s.subject IS NOT NULL THEN 'PURPOSE'
    WHEN p.subject IS NOT NULL THEN 'SOURCE'
    ELSE 'NO_GRANT' END AS reason
FROM who w
LEFT JOIN {{restricted}} r ON r.subject = w.subject AND w.as_of >= r.from_at AND w.as_of < r.until_at
LEFT JOIN (SELECT DISTINCT subject FROM given WHERE source = $source) s ON s.subject = w.subject
LEFT JOIN (SELECT DISTINCT subject FROM given WHERE purpose = $purpose) p ON p.subject = w.subject
"""  # noqa: S608
