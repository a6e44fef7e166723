"""Why a client gets the pathways it gets: every appliance with its rank or the reason why it has none.

The same decision as in an answer (`rank.rank`), as flat rows for the API and the CLI.
"""

from dataclasses import dataclass

from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.steering.approach import Location
from headrace.steering.compile import CompiledSnapshot, CompiledTitle
from headrace.steering.rank import Candidate, Limits, rank


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
    prefix_length: int | None
    """Of the longest prefix of its site that covers the client."""
    distance_km: float | None
    score: float | None
    """Rendezvous score for this title; higher is better among equals."""
    load_ratio: float
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
    address: bytes,
    location: Location | None,
    now_s: float,
) -> Explanation:
    """Explain the answer to a new session of `client`, whose address is given in network byte order."""
    ranking = rank(compiled, compiled.class_no(address), title, location, limits)
    lengths = {compiled.network.sites[site_no].site_id: length for length, site_no in compiled.coverage(address)}
    rows = [_chosen(number, one, lengths) for number, one in enumerate(ranking.chosen, start=1)]
    for one in ranking.excluded:
        appliance = one.appliance
        rows.append(
            ExplainedAppliance(
                appliance_id=appliance.appliance_id,
                site_id=appliance.site_id,
                rank=None,
                reason=one.reason,
                detail=one.detail,
                prefix_length=lengths.get(appliance.site_id),
                distance_km=None,
                score=None,
                load_ratio=_load(appliance.tx_bps, appliance.capacity_bps),
                content_url=appliance.content_url,
            )
        )
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


def _chosen(number: int, one: Candidate, lengths: dict[SiteId, int]) -> ExplainedAppliance:
    length = lengths.get(one.appliance.site_id)
    return ExplainedAppliance(
        appliance_id=one.appliance.appliance_id,
        site_id=one.appliance.site_id,
        rank=number,
        reason="chosen",
        detail="last resort: no routed site can serve" if length is None else "",
        prefix_length=length,
        distance_km=one.distance_km,
        score=one.score,
        load_ratio=_load(one.appliance.tx_bps, one.appliance.capacity_bps),
        content_url=one.appliance.content_url,
    )


def _load(tx_bps: float, capacity_bps: int) -> float:
    return tx_bps / capacity_bps if capacity_bps > 0 else 0.0
