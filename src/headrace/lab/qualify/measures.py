"""Levels 3 and 4: which metrics this lab can measure, and one measurement of builds. Judged in `release`.

A run is a fresh machine under the same seeded load for both builds of a pair. What its console says counts whatever was
measured: a build that dies is no missing value, and no fault of the lab.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.lab.assembly import Lab
from headrace.lab.errors import LabError
from headrace.lab.profiles import LAN, Profile
from headrace.lab.qualify.costs import COSTS, measure_costs
from headrace.lab.qualify.counting import COUNTED, may_count
from headrace.lab.qualify.network_costs import FIRST, NETWORK_COSTS, measure_network_costs
from headrace.lab.qualify.soak import BY_RELOAD, GROWTHS, soak
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.console import distinct, find_faults
from headrace.release.model import CheckDefinition, Fault, Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run gave."""

    values: dict[str, float] = field(default_factory=dict)
    """By metric; one that is missing was not measured."""
    faults: tuple[Fault, ...] = ()
    """On its console."""

    def joined(self, other: "Run") -> "Run":
        """With what another part gave."""
        return Run(values=self.values | other.values, faults=distinct([*self.faults, *other.faults]))


class Part(StrEnum):
    """What is measured together, on one machine of each build. Once all of its checks are decided it is left out."""

    SOAK = "soak"
    COSTS = "costs"
    NETWORKS = "networks"


Values = dict[Side, dict[str, float]]
"""By build and metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """How a part is measured."""

    level: Level
    metrics: frozenset[str]
    measure: Callable[[Stand, Mapping[Side, Lab], int], Awaitable[Values]]
    profile: Profile = LAN
    is_together: bool = True
    """Both builds' machines are up at once: what disturbs this machine meets both."""


async def _soak(stand: Stand, labs: Mapping[Side, Lab], seed: int) -> Values:
    return {side: await soak(stand, lab, seed) for side, lab in labs.items()}


_WAYS = {
    Part.SOAK: _Way(level=Level.SOAK, metrics=frozenset({*GROWTHS, BY_RELOAD}), measure=_soak, is_together=False),
    Part.COSTS: _Way(level=Level.PERFORMANCE, metrics=COSTS, measure=measure_costs),
    Part.NETWORKS: _Way(level=Level.PERFORMANCE, metrics=NETWORK_COSTS, measure=measure_network_costs, profile=FIRST),
}


def measurable(definition: CheckDefinition, stand: Stand) -> bool:
    """Whether a stand can measure the metric of a check: kernels' metrics need machines with kernels of their own."""
    name = definition.metric.name
    if name in GROWTHS and GROWTHS[name].is_of_kernel:
        return stand.candidate.machine.kind.has_kernel
    if name in NETWORK_COSTS:
        return not stand.why_no_road()
    return may_count(name, stand) or any(name in way.metrics for way in _WAYS.values())


def is_counted(definition: CheckDefinition) -> bool:
    """Whether a few repeats decide it, not pairs."""
    return definition.metric.name in COUNTED


def parts_for(definitions: Iterable[CheckDefinition]) -> tuple[Part, ...]:
    """The parts in which the metrics of these checks are measured, in their order."""
    names = {one.metric.name for one in definitions}
    return tuple(part for part, way in _WAYS.items() if names & way.metrics)


def is_measured_in(definition: CheckDefinition, parts: Iterable[Part]) -> bool:
    """Whether one of these parts gives the metric of a check."""
    return any(definition.metric.name in _WAYS[part].metrics for part in parts)


async def run_level(stand: Stand, side: Side, level: Level, seed: int) -> Run:
    """All parts of a level with one build alone.

    Raises:
        LabError: a run could not be made, and its console does not say why.
    """
    found = Run()
    for part, way in _WAYS.items():
        if way.level is not level or (part is Part.NETWORKS and stand.why_no_road()):
            continue
        found = found.joined((await run_part(stand, part, (side,), seed))[side])
        if found.faults:
            break
    return found


async def run_part(stand: Stand, part: Part, sides: Sequence[Side], seed: int) -> dict[Side, Run]:
    """One run of each of these builds, the first one first; without values where a build died.

    Raises:
        LabError: a run could not be made, and no console says why.
    """
    way = _WAYS[part]
    if way.is_together:
        return await _watch(stand, way, sides, seed)
    found: dict[Side, Run] = {}
    for side in sides:
        found |= await _watch(stand, way, (side,), seed)
    return found


async def _watch(stand: Stand, way: _Way, sides: Sequence[Side], seed: int) -> dict[Side, Run]:
    async with contextlib.AsyncExitStack() as stack:
        labs = {side: await stack.enter_async_context(stand.lab(side, way.profile)) for side in sides}
        try:
            values = await way.measure(stand, labs, seed)
        except LabError:
            faults = {side: _faults(lab) for side, lab in labs.items()}
            if not any(faults.values()):
                raise
            return {side: Run(faults=found) for side, found in faults.items()}
        return {side: Run(values=values[side], faults=_faults(lab)) for side, lab in labs.items()}


def _faults(lab: Lab) -> tuple[Fault, ...]:
    return distinct(find_faults(lab.machine.console()))
