"""What to conclude of one appliance's health: turn-up before the first client, hysteresis afterwards, always a reason.

Pure. In: what was concluded before, the evidence of now, the thresholds. Out: the next conclusion. A report alone is
never enough for HEALTHY, and silence alone never takes it away: an appliance that lost the control plane goes on
serving as long as probes pass. Whether most of the fleet is lost at once is asked in `mass_loss`. In prose:
docs/health.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from headrace.fleet.evidence import Evidence, HealthRules, ProbeOutcome, ProbeVerdict, judge_probes
from headrace.fleet.model import (
    AdminState,
    CheckResult,
    CheckState,
    Health,
    HealthReason,
    HealthState,
    TurnUpCheck,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthTrack:
    """A conclusion and the little memory that hysteresis needs. Only `health` is stored: a control node that takes over
    starts with the rest empty, which makes recoveries slower, never faster."""

    health: Health = field(default_factory=Health)
    good_since_s: float | None = None
    """Since when every check has passed; None while one does not."""
    relapses: int = 0
    healthy_since_s: float | None = None
    """When it last became healthy."""
    unreachable_since_s: float | None = None
    """When it stopped being healthy because nothing answered; None otherwise."""
    answered: int = -1
    """Its counter of requests, as last reported."""
    answered_moved_s: float | None = None
    """When that last changed, or was first looked at."""
    checks: tuple[CheckResult, ...] = ()
    """The turn-up checks, as they stood when it was last not turned up."""


class Finding(Enum):
    """What the evidence of now says, without memory."""

    NEVER_HEARD = "never-heard"
    GOOD = "good"
    UNSURE = "unsure"
    """Nothing proven either way: the last state stays."""
    BAD = "bad"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A finding and its reason."""

    finding: Finding
    reason: HealthReason
    detail: str = ""
    is_reporting: bool = True
    is_unreachable: bool = False
    """The fault is that nothing answers, which a fault of our own network would look like as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """Evidence with what every check asks of it."""

    evidence: Evidence
    rules: HealthRules
    now_s: float
    watching_since_s: float
    is_turned_up: bool
    is_reporting: bool
    probe: ProbeVerdict
    answered_moved_s: float | None


def conclude_health(
    track: HealthTrack, evidence: Evidence, rules: HealthRules, *, now_s: float, watching_since_s: float
) -> HealthTrack:
    """The next conclusion for one appliance.

    Args:
        now_s: UTC epoch seconds.
        watching_since_s: since when reports and probes could reach us without a break; silence and failures from before
            (another control node's time, a suspended machine, a cut network) are not held against the appliance.
    """
    track = _with_counter(track, evidence, now_s=now_s, watching_since_s=watching_since_s)
    case = _case_of(evidence, rules, track, now_s=now_s, watching_since_s=watching_since_s)
    found = _examine(case)
    if not case.is_turned_up:
        track = replace(track, checks=_turn_up_checks(case, track.checks))
    is_disabled = evidence.admin_state is AdminState.DISABLED
    is_good = found.finding is Finding.GOOD and not is_disabled
    good_since_s = (now_s if track.good_since_s is None else track.good_since_s) if is_good else None
    moved = replace(track, good_since_s=good_since_s)
    if is_disabled:
        moved = replace(moved, health=replace(track.health, is_turned_up=False), relapses=0)
    state, reason, detail = _next_state(moved, found, rules, is_disabled, now_s)
    return _with_state(moved, found, rules, Health(state=state, reason=reason, detail=detail), now_s)


def _case_of(
    evidence: Evidence, rules: HealthRules, track: HealthTrack, *, now_s: float, watching_since_s: float
) -> _Case:
    is_reporting = evidence.last_report_s is not None and now_s - evidence.last_report_s <= rules.silent_after_s
    fresh_s = rules.probe_fresh_s if is_reporting else rules.silent_probe_fresh_s
    return _Case(
        evidence=evidence,
        rules=rules,
        now_s=now_s,
        watching_since_s=watching_since_s,
        is_turned_up=track.health.is_turned_up,
        is_reporting=is_reporting,
        probe=judge_probes(
            evidence.probes,
            after_s=max(now_s - fresh_s, watching_since_s),
            probers=evidence.probers,
            sure=rules.probe_failures,
        ),
        answered_moved_s=track.answered_moved_s,
    )


def _examine(case: _Case) -> Found:
    """What the evidence says by itself: the first check that has something to say."""
    if case.evidence.last_report_s is None:
        return Found(finding=Finding.NEVER_HEARD, reason=HealthReason.NEVER_REPORTED, is_reporting=False)
    for check in _CHECKS:
        found = check(case)
        if found is not None:
            return found
    return _good(case)


def recovery_s(relapses: int, rules: HealthRules) -> float:
    """How long an appliance must be good before clients come back."""
    return min(max(rules.recover_most_s, rules.recover_s), rules.recover_s * 2.0 ** min(relapses, 16))


def _check_silence(case: _Case) -> Found | None:
    if case.is_reporting:
        return None
    last_s = case.evidence.last_report_s or 0.0
    last_message_s = case.evidence.last_message_s or 0.0
    is_frozen = case.now_s - last_message_s <= case.rules.silent_after_s
    reason = HealthReason.REPORTS_FROZEN if is_frozen else HealthReason.NO_REPORT
    if case.now_s - case.watching_since_s <= case.rules.silent_after_s:
        return Found(finding=Finding.UNSURE, reason=reason, detail="too early to say", is_reporting=False)
    if case.probe.is_pass:
        is_known = case.now_s - last_s <= case.rules.autonomy_s
        detail = "serves on by itself" if is_known else "serves, but silent for too long to be trusted"
        return Found(
            finding=Finding.GOOD if is_known else Finding.BAD, reason=reason, detail=detail, is_reporting=False
        )
    if case.probe.is_fail and not case.probe.is_unreachable:
        return replace(_of_failed_probe(case), is_reporting=False)
    if not case.evidence.has_quorum or case.probe.is_split:
        return Found(
            finding=Finding.UNSURE, reason=HealthReason.NO_QUORUM, detail=case.probe.detail, is_reporting=False
        )
    return Found(finding=Finding.GONE, reason=reason, detail=case.probe.detail, is_reporting=False, is_unreachable=True)


def _check_nginx(case: _Case) -> Found | None:
    nginx = case.evidence.report.nginx
    if nginx.is_running:
        return None
    if case.probe.is_pass and case.probe.at_s > (case.evidence.last_report_s or 0.0):
        return Found(finding=Finding.UNSURE, reason=HealthReason.NGINX_DOWN, detail="a later probe passed")
    return Found(finding=Finding.BAD, reason=HealthReason.NGINX_DOWN, detail=nginx.error)


def _check_disks(case: _Case) -> Found | None:
    disks = case.evidence.report.disks
    if not disks:
        return Found(finding=Finding.BAD, reason=HealthReason.DISK_OFF, detail="no disk in its report")
    if any(disk.is_ok for disk in disks):
        return None
    return Found(finding=Finding.BAD, reason=HealthReason.ALL_DISKS_FAILED, detail=disks[0].error)


def _check_holdings(case: _Case) -> Found | None:
    held, planned, of_plan = case.evidence.held_files, case.evidence.planned_files, case.evidence.held_of_plan
    if held == 0 and planned == 0 and case.is_turned_up:
        return Found(finding=Finding.GOOD, reason=HealthReason.ALL_CHECKS_PASS, detail="nothing planned, nothing held")
    if held == 0:
        return Found(finding=Finding.BAD, reason=HealthReason.NOTHING_HELD, detail=f"{planned} files planned")
    if not case.is_turned_up and of_plan < planned * case.rules.turn_up_plan_ratio:
        needed = f"less than {case.rules.turn_up_plan_ratio:.0%} of the plan"
        return Found(finding=Finding.BAD, reason=HealthReason.FILLING, detail=needed)
    return None


def _check_probe(case: _Case) -> Found | None:
    if case.probe.is_pass:
        return None
    if case.probe.is_fail:
        return _of_failed_probe(case)
    return Found(finding=Finding.UNSURE, reason=HealthReason.NOT_PROBED, detail=case.probe.detail)


def _of_failed_probe(case: _Case) -> Found:
    is_sure = case.probe.failures >= case.rules.probe_failures and case.evidence.has_quorum
    is_off = case.probe.outcome in (ProbeOutcome.NOT_HELD, ProbeOutcome.UNREADABLE)
    return Found(
        finding=Finding.BAD if is_sure else Finding.UNSURE,
        reason=HealthReason.DISK_OFF if is_off else HealthReason.PROBE_FAILED,
        detail=case.probe.detail,
        is_unreachable=case.probe.is_unreachable,
    )


def _good(case: _Case) -> Found:
    """Every check passes; the reason says what is odd all the same."""
    if case.probe.bad_paths:
        detail = f"not reached by {case.probe.bad_paths}"
        return Found(finding=Finding.GOOD, reason=HealthReason.BAD_PATH, detail=detail)
    if _are_counters_frozen(case):
        detail = f"{case.evidence.report.load.answered} requests, though probes are served"
        return Found(finding=Finding.GOOD, reason=HealthReason.COUNTERS_FROZEN, detail=detail)
    return Found(finding=Finding.GOOD, reason=HealthReason.ALL_CHECKS_PASS)


def _are_counters_frozen(case: _Case) -> bool:
    """A probe is a request too: once it was served, the counter must have moved."""
    moved_s = case.answered_moved_s
    if moved_s is None or not case.probe.is_pass:
        return False
    is_long = case.now_s - moved_s >= case.rules.counters_frozen_s
    return is_long and case.probe.at_s - moved_s >= case.rules.counters_frozen_s / 2


def _with_counter(track: HealthTrack, evidence: Evidence, *, now_s: float, watching_since_s: float) -> HealthTrack:
    answered = evidence.report.load.answered
    if answered < 0:
        return track if track.answered_moved_s is None else replace(track, answered=-1, answered_moved_s=None)
    has_moved = answered != track.answered or track.answered_moved_s is None
    # While nothing could be heard, standing still proves nothing.
    return replace(
        track,
        answered=answered,
        answered_moved_s=now_s if has_moved else max(track.answered_moved_s or 0.0, watching_since_s),
    )


def _check_routes(case: _Case) -> Found | None:
    """Only before the first client: who loses its routes later is not steered to by them, and needs no other state."""
    routes = case.evidence.routes
    if case.is_turned_up or routes is None or not routes.missing:
        return None
    detail = f"none for {' and '.join(routes.missing)}, {routes.established} of {routes.sessions} sessions established"
    if routes.detail:
        detail += f": {routes.detail}"
    return Found(finding=Finding.BAD, reason=HealthReason.NO_ROUTES, detail=detail)


def _check_range(case: _Case) -> Found | None:
    if case.is_turned_up or any(
        probe.is_verified and probe.outcome is ProbeOutcome.OK and case.now_s - probe.at_s <= case.rules.probe_fresh_s
        for probe in case.evidence.probes
    ):
        return None
    return Found(finding=Finding.UNSURE, reason=HealthReason.NOT_VERIFIED, detail="no whole file fetched lately")


def _check_reachable(case: _Case) -> Found | None:
    """The part of a failed probe that is about the road to it, not about what it serves."""
    is_answered = case.probe.is_pass or (case.probe.is_fail and not case.probe.is_unreachable)
    return None if is_answered else _check_probe(case)


def _check_served(case: _Case) -> Found | None:
    """The other part."""
    is_answered = case.probe.is_pass or (case.probe.is_fail and not case.probe.is_unreachable)
    if not is_answered:
        return Found(finding=Finding.UNSURE, reason=HealthReason.NOT_PROBED, detail="not reached yet")
    return _check_probe(case) or _check_range(case)


_CHECKS: tuple[Callable[[_Case], Found | None], ...] = (
    _check_silence,
    _check_nginx,
    _check_disks,
    _check_routes,
    _check_holdings,
    _check_probe,
    _check_range,
)

_TURN_UP: dict[TurnUpCheck, Callable[[_Case], Found | None]] = {
    TurnUpCheck.REPORTS: _check_silence,
    TurnUpCheck.WEB_SERVER: _check_nginx,
    TurnUpCheck.DISKS: _check_disks,
    TurnUpCheck.ROUTES: _check_routes,
    TurnUpCheck.CONTENT: _check_holdings,
    TurnUpCheck.REACHABLE: _check_reachable,
    TurnUpCheck.RANGE: _check_served,
}


def _turn_up_checks(case: _Case, before: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
    """All checks, each by itself; one whose state is as before keeps its words, so that counts do not make it new."""
    known = {one.check: one for one in before}
    results = []
    for check, ask in _TURN_UP.items():
        result = _result(check, ask, case)
        was = known.get(check)
        results.append(was if was is not None and was.state is result.state else result)
    return tuple(results)


def _result(check: TurnUpCheck, ask: Callable[[_Case], Found | None], case: _Case) -> CheckResult:
    if case.evidence.last_report_s is None:
        return CheckResult(check=check, state=CheckState.WAITING, detail="never heard of")
    found = ask(case)
    if found is None:
        return CheckResult(check=check, state=CheckState.PASSED)
    # Silent, but serving: good enough to go on serving, not to begin.
    is_waiting = found.finding in (Finding.UNSURE, Finding.GOOD)
    detail = f"{found.reason}: {found.detail}" if found.detail else str(found.reason)
    return CheckResult(check=check, state=CheckState.WAITING if is_waiting else CheckState.FAILED, detail=detail)


_Next = tuple[HealthState, HealthReason, str]


def _next_state(track: HealthTrack, found: Found, rules: HealthRules, is_disabled: bool, now_s: float) -> _Next:
    was = track.health
    out = HealthState.UNHEALTHY if was.is_turned_up else HealthState.TURNING_UP
    silent = {Finding.NEVER_HEARD: HealthState.UNKNOWN, Finding.GONE: HealthState.LOST}.get(found.finding)
    if silent is not None:
        return silent, found.reason, found.detail
    if found.finding is Finding.GOOD and not is_disabled and _is_proven(track, found, rules, now_s):
        return HealthState.HEALTHY, found.reason, found.detail
    if was.state is HealthState.LOST and not found.is_reporting:
        return was.state, was.reason, was.detail  # without a report, only a full recovery ends a loss
    if found.finding is Finding.GOOD:
        return _not_yet(was, found, is_disabled, out)
    if found.finding is Finding.BAD or not was.is_turned_up:
        return out, found.reason, found.detail
    if was.state is HealthState.LOST:
        return out, HealthReason.RECOVERING, "reports again"
    return was.state, was.reason, was.detail


def _is_proven(track: HealthTrack, found: Found, rules: HealthRules, now_s: float) -> bool:
    if track.health.state is HealthState.HEALTHY and track.health.is_turned_up:
        return True
    good_for_s = now_s - (now_s if track.good_since_s is None else track.good_since_s)
    if track.health.is_turned_up:
        return good_for_s >= recovery_s(track.relapses, rules)
    return found.is_reporting and good_for_s >= rules.turn_up_s


def _not_yet(was: Health, found: Found, is_disabled: bool, out: HealthState) -> _Next:
    if is_disabled:
        return out, HealthReason.DISABLED, ""
    if not found.is_reporting and not was.is_turned_up:
        return out, found.reason, "turn-up needs reports"
    return out, HealthReason.RECOVERING, "all checks pass, not yet for long enough"


def _with_state(track: HealthTrack, found: Found, rules: HealthRules, health: Health, now_s: float) -> HealthTrack:
    """Put the new state in, and keep the memory of faults that the next steps ask for."""
    was = track.health
    has_moved = health.state is not was.state
    is_healthy = health.state is HealthState.HEALTHY
    health = replace(health, since_s=now_s if has_moved else was.since_s, is_turned_up=was.is_turned_up or is_healthy)
    if not has_moved:
        return replace(track, health=health)
    if is_healthy:
        return replace(track, health=health, healthy_since_s=now_s, unreachable_since_s=None)
    if was.state is HealthState.HEALTHY:
        is_relapse = track.healthy_since_s is not None and now_s - track.healthy_since_s < rules.relapse_window_s
        return replace(
            track,
            health=health,
            relapses=track.relapses + 1 if is_relapse else 0,
            unreachable_since_s=now_s if found.is_unreachable else None,
        )
    return replace(track, health=health)
