"""Answers about fills: sources of single files for agents, progress and forecasts for operators.

Puts stored rows and sets together for the decisions of `headrace.fill`; remembers one state of the fleet for a moment,
for all who ask. For many threads; blocks.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.base.clock import Clock
from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.control.loops.filling import window_in_force
from headrace.control.loops.reading import FleetState, StoreReader
from headrace.control.loops.settings import FleetSettings
from headrace.control.model import FleetRow
from headrace.control.ports import Store
from headrace.fill.forecast import Backlog, Pace, end_after, forecast_fill, seconds_for, titles_that_fit
from headrace.fill.per_file import Holder, Rankings, rank_files
from headrace.fill.sources import Candidate, nearest_sites, route_cost
from headrace.fill.windows import Window
from headrace.fleet.model import AdminState, FillState, HealthState, Site
from headrace.wire.fill import LISTED_TITLES, ApplianceFill, FillView, SiteFill, TitleFill

FRESH_S = 1.0
_PAUSES = 5
"""A look at a large fleet takes long; it is taken at most one part in so many of the time."""
_DAYS = 14
_FILLING = (HealthState.HEALTHY, HealthState.TURNING_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A state of the fleet, arranged."""

    state: FleetState
    sites: Mapping[SiteId, Site]
    by_site: Mapping[SiteId, Sequence[FleetRow]]
    rows: Mapping[ApplianceId, FleetRow]
    near: Mapping[SiteId, tuple[SiteId, ...]]
    sizes: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    """Bytes by file number."""


class FillDesk:
    """The newest look at the fleet, shared."""

    def __init__(self, store: Store, settings: FleetSettings, origin_url: str, clock: Clock) -> None:
        self._settings, self._origin_url, self._clock = settings, origin_url, clock
        self._reader = StoreReader(store)
        self._lock = threading.Lock()
        self._look: _Look | None = None
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
        tiers: list[Holder] = []
        for site_id in look.near.get(site.site_id, ()):
            is_near = route_cost(site, look.sites[site_id]) <= limits.near_km
            tiers += [_holder(look, other, is_near=is_near) for other in look.by_site.get(site_id, ())]
        members = look.by_site[site.site_id]
        return rank_files(
            _candidate(row),
            names,
            [_holder(look, other, is_near=True) for other in members],
            tiers,
            {one.appliance.appliance_id: look.state.plans[one.appliance.appliance_id] for one in members if _can(one)},
            origin_url=self._origin_url,
            limits=limits,
        )

    def view(self, *, only: SiteId | None = None) -> FillView:
        """How far the fills are, of all sites or of one; titles are told of one only."""
        look, now_s = self._newest(), self._clock.now_s()
        names = [name for name in look.by_site if only in (None, name)]
        sites = tuple(self._site(look, name, now_s, is_whole=only is not None) for name in names)
        return FillView(now_s=now_s, sites=sites, orders=look.state.orders)

    def knows_site(self, name: SiteId) -> bool:
        """Whether there is such a site."""
        return name in self._newest().sites

    def publishes(self, name: str) -> bool:
        """Whether a visible title has a file of this name."""
        return any(file.sha256 == name for file in self._newest().state.catalog.files.values())

    def _newest(self) -> _Look:
        with self._lock:
            now_s = self._clock.monotonic_s()
            if self._look is None or now_s >= self._next_s:
                self._look = self._arrange(self._reader.read())
                done_s = self._clock.monotonic_s()
                self._next_s = done_s + max(FRESH_S, _PAUSES * (done_s - now_s))
            return self._look

    def _arrange(self, state: FleetState) -> _Look:
        before = self._look
        by_site: dict[SiteId, list[FleetRow]] = {}
        for row in state.rows:
            by_site.setdefault(row.appliance.site_id, []).append(row)
        if before is not None and before.state.sites is state.sites:
            near = before.near
        else:
            near = nearest_sites(state.sites, self._settings.sources.most_sites)
        if before is not None and before.state.catalog is state.catalog:
            sizes = before.sizes
        else:
            sizes = np.zeros(state.catalog.highest_no + 1, dtype=np.int64)
            for number, file in state.catalog.files.items():
                sizes[number] = file.size_bytes
        return _Look(
            state=state,
            sites={site.site_id: site for site in state.sites},
            by_site=by_site,
            rows={row.appliance.appliance_id: row for row in state.rows},
            near=near,
            sizes=sizes,
        )

    def _site(self, look: _Look, name: SiteId, now_s: float, *, is_whole: bool) -> SiteFill:
        site, rows, defaults = look.sites[name], look.by_site[name], self._settings.fill
        hours = window_in_force(site, defaults)
        windows = hours.until(now_s, now_s + _DAYS * 86_400.0)
        missing = {row.appliance.appliance_id: _missing(look, row) for row in rows}
        backlog = Backlog(
            by_appliance={one: _bytes(look, files) for one, files in missing.items()},
            inbound_bytes=_bytes(look, _held_by_nobody(look, rows, missing)),
        )
        pace = Pace(appliance_bps=defaults.appliance_bps, site_bps=site.fill_bps or defaults.site_bps)
        forecast = forecast_fill(backlog, pace, windows, now_s=now_s)
        titles, count = self._titles(look, rows, missing, backlog, pace, windows, now_s) if is_whole else ((), 0)
        return SiteFill(
            site_id=name,
            zone=hours.zone,
            hours=hours.hours,
            is_open=not windows or windows[0].is_open(now_s),
            opens_s=windows[0].opens_s if windows else None,
            closes_s=windows[0].closes_s if windows else None,
            site_bps=pace.site_bps,
            missing_bytes=sum(backlog.by_appliance.values()),
            inbound_bytes=backlog.inbound_bytes,
            left_over_bytes=forecast.left_over_bytes,
            expected_end_s=forecast.ends_s,
            appliances=tuple(
                _appliance(row, missing[row.appliance.appliance_id], backlog, pace, windows, now_s) for row in rows
            ),
            titles=titles,
            titles_missing=count,
        )

    def _titles(
        self,
        look: _Look,
        rows: Sequence[FleetRow],
        missing: Mapping[ApplianceId, FileSet],
        backlog: Backlog,
        pace: Pace,
        windows: Sequence[Window],
        now_s: float,
    ) -> tuple[tuple[TitleFill, ...], int]:
        """The titles with the most missing, and when each will be there in the order in which agents fetch."""
        lacking = FileSet()
        for files in missing.values():
            lacking = lacking | files
        sums: dict[TitleId, int] = {}
        planned: dict[TitleId, int] = {}
        for title in look.state.catalog.titles:
            of_title = FileSet(title.file_nos)
            if not of_title & lacking:
                continue
            own = title.title.title_id
            sums[own] = sum(_bytes(look, of_title & files) for files in missing.values())
            plans = (look.state.plans[row.appliance.appliance_id] for row in rows)
            planned[own] = sum(_bytes(look, of_title & plan) for plan in plans)
        total, needed_s = sum(sums.values()), max((seconds_for(backlog, one, pace) for one in missing), default=0.0)
        in_order = sorted(sums.items(), key=lambda one: (one[1], one[0]))
        rate_bps = int(total * 8 / needed_s) if needed_s else 0
        open_s = windows[0].closes_s - max(now_s, windows[0].opens_s) if windows else float("inf")
        fits = titles_that_fit(in_order, rate_bps=rate_bps, open_s=open_s)
        ends: dict[TitleId, float] = {}
        done = 0
        for own, size in in_order:
            done += size
            ends[own] = (
                end_after(needed_s * done / total, windows, now_s=now_s)
                if windows
                else now_s + (needed_s * done / total)
            )
        most = sorted(in_order, key=lambda one: (-one[1], one[0]))[:LISTED_TITLES]
        listed = tuple(
            TitleFill(
                title_id=own,
                missing_bytes=size,
                planned_bytes=planned[own],
                expected_end_s=ends[own],
                fits=not windows or fits[own],
            )
            for own, size in most
        )
        return listed, len(in_order)


def _appliance(
    row: FleetRow, missing: FileSet, backlog: Backlog, pace: Pace, windows: Sequence[Window], now_s: float
) -> ApplianceFill:
    name, fill = row.appliance.appliance_id, row.report.report.fill
    size = backlog.by_appliance[name]
    needed_s = seconds_for(backlog, name, pace)
    ends_s = None
    if size and fill.state is not FillState.DISK_FULL:
        ends_s = end_after(needed_s, windows, now_s=now_s) if windows else now_s + needed_s
    return ApplianceFill(
        appliance_id=name,
        state=fill.state,
        missing_files=len(missing),
        missing_bytes=size,
        rate_bps=fill.rate_bps,
        expected_end_s=ends_s,
        outside_bytes=fill.outside_bytes,
        detail=fill.error,
    )


def _missing(look: _Look, row: FleetRow) -> FileSet:
    name = row.appliance.appliance_id
    return look.state.plans[name] - look.state.holdings[name]


def _held_by_nobody(look: _Look, rows: Sequence[FleetRow], missing: Mapping[ApplianceId, FileSet]) -> FileSet:
    """Files that some appliance of the site lacks and none of it holds."""
    lacking = FileSet()
    for files in missing.values():
        lacking = lacking | files
    for row in rows:
        if not lacking:
            break
        lacking = lacking - look.state.holdings[row.appliance.appliance_id]
    return lacking


def _bytes(look: _Look, files: FileSet) -> int:
    numbers = files.to_array()
    return int(look.sizes[numbers[numbers < len(look.sizes)]].sum())


def _holder(look: _Look, row: FleetRow, *, is_near: bool) -> Holder:
    return Holder(candidate=_candidate(row), held=look.state.holdings[row.appliance.appliance_id], is_near=is_near)


def _candidate(row: FleetRow) -> Candidate:
    one = row.appliance
    return Candidate(
        appliance_id=one.appliance_id,
        site_id=one.site_id,
        content_url=one.content_url,
        admin_state=one.admin_state,
        health_state=row.health.state,
        held_files=min(1, row.holdings.count),
        capacity_bps=one.capacity_bps,
        tx_bps=row.report.report.load.tx_bps,
    )


def _can(row: FleetRow) -> bool:
    """It can be counted on to bring files into its site."""
    fill = row.report.report.fill
    is_able = fill.state is not FillState.DISK_FULL
    return row.appliance.admin_state is AdminState.ENABLED and row.health.state in _FILLING and is_able
