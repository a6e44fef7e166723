"""Identity, events, counters, leases, notes and the compiled snapshot in the database."""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, insert, select, update

from headrace.control.adapters.database import Database, changed_rows, insert_if_absent, put_row, write_event
from headrace.control.adapters.tables import counters, events, identity, leases, notes, snapshots
from headrace.control.model import Lease, NewEvent, StoredSnapshot, Versions
from headrace.wire.operator import EventView

_SNAPSHOT = "steering"
_UNUSED_KEPT = 20
"""A part that no snapshot names is kept for so many snapshots: steering nodes may still ask for it."""


class SqlRecords:
    """RecordStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def control_id(self) -> str:
        with self._database.reading() as connection:
            return str(connection.execute(select(identity.c.control_id)).scalar_one())

    def versions(self) -> Versions:
        with self._database.reading() as connection:
            values = {row.name: row.value for row in connection.execute(select(counters)).all()}
        return Versions(
            fleet=values["fleet"],
            titles=values["titles"],
            holdings=values["holdings"],
            plans=values["plans"],
            events=values["event"],
        )

    def append_event(self, event: NewEvent, *, now_s: float) -> int:
        with self._database.writing() as connection:
            return write_event(connection, event, now_s)

    def events(self, *, after: int = 0, limit: int = 100) -> tuple[EventView, ...]:
        query = select(events).where(events.c.event_id > after).order_by(events.c.event_id).limit(limit)
        with self._database.reading() as connection:
            return tuple(EventView(**row) for row in connection.execute(query).mappings())

    def drop_events(self, *, keep: int) -> int:
        newest = select(counters.c.value).where(counters.c.name == "event").scalar_subquery()
        with self._database.writing() as connection:
            return changed_rows(connection, delete(events).where(events.c.event_id <= newest - keep))

    def take_lease(self, name: str, holder: str, *, duration_s: float, now_s: float) -> Lease | None:
        row = {"name": name, "holder": holder, "expires_at_s": now_s + duration_s}
        free = (leases.c.name == name) & ((leases.c.holder == holder) | (leases.c.expires_at_s <= now_s))
        with self._database.writing(is_durable=False) as connection:
            taken = changed_rows(connection, update(leases).where(free).values(**row))
            is_mine = bool(taken) or insert_if_absent(connection, leases, row)
        return Lease(name=name, holder=holder, expires_at_s=now_s + duration_s) if is_mine else None

    def give_up_lease(self, name: str, holder: str) -> None:
        with self._database.writing(is_durable=False) as connection:
            connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))

    def put_note(self, key: str, text: str, *, now_s: float) -> None:
        with self._database.writing(is_durable=False) as connection:
            put_row(connection, notes, {"key": key, "at_s": now_s, "text": text})

    def notes(self, prefix: str, *, since_s: float = 0.0) -> Mapping[str, str]:
        query = select(notes.c.key, notes.c.text).where(notes.c.key.startswith(prefix, autoescape=True))
        with self._database.reading() as connection:
            rows = connection.execute(query.where(notes.c.at_s >= since_s)).all()
        return {row.key: row.text for row in rows}

    def drop_notes(self, prefix: str, *, before_s: float) -> None:
        old = notes.c.key.startswith(prefix, autoescape=True) & (notes.c.at_s < before_s)
        with self._database.writing(is_durable=False) as connection:
            connection.execute(delete(notes).where(old))

    def snapshot(self) -> StoredSnapshot | None:
        with self._database.reading() as connection:
            row = connection.execute(select(snapshots).where(snapshots.c.name == _SNAPSHOT)).first()
        return None if row is None else StoredSnapshot(version=row.version, etag=row.etag, packed=bytes(row.packed))

    def snapshot_etag(self) -> tuple[int, str] | None:
        query = select(snapshots.c.version, snapshots.c.etag).where(snapshots.c.name == _SNAPSHOT)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else (row.version, row.etag)

    def save_snapshot(self, new: StoredSnapshot, *, expected_version: int) -> bool:
        row = {"version": new.version, "etag": new.etag, "packed": new.packed}
        mine = (snapshots.c.name == _SNAPSHOT) & (snapshots.c.version == expected_version)
        names = {_part_name(digest): body for digest, body in new.parts.items()}
        with self._database.writing() as connection:
            if expected_version == 0:
                is_saved = insert_if_absent(connection, snapshots, {"name": _SNAPSHOT, **row})
            else:
                is_saved = changed_rows(connection, update(snapshots).where(mine).values(**row)) == 1
            if is_saved:
                _save_parts(connection, names)
            return is_saved

    def snapshot_part(self, digest: str) -> bytes | None:
        query = select(snapshots.c.packed).where(snapshots.c.name == _part_name(digest))
        with self._database.reading() as connection:
            body = connection.execute(query).scalar_one_or_none()
        return None if body is None else bytes(body)


def _part_name(digest: str) -> str:
    return f"p/{digest[:30]}"


def _save_parts(connection: Connection, names: Mapping[str, bytes]) -> None:
    """Write the parts that are new; unused ones go after a while, as readers may still ask."""
    old = connection.execute(select(snapshots.c.name, snapshots.c.version, snapshots.c.etag)).all()
    known = {row.name: row for row in old if row.name != _SNAPSHOT}
    for name, body in names.items():
        if name not in known:
            connection.execute(insert(snapshots).values(name=name, version=0, etag="", packed=body))
    for name, row in known.items():
        mine = snapshots.c.name == name
        if name not in names and row.version >= _UNUSED_KEPT:
            connection.execute(delete(snapshots).where(mine))
        elif row.version != (unused := 0 if name in names else row.version + 1):
            connection.execute(update(snapshots).where(mine).values(version=unused))
