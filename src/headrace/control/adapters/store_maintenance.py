"""Maintenance windows in the database."""

from dataclasses import replace

from sqlalchemy import delete, func, select, update

from headrace.control.adapters.database import Database, bump, changed_rows, finish
from headrace.control.adapters.tables import counters, maintenance
from headrace.control.model import NewEvent, StoredWindow
from headrace.fleet.maintenance import ENDED, MaintenanceWindow
from headrace.wire.codec import decode, encode

_COUNTER = "maintenance"


class SqlMaintenance:
    """MaintenanceStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def windows(self, *, with_ended: bool = False) -> tuple[StoredWindow, ...]:
        query = select(maintenance.c.body, maintenance.c.version).order_by(maintenance.c.number)
        if not with_ended:
            query = query.where(maintenance.c.has_ended.is_(False))
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(StoredWindow(window=decode(MaintenanceWindow, row.body), version=row.version) for row in rows)

    def windows_version(self) -> int:
        query = select(counters.c.value).where(counters.c.name == _COUNTER)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def add_window(
        self, window: MaintenanceWindow, *, expected: int, event: NewEvent, now_s: float
    ) -> StoredWindow | None:
        with self._database.writing() as connection:
            seen = (counters.c.name == _COUNTER) & (counters.c.value == expected)
            if not changed_rows(connection, update(counters).where(seen).values(value=expected + 1)):
                return None
            highest = connection.execute(select(func.max(maintenance.c.number))).scalar_one_or_none() or 0
            number = max(int(highest) + 1, expected + 1)  # numbers of forgotten windows are not given again
            new = replace(window, window_id=f"w{number}")
            connection.execute(maintenance.insert().values(number=number, version=1, **_columns(new)))
            finish(connection, "fleet", replace(event, subject=f"maintenance/{new.window_id}"), now_s)
        return StoredWindow(window=new, version=1)

    def save_window(
        self, window: MaintenanceWindow, *, expected_version: int, event: NewEvent | None, now_s: float
    ) -> bool:
        number = int(window.window_id.removeprefix("w"))
        mine = (maintenance.c.number == number) & (maintenance.c.version == expected_version)
        changed = update(maintenance).where(mine).values(version=expected_version + 1, **_columns(window))
        with self._database.writing() as connection:
            bump(connection, _COUNTER)
            if not changed_rows(connection, changed):
                return False
            finish(connection, "fleet", event, now_s)
        return True

    def drop_windows(self, *, ended_before_s: float) -> int:
        old = maintenance.c.has_ended.is_(True) & (maintenance.c.ends_s < ended_before_s)
        with self._database.writing() as connection:
            return changed_rows(connection, delete(maintenance).where(old))


def _columns(window: MaintenanceWindow) -> dict[str, object]:
    return {"has_ended": window.state in ENDED, "ends_s": window.ends_s, "body": encode(window).decode()}
