from itertools import pairwise

import pytest

from headrace.base.ids import ApplianceId, SiteId
from headrace.control.access import NOBODY, ROUTES, Access, Caller, may_call
from headrace.control.model import JoinRow
from headrace.wire.operator import Role

CALLERS = {
    "nobody": NOBODY,
    "join": Caller(
        actor="join-token:j",
        join=JoinRow(join_id="j", secret_sha256="", site_id=SiteId("s"), appliance_id=None, expires_at_s=1),
    ),
    "appliance": Caller(actor="appliance:a", appliance_id=ApplianceId("a")),
    "read": Caller(actor="operator:r", role=Role.READ),
    "operate": Caller(actor="operator:o", role=Role.OPERATE),
    "admin": Caller(actor="operator:a", role=Role.ADMIN),
}
ALLOWED = {
    Access.PUBLIC: set(CALLERS),
    Access.JOIN: {"join"},
    Access.APPLIANCE: {"appliance"},
    Access.READ: {"read", "operate", "admin"},
    Access.OPERATE: {"operate", "admin"},
    Access.ADMIN: {"admin"},
}


@pytest.mark.parametrize("access", Access)
def test_who_may_call(access):
    assert {name for name, caller in CALLERS.items() if may_call(caller, access)} == ALLOWED[access]


def test_each_role_may_do_what_the_one_below_may():
    for low, high in pairwise(("read", "operate", "admin")):
        for access in ROUTES.values():
            assert may_call(CALLERS[high], access) or not may_call(CALLERS[low], access)


def test_what_changes_something_is_never_public_but_for_sessions():
    open_routes = {route for route, access in ROUTES.items() if access is Access.PUBLIC}
    assert open_routes == {("POST", "/v1/session"), ("DELETE", "/v1/session"), ("GET", "/healthz")}
    changing = {access for (method, _), access in ROUTES.items() if method in ("PUT", "PATCH")}
    assert changing == {Access.OPERATE}
