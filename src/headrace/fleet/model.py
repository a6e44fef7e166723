"""Sites and appliances: desired, reported and concluded state are three things and never share a field."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.base.errors import HeadraceError
from headrace.base.ids import ApplianceId, SiteId


class FleetError(HeadraceError):
    """A site or appliance cannot be what was asked."""

    exit_code = 20


class SiteKind(StrEnum):
    """How a site reaches its clients; the order is the order of preference."""

    EMBEDDED = "embedded"
    PRIVATE_PEERING = "private-peering"
    PUBLIC_PEERING = "public-peering"
    ORIGIN_SIDE = "origin-side"


class AdminState(StrEnum):
    """What an operator wants of an appliance."""

    ENABLED = "enabled"
    DRAINING = "draining"
    """New sessions elsewhere; running ones finish."""
    DISABLED = "disabled"


class HealthState(StrEnum):
    """What the control plane concludes from reports and its own probes."""

    UNKNOWN = "unknown"
    """Never heard of since it enrolled."""
    TURNING_UP = "turning-up"
    """Heard, but its turn-up checks have not all passed."""
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    """It reports, but a check fails."""
    LOST = "lost"
    """Neither reports nor answers probes."""


class HealthReason(StrEnum):
    """Why an appliance has its health state."""

    ALL_CHECKS_PASS = "all-checks-pass"
    NEVER_REPORTED = "never-reported"
    NO_REPORT = "no-report"
    PROBE_FAILED = "probe-failed"
    NOTHING_HELD = "nothing-held"
    NGINX_DOWN = "nginx-down"
    ALL_DISKS_FAILED = "all-disks-failed"
    RECOVERING = "recovering"
    """Good again, but not yet for long enough."""
    HELD_LAST_STATE = "held-last-state"
    """Most of the fleet seems lost at once: our own network is the likelier fault, so the last state is kept."""
    FILLING = "filling"
    """Turn-up: it holds too little of its plan yet."""
    NOT_PROBED = "not-probed"
    """Turn-up: no probe has fetched from it lately; missing data is never a pass."""
    REPORTS_FROZEN = "reports-frozen"
    """Messages arrive, but they are always the same old one: as good as silence."""
    NO_QUORUM = "no-quorum"
    """Silent, but too few control nodes are there to say that it is lost."""
    BAD_PATH = "bad-path"
    """Healthy: most control nodes reach it, some do not; the fault is between those and it."""
    COUNTERS_FROZEN = "counters-frozen"
    """Healthy: it serves and reports, but its counters stand still; its load and sessions are not known."""
    DISK_OFF = "disk-off"
    """The web server answers, but not with files that it says it holds: a disk is off, unmounted or unreadable."""
    NO_ROUTES = "no-routes"
    """Turn-up: it has BGP sessions, and hears no route yet."""
    NOT_VERIFIED = "not-verified"
    """Turn-up: no whole file has been fetched from it whose SHA-256 is right."""
    DISABLED = "disabled"
    """All checks pass, but an operator keeps it out; its turn-up starts anew when it is enabled."""


class TurnUpCheck(StrEnum):
    """What must pass before the first client, in the order in which it is looked at."""

    REPORTS = "reports"
    WEB_SERVER = "web-server"
    DISKS = "disks"
    ROUTES = "routes"
    """It hears routes on each family that it has BGP sessions for; passes where it has none."""
    CONTENT = "content"
    REACHABLE = "reachable"
    """Most control nodes reach its content address."""
    RANGE = "range"
    """A whole held file was fetched as a range, and its SHA-256 is its name."""


class CheckState(StrEnum):
    """How one check stands. Missing data is never a pass."""

    PASSED = "passed"
    FAILED = "failed"
    WAITING = "waiting"
    """Not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One turn-up check, as it stood when its state last changed."""

    check: TurnUpCheck
    state: CheckState
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Appliances that share a place and the same routes."""

    site_id: SiteId
    name: str = ""
    kind: SiteKind = SiteKind.EMBEDDED
    latitude_deg: float | None = None
    longitude_deg: float | None = None
    prefixes: tuple[str, ...] = ()
    """Client networks in CIDR form that this site serves."""
    is_last_resort: bool = False
    """Serves clients that no site hears a route for."""
    region: str = ""
    """Sites that name the same region stand in for one another; '' for the sites that hear the same clients."""
    time_zone: str = ""
    """IANA name, for its fill window; '' for not told: then it fills at once."""
    fill_window: str = ""
    """Local hours, `02:00-14:00`, or `always`; '' for the control plane's setting."""
    fill_bps: int = 0
    """Bound for what its fills bring in from outside; 0 for the control plane's setting."""
    fill_volume_bytes: int = 0
    """The same in one window, in bytes; 0 for the control plane's setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appliance:
    """What is wanted of an appliance: enrolment and operator's settings."""

    appliance_id: ApplianceId
    site_id: SiteId
    content_url: str
    """Base URL that players use, no trailing slash: http://192.0.2.10 or http://[2001:db8::1]:8080."""
    admin_state: AdminState = AdminState.ENABLED
    capacity_bps: int = 10_000_000_000
    """Bits per second that clients may be given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReport:
    """One folder of an appliance's store."""

    folder: str
    is_ok: bool
    total_bytes: int
    free_bytes: int
    error: str = ""
    filesystem: str = ""
    """Folders with the same one share its room; '' for unknown: then a room of its own."""


def distinct_disks(disks: Iterable[DiskReport]) -> tuple[DiskReport, ...]:
    """The disks that work, one for each file system: what may be summed."""
    by_room = {disk.filesystem or f"folder {disk.folder}": disk for disk in disks if disk.is_ok}
    return tuple(by_room.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """What an appliance does now, over the last few seconds."""

    tx_bps: float = 0.0
    requests_per_s: float = 0.0
    connections: int = 0
    cpu_ratio: float = 0.0
    sessions: int = 0
    """Distinct clients or CMCD session ids of the last 30 seconds: what a drain waits for."""
    answered: int = -1
    """Requests in the access log since the agent started, probes included; -1 where it is not told."""
    disk_busy_ratio: float = 0.0
    """Share of the time in which the busiest disk of its store had something to do, whoever asked for it. Disks that
    serve many requests at once (SSD) may be busy all the time and still have room."""


class FillState(StrEnum):
    """What the fill loop of an appliance is doing."""

    IDLE = "idle"
    FILLING = "filling"
    NO_SOURCE = "no-source"
    DISK_FULL = "disk-full"
    WAITING = "waiting"
    """For its window, or for peers that bring files into the site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongBytes:
    """A source gave bytes for a file whose SHA-256 is not the file's name."""

    base_url: str
    file_no: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FillReport:
    """Progress of the fill."""

    state: FillState = FillState.IDLE
    pending_files: int = 0
    pending_bytes: int = 0
    done_files: int = 0
    """Since the agent started."""
    done_bytes: int = 0
    rate_bps: float = 0.0
    error: str = ""
    window_opened_s: float = 0.0
    """UTC epoch seconds at which the window opened that the next two are counted in; 0 before the first."""
    window_bytes: int = 0
    """Fetched in it, urgent files apart."""
    window_inbound_bytes: int = 0
    """Of those, the ones that came from outside of the site."""
    outside_bytes: int = 0
    """Fetched from outside of the site since the agent started, urgent files included."""
    wrong_bytes: tuple[WrongBytes, ...] = ()
    """The last few, newest last; sources that gave them are left for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NginxReport:
    """The web server under the agent."""

    is_running: bool = False
    version: str = ""
    restarts: int = 0
    config_digest: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseReport:
    """What software an appliance runs."""

    headrace: str = ""
    nginx: str = ""
    kernel: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceReport:
    """What an appliance says of itself."""

    disks: tuple[DiskReport, ...] = ()
    load: LoadReport = field(default_factory=LoadReport)
    fill: FillReport = field(default_factory=FillReport)
    nginx: NginxReport = field(default_factory=NginxReport)
    release: ReleaseReport = field(default_factory=ReleaseReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What the control plane concluded, and why."""

    state: HealthState = HealthState.UNKNOWN
    reason: HealthReason = HealthReason.NEVER_REPORTED
    detail: str = ""
    since_s: float = 0.0
    """UTC epoch seconds of the last change of state."""
    is_turned_up: bool = False
    """Has passed its turn-up checks once since it enrolled or was last disabled."""
