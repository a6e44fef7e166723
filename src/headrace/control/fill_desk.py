"""Answers about fills: sources of single files for agents, progress and forecasts for operators.

Puts stored rows and sets together for the decisions of `headrace.fill`; remembers one state of the fleet for a moment,
for all who ask. For many threads; blocks.
"""

import threading
from dataclasses import replace

from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.control.fill_progress import Look, arrange, view_site
from headrace.control.loops.desiring import candidate_of
from headrace.control.loops.filling import FILLING_STATES
from headrace.control.loops.reading import StoreReader
from headrace.control.loops.settings import FleetSettings
from headrace.control.model import FleetRow
from headrace.control.ports import Store
from headrace.fill.per_file import Holder, Rankings, rank_files
from headrace.fill.sources import Candidate, nearest_sites, route_cost, subnet_of
from headrace.fleet.model import AdminState, FillState
from headrace.wire.fill import FillView

FRESH_S = 1.0
_NOTHING = FileSet()
_PAUSES = 5
"""A look at a large fleet takes long; it is taken at most one part in so many of the time."""


class FillDesk:
    """The newest look at the fleet, shared."""

    def __init__(self, store: Store, settings: FleetSettings, origin_url: str, clock: Clock) -> None:
        self._settings, self._origin_url, self._clock = settings, origin_url, clock
        self._reader = StoreReader(store)
        self._lock = threading.Lock()
        self._look: Look | None = None
        self._near: dict[SiteId, tuple[SiteId, ...]] = {}
        self._next_s = 0.0

    def sources(self, own: ApplianceId, wanted: FileSet) -> Rankings | None:
        """Who has these files; files that are not published are left out. None: no such appliance."""
        look = self._newest()
        row = look.rows.get(own)
        if row is None:
            return None
        files = look.state.catalog.files
        names = {number: files[number].sha256 for number in wanted if number in files}
        site = look.sites[row.appliance.site_id]
        limits = self._settings.sources
        members = look.by_site[site.site_id]
        same_net = look.by_subnet.get(subnet_of(row.appliance.content_url), ())
        beside = [other for other in same_net if other.appliance.site_id != row.appliance.site_id]
        tiers: list[Holder] = []
        for site_id in self._near.get(site.site_id, ()):
            is_near = route_cost(site, look.sites[site_id]) <= limits.near_km
            tiers += [
                _holder(look, other, is_near=is_near) for other in look.by_site.get(site_id, ()) if other not in beside
            ]
        return rank_files(
            _candidate(row),
            names,
            [_holder(look, other, is_near=True) for other in (*members, *beside)],
            tiers,
            {one.appliance.appliance_id: look.state.plans[one.appliance.appliance_id] for one in members if _can(one)},
            origin_url=self._origin_url,
            limits=limits,
        )

    def view(self, *, only: SiteId | None = None) -> FillView:
        """How far the fills are, of all sites or of one; titles are told of one only."""
        look, now_s = self._newest(), self._clock.now_s()
        names = [name for name in look.by_site if only in (None, name)]
        sites = tuple(
            view_site(look, name, self._settings.fill, now_s=now_s, is_whole=only is not None) for name in names
        )
        return FillView(now_s=now_s, sites=sites, orders=look.state.orders)

    def knows_site(self, name: SiteId) -> bool:
        """Whether there is such a site."""
        return name in self._newest().sites

    def publishes(self, name: str) -> bool:
        """Whether a visible title has a file of this name."""
        return any(file.sha256 == name for file in self._newest().state.catalog.files.values())

    def _newest(self) -> Look:
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._look is None or now_s >= self._next_s:
                before, self._look = self._look, arrange(self._reader.read(), self._look)
                if before is None or before.state.sites is not self._look.state.sites:
                    self._near = nearest_sites(self._look.state.sites, self._settings.sources.most_sites)
                done_s = self._clock.monotonic_s()
                self._next_s = done_s + max(FRESH_S, _PAUSES * (done_s - now_s))
            return self._look


def _holder(look: Look, row: FleetRow, *, is_near: bool) -> Holder:
    name = row.appliance.appliance_id
    held = look.state.holdings[name] - look.doubted.get(name, _NOTHING)
    return Holder(candidate=_candidate(row), held=held, is_near=is_near)


def _candidate(row: FleetRow) -> Candidate:
    load = row.report.report.load
    return replace(candidate_of(row, row.health.state), capacity_bps=row.appliance.capacity_bps, tx_bps=load.tx_bps)


def _can(row: FleetRow) -> bool:
    """It can be counted on to bring files into its site."""
    fill = row.report.report.fill
    is_able = fill.state is not FillState.DISK_FULL
    return row.appliance.admin_state is AdminState.ENABLED and row.health.state in FILLING_STATES and is_able
