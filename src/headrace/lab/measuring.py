"""Write down a machine's counters each second, one JSON line a sample; and what changed over a run.

What only grows (TCP, CPU, bytes) is told as a difference, a level (memory, sockets, descriptors) as it was last.
"""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from headrace.base.clock import Clock
from headrace.lab.errors import LabError
from headrace.lab.ports import Machine

_GROWING = ("tcp.", "tcpext.", "ip.", "cpu.", "nginx.")
_LEVELS = {"tcp.curr_estab", "tcp.rto_min", "tcp.rto_max", "tcp.max_conn", "tcp.rto_algorithm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The counters at one moment."""

    at_s: float
    """UTC epoch seconds."""
    counters: dict[str, float]


async def take_sample(machine: Machine, clock: Clock) -> Sample:
    """Read the counters now.

    Raises:
        LabError: the machine does not answer.
    """
    counters = await machine.read_counters()
    return Sample(at_s=clock.now_s(), counters=counters)


async def record(machine: Machine, path: Path, clock: Clock, *, interval_s: float = 1.0) -> None:
    """Append samples to `path` until cancelled. That a machine does not answer is a line too."""
    while True:
        began_s = clock.monotonic_s()
        try:
            sample = await take_sample(machine, clock)
            line = {"at_s": round(sample.at_s, 3), "counters": sample.counters}
        except LabError as error:
            line = {"at_s": round(clock.now_s(), 3), "error": str(error)}
        await asyncio.to_thread(_append, path, json.dumps(line))
        await clock.sleep(interval_s - (clock.monotonic_s() - began_s))


def changes(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """Differences of what grows, last values of levels; names that only one of both has are left out."""
    return {
        name: after[name] - before[name] if is_growing(name) else after[name] for name in sorted(before.keys() & after)
    }


def is_growing(name: str) -> bool:
    """Whether a counter begins at zero and only grows."""
    return name.startswith(_GROWING) and name not in _LEVELS


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
