"""Level 4: what serving costs, in one run on a fresh, warmed machine. What it means is judged in `release`."""

from headrace.lab.assembly import Lab
from headrace.lab.load.churn import Visit, run_churn
from headrace.lab.load.model import Behaviour, LoadReport
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.load.volume import Protocol, run_volume
from headrace.lab.qualify.network_costs import retransmitted_ratio
from headrace.lab.qualify.stand import Stand

COSTS = frozenset(
    {"cpu_s_per_gb", "throughput_bps", "first_byte_p50_s", "first_byte_p99_s", "first_byte_slow_ratio"}
) | {"retransmitted_ratio.lan"}
_VOLUME_S = 2.0
_CONNECTIONS = 16
_STEADY = {Visit.STEADY: 8}
"""2,000 small answers, two at a time: a pause of 20 ms in one of a hundred hides below the noise of a percentile."""
_RANGE = "bytes=0-99999"
_WARM_S = 1
"""h2load counts in whole seconds."""


async def measure_costs(stand: Stand, lab: Lab, seed: int) -> dict[str, float]:
    """Costs by metric. Raises LabError."""
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
    found["retransmitted_ratio.lan"] = retransmitted_ratio(before, after)
    found |= {f"first_byte_{name}_s": report.ttfb_ms[name] / 1000 for name in ("p50", "p99") if name in report.ttfb_ms}
    steady = await run_churn(lab, _STEADY, seed=seed, at_once=2)
    if steady.timed:
        found["first_byte_slow_ratio"] = steady.slow / steady.timed
    return found
