"""What is known of all routes at one instant: the input of reports. Immutable; decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.base.ids import ApplianceId
from headrace.routes.effective import CountedTable
from headrace.routes.model import Hearing, RouteColumns, Session
from headrace.routes.retention import Counting
from headrace.routes.rpki import VrpStanding, VrpState


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeardSession:
    """A session, its table, and what of it counts."""

    session: Session
    counting: Counting
    counted: CountedTable
    """The table that counts, or would if the session were not damped."""
    times: str = ""
    """Name of the times of its routes; '' while they are not there."""
    is_damped: bool = False
    """The session came and went too often: none of its routes counts."""
    penalty: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeardAppliance:
    """All sessions of an appliance, and the routes that count."""

    appliance_id: ApplianceId
    sessions: tuple[HeardSession, ...]
    routes: RouteColumns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoutesView:
    """Everything that reports say."""

    at_s: float
    version: int
    """Of the store's counter of routes."""
    appliances: Mapping[ApplianceId, HeardAppliance] = field(default_factory=dict)
    hearings: tuple[Hearing, ...] = ()
    vrps: VrpStanding = field(default_factory=lambda: VrpStanding(state=VrpState.OFF))
