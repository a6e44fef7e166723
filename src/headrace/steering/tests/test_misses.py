"""Each class of a miss by one cause alone, and what the classes sum up to."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog.fileset import FileSet
from headrace.fleet.model import AdminState, Health, HealthReason, HealthState, SiteKind
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.steering.misses import MissClass, Misses, explain_misses
from headrace.steering.rank import Limits
from headrace.steering.replay import LoggedSession
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title, numbers_of

TITLES = [make_title("film"), make_title("other")]
ALL = numbers_of(TITLES)
SICK = Health(state=HealthState.UNHEALTHY, reason=HealthReason.NGINX_DOWN, is_turned_up=True)


def compiled(near: dict | None = None, beside: dict | None = None) -> CompiledSnapshot:
    """Two appliances at the near site, one at a far one that hears the client by a shorter prefix."""
    sites = [make_site("near", "192.0.2.0/24"), make_site("far", "192.0.0.0/16", kind=SiteKind.PUBLIC_PEERING)]
    fleet = [
        make_appliance("n1", "near", **{"holdings": ALL, **(near or {})}),
        make_appliance("n2", "near", **{"holdings": ALL, **(beside or near or {})}),
        make_appliance("f1", "far", holdings=ALL),
    ]
    return compile_snapshot(make_snapshot(sites, fleet, TITLES))


def session(appliance: str = "f1", client: bytes = b"\xc0\x00\x02\x05", title: str = "film") -> LoggedSession:
    return LoggedSession(at_s=10.0, client=client, title_id=title, appliance_id=appliance, session_bps=8e6)


def explained(snapshot: CompiledSnapshot, *sessions: LoggedSession) -> Misses:
    return explain_misses(sessions, lambda _: snapshot, Limits(), top=100)


@pytest.mark.parametrize(
    ("near", "beside", "reason"),
    [
        ({"holdings": FileSet([2])}, None, MissClass.CONTENT),
        ({"health": SICK}, None, MissClass.HEALTH),
        ({"admin_state": AdminState.DRAINING}, None, MissClass.HEALTH),
        ({"tx_bps": 9.9e9}, None, MissClass.LOAD),
        ({}, None, MissClass.OTHER),
        # The one that holds it is sick, the other one would be able to serve what it does not hold.
        ({"health": SICK}, {"holdings": FileSet([2])}, MissClass.HEALTH),
        ({"tx_bps": 9.9e9}, {"holdings": FileSet([2])}, MissClass.LOAD),
    ],
)
def test_a_miss_has_the_class_of_its_cause(near, beside, reason):
    found = explained(compiled(near, beside), session())
    assert found.by_class == {reason: 1.0}
    assert (found.rows[0].site_id, found.rows[0].title_id) == ("near", "film")
    assert found.by_tier == {"public-peering": 1.0}


def test_what_the_best_site_served_is_no_miss():
    found = explained(compiled(), session("n2"))
    assert (found.by_class, found.rows, found.by_tier) == ({"best": 1.0}, (), {"embedded": 1.0})


def test_a_client_whom_nobody_hears_misses_by_route():
    found = explained(compiled(), session("", client=b"\x08\x08\x08\x08"))
    assert (found.by_class, found.by_tier, found.rows[0].site_id) == ({"route": 1.0}, {"origin": 1.0}, "")


def test_sessions_that_cannot_be_judged_are_counted_apart():
    snapshot = compiled()
    found = explain_misses(
        [session(title="gone"), session("n1"), replace(session("n1"), at_s=1.0)],
        lambda at_s: snapshot if at_s > 5 else None,
        Limits(),
        top=5,
    )
    assert (found.sessions, found.skipped) == (1, 2)


@given(st.lists(st.tuples(st.sampled_from(["n1", "n2", "f1", "", "gone"]), st.sampled_from(["film", "other"]))))
def test_shares_are_of_all_bytes(given_out):
    found = explained(compiled({"holdings": FileSet([1])}), *(session(name, title=title) for name, title in given_out))
    assert found.sessions == len(given_out)
    if given_out:
        assert sum(found.by_class.values()) == pytest.approx(1.0)
        assert sum(found.by_tier.values()) == pytest.approx(1.0)
        assert sum(row.bytes for row in found.rows) == pytest.approx(found.bytes * (1 - found.by_class.get("best", 0)))
