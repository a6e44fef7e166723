"""What new sessions are given against the long way, for many clients and titles of one snapshot."""

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog.fileset import FileSet
from headrace.fleet.model import AdminState
from headrace.steering.approach import approaches
from headrace.steering.compile import CompiledSnapshot, compile_snapshot
from headrace.steering.rank import Limits, choose, choose_new
from headrace.steering.testing import make_appliance, make_site, make_snapshot, make_title

TITLES = tuple(make_title(f"film-{number}") for number in range(5))
CLIENTS = ("10.0.0.1", "10.1.0.1", "10.1.1.1", "192.0.2.1")
PREFIXES = ("10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24")
HOLDINGS = st.sets(st.integers(1, len(TITLES)), min_size=2).map(FileSet)
# A site: the prefix it hears, whether it is of last resort, what its appliances hold (all the same, or each its own).
SITE = st.tuples(
    st.sampled_from(PREFIXES),
    st.booleans(),
    st.lists(HOLDINGS, min_size=1, max_size=6)
    | st.tuples(HOLDINGS, st.integers(1, 12)).map(lambda one: [one[0]] * one[1]),
    st.sampled_from([AdminState.ENABLED, AdminState.ENABLED, AdminState.DRAINING]),
)


def compiled_of(sites: list) -> CompiledSnapshot:
    fleet = [
        make_appliance(f"a{no}-{at}", f"s{no}", held, admin_state=state if at == 0 else AdminState.ENABLED)
        for no, (_, _, holdings, state) in enumerate(sites)
        for at, held in enumerate(holdings)
    ]
    made = [make_site(f"s{no}", one[0], is_last_resort=one[1]) for no, one in enumerate(sites)]
    return compile_snapshot(make_snapshot(made, fleet, TITLES))


@settings(max_examples=100)
@given(
    sites=st.lists(SITE, min_size=1, max_size=6),
    asked=st.lists(st.tuples(st.sampled_from(CLIENTS), st.sampled_from(TITLES)), min_size=1, max_size=40),
    configurations=st.lists(st.builds(Limits, pathways=st.integers(1, 5), sites=st.integers(1, 2)), max_size=3),
)
def test_the_walk_gives_what_the_long_way_chooses(sites: list, asked: list, configurations: list) -> None:
    compiled = compiled_of(sites)
    for limits in [Limits(), *configurations, Limits()]:
        ways_to = {}
        for client, title in asked:
            class_no = compiled.class_no(ipaddress.ip_address(client).packed)
            if client not in ways_to:
                ways_to[client] = approaches(compiled, class_no, None, distance_step_km=100.0)
            ways, wanted = ways_to[client], compiled.library.titles[title.title_id]
            short, long = choose_new(compiled, ways, wanted, limits), choose(compiled, ways, wanted, limits)
            assert short.appliances == tuple(one.appliance for one in long.chosen)
            assert short.best == (short.appliances[0].appliance_id if short.appliances else "")
            assert short.is_last_resort == (bool(long.chosen) and long.approach is ways.last_resort)
