"""Bring a database to the schema of this version, once, whoever starts first; or look how far it is from that."""

import os
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaLook:
    """What a start would find."""

    is_there: bool
    """False: a SQLite file that a start would make."""
    revision: str | None
    """None: nothing in it yet."""
    newest: str


def look(url: str) -> SchemaLook:
    """What `migrate` would find and whether it could do its work; changes and creates nothing.

    Raises:
        StoreError: a start could not use this store; the message says why and what to do.
    """
    scripts = ScriptDirectory.from_config(schema_config())
    newest = str(scripts.get_current_head())
    database = Database(url, is_looking=True)
    try:
        if database.file is not None and not _may_write(database.file):
            return SchemaLook(is_there=False, revision=None, newest=newest)
        with database.reading() as connection:
            revision = _revision(connection)
            if not database.is_sqlite:
                _check_rights(connection, is_newest=revision == newest)
    finally:
        database.close()
    if revision is not None and all(one.revision != revision for one in scripts.walk_revisions()):
        raise StoreError(
            f"the database has schema {revision!r}, which this version of Headrace does not know: "
            "start the version that made it, or a newer one"
        )
    return SchemaLook(is_there=True, revision=revision, newest=newest)


def _may_write(file: Path) -> bool:
    """Whether the file is there; raises StoreError when it, or what it would be made in, cannot be written."""
    folder = next(one for one in file.absolute().parents if one.exists())
    if not folder.is_dir():
        raise StoreError(f"store.url: {folder} is a file, not a folder: name a file in a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"store.url: no right to write into {folder}: give it to the user that runs control")
    if not file.exists():
        return False
    if not file.is_file() or not os.access(file, os.R_OK | os.W_OK):
        raise StoreError(f"store.url: {file} is not a file that this user may read and write")
    return True


def _check_rights(connection: Connection, *, is_newest: bool) -> None:
    if connection.execute(text("SELECT pg_is_in_recovery()")).scalar_one():
        raise StoreError("store.url: this PostgreSQL is a standby and takes no writes: name the primary")
    may_create = "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    if not is_newest and not connection.execute(text(may_create)).scalar_one():
        raise StoreError("store.url: this user may not make tables: GRANT CREATE ON SCHEMA public TO it, or own one")


def migrate(database: Database) -> tuple[str | None, str]:
    """Run what is missing in one transaction under a lock; the revisions before (None: empty) and after.

    Raises:
        StoreError: the database cannot be asked, or is of a newer version of Headrace than this one.
    """
    config = schema_config()
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


def schema_config() -> Config:
    """Where alembic finds the migrations."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
