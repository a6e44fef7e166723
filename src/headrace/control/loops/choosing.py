"""Which appliances to probe now. Pure: suspects first, then whoever has waited longest, within a rate."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headrace.base.ids import ApplianceId
from headrace.catalog.fileset import FileSet
from headrace.control.loops.settings import ProbeSettings
from headrace.fleet.evidence import ProbeOutcome, ProbeSeen
from headrace.fleet.model import AdminState, HealthState

IDLE_FACTOR = 5.0
"""How much less often an appliance is probed of which nobody expects an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTarget:
    """What the choice and the probe need of one appliance."""

    appliance_id: ApplianceId
    content_url: str
    admin_state: AdminState
    health_state: HealthState
    reported_s: float | None
    held: FileSet
    """Published files that it reported as held; nothing can be probed without one."""
    is_turned_up: bool = True
    """Before that, a whole file is fetched and hashed in place of some bytes of one."""


def choose_probes(
    targets: Iterable[ProbeTarget],
    seen: Mapping[ApplianceId, ProbeSeen],
    settings: ProbeSettings,
    *,
    now_s: float,
    most: int,
) -> list[ProbeTarget]:
    """At most `most` targets whose turn it is, the most urgent first."""
    due: list[tuple[bool, float, ApplianceId, ProbeTarget]] = []
    for target in targets:
        if not target.held:
            continue
        last = seen.get(target.appliance_id)
        is_suspect = _is_suspect(target, last, settings, now_s)
        due_s = 0.0 if last is None else last.at_s + _interval_s(target, is_suspect, settings)
        if due_s <= now_s:
            due.append((not is_suspect, due_s, target.appliance_id, target))
    due.sort(key=lambda one: one[:3])
    return [one[3] for one in due[:most]]


def _is_suspect(target: ProbeTarget, last: ProbeSeen | None, settings: ProbeSettings, now_s: float) -> bool:
    """Clients use it, and something speaks against it: the sooner one knows the better."""
    if target.health_state is not HealthState.HEALTHY or target.admin_state is AdminState.DISABLED:
        return False
    is_late = target.reported_s is None or now_s - target.reported_s > settings.late_after_s
    return is_late or (last is not None and last.outcome is not ProbeOutcome.OK)


def _interval_s(target: ProbeTarget, is_suspect: bool, settings: ProbeSettings) -> float:
    if is_suspect:
        return settings.suspect_interval_s
    is_idle = target.admin_state is AdminState.DISABLED or target.health_state is HealthState.LOST
    return settings.interval_s * IDLE_FACTOR if is_idle else settings.interval_s
