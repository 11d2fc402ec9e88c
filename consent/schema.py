"""The ledger's tables, and the triggers that keep them append-only, on SQLite and on PostgreSQL.

=============  ==================================================================================================
event          the statements; all but the first four columns are empty once an erasure has blanked the entry
blanked        which entry was blanked, and by which erasure
merkle_tile    roots of full tiles of the Merkle tree
checkpoint     signed checkpoints, as this log made them
cosigned       the same as each witness brought them back, with its cosignature
handover       signed notes by which one signing key gave way to the next
head           one row: size, last instant, root, and their seal; on PostgreSQL also the lock that orders the writers
=============  ==================================================================================================

Triggers stop accidents. Whoever owns the database can drop them; only a checkpoint held elsewhere shows that.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from consent.encoding import RECORD_COLUMNS, TIME_COLUMNS

#: The migration that leaves the tables as they are written here; see ``consent/migrations``.
REVISION = "0002"

metadata = sa.MetaData()

#: What an erasure leaves of an entry, so that every proof stays valid and nothing is recorded twice.
KEPT_COLUMNS = ("leaf_index", "event_id", "recorded_at", "commitment")
BLANKED_COLUMNS = (*(c for c in RECORD_COLUMNS if c not in KEPT_COLUMNS), "nonce")
EVENT_COLUMNS = ("leaf_index", *RECORD_COLUMNS, "nonce", "commitment")

#: SQLite's row id has to be called INTEGER.
_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, _INDEX, primary_key=True, autoincrement=False)


def _required(name: str, kind: type[sa.types.TypeEngine[bytes]] | type[sa.BigInteger]) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=False)


event_table = sa.Table(
    "event",
    metadata,
    _number("leaf_index"),
    *(
        sa.Column(
            name,
            sa.BigInteger if name in TIME_COLUMNS else sa.Text,
            nullable=name not in KEPT_COLUMNS,
            unique=name == "event_id",
        )
        for name in RECORD_COLUMNS
    ),
    sa.Column("nonce", sa.LargeBinary),
    _required("commitment", sa.LargeBinary),
    sa.Index("event_subject", "subject_key", "leaf_index"),
)
blanked_table = sa.Table(
    "blanked", metadata, _number("leaf_index"), sa.Column("erased_by", _INDEX, nullable=False)
)
merkle_tile = sa.Table(
    "merkle_tile", metadata, _number("level"), _number("tile_index"), _required("hash", sa.LargeBinary)
)
checkpoint_table = sa.Table(
    "checkpoint",
    metadata,
    _number("tree_size"),
    _required("root", sa.LargeBinary),
    _required("note", sa.LargeBinary),
    _required("created_at", sa.BigInteger),
)
cosigned_table = sa.Table(
    "cosigned",
    metadata,
    _number("tree_size"),
    sa.Column("witness", sa.Text, primary_key=True),
    _required("note", sa.LargeBinary),
)
head_table = sa.Table(
    "head",
    metadata,
    sa.Column("one", sa.Integer, sa.CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
    _required("tree_size", sa.BigInteger),
    _required("recorded_at", sa.BigInteger),
    _required("root", sa.LargeBinary),
    _required("seal", sa.LargeBinary),
)
handover_table = sa.Table("handover", metadata, _number("number"), _required("note", sa.LargeBinary))
revision_table = sa.Table(
    "alembic_version", metadata, sa.Column("version_num", sa.String(32), primary_key=True)
)

SELECT = f"SELECT {', '.join(EVENT_COLUMNS)} FROM event"  # noqa: S608
_APPEND_ONLY = ("event", "blanked", "merkle_tile", "checkpoint", "cosigned", "handover")
_FUNCTIONS = ("append_only", "blank_only", "next_only", "by_erasure", "grows", "head_grows")


def create_tables(connection: sa.Connection) -> None:
    """Everything, in an empty database, as the last migration leaves it."""
    metadata.create_all(connection)
    set_guards(connection)
    connection.execute(revision_table.insert().values(version_num=REVISION))


def set_guards(connection: sa.Connection) -> None:
    """Make the tables append-only."""
    guards = _sqlite_guards() if connection.dialect.name == "sqlite" else _postgres_guards()
    for statement in guards:
        connection.exec_driver_sql(statement)


def drop_guards(connection: sa.Connection) -> None:
    """Let a migration change the tables."""
    if connection.dialect.name == "sqlite":
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
        return
    for name in _FUNCTIONS:
        connection.exec_driver_sql(f"DROP FUNCTION IF EXISTS {name}() CASCADE")


def _sqlite_guards() -> Iterator[str]:
    for table in _APPEND_ONLY:
        verbs = ("delete",) if table == "event" else ("update", "delete")
        for verb in verbs:
            yield _refuse(f"{table}_no_{verb}", f"{verb.upper()} ON {table}", "append-only")
    blank = " AND ".join(f"NEW.{c} IS NULL" for c in BLANKED_COLUMNS)
    kept = " AND ".join(f"NEW.{c} IS OLD.{c}" for c in KEPT_COLUMNS)
    yield _refuse(
        "event_blank_only", "UPDATE ON event", "append-only", f"NOT ({kept} AND {blank} AND {_IS_NAMED})"
    )
    # INSERT OR REPLACE deletes without firing DELETE triggers, so inserts are guarded too.
    yield _refuse(
        "event_dense",
        "INSERT ON event",
        "append-only: leaf_index must be next",
        "NEW.leaf_index IS NOT (SELECT coalesce(max(leaf_index) + 1, 0) FROM event)",
    )
    yield _refuse(
        "event_once",
        "INSERT ON event",
        "append-only: duplicate event_id",
        "EXISTS (SELECT 1 FROM event WHERE event_id = NEW.event_id)",
    )
    yield _refuse(
        "event_clock",
        "INSERT ON event",
        "append-only: recorded_at must not go back",
        "NEW.recorded_at < (SELECT recorded_at FROM event ORDER BY leaf_index DESC LIMIT 1)",
    )
    yield _refuse("head_no_delete", "DELETE ON head", "append-only")
    yield _refuse("head_once", "INSERT ON head", "append-only", "EXISTS (SELECT 1 FROM head)")
    yield _refuse("head_grows", "UPDATE ON head", "append-only", "NEW.tree_size < OLD.tree_size")
    yield _refuse("blanked_by_erasure", "INSERT ON blanked", "append-only: no erasure", f"NOT {_BY_ERASURE}")
    for table, keys in _ONCE.items():
        same = " AND ".join(f"{key} = NEW.{key}" for key in keys)
        once = f"EXISTS (SELECT 1 FROM {table} WHERE {same})"  # noqa: S608
        yield _refuse(f"{table}_once", f"INSERT ON {table}", "append-only", once)
    yield _refuse(
        "checkpoint_grows",
        "INSERT ON checkpoint",
        "append-only",
        "NEW.tree_size <= (SELECT max(tree_size) FROM checkpoint)",
    )


_ONCE = {
    "blanked": ("leaf_index",),
    "merkle_tile": ("level", "tile_index"),
    "cosigned": ("tree_size", "witness"),
    "handover": ("number",),
}
_IS_NAMED = "EXISTS (SELECT 1 FROM blanked WHERE leaf_index = OLD.leaf_index)"
_BY_ERASURE = (
    "EXISTS (SELECT 1 FROM event WHERE leaf_index = NEW.erased_by AND kind = 'erased'"
    " AND blanks IS NOT NULL AND leaf_index > NEW.leaf_index)"
)


def _refuse(name: str, event: str, message: str, when: str = "") -> str:
    condition = f"WHEN {when} " if when else ""
    return f"CREATE TRIGGER {name} BEFORE {event} {condition}BEGIN SELECT RAISE(ABORT, '{message}'); END"


def _postgres_guards() -> Iterator[str]:
    yield _function("append_only", "RAISE EXCEPTION 'append-only';")
    for table in _APPEND_ONLY:
        verbs = "DELETE" if table == "event" else "UPDATE OR DELETE"
        yield from _trigger(f"{table}_append_only", f"BEFORE {verbs} ON {table}", "append_only")
        yield from _trigger(
            f"{table}_no_truncate", f"BEFORE TRUNCATE ON {table}", "append_only", each="STATEMENT"
        )
    yield from _trigger("head_stays", "BEFORE DELETE ON head", "append_only")
    yield from _trigger("head_no_truncate", "BEFORE TRUNCATE ON head", "append_only", each="STATEMENT")
    blank = " AND ".join(f"NEW.{c} IS NULL" for c in BLANKED_COLUMNS)
    kept = " AND ".join(f"NEW.{c} IS NOT DISTINCT FROM OLD.{c}" for c in KEPT_COLUMNS)
    yield _function(
        "blank_only",
        f"IF NOT ({kept} AND {blank} AND {_IS_NAMED}) THEN RAISE EXCEPTION 'append-only'; END IF; RETURN NEW;",
    )
    yield from _trigger("event_blank_only", "BEFORE UPDATE ON event", "blank_only")
    yield _function(
        "next_only",
        "IF EXISTS (SELECT 1 FROM added) AND NOT (SELECT min(a.leaf_index) = h.tree_size"
        " AND max(a.leaf_index) = h.tree_size + count(*) - 1 AND min(a.recorded_at) >= h.recorded_at"
        " FROM added a, head h GROUP BY h.tree_size, h.recorded_at)"
        " THEN RAISE EXCEPTION 'append-only: entries must follow the head'; END IF; RETURN NULL;",
    )
    yield from _trigger(
        "event_next",
        "AFTER INSERT ON event REFERENCING NEW TABLE AS added",
        "next_only",
        each="STATEMENT",
        table="event",
    )
    yield _function(
        "by_erasure", f"IF NOT {_BY_ERASURE} THEN RAISE EXCEPTION 'append-only'; END IF; RETURN NEW;"
    )
    yield from _trigger("blanked_by_erasure", "BEFORE INSERT ON blanked", "by_erasure")
    yield _function(
        "grows",
        "IF NEW.tree_size <= (SELECT max(tree_size) FROM checkpoint)"
        " THEN RAISE EXCEPTION 'append-only'; END IF; RETURN NEW;",
    )
    yield _function(
        "head_grows",
        "IF NEW.tree_size < OLD.tree_size THEN RAISE EXCEPTION 'append-only'; END IF; RETURN NEW;",
    )
    yield from _trigger("head_grows", "BEFORE UPDATE ON head", "head_grows")
    yield from _trigger("checkpoint_grows", "BEFORE INSERT ON checkpoint", "grows")


def _function(name: str, body: str) -> str:
    return f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"


def _trigger(name: str, event: str, function: str, *, each: str = "ROW", table: str = "") -> Iterator[str]:
    """A trigger that fires whatever ``session_replication_role`` says."""
    yield f"CREATE TRIGGER {name} {event} FOR EACH {each} EXECUTE FUNCTION {function}()"
    on = table or event.split(" ON ")[1].split()[0]
    yield f"ALTER TABLE {on} ENABLE ALWAYS TRIGGER {name}"
