"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

COUNTERS = ("event", "file_no", "fleet", "health_held", "holdings", "plans", "titles")


def upgrade() -> None:
    _fleet()
    _sets()
    _catalog()
    _access()
    _records()
    table = sa.table("counters", sa.column("name", sa.String), sa.column("value", sa.BigInteger))
    op.bulk_insert(table, [{"name": name, "value": 0} for name in COUNTERS])


def downgrade() -> None:
    raise NotImplementedError("the first schema has nothing below it")


def _fleet() -> None:
    op.create_table(
        "sites",
        sa.Column("site_id", sa.String(length=63), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("site_id"),
    )
    op.create_table(
        "appliances",
        sa.Column("appliance_id", sa.String(length=63), nullable=False),
        sa.Column("site_id", sa.String(length=63), nullable=False),
        sa.Column("content_url", sa.Text(), nullable=False),
        sa.Column("admin_state", sa.String(length=16), nullable=False),
        sa.Column("capacity_bps", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("enrolled_at_s", sa.Double(), nullable=False),
        sa.Column("desired", sa.Text(), nullable=True),
        sa.Column("desired_version", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"]),
        sa.PrimaryKeyConstraint("appliance_id"),
    )
    op.create_index("ix_appliances_site_id", "appliances", ["site_id"], unique=False)
    op.create_table(
        "reports",
        sa.Column("appliance_id", sa.String(length=63), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("past_boots", sa.Text(), nullable=False),
        sa.Column("received_at_s", sa.Double(), nullable=True),
        sa.Column("heard_at_s", sa.Double(), nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["appliance_id"], ["appliances.appliance_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("appliance_id"),
    )
    op.create_table(
        "health",
        sa.Column("appliance_id", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("memory", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["appliance_id"], ["appliances.appliance_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("appliance_id"),
    )


def _sets() -> None:
    op.create_table(
        "holdings",
        sa.Column("appliance_id", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["appliance_id"], ["appliances.appliance_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("appliance_id"),
    )
    op.create_table(
        "plan_heads",
        sa.Column("appliance_id", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["appliance_id"], ["appliances.appliance_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("appliance_id"),
    )
    op.create_table(
        "plans",
        sa.Column("appliance_id", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=32), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["appliance_id"], ["appliances.appliance_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("appliance_id", "version"),
    )


def _catalog() -> None:
    op.create_table(
        "titles",
        sa.Column("title_id", sa.String(length=128), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("is_visible", sa.Boolean(), nullable=False),
        sa.Column("published_at_s", sa.Double(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("file_nos", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("title_id"),
    )
    op.create_table(
        "files",
        sa.Column("file_no", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("suffix", sa.String(length=8), nullable=False),
        sa.PrimaryKeyConstraint("file_no"),
        sa.UniqueConstraint("sha256"),
    )
    op.create_table(
        "title_files",
        sa.Column("title_id", sa.String(length=128), nullable=False),
        sa.Column("file_no", sa.BigInteger(), nullable=False),
        sa.Column("rendition_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["file_no"], ["files.file_no"]),
        sa.ForeignKeyConstraint(["title_id"], ["titles.title_id"]),
        sa.PrimaryKeyConstraint("title_id", "file_no"),
    )
    op.create_index("ix_title_files_file_no", "title_files", ["file_no"], unique=False)


def _access() -> None:
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=True),
        sa.Column("appliance_id", sa.String(length=63), nullable=True),
        sa.Column("parent_id", sa.String(length=32), nullable=True),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("next_sha256", sa.String(length=64), nullable=True),
        sa.Column("created_at_s", sa.Double(), nullable=False),
        sa.Column("rotated_at_s", sa.Double(), nullable=False),
        sa.Column("last_used_at_s", sa.Double(), nullable=True),
        sa.Column("expires_at_s", sa.Double(), nullable=True),
        sa.Column("revoked_at_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("token_id"),
    )
    op.create_index("ix_tokens_appliance_id", "tokens", ["appliance_id"], unique=False)
    op.create_index("ix_tokens_parent_id", "tokens", ["parent_id"], unique=False)
    op.create_table(
        "join_tokens",
        sa.Column("join_id", sa.String(length=32), nullable=False),
        sa.Column("secret_sha256", sa.String(length=64), nullable=False),
        sa.Column("site_id", sa.String(length=63), nullable=False),
        sa.Column("appliance_id", sa.String(length=63), nullable=True),
        sa.Column("expires_at_s", sa.Double(), nullable=False),
        sa.Column("used_by", sa.String(length=63), nullable=True),
        sa.Column("used_at_s", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["site_id"], ["sites.site_id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("join_id"),
    )


def _records() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "events",
        sa.Column("event_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("expires_at_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "notes",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at_s", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "snapshots",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.String(length=64), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
