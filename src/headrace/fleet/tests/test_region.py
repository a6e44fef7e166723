from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from headrace.base.ids import SiteId
from headrace.fleet.model import Site
from headrace.fleet.region import Coverage, cover, region_of


def site(name, *prefixes, region=""):
    return Site(site_id=SiteId(name), prefixes=prefixes, region=region)


SITES = (
    site("ams", "192.0.2.0/24", region="nl"),
    site("rtm", "198.51.100.0/24", region="nl"),
    site("bru", "203.0.113.0/24", "2001:db8::/32"),
    site("ant", "203.0.113.128/25"),
    site("par", "2001:db8:1::/48"),
    site("lux"),
)


def test_a_named_region_is_its_sites():
    found = region_of("ams", SITES)
    assert (found.name, found.sites) == ("region nl", {"ams", "rtm"})


def test_a_site_without_one_has_those_that_hear_its_clients():
    assert region_of("bru", SITES).sites == {"bru", "ant", "par"}
    assert region_of("ant", SITES).sites == {"ant", "bru"}  # not par, which hears none of its clients
    assert region_of("ant", SITES).name == "the sites that hear the clients of ant"


def test_who_hears_nobody_has_none():
    assert region_of("lux", SITES) is None
    assert region_of("unknown", SITES) is None


def test_live_routes_come_in_as_coverage():
    heard = {"lux": cover(("203.0.113.0/25",)), "bru": cover(("203.0.113.0/24",))}
    found = region_of("lux", SITES, lambda one: heard.get(one.site_id, Coverage()))
    assert found.sites == {"lux", "bru"}


networks = st.builds(
    lambda number, length: str(ip_network((number << 24, length), strict=False)), st.integers(0, 7), st.integers(5, 8)
)


@given(st.lists(networks, max_size=6), st.lists(networks, max_size=6))
def test_coverages_meet_exactly_when_some_networks_overlap(one, other):
    overlap = any(ip_network(a).overlaps(ip_network(b)) for a in one for b in other)
    assert cover(tuple(one)).meets(cover(tuple(other))) is overlap
    assert cover(tuple(other)).meets(cover(tuple(one))) is overlap
