"""Whether what looks like the loss of most of the fleet is a fault of our own network, and what to conclude then.

Pure. Wraps `health` for a whole fleet: when most healthy appliances seem lost within one window and nothing else shows
that our own network works, nobody is marked down: the last state is held, and those marked down earlier in the same
window get it back. The death of one appliance, or of some while others answer, is never held. In prose: docs/health.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from headrace.base.ids import ApplianceId
from headrace.fleet.evidence import Evidence, HealthRules, ProbeOutcome
from headrace.fleet.health import HealthTrack, conclude_health
from headrace.fleet.model import AdminState, HealthReason, HealthState
from headrace.fleet.quorum import Probers, Weighed, as_weighed, weigh_probers

ALONE = Probers()


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetConclusion:
    """What was concluded of the whole fleet in one turn."""

    tracks: Mapping[ApplianceId, HealthTrack]
    is_held: bool
    watching_since_s: float
    """As given, or now when a hold has just ended: what happened during it proves nothing."""
    detail: str
    """The counts that the hold was decided on."""
    weighed: Weighed
    """What the probers were worth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MassLoss:
    """The counts behind a hold."""

    healthy: int
    """Appliances that were healthy at the start of the window."""
    seeming_lost: int
    """Those of them that do not answer now."""
    witnesses: int
    """Appliances, healthy or not, that answered a moment ago."""

    def __str__(self) -> str:
        return f"{self.seeming_lost} of {self.healthy} healthy appliances do not answer, {self.witnesses} others do"


def conclude_fleet(
    tracks: Mapping[ApplianceId, HealthTrack],
    evidence: Iterable[Evidence],
    rules: HealthRules,
    *,
    now_s: float,
    watching_since_s: float,
    was_held: bool,
    probers: Probers = ALONE,
) -> FleetConclusion:
    """Conclude the health of every appliance in `evidence`; those without a track start as never heard of."""
    evidence = list(evidence)
    weighed = weigh_probers(evidence, probers, rules, now_s=now_s)
    seen = {one.appliance_id: as_weighed(one, weighed) for one in evidence}
    before = {name: tracks.get(name) or HealthTrack() for name in seen}
    loss = weigh_loss(before, seen, rules, now_s=now_s)
    is_doubted = may_not_be_believed(loss, rules, was_held=was_held)
    if was_held and not is_doubted:
        watching_since_s = now_s
    after = {
        name: conclude_health(before[name], one, rules, now_s=now_s, watching_since_s=watching_since_s)
        for name, one in seen.items()
    }
    is_held = is_doubted and (was_held or any(_is_newly_gone(before[name], after[name]) for name in seen))
    if is_held:
        after = {name: _held(before[name], track, rules, now_s) for name, track in after.items()}
    return FleetConclusion(
        tracks=after, is_held=is_held, watching_since_s=watching_since_s, detail=str(loss), weighed=weighed
    )


def weigh_loss(
    tracks: Mapping[ApplianceId, HealthTrack], seen: Mapping[ApplianceId, Evidence], rules: HealthRules, *, now_s: float
) -> MassLoss:
    """Count who was healthy in this window, who of them seems lost, and who else answers."""
    healthy = lost = witnesses = 0
    for name, one in seen.items():
        last_failed, last_passed_s = _last_contact(one)
        answers = not last_failed and now_s - last_passed_s <= rules.witness_s
        witnesses += answers
        if one.admin_state is AdminState.DISABLED or not _was_healthy(tracks[name], rules, now_s):
            continue
        healthy += 1
        lost += not answers
    return MassLoss(healthy=healthy, seeming_lost=lost, witnesses=witnesses)


def may_not_be_believed(loss: MassLoss, rules: HealthRules, *, was_held: bool) -> bool:
    """The rule: most of the healthy at once, and either no witness at all or too many for one fault.

    A hold of a large fleet ends only at half the share that it begins at, so that it does not begin and end by turns.
    """
    ratio = rules.mass_ratio / 2 if was_held else rules.mass_ratio
    if loss.seeming_lost < 2 or loss.seeming_lost <= ratio * loss.healthy:
        return False
    return loss.witnesses == 0 or loss.seeming_lost >= rules.mass_at_least


def _last_contact(one: Evidence) -> tuple[bool, float]:
    """Whether the newest probes all found nothing there, and when anything last came from it."""
    last_s = one.last_message_s or 0.0
    if not one.probes:
        return False, last_s
    answered = [probe.at_s for probe in one.probes if probe.outcome is not ProbeOutcome.UNREACHABLE]
    return not answered, max(last_s, *answered) if answered else last_s


def _was_healthy(track: HealthTrack, rules: HealthRules, now_s: float) -> bool:
    if track.health.state is HealthState.HEALTHY:
        return True
    return track.unreachable_since_s is not None and now_s - track.unreachable_since_s <= rules.mass_window_s


def _is_newly_gone(before: HealthTrack, after: HealthTrack) -> bool:
    return before.health.state is HealthState.HEALTHY and after.unreachable_since_s is not None


def _held(before: HealthTrack, after: HealthTrack, rules: HealthRules, now_s: float) -> HealthTrack:
    """Keep or give back the healthy state of an appliance that nothing but unreachability speaks against."""
    if not _was_healthy(before, rules, now_s):
        return after
    is_down_now = after.health.state is not HealthState.HEALTHY
    if is_down_now and after.unreachable_since_s is None:
        return after  # its own fault, such as its nginx reported down
    if not is_down_now:
        return after
    was = before.health
    since_s = was.since_s if was.state is HealthState.HEALTHY else now_s
    health = replace(
        was,
        state=HealthState.HEALTHY,
        reason=HealthReason.HELD_LAST_STATE,
        detail="most of the fleet does not answer",
        since_s=since_s,
    )
    return replace(before, health=health, unreachable_since_s=None, good_since_s=None)
