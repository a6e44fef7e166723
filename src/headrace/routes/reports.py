"""What operators are told about routes: the shapes of reports. Flat rows, so that a table, JSON and CSV say the same.

`listing.py` and `balance.py` make them of a `RoutesView`.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from headrace.base.ids import ApplianceId, SiteId
from headrace.fleet.model import Site
from headrace.routes.hygiene import FilterReason
from headrace.routes.model import AddressFamily, SessionState, parse_prefix
from headrace.routes.retention import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What a site is there for."""

    site_id: SiteId
    prefixes: tuple[str, ...] = ()
    """Routes outside of these are beyond its scope; () for no bound."""
    origin_as: tuple[int, ...] = ()
    """Routes of other origins are beyond its scope; () for no bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakRules:
    """Table [routes.leaks]: when a route is heard beyond its scope."""

    scopes: tuple[Scope, ...] = ()
    site_prefixes_are_scope: bool = False
    """A site with prefixes set by an operator hears nothing outside of them."""
    longest_path: int = 0
    """A longer AS path is no route of the site's own network or of its customers; 0 for no bound."""
    by_members: bool = True
    """A prefix that one member of a site hears, and no other member hears or covers, has leaked to it. Looked at in
    sites of which at least two members hear routes of the family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where appliances are, and what operators set for their sites."""

    sites: Mapping[SiteId, Site]
    site_of: Mapping[ApplianceId, SiteId]
    """All appliances, speaking or not."""

    def members(self) -> dict[SiteId, list[ApplianceId]]:
        """The appliances of each site that has any, all in order of id."""
        found: dict[SiteId, list[ApplianceId]] = {}
        for name, site_id in sorted(self.site_of.items()):
            found.setdefault(site_id, []).append(name)
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """What of the fleet a report is about; '' for all."""

    site_id: str = ""
    appliance_id: str = ""
    prefix: str = ""
    """Routes that lie inside it or around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One session."""

    site_id: str
    appliance_id: str
    session_id: str
    peer_as: int
    local_as: int
    family: AddressFamily
    state: SessionState
    since_s: float
    standing: Standing
    """Whether its routes count."""
    until_s: float | None
    """When the standing ends by itself."""
    is_damped: bool
    prefixes: int
    """In the table that is in force."""
    counted: int
    filtered: int
    most_prefixes: int
    drops: int
    updates: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixRow:
    """One route of one session."""

    prefix: str
    site_id: str
    appliance_id: str
    session_id: str
    reason: FilterReason | None
    """Why it does not count; None: it counts."""
    path_length: int
    med: int
    origin_as: int | None
    learned_s: float | None
    """None while the times of the table are not there."""
    as_path: str = ""
    next_hop: str = ""
    communities: str = ""


class Imbalance(StrEnum):
    """What is uneven about one member of a site."""

    NO_SESSION = "no-session"
    """Others have a session of this family, it has none."""
    NO_ROUTES = "no-routes"
    """Others hear routes of this family, it hears none that counts."""
    MISSES_PREFIXES = "misses-prefixes"
    """It hears less than the others together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberRow:
    """One member of a site whose members do not hear the same, in one family."""

    site_id: str
    family: AddressFamily
    appliance_id: str
    problem: Imbalance | None
    """None: it hears all that any member hears."""
    heard: int
    missing: int
    """Prefixes that other members hear and it does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevenRow:
    """A prefix that some members of a site hear and others do not."""

    site_id: str
    prefix: str
    heard_by: tuple[str, ...]
    missing_at: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleRow:
    """A prefix that is heard at one site only."""

    prefix: str
    site_id: str
    cover: str
    """The longest prefix around it that another site hears, which would serve it; '' for none."""


class LeakReason(StrEnum):
    """Why a route is taken to be beyond its scope."""

    OUTSIDE_SCOPE = "outside-scope"
    """The site's scope has no prefix around it."""
    FOREIGN_ORIGIN = "foreign-origin"
    """Another AS announces it than those of the site's scope."""
    LONG_PATH = "long-path"
    ONE_MEMBER_ONLY = "one-member-only"
    """No other member of the site hears it or anything around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakRow:
    """A route that counts and is heard beyond its scope."""

    prefix: str
    site_id: str
    appliance_id: str
    session_id: str
    reason: LeakReason
    path_length: int
    origin_as: int | None


class ChangeKind(StrEnum):
    """What happened to a route."""

    ANNOUNCED = "announced"
    WITHDRAWN = "withdrawn"
    CHANGED = "changed"
    """Other attributes, or announced anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """A difference between a session's table then and now."""

    prefix: str
    site_id: str
    appliance_id: str
    session_id: str
    kind: ChangeKind
    path_length: int
    """Now; before, for a withdrawn one."""
    med: int
    origin_as: int | None
    learned_s: float | None
    """When it was announced or changed; None for a withdrawn one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What all reports say of themselves."""

    at_s: float
    """When what it is about was read from the store."""
    total: int
    """Rows there are; `rows` holds a page of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionsReport(Answer):
    """GET /v1/routes/sessions."""

    rows: tuple[SessionRow, ...]
    rpki_state: str = ""
    rpki_count: int = 0
    rpki_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixesReport(Answer):
    """GET /v1/routes/prefixes, /v1/routes/filtered."""

    rows: tuple[PrefixRow, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    """By reason; '' for those that count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImbalanceReport(Answer):
    """GET /v1/routes/imbalance; `total` counts prefixes."""

    rows: tuple[MemberRow, ...]
    prefixes: tuple[UnevenRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleReport(Answer):
    """GET /v1/routes/single."""

    rows: tuple[SingleRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaksReport(Answer):
    """GET /v1/routes/leaks."""

    rows: tuple[LeakRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangesReport(Answer):
    """GET /v1/routes/changes."""

    rows: tuple[ChangeRow, ...]
    since_s: float
    compared_s: float | None
    """The oldest table that was compared is in force since then; None: no session has one so old."""


def check_scopes(rules: LeakRules) -> None:
    """Check that scopes are prefixes; raises RouteError."""
    for scope in rules.scopes:
        for text in scope.prefixes:
            parse_prefix(text)


def as_csv(shape: type[Any], rows: Iterable[Any]) -> str:
    """Rows of one shape as CSV (RFC 4180) with a line of names; lists are words with spaces between them."""
    text = io.StringIO()
    writer = csv.writer(text)
    names = [each.name for each in fields(shape)]
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    text = "" if value is None else str(value)
    # What a peer says must not become a formula in somebody's spreadsheet.
    return f"'{text}" if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
