"""The fleet as operators see it, put together from stored rows. Pure, except for the small memory in FleetViews."""

import threading
from collections.abc import Sequence
from dataclasses import replace

from headrace.base.clock import Clock
from headrace.control.in_force import row_in_force
from headrace.control.loops.memory import is_drained, turn_up_checks
from headrace.control.model import CatalogTotals, FleetRow
from headrace.control.ports import Store
from headrace.fleet.maintenance import MaintenanceWindow, WindowState
from headrace.fleet.model import AdminState, Site
from headrace.wire.operator import ApplianceView, FleetView

FRESH_S = 0.4
"""However many ask, the view is put together at most this often."""


def view_appliance(
    own: FleetRow, windows: Sequence[MaintenanceWindow] = (), *, is_whole: bool = False
) -> ApplianceView:
    """One appliance: wanted, reported, concluded.

    Args:
        own: with the operator's own admin state.
        windows: those that have not ended.
        is_whole: with the turn-up checks also where they have passed.
    """
    row = row_in_force(own, windows)
    is_draining = row.appliance.admin_state is AdminState.DRAINING
    return ApplianceView(
        appliance=row.appliance,
        health=row.health,
        report=row.report.report,
        last_report_s=row.report.received_at_s,
        holdings_count=row.holdings.count,
        holdings_bytes=row.holdings.total_bytes,
        plan_count=row.plan.count,
        plan_bytes=row.plan.total_bytes,
        is_drained=is_draining and is_drained(row.health_memory),
        own_state=own.appliance.admin_state,
        turn_up=turn_up_checks(row.health_memory) if is_whole or not row.health.is_turned_up else (),
        window=_window_of(own, windows),
    )


def _window_of(row: FleetRow, windows: Sequence[MaintenanceWindow]) -> MaintenanceWindow | None:
    """The one that holds it longest, else the next one for it."""
    name = row.appliance.appliance_id
    holding = [one for one in windows if one.is_holding and name in one.members]
    if holding:
        return max(holding, key=lambda one: one.ends_s)
    planned = [one for one in windows if one.state is WindowState.PLANNED and one.covers(row.appliance)]
    return min(planned, key=lambda one: one.starts_s, default=None)


def view_fleet(
    sites: tuple[Site, ...],
    rows: tuple[FleetRow, ...],
    totals: CatalogTotals,
    *,
    windows: Sequence[MaintenanceWindow] = (),
    is_health_held: bool,
    now_s: float,
) -> FleetView:
    """The whole fleet."""
    return FleetView(
        now_s=now_s,
        sites=sites,
        appliances=tuple(view_appliance(row, windows) for row in rows),
        title_count=totals.title_count,
        file_count=totals.file_count,
        total_bytes=totals.total_bytes,
        is_health_held=is_health_held,
    )


class FleetViews:
    """The newest view, shared by all who ask. For many threads; blocks."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._totals: CatalogTotals | None = None
        self._titles_version = -1
        self._view: FleetView | None = None
        self._seen_fleet = -1
        self._made_at_s = 0.0

    def newest(self) -> FleetView:
        """A view not older than FRESH_S, and never older than the last change of a setting or conclusion."""
        with self._lock:
            versions = self._store.versions()
            is_stale = self._clock.monotonic_s() - self._made_at_s >= FRESH_S or versions.fleet != self._seen_fleet
            if self._view is None or is_stale or versions.titles != self._titles_version:
                if self._totals is None or versions.titles != self._titles_version:
                    self._totals = self._store.catalog_totals()
                self._view = view_fleet(
                    self._store.sites(),
                    self._store.fleet(),
                    self._totals,
                    windows=[one.window for one in self._store.windows()],
                    is_health_held=self._store.is_health_held(),
                    now_s=self._clock.now_s(),
                )
                self._made_at_s = self._clock.monotonic_s()
                self._seen_fleet, self._titles_version = versions.fleet, versions.titles
            return replace(self._view, now_s=self._clock.now_s())
