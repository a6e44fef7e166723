"""Rows of the store as plain values: what the loops and the API read and write. No rule lives here.

Versions grow by one with each change and are what compare-and-set compares. `0` stands for "nothing stored yet".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from headrace.base.ids import ApplianceId, FileNo, SiteId, TitleId
from headrace.catalog.fileset import FileSet
from headrace.catalog.model import Title
from headrace.fleet.maintenance import MaintenanceWindow
from headrace.fleet.model import Appliance, ApplianceReport, Health
from headrace.wire.agent import DesiredState
from headrace.wire.operator import Role

EMPTY_DIGEST = FileSet().digest()
"""The digest of holdings and plans before the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """A line for the append-only record, written in the same transaction as the change that it tells of."""

    actor: str
    """operator:<token name>, appliance:<id> or control:<loop>."""
    kind: str
    """Past tense, dotted: appliance.enrolled, appliance.health-changed, title.published."""
    subject: str
    """site/<id>, appliance/<id>, title/<id>, token/<id>, maintenance/<id> or fleet."""
    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """Counters that grow with each committed change of their kind: a reader that saw the same number has seen all."""

    fleet: int
    """Sites, appliances' settings, maintenance windows, health, and whether health is held."""
    titles: int
    holdings: int
    plans: int
    events: int
    """The newest event id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """The latest report of an appliance."""

    boot_id: str = ""
    sequence: int = 0
    past_boots: tuple[str, ...] = ()
    """Boots that ended, newest first: a late message of one of them is dropped."""
    received_at_s: float | None = None
    """When the latest report came; None before the first."""
    heard_at_s: float | None = None
    """When anything came, repeated and late messages too."""
    report: ApplianceReport = field(default_factory=ApplianceReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetHead:
    """What is known of a stored set of files without reading it."""

    version: int = 0
    digest: str = EMPTY_DIGEST
    count: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRow:
    """All that is stored of one appliance, except the bitmaps."""

    appliance: Appliance
    version: int
    """Of `appliance`: for compare-and-set by `change_appliance`."""
    enrolled_at_s: float
    desired: DesiredState | None
    """As it was last given out; None before the first exchange."""
    health: Health
    health_version: int
    health_memory: str
    """What the health loop wants to remember between turns (hysteresis); text of its own making."""
    report: StoredReport
    holdings: SetHead
    plan: SetHead


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChange:
    """A new conclusion for one appliance, to be written by compare-and-set."""

    appliance_id: ApplianceId
    health: Health
    expected_version: int
    memory: str
    event: NewEvent | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWindow:
    """A maintenance window and the version that compare-and-set compares."""

    window: MaintenanceWindow
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSet:
    """Holdings, or one version of a fill plan."""

    head: SetHead
    files: FileSet


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTitle:
    """A visible title and the numbers of its files, in the order of `title.files`."""

    title: Title
    version: int
    published_at_s: float
    size_bytes: int
    file_nos: tuple[FileNo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogTotals:
    """Sums over the visible titles; a file that two titles share counts once."""

    title_count: int
    file_count: int
    total_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A right that one control node holds until it expires."""

    name: str
    holder: str
    expires_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSnapshot:
    """The compiled steering snapshot as it is given to steering nodes."""

    version: int
    etag: str
    packed: bytes
    """Table of sections, small ones with their bodies: wire/snapshot.py."""
    parts: Mapping[str, bytes] = field(default_factory=dict)
    """Bodies of the large ones by SHA-256; not read together with the rest."""


class TokenKind(StrEnum):
    """Whose secret it is."""

    OPERATOR = "operator"
    APPLIANCE = "appliance"
    SESSION = "session"
    """A browser's cookie; ends with the operator's token it was opened with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A bearer secret, stored as SHA-256."""

    token_id: str
    kind: TokenKind
    name: str
    secret_sha256: str
    created_at_s: float
    role: Role | None = None
    """None for appliances."""
    appliance_id: ApplianceId | None = None
    parent_id: str | None = None
    """For a session: the operator's token."""
    next_sha256: str | None = None
    """A rotation under way: the old secret ends when this one is first used."""
    rotated_at_s: float = 0.0
    last_used_at_s: float | None = None
    """Coarse: refreshed every few minutes."""
    expires_at_s: float | None = None
    is_revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRow:
    """A join token: one appliance, once."""

    join_id: str
    secret_sha256: str
    site_id: SiteId
    appliance_id: ApplianceId | None
    expires_at_s: float
    used_by: ApplianceId | None = None


class Enrolment(StrEnum):
    """The outcome of an enrolment."""

    DONE = "done"
    TOKEN_SPENT = "token-spent"
    TOKEN_EXPIRED = "token-expired"
    ALREADY_ENROLLED = "already-enrolled"
    """The id is taken; a join token bound to it is needed."""
    NO_SUCH_SITE = "no-such-site"


class Removal(StrEnum):
    """The outcome of a removal."""

    DONE = "done"
    MISSING = "missing"
    IN_USE = "in-use"
    """A site that still has appliances."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TitleConflict:
    """A registration that lost: the version that is there now (0: none)."""

    title_id: TitleId
    current_version: int
