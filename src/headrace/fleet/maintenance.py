"""Maintenance windows: planned ahead for an appliance or a site, drained before they begin, back when they are over.

Pure. A window never changes what an operator wants of an appliance: it lays a hold over it, and the more restrictive
of the two is in force (`state_in_force`). The states follow the clock and the failure budget in `next_move`, whose
moves are stored by compare-and-set; whoever reads a stored window knows what is held without a clock. In prose:
docs/control.md.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from math import isfinite

from headrace.base.ids import ApplianceId, SiteId
from headrace.base.units import show_count, show_duration
from headrace.fleet.lifecycle import DrainState, LeaveVerdict
from headrace.fleet.model import AdminState, Appliance, FleetError, Health, HealthReason, HealthState


class WindowState(StrEnum):
    """How far a window is."""

    PLANNED = "planned"
    """Nothing is held yet; past its drain's begin: the failure budget does not let it begin, `detail` says why."""
    DRAINING = "draining"
    """New sessions go elsewhere."""
    OPEN = "open"
    """The work may be done: its appliances are in no answer."""
    RETURNING = "returning"
    """Over; appliances come back as their checks pass."""
    DONE = "done"
    CANCELLED = "cancelled"
    MISSED = "missed"
    """The failure budget did not let it begin before its end."""


ENDED = (WindowState.DONE, WindowState.CANCELLED, WindowState.MISSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRules:
    """Table [fleet.maintenance]: what may be planned."""

    shortest_s: float = 60.0
    """Less is a typing error."""
    longest_s: float = 2_592_000.0
    """30 days; what is away for longer is disabled, and then placement should know."""
    most_ahead_s: float = 7_948_800.0
    """92 days: plans older than a quarter are wrong."""
    drain_ahead_s: float = 7_200.0
    """Most films and nearly all episodes end within two hours."""
    late_after_s: float = 900.0
    """What is not back so long after the end is told in the record."""
    most: int = 1000
    """Windows that have not ended."""
    kept_s: float = 7_948_800.0
    """Ended windows are forgotten after this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceWindow:
    """One window. Exactly one of `appliance_id` and `site_id` is set. Instants are UTC epoch seconds."""

    window_id: str
    """w1, w2, ...; '' before it is stored."""
    appliance_id: ApplianceId | None = None
    site_id: SiteId | None = None
    starts_s: float
    """When the work begins: from here on its appliances are in no answer."""
    ends_s: float
    drain_ahead_s: float
    """New sessions go elsewhere for so long before the start."""
    reason: str
    zone: str = "UTC"
    """The time zone that its planner thinks in; for showing only."""
    is_forced: bool = False
    """Begins also where the failure budget refuses."""
    planned_by: str = ""
    planned_at_s: float = 0.0
    state: WindowState = WindowState.PLANNED
    members: tuple[ApplianceId, ...] = ()
    """The appliances that are held: fixed when the drain begins, fewer as they come back."""
    refusal: str = ""
    """The rule of the failure budget that keeps it from beginning."""
    detail: str = ""
    """Why it does not begin, or who is not back yet."""
    is_late: bool = False

    @property
    def drains_s(self) -> float:
        """When its drain begins."""
        return self.starts_s - self.drain_ahead_s

    @property
    def is_holding(self) -> bool:
        """Its members are out of service by it."""
        return self.state in (WindowState.DRAINING, WindowState.OPEN, WindowState.RETURNING)

    @property
    def target(self) -> str:
        """What it is for, for people."""
        return f"appliance {self.appliance_id}" if self.appliance_id else f"site {self.site_id}"

    def covers(self, appliance: Appliance) -> bool:
        """Whether it is for this appliance."""
        if self.appliance_id is not None:
            return appliance.appliance_id == self.appliance_id
        return appliance.site_id == self.site_id


def check_window(
    window: MaintenanceWindow,
    others: Iterable[MaintenanceWindow],
    fleet: Sequence[Appliance],
    rules: MaintenanceRules,
    *,
    now_s: float,
) -> None:
    """Check a window that is to be planned.

    Raises:
        FleetError: past, endless, too long, too far ahead, or overlapping another one; the message says the mend.
    """
    _check_times(window, rules, now_s)
    open_ones = [one for one in others if one.state not in ENDED]
    if len(open_ones) >= rules.most:
        raise FleetError(f"{len(open_ones)} maintenance windows are planned already: cancel some first")
    names = {one.appliance_id for one in fleet if window.covers(one)}
    for other in open_ones:
        shared = names & {one.appliance_id for one in fleet if other.covers(one)}
        if not shared and (window.site_id is None or window.site_id != other.site_id):
            continue
        if other.drains_s < window.ends_s and window.drains_s < other.ends_s:
            raise FleetError(
                f"{window.target} is in maintenance window {other.window_id} ({other.target}) at that time: plan it "
                f"outside that one, drain included, or cancel {other.window_id} first"
            )


def _check_times(window: MaintenanceWindow, rules: MaintenanceRules, now_s: float) -> None:
    instants = (window.starts_s, window.ends_s, window.drain_ahead_s)
    if not all(isfinite(one) for one in instants):
        raise FleetError("a maintenance window needs a start and an end; what has no end is disabled, not maintained")
    length_s = window.ends_s - window.starts_s
    if window.ends_s <= now_s:
        raise FleetError("the maintenance window is in the past: give an end that is still to come")
    if length_s < rules.shortest_s:
        shortest = show_duration(rules.shortest_s)
        raise FleetError(
            f"the maintenance window must end {shortest} or more after its start: check both, and the zone"
        )
    if window.starts_s < now_s - rules.shortest_s:
        raise FleetError("the start of the maintenance window is in the past: leave it out to begin now")
    if length_s > rules.longest_s:
        raise FleetError(
            f"a maintenance window lasts at most {show_duration(rules.longest_s)}: give an earlier end, or disable "
            "what is away for longer"
        )
    if window.starts_s - now_s > rules.most_ahead_s:
        raise FleetError(
            f"a maintenance window is planned at most {show_duration(rules.most_ahead_s)} ahead: plan it later"
        )
    if not 0 <= window.drain_ahead_s <= rules.longest_s:
        raise FleetError(f"the drain begins between 0 and {rules.longest_s:.0f} seconds before the start")


def crowded_instants(window: MaintenanceWindow, others: Iterable[MaintenanceWindow], *, now_s: float) -> list[float]:
    """When most can be away during `window`: at its own begin, and whenever another one begins within it."""
    first_s = max(now_s, window.drains_s)
    begins = {max(first_s, one.drains_s) for one in others if one.drains_s < window.ends_s and one.ends_s > first_s}
    return sorted(begins | {first_s})


def held_at(windows: Iterable[MaintenanceWindow], appliance: Appliance, at_s: float) -> bool:
    """Whether some window that has not ended is to take this appliance out of service at that time."""
    return any(
        one.state not in ENDED and one.drains_s <= at_s < one.ends_s and one.covers(appliance) for one in windows
    )


def state_in_force(own: AdminState, appliance_id: ApplianceId, windows: Iterable[MaintenanceWindow]) -> AdminState:
    """The more restrictive of what an operator wants and what windows hold."""
    order = tuple(AdminState)
    held = [
        AdminState.DRAINING if one.state is WindowState.DRAINING else AdminState.DISABLED
        for one in windows
        if one.is_holding and appliance_id in one.members
    ]
    return max([own, *held], key=order.index)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What a window asks of an appliance."""

    appliance: Appliance
    """With the operator's own admin state."""
    health: Health
    drain: DrainState = DrainState.NOT_DRAINING
    sessions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The window's next state, and what is told of it; `kind` '' for nothing worth telling."""

    window: MaintenanceWindow
    kind: str = ""
    reason: str = ""
    detail: str = ""


def next_move(
    window: MaintenanceWindow,
    fleet: Mapping[ApplianceId, Member],
    rules: MaintenanceRules,
    *,
    now_s: float,
    may_leave: Callable[[AbstractSet[ApplianceId]], LeaveVerdict],
) -> Move | None:
    """What is to be done with a window now; None for nothing. Several are asked one after the other.

    Args:
        may_leave: the failure budget, with what windows moved before this one hold already.
    """
    if window.state is WindowState.PLANNED:
        return _begin(window, fleet, now_s=now_s, may_leave=may_leave)
    if window.state is WindowState.DRAINING and now_s >= window.starts_s:
        return _open(window, fleet)
    if window.state is WindowState.OPEN and now_s >= window.ends_s:
        return Move(window=replace(window, state=WindowState.RETURNING), kind="maintenance.ended", reason="time-is-up")
    if window.state is WindowState.RETURNING:
        return _bring_back(window, fleet, rules, now_s)
    return None


def cancel(window: MaintenanceWindow, *, now_s: float) -> MaintenanceWindow:
    """The window after an operator ended it: what is out of service comes back when its checks pass.

    Raises:
        FleetError: it has ended.
    """
    if window.state in ENDED:
        raise FleetError(f"maintenance window {window.window_id} is {window.state} already")
    if window.state is WindowState.OPEN:
        return replace(window, state=WindowState.RETURNING, ends_s=max(now_s, window.starts_s))
    return replace(window, state=WindowState.CANCELLED, members=())


def _begin(
    window: MaintenanceWindow,
    fleet: Mapping[ApplianceId, Member],
    *,
    now_s: float,
    may_leave: Callable[[AbstractSet[ApplianceId]], LeaveVerdict],
) -> Move | None:
    if now_s < window.drains_s:
        return None
    if now_s >= window.ends_s:
        reason = window.refusal or "nobody-decided"
        return Move(window=replace(window, state=WindowState.MISSED), kind="maintenance.missed", reason=reason)
    names = tuple(sorted(name for name, one in fleet.items() if window.covers(one.appliance)))
    verdict = may_leave(frozenset(names))
    if not verdict.may_leave and not window.is_forced:
        if verdict.reason.value == window.refusal:
            return None
        blocked = replace(window, refusal=verdict.reason.value, detail=verdict.detail)
        return Move(window=blocked, kind="maintenance.blocked", reason=verdict.reason.value, detail=verdict.detail)
    detail = f"{window.target}: {show_count(len(names), 'appliance')}"
    if not verdict.may_leave:
        detail += f", forced by {window.planned_by} past: {verdict.reason} ({verdict.detail})"
    begun = replace(window, state=WindowState.DRAINING, members=names, refusal="", detail="")
    return Move(window=begun, kind="maintenance.draining", reason=window.reason, detail=detail)


def _open(window: MaintenanceWindow, fleet: Mapping[ApplianceId, Member]) -> Move:
    left = [
        f"{name} ({show_count(fleet[name].sessions, 'session')})"
        for name in window.members
        if name in fleet and fleet[name].drain is not DrainState.DRAINED and fleet[name].sessions
    ]
    return Move(
        window=replace(window, state=WindowState.OPEN),
        kind="maintenance.started",
        reason="sessions-left" if left else "drained",
        detail=", ".join(left[:8]),
    )


def _bring_back(
    window: MaintenanceWindow, fleet: Mapping[ApplianceId, Member], rules: MaintenanceRules, now_s: float
) -> Move | None:
    away = tuple(name for name in window.members if name in fleet and not _is_back(fleet[name]))
    if not away:
        done = replace(window, state=WindowState.DONE, members=(), detail="")
        return Move(window=done, kind="maintenance.done", reason="all-back", detail=window.target)
    why = ", ".join(f"{name}: {fleet[name].health.state} ({fleet[name].health.reason})" for name in away[:8])
    if not window.is_late and now_s >= window.ends_s + rules.late_after_s:
        late = replace(window, members=away, detail=why, is_late=True)
        return Move(window=late, kind="maintenance.late", reason="not-healthy", detail=why)
    return None if away == window.members else Move(window=replace(window, members=away, detail=why))


def _is_back(member: Member) -> bool:
    """All its checks pass, or an operator keeps it out by himself."""
    if member.appliance.admin_state is not AdminState.ENABLED:
        return True
    return member.health.state is HealthState.HEALTHY or member.health.reason is HealthReason.DISABLED
