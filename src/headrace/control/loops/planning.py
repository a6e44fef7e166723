"""Keeps every appliance's fill plan what `placement.plan` says: plans when an input changed, writes what differs.

A plan that breaks a rule is never written: `check_plan` raises, the turn fails, the old plans stay in force.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.base.ids import ApplianceId
from headrace.control.loops.reading import FleetState
from headrace.control.loops.settings import FleetSettings
from headrace.control.model import NewEvent, SetHead, StoredSet
from headrace.control.ports import Store
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
REFRESH_S = 30.0
"""Free space drifts all the time; it is looked at this often when nothing else asks for a new plan."""


class PlanCause(StrEnum):
    """Why a new plan was made."""

    TITLES_CHANGED = "titles-changed"
    APPLIANCES_CHANGED = "appliances-changed"
    """One came or went, or its disks did."""
    FREE_SPACE_CHANGED = "free-space-changed"


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

    def turn(self, state: FleetState, *, now_s: float, has_time: Callable[[], bool]) -> Planned:
        """Plan anew if asked for, and write as many differing plans as time allows."""
        inputs = _inputs(state)
        cause = self._cause(inputs, now_s)
        if cause is not None:
            plan = self._plan(state)
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

    def _cause(self, inputs: _Inputs, now_s: float) -> PlanCause | None:
        before = self._current.inputs
        if before is None or before.titles != inputs.titles:
            return PlanCause.TITLES_CHANGED
        if before.disks != inputs.disks:
            return PlanCause.APPLIANCES_CHANGED
        return PlanCause.FREE_SPACE_CHANGED if now_s - self._current.made_at_s >= REFRESH_S else None

    def _plan(self, state: FleetState) -> PlacementPlan:
        titles = [
            PlacedTitle(
                title_id=one.title.title_id,
                published_at_s=one.published_at_s,
                file_nos=one.file_nos,
                size_bytes=one.size_bytes,
            )
            for one in state.catalog.titles
        ]
        rooms = self._rooms(state)
        plan = plan_placement(titles, rooms)
        check_plan(plan, titles, rooms)
        return plan

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


def _inputs(state: FleetState) -> _Inputs:
    disks = frozenset(
        (row.appliance.appliance_id, sum(disk.total_bytes for disk in row.report.report.disks if disk.is_ok))
        for row in state.rows
        if row.report.report.disks
    )
    return _Inputs(titles=state.versions.titles, disks=disks)


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
