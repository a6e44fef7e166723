"""The immutable snapshot that steering decides on, and the shape of an answer."""

from dataclasses import dataclass
from enum import StrEnum

from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId, FileNo, SiteId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import Title
from headrace.fleet.model import AdminState, Health, Site

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


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotTitle:
    """A title and the numbers of its files."""

    title: Title
    file_nos: tuple[FileNo, ...]


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
    titles: tuple[SnapshotTitle, ...]
    control_id: str = ""
    """Names the control plane's store: versions are compared only between snapshots of one store; '' where unknown."""
