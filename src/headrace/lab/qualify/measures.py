"""Levels 3 and 4: which metrics this lab can measure, and one measurement of one build. Judged in `release`.

A run is a fresh machine under the same seeded load for both builds of a pair. What its console says counts whatever was
measured: a build that dies is no missing value, and no fault of the lab.
"""

from dataclasses import dataclass, field

from headrace.lab.assembly import Lab
from headrace.lab.errors import LabError
from headrace.lab.qualify.costs import COSTS, measure_costs
from headrace.lab.qualify.counting import COUNTED, may_count
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
    async with stand.lab(side) as lab:
        try:
            values = await _measure(stand, lab, level, seed)
        except LabError:
            faults = _faults(lab)
            if not faults:
                raise
            return Run(faults=faults)
        return Run(values=values, faults=_faults(lab))


async def _measure(stand: Stand, lab: Lab, level: Level, seed: int) -> dict[str, float]:
    return await (soak if level is Level.SOAK else measure_costs)(stand, lab, seed)


def _faults(lab: Lab) -> tuple[Fault, ...]:
    return distinct(find_faults(lab.machine.console()))
