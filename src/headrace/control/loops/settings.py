"""The table [fleet] of the control node's configuration: how often loops turn, and the thresholds for decisions.

Defaults stand in control/defaults.toml; the thresholds of health are explained in `fleet.evidence.HealthRules`.
"""

from dataclasses import dataclass, field

from headrace.fill.model import Escalation
from headrace.fill.sources import SourceLimits
from headrace.fill.windows import DEFAULT_HOURS
from headrace.fleet.evidence import HealthRules
from headrace.fleet.lifecycle import FailureBudget
from headrace.fleet.maintenance import MaintenanceRules


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSettings:
    """Table [fleet.probe]."""

    interval_s: float = 2.0
    """Between two probes of one appliance, while the rate allows it."""
    suspect_interval_s: float = 1.0
    """The same for an appliance that is late with its report, failed its last probe or is not healthy."""
    late_after_s: float = 3.0
    """A report this old makes an appliance a suspect."""
    timeout_s: float = 1.5
    """For one probe, from connecting to the last byte."""
    most_per_s: int = 200
    """Bound of all probes together: about a third of one core. Suspects go first; the rest take longer turns."""
    most_at_once: int = 64
    range_bytes: int = 1024
    """How much of a file is fetched, from a random place in it."""
    ca_file: str = ""
    """The CA of appliances that serve over TLS; '' for the machine's own list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillDefaults:
    """Table [fleet.fill]."""

    window: str = DEFAULT_HOURS
    """Local hours in which sites fill whose time zone is known, or `always`; a site may have its own."""
    appliance_bps: int = 1_200_000_000
    """Bound for all fills of one appliance, urgent ones apart; 0 for none."""
    site_bps: int = 1_200_000_000
    """Bound for what the fills of one site bring in from outside; 0 for none."""
    appliance_volume_bytes: int = 0
    """Most that an appliance fetches in one window; 0: what the rate allows."""
    site_volume_bytes: int = 0
    """Most that a site brings in from outside in one window; 0: what the rate allows."""
    urgent_bps: int = 1_200_000_000
    """Bound for urgent fills of one appliance, in and outside of its window; 0 for none."""
    masters: int = 1
    """Appliances of a site that fetch a file from outside; the others wait for them."""
    escalation: Escalation = field(default_factory=Escalation)
    """How long who is no fill master waits before it goes further out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementSettings:
    """Table [fleet.placement]: what counts where not every title fits everywhere and demand is known."""

    forecast_file: str = ""
    """What `headrace plan forecast` writes; '' for none: then the newest titles that fit are placed."""
    reactive_ratio: float = 0.2
    """Share of the room that plans in the fill window leave to what rises until the next one."""
    fill_price: float = 0.1
    """Plays a day that a title must be expected to gain over those that it displaces."""
    day_price: float = 1.0
    """The same outside the window: a fill in the busy hours must at least pay for itself."""
    region_copies: int = 1
    """Sites of a region that hold each title, where there is room; the origin has all of them besides."""
    most_orders: int = 50
    """Rising titles, by site, that are fetched past the window in one turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSettings:
    """Table [fleet]."""

    report_interval_s: float = 2.0
    """What agents are told to keep."""
    turn_interval_s: float = 1.0
    """Between two turns of the deciding loop."""
    lease_s: float = 4.0
    """A control node that decides and is not heard for so long is replaced by another."""
    drain_quiet_s: float = 10.0
    """No session for so long ends a drain; longer than the TTL of a steering answer is needed by no player."""
    reserve_ratio: float = 0.05
    """Share of an appliance's disks that new titles leave free."""
    snapshot_load_step_ratio: float = 0.05
    """Load counts in steps of this share of capacity, so that it does not change the snapshot each turn."""
    snapshot_load_interval_s: float = 5.0
    """Load alone gives a new snapshot at most this often."""
    most_connections: int = 0
    """Connections at which an appliance counts as full; 0: they do not count."""
    most_disk_busy_ratio: float = 0.0
    """Share of the time a disk is busy at which its appliance counts as full; 0: disks do not count."""
    work_s: float = 0.5
    """Bound for writing plans, and again for desired states, in one turn, so that health never waits for them."""
    events_kept: int = 100_000
    """Older lines of the record are dropped."""
    health: HealthRules = field(default_factory=HealthRules)
    probe: ProbeSettings = field(default_factory=ProbeSettings)
    sources: SourceLimits = field(default_factory=SourceLimits)
    fill: FillDefaults = field(default_factory=FillDefaults)
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    budget: FailureBudget = field(default_factory=FailureBudget)
    maintenance: MaintenanceRules = field(default_factory=MaintenanceRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopUrls:
    """The addresses that desired states and snapshots name."""

    origin: str
    """Base URL of the origin; '' for none."""
    redirect: str
    """Where appliances send requests for files they do not hold: a steering node, else the origin."""
