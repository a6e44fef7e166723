"""Look-ups against a search through all prefixes."""

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.steering.routes import build_routes


def covered_by(prefixes: list[tuple[int, str]], address: str) -> tuple[tuple[int, int], ...]:
    """The slow truth: for each site the longest prefix that holds the address, longest first."""
    wanted = ipaddress.ip_address(address)
    mapped = getattr(wanted, "ipv4_mapped", None)
    wanted = mapped or wanted
    best: dict[int, int] = {}
    for site, text in prefixes:
        network = ipaddress.ip_network(text, strict=False)
        if network.version == wanted.version and wanted in network:
            best[site] = max(best.get(site, -1), network.prefixlen)
    return tuple(sorted(((length, site) for site, length in best.items()), key=lambda one: (-one[0], one[1])))


def lookup(prefixes: list[tuple[int, str]], address: str) -> tuple[tuple[int, int], ...]:
    table, _ = build_routes(prefixes)
    return table.coverages[table.coverage_no(ipaddress.ip_address(address).packed)]


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


def test_mapped_addresses_and_prefixes_are_ipv4() -> None:
    assert lookup([(0, "192.0.2.0/24")], "::ffff:192.0.2.9") == ((24, 0),)
    assert lookup([(0, "::ffff:192.0.2.0/120")], "192.0.2.9") == ((24, 0),)
    assert lookup([(0, "::/0")], "192.0.2.9") == ()


def test_bad_prefixes_are_named_and_left_out() -> None:
    table, bad = build_routes([(0, "10.0.0.0/33"), (0, "nonsense"), (1, "10.0.0.7/8")])
    assert bad == ("10.0.0.0/33", "nonsense")
    assert table.coverages[table.coverage_no(bytes([10, 9, 9, 9]))] == ((8, 1),)


def test_equal_coverages_share_a_number() -> None:
    table, _ = build_routes([(0, "10.0.0.0/24"), (0, "10.0.2.0/24")])
    assert table.coverage_no(bytes([10, 0, 0, 1])) == table.coverage_no(bytes([10, 0, 2, 1])) != 0


# A small corner of the space, so that prefixes nest and touch.
def prefix_lists(network: str, lengths: st.SearchStrategy[int]) -> st.SearchStrategy[list[tuple[int, str]]]:
    base = ipaddress.ip_address(network)
    text = st.builds(lambda low, length: f"{base + low}/{length}", st.integers(0, 65535), lengths)
    return st.lists(st.tuples(st.integers(0, 4), text), max_size=25)


PREFIXES_V4 = prefix_lists("10.0.0.0", st.integers(8, 32))
PREFIXES_V6 = prefix_lists("2001:db8::", st.integers(20, 128))


@settings(deadline=None)
@given(prefixes=PREFIXES_V4, low=st.integers(0, 65535))
def test_ipv4_like_a_search_through_all(prefixes: list[tuple[int, str]], low: int) -> None:
    for address in [f"10.0.{low >> 8}.{low & 255}", *(text.partition("/")[0] for _, text in prefixes)]:
        assert lookup(prefixes, address) == covered_by(prefixes, address)


@settings(deadline=None)
@given(prefixes=PREFIXES_V6, low=st.integers(0, 65535))
def test_ipv6_like_a_search_through_all(prefixes: list[tuple[int, str]], low: int) -> None:
    for address in [f"2001:db8::{low:x}", *(text.partition("/")[0] for _, text in prefixes)]:
        assert lookup(prefixes, address) == covered_by(prefixes, address)
