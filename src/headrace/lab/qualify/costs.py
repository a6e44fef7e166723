"""Level 4: what serving costs, on fresh, warmed machines that serve in turns. What it means is judged in `release`.

Both builds of a pair are up at the same time and take turns of a second or so, A B B A A B, so that a neighbour that is
loud for some seconds, or a clock that slows down, meets both; the median of a build's turns is its value. One pair is
still one independent run of each build: turns only make its noise smaller. Running both versions under the same
interference is from Bulej et al. 2020, "Duet Benchmarking: Improving Measurement Accuracy in the Cloud"; in turns and
not at once, for the load itself takes the second core.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from headrace.lab.assembly import Lab
from headrace.lab.load.churn import Visit, run_churn
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.load.volume import Protocol, VolumeReport, run_volume
from headrace.lab.qualify.network_costs import retransmitted_ratio
from headrace.lab.qualify.stand import Side, Stand

COSTS = frozenset(
    {"cpu_s_per_gb", "throughput_bps", "first_byte_p50_s", "first_byte_p99_s", "first_byte_slow_ratio"}
) | {"retransmitted_ratio.lan"}
_TURNS = 3
"""Of each build, all under the same load; the median of three leaves out one that was disturbed."""
_VOLUME_S = 1.0
_PLAYERS_S = 0.8
_CONNECTIONS = 16
_STEADY = {Visit.STEADY: 4}
"""3,000 small answers in all turns, two at a time: a pause of 20 ms in one of a hundred hides below the noise of a
percentile.
"""
_RANGE = "bytes=0-99999"
_WARM_S = 1
"""h2load counts in whole seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn of one build gave."""

    values: dict[str, float]
    """By metric."""
    slow: int
    """Small answers that took too long."""
    timed: int


async def measure_costs(stand: Stand, labs: Mapping[Side, Lab], seed: int) -> dict[Side, dict[str, float]]:
    """Costs by build and metric; the first build begins. Raises LabError."""
    for lab in labs.values():
        await run_range_volume(lab, _WARM_S)
    turns: dict[Side, list[Turn]] = {side: [] for side in labs}
    for number in range(_TURNS):
        for side in list(labs)[:: -1 if number % 2 else 1]:
            turns[side].append(await run_turn(stand, labs[side], seed))
    return {side: _together(found) for side, found in turns.items()}


async def run_turn(stand: Stand, lab: Lab, seed: int) -> Turn:
    """Ranges in volume, then players, then small answers. Raises LabError."""
    before = await lab.machine.read_counters()
    volume = await run_range_volume(lab, max(1, round(stand.seconds(_VOLUME_S))))
    after = await lab.machine.read_counters()
    spent_s = after["cpu.seconds"] - before["cpu.seconds"]
    plan = plan_for(lab, seconds=stand.seconds(_PLAYERS_S), players={Behaviour.BORDERS: 2}, seed=seed)
    report = await run_load(lab, plan)
    found = {"cpu_s_per_gb": spent_s / (volume.bytes / 1e9), "throughput_bps": volume.throughput_bps}
    found["retransmitted_ratio.lan"] = retransmitted_ratio(before, after)
    found |= {f"first_byte_{name}_s": report.ttfb_ms[name] / 1000 for name in ("p50", "p99") if name in report.ttfb_ms}
    steady = await run_churn(lab, _STEADY, seed=seed, at_once=2)
    return Turn(values=found, slow=steady.slow, timed=steady.timed)


async def run_range_volume(lab: Lab, seconds: int) -> VolumeReport:
    """Ranges of 100 KB on many connections. Raises LabError."""
    paths = tuple(file.path for file in lab.setup.content if file.size_bytes >= 1 << 20)
    return await run_volume(
        lab, paths, seconds=seconds, connections=_CONNECTIONS, protocol=Protocol.HTTP1, byte_range=_RANGE
    )


def _together(turns: Sequence[Turn]) -> dict[str, float]:
    """A build's values: what every turn has, by its median."""
    names = set.intersection(*(set(turn.values) for turn in turns))
    found = {name: median(turn.values[name] for turn in turns) for name in sorted(names)}
    timed = sum(turn.timed for turn in turns)
    if timed:
        found["first_byte_slow_ratio"] = sum(turn.slow for turn in turns) / timed
    return found
