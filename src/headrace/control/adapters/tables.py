"""The tables, as the newest migration leaves them (a test compares both). Sets of files are blobs, never rows."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()


def _appliance_key() -> Column[str]:
    owner = ForeignKey("appliances.appliance_id", ondelete="CASCADE")
    return Column("appliance_id", String(63), owner, primary_key=True)


identity = Table("identity", metadata, Column("control_id", String(32), primary_key=True))
"""One row, made by the migration."""

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)

sites = Table(
    "sites",
    metadata,
    Column("site_id", String(63), primary_key=True),
    Column("body", Text, nullable=False),
)

appliances = Table(
    "appliances",
    metadata,
    Column("appliance_id", String(63), primary_key=True),
    Column("site_id", String(63), ForeignKey("sites.site_id"), nullable=False, index=True),
    Column("content_url", Text, nullable=False),
    Column("admin_state", String(16), nullable=False),
    Column("capacity_bps", BigInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("enrolled_at_s", Double, nullable=False),
    Column("desired", Text),
    Column("desired_version", Integer, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    _appliance_key(),
    Column("boot_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("past_boots", Text, nullable=False),
    Column("received_at_s", Double),
    Column("heard_at_s", Double),
    Column("body", Text, nullable=False),
)

health = Table(
    "health",
    metadata,
    _appliance_key(),
    Column("version", Integer, nullable=False),
    Column("body", Text, nullable=False),
    Column("memory", Text, nullable=False),
)

holdings = Table(
    "holdings",
    metadata,
    _appliance_key(),
    Column("version", Integer, nullable=False),
    Column("digest", String(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("total_bytes", BigInteger, nullable=False),
    Column("packed", LargeBinary, nullable=False),
)

plan_heads = Table(
    "plan_heads",
    metadata,
    _appliance_key(),
    Column("version", Integer, nullable=False),
    Column("digest", String(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("total_bytes", BigInteger, nullable=False),
)

plans = Table(
    "plans",
    metadata,
    _appliance_key(),
    Column("version", Integer, primary_key=True),
    Column("digest", String(32), nullable=False),
    Column("count", Integer, nullable=False),
    Column("total_bytes", BigInteger, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    Column("created_at_s", Double, nullable=False),
)

titles = Table(
    "titles",
    metadata,
    Column("title_id", String(128), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("is_visible", Boolean, nullable=False),
    Column("published_at_s", Double, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("file_nos", Text, nullable=False),
    Column("words", Text, nullable=False, server_default=""),
    Index("ix_titles_newest", "published_at_s", "title_id"),
)
"""`words`: id and name, case-folded, for searching."""

files = Table(
    "files",
    metadata,
    Column("file_no", BigInteger, primary_key=True, autoincrement=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("suffix", String(8), nullable=False),
)

title_files = Table(
    "title_files",
    metadata,
    Column("title_id", String(128), ForeignKey("titles.title_id"), primary_key=True),
    Column("file_no", BigInteger, ForeignKey("files.file_no"), primary_key=True),
    Column("rendition_id", Text, nullable=False),
    Index("ix_title_files_file_no", "file_no"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(32), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("name", Text, nullable=False),
    Column("role", String(16)),
    Column("appliance_id", String(63), index=True),
    Column("parent_id", String(32), index=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("next_sha256", String(64)),
    Column("created_at_s", Double, nullable=False),
    Column("rotated_at_s", Double, nullable=False),
    Column("last_used_at_s", Double),
    Column("expires_at_s", Double),
    Column("revoked_at_s", Double),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("join_id", String(32), primary_key=True),
    Column("secret_sha256", String(64), nullable=False),
    Column("site_id", String(63), ForeignKey("sites.site_id", ondelete="CASCADE"), nullable=False),
    Column("appliance_id", String(63)),
    Column("expires_at_s", Double, nullable=False),
    Column("used_by", String(63)),
    Column("used_at_s", Double),
)

events = Table(
    "events",
    metadata,
    Column("event_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at_s", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("holder", Text, nullable=False),
    Column("expires_at_s", Double, nullable=False),
)

maintenance = Table(
    "maintenance",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("has_ended", Boolean, nullable=False),
    Column("ends_s", Double, nullable=False),
    Column("body", Text, nullable=False),
)

fill_orders = Table(
    "fill_orders",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("has_ended", Boolean, nullable=False),
    Column("body", Text, nullable=False),
)

notes = Table(
    "notes",
    metadata,
    Column("key", Text, primary_key=True),
    Column("at_s", Double, nullable=False),
    Column("text", Text, nullable=False),
)

snapshots = Table(
    "snapshots",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("etag", String(64), nullable=False),
    Column("packed", LargeBinary, nullable=False),
)
