"""A day of a whole network in `headrace.sim.day`: what stays in the sites, what is filled when, how long it takes.

    .venv/bin/python bench/day.py                     # 1000 sites, 50,000 titles, 200,000 sessions; minutes
    .venv/bin/python bench/day.py --sites 100 --titles 5000 --sessions 50000 --regions 4

Nothing is compared: the peer of a plan is `bench/placement.py`. The same seed gives the same day.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from headrace.sim.day import DayPlan, DaySeen, live_a_day

RESULT = Path(__file__).parent / "results" / "day.json"
TB = 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--regions", type=int, default=8)
    parser.add_argument("--titles", type=int, default=50_000)
    parser.add_argument("--sessions", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    plan = DayPlan(sites=options.sites, regions=options.regions, titles=options.titles, sessions=options.sessions)
    began_s = time.monotonic()
    seen = live_a_day(
        plan,
        seed=options.seed,
        tell=lambda step: print(f"{time.monotonic() - began_s:6.0f} s  {step}", file=sys.stderr),
    )
    took_s = time.monotonic() - began_s
    print(table(seen))
    print(f"\n{took_s:.0f} s, of which {time.process_time():.0f} s of processor, load {os.getloadavg()[0]:.1f}")
    RESULT.write_text(json.dumps(as_json(plan, options.seed, seen, took_s)) + "\n")


def table(seen: DaySeen) -> str:
    served = seen.served_bytes
    lines = [f"{'hour (UTC)':>10} {'served TB':>10} {'own site':>9} {'region':>8} {'origin':>8} {'filled TB':>10}"]
    for hour in range(24):
        shares = [
            part[hour] / max(1.0, served[hour])
            for part in (seen.from_site_bytes, seen.from_region_bytes, seen.from_origin_bytes)
        ]
        lines.append(
            f"{hour:>10} {served[hour] / TB:>10.1f} {shares[0]:>9.1%} {shares[1]:>8.1%} {shares[2]:>8.1%} "
            f"{seen.fill_bytes[hour] / TB:>10.2f}"
        )
    lines.append(
        f"whole day: {seen.offload_ratio:.1%} from the own site, {seen.region_ratio:.1%} from its region; filled "
        f"{seen.fill_bytes.sum() / TB:.1f} TB, left unfilled {seen.unfilled_bytes / TB:.2f} TB; the busiest appliance "
        f"at {seen.most_use:.0%}; plan at {seen.expected_ratio:.2%} of its bound; titles by copies {seen.copies}"
    )
    return "\n".join(lines)


def as_json(plan: DayPlan, seed: int, seen: DaySeen, took_s: float) -> dict[str, object]:
    found = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in asdict(seen).items()}
    return {"plan": asdict(plan), "seed": seed, "took_s": took_s, "load": os.getloadavg()[0], **found}


if __name__ == "__main__":
    main()
