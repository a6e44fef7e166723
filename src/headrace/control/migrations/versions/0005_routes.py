"""What appliances hear over BGP: sessions, tables as lists of chunks, chunks by digest, tables of the past."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def _appliance_key() -> sa.Column[str]:
    owner = sa.ForeignKey("appliances.appliance_id", ondelete="CASCADE")
    return sa.Column("appliance_id", sa.String(63), owner, primary_key=True)


def upgrade() -> None:
    op.create_table(
        "route_speakers",
        _appliance_key(),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("past_boots", sa.Text(), nullable=False),
        sa.Column("heard_at_s", sa.Double(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "route_sessions",
        _appliance_key(),
        sa.Column("session_id", sa.String(100), primary_key=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("changed_s", sa.Double(), nullable=False),
        sa.Column("table_digest", sa.String(64), nullable=False),
        sa.Column("table_routes", sa.Integer(), nullable=False),
        sa.Column("kept_digest", sa.String(64), nullable=False),
        sa.Column("kept_routes", sa.Integer(), nullable=False),
    )
    op.create_table(
        "route_lists",
        sa.Column("table_digest", sa.String(64), primary_key=True),
        sa.Column("places", sa.LargeBinary(), nullable=False),
        sa.Column("routes", sa.Integer(), nullable=False),
        sa.Column("is_whole", sa.Boolean(), nullable=False),
        sa.Column("used_at_s", sa.Double(), nullable=False),
    )
    op.create_table(
        "route_uploads",
        _appliance_key(),
        sa.Column("table_digest", sa.String(64), primary_key=True),
        sa.Column("at_s", sa.Double(), nullable=False),
    )
    op.create_table(
        "route_chunks",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("routes", sa.Integer(), nullable=False),
        sa.Column("packed_bytes", sa.Integer(), nullable=False),
        sa.Column("added_at_s", sa.Double(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "route_history",
        _appliance_key(),
        sa.Column("session_id", sa.String(100), primary_key=True),
        sa.Column("at_s", sa.Double(), primary_key=True),
        sa.Column("table_digest", sa.String(64), nullable=False),
    )
    op.create_index("ix_route_history_at_s", "route_history", ["at_s"])
    counters = sa.table("counters", sa.column("name"), sa.column("value"))
    op.bulk_insert(counters, [{"name": "routes", "value": 0}])


def downgrade() -> None:
    for name in ("history", "chunks", "uploads", "lists", "sessions", "speakers"):
        op.drop_table(f"route_{name}")
    op.execute("DELETE FROM counters WHERE name = 'routes'")
