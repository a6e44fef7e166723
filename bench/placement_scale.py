"""Time and memory of one nightly plan as files and sites grow, and how near each site is to the knapsack bound.

    bench/placement_scale.py [--sites 400] [--units 100000] [--full] [--json FILE]

Five appliances a site, two of them fast and small, three large and slow; rooms of 3 to 30 % of the catalogue; sizes
over a factor of ten; eight regions; two copies of each unit in a region. The full size is 4,000 sites and 1,000,000
units; with `--processes 2` each plans half of the regions, which do not know of each other.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path

import numpy as np

from headrace.base.ids import ApplianceId, SiteId
from headrace.placement.fleet import FleetRules, SiteRoom, Units, plan_fleet
from headrace.placement.hashing import SLOTS
from headrace.placement.spread import Bin

REGIONS = 8
APPLIANCES = 5


def make(units: int, sites: int, regions: range) -> tuple[Units, list[SiteRoom]]:
    """The fleet of some regions."""
    rng = np.random.default_rng(5)
    size = np.exp(rng.normal(np.log(8e8), 0.8, units))
    plays = {}
    for region in range(REGIONS):
        noise = np.exp(rng.normal(0.0, 0.7, units))
        if region in regions:
            plays[f"region-{region}"] = (4e6 / units + 2e4 * noise / (rng.permutation(units) + 20.0)) * 0.1
    made = Units(size_bytes=size, slots=rng.integers(0, SLOTS, units), plays=plays)
    rooms = []
    for number in range(sites):
        site_rng = np.random.default_rng([7, number])
        room = float(site_rng.uniform(0.03, 0.3)) * float(size.sum())
        scale = float(np.exp(site_rng.normal(0.0, 0.7)))
        if number % REGIONS in regions:
            rooms.append(_site(number, room, scale))
    return made, rooms


def _site(number: int, room: float, scale: float) -> SiteRoom:
    fast = [(0.08, 90e9), (0.08, 90e9)]
    large = [(0.28, 20e9)] * 3
    bins = tuple(
        Bin(appliance_id=ApplianceId(f"a{number}-{place}"), room_bytes=room * share, throughput_bps=bps)
        for place, (share, bps) in enumerate(fast + large)
    )
    return SiteRoom(site_id=SiteId(f"s{number}"), region=f"region-{number % REGIONS}", scale=scale, bins=bins)


def plan_part(task: tuple[int, int, range]) -> dict[str, float]:
    """Plan the sites of some regions; the figures of it."""
    units, sites, regions = task
    made, rooms = make(units, sites, regions)
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    ratios, placed, short = [], 0, 0
    for plan in plan_fleet(made, rooms, FleetRules(region_copies=2, fill_price=0.0)):
        ratios.append(plan.expected_bytes / plan.bound_bytes)
        placed += int(plan.spread.on.sum())
        short += len(plan.spread.short)
    return {
        "wall_s": time.perf_counter() - begun_s,
        "cpu_s": time.process_time() - cpu_s,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
        "worst_of_bound": min(ratios),
        "mean_of_bound": float(np.mean(ratios)),
        "placed": placed,
        "short": short,
    }


def measure(units: int, sites: int, processes: int) -> dict[str, float]:
    """One point of the curve."""
    step = REGIONS // processes
    tasks = [(units, sites, range(first, first + step)) for first in range(0, REGIONS, step)]
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        parts = pool.map(plan_part, tasks)
    return {
        "units": units,
        "sites": sites,
        "wall_s": max(part["wall_s"] for part in parts),
        "cpu_s": sum(part["cpu_s"] for part in parts),
        "peak_bytes": sum(part["peak_bytes"] for part in parts),
        "worst_of_bound": min(part["worst_of_bound"] for part in parts),
        "mean_of_bound": float(np.mean([part["mean_of_bound"] for part in parts])),
        "placed": sum(part["placed"] for part in parts),
        "short": sum(part["short"] for part in parts),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--sites", type=int, default=400)
    parser.add_argument("--processes", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    points = (
        [(1_000_000, 4_000)]
        if asked.full
        else [
            (asked.units // 4, asked.sites),
            (asked.units, asked.sites // 4),
            (asked.units, asked.sites),
        ]
    )
    heads = ("units", "sites", "wall s", "cpu s", "peak MiB", "worst of bound", "mean", "short")
    print("{:>9} {:>6} {:>8} {:>8} {:>9} {:>16} {:>8} {:>6}".format(*heads))
    rows = []
    for units, sites in points:
        row = measure(units, sites, asked.processes)
        rows.append(row)
        print(
            f"{units:9} {sites:6} {row['wall_s']:8.1f} {row['cpu_s']:8.1f} {row['peak_bytes'] / 2**20:9.0f}"
            f" {row['worst_of_bound']:16.4f} {row['mean_of_bound']:8.4f} {row['short']:6.0f}",
            flush=True,
        )
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["worst_of_bound"] >= 0.99 for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
