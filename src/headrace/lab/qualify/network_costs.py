"""Level 4 on networks: segments sent again, time-outs, and how late a short transfer ends.

One machine behind one road, which becomes one network after the other; both builds of a pair at once, for networks wait
more than they work. Shares and counts come from the machine's own
TCP counters; what they mean is judged in `release`.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from headrace.lab.assembly import Lab
from headrace.lab.errors import MachineError
from headrace.lab.load.model import Behaviour
from headrace.lab.load.run import plan_for, run_load
from headrace.lab.load.volume import Protocol, run_volume
from headrace.lab.machines.road import set_profile
from headrace.lab.profiles import Profile, read_profiles
from headrace.lab.qualify.stand import Side, Stand


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """How the share of segments sent again is measured on a network."""

    connections: int
    """Few where they share a bound rate, whose queue they fill otherwise."""
    settle_s: float = 0.0
    """Left out at the beginning. How far a slow start runs beyond the room of a queue is chance: from 0.02 to 1.1 % of
    all segments of a short run."""


VOLUMES = {
    "cable": Volume(connections=2, settle_s=1.0),
    "wifi": Volume(connections=8),
    "reordering": Volume(connections=4),
}
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


async def measure_network_costs(stand: Stand, labs: Mapping[Side, Lab], seed: int) -> dict[Side, dict[str, float]]:
    """Costs by build and metric, of machines behind roads. Raises LabError."""
    found = await asyncio.gather(*(_measure(stand, lab, seed) for lab in labs.values()), return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return {side: one for side, one in zip(labs, found, strict=True) if not isinstance(one, BaseException)}


async def _measure(stand: Stand, lab: Lab, seed: int) -> dict[str, float]:
    assert lab.road is not None
    profiles, found = read_profiles(), dict[str, float]()
    for name, volume in VOLUMES.items():
        await set_profile(lab.road, profiles[name])
        found[f"retransmitted_ratio.{name}"] = await _retransmitted(stand, lab, volume)
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


async def _retransmitted(stand: Stand, lab: Lab, volume: Volume) -> float:
    paths = tuple(file.path for file in lab.setup.content if file.size_bytes >= 1 << 20)
    whole = run_volume(
        lab,
        paths,
        seconds=max(1, round(stand.seconds(_VOLUME_S) + volume.settle_s)),
        connections=volume.connections,
        protocol=Protocol.HTTP1,
        byte_range=_RANGE,
    )
    _, before = await asyncio.gather(whole, _settled(stand, lab, volume.settle_s))
    return retransmitted_ratio(before, await lab.machine.read_counters())


async def _settled(stand: Stand, lab: Lab, settle_s: float) -> dict[str, float]:
    await stand.clock.sleep(settle_s)
    return await lab.machine.read_counters()


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
