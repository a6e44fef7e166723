"""Strategies and builders of routes for tests."""

from hypothesis import strategies as st

from headrace.routes.model import AddressFamily, Attributes, Prefix, RouteOrigin

_AS = st.integers(0, 0xFFFF_FFFF)
_U16 = st.integers(0, 0xFFFF)


@st.composite
def prefixes(draw: st.DrawFn, family: AddressFamily) -> Prefix:
    """Any prefix of a family."""
    bits = 32 if family is AddressFamily.IPV4 else 128
    length = draw(st.integers(0, bits))
    address = draw(st.integers(0, (1 << length) - 1)) << (bits - length) if length else 0
    return address.to_bytes(bits // 8, "big") + bytes([length])


def attributes() -> st.SearchStrategy[Attributes]:
    """Anything that a peer can say of a route."""
    as_set = st.lists(_AS, min_size=1, max_size=3).map(tuple)
    standard = st.lists(st.tuples(_U16, _U16), max_size=3, unique=True)
    large = st.lists(st.tuples(_AS, _AS, _AS), max_size=3, unique=True)
    return st.builds(
        Attributes,
        as_path=st.lists(st.one_of(_AS, as_set), max_size=5).map(tuple),
        origin=st.sampled_from(RouteOrigin),
        next_hop=st.sampled_from(("192.0.2.1", "198.51.100.7", "2001:db8::1", "fe80::1")),
        med=st.none() | _AS,
        communities=st.tuples(standard, large).map(
            lambda both: tuple(":".join(map(str, each)) for kind in both for each in sorted(kind))
        ),
    )
