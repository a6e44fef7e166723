"""Who hears which prefixes."""

import ipaddress

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.model import AddressFamily, parse_prefix, show_prefix
from headrace.routes.spread import find_alone, lay_together

V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6


def pack(*texts: str) -> bytes:
    return b"".join(sorted(map(parse_prefix, texts)))


def alone(family: AddressFamily, *sets: bytes) -> list[tuple[str, int, str]]:
    found = find_alone(lay_together(family, sets))
    return [(show_prefix(one.prefix), one.owner, show_prefix(one.cover) if one.cover else "") for one in found]


def test_each_prefix_once_with_its_owners() -> None:
    spread = lay_together(V4, [pack("10.0.0.0/8", "10.0.0.0/16"), pack("10.0.0.0/8"), b""])
    assert len(spread) == 2
    assert [spread.owners_of(row) for row in range(2)] == [[0, 1], [0]]
    assert spread.counts.tolist() == [2, 1]


def test_what_another_one_hears_around_it() -> None:
    assert alone(V4, pack("10.1.0.0/16", "11.0.0.0/8"), pack("10.0.0.0/8")) == [
        ("10.0.0.0/8", 1, ""),
        ("10.1.0.0/16", 0, "10.0.0.0/8"),
        ("11.0.0.0/8", 0, ""),
    ]
    inner = pack("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:1::/64")
    assert alone(V6, inner, pack("2001:db8::/32")) == [
        ("2001:db8:1::/48", 0, "2001:db8::/32"),
        ("2001:db8:1:1::/64", 0, "2001:db8::/32"),
    ]
    assert alone(V4) == alone(V4, b"", b"") == []


NETWORKS = st.builds(
    lambda byte, length: ipaddress.IPv4Network((10 << 24 | byte << 16, length), strict=False),
    st.integers(0, 255),
    st.integers(8, 16),
)


@settings(max_examples=150)
@given(st.lists(st.sets(NETWORKS, max_size=8), min_size=1, max_size=3))
def test_agrees_with_a_plain_look(sets: list[set[ipaddress.IPv4Network]]) -> None:
    expected = []
    for network in sorted(set().union(*sets), key=lambda one: (one.network_address, one.prefixlen)):
        owners = [place for place, one in enumerate(sets) if network in one]
        if len(owners) == 1:
            others = {one for place, each in enumerate(sets) if place != owners[0] for one in each}
            covers = sorted((one for one in others if network.subnet_of(one)), key=lambda one: one.prefixlen)
            expected.append((str(network), owners[0], str(covers[-1]) if covers else ""))
    assert alone(V4, *(pack(*map(str, one)) for one in sets)) == expected
