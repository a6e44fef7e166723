import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.chunks import (
    CHUNKS,
    MOST_CHUNK_BYTES,
    chunk_digest,
    chunk_number,
    cut_table,
    join_chunks,
    pack_chunk,
    split_chunks,
    table_digest,
    unpack_chunk,
)
from headrace.routes.model import AddressFamily, Attributes, Heard, RouteError, RouteOrigin, parse_prefix
from headrace.routes.testing import attributes, prefixes
from headrace.routes.testing_tables import pack_old_chunk

quick = settings(max_examples=25)
V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6
ROUTE = Attributes(
    as_path=(64496, (64497, 64498), 64499),
    origin=RouteOrigin.EGP,
    next_hop="192.0.2.1",
    med=0,
    communities=("64496:1", "64496:20", "64496:1:2"),
)


def tables(family):
    return st.dictionaries(prefixes(family), attributes(), min_size=1, max_size=12)


@pytest.mark.parametrize("family", [V4, V6])
@quick
@given(data=st.data())
def test_what_is_packed_is_read_again(family, data):
    routes = data.draw(tables(family))
    packed = pack_chunk(family, routes)
    chunk = unpack_chunk(packed)
    assert chunk.family is family
    assert dict(chunk.routes()) == routes
    assert len(chunk) == len(routes)
    assert len(set(chunk.attributes)) == len(chunk.attributes)
    assert pack_chunk(family, dict(chunk.routes())) == packed


@quick
@given(tables(V4))
def test_equal_routes_are_equal_bytes_in_whatever_order_they_came(routes):
    assert pack_chunk(V4, dict(reversed(routes.items()))) == pack_chunk(V4, routes)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(data):
    for packed in (data, b"HRC1" + data, b"HRC1" + zlib.compress(data), b"HRC2" + zlib.compress(data)):
        with pytest.raises(RouteError):
            unpack_chunk(packed)


@quick
@given(tables(V6), st.data())
def test_a_chunk_with_one_byte_changed_is_refused_or_a_good_chunk(routes, data):
    payload = bytearray(zlib.decompress(pack_chunk(V6, routes)[4:]))
    payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    try:
        chunk = unpack_chunk(b"HRC2" + zlib.compress(bytes(payload)))
    except RouteError:
        return
    assert unpack_chunk(pack_chunk(chunk.family, dict(chunk.routes()))).prefixes == chunk.prefixes


def test_a_chunk_that_blows_up_is_not_unpacked():
    with pytest.raises(RouteError, match="over"):
        unpack_chunk(b"HRC1" + zlib.compress(bytes(MOST_CHUNK_BYTES + 1)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda packed: packed[:-3], "cut off"),
        (lambda packed: packed + b"x", "behind"),
        (lambda packed: b"HRC9" + packed[4:], "version"),
        (lambda packed: b"", "version"),
    ],
)
def test_what_is_wrong_with_a_chunk_is_said(change, words):
    with pytest.raises(RouteError, match=words):
        unpack_chunk(change(pack_chunk(V4, {parse_prefix("192.0.2.0/24"): ROUTE})))


def test_prefixes_out_of_order_or_with_bits_behind_their_length_are_refused():
    good = zlib.decompress(
        pack_chunk(V4, {parse_prefix("192.0.2.0/24"): ROUTE, parse_prefix("198.51.100.0/24"): ROUTE})[4:]
    )
    rows = struct.calcsize("<BIII")
    swapped = good[:rows] + good[rows + 5 : rows + 10] + good[rows : rows + 5] + good[rows + 10 :]
    bits = good[:rows] + b"\xc0\x00\x02\x01\x18" + good[rows + 5 :]
    for payload, words in ((swapped, "ascending"), (bits, "no prefix")):
        with pytest.raises(RouteError, match=words):
            unpack_chunk(b"HRC2" + zlib.compress(payload))


def test_a_chunk_of_the_old_form_is_read_with_its_times():
    routes = {parse_prefix("192.0.2.0/24"): ROUTE, parse_prefix("198.51.100.0/24"): ROUTE}
    packed = pack_old_chunk(V4, {prefix: Heard(attributes=ROUTE, learned_s=5 + at) for at, prefix in enumerate(routes)})
    old = unpack_chunk(packed)
    assert packed[:4] == b"HRC1"
    assert (dict(old.routes()), list(old.learned_s)) == (routes, [5, 6])
    assert list(unpack_chunk(pack_chunk(V4, routes)).learned_s) == []


def test_attributes_that_no_peer_can_send_are_refused():
    for wrong in ({"next_hop": "nowhere"}, {"communities": ("64496:70000",)}, {"as_path": ((),)}, {"med": 1 << 32}):
        said = Attributes(**{"as_path": (1,), "origin": RouteOrigin.IGP, "next_hop": "192.0.2.1", **wrong})
        with pytest.raises(RouteError):
            pack_chunk(V4, {parse_prefix("192.0.2.0/24"): said})


def test_the_parts_of_a_table_are_even_and_stay_what_they_are():
    assert [chunk_number(parse_prefix(text)) for text in ("192.0.2.0/24", "2001:db8::/32")] == [1022, 370]
    counts = [0] * CHUNKS
    for number in range(100_000):
        counts[chunk_number(struct.pack(">IB", number << 8, 24))] += 1
    assert min(counts) > 40
    assert max(counts) < 200


@given(st.dictionaries(st.integers(0, CHUNKS - 1), st.integers(1, 90), max_size=60))
def test_a_table_is_cut_where_it_is_large_and_every_route_is_in_one_part(routes):
    counts = [routes.get(number, 0) for number in range(CHUNKS)]
    cut = cut_table(counts)
    spans = {number: range(number, CHUNKS, step) for number, step in cut.items()}
    assert sum(counts[each] for span in spans.values() for each in span) == sum(counts)
    for number, step in cut.items():
        size = sum(counts[each] for each in spans[number])
        assert 0 < size <= 64 or step == CHUNKS
        if step > 1:
            assert sum(counts[number % (step // 2) :: step // 2]) > 64
    assert cut_table(counts, 10**9) == ({0: 1} if routes else {})


def test_a_route_more_cuts_no_part_but_its_own():
    counts = [8] * CHUNKS
    before = cut_table(counts)
    counts[5] += 1
    after = cut_table(counts)
    assert set(before.values()) == {128}
    assert before.items() - after.items() == {(5, 128)}
    assert after.items() - before.items() == {(5, 256), (133, 256)}


@given(st.lists(st.binary(max_size=20)))
def test_several_chunks_travel_in_one_body(parts):
    body = join_chunks(parts)
    assert split_chunks(body, most_bytes=10_000) == tuple(parts)
    if parts:
        with pytest.raises(RouteError):
            split_chunks(body[:-1], most_bytes=10_000)
        with pytest.raises(RouteError):
            split_chunks(body, most_bytes=len(body) - 1)


def test_a_table_is_named_by_its_chunks():
    one, two = chunk_digest(b"1"), chunk_digest(b"2")
    assert table_digest({}) == ""
    assert table_digest({3: one, 1: two}) == table_digest({1: two, 3: one})
    assert len({table_digest({1: one}), table_digest({2: one}), table_digest({1: two}), ""}) == 4
