"""Chunks as columns: the same routes that the slow reader gives, and nothing from broken bytes but an error."""

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.chunks import pack_chunk, unpack_chunk
from headrace.routes.columns import (
    Listener,
    count_routes,
    masked,
    order_of,
    pack_prefixes,
    read_columns,
    split_prefixes,
)
from headrace.routes.model import AddressFamily, Attributes, RouteError, RouteOrigin
from headrace.routes.testing_tables import make_routes, pack_table

NUMBER = st.integers(1, 2**32 - 1)
PATH = st.lists(NUMBER | st.lists(NUMBER, min_size=1, max_size=3).map(tuple), max_size=6).map(tuple)
ATTRIBUTES = st.builds(
    Attributes,
    as_path=PATH,
    origin=st.sampled_from(RouteOrigin),
    next_hop=st.sampled_from(["192.0.2.1", "2001:db8::1"]),
    med=st.none() | st.integers(0, 2**32 - 1),
    communities=st.sampled_from([(), ("64496:1",), ("64496:1", "64496:1:2")]),
)


def _prefixes(bits: int) -> st.SearchStrategy[bytes]:
    def cut(value: int, length: int) -> bytes:
        return (value >> (bits - length) << (bits - length)).to_bytes(bits // 8, "big") + bytes([length])

    return st.builds(cut, st.integers(0, 2**bits - 1), st.integers(0, bits))


@settings(max_examples=60)
@given(st.data(), st.sampled_from(AddressFamily))
def test_columns_are_what_the_reader_of_values_gives(data: st.DataObject, family: AddressFamily) -> None:
    bits = 32 if family is AddressFamily.IPV4 else 128
    routes = data.draw(st.dictionaries(_prefixes(bits), ATTRIBUTES, min_size=1, max_size=12))
    own = frozenset(data.draw(st.sets(st.sampled_from([1, 2, 256, 65536]) | NUMBER, max_size=3)))
    packed = pack_chunk(family, routes)
    columns = read_columns(packed, Listener(local_as=64500, own_as=own))
    expected = list(unpack_chunk(packed).routes())
    assert [columns.prefix(row) for row in range(len(columns))] == [prefix for prefix, _ in expected]
    assert columns.prefixes() == b"".join(prefix for prefix, _ in expected)
    marks: dict[int, Attributes] = {}
    for row, (_, attributes) in enumerate(expected):
        numbers = {n for hop in attributes.as_path for n in (hop if isinstance(hop, tuple) else (hop,))}
        assert columns.path_lengths[row] == attributes.path_length
        assert columns.meds[row] == (attributes.med or 0)
        assert columns.origins[row] == (64500 if not attributes.as_path else attributes.origin_as or 0)
        assert columns.is_loop[row] == (not own.isdisjoint(numbers))
        assert marks.setdefault(int(columns.marks[row]), attributes) == attributes
    assert len(marks) == len(set(routes.values()))
    assert count_routes([packed]) == (len(routes),)


@settings(max_examples=200)
@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 255))
def test_broken_bytes_are_refused_or_read_never_more(junk: bytes, place: int, value: int) -> None:
    payload = bytearray(zlib.decompress(next(iter(pack_table(make_routes(["192.0.2.0/24"]))[2].values()))[4:]))
    payload[place % len(payload)] = value
    for inside in (bytes(payload), bytes(payload[: place % len(payload)]), junk, bytes(payload) + junk):
        try:
            columns = read_columns(b"HRC2" + zlib.compress(inside), Listener(local_as=1, own_as=frozenset({64496})))
        except RouteError:
            continue
        assert len(columns) <= 1


@pytest.mark.parametrize("packed", [b"", b"HRC9xxxx", b"HRC1", b"HRC2junk", b"HRC1" + zlib.compress(b"x" * 5_000_000)])
def test_what_is_no_chunk_is_refused(packed: bytes) -> None:
    with pytest.raises(RouteError, match="chunk"):
        read_columns(packed, Listener(local_as=1))


def test_prefixes_there_and_back_in_order() -> None:
    for family, texts in (
        (AddressFamily.IPV4, ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "255.255.255.255/32"]),
        (AddressFamily.IPV6, ["::/0", "2001:db8::/32", "2001:db8::/48", "2001:db8::1/128"]),
    ):
        packed = b"".join(make_routes(texts))
        high, low, lengths = split_prefixes(family, packed)
        assert pack_prefixes(family, high, low, lengths) == packed
        rows = np.array([2, 0, 3, 1])
        mixed = (high[rows], low[rows] if len(low) else low, lengths[rows])
        assert list(rows[order_of(family, *mixed)]) == [0, 1, 2, 3]


def test_masks_at_the_ends() -> None:
    words = np.array([2**64 - 1], dtype=np.uint64)
    assert [int(masked(words, length, 64)[0]) for length in (0, 1, 63, 64)] == [0, 2**63, 2**64 - 2, 2**64 - 1]
