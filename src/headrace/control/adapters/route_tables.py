"""The tables of heard routes, as the newest migration leaves them. Chunks are blobs by digest, never rows of routes."""

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, LargeBinary, String, Table, Text

from headrace.control.adapters.tables import metadata


def _appliance_key() -> Column[str]:
    owner = ForeignKey("appliances.appliance_id", ondelete="CASCADE")
    return Column("appliance_id", String(63), owner, primary_key=True)


def _session_key() -> tuple[Column[str], Column[str]]:
    return _appliance_key(), Column("session_id", String(100), primary_key=True)


route_speakers = Table(
    "route_speakers",
    metadata,
    _appliance_key(),
    Column("boot_id", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("past_boots", Text, nullable=False),
    Column("heard_at_s", Double, nullable=False),
    Column("version", BigInteger, nullable=False),
)

route_sessions = Table(
    "route_sessions",
    metadata,
    *_session_key(),
    Column("body", Text, nullable=False),
    Column("changed_s", Double, nullable=False),
    Column("table_digest", String(64), nullable=False),
    Column("table_routes", Integer, nullable=False),
    Column("kept_digest", String(64), nullable=False),
    Column("kept_routes", Integer, nullable=False),
    Column("table_times", String(64), nullable=False, server_default=""),
    Column("kept_times", String(64), nullable=False, server_default=""),
)

route_lists = Table(
    "route_lists",
    metadata,
    Column("table_digest", String(64), primary_key=True),
    Column("places", LargeBinary, nullable=False),
    Column("routes", Integer, nullable=False),
    Column("is_whole", Boolean, nullable=False),
    Column("used_at_s", Double, nullable=False),
)
"""The lists of chunks that tables are made of."""

route_uploads = Table(
    "route_uploads",
    metadata,
    _appliance_key(),
    Column("table_digest", String(64), primary_key=True),
    Column("at_s", Double, nullable=False),
)
"""Who is sending which table's chunks: others are not taken from it."""

route_chunks = Table(
    "route_chunks",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("routes", Integer, nullable=False),
    Column("packed_bytes", Integer, nullable=False),
    Column("added_at_s", Double, nullable=False),
    Column("packed", LargeBinary, nullable=False),
)

route_flaps = Table(
    "route_flaps",
    metadata,
    *_session_key(),
    Column("packed", LargeBinary, nullable=False),
)
"""Points of damping, as the node that decides saved them last."""

route_history = Table(
    "route_history",
    metadata,
    *_session_key(),
    Column("at_s", Double, primary_key=True),
    Column("table_digest", String(64), nullable=False),
    Index("ix_route_history_at_s", "at_s"),
)
