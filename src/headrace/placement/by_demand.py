"""Which appliance should hold which title when not all fit: by expected plays, spread over each site. Pure.

A title is placed whole, on one appliance or several of a site: it is steered to only where all of its files are. Where
every title fits on every appliance of a site, every title is there, as without a forecast. What an appliance leaves out
has its reason, and what was decided for a site can be looked up by title (`explain`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.demand.forecast import ForecastReason
from headrace.demand.forecast_titles import ANY_REGION, RegionForecast, TitleForecast
from headrace.placement.choose import Floats, Ints
from headrace.placement.fleet import FleetRules, HoldReason, SitePlan, SiteRoom, Units, plan_fleet
from headrace.placement.hashing import slots_of
from headrace.placement.plan import AppliancePlan, PlacedTitle, PlacementPlan, Room, Skipped, SkipReason, plan_placement
from headrace.placement.spread import Bin

_ROOM_STEPS = 4
"""Room counts in steps of this part of the reserve: free space that drifts by less moves no title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where an appliance stands, and what it can give."""

    site_id: SiteId
    region: str
    throughput_bps: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DemandPlan:
    """A plan with what it was made of."""

    plan: PlacementPlan
    sites: Mapping[SiteId, SitePlan]
    """Of the sites where not everything fits."""
    titles: tuple[PlacedTitle, ...]
    forecast: TitleForecast


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Why a site holds a title, or does not."""

    site_id: SiteId
    reason: HoldReason
    plays: float
    """Expected in the next day at this site."""
    spread: float
    forecast_reason: ForecastReason
    least_new_plays: float
    """What a title must be expected to be asked for to be filled here; 0 where everything fits."""
    appliances: tuple[ApplianceId, ...]


def plan_by_demand(
    titles: Iterable[PlacedTitle],
    rooms: Iterable[Room],
    seats: Mapping[ApplianceId, Seat],
    forecast: TitleForecast,
    rules: FleetRules,
    *,
    rules_of: Mapping[SiteId, FleetRules] | None = None,
) -> DemandPlan:
    """Choose the titles of each appliance; the plan passes `placement.plan.check_plan`.

    Args:
        rules_of: of sites that have their own now, such as those outside their fill window.
    """
    ordered, offered = tuple(sorted(titles, key=lambda one: one.title_id)), tuple(rooms)
    all_bytes = sum(one.size_bytes for one in ordered)
    by_site: dict[SiteId, list[Room]] = {}
    for room in offered:
        by_site.setdefault(seats[room.appliance_id].site_id, []).append(room)
    tight = {name: own for name, own in by_site.items() if any(all_bytes > _usable(room) for room in own)}
    whole = Counter(seats[own[0].appliance_id].region for name, own in by_site.items() if name not in tight)
    loose = [room for name, own in by_site.items() if name not in tight for room in own]
    plans = dict(plan_placement(ordered, loose).plans)
    units = _units(ordered, forecast, {seats[room.appliance_id].region for own in tight.values() for room in own})
    own_rules = rules_of or {}
    sites = [
        replace(_site_room(name, own, seats, forecast, ordered), rules=own_rules.get(name))
        for name, own in sorted(tight.items())
    ]
    made: dict[SiteId, SitePlan] = {}
    skipped = _Skips(ordered)
    in_order = sorted(sites, key=lambda one: (one.region,))
    for site, plan in zip(in_order, plan_fleet(units, sites, rules, whole=whole), strict=True):
        made[site.site_id] = plan
        plans |= _appliance_plans(plan, site, ordered, units, skipped)
    return DemandPlan(plan=PlacementPlan(plans=plans), sites=made, titles=ordered, forecast=forecast)


def explain(plan: DemandPlan, title_id: TitleId, seats: Mapping[ApplianceId, Seat]) -> tuple[Explained, ...]:
    """Why each site holds a title, or does not; empty for a title that was not placed."""
    at = next((number for number, one in enumerate(plan.titles) if one.title_id == title_id), None)
    if at is None:
        return ()
    files = FileSet(plan.titles[at].file_nos)
    found = []
    for site_id in sorted({seat.site_id for name, seat in seats.items() if name in plan.plan.plans}):
        members = [name for name, seat in seats.items() if seat.site_id == site_id and name in plan.plan.plans]
        on = tuple(sorted(name for name in members if files.issubset(plan.plan.plans[name].files)))
        region = region_forecast(plan.forecast, seats[members[0]].region)
        scale = plan.forecast.scales.get(site_id, 1.0)
        plays, spread, why = expected_of(region, plan.forecast, title_id)
        site = plan.sites.get(site_id)
        found.append(
            Explained(
                site_id=site_id,
                reason=_reason(site, at, plays * scale, is_held=bool(on)),
                plays=plays * scale,
                spread=spread * scale,
                forecast_reason=why,
                least_new_plays=site.least_new_plays if site else 0.0,
                appliances=on,
            )
        )
    return tuple(found)


def _reason(site: SitePlan | None, unit: int, plays: float, *, is_held: bool) -> HoldReason:
    if site is None:
        return HoldReason.ALL_FIT
    if is_held:
        if unit in site.pinned:
            return HoldReason.REGION_COPY
        return HoldReason.EXPECTED if plays >= site.least_new_plays else HoldReason.KEPT
    if unit in site.spread.units:
        return HoldReason.NO_GAP
    return HoldReason.NOT_WORTH_FILL if plays >= site.least_kept_plays else HoldReason.LESS_EXPECTED


def region_forecast(forecast: TitleForecast, region: str) -> RegionForecast:
    """Of the region, or of all where nobody asked in it."""
    return forecast.regions.get(region) or forecast.regions[ANY_REGION]


def expected_of(
    region: RegionForecast, forecast: TitleForecast, title_id: TitleId
) -> tuple[float, float, ForecastReason]:
    """Plays at the mean site, their spread and reason; of a title that the forecast does not know, a newcomer's."""
    try:
        at = forecast.titles.index(title_id)
    except ValueError:
        return region.newcomer_plays, region.newcomer_plays, ForecastReason.LAUNCH
    return float(region.plays[at]), float(region.spread[at]), ForecastReason(int(region.reason[at]))


def _usable(room: Room) -> int:
    step = max(1, room.reserve_bytes // _ROOM_STEPS)
    return max(0, (room.usable_bytes - room.reserve_bytes) // step * step)


def _units(titles: Sequence[PlacedTitle], forecast: TitleForecast, regions: Iterable[str]) -> Units:
    number = {name: at for at, name in enumerate(forecast.titles)}
    rows = np.array([number.get(one.title_id, -1) for one in titles], dtype=np.int64)
    plays: dict[str, Floats] = {}
    for region in regions:
        known = region_forecast(forecast, region)
        own = known.plays[rows] if len(known.plays) else np.zeros(len(rows))
        plays[region] = np.where(rows >= 0, own, known.newcomer_plays)
    return Units(
        size_bytes=np.array([one.size_bytes for one in titles], dtype=np.float64),
        slots=slots_of(one.title_id for one in titles),
        plays=plays,
    )


def _site_room(
    site_id: SiteId,
    rooms: Sequence[Room],
    seats: Mapping[ApplianceId, Seat],
    forecast: TitleForecast,
    titles: Sequence[PlacedTitle],
) -> SiteRoom:
    planned = FileSet()
    for room in rooms:
        planned = planned | room.planned
    is_held = planned.tester()
    held: Ints = np.array(
        [at for at, one in enumerate(titles) if all(is_held(number) for number in one.file_nos)], dtype=np.int64
    )
    ordered = sorted(rooms, key=lambda room: room.appliance_id)
    return SiteRoom(
        site_id=site_id,
        region=seats[rooms[0].appliance_id].region,
        scale=forecast.scales.get(site_id, 1.0),
        bins=tuple(
            Bin(
                appliance_id=room.appliance_id,
                room_bytes=float(_usable(room)),
                throughput_bps=seats[room.appliance_id].throughput_bps,
            )
            for room in ordered
        ),
        held=held,
    )


class _Skips:
    """One object for each title and reason, shared by all appliances."""

    def __init__(self, titles: Sequence[PlacedTitle]) -> None:
        self._titles = titles
        self._made: dict[tuple[int, SkipReason], Skipped] = {}

    def of(self, unit: int, reason: SkipReason) -> Skipped:
        found = self._made.get((unit, reason))
        if found is None:
            found = self._made[unit, reason] = Skipped(title_id=self._titles[unit].title_id, reason=reason)
        return found


def _appliance_plans(
    plan: SitePlan, site: SiteRoom, titles: Sequence[PlacedTitle], units: Units, skips: _Skips
) -> dict[ApplianceId, AppliancePlan]:
    spread = plan.spread
    in_site = set(spread.units[spread.on.any(axis=1)].tolist())
    plays = units.plays[site.region] * site.scale
    plans = {}
    for column, one in enumerate(site.bins):
        own = set(spread.units[spread.on[:, column]].tolist())
        left_out = []
        for unit in range(len(titles)):
            if unit not in own:
                is_near = plays[unit] >= plan.least_kept_plays
                reason = SkipReason.ON_A_PEER if unit in in_site else SkipReason.LESS_EXPECTED
                if reason is SkipReason.LESS_EXPECTED and is_near:
                    reason = SkipReason.NOT_WORTH_FILL
                left_out.append(skips.of(unit, reason))
        plans[one.appliance_id] = AppliancePlan(
            appliance_id=one.appliance_id,
            files=FileSet(number for unit in own for number in titles[unit].file_nos),
            total_bytes=sum(titles[unit].size_bytes for unit in own),
            skipped=tuple(left_out),
        )
    return plans
