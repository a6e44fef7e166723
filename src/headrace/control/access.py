"""Who may call what: one table of every route of the API, and the order of the roles. Pure.

A route that is not in the table cannot be built (api/guard.py), so that none is open by oversight.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from headrace.base.ids import ApplianceId
from headrace.control.model import JoinRow, TokenRow
from headrace.wire.operator import Role


class Access(StrEnum):
    """What a route asks of its caller."""

    PUBLIC = "public"
    JOIN = "join"
    """A join token."""
    APPLIANCE = "appliance"
    """An appliance's credential."""
    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"


ROUTES: Mapping[tuple[str, str], Access] = {
    ("POST", "/v1/enrol"): Access.JOIN,
    ("POST", "/v1/agent/exchange"): Access.APPLIANCE,
    ("GET", "/v1/agent/plan"): Access.APPLIANCE,
    ("POST", "/v1/agent/credential"): Access.APPLIANCE,
    ("POST", "/v1/agent/sources"): Access.APPLIANCE,
    ("POST", "/v1/agent/routes"): Access.APPLIANCE,
    ("POST", "/v1/agent/routes/table"): Access.APPLIANCE,
    ("POST", "/v1/agent/routes/chunks"): Access.APPLIANCE,
    ("GET", "/v1/fleet"): Access.READ,
    ("GET", "/v1/sites"): Access.READ,
    ("GET", "/v1/sites/{site_id}"): Access.READ,
    ("PUT", "/v1/sites/{site_id}"): Access.OPERATE,
    ("DELETE", "/v1/sites/{site_id}"): Access.OPERATE,
    ("GET", "/v1/appliances"): Access.READ,
    ("GET", "/v1/appliances/{appliance_id}"): Access.READ,
    ("GET", "/v1/appliances/{appliance_id}/holdings"): Access.READ,
    ("GET", "/v1/appliances/{appliance_id}/plan"): Access.READ,
    ("PATCH", "/v1/appliances/{appliance_id}"): Access.OPERATE,
    ("DELETE", "/v1/appliances/{appliance_id}"): Access.ADMIN,
    ("DELETE", "/v1/appliances/{appliance_id}/credential"): Access.ADMIN,
    ("GET", "/v1/maintenance"): Access.READ,
    ("POST", "/v1/maintenance"): Access.OPERATE,
    ("GET", "/v1/maintenance/{window_id}"): Access.READ,
    ("DELETE", "/v1/maintenance/{window_id}"): Access.OPERATE,
    ("GET", "/v1/fill"): Access.READ,
    ("POST", "/v1/fill/orders"): Access.OPERATE,
    ("DELETE", "/v1/fill/orders/{order_id}"): Access.OPERATE,
    ("GET", "/v1/misses"): Access.READ,
    ("PUT", "/v1/misses/{node}"): Access.OPERATE,
    ("GET", "/v1/offload"): Access.READ,
    ("PUT", "/v1/offload"): Access.OPERATE,
    ("GET", "/v1/titles"): Access.READ,
    ("GET", "/v1/titles/{title_id}"): Access.READ,
    ("PUT", "/v1/titles/{title_id}"): Access.OPERATE,
    ("DELETE", "/v1/titles/{title_id}"): Access.OPERATE,
    ("GET", "/v1/routes/sessions"): Access.READ,
    ("GET", "/v1/routes/prefixes"): Access.READ,
    ("GET", "/v1/routes/filtered"): Access.READ,
    ("GET", "/v1/routes/imbalance"): Access.READ,
    ("GET", "/v1/routes/single"): Access.READ,
    ("GET", "/v1/routes/leaks"): Access.READ,
    ("GET", "/v1/routes/changes"): Access.READ,
    ("GET", "/v1/events"): Access.READ,
    ("GET", "/v1/stream"): Access.READ,
    ("GET", "/v1/snapshot"): Access.READ,
    ("GET", "/v1/snapshot/parts/{digest}"): Access.READ,
    ("POST", "/v1/join-tokens"): Access.ADMIN,
    ("GET", "/v1/tokens"): Access.ADMIN,
    ("POST", "/v1/tokens"): Access.ADMIN,
    ("DELETE", "/v1/tokens/{token_id}"): Access.ADMIN,
    ("GET", "/v1/session"): Access.READ,
    ("POST", "/v1/session"): Access.PUBLIC,
    ("DELETE", "/v1/session"): Access.PUBLIC,
    ("GET", "/healthz"): Access.PUBLIC,
    ("GET", "/metrics"): Access.READ,
}

_RANK = {Role.READ: 1, Role.OPERATE: 2, Role.ADMIN: 3}
_NEEDS = {Access.READ: 1, Access.OPERATE: 2, Access.ADMIN: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, proven by a secret."""

    actor: str
    """As events name it."""
    role: Role | None = None
    appliance_id: ApplianceId | None = None
    token: TokenRow | None = None
    join: JoinRow | None = None


NOBODY = Caller(actor="nobody")


def may_call(caller: Caller, access: Access) -> bool:
    """Whether `caller` may call a route that asks for `access`; a role may do all that the ones below it may."""
    if access is Access.PUBLIC:
        return True
    if access is Access.JOIN:
        return caller.join is not None
    if access is Access.APPLIANCE:
        return caller.appliance_id is not None
    return caller.role is not None and _RANK[caller.role] >= _NEEDS[access]
