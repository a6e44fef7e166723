"""Which appliances a client should use for a title, in order, and for each other one the reason why not.

An appliance is eligible when an operator has it enabled, it passed its turn-up checks, is healthy, holds every file of
the title, its site hears a route for the client, and it has room. Eligible ones are ordered by prefix length, kind of
site, distance (in steps, where the client's place is known), then by weighted rendezvous hashing of the title, so that
a title keeps to few appliances and a joining or leaving one moves no more than its share.

Sites declared as last resort serve clients for whom no routed site has an eligible appliance. A session that already
runs is treated more gently than a new one: see `Session`. Pure: no clock, no chance, no memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge

from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.model import AdminState
from headrace.steering.approach import Approach, Approaches, Location, approaches
from headrace.steering.compile import CompiledSnapshot, CompiledTitle, order_fault
from headrace.steering.model import Exclusion, SnapshotAppliance
from headrace.steering.rendezvous import hash_key, rendezvous_score


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many pathways an answer has and when an appliance is full."""

    pathways: int = 4
    """Appliances in an answer; 3 to 5 is what players handle well."""
    sites: int = 2
    """An answer spans at least this many sites where there are so many."""
    room_ratio: float = 0.9
    """An appliance that sends more than this share of its capacity gets no new sessions."""
    distance_step_km: float = 100.0
    """Sites whose distances fall in one step count as equally near."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What a running session tells of itself when it asks for a steering manifest.

    Its appliances stay after the chosen ones though they are full or outranked, draining ones after those, so that the
    session can finish there; the one in use keeps its place when it is only full. A slow one goes behind all others.
    """

    written: tuple[ApplianceId, ...] = ()
    """Pathways that its playlist was written with, the origin left out."""
    current: ApplianceId | None = None
    slow: tuple[ApplianceId, ...] = ()
    """Pathways whose measured throughput is below what the title's lowest rendition needs."""


NEW_SESSION = Session()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An appliance with what it was ordered by."""

    appliance: SnapshotAppliance
    fault: Exclusion | None
    """None: eligible. DRAINING or NO_ROOM: may only be kept for a session that has it."""
    is_slow: bool
    distance_km: float | None
    score: float
    """Rendezvous score; higher is better."""
    order: tuple[int, int, int, float, str]
    """Group of prefix length, kind of site, distance step, -score, id: lower is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The pathways of an answer, best first: `chosen` for any session, `kept` only because this session has them."""

    chosen: tuple[Candidate, ...]
    kept: tuple[Candidate, ...]
    approach: Approach
    """The sites that were considered: those that hear the client, else those of last resort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """An appliance that is not in the answer."""

    appliance: SnapshotAppliance
    reason: Exclusion
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """A choice with a reason for every other appliance: each is in exactly one of the three."""

    chosen: tuple[Candidate, ...]
    kept: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]


def choose(
    compiled: CompiledSnapshot,
    ways: Approaches,
    title: CompiledTitle,
    limits: Limits,
    session: Session = NEW_SESSION,
) -> Choice:
    """The pathways for a client, without the reasons; looks no further than it must."""
    approach, found = ways.routed, _pool(compiled, ways.routed, title, limits, session)
    if ways.last_resort.steps and not any(one.fault is None for one in found):
        last = _pool(compiled, ways.last_resort, title, limits, session)
        if any(one.fault is None for one in last):
            approach, found = ways.last_resort, last
    chosen = _over_sites(found, limits)
    taken = {one.appliance.appliance_id for one in chosen}
    own = [name for name in session.written if name not in taken]
    kept = list(_still_able(compiled, approach, own, title, limits, session)) if own else []
    kept.sort(key=lambda one: (one.fault is Exclusion.DRAINING, one.is_slow, one.order))
    return Choice(chosen=tuple(chosen), kept=tuple(kept), approach=approach)


def walk(
    compiled: CompiledSnapshot,
    approach: Approach,
    title: CompiledTitle,
    limits: Limits,
    session: Session = NEW_SESSION,
) -> Iterator[Candidate]:
    """Appliances of the approach's sites that hold the title, best first; those with a `fault` are among them."""
    able, rosters, key = compiled.able, compiled.rosters, title.key
    for place, site_nos in approach.steps:
        orders = [rosters[site_no].order(key) for site_no in site_nos]
        for negative, name in orders[0] if len(orders) == 1 else merge(*orders):
            one = able.get(name)
            if one is not None and title.files.issubset(one.holdings):
                yield _candidate(compiled, one, (*place, negative, name), approach, limits, session)


def rank(
    compiled: CompiledSnapshot,
    client_class: int,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session = NEW_SESSION,
) -> Ranking:
    """What `choose` chooses, and the reason for each appliance of the snapshot that is not in it."""
    ways = approaches(compiled, client_class, location, distance_step_km=limits.distance_step_km)
    choice = choose(compiled, ways, title, limits, session)
    taken = {one.appliance.appliance_id for one in choice.chosen + choice.kept}
    excluded = []
    for site_no, appliances in (*enumerate(compiled.by_site), (-1, compiled.homeless)):
        for one in appliances:
            if one.appliance_id not in taken:
                reason, detail = _exclusion(one, title, limits, is_routed=site_no in choice.approach.place_of)
                excluded.append(Excluded(appliance=one, reason=reason, detail=detail))
    return Ranking(chosen=choice.chosen, kept=choice.kept, excluded=tuple(excluded))


def deciding_state(compiled: CompiledSnapshot, limits: Limits) -> tuple[tuple[object, ...], ...]:
    """By site, what a choice depends on of its appliances; loads are in it only as 'has room or not'.

    Where these states, the network, the titles and the origin are equal, all choices are equal.
    """
    return tuple(tuple(_deciding(one, limits) for one in appliances) for appliances in compiled.by_site)


def _deciding(one: SnapshotAppliance, limits: Limits) -> tuple[object, ...]:
    faults = order_fault(one), _soft_fault(one, limits)
    return (one.appliance_id, one.content_url, one.capacity_bps, *faults, one.holdings)


def _pool(
    compiled: CompiledSnapshot, approach: Approach, title: CompiledTitle, limits: Limits, session: Session
) -> list[Candidate]:
    """Candidates to choose from, best first, slow ones last: as many as the choice can depend on."""
    fast: list[Candidate] = []
    slow: list[Candidate] = []
    sites: set[SiteId] = set()
    wanted_sites = min(limits.sites, limits.pathways)
    for one in walk(compiled, approach, title, limits, session):
        if not _may_be_chosen(one, session):
            continue
        if one.is_slow:
            slow.append(one)
            continue
        fast.append(one)
        sites.add(one.appliance.site_id)
        if len(fast) >= limits.pathways and len(sites) >= wanted_sites:
            break
    return fast + slow


def _still_able(
    compiled: CompiledSnapshot,
    approach: Approach,
    names: list[ApplianceId],
    title: CompiledTitle,
    limits: Limits,
    session: Session,
) -> Iterator[Candidate]:
    """Those of the named appliances that can serve the client."""
    for name in names:
        one = compiled.able.get(name)
        if one is None or not title.files.issubset(one.holdings):
            continue
        place = approach.place_of.get(compiled.network.site_nos.get(one.site_id, -1))
        if place is not None:
            score = rendezvous_score(title.key, hash_key(name), one.capacity_bps)
            yield _candidate(compiled, one, (*place, -score, name), approach, limits, session)


def _candidate(
    compiled: CompiledSnapshot,
    one: SnapshotAppliance,
    order: tuple[int, int, int, float, str],
    approach: Approach,
    limits: Limits,
    session: Session,
) -> Candidate:
    return Candidate(
        appliance=one,
        fault=_soft_fault(one, limits),
        is_slow=one.appliance_id in session.slow,
        distance_km=approach.km_of.get(compiled.network.site_nos[one.site_id]),
        score=-order[3],
        order=order,
    )


def _may_be_chosen(one: Candidate, session: Session) -> bool:
    is_in_use = one.fault is Exclusion.NO_ROOM and one.appliance.appliance_id == session.current
    return one.fault is None or is_in_use


def _over_sites(ranked: list[Candidate], limits: Limits) -> list[Candidate]:
    """The first ones; where they are of too few sites, the best of further sites in place of the last ones."""
    chosen = ranked[: limits.pathways]
    wanted = min(limits.sites, limits.pathways)
    for one in ranked[limits.pathways :]:
        sites = [each.appliance.site_id for each in chosen]
        if len(set(sites)) >= wanted:
            break
        if one.appliance.site_id not in sites:
            spare = max(no for no, site in enumerate(sites) if sites.count(site) > 1)
            del chosen[spare]
            chosen.append(one)
    return chosen


def _soft_fault(one: SnapshotAppliance, limits: Limits) -> Exclusion | None:
    if one.admin_state is AdminState.DRAINING:
        return Exclusion.DRAINING
    return Exclusion.NO_ROOM if one.tx_bps >= limits.room_ratio * one.capacity_bps else None


def _exclusion(
    one: SnapshotAppliance, title: CompiledTitle, limits: Limits, *, is_routed: bool
) -> tuple[Exclusion, str]:
    fault = order_fault(one)
    if fault is not None:
        return fault, one.health.detail or one.health.reason
    if not is_routed:
        return Exclusion.NO_ROUTE, "its site has no prefix that covers the client"
    if not title.files.issubset(one.holdings):
        missing = len(title.files - one.holdings)
        return Exclusion.TITLE_NOT_HELD, f"{missing} of {len(title.files)} files missing"
    soft = _soft_fault(one, limits)
    if soft is Exclusion.NO_ROOM:
        return soft, f"sends {one.tx_bps / one.capacity_bps:.0%} of its capacity, limit {limits.room_ratio:.0%}"
    return (soft, "new sessions go elsewhere") if soft else (Exclusion.OUTRANKED, "enough better ones were found")
