"""Offload as `headrace demand count` tells it the control plane, and as the control plane shows it: /v1/offload."""

from collections.abc import Mapping
from dataclasses import dataclass

from headrace.base.ids import SiteId
from headrace.demand.offload import Tier

HOURS = 48
"""Hours that are told, the one that is under way among them."""
SITES_HOURS = 24
"""Hours that shares of sites are of."""
MOST_SITES = 5_000
"""Sites that are told, those with the most bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadHour:
    """Bytes that clients were given in an hour."""

    hour: int
    """Hours since the epoch (UTC)."""
    bytes_by_tier: Mapping[Tier, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadSite:
    """What the clients of a site were given in the last 24 hours."""

    site_id: SiteId
    own_bytes: int
    """Served by the site itself."""
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadSummary:
    """PUT /v1/offload: what was counted until now."""

    made_s: float
    """UTC epoch seconds."""
    hours: tuple[OffloadHour, ...]
    """Ascending; hours in which nobody was given anything are left out."""
    sites: tuple[OffloadSite, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OffloadView:
    """GET /v1/offload."""

    summary: OffloadSummary | None
    """None: no demand was counted yet, or whoever counts may not tell."""
