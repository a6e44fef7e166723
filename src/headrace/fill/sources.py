"""Where each appliance may fetch from, best first: peers of its site, other sites by distance, then the origin.

Pure. An appliance asks the sources in this order and goes on when one does not hold a file. Each candidate left out has
its reason. Never asks which files are missing: holdings change by the minute while a fill runs, the list should not.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from headrace.base.ids import ApplianceId, SiteId
from headrace.fill.model import FillSource, SourceKind
from headrace.fleet.model import AdminState, HealthState, Site

EARTH_RADIUS_KM = 6371.0
UNKNOWN_KM = 20_037.0
"""A site without coordinates counts as half the globe away: after all that say where they are."""


class SourceSkip(StrEnum):
    """Why a candidate is not a source."""

    IS_ITSELF = "is-itself"
    NOT_ENABLED = "not-enabled"
    """Draining or disabled: it should get less to do, not more."""
    NOT_HEALTHY = "not-healthy"
    HOLDS_NOTHING = "holds-nothing"
    ENOUGH_OF_SITE = "enough-of-site"
    """Others of the same site stand for it."""
    BUSY = "busy"
    """Serving leaves it nothing to give."""
    OUTRANKED = "outranked"
    """Good, but enough nearer ones were found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the choice asks of a possible source."""

    appliance_id: ApplianceId
    site_id: SiteId
    content_url: str
    admin_state: AdminState
    health_state: HealthState
    held_files: int
    capacity_bps: int = 0
    """0 for not known."""
    tx_bps: float = 0.0
    """What it sends now, fills included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLimits:
    """How many sources an appliance is given."""

    most: int = 6
    """Besides the origin: asking through a long list costs more than it finds."""
    most_sites: int = 16
    """Nearest other sites that are looked at; bounds the work in a large fleet."""
    per_site: int = 1
    """Of one other site, where it is not known who holds a file: its peers have the same files."""
    near_km: float = 1000.0
    """Sites within this distance, or of the same region, are near."""
    give_ratio: float = 0.9
    """Share of its capacity up to which an appliance gives to fills beside what it serves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedSources:
    """The sources of one appliance, best first, and why the other candidates are not among them."""

    sources: tuple[FillSource, ...]
    skipped: Mapping[ApplianceId, SourceSkip]
    """Of the sites that were looked at; the farther ones were not, and `reason` says so."""

    def reason(self, appliance_id: ApplianceId) -> SourceSkip:
        """Why an appliance is not among the sources."""
        return self.skipped.get(appliance_id, SourceSkip.OUTRANKED)


def rank_sources(
    own: Candidate,
    by_site: Mapping[SiteId, Sequence[Candidate]],
    near: Sequence[SiteId],
    origin_url: str,
    limits: SourceLimits | None = None,
) -> RankedSources:
    """Rank the sources of one appliance.

    Args:
        by_site: every appliance of the fleet, by site.
        near: the other sites, nearest first (`nearest_sites`); sites not in it are not looked at.
        origin_url: always last; '' for none.
    """
    limits = limits or SourceLimits()
    chosen: list[FillSource] = []
    skipped: dict[ApplianceId, SourceSkip] = {}
    # One place is kept for another site: peers often wait for the same new files.
    most_peers = max(1, limits.most - 1) if near else limits.most
    for site_id in (own.site_id, *near[: limits.most_sites]):
        if len(chosen) >= limits.most:
            break
        is_own = site_id == own.site_id
        kind = SourceKind.PEER if is_own else SourceKind.TIER
        left_of_site = most_peers if is_own else limits.per_site
        good = []
        for candidate in by_site.get(site_id, ()):
            skip = why_not(own, candidate)
            if skip is None:
                good.append(candidate)
            else:
                skipped[candidate.appliance_id] = skip
        for candidate in _spread(own, good):
            if len(chosen) >= limits.most or left_of_site <= 0:
                is_full = len(chosen) >= limits.most
                skipped[candidate.appliance_id] = SourceSkip.OUTRANKED if is_full else SourceSkip.ENOUGH_OF_SITE
                continue
            left_of_site -= 1
            chosen.append(FillSource(kind=kind, base_url=candidate.content_url, appliance_id=candidate.appliance_id))
    if origin_url:
        chosen.append(FillSource(kind=SourceKind.ORIGIN, base_url=origin_url))
    return RankedSources(sources=tuple(chosen), skipped=skipped)


def nearest_sites(sites: Iterable[Site], most: int) -> dict[SiteId, tuple[SiteId, ...]]:
    """For each site the `most` others with the least route cost, then distance, ties in order of id.

    Quadratic in the number of sites, in numpy: 4,000 take a second or two.
    """
    ordered = sorted(sites, key=lambda site: site.site_id)
    places = np.array([[_radians(site.latitude_deg), _radians(site.longitude_deg)] for site in ordered]).reshape(-1, 2)
    names: dict[str, int] = {}
    regions = np.array([names.setdefault(site.region, len(names)) if site.region else -1 for site in ordered])
    near: dict[SiteId, tuple[SiteId, ...]] = {}
    for at, own in enumerate(ordered):
        km = _distances_km(places[at], places)
        cost = np.where((regions == regions[at]) & (regions[at] >= 0), 0.0, km)
        cost[at] = np.inf
        count = min(most, len(ordered) - 1)
        # Sorting all would cost most of the time; whoever costs as much as the last one chosen takes part in the sort.
        some = np.flatnonzero(cost <= np.partition(cost, count - 1)[count - 1]) if count > 0 else np.arange(0)
        best = some[np.lexsort((some, km[some], cost[some]))][: max(0, count)]
        near[own.site_id] = tuple(ordered[other].site_id for other in best)
    return near


def route_cost(own: Site, other: Site) -> float:
    """How far it is from one site to another, for fills: kilometres, but none within a region.

    A region is what an operator says of networks that stand in for one another; across its border distance counts.
    """
    return 0.0 if own.region and own.region == other.region else distance_km(own, other)


def subnet_of(content_url: str) -> str:
    """The network that an appliance is in by its address, a /24 or a /64; '' where its URL has a name.

    Appliances of one subnet are peers whatever their sites are called: nothing of what they give each other leaves it.
    Loopback is no subnet: all that run on one machine would be in it.
    """
    try:
        address = ip_address((urlsplit(content_url).hostname or "").partition("%")[0])
    except ValueError:
        return ""
    if address.is_loopback:
        return ""
    return str(ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False))


def distance_km(one: Site, other: Site) -> float:
    """Great-circle distance between two sites (haversine); UNKNOWN_KM where one has no coordinates."""
    here = np.array([_radians(one.latitude_deg), _radians(one.longitude_deg)])
    there = np.array([[_radians(other.latitude_deg), _radians(other.longitude_deg)]])
    return float(_distances_km(here, there)[0])


def _distances_km(here: "NDArray[np.float64]", there: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """From one place (latitude, longitude in radians; shape (2,)) to many (shape (n, 2)), shape (n,)."""
    half = (there - here) / 2
    squared = np.sin(half[:, 0]) ** 2 + np.cos(here[0]) * np.cos(there[:, 0]) * np.sin(half[:, 1]) ** 2
    km = 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(1.0, squared)))
    return np.where(np.isnan(km), UNKNOWN_KM, km)


def _radians(degrees: float | None) -> float:
    return math.nan if degrees is None else math.radians(degrees)


def why_not(own: Candidate, candidate: Candidate, *, is_peer: bool = False) -> SourceSkip | None:
    """Why an appliance cannot be a source at all; a peer may be one before its turn-up: what it gives is verified."""
    if candidate.appliance_id == own.appliance_id:
        return SourceSkip.IS_ITSELF
    if candidate.admin_state is not AdminState.ENABLED:
        return SourceSkip.NOT_ENABLED
    good = (HealthState.HEALTHY, HealthState.TURNING_UP) if is_peer else (HealthState.HEALTHY,)
    if candidate.health_state not in good:
        return SourceSkip.NOT_HEALTHY
    return SourceSkip.HOLDS_NOTHING if candidate.held_files == 0 else None


def _spread(own: Candidate, candidates: Sequence[Candidate]) -> list[Candidate]:
    """An order of its own for each appliance (rendezvous hashing): a site does not all ask the same peer first."""
    return sorted(candidates, key=lambda one: _weight(own.appliance_id, one.appliance_id))


def _weight(own: ApplianceId, other: ApplianceId) -> bytes:
    return hashlib.blake2b(f"{own} {other}".encode(), digest_size=8).digest()
