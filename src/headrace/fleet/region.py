"""Which sites can serve the clients of a site: its region. Pure.

A site that names a region is in it with all sites that name the same one. A site that names none has a region of its
own: itself and every site that hears some client that it hears too. A site that names none and hears nobody has no
region: no client loses anything when it goes.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Network, ip_network

from headrace.base.ids import SiteId
from headrace.fleet.model import Site

Ranges = tuple[tuple[int, int], ...]
"""Addresses from and to (both inside), in ascending order, without overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """The clients that a site hears."""

    v4: Ranges = ()
    v6: Ranges = ()

    def meets(self, other: "Coverage") -> bool:
        """Whether both hear some client."""
        return _meet(self.v4, other.v4) or _meet(self.v6, other.v6)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The sites that may stand in for one another."""

    name: str
    """As refusals name it."""
    sites: frozenset[SiteId]


def static_coverage(site: Site) -> Coverage:
    """What operators say that a site hears."""
    return cover(site.prefixes)


@lru_cache(maxsize=8192)
def cover(prefixes: tuple[str, ...]) -> Coverage:
    """The coverage of networks in CIDR form."""
    v4: list[tuple[int, int]] = []
    v6: list[tuple[int, int]] = []
    for prefix in prefixes:
        network = ip_network(prefix)
        into = v6 if isinstance(network, IPv6Network) else v4
        into.append((int(network.network_address), int(network.broadcast_address)))
    return Coverage(v4=_merged(v4), v6=_merged(v6))


def join(coverages: Iterable[Coverage]) -> Coverage:
    """What any of them hears."""
    known = list(coverages)
    if len(known) == 1:
        return known[0]
    return Coverage(
        v4=_merged(span for one in known for span in one.v4), v6=_merged(span for one in known for span in one.v6)
    )


def region_of(
    site_id: SiteId, sites: Sequence[Site], coverage: Callable[[Site], Coverage] = static_coverage
) -> Region | None:
    """The region of a site; None when there is no such site, or it hears nobody and names no region.

    Args:
        coverage: what a site hears; live routes come in here.
    """
    own = next((site for site in sites if site.site_id == site_id), None)
    if own is None:
        return None
    if own.region:
        named = frozenset(site.site_id for site in sites if site.region == own.region)
        return Region(name=f"region {own.region}", sites=named)
    heard = coverage(own)
    if not heard.v4 and not heard.v6:
        return None
    near = frozenset(site.site_id for site in sites if site is own or coverage(site).meets(heard))
    return Region(name=f"the sites that hear the clients of {site_id}", sites=near)


def _merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def _meet(one: Ranges, other: Ranges) -> bool:
    few, many = (one, other) if len(one) <= len(other) else (other, one)
    for first, last in few:
        at = bisect_right(many, (last, last)) - 1
        # The one that begins last at or before our end is the only one that can reach into us: they do not overlap.
        for index in (at, at + 1):
            if 0 <= index < len(many) and many[index][0] <= last and many[index][1] >= first:
                return True
    return False
