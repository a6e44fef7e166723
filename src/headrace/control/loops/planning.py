"""Keeps every appliance's fill plan what `placement.plan` says: plans when an input changed, writes what differs.

Where a forecast of demand is known and not everything fits, titles are placed by it (`placement.by_demand`): in the
fill window of a site its room is planned anew but for the reactive share; outside, only titles that rose take that
share, and orders let them pass the window.

A plan that breaks a rule is never written: `check_plan` raises, the turn fails, the old plans stay in force.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.control.adapters.forecast_file import ForecastFile
from headrace.control.loops.filling import window_in_force
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FleetSettings
from headrace.control.model import NewEvent, SetHead, StoredSet
from headrace.control.ports import Store
from headrace.demand.forecast_titles import TitleForecast
from headrace.fill.orders import FillOrder
from headrace.placement.by_demand import Seat, plan_by_demand
from headrace.placement.errors import PlacementError
from headrace.placement.fleet import FleetRules
from headrace.placement.plan import (
    AppliancePlan,
    PlacedTitle,
    PlacementPlan,
    Room,
    check_plan,
    plan_placement,
    room_of,
)

ACTOR = "control:plan"
WRITTEN_AT_ONCE = 50
"""Plans in one transaction."""
RISEN_ORDER_S = 12 * 3600.0
"""Fetching what rises past the window is of use for so long: until the next window opens."""
SHRINK_S = 1800.0
"""Room that is gone counts as gone after so long: deleted files give theirs back late, and no plan may follow that."""
REFRESH_S = 30.0
"""Free space drifts all the time; it is looked at this often when nothing else asks for a new plan."""


class PlanCause(StrEnum):
    """Why a new plan was made."""

    TITLES_CHANGED = "titles-changed"
    APPLIANCES_CHANGED = "appliances-changed"
    """One came or went, or its disks did."""
    FREE_SPACE_CHANGED = "free-space-changed"
    FORECAST_CHANGED = "forecast-changed"
    WINDOW_CHANGED = "window-changed"
    """A fill window opened or closed, and a forecast is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The outcome of one turn."""

    written: int = 0
    waiting: int = 0
    """Plans that differ and will be written in the next turns."""
    cause: PlanCause | None = None
    """None when the plan of before is still in force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
    titles: int
    disks: frozenset[tuple[ApplianceId, int]]
    forecast_s: float | None
    """When the forecast was made; None without one."""
    closed: frozenset[SiteId]
    """Sites outside their fill window, while there is a forecast."""


@dataclass(slots=True)
class _Current:
    """The plan in force and what it was made from."""

    inputs: _Inputs | None = None
    made_at_s: float = 0.0
    plan: PlacementPlan = field(default_factory=lambda: PlacementPlan(plans={}))
    digests: dict[ApplianceId, str] = field(default_factory=dict)


class Planner:
    """Holds the plan between turns."""

    def __init__(self, store: Store, settings: FleetSettings) -> None:
        self._store = store
        self._settings = settings
        self._current = _Current()
        file = settings.placement.forecast_file
        self._forecast_file = ForecastFile(Path(file) if file else None)
        self._forecast: TitleForecast | None = None
        self._widest: dict[ApplianceId, tuple[Room, float]] = {}

    def turn(self, state: FleetState, *, now_s: float, has_time: Callable[[], bool]) -> Planned:
        """Plan anew if asked for, and write as many differing plans as time allows."""
        self._forecast = self._forecast_file.look()
        inputs = self._inputs(state, now_s)
        cause = self._cause(inputs, now_s)
        if cause is not None:
            plan = self._plan(state, inputs, now_s)
            self._order_risen(state, plan, inputs.closed, now_s)
            self._current = _Current(inputs=inputs, made_at_s=now_s, plan=plan, digests=_digests(plan))
        digests = self._current.digests
        differing = [
            row for row in state.rows if digests.get(row.appliance.appliance_id, row.plan.digest) != row.plan.digest
        ]
        if cause is not None and differing:
            event = _event(cause, self._current.plan, [row.appliance.appliance_id for row in differing])
            self._store.append_event(event, now_s=now_s)
        written = 0
        for start in range(0, len(differing), WRITTEN_AT_ONCE):
            if not has_time():
                break
            batch = {row.appliance.appliance_id: row.plan.version for row in differing[start : start + WRITTEN_AT_ONCE]}
            plans = {name: _as_stored(self._current.plan.plans[name], digests[name]) for name in batch}
            written += len(self._store.save_plan_all(plans, expected_versions=batch, now_s=now_s))
        return Planned(written=written, waiting=len(differing) - written, cause=cause if differing else None)

    def _inputs(self, state: FleetState, now_s: float) -> _Inputs:
        known = self._forecast
        return _Inputs(
            titles=state.versions.titles,
            disks=_disks(state),
            forecast_s=None if known is None else known.made_s,
            closed=frozenset() if known is None else _closed(state, self._settings, now_s),
        )

    def _cause(self, inputs: _Inputs, now_s: float) -> PlanCause | None:
        before = self._current.inputs
        if before is None or before.titles != inputs.titles:
            return PlanCause.TITLES_CHANGED
        if before.disks != inputs.disks:
            return PlanCause.APPLIANCES_CHANGED
        if before.forecast_s != inputs.forecast_s:
            return PlanCause.FORECAST_CHANGED
        if before.closed != inputs.closed:
            return PlanCause.WINDOW_CHANGED
        return PlanCause.FREE_SPACE_CHANGED if now_s - self._current.made_at_s >= REFRESH_S else None

    def _plan(self, state: FleetState, inputs: _Inputs, now_s: float) -> PlacementPlan:
        titles = [
            PlacedTitle(
                title_id=one.title.title_id,
                published_at_s=one.published_at_s,
                file_nos=one.file_nos,
                size_bytes=one.size_bytes,
            )
            for one in state.catalog.titles
        ]
        rooms = self._steady(self._rooms(state), now_s)
        if self._forecast is None:
            plan = plan_placement(titles, rooms)
        else:
            plan = self._plan_by_demand(state, titles, rooms, inputs.closed)
        check_plan(plan, titles, rooms)
        return plan

    def _plan_by_demand(
        self, state: FleetState, titles: Sequence[PlacedTitle], rooms: Sequence[Room], closed: AbstractSet[SiteId]
    ) -> PlacementPlan:
        if self._forecast is None:
            raise PlacementError("there is no forecast to plan by")
        regions = {site.site_id: site.region for site in state.sites}
        seats = {
            row.appliance.appliance_id: Seat(
                site_id=row.appliance.site_id,
                region=regions.get(row.appliance.site_id, ""),
                throughput_bps=float(row.appliance.capacity_bps),
            )
            for row in state.rows
        }
        usual = self._settings.placement
        rules = FleetRules(
            fill_price=usual.fill_price, region_copies=usual.region_copies, reactive_ratio=usual.reactive_ratio
        )
        by_day = replace(rules, fill_price=usual.day_price, reactive_ratio=0.0)
        # Where fills wait for no window there is no day to keep a share for.
        always = replace(rules, reactive_ratio=0.0)
        windowed = {site.site_id for site in state.sites if window_in_force(site, self._settings.fill).hours}
        rules_of = {
            site: by_day if site in closed else rules if site in windowed else always
            for site in {seat.site_id for seat in seats.values()}
        }
        return plan_by_demand(titles, rooms, seats, self._forecast, rules, rules_of=rules_of).plan

    def _order_risen(self, state: FleetState, plan: PlacementPlan, closed: AbstractSet[SiteId], now_s: float) -> None:
        """Titles that a plan outside the window adds are fetched at once: they were added because they rise."""
        if not closed:
            return
        wanted: dict[tuple[SiteId, TitleId], None] = {}
        for row in state.rows:
            name = row.appliance.appliance_id
            if row.appliance.site_id not in closed or name not in plan.plans or row.plan.version == 0:
                continue
            added = plan.plans[name].files - state.plans[name]
            if added:
                numbers = {state.catalog.files[number].title_id: None for number in added}
                wanted |= {(row.appliance.site_id, title): None for title in numbers}
        ordered = {(one.site_id, one.title_id) for one in state.orders}
        new = [pair for pair in wanted if pair not in ordered][: self._settings.placement.most_orders]
        for site_id, title_id in new:
            order = FillOrder(
                order_id="",
                title_id=title_id,
                site_id=site_id,
                expires_s=now_s + RISEN_ORDER_S,
                reason="rising",
                ordered_by=ACTOR,
                ordered_at_s=now_s,
            )
            happened = NewEvent(
                actor=ACTOR, kind="fill.ordered", subject=f"title/{title_id}", reason="rising", detail=f"at {site_id}"
            )
            self._store.add_fill_order(order, event=happened, now_s=now_s)

    def _steady(self, rooms: Sequence[Room], now_s: float) -> list[Room]:
        """The rooms, none smaller than it was in the last SHRINK_S with the same disks."""
        widest: dict[ApplianceId, tuple[Room, float]] = {}
        for room in rooms:
            before, seen_s = self._widest.get(room.appliance_id, (room, now_s))
            is_gone = now_s - seen_s > SHRINK_S or before.reserve_bytes != room.reserve_bytes
            if is_gone or room.usable_bytes >= before.usable_bytes:
                before, seen_s = room, now_s
            widest[room.appliance_id] = (replace(before, planned=room.planned), seen_s)
        self._widest = widest
        return [room for room, _ in widest.values()]

    def _rooms(self, state: FleetState) -> list[Room]:
        rooms = (
            room_of(
                row.appliance.appliance_id,
                row.report.report,
                row.holdings.total_bytes,
                state.plans[row.appliance.appliance_id],
                reserve_ratio=self._settings.reserve_ratio,
            )
            for row in state.rows
        )
        return [room for room in rooms if room is not None]


def _digests(plan: PlacementPlan) -> dict[ApplianceId, str]:
    """The digest of each plan, worked out once for each set that appliances share."""
    by_set: dict[int, str] = {}
    for one in plan.plans.values():
        if id(one.files) not in by_set:
            by_set[id(one.files)] = one.files.digest()
    return {name: by_set[id(one.files)] for name, one in plan.plans.items()}


def _closed(state: FleetState, settings: FleetSettings, now_s: float) -> frozenset[SiteId]:
    """Sites that have a fill window, which is not open."""
    windows = ((site.site_id, window_in_force(site, settings.fill).next(now_s)) for site in state.sites)
    return frozenset(name for name, window in windows if window is not None and not window.is_open(now_s))


def _disks(state: FleetState) -> frozenset[tuple[ApplianceId, int]]:
    return frozenset(
        (row.appliance.appliance_id, sum(disk.total_bytes for disk in row.report.report.disks if disk.is_ok))
        for row in state.rows
        if row.report.report.disks
    )


def _as_stored(one: AppliancePlan, digest: str) -> StoredSet:
    head = SetHead(digest=digest, count=len(one.files), total_bytes=one.total_bytes)
    return StoredSet(head=head, files=one.files)


def _event(cause: PlanCause, plan: PlacementPlan, changed: list[ApplianceId]) -> NewEvent:
    """One line for all plans: what changed, and what had to be left out."""
    left_out = {name: one.skipped for name, one in plan.plans.items() if one.skipped}
    detail = f"{len(changed)} plans change: {', '.join(changed[:3])}{' ...' if len(changed) > 3 else ''}"
    if left_out:
        name, skipped = next(iter(sorted(left_out.items())))
        first = skipped[0]
        detail += (
            f"; titles left out on {len(left_out)} appliances, on {name} {len(skipped)},"
            f" first {first.title_id} ({first.reason})"
        )
    return NewEvent(actor=ACTOR, kind="fleet.planned", subject="fleet", reason=cause.value, detail=detail)
