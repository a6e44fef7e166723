"""How far fills are, when they will have ended and what will not fit: stored rows put together for the decisions.

Pure; reckons from what the control plane knows (plans, holdings, bounds), so that it says the same of an appliance that
is silent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.control.loops.filling import accusations, window_in_force
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FillDefaults
from headrace.control.model import FleetRow
from headrace.fill.forecast import Backlog, Pace, end_after, forecast_fill, seconds_for, titles_that_fit
from headrace.fill.sources import subnet_of
from headrace.fill.windows import Window
from headrace.fleet.model import FillState, Site
from headrace.wire.fill import LISTED_TITLES, ApplianceFill, SiteFill, TitleFill

_DAYS = 14
_subnet_of = lru_cache(maxsize=65_536)(subnet_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A state of the fleet, arranged."""

    state: FleetState
    sites: Mapping[SiteId, Site]
    by_site: Mapping[SiteId, Sequence[FleetRow]]
    rows: Mapping[ApplianceId, FleetRow]
    doubted: Mapping[ApplianceId, FileSet]
    """Files of which somebody got wrong bytes from an appliance."""
    by_subnet: Mapping[str, Sequence[FleetRow]]
    """Only of addresses that have one (`subnet_of`)."""
    sizes: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    """Bytes by file number."""


def arrange(state: FleetState, before: Look | None) -> Look:
    """Arrange a state; what did not change since `before` is taken from there."""
    by_site: dict[SiteId, list[FleetRow]] = {}
    by_subnet: dict[str, list[FleetRow]] = {}
    for row in state.rows:
        by_site.setdefault(row.appliance.site_id, []).append(row)
        if subnet := _subnet_of(row.appliance.content_url):
            by_subnet.setdefault(subnet, []).append(row)
    doubted: dict[ApplianceId, set[int]] = {}
    for _, accused, number in accusations(state.rows):
        doubted.setdefault(accused, set()).add(number)
    if before is not None and before.state.catalog is state.catalog:
        sizes = before.sizes
    else:
        sizes = np.zeros(state.catalog.highest_no + 1, dtype=np.int64)
        for number, file in state.catalog.files.items():
            sizes[number] = file.size_bytes
    return Look(
        state=state,
        sites={site.site_id: site for site in state.sites},
        by_site=by_site,
        rows={row.appliance.appliance_id: row for row in state.rows},
        doubted={name: FileSet(numbers) for name, numbers in doubted.items()},
        by_subnet=by_subnet,
        sizes=sizes,
    )


def view_site(look: Look, name: SiteId, defaults: FillDefaults, *, now_s: float, is_whole: bool = False) -> SiteFill:
    """How far one site is; `is_whole`: with its titles."""
    site, rows = look.sites[name], look.by_site[name]
    hours = window_in_force(site, defaults)
    windows = hours.until(now_s, now_s + _DAYS * 86_400.0)
    missing = {row.appliance.appliance_id: _missing(look, row) for row in rows}
    backlog = Backlog(
        by_appliance={one: _bytes(look, files) for one, files in missing.items()},
        inbound_bytes=_bytes(look, _held_by_nobody(look, rows, missing)),
    )
    pace = Pace(appliance_bps=defaults.appliance_bps, site_bps=site.fill_bps or defaults.site_bps)
    forecast = forecast_fill(backlog, pace, windows, now_s=now_s)
    titles, count = _titles(look, rows, missing, backlog, pace, windows, now_s) if is_whole else ((), 0)
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
    look: Look,
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
            end_after(needed_s * done / total, windows, now_s=now_s) if windows else now_s + (needed_s * done / total)
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


def _missing(look: Look, row: FleetRow) -> FileSet:
    name = row.appliance.appliance_id
    return look.state.plans[name] - look.state.holdings[name]


def _held_by_nobody(look: Look, rows: Sequence[FleetRow], missing: Mapping[ApplianceId, FileSet]) -> FileSet:
    """Files that some appliance of the site lacks and none of it holds."""
    lacking = FileSet()
    for files in missing.values():
        lacking = lacking | files
    for row in rows:
        if not lacking:
            break
        lacking = lacking - look.state.holdings[row.appliance.appliance_id]
    return lacking


def _bytes(look: Look, files: FileSet) -> int:
    numbers = files.to_array()
    return int(look.sizes[numbers[numbers < len(look.sizes)]].sum())
