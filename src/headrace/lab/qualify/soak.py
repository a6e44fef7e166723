"""Level 3: growth per unit of work of one run, after warm-up. What it means is judged in `release`.

A run is a fresh machine that takes an exact number of connections in slices, each followed by a rest; then reloads,
each of which makes new workers. Counters are read at rest, so what is not back by then was kept.
"""

from dataclasses import dataclass

from headrace.lab.assembly import Lab
from headrace.lab.load.churn import Visit, run_churn
from headrace.lab.ports import MachineKind
from headrace.lab.qualify.expectations import reload_nginx
from headrace.lab.qualify.stand import Stand
from headrace.release.growth import growth_per_work

SLICES = 8
"""Of a run; counters are read after each. A quarter is warm-up, and five samples are needed after it."""
_VISITS = {
    Visit.SHORT: 320,
    Visit.CLOSED: 110,
    Visit.KEPT: 30,
    Visit.SILENT: 30,
    Visit.ABORT: 130,
    Visit.TLS: 30,
    Visit.TLS_ABORT: 15,
}
"""Of one slice: 665 connections, 145 of them broken off."""
_CROWD = 16
"""Visitors at once before the first slice, four times as many as later: caches, pools and heaps have had their largest
size by then, and what grows afterwards grows with the work.
"""
RELOADS = 7
_FEW_WAITING = "echo 64 >/proc/sys/net/ipv4/tcp_max_tw_buckets"
"""Sockets in TIME_WAIT stay for a minute, and would grow for as long as a run lasts. With room for a few there are as
many after each slice, and the path that makes and ends them is worked all the same.
"""
_REST = """
for turn in $(seq 20); do
  if grep -q "^TCP: inuse $1 " /proc/net/sockstat; then break; fi
  sleep 0.1
done
sleep 0.1
"""
"""Wait until as many sockets are in use as before the load, 2 s at most: a leak is not waited for. What the kernel
frees late (RCU) has a little longer.
"""
_WORKERS = "grep -l '^nginx: worker' /proc/[0-9]*/cmdline 2>/dev/null || true"
_OTHERS = f"""
for turn in $(seq 20); do
  sleep 0.15
  now=$({_WORKERS})
  left=no
  for one in "$@"; do case "$now" in *$one*) left=yes ;; esac; done
  if [ -n "$now" ] && [ $left = no ]; then break; fi
done
"""
"""Wait until the workers before a reload have gone and others are there, 3 s at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """A counter whose growth per connection is a metric."""

    counter: str
    per_connections: float = 1.0
    is_of_kernel: bool = False
    """The machine needs a kernel of its own."""


GROWTHS = {
    "growth.mem.kernel_bytes": Growth(counter="mem.s_unreclaim_bytes", is_of_kernel=True),
    "growth.mem.slab_tcp_objects": Growth(counter="mem.slab_tcp_objects", per_connections=1000, is_of_kernel=True),
    "growth.sock.tcp_pages": Growth(counter="sock.tcp_mem", per_connections=1000, is_of_kernel=True),
    "growth.sock.orphans": Growth(counter="sock.tcp_orphan", per_connections=1000, is_of_kernel=True),
    "growth.sock.used": Growth(counter="sock.sockets_used", per_connections=1000),
    "growth.sock.tcp_inuse": Growth(counter="sock.tcp_inuse", per_connections=1000),
    "growth.proc.anon_bytes": Growth(counter="proc.anon_bytes"),
    "growth.fd.count": Growth(counter="fd.count", per_connections=1000),
}
BY_RELOAD = "growth.fd.reload"


async def soak(stand: Stand, lab: Lab, seed: int) -> dict[str, float]:
    """One run on a fresh machine: slopes by metric. Raises LabError."""
    if lab.setup.machine.kind is not MachineKind.PROCESS:
        await _do(lab, _FEW_WAITING)
    visits = {kind: max(1, round(count * stand.time_scale)) for kind, count in _VISITS.items()}
    at_rest = (await lab.machine.read_counters()).get("sock.tcp_inuse", 0.0)
    await run_churn(lab, visits, seed=seed, at_once=_CROWD)
    work = 0.0
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in GROWTHS}
    for number in range(SLICES):
        report = await run_churn(lab, visits, seed=seed + 1 + number)
        work += report.connections
        await _do(lab, _REST, f"{at_rest:.0f}")
        counters = await lab.machine.read_counters()
        for name, growth in GROWTHS.items():
            if growth.counter in counters:
                samples[name].append((work, counters[growth.counter] * growth.per_connections))
    samples[BY_RELOAD] = [(number, await _descriptors_after_reload(lab)) for number in range(RELOADS)]
    slopes = {name: growth_per_work(values) for name, values in samples.items()}
    return {name: slope for name, slope in slopes.items() if slope is not None}


async def _descriptors_after_reload(lab: Lab) -> float:
    workers = (await lab.machine.run(["sh", "-c", _WORKERS])).output.split()
    await reload_nginx(lab)
    await _do(lab, _OTHERS, *workers)
    return (await lab.machine.read_counters())["fd.count"]


async def _do(lab: Lab, script: str, *arguments: str) -> None:
    await lab.machine.run(["sh", "-c", script, "sh", *arguments])
