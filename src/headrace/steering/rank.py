"""Which appliances a client should use for a title, in order, and for each other one the reason why not.

An appliance is eligible when an operator has it enabled, it passed its turn-up checks, is healthy, holds every file of
the title, its site hears a route for the client, and it has room. Eligible ones are ordered by prefix length, kind of
site, distance (in steps, where the client's place is known), then by weighted rendezvous hashing of the title, so that
a title keeps to few appliances and a joining or leaving one moves no more than its share.

Sites declared as last resort serve clients for whom no routed site has an eligible appliance. A session that already
runs is treated more gently than a new one: see `Session`. Pure: no clock, no chance, no memory.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.model import AdminState
from headrace.steering.compile import (
    AbleAppliance,
    ClientClass,
    CompiledSnapshot,
    CompiledTitle,
    hash_key,
    order_fault,
)
from headrace.steering.model import Exclusion, SnapshotAppliance

EARTH_RADIUS_KM = 6371.0
_64_BITS = 2**64 - 1
FAR_STEP = 1_000_000
"""Distance step of a site whose place, or whose client's place, is not known: behind all that are."""


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
class Location:
    """Where a client is, in degrees."""

    latitude_deg: float
    longitude_deg: float


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
    groups: ClientClass
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
    client_class: int,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session = NEW_SESSION,
) -> Choice:
    """The pathways for a client, without the reasons; looks no further than it must."""
    groups, found = _pool(compiled, compiled.classes[client_class], title, location, limits, session)
    if not any(one.fault is None for one in found) and compiled.last_resort:
        last = _pool(compiled, compiled.last_resort, title, location, limits, session)
        if any(one.fault is None for one in last[1]):
            groups, found = last
    chosen = _over_sites(found, limits)
    taken = {one.appliance.appliance_id for one in chosen}
    kept = [
        one
        for one in _written(compiled, groups, title, location, limits, session)
        if one.appliance.appliance_id not in taken
    ]
    kept.sort(key=lambda one: (one.fault is Exclusion.DRAINING, one.is_slow, one.order))
    return Choice(chosen=tuple(chosen), kept=tuple(kept), groups=groups)


def walk(
    compiled: CompiledSnapshot,
    groups: ClientClass,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session = NEW_SESSION,
) -> Iterator[Candidate]:
    """Appliances of the sites in `groups` that hold the title, best first; those with a `fault` are among them."""
    buckets: dict[tuple[int, int, int], list[int]] = {}
    for group_no, group in enumerate(groups):
        for site_no in group:
            step, _ = _distance(compiled, site_no, location, limits)
            buckets.setdefault((group_no, compiled.site_kinds[site_no], step), []).append(site_no)
    for place in sorted(buckets):
        scored = [
            (-rendezvous_score(title.key, able.key, able.appliance.capacity_bps), able.appliance.appliance_id, able)
            for site_no in buckets[place]
            for able in compiled.able_by_site[site_no]
        ]
        scored.sort(key=_by_score)
        for negative, _, able in scored:
            if title.files.issubset(able.appliance.holdings):
                yield _candidate(compiled, able.appliance, (*place, negative), location, limits, session)


def rank(
    compiled: CompiledSnapshot,
    client_class: int,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session = NEW_SESSION,
) -> Ranking:
    """What `choose` chooses, and the reason for each appliance of the snapshot that is not in it."""
    choice = choose(compiled, client_class, title, location, limits, session)
    taken = {one.appliance.appliance_id for one in choice.chosen + choice.kept}
    considered = {site_no for group in choice.groups for site_no in group}
    excluded = []
    for site_no, appliances in (*enumerate(compiled.by_site), (-1, compiled.homeless)):
        for one in appliances:
            if one.appliance_id not in taken:
                reason, detail = _exclusion(one, title, limits, is_routed=site_no in considered)
                excluded.append(Excluded(appliance=one, reason=reason, detail=detail))
    return Ranking(chosen=choice.chosen, kept=choice.kept, excluded=tuple(excluded))


def _pool(
    compiled: CompiledSnapshot,
    groups: ClientClass,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session,
) -> tuple[ClientClass, list[Candidate]]:
    """Candidates to choose from, best first, slow ones last: as many as the choice can depend on."""
    fast: list[Candidate] = []
    slow: list[Candidate] = []
    sites: set[SiteId] = set()
    wanted_sites = min(limits.sites, limits.pathways)
    for one in walk(compiled, groups, title, location, limits, session):
        if not _may_be_chosen(one, session):
            continue
        if one.is_slow:
            slow.append(one)
            continue
        fast.append(one)
        sites.add(one.appliance.site_id)
        if len(fast) >= limits.pathways and len(sites) >= wanted_sites:
            break
    return groups, fast + slow


def _written(
    compiled: CompiledSnapshot,
    groups: ClientClass,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session,
) -> Iterator[Candidate]:
    """The session's own appliances that can still serve it."""
    for name in session.written:
        one = compiled.appliances.get(name)
        if one is None or order_fault(one) is not None or not title.files.issubset(one.holdings):
            continue
        site_no = compiled.site_nos.get(one.site_id)
        for group_no, group in enumerate(groups):
            if site_no is not None and site_no in group:
                step, _ = _distance(compiled, site_no, location, limits)
                score = rendezvous_score(title.key, hash_key(name), one.capacity_bps)
                place = (group_no, compiled.site_kinds[site_no], step, -score)
                yield _candidate(compiled, one, place, location, limits, session)


def _candidate(
    compiled: CompiledSnapshot,
    one: SnapshotAppliance,
    place: tuple[int, int, int, float],
    location: Location | None,
    limits: Limits,
    session: Session,
) -> Candidate:
    site_no = compiled.site_nos[one.site_id]
    return Candidate(
        appliance=one,
        fault=_soft_fault(one, limits),
        is_slow=one.appliance_id in session.slow,
        distance_km=_distance(compiled, site_no, location, limits)[1],
        score=-place[3],
        order=(*place, one.appliance_id),
    )


def _by_score(row: tuple[float, str, AbleAppliance]) -> tuple[float, str]:
    return row[:2]


def rendezvous_score(title_key: int, appliance_key: int, weight: float) -> float:
    """Weighted rendezvous hashing (logarithmic method): the share of titles for which an appliance scores highest is
    its weight over the sum of weights. Keys are of `hash_key`; they are mixed as in SplitMix64 (Steele et al., 2014),
    which in Python costs half of a keyed hash."""
    mixed = ((title_key ^ appliance_key) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return weight / -math.log((((mixed ^ (mixed >> 31)) >> 12) + 0.5) / 2**52)


def distance_km(one: Location, other: Location) -> float:
    """Great-circle distance (haversine, mean radius of the Earth)."""
    lat_a, lat_b = math.radians(one.latitude_deg), math.radians(other.latitude_deg)
    half_lat, half_lon = (lat_b - lat_a) / 2, math.radians(other.longitude_deg - one.longitude_deg) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def _distance(
    compiled: CompiledSnapshot, site_no: int, location: Location | None, limits: Limits
) -> tuple[int, float | None]:
    """Distance step and kilometres from a site to the client; far off where one of both places is unknown."""
    site = compiled.sites[site_no]
    if location is None or site.latitude_deg is None or site.longitude_deg is None:
        return FAR_STEP, None
    km = distance_km(location, Location(latitude_deg=site.latitude_deg, longitude_deg=site.longitude_deg))
    return int(km / limits.distance_step_km), km


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
