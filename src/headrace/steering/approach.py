"""The appliances that a client can be served from, in order of preference, before any title is looked at."""

import math
from dataclasses import dataclass, field
from typing import Any

from headrace.steering.compile import CompiledSnapshot
from headrace.steering.routes import Groups

EARTH_RADIUS_KM = 6371.0
FAR_STEP = 1_000_000
"""Distance step of a site whose place, or whose client's place, is not known: behind all that are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a client is, in degrees."""

    latitude_deg: float
    longitude_deg: float


Place = tuple[int, int, int]
"""Rank of the route (prefix length, AS path length, MED), kind of site, distance step: lower is better."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Approach:
    """Hearers in steps: those of one step are equally good."""

    steps: tuple[tuple[Place, tuple[int, ...]], ...]
    """Hearer numbers by place, best first."""
    place_of: dict[int, Place]
    km_of: dict[int, float]
    """Distance by hearer number, where it is known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Approaches:
    """How to reach the clients of one class at one location."""

    routed: Approach
    """Appliances that hear them."""
    last_resort: Approach
    """Appliances that serve them when no routed one can."""
    given: dict[int, Any] = field(default_factory=dict)
    """What new sessions are given while all take all, by number of the title. `rank.choose_new` keeps it, under one
    configuration; valid while nothing but loads changes with these ways."""
    plans: list[Any] = field(default_factory=list)
    """One at most, of the same: how it goes through the steps."""


def approaches(
    compiled: CompiledSnapshot, client_class: int, location: Location | None, *, distance_step_km: float
) -> Approaches:
    """The approaches to a class of clients."""
    network = compiled.network
    routed = tuple(
        tuple(hearer for source in group for hearer in network.hearers_of[source])
        for group in network.routes.groups(client_class)
    )
    return Approaches(
        routed=_approach(compiled, routed, location, distance_step_km),
        last_resort=_approach(compiled, network.last_resort, location, distance_step_km),
    )


def distance_km(one: Location, other: Location) -> float:
    """Great-circle distance (haversine, mean radius of the Earth)."""
    lat_a, lat_b = math.radians(one.latitude_deg), math.radians(other.latitude_deg)
    half_lat, half_lon = (lat_b - lat_a) / 2, math.radians(other.longitude_deg - one.longitude_deg) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def _approach(
    compiled: CompiledSnapshot, groups: Groups, location: Location | None, distance_step_km: float
) -> Approach:
    steps: dict[Place, list[int]] = {}
    place_of: dict[int, Place] = {}
    km_of: dict[int, float] = {}
    network = compiled.network
    for group_no, group in enumerate(groups):
        for hearer in group:
            if hearer in place_of or not compiled.by_hearer[hearer]:
                continue  # It hears the client by a better route too, or has no appliances.
            site_no = network.hearers[hearer][0]
            site, step = network.sites[site_no], FAR_STEP
            if location is not None and site.latitude_deg is not None and site.longitude_deg is not None:
                there = Location(latitude_deg=site.latitude_deg, longitude_deg=site.longitude_deg)
                km_of[hearer] = distance_km(location, there)
                step = int(km_of[hearer] / distance_step_km)
            place = place_of[hearer] = (group_no, network.site_kinds[site_no], step)
            steps.setdefault(place, []).append(hearer)
    ordered = tuple((place, tuple(sorted(steps[place]))) for place in sorted(steps))
    return Approach(steps=ordered, place_of=place_of, km_of=km_of)
