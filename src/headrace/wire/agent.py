"""Messages between an appliance's agent and the control plane: enrolment and the one exchange.

Every message may be lost, repeated or late; each is whole in itself. An agent sends what it is and which versions of
the desired state and of the fill plan it has; the answer holds what differs.
"""

from dataclasses import dataclass, field

from headrace.base.ids import ApplianceId, FileNo, SiteId
from headrace.catalog.model import CatalogFile
from headrace.fill.model import FillRules, FillSource
from headrace.fleet.model import AdminState, ApplianceReport

PROTOCOL_VERSION = 1
PLAN_PAGE_FILES = 2_000
"""Entries in one message; a longer plan is fetched page by page."""
SOURCES_PAGE_FILES = 1_000
"""Files whose sources are asked for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolRequest:
    """POST /v1/enrol, authorised by a one-time join token as bearer."""

    appliance_id: ApplianceId
    content_url: str
    capacity_bps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolAnswer:
    """The appliance's own credential; shown once, stored hashed."""

    appliance_id: ApplianceId
    site_id: SiteId
    credential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialAnswer:
    """POST /v1/agent/credential: a new credential; the old one ends when the new one is first used."""

    credential: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldingsReport:
    """Verified files, as a digest and, when it changed, a delta. `added`, `removed`: FileSet.encode()."""

    digest: str
    count: int
    total_bytes: int
    base_digest: str | None
    """The digest that the delta starts from (the last one acknowledged); None: `added` is the whole set."""
    added: str = ""
    removed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRequest:
    """POST /v1/agent/exchange, authorised by the appliance's credential as bearer."""

    appliance_id: ApplianceId
    boot_id: str
    """New at each start of the agent; with `sequence` it orders messages."""
    sequence: int
    """1, 2, 3 ... in one boot; the control plane drops a message that is not newer than the last one of that boot."""
    report: ApplianceReport
    holdings: HoldingsReport
    desired_version: int
    """Version of the desired state in force here; 0 for none."""
    plan_version: int
    """Version of the fill plan in force here; 0 for none."""
    plan_digest: str
    """FileSet.digest() of that plan."""
    protocol: int = PROTOCOL_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredState:
    """What an appliance shall be."""

    version: int
    admin_state: AdminState
    origin_url: str
    """Base URL of the origin."""
    redirect_url: str
    """Where a request for a file not held is sent: a steering node (it redirects to a holder) or the origin."""
    sources: tuple[FillSource, ...]
    """Best first."""
    fill_rate_bps: int
    """Upper bound for all fills together, urgent ones apart; 0 for none."""
    fill: FillRules = field(default_factory=FillRules)
    """When and in which order to fill, and who goes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesRequest:
    """POST /v1/agent/sources, authorised by the appliance's credential: who has these files?"""

    files: str
    """FileSet.encode() of at most SOURCES_PAGE_FILES missing files of its plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSources:
    """The answer for one file."""

    file_no: int
    sources: tuple[int, ...]
    """Places in `SourcesAnswer.sources`, best first; only those that hold the file, and the origin."""
    place: int
    """How many appliances of its site come before it in the line for this file; the first ones are its fill masters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcesAnswer:
    """Ranked sources of single files; holds for a while, since holdings and loads change."""

    sources: tuple[FillSource, ...]
    files: tuple[FileSources, ...]
    valid_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanUpdate:
    """The fill plan, whole or as a delta from a version that the agent has, one page of it."""

    version: int
    digest: str
    """FileSet.digest() of the whole plan at `version`; the agent applies nothing until it fits."""
    count: int
    base_version: int | None
    """None: `added` starts from an empty plan."""
    added: tuple[CatalogFile, ...]
    removed: tuple[FileNo, ...]
    more_after: FileNo | None = None
    """Set when there are more entries: GET /v1/agent/plan?version=&base=&after= gives the next page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeAnswer:
    """What the control plane answers."""

    sequence: int
    """Echo; an answer to an older request is dropped."""
    now_s: float
    interval_s: float
    """When to report again."""
    holdings_digest: str
    """The holdings that the control plane has now; another than the agent's means: send the whole set next."""
    desired: DesiredState | None
    """None: the agent's version is the newest."""
    plan: PlanUpdate | None
    """None: the agent's version is the newest."""
    should_rotate_credential: bool = False
    protocol: int = PROTOCOL_VERSION
