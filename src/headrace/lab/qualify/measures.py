"""Levels 3 and 4: one measurement of one build, as values by metric. What they mean is judged in `release`.

A run is a fresh machine under the same seeded load for both builds of a pair. Growth is measured per request, with the
slope of one run as one value; costs are measured after the machine is warm.
"""

from dataclasses import dataclass

from headrace.lab.assembly import Lab
from headrace.lab.load.model import Behaviour, LoadReport
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.load.volume import Protocol, run_volume
from headrace.lab.ports import MachineKind
from headrace.lab.qualify.expectations import reload_nginx
from headrace.lab.qualify.stand import Side, Stand
from headrace.release.growth import growth_per_work
from headrace.release.model import CheckDefinition, Level

SLICES = 8
"""Pieces of a soak run; counters are read after each."""
_SLICE_S = 1.0
_SOAKING = {Behaviour.SHORT: 6, Behaviour.ABORT: 4}
_VOLUME_S = 2.0
_CONNECTIONS = 16
_RANGE = "bytes=0-99999"
_WARM_S = 1
"""h2load counts in whole seconds."""
RELOADS = 8
_SETTLE_S = 0.4
"""After a reload old workers finish; what they hold is not growth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A counter whose growth per request is a metric."""

    counter: str
    per_requests: float = 1.0


_GROWTHS = {
    "growth.mem.kernel_bytes": Growth(counter="mem.slab_bytes"),
    "growth.proc.anon_bytes": Growth(counter="proc.anon_bytes"),
    "growth.sock.tcp_inuse": Growth(counter="sock.tcp_inuse", per_requests=1000),
    "growth.fd.count": Growth(counter="fd.count", per_requests=1000),
}
_BY_RELOAD = "growth.fd.reload"
_COSTS = frozenset({"cpu_s_per_gb", "throughput_bps", "first_byte_p50_s", "first_byte_p99_s"})
_INSTRUCTIONS = frozenset({"instructions.1k", "instructions.100k"})
_ONLY_OF_KERNELS = frozenset({"growth.mem.kernel_bytes"})


def measurable(definition: CheckDefinition, stand: Stand) -> bool:
    """Whether a stand can measure the metric of a check: kernels' metrics need machines with kernels of their own."""
    name = definition.metric.name
    if name in _ONLY_OF_KERNELS:
        return stand.candidate.machine.kind is MachineKind.UML
    return name in _GROWTHS or name in _COSTS or name in _INSTRUCTIONS or name == _BY_RELOAD


def is_counted(definition: CheckDefinition) -> bool:
    """Whether a few repeats decide it, not pairs."""
    return definition.metric.name in _INSTRUCTIONS


async def run_once(stand: Stand, side: Side, level: Level, seed: int) -> dict[str, float]:
    """One run of level 3 or 4 with one build: values by metric. Raises LabError."""
    async with stand.lab(side) as lab:
        if level is Level.SOAK:
            return await _soak(stand, lab, seed)
        return await _costs(stand, lab, seed)


async def _soak(stand: Stand, lab: Lab, seed: int) -> dict[str, float]:
    """Growth by requests first, under one set of workers; then growth by reloads, each of which makes new workers."""
    work = 0.0
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in _GROWTHS}
    for number in range(SLICES):
        plan = plan_for(lab, seconds=stand.seconds(_SLICE_S), players=_SOAKING, seed=seed * SLICES + number)
        report = await run_load(lab, plan)
        work += report.requests + report.aborted
        counters = await lab.machine.read_counters()
        for name, growth in _GROWTHS.items():
            if growth.counter in counters:
                samples[name].append((work, counters[growth.counter] * growth.per_requests))
    samples[_BY_RELOAD] = [(number, await _descriptors_after_reload(stand, lab)) for number in range(RELOADS)]
    slopes = {name: growth_per_work(values) for name, values in samples.items()}
    return {name: slope for name, slope in slopes.items() if slope is not None}


async def _descriptors_after_reload(stand: Stand, lab: Lab) -> float:
    await reload_nginx(lab)
    await stand.clock.sleep(_SETTLE_S)
    return (await lab.machine.read_counters())["fd.count"]


async def _costs(stand: Stand, lab: Lab, seed: int) -> dict[str, float]:
    paths = tuple(file.path for file in lab.setup.content if file.size_bytes >= 1 << 20)
    await run_volume(lab, paths, seconds=_WARM_S, connections=_CONNECTIONS, protocol=Protocol.HTTP1, byte_range=_RANGE)
    before = await lab.machine.read_counters()
    volume = await run_volume(
        lab,
        paths,
        seconds=max(1, round(stand.seconds(_VOLUME_S))),
        connections=_CONNECTIONS,
        protocol=Protocol.HTTP1,
        byte_range=_RANGE,
    )
    after = await lab.machine.read_counters()
    spent_s = after["cpu.seconds"] - before["cpu.seconds"]
    report: LoadReport = await run_load(
        lab, plan_for(lab, seconds=stand.seconds(1.5), players={Behaviour.BORDERS: 2}, seed=seed)
    )
    found = {"cpu_s_per_gb": spent_s / (volume.bytes / 1e9), "throughput_bps": volume.throughput_bps}
    found |= {f"first_byte_{name}_s": report.ttfb_ms[name] / 1000 for name in ("p50", "p99") if name in report.ttfb_ms}
    return found
