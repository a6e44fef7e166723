"""What sessions announced and withdrew since some time: tables of the past against those that count now."""

from collections.abc import Iterator
from dataclasses import dataclass

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
from headrace.routes.view import RoutesView


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SessionChanges:
    """What changed in one session's table."""

    site_id: str
    appliance_id: ApplianceId
    session_id: str
    since_s: float | None
    """Since when the table that was compared was in force; None: the session is younger."""
    changes: TableChanges

    def rows(self) -> Iterator[ChangeRow]:
        """Each route that differs."""
        where = {"site_id": self.site_id, "appliance_id": self.appliance_id, "session_id": self.session_id}
        changes = self.changes
        for kind, columns in (
            (ChangeKind.ANNOUNCED, changes.announced),
            (ChangeKind.WITHDRAWN, changes.withdrawn),
            (ChangeKind.CHANGED, changes.changed),
        ):
            yield from show_changes(kind, columns, **where)


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
            )


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
