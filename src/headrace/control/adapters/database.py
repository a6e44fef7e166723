"""Connections and transactions on SQLite or PostgreSQL. Foreign errors become StoreError here and nowhere else.

SQLite: write-ahead log, foreign keys, one writer at a time in this process (its own waiting polls with sleeps), write
transactions take the lock at their start so that they cannot fail half-way. PostgreSQL: read committed; row locks and
compare-and-set give the order.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, Engine, Executable, Table, create_engine, event, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as QueuePoolTimeout

from headrace.base.clock import SystemClock
from headrace.control.adapters.outage import Outage
from headrace.control.adapters.tables import counters, events
from headrace.control.errors import StoreAwayError, StoreError
from headrace.control.model import NewEvent

BUSY_TIMEOUT_S = 10
"""How long a write waits for another process's write (SQLite) or for a lock or a connection (PostgreSQL)."""


_AWAY = (OperationalError, InterfaceError, InternalError, QueuePoolTimeout)
"""No connection, no room, no lock in time, a standby: nothing that asking otherwise would mend."""


class Database:
    """One database, for many threads."""

    def __init__(self, url: str, *, is_looking: bool = False) -> None:
        """Connect later, when it is first asked.

        Args:
            is_looking: for `reading` only; a SQLite file that is not there is neither made nor opened.

        Raises:
            StoreError: the URL or the file cannot be used.
        """
        parsed = _parse(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._outage = Outage(SystemClock())
        self.file = Path(str(parsed.database)) if self.is_sqlite else None
        self._write_lock = threading.Lock() if self.is_sqlite else nullcontext()
        if self.file is not None and is_looking:
            self._durable = self._relaxed = _sqlite_reader(self.file)
            return
        self._durable = _sqlite_engine(parsed, "FULL") if self.is_sqlite else _postgres_engine(parsed)
        self._relaxed = _sqlite_engine(parsed, "NORMAL") if self.is_sqlite else self._durable

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads: one consistent view on SQLite, statement by statement on PostgreSQL."""
        with self._asking(), self._durable.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self, *, is_durable: bool = True) -> Iterator[Connection]:
        """A write transaction. `is_durable` False: a power cut (not a kill) may lose the last ones."""
        engine = self._durable if is_durable else self._relaxed
        with self._asking(), self._write_lock, engine.connect() as plain:
            connection = plain.execution_options(headrace_writes=True)
            with connection.begin():
                if not is_durable and not self.is_sqlite:
                    connection.execute(text("SET LOCAL synchronous_commit TO off"))
                yield connection

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            words = f"{type(cause).__name__}: {_first_line(cause)}"
            if not isinstance(error, _AWAY):
                raise StoreError(f"the store could not be asked: {words}") from error
            self._outage.note_failure(words)
            mend = "check store.url and that the database runs"
            raise StoreAwayError(f"the store could not be asked: {words}; {mend}") from error
        self._outage.note_answer()

    def close(self) -> None:
        """Close all connections; leaves SQLite's write-ahead log folded in."""
        self._durable.dispose()
        self._relaxed.dispose()


def changed_rows(connection: Connection, statement: Executable, values: Mapping[str, Any] | None = None) -> int:
    """Run an INSERT, UPDATE or DELETE and count the rows that it touched: 0 is a lost compare-and-set."""
    result = cast("CursorResult[Any]", connection.execute(statement, values))
    return int(result.rowcount)


def insert_if_absent(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """INSERT that leaves a row of the same key alone. True when it inserted."""
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(*table.primary_key.columns)).first() is not None


def put_row(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    """INSERT or replace the row of the same primary key."""
    dialect: Any = sqlite if connection.dialect.name == "sqlite" else postgresql
    keys = [column.name for column in table.primary_key.columns]
    rest = {name: value for name, value in values.items() if name not in keys}
    connection.execute(dialect.insert(table).values(**values).on_conflict_do_update(index_elements=keys, set_=rest))


def bump(connection: Connection, name: str, by: int = 1) -> int:
    """Add to a counter and give its new value. Its row stays locked until the transaction ends, so that values become
    visible in their order; who needs several takes them in the order file_no, topics, event (`finish` does)."""
    statement = update(counters).where(counters.c.name == name).values(value=counters.c.value + by)
    return int(connection.execute(statement.returning(counters.c.value)).scalar_one())


def finish(connection: Connection, topic: str | None, new: NewEvent | None, now_s: float) -> None:
    """The last step of a change: its topic's counter grows and its event is written."""
    if topic is not None:
        bump(connection, topic)
    if new is not None:
        write_event(connection, new, now_s)


def write_event(connection: Connection, new: NewEvent, now_s: float) -> int:
    """Append an event under the next id."""
    return write_events(connection, [new], now_s)


def write_events(connection: Connection, new: Sequence[NewEvent], now_s: float) -> int:
    """Append events under the next ids; gives the last id."""
    last_id = bump(connection, "event", len(new))
    rows = [
        {
            "event_id": event_id,
            "at_s": now_s,
            "actor": one.actor,
            "kind": one.kind,
            "subject": one.subject,
            "reason": one.reason,
            "detail": one.detail,
        }
        for event_id, one in enumerate(new, last_id - len(new) + 1)
    ]
    connection.execute(events.insert(), rows)
    return last_id


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError("store.url is not a database URL: write sqlite:///FILE or postgresql+psycopg://...") from None
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise StoreError(f"store.url: {parsed.drivername!r} is not supported: use sqlite or postgresql+psycopg")
    if parsed.drivername == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StoreError("store.url: a file is needed, sqlite:///FILE; several threads share it")
    return parsed


def _postgres_engine(url: URL) -> Engine:
    options = f"-c statement_timeout=30s -c lock_timeout={BUSY_TIMEOUT_S}s -c idle_in_transaction_session_timeout=60s"
    return create_engine(
        url,
        pool_size=8,
        max_overflow=32,
        pool_timeout=BUSY_TIMEOUT_S,
        pool_pre_ping=True,
        connect_args={"connect_timeout": 5, "options": options},
    )


def _sqlite_engine(url: URL, synchronous: str) -> Engine:
    _make_private_file(Path(str(url.database)))
    engine = create_engine(url, pool_size=8, max_overflow=32, connect_args={"timeout": BUSY_TIMEOUT_S})

    def connected(raw: sqlite3.Connection, _record: object) -> None:
        raw.isolation_level = None  # the driver must not begin transactions by itself: `begun` does
        for pragma in ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON"):
            raw.execute(f"PRAGMA {pragma}")

    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("headrace_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _sqlite_reader(path: Path) -> Engine:
    name = f"{path.absolute().as_uri()}?mode=ro"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(name, uri=True, timeout=BUSY_TIMEOUT_S))


def _make_private_file(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"cannot open the database file {path}: {error.strerror}") from None
