"""Offload out of the totals: who served whose clients, by tier, for the command and for the control plane."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from headrace.base.ids import SiteId
from headrace.demand import queries
from headrace.demand.model import HOUR_S
from headrace.demand.offload import Tier, sum_tiers
from headrace.fleet.model import SiteKind
from headrace.metering.model import Kind
from headrace.metering.ports import Engine
from headrace.metering.totals import Totals
from headrace.wire.offload import HOURS, MOST_SITES, SITES_HOURS, OffloadHour, OffloadSite, OffloadSummary


def read_tiers(
    totals: Totals,
    engine: Engine,
    kinds: Mapping[SiteId, SiteKind],
    *,
    span_s: tuple[float, float],
    by: tuple[str, ...],
) -> dict[tuple[Any, ...], Counter[Tier]]:
    """Bytes by tier in the hours of `span_s` (UTC epoch seconds, first and end), for each value of the columns `by`.

    `by` are columns of the totals: hour, home ('' where none is known), served_by.
    """
    table = totals.table(engine, Kind.OFFLOAD, first_s=span_s[0], end_s=span_s[1])
    if table is None:
        return {}
    known = {"served_by": [str(site) for site in kinds], "kind": [kind.value for kind in kinds.values()]}
    found = queries.offload_by_tier(table, engine.rows_of(known, queries.KINDS), by=by)
    return sum_tiers(engine.fetch(found).to_pylist(), by)


def summarise(totals: Totals, engine: Engine, kinds: Mapping[SiteId, SiteKind], *, now_s: float) -> OffloadSummary:
    """What the control plane is told: the last hours by tier, and each site's own share of its last day."""
    end_s = (now_s // HOUR_S + 1) * HOUR_S
    hours = read_tiers(totals, engine, kinds, span_s=(end_s - HOURS * HOUR_S, end_s), by=("hour",))
    sites = read_tiers(totals, engine, kinds, span_s=(end_s - SITES_HOURS * HOUR_S, end_s), by=("home",))
    told = [
        OffloadSite(site_id=SiteId(home), own_bytes=tiers[Tier.OWN], total_bytes=tiers.total())
        for (home,), tiers in sites.items()
        if home
    ]
    told.sort(key=lambda site: (-site.total_bytes, site.site_id))
    return OffloadSummary(
        made_s=now_s,
        hours=tuple(OffloadHour(hour=hour, bytes_by_tier=dict(tiers)) for (hour,), tiers in sorted(hours.items())),
        sites=tuple(told[:MOST_SITES]),
    )
