"""The immutable snapshot that steering decides on, and the shape of an answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId, SiteId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import Title
from headrace.fleet.model import AdminState, Health, Site
from headrace.routes.model import Hearing
from headrace.steering.library import TitleIndex
from headrace.steering.routes import RouteTable

ORIGIN_PATHWAY = "_origin"
"""Pathway id of the origin; no appliance id may start with an underscore."""


class SteeringError(HeadraceError):
    """Steering cannot answer from the snapshot it has."""

    exit_code = 40


class Exclusion(StrEnum):
    """Why an appliance is not a pathway of an answer. Kept through API, CLI and logs."""

    DISABLED = "disabled"
    DRAINING = "draining"
    NOT_TURNED_UP = "not-turned-up"
    UNHEALTHY = "unhealthy"
    LOST = "lost"
    TITLE_NOT_HELD = "title-not-held"
    NO_ROUTE = "no-route"
    NO_ROOM = "no-room"
    SHED = "shed"
    """It nears its capacity, and this client is of those who go elsewhere first."""
    OUTRANKED = "outranked"
    """Eligible, but enough better ones were found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotAppliance:
    """All that steering knows of one appliance."""

    appliance_id: ApplianceId
    site_id: SiteId
    content_url: str
    admin_state: AdminState
    health: Health
    capacity_bps: int
    tx_bps: float
    holdings: FileSet
    """Numbers of the titles of which it holds every file; a title's number is its place in the snapshot, from 1."""
    busy_ratio: float = 0.0
    """Share of what bounds it besides the bit rate (CPU, connections, disks), where its reports have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringSnapshot:
    """Everything a steering node answers from."""

    version: int
    """Grows with each change of content; an older one is never loaded over a newer one."""
    built_at_s: float
    origin_url: str
    """Base URL where all published files lie: the pathway of last resort; '' for none."""
    sites: tuple[Site, ...]
    appliances: tuple[SnapshotAppliance, ...]
    titles: Sequence[Title]
    control_id: str = ""
    """Names the control plane's store: versions are compared only between snapshots of one store; '' where unknown."""
    hearings: tuple[Hearing, ...] = ()
    """Routes that networks announce. A reader of the file gets who hears the same; the routes are in `routes`."""
    loads_at_s: float = 0.0
    """When loads were read last, UTC epoch seconds: sessions given before are in them, near enough."""
    routes: RouteTable | None = field(default=None, compare=False)
    """Prefixes of sites (sources in the order of the sites), then hearings, compiled; None: still to do."""
    index: TitleIndex | None = field(default=None, compare=False)
    """Of the titles; None: still to do."""
