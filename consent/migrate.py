"""Brings the ledger's tables from an earlier version of Assent to this one. Alembic does the work.

The entries, their order and their commitments are not touched, so every checkpoint and proof stays valid.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from consent.anchor import Anchor
from consent.database import open_postgres, open_sqlite, run, transaction
from consent.errors import Unavailable
from consent.evidence import merkle
from consent.evidence.notes import Signer
from consent.head import HeadKey, create_head
from consent.queries import open_tree, read_size
from consent.schema import REVISION, drop_guards, revision_table, set_guards

_WHAT = "the consent ledger"


def migrate(database: Path | str, signer: Signer, *, anchor: Path) -> tuple[str, str]:
    """Bring a ledger to the newest revision, in one transaction. Doing it twice changes nothing.

    Args:
        database: as for `Ledger`.
        signer: holds the log's key.
        anchor: where the anchor is, or will be if the ledger is from before there were anchors.

    Returns:
        The revision before, and the one after.

    Raises:
        Unavailable: there is no ledger, or it is of a newer version of Assent.
    """
    if isinstance(database, Path) and not database.exists():
        raise Unavailable("there is no consent ledger here", remedy="Run `assent init`, or check --home.")
    engine = open_sqlite(database) if isinstance(database, Path) else open_postgres(database)
    try:
        with transaction(engine, _WHAT, write=True) as connection:
            before = _revision(connection)
            if before > REVISION:
                raise Unavailable(
                    "the ledger is of a newer version of Assent",
                    remedy="Install that version, or a newer one.",
                )
            if before < REVISION:
                drop_guards(connection)
                _upgrade(connection)
                set_guards(connection)
            if before < "0002":
                size = read_size(connection)
                root = merkle.root(open_tree(connection), size)
                last = run(connection, "SELECT coalesce(max(recorded_at), 0) FROM event")[0][0]
                create_head(connection, HeadKey(signer), size, last, root)
                Anchor(anchor, signer.name).set(size, root)
    finally:
        engine.dispose()
    return before, REVISION


def _revision(connection: sa.Connection) -> str:
    """The revision of the tables; the first ones did not say theirs."""
    inspector = sa.inspect(connection)
    if inspector.has_table("alembic_version"):
        return str(run(connection, "SELECT version_num FROM alembic_version")[0][0])
    if not inspector.has_table("event"):
        raise Unavailable("the database holds no consent ledger", remedy="Check --home and the settings.")
    revision_table.create(connection)
    connection.execute(revision_table.insert().values(version_num="0001"))
    return "0001"


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
