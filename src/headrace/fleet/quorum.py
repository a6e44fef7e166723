"""Which control nodes' probes count, and whether there are enough of them to take anybody out of service. Pure.

Three things are told apart. Probers that fell silent: while less than half of those heard lately are there, nobody is
marked down for what probes do not reach. A prober that is cut off: it does not reach most of the appliances that
others reach after it failed; its failures count for nothing. One bad path: a minority does not reach one appliance; it
stays in use, and its health says whom it is not reached by. In prose: docs/health.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from headrace.fleet.evidence import Evidence, HealthRules, ProbeOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Probers:
    """The control nodes as the one that decides sees them; by default it is alone."""

    present: frozenset[str] = frozenset()
    """Heard within `HealthRules.prober_present_s`, itself included. Empty: whoever has a probe is present."""
    members: frozenset[str] = frozenset()
    """Heard within `HealthRules.prober_member_s`: whoever was there a moment ago has a say in what a majority is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """What the probers are worth now."""

    trusted: frozenset[str]
    has_quorum: bool
    cut_off: Mapping[str, str] = field(default_factory=dict)
    """Probers whose own network is broken, each with the counts."""


def weigh_probers(evidence: Iterable[Evidence], probers: Probers, rules: HealthRules, *, now_s: float) -> Weighed:
    """Find the probers to be trusted. With a single one it is always trusted: there is nobody to compare it with."""
    evidence = list(evidence)
    present = probers.present or frozenset(probe.vantage for one in evidence for probe in one.probes)
    has_quorum = 2 * len(present) >= len(probers.members | present)
    if len(present) < 2:
        return Weighed(trusted=present, has_quorum=has_quorum)
    suspects = _suspects(evidence, present, rules)
    missed = dict.fromkeys(suspects, 0)
    compared = dict.fromkeys(suspects, 0)
    for one in evidence if suspects else ():
        fresh = [
            probe for probe in one.probes if probe.vantage in present and now_s - probe.at_s <= rules.probe_fresh_s
        ]
        passed_s = {probe.vantage: probe.at_s for probe in fresh if probe.outcome is ProbeOutcome.OK}
        for probe in fresh:
            if probe.vantage not in suspects:
                continue
            elsewhere_s = max((at_s for name, at_s in passed_s.items() if name != probe.vantage), default=0.0)
            is_missed = probe.outcome is ProbeOutcome.UNREACHABLE
            is_unsure = is_missed and len(probe.failed_at_s) < rules.probe_failures
            # What others reached before it failed says nothing: it may have died in between.
            if not elsewhere_s or is_unsure or (is_missed and elsewhere_s < probe.began_s):
                continue
            compared[probe.vantage] += 1
            missed[probe.vantage] += is_missed
    cut_off = {
        name: f"{missed[name]} of {compared[name]} appliances that others reach"
        for name in sorted(suspects)
        if missed[name] >= 2 and missed[name] > rules.cut_off_ratio * compared[name]
    }
    return Weighed(trusted=present - cut_off.keys(), has_quorum=has_quorum, cut_off=cut_off)


def _suspects(evidence: Iterable[Evidence], present: frozenset[str], rules: HealthRules) -> frozenset[str]:
    """Probers that do not reach two appliances or more; mostly there is none, and nothing to compare."""
    counts = dict.fromkeys(present, 0)
    for one in evidence:
        for probe in one.probes:
            if probe.outcome is ProbeOutcome.UNREACHABLE and len(probe.failed_at_s) >= rules.probe_failures:
                counts[probe.vantage] = counts.get(probe.vantage, 0) + 1
    return frozenset(name for name in present if counts[name] >= 2)


def as_weighed(one: Evidence, weighed: Weighed) -> Evidence:
    """The evidence without the failures of those that are not trusted; that one of them was answered still counts."""
    if weighed.has_quorum and not weighed.cut_off and weighed.trusted and len(one.probes) >= len(weighed.trusted):
        return one  # nothing to leave out: by far the most usual case, on the hot path of the health loop
    return replace(
        one,
        probes=tuple(
            probe for probe in one.probes if probe.vantage in weighed.trusted or probe.outcome is ProbeOutcome.OK
        ),
        probers=len(weighed.trusted),
        has_quorum=weighed.has_quorum and bool(weighed.trusted),
    )
