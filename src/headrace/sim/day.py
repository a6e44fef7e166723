"""A day of a whole delivery network on the production decisions: foretold, planned, filled in its windows, steered.

Modelled: sites with clients of their own, titles as units with one size, sessions of one bit rate, launches, appliances
and a site that die. Decided by production code: the forecast (`demand.forecast_titles`), the plan (`placement.fleet`),
windows and shares of fill (`fill.windows`, `fill.caps`), who serves each session (`steering.rank`, `steering.load`).
Not modelled: what is taken in by day because it was asked for, players' buffers, bytes on links. One seed, one day.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

import numpy as np

from headrace.base.ids import ApplianceId, Sha256, SiteId, TitleId
from headrace.base.instants import read_zone
from headrace.catalog.fileset import FileSet
from headrace.demand.forecast_titles import TitleFacts, TitleForecast, forecast_titles
from headrace.demand.model import Demand
from headrace.fill.caps import Filler, share_inbound
from headrace.fill.windows import read_hours, windows_from
from headrace.fleet.model import AdminState, Health, HealthReason, HealthState, Site
from headrace.placement.choose import Floats, Ints
from headrace.placement.fleet import FleetRules, SitePlan, SiteRoom, Units, plan_fleet
from headrace.placement.hashing import slots_of
from headrace.placement.spread import Bin
from headrace.steering.approach import Approaches, approaches
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.steering.load import Ledger, draw_of
from headrace.steering.model import SnapshotAppliance, SteeringSnapshot
from headrace.steering.rank import Limits, Sharing, choose_new
from headrace.steering.rendezvous import slot_of

DAY_S, HOUR_S, SLOT_S = 86_400, 3_600, 600
SITES_A_REGION = 128
"""At most: their prefixes are the eighteens of one eleven."""
ZONES = ("Europe/London", "Europe/Berlin", "America/New_York", "America/Los_Angeles", "Asia/Tokyo", "Asia/Kolkata")
EVENING = np.array([2, 1.2, 0.8, 0.5, 0.4, 0.5, 0.8, 1.2, 1.6, 2, 2.3, 2.6, 3, 3.2, 3.3, 3.5, 4, 5, 6.5, 8, 9, 9, 7, 4])
"""Sessions by hour of local time: half of them after 18 o'clock."""
_HEALTHY = Health(state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, is_turned_up=True)
_DEAD = Health(state=HealthState.LOST, reason=HealthReason.NO_REPORT, is_turned_up=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPlan:
    """How large the network is and what happens."""

    sites: int = 1000
    regions: int = 8
    titles: int = 50_000
    sessions: int = 200_000
    """A day."""
    history_days: int = 14
    launches: int = 150
    """Titles that come out on the day, announced before."""
    session_bps: float = 5e6
    session_s: int = 3600
    room_ratio: float = 0.12
    """A site's room, of the catalogue's bytes, on average."""
    fill_bps: int = 1_200_000_000
    """Of a site, in its window."""
    window: str = "02:00-14:00"
    peak_use: float = 0.6
    """Of its capacity, at a site's busiest hour."""
    fill_price: float = 0.005
    """Plays a day that a title must gain. Less than in a real fleet, as are sessions: a site has some hundred a day."""
    dead_ratio: float = 0.005
    """Appliances that die at noon (UTC)."""
    is_site_lost: bool = True
    """The largest site dies for two hours at its peak."""


class _Wanted(NamedTuple):
    number: int
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """What stands and what is published."""

    sites: tuple[Site, ...]
    regions: Ints
    zones: tuple[str, ...]
    share: Floats
    """Of all sessions, by site."""
    members: tuple[tuple[Bin, ...], ...]
    size_bytes: Floats
    weight: Floats
    """By region and title: share of the region's sessions, before launches."""
    launched_s: Floats


@dataclass(slots=True, kw_only=True)
class DaySeen:
    """What came of it, by hour (UTC) where it is an array of 24."""

    from_site_bytes: Floats = field(default_factory=lambda: np.zeros(24))
    from_region_bytes: Floats = field(default_factory=lambda: np.zeros(24))
    """From another site of the region."""
    from_origin_bytes: Floats = field(default_factory=lambda: np.zeros(24))
    fill_bytes: Floats = field(default_factory=lambda: np.zeros(24))
    unfilled_bytes: float = 0.0
    """What did not fit in the window."""
    most_use: float = 0.0
    """Highest share of its capacity that an appliance was used at."""
    expected_ratio: float = 0.0
    """Expected bytes of the plan over what no plan of its room could exceed."""
    copies: dict[int, int] = field(default_factory=dict)
    """How many titles are held by so many appliances; 9 stands for more."""
    sessions: int = 0

    @property
    def served_bytes(self) -> Floats:
        """Of all."""
        return self.from_site_bytes + self.from_region_bytes + self.from_origin_bytes

    @property
    def offload_ratio(self) -> float:
        """Share of the bytes that stayed in the client's own site."""
        return float(self.from_site_bytes.sum() / max(1.0, self.served_bytes.sum()))

    @property
    def region_ratio(self) -> float:
        """Share that came from another site of the region."""
        return float(self.from_region_bytes.sum() / max(1.0, self.served_bytes.sum()))


def live_a_day(plan: DayPlan, *, seed: int, tell: Callable[[str], None] = lambda _: None) -> DaySeen:
    """One day, after some weeks of history and a first plan the day before.

    Args:
        tell: is told of each step, for a progress line.
    """
    rng = np.random.default_rng(seed)
    start_s = 1_800_057_600  # A midnight.
    network = make_network(plan, rng, start_s=start_s)
    tell("history")
    demand = make_history(plan, network, rng, start_s=start_s)
    facts = [
        TitleFacts(
            title_id=TitleId(f"t{no}"), files=(demand.files[no],), size_bytes=int(size), published_s=float(out_s)
        )
        for no, (size, out_s) in enumerate(zip(network.size_bytes, network.launched_s, strict=True))
    ]
    regions = {site.site_id: site.region for site in network.sites}
    before: list[SitePlan] = []
    for now_s in (start_s - DAY_S, start_s):
        tell("forecast")
        foretold = forecast_titles(demand, facts, regions, now_s=now_s)
        tell("plan")
        held = [one.spread.units[one.spread.on.any(axis=1)] for one in before]
        plans, before = before, make_plan(plan, network, foretold, held)
    return _Running(plan, network, plans, before, rng, start_s).run(tell)


def make_network(plan: DayPlan, rng: np.random.Generator, *, start_s: int) -> Network:
    """Sites of unequal size, each with two to five appliances: fast ones with little room and slow ones with much."""
    regions = np.sort(np.arange(plan.sites) % plan.regions)
    if plan.sites > SITES_A_REGION * plan.regions:
        raise ValueError(f"at most {SITES_A_REGION} sites a region: more regions")
    share = rng.lognormal(0.0, 0.8, plan.sites)
    share /= share.sum()
    size = rng.lognormal(np.log(2.5e9), 0.6, plan.titles)
    sites, members, zones = [], [], []
    blocks = _blocks(regions)
    for no in range(plan.sites):
        block = int(blocks[no])
        prefixes = (f"10.{block >> 2}.{(block & 3) << 6}.0/18", f"10.{int(regions[no]) * 32}.0.0/11")
        name = SiteId(f"s-{no}")
        sites.append(Site(site_id=name, prefixes=prefixes, region=f"r-{regions[no]}"))
        zones.append(ZONES[int(regions[no]) % len(ZONES)])
        count = int(rng.integers(2, 6))
        busiest_bps = share[no] * plan.sessions * EVENING.max() / EVENING.sum() * plan.session_bps
        capacity_bps = max(100.0 * plan.session_bps, busiest_bps / plan.peak_use)
        room = plan.room_ratio * size.sum() * float(rng.uniform(0.7, 1.3))
        parts = rng.uniform(0.5, 1.5, (2, count))
        parts /= parts.sum(axis=1, keepdims=True)
        members.append(
            tuple(
                Bin(
                    appliance_id=ApplianceId(f"{name}-{at}"),
                    room_bytes=float(room * parts[0, at]),
                    throughput_bps=float(capacity_bps * parts[1, at]),
                )
                for at in range(count)
            )
        )
    rank = rng.permutation(plan.titles)
    weight = (1.0 / (rank + 10.0) ** 0.9)[None, :] * rng.lognormal(0.0, 0.5, (plan.regions, plan.titles))
    out_s = (start_s - rng.integers(1, 1000, plan.titles) * DAY_S).astype(np.float64)
    launches = rng.choice(plan.titles, plan.launches, replace=False)
    out_s[launches] = start_s
    recent = rng.choice(plan.titles, plan.launches * plan.history_days, replace=True)
    out_s[recent] = start_s - rng.integers(1, plan.history_days + 1, len(recent)) * float(DAY_S)
    return Network(
        sites=tuple(sites),
        regions=regions,
        zones=tuple(zones),
        share=share,
        members=tuple(members),
        size_bytes=size,
        weight=weight,
        launched_s=out_s,
    )


def shares_of(network: Network, region: int, day_s: float) -> Floats:
    """Share of each title in a region's sessions on a day: nothing before its launch, ten times as much after it."""
    age_days = (day_s - network.launched_s) / DAY_S
    freshness = np.where(age_days < 0, 0.0, 1.0 + 9.0 * np.exp(-np.maximum(age_days, 0.0) / 4.0))
    weight = network.weight[region] * freshness
    shares: Floats = weight / weight.sum()
    return shares


def sample_day(plan: DayPlan, network: Network, rng: np.random.Generator, day_s: int) -> tuple[Ints, Ints, Ints]:
    """Sessions of a day in order of time: second of the day (UTC), site, title."""
    site = rng.choice(plan.sites, plan.sessions, p=network.share).astype(np.int64)
    title = np.zeros(plan.sessions, dtype=np.int64)
    for region in range(plan.regions):
        here = np.flatnonzero(network.regions[site] == region)
        title[here] = rng.choice(plan.titles, len(here), p=shares_of(network, region, day_s))
    local = rng.choice(24, plan.sessions, p=EVENING / EVENING.sum()) * HOUR_S + rng.integers(0, HOUR_S, plan.sessions)
    ahead = {zone: _ahead_s(zone, day_s) for zone in set(network.zones)}
    second = (local - np.array([ahead[zone] for zone in network.zones])[site]) % DAY_S
    order = np.argsort(second, kind="stable")
    return second[order], site[order], title[order]


def make_history(plan: DayPlan, network: Network, rng: np.random.Generator, *, start_s: int) -> Demand:
    """Demand of the days before, as metering counts it; a session watches 60 % of its title."""
    columns: list[Ints] = []
    for back in range(plan.history_days, 0, -1):
        day_s = start_s - back * DAY_S
        second, site, title = sample_day(plan, network, rng, day_s)
        columns.append(np.stack([title, site, (day_s + second) // HOUR_S]))
    title, site, hour = np.concatenate(columns, axis=1)
    asked = (0.6 * network.size_bytes[title]).astype(np.int64)
    names = sorted(Sha256(f"{no:064x}") for no in range(plan.titles))
    return Demand(
        files=tuple(names),
        sizes=network.size_bytes.astype(np.int64),
        sites=tuple(one.site_id for one in network.sites),
        file=title,
        site=site,
        hour=hour,
        bytes_asked=asked,
        bytes_served=asked,
        requests=np.ones(len(asked), dtype=np.int64),
    )


def make_plan(plan: DayPlan, network: Network, foretold: TitleForecast, held: Sequence[Ints]) -> list[SitePlan]:
    """What each site should hold, in the order of the network's sites."""
    units = Units(
        size_bytes=network.size_bytes,
        slots=slots_of(foretold.titles),
        plays={name: region.plays for name, region in foretold.regions.items()},
    )
    rooms = [
        SiteRoom(
            site_id=site.site_id,
            region=site.region,
            scale=foretold.scales.get(site.site_id, 1.0),
            bins=network.members[no],
            held=held[no] if held else np.zeros(0, dtype=np.int64),
        )
        for no, site in enumerate(network.sites)
    ]
    found = {
        one.site_id: one for one in plan_fleet(units, rooms, FleetRules(reactive_ratio=0.0, fill_price=plan.fill_price))
    }
    return [found[site.site_id] for site in network.sites]


def _blocks(regions: Ints) -> Ints:
    """By site: which of the eighteens of 10.0.0.0/8 its clients have."""
    blocks: Ints = regions * SITES_A_REGION + np.arange(len(regions)) - np.searchsorted(regions, regions)
    return blocks


def _ahead_s(zone: str, at_s: float) -> int:
    """How far a zone's clocks are ahead of UTC at an instant; negative where they are behind."""
    offset = datetime.fromtimestamp(at_s, tz=read_zone(zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


@dataclass(slots=True, eq=False)
class _Member:
    """An appliance while the day goes on."""

    bin: Bin
    site: int
    old: Ints
    """Units held in the morning."""
    new: Ints
    """Units to be brought in, most wanted first."""
    stays: Ints
    filled: int = 0
    is_changed: bool = True
    """Since the last snapshot."""
    sessions: int = 0

    @property
    def held(self) -> Ints:
        """What is on its disks: what goes makes room in step with what comes."""
        gone = len(self.old) * self.filled // max(1, len(self.new))
        return np.concatenate([self.stays, self.old[gone:], self.new[: self.filled]])


class _Running:
    """Ten minutes after ten minutes."""

    def __init__(
        self,
        plan: DayPlan,
        network: Network,
        before: Sequence[SitePlan],
        plans: Sequence[SitePlan],
        rng: np.random.Generator,
        start_s: int,
    ) -> None:
        self._plan, self._network, self._rng, self._start_s = plan, network, rng, start_s
        self.seen = DaySeen()
        self._limits = Limits()
        self._ledger = Ledger(self._limits.load, workers=1, settle_s=0.0, most_age_s=SLOT_S)
        self._fleet: dict[ApplianceId, _Member] = {}
        for no, (old, new) in enumerate(zip(before, plans, strict=True)):
            for at, one in enumerate(network.members[no]):
                had, wants = old.spread.units[old.spread.on[:, at]], new.spread.units[new.spread.on[:, at]]
                self._fleet[one.appliance_id] = _Member(
                    one, no, np.setdiff1d(had, wants), wants[~np.isin(wants, had)], np.intersect1d(had, wants)
                )
        self.seen.expected_ratio = sum(one.expected_bytes for one in plans) / sum(one.bound_bytes for one in plans)
        self._blocks: list[int] = _blocks(network.regions).tolist()
        self._dead: set[ApplianceId] = set()
        self._slots = [slot_of(int(key)) for key in rng.integers(0, 2**63, plan.titles)]
        self._compiled: CompiledSnapshot | None = None
        self._ways: dict[int, Approaches] = {}
        hours = read_hours(plan.window)
        self._windows = {
            zone: windows_from(hours, zone, start_s, count=2) if hours else () for zone in set(network.zones)
        }

    def run(self, tell: Callable[[str], None]) -> DaySeen:
        second, site, title = sample_day(self._plan, self._network, self._rng, self._start_s)
        edges = np.searchsorted(second, np.arange(0, DAY_S + SLOT_S, SLOT_S))
        active: list[list[ApplianceId]] = []
        faults = dict(self._faults())
        for slot in range(DAY_S // SLOT_S):
            now_s = self._start_s + slot * SLOT_S
            is_changed = self._fail(faults.get(slot))
            if slot % (HOUR_S // SLOT_S) == 0:
                tell(f"hour {slot * SLOT_S // HOUR_S}")
                is_changed |= self._fill(now_s, slot * SLOT_S // HOUR_S)
            if is_changed or self._compiled is None:
                self._compile(now_s)
            if len(active) >= self._plan.session_s // SLOT_S:
                for name in active.pop(0):
                    self._fleet[name].sessions -= 1
            self._report(now_s)
            part = slice(edges[slot], edges[slot + 1])
            active.append(self._steer(second[part], site[part], title[part], slot * SLOT_S // HOUR_S))
        self._count()
        return self.seen

    def _faults(self) -> Iterator[tuple[int, tuple[set[ApplianceId], bool]]]:
        """By slot: who dies (True) or comes back."""
        names = sorted(self._fleet)
        died = self._rng.choice(len(names), int(self._plan.dead_ratio * len(names)), replace=False)
        yield 72, ({names[at] for at in died}, True)
        if self._plan.is_site_lost:
            largest = int(np.argmax(self._network.share))
            peak_s = (20 * HOUR_S - _ahead_s(self._network.zones[largest], self._start_s)) % DAY_S
            site = {one.appliance_id for one in self._network.members[largest]}
            begin = int(min(peak_s // SLOT_S, DAY_S // SLOT_S - 13))
            yield begin + (begin == 72), (site, True)
            yield begin + 12, (site, False)

    def _fail(self, fault: tuple[set[ApplianceId], bool] | None) -> bool:
        if fault is None:
            return False
        self._dead = self._dead | fault[0] if fault[1] else self._dead - fault[0]
        return True

    def _fill(self, now_s: int, hour: int) -> bool:
        """An hour of fill in each site whose window is open; the site's rate is shared as control shares it."""
        by_site: dict[int, list[_Member]] = {}
        for member in self._fleet.values():
            if member.filled < len(member.new) and member.bin.appliance_id not in self._dead:
                by_site.setdefault(member.site, []).append(member)
        for site, members in by_site.items():
            windows = self._windows[self._network.zones[site]]
            if windows and not any(one.is_open(now_s) for one in windows):
                continue
            fillers = [Filler(appliance_id=one.bin.appliance_id, is_hungry=True) for one in members]
            shares = share_inbound(fillers, rate_bps=self._plan.fill_bps)
            for member in members:
                sizes = np.cumsum(self._network.size_bytes[member.new])
                last = sizes[member.filled - 1] if member.filled else 0.0
                brought = (shares[member.bin.appliance_id] or 0) / 8 * HOUR_S
                done = int(np.searchsorted(sizes, last + brought, side="right"))
                self.seen.fill_bytes[hour] += (sizes[done - 1] if done else 0.0) - last
                member.is_changed, member.filled = True, done
        return True

    def _compile(self, now_s: int) -> None:
        snapshot = SteeringSnapshot(
            version=now_s,
            built_at_s=now_s,
            origin_url="http://origin",
            sites=self._network.sites,
            appliances=tuple(self._as_seen(name, one) for name, one in self._fleet.items()),
            titles=(),
            control_id="sim",
        )
        self._compiled = compile_snapshot(snapshot, self._compiled)
        self._ways = {}

    def _as_seen(self, name: ApplianceId, member: _Member) -> SnapshotAppliance:
        """What control says of an appliance; holdings that did not change are the same object."""
        health = _DEAD if name in self._dead else _HEALTHY
        known = self._compiled.appliances.get(name) if self._compiled else None
        if known is not None and not member.is_changed:
            return known if known.health is health else replace(known, health=health)
        member.is_changed = False
        return SnapshotAppliance(
            appliance_id=name,
            site_id=self._network.sites[member.site].site_id,
            content_url="http://x",
            admin_state=AdminState.ENABLED,
            health=health,
            capacity_bps=int(member.bin.throughput_bps),
            tx_bps=0.0,
            holdings=FileSet((member.held + 1).tolist()),
        )

    def _report(self, now_s: int) -> None:
        assert self._compiled is not None
        loads = {
            name: replace(one, tx_bps=self._fleet[one.appliance_id].sessions * self._plan.session_bps)
            for name, one in self._compiled.appliances.items()
        }
        self._ledger.report(loads, loads_at_s=now_s, now_s=now_s)

    def _steer(self, second: Ints, site: Ints, title: Ints, hour: int) -> list[ApplianceId]:
        """Give each session its appliance; the names of those that began."""
        assert self._compiled is not None
        compiled, begun = self._compiled, list[ApplianceId]()
        bytes_each = self._plan.session_bps / 8 * self._plan.session_s
        hosts = self._rng.integers(0, 1 << 14, len(site))
        for at, where, what, host in zip(second.tolist(), site.tolist(), title.tolist(), hosts.tolist(), strict=True):
            client = (10 << 24 | self._blocks[where] << 14 | host).to_bytes(4, "big")
            ways = self._ways.get(where)
            if ways is None:
                number = compiled.network.routes.class_no(client)
                ways = self._ways[where] = approaches(
                    compiled, number, None, distance_step_km=self._limits.distance_step_km
                )
            wanted = _Wanted(what + 1, self._slots[what])
            sharing = Sharing(levels=self._ledger.levels, draw=draw_of(client, what))
            given = choose_new(compiled, ways, wanted, self._limits, sharing)
            self.seen.sessions += 1
            if not given.best:
                self.seen.from_origin_bytes[hour] += bytes_each
                continue
            name = ApplianceId(given.best)
            member = self._fleet[name]
            self._ledger.give(name, self._plan.session_bps, float(self._start_s + at))
            member.sessions += 1
            begun.append(name)
            own = member.site == where
            (self.seen.from_site_bytes if own else self.seen.from_region_bytes)[hour] += bytes_each
            use = member.sessions * self._plan.session_bps / member.bin.throughput_bps
            self.seen.most_use = max(self.seen.most_use, use)
        return begun

    def _count(self) -> None:
        held = np.zeros(self._plan.titles, dtype=np.int64)
        for one in self._fleet.values():
            held[one.held] += 1
            sizes = self._network.size_bytes[one.new[one.filled :]]
            self.seen.unfilled_bytes += float(sizes.sum()) if one.bin.appliance_id not in self._dead else 0.0
        counts = np.bincount(np.minimum(held, 9), minlength=10)
        self.seen.copies = {number: int(count) for number, count in enumerate(counts)}
