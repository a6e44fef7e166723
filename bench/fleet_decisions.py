"""How long one turn's decisions take for a large fleet, on one core: health, placement, sources, snapshot tag.

    .venv/bin/python bench/fleet_decisions.py [--appliances 20000] [--repeats 5]

Prints one JSON line for each decision with the median and the raw seconds.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

from headrace.catalog.fileset import FileSet
from headrace.fill.sources import Candidate, nearest_sites, rank_sources
from headrace.fleet.evidence import HealthRules
from headrace.fleet.mass_loss import conclude_fleet
from headrace.fleet.model import AdminState, HealthState, Site
from headrace.fleet.testing import make_evidence, make_probe, make_track
from headrace.placement.plan import PlacedTitle, Room, check_plan, plan_placement

NOW = 1_800_000_000.0
PER_SITE = 10
SITES_MOST = 500


def bench_health(count: int) -> Callable[[], object]:
    """All healthy, all reporting and probed: the turn of every second."""
    evidence = [make_evidence(f"a-{n}", reported_s=NOW - 1, probes=(make_probe(NOW - 1),)) for n in range(count)]
    tracks = {one.appliance_id: make_track() for one in evidence}
    return lambda: conclude_fleet(tracks, evidence, HealthRules(), now_s=NOW, watching_since_s=0.0, was_held=False)


def bench_placement(count: int) -> Callable[[], object]:
    """2,000 titles of 12 files; a tenth of the appliances is too small for all of them."""
    titles = [
        PlacedTitle(
            title_id=f"t-{n}",
            published_at_s=float(n),
            file_nos=tuple(range(12 * n + 1, 12 * n + 13)),
            size_bytes=10**9,
        )
        for n in range(2_000)
    ]
    rooms = [
        Room(
            appliance_id=f"a-{n}",
            usable_bytes=(10**12 if n % 10 == 0 else 10**13),
            reserve_bytes=0,
            planned=FileSet(),
        )
        for n in range(count)
    ]

    def turn() -> None:
        check_plan(plan_placement(titles, rooms), titles, rooms)

    return turn


def bench_sources(count: int) -> Callable[[], object]:
    """Every appliance's sources, as after a change of health; sites are spread over the globe."""
    size = max(PER_SITE, count // SITES_MOST)
    sites = [
        Site(site_id=f"s-{n}", latitude_deg=(n * 37) % 140 - 70.0, longitude_deg=(n * 91) % 360 - 180.0)
        for n in range(-(-count // size))
    ]
    near = nearest_sites(sites, 16)
    fleet: dict[str, list[Candidate]] = {}
    for n in range(count):
        one = Candidate(
            appliance_id=f"a-{n}",
            site_id=f"s-{n // size}",
            content_url=f"http://a-{n}.example",
            admin_state=AdminState.ENABLED,
            health_state=HealthState.HEALTHY,
            held_files=1,
        )
        fleet.setdefault(one.site_id, []).append(one)

    def turn() -> None:
        for site_id, members in fleet.items():
            for own in members:
                rank_sources(own, fleet, near[site_id], "http://origin.example")

    return turn


BENCHES = {"health": bench_health, "placement": bench_placement, "sources": bench_sources}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--appliances", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    for name, prepare in BENCHES.items():
        turn = prepare(arguments.appliances)
        raw_s = []
        for _ in range(arguments.repeats):
            start_s = time.process_time()
            turn()
            raw_s.append(round(time.process_time() - start_s, 4))
        found = {"decision": name, "appliances": arguments.appliances, "median_s": statistics.median(raw_s)}
        print(json.dumps({**found, "raw_s": raw_s, "python": platform.python_version(), "machine": platform.machine()}))


if __name__ == "__main__":
    main()
