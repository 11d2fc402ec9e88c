"""The ledger's tables, and the triggers that keep them append-only."""

from __future__ import annotations

import sqlalchemy as sa

from consent.encoding import RECORD_COLUMNS

metadata = sa.MetaData()

_TEXT = {"event_id", "kind", "subject_key", "source", "purpose", "channel", "origin", "actor"}
_TIME = {"effective_at", "recorded_at", "expires_at", "data_from", "data_life", "retention"}

event_table = sa.Table(
    "event",
    metadata,
    sa.Column("leaf_index", sa.Integer, primary_key=True, autoincrement=False),
    *(
        sa.Column(
            name,
            sa.BigInteger if name in _TIME else sa.Text,
            nullable=name not in _TEXT | {"effective_at", "recorded_at"},
            unique=name == "event_id",
        )
        for name in RECORD_COLUMNS
    ),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("commitment", sa.LargeBinary, nullable=False),
    sa.Index("event_subject", "subject_key", "source", "purpose", "effective_at"),
)
merkle_tile = sa.Table(
    "merkle_tile",
    metadata,
    sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("tile_index", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("hash", sa.LargeBinary, nullable=False),
)
checkpoint_table = sa.Table(
    "checkpoint",
    metadata,
    sa.Column("tree_size", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("root", sa.LargeBinary, nullable=False),
    sa.Column("note", sa.LargeBinary, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
)

TRIGGERS = [
    f"CREATE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    for table in ("event", "merkle_tile", "checkpoint")
    for verb in ("update", "delete")
] + [
    # INSERT OR REPLACE deletes without firing DELETE triggers, so inserts are guarded too.
    "CREATE TRIGGER event_dense BEFORE INSERT ON event"
    " WHEN NEW.leaf_index IS NOT (SELECT coalesce(max(leaf_index) + 1, 0) FROM event)"
    " BEGIN SELECT RAISE(ABORT, 'append-only: leaf_index must be next'); END",
    "CREATE TRIGGER event_once BEFORE INSERT ON event"
    " WHEN EXISTS (SELECT 1 FROM event WHERE event_id = NEW.event_id)"
    " BEGIN SELECT RAISE(ABORT, 'append-only: duplicate event_id'); END",
    "CREATE TRIGGER event_clock BEFORE INSERT ON event"
    " WHEN NEW.recorded_at < (SELECT recorded_at FROM event ORDER BY leaf_index DESC LIMIT 1)"
    " BEGIN SELECT RAISE(ABORT, 'append-only: recorded_at must not go back'); END",
    "CREATE TRIGGER tile_once BEFORE INSERT ON merkle_tile"
    " WHEN EXISTS (SELECT 1 FROM merkle_tile WHERE level = NEW.level AND tile_index = NEW.tile_index)"
    " BEGIN SELECT RAISE(ABORT, 'append-only'); END",
    "CREATE TRIGGER checkpoint_grows BEFORE INSERT ON checkpoint"
    " WHEN NEW.tree_size <= (SELECT max(tree_size) FROM checkpoint)"
    " BEGIN SELECT RAISE(ABORT, 'append-only'); END",
]

INSERT = "INSERT INTO event (leaf_index, {}, nonce, commitment) VALUES ({})".format(  # noqa: S608
    ", ".join(RECORD_COLUMNS), ", ".join("?" * (len(RECORD_COLUMNS) + 3))
)
SELECT = "SELECT leaf_index, {}, nonce, commitment FROM event".format(", ".join(RECORD_COLUMNS))  # noqa: S608
