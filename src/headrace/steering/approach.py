"""The sites that a client can be served from, in order of preference, before any title is looked at."""

import math
from dataclasses import dataclass

from headrace.steering.compile import ClientClass, CompiledSnapshot

EARTH_RADIUS_KM = 6371.0
FAR_STEP = 1_000_000
"""Distance step of a site whose place, or whose client's place, is not known: behind all that are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """Where a client is, in degrees."""

    latitude_deg: float
    longitude_deg: float


Place = tuple[int, int, int]
"""Group of prefix length, kind of site, distance step: lower is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """Sites in steps: those of one step are equally good."""

    steps: tuple[tuple[Place, tuple[int, ...]], ...]
    """Site numbers by place, best first."""
    place_of: dict[int, Place]
    km_of: dict[int, float]
    """Distance by site number, where it is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approaches:
    """How to reach the clients of one class at one location."""

    routed: Approach
    """Sites that hear them."""
    last_resort: Approach
    """Sites that serve them when no routed one can."""


def approaches(
    compiled: CompiledSnapshot, client_class: int, location: Location | None, *, distance_step_km: float
) -> Approaches:
    """The approaches to a class of clients."""
    return Approaches(
        routed=_approach(compiled, compiled.network.classes[client_class], location, distance_step_km),
        last_resort=_approach(compiled, compiled.network.last_resort, location, distance_step_km),
    )


def distance_km(one: Location, other: Location) -> float:
    """Great-circle distance (haversine, mean radius of the Earth)."""
    lat_a, lat_b = math.radians(one.latitude_deg), math.radians(other.latitude_deg)
    half_lat, half_lon = (lat_b - lat_a) / 2, math.radians(other.longitude_deg - one.longitude_deg) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def _approach(
    compiled: CompiledSnapshot, groups: ClientClass, location: Location | None, distance_step_km: float
) -> Approach:
    steps: dict[Place, list[int]] = {}
    place_of: dict[int, Place] = {}
    km_of: dict[int, float] = {}
    for group_no, group in enumerate(groups):
        for site_no in group:
            site, step = compiled.network.sites[site_no], FAR_STEP
            if location is not None and site.latitude_deg is not None and site.longitude_deg is not None:
                there = Location(latitude_deg=site.latitude_deg, longitude_deg=site.longitude_deg)
                km_of[site_no] = distance_km(location, there)
                step = int(km_of[site_no] / distance_step_km)
            place = place_of[site_no] = (group_no, compiled.network.site_kinds[site_no], step)
            steps.setdefault(place, []).append(site_no)
    ordered = tuple((place, tuple(steps[place])) for place in sorted(steps))
    return Approach(steps=ordered, place_of=place_of, km_of=km_of)
