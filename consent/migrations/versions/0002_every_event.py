"""Every kind of event, blanked entries, cosigned checkpoints, key handovers. Commitments stay as they are."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXTS = (
    *("event_id", "kind", "subject_key", "source", "purpose", "grant_id", "notice_id", "notice_version"),
    *("notice_language", "notice_hash", "jurisdiction", "method", "channel", "replaces", "co_subject_key"),
    *("origin", "actor", "evidence_hash"),
)
_TIMES = ("effective_at", "recorded_at", "expires_at", "data_from", "data_life", "retention")
_INDEX = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Copy the entries, as they are, into the wider table."""
    op.drop_index("event_subject", "event")
    op.rename_table("event", "event_before")
    op.create_table(
        "event",
        sa.Column("leaf_index", _INDEX, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.Text, nullable=name != "event_id", unique=name == "event_id")
            for name in _TEXTS
        ),
        *(sa.Column(name, sa.BigInteger, nullable=name != "recorded_at") for name in _TIMES),
        sa.Column("data_until", sa.BigInteger),
        *(sa.Column(name, sa.Text) for name in ("hold_id", "basis", "indicated_by", "blanks")),
        sa.Column("nonce", sa.LargeBinary),
        sa.Column("commitment", sa.LargeBinary, nullable=False),
    )
    kept = ", ".join(("leaf_index", *_TEXTS, *_TIMES, "nonce", "commitment"))
    op.execute(f"INSERT INTO event ({kept}) SELECT {kept} FROM event_before ORDER BY leaf_index")  # noqa: S608
    op.drop_table("event_before")
    op.create_index("event_subject", "event", ["subject_key", "leaf_index"])
    op.create_table(
        "blanked",
        sa.Column("leaf_index", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("erased_by", _INDEX, nullable=False),
    )
    op.create_table(
        "head",
        sa.Column("one", sa.Integer, sa.CheckConstraint("one = 1"), primary_key=True, autoincrement=False),
        sa.Column("tree_size", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("seal", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "cosigned",
        sa.Column("tree_size", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("witness", sa.Text, primary_key=True),
        sa.Column("note", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "handover",
        sa.Column("number", _INDEX, primary_key=True, autoincrement=False),
        sa.Column("note", sa.LargeBinary, nullable=False),
    )
