"""Bring a database to the schema of this version, once, whoever starts first."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from headrace.control.adapters.database import Database
from headrace.control.errors import StoreError

_LOCK_KEY = 0x48_52_4D_49
"""Names the advisory lock on PostgreSQL; SQLite's write transaction is the lock."""


def migrate(database: Database) -> tuple[str | None, str]:
    """Run what is missing in one transaction under a lock; the revisions before (None: empty) and after.

    Raises:
        StoreError: the database cannot be asked, or is of a newer version of Headrace than this one.
    """
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.set_main_option("path_separator", "os")
    newest = ScriptDirectory.from_config(config).get_current_head()
    with database.writing() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
        before = _revision(connection)
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise StoreError(
                f"the database has schema {before!r}, which this version of Headrace does not know: {error}"
            ) from None
    return before, str(newest)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
