"""Offload: what share of bytes was served by the clients' own site, and what kind of site served the rest. Pure.

Input are sums of the totals of kind `offload` (demand.queries.offload_by_tier). What the origin itself sends to clients
is in no appliance's log, so it is not here.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any


class Tier(StrEnum):
    """Where bytes came from, seen from the client that got them; in order of cost. The middle ones are SiteKind's."""

    OWN = "own"
    """The home: the site that should have served."""
    EMBEDDED = "embedded"
    """Another site, of this kind."""
    PRIVATE_PEERING = "private-peering"
    PUBLIC_PEERING = "public-peering"
    ORIGIN_SIDE = "origin-side"
    THROUGH = "fetched-through"
    """Any site streamed them from the origin, because it did not hold them."""
    NO_HOME = "no-home"
    """No site hears the client, or its network is not shipped."""
    UNKNOWN = "unknown"
    """Another site, of which nobody knows the kind."""


def sum_tiers(rows: Iterable[Mapping[str, Any]], by: tuple[str, ...]) -> dict[tuple[Any, ...], Counter[Tier]]:
    """Bytes by tier for each value of the columns `by`.

    Args:
        rows: of `demand.queries.offload_by_tier`: the columns `by`, tier, bytes_served, bytes_through.
    """
    found: dict[tuple[Any, ...], Counter[Tier]] = {}
    for row in rows:
        tiers = found.setdefault(tuple(row[name] for name in by), Counter())
        tiers[Tier(row["tier"])] += row["bytes_served"]
        tiers[Tier.THROUGH] += row["bytes_through"]
    return {key: +tiers for key, tiers in found.items()}


def shares(tiers: Mapping[Tier, int]) -> dict[Tier, float]:
    """Each tier's share of all bytes (0 to 1), in the order of Tier, 0 for those that served nothing."""
    total = sum(tiers.values())
    return {tier: tiers.get(tier, 0) / total if total else 0.0 for tier in Tier}
