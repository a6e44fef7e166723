"""The store on SQLAlchemy Core: SQLite by default, PostgreSQL by URL. The only reader and writer of the database."""

from headrace.control.adapters.database import Database
from headrace.control.adapters.migrate import migrate
from headrace.control.adapters.store_catalog import SqlCatalog
from headrace.control.adapters.store_fill import SqlFillOrders
from headrace.control.adapters.store_fleet import SqlFleet
from headrace.control.adapters.store_holdings import SqlHoldings
from headrace.control.adapters.store_maintenance import SqlMaintenance
from headrace.control.adapters.store_records import SqlRecords
from headrace.control.adapters.store_routes import SqlRoutes
from headrace.control.adapters.store_tokens import SqlTokens


class SqlStore(SqlFleet, SqlMaintenance, SqlFillOrders, SqlHoldings, SqlCatalog, SqlTokens, SqlRoutes, SqlRecords):
    """All questions on one database."""

    def close(self) -> None:
        self._database.close()


def open_store(url: str) -> SqlStore:
    """Connect and bring the schema up to date.

    Raises:
        StoreError: the database cannot be asked, or is newer than this program.
    """
    database = Database(url)
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    return SqlStore(database)
