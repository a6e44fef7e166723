"""Why a client gets the pathways it gets: every appliance with its rank or the reason why it has none.

The same decision as in an answer (`rank.rank`), as flat rows for the API and the CLI.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.steering.approach import Location
from headrace.steering.compile import CompiledSnapshot
from headrace.steering.library import CompiledTitle
from headrace.steering.load import draw_of, fresh_levels, use_ratio
from headrace.steering.model import SnapshotAppliance
from headrace.steering.rank import NEW_SESSION, Limits, Sharing, rank, score


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedAppliance:
    """One appliance in an explanation."""

    appliance_id: ApplianceId
    site_id: SiteId
    rank: int | None
    """1 for the first pathway; None for one that is left out."""
    reason: str
    """'chosen', or a value of Exclusion."""
    detail: str
    prefix: str
    """The longest one that it hears for the client; '' for none."""
    prefix_length: int | None
    path_length: int | None
    """AS path length of the route; 0 for a prefix that an operator gave the site."""
    med: int | None
    """0 where the route has none."""
    distance_km: float | None
    score: float | None
    """Rendezvous score for this title; higher is better among equals."""
    load_ratio: float
    """Share of its capacity that is in use: bit rate, or what else bounds it."""
    content_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """GET /v1/explain."""

    client: str
    title_id: TitleId
    snapshot_version: int
    snapshot_age_s: float
    latitude_deg: float | None
    longitude_deg: float | None
    appliances: tuple[ExplainedAppliance, ...]
    origin_url: str
    """The pathway after all appliances; '' for none."""


def explain(
    compiled: CompiledSnapshot,
    title: CompiledTitle,
    limits: Limits,
    *,
    client: str,
    location: Location | None,
    now_s: float,
    levels: Mapping[str, int] | None = None,
) -> Explanation:
    """Explain the answer to a new session of `client`, which must be an IP address.

    Args:
        levels: how much each appliance takes, as the node that answers sees it; None: from the snapshot's loads alone.
    """
    address = ipaddress.ip_address(client).packed
    known = levels if levels is not None else fresh_levels(compiled.appliances, limits.load)
    sharing = Sharing(levels=known, draw=draw_of(address, title.key))
    ranking = rank(compiled, compiled.class_no(address), title, location, limits, NEW_SESSION, sharing)
    routes, rows = compiled.routes_to(address), []

    def row(one: SnapshotAppliance, **more: Any) -> ExplainedAppliance:
        covering = routes.get(compiled.hearer_of.get(one.appliance_id, -1))
        return ExplainedAppliance(
            appliance_id=one.appliance_id,
            site_id=one.site_id,
            prefix=_prefix(address, covering[0]) if covering else "",
            prefix_length=covering[0] if covering else None,
            path_length=covering[1] if covering else None,
            med=covering[2] if covering else None,
            load_ratio=use_ratio(one) if one.capacity_bps > 0 else 0.0,
            content_url=one.content_url,
            **more,
        )

    for number, one in enumerate(ranking.chosen, start=1):
        is_routed = compiled.hearer_of[one.appliance.appliance_id] in routes
        detail = "" if is_routed else "last resort: no routed site can serve"
        known_score = score(title, one.appliance)
        fields = {"rank": number, "reason": "chosen", "detail": detail, "score": known_score}
        rows.append(row(one.appliance, distance_km=one.distance_km, **fields))
    for left in ranking.excluded:
        fields = {"rank": None, "reason": left.reason, "detail": left.detail, "score": None}
        rows.append(row(left.appliance, distance_km=None, **fields))
    return Explanation(
        client=client,
        title_id=title.title.title_id,
        snapshot_version=compiled.version,
        snapshot_age_s=max(0.0, now_s - compiled.built_at_s),
        latitude_deg=location.latitude_deg if location else None,
        longitude_deg=location.longitude_deg if location else None,
        appliances=tuple(rows),
        origin_url=compiled.origin_url,
    )


def _prefix(address: bytes, length: int) -> str:
    packed = address[12:] if address[:12] == b"\x00" * 10 + b"\xff\xff" else address
    return str(ipaddress.ip_network((packed, length), strict=False))
