from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog.fileset import FileSet
from headrace.control.leaving import Leaving, _spans
from headrace.control.model import FleetRow, SetHead, StoredReport
from headrace.control.testing import make_appliance, make_site
from headrace.fleet.lifecycle import FailureBudget, LeaveReason
from headrace.fleet.model import Health, HealthReason, HealthState
from headrace.fleet.region import cover
from headrace.routes.model import parse_prefix
from headrace.steering.testing import make_hearing

UP = Health(state=HealthState.HEALTHY, reason=HealthReason.ALL_CHECKS_PASS, is_turned_up=True)


def row(name, site):
    return FleetRow(
        appliance=make_appliance(name, site),
        version=1,
        enrolled_at_s=0.0,
        desired=None,
        health=UP,
        health_version=1,
        health_memory="",
        report=StoredReport(),
        holdings=SetHead(),
        plan=SetHead(),
    )


class Holdings:
    """Copying on a plain dictionary."""

    def __init__(self, **held):
        self.held = {name.replace("_", "-"): files for name, files in held.items()}

    def sole_files(self, leaving, others):
        own = set().union(*(self.held[name] for name in leaving))
        return FileSet(own - set().union(*(self.held[name] for name in others)))

    def titles_of(self, files):
        return tuple(f"film-{number}" for number in files)


def judge(names, hearings=(), **held):
    sites = [make_site(name, prefixes=()) for name in ("ams", "rtm", "par")]
    rows = [row(name.replace("_", "-"), name.split("_")[0]) for name in held]
    return Leaving(rows=rows, sites=sites, copying=Holdings(**held), budget=FailureBudget(), hearings=hearings).judge(
        set(names)
    )


def test_live_routes_say_who_stands_in_for_whom():
    held = {"ams_1": {1}, "ams_2": {1}, "rtm_1": {1}, "par_1": {1}}
    near = (make_hearing(["ams-1", "rtm-1"], "192.0.2.0/24"), make_hearing(["par-1"], "198.51.100.0/24"))
    assert judge(["rtm-1"], near, **held).reason is LeaveReason.WITHIN_BUDGET
    alone = judge(["par-1"], near, **held)
    assert alone.reason is LeaveReason.LAST_IN_REGION
    assert alone.detail == (
        "1 files (film-1) are on no other serving appliance of the sites that hear the clients of par"
    )
    covering = (*near, make_hearing(["ams-2"], "198.51.0.0/16", "2001:db8::/32"))
    assert judge(["par-1"], covering, **held).reason is LeaveReason.WITHIN_BUDGET
    assert judge(["par-1"], (), **held).reason is LeaveReason.WITHIN_BUDGET  # it hears nobody


networks = st.builds(
    lambda number, length: str(ip_network((number << 22, length), strict=False)),
    st.integers(0, 1023),
    st.integers(0, 12),
)
networks6 = st.builds(
    lambda number, length: str(ip_network((number << 118, length), strict=False)),
    st.integers(1, 1023),
    st.integers(0, 12),
)


@given(st.sets(networks, max_size=8))
def test_packed_prefixes_cover_what_their_texts_do(texts):
    packed = b"".join(sorted(parse_prefix(text) for text in texts))
    assert _spans(packed, 4) == cover(tuple(texts)).v4


@given(st.sets(networks6, max_size=8))
def test_packed_prefixes_of_ipv6_cover_what_their_texts_do(texts):
    packed = b"".join(sorted(parse_prefix(text) for text in texts))
    spans = tuple((first << 64, last << 64 | (1 << 64) - 1) for first, last in _spans(packed, 16))
    assert spans == cover(tuple(texts)).v6
