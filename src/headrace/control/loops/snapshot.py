"""Compiles the steering snapshot. Pure: what steering may know, and when it is another than the last one.

The version grows only when the content does. Load is taken in steps and at intervals, so that it alone does not make
every steering node fetch a new snapshot each second.
"""

import hashlib
from collections.abc import Mapping

from headrace.base.ids import ApplianceId
from headrace.control.loops.reading import FleetState
from headrace.control.model import StoredSnapshot
from headrace.fleet.model import Health
from headrace.steering.model import SnapshotAppliance, SnapshotTitle, SteeringSnapshot
from headrace.wire.snapshot import pack_snapshot

_FORMAT = 2
"""Part of the entity tag: a release that compiles the same state otherwise counts this up."""


def coarse_bps(tx_bps: float, before_bps: float | None, capacity_bps: int, *, step_ratio: float) -> float:
    """Load in whole steps of capacity; it moves only when it is a whole step away from what was said before."""
    step_bps = max(1.0, capacity_bps * step_ratio)
    if before_bps is not None and abs(tx_bps - before_bps) < step_bps:
        return before_bps
    return round(tx_bps / step_bps) * step_bps


def content_tag(
    state: FleetState, health: Mapping[ApplianceId, Health], loads: Mapping[ApplianceId, float], origin_url: str
) -> str:
    """The entity tag of what would be compiled: equal exactly when the content is, on every node of one store."""
    seen = hashlib.blake2b(digest_size=16)
    seen.update(f"{_FORMAT} {state.control_id} {origin_url}".encode())
    for site in state.sites:
        seen.update(repr(site).encode())
    for stored in state.catalog.titles:
        seen.update(f"{stored.title.title_id} {stored.version} {stored.published_at_s}".encode())
    for row in state.rows:
        name = row.appliance.appliance_id
        seen.update(f"{row.appliance!r} {health[name]!r} {loads[name]} {row.holdings.digest}".encode())
    return f'"{seen.hexdigest()}"'


def compile_snapshot(
    state: FleetState,
    health: Mapping[ApplianceId, Health],
    loads: Mapping[ApplianceId, float],
    *,
    version: int,
    built_at_s: float,
    origin_url: str,
) -> SteeringSnapshot:
    """The snapshot of `state` with the conclusions of this turn."""
    appliances = tuple(
        SnapshotAppliance(
            appliance_id=row.appliance.appliance_id,
            site_id=row.appliance.site_id,
            content_url=row.appliance.content_url,
            admin_state=row.appliance.admin_state,
            health=health[row.appliance.appliance_id],
            capacity_bps=row.appliance.capacity_bps,
            tx_bps=loads[row.appliance.appliance_id],
            holdings=state.holdings[row.appliance.appliance_id],
        )
        for row in state.rows
    )
    return SteeringSnapshot(
        version=version,
        built_at_s=built_at_s,
        origin_url=origin_url,
        sites=state.sites,
        appliances=appliances,
        titles=tuple(SnapshotTitle(title=one.title, file_nos=one.file_nos) for one in state.catalog.titles),
        control_id=state.control_id,
    )


def stored(snapshot: SteeringSnapshot, tag: str) -> StoredSnapshot:
    """The snapshot as it is kept and given out."""
    return StoredSnapshot(version=snapshot.version, etag=tag, packed=pack_snapshot(snapshot))
