"""The ledger as it was first: given, refused, withdrawn, linked. Its tables bore no revision."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TEXTS = ("event_id", "kind", "subject_key", "source", "purpose")
_OPTIONAL = ("notice_id", "notice_version", "notice_language", "notice_hash", "jurisdiction", "method")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "event",
        sa.Column("leaf_index", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False, unique=name == "event_id") for name in _TEXTS),
        sa.Column("effective_at", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("grant_id", sa.Text),
        *(sa.Column(name, sa.BigInteger) for name in ("expires_at", "data_from", "data_life", "retention")),
        *(sa.Column(name, sa.Text) for name in _OPTIONAL),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("replaces", sa.Text),
        sa.Column("co_subject_key", sa.Text),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("evidence_hash", sa.Text),
        sa.Column("nonce", sa.LargeBinary, nullable=False),
        sa.Column("commitment", sa.LargeBinary, nullable=False),
        sa.Index("event_subject", "subject_key", "source", "purpose", "effective_at"),
    )
    op.create_table(
        "merkle_tile",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tile_index", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "checkpoint",
        sa.Column("tree_size", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
