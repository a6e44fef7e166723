"""Points of damping are stored, so that a control node that starts goes on with them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "route_flaps",
        sa.Column(
            "appliance_id",
            sa.String(63),
            sa.ForeignKey("appliances.appliance_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("session_id", sa.String(100), primary_key=True),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("route_flaps")
