"""The store's own name: random, made once, the same for every control node on it."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "identity",
        sa.Column("control_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("control_id"),
    )
    table = sa.table("identity", sa.column("control_id", sa.String))
    op.bulk_insert(table, [{"control_id": secrets.token_hex(16)}])


def downgrade() -> None:
    op.drop_table("identity")
