"""Level 4 on networks: segments sent again, time-outs, and how late a short transfer ends, in one run of one build.

One machine behind one road, which becomes one network after the other. Shares and counts come from the machine's own
TCP counters; what they mean is judged in `release`.
"""

from headrace.lab.assembly import Lab
from headrace.lab.errors import MachineError
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.load.volume import Protocol, run_volume
from headrace.lab.machines.road import set_profile
from headrace.lab.profiles import Profile, read_profiles
from headrace.lab.qualify.stand import Stand

VOLUMES = {"cable": 2, "wifi": 8, "reordering": 4}
"""Networks on which the share of segments sent again is measured, and connections there: few where they share a bound
rate, whose queue they fill otherwise."""
TAIL = "lossy"
NETWORK_COSTS = frozenset(
    {*(f"retransmitted_ratio.{name}" for name in VOLUMES)}
    | {f"{what}.{TAIL}" for what in ("finish_p90_s", "finish_p99_s", "timeouts_ratio")}
)
_VOLUME_S = 2.0
_TAIL_S = 4.0
_TAIL_PLAYERS = {Behaviour.BRIEF: 32}
_RANGE = "bytes=0-999999"


FIRST: Profile = read_profiles()[next(iter(VOLUMES))]
"""What the road begins with."""


async def measure_network_costs(stand: Stand, lab: Lab, seed: int) -> dict[str, float]:
    """Costs by metric, of a machine behind a road. Raises LabError."""
    assert lab.road is not None
    profiles, found = read_profiles(), dict[str, float]()
    for name, connections in VOLUMES.items():
        await set_profile(lab.road, profiles[name])
        found[f"retransmitted_ratio.{name}"] = await _retransmitted(stand, lab, connections)
    await set_profile(lab.road, profiles[TAIL])
    return found | await _tail(stand, lab, seed)


def retransmitted_ratio(before: dict[str, float], after: dict[str, float]) -> float:
    """Share of the segments sent between two readings that were sent again.

    Raises:
        MachineError: none were sent, or the counters are not there.
    """
    try:
        sent = after["tcp.out_segs"] - before["tcp.out_segs"]
        again = after["tcp.retrans_segs"] - before["tcp.retrans_segs"]
    except KeyError as error:
        raise MachineError(f"the machine has no counter {error}") from None
    if sent <= 0:
        raise MachineError("the machine sent no segment")
    return again / sent


async def _retransmitted(stand: Stand, lab: Lab, connections: int) -> float:
    paths = tuple(file.path for file in lab.setup.content if file.size_bytes >= 1 << 20)
    before = await lab.machine.read_counters()
    await run_volume(
        lab,
        paths,
        seconds=max(1, round(stand.seconds(_VOLUME_S))),
        connections=connections,
        protocol=Protocol.HTTP1,
        byte_range=_RANGE,
    )
    return retransmitted_ratio(before, await lab.machine.read_counters())


async def _tail(stand: Stand, lab: Lab, seed: int) -> dict[str, float]:
    """A transfer whose last packets are lost has nothing behind them that would tell of it: a probe must."""
    before = await lab.machine.read_counters()
    plan = plan_for(lab, seconds=stand.seconds(_TAIL_S), players=_TAIL_PLAYERS, seed=seed)
    report = await run_load(lab, plan)
    after = await lab.machine.read_counters()
    if not report.requests:
        return {}
    found = {f"finish_{name}_s.{TAIL}": report.finish_ms[name] / 1000 for name in ("p90", "p99")}
    timeouts = after.get("tcpext.timeouts", 0.0) - before.get("tcpext.timeouts", 0.0)
    return found | {f"timeouts_ratio.{TAIL}": timeouts / report.requests}
