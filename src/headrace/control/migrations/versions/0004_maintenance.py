"""Maintenance windows."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "maintenance",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("has_ended", sa.Boolean(), nullable=False),
        sa.Column("ends_s", sa.Double(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
    )
    counters = sa.table("counters", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    op.bulk_insert(counters, [{"name": "maintenance", "value": 0}])


def downgrade() -> None:
    op.execute("DELETE FROM counters WHERE name = 'maintenance'")
    op.drop_table("maintenance")
