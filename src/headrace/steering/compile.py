"""A snapshot as steering reads it: addresses to classes of clients, routes to appliances, titles to what they need.

A *hearer* is the appliances of one site that hear the same routes. Two clients are of one class when the same sources
of routes hear them, in the same order of preference: then all answers for them are the same, whatever their addresses.
Input is a `SteeringSnapshot`; nothing here changes once it is built.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.model import AdminState, HealthState, Site, SiteKind
from headrace.routes.model import Hearing
from headrace.steering.flatten import RouteMemory, build_routes
from headrace.steering.library import Titles
from headrace.steering.model import Exclusion, SnapshotAppliance, SteeringSnapshot
from headrace.steering.picks import Pick, Picks, pick_of
from headrace.steering.rendezvous import Roster
from headrace.steering.routes import Covering, Groups, RouteTable, static_routes

KIND_ORDER = {kind: number for number, kind in enumerate(SiteKind)}
MOST_UNIONS = 50_000
"""Groups of equally good hearers that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """What follows from sites, hearings and who belongs where: nothing that changes with health or load."""

    sites: tuple[Site, ...]
    site_nos: dict[SiteId, int]
    site_kinds: tuple[int, ...]
    """Order of preference of each site's kind, by site number."""
    hearings: tuple[Hearing, ...]
    routes: RouteTable
    hearers: tuple[tuple[int, int], ...]
    """(site number, number of the hearing or -1). The first ones are those without a hearing, one for each site."""
    hearers_of: tuple[tuple[int, ...], ...]
    """By source of routes: the hearers that have it."""
    hearer_nos: dict[tuple[int, int], int]
    hearing_of: dict[ApplianceId, int]
    last_resort: Groups
    """Hearers of the sites that are declared so."""
    bad_prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Library:
    """What follows from the titles alone."""

    source: Sequence[object]
    titles: Titles


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CompiledSnapshot:
    """A snapshot, indexed. Build with `compile_snapshot`."""

    version: int
    built_at_s: float
    loads_at_s: float
    control_id: str
    origin_url: str
    source: tuple[SnapshotAppliance, ...]
    network: Network
    library: Library
    appliances: dict[str, SnapshotAppliance]
    able: dict[str, SnapshotAppliance]
    """Those that only their load, an operator's drain or a missing title may keep from serving."""
    hearer_of: dict[str, int]
    """Hearer of each appliance whose site is in the snapshot."""
    by_hearer: tuple[tuple[SnapshotAppliance, ...], ...]
    rosters: tuple[Roster, ...]
    """The same, for ranking."""
    picks: dict[tuple[int, ...], Picks]
    """By hearers that are equally good, as they were needed."""
    changed: frozenset[int] | None
    """Hearers that may decide otherwise than in the snapshot before, their loads left out; None: any."""
    changed_from: int
    """`id` of the snapshot before."""
    homeless: tuple[SnapshotAppliance, ...]
    """Appliances whose site is not in the snapshot: never eligible, but accounted for."""

    def class_no(self, address: bytes) -> int:
        """Class of a client, from its address in network byte order (4 or 16 bytes)."""
        return self.network.routes.class_no(address)

    def routes_to(self, address: bytes) -> dict[int, Covering]:
        """The best route of each hearer that covers an address."""
        found: dict[int, Covering] = {}
        for covering in self.network.routes.coverage(address):
            for hearer in self.network.hearers_of[covering[3]]:
                found.setdefault(hearer, covering)
        return found

    def roster(self, hearers: tuple[int, ...]) -> Roster:
        """The appliances of hearers that are equally good."""
        if len(hearers) == 1:
            return self.rosters[hearers[0]]
        return self.picked(hearers).roster

    def picked(self, hearers: tuple[int, ...]) -> Picks:
        """The appliances of hearers that are equally good, as new sessions are given them."""
        known = self.picks.get(hearers)
        if known is None:
            if len(self.picks) >= MOST_UNIONS:
                self.picks.clear()
            if len(hearers) == 1:
                roster = self.rosters[hearers[0]]
            else:
                roster = Roster(member for no in hearers for member in self.rosters[no].members)
            rows = tuple(self._pick(name) for name, _ in roster.members)
            known = self.picks[hearers] = Picks(roster, rows)
        return known

    def _pick(self, name: str) -> Pick | None:
        one = self.able.get(name)
        return None if one is None or one.admin_state is AdminState.DRAINING else pick_of(one)


def compile_snapshot(snapshot: SteeringSnapshot, last: CompiledSnapshot | None = None) -> CompiledSnapshot:
    """Index a snapshot: in milliseconds where its routes come compiled or did not change.

    Args:
        last: the one before; what follows from the same sites, hearings, titles or rosters is taken over from it.
    """
    if last is not None:
        updated = _updated(snapshot, last)
        if updated is not None:
            return updated
    network = _network(snapshot, last.network if last else None)
    is_same_library = last is not None and last.library.source is snapshot.titles
    rows: list[list[SnapshotAppliance]] = [[] for _ in network.hearers]
    homeless: list[SnapshotAppliance] = []
    hearer_of: dict[str, int] = {}
    for one in snapshot.appliances:
        site_no = network.site_nos.get(one.site_id)
        if site_no is None:
            homeless.append(one)
            continue
        hearer = network.hearer_nos[site_no, network.hearing_of.get(one.appliance_id, -1)]
        hearer_of[one.appliance_id] = hearer
        rows[hearer].append(one)
    known = last if last is not None and last.network is network else None
    by_hearer = _shared(tuple(tuple(row) for row in rows), known.by_hearer if known else ())
    rosters = _rosters(by_hearer, known)
    changed = None
    if known is not None:
        pairs = enumerate(zip(by_hearer, known.by_hearer, strict=True))
        changed = frozenset(number for number, (now, before) in pairs if not decide_alike(now, before))
    return CompiledSnapshot(
        version=snapshot.version,
        built_at_s=snapshot.built_at_s,
        loads_at_s=snapshot.loads_at_s,
        control_id=snapshot.control_id,
        origin_url=snapshot.origin_url.rstrip("/"),
        source=snapshot.appliances,
        network=network,
        library=last.library if last is not None and is_same_library else _library(snapshot),
        appliances={one.appliance_id: one for one in snapshot.appliances},
        able={one.appliance_id: one for one in snapshot.appliances if order_fault(one) is None},
        hearer_of=hearer_of,
        by_hearer=by_hearer,
        rosters=rosters,
        picks=_still_picked(known, changed) if known is not None and changed is not None else {},
        changed=changed,
        changed_from=id(last),
        homeless=tuple(homeless),
    )


def _updated(snapshot: SteeringSnapshot, last: CompiledSnapshot) -> CompiledSnapshot | None:
    """The snapshot after `last` where only appliances changed, at the cost of these; None for any other change."""
    network, old = last.network, last.source
    is_same = snapshot.titles is last.library.source and snapshot.hearings is network.hearings
    if not is_same or not _is_same_routes(snapshot, network) or len(snapshot.appliances) != len(old):
        return None
    changed = [(now, before) for now, before in zip(snapshot.appliances, old, strict=True) if now is not before]
    if any(now.appliance_id != before.appliance_id or now.site_id != before.site_id for now, before in changed):
        return None
    appliances, able = dict(last.appliances), dict(last.able)
    for now, _ in changed:
        appliances[now.appliance_id] = now
        able.pop(now.appliance_id, None)
        if order_fault(now) is None:
            able[now.appliance_id] = now
    by_hearer, rosters, differ = list(last.by_hearer), list(last.rosters), set[int]()
    for hearer in {last.hearer_of[now.appliance_id] for now, _ in changed if now.appliance_id in last.hearer_of}:
        before = by_hearer[hearer]
        row = by_hearer[hearer] = tuple(appliances[one.appliance_id] for one in before)
        if not decide_alike(row, before):
            differ.add(hearer)
            rosters[hearer] = _roster(row, rosters[hearer])
    return replace(
        last,
        version=snapshot.version,
        built_at_s=snapshot.built_at_s,
        loads_at_s=snapshot.loads_at_s,
        control_id=snapshot.control_id,
        origin_url=snapshot.origin_url.rstrip("/"),
        source=snapshot.appliances,
        appliances=appliances,
        able=able,
        by_hearer=tuple(by_hearer),
        rosters=tuple(rosters),
        picks=_still_picked(last, frozenset(differ)),
        changed=frozenset(differ),
        changed_from=id(last),
        homeless=tuple(appliances[one.appliance_id] for one in last.homeless),
    )


def _roster(row: Sequence[SnapshotAppliance], last: Roster | None) -> Roster:
    """The last one where nobody joined, left or changed capacity."""
    members = tuple(sorted((str(one.appliance_id), max(0, one.capacity_bps)) for one in row))
    return last if last is not None and last.members == members else Roster(members)


def order_fault(one: SnapshotAppliance) -> Exclusion | None:
    """Why an appliance is not in working order, whoever asks and for whatever title; None when it is."""
    if one.admin_state is AdminState.DISABLED:
        return Exclusion.DISABLED
    if one.health.state is not HealthState.HEALTHY:
        return _BY_STATE[one.health.state]
    if not one.health.is_turned_up:
        return Exclusion.NOT_TURNED_UP
    return Exclusion.NO_ROOM if one.capacity_bps <= 0 else None


def decide_alike(one: Sequence[SnapshotAppliance], other: Sequence[SnapshotAppliance]) -> bool:
    """Whether choices may take the one members of a hearer for the other; their loads are left out (`load.Ledger`)."""
    return one is other or (
        len(one) == len(other) and all(_deciding(a) == _deciding(b) for a, b in zip(one, other, strict=True))
    )


def _deciding(one: SnapshotAppliance) -> tuple[object, ...]:
    return (one.appliance_id, one.content_url, one.capacity_bps, order_fault(one), one.admin_state, one.holdings)


def _still_picked(last: CompiledSnapshot, changed: frozenset[int]) -> dict[tuple[int, ...], Picks]:
    return {hearers: known for hearers, known in list(last.picks.items()) if changed.isdisjoint(hearers)}


_BY_STATE = {
    HealthState.LOST: Exclusion.LOST,
    HealthState.UNHEALTHY: Exclusion.UNHEALTHY,
    HealthState.UNKNOWN: Exclusion.NOT_TURNED_UP,
    HealthState.TURNING_UP: Exclusion.NOT_TURNED_UP,
}


def compile_routes(sites: Sequence[Site], hearings: Sequence[Hearing], memory: RouteMemory | None = None) -> RouteTable:
    """The routes of a snapshot: sources are the sites' own prefixes, then the hearings.

    Args:
        memory: of the last time; renewed.
    """
    memory = memory if memory is not None else RouteMemory()
    known = memory.static
    memory.static = {own: known.get(own) or static_routes(own)[0] for own in {site.prefixes for site in sites}}
    sources = [*(memory.static[site.prefixes] for site in sites), *(one.routes for one in hearings)]
    names: list[Hashable] = [("site", site.site_id) for site in sites]
    names += [("hearing", *one.appliances[:1]) for one in hearings]
    return build_routes(sources, memory, names)


def _network(snapshot: SteeringSnapshot, last: Network | None) -> Network:
    sites, hearings = snapshot.sites, snapshot.hearings
    hearing_of = {name: number for number, one in enumerate(hearings) for name in one.appliances}
    site_nos = {site.site_id: number for number, site in enumerate(sites)}
    pairs = {
        (site_nos[one.site_id], hearing_of[one.appliance_id]): None
        for one in snapshot.appliances
        if one.appliance_id in hearing_of and one.site_id in site_nos
    }
    hearers = (*((number, -1) for number in range(len(sites))), *sorted(pairs))
    is_same_routes = last is not None and _is_same_routes(snapshot, last)
    if last is not None and is_same_routes and last.hearers == hearers and last.hearing_of == hearing_of:
        return last
    hearers_of: list[list[int]] = [[] for _ in range(len(sites) + len(hearings))]
    for number, (site_no, hearing_no) in enumerate(hearers):
        hearers_of[site_no].append(number)
        if hearing_no >= 0:
            hearers_of[len(sites) + hearing_no].append(number)
    resort = tuple(number for number, (site_no, _) in enumerate(hearers) if sites[site_no].is_last_resort)
    return Network(
        sites=sites,
        site_nos=site_nos,
        site_kinds=tuple(KIND_ORDER[site.kind] for site in sites),
        hearings=hearings,
        routes=last.routes if last is not None and is_same_routes else _routes(snapshot),
        hearers=hearers,
        hearers_of=tuple(tuple(row) for row in hearers_of),
        hearer_nos={pair: number for number, pair in enumerate(hearers)},
        hearing_of=hearing_of,
        last_resort=(resort,) if resort else (),
        bad_prefixes=tuple(bad for site in sites for bad in static_routes(site.prefixes)[1]),
    )


def _is_same_routes(snapshot: SteeringSnapshot, last: Network) -> bool:
    if snapshot.routes is not None:
        return snapshot.routes is last.routes and snapshot.sites is last.sites
    return snapshot.sites is last.sites and snapshot.hearings is last.hearings


def _routes(snapshot: SteeringSnapshot) -> RouteTable:
    return snapshot.routes if snapshot.routes is not None else compile_routes(snapshot.sites, snapshot.hearings)


def _library(snapshot: SteeringSnapshot) -> Library:
    return Library(source=snapshot.titles, titles=Titles(snapshot.titles, snapshot.index))


def _is_same(one: object, other: object) -> bool:
    return one is other


def _shared(
    rows: tuple[tuple[SnapshotAppliance, ...], ...], last: tuple[tuple[SnapshotAppliance, ...], ...]
) -> tuple[tuple[SnapshotAppliance, ...], ...]:
    """Rows that have the very same members are the very same row: what did not change is found by looking at it."""
    if len(last) != len(rows):
        return rows
    return tuple(
        old if len(old) == len(new) and all(map(_is_same, old, new)) else new
        for new, old in zip(rows, last, strict=True)
    )


def _rosters(rows: tuple[tuple[SnapshotAppliance, ...], ...], known: CompiledSnapshot | None) -> tuple[Roster, ...]:
    """One for each hearer, the last one where nobody joined, left or changed capacity."""
    found = []
    for number, row in enumerate(rows):
        if known is not None and known.by_hearer[number] is row:
            found.append(known.rosters[number])
            continue
        found.append(_roster(row, known.rosters[number] if known is not None else None))
    return tuple(found)
