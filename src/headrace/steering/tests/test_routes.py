"""Look-ups against a search through all prefixes."""

import ipaddress
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.model import RouteColumns, parse_prefix
from headrace.steering.flatten import RouteMemory, build_routes
from headrace.steering.routes import PART_OF, Covering, RoutePart, RouteTable, static_routes

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
    part = table.parts["4"]
    assert part.nodes.tolist().count(1) == 2, "of one and two"
    assert table.coverage(one) == table.coverage(two) != table.coverage(other) != ()
    assert table.class_no(one) == table.class_no(other) == table.class_no(inner) != 0
    assert table.classes == 2


def test_path_length_then_med_then_nothing() -> None:
    routes = [(0, "10.0.0.0/8", 3, 0), (1, "10.0.0.0/8", 2, 50), (2, "10.0.0.0/8", 2, 10), (3, "10.0.0.0/8", 2, 10)]
    table = build_routes([columns(routes, number) for number in range(4)])
    assert table.coverage(bytes([10, 0, 0, 1])) == ((8, 2, 10, 2), (8, 2, 10, 3), (8, 2, 50, 1), (8, 3, 0, 0))
    assert table.groups(table.class_no(bytes([10, 0, 0, 1]))) == ((2, 3), (1,), (0,))


def test_what_was_written_is_read() -> None:
    table = static_table([(0, "10.0.0.0/8"), (1, "10.1.0.0/16"), (1, "2001:db8::1/128"), (0, "2001:db8::/32")])
    parts = {}
    for place, part in table.parts.items():
        written = {name: column.tobytes() for name, column in part.columns().items()}
        parts[place] = RoutePart.from_columns(written)
        assert parts[place].columns() == part.columns()
        for name, column in written.items():
            with pytest.raises(ValueError, match=r"column|bytes length"):
                RoutePart.from_columns({**written, name: b"\xff" * (len(column) + 1)})
    read, inside = RouteTable(parts, table.sources), ipaddress.ip_address("2001:db8::1").packed
    assert read.coverage(inside) == table.coverage(inside) == ((128, 0, 0, 1), (32, 0, 0, 0))
    with pytest.raises(ValueError, match="no column"):
        RoutePart.from_columns({})
    four, six = parts["4"], parts["6"]
    for bad, why in (({"4": six}, "family"), ({"5": four}, "no part"), ({"4.128": four}, "no part")):
        with pytest.raises(ValueError, match=why):
            RouteTable(bad, table.sources)
    with pytest.raises(ValueError, match="a source that there is not"):
        RouteTable(parts, table.sources[:1])


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


@given(routes=ROUTES_V4, low=st.integers(0, 65535))
def test_ipv4_like_a_search_through_all(routes: list[Route], low: int) -> None:
    check_against_search(routes, [f"10.0.{low >> 8}.{low & 255}", *(one[1].partition("/")[0] for one in routes)])


@given(routes=ROUTES_V6, low=st.integers(0, 65535))
def test_ipv6_like_a_search_through_all(routes: list[Route], low: int) -> None:
    ends = [str(ipaddress.ip_network(one[1])[-1]) for one in routes]
    inside = [one[1].partition("/")[0] for one in routes]
    check_against_search(routes, [f"2001:db8::{low:x}", *inside, *ends])


# Changes: who hears what next, in a space that is cut into parts and is so from the first route on.
CUT_PREFIXES = [
    *("0.0.0.0/0", "8.0.0.0/5", "10.0.0.0/7", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "11.0.0.0/8", "12.0.0.0/6"),
    *("::/0", "2000::/3", "2001::/16", "2001:db8::/32", "2001:db8::7/128", "2400::/12", "2405::/16", "2a00::/11"),
    *("192.0.2.0/24", "255.255.255.255/32", "ffff::/16", "2a0e:1::/32"),
]
CUT_ADDRESSES = [
    *("0.0.0.0", "8.1.1.1", "10.0.0.1", "10.1.2.3", "11.255.255.255", "12.0.0.0", "15.0.0.1", "192.0.2.1"),
    *("255.255.255.255", "::1", "2001:db8::7", "2001:db8::8", "2001:1::", "2400::1", "2405::9", "240f:ffff::"),
    *("2a0e:1::5", "2a1f::1", "2a20::", "3fff::", "ffff::1", "::ffff:10.1.2.3"),
]
HEARD = st.dictionaries(
    st.sampled_from("abcde"),
    st.dictionaries(
        st.sampled_from(CUT_PREFIXES), st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=len(CUT_PREFIXES)
    ),
)


def class_alike(tables: list[RouteTable]) -> None:
    for address in CUT_ADDRESSES:
        packed = ipaddress.ip_address(address).packed
        first, *others = ([*table.coverage(packed)] for table in tables)
        assert all(one == first for one in others)
        first, *others = (table.groups(table.class_no(packed)) for table in tables)
        assert all(one == first for one in others)


@settings(max_examples=30)
@given(states=st.lists(HEARD, min_size=1, max_size=4))
def test_changes_lead_to_what_all_at_once_leads_to(states: list[dict[str, dict[str, tuple[int, int]]]]) -> None:
    memory = RouteMemory()
    for state in states:
        routes = [(no, text, *ranks) for no, own in enumerate(state.values()) for text, ranks in own.items()]
        sources = [columns(routes, number) for number in range(len(state))]
        table = build_routes(sources, memory, list(state), cut_from=1)
        read = RouteTable(
            {
                name: RoutePart.from_columns({key: one.tobytes() for key, one in part.columns().items()})
                for name, part in table.parts.items()
            },
            table.sources,
        )
        class_alike([build_routes(sources), table, read])
        for address in CUT_ADDRESSES:
            assert table.coverage(ipaddress.ip_address(address).packed) == covered_by(routes, address)


def test_what_a_change_does_not_touch_stays_as_it_is() -> None:
    memory = RouteMemory()
    first = [(0, "10.0.0.0/8", 1, 0), (1, "10.0.0.0/8", 1, 0), (1, "192.0.2.0/24", 1, 0), (1, "2001:db8::/32", 1, 0)]
    before = build_routes([columns(first, 0), columns(first, 1)], memory, ["a", "c"], cut_from=1)
    assert set(before.parts) == {"4.5", "4.96", f"6.{PART_OF[6][0x2001]}"}
    # Somebody comes in between, who hears one of the prefixes: the others keep their slots.
    then = [*first, (2, "10.0.0.0/8", 3, 0)]
    after = build_routes([columns(then, no) for no in (0, 2, 1)], memory, ["a", "b", "c"], cut_from=1)
    assert [name for name, part in after.parts.items() if part is not before.parts[name]] == ["4.5"]
    assert after.coverage(bytes([10, 0, 0, 1])) == ((8, 1, 0, 0), (8, 1, 0, 2), (8, 3, 0, 1))
    assert after.groups(after.class_no(bytes([192, 0, 2, 1]))) == ((2,),)
    # It goes again, which brings back what there was.
    again = build_routes([columns(first, 0), columns(first, 1)], memory, ["a", "c"], cut_from=1)
    assert all(part is before.parts[name] for name, part in again.parts.items())
    # A default route is in every part that has others too.
    default = [*first, (0, "0.0.0.0/0", 1, 0)]
    wide = build_routes([columns(default, 0), columns(default, 1)], memory, ["a", "c"], cut_from=1)
    assert wide.coverage(bytes([192, 0, 2, 1])) == ((24, 1, 0, 1), (0, 1, 0, 0))
    assert wide.coverage(bytes([200, 0, 2, 1])) == ((0, 1, 0, 0),)


def test_parts_have_classes_of_their_own_that_rank_alike() -> None:
    routes = [(0, text, 1, 0) for text in ("10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32")]
    table = build_routes([columns(routes, 0)], cut_from=1)
    addresses = ["10.0.0.1", "192.0.2.1", "2001:db8::1"]
    numbers = [table.class_no(ipaddress.ip_address(one).packed) for one in addresses]
    assert sorted(numbers) == [1, 2, 3]
    assert {table.groups(number) for number in numbers} == {((0,),)}
    assert table.class_no(bytes([11, 0, 0, 1])) == table.class_no(bytes(16)) == 0
    assert table.groups(0) == ()


def test_a_part_that_does_not_cover_its_addresses_is_refused() -> None:
    part = build_routes([columns([(0, "10.0.0.0/8", 1, 0)], 0)]).parts["4"]
    written = {name: one.tobytes() for name, one in part.columns().items()}
    late = array("I", [one + 5 for one in part.columns()["starts_v4"]])
    with pytest.raises(ValueError, match="part 4 begins after its first address"):
        RouteTable({"4": RoutePart.from_columns(written | {"starts_v4": late.tobytes()})}, array("I", [0]))
