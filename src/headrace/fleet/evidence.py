"""What is known of an appliance when its health is concluded: its own reports and the probes of every control node.

Shapes, thresholds, and the one question what several vantage points say together. Decides no health.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from headrace.base.ids import ApplianceId
from headrace.fleet.model import AdminState, ApplianceReport

PROBE_USER_AGENT = "headrace-probe/1"
"""What the control plane's probes call themselves: no viewers, so they count neither as sessions nor as demand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthRules:
    """Thresholds of health, each with the reason for its default."""

    silent_after_s: float = 5.0
    """Two reports of the 2 s interval may be lost, not three."""
    probe_failures: int = 2
    """Failed probes in a row that count: one may be a lost packet."""
    probe_fresh_s: float = 30.0
    """An older probe result says nothing; large fleets are probed in turns of up to ten seconds."""
    silent_probe_fresh_s: float = 5.0
    """For a silent appliance: it is probed each second then, so an older success was before its death."""
    prober_present_s: float = 5.0
    """A control node whose probes were not heard for so long has no say; longer than the lease, so that a takeover
    does not look like a loss."""
    prober_member_s: float = 15.0
    """For so long it still counts in what half of the control nodes is: a minority that is left concludes no death
    before."""
    cut_off_ratio: float = 0.5
    """A prober that does not reach more than this share of what others reach is cut off itself."""
    counters_frozen_s: float = 20.0
    """Probes are served and counters stand still for so long: ten reports, and far longer than a log is buffered."""
    turn_up_s: float = 3.0
    """All turn-up checks must pass for so long before the first client."""
    turn_up_plan_ratio: float = 0.1
    """Share of the planned files that must be held before the first client."""
    recover_s: float = 10.0
    """Good for so long before clients come back; doubled for each relapse."""
    recover_most_s: float = 60.0
    """Bound of that doubling."""
    relapse_window_s: float = 300.0
    """A fault within this time after the last return is a relapse."""
    autonomy_s: float = 259_200.0
    """Silent but serving stays in use for three days: an appliance that lost the control plane goes on serving, and
    somebody comes back to work after a long week-end."""
    mass_ratio: float = 0.5
    """More than this share of the healthy fleet gone at once is taken for a fault of our own network."""
    mass_at_least: int = 10
    """So many at once are not believed even when some others still answer; fewer can be one rack that lost power."""
    mass_window_s: float = 15.0
    """'At once': longer than any appliance's death takes to notice."""
    witness_s: float = 3.0
    """An answer this fresh shows that our own network works; longer than the report interval."""


class ProbeOutcome(StrEnum):
    """What came of fetching a few bytes of a held file."""

    OK = "ok"
    UNREACHABLE = "unreachable"
    """Refused, timed out, reset: nothing at that address speaks HTTP to us."""
    WRONG_STATUS = "wrong-status"
    NOT_HELD = "not-held"
    """A redirect or 404 for a file that it reported as held."""
    UNREADABLE = "unreadable"
    """403 or 500 for a file that it reported as held: what a disk that is off or cannot be read gives."""
    WRONG_BYTES = "wrong-bytes"
    """Another range, length or entity tag than the file has."""


MAX_FAILURES_KEPT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSeen:
    """The newest probe of one appliance from one control node."""

    vantage: str
    at_s: float
    """UTC epoch seconds of the answer or of the timeout."""
    outcome: ProbeOutcome
    failed_at_s: tuple[float, ...] = ()
    """When the failures in a row up to now came, oldest first, at most the last MAX_FAILURES_KEPT."""
    detail: str = ""
    is_verified: bool = False
    """A whole file came, and its SHA-256 was right."""
    failing_since_s: float = 0.0
    """When the first of the failures in a row came; 0 where that is not told: then the first that is kept counts."""

    @property
    def began_s(self) -> float:
        """When the failures in a row up to now began; 0 for none."""
        return self.failing_since_s or (self.failed_at_s[0] if self.failed_at_s else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesSeen:
    """What is known of the BGP sessions of one appliance."""

    sessions: int
    established: int
    routes: int
    """Routes that count, of all its sessions."""
    missing: tuple[str, ...] = ()
    """Address families that it has sessions for and hears no route of that counts."""
    detail: str = ""
    """Why some session is not established."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that is known of one appliance now."""

    appliance_id: ApplianceId
    admin_state: AdminState
    last_message_s: float | None
    """When anything came from it; None for never."""
    last_report_s: float | None
    """When a message came that was newer than all before it; None for never."""
    report: ApplianceReport
    held_files: int
    planned_files: int
    held_of_plan: int
    """Files that are both planned and held."""
    probes: tuple[ProbeSeen, ...] = ()
    """At most one of each vantage point."""
    probers: int = 0
    """Control nodes that probe now and are trusted; 0 for as many as there are probes. A failure counts when more than
    half of them see it."""
    routes: RoutesSeen | None = None
    """None: it has no BGP session, so that its site's prefixes are what operators say."""
    has_quorum: bool = True
    """Enough control nodes are there to mark somebody down for what probes do not reach."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeVerdict:
    """What the vantage points say together."""

    is_pass: bool = False
    is_fail: bool = False
    """Neither: nobody probed lately, or no majority says so."""
    is_unreachable: bool = False
    failures: int = 0
    at_s: float = 0.0
    detail: str = ""
    outcome: ProbeOutcome = ProbeOutcome.OK
    is_split: bool = False
    """Some see it fail, too few for a majority, and nobody sees it pass."""
    bad_paths: str = ""
    """The minority that does not reach it, for people; '' for nobody."""


AWAITED_S = 5.0
"""The next probe of another prober is awaited for so long before a majority of failures counts."""
NOT_PROBED = ProbeVerdict(detail="no probe lately")


def judge_probes(probes: Sequence[ProbeSeen], *, after_s: float, probers: int = 0, sure: int = 2) -> ProbeVerdict:
    """Weigh the probes that are newer than `after_s`: it fails when more than half of the probers see it fail.

    A tie passes: an appliance that answers one of two control nodes answers clients too, and the fault is as likely
    between it and the other node. Failures are counted only as far as they are newer than `after_s`.

    Args:
        probers: how many control nodes have a say; 0 for those that have probed lately.
        sure: failures in a row from which on a minority's path is called bad.
    """
    if len(probes) == 1 and probers <= 1:  # by far the most usual case, on the hot path of the health loop
        return _verdict(probes[0], after_s) if probes[0].at_s > after_s else NOT_PROBED
    fresh = [probe for probe in probes if probe.at_s > after_s]
    failed = [probe for probe in fresh if probe.outcome is not ProbeOutcome.OK]
    if not fresh:
        return NOT_PROBED
    passed = [probe for probe in fresh if probe.outcome is ProbeOutcome.OK]
    is_most = len(failed) * 2 > max(len(fresh), probers)
    if is_most and _is_somebody_awaited(failed, passed):
        return ProbeVerdict(is_split=True, detail=f"{len(failed)} probers see it fail, others have not looked since")
    if is_most:
        return max((_verdict(probe, after_s) for probe in failed), key=lambda verdict: verdict.failures)
    if len(failed) * 2 > len(fresh):
        words = f"{len(failed)} of {max(len(fresh), probers)} probers see it fail"
        return ProbeVerdict(is_split=True, detail=words)
    newest = _verdict(max(passed, key=lambda probe: probe.at_s), after_s)
    if not failed:
        return newest
    bad = sorted((probe for probe in failed if len(probe.failed_at_s) >= sure), key=lambda probe: probe.vantage)
    words = ", ".join(f"{probe.vantage} ({probe.detail or probe.outcome})" for probe in bad[:3])
    return replace(newest, bad_paths=words)


def _is_somebody_awaited(failed: Sequence[ProbeSeen], passed: Sequence[ProbeSeen]) -> bool:
    """Whether a prober passed before the others failed, and has had no time to look again: it may be that they are cut
    off together, which only its next probes can show."""
    began_s = min(probe.began_s for probe in failed)
    newest_s = max(probe.at_s for probe in failed)
    return any(probe.at_s < began_s and newest_s - probe.at_s < AWAITED_S for probe in passed)


def _verdict(probe: ProbeSeen, after_s: float) -> ProbeVerdict:
    if probe.outcome is ProbeOutcome.OK:
        return ProbeVerdict(is_pass=True, at_s=probe.at_s)
    return ProbeVerdict(
        is_fail=True,
        is_unreachable=probe.outcome is ProbeOutcome.UNREACHABLE,
        failures=sum(at_s > after_s for at_s in probe.failed_at_s),
        at_s=probe.at_s,
        detail=f"probe: {probe.outcome}" + (f" ({probe.detail})" if probe.detail else ""),
        outcome=probe.outcome,
    )
