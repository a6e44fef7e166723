"""Where an appliance may fetch a file from."""

from dataclasses import dataclass
from enum import StrEnum

from headrace.base.ids import ApplianceId


class SourceKind(StrEnum):
    """The order of preference: a peer of the same site, another site, the origin."""

    PEER = "peer"
    TIER = "tier"
    ORIGIN = "origin"


@dataclass(frozen=True, slots=True, kw_only=True)
class FillSource:
    """A base URL to fetch files from; for a file it does not hold it answers 302 or 404, and the next is asked."""

    kind: SourceKind
    base_url: str
    appliance_id: ApplianceId | None = None
    """None for the origin."""
