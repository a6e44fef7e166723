"""Levels 3 and 4: which metrics this lab can measure, and one measurement of one build. Judged in `release`.

A run is a fresh machine under the same seeded load for both builds of a pair.
"""

from headrace.lab.ports import MachineKind
from headrace.lab.qualify.costs import COSTS, measure_costs
from headrace.lab.qualify.soak import BY_RELOAD, GROWTHS, soak
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.model import CheckDefinition, Level

_INSTRUCTIONS = frozenset({"instructions.1k", "instructions.100k"})


def measurable(definition: CheckDefinition, stand: Stand) -> bool:
    """Whether a stand can measure the metric of a check: kernels' metrics need machines with kernels of their own."""
    name = definition.metric.name
    if name in GROWTHS and GROWTHS[name].is_of_kernel:
        return stand.candidate.machine.kind is MachineKind.UML
    return name in GROWTHS or name in COSTS or name in _INSTRUCTIONS or name == BY_RELOAD


def is_counted(definition: CheckDefinition) -> bool:
    """Whether a few repeats decide it, not pairs."""
    return definition.metric.name in _INSTRUCTIONS


async def run_once(stand: Stand, side: Side, level: Level, seed: int) -> dict[str, float]:
    """One run of level 3 or 4 with one build: values by metric. Raises LabError."""
    async with stand.lab(side) as lab:
        if level is Level.SOAK:
            return await soak(stand, lab, seed)
        return await measure_costs(stand, lab, seed)
