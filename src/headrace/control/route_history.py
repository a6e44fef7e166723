"""What sessions announced and withdrew since some time: tables of the past against those that count now; and when."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import ApplianceId
from headrace.control.ports import RouteStore
from headrace.control.routes import PastTable
from headrace.routes.effective import (
    JudgedTable,
    TableChanges,
    chunks_to_read,
    compare_tables,
    empty_table,
    judge_table,
)
from headrace.routes.listing import picked_sessions, show_changes
from headrace.routes.model import RouteError
from headrace.routes.reports import ChangeKind, ChangeRow, Network, Pick
from headrace.routes.times import read_times
from headrace.routes.view import HeardSession, RoutesView


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionChanges:
    """What changed in one session's table."""

    site_id: str
    appliance_id: ApplianceId
    session_id: str
    since_s: float | None
    """Since when the table that was compared was in force; None: the session is younger."""
    changes: TableChanges
    learned_s: NDArray[np.uint32] | None
    """Of the routes that count now."""

    def rows(self) -> Iterator[ChangeRow]:
        """Each route that differs."""
        where = {"site_id": self.site_id, "appliance_id": self.appliance_id, "session_id": self.session_id}
        changes = self.changes
        for kind, columns, rows in (
            (ChangeKind.ANNOUNCED, changes.announced, changes.announced_rows),
            (ChangeKind.WITHDRAWN, changes.withdrawn, None),
            (ChangeKind.CHANGED, changes.changed, changes.changed_rows),
        ):
            learned_s = None if self.learned_s is None or rows is None else self.learned_s[rows]
            yield from show_changes(kind, columns, learned_s, **where)


def read_changes(
    store: RouteStore, view: RoutesView, network: Network, pick: Pick, *, since_s: float
) -> Iterator[SessionChanges]:
    """Sessions whose table differs from the one at `since_s`; the history says how exactly that is known."""
    past = {(one.appliance_id, one.session_id): one for one in store.past_tables(at_s=since_s)}
    for site_id, appliance, one in picked_sessions(view, network, pick):
        before = past.get((appliance.appliance_id, one.session.session_id))
        if (before.table_digest if before else "") == one.counting.table.digest:
            continue
        table = _read(store, before, one.counted.table)
        changes = compare_tables(table, one.counted.table)
        if changes.count:
            yield SessionChanges(
                site_id=site_id,
                appliance_id=appliance.appliance_id,
                session_id=one.session.session_id,
                since_s=before.at_s if before else None,
                changes=changes,
                learned_s=read_learned(store, one),
            )


def read_learned(store: RouteStore, one: HeardSession) -> NDArray[np.uint32] | None:
    """When the routes of a session's table were learned, in the order of its rows, in seconds since 1970; None while
    nobody knows it: the appliance runs an older release, or has not sent it yet."""
    table = one.counted.table
    places = store.route_list(one.times) if one.times else None
    if not places:
        return None
    sizes = np.diff(table.ends, prepend=0).tolist()
    rows = {place.number: size for place, size in zip(table.places, sizes, strict=True)}
    try:
        times = read_times(rows, store.chunks([place.digest for place in places]).values())
    except RouteError:
        return None
    return np.concatenate([times[place.number] for place in table.places], dtype=np.uint32)


def _read(store: RouteStore, before: PastTable | None, now: JudgedTable) -> JudgedTable:
    if before is None or not before.table_digest:
        return empty_table(now.family, now.listener, now.judge)
    places = store.route_list(before.table_digest)
    try:
        if places is None:
            raise RouteError("the table is gone")
        return judge_table(places, now, store.chunks(chunks_to_read(places, now)))
    except KeyError:
        raise RouteError("a part of the table is gone") from None
