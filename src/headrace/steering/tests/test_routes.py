"""Look-ups against a search through all prefixes."""

import ipaddress
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.model import RouteColumns, parse_prefix
from headrace.steering.flatten import build_routes
from headrace.steering.routes import Covering, RouteTable, static_routes

Entry = tuple[int, str]
Route = tuple[int, str, int, int]
"""Source, prefix, AS path length, MED."""


def covered_by(routes: list[Route], address: str) -> tuple[Covering, ...]:
    """The slow truth: for each source the best route that holds the address, best first."""
    wanted = ipaddress.ip_address(address)
    wanted = getattr(wanted, "ipv4_mapped", None) or wanted
    best: dict[int, Covering] = {}
    for source, text, path_length, med in routes:
        network = ipaddress.ip_network(text, strict=False)
        if network.version == wanted.version and wanted in network:
            mine = (network.prefixlen, path_length, med, source)
            if source not in best or order(mine) < order(best[source]):
                best[source] = mine
    return tuple(sorted(best.values(), key=order))


def order(one: Covering) -> tuple[int, int, int, int]:
    return (-one[0], one[1], one[2], one[3])


def grouped(covering: tuple[Covering, ...]) -> tuple[tuple[int, ...], ...]:
    groups: dict[tuple[int, int, int], list[int]] = {}
    for length, path_length, med, source in covering:
        groups.setdefault((length, path_length, med), []).append(source)
    return tuple(tuple(sorted(group)) for group in groups.values())


def columns(routes: list[Route], source: int) -> RouteColumns:
    """The routes of one source; of two with the same prefix the last counts."""
    own = {}
    for number, text, path_length, med in routes:
        if number == source:
            own[parse_prefix(str(ipaddress.ip_network(text, strict=False)))] = (path_length, med)
    v4 = sorted((prefix, *rest) for prefix, rest in own.items() if len(prefix) == 5)
    v6 = sorted((prefix, *rest) for prefix, rest in own.items() if len(prefix) == 17)
    return RouteColumns(
        prefixes_v4=b"".join(one[0] for one in v4),
        path_lengths_v4=array("H", [one[1] for one in v4]),
        meds_v4=array("I", [one[2] for one in v4]),
        prefixes_v6=b"".join(one[0] for one in v6),
        path_lengths_v6=array("H", [one[1] for one in v6]),
        meds_v6=array("I", [one[2] for one in v6]),
    )


def static_table(prefixes: list[Entry]) -> RouteTable:
    sources = 1 + max((source for source, _ in prefixes), default=0)
    return build_routes([static_routes(text for no, text in prefixes if no == own)[0] for own in range(sources)])


def lookup(prefixes: list[Entry], address: str) -> tuple[tuple[int, int], ...]:
    packed = ipaddress.ip_address(address).packed
    return tuple((length, source) for length, _, _, source in static_table(prefixes).coverage(packed))


def test_longest_prefix_is_first() -> None:
    prefixes = [(0, "10.0.0.0/8"), (1, "10.1.0.0/16"), (2, "0.0.0.0/0"), (0, "10.1.2.0/24")]
    assert lookup(prefixes, "10.1.2.3") == ((24, 0), (16, 1), (0, 2))
    assert lookup(prefixes, "10.1.3.3") == ((16, 1), (8, 0), (0, 2))
    assert lookup(prefixes, "11.0.0.0") == ((0, 2),)
    assert lookup([(0, "10.0.0.0/8")], "11.0.0.0") == ()


def test_edges_of_the_address_space() -> None:
    prefixes = [(0, "255.255.255.255/32"), (1, "0.0.0.0/32"), (2, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128")]
    assert lookup(prefixes, "255.255.255.255") == ((32, 0),)
    assert lookup(prefixes, "255.255.255.254") == ()
    assert lookup(prefixes, "0.0.0.0") == ((32, 1),)
    assert lookup(prefixes, "0.0.0.1") == ()
    assert lookup(prefixes, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff") == ((128, 2),)
    assert lookup(prefixes, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe") == ()


def test_mapped_addresses_and_prefixes_are_ipv4() -> None:
    assert lookup([(0, "192.0.2.0/24")], "::ffff:192.0.2.9") == ((24, 0),)
    assert lookup([(0, "::ffff:192.0.2.0/120")], "192.0.2.9") == ((24, 0),)
    assert lookup([(0, "::/0")], "192.0.2.9") == ()


def test_bad_prefixes_are_named_and_left_out() -> None:
    routes, bad = static_routes(["10.0.0.0/33", "nonsense", "10.0.0.7/8"])
    assert bad == ("10.0.0.0/33", "nonsense")
    assert build_routes([routes]).coverage(bytes([10, 9, 9, 9])) == ((8, 0, 0, 0),)


def test_equal_coverages_share_a_node_and_equal_orders_a_class() -> None:
    table = static_table([(0, "10.0.0.0/24"), (0, "10.0.2.0/24"), (0, "10.4.0.0/16"), (0, "10.4.1.0/24")])
    one, two, other, inner = (bytes(parts) for parts in ([10, 0, 0, 1], [10, 0, 2, 1], [10, 4, 0, 1], [10, 4, 1, 1]))
    assert table.node_no(one) == table.node_no(two) != table.node_no(other) != 0
    assert table.class_no(one) == table.class_no(other) == table.class_no(inner) != 0
    assert table.classes == 2


def test_path_length_then_med_then_nothing() -> None:
    routes = [(0, "10.0.0.0/8", 3, 0), (1, "10.0.0.0/8", 2, 50), (2, "10.0.0.0/8", 2, 10), (3, "10.0.0.0/8", 2, 10)]
    table = build_routes([columns(routes, number) for number in range(4)])
    assert table.coverage(bytes([10, 0, 0, 1])) == ((8, 2, 10, 2), (8, 2, 10, 3), (8, 2, 50, 1), (8, 3, 0, 0))
    assert table.groups(table.class_no(bytes([10, 0, 0, 1]))) == ((2, 3), (1,), (0,))


def test_what_was_written_is_read() -> None:
    table = static_table([(0, "10.0.0.0/8"), (1, "10.1.0.0/16"), (1, "2001:db8::1/128"), (0, "2001:db8::/32")])
    written = {name: column.tobytes() for name, column in table.columns().items()}
    read = RouteTable.from_columns(written)
    assert read.columns() == table.columns()
    inside = ipaddress.ip_address("2001:db8::1").packed
    assert read.coverage(inside) == table.coverage(inside) == ((128, 0, 0, 1), (32, 0, 0, 0))
    for name, column in written.items():
        with pytest.raises(ValueError, match=r"column|bytes length"):
            RouteTable.from_columns({**written, name: b"\xff" * (len(column) + 1)})
    with pytest.raises(ValueError, match="no column"):
        RouteTable.from_columns({})


# A small corner of the space, so that prefixes nest and touch.
def route_lists(network: str, lengths: st.SearchStrategy[int]) -> st.SearchStrategy[list[Route]]:
    base = ipaddress.ip_address(network)
    text = st.builds(
        lambda low, length: str(ipaddress.ip_network(f"{base + low}/{length}", strict=False)),
        st.integers(0, 65535),
        lengths,
    )
    unique = {"unique_by": lambda route: route[:2]}
    return st.lists(st.tuples(st.integers(0, 4), text, st.integers(0, 2), st.integers(0, 1)), max_size=25, **unique)


ROUTES_V4 = route_lists("10.0.0.0", st.integers(8, 32))
ROUTES_V6 = route_lists("2001:db8::", st.integers(20, 128))


def check_against_search(routes: list[Route], addresses: list[str]) -> None:
    table = build_routes([columns(routes, number) for number in range(5)])
    for address in addresses:
        packed = ipaddress.ip_address(address).packed
        truth = covered_by(routes, address)
        assert table.coverage(packed) == truth
        assert tuple(tuple(sorted(group)) for group in table.groups(table.class_no(packed))) == grouped(truth)


@settings(deadline=None)
@given(routes=ROUTES_V4, low=st.integers(0, 65535))
def test_ipv4_like_a_search_through_all(routes: list[Route], low: int) -> None:
    check_against_search(routes, [f"10.0.{low >> 8}.{low & 255}", *(one[1].partition("/")[0] for one in routes)])


@settings(deadline=None)
@given(routes=ROUTES_V6, low=st.integers(0, 65535))
def test_ipv6_like_a_search_through_all(routes: list[Route], low: int) -> None:
    ends = [str(ipaddress.ip_network(one[1])[-1]) for one in routes]
    inside = [one[1].partition("/")[0] for one in routes]
    check_against_search(routes, [f"2001:db8::{low:x}", *inside, *ends])
