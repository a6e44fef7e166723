"""Levels 3 and 4: which metrics this lab can measure, and one measurement of one build. Judged in `release`.

A run is a fresh machine under the same seeded load for both builds of a pair. What its console says counts whatever was
measured: a build that dies is no missing value, and no fault of the lab.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

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


def measurable(definition: CheckDefinition, stand: Stand) -> bool:
    """Whether a stand can measure the metric of a check: kernels' metrics need machines with kernels of their own."""
    name = definition.metric.name
    if name in GROWTHS and GROWTHS[name].is_of_kernel:
        return stand.candidate.machine.kind.has_kernel
    if name in NETWORK_COSTS:
        return not stand.why_no_road()
    return name in GROWTHS or name in COSTS or may_count(name, stand) or name == BY_RELOAD


def is_counted(definition: CheckDefinition) -> bool:
    """Whether a few repeats decide it, not pairs."""
    return definition.metric.name in COUNTED


async def run_once(stand: Stand, side: Side, level: Level, seed: int) -> dict[str, float]:
    """One run of level 3 or 4 with one build: values by metric; none where the build died. Raises LabError."""
    return (await run_watched(stand, side, level, seed)).values


async def run_watched(stand: Stand, side: Side, level: Level, seed: int) -> Run:
    """Likewise, with what its console said.

    Raises:
        LabError: the run could not be made, and its console does not say why.
    """
    if level is Level.SOAK:
        return await _watch(stand, side, lambda lab: soak(stand, lab, seed))
    run = await _watch(stand, side, lambda lab: measure_costs(stand, lab, seed))
    if not run.values or stand.why_no_road():
        return run
    over = await _watch(stand, side, lambda lab: measure_network_costs(stand, lab, seed), FIRST)
    return Run(values=run.values | over.values, faults=distinct([*run.faults, *over.faults]))


async def _watch(
    stand: Stand, side: Side, measure: Callable[[Lab], Awaitable[dict[str, float]]], profile: Profile = LAN
) -> Run:
    async with stand.lab(side, profile) as lab:
        try:
            values = await measure(lab)
        except LabError:
            faults = _faults(lab)
            if not faults:
                raise
            return Run(faults=faults)
        return Run(values=values, faults=_faults(lab))


def _faults(lab: Lab) -> tuple[Fault, ...]:
    return distinct(find_faults(lab.machine.console()))
