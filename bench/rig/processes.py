"""CPU time of process trees and of the whole machine, read from /proc.

Time is what the kernel charged: user and system time of every process of a tree, its ended children included. The
kernel's ksoftirqd threads do network work of both ends and count as nobody's; whatever else ran is foreign.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReading:
    """CPU seconds since some start; differences of two readings are what counts."""

    servers: float
    clients: float
    bench: float
    softirq_threads: float
    machine: float
    """Busy seconds of all cores, steal included."""

    def foreign_since(self, earlier: "CpuReading") -> float:
        """CPU seconds between the two that nobody of the bench used."""
        return max(0.0, self.machine - earlier.machine - (self._own - earlier._own))

    @property
    def _own(self) -> float:
        return self.servers + self.clients + self.bench + self.softirq_threads


def read_cpu(*, servers: list[int], clients: list[int]) -> CpuReading:
    """Read all that a sample needs, as close together as Python can."""
    table = _processes()
    return CpuReading(
        servers=_tree_seconds(table, servers),
        clients=_tree_seconds(table, clients),
        bench=table[os.getpid()].seconds if os.getpid() in table else 0.0,
        softirq_threads=sum(entry.seconds for entry in table.values() if entry.name.startswith("ksoftirqd/")),
        machine=_machine_seconds(),
    )


def tree(roots: list[int]) -> list[int]:
    """The processes `roots` and everything below them."""
    return _tree(_processes(), roots)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    parent: int
    seconds: float


def _processes() -> dict[int, _Entry]:
    table: dict[int, _Entry] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            text = Path("/proc", name, "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        command, _, rest = text[text.index("(") + 1 :].rpartition(")")
        words = rest.split()
        ticks = sum(int(word) for word in words[11:15])  # utime, stime, cutime, cstime
        table[int(name)] = _Entry(command, int(words[1]), ticks / _TICKS_PER_S)
    return table


def _tree(table: dict[int, _Entry], roots: list[int]) -> list[int]:
    found = [pid for pid in roots if pid in table]
    for pid in found:  # grows while it is walked: children after their parents
        found += [child for child, entry in table.items() if entry.parent == pid and child not in found]
    return found


def _tree_seconds(table: dict[int, _Entry], roots: list[int]) -> float:
    return sum(table[pid].seconds for pid in _tree(table, roots))


def _machine_seconds() -> float:
    with open("/proc/stat", encoding="ascii") as lines:
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(word) for word in next(lines).split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S
