"""Steering at the size of the Internet: how long a snapshot takes to build, load and change, and decisions a second.

    .venv/bin/python bench/steering_scale.py                       # a tenth of the size, about a minute
    .venv/bin/python bench/steering_scale.py --prefixes 1000000 --sites 4000 --appliances 20000 --titles 1000000

A model Internet is made from the seed: networks of Zipf-like size announce IPv4 (three in four) and IPv6 prefixes, some
inside others; most sites are embedded and hear one network and its customers, some peer with a few large ones, some are
at exchanges and hear a part of everybody. Clients are spread over networks, titles asked for, by Zipf's law; embedded
appliances hold the head of the catalogue. One process, one core; seconds are CPU seconds. Peers get the same routes,
clients and titles: a py-radix tree with a Python loop over what covers the client; a MaxMind reader and nginx `geo`
only look prefixes up.
"""

import argparse
import gc
import ipaddress
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
import radix

from headrace.base.ids import ApplianceId, RenditionId, Sha256, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import FileSuffix, PublishedFile, Rendition, Title, TrackKind
from headrace.fleet.model import AdminState, HealthState, Site, SiteKind
from headrace.routes.model import Hearing, RouteColumns
from headrace.steering.compile import compile_routes, compile_snapshot
from headrace.steering.decide import Decider
from headrace.steering.flatten import RouteMemory
from headrace.steering.load import Ledger
from headrace.steering.model import SnapshotAppliance, SteeringSnapshot
from headrace.steering.rank import Limits
from headrace.steering.testing import HEALTHY
from headrace.wire.snapshot import PackMemory, SnapshotParts, is_small, pack_sections, unpack_snapshot, write_table
from steering_lookups import geo_answers, mmdb_lookups

Rows = np.ndarray
KINDS = [SiteKind.EMBEDDED] * 16 + [SiteKind.PRIVATE_PEERING] * 3 + [SiteKind.PUBLIC_PEERING]
MOST_LOOKED_UP = 100_000
"""Prefixes that peers are given: a MaxMind DB takes some 0.1 ms each to write."""
GOALS = {
    "snapshot built, s": 60.0,
    "memory while building, GiB": 2.0,
    "snapshot loaded, s": 5.0,
    "health of one appliance, ms": 50.0,
    "decisions a second": 200_000.0,
}


class ModelTitles(Sequence[Title]):
    """Titles that are made when they are read: one video and one audio rendition."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Title: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Title]: ...
    def __getitem__(self, at: int | slice) -> Title | Sequence[Title]:
        if isinstance(at, slice):
            return [self[no] for no in range(*at.indices(self._count))]
        if not 0 <= at < self._count:
            raise IndexError(at)
        names = [Sha256(f"{at * 4 + no:016x}" * 4) for no in range(4)]
        renditions = tuple(
            Rendition(
                rendition_id=RenditionId(name),
                kind=kind,
                group=name,
                file=names[2 * no],
                playlist=names[2 * no + 1],
                codecs="avc1.64001f",
                bandwidth_bps=6_000_000,
                average_bandwidth_bps=5_000_000,
            )
            for no, (name, kind) in enumerate((("v1080", TrackKind.VIDEO), ("a-en", TrackKind.AUDIO)))
        )
        files = tuple(
            PublishedFile(sha256=name, size_bytes=1, suffix=FileSuffix.MP4, rendition_id=RenditionId("v1080"))
            for name in names
        )
        return Title(title_id=TitleId(f"t{at}"), name="x", duration_s=60.0, renditions=renditions, files=files)


class World:
    """The model Internet."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.rng = rng = np.random.default_rng(options.seed)
        self.networks = max(20, options.prefixes // 20)
        weights = 1.0 / np.arange(1, self.networks + 1) ** 0.8
        self.weights = weights / weights.sum()
        self.v4, self.lengths_v4 = self._prefixes_v4(options.prefixes * 3 // 4)
        self.v6, self.lengths_v6 = self._prefixes_v6(options.prefixes // 4)
        self.owner_v4 = self._owners(len(self.v4))
        self.owner_v6 = self._owners(len(self.v6))
        self.by_owner_v4 = self._grouped(self.owner_v4)
        self.by_owner_v6 = self._grouped(self.owner_v6)
        self.customers = [rng.integers(0, self.networks, size=int(no)) for no in rng.zipf(2.0, 4000).clip(0, 200)]
        self.sites: list[Site] = []
        self.hearings: list[Hearing] = []
        self.titles = ModelTitles(options.titles)
        self._make_sites(options)
        self.appliances = self._make_appliances(options)

    def _prefixes_v4(self, count: int) -> tuple[Rows, Rows]:
        length = self.rng.choice(
            [24, 23, 22, 21, 20, 19, 18, 16], size=2 * count, p=[0.6, 0.1, 0.1, 0.06, 0.06, 0.04, 0.03, 0.01]
        )
        start = self.rng.integers(1 << 24, 223 << 24, size=2 * count, dtype=np.uint64)
        start &= ~((np.uint64(1) << (np.uint64(32) - length.astype(np.uint64))) - np.uint64(1))
        keys = np.unique((start << np.uint64(8)) | length.astype(np.uint64))
        keys = np.sort(self.rng.permutation(keys)[:count])
        return (keys >> np.uint64(8)), (keys & np.uint64(255)).astype(np.uint8)

    def _prefixes_v6(self, count: int) -> tuple[Rows, Rows]:
        length = self.rng.choice([48, 44, 40, 32], size=2 * count, p=[0.6, 0.15, 0.1, 0.15])
        start = np.uint64(0x2000 << 48) + self.rng.integers(0, 1 << 56, size=2 * count, dtype=np.uint64) * np.uint64(32)
        start &= ~((np.uint64(1) << (np.uint64(64) - length.astype(np.uint64))) - np.uint64(1))
        order = np.lexsort((length, start))
        start, length = start[order], length[order].astype(np.uint8)
        is_new = np.r_[True, (start[1:] != start[:-1]) | (length[1:] != length[:-1])]
        pick = np.sort(self.rng.permutation(np.flatnonzero(is_new))[:count])
        return start[pick], length[pick]

    def _owners(self, count: int) -> Rows:
        """Neighbouring prefixes mostly belong to the same network."""
        runs = self.rng.geometric(0.25, size=count)
        owners = self.rng.choice(self.networks, size=count, p=self.weights)
        return np.repeat(owners, runs)[:count]

    def _grouped(self, owners: Rows) -> list[Rows]:
        order = np.argsort(owners, kind="stable")
        return np.split(order, np.searchsorted(owners[order], np.arange(1, self.networks)))

    def _columns(self, networks: Rows, hops: int) -> RouteColumns:
        rng = self.rng
        v4 = np.unique(np.concatenate([self.by_owner_v4[no] for no in networks]))
        v6 = np.unique(np.concatenate([self.by_owner_v6[no] for no in networks]))
        path_v4 = (hops + self.owner_v4[v4] % 3).astype(np.uint16)
        path_v6 = (hops + self.owner_v6[v6] % 3).astype(np.uint16)
        med = int(rng.choice([0, 0, 10, 50]))
        return RouteColumns(
            prefixes_v4=packed_v4(self.v4[v4], self.lengths_v4[v4]),
            path_lengths_v4=array("H", path_v4.tobytes()),
            meds_v4=array("I", np.full(len(v4), med, dtype=np.uint32).tobytes()),
            prefixes_v6=packed_v6(self.v6[v6], self.lengths_v6[v6]),
            path_lengths_v6=array("H", path_v6.tobytes()),
            meds_v6=array("I", np.full(len(v6), med, dtype=np.uint32).tobytes()),
            digest=f"{len(self.hearings)}",
        )

    def _make_sites(self, options: argparse.Namespace) -> None:
        rng, per_site = self.rng, options.appliances // options.sites
        for no in range(options.sites):
            kind = (
                SiteKind.EMBEDDED
                if no % 20 < 16
                else SiteKind.PRIVATE_PEERING
                if no % 20 < 19
                else SiteKind.PUBLIC_PEERING
            )
            if kind is SiteKind.EMBEDDED:
                own = rng.choice(self.networks, p=self.weights)
                networks, hops = np.append(self.customers[no % 4000], own), 1
            elif kind is SiteKind.PRIVATE_PEERING:
                networks, hops = rng.choice(self.networks, size=5, p=self.weights), 1
            else:
                networks, hops = rng.choice(self.networks, size=max(5, self.networks // 100)), 2
            name = SiteId(f"s{no}")
            latitude, longitude = rng.uniform(-50, 60), rng.uniform(-180, 180)
            is_last = no >= options.sites - 2
            self.sites.append(
                Site(site_id=name, kind=kind, latitude_deg=latitude, longitude_deg=longitude, is_last_resort=is_last)
            )
            members = tuple(ApplianceId(f"a{no}-{at}") for at in range(per_site))
            self.hearings.append(Hearing(appliances=members, routes=self._columns(networks, hops)))

    def _make_appliances(self, options: argparse.Namespace) -> tuple[SnapshotAppliance, ...]:
        rng, titles = self.rng, options.titles
        everything = FileSet(range(1, titles + 1))
        shared = []
        for _ in range(200):  # titles are numbered by popularity here: the head, then a part of the rest
            head = int(titles * rng.uniform(0.05, 0.3))
            rest = rng.integers(head, titles + 1, size=head // 4)
            shared.append(FileSet(range(1, head + 1)) | FileSet(rest.tolist()))
        found = []
        for no, (site, hearing) in enumerate(zip(self.sites, self.hearings, strict=True)):
            for at, name in enumerate(hearing.appliances):
                holdings = everything if site.kind is SiteKind.PUBLIC_PEERING else shared[no % len(shared)]
                if rng.random() < 0.02:  # it fills
                    holdings = holdings - FileSet(rng.integers(1, titles + 1, size=max(1, titles // 100)).tolist())
                found.append(
                    SnapshotAppliance(
                        appliance_id=name,
                        site_id=site.site_id,
                        content_url=f"http://192.0.2.{at}:{8000 + no}",
                        admin_state=AdminState.ENABLED,
                        health=replace(HEALTHY, since_s=1.8e9 + no),
                        capacity_bps=int(rng.choice([20, 40, 100])) * 10**9,
                        tx_bps=float(rng.integers(0, 10)) * 1e9,
                        holdings=holdings,
                    )
                )
        return tuple(found)

    def snapshot(self) -> SteeringSnapshot:
        return SteeringSnapshot(
            version=1,
            built_at_s=1.8e9,
            origin_url="http://origin.example",
            sites=tuple(self.sites),
            appliances=self.appliances,
            titles=self.titles,
            control_id="bench",
            hearings=tuple(self.hearings),
        )

    def prefixes(self) -> list[tuple[str, int]]:
        """All of them with their networks, outer ones before those inside them."""
        found = []
        for starts, lengths, owners, kind, shift in (
            (self.v4, self.lengths_v4, self.owner_v4, ipaddress.IPv4Address, 0),
            (self.v6, self.lengths_v6, self.owner_v6, ipaddress.IPv6Address, 64),
        ):
            order = np.argsort(lengths, kind="stable").tolist()
            found += [(f"{kind(int(starts[at]) << shift)}/{lengths[at]}", int(owners[at])) for at in order]
        return found

    def requests(self, count: int) -> list[tuple[bytes, str]]:
        """Clients by the size of their network, titles by Zipf's law."""
        rng, titles = self.rng, len(self.titles)
        is_v6 = rng.random(count) < 0.35
        at_v4, at_v6 = self._clients(self.owner_v4, count), self._clients(self.owner_v6, count)
        low = rng.integers(1, 250, size=count)
        ranks = np.minimum(np.exp(rng.random(count) * np.log(titles)).astype(np.int64), titles - 1)
        found = []
        for no in range(count):
            if is_v6[no]:
                address = ((int(self.v6[at_v6[no]]) << 64) | int(low[no])).to_bytes(16, "big")
            else:
                address = (int(self.v4[at_v4[no]]) | int(low[no])).to_bytes(4, "big")
            found.append((address, f"t{ranks[no]}"))
        return found

    def _clients(self, owners: Rows, count: int) -> Rows:
        weight = (self.weights**0.5)[owners]
        return self.rng.choice(len(owners), size=count, p=weight / weight.sum())


def packed_v4(starts: Rows, lengths: Rows) -> bytes:
    rows = np.empty(len(starts), dtype=[("start", ">u4"), ("length", "u1")])
    rows["start"], rows["length"] = starts, lengths
    return rows.tobytes()


def packed_v6(starts: Rows, lengths: Rows) -> bytes:
    rows = np.zeros(len(starts), dtype=[("high", ">u8"), ("low", ">u8"), ("length", "u1")])
    rows["high"], rows["length"] = starts, lengths
    return rows.tobytes()


class Peer:
    """A radix tree whose nodes list who hears a prefix, and a loop over all prefixes that cover a client."""

    def __init__(self, world: World) -> None:
        self.tree = radix.Radix()
        size = len(world.hearings[0].appliances)
        self.hearers = [world.appliances[no * size : (no + 1) * size] for no in range(len(world.hearings))]
        self.kinds = [list(SiteKind).index(site.kind) for site in world.sites]
        for no, hearing in enumerate(world.hearings):
            columns = hearing.routes
            for width, prefixes, paths, meds in (
                (5, columns.prefixes_v4, columns.path_lengths_v4, columns.meds_v4),
                (17, columns.prefixes_v6, columns.path_lengths_v6, columns.meds_v6),
            ):
                for at in range(len(paths)):
                    packed = prefixes[at * width : (at + 1) * width]
                    node = self.tree.add(packed=packed[:-1], masklen=packed[-1])
                    node.data.setdefault("by", []).append((paths[at], meds[at], self.kinds[no], no))

    def decide(self, address: bytes, title: str) -> list[SnapshotAppliance]:
        number, found = int(title[1:]) + 1, []
        text = str(ipaddress.ip_address(address))
        for node in self.tree.search_covering(text):
            for _, _, _, no in sorted(node.data["by"]):
                members = sorted(self.hearers[no], key=lambda one: hash((title, one.appliance_id)))
                found += [one for one in members if number in one.holdings and one.health.state is HealthState.HEALTHY]
                if len(found) >= 4 and len({one.site_id for one in found}) > 1:
                    return found[:4]
        return found


def look_up(world: World, addresses: list[bytes], folder: Path, rows: dict[str, float]) -> None:
    """What those give who know prefixes only."""
    prefixes = world.prefixes()[:MOST_LOOKED_UP]
    rows["peers that look up: prefixes"] = len(prefixes)
    rows["MaxMind reader: look-ups a second"] = mmdb_lookups(prefixes, addresses, folder)
    for name, answers in geo_answers(prefixes, addresses, folder).items():
        rows[f"nginx, {name}: answers a CPU second"] = answers


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """CPU seconds of this process: neighbours on the same cores count little."""
    gc.collect()
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


class Rowed(dict[str, float]):
    """Figures, printed as they come."""

    def __setitem__(self, key: str, value: float) -> None:
        super().__setitem__(key, value)
        goal = f"   goal {GOALS[key]:,.0f}" if key in GOALS else ""
        print(f"{key:62} {value:14,.2f}{goal}", flush=True)


def loop_ns() -> float:
    """How fast the machine is now: neighbours on the same cores show here."""
    started, total = time.process_time(), 0
    for number in range(3_000_000):
        total += number
    return (time.process_time() - started) / 3e6 * 1e9


def rss_gib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def rate(decide: Callable[[bytes, str], object], requests: list[tuple[bytes, str]], rounds: int) -> float:
    """Median over rounds."""
    size, rates = len(requests) // rounds, []
    for no in range(rounds):
        batch = requests[no * size : (no + 1) * size]
        started = time.process_time()
        for address, title in batch:
            decide(address, title)
        rates.append(size / (time.process_time() - started))
    return statistics.median(rates)


@dataclass(slots=True)
class Made:
    """What the control plane remembers of the snapshot that it made last."""

    packed: PackMemory = field(default_factory=PackMemory)
    routes: RouteMemory = field(default_factory=RouteMemory)


def build(world: World, folder: Path, rows: dict[str, float]) -> tuple[SteeringSnapshot, Made, bytes]:
    made = Made()
    before = rss_gib()
    snapshot = world.snapshot()
    seconds, routes = timed(lambda: compile_routes(snapshot.sites, snapshot.hearings, made.routes))
    rows["  routes flattened, s"] = seconds
    snapshot = replace(snapshot, routes=routes)
    packing, sections = timed(lambda: pack_sections(snapshot, made.packed))
    making = 2 * timed(lambda: sum(1 for _ in world.titles))[0]  # the model makes titles as they are read, twice
    rows["  sections packed, s"] = packing - making
    rows["snapshot built, s"] = seconds + packing - making
    rows["memory while building, GiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 - before
    sizes = Counter[str]()
    for one in sections:
        (folder / one.digest).write_bytes(one.body)
        sizes[one.name.partition(" ")[0]] += len(one.body)
    for name, size in sizes.items():
        rows[f"  section {name}, MB"] = size / 1e6
    rows["classes of clients"] = routes.classes
    rows["ranges of addresses"] = routes.ranges
    return snapshot, made, write_table(sections)


def load(folder: Path, table: bytes, rows: dict[str, float]) -> tuple[object, SnapshotParts]:
    parts, before = SnapshotParts(), rss_gib()
    find = lambda digest: memoryview((folder / digest).read_bytes())  # noqa: E731
    seconds, compiled = timed(lambda: compile_snapshot(unpack_snapshot(table, parts, find=find)))
    rows["snapshot loaded, s"] = seconds
    rows["memory of the loaded snapshot, GiB"] = rss_gib() - before
    return compiled, parts


def flap(snapshot: SteeringSnapshot, memory: PackMemory, folder: Path, loaded: tuple, rows: dict[str, float]) -> None:
    """One appliance is lost; then every appliance reports another load."""
    compiled, parts = loaded
    lost = replace(snapshot.appliances[7], health=replace(HEALTHY, state=HealthState.LOST))
    all_loads = tuple(replace(one, tx_bps=one.tx_bps + 1e9) for one in snapshot.appliances)
    one_lost = (*snapshot.appliances[:7], lost, *snapshot.appliances[8:])
    for name, appliances in (("health of one appliance", one_lost), ("loads of all", all_loads)):
        changed = replace(snapshot, version=2, appliances=appliances)
        packing, sections = timed(lambda changed=changed: pack_sections(changed, memory))
        bodies = {one.digest: one.body for one in sections}
        table = write_table(sections)
        old = {one.digest for one in pack_sections(snapshot, memory)}
        rows[f"  {name}: packed at control, ms"] = packing * 1e3
        rows[f"  {name}: bytes on the wire"] = len(table) + sum(
            len(one.body) for one in sections if one.digest not in old and not is_small(one)
        )
        rows[f"{name}, ms"] = applied_ms(table, bodies, parts, compiled)


def one_route(world: World, snapshot: SteeringSnapshot, made: Made, loaded: tuple, rows: dict[str, float]) -> None:
    """One network announces a prefix with a longer path to those at an exchange."""
    hearings = list(snapshot.hearings)
    number = KINDS.index(SiteKind.PUBLIC_PEERING)
    routes = hearings[number].routes
    paths = array("H", routes.path_lengths_v4)
    paths[len(paths) // 2] += 1
    hearings[number] = replace(hearings[number], routes=replace(routes, path_lengths_v4=paths, digest="changed"))
    seconds, table = timed(lambda: compile_routes(world.sites, hearings, made.routes))
    old = {one.digest for one in pack_sections(snapshot, made.packed)}
    changed = replace(snapshot, version=3, routes=table, hearings=tuple(hearings))
    packing, sections = timed(lambda: pack_sections(changed, made.packed))
    written = write_table(sections)
    fresh = [one for one in sections if one.digest not in old and not is_small(one)]
    rows["one changed route: compiled and packed at control, ms"] = (seconds + packing) * 1e3
    rows["  one changed route: bytes on the wire"] = len(written) + sum(len(one.body) for one in fresh)
    bodies = {one.digest: one.body for one in sections}
    rows["  one changed route: applied, ms"] = applied_ms(written, bodies, loaded[1], loaded[0])


def applied_ms(table: bytes, bodies: dict, parts: SnapshotParts, compiled: object) -> float:
    known = SnapshotParts(by_digest=dict(parts.by_digest), live=parts.live)
    seconds, new = timed(lambda: unpack_snapshot(table, known, find=bodies.__getitem__))
    compiling, _ = timed(lambda: compile_snapshot(new, compiled))
    return (seconds + compiling) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prefixes", type=int, default=100_000)
    parser.add_argument("--sites", type=int, default=400)
    parser.add_argument("--appliances", type=int, default=2000)
    parser.add_argument("--titles", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=600_000)
    parser.add_argument("--warm-up", type=int, default=400_000)
    parser.add_argument("--quick", action="store_true", help="small and short: to see that it works")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "steering_scale.json")
    options = parser.parse_args()
    if options.quick:
        options.prefixes, options.sites, options.appliances, options.titles = 10_000, 100, 500, 5000
        options.requests = options.warm_up = 50_000
    rows = Rowed()
    seconds, world = timed(lambda: World(options))
    print(f"model made in {seconds:.1f} s", file=sys.stderr)
    rows["routes in all"] = sum(len(one.routes.meds_v4) + len(one.routes.meds_v6) for one in world.hearings)
    with tempfile.TemporaryDirectory(prefix="bench-steering-scale-") as name:
        folder = Path(name)
        snapshot, made, table = build(world, folder, rows)
        loaded = load(folder, table, rows)
        flap(snapshot, made.packed, folder, loaded, rows)
        one_route(world, snapshot, made, loaded, rows)
        requests = world.requests(options.requests + options.warm_up)
        gc.freeze()
        decider = Decider(loaded[0], Limits(), {})
        rows["a turn of an empty Python loop now, ns (40 on a quiet core)"] = loop_ns()
        rows["decisions a second, cold"] = rate(decider.decide, requests[: options.warm_up], 1)
        rows["decisions a second"] = rate(decider.decide, requests[options.warm_up :], 5)
        ledger = Ledger(Limits().load, workers=1, settle_s=4, most_age_s=60)
        busy = tuple(
            replace(one, tx_bps=one.capacity_bps * 0.85) if no % 10 == 0 else one
            for no, one in enumerate(snapshot.appliances)
        )
        ledger.report({one.appliance_id: one for one in busy}, loads_at_s=0, now_s=0)
        decider.levels = ledger.levels
        rows["  while a tenth of the fleet sheds"] = rate(decider.decide, requests[: options.warm_up // 4], 1)
        if not options.no_peers:
            seconds, peer = timed(lambda: Peer(world))
            rows["py-radix: built, s"] = seconds
            rows["py-radix with a loop: decisions a second"] = rate(peer.decide, requests[:20_000], 1)
            look_up(world, [address for address, _ in requests[:200_000]], folder, rows)
    machine = {"kernel": platform.release(), "python": platform.python_version(), "load": os.getloadavg()}
    sizes = {key: value for key, value in vars(options).items() if key != "out"}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"machine": machine, "options": sizes, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
