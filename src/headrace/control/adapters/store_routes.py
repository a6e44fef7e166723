"""Heard routes in the database: sessions, tables as lists of chunks, chunks by digest, tables of the past.

Who writes a list, or drops what nobody refers to, holds the row of the counter `routes` for the length of its
transaction: so nothing is dropped that a list written at the same moment refers to.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from sqlalchemy import Connection, RowMapping, delete, func, select, update
from sqlalchemy.sql.elements import ColumnElement

from headrace.base.ids import ApplianceId
from headrace.control.adapters.database import (
    Database,
    bump,
    changed_rows,
    insert_if_absent,
    put_row,
    write_events,
)
from headrace.control.adapters.route_tables import (
    route_chunks,
    route_flaps,
    route_history,
    route_lists,
    route_sessions,
    route_speakers,
    route_uploads,
)
from headrace.control.adapters.tables import appliances, counters
from headrace.control.routes import (
    MOST_UNFINISHED,
    PastTable,
    StoredSession,
    StoredSpeaker,
    Swept,
    Taken,
    check_chunk_room,
    pack_places,
    read_places,
)
from headrace.routes.effective import ChunkPlace
from headrace.routes.model import Session
from headrace.routes.retention import TableRef, Told
from headrace.wire.codec import decode, encode

T = TypeVar("T", bound=str)

_AT_ONCE = 500
"""Values in one IN list."""


class SqlRoutes:
    """RouteStore on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes_version(self) -> int:
        with self._database.reading() as connection:
            return int(connection.execute(select(counters.c.value).where(counters.c.name == "routes")).scalar_one())

    def speaker(self, appliance_id: ApplianceId) -> StoredSpeaker | None:
        with self._database.reading() as connection:
            known = select(appliances.c.appliance_id).where(appliances.c.appliance_id == appliance_id)
            if connection.execute(known).first() is None:
                return None
            found = _speakers(connection, [appliance_id])
        return found[0] if found else StoredSpeaker(appliance_id=appliance_id)

    def speaker_versions(self) -> Mapping[ApplianceId, int]:
        with self._database.reading() as connection:
            rows = connection.execute(select(route_speakers.c.appliance_id, route_speakers.c.version)).all()
        return {ApplianceId(row.appliance_id): row.version for row in rows}

    def speakers(self, appliance_ids: Sequence[ApplianceId]) -> tuple[StoredSpeaker, ...]:
        with self._database.reading() as connection:
            parts = [_speakers(connection, part) for part in _parts(appliance_ids)]
        return tuple(one for part in parts for one in part)

    def save_speaker(
        self, new: Taken, *, expected_boot_id: str, expected_sequence: int, history_step_s: float, now_s: float
    ) -> bool:
        speaker = new.speaker
        name = speaker.appliance_id
        with self._database.writing(is_durable=new.has_changed) as connection:
            version = bump(connection, "routes", 1 if new.has_changed else 0)
            row = {
                "boot_id": speaker.boot_id,
                "sequence": speaker.sequence,
                "past_boots": json.dumps(speaker.past_boots),
                "heard_at_s": now_s,
            }
            if new.has_changed:
                row["version"] = version
            if expected_boot_id:
                mine = (
                    (route_speakers.c.appliance_id == name)
                    & (route_speakers.c.boot_id == expected_boot_id)
                    & (route_speakers.c.sequence == expected_sequence)
                )
                is_mine = changed_rows(connection, update(route_speakers).where(mine).values(**row)) == 1
            else:
                known = select(appliances.c.appliance_id).where(appliances.c.appliance_id == name).with_for_update()
                first = {"appliance_id": name, "version": version, **row}
                is_known = connection.execute(known).first() is not None
                is_mine = is_known and insert_if_absent(connection, route_speakers, first)
            if not is_mine:
                return False
            if new.has_changed:
                _write_sessions(connection, speaker)
                _write_history(connection, new, history_step_s, now_s)
            if new.events:
                write_events(connection, new.events, now_s)
        return True

    def whole_lists(self, digests: Iterable[str]) -> dict[str, int]:
        wanted = sorted(set(digests) - {""})
        is_here = route_lists.c.table_digest.in_(wanted) & route_lists.c.is_whole
        if not wanted:
            return {}
        with self._database.reading() as connection:
            rows = connection.execute(select(route_lists.c.table_digest, route_lists.c.routes).where(is_here)).all()
        return {row.table_digest: row.routes for row in rows}

    def put_list(
        self, digest: str, places: Sequence[ChunkPlace], *, by: ApplianceId, now_s: float
    ) -> tuple[str, ...] | None:
        row = {
            "table_digest": digest,
            "places": pack_places(places),
            "routes": 0,
            "is_whole": False,
            "used_at_s": now_s,
        }
        with self._database.writing() as connection:
            bump(connection, "routes", 0)
            known = select(appliances.c.appliance_id).where(appliances.c.appliance_id == by)
            if connection.execute(known).first() is None:
                return None
            insert_if_absent(connection, route_lists, row)
            missing = _finish_list(connection, digest, places, now_s)
            if missing:
                put_row(connection, route_uploads, {"appliance_id": by, "table_digest": digest, "at_s": now_s})
                _bound_uploads(connection, by)
        return missing

    def wanted_chunks(self, digests: Iterable[str], *, by: ApplianceId) -> tuple[str, ...]:
        with self._database.reading() as connection:
            named = {place.digest for places in _sending(connection, by).values() for place in places}
            wanted = sorted(named & set(digests))
            for part in _parts(wanted):
                query = select(route_chunks.c.digest).where(route_chunks.c.digest.in_(part))
                named.difference_update(connection.execute(query).scalars())
        return tuple(digest for digest in wanted if digest in named)

    def put_chunks(self, chunks: Mapping[str, tuple[bytes, int]], *, by: ApplianceId, now_s: float) -> int:
        with self._database.writing() as connection:
            bump(connection, "routes", 0)
            lists = _sending(connection, by)
            named = {place.digest for places in lists.values() for place in places}
            taken = sorted(named & chunks.keys())
            for digest in taken:
                packed, routes = chunks[digest]
                size = {"packed_bytes": len(packed), "routes": routes, "added_at_s": now_s}
                insert_if_absent(connection, route_chunks, {"digest": digest, "packed": packed, **size})
            for digest, places in lists.items():
                if not {place.digest for place in places}.isdisjoint(taken):
                    _finish_list(connection, digest, places, now_s)
        return len(taken)

    def route_list(self, digest: str) -> tuple[ChunkPlace, ...] | None:
        return self.route_lists([digest]).get(digest)

    def route_lists(self, digests: Sequence[str]) -> Mapping[str, tuple[ChunkPlace, ...]]:
        found: dict[str, tuple[ChunkPlace, ...]] = {}
        query = select(route_lists.c.table_digest, route_lists.c.places).where(route_lists.c.is_whole)
        with self._database.reading() as connection:
            for part in _parts(digests):
                rows = connection.execute(query.where(route_lists.c.table_digest.in_(part))).all()
                found.update({row.table_digest: read_places(bytes(row.places)) for row in rows})
        return found

    def chunks(self, digests: Sequence[str]) -> Mapping[str, bytes]:
        found: dict[str, bytes] = {}
        with self._database.reading() as connection:
            for part in _parts(digests):
                query = select(route_chunks.c.digest, route_chunks.c.packed).where(route_chunks.c.digest.in_(part))
                found.update({row.digest: bytes(row.packed) for row in connection.execute(query).all()})
        return found

    def flaps(self) -> Mapping[tuple[ApplianceId, str], bytes]:
        with self._database.reading() as connection:
            rows = connection.execute(select(route_flaps)).all()
        return {(ApplianceId(row.appliance_id), row.session_id): bytes(row.packed) for row in rows}

    def save_flaps(self, flaps: Mapping[tuple[ApplianceId, str], bytes]) -> None:
        before = self.flaps()
        if before == flaps:
            return
        with self._database.writing(is_durable=False) as connection:
            known = set(connection.execute(select(appliances.c.appliance_id)).scalars())
            for name, session_id in before.keys() - flaps.keys():
                is_gone = (route_flaps.c.appliance_id == name) & (route_flaps.c.session_id == session_id)
                connection.execute(delete(route_flaps).where(is_gone))
            for (name, session_id), packed in flaps.items():
                if name in known and before.get((name, session_id)) != packed:
                    row = {"appliance_id": name, "session_id": session_id, "packed": packed}
                    put_row(connection, route_flaps, row)

    def past_tables(self, *, at_s: float) -> tuple[PastTable, ...]:
        newest = (
            select(
                route_history.c.appliance_id,
                route_history.c.session_id,
                func.max(route_history.c.at_s).label("at_s"),
            )
            .where(route_history.c.at_s <= at_s)
            .group_by(route_history.c.appliance_id, route_history.c.session_id)
            .subquery()
        )
        is_same = (
            (route_history.c.appliance_id == newest.c.appliance_id)
            & (route_history.c.session_id == newest.c.session_id)
            & (route_history.c.at_s == newest.c.at_s)
        )
        with self._database.reading() as connection:
            rows = connection.execute(select(route_history).join(newest, is_same)).mappings().all()
        return tuple(PastTable(**{**row, "appliance_id": ApplianceId(row["appliance_id"])}) for row in rows)

    def sweep_routes(self, *, unused_since_s: float, history_since_s: float) -> Swept:
        with self._database.writing(is_durable=False) as connection:
            bump(connection, "routes", 0)
            _drop_history(connection, history_since_s)
            connection.execute(delete(route_uploads).where(route_uploads.c.at_s < unused_since_s))
            in_use = (
                select(route_sessions.c.table_digest)
                .union(
                    select(route_sessions.c.kept_digest),
                    select(route_sessions.c.table_times),
                    select(route_sessions.c.kept_times),
                    select(route_history.c.table_digest),
                    select(route_uploads.c.table_digest),
                )
                .subquery()
            )
            is_unused = route_lists.c.table_digest.not_in(select(in_use.c.table_digest))
            old = delete(route_lists).where(is_unused, route_lists.c.used_at_s < unused_since_s)
            dropped_lists = changed_rows(connection, old)
            old_chunks = select(route_chunks.c.digest).where(route_chunks.c.added_at_s < unused_since_s)
            unnamed = set(connection.execute(old_chunks).scalars())
            if unnamed:
                for row in connection.execute(select(route_lists.c.places)).yield_per(100):
                    unnamed.difference_update(place.digest for place in read_places(bytes(row.places)))
            for part in _parts(sorted(unnamed)):
                connection.execute(delete(route_chunks).where(route_chunks.c.digest.in_(part)))
        return Swept(tables=dropped_lists, chunks=len(unnamed))


def _sending(connection: Connection, by: ApplianceId) -> dict[str, tuple[ChunkPlace, ...]]:
    """The lists whose chunks an appliance is sending."""
    query = (
        select(route_lists.c.table_digest, route_lists.c.places)
        .join(route_uploads, route_uploads.c.table_digest == route_lists.c.table_digest)
        .where(route_uploads.c.appliance_id == by, ~route_lists.c.is_whole)
    )
    return {row.table_digest: read_places(bytes(row.places)) for row in connection.execute(query).all()}


def _speakers(connection: Connection, names: Sequence[ApplianceId]) -> tuple[StoredSpeaker, ...]:
    heads = connection.execute(select(route_speakers).where(route_speakers.c.appliance_id.in_(names))).mappings().all()
    query = select(route_sessions).where(route_sessions.c.appliance_id.in_(names))
    rows = connection.execute(query.order_by(route_sessions.c.session_id)).mappings().all()
    sessions: dict[str, list[StoredSession]] = {}
    for row in rows:
        sessions.setdefault(row["appliance_id"], []).append(_stored_session(row))
    return tuple(
        StoredSpeaker(
            appliance_id=ApplianceId(head["appliance_id"]),
            boot_id=head["boot_id"],
            sequence=head["sequence"],
            past_boots=tuple(json.loads(head["past_boots"])),
            heard_at_s=head["heard_at_s"],
            version=head["version"],
            sessions=tuple(sessions.get(head["appliance_id"], ())),
        )
        for head in heads
    )


def _stored_session(row: RowMapping) -> StoredSession:
    session = decode(Session, row["body"])
    told = Told(
        state=session.state,
        changed_s=row["changed_s"],
        table=TableRef(digest=row["table_digest"], routes=row["table_routes"], times=row["table_times"]),
        kept=TableRef(digest=row["kept_digest"], routes=row["kept_routes"], times=row["kept_times"]),
    )
    return StoredSession(session=session, told=told)


def _write_sessions(connection: Connection, speaker: StoredSpeaker) -> None:
    name = speaker.appliance_id
    names = [one.session.session_id for one in speaker.sessions]
    gone = (route_sessions.c.appliance_id == name) & route_sessions.c.session_id.not_in(names)
    connection.execute(delete(route_sessions).where(gone))
    for one in speaker.sessions:
        row = {
            "appliance_id": name,
            "session_id": one.session.session_id,
            "body": encode(one.session).decode(),
            "changed_s": one.told.changed_s,
            "table_digest": one.told.table.digest,
            "table_routes": one.told.table.routes,
            "kept_digest": one.told.kept.digest,
            "kept_routes": one.told.kept.routes,
            "table_times": one.told.table.times,
            "kept_times": one.told.kept.times,
        }
        put_row(connection, route_sessions, row)


def _write_history(connection: Connection, new: Taken, step_s: float, now_s: float) -> None:
    name = new.speaker.appliance_id
    for session_id, digest in new.new_tables:
        mine = (route_history.c.appliance_id == name) & (route_history.c.session_id == session_id)
        last_s = connection.execute(select(func.max(route_history.c.at_s)).where(mine)).scalar_one_or_none()
        if last_s is None or now_s - last_s >= step_s:
            key = {"appliance_id": name, "session_id": session_id, "at_s": now_s}
            put_row(connection, route_history, {**key, "table_digest": digest})


def _finish_list(connection: Connection, digest: str, places: Sequence[ChunkPlace], now_s: float) -> tuple[str, ...]:
    """Note that a list is used, and that it is whole when all its chunks are there; those that are not.

    Raises:
        RouteError: together they are too large.
    """
    known: dict[str, int] = {}
    size = 0
    for part in _parts([place.digest for place in places]):
        query = select(route_chunks.c.digest, route_chunks.c.routes, route_chunks.c.packed_bytes)
        for row in connection.execute(query.where(route_chunks.c.digest.in_(part))).all():
            known[row.digest] = row.routes
            size += row.packed_bytes
    check_chunk_room(size)
    missing = tuple(place.digest for place in places if place.digest not in known)
    values = {"used_at_s": now_s, "is_whole": not missing}
    if not missing:
        values["routes"] = sum(known[place.digest] for place in places)
        connection.execute(delete(route_uploads).where(route_uploads.c.table_digest == digest))
    connection.execute(update(route_lists).where(route_lists.c.table_digest == digest).values(**values))
    return missing


def _bound_uploads(connection: Connection, by: ApplianceId) -> None:
    mine = route_uploads.c.appliance_id == by
    newest = select(route_uploads.c.table_digest).where(mine).order_by(route_uploads.c.at_s.desc())
    too_many = connection.execute(newest.offset(MOST_UNFINISHED)).scalars().all()
    if too_many:
        connection.execute(delete(route_uploads).where(mine, route_uploads.c.table_digest.in_(too_many)))


def _drop_history(connection: Connection, since_s: float) -> None:
    """All that is older, but for the newest of each session: it says what was in force at that time."""
    later = route_history.alias()
    is_followed = (
        select(later.c.at_s)
        .where(
            later.c.appliance_id == route_history.c.appliance_id,
            later.c.session_id == route_history.c.session_id,
            later.c.at_s > route_history.c.at_s,
            later.c.at_s <= since_s,
        )
        .exists()
    )
    is_old: ColumnElement[bool] = route_history.c.at_s < since_s
    connection.execute(delete(route_history).where(is_old, is_followed))


def _parts(values: Sequence[T]) -> Iterable[list[T]]:
    for start in range(0, len(values), _AT_ONCE):
        yield list(values[start : start + _AT_ONCE])
