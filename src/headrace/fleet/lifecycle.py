"""An appliance's life as operators move it: enabled, draining, disabled; when a drain is done; who may leave.

Pure. The failure budget stands here and nowhere else: every way to take an appliance out of service (a drain, a
disable, later an upgrade) asks `check_may_leave` first. Turn-up and health are concluded in `health`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from headrace.base.ids import ApplianceId
from headrace.fleet.model import AdminState, Appliance, ApplianceReport, FleetError, Health, HealthState

ADMIN_MOVES: dict[AdminState, tuple[AdminState, ...]] = {
    AdminState.ENABLED: (AdminState.DRAINING, AdminState.DISABLED),
    AdminState.DRAINING: (AdminState.ENABLED, AdminState.DISABLED),
    AdminState.DISABLED: (AdminState.ENABLED,),
}
"""What an operator may ask for from each state. What is disabled has no sessions to drain; its turn-up starts anew."""


def check_move(appliance_id: ApplianceId, now: AdminState, wanted: AdminState) -> None:
    """Check a move of the admin state; staying where one is, is always allowed.

    Raises:
        FleetError: not a legal move; names those that are.
    """
    if wanted is not now and wanted not in ADMIN_MOVES[now]:
        allowed = " or ".join(ADMIN_MOVES[now])
        raise FleetError(f"appliance {appliance_id} is {now} and cannot become {wanted}, only {allowed}")


class DrainState(StrEnum):
    """How far a drain is."""

    NOT_DRAINING = "not-draining"
    WAITING = "waiting"
    """Sessions run on it."""
    QUIET = "quiet"
    """No session, not yet for long enough."""
    UNKNOWN = "unknown"
    """No fresh report: sessions may run on it; missing data is never a pass."""
    DRAINED = "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """State of a drain and since when no session has been seen."""

    state: DrainState = DrainState.NOT_DRAINING
    quiet_since_s: float | None = None


def conclude_drain(
    drain: Drain,
    admin_state: AdminState,
    report: ApplianceReport,
    report_age_s: float | None,
    *,
    now_s: float,
    quiet_s: float,
    silent_after_s: float,
) -> Drain:
    """The next state of a drain: drained when no session has been reported for `quiet_s` seconds.

    `LoadReport.sessions` looks back 30 s by itself, so `quiet_s` only has to outlast steering answers given just before
    the drain (their TTL). What is drained stays so until it serves again or leaves DRAINING.
    """
    if admin_state is not AdminState.DRAINING:
        return Drain()
    if report_age_s is None or report_age_s > silent_after_s:
        return drain if drain.state is DrainState.DRAINED else Drain(state=DrainState.UNKNOWN)
    if report.load.sessions > 0:
        return Drain(state=DrainState.WAITING)
    quiet_since_s = now_s if drain.quiet_since_s is None else drain.quiet_since_s
    is_done = now_s - quiet_since_s >= quiet_s
    return Drain(state=DrainState.DRAINED if is_done else DrainState.QUIET, quiet_since_s=quiet_since_s)


class LeaveReason(StrEnum):
    """Why an appliance may or may not be taken out of service."""

    GIVES_NOTHING = "gives-nothing"
    """It serves no client now, so nothing is lost."""
    WITHIN_BUDGET = "within-budget"
    LAST_OF_FLEET = "last-of-fleet"
    LAST_OF_SITE = "last-of-site"
    LAST_COPIES = "last-copies"
    OVER_BUDGET = "over-budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureBudget:
    """How much of the fleet may be away at once."""

    away_ratio: float = 0.5
    """Share of the enabled appliances, with this one, that may be out of service; one may always be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the budget asks of one appliance."""

    appliance: Appliance
    health: Health

    @property
    def is_serving(self) -> bool:
        """New sessions are steered to it."""
        return self.appliance.admin_state is AdminState.ENABLED and self.health.state is HealthState.HEALTHY


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveVerdict:
    """Whether an appliance may leave, and why."""

    may_leave: bool
    reason: LeaveReason
    detail: str = ""


def check_may_leave(
    leaving: ApplianceId, fleet: Sequence[Standing], *, sole_files: int = 0, budget: FailureBudget | None = None
) -> LeaveVerdict:
    """Ask the failure budget whether `leaving` may be drained, disabled or taken away now.

    Args:
        sole_files: published files that it holds and no other serving appliance does (`placement.copies`).

    An unknown appliance gives nothing. An operator may overrule a refusal; the caller records that in the event.
    """
    budget = budget or FailureBudget()
    own = next((one for one in fleet if one.appliance.appliance_id == leaving), None)
    if own is None or not own.is_serving:
        return LeaveVerdict(may_leave=True, reason=LeaveReason.GIVES_NOTHING)
    others = [one for one in fleet if one.is_serving and one is not own]
    if not others:
        return _refused(LeaveReason.LAST_OF_FLEET, "no other appliance serves clients")
    neighbours = [one for one in fleet if one is not own and one.appliance.site_id == own.appliance.site_id]
    if neighbours and not any(one.is_serving for one in neighbours):
        away = _names(neighbours)
        return _refused(LeaveReason.LAST_OF_SITE, f"the others of site {own.appliance.site_id} are away: {away}")
    if sole_files:
        return _refused(LeaveReason.LAST_COPIES, f"{sole_files} files are on no other serving appliance")
    counted = [one for one in fleet if one.health.is_turned_up]
    most_away = max(1, int(budget.away_ratio * len(counted)))
    away_then = len(counted) - len([one for one in others if one.health.is_turned_up])
    if away_then > most_away:
        return _refused(
            LeaveReason.OVER_BUDGET, f"{away_then} of {len(counted)} would be away, at most {most_away} may"
        )
    return LeaveVerdict(may_leave=True, reason=LeaveReason.WITHIN_BUDGET)


def _refused(reason: LeaveReason, detail: str) -> LeaveVerdict:
    return LeaveVerdict(may_leave=False, reason=reason, detail=detail)


def _names(standings: Iterable[Standing]) -> str:
    return ", ".join(sorted(one.appliance.appliance_id for one in standings)[:5])
