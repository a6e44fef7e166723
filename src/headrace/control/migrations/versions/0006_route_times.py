"""When routes were learned is stored apart from them: sessions name a list of times beside their table."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    for name in ("table_times", "kept_times"):
        op.add_column("route_sessions", sa.Column(name, sa.String(64), nullable=False, server_default=""))


def downgrade() -> None:
    for name in ("table_times", "kept_times"):
        op.drop_column("route_sessions", name)
