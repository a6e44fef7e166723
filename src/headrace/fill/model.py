"""What is said of fills: where a file may be fetched from, when, how fast, and who goes first."""

from dataclasses import dataclass, field
from enum import StrEnum

from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId


class FillError(HeadraceError):
    """A fill window, cap or order cannot be what was asked."""

    exit_code = 36


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
    is_near: bool = False
    """Of a tier: near enough to be asked before the whole network is."""
    rate_bps: int = 0
    """What it can give to this asker beside what it serves; 0 for no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """How long an appliance that is no fill master of a file waits for its peers before it goes further out.

    The k-th in line behind the masters waits k times as long. Counted from when it has nothing else to fetch and no
    peer gives it anything.
    """

    near_s: float = 300.0
    """Before it asks near sites."""
    network_s: float = 900.0
    """Before it asks any site."""
    origin_s: float = 1800.0
    """Before it asks the origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRules:
    """What the fills of one appliance keep to. The defaults bind nothing: everything is filled at once."""

    hours: str = ""
    """Local hours of the window, `02:00-14:00`; '' for no window."""
    zone: str = ""
    """IANA name of the site's time zone."""
    inbound_bps: int | None = None
    """Its share of what may come into the site from outside (all but peers); None for no bound, 0 for nothing now."""
    volume_bytes: int = 0
    """Most that it fetches in one window, urgent files apart; 0 for no bound."""
    urgent: str = ""
    """FileSet.encode() of files that pass the window."""
    urgent_bps: int = 0
    """Bound of urgent fills, apart from the others; 0 for none."""
    first: str = ""
    """FileSet.encode() of files that come before the others, in the window."""
    keep: str = ""
    """FileSet.encode() of files outside of the plan of which it holds the last copy: not to be deleted."""
    doubt: str = ""
    """FileSet.encode() of files that somebody got wrong bytes of from here: to be verified."""
    members: tuple[ApplianceId, ...] = ()
    """The appliances of its site that fill, itself included; fill masters are chosen from them. None: it is alone."""
    masters: int = 1
    """Fill masters of each file."""
    escalation: Escalation = field(default_factory=Escalation)
