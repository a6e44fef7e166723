"""Where clients belong, whatever the appliances hold and however they do."""

from collections import Counter

import pytest

from headrace.catalog.fileset import FileSet
from headrace.fleet.model import Health, HealthReason, HealthState, SiteKind
from headrace.steering.compile import compile_snapshot
from headrace.steering.homes import Homes
from headrace.steering.rank import Limits
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title

SICK = Health(state=HealthState.UNHEALTHY, reason=HealthReason.NGINX_DOWN, is_turned_up=True)


def homes() -> Homes:
    sites = [
        make_site("near", "192.0.2.0/24", "2001:db8:1::/48"),
        make_site("twin-a", "198.51.100.0/22"),
        make_site("twin-b", "198.51.100.0/22"),
        make_site("far", "192.0.0.0/16", kind=SiteKind.PUBLIC_PEERING),
    ]
    fleet = [make_appliance(f"{site.site_id}-1", site.site_id, health=SICK, holdings=FileSet()) for site in sites]
    return Homes(compile_snapshot(make_snapshot(sites, fleet, [make_title("film")])), Limits())


@pytest.mark.parametrize(
    ("network", "home"),
    [
        ("192.0.2.0/24", "near"),
        ("2001:db8:1::/48", "near"),
        ("192.0.3.0/24", "far"),
        ("203.0.113.0/24", None),
        ("", None),
        ("192.0.2.0/99", None),
        ("unix:", None),
    ],
)
def test_a_network_is_at_home_where_its_best_route_leads(network, home):
    assert homes().of(network) == home


def test_networks_of_sites_that_are_as_good_are_shared_and_stay_where_they_are():
    found = Counter(homes().of(f"198.51.{100 + third}.{fourth}/32") for third in range(4) for fourth in range(50))
    assert set(found) == {"twin-a", "twin-b"}
    assert min(found.values()) > 60
    assert homes().of("198.51.101.0/24") == homes().of("198.51.101.0/24")
