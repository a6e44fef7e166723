"""Shapes of the operators' API, /v1/... (the routes and roles stand in control/api)."""

from dataclasses import dataclass
from enum import StrEnum

from headrace.base.ids import ApplianceId, SiteId, TitleId
from headrace.catalog.model import Title
from headrace.fleet.maintenance import MaintenanceWindow
from headrace.fleet.model import AdminState, Appliance, ApplianceReport, CheckResult, Health, Site


class Role(StrEnum):
    """What a token may do; each role may do all that the ones before it may."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """RFC 9457 problem document: the body of every refusal."""

    title: str
    status: int
    code: str
    """Stable, for programs: not-found, conflict, unauthorized, forbidden, invalid, too-large, ..."""
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceView:
    """One appliance: wanted, reported, concluded."""

    appliance: Appliance
    health: Health
    report: ApplianceReport
    last_report_s: float | None
    """UTC epoch seconds."""
    holdings_count: int
    holdings_bytes: int
    plan_count: int
    plan_bytes: int
    is_drained: bool
    """Draining, and no session is left on it."""
    own_state: AdminState = AdminState.ENABLED
    """What an operator wants by himself; `appliance.admin_state` is in force, with what a maintenance window holds."""
    turn_up: tuple[CheckResult, ...] = ()
    """The checks before its first client; in the fleet's view only of those that have not passed them."""
    window: MaintenanceWindow | None = None
    """The maintenance window that holds it, else the next one that is planned for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingsView:
    """GET /v1/appliances/{id}/holdings."""

    digest: str
    count: int
    total_bytes: int
    files: str
    """FileSet.encode() of the file numbers."""
    titles: tuple[TitleId, ...]
    """Titles of which every file is held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """GET /v1/appliances/{id}/plan: the plan in force, or one of the versions that are kept."""

    appliance_id: ApplianceId
    version: int
    """0 where nothing was planned yet."""
    digest: str
    count: int
    total_bytes: int
    titles: tuple[TitleId, ...]
    """Titles of which every file is planned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """GET /v1/fleet: all that the fleet page and `headrace status` show."""

    now_s: float
    sites: tuple[Site, ...]
    appliances: tuple[ApplianceView, ...]
    title_count: int
    file_count: int
    total_bytes: int
    is_health_held: bool
    """True while conclusions are frozen because most of the fleet seemed lost at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleView:
    """GET /v1/titles, /v1/titles/{id}."""

    title: Title
    version: int
    """1 for the first publish; grows when a title is replaced."""
    published_at_s: float
    size_bytes: int
    holders: int
    """Appliances that hold every file of the title."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleRegistration:
    """PUT /v1/titles/{id}: all or nothing."""

    title: Title
    expected_version: int
    """0: must not exist yet; n: replaces exactly version n. Anything else answers 409."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplianceChange:
    """PATCH /v1/appliances/{id}; None leaves a field as it is."""

    admin_state: AdminState | None = None
    content_url: str | None = None
    capacity_bps: int | None = None
    site_id: SiteId | None = None
    reason: str = ""
    is_forced: bool = False
    """Also where `fleet.lifecycle.check_may_leave` refuses; kept in the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceRequest:
    """POST /v1/maintenance. Exactly one of `appliance_id` and `site_id`; instants are UTC epoch seconds."""

    appliance_id: ApplianceId | None = None
    site_id: SiteId | None = None
    starts_s: float | None = None
    """None: when a drain that begins now is over."""
    ends_s: float
    drain_ahead_s: float | None = None
    """New sessions go elsewhere for so long before the start; None for the control plane's setting."""
    reason: str
    zone: str = "UTC"
    """IANA name of the time zone to show the window in."""
    is_forced: bool = False
    """Also where `fleet.lifecycle.check_may_leave` refuses, now and when it begins; kept in the record."""


FORCE_HINT = "; to do it all the same, use --force, or is_forced in the API"
"""The end of a refusal that an operator may overrule; the page offers a box to tick in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTokenRequest:
    """POST /v1/join-tokens."""

    site_id: SiteId
    appliance_id: ApplianceId | None = None
    """Only this appliance may use it; None: any new one."""
    lifetime_s: float = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """Shown once."""

    token: str
    expires_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """POST /v1/tokens."""

    name: str
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSecret:
    """A new operator's token; `token` is shown once."""

    token_id: str
    name: str
    role: Role
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenView:
    """GET /v1/tokens: no secret."""

    token_id: str
    name: str
    role: Role
    created_at_s: float
    last_used_at_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """One line of the append-only record."""

    event_id: int
    at_s: float
    actor: str
    """operator:<token name>, appliance:<id> or control:<loop>."""
    kind: str
    """Past tense, dotted: appliance.enrolled, appliance.health-changed, title.published."""
    subject: str
    """site/<id>, appliance/<id>, title/<id> or fleet."""
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleSummary:
    """What lists need of a title."""

    title_id: TitleId
    name: str
