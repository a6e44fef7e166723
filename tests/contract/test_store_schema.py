"""The store's tables on SQLite and on PostgreSQL: migrations, names, databases that are not ours or not there."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from headrace.control.adapters.database import Database
from headrace.control.adapters.migrate import migrate
from headrace.control.adapters.store import SqlStore, open_store
from headrace.control.adapters.tables import metadata
from headrace.control.errors import StoreError
from headrace.control.testing_store import at_once


class TestSchema:
    def test_migrations_give_the_tables_of_the_code(self, url: str, store: SqlStore) -> None:
        database = Database(url)
        with database.reading() as connection:
            found = compare_metadata(MigrationContext.configure(connection), metadata)
        assert found == []
        before, newest = migrate(database)
        assert before == newest
        database.close()

    def test_many_nodes_that_start_at_once_migrate_once(self, url: str) -> None:
        opened = at_once([lambda: open_store(url)] * 4)
        assert [type(one) for one in opened] == [SqlStore] * 4
        assert opened[0].versions().events == 0
        for one in opened:
            one.close()

    def test_a_store_has_a_name_of_its_own(self, url: str, store: SqlStore, other: SqlStore, tmp_path: Path) -> None:
        assert len(store.control_id()) == 32
        assert other.control_id() == store.control_id()
        rebuilt = open_store(f"sqlite:///{tmp_path}/rebuilt.db")
        assert rebuilt.control_id() != store.control_id()
        rebuilt.close()

    def test_a_newer_database_is_refused(self, url: str, store: SqlStore) -> None:
        database = Database(url)
        with database.writing() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(StoreError, match="9999"):
            migrate(database)
        database.close()

    @pytest.mark.parametrize("bad", ["mysql://x/y", "nonsense", "sqlite://", "sqlite:////proc/nowhere/x.db"])
    def test_a_bad_url_is_named(self, bad: str) -> None:
        with pytest.raises(StoreError, match=r"store\.url|cannot open"):
            open_store(bad)

    def test_a_dead_database_is_a_store_error(self) -> None:
        with pytest.raises(StoreError, match="could not be asked"):
            open_store("postgresql+psycopg://postgres@127.0.0.1:1/x")
