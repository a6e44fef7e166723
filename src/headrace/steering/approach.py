"""The appliances that a client can be served from, in order of preference, before any title is looked at."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.fleet.model import Site
from headrace.steering.compile import CompiledSnapshot

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


class Approach:
    """Hearers in steps: those of one step are equally good."""

    __slots__ = ("_place_of", "km_of", "steps")

    def __init__(self, steps: tuple[tuple[Place, tuple[int, ...]], ...], km_of: dict[int, float]) -> None:
        self.steps = steps
        """Hearer numbers by place, best first."""
        self.km_of = km_of
        """Distance by hearer number, where it is known."""
        self._place_of: dict[int, Place] | None = None

    @property
    def place_of(self) -> dict[int, Place]:
        """By hearer number."""
        if self._place_of is None:
            self._place_of = {hearer: place for place, hearers in self.steps for hearer in hearers}
        return self._place_of


class Approaches:
    """How to reach the clients of one class at one location."""

    __slots__ = ("_last_resort", "_make_last_resort", "_resort_picks", "routed", "routed_picks")

    def __init__(self, routed: Approach, make_last_resort: Callable[[], Approach]) -> None:
        self.routed = routed
        """Appliances that hear them."""
        self.routed_picks: list[Any] = [hearers for _, hearers in routed.steps]
        """The hearers of its steps, and `Picks` of them once `picks.first_picks` has come there; they stay true while
        nothing but loads changes with these ways."""
        self._make_last_resort: Callable[[], Approach] | None = make_last_resort
        self._last_resort: Approach | None = None
        self._resort_picks: list[Any] | None = None

    @property
    def last_resort(self) -> Approach:
        """Appliances that serve them when no routed one can; most never need to know."""
        if self._make_last_resort is not None:
            self._last_resort, self._make_last_resort = self._make_last_resort(), None
        assert self._last_resort is not None
        return self._last_resort

    @property
    def resort_picks(self) -> list[Any]:
        """As `routed_picks`."""
        if self._resort_picks is None:
            self._resort_picks = [hearers for _, hearers in self.last_resort.steps]
        return self._resort_picks


def approaches(
    compiled: CompiledSnapshot, client_class: int, location: Location | None, *, distance_step_km: float
) -> Approaches:
    """The approaches to a class of clients."""
    network = compiled.network
    hearers_of = network.hearers_of
    routed = [
        hearers_of[group[0]] if len(group) == 1 else tuple(hearer for source in group for hearer in hearers_of[source])
        for group in network.routes.groups(client_class)
    ]
    return Approaches(
        _approach(compiled, routed, location, distance_step_km),
        lambda: _approach(compiled, network.last_resort, location, distance_step_km),
    )


def distance_km(one: Location, other: Location) -> float:
    """Great-circle distance (haversine, mean radius of the Earth)."""
    lat_a, lat_b = math.radians(one.latitude_deg), math.radians(other.latitude_deg)
    half_lat, half_lon = (lat_b - lat_a) / 2, math.radians(other.longitude_deg - one.longitude_deg) / 2
    chord = math.sin(half_lat) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(half_lon) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))


def _approach(
    compiled: CompiledSnapshot, groups: Sequence[tuple[int, ...]], location: Location | None, distance_step_km: float
) -> Approach:
    steps: list[tuple[Place, tuple[int, ...]]] = []
    km_of: dict[int, float] = {}
    seen: set[int] = set()
    network, by_hearer = compiled.network, compiled.by_hearer
    for group_no, group in enumerate(groups):
        own: dict[Place, list[int]] = {}
        for hearer in group:
            if hearer in seen or not by_hearer[hearer]:
                continue  # It hears the client by a better route too, or has no appliances.
            seen.add(hearer)
            site_no = network.hearers[hearer][0]
            step = FAR_STEP
            if location is not None and (km := _km(network.sites[site_no], location)) is not None:
                km_of[hearer] = km
                step = int(km / distance_step_km)
            own.setdefault((group_no, network.site_kinds[site_no], step), []).append(hearer)
        steps += [(place, tuple(sorted(own[place]))) for place in sorted(own)]
    return Approach(tuple(steps), km_of)


def _km(site: Site, location: Location) -> float | None:
    if site.latitude_deg is None or site.longitude_deg is None:
        return None
    return distance_km(location, Location(latitude_deg=site.latitude_deg, longitude_deg=site.longitude_deg))
