from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.routes.chunks import pack_chunk, unpack_chunk
from headrace.routes.model import AddressFamily, Attributes, RouteError, RouteOrigin, parse_prefix
from headrace.routes.table import Table
from headrace.routes.testing import attributes, prefixes

V4, V6 = AddressFamily.IPV4, AddressFamily.IPV6
ONE = Attributes(as_path=(64500, 64501), origin=RouteOrigin.IGP, next_hop="192.0.2.1")
TWO = replace(ONE, med=7)
A, B, C = (parse_prefix(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"))


def filled(*steps):
    table = Table(V4)
    for now_s, prefix, said in steps:
        table.announce([prefix], said, now_s=now_s)
    return table


def pack(table):
    for _ in table.pack():
        pass
    return table.packed()


def read(packed):
    return {prefix: heard for chunk in packed.chunks.values() for prefix, heard in unpack_chunk(chunk).routes()}


def test_a_route_keeps_its_time_until_it_changes():
    table = filled((10.7, A, ONE), (20, A, replace(ONE)))
    assert dict(table.routes())[A].learned_s == 10
    assert table.announce([A], TWO, now_s=30) == 1
    assert dict(table.routes())[A] == replace(dict(table.routes())[A], attributes=TWO, learned_s=30)
    assert len(table) == 1


def test_withdrawing_what_is_not_there_changes_nothing():
    table = filled((1, A, ONE))
    pack(table)
    assert table.withdraw([B]) == 0
    assert table.changed_chunks == 0
    assert table.withdraw([A, A]) == 1
    assert len(table) == 0
    assert pack(table).digest == ""


def test_a_change_packs_one_chunk_and_leaves_what_was_given_out():
    table = filled((1, A, ONE), (1, B, ONE), (1, C, ONE))
    before = pack(table)
    table.announce([A], TWO, now_s=2)
    assert table.changed_chunks == 1
    after = pack(table)
    assert before.digest != after.digest
    assert sum(before.digests[number] != after.digests[number] for number in before.digests) == 1
    assert read(before)[A].attributes == ONE
    table.announce([A], ONE, now_s=1)
    assert pack(table).digest == before.digest


def test_equal_attributes_are_kept_once_and_forgotten_with_their_last_route():
    table = Table(V4)
    table.announce([A], replace(ONE), now_s=1)
    table.announce([B], replace(ONE), now_s=1)
    assert len({id(row) for part in table._parts for row in part.values()}) == 1
    for number in range(11_000):
        table.announce([C], replace(ONE, med=number), now_s=2)
    pack(table)
    assert len(table._known) == 2


def test_a_session_that_begins_again_ends_what_it_does_not_announce_again():
    table = filled((1, A, ONE), (1, B, ONE), (1, C, ONE))
    table.begin_again()
    assert (len(table), table.announced) == (3, 0)
    table.announce([A], ONE, now_s=50)
    table.announce([B], TWO, now_s=50)
    table.withdraw([B])
    table.announce([B], TWO, now_s=51)
    assert table.announced == 2
    assert table.end_again() == 1
    assert {prefix: heard.learned_s for prefix, heard in table.routes()} == {A: 1, B: 51}
    assert table.end_again() == 0
    assert table.announced == 2


def test_a_cleared_table_is_empty_in_every_way():
    table = filled((1, A, ONE), (1, B, ONE))
    pack(table)
    table.clear()
    assert len(table) == 0
    assert pack(table).digest == ""
    assert table.announce([A], ONE, now_s=3) == 1


def test_a_table_of_one_family_does_not_load_the_other():
    with pytest.raises(RouteError, match="ipv6"):
        Table(V4).load([pack_chunk(V6, dict(filled().routes()) | {parse_prefix("2001:db8::/32"): heard_of(ONE)})])


def heard_of(said):
    return dict(filled((1, A, said)).routes())[A]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_table_is_what_a_plain_dictionary_would_be(data):
    pool = data.draw(st.lists(prefixes(V6), min_size=1, max_size=6, unique=True))
    said = data.draw(st.lists(attributes(), min_size=1, max_size=3, unique=True))
    table, plain = Table(V6), {}
    for now_s in range(data.draw(st.integers(1, 12))):
        some = data.draw(st.lists(st.sampled_from(pool), max_size=4))
        kind = data.draw(st.sampled_from(("announce", "withdraw", "pack")))
        if kind == "announce":
            attribute = data.draw(st.sampled_from(said))
            table.announce(some, attribute, now_s=now_s)
            for prefix in some:
                if prefix not in plain or plain[prefix][0] != attribute:
                    plain[prefix] = (attribute, now_s)
        elif kind == "withdraw":
            assert table.withdraw(some) == len(plain.keys() & set(some))
            for prefix in some:
                plain.pop(prefix, None)
        else:
            pack(table)
        assert len(table) == len(plain)
    packed = pack(table)
    assert {prefix: (heard.attributes, heard.learned_s) for prefix, heard in read(packed).items()} == plain
    again = Table(V6)
    again.load(packed.chunks.values())
    assert pack(again).digest == packed.digest
