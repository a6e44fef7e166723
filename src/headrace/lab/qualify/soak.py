"""Level 3: growth per unit of work of one run, after warm-up. What it means is judged in `release`.

A run is a fresh machine under a seeded load. Growth is measured per request under one set of workers first, then per
reload, each of which makes new workers.
"""

from dataclasses import dataclass

from headrace.lab.assembly import Lab
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.qualify.expectations import reload_nginx
from headrace.lab.qualify.stand import Stand
from headrace.release.growth import growth_per_work

SLICES = 8
"""Pieces of a soak run; counters are read after each."""
_SLICE_S = 1.0
_SOAKING = {Behaviour.SHORT: 6, Behaviour.ABORT: 4}
RELOADS = 8
_SETTLE_S = 0.4
"""After a reload old workers finish; what they hold is not growth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A counter whose growth per request is a metric."""

    counter: str
    per_requests: float = 1.0
    is_of_kernel: bool = False
    """The machine needs a kernel of its own."""


GROWTHS = {
    "growth.mem.kernel_bytes": Growth(counter="mem.slab_bytes", is_of_kernel=True),
    "growth.proc.anon_bytes": Growth(counter="proc.anon_bytes"),
    "growth.sock.tcp_inuse": Growth(counter="sock.tcp_inuse", per_requests=1000),
    "growth.fd.count": Growth(counter="fd.count", per_requests=1000),
}
BY_RELOAD = "growth.fd.reload"


async def soak(stand: Stand, lab: Lab, seed: int) -> dict[str, float]:
    """One run on a fresh machine: slopes by metric. Raises LabError."""
    work = 0.0
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in GROWTHS}
    for number in range(SLICES):
        plan = plan_for(lab, seconds=stand.seconds(_SLICE_S), players=_SOAKING, seed=seed * SLICES + number)
        report = await run_load(lab, plan)
        work += report.requests + report.aborted
        counters = await lab.machine.read_counters()
        for name, growth in GROWTHS.items():
            if growth.counter in counters:
                samples[name].append((work, counters[growth.counter] * growth.per_requests))
    samples[BY_RELOAD] = [(number, await _descriptors_after_reload(stand, lab)) for number in range(RELOADS)]
    slopes = {name: growth_per_work(values) for name, values in samples.items()}
    return {name: slope for name, slope in slopes.items() if slope is not None}


async def _descriptors_after_reload(stand: Stand, lab: Lab) -> float:
    await reload_nginx(lab)
    await stand.clock.sleep(_SETTLE_S)
    return (await lab.machine.read_counters())["fd.count"]
