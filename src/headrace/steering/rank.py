"""Which appliances a client should use for a title, in order, and for each other one the reason why not.

An appliance is eligible when an operator has it enabled, it passed its turn-up checks, is healthy, holds every file of
the title, its site hears a route for the client, and it has room. Eligible ones are ordered by prefix length, kind of
site, distance (in steps, where the client's place is known), then by weighted rendezvous hashing of the title, so that
a title keeps to few appliances and a joining or leaving one moves no more than its share.

Sites declared as last resort serve clients for whom no routed site has an eligible appliance. A session that already
runs is treated more gently than a new one: see `Session`. Pure: no clock, no chance, no memory.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.base.ids import ApplianceId
from headrace.fleet.model import AdminState, HealthState
from headrace.steering.compile import ClientClass, CompiledSnapshot, CompiledTitle
from headrace.steering.model import Exclusion, SnapshotAppliance

EARTH_RADIUS_KM = 6371.0
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
    """The pathways for a client, without the reasons; looks only at appliances of sites that hear the client."""
    groups, candidates = holders(compiled, client_class, title, location, limits, session)
    eligible = [one for one in candidates if _may_be_chosen(one, session)]
    chosen = _over_sites(sorted(eligible, key=lambda one: (one.is_slow, one.order)), limits)
    taken = {one.appliance.appliance_id for one in chosen}
    kept = [
        one
        for one in candidates
        if one.appliance.appliance_id in session.written and one.appliance.appliance_id not in taken
    ]
    kept.sort(key=lambda one: (one.fault is Exclusion.DRAINING, one.is_slow, one.order))
    return Choice(chosen=tuple(chosen), kept=tuple(kept), groups=groups)


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


def holders(
    compiled: CompiledSnapshot,
    client_class: int,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session = NEW_SESSION,
) -> tuple[ClientClass, list[Candidate]]:
    """Appliances that may serve this client the title or could but for `fault`, in no order, and their sites."""
    routed = compiled.classes[client_class]
    found = list(_candidates(compiled, routed, title, location, limits, session))
    if any(one.fault is None for one in found) or not compiled.last_resort:
        return routed, found
    last = list(_candidates(compiled, compiled.last_resort, title, location, limits, session))
    return (compiled.last_resort, last) if any(one.fault is None for one in last) else (routed, found)


def _candidates(
    compiled: CompiledSnapshot,
    groups: ClientClass,
    title: CompiledTitle,
    location: Location | None,
    limits: Limits,
    session: Session,
) -> Iterator[Candidate]:
    for group_no, group in enumerate(groups):
        for site_no in group:
            distance_km = _distance_km(compiled, site_no, location)
            step = FAR_STEP if distance_km is None else int(distance_km / limits.distance_step_km)
            place = (group_no, compiled.site_kinds[site_no], step)
            for one in compiled.by_site[site_no]:
                if _hard_fault(one, title) is not None:
                    continue
                score = rendezvous_score(title.title.title_id, one.appliance_id, one.capacity_bps)
                yield Candidate(
                    appliance=one,
                    fault=_soft_fault(one, limits),
                    is_slow=one.appliance_id in session.slow,
                    distance_km=distance_km,
                    score=score,
                    order=(*place, -score, one.appliance_id),
                )


def rendezvous_score(title: str, appliance: str, weight: float) -> float:
    """Weighted rendezvous hashing (Wang and Ravishankar's logarithmic method): the share of titles for which an
    appliance scores highest is its weight over the sum of weights. 0 for a weight of 0."""
    digest = hashlib.blake2b(f"{title}/{appliance}".encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "big") + 0.5) / 2**64
    return weight / -math.log(uniform)


def distance_km(one: Location, other: Location) -> float:
    """Great-circle distance (haversine, mean radius of the Earth)."""
    lat_a, lat_b = math.radians(one.latitude_deg), math.radians(other.latitude_deg)
    half_lat, half_lon = (lat_b - lat_a) / 2, math.radians(other.longitude_deg - one.longitude_deg) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def _distance_km(compiled: CompiledSnapshot, site_no: int, location: Location | None) -> float | None:
    site = compiled.sites[site_no]
    if location is None or site.latitude_deg is None or site.longitude_deg is None:
        return None
    return distance_km(location, Location(latitude_deg=site.latitude_deg, longitude_deg=site.longitude_deg))


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


_BY_STATE = {
    HealthState.LOST: Exclusion.LOST,
    HealthState.UNHEALTHY: Exclusion.UNHEALTHY,
    HealthState.UNKNOWN: Exclusion.NOT_TURNED_UP,
    HealthState.TURNING_UP: Exclusion.NOT_TURNED_UP,
}


def _hard_fault(one: SnapshotAppliance, title: CompiledTitle) -> Exclusion | None:
    if one.admin_state is AdminState.DISABLED:
        return Exclusion.DISABLED
    if one.health.state is not HealthState.HEALTHY:
        return _BY_STATE[one.health.state]
    if not one.health.is_turned_up:
        return Exclusion.NOT_TURNED_UP
    if one.capacity_bps <= 0:
        return Exclusion.NO_ROOM
    return None if title.files.issubset(one.holdings) else Exclusion.TITLE_NOT_HELD


def _soft_fault(one: SnapshotAppliance, limits: Limits) -> Exclusion | None:
    if one.admin_state is AdminState.DRAINING:
        return Exclusion.DRAINING
    return Exclusion.NO_ROOM if one.tx_bps >= limits.room_ratio * one.capacity_bps else None


def _exclusion(
    one: SnapshotAppliance, title: CompiledTitle, limits: Limits, *, is_routed: bool
) -> tuple[Exclusion, str]:
    fault = _hard_fault(one, title)
    if fault is not None and fault is not Exclusion.TITLE_NOT_HELD:
        return fault, one.health.detail or one.health.reason
    if not is_routed:
        return Exclusion.NO_ROUTE, "its site has no prefix that covers the client"
    if fault is not None:
        missing = len(title.files - one.holdings)
        return fault, f"{missing} of {len(title.files)} files missing"
    soft = _soft_fault(one, limits)
    if soft is Exclusion.NO_ROOM:
        return soft, f"sends {one.tx_bps / one.capacity_bps:.0%} of its capacity, limit {limits.room_ratio:.0%}"
    return (soft, "new sessions go elsewhere") if soft else (Exclusion.OUTRANKED, "enough better ones were found")
