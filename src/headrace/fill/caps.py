"""How the rate and the volume that a site may take in are shared among its appliances. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from headrace.base.ids import ApplianceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Filler:
    """What the shares ask of one appliance of a site."""

    appliance_id: ApplianceId
    is_hungry: bool
    """It lacks files of its plan."""
    inbound_bytes: int = 0
    """What it brought in from outside in the window that is open now."""


def share_inbound(fillers: Iterable[Filler], *, rate_bps: int, volume_bytes: int = 0) -> dict[ApplianceId, int | None]:
    """Each appliance's bound for what it brings in from outside, bits per second; None for no bound.

    The hungry share all of the rate evenly, so that together they never take more, and none waits for a share that
    another leaves unused. The others get the share that they would have if they were hungry too: for the seconds
    between a new plan and the next look, and for as long as the control plane is away.

    Args:
        rate_bps: of the site; 0 for no bound.
        volume_bytes: most that the site takes in, in one window; 0 for no bound.
    """
    members = tuple(fillers)
    if volume_bytes and sum(one.inbound_bytes for one in members) >= volume_bytes:
        return {one.appliance_id: 0 for one in members}
    if not rate_bps:
        return {one.appliance_id: None for one in members}
    hungry = sum(one.is_hungry for one in members)
    return {one.appliance_id: max(1, rate_bps // (hungry if one.is_hungry else hungry + 1)) for one in members}
