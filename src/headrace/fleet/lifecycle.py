"""An appliance's life as operators move it: enabled, draining, disabled; when a drain is done; who may leave.

Pure. The failure budget stands here and nowhere else: every way to take appliances out of service (a drain, a disable,
a maintenance window when it is planned and again when it begins, later an upgrade) asks `check_may_leave` first.
Turn-up and health are concluded in `health`.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from headrace.base.ids import ApplianceId, SiteId
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
    the drain (their TTL). A report whose counters stand still is none: its age is None. What is drained stays so until
    it serves again or leaves DRAINING.
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
    """Why appliances may or may not be taken out of service."""

    GIVES_NOTHING = "gives-nothing"
    """They serve no client now, so nothing is lost."""
    WITHIN_BUDGET = "within-budget"
    LAST_OF_FLEET = "last-of-fleet"
    LAST_OF_SITE = "last-of-site"
    LAST_COPIES = "last-copies"
    """Files would be on no serving appliance of the fleet."""
    LAST_IN_REGION = "last-in-region"
    """Files would be on no serving appliance of the region."""
    SITE_OVER_BUDGET = "site-over-budget"
    OVER_BUDGET = "over-budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureBudget:
    """How much may be away at once. Disabled appliances are away until they are removed; new ones do not count yet."""

    away_ratio: float = 0.5
    """Share of the fleet, with those that leave, that may be out of service; one may always be."""
    site_away_ratio: float = 0.5
    """The same of one site: half of it still carries the site's traffic outside the evening peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the budget asks of one appliance."""

    appliance: Appliance
    """With the admin state in force, maintenance windows included."""
    health: Health

    @property
    def is_serving(self) -> bool:
        """New sessions are steered to it."""
        return self.appliance.admin_state is AdminState.ENABLED and self.health.state is HealthState.HEALTHY

    @property
    def is_counted(self) -> bool:
        """It has served or was taken out of service, so it is part of what may be away."""
        return self.health.is_turned_up or self.appliance.admin_state is AdminState.DISABLED


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Published files of which those that leave have the last copies on serving appliances."""

    in_fleet: int = 0
    in_region: int = 0
    region: str = ""
    """The region where, as `fleet.region` names it."""
    titles: tuple[str, ...] = ()
    """Some of the titles that these files belong to, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveVerdict:
    """Whether appliances may leave, and why."""

    may_leave: bool
    reason: LeaveReason
    detail: str = ""


def check_may_leave(
    leaving: AbstractSet[ApplianceId],
    fleet: Sequence[Standing],
    *,
    copies: Copies | None = None,
    budget: FailureBudget | None = None,
) -> LeaveVerdict:
    """Ask the failure budget whether `leaving` may be drained, disabled or taken away now, all at once.

    Args:
        copies: what only those that leave hold; see `placement.copies` for how it is found.

    Unknown appliances give nothing. An operator may overrule a refusal; the caller records that in the event.
    """
    copies, budget = copies or Copies(), budget or FailureBudget()
    going = [one for one in fleet if one.appliance.appliance_id in leaving and one.is_serving]
    if not going:
        return LeaveVerdict(may_leave=True, reason=LeaveReason.GIVES_NOTHING)
    staying = [one for one in fleet if one.appliance.appliance_id not in leaving]
    if not any(one.is_serving for one in staying):
        return _refused(LeaveReason.LAST_OF_FLEET, "no other appliance serves clients")
    for site_id in sorted({one.appliance.site_id for one in going}):
        neighbours = [one for one in staying if one.appliance.site_id == site_id]
        if neighbours and not any(one.is_serving for one in neighbours):
            return _refused(LeaveReason.LAST_OF_SITE, f"the others of site {site_id} are away: {_names(neighbours)}")
    if copies.in_fleet:
        return _refused(LeaveReason.LAST_COPIES, f"{_files(copies, copies.in_fleet)} on no other serving appliance")
    if copies.in_region:
        where = f"on no other serving appliance of {copies.region}"
        return _refused(LeaveReason.LAST_IN_REGION, f"{_files(copies, copies.in_region)} {where}")
    return _check_shares(leaving, fleet, sorted({one.appliance.site_id for one in going}), budget)


def _check_shares(
    leaving: AbstractSet[ApplianceId], fleet: Sequence[Standing], sites: Sequence[SiteId], budget: FailureBudget
) -> LeaveVerdict:
    """The budgets of the sites, then that of the fleet."""
    for site_id in sites:
        inside = [one for one in fleet if one.appliance.site_id == site_id]
        away, counted, most = _away(leaving, inside, budget.site_away_ratio)
        if away > most:
            detail = f"{away} of {counted} of site {site_id} would be away, at most {most} may"
            return _refused(LeaveReason.SITE_OVER_BUDGET, detail)
    away, counted, most = _away(leaving, fleet, budget.away_ratio)
    if away > most:
        return _refused(LeaveReason.OVER_BUDGET, f"{away} of {counted} would be away, at most {most} may")
    return LeaveVerdict(may_leave=True, reason=LeaveReason.WITHIN_BUDGET)


def _away(leaving: AbstractSet[ApplianceId], among: Iterable[Standing], ratio: float) -> tuple[int, int, int]:
    """How many would be away, of how many that count, and how many may be."""
    counted = [one for one in among if one.is_counted]
    stay = sum(one.is_serving and one.appliance.appliance_id not in leaving for one in counted)
    return len(counted) - stay, len(counted), max(1, int(ratio * len(counted)))


def _files(copies: Copies, count: int) -> str:
    named = f" ({', '.join(copies.titles)})" if copies.titles else ""
    return f"{count} files{named} are"


def _refused(reason: LeaveReason, detail: str) -> LeaveVerdict:
    return LeaveVerdict(may_leave=False, reason=reason, detail=detail)


def _names(standings: Iterable[Standing]) -> str:
    return ", ".join(sorted(one.appliance.appliance_id for one in standings)[:5])
